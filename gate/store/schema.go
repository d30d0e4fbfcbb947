package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// applicationID marks the file as ours: "SLPT". With movedID, "SLPM", it is one that
// was moved into another database, which older programs too take for another's.
const (
	applicationID = 0x534c5054
	movedID       = 0x534c504d
)

// migrations are what makes a schema of version n+1 from one of version n. They
// are never changed, only added to. They are in SQLite's words; inPostgres translates.
func migrations() []string {
	return []string{schema1, schema2, schema3, schema4}
}

const schema1 = `
CREATE TABLE deliveries (
	id          TEXT NOT NULL,
	body        BLOB NOT NULL,
	event       TEXT NOT NULL,
	received_at INTEGER NOT NULL,
	PRIMARY KEY (id, body)
) STRICT, WITHOUT ROWID;
CREATE INDEX deliveries_by_time ON deliveries (received_at);

CREATE TABLE facts (
	id          INTEGER PRIMARY KEY,
	kind        TEXT NOT NULL,
	key         TEXT NOT NULL,
	subject     TEXT NOT NULL,
	repository  INTEGER NOT NULL,
	event       TEXT NOT NULL,
	action      TEXT NOT NULL,
	sender      INTEGER NOT NULL,
	payload     BLOB NOT NULL,
	received_at INTEGER NOT NULL,
	confirmed   INTEGER NOT NULL DEFAULT 0,
	UNIQUE (kind, key)
) STRICT;
CREATE INDEX facts_by_subject ON facts (subject, kind);
CREATE INDEX facts_by_repository ON facts (repository, kind, received_at);

CREATE TABLE fact_deliveries (
	fact     INTEGER NOT NULL REFERENCES facts (id) ON DELETE CASCADE,
	delivery TEXT NOT NULL,
	PRIMARY KEY (fact, delivery)
) STRICT, WITHOUT ROWID;

CREATE TABLE work (
	key           TEXT PRIMARY KEY,
	repository    INTEGER NOT NULL,
	priority      INTEGER NOT NULL,
	due_at        INTEGER NOT NULL,
	-- free_at is when a worker may take it: the end of a lease or of a backoff.
	free_at       INTEGER NOT NULL DEFAULT 0,
	lease         TEXT NOT NULL DEFAULT '',
	worker        TEXT NOT NULL DEFAULT '',
	attempts      INTEGER NOT NULL DEFAULT 0,
	poisoned_at   INTEGER NOT NULL DEFAULT 0,
	error         TEXT NOT NULL DEFAULT '',
	-- generation counts the marks; taken is the one that the lease is for.
	generation    INTEGER NOT NULL DEFAULT 1,
	taken         INTEGER NOT NULL DEFAULT 0,
	-- What was marked since it was taken.
	next_priority INTEGER NOT NULL DEFAULT 0,
	next_due_at   INTEGER NOT NULL DEFAULT 0,
	installation  INTEGER NOT NULL DEFAULT 0,
	full_name     TEXT NOT NULL DEFAULT '',
	marked_at     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX work_to_do ON work (poisoned_at, priority, due_at, free_at);

CREATE TABLE policies (
	repository INTEGER NOT NULL,
	path       TEXT NOT NULL,
	version    INTEGER NOT NULL,
	state      TEXT NOT NULL,
	commit_id  TEXT NOT NULL,
	blob       TEXT NOT NULL,
	branch     TEXT NOT NULL,
	text       BLOB NOT NULL,
	pins       BLOB NOT NULL,
	arrival    TEXT NOT NULL,
	why        TEXT NOT NULL,
	since      INTEGER NOT NULL,
	PRIMARY KEY (repository, path, version)
) STRICT, WITHOUT ROWID;

CREATE TABLE subjects (
	key        TEXT PRIMARY KEY,
	repository INTEGER NOT NULL,
	sha        TEXT NOT NULL,
	held       INTEGER NOT NULL,
	data       BLOB NOT NULL,
	updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX subjects_by_head ON subjects (repository, sha);
CREATE INDEX subjects_held ON subjects (key) WHERE held <> 0;

CREATE TABLE effects (
	key        TEXT PRIMARY KEY,
	subject    TEXT NOT NULL,
	kind       TEXT NOT NULL,
	sha        TEXT NOT NULL,
	decision   TEXT NOT NULL,
	payload    BLOB NOT NULL,
	state      TEXT NOT NULL,
	attempts   INTEGER NOT NULL DEFAULT 0,
	result     BLOB NOT NULL DEFAULT x'',
	error      TEXT NOT NULL DEFAULT '',
	entry      INTEGER NOT NULL,
	planned_at INTEGER NOT NULL,
	ended_at   INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE INDEX effects_planned ON effects (subject, planned_at) WHERE state = 'planned';

CREATE TABLE once (
	kind TEXT NOT NULL,
	key  TEXT NOT NULL,
	at   INTEGER NOT NULL,
	PRIMARY KEY (kind, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE settings (
	name       TEXT PRIMARY KEY,
	value      BLOB NOT NULL,
	updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE installations (
	id          INTEGER PRIMARY KEY,
	account     INTEGER NOT NULL,
	login       TEXT NOT NULL,
	type        TEXT NOT NULL,
	state       TEXT NOT NULL,
	permissions BLOB NOT NULL,
	updated_at  INTEGER NOT NULL
) STRICT;

CREATE TABLE repositories (
	id             INTEGER PRIMARY KEY,
	installation   INTEGER NOT NULL,
	full_name      TEXT NOT NULL,
	default_branch TEXT NOT NULL,
	updated_at     INTEGER NOT NULL
) STRICT;
CREATE INDEX repositories_by_installation ON repositories (installation);

CREATE TABLE etags (
	key       TEXT PRIMARY KEY,
	etag      TEXT NOT NULL,
	body      BLOB NOT NULL,
	size      INTEGER NOT NULL,
	stored_at INTEGER NOT NULL
) STRICT;
CREATE INDEX etags_by_time ON etags (stored_at, size);
CREATE TABLE etags_total (one INTEGER PRIMARY KEY CHECK (one = 1), size INTEGER NOT NULL) STRICT;
INSERT INTO etags_total VALUES (1, 0);

CREATE TABLE ledger_head (
	one        INTEGER PRIMARY KEY CHECK (one = 1),
	size       INTEGER NOT NULL,
	edge       BLOB NOT NULL,
	checkpoint BLOB
) STRICT;
INSERT INTO ledger_head VALUES (1, 0, x'', NULL);

CREATE TABLE ledger_leaves (
	idx        INTEGER PRIMARY KEY,
	leaf       BLOB NOT NULL,
	checkpoint BLOB
) STRICT;

CREATE TABLE ledger_openings (
	idx      INTEGER PRIMARY KEY REFERENCES ledger_leaves (idx),
	openings BLOB NOT NULL
) STRICT;

CREATE TABLE ledger_nodes (
	level INTEGER NOT NULL,
	idx   INTEGER NOT NULL,
	hash  BLOB NOT NULL,
	PRIMARY KEY (level, idx)
) STRICT, WITHOUT ROWID;
`

