package statements_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/sallyport/sallyport/gate/statements"
)

// look reads a migration that must be read.
func look(t *testing.T, text string) []statements.Finding {
	t.Helper()
	findings, parsed, why := statements.Look(t.Context(), "migrations/1.sql", text)
	if !parsed {
		t.Fatalf("%q was not read: %s", short(text), why)
	}
	return findings
}

// found are findings as "kind object", in their order.
func found(findings []statements.Finding) []string {
	out := []string{}
	for _, f := range findings {
		out = append(out, strings.TrimSpace(string(f.Kind)+" "+f.Object))
	}
	return out
}

func short(s string) string {
	if len(s) > 100 {
		return s[:100] + "…"
	}
	return s
}

func TestKinds(t *testing.T) {
	for _, c := range []struct {
		text string
		want []string
	}{
		// What loses data or breaks readers.
		{"DROP TABLE orders", []string{"drop orders"}},
		{"drop table if exists shop.orders, lines cascade", []string{"drop shop.orders", "drop lines"}},
		{"DROP SCHEMA shop", []string{"drop shop"}},
		{"DROP DATABASE shop", []string{"drop shop"}},
		{"DROP VIEW v; DROP MATERIALIZED VIEW m; DROP SEQUENCE s", []string{"drop v", "drop m", "drop s"}},
		{"DROP TYPE mood, a.b", []string{"drop mood", "drop a.b"}},
		{"DROP DOMAIN d; DROP EXTENSION pgcrypto; DROP TABLESPACE ts", []string{"drop d", "drop pgcrypto", "drop ts"}},
		{"DROP OWNED BY alice, CURRENT_USER", []string{"drop alice", "drop current_user"}},
		{"DROP ROLE rose; DROP USER bob", []string{"drop rose", "drop bob"}},
		{"ALTER TABLE t DROP COLUMN a, DROP b CASCADE", []string{"drop t.a", "drop t.b"}},
		{"ALTER TYPE p DROP ATTRIBUTE x", []string{"drop p.x"}},
		{"DROP FUNCTION f(int) CASCADE", []string{"drop f"}},
		{"ALTER TABLE t DROP CONSTRAINT c CASCADE", []string{"drop t.c"}},
		{"SELECT lo_unlink(7)", []string{"drop lo_unlink"}},
		// Every row.
		{"TRUNCATE a, ONLY b.c CASCADE", []string{"truncate a", "truncate b.c"}},
		{"DELETE FROM t", []string{"unfiltered t"}},
		{"DELETE FROM t USING u", []string{"unfiltered t"}},
		{"UPDATE s.t SET a = 1", []string{"unfiltered s.t"}},
		{"DELETE FROM t WHERE true", []string{"unfiltered t"}},
		{"DELETE FROM t WHERE 1=1", []string{"unfiltered t"}},
		{"DELETE FROM t WHERE 2>1 AND 't'::bool", []string{"unfiltered t"}},
		{"DELETE FROM t WHERE NOT false", []string{"unfiltered t"}},
		{"UPDATE t SET a = 1 WHERE a = 2 OR true", []string{"unfiltered t"}},
		{"UPDATE t SET a = 1 WHERE id = id", []string{"unfiltered t"}},
		{"UPDATE t SET a = 1 WHERE EXISTS (SELECT 1)", []string{"unfiltered t"}},
		{"MERGE INTO t USING s ON true WHEN MATCHED THEN DELETE", []string{"unfiltered t"}},
		{"MERGE INTO t USING s ON t.i = s.i WHEN NOT MATCHED BY SOURCE THEN DELETE", []string{"unfiltered t"}},
		// What rewrites or scans a table or builds an index.
		{"ALTER TABLE t ALTER a TYPE bigint", []string{"rewrite t.a"}},
		{"ALTER TABLE t ALTER a SET NOT NULL", []string{"rewrite t.a"}},
		{"ALTER TABLE t ADD c uuid DEFAULT gen_random_uuid()", []string{"rewrite t.c"}},
		{"ALTER TABLE t ADD c int NOT NULL", []string{"rewrite t.c"}},
		{"ALTER TABLE t ADD c int NOT NULL DEFAULT NULL", []string{"rewrite t.c"}},
		{"ALTER TABLE t ADD c bigserial", []string{"rewrite t.c"}},
		{"ALTER TABLE t ADD c int GENERATED ALWAYS AS IDENTITY", []string{"rewrite t.c"}},
		{"ALTER TABLE t ADD c int GENERATED ALWAYS AS (a + 1) STORED", []string{"rewrite t.c"}},
		{"ALTER TABLE t ADD c int REFERENCES u", []string{"rewrite t"}},
		{"ALTER TABLE t ADD PRIMARY KEY (a); ALTER TABLE t ADD UNIQUE (b)", []string{"rewrite t", "rewrite t"}},
		{"ALTER TABLE t ADD FOREIGN KEY (a) REFERENCES u", []string{"rewrite t"}},
		{"ALTER TABLE t ADD CHECK (a > 0)", []string{"rewrite t"}},
		{"CREATE INDEX i ON t (a)", []string{"rewrite t"}},
		{"REINDEX TABLE t; REINDEX SCHEMA s", []string{"rewrite t", "rewrite s"}},
		{"VACUUM FULL; VACUUM (FULL, ANALYZE) t", []string{"rewrite", "rewrite t"}},
		{"CLUSTER t USING i", []string{"rewrite t"}},
		{"ALTER TABLE t SET TABLESPACE x; ALTER INDEX i SET TABLESPACE x", []string{"rewrite t", "rewrite i"}},
		{"ALTER TABLE ALL IN TABLESPACE a SET TABLESPACE b", []string{"rewrite a"}},
		{"ALTER DATABASE d SET TABLESPACE x", []string{"rewrite d"}},
		{"ALTER TABLE t SET UNLOGGED", []string{"rewrite t"}},
		{"CREATE TABLE n (a int REFERENCES old); ALTER TABLE n ADD FOREIGN KEY (a) REFERENCES old", []string{"rewrite old"}},
		// What locks, renames, opens and switches off.
		{"LOCK t, u IN EXCLUSIVE MODE", []string{"lock t", "lock u"}},
		{"REFRESH MATERIALIZED VIEW m", []string{"lock m"}},
		{"SELECT pg_terminate_backend(pid) FROM pg_stat_activity", []string{"lock pg_terminate_backend"}},
		{"ALTER TABLE t RENAME TO u; ALTER TABLE t RENAME a TO b", []string{"rename t", "rename t.a"}},
		{"ALTER TABLE t SET SCHEMA s; ALTER TYPE e RENAME VALUE 'a' TO 'b'", []string{"rename t", "rename e"}},
		{"GRANT ALL ON t, u TO PUBLIC; REVOKE SELECT ON t FROM bob", []string{"privileges t, u", "privileges t"}},
		{"GRANT admin TO bob", []string{"privileges admin"}},
		{"CREATE ROLE bob SUPERUSER; ALTER ROLE bob BYPASSRLS; CREATE USER eve", []string{"privileges bob", "privileges bob", "privileges eve"}},
		{"ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO bob", []string{"privileges"}},
		{"ALTER TABLE t OWNER TO bob; ALTER SCHEMA s OWNER TO bob", []string{"privileges t", "privileges s"}},
		{"ALTER SYSTEM SET archive_command = 'x'", []string{"privileges archive_command"}},
		{"SET ROLE postgres; SET SESSION AUTHORIZATION postgres", []string{"privileges role", "privileges session_authorization"}},
		{"ALTER FUNCTION f() SECURITY DEFINER", []string{"privileges f"}},
		{"ALTER TABLE t DISABLE TRIGGER ALL, DISABLE TRIGGER audit", []string{"guard t", "guard t.audit"}},
		{"ALTER TABLE t DISABLE ROW LEVEL SECURITY; DROP POLICY p ON t; DROP TRIGGER x ON s.t", []string{"guard t", "guard t.p", "guard s.t.x"}},
		{"SET session_replication_role = replica", []string{"guard session_replication_role"}},
		{"SELECT pg_catalog.set_config('Session_Replication_Role', 'replica', false)", []string{"guard Session_Replication_Role"}},
		{"COPY t FROM PROGRAM 'x'; COPY t TO '/tmp/x'", []string{"server t", "server t"}},
		{"SELECT dblink_exec('host=x', 'DROP TABLE t')", []string{"server dblink_exec"}},
		{"LOAD 'x'", []string{"server x"}},
		// What hides.
		{"DO $$ BEGIN DROP TABLE t; END $$", []string{"hidden"}},
		{"CREATE FUNCTION f() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'", []string{"privileges f", "hidden f"}},
		{"PREPARE p AS DELETE FROM t; EXECUTE p", []string{"unfiltered t", "hidden p"}},
		{"CALL clean()", []string{"hidden clean"}},
		{"SELECT clean_everything()", []string{"hidden clean_everything"}},
		{"SELECT * FROM (SELECT clean()) x", []string{"hidden clean"}},
		{"SELECT set_config(a, b, false) FROM c", []string{"hidden set_config"}},
		{"SET standard_conforming_strings = off", []string{"hidden standard_conforming_strings"}},
	} {
		if got := found(look(t, c.text)); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.text, got, c.want)
		}
	}
}

