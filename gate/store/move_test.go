package store_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/gate/ledger"
	"github.com/sallyport/sallyport/gate/store"
	"github.com/sallyport/sallyport/gate/store/pgtest"
	"github.com/sallyport/sallyport/rules"
)

// lived is a file of SQLite with something in every table.
func lived(t *testing.T, entries int) (path string, seen []ledger.Witness) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "sallyport.db")
	s, err := store.Open(t.Context(), store.Config{Path: path})
	must(t, err)
	log, err := ledger.New(ledger.Config{Key: crashKey()})
	must(t, err)
	ctx := t.Context()
	for i := range entries {
		must(t, s.Update(ctx, func(tx *store.Tx) error {
			c, err := log.Append(tx, ledger.Entry{Kind: ledger.KindFact, Time: t0, Personal: map[string]any{"who": fmt.Sprint("person ", i)}})
			seen = append(seen, c.Witness())
			return err
		}))
	}
	d := delivery("d", "d", mark(1), mark(2))
	d.Facts = []rules.EventFact{fact("one"), fact("two")}
	_, err = s.Accept(ctx, d)
	must(t, err)
	must(t, s.SetSetting(ctx, "ledger key", []byte{0, 1, 2, 0xff}, t0))
	must(t, s.Cache(ctx, "k", `"e"`, []byte("body"), t0))
	must(t, s.Update(ctx, func(tx *store.Tx) error {
		_, effect := tx.PlanEffect(store.Effect{Key: "e", Subject: pr(1), Kind: "approve", PlannedAt: t0})
		_, notice := tx.Notify(store.Notice{Key: "n", To: "ops", Repository: 1, Payload: []byte("{}"), MadeAt: t0})
		_, hold := tx.AddHold(store.Hold{ID: "h", Repository: 1, Run: 2, Attempt: 1, Environment: "production", Job: 3, SHA: sha(1), AskedAt: t0})
		return errors.Join(effect, notice, hold, tx.Once("k", "1", t0), tx.SetSubject(store.Subject{Key: pr(1), SHA: sha(1), Held: true, UpdatedAt: t0}),
			tx.SetPolicy(store.Policy{Repository: 1, Path: "p", Version: 1, Text: []byte("ümlaut"), Since: t0}), tx.AddLease(newLease("l")),
			tx.SetInstallation(store.Installation{ID: 9, Login: "acme"}), tx.SetRepository(store.Repository{ID: 1, FullName: "acme/orders"}),
			tx.Release(store.Release{Repository: 1, Environment: "production", Run: 2, Attempt: 1, SHA: sha(1), Human: true, At: t0}))
	}))
	must(t, s.Close())
	return path, seen
}

func exported(t *testing.T, s *store.Store) string {
	t.Helper()
	var out bytes.Buffer
	must(t, ledger.Export(t.Context(), s, &out, ledger.ExportConfig{Personal: true}))
	return out.String()
}

func TestMove(t *testing.T) {
	path, seen := lived(t, 300)
	before, err := store.Open(t.Context(), store.Config{Path: path})
	must(t, err)
	was := exported(t, before)
	to := store.Config{URL: store.Address(pgtest.URL(t))}
	// Not while somebody has it open.
	if _, err := store.Move(t.Context(), store.Config{Path: path}, to); err == nil || !strings.Contains(err.Error(), "stop every server") {
		t.Fatalf("moved while it is open: %v", err)
	}
	must(t, before.Mark(t.Context(), t0, mark(7)))
	must(t, before.Close())
	m, err := store.Move(t.Context(), store.Config{Path: path}, to)
	must(t, err)
	if m.Entries != 300 || m.Tables < 15 || m.Rows < 600 {
		t.Errorf("%+v", m)
	}
	// The file is closed for good, to this program and to older ones.
	_, err = store.Open(t.Context(), store.Config{Path: path})
	wants(t, err, store.ErrMoved)

	s := openURL(t, string(to.URL), func(c *store.Config) { c.MustExist = true })
	if got := exported(t, s); got != was {
		t.Error("the ledger is another one")
	}
	c, err := ledger.VerifyExport(strings.NewReader(was), ledger.VerifyConfig{Verifier: crashKey().Verifier(), Witnesses: seen})
	must(t, err)
	log, err := ledger.New(ledger.Config{Key: crashKey()})
	must(t, err)
	must(t, log.Observe(c))
	// It goes on from there: the ledger, and the numbers that the store gives.
	must(t, s.Update(t.Context(), func(tx *store.Tx) error {
		_, err := log.Append(tx, ledger.Entry{Kind: ledger.KindFact, Time: t0})
		return errors.Join(err, tx.Release(store.Release{Repository: 1, Environment: "staging", Run: 2, Attempt: 1, SHA: sha(1), At: t0}))
	}))
	if c, err = ledger.VerifyExport(strings.NewReader(exported(t, s)), ledger.VerifyConfig{Verifier: crashKey().Verifier(), Witnesses: seen}); err != nil || c.Size != 301 {
		t.Errorf("%d entries, %v", c.Size, err)
	}
	releases, err := s.ReleasesOf(t.Context(), 1, 2)
	must(t, err)
	if len(releases) != 2 || !releases[0].Human || releases[1].Human || releases[1].ID <= releases[0].ID {
		t.Errorf("%+v", releases)
	}
	facts, err := s.FactsOf(t.Context(), fact("").Subject, rules.FactClick)
	must(t, err)
	if len(facts) != 2 || facts[0].Key != "one" || len(facts[0].Deliveries) != 1 {
		t.Errorf("%+v", facts)
	}
	if got := pending(t, s); len(got) != 3 {
		t.Errorf("pending %q", got)
	}
	wants(t, s.Update(t.Context(), func(tx *store.Tx) error { return tx.AddLease(newLease("l2")) }), store.ErrAlready)
	p, err := s.Policy(t.Context(), 1, "p")
	must(t, err)
	if string(p.Text) != "ümlaut" {
		t.Errorf("%q", p.Text)
	}
	if v, err := s.Setting(t.Context(), "ledger key"); err != nil || !bytes.Equal(v, []byte{0, 1, 2, 0xff}) {
		t.Errorf("%v, %v", v, err)
	}
}

