package main

import (
	"flag"
	"fmt"
	"os"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

var update = flag.Bool("update", false, "rewrite the expected output in testdata/script")

// TestMain makes the program available to scripts as sallyport, and as rc, which
// takes the exit code to expect first: "exec rc 3 check".
func TestMain(m *testing.M) {
	run := func(args []string) int { return Main(args, os.Environ(), os.Stdin, os.Stdout, os.Stderr) }
	testscript.Main(m, map[string]func(){
		"sallyport": func() { os.Exit(run(os.Args[1:])) },
		"rc": func() {
			want, err := strconv.Atoi(os.Args[1])
			if err != nil {
				fmt.Fprintln(os.Stderr, "rc: want an exit code first")
				os.Exit(99)
			}
			if got := run(os.Args[2:]); got != want {
				fmt.Fprintf(os.Stderr, "rc: got exit code %d, want %d\n", got, want)
				os.Exit(99)
			}
		},
	})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			for k, v := range map[string]string{
				"GIT_CONFIG_GLOBAL": os.DevNull, "GIT_CONFIG_NOSYSTEM": "1",
				"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "init.defaultBranch", "GIT_CONFIG_VALUE_0": "main",
				"GIT_AUTHOR_NAME": "Octo Cat", "GIT_AUTHOR_EMAIL": "octocat@example.com", "GIT_AUTHOR_DATE": "2026-11-01T12:00:00Z",
				"GIT_COMMITTER_NAME": "Octo Cat", "GIT_COMMITTER_EMAIL": "octocat@example.com", "GIT_COMMITTER_DATE": "2026-11-01T12:00:00Z",
				"GIT_CEILING_DIRECTORIES": e.WorkDir,
			} {
				e.Setenv(k, v)
			}
			return nil
		},
	})
}