// What is ordinary is no finding: a gate that cries at everything is not read.
func TestOrdinary(t *testing.T) {
	for _, text := range []string{
		"",
		"-- nothing yet\n",
		"CREATE TABLE orders (id bigserial PRIMARY KEY, note text NOT NULL DEFAULT '', made timestamptz DEFAULT now())",
		"CREATE TABLE t (a int); CREATE INDEX ON t (a); ALTER TABLE t ADD UNIQUE (a), ALTER a SET NOT NULL",
		"ALTER TABLE t ADD COLUMN c text; ALTER TABLE t ADD d int NOT NULL DEFAULT 0; ALTER TABLE t ADD e timestamptz DEFAULT now()",
		"ALTER TABLE t ADD CONSTRAINT f FOREIGN KEY (a) REFERENCES u NOT VALID; ALTER TABLE t VALIDATE CONSTRAINT f",
		"ALTER TABLE t ADD PRIMARY KEY USING INDEX i",
		"CREATE UNIQUE INDEX CONCURRENTLY i ON t (a); REINDEX (CONCURRENTLY) TABLE t; REINDEX INDEX CONCURRENTLY i; DROP INDEX i",
		"INSERT INTO t VALUES (1, 'DROP TABLE t; --'), (2, $$DELETE FROM t;$$) ON CONFLICT DO NOTHING",
		"DELETE FROM t WHERE id = 1; UPDATE t SET a = a + 1 WHERE b IS NULL OR false; DELETE FROM t WHERE CURRENT OF c",
		"UPDATE t SET a = 1 WHERE a = 2 AND true",
		"MERGE INTO t USING s ON t.i = s.i WHEN MATCHED THEN UPDATE SET a = 1",
		"VACUUM t; VACUUM (FULL false) t; ANALYZE",
		"REFRESH MATERIALIZED VIEW CONCURRENTLY m",
		"SELECT setval('s', 10); SELECT pg_catalog.set_config('search_path', '', false)",
		"SET lock_timeout = '2s'; BEGIN; COMMIT",
		"-- DROP TABLE t;\n/* TRUNCATE t; */ SELECT 1",
		"-- +goose Up\nCREATE VIEW v AS SELECT 1;\n-- migrate:down\n",
		"CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; END",
		"DROP FUNCTION f(int); DROP INDEX i; ALTER TABLE t DROP CONSTRAINT c; ALTER INDEX a RENAME TO b",
		"\ufeffSELECT 1",
		strings.Repeat(strings.Repeat("-", 120)+"\n-- a part\n", 900),
	} {
		if got := look(t, text); len(got) != 0 {
			t.Errorf("%s: %+v, want nothing", text, got)
		}
	}
}

