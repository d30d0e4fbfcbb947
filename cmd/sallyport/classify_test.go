package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/sallyport/sallyport/rules"
	"github.com/sallyport/sallyport/rules/schema"
)

const testPolicy = `version: 1
reviewers: [acme/sre, octocat]
environments:
  dev:
    gate: auto
    paths: ["docs/**", "**/*_test.go", "migrations/dev/**"]
    after: [test]
  production:
    gate: human
    also: {"migrations/**": [acme/dba]}
`

func testPolicies(t testing.TB) rules.Policies {
	t.Helper()
	p, problems := rules.LoadPolicy("sallyport.yml", []byte(testPolicy))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return rules.Policies{
		Repository: rules.PolicyVersion{State: rules.PolicyInForce, Policy: p},
		Floor:      rules.PolicyVersion{State: rules.PolicyNone},
	}
}

// ordinaryPR is a line as pull requests are: five files, three commits, a review,
// a check, about 2 KB.
func ordinaryPR(i int) string {
	var b strings.Builder
	fmt.Fprintf(&b, `{"id":"o/r#%d","repository":{"id":1,"full_name":"o/r"},"number":%d,"title":"Fix the retry loop","body":"This mends the loop that gave up too early.\n\n- tries again\n- says so\n","labels":["bug"],"draft":false,`, i, i)
	fmt.Fprintf(&b, `"author":{"id":1,"login":"octocat","type":"User"},"head":{"ref":"claude/fix","sha":"%040x","repository":{"id":1,"full_name":"o/r"}},"base":{"ref":"main","sha":"%040x"},"files":[`, i, 1)
	for k := range 5 {
		dir := "docs"
		if i%2 == 0 {
			dir = "src/server"
		}
		fmt.Fprintf(&b, `%s{"path":"%s/file%d.go","status":"modified","additions":3,"deletions":1,"mode":"100644"}`, comma(k), dir, k)
	}
	b.WriteString(`],"files_complete":true,"commits":[`)
	for k := range 3 {
		fmt.Fprintf(&b, `%s{"sha":"%040x","message":"Fix the loop\n\nSome text about it.\n\nCo-authored-by: Claude <noreply@anthropic.com>","author":{"id":1,"login":"octocat","name":"Octo Cat","email":"octocat@example.com"},"committer":{"id":2,"login":"web-flow","name":"GitHub","email":"noreply@github.com"},"verified":true}`, comma(k), i*10+k)
	}
	fmt.Fprintf(&b, `],"commits_complete":true,"last_pusher":{"id":1,"login":"octocat","type":"User"},"reviews":[{"id":1,"user":{"id":9,"login":"monalisa","type":"User"},"state":"approved","sha":"%040x","submitted_at":"2026-11-01T12:00:00Z"}],"checks":[{"name":"test","app":"github-actions","conclusion":"success"}],"now":"2026-11-01T13:00:00Z"}`, i)
	return b.String()
}

func comma(i int) string {
	if i == 0 {
		return ""
	}
	return ","
}

func classifyText(t testing.TB, p rules.Policies, in io.Reader) (stdout, stderr string, bad int) {
	t.Helper()
	var out, errs bytes.Buffer
	a := newApp(nil, in, &out, &errs)
	bad, _, err := a.classify(t.Context(), p, in, formatJSON)
	if err != nil {
		t.Fatal(err)
	}
	return out.String(), errs.String(), bad
}

func TestClassifyKeepsTheOrderOfLines(t *testing.T) {
	var in strings.Builder
	const n = 3000
	for i := range n {
		in.WriteString(ordinaryPR(i) + "\n")
		if i%7 == 0 {
			in.WriteString("\r\n")
		}
	}
	out, errs, bad := classifyText(t, testPolicies(t), strings.NewReader(in.String()))
	if bad != 0 || errs != "" {
		t.Fatalf("%d bad lines: %s", bad, errs)
	}
	i := 0
	for l := range strings.Lines(out) {
		if !strings.HasPrefix(l, fmt.Sprintf(`{"id":"o/r#%d",`, i)) {
			t.Fatalf("line %d: %.60s", i, l)
		}
		i++
	}
	if i != n {
		t.Errorf("%d decisions, want %d", i, n)
	}
}

// oneByOne gives a line and waits until its decision has been seen.
type oneByOne struct {
	lines []string
	seen  chan struct{}
	sent  int
}

func (o *oneByOne) Read(p []byte) (int, error) {
	if o.sent > 0 {
		<-o.seen
	}
	if o.sent == len(o.lines) {
		return 0, io.EOF
	}
	o.sent++
	return copy(p, o.lines[o.sent-1]+"\n"), nil
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestClassifyAnswersBeforeTheInputEnds(t *testing.T) {
	in := &oneByOne{lines: []string{`{"id":"a"}`, `{"id":"b"}`, `{"id":"c"}`}, seen: make(chan struct{}, 1)}
	var out bytes.Buffer
	a := newApp(nil, in, writerFunc(func(p []byte) (int, error) {
		out.Write(p)
		in.seen <- struct{}{}
		return len(p), nil
	}), io.Discard)
	if _, _, err := a.classify(t.Context(), testPolicies(t), in, formatJSON); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out.String(), "\n"); n != 3 {
		t.Errorf("%d decisions, want 3", n)
	}
}

