// Demo tells the whole story on one machine: the real server, policy and database in
// a temporary folder, against an in-memory GitHub. It needs no account and no
// service, and leaves nothing behind.
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/term"

	"github.com/sallyport/sallyport/cmd/sallyport-app/server"
	"github.com/sallyport/sallyport/gate"
)

func main() {
	if looks, err := server.Looks(os.Args[1:], os.Stdin, os.Stdout); looks {
		if err != nil {
			os.Exit(1)
		}
		return
	}
	looker, err := server.Looker()
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := Main(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr, looker)
	looker.Close()
	stop()
	os.Exit(code)
}

// Main tells the story and returns the exit code: 0, 1 where it did not go as told,
// 2 on wrong usage. Look reads migrations; nil reads none.
func Main(ctx context.Context, args []string, stdin *os.File, stdout, stderr io.Writer, look gate.Statements) int {
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	flags.SetOutput(stderr)
	yes := flags.Bool("yes", false, "approve without asking; a pipe implies it")
	bare := flags.Bool("no-database", false, "give the job a token, even where a PostgreSQL is at hand")
	verbose := flags.Bool("log", false, "show the server's log on standard error")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if flags.NArg() > 0 {
		fmt.Fprintf(stderr, "demo: %q is not expected\n", flags.Arg(0))
		return 2
	}
	s := &story{bare: *bare, out: stdout, log: io.Discard, look: look, approve: func(string) error { return nil }}
	if *verbose {
		s.log = stderr
	}
	if term.IsTerminal(int(stdin.Fd())) && !*yes {
		s.approve = func(what string) error {
			fmt.Fprintf(stdout, "\n  You are bob. Press Enter to %s: ", what)
			_, err := bufio.NewReader(stdin).ReadString('\n')
			return err
		}
	}
	if err := s.tell(ctx); err != nil {
		fmt.Fprintf(stderr, "demo: %v\n", err)
		return 1
	}
	return 0
}
