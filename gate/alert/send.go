package alert

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/sallyport/sallyport/rules"
)

const (
	defaultTimeout = 10 * time.Second // for a message, from the name's lookup to the answer's end
	maxAnswer      = 64 << 10         // bytes of an answer that are read, and thrown away
)

// Config is what a sender works with. The zero value works.
type Config struct {
	// Timeout is how long a message may take, from the name's lookup to the answer's
	// end; 0 is 10 seconds.
	Timeout time.Duration
	// Resolver looks names up; nil is the system's.
	Resolver *net.Resolver
	// Roots are the authorities that certificates must come from; nil is the
	// system's.
	Roots *x509.CertPool
	// Control is asked before each connection, with the address that the name was
	// resolved to, after the sender's own check passed it; an error ends the try. Nil
	// asks nobody. See [net.Dialer].
	Control func(network, address string, c syscall.RawConn) error
	// Now is the clock. Nil is time.Now.
	Now func() time.Time
	// Log is told what became of each message. Nil is silence.
	Log *slog.Logger
}

// Sender sends messages to the alert targets of a targets file. It is safe for
// concurrent use.
type Sender struct {
	cfg     Config
	targets map[string]target
}

// target is an entry of the targets file.
type target struct {
	urlFile      string
	write        func(Message) ([]byte, error)
	repositories []rules.RepositoryID
	private      bool
}

// New makes a sender for the alerts of a targets file; nil has none. It reads every
// address once, so that a mistake is found now and not by the first alert.
func New(targets *rules.Targets, cfg Config) (*Sender, error) {
	if cfg.Timeout < 0 {
		return nil, fmt.Errorf("alert: a timeout of %s", cfg.Timeout)
	}
	cfg.Timeout = cmp.Or(cfg.Timeout, defaultTimeout)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Sender{cfg: cfg, targets: map[string]target{}}
	if targets == nil {
		return s, nil
	}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(targets.Alerts)) {
		t, err := open(targets.Alerts[name])
		if err != nil {
			errs = append(errs, fmt.Errorf("alert: target %q: %w", name, err))
			continue
		}
		s.targets[name] = t
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return s, nil
}

// open checks an entry of the targets file and what its file holds now.
func open(a *rules.AlertTarget) (target, error) {
	if a == nil || (a.Slack == nil) == (a.Webhook == nil) {
		return target{}, errors.New("want exactly one of slack and webhook")
	}
	t := target{repositories: slices.Clone(a.Repositories), private: a.Private}
	if a.Slack != nil {
		t.urlFile, t.write = a.Slack.URLFile, slack
	} else {
		t.urlFile, t.write = a.Webhook.URLFile, webhook
	}
	where, err := readAddress(t.urlFile)
	if err != nil {
		return target{}, err
	}
	u, err := where.parse()
	if err != nil {
		return target{}, err
	}
	// A name is looked at when it is dialled: until then it can change.
	if ip, err := netip.ParseAddr(u.Hostname()); err == nil {
		return t, t.reach(u).check(netip.AddrPortFrom(ip, 1).String())
	}
	return t, nil
}

func (t target) reach(u *url.URL) reach {
	return reach{private: t.private, loopback: u.Scheme == "http"}
}

// Names returns those of the wanted targets that are declared for a repository, each
// once, in the order in which they are wanted.
func (s *Sender) Names(repository rules.RepositoryID, wanted []string) []string {
	var out []string
	for _, name := range wanted {
		if t, ok := s.targets[name]; ok && t.lists(repository) && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

func (t target) lists(repository rules.RepositoryID) bool {
	return repository > 0 && slices.Contains(t.repositories, repository)
}

// Send sends a message to a target, once. It returns a [*Failed] if it did not
// arrive, as far as that is known: the receiver may have it all the same.
func (s *Sender) Send(ctx context.Context, to string, m Message) error {
	err := s.send(ctx, to, m)
	about := []any{slog.String("target", to), slog.String("code", m.Code), slog.Int64("repository", int64(m.RepositoryID))}
	if err != nil {
		s.cfg.Log.WarnContext(ctx, "an alert was not sent", append(about, slog.Any("cause", err))...)
		return err
	}
	s.cfg.Log.InfoContext(ctx, "an alert was sent", about...)
	return nil
}

func (s *Sender) send(ctx context.Context, to string, m Message) error {
	t, ok := s.targets[to]
	switch {
	case !ok:
		return &Failed{Target: to, Permanent: true, why: "the server's targets file has no such alert target"}
	case !t.lists(m.RepositoryID):
		return &Failed{Target: to, Permanent: true, why: "the server's targets file does not list repository " + strconv.FormatInt(int64(m.RepositoryID), 10) + " for it"}
	}
	if err := m.valid(); err != nil {
		return &Failed{Target: to, Permanent: true, why: err.Error()}
	}
	body, err := t.write(m)
	if err != nil {
		return &Failed{Target: to, Permanent: true, why: err.Error()}
	}
	// Each time: whoever rotates the address does not have to tell us.
	where, err := readAddress(t.urlFile)
	if err != nil {
		return &Failed{Target: to, why: err.Error()}
	}
	u, err := where.parse()
	if err != nil {
		return &Failed{Target: to, why: err.Error()}
	}
	limited, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	r, err := http.NewRequestWithContext(limited, http.MethodPost, u.String(), bytes.NewReader(body))
	if err != nil {
		return &Failed{Target: to, why: "its address is of no use"}
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "sallyport")
	answer, err := s.client(t.reach(u)).Do(r)
	if err != nil {
		return broken(ctx, to, s.cfg.Timeout, err)
	}
	defer answer.Body.Close()
	// The status is the whole answer. What else there is may break off.
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, maxAnswer))
	return judgeStatus(to, answer, s.cfg.Now())
}

// client makes one connection and no more: each message is checked against where
// its name leads at that moment.
func (s *Sender) client(reach reach) *http.Client {
	dialer := &net.Dialer{
		Resolver: s.cfg.Resolver,
		Control: func(network, address string, c syscall.RawConn) error {
			if err := reach.check(address); err != nil {
				return err
			}
			if s.cfg.Control != nil {
				return s.cfg.Control(network, address, c)
			}
			return nil
		},
	}
	return &http.Client{
		Transport: &http.Transport{
			Proxy:             nil, // a proxy would look names up for itself
			DialContext:       dialer.DialContext,
			TLSClientConfig:   &tls.Config{RootCAs: s.cfg.Roots, MinVersion: tls.VersionTLS12},
			DisableKeepAlives: true, DisableCompression: true,
			MaxResponseHeaderBytes: maxAnswer,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
