package webhook

import (
	"bytes"
	"fmt"
	"hash/maphash"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// asked has what the types of events have: members inside of each other, lists of
// objects, pointers, an embedded one, and a value that is taken as it is.
type asked struct {
	envelope

	Number int64 `json:"number"`
	Check  *struct {
		Name  string `json:"name"`
		App   idOnly `json:"app"`
		Pulls []pull `json:"pull_requests"`
	} `json:"check_run"`
	Inputs jsontext.Value `json:"inputs"`
}

// bodies are texts that a pass over bytes could read otherwise than package jsontext.
func bodies() []string {
	many := func(n int, last string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `"name-%d":%d,`, i, i)
		}
		return "{" + b.String() + last + "}"
	}
	deep := func(n int) string {
		return `{"a":` + strings.Repeat("[", n) + strings.Repeat("]", n) + "}"
	}
	out := []string{
		"", " ", "{", "{}", " {} ", "{}x", "{}{}", "[]", "null", `"x"`, "1", "\ufeff{}", "{}\x00",
		`{"a"}`, `{"a":}`, `{"a":1,}`, `{,"a":1}`, `{"a":1 "b":2}`, `{a:1}`, `{'a':1}`, `{"a" : 1 , "b" : 2}`, "{\"a\"\n:\t1\r}", "{\"a\"\v:1}", "{\u00a0}",
		`{"a":1,"a":2}`, `{"a":1,"\u0061":2}`, `{"\u0061":1,"a":2}`, `{"\u0061":1,"\u0061":2}`, `{"a":{"b":1,"b":2}}`, `{"a":[{"b":1},{"b":2}]}`, `{"a":[{"b":1,"b":2}]}`,
		`{"a":{"b":1},"b":{"a":1}}`, `{"":1}`, `{"":1,"":2}`, `{"A":1,"a":2}`, `{"a\/b":1,"a/b":2}`, `{"é":1,"\u00e9":2}`, `{"é":1,"é":2}`, `{"😀":1,"\ud83d\ude00":2}`,
		many(7, `"x":1`), many(8, `"x":1`), many(7, `"name-0":1`), many(8, `"name-7":1`), many(100, `"x":1`), many(100, `"name-0":1`), many(100, `"name-99":1`), many(100, `"n\u0061me-50":1`), many(3000, `"name-1500":1`),
		deep(1), deep(100), deep(9_999), deep(10_000), deep(10_001), strings.Repeat(`{"a":`, 10_000) + "1" + strings.Repeat("}", 10_000), strings.Repeat(`{"a":`, 10_001) + "1" + strings.Repeat("}", 10_001),
		`{"action":"x","number":7,"check_run":{"name":"t","app":{"id":3,"x":[1,{"y":null}]},"pull_requests":[{"number":1,"base":{"repo":{"id":5,"name":"n"},"ref":"r"}},{"number":2}]},"inputs":{"a":{"id":[1,2]}}}`,
		`{"check_run":null,"inputs":null,"repository":null}`, `{"check_run":[]}`, `{"check_run":[{"name":"x"}]}`, `{"check_run":"x"}`, `{"check_run":{"pull_requests":{"number":1}}}`, `{"check_run":{"pull_requests":[[{"number":1}]]}}`,
		`{"check_run":{"pull_requests":[null,{"number":1}]}}`, `{"check_run":{"pull_requests":[1]}}`, `{"number":"7"}`, `{"number":7.0}`, `{"number":7e0}`, `{"number":1e400}`, `{"number":9223372036854775808}`, `{"number":-0}`, `{"action":7}`,
		`{"\u0061ction":"escaped"}`, `{"Action":"capital"}`, `{"action":"a\u0000b"}`, `{"repository":{"id":1,"full_name":"a/b","id2":2},"sender":{"login":"l","id":9,"type":"User"}}`,
	}
	for _, value := range []string{
		"0", "-0", "00", "01", "-", "+1", "1.", ".5", "1.5", "1.5.5", "1e", "1e+", "1e+5", "1E-5", "1e5.5", "-1.25e-7", "0x10", "1_000", "NaN", "Infinity", "1a",
		"true", "tru", "truex", "True", "false", "fals", "null", "nul", "nulll", "[1,2]", "[1,]", "[,1]", "[1 2]", "[", "]", "[]", "[ ]", "{}", "{ }",
		`"`, `"a`, `"\`, `"\"`, `"\""`, `"\\"`, `"\/\b\f\n\r\t"`, `"\a"`, `"\x41"`, `"\u"`, `"\u12"`, `"\u123g"`, `"\u00e9"`, `"\U00e9"`, `"\ud83d\ude00"`, `"\ud83d"`, `"\ud83d\u0041"`, `"\ud83dx"`, `"\ude00"`, `"\ude00\ud83d"`, `"\uD83D\uDE00"`, `"\ud83d\ude0"`,
		"\"\t\"", "\"\n\"", "\"\x00\"", "\"\x1f\"", "\"\x7f\"", "\"\x80\"", "\"\xff\"", "\"\xc0\x80\"", "\"\xed\xa0\x80\"", "\"\xf4\x90\x80\x80\"", "\"\xe2\x82\"", `"€"`, `"😀"`, "\"\ufffd\"",
	} {
		out = append(out, `{"a":`+value+`}`, `{"inputs":`+value+`}`, `{"a":[`+value+`]}`)
		// Wherever it stands among the eight bytes that are looked at together.
		for n := range 9 {
			if rest, ok := strings.CutPrefix(value, `"`); ok {
				out = append(out, `{"a":"`+strings.Repeat("x", n)+rest+`}`, `{"a":"`+strings.Repeat("x", n)+strings.TrimSuffix(rest, `"`)+strings.Repeat("y", 9-n)+`"}`)
			}
		}
	}
	return out
}

