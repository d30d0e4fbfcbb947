package ledger

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const (
	exportName = "sallyport ledger"
	exportPage = 1024 // entries read from the store at once
	// maxLine is the longest line of an export that is read: a leaf and its
	// openings, with room for what JSON escapes.
	maxLine = 2*MaxLeaf + MaxPersonal*(MaxOpening+1024)
)

// exportHeader is the first line of an export.
type exportHeader struct {
	Export     string `json:"export"`
	Version    int    `json:"v"`
	Checkpoint string `json:"checkpoint"`
}

// exportLine is every other one. Fields may be added and never changed.
type exportLine struct {
	Index      int64              `json:"index"`
	Hash       string             `json:"hash"`
	Entry      jsontext.Value     `json:"entry"`
	Checkpoint string             `json:"checkpoint,omitzero"`
	Personal   map[string]Opening `json:"personal,omitzero"`
}

// Progress is told how many of how many entries are done, now and then and at the
// end. A nil one is not told.
type Progress func(done, total int64)

func (p Progress) tell(done, total int64) {
	if p != nil && (done%exportPage == 0 || done == total) {
		p(done, total)
	}
}

// ExportConfig says what an export contains.
type ExportConfig struct {
	// Personal adds the openings that still exist: such an export holds personal
	// data in clear.
	Personal bool
	Progress Progress
}

// Export writes the ledger as JSON lines for [VerifyExport]: all entries that the
// newest checkpoint covers at the moment it begins. It is an error if there is
// none.
//
// The first line is a header; every other line has the entry's index, its hash in
// hex, the entry, the signed checkpoint if one was made after this entry (after the
// last that was committed together with others), and perhaps openings. The verifier key is not in it: a key
// that comes with what it verifies proves nothing.
func Export(ctx context.Context, r Reader, w io.Writer, cfg ExportConfig) error {
	head, err := r.LedgerCheckpoint(ctx)
	if err != nil {
		return fmt.Errorf("exporting the ledger: %w", err)
	}
	if head == nil {
		return errors.New("exporting the ledger: it has no entries yet")
	}
	size, err := uncheckedSize(head)
	if err != nil {
		return fmt.Errorf("exporting the ledger: %w", err)
	}
	out, err := newExporter(w, head)
	if err != nil {
		return fmt.Errorf("exporting the ledger: %w", err)
	}
	for from := int64(0); from < size; {
		next := from
		err := r.LedgerLeaves(ctx, from, min(from+exportPage, size), func(index int64, data, signed, openings []byte) error {
			var opened map[string]Opening
			if cfg.Personal {
				var err error
				if opened, err = ParseOpenings(openings); err != nil {
					return err
				}
			}
			if err := out.entry(index, data, signed, opened); err != nil {
				return err
			}
			next = index + 1
			cfg.Progress.tell(next, size)
			return nil
		})
		if err != nil {
			return fmt.Errorf("exporting the ledger: entry %d: %w", next, err)
		}
		if next == from {
			return fmt.Errorf("exporting the ledger: the store has no entry %d of %d", from, size)
		}
		from = next
	}
	if err := out.w.Flush(); err != nil {
		return fmt.Errorf("exporting the ledger: %w", err)
	}
	return nil
}

// exporter writes the lines of an export. Flush w at the end.
type exporter struct{ w *bufio.Writer }

func newExporter(w io.Writer, head []byte) (*exporter, error) {
	e := &exporter{w: bufio.NewWriterSize(w, 64<<10)}
	return e, e.line(exportHeader{Export: exportName, Version: version, Checkpoint: string(head)})
}

func (e *exporter) line(v any) error {
	if err := json.MarshalWrite(e.w, v, json.Deterministic(true)); err != nil {
		return err
	}
	return e.w.WriteByte('\n')
}

func (e *exporter) entry(index int64, data, signed []byte, opened map[string]Opening) error {
	h := tlog.RecordHash(data)
	return e.line(exportLine{Index: index, Hash: hex.EncodeToString(h[:]), Entry: data, Checkpoint: string(signed), Personal: opened})
}

