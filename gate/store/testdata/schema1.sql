-- A file of schema 1 as the program wrote it when that was the newest one. It is
-- never changed: files like it exist.

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
CREATE TABLE ledger_head (
	one        INTEGER PRIMARY KEY CHECK (one = 1),
	size       INTEGER NOT NULL,
	edge       BLOB NOT NULL,
	checkpoint BLOB
) STRICT;
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

INSERT INTO deliveries VALUES ('a', x'2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881', 'pull_request', 1772366400000000);
INSERT INTO facts VALUES (1, 'click', 'k', 'head 1 0 0000000000000000000000000000000000000001 -', 1, 'check_run', 'requested_action', 3, x'7b22636865636b5f72756e223a31317d', 1772366400000000, 0);
INSERT INTO fact_deliveries VALUES (1, 'a');
INSERT INTO work VALUES ('pull_request 1 1 - -', 1, 0, 1772366400000000, 0, '', '', 0, 0, '', 1, 0, 0, 0, 0, '', 1772366400000000);
INSERT INTO work VALUES ('pull_request 1 2 - -', 1, 0, 1772366400000000, 0, '', '', 0, 0, '', 1, 0, 0, 0, 0, '', 1772366400000000);
INSERT INTO policies VALUES (1, '.github/sallyport.yml', 1, 'in_force', '0000000000000000000000000000000000000001', '0000000000000000000000000000000000000002', 'main', x'76657273696f6e3a20310a', x'7b227573657273223a7b22616c696365223a377d7d', 'adopted', '', 1772366400000000);
INSERT INTO effects VALUES ('e', 'pull_request 1 1 - -', 'check', '0000000000000000000000000000000000000001', '', x'7b7d', 'planned', 0, x'', '', 0, 1772366400000000, 0);
INSERT INTO once VALUES ('grant', 'g', 1772366400000000);
INSERT INTO etags_total VALUES (1, 0);
INSERT INTO ledger_head VALUES (1, 1, x'1fa538be70877872d9d671e67ac03e7094c94ceb6206355737ac57aedd673030', x'782f6c65646765720a310a48365534766e434865484c5a316e486d6573412b634a544a544f7469426a56584e3678587274316e4d44413d0a0ae2809420782f6c6564676572204d5036314a6a63587230615a416474617a495532365158686b76774d595461364b7168586b672b544935514578466a71305158427550514844686e6f2b52392b374863494f5744314e32456f4473565651687275527272735741633d0a');
INSERT INTO ledger_leaves VALUES (0, x'7b226b696e64223a2266616374222c227375626a656374223a7b2270756c6c5f72657175657374223a317d2c2274696d65223a22323032362d30332d30315431323a30303a30305a222c2276223a317d', x'782f6c65646765720a310a48365534766e434865484c5a316e486d6573412b634a544a544f7469426a56584e3678587274316e4d44413d0a0ae2809420782f6c6564676572204d5036314a6a63587230615a416474617a495532365158686b76774d595461364b7168586b672b544935514578466a71305158427550514844686e6f2b52392b374863494f5744314e32456f4473565651687275527272735741633d0a');

PRAGMA user_version = 1;
PRAGMA application_id = 1397510228;
