package gate_test

import (
	"strings"
	"testing"

	"github.com/sallyport/sallyport/gate"
)

// The story of the merge door: an agent's documentation change is approved and
// merged by itself once its check is green; its migration waits for a listed human,
// and goes through when one approves exactly that head.
func TestStory(t *testing.T) {
	w := newWorld(t, policyText)
	docs := w.open(w.agent, "writer/docs", map[string]string{"docs/guide.md": "# Guide\n"})
	migration := w.open(w.agent, "writer/migration", map[string]string{"migrations/001.sql": "create table orders (id int);\n"})
	w.settle()
	w.want(docs, "action_required", "SP401", "SP201")
	w.want(migration, "action_required", "SP301", "SP102")
	if s := migration.See(); !strings.Contains(strings.Join(s.Waiting, " "), "acme/sre") || len(s.Comments) != 1 || strings.Count(s.Comments[0].Body, "@acme/sre") != 1 {
		t.Errorf("the migration: %s", w.dump(migration))
	}
	if s := docs.See(); len(s.Comments) != 0 || len(s.Waiting) != 0 {
		t.Errorf("nobody has to look at the documentation: %s", w.dump(docs))
	}

	w.tests(docs.Head(), "success")
	w.settle()
	w.want(docs, "success", "SP410")
	if s := docs.See(); !s.Merged || s.MergedBy != "sallyport[bot]" || w.approvals(docs) != 1 {
		t.Errorf("the documentation: %s", w.dump(docs))
	}

	if _, err := migration.Approve(w.bob, ""); err != nil {
		t.Fatal(err)
	}
	w.settle()
	w.want(migration, "success", "SP302")
	if s := migration.See(); s.Merged || w.approvals(migration) != 0 || len(s.Comments) != 1 || s.Comments[0].Edits != 1 || strings.Contains(strings.Join(s.Labels, " "), "waits") {
		t.Errorf("the migration: %s", w.dump(migration))
	}
	// Another push: what bob approved is not what would be merged.
	w.push(w.agent, "writer/migration", map[string]string{"migrations/002.sql": "drop table orders;\n"})
	w.settle()
	w.want(migration, "action_required", "SP313")
	if n := w.verify(); n < 10 {
		t.Errorf("the ledger has %d entries", n)
	}
	_, text := w.says(migration.Head())
	if last := text[strings.LastIndexByte(text, '\n')+1:]; !strings.HasPrefix(last, "Ledger: ") {
		t.Errorf("the last line is %q", last)
	}
	_ = gate.CheckName
}
