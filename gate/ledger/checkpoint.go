package ledger

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// MaxCheckpoint is the largest signed checkpoint that is read: two lines, a hash,
// and signatures, with room for those of witnesses.
const MaxCheckpoint = 16 << 10

// Checkpoint is a tree head.
type Checkpoint struct {
	Origin string
	Size   int64
	Root   tlog.Hash
	// Note is the signed note as it is served; nil in what [Log.Append] returns.
	Note []byte

	// own is the verifier key of the ledger whose Append made it, empty otherwise:
	// what has no signature counts for that ledger alone.
	own string
}

// Witness is what somebody else saw of the tree: its root when it had Size
// entries. It is what a check run's last line says.
type Witness struct {
	Size int64
	Root tlog.Hash
}

// Witness is what a checkpoint says without its signature.
func (c Checkpoint) Witness() Witness { return Witness{Size: c.Size, Root: c.Root} }

// String is size and root, parted by a space: the form that is shown to people
// and that [ParseWitness] reads.
func (w Witness) String() string { return strconv.FormatInt(w.Size, 10) + " " + w.Root.String() }

// ParseWitness reads what [Witness.String] wrote.
func ParseWitness(s string) (Witness, error) {
	size, root, ok := strings.Cut(s, " ")
	if !ok {
		return Witness{}, fmt.Errorf("witness %q is not a size and a root in base64", s)
	}
	n, err := parseSize(size)
	if err != nil {
		return Witness{}, fmt.Errorf("witness %q: %w", s, err)
	}
	h, err := tlog.ParseHash(root)
	if err != nil || h.String() != root {
		return Witness{}, fmt.Errorf("witness %q: the root is not a hash in base64", s)
	}
	return Witness{Size: n, Root: h}, nil
}

// parseSize reads a number of entries in its only form: decimal, no sign, no
// leading zero.
func parseSize(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || strconv.FormatInt(n, 10) != s {
		return 0, fmt.Errorf("%q is not a number of entries", s)
	}
	return n, nil
}

// ErrOrigin means that a checkpoint is of another ledger than the key.
var ErrOrigin = errors.New("the checkpoint is of another origin")

// ErrSignature means that a checkpoint has no valid signature of the key.
var ErrSignature = errors.New("the checkpoint is not signed by this key")

// ParseCheckpoint verifies a signed checkpoint with a verifier key (what
// /ledger/key serves; get it from elsewhere than the checkpoint). The error is or
// wraps [ErrOrigin] or [ErrSignature] where it is one of these.
func ParseCheckpoint(signed []byte, verifier string) (Checkpoint, error) {
	v, err := note.NewVerifier(verifier)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("the ledger's verifier key %q: %w", verifier, err)
	}
	return parseCheckpoint(signed, v)
}

func parseCheckpoint(signed []byte, v note.Verifier) (Checkpoint, error) {
	if len(signed) > MaxCheckpoint {
		return Checkpoint{}, fmt.Errorf("a checkpoint of %d bytes, want at most %d", len(signed), MaxCheckpoint)
	}
	// The origin is looked at first only to say the more helpful thing.
	if origin, _, ok := strings.Cut(string(signed), "\n"); ok && origin != v.Name() {
		return Checkpoint{}, fmt.Errorf("%w: %q, want %q", ErrOrigin, origin, v.Name())
	}
	n, err := note.Open(signed, note.VerifierList(v))
	if err != nil {
		return Checkpoint{}, fmt.Errorf("%w: %w", ErrSignature, err)
	}
	lines := strings.SplitN(n.Text, "\n", 4)
	if len(lines) != 4 {
		return Checkpoint{}, errors.New("a checkpoint has not the three lines origin, size and root")
	}
	if lines[3] != "" {
		return Checkpoint{}, fmt.Errorf("a checkpoint has the extension line %q, which this version does not know", lines[3])
	}
	c := Checkpoint{Origin: lines[0], Note: signed}
	if c.Size, err = parseSize(lines[1]); err != nil {
		return Checkpoint{}, fmt.Errorf("checkpoint: %w", err)
	}
	root, err := base64.StdEncoding.Strict().DecodeString(lines[2])
	if err != nil || len(root) != tlog.HashSize {
		return Checkpoint{}, fmt.Errorf("checkpoint: the root %q is not a hash in base64", lines[2])
	}
	copy(c.Root[:], root)
	return c, nil
}

// sign makes the checkpoint of a tree head.
func sign(signer note.Signer, size int64, root tlog.Hash) (Checkpoint, error) {
	text := signer.Name() + "\n" + strconv.FormatInt(size, 10) + "\n" + root.String() + "\n"
	signed, err := note.Sign(&note.Note{Text: text}, signer)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("signing a checkpoint: %w", err)
	}
	return Checkpoint{Origin: signer.Name(), Size: size, Root: root, Note: signed}, nil
}
