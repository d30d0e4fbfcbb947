package server

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"gopkg.in/yaml.v3"

	"github.com/sallyport/sallyport/gate/jobs"
	"github.com/sallyport/sallyport/gate/store"
	"github.com/sallyport/sallyport/rules"
)

// value is what a registry says of a metric with some labels: a counter's or gauge's
// value, how often a histogram observed; -1 if there is none.
func value(t *testing.T, g prometheus.Gatherer, name string, labels ...string) float64 {
	t.Helper()
	all, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		for _, m := range f.GetMetric() {
			var got []string
			for _, l := range m.GetLabel() {
				got = append(got, l.GetName()+"="+l.GetValue())
			}
			slices.Sort(got)
			slices.Sort(labels)
			if f.GetName() != name || !slices.Equal(got, labels) {
				continue
			}
			switch {
			case m.GetCounter() != nil:
				return m.GetCounter().GetValue()
			case m.GetGauge() != nil:
				return m.GetGauge().GetValue()
			default:
				return float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return -1
}

// What a handler may do to its connection, it may do when it is counted.
func TestCountedHandlersKeepTheirConnection(t *testing.T) {
	m := newMetrics("")
	flushed := make(chan struct{})
	web := httptest.NewServer(m.wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case jobs.Path + "/1":
			control := http.NewResponseController(w)
			if err := errors.Join(control.SetWriteDeadline(time.Now().Add(time.Minute)), control.SetReadDeadline(time.Now().Add(time.Minute))); err != nil {
				t.Errorf("a time limit: %v", err)
			}
			_, _ = io.WriteString(w, "first\n")
			if err := control.Flush(); err != nil {
				t.Errorf("flush: %v", err)
			}
			select {
			case <-flushed:
			case <-time.After(5 * time.Second): // nothing arrived
			}
		case webhookPath:
			if _, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 10)); err == nil {
				t.Error("the body has no limit")
			}
			w.WriteHeader(http.StatusRequestEntityTooLarge)
		case "/panic":
			panic(http.ErrAbortHandler)
		}
	})))
	defer web.Close()
	answer, err := http.Get(web.URL + jobs.Path + "/1")
	if err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(answer.Body).ReadString('\n')
	if err != nil || line != "first\n" {
		t.Errorf("before the handler ends: %q, %v", line, err)
	}
	if got := value(t, m.registry, "sallyport_http_requests_in_flight", "surface=hold_wait"); got != 1 {
		t.Errorf("%v in flight, want 1", got)
	}
	close(flushed)
	_ = answer.Body.Close()

	// The connection of a body that is too large is closed, and the body not read.
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", web.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = io.WriteString(c, "POST "+webhookPath+" HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"+strings.Repeat("x", 20))
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	head, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || head.StatusCode != http.StatusRequestEntityTooLarge || !head.Close {
		t.Errorf("%v, %v: want 413 and the connection's end", head, err)
	}
	if head != nil {
		_ = head.Body.Close()
	}
	if answer, err := http.Get(web.URL + "/panic"); err == nil {
		_ = answer.Body.Close()
		t.Error("a panic is answered")
	}
	for _, want := range [][]string{
		{"surface=hold_wait", "method=GET", "code=200"}, {"surface=webhook", "method=POST", "code=413"}, {"surface=other", "method=GET", "code=500"},
	} {
		for end := time.Now().Add(5 * time.Second); value(t, m.registry, "sallyport_http_requests_total", want...) != 1; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%v is not counted once", want)
			}
		}
	}
	if got := value(t, m.registry, "sallyport_deliveries_total", "outcome=refused"); got != 1 {
		t.Errorf("%v deliveries refused, want 1", got)
	}
	if got := value(t, m.registry, "sallyport_http_requests_in_flight", "surface=hold_wait"); got != 0 {
		t.Errorf("%v in flight at the end", got)
	}
}

// Whatever is asked for, there are few labels, and nothing of it is in them.
func TestLabelsAreBounded(t *testing.T) {
	m := newMetrics("")
	h := m.wrap(http.NotFoundHandler())
	for _, path := range []string{"/acme", "/v1/holds/acme", "/v1/leases/acme", "/ledger/acme", "/ledger/%61cme", "/.well-known/acme", "/webhooks/github/acme", "/v1/holdsacme", "//acme", "/metrics/acme"} {
		for _, method := range []string{"GET", "ACME", "acme", "PROPFIND"} {
			h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), method, path+"?acme", nil))
		}
	}
	all, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	series := 0
	for _, f := range all {
		if f.GetName() == "sallyport_http_requests_total" {
			series = len(f.GetMetric())
		}
		for _, one := range f.GetMetric() {
			for _, l := range one.GetLabel() {
				if strings.Contains(strings.ToLower(l.GetValue()), "acme") {
					t.Errorf("%s has %s=%q", f.GetName(), l.GetName(), l.GetValue())
				}
			}
		}
	}
	if series != 10 { // hold_wait, leases, ledger, issuer and other, each by GET and other
		t.Errorf("%d series, want 10", series)
	}
	// No surface of ours is among the others.
	for _, path := range []string{webhookPath, jobs.Path, jobs.Path + "/1", jobs.LeasesPath, jobs.LeasesPath + "/1", jobs.LoginPath, "/.well-known/jwks.json", "/auto/.well-known/jwks.json", "/ledger/checkpoint", "/healthz", "/readyz", "/metrics"} {
		if surfaceOf(path) == "other" {
			t.Errorf("%s has no surface", path)
		}
	}
}

