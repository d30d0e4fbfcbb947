package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	"github.com/sallyport/sallyport/gate/ledger"
)

const (
	maxKeyFile     = 4 << 10  // a verifier key is a line of about a hundred bytes
	maxWitnessFile = 16 << 20 // some two hundred thousand lines

	// What a server may take. The largest answer is an entry bundle of 16 MiB.
	connectTimeout = 10 * time.Second
	answerTimeout  = 30 * time.Second
	requestTimeout = 2 * time.Minute
)

func (a *app) auditCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "audit <command>",
		Short: "Verify, export and follow the ledger of a server",
		Long: `Verify, export and follow the ledger of a Sallyport server: what was decided, done
and found, in a log that nobody can rewrite unseen.

Everything that is shown was proved first, against a checkpoint signed by the
ledger's key. Get that key once, from somebody you trust, and keep it; the server
serves it at /ledger/key, but a key that comes from the server that is verified
proves nothing.`,
		Example: `$ sallyport audit verify https://sallyport.acme.internal --key @ledger.pub
$ sallyport audit export https://sallyport.acme.internal --key @ledger.pub -o ledger.jsonl
$ sallyport audit tail https://sallyport.acme.internal --key @ledger.pub --follow`,
		Args: a.subcommand,
		RunE: help,
	}
	c.AddCommand(a.auditVerifyCommand(), a.auditExportCommand(), a.auditTailCommand())
	return c
}

// auditSource is a ledger on a server, and the key to hold it against.
type auditSource struct {
	fetch ledger.Fetch
	key   string
	// fromServer says that the key is the server's own and proves nothing.
	fromServer bool
}

// keyFlags are the flags that say which key a ledger is held against.
type keyFlags struct {
	key         string
	trustServer bool
}

func (k *keyFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&k.key, "key", "", "The ledger's verifier `key`, or @FILE with it")
	c.Flags().BoolVar(&k.trustServer, "trust-server-key", false, "Take the key from the server itself, which proves nothing about it")
}

// isURL reports whether an argument is meant as one.
func isURL(s string) bool { return strings.Contains(s, "://") }

// openSource makes a source of a URL and the flags.
func (a *app) openSource(ctx context.Context, server string, k keyFlags) (auditSource, error) {
	base, client, err := auditServer(server)
	if err != nil {
		return auditSource{}, err
	}
	s := auditSource{fetch: ledger.HTTP(client, base), fromServer: k.trustServer}
	switch {
	case k.trustServer && k.key != "":
		return auditSource{}, usage("name --key or --trust-server-key, not both")
	case k.trustServer:
		data, err := s.fetch(ctx, "key")
		if err != nil {
			return auditSource{}, fmt.Errorf("reading the ledger's key: %w", err)
		}
		if s.key, err = verifierKey(string(data[:min(len(data), maxKeyFile)])); err != nil {
			return auditSource{}, fmt.Errorf("what the server has at /ledger/key: %w", err)
		}
		fmt.Fprintf(a.stderr, "%s the key is the server's own: this shows only that the server agrees with itself.\n", a.errs.wait("warning:"))
		return s, nil
	case k.key == "":
		return auditSource{}, refuse(`no --key.
A key that comes from the server that is verified proves nothing: whoever rewrites
the ledger can sign it anew. Have somebody you trust fetch it once, and keep it:
  curl -o ledger.pub %s/ledger/key
Then: --key @ledger.pub. To look without proof: --trust-server-key`, visible(base))
	}
	s.key, err = a.readKey(k.key)
	return s, err
}

// readKey reads the value of --key. Nothing of a wrong one is shown: it may be the
// private key.
func (a *app) readKey(value string) (string, error) {
	text := value
	if name, ok := strings.CutPrefix(value, "@"); ok {
		data, err := a.readInput(name, maxKeyFile)
		if errors.Is(err, fs.ErrNotExist) {
			return "", refuse("--key: %w", err)
		}
		if err != nil {
			return "", fmt.Errorf("--key: %w", err)
		}
		text = string(data)
	}
	key, err := verifierKey(text)
	if err != nil {
		return "", refuse("--key: %w", err)
	}
	return key, nil
}

func verifierKey(text string) (string, error) {
	key := strings.TrimSpace(text)
	if strings.HasPrefix(key, "PRIVATE+KEY+") {
		return "", errors.New("this is the private key, which must stay on the server; want the verifier key")
	}
	if _, err := note.NewVerifier(key); err != nil {
		return "", errors.New("this is no verifier key; want one line such as sallyport.acme.internal/ledger+1a2b3c4d+AS9…, as /ledger/key serves it")
	}
	return key, nil
}

