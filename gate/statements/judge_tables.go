package statements

import "strings"

func (r *reader) create(n *node) {
	// A table that is there already, or a temporary one in front of it, was not
	// made here.
	table := n.at("relation")
	if !n.is("if_not_exists") && table.at("relpersistence").string() != "t" {
		r.made[table.name()] = true
	} else {
		delete(r.made, table.name())
	}
}

// rewrite notes what holds up others, unless the table was made in this file.
func (r *reader) rewrite(table *node, object, text string) {
	if !r.made[table.name()] {
		r.add(Rewrite, object, text)
	}
}

// alterations are the parts of ALTER TABLE that deserve a look by themselves; the
// text is about a column or another part of the table.
var alterations = map[string]struct {
	kind Kind
	text string
}{
	"AT_AlterColumnType":    {Rewrite, "changes the type of %, which can rewrite the table"},
	"AT_SetNotNull":         {Rewrite, "makes % not null, which scans the table"},
	"AT_SetExpression":      {Rewrite, "changes the expression of %, which rewrites the table"},
	"AT_SetTableSpace":      {Rewrite, "moves the table to tablespace %"},
	"AT_SetLogged":          {Rewrite, "rewrites the table to make it logged"},
	"AT_SetUnLogged":        {Rewrite, "rewrites the table to make it unlogged"},
	"AT_SetAccessMethod":    {Rewrite, "rewrites the table for another access method"},
	"AT_AttachPartition":    {Rewrite, "attaches a partition, which scans it"},
	"AT_DetachPartition":    {Lock, "detaches a partition"},
	"AT_DisableTrig":        {Guard, "disables trigger %"},
	"AT_DisableTrigAll":     {Guard, "disables all triggers"},
	"AT_DisableTrigUser":    {Guard, "disables all triggers of users"},
	"AT_EnableReplicaTrig":  {Guard, "disables trigger % outside replication"},
	"AT_DisableRule":        {Guard, "disables rule %"},
	"AT_EnableReplicaRule":  {Guard, "disables rule % outside replication"},
	"AT_DisableRowSecurity": {Guard, "disables row security"},
	"AT_NoForceRowSecurity": {Guard, "no longer holds the owner to row security"},
	"AT_ChangeOwner":        {Privileges, "changes the owner"},
}

func (r *reader) alter(n *node) {
	table := n.at("relation")
	object := strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(n.at("objtype").string(), "OBJECT_"), "_", " "))
	for _, one := range n.at("cmds").list() {
		command := one.at("AlterTableCmd")
		part := command.at("name").string()
		whole := table.name()
		if part != "" && command.at("subtype").string() != "AT_SetTableSpace" {
			whole += "." + part
		}
		cascades := command.at("behavior").string() == "DROP_CASCADE"
		switch subtype := command.at("subtype").string(); subtype {
		case "AT_DropColumn":
			what := "column"
			if object == "type" {
				what = "attribute"
			}
			text := "drops " + what + " %"
			if cascades {
				text += " and everything that depends on it"
			}
			r.add(Drop, whole, text)
		case "AT_DropConstraint":
			if cascades {
				r.add(Drop, whole, "drops constraint % and everything that depends on it")
			}
		case "AT_AddColumn":
			r.addColumn(table, command.at("def", "ColumnDef"))
		case "AT_AddConstraint":
			r.addConstraint(table, command.at("def", "Constraint"))
		case "AT_SetTableSpace":
			r.rewrite(table, whole, "moves "+object+" % to another tablespace")
		default:
			a, ok := alterations[subtype]
			if !ok {
				continue
			}
			text := a.text
			if !strings.Contains(text, "%") {
				text += ": " + object + " %"
			}
			if a.kind == Rewrite {
				r.rewrite(table, whole, text)
			} else {
				r.add(a.kind, whole, text)
			}
		}
	}
}

// steady are functions with one value for a whole statement: as a default they do
// not rewrite the table.
var steady = map[string]bool{"now": true, "transaction_timestamp": true, "statement_timestamp": true, "current_setting": true, "current_database": true, "current_schema": true, "version": true}