func TestClassifyReportsALineThatIsTooLong(t *testing.T) {
	long := `{"body":"` + strings.Repeat("x", maxLine) + `"}`
	fits := `{"id":"fits","body":"` + strings.Repeat("x", maxLine-len(`{"id":"fits","body":""}`)) + `"}`
	out, errs, bad := classifyText(t, testPolicies(t), strings.NewReader(long+"\n"+fits+"\n"+`{"id":"after"}`))
	if bad != 1 || !strings.Contains(errs, "line 1: longer than 16 MiB") {
		t.Errorf("%d bad lines: %s", bad, errs)
	}
	if !strings.HasPrefix(out, `{"id":"fits"`) || !strings.Contains(out, "\n"+`{"id":"after"`) {
		t.Errorf("the lines after it were not judged: %.200s", out)
	}
}

func TestClassifyNeverTakesItsBasisFromTheLine(t *testing.T) {
	for _, l := range []string{`{"basis":0,"id":"x"}`, `{"Basis":"observed","id":"x"}`} {
		out, _, _ := classifyText(t, testPolicies(t), strings.NewReader(l))
		if strings.Contains(out, `"auto_approval":true`) || !strings.Contains(out, `"verdict":"wait"`) {
			t.Errorf("%s: %s", l, out)
		}
	}
}

// decisionSchema is the published schema of a decision.
func decisionSchema(t testing.TB) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(schema.Decision))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("decision.schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("decision.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// FuzzClassify holds that any input gives one decision or one report for each
// line that is not empty, and nothing but what the published schema describes.
func FuzzClassify(f *testing.F) {
	f.Add([]byte(ordinaryPR(1)))
	f.Add([]byte(ordinaryPR(2) + "\n\n{}\r\n{\"id\":\"x\",\"id\":\"y\"}\nnull\n[1]\n{"))
	f.Add([]byte("{\"files\":[{\"path\":\"\\u0000\"}],\"files_complete\":true}\n\xff\xfe"))
	f.Add([]byte(`{"commits":[{"message":"` + "```" + `\nCo-authored-by: Claude <noreply@anthropic.com>"}],"number":1e400}`))
	p := testPolicies(f)
	published := decisionSchema(f)
	f.Fuzz(func(t *testing.T, in []byte) {
		want := 0
		for l := range bytes.SplitSeq(in, []byte("\n")) {
			if len(bytes.TrimSpace(l)) > 0 {
				want++
			}
		}
		out, _, bad := classifyText(t, p, bytes.NewReader(in))
		got := 0
		for l := range strings.Lines(out) {
			got++
			var d rules.Decision
			if err := json.Unmarshal([]byte(l), &d, json.RejectUnknownMembers(true)); err != nil {
				t.Fatalf("%v: %q", err, l)
			}
			v, err := jsonschema.UnmarshalJSON(strings.NewReader(l))
			if err == nil {
				err = published.Validate(v)
			}
			if err != nil {
				t.Fatalf("not as the schema says: %v: %s", err, l)
			}
			switch d.Verdict {
			case rules.VerdictAllow, rules.VerdictWait, rules.VerdictDeny:
			default:
				t.Errorf("verdict %q", d.Verdict)
			}
			if d.Environments == nil || d.Reasons == nil || d.Authorship.Agents == nil || d.Authorship.Evidence == nil || d.Authorship.Kind == "" {
				t.Errorf("something is missing: %s", l)
			}
		}
		if got+bad != want {
			t.Errorf("%d decisions and %d reports for %d lines", got, bad, want)
		}
	})
}

// repeated gives a text again and again, n lines in all.
type repeated struct {
	lines []string
	n, i  int
	rest  string
}

func (r *repeated) Read(p []byte) (int, error) {
	if r.rest == "" {
		if r.i == r.n {
			return 0, io.EOF
		}
		r.rest = r.lines[r.i%len(r.lines)]
		r.i++
	}
	n := 0
	for n < len(p) && r.rest != "" {
		k := copy(p[n:], r.rest)
		n, r.rest = n+k, r.rest[k:]
		if r.rest == "" && r.i < r.n {
			r.rest = r.lines[r.i%len(r.lines)]
			r.i++
		}
	}
	return n, nil
}

// BenchmarkClassify judges ordinary pull requests, one an operation; run it with
// -cpu 1 for one core's worth.
func BenchmarkClassify(b *testing.B) {
	p := testPolicies(b)
	in := &repeated{n: b.N}
	size := 0
	for i := range 1000 {
		in.lines = append(in.lines, ordinaryPR(i)+"\n")
		size += len(in.lines[i])
	}
	b.SetBytes(int64(size / len(in.lines)))
	b.ReportAllocs()
	b.ResetTimer()
	a := newApp(nil, nil, io.Discard, io.Discard)
	if _, _, err := a.classify(b.Context(), p, in, formatJSON); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "PRs/s")
}