// uncheckedSize reads the size of a checkpoint whose signature is not looked at.
func uncheckedSize(signed []byte) (int64, error) {
	parts := strings.SplitN(string(signed), "\n", 3)
	if len(parts) < 3 {
		return 0, errors.New("the checkpoint has no three lines")
	}
	n, err := parseSize(parts[1])
	if err != nil {
		return 0, fmt.Errorf("the checkpoint of %q: %w", parts[0], err)
	}
	return n, nil
}

// VerifyConfig says what a ledger is held against.
type VerifyConfig struct {
	// Verifier is the ledger's verifier key, got from somewhere else than what is
	// verified. It is required.
	Verifier string
	// Witnesses are what others saw of the tree, such as check runs. Each must be a
	// state that the tree went through.
	Witnesses []Witness
	Progress  Progress
}

// VerifyExport verifies an export without any network: every entry, in its place,
// under every checkpoint in it and the last. It returns the newest checkpoint. A
// [*Fault] names the first bad entry; any other error says nothing about the
// ledger.
//
// An entry that was changed together with its hash in the export is found by the
// first checkpoint that covers it, so the fault then names the entries that were
// committed together.
func VerifyExport(r io.Reader, cfg VerifyConfig) (Checkpoint, error) {
	verifier, err := note.NewVerifier(cfg.Verifier)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("the ledger's verifier key %q: %w", cfg.Verifier, err)
	}
	lines := newLines(r)
	first, err := lines.next()
	if errors.Is(err, io.EOF) {
		return Checkpoint{}, &Fault{Kind: FaultMalformed, Text: "the export is empty"}
	} else if err != nil {
		return Checkpoint{}, err
	}
	var header exportHeader
	if err := json.Unmarshal(first, &header); err != nil || header.Export != exportName {
		return Checkpoint{}, &Fault{Kind: FaultMalformed, Text: "the first line is not the header of an export", err: err}
	}
	if header.Version != version {
		return Checkpoint{}, &Fault{Kind: FaultMalformed, Text: fmt.Sprintf("an export of version %d, want %d", header.Version, version)}
	}
	head, err := parseCheckpoint([]byte(header.Checkpoint), verifier)
	if err != nil {
		return Checkpoint{}, checkpointFault(err)
	}
	seen := newWitnesses(cfg.Witnesses)
	if err := seen.within(head.Size); err != nil {
		return Checkpoint{}, err
	}
	v := exportVerifier{verifier: verifier, head: head, seen: seen}
	for {
		line, err := lines.next()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return Checkpoint{}, err
		}
		if err := v.line(line, lines); err != nil {
			return Checkpoint{}, err
		}
		cfg.Progress.tell(v.tree.size, head.Size)
	}
	if v.tree.size < head.Size {
		return Checkpoint{}, faultAt(FaultMissing, v.tree.size, "the export ends here, its checkpoint covers %d entries", head.Size)
	}
	return head, nil
}

// exportVerifier holds the lines of an export against the checkpoints in it.
type exportVerifier struct {
	verifier note.Verifier
	head     Checkpoint
	seen     witnesses
	tree     compact
	good     int64 // entries that a checkpoint has proved
}

