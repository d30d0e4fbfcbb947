package alert_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/gate/alert"
	"github.com/sallyport/sallyport/rules"
)

func TestSend(t *testing.T) {
	r := receive(t, nil)
	var log bytes.Buffer
	s := newSender(t, targets(t, "\n  "+r.URL+"/"+secret+"\n\n", private), alert.Config{Roots: r.roots(), Log: slog.New(slog.NewJSONHandler(&log, nil))})
	if err := s.Send(t.Context(), "ops", message()); err != nil {
		t.Fatal(err)
	}
	const want = `{"code":"SP540","title":"a job of production started although nothing released it",` +
		`"text":"deploy.yml, run 77: nobody approved it.\nFind out who started it.","url":"https://github.com/acme/orders/actions/runs/77",` +
		`"repository":"acme/orders","repository_id":123456,"environment":"production","who":["alice","bob"],"at":"2026-03-01T12:00:00Z","kind":"alert"}`
	if len(r.bodies) != 1 || r.bodies[0] != want {
		t.Fatalf("sent %s, want %s", r.bodies, want)
	}
	if got := r.heads[0].Get("Content-Type"); got != "application/json" {
		t.Errorf("Content-Type %q", got)
	}
	var back alert.Message
	if err := json.Unmarshal([]byte(r.bodies[0]), &back); err != nil || !reflect.DeepEqual(back, message()) {
		t.Errorf("read back as %+v, %v", back, err)
	}
	if got := log.String(); !strings.Contains(got, `"target":"ops"`) || strings.Contains(got, "s3cret") {
		t.Errorf("log %s", got)
	}
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "alerts.md"))
	if err != nil || !strings.Contains(string(page), want) {
		t.Errorf("docs/alerts.md does not show what was sent: %v", err)
	}
}

// A policy reaches no target but those that list its repository.
func TestUndeclared(t *testing.T) {
	r := receive(t, nil)
	all := targets(t, r.URL+"/"+secret, private)
	all.Alerts["dev"] = &rules.AlertTarget{Webhook: all.Alerts["ops"].Webhook, Repositories: []rules.RepositoryID{7}, Private: true}
	all.Alerts["none"] = &rules.AlertTarget{Webhook: all.Alerts["ops"].Webhook, Private: true}
	s := newSender(t, all, alert.Config{Roots: r.roots()})
	for _, c := range []struct {
		to         string
		repository rules.RepositoryID
	}{{"dev", orders}, {"ops", 7}, {"none", orders}, {"", orders}, {"OPS", orders}, {"ops ", orders}, {"ops", 0}, {"none", 0}} {
		m := message()
		m.RepositoryID = c.repository
		if f := failed(t, s.Send(t.Context(), c.to, m)); !f.Permanent || !strings.Contains(f.Error(), "targets file") {
			t.Errorf("to %q for %d: %v", c.to, c.repository, f)
		}
	}
	if n := r.count(); n != 0 {
		t.Errorf("%d messages got through", n)
	}
	for _, c := range []struct {
		repository   rules.RepositoryID
		wanted, want []string
	}{
		{orders, []string{"dev", "ops", "unheard", "ops", "none"}, []string{"ops"}},
		{7, []string{"dev", "ops"}, []string{"dev"}},
		{8, []string{"dev", "ops", "none"}, nil},
		{0, []string{"dev", "ops", "none"}, nil},
		{orders, nil, nil},
	} {
		if got := s.Names(c.repository, c.wanted); !slices.Equal(got, c.want) {
			t.Errorf("names of %q for %d: %q, want %q", c.wanted, c.repository, got, c.want)
		}
	}
	nobody := newSender(t, nil, alert.Config{})
	if f := failed(t, nobody.Send(t.Context(), "ops", message())); !f.Permanent {
		t.Errorf("without a targets file: %v", f)
	}
	if got := nobody.Names(orders, []string{"ops"}); got != nil {
		t.Errorf("names without a targets file: %q", got)
	}
}

func TestHalfMessages(t *testing.T) {
	r := receive(t, nil)
	s := newSender(t, targets(t, r.URL+"/"+secret, private), alert.Config{Roots: r.roots()})
	for name, edit := range map[string]func(*alert.Message){
		"of no kind":      func(m *alert.Message) { m.Kind = "" },
		"of another kind": func(m *alert.Message) { m.Kind = "news" },
		"without a code":  func(m *alert.Message) { m.Code = "" },
		"without a title": func(m *alert.Message) { m.Title = " \n" },
		"of no time":      func(m *alert.Message) { m.At = time.Time{} },
	} {
		m := message()
		edit(&m)
		if f := failed(t, s.Send(t.Context(), "ops", m)); !f.Permanent {
			t.Errorf("a message %s: %v", name, f)
		}
	}
	if n := r.count(); n != 0 {
		t.Errorf("%d messages got through", n)
	}
}