// Ways to hide a statement from whoever reads quickly, or from a regular expression.
func TestTricks(t *testing.T) {
	for _, c := range []struct {
		text string
		want []string
	}{
		{"DR/**/OP TABLE t", nil}, // two words to PostgreSQL too
		{"DROP/**/TABLE/*x*/orders", []string{"drop orders"}},
		{"DROP--\nTABLE -- x\n orders", []string{"drop orders"}},
		{"dRoP\tTaBlE\n\n\"Or\"\"ders\"", []string{`drop Or"ders`}},
		{`DROP TABLE U&"d\0061t\+000061"`, []string{"drop data"}},
		{`DROP TABLE U&"d!0061ta" UESCAPE '!'`, []string{"drop data"}},
		{"SELECT 1; DROP TABLE a; SELECT 2;;; DROP TABLE b", []string{"drop a", "drop b"}},
		{"INSERT INTO t VALUES ('a;b'), ('it''s'), (E'\\';'), ($x$;$$;$x$); DROP TABLE a", []string{"drop a"}},
		{"SELECT ';--' ; DROP TABLE a -- ;", []string{"drop a"}},
		{"SELECT 'a' -- 'b\n, 'c'; DROP TABLE a", []string{"drop a"}},
		{"SELECT 'x\r\n'; -- \rDROP TABLE a", []string{"drop a"}},
		{"WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x", []string{"unfiltered t"}},
		{"WITH x AS (UPDATE t SET a = 1 RETURNING *), y AS (DELETE FROM u RETURNING 1) INSERT INTO v SELECT 1 FROM x", []string{"unfiltered t", "unfiltered u"}},
		{"EXPLAIN ANALYZE DELETE FROM t", []string{"unfiltered t"}},
		{"COPY (DELETE FROM t RETURNING *) TO STDOUT", []string{"unfiltered t"}},
		{"CREATE RULE r AS ON INSERT TO t DO ALSO (DELETE FROM u; DELETE FROM v)", []string{"unfiltered u", "unfiltered v"}},
		{"CREATE FUNCTION f() RETURNS int BEGIN ATOMIC DELETE FROM t; SELECT 1; END; DROP TABLE u", []string{"unfiltered t", "drop u"}},
		{"CREATE SCHEMA s GRANT ALL ON t TO PUBLIC", []string{"privileges t"}},
		{"DO $a$ $b$ ; $b$ $a$; DROP TABLE t", []string{"hidden", "drop t"}},
		{"DO 'BEGIN END'; DROP TABLE t", []string{"hidden", "drop t"}},
		{"CREATE TABLE IF NOT EXISTS t (a int); CREATE INDEX ON t (a)", []string{"rewrite t"}},
		{"CREATE TEMP TABLE t (a int); CREATE INDEX ON t (a)", []string{"rewrite t"}},
		{"CREATE TABLE t (a int); DROP TABLE t; CREATE INDEX ON t (a)", []string{"drop t", "rewrite t"}},
		{"SET search_path = x; CREATE TABLE t (a int); SET search_path = y; CREATE INDEX ON t (a)", []string{"rewrite t"}},
		// Text that other readers run.
		{"/*!50000 DROP TABLE t */ SELECT 1", []string{"hidden"}},
		{"/*M! DROP TABLE t */ SELECT 1", []string{"hidden"}},
		{"/* /* */ DROP TABLE t; /* */ */ SELECT 1", []string{"hidden"}},
		{`SELECT 'a\' , '; DROP TABLE t; SELECT '`, []string{"hidden"}},
		{"/*\n-- migrate:up\nDROP TABLE t;\n-- migrate:down\n*/ SELECT 1", []string{"hidden"}},
		{"SELECT $$\n-- +goose Down\nDROP TABLE t;\n$$", []string{"hidden"}},
	} {
		findings, parsed, why := statements.Look(t.Context(), "1.sql", c.text)
		if c.want == nil {
			if parsed {
				t.Errorf("%q was read: %+v", c.text, findings)
			}
		} else if got := found(findings); !parsed || !slices.Equal(got, c.want) {
			t.Errorf("%q: %q %s, want %q", c.text, got, why, c.want)
		}
	}
}

