package ledger

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"slices"
	"sync"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// MaxAppend is how many entries one call of [Log.Append] takes.
const MaxAppend = 10_000

// ErrForked means that what the store holds is not the tree that this ledger
// signed. Nothing may be appended any more: stop, and find out.
var ErrForked = errors.New("the ledger's tree is not the one that was signed")

// ErrShrunk means that the store holds less than was committed before, as after a
// restored backup. Nothing may be appended any more: stop, and find out.
var ErrShrunk = errors.New("the ledger has lost entries")

// Tx is the caller's transaction as the ledger needs it. What is written in it is
// stored together or not at all, and no two transactions both see the same head
// and commit. A store may take several callers' transactions into one of the
// disk's; then each sees the head that the one before it set, unless that one was
// undone.
type Tx interface {
	// LedgerHead returns the head as it was set last, and zeros before the first
	// time. A head that is on the disk has its checkpoint, and by is nil; one that
	// was set within this transaction of the disk has no checkpoint yet, and by is
	// who will make it. The slices are not changed by whoever gets them.
	LedgerHead() (size int64, edge, checkpoint []byte, by Sealer, err error)
	// AddLedgerLeaves stores entries from an index on that has none; it is an error if
	// it has. Each has its openings, which may be nil; they are kept apart from the
	// rest, see [EraseTx].
	AddLedgerLeaves(index int64, leaves, openings [][]byte) error
	// AddLedgerNode stores the root of a full subtree: at level n it covers 256ⁿ
	// entries, n ≥ 1. It is an error if there is one.
	AddLedgerNode(level int, index int64, hash []byte) error
	// SetLedgerHead replaces the head, and is an error if its size is not from.
	// Once, before anything of the disk's transaction is durable, by seals the head
	// that was set last. The checkpoint is stored with the head and with its last
	// entry. If there is none, nothing is stored. The edge belongs to the store.
	SetLedgerHead(from, size int64, edge []byte, by Sealer) error
}

// Sealer signs a head: one signature for all that a transaction of the disk holds.
type Sealer = interface {
	Seal(size int64, edge []byte) (checkpoint []byte, err error)
}

// Config is what a ledger works with.
type Config struct {
	// Key signs the checkpoints. It is required.
	Key Key
	// Random gives the salts. It must be safe for concurrent use where the ledger
	// is. Nil is crypto/rand's.
	Random io.Reader
}

// Log appends to one ledger. It is safe for concurrent use.
type Log struct {
	signer   note.Signer
	verifier note.Verifier
	key      string // the verifier's
	random   io.Reader

	// mu guards the fields below. It is held for comparing and copying only.
	mu sync.Mutex
	// The head that this Log sealed last, committed or not, so that its own
	// signature need not be checked again.
	lastNote, lastEdge []byte
	seen               Checkpoint // the largest one known to be committed
}

// New makes a ledger that signs with a key.
func New(cfg Config) (*Log, error) {
	if cfg.Key.secret == "" {
		return nil, errors.New("opening the ledger: no key")
	}
	signer, err := note.NewSigner(cfg.Key.secret)
	if err != nil {
		return nil, errors.New("opening the ledger: the key is none")
	}
	verifier, err := note.NewVerifier(cfg.Key.verifier)
	if err != nil {
		return nil, fmt.Errorf("opening the ledger: %w", err)
	}
	if cfg.Random == nil {
		cfg.Random = rand.Reader
	}
	return &Log{signer: signer, verifier: verifier, key: cfg.Key.verifier, random: cfg.Random}, nil
}

// Batch is entries that are encoded and can be appended. It may be appended once
// to each of several attempts of a transaction.
type Batch struct{ entries []encoded }

// encoded is an entry ready to be stored.
type encoded struct {
	leaf, openings []byte
	hash           tlog.Hash
}