func TestAnswers(t *testing.T) {
	for _, c := range []struct {
		status    int
		after     string
		arrived   bool
		permanent bool
		wait      time.Duration
	}{
		{status: 200, arrived: true}, {status: 204, arrived: true},
		{status: 301, permanent: true}, {status: 302, permanent: true}, {status: 303, permanent: true}, {status: 307, permanent: true}, {status: 308, permanent: true},
		{status: 400, permanent: true}, {status: 403, after: "9", permanent: true}, {status: 404, permanent: true}, {status: 410, permanent: true},
		{status: 429}, {status: 429, after: "30", wait: 30 * time.Second}, {status: 500}, {status: 502},
		{status: 503, after: "Sun, 01 Mar 2026 12:01:30 GMT", wait: 90 * time.Second},
		{status: 503, after: "Sun, 01 Mar 2026 11:00:00 GMT"}, {status: 503, after: "soon"}, {status: 503, after: "-5"},
		{status: 503, after: "3601", wait: time.Hour}, {status: 503, after: "99999999999999999999999", wait: time.Hour},
		{status: 503, after: "9223372036854775807", wait: time.Hour}, {status: 503, after: "Sun, 01 Mar 2099 12:00:00 GMT", wait: time.Hour},
	} {
		inside := receive(t, nil)
		r := receive(t, func(w http.ResponseWriter, _ *http.Request) {
			if c.after != "" {
				w.Header().Set("Retry-After", c.after)
			}
			w.Header().Set("Location", inside.URL+"/"+secret)
			w.WriteHeader(c.status)
			if c.status != http.StatusNoContent {
				fmt.Fprint(w, "I am a teapot")
			}
		})
		s := newSender(t, targets(t, r.URL+"/"+secret, private), alert.Config{Roots: r.roots()})
		err := s.Send(t.Context(), "ops", message())
		if c.arrived {
			if err != nil {
				t.Errorf("%d: %v", c.status, err)
			}
			continue
		}
		if f := failed(t, err); f.Permanent != c.permanent || f.RetryAfter != c.wait || f.Target != "ops" {
			t.Errorf("%d %q: permanent %t, after %s: %v", c.status, c.after, f.Permanent, f.RetryAfter, f)
		}
		if r.count() != 1 || inside.count() != 0 {
			t.Errorf("%d: %d calls, and %d where it led", c.status, r.count(), inside.count())
		}
	}
}

func TestHugeAnswer(t *testing.T) {
	written := make(chan int, 1)
	r := receive(t, func(w http.ResponseWriter, _ *http.Request) {
		n, chunk := 0, bytes.Repeat([]byte("teapot "), 1<<10)
		for range 100_000 {
			m, err := w.Write(chunk)
			n += m
			if err != nil {
				break
			}
		}
		written <- n
	})
	s := newSender(t, targets(t, r.URL+"/"+secret, private), alert.Config{Roots: r.roots()})
	if err := s.Send(t.Context(), "ops", message()); err != nil {
		t.Fatal(err)
	}
	if n := <-written; n > 32<<20 {
		t.Errorf("%d bytes were taken", n)
	}
	// A header without an end is no answer.
	r = receive(t, func(w http.ResponseWriter, _ *http.Request) {
		for i := range 2_000 {
			w.Header().Add(fmt.Sprint("X-", i), strings.Repeat("teapot", 20))
		}
	})
	s = newSender(t, targets(t, r.URL+"/"+secret, private), alert.Config{Roots: r.roots()})
	if f := failed(t, s.Send(t.Context(), "ops", message())); f.Permanent {
		t.Errorf("a huge header: %v", f)
	}
}

