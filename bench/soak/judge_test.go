package main

import (
	"bytes"
	"testing"
	"time"
)

// series makes samples of which one grows from half on by so much in all.
func series(growth float64) []sample {
	var out []sample
	for i := range 200 {
		noise := float64(i%7) - 3
		s := sample{at: time.Duration(i) * 10 * time.Second, rss: 90 + noise, heap: 30 + noise, goroutines: 40, ready: 2, oldest: time.Second}
		if i >= 100 {
			s.rss += growth * float64(i-100) / 99
		}
		out = append(out, s)
	}
	return out
}

func TestJudge(t *testing.T) {
	for growth, want := range map[float64]bool{0: true, 5: true, -40: true, 20: false, 100: false} {
		for _, v := range judge(series(growth)) {
			if steady := v.steady(); v.name == "RSS" && steady != want {
				t.Errorf("RSS that grows by %.0f MiB is steady: %v; fitted %.1f, at most %.1f", growth, steady, v.growth, v.most)
			} else if v.name != "RSS" && !steady {
				t.Errorf("%s does not grow and is called unsteady: %s", v.name, v)
			}
		}
	}
	// A queue that fills up slowly.
	slow := series(0)
	for i := range slow {
		slow[i].ready = float64(i) / 3
	}
	for _, v := range judge(slow) {
		if v.name == "ready" && v.steady() {
			t.Errorf("a queue that fills up is called steady: %s", v)
		}
	}
}

func TestUsage(t *testing.T) {
	var out bytes.Buffer
	for _, args := range [][]string{{"more"}, {"-for", "10s", "-every", "5s"}, {"-repositories", "0"}} {
		if code := Main(t.Context(), args, &out, &out); code != 2 {
			t.Errorf("%v: exit %d, want 2", args, code)
		}
	}
}
