package store_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport/sallyport/gate/ledger"
	"github.com/sallyport/sallyport/gate/store"
	"github.com/sallyport/sallyport/gate/store/pgtest"
	"github.com/sallyport/sallyport/rules"
)

// crashEnv names the file that a process of this test's own program writes to
// until it is killed.
const crashEnv = "SALLYPORT_TEST_CRASH"

func TestMain(m *testing.M) {
	if path := os.Getenv(crashEnv); path != "" {
		if err := writeUntilKilled(path, os.Getenv(crashEnv+"_RUN"), os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(pgtest.Run(m))
}

func crashKey() ledger.Key {
	k, err := ledger.GenerateKey(rand.NewChaCha8([32]byte{1}), "crash.internal/ledger")
	if err != nil {
		panic(err) // a fixed seed makes a key or none
	}
	return k
}

// writeUntilKilled accepts deliveries, does the work that they mark, and says on
// acks what it was promised: "A id" for a delivery, "L size root" for an append,
// "E key" for an effect.
func writeUntilKilled(path, run string, acks io.Writer) error {
	ctx := context.Background()
	s, err := store.Open(ctx, store.Config{Path: path})
	if err != nil {
		return err
	}
	log, err := ledger.New(ledger.Config{Key: crashKey()})
	if err != nil {
		return err
	}
	var mu sync.Mutex // of acks
	say := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(acks, format+"\n", args...)
	}
	errs := make(chan error)
	for g := range 8 {
		go func() {
			for i := 0; ; i++ {
				id := fmt.Sprintf("%s-%d-%d", run, g, i)
				key := rules.WorkKey{Kind: rules.WorkPullRequest, Repository: rules.RepositoryID(g + 1), Number: int64(i + 1)}
				d := rules.Delivery{ID: id, BodyHash: sha256.Sum256([]byte(id)), Event: "check_run", ReceivedAt: t0, Marks: []rules.Mark{{Key: key}}}
				d.Facts = []rules.EventFact{{Kind: rules.FactClick, Key: id, Subject: key, Repository: key.Repository, Event: "check_run", Payload: []byte("{}")}}
				if _, err := s.Accept(ctx, d); err != nil {
					errs <- err
					return
				}
				say("A %s", id)
			}
		}()
	}
	for range 4 {
		go func() {
			for {
				w, err := s.Take(ctx, "w", t0, time.Hour)
				if errors.Is(err, store.ErrNotFound) {
					time.Sleep(time.Millisecond)
					continue
				}
				if err != nil {
					errs <- err
					return
				}
				effect := store.Effect{Key: run + " " + w.Key.String(), Subject: w.Key, Kind: "approve", PlannedAt: t0}
				var c ledger.Checkpoint
				if err := s.Update(ctx, func(tx *store.Tx) error {
					var err error
					if c, err = log.Append(tx, ledger.Entry{Kind: ledger.KindEffect, Time: t0, Subject: ledger.Subject{Key: effect.Key}, Personal: map[string]any{"who": run}}); err != nil {
						return err
					}
					effect.Entry = c.Size - 1
					if _, err := tx.PlanEffect(effect); err != nil {
						return err
					}
					if err := tx.Once("effect", effect.Key, t0); err != nil {
						return err
					}
					return tx.Done(w.Key, w.Lease)
				}); err != nil {
					errs <- err
					return
				}
				say("L %s", c.Witness())
				say("E %s", effect.Key)
			}
		}()
	}
	return <-errs
}

// A process is killed with SIGKILL at random moments while it writes. Nothing that
// it was promised is lost, nothing is there twice, and the ledger is the one that
// it signed.
func TestCrash(t *testing.T) {
	runs := 12
	if testing.Short() {
		runs = 3
	}
	path := filepath.Join(t.TempDir(), "sallyport.db")
	self, err := os.Executable()
	must(t, err)
	var accepted, effects []string
	var seen []ledger.Witness
	for run := range runs {
		cmd := exec.CommandContext(t.Context(), self)
		cmd.Env = append(os.Environ(), crashEnv+"="+path, fmt.Sprintf("%s_RUN=r%d", crashEnv, run))
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		// The first is killed while it starts, perhaps; the others once they write, however
		// long a busy machine takes until then.
		soon := time.Duration(50+rand.IntN(400)) * time.Millisecond
		first := time.Minute
		if run == 0 {
			first = soon
		}
		kill := time.AfterFunc(first, func() { _ = cmd.Process.Kill() })
		lines := bufio.NewReader(out)
		for writes := false; ; writes = true {
			line, err := lines.ReadString('\n')
			if err != nil {
				break // what was cut off was not said
			}
			if !writes && run > 0 {
				kill.Reset(soon)
			}
			kind, text, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
			switch kind {
			case "A":
				accepted = append(accepted, text)
			case "E":
				effects = append(effects, text)
			case "L":
				w, err := ledger.ParseWitness(text)
				must(t, err)
				seen = append(seen, w)
			}
		}
		kill.Stop()
		if err := cmd.Wait(); err == nil || stderr.Len() > 0 {
			t.Fatalf("run %d ended by itself: %v %s", run, err, &stderr)
		}
		checkAfterCrash(t, path, accepted, effects, seen)
	}
	if len(accepted) < 20*runs || len(effects) < runs {
		t.Fatalf("only %d deliveries and %d effects before %d kills: this shows nothing", len(accepted), len(effects), runs)
	}
	t.Logf("%d kills: %d deliveries, %d effects, %d checkpoints, none lost", runs, len(accepted), len(effects), len(seen))
}

func checkAfterCrash(t *testing.T, path string, accepted, effects []string, seen []ledger.Witness) {
	t.Helper()
	ctx := t.Context()
	s, err := store.Open(ctx, store.Config{Path: path, MustExist: true})
	must(t, err)
	defer func() { must(t, s.Close()) }()
	log, err := ledger.New(ledger.Config{Key: crashKey()})
	must(t, err)

	waiting := map[string]bool{}
	all, err := s.Pending(ctx, 1<<30)
	must(t, err)
	for _, w := range all {
		waiting[w.Key.String()] = true
	}
	facts := map[string]int{}
	for g := range 8 {
		in, err := s.FactsIn(ctx, rules.RepositoryID(g+1), rules.FactClick, time.Time{}, 1<<30)
		must(t, err)
		for _, f := range in {
			facts[f.Key]++
		}
	}
	for _, id := range accepted {
		var g int
		var i int64
		run, rest, _ := strings.Cut(id, "-")
		if _, err := fmt.Sscanf(rest, "%d-%d", &g, &i); err != nil {
			t.Fatal(err)
		}
		if facts[id] != 1 {
			t.Fatalf("the fact of delivery %s is there %d times", id, facts[id])
		}
		// Its key waits, or was worked on after some mark of it.
		key := rules.WorkKey{Kind: rules.WorkPullRequest, Repository: rules.RepositoryID(g + 1), Number: i + 1}.String()
		if !waiting[key] {
			if _, err := s.Effect(ctx, run+" "+key); err != nil && !workedOnLater(ctx, s, key) {
				t.Fatalf("delivery %s is accepted, and nobody looked or will look: %v", id, err)
			}
		}
	}
	for _, key := range effects {
		e, err := s.Effect(ctx, key)
		if err != nil {
			t.Fatalf("effect %s: %v", key, err)
		}
		if _, err := s.Happened(ctx, "effect", e.Key); err != nil {
			t.Fatalf("effect %s is there, and half of its transaction is not: %v", key, err)
		}
	}

	// The ledger: whole, signed, and through every state that it promised.
	if len(seen) > 0 {
		var out bytes.Buffer
		must(t, ledger.Export(ctx, s, &out, ledger.ExportConfig{Personal: true}))
		c, err := ledger.VerifyExport(bytes.NewReader(out.Bytes()), ledger.VerifyConfig{Verifier: crashKey().Verifier(), Witnesses: seen})
		must(t, err)
		must(t, log.Observe(c))
		// Each entry has its effect, and each effect one entry.
		entries := map[string]int{}
		must(t, s.LedgerLeaves(ctx, 0, c.Size, func(_ int64, leaf, _, _ []byte) error {
			r, err := ledger.ParseLeaf(leaf)
			entries[r.Subject.Key]++
			return err
		}))
		for key, n := range entries {
			if _, err := s.Effect(ctx, key); n != 1 || err != nil {
				t.Fatalf("effect %s has %d entries, %v", key, n, err)
			}
		}
	}

	// And it goes on: leases of the dead run out.
	for {
		w, err := s.Take(ctx, "after", t0.Add(2*time.Hour), time.Hour)
		if errors.Is(err, store.ErrNotFound) {
			break
		}
		must(t, err)
		must(t, s.Update(ctx, func(tx *store.Tx) error {
			effect := store.Effect{Key: "after " + w.Key.String() + " " + w.Lease, Subject: w.Key, Kind: "approve", PlannedAt: t0}
			if _, err := log.Append(tx, ledger.Entry{Kind: ledger.KindEffect, Time: t0, Subject: ledger.Subject{Key: effect.Key}}); err != nil {
				return err
			}
			if _, err := tx.PlanEffect(effect); err != nil {
				return err
			}
			if err := tx.Once("worked", w.Key.String(), t0); err != nil && !errors.Is(err, store.ErrAlready) {
				return err
			}
			return tx.Done(w.Key, w.Lease)
		}))
	}
}

// workedOnLater reports whether a key was worked on by a later run or after the
// crash.
func workedOnLater(ctx context.Context, s *store.Store, key string) bool {
	if _, err := s.Happened(ctx, "worked", key); err == nil {
		return true
	}
	for run := range 100 {
		if _, err := s.Effect(ctx, fmt.Sprintf("r%d %s", run, key)); err == nil {
			return true
		}
	}
	return false
}
