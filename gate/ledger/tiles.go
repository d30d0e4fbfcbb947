package ledger

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

const (
	// tileHeight and tileWidth are fixed by https://c2sp.org/tlog-tiles.
	tileHeight = 8
	tileWidth  = 1 << tileHeight
	// maxLevel is the highest level of tiles that a tree of 2⁶³ entries has.
	maxLevel = 63 / tileHeight
	// entriesLevel stands for the entry bundles, as in tlog.Tile.
	entriesLevel = -1
)

// Reader is the store as readers of the ledger need it. Every method sees some
// committed state, and never less than an earlier one saw.
type Reader interface {
	// LedgerCheckpoint returns the newest signed checkpoint, nil if there is none.
	LedgerCheckpoint(ctx context.Context) ([]byte, error)
	// LedgerLeaves calls fn for the entries with indexes of from or more and less
	// than to, in their order, as far as there are any. Checkpoint and openings are nil where
	// there are none. fn may keep what it is given.
	LedgerLeaves(ctx context.Context, from, to int64, fn func(index int64, leaf, checkpoint, openings []byte) error) error
	// LedgerNodes returns the roots that AddLedgerNode stored at a level with
	// indexes of from or more and less than to, one after the other, as far as there
	// are any.
	LedgerNodes(ctx context.Context, level int, from, to int64) ([]byte, error)
}

// tilePath is the path of a tile below the ledger's own, as tlog-tiles defines
// it. Level -1 is the entry bundles. A width of 256 is a full tile.
func tilePath(level int, index int64, width int) string {
	var b strings.Builder
	b.WriteString("tile/")
	if level == entriesLevel {
		b.WriteString("entries")
	} else {
		b.WriteString(strconv.Itoa(level))
	}
	b.WriteByte('/')
	b.WriteString(formatIndex(index))
	if width < tileWidth {
		b.WriteString(".p/" + strconv.Itoa(width))
	}
	return b.String()
}

// formatIndex writes 1234067 as x001/x234/067.
func formatIndex(n int64) string {
	s := fmt.Sprintf("%03d", n%1000)
	for n >= 1000 {
		n /= 1000
		s = fmt.Sprintf("x%03d/%s", n%1000, s)
	}
	return s
}

// parseTilePath reads what tilePath writes and nothing else.
func parseTilePath(path string) (level int, index int64, width int, err error) {
	bad := fmt.Errorf("%q is not the path of a tile", path)
	rest, ok := strings.CutPrefix(path, "tile/")
	first, rest, ok2 := strings.Cut(rest, "/")
	if !ok || !ok2 || len(path) > 64 {
		return 0, 0, 0, bad
	}
	if first == "entries" {
		level = entriesLevel
	} else if level, err = strconv.Atoi(first); err != nil || level < 0 || level > maxLevel {
		return 0, 0, 0, bad
	}
	width = tileWidth
	if full, partial, ok := strings.Cut(rest, ".p/"); ok {
		rest = full
		if width, err = strconv.Atoi(partial); err != nil || width < 1 || width >= tileWidth {
			return 0, 0, 0, bad
		}
	}
	for _, part := range strings.Split(rest, "/") {
		n, err := strconv.Atoi(strings.TrimPrefix(part, "x"))
		if err != nil || n < 0 || n > 999 || index > (1<<62)/1000 {
			return 0, 0, 0, bad
		}
		index = index*1000 + int64(n)
	}
	// One form for each tile: signs, missing zeros and misplaced x are another.
	if tilePath(level, index, width) != path {
		return 0, 0, 0, bad
	}
	return level, index, width, nil
}

// readTile returns a tile of hashes or an entry bundle, nil if there is none of
// this width yet.
func readTile(ctx context.Context, r Reader, level int, index int64, width int) ([]byte, error) {
	from := index * tileWidth
	to := from + int64(width)
	var out []byte
	if level > 0 {
		out, err := r.LedgerNodes(ctx, level, from, to)
		if err != nil || len(out) < width*tlog.HashSize {
			return nil, err
		}
		return out, nil
	}
	count := 0
	err := r.LedgerLeaves(ctx, from, to, func(_ int64, leaf, _, _ []byte) error {
		count++
		if level == entriesLevel {
			if len(leaf) > MaxLeaf {
				return fmt.Errorf("a leaf of %d bytes", len(leaf))
			}
			out = binary.BigEndian.AppendUint16(out, uint16(len(leaf))) //nolint:gosec // just checked
			out = append(out, leaf...)
			return nil
		}
		h := tlog.RecordHash(leaf)
		out = append(out, h[:]...)
		return nil
	})
	if err != nil || count < width {
		return nil, err
	}
	return out, nil
}

// splitBundle takes an entry bundle apart.
func splitBundle(data []byte, width int) ([][]byte, error) {
	out := make([][]byte, 0, width)
	for len(data) > 0 {
		if len(data) < 2 {
			return nil, errors.New("an entry bundle ends within a length")
		}
		n := int(binary.BigEndian.Uint16(data))
		if len(data) < 2+n {
			return nil, errors.New("an entry bundle ends within an entry")
		}
		out = append(out, data[2:2+n])
		data = data[2+n:]
	}
	if len(out) != width {
		return nil, fmt.Errorf("an entry bundle of %d entries, want %d", len(out), width)
	}
	return out, nil
}

// NewHandler serves GET /ledger/checkpoint, /ledger/tile/… and /ledger/key. The
// key is the verifier's. What it serves is public by design: leaves hold no
// personal data in clear, and openings are never served.
func NewHandler(r Reader, verifier string) http.Handler {
	mux := http.NewServeMux()
	serve := func(w http.ResponseWriter, kind, cache string, data []byte, err error) {
		switch {
		case err != nil:
			http.Error(w, "the ledger cannot be read now", http.StatusServiceUnavailable)
		case data == nil:
			http.Error(w, "there is no such thing in the ledger yet", http.StatusNotFound)
		default:
			h := w.Header()
			h.Set("Content-Type", kind)
			h.Set("Cache-Control", cache)
			h.Set("X-Content-Type-Options", "nosniff")
			h.Set("Content-Length", strconv.Itoa(len(data)))
			_, _ = w.Write(data) //nolint:gosec // G705: it is never HTML, see nosniff; an error is a client that went away
		}
	}
	mux.HandleFunc("GET /ledger/checkpoint", func(w http.ResponseWriter, req *http.Request) {
		data, err := r.LedgerCheckpoint(req.Context())
		serve(w, "text/plain; charset=utf-8", "no-cache", data, err)
	})
	mux.HandleFunc("GET /ledger/key", func(w http.ResponseWriter, _ *http.Request) {
		serve(w, "text/plain; charset=utf-8", "no-cache", []byte(verifier+"\n"), nil)
	})
	mux.HandleFunc("GET /ledger/tile/{rest...}", func(w http.ResponseWriter, req *http.Request) {
		level, index, width, err := parseTilePath("tile/" + req.PathValue("rest"))
		if err != nil {
			http.Error(w, "this is not the path of a tile", http.StatusNotFound)
			return
		}
		data, err := readTile(req.Context(), r, level, index, width)
		serve(w, "application/octet-stream", "public, max-age=31536000, immutable", data, err)
	})
	return mux
}
