package main

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/gate/ledger"
)

const (
	maxTail     = 100_000
	followEvery = 2 * time.Second
)

// oneServer is cobra.PositionalArgs for the URL of a server.
func oneServer(_ *cobra.Command, args []string) error {
	if len(args) != 1 || !isURL(args[0]) {
		return usage("name one server by its URL, such as https://sallyport.acme.internal")
	}
	return nil
}

const auditExits = `0  done
1  something else went wrong, such as the network
2  the command line is wrong, or there is no key
3  a fault was found in the ledger`

func (a *app) auditExportCommand() *cobra.Command {
	var k keyFlags
	var out string
	c := &cobra.Command{
		Use:   "export [flags] <url>",
		Short: "Copy the ledger of a server into a file that can be verified offline",
		Long: `Copy the ledger of a server into JSON lines that sallyport audit verify verifies
offline. Every entry is proved before it is written, and the file is there only once
it is whole. It has no personal data in clear: a server serves none.`,
		Example: `$ sallyport audit export https://sallyport.acme.internal --key @ledger.pub -o ledger.jsonl
$ sallyport audit export https://sallyport.acme.internal --key @ledger.pub | gzip > ledger.jsonl.gz`,
		Args:        oneServer,
		Annotations: map[string]string{"exit": auditExits},
	}
	k.add(c)
	c.Flags().StringVarP(&out, "output", "o", "-", "Write to this `file`")
	c.RunE = func(c *cobra.Command, args []string) error {
		tree, _, err := a.openTree(c.Context(), args[0], k)
		if err != nil {
			return err
		}
		return a.auditExport(c.Context(), tree, out)
	}
	return c
}

// openTree opens the ledger of a server at its newest checkpoint. A fault is shown.
func (a *app) openTree(ctx context.Context, server string, k keyFlags) (*ledger.Tree, auditSource, error) {
	source, err := a.openSource(ctx, server, k)
	if err != nil {
		return nil, auditSource{}, err
	}
	tree, err := ledger.Open(ctx, source.fetch, source.key)
	return tree, source, a.faulty(err)
}

// faulty shows a fault on stderr, where stdout is for entries, and ends with the
// exit code for it.
func (a *app) faulty(err error) error {
	var f *ledger.Fault
	if !errors.As(err, &f) {
		return err
	}
	means, next := faultMeans(f.Kind)
	return &codeError{code: ExitHuman, err: fmt.Errorf("%w\n  %s\n  %s", err, means, next)}
}

func (a *app) auditExport(ctx context.Context, tree *ledger.Tree, out string) (err error) {
	tell, done := a.counter("Exported")
	defer done()
	if out == "-" {
		return a.faulty(tree.Export(ctx, a.stdout, tell))
	}
	// Half an export must not stand where a whole one is looked for.
	f, err := os.CreateTemp(filepath.Dir(out), ".sallyport-export-*")
	if err != nil {
		return err
	}
	defer func() {
		_ = f.Close()
		_ = os.Remove(f.Name()) // it is gone if all went well
	}()
	if err := tree.Export(ctx, f, tell); err != nil {
		return a.faulty(err)
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), out); err != nil {
		return err
	}
	done()
	fmt.Fprintf(a.stderr, "%s %s: %s of %s\n", a.errs.good("✓"), visible(out), entries(tree.Checkpoint().Size), visible(tree.Checkpoint().Origin))
	return nil
}

func entries(n int64) string {
	if n == 1 {
		return "1 entry"
	}
	return thousands(int(n)) + " entries"
}

func (a *app) auditTailCommand() *cobra.Command {
	var k keyFlags
	var n int
	c := &cobra.Command{
		Use:   "tail [flags] <url>",
		Short: "Print the newest entries of the ledger of a server, one line each",
		Long: `Print the newest entries of the ledger of a server, one line each, and with
--follow those that come. Every entry is proved before it is printed, and a server
that goes back on what it showed before is found out.

A line has the entry's number, its time, its kind, what it is about, the decision
that it is or follows from, and its payload. People stand in the ledger as commitments only.`,
		Example: `$ sallyport audit tail https://sallyport.acme.internal --key @ledger.pub
$ sallyport audit tail https://sallyport.acme.internal --key @ledger.pub -n 5 --follow
$ sallyport audit tail https://sallyport.acme.internal --key @ledger.pub --format json | jq .entry.kind`,
		Args:        oneServer,
		Annotations: map[string]string{"exit": auditExits},
	}
	k.add(c)
	c.Flags().IntVarP(&n, "lines", "n", 20, "How `many` of the newest entries")
	follow := c.Flags().BoolP("follow", "f", false, "Go on, and print what comes")
	f := addFormat(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		if n < 0 || n > maxTail {
			return usage("-n %d: want 0 to %d", n, maxTail)
		}
		ctx := c.Context()
		tree, source, err := a.openTree(ctx, args[0], k)
		if err != nil {
			return err
		}
		say := a.sayEntry
		if *f == formatJSON {
			say = sayEntryJSON
		}
		from, err := a.auditTail(ctx, tree, max(0, tree.Checkpoint().Size-int64(n)), say)
		if err != nil || !*follow {
			return err
		}
		return a.auditFollow(ctx, source, tree, from, say)
	}
	return c
}

