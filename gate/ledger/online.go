package ledger

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// maxTile is the largest tile or entry bundle: 256 entries with their lengths.
const maxTile = tileWidth * (2 + MaxLeaf)

// Fetch gets what is served below /ledger/: "checkpoint", "tile/0/000.p/5". It must
// fail rather than cut short.
type Fetch func(ctx context.Context, path string) ([]byte, error)

// HTTP fetches from a server by its URL, such as https://sallyport.acme.internal.
// The client decides about time limits, proxies and redirects.
func HTTP(client *http.Client, serverURL string) Fetch {
	base := strings.TrimSuffix(serverURL, "/") + "/ledger/"
	return func(ctx context.Context, path string) ([]byte, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+path, http.NoBody)
		if err != nil {
			return nil, err
		}
		resp, err := client.Do(req)
		if err != nil {
			return nil, err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("GET %s: %s, want 200 OK", base+path, resp.Status)
		}
		data, err := io.ReadAll(io.LimitReader(resp.Body, maxTile+1))
		if err != nil {
			return nil, fmt.Errorf("GET %s: %w", base+path, err)
		}
		if len(data) > maxTile {
			return nil, fmt.Errorf("GET %s: more than %d bytes", base+path, maxTile)
		}
		return data, nil
	}
}

// Tree is a ledger at one checkpoint, read through its tiles. Whatever a server
// sends, what the methods return is proved against that checkpoint. It is safe for
// concurrent use if its Fetch is.
type Tree struct {
	fetch Fetch
	head  Checkpoint

	// mu guards proved, and is held for looking up only. proved has tiles above the
	// lowest level, which every proof passes through.
	mu     sync.Mutex
	proved map[tlog.Tile][]byte
}

// maxProved is how many tiles a Tree remembers: 8 MiB, enough for 67 million
// entries.
const maxProved = 1024

// Open fetches the newest checkpoint and verifies its signature and origin.
func Open(ctx context.Context, fetch Fetch, verifier string) (*Tree, error) {
	v, err := note.NewVerifier(verifier)
	if err != nil {
		return nil, fmt.Errorf("the ledger's verifier key %q: %w", verifier, err)
	}
	data, err := fetch(ctx, "checkpoint")
	if err != nil {
		return nil, fmt.Errorf("reading the ledger's checkpoint: %w", err)
	}
	head, err := parseCheckpoint(data, v)
	if err != nil {
		return nil, checkpointFault(err)
	}
	return &Tree{fetch: fetch, head: head, proved: map[tlog.Tile][]byte{}}, nil
}

// Checkpoint is the one that the tree is read at.
func (t *Tree) Checkpoint() Checkpoint { return t.head }

// hashes proves what it reads against the checkpoint.
func (t *Tree) hashes(ctx context.Context) tlog.HashReader {
	return tlog.TileHashReader(tlog.Tree{N: t.head.Size, Hash: t.head.Root}, &tileReader{ctx: ctx, tree: t})
}

// Consistent proves that the tree went through an earlier state: that it holds the
// same entries in the same order, and others after them. It returns a [*Fault] if
// it did not.
func (t *Tree) Consistent(ctx context.Context, earlier Witness) error {
	if err := newWitnesses([]Witness{earlier}).within(t.head.Size); err != nil {
		return err
	}
	root, err := tlog.TreeHash(earlier.Size, t.hashes(ctx))
	if err != nil {
		return fmt.Errorf("proving that %d entries became %d: %w", earlier.Size, t.head.Size, unproved(err, 0, t.head.Size))
	}
	return seenAt(earlier, root, 0)
}

// Includes proves that the entry at an index is this leaf. It returns a [*Fault]
// if it is not.
func (t *Tree) Includes(ctx context.Context, index int64, leaf []byte) error {
	if index < 0 || index >= t.head.Size {
		return faultAt(FaultMissing, index, "the tree has %d entries", t.head.Size)
	}
	got, err := t.hashes(ctx).ReadHashes([]int64{tlog.StoredHashIndex(0, index)})
	if err != nil {
		return fmt.Errorf("proving entry %d: %w", index, unproved(err, index, index+1))
	}
	if got[0] != tlog.RecordHash(leaf) {
		return faultAt(FaultChanged, index, "the tree has the hash %s, the entry %s", got[0], tlog.RecordHash(leaf))
	}
	return nil
}

// Entries fetches the entries from an index to the end of its bundle, at most 256,
// and proves each. It returns a [*Fault] that names the first that is bad.
func (t *Tree) Entries(ctx context.Context, from int64) ([]Record, error) {
	leaves, err := t.leaves(ctx, from)
	if err != nil {
		return nil, err
	}
	out := make([]Record, len(leaves))
	for i, data := range leaves {
		at := from + int64(i)
		if out[i], err = ParseLeaf(data); err != nil {
			return nil, &Fault{Kind: FaultMalformed, From: at, To: at + 1, Text: err.Error(), err: err}
		}
	}
	return out, nil
}