// schema2 is the deploy door's: what was released, who asked, and whom to tell.
const schema2 = `
CREATE TABLE releases (
	id          INTEGER PRIMARY KEY,
	repository  INTEGER NOT NULL,
	environment TEXT NOT NULL,
	run         INTEGER NOT NULL,
	attempt     INTEGER NOT NULL,
	turn        INTEGER NOT NULL,
	sha         TEXT NOT NULL,
	ref         TEXT NOT NULL,
	jobs        BLOB NOT NULL,
	human       INTEGER NOT NULL,
	observed    INTEGER NOT NULL,
	approvals   BLOB NOT NULL,
	decision    TEXT NOT NULL,
	at          INTEGER NOT NULL,
	outcome     TEXT NOT NULL DEFAULT '',
	ended_at    INTEGER NOT NULL DEFAULT 0,
	UNIQUE (repository, environment, run, attempt, turn)
) STRICT;
CREATE INDEX releases_by_run ON releases (repository, run);
CREATE INDEX releases_deployed ON releases (repository, environment, ended_at) WHERE outcome = 'success' AND observed = 0;

CREATE TABLE notices (
	key         TEXT NOT NULL,
	target      TEXT NOT NULL,
	repository  INTEGER NOT NULL,
	payload     BLOB NOT NULL,
	made_at     INTEGER NOT NULL,
	due_at      INTEGER NOT NULL,
	attempts    INTEGER NOT NULL DEFAULT 0,
	error       TEXT NOT NULL DEFAULT '',
	sent_at     INTEGER NOT NULL DEFAULT 0,
	given_up_at INTEGER NOT NULL DEFAULT 0,
	PRIMARY KEY (key, target)
) STRICT, WITHOUT ROWID;
CREATE INDEX notices_to_send ON notices (due_at) WHERE sent_at = 0 AND given_up_at = 0;
CREATE INDEX notices_given_up ON notices (given_up_at) WHERE given_up_at <> 0;

CREATE TABLE holds (
	id          TEXT PRIMARY KEY,
	repository  INTEGER NOT NULL,
	run         INTEGER NOT NULL,
	attempt     INTEGER NOT NULL,
	environment TEXT NOT NULL,
	job         INTEGER NOT NULL,
	sha         TEXT NOT NULL,
	claims      BLOB NOT NULL,
	asked_at    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX holds_by_run ON holds (repository, run, asked_at);
`

