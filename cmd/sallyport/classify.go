package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"reflect"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/rules"
)

const (
	// maxLine is how long one line of classify's input can be. GitHub's own
	// limit for a webhook body is 25 MB; a change of 3,000 files and 250 commits
	// is below 2 MiB.
	maxLine = 16 << 20

	batchLines = 64        // lines judged together
	batchBytes = 256 << 10 // bytes of lines judged together, one line apart
)

func (a *app) classifyCommand() *cobra.Command {
	var policy string
	c := &cobra.Command{
		Use:   "classify [flags] [<file>|-]",
		Short: "Judge changes given as JSON lines: facts in, decisions out",
		Long: `Judge changes given as JSON lines, one change a line, and print one decision a
line in the same order. A decision has the id of its change, if that had one.

A field that is absent is unknown, and the unknown is judged strictly; an empty
list says that there is none. Empty lines are skipped. A line that is no change is
reported on standard error by its number and gives no decision. A line has 16 MiB
at most.`,
		Example: `$ sallyport classify < changes.jsonl > decisions.jsonl
$ sallyport classify --policy floor.yml changes.jsonl | jq -r 'select(.verdict != "allow") | .id'
$ sallyport classify --format text changes.jsonl
$ sallyport classify --schema`,
		Args: atMost(1),
		Annotations: map[string]string{"exit": `0  no decision needs a human
1  a line was bad, or something else went wrong
2  the command line or the policy is wrong
3  a decision needs a human`},
	}
	c.Flags().StringVar(&policy, "policy", "", "Judge by this policy `file` (default: "+rules.PolicyPath+")")
	schema := c.Flags().Bool("schema", false, "Print the JSON Schema of an input line and exit")
	f := addFormat(c)
	*f = formatJSON
	c.Flags().Lookup("format").DefValue = string(formatJSON)
	c.RunE = func(c *cobra.Command, args []string) error {
		if *schema {
			return a.printSchema(schemaChange)
		}
		in := a.stdin
		if len(args) == 1 && args[0] != "-" {
			f, err := os.Open(args[0])
			if errors.Is(err, fs.ErrNotExist) {
				return refuse("%w", err)
			}
			if err != nil {
				return err
			}
			defer f.Close()
			in = f
		}
		p, err := a.policyFile(policy)
		if err != nil {
			return err
		}
		bad, human, err := a.classify(c.Context(), p, in, *f)
		switch {
		case err != nil:
			return err
		case bad == 1:
			return errors.New("1 line was no change and has no decision")
		case bad > 1:
			return fmt.Errorf("%d lines were no changes and have no decision", bad)
		case human:
			return errHuman()
		}
		return nil
	}
	return c
}

// batch is some lines of input and what came of them. Whoever has it owns it: the
// reader, then one judge, then the writer.
type batch struct {
	lines  []line
	text   []byte // the lines, one after the other
	out    bytes.Buffer
	errs   []string
	human  bool
	judged chan struct{} // closed when out, errs and human are final
}

// reset makes a batch ready for other lines; it keeps its memory.
func (b *batch) reset() {
	b.lines, b.text, b.errs, b.human = b.lines[:0], b.text[:0], nil, false
	b.out.Reset()
}

type line struct {
	number     int
	start, end int   // in text
	err        error // the line could not be read
}

// classify judges lines until the input ends. Several judges work at once; what
// they say is written in the order of the lines, as soon as the input pauses.
func (a *app) classify(ctx context.Context, p rules.Policies, in io.Reader, f format) (bad int, human bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var say sayer = sayJSON
	if f == formatText {
		say = a.sayText
	}
	judges := runtime.GOMAXPROCS(0)
	work := make(chan *batch)
	order := make(chan *batch, 2*judges)
	readErr := make(chan error, 1)
	free := make(chan *batch, cap(order)) // batches to use again
	// Judging makes much short-lived garbage beside a heap of a few megabytes.
	if getenv(a.env, "GOGC") == "" {
		defer debug.SetGCPercent(debug.SetGCPercent(800))
	}

	go func() { // ends when the input does or the writer gives up
		defer close(order)
		defer close(work)
		readErr <- readBatches(in, free, func(b *batch) bool {
			for _, to := range []chan *batch{order, work} {
				select {
				case to <- b:
				case <-ctx.Done():
					return false
				}
			}
			return true
		})
	}()
	for range judges { // each ends when work is closed
		go func() {
			for b := range work {
				b.judge(p, say)
				close(b.judged)
			}
		}()
	}
	for b := range order {
		select {
		case <-b.judged:
		case <-ctx.Done():
			return bad, human, ctx.Err()
		}
		if _, err := a.stdout.Write(b.out.Bytes()); err != nil {
			return bad, human, err
		}
		for _, e := range b.errs {
			fmt.Fprintf(a.stderr, "%s %s\n", a.errs.bad("sallyport:"), visible(e))
		}
		bad += len(b.errs)
		human = human || b.human
		if cap(b.text) <= 4*batchBytes {
			select {
			case free <- b:
			default:
			}
		}
	}
	return bad, human, <-readErr
}