func (r *reader) addColumn(table, column *node) {
	object := table.name() + "." + column.at("colname").string()
	required, filled := false, false
	for _, one := range column.at("constraints").list() {
		c := one.at("Constraint")
		switch c.at("contype").string() {
		case "CONSTR_NOTNULL":
			required = true
		case "CONSTR_DEFAULT":
			filled = c.at("raw_expr", "A_Const", "isnull") == nil
			if c.at("raw_expr").varies() {
				r.rewrite(table, object, "adds column % with a default that varies, which rewrites the table")
			}
		case "CONSTR_IDENTITY":
			filled = true
			r.rewrite(table, object, "adds identity column %, which rewrites the table")
		case "CONSTR_GENERATED":
			filled = true
			r.rewrite(table, object, "adds generated column %, which rewrites the table")
		default:
			r.addConstraint(table, c)
		}
	}
	switch column.at("typeName").name() {
	case "serial", "bigserial", "smallserial", "serial2", "serial4", "serial8":
		filled = true
		r.rewrite(table, object, "adds column % with a sequence, which rewrites the table")
	}
	if required && !filled {
		r.rewrite(table, object, "adds required column % without a default, which fails if there are rows")
	}
}

// varies reports whether an expression may have another value in each row.
func (n *node) varies() bool {
	for _, kid := range n.list() {
		if kid.key == "FuncCall" {
			name := kid.at("funcname").name()
			if !steady[strings.TrimPrefix(name, "pg_catalog.")] {
				return true
			}
		}
		if kid.varies() {
			return true
		}
	}
	return false
}

func (r *reader) addConstraint(table, c *node) {
	if c.is("skip_validation") || c.at("indexname") != nil {
		return
	}
	text := map[string]string{
		"CONSTR_PRIMARY":   "adds a primary key to %, which builds its index under a lock",
		"CONSTR_UNIQUE":    "adds a unique constraint to %, which builds its index under a lock",
		"CONSTR_EXCLUSION": "adds an exclusion constraint to %, which builds its index under a lock",
		"CONSTR_FOREIGN":   "adds a foreign key to %, which locks both tables while it is checked",
		"CONSTR_CHECK":     "adds a check to %, which scans the table",
		"CONSTR_NOTNULL":   "makes a column of % not null, which scans the table",
	}[c.at("contype").string()]
	if text == "" {
		return
	}
	// A new table's foreign key still locks the old table that it points at.
	if other := c.at("pktable"); other != nil && r.made[table.name()] {
		table = other
	}
	r.rewrite(table, table.name(), text)
}

func (r *reader) index(n *node) {
	if !n.is("concurrent") {
		r.rewrite(n.at("relation"), n.at("relation").name(), "creates an index on % without CONCURRENTLY, which blocks its writers")
	}
}

func (r *reader) reindex(n *node) {
	if n.option("params", "concurrently") {
		return
	}
	object := n.at("relation").name()
	if object == "" {
		object = n.at("name").string()
	}
	r.add(Rewrite, object, "rebuilds indexes without CONCURRENTLY: %")
}

func (r *reader) vacuum(n *node) {
	if !n.option("options", "full") {
		return
	}
	if n.at("rels") == nil {
		r.add(Rewrite, "", "rewrites every table of the database")
	}
	for _, one := range n.at("rels").list() {
		r.add(Rewrite, one.at("VacuumRelation", "relation").name(), "rewrites table")
	}
}

func (r *reader) refresh(n *node) {
	if !n.is("concurrent") {
		r.add(Lock, n.at("relation").name(), "refreshes % without CONCURRENTLY, which blocks its readers")
	}
}

// option reports whether a list of options has one that is not switched off.
func (n *node) option(list, name string) bool {
	for _, one := range n.at(list).list() {
		o := one.at("DefElem")
		if !strings.EqualFold(o.at("defname").string(), name) {
			continue
		}
		value := o.at("arg", "Boolean")
		off := value != nil && !value.is("boolval") || o.at("arg", "Integer") != nil && o.at("arg", "Integer", "ival").string() == ""
		switch strings.ToLower(o.at("arg").name()) {
		case "false", "off", "no":
			off = true
		}
		if !off {
			return true
		}
	}
	return false
}