const schema3 = `
CREATE TABLE leases (
	id          TEXT PRIMARY KEY,
	repository  INTEGER NOT NULL,
	environment TEXT NOT NULL,
	run         INTEGER NOT NULL,
	attempt     INTEGER NOT NULL,
	job         INTEGER NOT NULL,
	sha         TEXT NOT NULL,
	credential  TEXT NOT NULL,
	target      TEXT NOT NULL,
	capability  TEXT NOT NULL,
	token       TEXT NOT NULL,
	secret      BLOB NOT NULL,
	decision    TEXT NOT NULL,
	made_at     INTEGER NOT NULL,
	deadline    INTEGER NOT NULL,
	state       TEXT NOT NULL,
	handle      BLOB NOT NULL DEFAULT x'',
	why         TEXT NOT NULL DEFAULT '',
	due_at      INTEGER NOT NULL,
	attempts    INTEGER NOT NULL DEFAULT 0,
	error       TEXT NOT NULL DEFAULT '',
	ended_at    INTEGER NOT NULL DEFAULT 0,
	-- Each credential of a job is given once, and each token asks for one thing.
	UNIQUE (repository, run, attempt, job, credential),
	UNIQUE (token)
) STRICT, WITHOUT ROWID;
CREATE INDEX leases_due ON leases (due_at) WHERE state <> 'ended';
`

// schema4 has leases that were given to a person, outside any job: each takes one of the
// person's few places until it has ended.
const schema4 = `
ALTER TABLE leases RENAME TO leases_of_jobs;
CREATE TABLE leases (
	id          TEXT PRIMARY KEY,
	repository  INTEGER NOT NULL,
	environment TEXT NOT NULL,
	run         INTEGER NOT NULL,
	attempt     INTEGER NOT NULL,
	job         INTEGER NOT NULL,
	sha         TEXT NOT NULL,
	credential  TEXT NOT NULL,
	target      TEXT NOT NULL,
	capability  TEXT NOT NULL,
	token       TEXT NOT NULL,
	secret      BLOB NOT NULL,
	decision    TEXT NOT NULL,
	made_at     INTEGER NOT NULL,
	deadline    INTEGER NOT NULL,
	state       TEXT NOT NULL,
	handle      BLOB NOT NULL DEFAULT x'',
	why         TEXT NOT NULL DEFAULT '',
	due_at      INTEGER NOT NULL,
	attempts    INTEGER NOT NULL DEFAULT 0,
	error       TEXT NOT NULL DEFAULT '',
	ended_at    INTEGER NOT NULL DEFAULT 0,
	-- The account that it was given to, 0 for a job.
	person      INTEGER NOT NULL DEFAULT 0,
	place       INTEGER NOT NULL DEFAULT 0,
	UNIQUE (token)
) STRICT, WITHOUT ROWID;
INSERT INTO leases (id, repository, environment, run, attempt, job, sha, credential, target, capability, token, secret, decision, made_at, deadline, state, handle, why, due_at, attempts, error, ended_at)
	SELECT id, repository, environment, run, attempt, job, sha, credential, target, capability, token, secret, decision, made_at, deadline, state, handle, why, due_at, attempts, error, ended_at
	FROM leases_of_jobs;
DROP TABLE leases_of_jobs;
CREATE INDEX leases_due ON leases (due_at) WHERE state <> 'ended';
CREATE UNIQUE INDEX leases_of_job ON leases (repository, run, attempt, job, credential) WHERE person = 0;
CREATE UNIQUE INDEX leases_of_person ON leases (person, place) WHERE person <> 0 AND state <> 'ended';
`

// migrateSQLite brings the schema of a file to the newest version, all steps in one transaction.
// Id is that of its application, which it keeps; a new file gets it.
func migrateSQLite(ctx context.Context, conn *sql.Conn, id int64) (err error) {
	if _, err := conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_, rollback := conn.ExecContext(context.WithoutCancel(ctx), "ROLLBACK")
			err = errors.Join(err, rollback)
		}
	}()
	var version, application, tables int64
	for pragma, into := range map[string]*int64{
		"PRAGMA user_version": &version, "PRAGMA application_id": &application,
		"SELECT count(*) FROM sqlite_schema": &tables,
	} {
		if err := conn.QueryRowContext(ctx, pragma).Scan(into); err != nil {
			return err
		}
	}
	all := migrations()
	switch {
	case application == movedID && id != movedID:
		return fmt.Errorf("%w, or its move was interrupted: set SALLYPORT_DATABASE_URL to where it is now, or move it again", ErrMoved)
	case application != id && (application != 0 || version != 0 || tables != 0):
		return errors.New("it is a database of another program")
	case version > int64(len(all)):
		return fmt.Errorf("%w: version %d, want at most %d", ErrNewer, version, len(all))
	case version < 0:
		return fmt.Errorf("it has the impossible version %d", version)
	}
	for i := version; i < int64(len(all)); i++ {
		if _, err := conn.ExecContext(ctx, all[i]); err != nil {
			return fmt.Errorf("making version %d of the schema: %w", i+1, err)
		}
	}
	for _, pragma := range []string{
		fmt.Sprintf("PRAGMA user_version = %d", len(all)),
		fmt.Sprintf("PRAGMA application_id = %d", id),
		"COMMIT",
	} {
		if _, err := conn.ExecContext(ctx, pragma); err != nil {
			return err
		}
	}
	return nil
}
