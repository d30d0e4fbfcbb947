package statements_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/gate/statements"
)

// TestMain is also the program that a Worker starts.
func TestMain(m *testing.M) {
	mode := ""
	if len(os.Args) > 1 {
		mode = os.Args[1]
	}
	hello := func() {
		const body = `{"findings":null,"parsed":true,"why":""}`
		fmt.Printf("\x00\x00\x00%c%s", len(body), body)
	}
	switch mode {
	case "serve":
		if err := statements.Serve(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	case "hang":
		hello()
		time.Sleep(time.Hour)
	case "die":
		hello()
	case "never":
	case "flood":
		hello()
		fmt.Printf("\xff\xff\xff\xff%s", strings.Repeat("x", 1<<20))
		time.Sleep(time.Hour)
	case "environment":
		hello()
		body := fmt.Sprintf(`{"findings":null,"parsed":false,"why":%q}`, strings.Join(os.Environ(), " "))
		fmt.Printf("\x00\x00%c%c%s", len(body)>>8, len(body)&0xff, body)
		time.Sleep(time.Hour)
	default:
		os.Exit(m.Run())
	}
}

func worker(t *testing.T, mode string) *statements.Worker {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	w := statements.NewWorker(program, mode)
	t.Cleanup(w.Close)
	return w
}

func TestWorker(t *testing.T) {
	w := worker(t, "serve")
	// Who cannot wait for the start does not spoil it for the next one.
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, parsed, why := w.Look(ctx, "1.sql", "SELECT 1"); parsed || why != "1.sql:1: the SQL parser is still starting; ask again" {
		t.Errorf("%v %q", parsed, why)
	}
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			got, parsed, why := w.Look(t.Context(), "1.sql", fmt.Sprintf("SELECT 1;\nDROP TABLE t%d", i))
			if want := fmt.Sprintf("t%d", i); !parsed || len(got) != 1 || got[0].Line != 2 || got[0].Object != want || got[0].Kind != statements.Drop {
				t.Errorf("%+v %v %q", got, parsed, why)
			}
		})
	}
	all.Wait()
	for text, want := range map[string]string{
		"SELECT FROM FROM":             "1.sql:1: not PostgreSQL's SQL",
		"\xff":                         "1.sql:1: the file is not in UTF-8",
		strings.Repeat(" ", 1+256<<10): "1.sql:1: the file has",
		strings.Repeat("(", 50_000):    "1.sql:1: a statement with too many",
	} {
		if _, parsed, why := w.Look(t.Context(), "1.sql", text); parsed || !strings.HasPrefix(why, want) {
			t.Errorf("%v %q, want %q", parsed, why, want)
		}
	}
	w.Close()
	if _, parsed, why := w.Look(t.Context(), "\xff.sql", "SELECT '"+strings.Repeat("\x01", 250_000)+"'"); !parsed {
		t.Errorf("after Close: %s", why)
	}
}

// A process that hangs, dies or floods costs its file, and nothing else.
func TestWorkerFails(t *testing.T) {
	for _, mode := range []string{"hang", "die", "never", "flood"} {
		w := worker(t, mode)
		for range 2 {
			start := time.Now()
			findings, parsed, why := w.Look(t.Context(), "1.sql", "DROP TABLE t")
			if parsed || findings != nil || !strings.HasPrefix(why, "1.sql:1: the SQL parser ") {
				t.Errorf("%s: %v %v %q", mode, findings, parsed, why)
			}
			if took := time.Since(start); took > 10*time.Second {
				t.Errorf("%s: %v", mode, took)
			}
		}
	}
	w := statements.NewWorker("/nonexistent/program")
	if _, parsed, why := w.Look(t.Context(), "1.sql", "SELECT 1"); parsed || !strings.Contains(why, "could not be started") {
		t.Errorf("%v %q", parsed, why)
	}
}

// The process that reads hostile text has none of the server's secrets.
func TestWorkerEnvironment(t *testing.T) {
	t.Setenv("SALLYPORT_WEBHOOK_SECRET", "s3cret")
	if _, _, why := worker(t, "environment").Look(t.Context(), "1.sql", "SELECT 1"); why != "GOMAXPROCS=2" {
		t.Errorf("its environment is %q", why)
	}
}
