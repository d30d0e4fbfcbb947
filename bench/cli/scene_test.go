package main

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestRepository(t *testing.T) {
	c := config{files: 200, commits: 4}
	dir := filepath.Join(t.TempDir(), "repository")
	if err := c.makeRepository(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	git := func(args ...string) string {
		cmd := exec.Command("git", args...)
		cmd.Dir, cmd.Env = dir, environment()
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %q: %v: %s", args, err, out)
		}
		return string(out)
	}
	status := map[string]int{}
	for line := range strings.Lines(git("diff", "--name-status", "--find-renames", "main...HEAD")) {
		status[line[:1]]++
	}
	if status["M"] != 160 || status["A"] != 20 || status["R"] != 20 {
		t.Errorf("the branch has %v, want 160 M, 20 A and 20 R", status)
	}
	if n := strings.Count(git("log", "--format=%H", "main..HEAD"), "\n"); n != 4 {
		t.Errorf("the branch has %d commits, want 4", n)
	}
	if s := git("status", "--porcelain"); s != "" {
		t.Errorf("the work tree is not clean: %s", s)
	}
}

func TestPullRequests(t *testing.T) {
	seen := map[string]bool{}
	for i := range 100 {
		line, err := json.Marshal(pullRequest(i))
		if err != nil {
			t.Fatal(err)
		}
		if seen[string(line)] {
			t.Errorf("change %d is like an earlier one", i)
		}
		seen[string(line)] = true
		if n := len(body(i)); n < 900 || n > 1200 {
			t.Errorf("the body of change %d has %d bytes, want about 1 KB", i, n)
		}
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{{"-samples", "5"}, {"-files", "3"}, {"-changes", "0"}, {"-unknown"}, {"argument"}} {
		if code := run(t.Context(), args, &bytes.Buffer{}, &bytes.Buffer{}); code != 2 {
			t.Errorf("cli %q exits %d, want 2", args, code)
		}
	}
}

func TestQuantile(t *testing.T) {
	if got := quantile([]time.Duration{4, 1, 3, 2}, 0.5); got != 2 {
		t.Errorf("the median of 1 to 4 is %d, want 2 (whole nanoseconds)", got)
	}
}