func (v *exportVerifier) line(line []byte, rest *lines) error {
	at := v.tree.size
	var l exportLine
	if err := json.Unmarshal(line, &l); err != nil {
		return &Fault{Kind: FaultMalformed, From: at, To: at + 1, Text: "its line cannot be read: " + err.Error(), err: err}
	}
	if at >= v.head.Size {
		if l.Index < at {
			return faultAt(FaultDoubled, l.Index, "it is in the export again, after the last entry")
		}
		return faultAt(FaultUnsigned, at, "the newest checkpoint covers %d entries", v.head.Size)
	}
	switch {
	case l.Index < 0:
		return faultAt(FaultMalformed, at, "its line has the index %d", l.Index)
	case l.Index < at:
		return faultAt(FaultDoubled, l.Index, "it is in the export again, where entry %d should be", at)
	case l.Index > at:
		later, err := rest.has(at)
		if err != nil {
			return err
		}
		if later {
			return faultAt(FaultReordered, at, "entry %d stands in its place, and it comes later", l.Index)
		}
		return faultAt(FaultMissing, at, "entry %d follows on entry %d", l.Index, at-1)
	}
	data, err := recanonical(l.Entry, nil)
	if err != nil {
		return &Fault{Kind: FaultMalformed, From: at, To: at + 1, Text: "it cannot be read: " + err.Error(), err: err}
	}
	h := tlog.RecordHash(data)
	if got := hex.EncodeToString(h[:]); got != l.Hash {
		return faultAt(FaultChanged, at, "it has the hash %s, the export says %s", got, l.Hash)
	}
	record, err := ParseLeaf(data)
	if err != nil {
		return &Fault{Kind: FaultMalformed, From: at, To: at + 1, Text: err.Error(), err: err}
	}
	for name, o := range l.Personal {
		committed, ok := record.Personal[name]
		if !ok {
			return faultAt(FaultPersonal, at, "it has no personal value %q", name)
		}
		if err := o.Check(name, committed); err != nil {
			return faultAt(FaultPersonal, at, "%s", err)
		}
	}
	v.tree.add(h, func(int, int64, tlog.Hash) {})
	return v.checkpoints(l.Checkpoint)
}

// checkpoints holds the tree against what was signed and seen of this size.
func (v *exportVerifier) checkpoints(signed string) error {
	size := v.tree.size
	if err := v.seen.at(&v.tree, v.good); err != nil {
		return err
	}
	if signed == "" && size != v.head.Size {
		return nil
	}
	root := v.tree.root()
	wrong := func(c Checkpoint) error {
		return &Fault{Kind: FaultRoot, From: v.good, To: size, Text: fmt.Sprintf("the checkpoint says %s, these entries make %s", c.Witness(), Witness{Size: size, Root: root})}
	}
	if size == v.head.Size {
		if root != v.head.Root {
			return wrong(v.head)
		}
		v.good = size
	}
	if signed == "" {
		return nil
	}
	c, err := parseCheckpoint([]byte(signed), v.verifier)
	if err != nil {
		f := checkpointFault(err)
		f.From, f.To = size-1, size
		return f
	}
	switch {
	case c.Size > size:
		return &Fault{Kind: FaultMissing, From: v.good, To: size, Text: fmt.Sprintf("its checkpoint was signed over %d entries, these are %d", c.Size, size)}
	case c.Size < size:
		return &Fault{Kind: FaultDoubled, From: v.good, To: size, Text: fmt.Sprintf("its checkpoint was signed over %d entries, these are %d", c.Size, size)}
	case c.Root != root:
		return wrong(c)
	}
	v.good = size
	return nil
}

// lines reads lines of limited length.
type lines struct{ r *bufio.Reader }

func newLines(r io.Reader) *lines { return &lines{r: bufio.NewReaderSize(r, 64<<10)} }

// next returns the next line that is not empty, and io.EOF after the last.
func (l *lines) next() ([]byte, error) {
	var out []byte
	for {
		part, err := l.r.ReadSlice('\n')
		if len(out)+len(part) > maxLine {
			return nil, &Fault{Kind: FaultMalformed, Text: fmt.Sprintf("a line of the export is longer than %d bytes", maxLine)}
		}
		out = append(out, part...)
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
		case err != nil && !errors.Is(err, io.EOF):
			return nil, fmt.Errorf("reading the export: %w", err)
		case err != nil && len(bytes.TrimSpace(out)) == 0:
			return nil, io.EOF
		case len(bytes.TrimSpace(out)) == 0:
			out = out[:0]
		default:
			return bytes.TrimSpace(out), nil
		}
	}
}

// has reports whether a line with an index is still to come. It reads to there.
func (l *lines) has(index int64) (bool, error) {
	for {
		line, err := l.next()
		if errors.Is(err, io.EOF) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		var at struct {
			Index *int64 `json:"index"`
		}
		if json.Unmarshal(line, &at) == nil && at.Index != nil && *at.Index == index {
			return true, nil
		}
	}
}
