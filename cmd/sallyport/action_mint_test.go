package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// minted runs a command of the action and gives what the runner's files have.
func (l *leases) step(command string, inputs ...string) (r ran, output, env, summary string) {
	l.t.Helper()
	dir := l.t.TempDir()
	set := []string{"RUNNER_TEMP=" + dir, "GITHUB_OUTPUT=" + filepath.Join(dir, "o"), "GITHUB_ENV=" + filepath.Join(dir, "e"), "GITHUB_STEP_SUMMARY=" + filepath.Join(dir, "s")}
	for _, i := range inputs {
		set = append(set, "INPUT_"+i)
	}
	r = l.run(set, "action", command)
	read := func(name string) string {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil && !os.IsNotExist(err) {
			l.t.Fatal(err)
		}
		return string(b)
	}
	return r, read("o"), read("e"), read("s")
}

// A credential is where it was asked for, and nowhere else.
func TestActionMint(t *testing.T) {
	for as, want := range map[string]string{"outputs": "output", "env": "env", "file": "file", "": "output"} {
		l := newLeases(t)
		r, output, env, summary := l.step("mint", "CREDENTIAL=db", "AS="+as)
		if r.code != 0 || !strings.HasPrefix(r.stdout, "::add-mask::lease-canary-secret\n") || !strings.Contains(r.stdout, "::add-mask::"+canary+"\n") {
			t.Fatalf("%s: exit %d, %q %q", as, r.code, r.stdout, r.stderr)
		}
		seen := map[string]string{"output": output, "env": env, "summary": summary, "log": unmasked(r.stdout), "errors": r.stderr}
		for where, text := range seen {
			if got := strings.Contains(text, canary); got != (where == want) {
				t.Errorf("as %q: the credential in %s: %v", as, where, got)
			}
		}
		if want == "file" && !strings.Contains(output, "credential.json") {
			t.Errorf("as file: %q", output)
		}
		if !strings.Contains(output, "lease-id") || l.count("DELETE") != 0 {
			t.Errorf("as %q: %q, ended %d", as, output, l.count("DELETE"))
		}
	}
}

// Refusals end the step before anything is given, or give nothing.
func TestActionMintRefused(t *testing.T) {
	for what, c := range map[string]struct {
		inputs []string
		code   int
	}{
		"nobody released the job": {[]string{"CREDENTIAL=refused"}, ExitHuman},
		"no name":                 {[]string{"CREDENTIAL="}, ExitUsage},
		"a name":                  {[]string{"CREDENTIAL=a;b"}, ExitUsage},
		"as":                      {[]string{"CREDENTIAL=db", "AS=log"}, ExitUsage},
		"a prefix":                {[]string{"CREDENTIAL=db", "PREFIX=LD\nX=1"}, ExitUsage},
		"a server":                {[]string{"CREDENTIAL=db", "SERVER=http://acme.internal"}, ExitUsage},
	} {
		l := newLeases(t)
		r, output, _, _ := l.step("mint", c.inputs...)
		if r.code != c.code || output != "" || !strings.Contains(r.stdout, "::error title=Sallyport::") {
			t.Errorf("%s: exit %d, want %d: %q %q", what, r.code, c.code, r.stdout, r.stderr)
		}
		if what == "nobody released the job" && !strings.Contains(r.stdout, "SP614: Nobody has released this job.") {
			t.Errorf("says %q", r.stdout)
		}
	}
	// Where the runner takes no outputs the credential is ended at once.
	l := newLeases(t)
	r := l.run([]string{"INPUT_CREDENTIAL=db", "GITHUB_OUTPUT="}, "action", "mint")
	if r.code != ExitError || l.count("DELETE /v1/leases/db-1") != 1 || strings.Contains(unmasked(r.stdout), canary) {
		t.Errorf("no outputs: exit %d, %q", r.code, unmasked(r.stdout))
	}
	if r := l.run([]string{"GITHUB_ACTIONS="}, "action", "mint"); r.code != ExitUsage {
		t.Errorf("outside a job: exit %d", r.code)
	}
	// JSON has the lease without what opens anything.
	if r := l.run([]string{"INPUT_CREDENTIAL=db"}, "action", "mint", "--format", "json"); r.code != 0 || strings.Contains(r.stdout, "canary") || !strings.Contains(r.stdout, `"credential": "db"`) {
		t.Errorf("as JSON: exit %d, %q", r.code, r.stdout)
	}
}

func TestActionRevoke(t *testing.T) {
	l := newLeases(t)
	ended := []string{"LEASE_ID=db-1", "LEASE_SECRET=lease-canary-secret"}
	for range 2 {
		if r, _, _, _ := l.step("revoke", ended...); r.code != 0 || strings.Contains(r.stdout, "canary") {
			t.Errorf("exit %d, %q", r.code, r.stdout)
		}
	}
	before := l.count("DELETE")
	if r, _, _, _ := l.step("revoke"); r.code != 0 || l.count("DELETE") != before {
		t.Errorf("nothing to end: exit %d, %q", r.code, r.stdout)
	}
	l.set(func() { l.status = 404 })
	if r, _, _, _ := l.step("revoke", ended...); r.code != ExitError || !strings.Contains(r.stdout, "may be alive") {
		t.Errorf("not ended: exit %d, %q", r.code, r.stdout)
	}
	if r, _, _, _ := l.step("revoke", "FILE=/etc/passwd"); r.code != ExitError {
		t.Errorf("a file of others: exit %d, %q", r.code, r.stdout)
	}
}
