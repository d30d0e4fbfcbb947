package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/sallyport/sallyport/rules"
)

func main() {
	if folder := os.Getenv(serveEnv); folder != "" {
		if err := serve(folder, os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "accept: serving:", err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

type config struct {
	rounds, deliveries, connections, rate int
	steady                                time.Duration
	payloads                              []payload
	folder                                string
}

// run is the program: 0 after a measurement whatever it says, 2 for wrong usage, 1
// if something went wrong.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet("accept", flag.ContinueOnError)
	fs.SetOutput(stderr)
	var c config
	fs.IntVar(&c.rounds, "rounds", 7, "rounds of the throughput, each side in turn")
	fs.IntVar(&c.deliveries, "deliveries", 6000, "deliveries in a round")
	fs.IntVar(&c.connections, "connections", 64, "connections that send one delivery after the other")
	fs.IntVar(&c.rate, "rate", 1000, "deliveries a second of the steady load")
	fs.DurationVar(&c.steady, "steady", 10*time.Second, "how long the steady load lasts")
	if err := fs.Parse(args); err != nil {
		return 2
	}
	if c.rounds < 1 || c.deliveries < c.connections || c.connections < 1 || c.rate < 1 || c.steady < time.Second || fs.NArg() > 0 {
		fmt.Fprintln(stderr, "accept: want -rounds, -connections and -rate of at least 1, -deliveries of at least -connections, -steady of at least 1s, and no arguments")
		return 2
	}
	if err := c.measure(ctx, stdout); err != nil {
		fmt.Fprintln(stderr, "accept:", err)
		return 1
	}
	return 0
}

// The goals that are printed beside what was measured.
const (
	goalRatio = 0.7
	goalP99   = 25 * time.Millisecond
	goalRest  = 40 << 20
	goalLoad  = 120 << 20
)

func (c *config) measure(ctx context.Context, w io.Writer) (err error) {
	if c.payloads, err = load(os.Getenv("SALLYPORT_WEBHOOKS")); err != nil {
		return err
	}
	if c.folder, err = os.MkdirTemp("", "sallyport-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(c.folder)
	total := 0
	for _, p := range c.payloads {
		total += len(p.body)
	}
	fmt.Fprintf(w, "%d payloads of %d bytes in the mean; %s %s/%s, %d CPUs\n\n", len(c.payloads), total/len(c.payloads), runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	t, err := c.throughput(ctx)
	if err != nil {
		return err
	}
	s, err := c.steadily(ctx)
	if err != nil {
		return err
	}
	tab := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tab, "what\ta second\tquartiles\tin a transaction\tprocessor time, µs a delivery")
	for _, r := range t.sides() {
		fmt.Fprintf(tab, "%s\t%.0f\t%.0f..%.0f\t%.1f\t%.0f", r.name, quantile(r.rates, 0.5), quantile(r.rates, 0.25), quantile(r.rates, 0.75), quantile(r.group, 0.5), quantile(r.used, 0.5))
		if sent := quantile(r.sent, 0.5); sent > 0 {
			fmt.Fprintf(tab, ", and %.0f of the sender", sent)
		}
		fmt.Fprintln(tab)
	}
	fmt.Fprintln(tab)
	fmt.Fprintf(tab, "at %d a second for %s\tp50\tp99\tmax\n", c.rate, c.steady)
	fmt.Fprintf(tab, "from when it was due to the 202\t%s\t%s\t%s\n\n", ms(s.at(0.5)), ms(s.at(0.99)), ms(s.at(1)))
	fmt.Fprintln(tab, "what\tmeasured\tgoal\t")
	goal := func(what, measured, goal string, met bool) {
		verdict := "met"
		if !met {
			verdict = "MISSED"
		}
		fmt.Fprintf(tab, "%s\t%s\t%s\t%s\n", what, measured, goal, verdict)
	}
	for _, x := range []struct {
		what string
		got  float64
	}{
		{"over HTTP, to SQLite's best with groups as large", ratio(t.accepted, t.acceptedBest)},
		{"a handler over HTTP that only reads and stores, to SQLite's best with groups as large", ratio(t.bare, t.acceptedBest)},
		{"the handler, without network and sender, to SQLite's best with groups as large", ratio(t.handled, t.handledBest)},
		{"the store alone, to SQLite's best with groups as large", ratio(t.direct, t.directBest)},
		{"the store alone, to SQLite's best, one group for all", ratio(t.direct, t.fullBest)},
	} {
		goal(x.what, fmt.Sprintf("%.0f %%", 100*x.got), fmt.Sprintf("at least %.0f %%", 100*goalRatio), x.got >= goalRatio)
	}
	goal("p99 at the steady rate", ms(s.at(0.99)), "below "+ms(goalP99), s.at(0.99) < goalP99)
	goal("resident at rest", mib(s.rest), "at most "+mib(goalRest), s.rest <= goalRest)
	goal("resident under the steady load, at most", mib(s.most), "at most "+mib(goalLoad), s.most <= goalLoad)
	return tab.Flush()
}

// side is one of the things whose throughput is compared.
type side struct {
	name  string
	rates []float64 // deliveries a second
	group []float64 // deliveries in a transaction
	// used is the processor time of a delivery in microseconds, sent that of who
	// sends it over HTTP.
	used, sent []float64
}

// outcome is what one side took for all deliveries of a round.
type outcome struct {
	took  time.Duration
	group float64       // deliveries in a transaction
	used  time.Duration // processor time of another process that did the work; 0 is none
}

func (s *side) add(deliveries int, o outcome, self time.Duration) {
	a := func(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) / float64(deliveries) }
	if o.used == 0 {
		o.used, self = self, 0
	}
	s.rates = append(s.rates, float64(deliveries)/o.took.Seconds())
	s.group = append(s.group, o.group)
	s.used, s.sent = append(s.used, a(o.used)), append(s.sent, a(self))
}

type throughput struct {
	accepted, acceptedBest side // over HTTP, and SQLite's best with groups as large
	bare                   side // over HTTP, by a handler that only reads and stores
	handled, handledBest   side // by the handler itself
	direct, directBest     side // into the store itself
	fullBest               side // SQLite's best where every connection is in each group
}

func (t *throughput) sides() []*side {
	return []*side{&t.accepted, &t.acceptedBest, &t.bare, &t.handled, &t.handledBest, &t.direct, &t.directBest, &t.fullBest}
}

// ratio is the median of one side's rate to another's in the same round.
func ratio(a, b side) float64 {
	var out []float64
	for i := range a.rates {
		out = append(out, a.rates[i]/b.rates[i])
	}
	return quantile(out, 0.5)
}

// throughput has all connections send as fast as they are answered, and SQLite
// insert the same rows, in turns.
func (c *config) throughput(ctx context.Context) (*throughput, error) {
	requests := wires(c.payloads, 0, c.deliveries)
	made := make([]rules.Delivery, c.deliveries)
	for i := range made {
		var err error
		if made[i], err = capture(c.payloads[i%len(c.payloads)], i); err != nil {
			return nil, err
		}
	}
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // of this process, which sends and is SQLite's best
	t := &throughput{
		accepted:     side{name: fmt.Sprintf("accepted over HTTP, %d connections", c.connections)},
		acceptedBest: side{name: "  SQLite's best with groups as large"},
		bare:         side{name: fmt.Sprintf("stored unread over HTTP, %d connections", c.connections)},
		handled:      side{name: fmt.Sprintf("accepted by the handler, %d callers", c.connections)},
		handledBest:  side{name: "  SQLite's best with groups as large"},
		direct:       side{name: fmt.Sprintf("accepted by the store alone, %d callers", c.connections)},
		directBest:   side{name: "  SQLite's best with groups as large"},
		fullBest:     side{name: "SQLite's best, one group for all"},
	}
	for round := -1; round < c.rounds; round++ { // one to warm up
		var now throughput
		want := ""
		// in runs one side on a new database and holds its rows to the others'.
		in := func(s *side, fn func(folder string) (outcome, error)) error {
			folder, err := os.MkdirTemp(c.folder, "db-")
			if err != nil {
				return err
			}
			runtime.GC()
			before := processorTime()
			o, err := fn(folder)
			if err != nil {
				return err
			}
			s.add(c.deliveries, o, processorTime()-before)
			got, err := rows(ctx, folder)
			if err == nil && want != "" && got != want {
				err = fmt.Errorf("not the same rows: %s, and %s", want, got)
			}
			want = got
			return errors.Join(err, os.RemoveAll(folder))
		}
		inBest := func(s *side, group float64) error {
			size := int(math.Ceil(group))
			return in(s, func(folder string) (outcome, error) {
				took, err := best(ctx, folder, made, size)
				return outcome{took: took, group: float64(size)}, err
			})
		}
		for _, step := range []func() error{
			func() error {
				return in(&now.accepted, func(folder string) (outcome, error) { return c.accepted(ctx, folder, requests, 0) })
			},
			func() error { return inBest(&now.acceptedBest, now.accepted.group[0]) },
			func() error {
				return in(&now.bare, func(folder string) (outcome, error) { return c.accepted(ctx, folder, requests, c.deliveries) })
			},
			func() error {
				return in(&now.handled, func(folder string) (outcome, error) {
					return handled(ctx, folder, c.payloads, c.deliveries, c.connections)
				})
			},
			func() error { return inBest(&now.handledBest, now.handled.group[0]) },
			func() error {
				return in(&now.direct, func(folder string) (outcome, error) { return direct(ctx, folder, made, c.connections) })
			},
			func() error { return inBest(&now.directBest, now.direct.group[0]) },
			func() error { return inBest(&now.fullBest, float64(c.connections)) },
		} {
			if err := step(); err != nil {
				return nil, err
			}
		}
		if round < 0 {
			continue
		}
		for i, s := range t.sides() {
			s.rates = append(s.rates, now.sides()[i].rates...)
			s.group = append(s.group, now.sides()[i].group...)
			s.used, s.sent = append(s.used, now.sides()[i].used...), append(s.sent, now.sides()[i].sent...)
		}
	}
	return t, nil
}

// accepted sends the requests to a new server. With a number of deliveries the server
// is one that only reads and stores.
func (c *config) accepted(ctx context.Context, folder string, requests [][]byte, unread int) (out outcome, err error) {
	s, err := startServer(ctx, folder, unread)
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	senders, err := dial(ctx, s.addr, c.connections)
	if err != nil {
		return out, err
	}
	before, err := commits(folder)
	if err != nil {
		return out, err
	}
	usedBefore, err := s.used()
	if err != nil {
		return out, err
	}
	errs := make([]error, len(senders))
	start := time.Now()
	inTurn(len(senders), len(requests), func(i, n int) bool {
		errs[i] = senders[i].send(requests[n])
		return errs[i] == nil
	})
	out.took = time.Since(start)
	used, err := s.used()
	after, err2 := commits(folder)
	for _, sender := range senders {
		_ = sender.conn.Close() // everything was answered
	}
	out.used, out.group = used-usedBefore, float64(len(requests))/float64(after-before)
	return out, errors.Join(errors.Join(errs...), err, err2)
}

// maxRun is how long a connection may be used at most.
const maxRun = 10 * time.Minute

// sender is a connection that is kept.
type sender struct {
	conn net.Conn
	in   *bufio.Reader
}

func dial(ctx context.Context, addr string, count int) ([]*sender, error) {
	out := make([]*sender, count)
	var d net.Dialer
	for i := range out {
		conn, err := d.DialContext(ctx, "tcp", addr)
		if err != nil {
			return nil, err
		}
		if err := conn.SetDeadline(time.Now().Add(maxRun)); err != nil {
			return nil, err
		}
		out[i] = &sender{conn: conn, in: bufio.NewReader(conn)}
	}
	return out, nil
}

// send sends one delivery and waits until it is accepted. It reads no more of the
// answer than it must: what the sender takes of the processor the server does not
// have.
func (s *sender) send(request []byte) error {
	if _, err := s.conn.Write(request); err != nil {
		return err
	}
	const accepted = "HTTP/1.1 202 "
	status, err := s.in.ReadSlice('\n')
	if err != nil {
		return err
	}
	if !strings.HasPrefix(string(status), accepted) {
		rest, _ := s.in.Peek(s.in.Buffered())
		return fmt.Errorf("%s%s", status, rest)
	}
	length := -1
	for {
		line, err := s.in.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(line) <= len("\r\n") {
			break
		}
		if value, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return err
			}
		}
	}
	if length < 0 {
		return errors.New("an answer without Content-Length")
	}
	_, err = s.in.Discard(length)
	return err
}

