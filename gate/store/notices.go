package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sallyport/sallyport/rules"
)

const (
	// maxNotices is how many notices are taken or listed at once.
	maxNotices = 100
	// maxPayload is how many bytes a notice may have. A message for people has a
	// few hundred.
	maxPayload = 64 << 10
)

// Notice is a message to one alert target that must arrive although the process may
// end. A key and a target have one notice for good: what was told is not told again.
type Notice struct {
	Key string
	// To is the name of the alert target. The address is not stored.
	To         string
	Repository rules.RepositoryID
	// Payload belongs to whoever makes and sends it.
	Payload []byte
	MadeAt  time.Time
	// DueAt is when it is to be sent, or sent again; zero is MadeAt.
	DueAt time.Time

	// The rest is set as it goes on. Attempts counts the tries, Error is why the
	// last one did not work. Of SentAt and GivenUpAt at most one is not zero.
	Attempts          int
	Error             string
	SentAt, GivenUpAt time.Time
}

// Notify stores a notice to be sent. It reports false, and changes nothing, if
// there is one of that key to that target, whatever became of it.
func (t *Tx) Notify(n Notice) (bool, error) {
	switch {
	case n.Key == "" || n.To == "" || n.Repository <= 0 || n.MadeAt.IsZero():
		return false, fmt.Errorf("a notice of half a thing: key %q, to %q, repository %d", n.Key, n.To, n.Repository)
	case len(n.Payload) > maxPayload:
		return false, fmt.Errorf("notice %q has %d bytes: want at most %d", n.Key, len(n.Payload), maxPayload)
	}
	due := n.DueAt
	if due.IsZero() {
		due = n.MadeAt
	}
	rows, err := t.exec("INSERT INTO notices (key, target, repository, payload, made_at, due_at) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
		n.Key, n.To, int64(n.Repository), blob(n.Payload), stamp(n.MadeAt), stamp(due))
	return rows == 1, err
}

// TakeNotices returns notices that are due, the longest due first, at most limit
// and at most 100. Their next try is at now plus lease, and the attempt is counted:
// nobody else takes them before, and one that ends the process is counted too. It
// returns none, and no error, if nothing is due.
func (s *Store) TakeNotices(ctx context.Context, now time.Time, lease time.Duration, limit int) ([]Notice, error) {
	if lease <= 0 || limit <= 0 {
		return nil, fmt.Errorf("taking %d notices for %s", limit, lease)
	}
	// Most of the time nothing is due, and asking that costs no write.
	due, err := s.notices(ctx, "WHERE sent_at = 0 AND given_up_at = 0 AND due_at <= ? ORDER BY due_at, key, target LIMIT ?", stamp(now), min(limit, maxNotices))
	if err != nil || len(due) == 0 {
		return nil, err
	}
	var out []Notice
	err = s.Update(ctx, func(tx *Tx) error {
		for _, d := range due {
			n, err := scanNotice(func(into ...any) error {
				return tx.one(`UPDATE notices SET due_at = ?, attempts = attempts + 1
					WHERE key = ? AND target = ? AND sent_at = 0 AND given_up_at = 0 AND due_at <= ? RETURNING `+noticeColumns,
					[]any{stamp(now.Add(lease)), d.Key, d.To, stamp(now)}, into...)
			})
			if errors.Is(err, ErrNotFound) {
				continue // somebody else took it in between
			}
			if err != nil {
				return err
			}
			out = append(out, n)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// EndNotice records that a notice has arrived, one that was given up too: a slow
// answer is an answer. It returns [ErrNotFound] if there is none, or it arrived
// before.
func (s *Store) EndNotice(ctx context.Context, key, to string, now time.Time) error {
	if now.IsZero() {
		return errors.New("a notice that arrived at no time")
	}
	return s.Update(ctx, func(tx *Tx) error {
		n, err := tx.exec("UPDATE notices SET sent_at = ?, given_up_at = 0, error = '' WHERE key = ? AND target = ? AND sent_at = 0", stamp(now), key, to)
		return missing(n, err)
	})
}

// FailNotice records why a try did not work, and when the next one is due. Whatever
// looks like an address is taken out of the text; it must hold no other secret. It
// returns [ErrNotFound] if the notice is not to be sent any more.
//
// It asks for no proof that the caller's lease still holds. Who comes late can bring
// the next try forward, so that a notice is sent twice, and never lose one.
func (s *Store) FailNotice(ctx context.Context, key, to string, cause error, due time.Time) error {
	if cause == nil || due.IsZero() {
		return errors.New("a notice failed for no reason, or is never to be tried again: use GiveUpNotice")
	}
	return s.Update(ctx, func(tx *Tx) error {
		n, err := tx.exec("UPDATE notices SET error = ?, due_at = ? WHERE key = ? AND target = ? AND sent_at = 0 AND given_up_at = 0",
			withoutAddresses(cause), stamp(due), key, to)
		return missing(n, err)
	})
}

// GiveUpNotice records that a notice is not tried again, and why, as
// [Store.FailNotice] does. It is kept, and its key stays taken. It returns [ErrNotFound] if the notice is not to be sent any
// more.
func (s *Store) GiveUpNotice(ctx context.Context, key, to string, cause error, now time.Time) error {
	if cause == nil || now.IsZero() {
		return errors.New("a notice is given up for no reason, or at no time")
	}
	return s.Update(ctx, func(tx *Tx) error {
		n, err := tx.exec("UPDATE notices SET error = ?, given_up_at = ? WHERE key = ? AND target = ? AND sent_at = 0 AND given_up_at = 0",
			withoutAddresses(cause), stamp(now), key, to)
		return missing(n, err)
	})
}

// GivenUpNotices returns the notices that did not arrive and are not tried again,
// newest first, at most limit and at most 100.
func (s *Store) GivenUpNotices(ctx context.Context, limit int) ([]Notice, error) {
	return s.notices(ctx, "WHERE given_up_at <> 0 ORDER BY given_up_at DESC, key, target LIMIT ?", max(0, min(limit, maxNotices)))
}

const noticeColumns = "key, target, repository, payload, made_at, due_at, attempts, error, sent_at, given_up_at"

func scanNotice(scan func(...any) error) (Notice, error) {
	var n Notice
	var made, due, sent, given int64
	if err := scan(&n.Key, &n.To, &n.Repository, &n.Payload, &made, &due, &n.Attempts, &n.Error, &sent, &given); err != nil {
		return Notice{}, err
	}
	n.MadeAt, n.DueAt, n.SentAt, n.GivenUpAt = unstamp(made), unstamp(due), unstamp(sent), unstamp(given)
	return n, nil
}

func (s *Store) notices(ctx context.Context, where string, args ...any) ([]Notice, error) {
	return all(ctx, s, scanNotice, "SELECT "+noticeColumns+" FROM notices "+where, args...)
}

// withoutAddresses makes an error's text fit to be stored, without any word that
// could be an address or part of one: an alert target's address is a secret, and
// Go's errors like to quote it. A path on the disk goes with it.
func withoutAddresses(cause error) string {
	words := strings.Fields(clean(cause.Error()))
	for i, w := range words {
		if strings.ContainsAny(w, `/\?`) || strings.Contains(strings.ToLower(w), "%2f") {
			words[i] = "(address)"
		}
	}
	return strings.Join(words, " ")
}