// Prepare encodes entries, so that a transaction which others wait for need not.
// Every mistake in an entry is found here.
func (l *Log) Prepare(entries ...Entry) (*Batch, error) {
	if len(entries) == 0 || len(entries) > MaxAppend {
		return nil, fmt.Errorf("preparing the ledger's entries: %d of them, want 1 to %d", len(entries), MaxAppend)
	}
	b := &Batch{entries: make([]encoded, len(entries))}
	var buf bytes.Buffer
	buf.Grow(len(entries) * usualLeaf)
	for i, e := range entries {
		from := buf.Len()
		openings, err := encode(&buf, e, l.random)
		if err != nil {
			return nil, fmt.Errorf("preparing the ledger's entries: number %d of %d: %w", i+1, len(entries), err)
		}
		leaf := slices.Clip(buf.Bytes()[from:])
		b.entries[i] = encoded{leaf: leaf, openings: openings, hash: tlog.RecordHash(leaf)}
	}
	return b, nil
}

// usualLeaf is how many bytes room is made for before there are any.
const usualLeaf = 768

// Append records entries in the caller's transaction, in their order, and returns
// the state of the tree with them, which holds once the transaction commits. The
// last of them has the index Size-1.
//
// It is not signed ([Checkpoint.Note] is nil): the store has one signature made for
// all that it commits together. That one covers these entries and perhaps others
// after them, so [Checkpoint.Witness] is a state that the tree goes through all the
// same, and [Log.Observe] takes it.
//
// An error means that the transaction must be rolled back. It is or wraps
// [ErrForked] or [ErrShrunk] if the store is not what it was.
func (l *Log) Append(tx Tx, entries ...Entry) (Checkpoint, error) {
	b, err := l.Prepare(entries...)
	if err != nil {
		return Checkpoint{}, err
	}
	return l.AppendBatch(tx, b)
}

// AppendBatch is [Log.Append] for entries that are prepared.
func (l *Log) AppendBatch(tx Tx, b *Batch) (Checkpoint, error) {
	from, tree, err := l.head(tx)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("appending to the ledger: %w", err)
	}
	var nodeErr error
	leaves, openings := make([][]byte, len(b.entries)), make([][]byte, len(b.entries))
	for i, e := range b.entries {
		leaves[i], openings[i] = e.leaf, e.openings
	}
	if err := tx.AddLedgerLeaves(from, leaves, openings); err != nil {
		return Checkpoint{}, fmt.Errorf("appending to the ledger: %w", err)
	}
	for _, e := range b.entries {
		tree.add(e.hash, func(level int, index int64, h tlog.Hash) {
			if nodeErr == nil {
				nodeErr = tx.AddLedgerNode(level, index, h[:])
			}
		})
	}
	if nodeErr != nil {
		return Checkpoint{}, fmt.Errorf("appending to the ledger: %w", nodeErr)
	}
	if err := tx.SetLedgerHead(from, tree.size, tree.encode(), sealer{l}); err != nil {
		return Checkpoint{}, fmt.Errorf("appending to the ledger: %w", err)
	}
	return Checkpoint{Origin: l.signer.Name(), Size: tree.size, Root: tree.root(), own: l.key}, nil
}

// sealer signs for a ledger what its AppendBatch set.
type sealer struct{ log *Log }

// Seal makes the checkpoint of a head.
func (s sealer) Seal(size int64, edge []byte) ([]byte, error) {
	tree, err := decodeCompact(size, edge)
	if err != nil {
		return nil, fmt.Errorf("sealing the ledger's head: %w", err)
	}
	head, err := sign(s.log.signer, size, tree.root())
	if err != nil {
		return nil, err
	}
	s.log.mu.Lock()
	s.log.lastNote, s.log.lastEdge = head.Note, edge
	s.log.mu.Unlock()
	return head.Note, nil
}