// steady is what a steady load did.
type steady struct {
	took       []time.Duration // sorted
	rest, most int64           // bytes resident
}

func (s *steady) at(q float64) time.Duration { return s.took[int(q*float64(len(s.took)-1))] }

// steadily sends at a fixed rate. A delivery's time counts from when it was due,
// so that a server which stalls is not asked less.
func (c *config) steadily(ctx context.Context) (*steady, error) {
	folder, err := os.MkdirTemp(c.folder, "db-")
	if err != nil {
		return nil, err
	}
	count := int(float64(c.rate) * c.steady.Seconds())
	requests := wires(c.payloads, 0, count)
	s, err := startServer(ctx, folder, 0)
	if err != nil {
		return nil, err
	}
	out := &steady{took: make([]time.Duration, count)}
	time.Sleep(2 * time.Second) // at rest
	if out.rest, err = s.resident("VmRSS"); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	senders, err := dial(ctx, s.addr, c.connections)
	if err != nil {
		return nil, errors.Join(err, s.stop())
	}
	debug.FreeOSMemory()
	due := make(chan int, count)
	errs := make([]error, len(senders))
	start := time.Now().Add(10 * time.Millisecond)
	when := func(n int) time.Time { return start.Add(time.Duration(n) * time.Second / time.Duration(c.rate)) }
	var wait sync.WaitGroup
	for i, sender := range senders {
		wait.Go(func() {
			for n := range due {
				if errs[i] = sender.send(requests[n]); errs[i] != nil {
					return
				}
				out.took[n] = time.Since(when(n))
			}
		})
	}
	for n := range count {
		time.Sleep(time.Until(when(n)))
		due <- n
	}
	close(due)
	wait.Wait()
	out.most, err = s.resident("VmHWM")
	for _, sender := range senders {
		_ = sender.conn.Close() // everything was answered
	}
	if err := errors.Join(errors.Join(errs...), err, s.stop(), ctx.Err()); err != nil {
		return nil, err
	}
	slices.Sort(out.took)
	return out, os.RemoveAll(folder)
}

// quantile is the q-th quantile, between neighbours in proportion.
func quantile(values []float64, q float64) float64 {
	v := slices.Sorted(slices.Values(values))
	at := q * float64(len(v)-1)
	i := int(at)
	if i+1 == len(v) {
		return v[i]
	}
	return v[i] + (at-float64(i))*(v[i+1]-v[i])
}

func ms(d time.Duration) string { return fmt.Sprintf("%.2f ms", float64(d)/float64(time.Millisecond)) }

func mib(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
