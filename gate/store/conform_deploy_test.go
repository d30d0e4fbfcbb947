package store_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport/sallyport/gate/store"
	"github.com/sallyport/sallyport/rules"
)

func release(environment string, run rules.RunID, edit ...func(*store.Release)) store.Release {
	r := store.Release{Repository: 1, Environment: environment, Run: run, Attempt: 1, SHA: sha(int(run)), Ref: "refs/heads/main", At: t0}
	for _, e := range edit {
		e(&r)
	}
	return r
}

func notice(key, to string, edit ...func(*store.Notice)) store.Notice {
	n := store.Notice{Key: key, To: to, Repository: 1, Payload: []byte("{}"), MadeAt: t0}
	for _, e := range edit {
		e(&n)
	}
	return n
}

func hold(id string, edit ...func(*store.Hold)) store.Hold {
	h := store.Hold{ID: id, Repository: 1, Run: 5, Attempt: 1, Environment: "production", Job: 9, SHA: sha(1), Claims: []byte(`{"ref":"x"}`), AskedAt: t0}
	for _, e := range edit {
		e(&h)
	}
	return h
}

// hundred calls fn a hundred times at once and counts how often it said yes.
func hundred(t *testing.T, fn func() (bool, error)) int {
	t.Helper()
	var yes atomic.Int64
	var wait sync.WaitGroup
	for range 100 {
		wait.Go(func() {
			ok, err := fn()
			if err != nil {
				t.Error(err)
			}
			if ok {
				yes.Add(1)
			}
		})
	}
	wait.Wait()
	return int(yes.Load())
}

func conformReleases(t *testing.T, open opening) {
	s, ctx := open(t, nil), t.Context()
	let := func(r store.Release) error {
		return s.Update(ctx, func(tx *store.Tx) error { return tx.Release(r) })
	}
	end := func(environment string, run rules.RunID, outcome string, at time.Time) error {
		return s.Update(ctx, func(tx *store.Tx) error { return tx.EndRelease(1, environment, run, 1, 0, outcome, at) })
	}
	full := release("Production", 7, func(r *store.Release) {
		r.Jobs, r.Human, r.Observed, r.Approvals, r.Decision = []rules.CheckRunID{11, 12}, true, true, []byte(`[{"by":3}]`), "d1"
	})
	if n := hundred(t, func() (bool, error) {
		err := let(full)
		if errors.Is(err, store.ErrAlready) {
			return false, nil
		}
		return err == nil, err
	}); n != 1 {
		t.Errorf("%d callers released the same", n)
	}
	got, err := s.ReleasesOf(ctx, 1, 7)
	must(t, err)
	want := full
	want.ID, want.Environment = 1, "production"
	if len(got) != 1 || !reflect.DeepEqual(got[0], want) {
		t.Fatalf("%+v, want %+v", got, want)
	}
	// The environment is one in every spelling that GitHub takes for the same, and
	// two where it may not.
	wants(t, let(release("PRODUCTION", 7)), store.ErrAlready)
	must(t, let(release("production\u017f", 7)))
	must(t, let(release("productions", 7)))
	// Each part of the key makes another release.
	for name, edit := range map[string]func(*store.Release){
		"repository": func(r *store.Release) { r.Repository = 2 },
		"attempt":    func(r *store.Release) { r.Attempt = 2 },
		"turn":       func(r *store.Release) { r.Turn = 1 },
		"run":        func(r *store.Release) { r.Run = 8 },
	} {
		if err := let(release("production", 7, edit)); err != nil {
			t.Errorf("another %s: %v", name, err)
		}
	}
	if got, err := s.ReleasesOf(ctx, 1, 7); err != nil || len(got) != 5 || !slices.IsSortedFunc(got, func(a, b store.Release) int { return int(a.ID - b.ID) }) {
		t.Errorf("%+v, %v", got, err)
	}
	// The first outcome counts, under 100 callers too.
	if n := hundred(t, func() (bool, error) {
		err := end("PRODUCTION", 7, "failure", at(5))
		if errors.Is(err, store.ErrNotFound) {
			return false, nil
		}
		return err == nil, err
	}); n != 1 {
		t.Errorf("%d callers ended the same release", n)
	}
	wants(t, end("production", 7, store.Success, at(6)), store.ErrNotFound)
	wants(t, end("production", 99, store.Success, at(6)), store.ErrNotFound)
	if got := first(s.ReleasesOf(ctx, 1, 7))[0]; got.Outcome != "failure" || !got.EndedAt.Equal(at(5)) {
		t.Errorf("ended as %q at %s", got.Outcome, got.EndedAt)
	}
	for name, edit := range map[string]func(*store.Release){
		"without a repository":  func(r *store.Release) { r.Repository = 0 },
		"without environment":   func(r *store.Release) { r.Environment = "" },
		"without a run":         func(r *store.Release) { r.Run = 0 },
		"without an attempt":    func(r *store.Release) { r.Attempt = 0 },
		"of a turn below zero":  func(r *store.Release) { r.Turn = -1 },
		"of no commit":          func(r *store.Release) { r.SHA = "" },
		"at no time":            func(r *store.Release) { r.At = time.Time{} },
		"that succeeded before": func(r *store.Release) { r.Outcome, r.EndedAt = store.Success, t0 },
	} {
		if err := let(release("staging", 50, edit)); err == nil || errors.Is(err, store.ErrAlready) {
			t.Errorf("a release %s: %v", name, err)
		}
	}
	must(t, let(release("staging", 51)))
	if err := end("staging", 51, "", at(1)); err == nil || errors.Is(err, store.ErrNotFound) {
		t.Errorf("ended as nothing: %v", err)
	}
	if err := end("staging", 51, store.Success, time.Time{}); err == nil || errors.Is(err, store.ErrNotFound) {
		t.Errorf("ended at no time: %v", err)
	}
	// What rolls back was not released.
	boom := errors.New("boom")
	wants(t, s.Update(ctx, func(tx *store.Tx) error { return errors.Join(tx.Release(release("staging", 60)), boom) }), boom)
	if got := first(s.ReleasesOf(ctx, 1, 60)); len(got) != 0 {
		t.Errorf("after the rollback: %+v", got)
	}
}

