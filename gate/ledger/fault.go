package ledger

import (
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
)

// FaultKind is what is wrong with a ledger.
type FaultKind string

// The kinds of faults, shown to machines: they may be added to and never changed.
const (
	// FaultOrigin: the checkpoint is of another ledger than the key.
	FaultOrigin FaultKind = "other origin"
	// FaultSignature: a checkpoint is not signed by the key.
	FaultSignature FaultKind = "wrong signature"
	// FaultRoot: the entries do not make the root that was signed or seen.
	FaultRoot FaultKind = "wrong root"
	// FaultChanged: an entry is not what it was.
	FaultChanged FaultKind = "changed"
	// FaultMissing: an entry is not there.
	FaultMissing FaultKind = "missing"
	// FaultDoubled: an entry is there twice.
	FaultDoubled FaultKind = "doubled"
	// FaultReordered: an entry stands at another place than its own.
	FaultReordered FaultKind = "reordered"
	// FaultUnsigned: an entry is beyond what the newest checkpoint covers.
	FaultUnsigned FaultKind = "unsigned"
	// FaultPersonal: a personal value is not the one that was committed to.
	FaultPersonal FaultKind = "other personal value"
	// FaultMalformed: something cannot be read.
	FaultMalformed FaultKind = "malformed"
)

// Fault is the first thing that is wrong with a ledger.
type Fault struct { //nolint:errname // it is the ledger's fault, and names the entry
	Kind FaultKind
	// From and To are the first entry that is bad, or, where that cannot be told
	// more exactly, the range that it is in, To excluded. Equal if the fault is
	// with no entry.
	From, To int64
	// Text says what, without the place.
	Text string
	err  error
}

// Error names the kind, the entry and what is wrong.
func (f *Fault) Error() string {
	switch {
	case f.To <= f.From:
		return fmt.Sprintf("%s: %s", f.Kind, f.Text)
	case f.To == f.From+1:
		return fmt.Sprintf("entry %d is bad (%s): %s", f.From, f.Kind, f.Text)
	default:
		return fmt.Sprintf("one of the entries %d to %d is bad (%s): %s", f.From, f.To-1, f.Kind, f.Text)
	}
}

// Unwrap is the error behind it, if any.
func (f *Fault) Unwrap() error { return f.err }

func faultAt(kind FaultKind, index int64, format string, args ...any) *Fault {
	return &Fault{Kind: kind, From: index, To: index + 1, Text: fmt.Sprintf(format, args...)}
}

// checkpointFault says what is wrong with a checkpoint that could not be parsed.
func checkpointFault(err error) *Fault {
	kind := FaultMalformed
	switch {
	case errors.Is(err, ErrOrigin):
		kind = FaultOrigin
	case errors.Is(err, ErrSignature):
		kind = FaultSignature
	}
	return &Fault{Kind: kind, Text: err.Error(), err: err}
}

// witnesses are what others saw, by size, held against a tree while it grows.
type witnesses map[int64][]Witness

func newWitnesses(all []Witness) witnesses {
	ws := witnesses{}
	for _, w := range all {
		ws[w.Size] = append(ws[w.Size], w)
	}
	return ws
}

// at checks those of the tree's size. From is the last size that was found right.
func (ws witnesses) at(tree *compact, from int64) error {
	if len(ws[tree.size]) == 0 {
		return nil
	}
	root := tree.root()
	for _, w := range ws[tree.size] {
		if err := seenAt(w, root, from); err != nil {
			return err
		}
	}
	return nil
}

// seenAt holds what a witness saw against the root at that size.
func seenAt(w Witness, root tlog.Hash, from int64) error {
	if w.Root != root {
		return &Fault{Kind: FaultRoot, From: from, To: w.Size, Text: fmt.Sprintf("a witness saw %s, these entries make %s", w, root)}
	}
	return nil
}

// within checks that none saw more than there is, or something in an empty tree.
func (ws witnesses) within(size int64) error {
	most := Witness{}
	for n, at := range ws {
		if n < 0 {
			return fmt.Errorf("a witness of %d entries", n)
		}
		if n > most.Size {
			most = at[0]
		}
	}
	if most.Size > size {
		return &Fault{Kind: FaultMissing, From: size, To: most.Size, Text: fmt.Sprintf("a witness saw %d entries, there are %d", most.Size, size)}
	}
	return ws.at(&compact{}, 0)
}