func TestSlowAnswer(t *testing.T) {
	done := make(chan struct{})
	t.Cleanup(func() { close(done) })
	wait := func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-done:
		case <-r.Context().Done():
		}
	}
	silent := receive(t, wait)
	s := newSender(t, targets(t, silent.URL+"/"+secret, private), alert.Config{Roots: silent.roots(), Timeout: 100 * time.Millisecond})
	if f := failed(t, s.Send(t.Context(), "ops", message())); f.Permanent || !errors.Is(f, context.DeadlineExceeded) || !strings.Contains(f.Error(), "no answer within 100ms") {
		t.Errorf("no answer: %v", f)
	}
	// The caller's end is the caller's.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if f := failed(t, s.Send(ctx, "ops", message())); f.Permanent || !errors.Is(f, context.Canceled) {
		t.Errorf("broken off: %v", f)
	}
	// A status is an answer; a body that does not come changes nothing.
	drip := receive(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		wait(w, r)
	})
	s = newSender(t, targets(t, drip.URL+"/"+secret, private), alert.Config{Roots: drip.roots(), Timeout: 500 * time.Millisecond})
	if err := s.Send(t.Context(), "ops", message()); err != nil {
		t.Errorf("a slow body: %v", err)
	}
}

// The address is read anew, so that a new one counts at once.
func TestRotation(t *testing.T) {
	a, b := receive(t, nil), receive(t, nil)
	all := targets(t, a.URL+"/"+secret, private)
	path := all.Alerts["ops"].Webhook.URLFile
	roots := a.roots()
	roots.AddCert(b.Certificate())
	s := newSender(t, all, alert.Config{Roots: roots})
	send := func(file string) error {
		if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		return s.Send(t.Context(), "ops", message())
	}
	for _, r := range []*receiver{a, b, a} {
		if err := send(r.URL + "/" + secret); err != nil {
			t.Error(err)
		}
	}
	if a.count() != 2 || b.count() != 1 {
		t.Errorf("%d and %d messages", a.count(), b.count())
	}
	// Half-way through it is to be tried again, and a bad one leads nowhere.
	for _, file := range []string{"", "http://example.com/" + secret, strings.Repeat("x", 5000) + secret, a.URL + "/" + secret + "\n" + b.URL + "/" + secret} {
		if f := failed(t, send(file)); f.Permanent {
			t.Errorf("%q: %v", file, f)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if f := failed(t, s.Send(t.Context(), "ops", message())); f.Permanent {
		t.Errorf("no file: %v", f)
	}
	if a.count()+b.count() != 3 {
		t.Errorf("%d messages", a.count()+b.count())
	}
}

func TestNewRefuses(t *testing.T) {
	for address, want := range map[string]string{
		"":                                "does not hold one address",
		"https://":                        "does not hold one address",
		"https:example.com/" + secret:     "does not hold one address",
		"https://exa mple.com/" + secret:  "does not hold one address",
		"https://x/%zz" + secret:          "does not hold one address",
		"https://a/" + secret + " b":      "does not hold one address",
		"example.com/" + secret:           "does not hold one address",
		"http://example.com/" + secret:    "not https",
		"http://10.0.0.1/" + secret:       "not https",
		"ftp://example.com/" + secret:     "not https",
		"file://localhost/" + secret:      "not https",
		strings.Repeat("s3cret", 1000):    "more than 4096 bytes",
		"https://10.0.0.1/" + secret:      "say private: true",
		"https://[::1]/" + secret:         "say private: true",
		"http://127.0.0.1:8080/" + secret: "say private: true",
	} {
		_, err := alert.New(targets(t, address), alert.Config{})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), `target "ops"`) {
			t.Errorf("%q: %v, want %q", address, err, want)
		} else if strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), "example.com") {
			t.Errorf("%q stands in %v", address, err)
		}
	}
	url := &rules.URLFile{URLFile: t.TempDir()}
	for name, a := range map[string]*rules.AlertTarget{
		"nothing":           nil,
		"no address":        {},
		"both":              {Slack: urlFile(t, "https://example.com"), Webhook: urlFile(t, "https://example.com")},
		"a folder":          {Slack: url},
		"a file that's not": {Webhook: &rules.URLFile{URLFile: filepath.Join(url.URLFile, "no")}},
	} {
		if _, err := alert.New(&rules.Targets{Alerts: map[string]*rules.AlertTarget{"ops": a}}, alert.Config{}); err == nil || !strings.Contains(err.Error(), `target "ops"`) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := alert.New(nil, alert.Config{Timeout: -1}); err == nil {
		t.Error("a timeout below zero")
	}
	// All mistakes at once.
	both := targets(t, "")
	both.Alerts["dev"] = both.Alerts["ops"]
	if _, err := alert.New(both, alert.Config{}); err == nil || !strings.Contains(err.Error(), `"dev"`) || !strings.Contains(err.Error(), `"ops"`) {
		t.Errorf("two mistakes: %v", err)
	}
}