func conformLastRelease(t *testing.T, open opening) {
	s, ctx := open(t, nil), t.Context()
	last := func(environment string) rules.RunID {
		r, err := s.LastRelease(ctx, 1, environment)
		if errors.Is(err, store.ErrNotFound) {
			return 0
		}
		must(t, err)
		return r.Run
	}
	if _, err := s.LastRelease(ctx, 1, "production"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("no release: %v", err)
	}
	for _, c := range []struct {
		release store.Release
		outcome string
		ended   time.Time
		want    rules.RunID // the baseline of production after it
	}{
		{release("production", 1), "", time.Time{}, 0},
		{release("production", 2), "failure", at(1), 0},
		{release("production", 3, func(r *store.Release) { r.Observed = true }), store.Success, at(2), 0},
		{release("production", 4, func(r *store.Release) { r.Repository = 2 }), store.Success, at(3), 0},
		{release("staging", 5), store.Success, at(4), 0},
		{release("production", 6), "SUCCESS", at(5), 0}, // no word of GitHub's
		{release("production", 7), store.Success, at(20), 7},
		{release("production", 8), store.Success, at(10), 7}, // written later, ended before
		{release("production", 9), store.Success, at(20), 9}, // at the same time
		{release("production", 10), "cancelled", at(30), 9},
		{release("production", 11), "", time.Time{}, 9},
		{release("PRODUCTION", 12), store.Success, at(40), 12},
	} {
		must(t, s.Update(ctx, func(tx *store.Tx) error {
			if err := tx.Release(c.release); err != nil || c.outcome == "" {
				return err
			}
			return tx.EndRelease(c.release.Repository, c.release.Environment, c.release.Run, 1, 0, c.outcome, c.ended)
		}))
		if got := last("Production"); got != c.want {
			t.Errorf("after run %d: run %d, want %d", c.release.Run, got, c.want)
		}
	}
	if got := last("staging"); got != 5 {
		t.Errorf("staging: run %d", got)
	}
}