// same holds the pass to package jsontext: it takes what that takes, and what was
// picked decodes to what the whole body does.
func same(t *testing.T, d *decoder, body []byte) {
	t.Helper()
	value := jsontext.Value(body)
	valid := value.IsValid() && value.Kind() == '{'
	p := &picker{seed: maphash.MakeSeed()}
	if _, err := p.pick(body, &shape{}); (err == nil) != valid {
		t.Fatalf("%.200q: %v, and package jsontext says %t", body, err, valid)
	}
	if valid && !bytes.Equal(p.out, bytes.Trim(body, " \t\r\n")) {
		t.Fatalf("%.200q: the whole of it is %.200q", body, p.out)
	}
	var ours, theirs asked
	err := d.decode(body, &ours)
	want := json.Unmarshal(body, &theirs)
	if valid && (err == nil) != (want == nil) || !valid && err == nil {
		t.Fatalf("%.200q: %v, and package json says %v", body, err, want)
	}
	if err == nil && !reflect.DeepEqual(ours, theirs) {
		t.Fatalf("%.200q: %+v, and package json says %+v", body, ours, theirs)
	}
}

func TestBody(t *testing.T) {
	d := &decoder{}
	taken := 0
	for _, body := range bodies() {
		same(t, d, []byte(body))
		if jsontext.Value(body).IsValid() {
			taken++
		}
	}
	if refused := len(bodies()) - taken; taken < 100 || refused < 100 {
		t.Errorf("%d bodies are JSON and %d are not: the table says too little", taken, refused)
	}
}

// Any byte of a sound body replaced, dropped, or the rest cut off.
func TestBodyAltered(t *testing.T) {
	d := &decoder{}
	const body = `{"action":"a\u00e9\n","number":-1.5e3,"check_run":{"name":"é","app":{"id":1},"pull_requests":[{"number":1},true]},"inputs":{"a":null,"b":{"a":"12345678"}}}`
	for i := range len(body) {
		same(t, d, []byte(body[:i]))
		same(t, d, []byte(body[:i]+body[i+1:]))
		for _, c := range "\x00\t \x1f\"\\/{}[]:,-+.0123456789eEabu\x7f\x80\xff" {
			same(t, d, []byte(body[:i]+string([]byte{byte(c)})+body[i+1:]))
		}
	}
}

// What is not asked for is not decoded.
func TestPick(t *testing.T) {
	const body = `{"x":{"action":1},"action":"opened","repository":{"id":3,"owner":{"id":4,"login":"acme"},"full_name":"acme/orders"},"check_run":{"id":5,"pull_requests":[{"number":1,"head":{"sha":"a"},"base":{"ref":"main","repo":{"id":3,"url":"u"}}},{}]},"inputs":{"a": [1]}}`
	const want = `{"action":"opened","repository":{"id":3,"full_name":"acme/orders"},"check_run":{"pull_requests":[{"number":1,"base":{"repo":{"id":3}}},{}]},"inputs":{"a": [1]}}`
	p := &picker{seed: maphash.MakeSeed()}
	got, err := p.pick([]byte(body), shapeOf(reflect.TypeFor[*asked]()))
	if err != nil || string(got) != want {
		t.Errorf("%s, %v, want %s", got, err, want)
	}
	// The next body finds nothing of the last one, even where the table's turns
	// begin again.
	for range 3 {
		p.turn = ^uint32(0) - 1
		for range 4 {
			if _, err := p.pick([]byte(bodies()[45]), nil); (err == nil) != jsontext.Value(bodies()[45]).IsValid() {
				t.Error(err)
			}
		}
	}
}

// An error of reading says where, and nothing of what the body says.
func TestBodyErrorsSayNoContents(t *testing.T) {
	d := &decoder{}
	for _, body := range []string{
		`{"action":"hunter2`, `{"hunter2":1,"hunter2":2}`, `{"action":{"hunter2":1}}`, `{"check_run":{"app":{"id":"hunter2"}}}`, `{"check_run":{"app":{"id":1e999}},"hunter2":1}`, `{"number":hunter2}`,
	} {
		var v asked
		if err := d.decode([]byte(body), &v); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", body, err)
		}
	}
}

func FuzzBody(f *testing.F) {
	for _, body := range bodies() {
		f.Add([]byte(body))
	}
	files, _ := filepath.Glob(filepath.Join(os.Getenv("SALLYPORT_WEBHOOKS"), "*.json"))
	for _, file := range files {
		if body, err := os.ReadFile(file); err == nil {
			f.Add(body)
		}
	}
	d := &decoder{}
	f.Fuzz(func(t *testing.T, body []byte) { same(t, d, body) })
}