// head reads the head and holds it to what was signed and seen.
func (l *Log) head(tx Tx) (int64, *compact, error) {
	size, edge, signed, by, err := tx.LedgerHead()
	if err != nil {
		return 0, nil, err
	}
	if by != nil {
		// Set a moment ago, in memory, by who will sign it. Another key's would be
		// signed over by ours.
		if s, ok := by.(sealer); !ok || s.log.key != l.key {
			return 0, nil, errors.New("a ledger with another key appends in the same transaction")
		}
	}
	l.mu.Lock()
	own := by != nil || size > 0 && bytes.Equal(signed, l.lastNote) && bytes.Equal(edge, l.lastEdge)
	seen := l.seen
	l.mu.Unlock()
	if size < seen.Size {
		return 0, nil, fmt.Errorf("%w: %d in the store, %d seen", ErrShrunk, size, seen.Size)
	}
	tree, err := decodeCompact(size, edge)
	if err != nil {
		return 0, nil, fmt.Errorf("%w: %w", ErrForked, err)
	}
	if size == 0 {
		if len(signed) > 0 {
			return 0, nil, fmt.Errorf("%w: a checkpoint and no entries", ErrForked)
		}
		return 0, tree, nil
	}
	if size == seen.Size && tree.root() != seen.Root {
		return 0, nil, fmt.Errorf("%w: another root than the one seen at size %d", ErrForked, size)
	}
	if own {
		return size, tree, nil
	}
	c, err := parseCheckpoint(signed, l.verifier)
	if err != nil {
		return 0, nil, fmt.Errorf("%w: %w", ErrForked, err)
	}
	if c.Size != size || c.Root != tree.root() {
		return 0, nil, fmt.Errorf("%w: the checkpoint says %s, the store %s", ErrForked, c.Witness(), Witness{Size: size, Root: tree.root()})
	}
	return size, tree, nil
}

// Observe tells the ledger of a checkpoint that is committed, or that somebody
// else saw of it: from then on a store that holds less, or something else at that
// size, is refused. An older one changes nothing. It takes what [Log.Append]
// returned, and otherwise only what is signed.
func (l *Log) Observe(c Checkpoint) error {
	if c.Note != nil || c.own != l.key {
		var err error
		if c, err = parseCheckpoint(c.Note, l.verifier); err != nil {
			return fmt.Errorf("observing a checkpoint: %w", err)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case c.Size == l.seen.Size && c.Root != l.seen.Root && c.Size > 0:
		return fmt.Errorf("observing a checkpoint: %w: two roots at size %d", ErrForked, c.Size)
	case c.Size > l.seen.Size:
		l.seen = c
	}
	return nil
}

// compact is a tree by the roots of its full subtrees, largest first: all that
// appending needs.
type compact struct {
	size   int64
	hashes []tlog.Hash
}

// add appends a leaf's hash and reports the roots of the subtrees of 256ⁿ leaves,
// n ≥ 1, that it fills.
func (c *compact) add(h tlog.Hash, full func(level int, index int64, h tlog.Hash)) {
	n := c.size
	for height := 1; n&1 == 1; height++ {
		last := len(c.hashes) - 1
		h = tlog.NodeHash(c.hashes[last], h)
		c.hashes = c.hashes[:last]
		n >>= 1
		if height%tileHeight == 0 {
			full(height/tileHeight, n, h)
		}
	}
	c.hashes = append(c.hashes, h)
	c.size++
}

// root is the tree's hash as RFC 6962, section 2.1 defines it.
func (c *compact) root() tlog.Hash {
	if len(c.hashes) == 0 {
		h, _ := tlog.TreeHash(0, nil) // needs no hashes and does not fail
		return h
	}
	h := c.hashes[len(c.hashes)-1]
	for i := len(c.hashes) - 2; i >= 0; i-- {
		h = tlog.NodeHash(c.hashes[i], h)
	}
	return h
}

func (c *compact) encode() []byte {
	out := make([]byte, 0, len(c.hashes)*tlog.HashSize)
	for _, h := range c.hashes {
		out = append(out, h[:]...)
	}
	return out
}

func decodeCompact(size int64, edge []byte) (*compact, error) {
	if size < 0 || len(edge) != bits.OnesCount64(uint64(size))*tlog.HashSize {
		return nil, fmt.Errorf("an edge of %d bytes for %d entries", len(edge), size)
	}
	c := &compact{size: size, hashes: make([]tlog.Hash, 0, len(edge)/tlog.HashSize+1)}
	for ; len(edge) > 0; edge = edge[tlog.HashSize:] {
		c.hashes = append(c.hashes, tlog.Hash(edge[:tlog.HashSize]))
	}
	return c, nil
}