func TestMoveRefuses(t *testing.T) {
	path, _ := lived(t, 3)
	used := pgtest.URL(t)
	s := openURL(t, used, nil)
	must(t, s.Mark(t.Context(), t0, mark(1)))
	usable := func() {
		t.Helper()
		s, err := store.Open(t.Context(), store.Config{Path: path, MustExist: true})
		must(t, err)
		must(t, s.Close())
	}
	for name, c := range map[string]struct {
		from, to store.Config
		want     string
	}{
		"a database in use":        {store.Config{Path: path}, store.Config{URL: store.Address(used)}, "not empty"},
		"a file that is not there": {store.Config{Path: path + "x"}, store.Config{URL: store.Address(pgtest.URL(t))}, "not there"},
		"a database that is away":  {store.Config{Path: path}, store.Config{URL: "postgres://u@127.0.0.1:1/x"}, "opening the one to move to"},
		"the wrong way":            {store.Config{URL: store.Address(used)}, store.Config{Path: path}, "a file of SQLite to move from"},
	} {
		if _, err := store.Move(t.Context(), c.from, c.to); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		usable()
	}
	// What PostgreSQL cannot hold is named, and nothing has happened.
	s, err := store.Open(t.Context(), store.Config{Path: path})
	must(t, err)
	must(t, s.Update(t.Context(), func(tx *store.Tx) error { return tx.Once("k", "a\x00b", t0) }))
	must(t, s.Close())
	to := store.Config{URL: store.Address(pgtest.URL(t))}
	if _, err := store.Move(t.Context(), store.Config{Path: path}, to); err == nil || !strings.Contains(err.Error(), "table once") {
		t.Errorf("%v", err)
	}
	usable()

	// Interrupted by the end of its process, a move is begun anew, and nothing else is.
	db, err := sql.Open("sqlite", path)
	must(t, err)
	_, err = db.ExecContext(t.Context(), "DELETE FROM once WHERE key LIKE 'a%'; PRAGMA application_id = 1397510221")
	must(t, errors.Join(err, db.Close()))
	_, err = store.Open(t.Context(), store.Config{Path: path})
	wants(t, err, store.ErrMoved)
	m, err := store.Move(t.Context(), store.Config{Path: path}, to)
	must(t, err)
	if m.Entries != 3 {
		t.Errorf("%+v", m)
	}
	_, err = store.Open(t.Context(), store.Config{Path: path})
	wants(t, err, store.ErrMoved)
	// Not twice.
	if _, err := store.Move(t.Context(), store.Config{Path: path}, to); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("moved twice: %v", err)
	}
	// And what fails then opens no door that was closed.
	for _, to := range []store.Config{to, {URL: "postgres://u@127.0.0.1:1/x"}} {
		if _, err := store.Move(t.Context(), store.Config{Path: path}, to); err == nil {
			t.Fatal("moved twice")
		}
		_, err = store.Open(t.Context(), store.Config{Path: path})
		wants(t, err, store.ErrMoved)
	}
}

// A move that ends before its time leaves the file as it was and the database empty.
func TestMoveEnds(t *testing.T) {
	path, _ := lived(t, 50)
	address := pgtest.URL(t)
	for _, after := range []time.Duration{time.Millisecond, 30 * time.Millisecond} {
		ctx, cancel := context.WithTimeout(t.Context(), after)
		_, err := store.Move(ctx, store.Config{Path: path}, store.Config{URL: store.Address(address)})
		cancel()
		if err == nil {
			return // it was quicker
		}
		s, err := store.Open(t.Context(), store.Config{Path: path})
		must(t, err)
		must(t, s.Close())
	}
	_, err := store.Move(t.Context(), store.Config{Path: path}, store.Config{URL: store.Address(address)})
	must(t, err)
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}
