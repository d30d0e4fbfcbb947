package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
)

func TestMain(m *testing.M) {
	if folder := os.Getenv(serveEnv); folder != "" {
		if err := serve(folder, os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// Each delivery is about a repository of its own, and its rows are its own.
func TestPayloads(t *testing.T) {
	t.Parallel()
	all, err := load("")
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != len(builtIn()) {
		t.Errorf("%d payloads make work, want %d", len(all), len(builtIn()))
	}
	seen := map[string]bool{}
	for n := range 30 {
		d, err := capture(all[n%len(all)], n)
		if err != nil {
			t.Fatal(err)
		}
		if len(d.Marks) == 0 || int64(d.Repository) != firstRepository+int64(n) {
			t.Fatalf("delivery %d is about repository %d with %d marks", n, d.Repository, len(d.Marks))
		}
		for _, m := range d.Marks {
			if seen[m.Key.String()] {
				t.Errorf("the key %s is there twice", m.Key)
			}
			seen[m.Key.String()] = true
		}
	}
	if p, err := newPayload("push", []byte(`{"repository":{"id":12},"other":{"id":123},"same":{"id":12,"x":1}}`)); err != nil ||
		string(p.about(5)) != `{"repository":{"id":100000005},"other":{"id":123},"same":{"id":100000005,"x":1}}` {
		t.Errorf("%s, %v", p.about(5), err)
	}
}

// The whole program, small: everything is accepted, and both sides have the same
// rows, or it would say so.
func TestRun(t *testing.T) {
	t.Setenv("SALLYPORT_WEBHOOKS", "")
	var out, errs bytes.Buffer
	if code := run(t.Context(), strings.Fields("-rounds 1 -deliveries 60 -connections 4 -rate 50 -steady 1s"), &out, &errs); code != 0 {
		t.Fatalf("exit code %d: %s", code, &errs)
	}
	for _, text := range []string{"accepted over HTTP, 4 connections", "resident under the steady load"} {
		if !strings.Contains(out.String(), text) {
			t.Errorf("no %q in:\n%s", text, &out)
		}
	}
	if code := run(t.Context(), []string{"-rate", "0"}, &out, &errs); code != 2 {
		t.Errorf("exit code %d for wrong usage", code)
	}
}