func conformNotices(t *testing.T, open opening) {
	s, ctx := open(t, nil), t.Context()
	tell := func(n store.Notice) (fresh bool, err error) {
		err = s.Update(ctx, func(tx *store.Tx) error {
			fresh, err = tx.Notify(n)
			return err
		})
		return fresh, err
	}
	take := func(now time.Time, limit int) []string {
		t.Helper()
		all, err := s.TakeNotices(ctx, now, time.Minute, limit)
		must(t, err)
		var out []string
		for _, n := range all {
			out = append(out, fmt.Sprintf("%s>%s %d", n.Key, n.To, n.Attempts))
		}
		return out
	}
	if got := take(t0, 10); got != nil {
		t.Errorf("took %q of nothing", got)
	}
	if n := hundred(t, func() (bool, error) { return tell(notice("a", "ops")) }); n != 1 {
		t.Errorf("%d callers made the same notice", n)
	}
	for _, n := range []store.Notice{
		notice("a", "dev"),
		notice("b", "ops", func(n *store.Notice) { n.DueAt = at(-5) }),
		notice("c", "ops", func(n *store.Notice) { n.DueAt = at(50) }),
	} {
		if fresh, err := tell(n); err != nil || !fresh {
			t.Errorf("%s to %s: %t, %v", n.Key, n.To, fresh, err)
		}
	}
	// The longest due first, at most so many, and nobody takes them again before the
	// lease is over.
	for _, c := range []struct {
		now   int
		limit int
		want  []string
	}{
		{-6, 10, nil},
		{0, 1, []string{"b>ops 1"}},
		{0, 10, []string{"a>dev 1", "a>ops 1"}},
		{49, 10, nil},
		{50, 10, []string{"c>ops 1"}},
		{59, 10, nil},
		{60, 10, []string{"a>dev 2", "a>ops 2", "b>ops 2"}},
	} {
		if got := take(at(c.now), c.limit); !slices.Equal(got, c.want) {
			t.Errorf("at %d: took %q, want %q", c.now, got, c.want)
		}
	}
	must(t, s.EndNotice(ctx, "a", "ops", at(61)))
	must(t, s.FailNotice(ctx, "a", "dev", errors.New("no answer"), at(200)))
	must(t, s.GiveUpNotice(ctx, "b", "ops", errors.New("gone for good"), at(62)))
	if got := take(at(199), 10); !slices.Equal(got, []string{"c>ops 2"}) {
		t.Errorf("took %q", got)
	}
	if got := take(at(200), 10); !slices.Equal(got, []string{"a>dev 3"}) {
		t.Errorf("took %q", got)
	}
	// What has arrived or was given up does not come back, and its key is taken.
	wants(t, s.EndNotice(ctx, "a", "ops", at(300)), store.ErrNotFound)
	for _, n := range []store.Notice{notice("a", "ops"), notice("b", "ops")} {
		if fresh, err := tell(n); err != nil || fresh {
			t.Errorf("%s again: %t, %v", n.Key, fresh, err)
		}
		wants(t, s.FailNotice(ctx, n.Key, n.To, errors.New("late"), at(300)), store.ErrNotFound)
		wants(t, s.GiveUpNotice(ctx, n.Key, n.To, errors.New("late"), at(300)), store.ErrNotFound)
	}
	wants(t, s.EndNotice(ctx, "a", "nobody", at(300)), store.ErrNotFound)
	given, err := s.GivenUpNotices(ctx, 10)
	if err != nil || len(given) != 1 || given[0].Key != "b" || given[0].Error != "gone for good" || !given[0].GivenUpAt.Equal(at(62)) || !given[0].SentAt.IsZero() {
		t.Errorf("given up: %+v, %v", given, err)
	}
	// A slow answer is an answer.
	must(t, s.EndNotice(ctx, "b", "ops", at(300)))
	if given, err := s.GivenUpNotices(ctx, 10); err != nil || len(given) != 0 {
		t.Errorf("given up: %+v, %v", given, err)
	}
	must(t, s.EndNotice(ctx, "a", "dev", at(300)))
	must(t, s.EndNotice(ctx, "c", "ops", at(300)))

	// Many processes share out what is due, each once.
	for i := range 250 {
		if _, err := tell(notice(fmt.Sprintf("n%03d", i), "ops")); err != nil {
			t.Fatal(err)
		}
	}
	if got := take(at(999), 1000); len(got) != 100 {
		t.Errorf("took %d at once, want 100", len(got))
	}
	var mu sync.Mutex
	taken := map[string]int{}
	var wait sync.WaitGroup
	for range 100 {
		wait.Go(func() {
			got, err := s.TakeNotices(ctx, at(1000), time.Minute, 7)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			for _, n := range got {
				taken[n.Key]++
			}
		})
	}
	wait.Wait()
	for len(taken) < 150 {
		got, err := s.TakeNotices(ctx, at(1000), time.Minute, 100)
		must(t, err)
		if len(got) == 0 {
			break
		}
		for _, n := range got {
			taken[n.Key]++
		}
	}
	for key, n := range taken {
		if n != 1 {
			t.Errorf("%s was taken %d times", key, n)
		}
	}
	if len(taken) != 150 {
		t.Errorf("%d notices were taken, want 150", len(taken))
	}

	for name, edit := range map[string]func(*store.Notice){
		"without a key":        func(n *store.Notice) { n.Key = "" },
		"to nobody":            func(n *store.Notice) { n.To = "" },
		"without a repository": func(n *store.Notice) { n.Repository = 0 },
		"of no time":           func(n *store.Notice) { n.MadeAt = time.Time{} },
		"that is too large":    func(n *store.Notice) { n.Payload = make([]byte, 64<<10+1) },
	} {
		if fresh, err := tell(notice("new", "ops", edit)); err == nil || fresh {
			t.Errorf("a notice %s: %t, %v", name, fresh, err)
		}
	}
	for _, x := range []struct {
		lease time.Duration
		limit int
	}{{0, 1}, {-1, 1}, {time.Minute, 0}, {time.Minute, -1}} {
		if _, err := s.TakeNotices(ctx, t0, x.lease, x.limit); err == nil {
			t.Errorf("took %d for %s", x.limit, x.lease)
		}
	}
	for name, err := range map[string]error{
		"failed for no reason":  s.FailNotice(ctx, "n000", "ops", nil, at(1)),
		"failed until no time":  s.FailNotice(ctx, "n000", "ops", errors.New("x"), time.Time{}),
		"given up for nothing":  s.GiveUpNotice(ctx, "n000", "ops", nil, at(1)),
		"given up at no time":   s.GiveUpNotice(ctx, "n000", "ops", errors.New("x"), time.Time{}),
		"arrived at no time":    s.EndNotice(ctx, "n000", "ops", time.Time{}),
		"a failure of no known": s.FailNotice(ctx, "unheard", "ops", errors.New("x"), at(1)),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// An address of an alert target is a secret, and does not get into the store by way
// of an error.
func conformNoticeErrors(t *testing.T, open opening) {
	s, ctx := open(t, nil), t.Context()
	texts := []string{
		`Post "https://hooks.example.com/services/T0/B0/s3cret": dial tcp: no route`,
		"https://alice:s3cret@example.com is not there",
		`the answer was {"url":"https:\/\/hooks.example.com\/s3cret"}`,
		"hooks.example.com/s3cret is not there", "/services/T0/s3cret: not found", "to https%3A%2F%2Fx%2Fs3cret", "no https%3a%2f%2fx%2fs3cret",
		"example.com?token=s3cret is not there", "https:\x00//example.com/s3cret", "HTTPS://EXAMPLE.COM/s3cret\nno route",
		strings.Repeat("x", 950) + " https://hooks.example.com/" + strings.Repeat("s3cret", 50),
	}
	must(t, s.Update(ctx, func(tx *store.Tx) error {
		for i := range texts {
			for _, to := range []string{"fails", "given up"} {
				if _, err := tx.Notify(notice(fmt.Sprint(i), to)); err != nil {
					return err
				}
			}
		}
		return nil
	}))
	for i, text := range texts {
		must(t, s.FailNotice(ctx, fmt.Sprint(i), "fails", errors.New(text), t0))
		must(t, s.GiveUpNotice(ctx, fmt.Sprint(i), "given up", errors.New(text), t0))
	}
	kept, err := s.TakeNotices(ctx, t0, time.Minute, 100)
	must(t, err)
	given, err := s.GivenUpNotices(ctx, 100)
	must(t, err)
	if len(kept) != len(texts) || len(given) != len(texts) {
		t.Fatalf("%d failed and %d were given up, want %d", len(kept), len(given), len(texts))
	}
	for _, n := range slices.Concat(kept, given) {
		if strings.Contains(n.Error, "s3cret") || strings.ContainsAny(n.Error, "\n\x00") || !strings.Contains(n.Error, "(address)") {
			t.Errorf("%s was kept as %q", n.Key, n.Error)
		}
	}
}

func conformHolds(t *testing.T, open opening) {
	s, ctx := open(t, nil), t.Context()
	add := func(h store.Hold) (bool, error) { return s.AddHold(ctx, h) }
	if n := hundred(t, func() (bool, error) {
		known, err := add(hold("a"))
		return !known, err
	}); n != 1 {
		t.Errorf("%d callers made the same hold", n)
	}
	if got, err := s.Hold(ctx, "a"); err != nil || !reflect.DeepEqual(got, hold("a")) {
		t.Errorf("%+v, %v", got, err)
	}
	_, err := s.Hold(ctx, "unheard")
	wants(t, err, store.ErrNotFound)
	// Asked again it is the same, and the first time counts.
	if known, err := add(hold("a", func(h *store.Hold) { h.AskedAt, h.Environment = at(9), "PRODUCTION" })); err != nil || !known {
		t.Errorf("asked again: %t, %v", known, err)
	}
	if got := first(s.Hold(ctx, "a")); !got.AskedAt.Equal(t0) {
		t.Errorf("asked at %s", got.AskedAt)
	}
	// With anything else in it, it is somebody else's.
	for name, edit := range map[string]func(*store.Hold){
		"repository":  func(h *store.Hold) { h.Repository = 2 },
		"run":         func(h *store.Hold) { h.Run = 6 },
		"attempt":     func(h *store.Hold) { h.Attempt = 2 },
		"environment": func(h *store.Hold) { h.Environment = "staging" },
		"job":         func(h *store.Hold) { h.Job = 10 },
		"commit":      func(h *store.Hold) { h.SHA = sha(2) },
		"claims":      func(h *store.Hold) { h.Claims = nil },
	} {
		if known, err := add(hold("a", edit)); known || !errors.Is(err, store.ErrAlready) {
			t.Errorf("with another %s: %t, %v", name, known, err)
		}
	}
	for name, edit := range map[string]func(*store.Hold){
		"without an id":          func(h *store.Hold) { h.ID = "" },
		"with a long id":         func(h *store.Hold) { h.ID = strings.Repeat("x", 201) },
		"without a repository":   func(h *store.Hold) { h.Repository = 0 },
		"without a run":          func(h *store.Hold) { h.Run = 0 },
		"without an attempt":     func(h *store.Hold) { h.Attempt = 0 },
		"without an environment": func(h *store.Hold) { h.Environment = "" },
		"without a job":          func(h *store.Hold) { h.Job = 0 },
		"without a commit":       func(h *store.Hold) { h.SHA = "" },
		"of no time":             func(h *store.Hold) { h.AskedAt = time.Time{} },
		"with too many claims":   func(h *store.Hold) { h.Claims = make([]byte, 64<<10+1) },
	} {
		if known, err := add(hold("new", edit)); err == nil || known || errors.Is(err, store.ErrAlready) {
			t.Errorf("a hold %s: %t, %v", name, known, err)
		}
	}
	must(t, s.Update(ctx, func(tx *store.Tx) error {
		for _, h := range []store.Hold{
			hold("c", func(h *store.Hold) { h.AskedAt = at(-1) }), hold("b"), hold("d", func(h *store.Hold) { h.Run = 6 }),
			hold("e", func(h *store.Hold) { h.Repository = 2 }), hold("f", func(h *store.Hold) { h.Attempt = 2 }),
		} {
			if known, err := tx.AddHold(h); err != nil || known {
				return fmt.Errorf("hold %s: %t, %w", h.ID, known, err)
			}
		}
		return nil
	}))
	var ids []string
	for _, h := range first(s.HoldsOf(ctx, 1, 5)) {
		ids = append(ids, h.ID)
	}
	if want := []string{"c", "a", "b", "f"}; !slices.Equal(ids, want) {
		t.Errorf("holds %q, want %q", ids, want)
	}
	// A workflow gone mad does not fill the disk, and takes nothing from other runs.
	must(t, s.Update(ctx, func(tx *store.Tx) error {
		for i := range 996 {
			if _, err := tx.AddHold(hold(fmt.Sprintf("m%d", i))); err != nil {
				return err
			}
		}
		return nil
	}))
	if _, err := add(hold("one too many", func(h *store.Hold) { h.Attempt = 3 })); err == nil || !strings.Contains(err.Error(), "start a new run") {
		t.Errorf("hold 1001: %v", err)
	}
	if known, err := add(hold("a")); err != nil || !known {
		t.Errorf("a known one of a full run: %t, %v", known, err)
	}
	if known, err := add(hold("z", func(h *store.Hold) { h.Run = 7 })); err != nil || known {
		t.Errorf("another run: %t, %v", known, err)
	}
	if n := len(first(s.HoldsOf(ctx, 1, 5))); n != 1000 {
		t.Errorf("%d holds", n)
	}
}

// A file of schema 1 is brought to the present one with everything in it, and is
// then the same as a new file.
func TestSchema1(t *testing.T) {
	ctx, path := t.Context(), filepath.Join(t.TempDir(), "sallyport.db")
	script, err := os.ReadFile(filepath.Join("testdata", "schema1.sql"))
	must(t, err)
	raw := func(path string, do func(*sql.DB)) {
		t.Helper()
		db, err := sql.Open("sqlite", path)
		must(t, err)
		defer db.Close()
		do(db)
	}
	raw(path, func(db *sql.DB) {
		_, err := db.ExecContext(ctx, string(script))
		must(t, err)
	})
	must(t, os.Chmod(path, 0o600))
	s, err := store.Open(ctx, store.Config{Path: path, MustExist: true})
	must(t, err)
	if known, err := s.Accept(ctx, delivery("a", "x", mark(1), mark(2))); err != nil || !known {
		t.Errorf("the delivery: known %t, %v", known, err)
	}
	if got := pending(t, s); !slices.Equal(got, []string{pr(1).String(), pr(2).String()}) {
		t.Errorf("pending %q", got)
	}
	if p, err := s.Policy(ctx, 1, ".github/sallyport.yml"); err != nil || p.Version != 1 || p.Pins.Users["alice"] != 7 || !p.Since.Equal(t0) {
		t.Errorf("policy %+v, %v", p, err)
	}
	wants(t, s.Update(ctx, func(tx *store.Tx) error { return tx.Once("grant", "g", t0) }), store.ErrAlready)
	if e, err := s.Effect(ctx, "e"); err != nil || e.State != store.EffectPlanned {
		t.Errorf("effect %+v, %v", e, err)
	}
	if facts, err := s.FactsOf(ctx, fact("").Subject, rules.FactClick); err != nil || len(facts) != 1 || facts[0].Deliveries[0] != "a" {
		t.Errorf("facts %+v, %v", facts, err)
	}
	leaves := 0
	if err := s.LedgerLeaves(ctx, 0, 10, func(int64, []byte, []byte, []byte) error { leaves++; return nil }); err != nil || leaves != 1 {
		t.Errorf("the ledger has %d entries, %v", leaves, err)
	}
	must(t, s.Update(ctx, func(tx *store.Tx) error {
		_, err := tx.Notify(notice("a", "ops"))
		return errors.Join(err, tx.Release(release("production", 1)), func() error { _, err := tx.AddHold(hold("a")); return err }())
	}))
	must(t, s.Close())

	other := filepath.Join(t.TempDir(), "new.db")
	fresh, err := store.Open(ctx, store.Config{Path: other})
	must(t, err)
	must(t, fresh.Close())
	var both [2]string
	var version int64
	for i, p := range []string{path, other} {
		raw(p, func(db *sql.DB) {
			both[i] = schemaOf(ctx, t, db)
			must(t, db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version))
			if version < 2 {
				t.Errorf("version %d", version)
			}
		})
	}
	if both[0] != both[1] {
		t.Errorf("a file that was brought up is\n%s\na new one is\n%s", both[0], both[1])
	}
	// The next version is not ours to open, and stays as it is.
	raw(path, func(db *sql.DB) {
		_, err := db.ExecContext(ctx, fmt.Sprintf("PRAGMA user_version = %d", version+1))
		must(t, err)
	})
	_, err = store.Open(ctx, store.Config{Path: path, MustExist: true})
	wants(t, err, store.ErrNewer)
	raw(path, func(db *sql.DB) {
		if got := schemaOf(ctx, t, db); got != both[0] {
			t.Errorf("it was changed to\n%s", got)
		}
	})
}

// schemaOf is the text of all tables and indexes, in the order of their names.
func schemaOf(ctx context.Context, t *testing.T, db *sql.DB) string {
	t.Helper()
	rows, err := db.QueryContext(ctx, "SELECT coalesce(sql, name) FROM sqlite_schema ORDER BY name")
	must(t, err)
	defer rows.Close()
	var out strings.Builder
	for rows.Next() {
		var text string
		must(t, rows.Scan(&text))
		out.WriteString(text + "\n")
	}
	must(t, rows.Err())
	return out.String()
}