// entrySayer writes an entry as one line.
type entrySayer func(w io.Writer, index int64, r ledger.Record) error

// auditTail prints the entries of a tree from an index on, and returns the index
// after the last.
func (a *app) auditTail(ctx context.Context, tree *ledger.Tree, from int64, say entrySayer) (int64, error) {
	w := bufio.NewWriter(a.stdout)
	for from < tree.Checkpoint().Size {
		records, err := tree.Entries(ctx, from)
		if err != nil {
			return from, errors.Join(w.Flush(), a.faulty(err))
		}
		for _, r := range records {
			if err := say(w, from, r); err != nil {
				return from, err
			}
			from++
		}
		if err := w.Flush(); err != nil {
			return from, err
		}
	}
	return from, nil
}

// auditFollow prints what comes, until ctx ends or the ledger goes back on what it
// showed. A server that is away for a while is waited for.
func (a *app) auditFollow(ctx context.Context, source auditSource, tree *ledger.Tree, from int64, say entrySayer) error {
	every := time.NewTicker(followEvery)
	defer every.Stop()
	away := ""
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-every.C:
		}
		next, err := a.step(ctx, source, tree)
		if err == nil {
			tree = next
			from, err = a.auditTail(ctx, tree, from, say)
		}
		var code *codeError
		switch {
		case errors.As(err, &code):
			return err
		case err == nil:
			away = ""
		case err.Error() != away:
			away = err.Error()
			fmt.Fprintf(a.stderr, "%s %s\n", a.errs.wait("sallyport: trying again:"), visible(away))
		}
	}
}

// step opens the ledger again and proves that it went on from where it was.
func (a *app) step(ctx context.Context, source auditSource, tree *ledger.Tree) (*ledger.Tree, error) {
	next, err := ledger.Open(ctx, source.fetch, source.key)
	if err != nil {
		return nil, a.faulty(err)
	}
	if next.Checkpoint().Witness() == tree.Checkpoint().Witness() {
		return tree, nil
	}
	return next, a.faulty(next.Consistent(ctx, tree.Checkpoint().Witness()))
}

func sayEntryJSON(w io.Writer, index int64, r ledger.Record) error {
	if err := json.MarshalWrite(w, struct {
		Index int64          `json:"index"`
		Hash  string         `json:"hash"`
		Entry jsontext.Value `json:"entry"`
	}{index, hex.EncodeToString(r.Hash[:]), r.Leaf}); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

// sayEntry writes an entry for people. On a terminal it is cut to the width.
func (a *app) sayEntry(w io.Writer, index int64, r ledger.Record) error {
	when := r.Time.UTC().Format("2006-01-02T15:04:05Z")
	head := fmt.Sprintf("%6d  %s  %-8s  ", index, when, visible(string(r.Kind)))
	text := subject(r.Subject)
	if r.Decision != "" {
		text += " by " + oneWord(r.Decision)
	}
	if len(r.Payload) > 0 {
		text = strings.TrimSpace(text + "  " + string(r.Payload))
	}
	text = visible(text)
	if width, tty := terminal(a.stdout); tty {
		text = shorten(text, max(width-len(head), 8))
	}
	if a.out.colour {
		head = fmt.Sprintf("%6d  %s  %s  ", index, a.out.dim(when), a.out.name(fmt.Sprintf("%-8s", visible(string(r.Kind)))))
	}
	_, err := fmt.Fprintln(w, strings.TrimRight(head+text, " "))
	return err
}

// subject is what an entry is about in a few words.
func subject(s ledger.Subject) string {
	var out []string
	add := func(name string, n int64) {
		if n != 0 {
			out = append(out, name+" "+strconv.FormatInt(n, 10))
		}
	}
	add("repository", int64(s.Repository))
	add("pull request", int64(s.PullRequest))
	if s.SHA != "" {
		out = append(out, "at "+string(s.SHA[:min(len(s.SHA), 12)]))
	}
	add("deployment", int64(s.Deployment))
	add("run", int64(s.Run))
	add("attempt", int64(s.Attempt))
	if s.Environment != "" {
		out = append(out, "environment "+oneWord(s.Environment))
	}
	if s.Key != "" {
		out = append(out, "key "+oneWord(s.Key))
	}
	return strings.Join(out, " ")
}

// oneWord quotes what could be taken for more than it is: whoever names an environment
// chooses what stands there.
func oneWord(s string) string {
	if strings.ContainsAny(s, " \"{") {
		return strconv.Quote(s)
	}
	return s
}
