package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	"github.com/sallyport/sallyport/gate/ledger"
)

func (a *app) auditVerifyCommand() *cobra.Command {
	var o verifyOptions
	c := &cobra.Command{
		Use:   "verify [flags] <url>|<file>|-",
		Short: "Verify a ledger: every entry, in its place, as it was signed",
		Long: `Verify a ledger, over the network from the URL of a server or offline from a file
that was exported: every entry, in its place, under a checkpoint that the ledger's
key signed.

A witness is what somebody saw of the ledger earlier: its size and its root, as in
the last line of each check run. Each must be a state that the ledger went through.
Without any, a history that was rewritten as a whole, by somebody with the key,
cannot be told from the first.`,
		Example: `$ sallyport audit verify https://sallyport.acme.internal --key @ledger.pub
$ sallyport audit verify ledger.jsonl --key @ledger.pub --witness "1204 qaKm…="
$ sallyport audit verify https://sallyport.acme.internal --key @ledger.pub --witness-file seen.txt --format json`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("name one ledger: the URL of a server, a file that was exported, or - for standard input")
			}
			return nil
		},
		Annotations: map[string]string{"exit": `0  the ledger is as it was signed and seen
1  something else went wrong, such as the network
2  the command line is wrong, or there is no key
3  a fault was found`},
	}
	o.add(c)
	c.Flags().StringArrayVar(&o.witnesses, "witness", nil, "What somebody saw earlier: \"`SIZE ROOT`\"; may be given again")
	c.Flags().StringVar(&o.witnessFile, "witness-file", "", "A `file` with one witness a line")
	f := addFormat(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		o.format = *f
		return a.auditVerify(c.Context(), args[0], o)
	}
	return c
}

type verifyOptions struct {
	keyFlags

	witnesses   []string
	witnessFile string
	format      format
}

// verified is what audit verify prints as JSON. Fields may be added and are never
// changed.
type verified struct {
	Verified bool   `json:"verified"`
	Source   string `json:"source"` // "server" or "export"
	Origin   string `json:"origin"`
	// Size and Root are of the newest checkpoint, where the ledger is sound.
	Size int64  `json:"size,omitzero"`
	Root string `json:"root,omitzero"`
	// Witnesses is how many the ledger was held against.
	Witnesses     int           `json:"witnesses"`
	KeyFromServer bool          `json:"key_from_server,omitzero"`
	Fault         *auditedFault `json:"fault,omitzero"`
}

// auditedFault is the first thing that is wrong. From and To are the entries that
// it is in, To excluded; equal if it is with no entry.
type auditedFault struct {
	Kind ledger.FaultKind `json:"kind"`
	From int64            `json:"from"`
	To   int64            `json:"to"`
	Text string           `json:"text"`
}

func (a *app) auditVerify(ctx context.Context, from string, o verifyOptions) error {
	seen, err := a.parseWitnesses(o.witnesses, o.witnessFile)
	if err != nil {
		return err
	}
	result := verified{Source: "export", Witnesses: len(seen)}
	cfg := ledger.VerifyConfig{Witnesses: seen}
	tell, done := a.counter("Verified")
	defer done()
	cfg.Progress = tell
	var head ledger.Checkpoint
	if isURL(from) {
		source, err := a.openSource(ctx, from, o.keyFlags)
		if err != nil {
			return err
		}
		result.Source, result.KeyFromServer = "server", source.fromServer
		cfg.Verifier = source.key
		head, err = ledger.Verify(ctx, source.fetch, cfg)
		done()
		return a.verdict(result, head, err, cfg, o.format)
	}
	if cfg.Verifier, err = a.exportKey(o.keyFlags); err != nil {
		return err
	}
	in, err := a.openInput(from)
	if err != nil {
		return err
	}
	defer in.Close()
	head, err = ledger.VerifyExport(in, cfg)
	done()
	return a.verdict(result, head, err, cfg, o.format)
}

// exportKey is the key that an export is held against: it has no server to ask.
func (a *app) exportKey(k keyFlags) (string, error) {
	switch {
	case k.trustServer:
		return "", usage("--trust-server-key is for the URL of a server; want --key")
	case k.key == "":
		return "", refuse(`no --key.
Without the ledger's key an export proves nothing: anybody can write one. Have
somebody you trust fetch the key once from the server, at /ledger/key, and keep it.
Then: --key @ledger.pub`)
	}
	return a.readKey(k.key)
}

// openInput opens a file, or stdin for "-", to be read as it comes.
func (a *app) openInput(name string) (io.ReadCloser, error) {
	if name == "-" {
		return io.NopCloser(a.stdin), nil
	}
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, refuse("%w", err)
	}
	return f, err
}

// verdict shows what came of a verification. An error that is no fault says
// nothing about the ledger.
func (a *app) verdict(r verified, head ledger.Checkpoint, err error, cfg ledger.VerifyConfig, f format) error {
	var fault *ledger.Fault
	if err != nil && !errors.As(err, &fault) {
		return err
	}
	if v, err := note.NewVerifier(cfg.Verifier); err == nil {
		r.Origin = v.Name()
	}
	if fault == nil {
		r.Verified, r.Size, r.Root = true, head.Size, head.Root.String()
	} else {
		r.Fault = &auditedFault{Kind: fault.Kind, From: fault.From, To: max(fault.To, fault.From), Text: fault.Text}
	}
	if f == formatJSON {
		if err := a.printJSON(r); err != nil {
			return err
		}
	} else {
		w := bufio.NewWriter(a.stdout)
		if fault == nil {
			a.showVerified(w, r)
		} else {
			a.showFault(w, fault)
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	if fault != nil {
		return errHuman()
	}
	return nil
}

func (a *app) showVerified(w io.Writer, r verified) {
	entries := "entries, each in its place and as it was signed"
	if r.Size == 1 {
		entries = "entry, as it was signed"
	}
	fmt.Fprintf(w, "%s %s\n", a.out.good("✓"), a.out.strong("Verified: "+thousands(int(r.Size))+" "+entries))
	row := func(title, text string) { fmt.Fprintf(w, "  %-9s  %s\n", title, text) }
	row("origin", visible(r.Origin))
	row("size", strconv.FormatInt(r.Size, 10))
	row("root", r.Root)
	switch {
	case r.Witnesses > 0:
		row("witnesses", fmt.Sprintf("%s, each a state that the ledger went through", thousands(r.Witnesses)))
	default:
		row("witnesses", "none: whether it was rewritten before cannot be told. Next: --witness \"SIZE ROOT\"")
	}
	if r.KeyFromServer {
		row("key", a.out.wait("the server's own: this shows only that the server agrees with itself"))
	}
}