func (t *Tree) leaves(ctx context.Context, from int64) ([][]byte, error) {
	if from < 0 || from >= t.head.Size {
		return nil, fmt.Errorf("there is no entry %d of %d", from, t.head.Size)
	}
	bundle := from / tileWidth
	width := int(min(tileWidth, t.head.Size-bundle*tileWidth))
	data, err := t.fetch(ctx, tilePath(entriesLevel, bundle, width))
	if err != nil {
		return nil, fmt.Errorf("reading the entries from %d: %w", bundle*tileWidth, err)
	}
	leaves, err := splitBundle(data, width)
	if err != nil {
		return nil, &Fault{Kind: FaultMalformed, From: bundle * tileWidth, To: bundle*tileWidth + int64(width), Text: err.Error(), err: err}
	}
	leaves = leaves[from-bundle*tileWidth:]
	indexes := make([]int64, len(leaves))
	for i := range leaves {
		indexes[i] = tlog.StoredHashIndex(0, from+int64(i))
	}
	want, err := t.hashes(ctx).ReadHashes(indexes)
	if err != nil {
		return nil, fmt.Errorf("proving the entries from %d: %w", from, unproved(err, from, from+int64(len(leaves))))
	}
	for i, leaf := range leaves {
		if tlog.RecordHash(leaf) != want[i] {
			return nil, faultAt(FaultChanged, from+int64(i), "the tree has the hash %s, the entry %s", want[i], tlog.RecordHash(leaf))
		}
	}
	return leaves, nil
}

// Export writes the ledger as [Export] does, from a server and without openings. It
// has one checkpoint, that of the tree, since the tiles do not say where an append
// ended. Every entry is proved before it is written; a [*Fault] names the first
// that is bad, and what was written then is no export.
func (t *Tree) Export(ctx context.Context, w io.Writer, progress Progress) error {
	out, err := newExporter(w, t.head.Note)
	if err != nil {
		return fmt.Errorf("exporting the ledger: %w", err)
	}
	for next := int64(0); next < t.head.Size; {
		leaves, err := t.leaves(ctx, next)
		if err != nil {
			return fmt.Errorf("exporting the ledger: %w", err)
		}
		for _, data := range leaves {
			if err := out.entry(next, data, nil, nil); err != nil {
				return fmt.Errorf("exporting the ledger: entry %d: %w", next, err)
			}
			next++
			progress.tell(next, t.head.Size)
		}
	}
	if err := out.w.Flush(); err != nil {
		return fmt.Errorf("exporting the ledger: %w", err)
	}
	return nil
}

// Verify verifies a whole ledger over the network: the checkpoint, every witness,
// every tile and every entry. It returns the checkpoint. A [*Fault] names the
// first bad entry; any other error may be the network's.
func Verify(ctx context.Context, fetch Fetch, cfg VerifyConfig) (Checkpoint, error) {
	t, err := Open(ctx, fetch, cfg.Verifier)
	if err != nil {
		return Checkpoint{}, err
	}
	seen := newWitnesses(cfg.Witnesses)
	if err := seen.within(t.head.Size); err != nil {
		return Checkpoint{}, err
	}
	tree := &compact{}
	for tree.size < t.head.Size {
		from := tree.size
		leaves, err := t.leaves(ctx, from)
		if err != nil {
			return Checkpoint{}, err
		}
		for i, leaf := range leaves {
			if _, err := ParseLeaf(leaf); err != nil {
				at := from + int64(i)
				return Checkpoint{}, &Fault{Kind: FaultMalformed, From: at, To: at + 1, Text: err.Error(), err: err}
			}
			tree.add(tlog.RecordHash(leaf), func(int, int64, tlog.Hash) {})
			if err := seen.at(tree, 0); err != nil {
				return Checkpoint{}, err
			}
			cfg.Progress.tell(tree.size, t.head.Size)
		}
	}
	if tree.root() != t.head.Root {
		return Checkpoint{}, &Fault{Kind: FaultRoot, From: 0, To: tree.size, Text: fmt.Sprintf("the checkpoint says %s, these entries make %s", t.head.Witness(), tree.root())}
	}
	return t.head, nil
}

// fetchError is a tile that did not come: nothing that the ledger did.
type fetchError struct{ err error }

func (e *fetchError) Error() string { return e.err.Error() }
func (e *fetchError) Unwrap() error { return e.err }

// unproved tells tiles that did not come from tiles that do not lead to the signed
// root, which are a fault of the entries from and before to.
func unproved(err error, from, to int64) error {
	var fetch *fetchError
	if errors.As(err, &fetch) {
		return err
	}
	return &Fault{Kind: FaultRoot, From: from, To: to, Text: "the tree's hashes do not lead to the root that was signed: " + err.Error(), err: err}
}

// tileReader gets tiles of hashes for tlog, which proves them.
type tileReader struct {
	ctx  context.Context //nolint:containedctx // tlog.TileReader has no place for one; it lives for one call
	tree *Tree
}

// Height is that of all tiles.
func (*tileReader) Height() int { return tileHeight }

// ReadTiles gets tiles that are still to be proved.
func (r *tileReader) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	out := make([][]byte, len(tiles))
	for i, t := range tiles {
		r.tree.mu.Lock()
		out[i] = r.tree.proved[t]
		r.tree.mu.Unlock()
		if out[i] != nil {
			continue
		}
		path := tilePath(t.L, t.N, t.W)
		data, err := r.tree.fetch(r.ctx, path)
		if err != nil {
			return nil, &fetchError{err}
		}
		if len(data) != t.W*tlog.HashSize {
			return nil, errors.New(path + " has not the size of a tile of that width")
		}
		out[i] = data
	}
	return out, nil
}

// SaveTiles is called with tiles that are proved.
func (r *tileReader) SaveTiles(tiles []tlog.Tile, data [][]byte) {
	r.tree.mu.Lock()
	defer r.tree.mu.Unlock()
	for i, t := range tiles {
		if t.L > 0 && len(r.tree.proved) < maxProved {
			r.tree.proved[t] = data[i]
		}
	}
}
