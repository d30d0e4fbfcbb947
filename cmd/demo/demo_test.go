package main

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/gate/store/pgtest"
)

// The demo tells its story whole, in a pipe, with no terminal and no account: with a
// database where there is one, and without.
func TestDemo(t *testing.T) {
	bare := []string{"201 orders-migrator", "sallyport:repo:", "403 SP619", "dies by itself"}
	told(t, []string{"--no-database"}, bare)
	if pgtest.Bin() == "" {
		told(t, nil, bare)
		return
	}
	told(t, nil, []string{"201 orders-migrator", "belongs to app_migrator", "Roles of leases: 1, their sessions: 1", "403 SP619", "Roles of leases: 0, their sessions: 0", "terminating connection due to administrator command"})
}

func told(t *testing.T, args, credential []string) {
	t.Helper()
	in, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	var out, log bytes.Buffer
	if code := Main(t.Context(), args, in, &out, &log, nil); code != 0 {
		t.Fatalf("exit %d: %s\n%s", code, log.String(), out.String())
	}
	at := 0
	for _, want := range slices.Concat([]string{
		"in force now, as version 1", "#1 Explain retries  open", "Waits: the check \"test\"", "#2 Archive old orders  open", "one of acme/sre for production",
		"#1 Explain retries  merged by sallyport[bot]", "approved at", "bob: approved at", "SP313",
		"staging     success      Released", "production  waiting      Held for a human: one of acme/sre", "production  in_progress  Released: approved by bob",
	}, credential, []string{
		"#3 Explain timeouts  merged by sallyport[bot]", "production  waiting      Held for a human", "2 commits from 1 pull request", "which no listed human approved", "whole, signed",
	}) {
		i := strings.Index(out.String()[at:], want)
		if i < 0 {
			t.Errorf("after %d bytes there is no %q in:\n%s", at, want, out.String())
			continue
		}
		at += i
	}
	if strings.Contains(out.String(), "\x1b") {
		t.Error("there are colours in a pipe")
	}
	if code := Main(t.Context(), []string{"more"}, in, &out, &log, nil); code != 2 {
		t.Errorf("exit %d for an argument too many, want 2", code)
	}
}