// auditServer reads the URL of a server and makes a client for it: with time
// limits, without redirects, and for plain http to this machine alone.
func auditServer(server string) (base string, client *http.Client, err error) {
	u, err := url.Parse(server)
	switch {
	case err != nil:
		return "", nil, usage("the server's URL cannot be read")
	case u.User != nil:
		return "", nil, usage("the server's URL has a user or a password in it; the ledger needs none")
	case u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || u.RawQuery != "" || u.Fragment != "":
		return "", nil, usage("%q is not the URL of a server such as https://sallyport.acme.internal", server)
	case u.Scheme == "http" && !loopbackName(u.Hostname()):
		return "", nil, usage("%q is plain http, which anybody in between can change: want https", server)
	}
	base = strings.TrimSuffix(strings.TrimSuffix(u.String(), "/"), "/ledger")
	dialer := &net.Dialer{Timeout: connectTimeout}
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: dialer.DialContext, ForceAttemptHTTP2: true,
		TLSHandshakeTimeout: connectTimeout, ResponseHeaderTimeout: answerTimeout, MaxResponseHeaderBytes: 64 << 10,
		IdleConnTimeout: time.Minute,
	}
	if u.Scheme == "http" {
		transport.Proxy = nil
		dialer.Control = func(_, address string, _ syscall.RawConn) error {
			to, err := netip.ParseAddrPort(address)
			if err != nil {
				return err
			}
			if !to.Addr().Unmap().IsLoopback() {
				return fmt.Errorf("%s is not this machine, and plain http goes nowhere else", address)
			}
			return nil
		}
	}
	return base, &http.Client{
		Transport: transport, Timeout: requestTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

func loopbackName(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.Unmap().IsLoopback()
}

// parseWitnesses reads what others saw: each value of --witness and each line of
// the file. A line may have words before size and root, as where the last line of a
// check run was copied; empty lines and those with # in front are passed over.
func (a *app) parseWitnesses(values []string, file string) ([]ledger.Witness, error) {
	var out []ledger.Witness
	for _, v := range values {
		w, err := parseWitness(v)
		if err != nil {
			return nil, refuse("--witness: %w", err)
		}
		out = append(out, w)
	}
	if file == "" {
		return out, nil
	}
	data, err := a.readInput(file, maxWitnessFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, refuse("--witness-file: %w", err)
	}
	if err != nil {
		return nil, fmt.Errorf("--witness-file: %w", err)
	}
	found, number := 0, 0
	for line := range strings.Lines(string(data)) {
		number++
		// "Ledger: empty" is what a check run says before there is any entry.
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") || line == "Ledger: empty" {
			continue
		}
		w, err := parseWitness(line)
		if err != nil {
			return nil, refuse("%s:%d: %w", file, number, err)
		}
		out = append(out, w)
		found++
	}
	if found == 0 {
		return nil, refuse("%s has no witness in it", file)
	}
	return out, nil
}

func parseWitness(line string) (ledger.Witness, error) {
	words := strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(" \t\r\n`", r) })
	if len(words) < 2 {
		return ledger.Witness{}, fmt.Errorf("%q does not end in a size and a root in base64", line)
	}
	return ledger.ParseWitness(strings.Join(words[len(words)-2:], " "))
}

// counter shows on a terminal how far something is. The function that it returns
// takes the line away again.
func (a *app) counter(what string) (ledger.Progress, func()) {
	if _, tty := terminal(a.stderr); !tty {
		return nil, func() {}
	}
	next, shown := time.Now().Add(time.Second/2), false
	tell := func(done, total int64) {
		if now := time.Now(); now.After(next) {
			fmt.Fprintf(a.stderr, "\r\x1b[K%s", a.errs.dim(fmt.Sprintf("%s %s of %s entries", what, thousands(int(done)), thousands(int(total)))))
			next, shown = now.Add(time.Second/5), true
		}
	}
	return tell, func() {
		if shown {
			fmt.Fprint(a.stderr, "\r\x1b[K")
			shown = false
		}
	}
}

// showFault says what is wrong with a ledger and what that means.
func (a *app) showFault(w io.Writer, f *ledger.Fault) {
	what := "The ledger is bad: " + string(f.Kind)
	switch {
	case f.To == f.From+1:
		what = fmt.Sprintf("Entry %d is bad: %s", f.From, f.Kind)
	case f.To > f.From:
		what = fmt.Sprintf("One of the entries %d to %d is bad: %s", f.From, f.To-1, f.Kind)
	}
	fmt.Fprintf(w, "%s %s\n", a.out.bad("✗"), a.out.strong(what))
	say := func(title, text string) {
		for i, line := range wrap(visible(text), a.out.width-9) {
			if i > 0 {
				title = ""
			}
			fmt.Fprintf(w, "  %-5s  %s\n", title, line)
		}
	}
	say("found", f.Text)
	means, next := faultMeans(f.Kind)
	say("means", means)
	say("next", next)
}

// faultMeans says what a kind of fault means, and what to do next.
func faultMeans(k ledger.FaultKind) (means, next string) {
	keep := "Keep what was verified as it is, export the ledger again, and compare both with the store and its backups."
	switch k {
	case ledger.FaultOrigin:
		return "This is the ledger of another server than the key is for.", "See that URL and key belong together; if they do, somebody else answers in that server's place."
	case ledger.FaultSignature:
		return "Whoever made this ledger did not have the key that you hold: it is another ledger, or it was begun anew.", "Ask whoever gave you the key whether it was replaced. Do not take the new one from the server."
	case ledger.FaultRoot:
		return "These are not the entries that were signed or seen before: at least one was changed, added, left out or moved, or a second history was begun.", keep
	case ledger.FaultChanged:
		return "This entry is not what it was when it was recorded.", keep
	case ledger.FaultMissing:
		return "Entries that were recorded are not there: they were removed, or an older copy is shown.", keep
	case ledger.FaultDoubled:
		return "An entry stands where another was recorded.", keep
	case ledger.FaultReordered:
		return "The entries are not in the order in which they were recorded.", keep
	case ledger.FaultUnsigned:
		return "There are entries that no signature covers: nobody vouches for them.", keep
	case ledger.FaultPersonal:
		return "A personal value in this export is not the one that was recorded. The entry itself is right.", "Do not rely on that value; export again."
	case ledger.FaultMalformed:
		return "It is damaged, or it is no ledger.", "Fetch it again. If that changes nothing, it was altered."
	}
	return "The ledger is not what was recorded.", keep
}