// Leases are counted by what made the credential, never by target.
func TestLeasesByProvider(t *testing.T) {
	x := &Server{metrics: newMetrics(""), settings: Settings{Targets: &rules.Targets{Targets: map[string]*rules.Target{
		"acme-db": {Postgres: &rules.PostgresTarget{}}, "acme-db2": {Postgres: &rules.PostgresTarget{}}, "acme-cloud": {AWS: &rules.AWSTarget{}},
	}}}}
	m := newStoreMetrics(x)
	got := map[string]float64{}
	m.leases(func(d *prometheus.Desc, v float64, labels ...string) {
		name := fqName.FindStringSubmatch(d.String())[1]
		got[strings.TrimPrefix(name, "sallyport_")+" "+strings.Join(labels, " ")] += v
	}, []store.LeaseStats{
		{State: store.LeaseLive, Target: "acme-db", Count: 2, Overdue: 1}, {State: store.LeaseLive, Target: "acme-db2", Count: 3}, {State: store.LeaseRevoking, Target: "acme-old", Count: 1, Failed: 1, Overdue: 1},
	})
	for key, want := range map[string]float64{
		"leases live postgres": 5, "leases live aws": 0, "leases revoking gone": 1, "leases_unended gone": 1, "leases_unended postgres": 0, "leases_overdue postgres": 1, "leases_overdue gone": 1,
	} {
		if n, ok := got[key]; !ok || n != want {
			t.Errorf("%s: %v, want %v", key, n, want)
		}
	}
	if len(got) != 3*3+3+3 {
		t.Errorf("%d series: %v", len(got), got)
	}
}

var (
	fqName    = regexp.MustCompile(`fqName: "([^"]+)"`)
	varLabels = regexp.MustCompile(`variableLabels: \{([^}]*)\}`)
	ownName   = regexp.MustCompile(`sallyport_[a-z_]+`)
)

// metricsThere are all of our own, with their labels.
func metricsThere(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	x := &Server{metrics: newMetrics("")}
	for _, c := range append(x.metrics.own(), newStoreMetrics(x)) {
		to := make(chan *prometheus.Desc, 100)
		c.Describe(to)
		close(to)
		for d := range to {
			out[fqName.FindStringSubmatch(d.String())[1]] = varLabels.FindStringSubmatch(d.String())[1]
		}
	}
	out["sallyport_build_info"] = "revision,version" // which never change
	return out
}

// The documentation names every metric with its labels, and none that there is not;
// and so do the alert rules, each of which says what to do.
func TestDocumentation(t *testing.T) {
	there := metricsThere(t)
	text, err := os.ReadFile("../../../docs/observability.md")
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile("(?m)^\\| `(sallyport_[a-z_]+)` \\|([^|]*)\\|")
	named := map[string]bool{}
	for _, r := range row.FindAllStringSubmatch(string(text), -1) {
		labels := strings.ReplaceAll(strings.ReplaceAll(strings.TrimSpace(r[2]), "`", ""), " ", "")
		if want, ok := there[r[1]]; !ok || want != labels {
			t.Errorf("the documentation has %s with %q, want %q", r[1], labels, want)
		}
		named[r[1]] = true
	}
	for name := range there {
		if !named[name] {
			t.Errorf("the documentation does not name %s", name)
		}
	}
	rulesText, err := os.ReadFile("../../../docs/operate/alerts.rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range ownName.FindAllString(string(text)+string(rulesText), -1) {
		base := name
		for _, end := range []string{"_bucket", "_sum", "_count"} {
			base = strings.TrimSuffix(base, end)
		}
		if _, ok := there[base]; !ok && strings.TrimSuffix(name, "_") != "sallyport" {
			t.Errorf("there is no %s", name)
		}
	}
	var file struct {
		Groups []struct {
			Name  string `yaml:"name"`
			Rules []struct {
				Alert       string            `yaml:"alert"`
				Expr        string            `yaml:"expr"`
				For         string            `yaml:"for"`
				Labels      map[string]string `yaml:"labels"`
				Annotations map[string]string `yaml:"annotations"`
			} `yaml:"rules"`
		} `yaml:"groups"`
	}
	if err := yaml.Unmarshal(rulesText, &file); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			n++
			if r.Alert == "" || r.Expr == "" || r.For == "" || r.Labels["severity"] == "" || r.Annotations["summary"] == "" || r.Annotations["action"] == "" {
				t.Errorf("the rule %q of %q has no expression, time, severity, summary or action", r.Alert, g.Name)
			}
			if !strings.Contains(string(text), "`"+r.Alert+"`") {
				t.Errorf("the documentation does not name the alert %s", r.Alert)
			}
		}
	}
	if n < 10 {
		t.Errorf("%d rules", n)
	}
}
