package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/rules"
)

// Policy is a version of a policy that came into force, or was deleted by right.
type Policy struct {
	Repository rules.RepositoryID
	// Path of the file. The organisation's floor is a policy of its own path.
	Path string
	// Version counts from 1 for each repository and path.
	Version int64
	// Deleted says that the file was taken away by right: it denies.
	Deleted bool
	Commit  rules.SHA
	Blob    rules.SHA
	// Branch was the default branch when it came into force.
	Branch string
	// Text is the file as it was read.
	Text []byte
	Pins Pins
	// Arrival is how it came ("adopted", "passed", "unchanged"), Why a few words for people.
	Arrival, Why string
	Since        time.Time
}

// Pins say who the names of a policy were when it came into force.
type Pins struct {
	Users map[string]rules.AccountID `json:"users,omitzero"`
	Teams map[string]rules.TeamID    `json:"teams,omitzero"`
}

// The states of a policy in the database.
const (
	policyInForce = "in_force"
	policyDeleted = "deleted"
)

// SetPolicy brings the next version of a policy into force: p.Version must be one
// more than that of the version in force, 1 if there is none. It returns
// [ErrAlready] if another one came first.
func (t *Tx) SetPolicy(p Policy) error {
	if p.Repository <= 0 || p.Path == "" || p.Version < 1 {
		return fmt.Errorf("a policy of repository %d at %q with version %d", p.Repository, p.Path, p.Version)
	}
	var newest int64
	if err := t.one("SELECT coalesce(max(version), 0) FROM policies WHERE repository = ? AND path = ?", []any{int64(p.Repository), p.Path}, &newest); err != nil {
		return err
	}
	switch {
	case p.Version <= newest:
		return fmt.Errorf("version %d of the policy at %q: %w", p.Version, p.Path, ErrAlready)
	case p.Version > newest+1:
		return fmt.Errorf("version %d of the policy at %q does not follow on version %d", p.Version, p.Path, newest)
	}
	pins, err := json.Marshal(p.Pins, json.Deterministic(true))
	if err != nil {
		return err
	}
	state := policyInForce
	if p.Deleted {
		state = policyDeleted
	}
	_, err = t.exec(`INSERT INTO policies (repository, path, version, state, commit_id, blob, branch, text, pins, arrival, why, since)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		int64(p.Repository), p.Path, p.Version, state, string(p.Commit), string(p.Blob), p.Branch, blob(p.Text), pins, p.Arrival, p.Why, stamp(p.Since))
	return err
}

// Policy returns the newest version of a policy, or [ErrNotFound] if none ever
// came into force.
func (s *Store) Policy(ctx context.Context, repository rules.RepositoryID, path string) (Policy, error) {
	all, err := s.policies(ctx, "WHERE repository = ? AND path = ? ORDER BY version DESC LIMIT 1", int64(repository), path)
	if err != nil {
		return Policy{}, err
	}
	if len(all) == 0 {
		return Policy{}, ErrNotFound
	}
	return all[0], nil
}

// Policies returns all versions of a policy, newest first.
func (s *Store) Policies(ctx context.Context, repository rules.RepositoryID, path string) ([]Policy, error) {
	return s.policies(ctx, "WHERE repository = ? AND path = ? ORDER BY version DESC", int64(repository), path)
}

func (s *Store) policies(ctx context.Context, where string, args ...any) ([]Policy, error) {
	out, err := all(ctx, s, scanPolicy, "SELECT repository, path, version, state, commit_id, blob, branch, text, pins, arrival, why, since FROM policies "+where, args...)
	if err != nil {
		return nil, fmt.Errorf("reading policies: %w", err)
	}
	return out, nil
}

func scanPolicy(scan func(...any) error) (Policy, error) {
	var p Policy
	var state string
	var pins []byte
	var since int64
	if err := scan(&p.Repository, &p.Path, &p.Version, &state, &p.Commit, &p.Blob, &p.Branch, &p.Text, &pins, &p.Arrival, &p.Why, &since); err != nil {
		return Policy{}, err
	}
	// What is not surely in force denies.
	p.Deleted, p.Since = state != policyInForce, unstamp(since)
	err := json.Unmarshal(pins, &p.Pins)
	return p, err
}

// Subject is what was last concluded about a pull request or a run: where it
// stands, and whether it is still held.
type Subject struct {
	Key rules.WorkKey
	// SHA is the head that was judged.
	SHA rules.SHA
	// Held says that a sweep must look at it again.
	Held bool
	// Data belongs to whoever judges.
	Data      []byte
	UpdatedAt time.Time
}

// SetSubject stores what was concluded. The newest conclusion counts.
func (t *Tx) SetSubject(x Subject) error {
	if err := x.Key.Valid(); err != nil {
		return err
	}
	_, err := t.exec(`INSERT INTO subjects (key, repository, sha, held, data, updated_at) VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT (key) DO UPDATE SET sha = excluded.sha, held = excluded.held, data = excluded.data, updated_at = excluded.updated_at`,
		x.Key.String(), int64(x.Key.Repository), string(x.SHA), x.Held, blob(x.Data), stamp(x.UpdatedAt))
	return err
}

// ForgetSubject removes a subject. It is no error if there is none.
func (t *Tx) ForgetSubject(key rules.WorkKey) error {
	_, err := t.exec("DELETE FROM subjects WHERE key = ?", key.String())
	return err
}

// Subject returns what was concluded about a key, or [ErrNotFound].
func (s *Store) Subject(ctx context.Context, key rules.WorkKey) (Subject, error) {
	all, err := s.subjects(ctx, "WHERE key = ?", key.String())
	if err == nil && len(all) == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return Subject{}, err
	}
	return all[0], nil
}

// SubjectsAt returns the subjects that stand at a commit of a repository.
func (s *Store) SubjectsAt(ctx context.Context, repository rules.RepositoryID, sha rules.SHA) ([]Subject, error) {
	return s.subjects(ctx, "WHERE repository = ? AND sha = ? ORDER BY key", int64(repository), string(sha))
}

// Held returns the subjects that are held and whose key comes after one (the zero
// key: from the first), in the order of their keys' text, at most limit: for a
// sweep in pages.
func (s *Store) Held(ctx context.Context, after rules.WorkKey, limit int) ([]Subject, error) {
	from := ""
	if after != (rules.WorkKey{}) {
		from = after.String()
	}
	return s.subjects(ctx, "WHERE held <> 0 AND key > ? ORDER BY key LIMIT ?", from, limit)
}

func (s *Store) subjects(ctx context.Context, where string, args ...any) ([]Subject, error) {
	return all(ctx, s, scanSubject, "SELECT key, sha, held, data, updated_at FROM subjects "+where, args...)
}

func scanSubject(scan func(...any) error) (Subject, error) {
	var x Subject
	var key string
	var at int64
	if err := scan(&key, &x.SHA, &x.Held, &x.Data, &at); err != nil {
		return Subject{}, err
	}
	x.UpdatedAt = unstamp(at)
	var err error
	x.Key, err = rules.ParseWorkKey(key)
	return x, err
}

// Setting returns a setting: a sealed key, a cursor. It returns [ErrNotFound] if
// there is none. The store neither seals nor opens.
func (s *Store) Setting(ctx context.Context, name string) ([]byte, error) {
	var value []byte
	err := s.queryOne(ctx, "SELECT value FROM settings WHERE name = ?", []any{name}, &value)
	return value, err
}

// SetSetting stores a setting in place of what was there.
func (s *Store) SetSetting(ctx context.Context, name string, value []byte, now time.Time) error {
	if name == "" {
		return errors.New("a setting without a name")
	}
	return s.Update(ctx, func(tx *Tx) error {
		_, err := tx.exec(`INSERT INTO settings (name, value, updated_at) VALUES (?, ?, ?)
			ON CONFLICT (name) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at`, name, blob(value), stamp(now))
		return err
	})
}

// MakeSetting stores a setting that is made once, such as a key, and returns the
// one that holds: value, or the one that was there before.
func (s *Store) MakeSetting(ctx context.Context, name string, value []byte, now time.Time) ([]byte, error) {
	if name == "" {
		return nil, errors.New("a setting without a name")
	}
	var held []byte
	err := s.Update(ctx, func(tx *Tx) error {
		if _, err := tx.exec("INSERT INTO settings (name, value, updated_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", name, blob(value), stamp(now)); err != nil {
			return err
		}
		return tx.one("SELECT value FROM settings WHERE name = ?", []any{name}, &held)
	})
	return held, err
}

// Installation is what is known of an installation of the App.
type Installation struct {
	ID      rules.InstallationID
	Account rules.AccountID
	Login   rules.Login
	// Type is the account's: "User" or "Organization".
	Type string
	// State is "active", "suspended" or "deleted".
	State string
	// Permissions are what the owner accepted, by name.
	Permissions map[string]string
	UpdatedAt   time.Time
}

// SetInstallation stores an installation in place of what was known of it.
func (t *Tx) SetInstallation(i Installation) error {
	permissions, err := json.Marshal(i.Permissions, json.Deterministic(true))
	if err != nil {
		return err
	}
	_, err = t.exec(`INSERT INTO installations (id, account, login, type, state, permissions, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (id) DO UPDATE SET account = excluded.account, login = excluded.login, type = excluded.type,
			state = excluded.state, permissions = excluded.permissions, updated_at = excluded.updated_at`,
		int64(i.ID), int64(i.Account), string(i.Login), i.Type, i.State, permissions, stamp(i.UpdatedAt))
	return err
}

// Installation returns an installation, or [ErrNotFound].
func (s *Store) Installation(ctx context.Context, id rules.InstallationID) (Installation, error) {
	all, err := s.installations(ctx, "WHERE id = ?", int64(id))
	if err == nil && len(all) == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return Installation{}, err
	}
	return all[0], nil
}

// Installations returns all installations that are known, by their ids.
func (s *Store) Installations(ctx context.Context) ([]Installation, error) {
	return s.installations(ctx, "ORDER BY id")
}

func (s *Store) installations(ctx context.Context, where string, args ...any) ([]Installation, error) {
	return all(ctx, s, scanInstallation, "SELECT id, account, login, type, state, permissions, updated_at FROM installations "+where, args...)
}

func scanInstallation(scan func(...any) error) (Installation, error) {
	var i Installation
	var at int64
	var permissions []byte
	if err := scan(&i.ID, &i.Account, &i.Login, &i.Type, &i.State, &permissions, &at); err != nil {
		return Installation{}, err
	}
	i.UpdatedAt = unstamp(at)
	err := json.Unmarshal(permissions, &i.Permissions)
	return i, err
}

// Repository is how a repository can be reached. Only ID identifies it.
type Repository struct {
	ID            rules.RepositoryID
	Installation  rules.InstallationID
	FullName      string
	DefaultBranch string
	UpdatedAt     time.Time
}

// SetRepository stores how a repository can be reached.
func (t *Tx) SetRepository(r Repository) error {
	if r.ID <= 0 {
		return fmt.Errorf("a repository with the id %d", r.ID)
	}
	_, err := t.exec(`INSERT INTO repositories (id, installation, full_name, default_branch, updated_at) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (id) DO UPDATE SET installation = excluded.installation, full_name = excluded.full_name,
			default_branch = excluded.default_branch, updated_at = excluded.updated_at`,
		int64(r.ID), int64(r.Installation), r.FullName, r.DefaultBranch, stamp(r.UpdatedAt))
	return err
}

// ForgetRepository removes a repository that is out of reach. Its policies, facts
// and ledger entries stay. It is no error if there is none.
func (t *Tx) ForgetRepository(id rules.RepositoryID) error {
	_, err := t.exec("DELETE FROM repositories WHERE id = ?", int64(id))
	return err
}

// Repository returns how a repository can be reached, or [ErrNotFound].
func (s *Store) Repository(ctx context.Context, id rules.RepositoryID) (Repository, error) {
	all, err := s.repositories(ctx, "WHERE id = ?", int64(id))
	if err == nil && len(all) == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return Repository{}, err
	}
	return all[0], nil
}

// Repositories returns the repositories of an installation, by their ids.
func (s *Store) Repositories(ctx context.Context, installation rules.InstallationID) ([]Repository, error) {
	return s.repositories(ctx, "WHERE installation = ? ORDER BY id", int64(installation))
}

func (s *Store) repositories(ctx context.Context, where string, args ...any) ([]Repository, error) {
	return all(ctx, s, scanRepository, "SELECT id, installation, full_name, default_branch, updated_at FROM repositories "+where, args...)
}

func scanRepository(scan func(...any) error) (Repository, error) {
	var r Repository
	var at int64
	err := scan(&r.ID, &r.Installation, &r.FullName, &r.DefaultBranch, &at)
	r.UpdatedAt = unstamp(at)
	return r, err
}

// maxCached is the largest body that the ETag cache takes.
const maxCached = 1 << 20

// Cached returns the ETag and body that were stored under a key, or
// [ErrNotFound]. The key must say whose answer it is: what one installation may
// read is not another's.
func (s *Store) Cached(ctx context.Context, key string) (etag string, body []byte, err error) {
	err = s.queryOne(ctx, "SELECT etag, body FROM etags WHERE key = ?", []any{key}, &etag, &body)
	return etag, body, err
}

// Cache stores a body with its ETag. What was stored longest ago goes when there
// is too much. A body that is too large is not stored, and what the key held goes.
func (s *Store) Cache(ctx context.Context, key, etag string, body []byte, now time.Time) error {
	return s.Update(ctx, func(tx *Tx) error {
		var size int64
		if err := tx.one("DELETE FROM etags WHERE key = ? RETURNING size", []any{key}, &size); err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
		grown := -size
		if size = int64(len(body) + len(key) + len(etag)); size <= min(maxCached, tx.store.cfg.MaxCache) && etag != "" {
			if _, err := tx.exec("INSERT INTO etags (key, etag, body, size, stored_at) VALUES (?, ?, ?, ?, ?)", key, etag, blob(body), size, stamp(now)); err != nil {
				return err
			}
			grown += size
		}
		var total int64
		if err := tx.one("UPDATE etags_total SET size = size + ? RETURNING size", []any{grown}, &total); err != nil {
			return err
		}
		for total > tx.store.cfg.MaxCache {
			var gone int64
			if err := tx.one("DELETE FROM etags WHERE key = (SELECT key FROM etags WHERE key <> ? ORDER BY stored_at, key LIMIT 1) RETURNING size", []any{key}, &gone); err != nil {
				return err
			}
			if err := tx.one("UPDATE etags_total SET size = size - ? RETURNING size", []any{gone}, &total); err != nil {
				return err
			}
		}
		return nil
	})
}
