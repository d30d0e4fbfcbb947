package rules_test

import (
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/rules"
)

// Any facts give a decision: no input panics, the verdict is one of three, and an
// allow rests on reasons that all allow.
func checkDecision(t *testing.T, d rules.Decision) {
	t.Helper()
	for _, r := range d.Reasons {
		if rules.Stricter(d.Verdict, r.Verdict) != d.Verdict {
			t.Fatalf("verdict %s over a reason that says %s: %s", d.Verdict, r.Verdict, r.Text)
		}
		if strings.Contains(r.Text, "%!") {
			t.Fatalf("a sentence with a blank: %s", r.Text)
		}
		for _, c := range r.Text {
			if c < ' ' || c == 0x7f || c == 0x202e {
				t.Fatalf("a control character in %q", r.Text)
			}
		}
	}
	if len(d.Reasons) == 0 {
		t.Fatal("a decision without a reason")
	}
	if _, err := json.Marshal(d); err != nil {
		t.Fatalf("a decision that JSON cannot hold: %v", err)
	}
	if d.AutoApproval && d.Verdict != rules.VerdictAllow {
		t.Fatal("approved automatically and not allowed")
	}
}

func seed[T any](f *testing.F, v T) {
	f.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
}

func FuzzDecideChange(f *testing.F) {
	seed(f, agentChange())
	seed(f, humanChange())
	p := only(inForce(f, ordinaryPolicy))
	f.Fuzz(func(t *testing.T, b []byte) {
		var c rules.Change
		if json.Unmarshal(b, &c) != nil {
			return
		}
		checkDecision(t, rules.DecideChange(p, &c))
		c.Basis = rules.Stated
		checkDecision(t, rules.DecideChange(p, &c))
		c.Basis = rules.Local
		checkDecision(t, rules.DecideChange(p, &c))
	})
}

func FuzzDecideDeployment(f *testing.F) {
	seed(f, productionDeployment())
	p := only(inForce(f, ordinaryPolicy))
	f.Fuzz(func(t *testing.T, b []byte) {
		var d rules.Deployment
		if json.Unmarshal(b, &d) != nil {
			return
		}
		checkDecision(t, rules.DecideDeployment(p, &d))
	})
}

func FuzzDecideLease(f *testing.F) {
	seed(f, leaseRequest())
	p := only(inForce(f, leasePolicy))
	ts := targets(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		var q rules.LeaseRequest
		if json.Unmarshal(b, &q) != nil {
			return
		}
		d := rules.DecideLease(p, ts, &q)
		checkDecision(t, d)
		if d.Verdict == rules.VerdictAllow && (q.Verified != rules.Yes || q.Given != rules.No || len(q.Grants) == 0) {
			t.Fatalf("allowed on %s", b)
		}
	})
}