func TestLinesAndSentences(t *testing.T) {
	text := "-- a comment that names DROP TABLE\n\n/* and\n another */ DROP TABLE orders;\nSELECT 'é\n';\n ALTER TABLE a.t\n  DROP COLUMN b,\n  ALTER c TYPE text; TRUNCATE x;\nWITH d AS (\n DELETE FROM y RETURNING 1) SELECT 1;\nTRUNCATE x, x"
	want := []string{
		"4 drops table orders",
		"7 drops column a.t.b",
		"7 changes the type of a.t.c, which can rewrite the table",
		"9 empties table x",
		"11 deletes every row of y",
		"12 empties table x",
	}
	var got []string
	for _, f := range look(t, text) {
		got = append(got, fmt.Sprint(f.Line, " ", f.Text))
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for text, want := range map[string]string{
		"DELETE FROM t WHERE 1=1":           "deletes every row of t, by a condition that no row decides",
		"DROP TABLE t CASCADE":              "drops table t and everything that depends on it",
		"ALTER TABLE t DISABLE TRIGGER x":   "disables trigger t.x",
		"ALTER TABLE t SET TABLESPACE fast": "moves table t to another tablespace",
		"CALL f()":                          "calls procedure f, whose statements are not looked at",
	} {
		if got := look(t, text); len(got) != 1 || got[0].Text != want {
			t.Errorf("%s: %+v, want %q", text, got, want)
		}
	}
}

// A name is one line of at most 100 characters, whatever it holds.
func TestHostileName(t *testing.T) {
	got := look(t, "DROP TABLE \"a\nb\u202e\x1b[31m%s\"; DROP TABLE \""+strings.Repeat("é", 31)+"\".\""+strings.Repeat("x", 63)+"\".\""+strings.Repeat("y", 63)+"\"")
	if len(got) != 2 || got[0].Object != "a\ufffdb\ufffd\ufffd[31m%s" || got[0].Text != "drops table "+got[0].Object {
		t.Errorf("%+v", got)
	}
	if n := utf8.RuneCountInString(got[1].Object); n != 101 || !strings.HasSuffix(got[1].Object, "…") {
		t.Errorf("%d characters: %q", n, got[1].Object)
	}
}

func TestAtMostFifty(t *testing.T) {
	var b strings.Builder
	for i := range 73 {
		fmt.Fprintf(&b, "DROP TABLE t%d;\n", i)
	}
	got := look(t, b.String())
	if len(got) != 51 || got[49].Object != "t49" {
		t.Fatalf("%d findings", len(got))
	}
	if last := got[50]; last.Kind != statements.More || last.Line != 51 || !strings.Contains(last.Text, "23 more") {
		t.Errorf("%+v", last)
	}
}

func TestNotRead(t *testing.T) {
	for text, want := range map[string]string{
		"SELECT 1;\n\\i other.sql":                                        `m.sql:2: \i other.sql is a command of psql`,
		"\\copy t from x":                                                 `m.sql:1: \copy t from x is a command of psql`,
		"CREATE TABLE `t` (a int)":                                        "m.sql:1: MySQL's dialect",
		"CREATE TABLE t (a int AUTO_INCREMENT)":                           "m.sql:1: MySQL's dialect",
		"CREATE TABLE t (a int) ENGINE=InnoDB":                            "m.sql:1: MySQL's dialect",
		"SELECT 'é';\n\nSELECT FROM FROM":                                 `m.sql:3: not PostgreSQL's SQL: syntax error at or near "FROM"`,
		"DROP TABLE ${schema}.t":                                          "m.sql:1: not PostgreSQL's SQL",
		"SELECT 'open":                                                    "m.sql:1: not PostgreSQL's SQL: unterminated",
		"COPY t FROM stdin;\n1\tx\n\\.\n":                                 "m.sql:2: not PostgreSQL's SQL",
		"SELECT 1;\x00 DROP TABLE t":                                      "m.sql:1: a zero byte",
		"SELECT '\xff'; DROP TABLE t":                                     "m.sql:1: the file is not in UTF-8",
		"SELECT 1;" + strings.Repeat(" ", 256<<10):                        "m.sql:1: the file has",
		"SELECT " + strings.Repeat("1,", 40_000) + "1":                    "m.sql:1: the file has 80002 words and signs",
		"SELECT 1;\n" + strings.Repeat("/**/", 1001):                      "m.sql:1: the file has more than 1000 comments",
		"SELECT 1;\nSELECT 1 " + strings.Repeat("+-", 1001):               "m.sql:2: too many signs",
		"SELECT 1;\nSELECT " + strings.Repeat("(", 200):                   "m.sql:2: a statement with too many nested parts",
		"SELECT 1" + strings.Repeat("+1", 700):                            "m.sql:1: a statement with too many nested parts",
		"SELECT 1,2" + strings.Repeat(" UNION SELECT 1,2", 700):           "m.sql:1: a statement with too many nested parts",
		strings.Repeat("SELECT (1,2)+", 300):                              "m.sql:1: a statement with too many nested parts",
		"SELECT " + strings.Repeat("(1,", 300) + strings.Repeat(")", 300): "m.sql:1: a statement with too many nested parts",
	} {
		findings, parsed, why := statements.Look(t.Context(), "m.sql", text)
		if parsed || findings != nil || !strings.HasPrefix(why, want) {
			t.Errorf("%q: %v %v %q, want %q", short(text), parsed, findings, why, want)
		}
	}
}

// nested are the forms that deepen the parser's tree.
var nested = map[string]func(n int) string{
	"parentheses": func(n int) string { return "SELECT " + around("(", n, "1", ")") },
	"sub-select":  func(n int) string { return "SELECT " + around("(SELECT ", n, "1", ")") },
	"derived":     func(n int) string { return "SELECT 1 FROM " + around("(SELECT 1 FROM ", n, "t", ") x") },
	"with":        func(n int) string { return around("WITH a AS (", n, "SELECT 1", ") SELECT 1") },
	"delete": func(n int) string {
		return around("WITH a AS (DELETE FROM t USING (", n, "SELECT 1", ") x RETURNING 1) SELECT 1")
	},
	"case":       func(n int) string { return "SELECT " + around("CASE WHEN true THEN ", n, "1", " END") },
	"case first": func(n int) string { return "SELECT " + around("CASE ", n, "1", " WHEN 1 THEN 2 END") },
	"call":       func(n int) string { return "SELECT " + around("f(", n, "1", ")") },
	"array":      func(n int) string { return "SELECT " + around("ARRAY[", n, "1", "]") },
	"bare array": func(n int) string { return "SELECT ARRAY" + around("[", n, "1", "]") },
	"row":        func(n int) string { return "SELECT " + around("ROW(", n, "1", ")") },
	"bare row":   func(n int) string { return "SELECT " + around("(1,", n, "1", ")") },
	"subscript":  func(n int) string { return "SELECT " + around("a[", n, "1", "]") },
	"exists":     func(n int) string { return "SELECT " + around("EXISTS(SELECT ", n, "1", ")") },
	"in":         func(n int) string { return "SELECT " + around("1 IN (SELECT ", n, "1", ")") },
	"coalesce":   func(n int) string { return "SELECT " + around("COALESCE(", n, "1", ")") },
	"cast":       func(n int) string { return "SELECT " + around("CAST(", n, "1", " AS int)") },
	"xml":        func(n int) string { return "SELECT " + around("xmlelement(name a, ", n, "1", ")") },
	"json":       func(n int) string { return "SELECT " + around("JSON_OBJECT('a': ", n, "1", ")") },
	"window":     func(n int) string { return "SELECT " + around("f(1) OVER (ORDER BY ", n, "1", ")") },
	"values":     func(n int) string { return "SELECT " + around("(VALUES (", n, "1", "))") },
	"lateral": func(n int) string {
		return "SELECT 1 FROM " + around("t JOIN LATERAL (SELECT 1 FROM ", n, "t", ") x ON true")
	},
	"not":         func(n int) string { return "SELECT " + strings.Repeat("NOT ", n) + "true" },
	"minus":       func(n int) string { return "SELECT " + strings.Repeat("- ", n) + "1" },
	"plus":        func(n int) string { return "SELECT 1" + strings.Repeat("+1", n) },
	"power":       func(n int) string { return "SELECT 1" + strings.Repeat("^(2)", n) },
	"and or":      func(n int) string { return "SELECT true" + strings.Repeat(" AND true OR true", n) },
	"is null":     func(n int) string { return "SELECT 1" + strings.Repeat(" IS NULL", n) },
	"cast chain":  func(n int) string { return "SELECT 1" + strings.Repeat("::int", n) },
	"collate":     func(n int) string { return "SELECT 'a'" + strings.Repeat(" COLLATE c", n) },
	"at zone":     func(n int) string { return "SELECT 'a'" + strings.Repeat(" AT TIME ZONE 'b'", n) },
	"union":       func(n int) string { return "SELECT 1, 2" + strings.Repeat(" UNION SELECT 1, 2", n) },
	"union right": func(n int) string { return around("SELECT 1 UNION (", n, "SELECT 1", ")") },
	"join":        func(n int) string { return "SELECT 1 FROM t" + strings.Repeat(" NATURAL JOIN t", n) },
	"join using":  func(n int) string { return "SELECT 1 FROM t" + strings.Repeat(" JOIN t USING (a, b)", n) },
	"operand":     func(n int) string { return "SELECT " + around("(", n, "1", "+1+1+1)") },
	"arguments":   func(n int) string { return "SELECT " + around("f(1,", n, "1", ",1)+1") },
}

func around(open string, n int, inner, end string) string {
	return strings.Repeat(open, n) + inner + strings.Repeat(end, n)
}

// Whatever the limits let through, the parser survives; it would stop for ever
// otherwise, and TestDeepest and every test after it would fail.
func TestDeepest(t *testing.T) {
	for name, form := range nested {
		deepest := 0
		for _, n := range []int{5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 120, 140, 150, 158, 170, 200, 500, 1000, 10_000} {
			text := form(n)
			if len(text) > 256<<10 {
				continue
			}
			_, parsed, why := statements.Look(t.Context(), "1.sql", text)
			if parsed {
				deepest = n
			} else if !strings.Contains(why, "too many") && !strings.Contains(why, "words and signs") {
				t.Fatalf("%s, %d deep: %s", name, n, why)
			}
		}
		if deepest < 10 || deepest >= 200 {
			t.Errorf("%s: read up to %d deep", name, deepest)
		}
	}
	look(t, "SELECT 1")
}

// Large and hostile files end in time: a few tenths of a second each, where some of
// them took minutes. The test allows for a busy machine.
func TestEndsInTime(t *testing.T) {
	look(t, "SELECT 1") // the parser is compiled now
	limit := 10 * time.Second
	slowest, longest := "", time.Duration(0)
	for name, text := range map[string]string{
		"brackets":           strings.Repeat("(", 256<<10),
		"both":               "SELECT " + around("(", 100_000, "1", ")"),
		"square":             "SELECT " + strings.Repeat("[", 200_000),
		"semicolons":         strings.Repeat(";", 256<<10),
		"statements":         strings.Repeat("SELECT 1;", 20_000),
		"drops":              strings.Repeat("DROP TABLE a;\n", 14_000),
		"rows":               "INSERT INTO t VALUES " + strings.Repeat("(1,2),", 9_900) + "(1,2)",
		"columns":            "SELECT " + strings.Repeat("1,", 29_000) + "1",
		"one string":         "SELECT '" + strings.Repeat("a\n", 120_000) + "'",
		"comments":           strings.Repeat("/**/", 60_000),
		"in comments":        around("/*", 60_000, "", "*/"),
		"dollars":            strings.Repeat("$a$", 80_000),
		"quotes":             strings.Repeat("'", 200_000),
		"long name":          "DROP TABLE " + strings.Repeat("a", 250_000),
		"lines":              strings.Repeat("\n", 250_000) + "DROP TABLE a",
		"operators":          strings.Repeat("+-", 120_000),
		"operators in lines": strings.Repeat(strings.Repeat("+-", 1000)+"\n", 100),
		"long operators":     strings.Repeat("SELECT 1 "+strings.Repeat("@", 1900)+" 1;", 100),
		"nested comments":    around("/*", 1000, "", "*/"),
		"many comments":      strings.Repeat("/***/", 1000),
		"open comments":      strings.Repeat("/*", 120_000),
		"casts":              strings.Repeat(":", 200_000),
		"minuses":            strings.Repeat("-", 256<<10),
		"backslashes":        strings.Repeat("\\", 256<<10),
		"escapes":            "SELECT U&'" + strings.Repeat(`\0061`, 50_000) + "'",
		"invalid runs":       strings.Repeat("a ", 29_000),
	} {
		start := time.Now()
		statements.Look(t.Context(), "1.sql", text)
		took := time.Since(start)
		if took > limit {
			t.Errorf("%s took %v", name, took)
		}
		if took > longest {
			slowest, longest = name, took
		}
	}
	t.Logf("the slowest was %s: %v", slowest, longest)
	look(t, "SELECT 1")
}

func TestLookWithoutTime(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, parsed, why := statements.Look(ctx, "1.sql", strings.Repeat("SELECT 1;", 10_000)); parsed || !strings.Contains(why, "in time") {
		t.Errorf("%v %q", parsed, why)
	}
}

func TestIsMigration(t *testing.T) {
	for file, want := range map[string]bool{
		"migrations/1.sql": true, "1_a.down.sql": true, "A.SQL": true, ".sql": true, "a.sQl": true,
		"sql": false, "a.sql.md": false, "a.sql/": false, "a.mysql": false, "": false,
	} {
		if got := statements.IsMigration(file); got != want {
			t.Errorf("%q: %v", file, got)
		}
	}
}

func FuzzLook(f *testing.F) {
	for _, seed := range []string{
		"DROP TABLE t", "WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x;", "SELECT 'a;b' -- c\n'd'", "/*! x */ DO $$ $$",
		"ALTER TABLE t ADD c int NOT NULL, DROP d", "\\i x", "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; END", `U&"\0061" UESCAPE '!'`,
	} {
		f.Add(seed)
	}
	statements.Look(f.Context(), "start.sql", "SELECT 1")
	f.Fuzz(func(t *testing.T, text string) {
		findings, parsed, why := statements.Look(t.Context(), "1.sql", text)
		if parsed == (why != "") || !parsed && findings != nil || len(findings) > 51 {
			t.Fatalf("%v %q %v", parsed, why, findings)
		}
		if strings.Contains(why, "stopped") || strings.Contains(why, "in time") {
			t.Fatal(why)
		}
		for i, one := range findings {
			if one.Line < 1 || one.Line > 1+strings.Count(text, "\n") || i > 0 && one.Line < findings[i-1].Line || one.Kind == "" || one.Text == "" || strings.ContainsAny(one.Text, "\n\x1b%") && !strings.Contains(one.Object, "%") {
				t.Fatalf("%+v", one)
			}
		}
	})
}

func BenchmarkLook(b *testing.B) {
	var text strings.Builder
	for i := range 100 {
		fmt.Fprintf(&text, "ALTER TABLE t%d ADD COLUMN c int NOT NULL DEFAULT 1;\n", i)
	}
	statements.Look(b.Context(), "1.sql", "SELECT 1")
	b.ReportAllocs()
	for b.Loop() {
		if _, parsed, why := statements.Look(b.Context(), "1.sql", text.String()); !parsed {
			b.Fatal(why)
		}
	}
}