// readBatches reads lines and hands them on in batches: a full one, or what there
// is when the input pauses.
func readBatches(in io.Reader, free <-chan *batch, hand func(*batch) bool) error {
	r := bufio.NewReaderSize(in, batchBytes)
	number := 0
	for {
		b := &batch{}
		select {
		case b = <-free:
			b.reset()
		default:
		}
		b.judged = make(chan struct{})
		for {
			number++
			start := len(b.text)
			text, tooLong, err := readLine(r, b.text)
			if err != nil && !errors.Is(err, io.EOF) {
				return fmt.Errorf("reading line %d: %w", number, err)
			}
			b.text = text
			switch {
			case tooLong:
				b.text = b.text[:start]
				b.lines = append(b.lines, line{number: number, err: fmt.Errorf("longer than %d MiB", maxLine>>20)})
			case len(bytes.TrimSpace(b.text[start:])) == 0:
				b.text = b.text[:start]
			default:
				b.lines = append(b.lines, line{number: number, start: start, end: len(b.text)})
			}
			if errors.Is(err, io.EOF) {
				if len(b.lines) > 0 {
					hand(b)
				}
				return nil
			}
			if len(b.lines) >= batchLines || len(b.text) >= batchBytes || r.Buffered() == 0 {
				break
			}
		}
		if len(b.lines) > 0 && !hand(b) {
			return nil
		}
	}
}

// readLine appends a line without its end to dst. Of a line that is too long the
// rest is passed over.
func readLine(r *bufio.Reader, dst []byte) (out []byte, tooLong bool, err error) {
	start := len(dst)
	for {
		part, err := r.ReadSlice('\n')
		if !tooLong {
			dst = append(dst, part...)
			tooLong = len(bytes.TrimRight(dst[start:], "\r\n")) > maxLine
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		return bytes.TrimRight(dst, "\r\n"), tooLong, err
	}
}

// sayer writes a decision, by the encoder or to what that writes to.
type sayer func(*jsontext.Encoder, *bytes.Buffer, *rules.Decision) error

// judge decides on each line of a batch.
func (b *batch) judge(p rules.Policies, say sayer) {
	enc := jsontext.NewEncoder(&b.out, jsontext.AllowInvalidUTF8(true))
	var ch rules.Change
	for _, l := range b.lines {
		err := l.err
		if err == nil {
			ch = rules.Change{} // nothing of the line before may stay
			err = b.judgeLine(enc, p, &ch, b.text[l.start:l.end], say)
		}
		if err != nil {
			b.errs = append(b.errs, fmt.Sprintf("line %d: %v", l.number, err))
		}
	}
}

func (b *batch) judgeLine(enc *jsontext.Encoder, p rules.Policies, ch *rules.Change, text []byte, say sayer) error {
	if text = bytes.TrimSpace(text); text[0] != '{' {
		return errors.New("not a change: want one JSON object")
	}
	if err := json.Unmarshal(text, ch); err != nil {
		return fmt.Errorf("not a change: %s", jsonProblem(err))
	}
	ch.Basis = rules.Stated
	d := rules.DecideChange(p, ch)
	b.human = b.human || d.NeedsHuman()
	return say(enc, &b.out, &d)
}

// sayJSON writes a decision as one line of JSON. It has no map, so its order is
// always the same.
func sayJSON(enc *jsontext.Encoder, _ *bytes.Buffer, d *rules.Decision) error {
	return json.MarshalEncode(enc, d)
}

// sayText writes a decision as one line for people.
func (a *app) sayText(_ *jsontext.Encoder, w *bytes.Buffer, d *rules.Decision) error {
	sign, words := a.mark(*d)
	fmt.Fprintf(w, "%s %s", sign, words)
	if h := headline(*d); h != "" {
		fmt.Fprintf(w, ": %s", h)
	}
	if d.Key != "" {
		fmt.Fprintf(w, "  %s", a.out.dim(visible(d.Key)))
	}
	fmt.Fprintln(w)
	return nil
}

// jsonProblem says what is wrong with a JSON text, without words about Go.
func jsonProblem(err error) string {
	var semantic *json.SemanticError
	var syntactic *jsontext.SyntacticError
	switch {
	case errors.As(err, &semantic):
		want := "another type"
		if semantic.GoType != nil {
			switch semantic.GoType.Kind() {
			case reflect.String:
				want = "text"
			case reflect.Int, reflect.Int64:
				want = "a whole number"
			case reflect.Int8: // rules.Tri
				want = "true or false"
			case reflect.Bool:
				want = "true or false"
			case reflect.Slice:
				want = "a list"
			case reflect.Struct:
				want = "an object"
			}
			if semantic.GoType == reflect.TypeFor[time.Time]() {
				want = "a time like 2026-11-01T12:00:00Z"
			}
		}
		got := map[jsontext.Kind]string{'n': "null", 't': "true", 'f': "false", '"': "text", '0': "a number", '{': "an object", '[': "a list"}[semantic.JSONKind]
		if got == "" || got == want || len(semantic.JSONValue) > 0 && len(semantic.JSONValue) < 60 {
			got = string(semantic.JSONValue)
		}
		if got == "" {
			return fmt.Sprintf("%s: want %s", semantic.JSONPointer, want)
		}
		return fmt.Sprintf("%s: want %s, not %s", semantic.JSONPointer, want, got)
	case errors.As(err, &syntactic):
		if errors.Is(err, jsontext.ErrDuplicateName) {
			return fmt.Sprintf("the name %q is there twice", syntactic.JSONPointer)
		}
		return fmt.Sprintf("%v at byte %d", syntactic.Err, syntactic.ByteOffset+1)
	}
	return err.Error()
}
