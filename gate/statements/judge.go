package statements

import (
	"strconv"
	"strings"
)

// lookAtTree looks at each statement of a file, in its order.
func (r *reader) lookAtTree(tokens []token, tree *node) {
	for _, one := range tree.at("stmts").list() {
		start, _ := strconv.Atoi(one.at("stmt_location").string()) // absent: 0
		// The parser counts the comments before a statement as part of it.
		for len(tokens) > 0 && (tokens[0].isComment() || tokens[0].start < start || tokens[0].number == ';') {
			tokens = tokens[1:]
		}
		if len(tokens) > 0 {
			start = tokens[0].start
		}
		r.line = r.lineAt(start)
		statement := one.at("stmt")
		r.lookAtCalls(statement)
		r.walk(statement, true)
	}
}

// walk looks at a node and at everything in it: a DELETE may stand in a WITH, an
// EXPLAIN, a COPY, a rule.
func (r *reader) walk(n *node, top bool) {
	for _, kid := range n.list() {
		outer := r.line
		if judge := judges[kid.key]; judge != nil {
			if at, err := strconv.Atoi(kid.at("relation", "location").string()); err == nil && !top {
				r.line = r.lineAt(at)
			}
			judge(r, kid)
		}
		r.walk(kid, false)
		r.line = outer
	}
}

// judges are what looks at the parser's nodes, by its names for them
// (PostgreSQL 17, parsenodes.h).
var judges = map[string]func(*reader, *node){
	"DropStmt":                   (*reader).drop,
	"DropdbStmt":                 says(Drop, "drops database", "dbname"),
	"DropTableSpaceStmt":         says(Drop, "drops tablespace", "tablespacename"),
	"DropSubscriptionStmt":       says(Drop, "drops subscription", "subname"),
	"DropUserMappingStmt":        says(Drop, "drops the mapping for server", "servername"),
	"DropOwnedStmt":              each(Drop, "drops everything owned by", "roles"),
	"DropRoleStmt":               each(Drop, "drops role", "roles"),
	"TruncateStmt":               each(Truncate, "empties table", "relations"),
	"DeleteStmt":                 (*reader).remove,
	"UpdateStmt":                 (*reader).update,
	"MergeStmt":                  (*reader).merge,
	"CreateStmt":                 (*reader).create,
	"AlterTableStmt":             (*reader).alter,
	"AlterTableMoveAllStmt":      says(Rewrite, "moves everything out of tablespace", "orig_tablespacename"),
	"AlterDatabaseStmt":          (*reader).alterDatabase,
	"IndexStmt":                  (*reader).index,
	"ReindexStmt":                (*reader).reindex,
	"VacuumStmt":                 (*reader).vacuum,
	"ClusterStmt":                says(Rewrite, "rewrites table", "relation"),
	"RefreshMatViewStmt":         (*reader).refresh,
	"LockStmt":                   each(Lock, "locks table", "relations"),
	"RenameStmt":                 (*reader).rename,
	"AlterObjectSchemaStmt":      (*reader).move,
	"AlterEnumStmt":              (*reader).alterEnum,
	"GrantStmt":                  (*reader).grant,
	"GrantRoleStmt":              (*reader).grantRole,
	"AlterDefaultPrivilegesStmt": says(Privileges, "changes default privileges"),
	"CreateRoleStmt":             (*reader).createRole,
	"AlterRoleStmt":              (*reader).alterRole,
	"AlterRoleSetStmt":           says(Privileges, "changes the settings of role", "role"),
	"AlterDatabaseSetStmt":       says(Privileges, "changes the settings of database", "dbname"),
	"AlterSystemStmt":            says(Privileges, "changes the server's setting", "setstmt", "name"),
	"AlterOwnerStmt":             says(Privileges, "changes the owner of", "object"),
	"ReassignOwnedStmt":          each(Privileges, "gives away everything owned by", "roles"),
	"VariableSetStmt":            (*reader).set,
	"CopyStmt":                   (*reader).copyFile,
	"LoadStmt":                   says(Server, "loads a library into the server:", "filename"),
	"CreateFdwStmt":              says(Server, "defines a wrapper of other servers:", "fdwname"),
	"CreateForeignServerStmt":    says(Server, "defines another server:", "servername"),
	"CreateSubscriptionStmt":     says(Server, "takes data from another server:", "subname"),
	"CreatePLangStmt":            says(Hidden, "defines language", "plname"),
	"DoStmt":                     says(Hidden, "runs a block of code that is not looked at"),
	"ExecuteStmt":                says(Hidden, "runs prepared statement", "name"),
	"CallStmt":                   says(Hidden, "calls procedure %, whose statements are not looked at", "funccall", "funcname"),
	"CreateFunctionStmt":         (*reader).function,
	"AlterFunctionStmt":          (*reader).alterFunction,
	"FuncCall":                   (*reader).call,
}

// says makes a judge of a statement that is a finding whatever it holds. The keys
// lead to its object.
func says(kind Kind, text string, keys ...string) func(*reader, *node) {
	return func(r *reader, n *node) {
		object := ""
		if len(keys) > 0 {
			object = n.at(keys...).name()
		}
		r.add(kind, object, text)
	}
}

// each makes a judge of a statement that does the same to a list of things.
func each(kind Kind, text, key string) func(*reader, *node) {
	return func(r *reader, n *node) {
		for _, one := range n.at(key).list() {
			r.add(kind, one.name(), text)
		}
	}
}

// dropped are the things whose loss is a loss of data, or breaks who reads them.
var dropped = map[string]string{
	"TABLE": "table", "FOREIGN_TABLE": "foreign table", "SCHEMA": "schema", "VIEW": "view", "MATVIEW": "materialized view",
	"SEQUENCE": "sequence", "TYPE": "type", "DOMAIN": "domain", "EXTENSION": "extension", "FOREIGN_SERVER": "server",
	"FDW": "foreign-data wrapper", "PUBLICATION": "publication",
}

// dropped guards are those that keep something out.
var droppedGuards = map[string]string{"TRIGGER": "trigger", "EVENT_TRIGGER": "event trigger", "RULE": "rule", "POLICY": "policy"}

func (r *reader) drop(n *node) {
	kind := strings.TrimPrefix(n.at("removeType").string(), "OBJECT_")
	cascades := n.at("behavior").string() == "DROP_CASCADE"
	for _, one := range n.at("objects").list() {
		name := one.name()
		delete(r.made, name)
		after := "%"
		if cascades {
			after += " and everything that depends on it"
		}
		switch {
		case dropped[kind] != "":
			r.add(Drop, name, "drops "+dropped[kind]+" "+after)
		case droppedGuards[kind] != "":
			r.add(Guard, name, "drops "+droppedGuards[kind]+" "+after)
		case cascades:
			r.add(Drop, name, "drops "+strings.ToLower(strings.ReplaceAll(kind, "_", " "))+" "+after)
		}
	}
}

func (r *reader) remove(n *node) {
	r.unfiltered(n, "deletes every row of", "whereClause")
}

func (r *reader) update(n *node) {
	r.unfiltered(n, "changes every row of", "whereClause")
}

func (r *reader) unfiltered(n *node, text, condition string) {
	if where := n.at(condition); where == nil {
		r.add(Unfiltered, n.at("relation").name(), text)
	} else if always(where) {
		r.add(Unfiltered, n.at("relation").name(), text+" %, by a condition that no row decides")
	}
}

// merge is unfiltered if it may touch every row of its target.
func (r *reader) merge(n *node) {
	for _, clause := range n.at("mergeWhenClauses").list() {
		when := clause.at("MergeWhenClause")
		does := map[string]string{"CMD_DELETE": "deletes", "CMD_UPDATE": "changes"}[when.at("commandType").string()]
		if does == "" {
			continue
		}
		other := when.at("matchKind").string() == "MERGE_WHEN_NOT_MATCHED_BY_SOURCE"
		if (other || always(n.at("joinCondition"))) && (when.at("condition") == nil || always(when.at("condition"))) {
			r.add(Unfiltered, n.at("relation").name(), does+" rows of % without a condition")
		}
	}
}

// always reports whether a condition is the same for every row, and not plainly
// false: it speaks of no column, or compares one with itself.
func always(n *node) bool {
	if b := n.at("BoolExpr"); b != nil {
		every, some := true, false
		for _, arg := range b.at("args").list() {
			if always(arg) {
				some = true
			} else {
				every = false
			}
		}
		switch b.at("boolop").string() {
		case "AND_EXPR":
			return every
		case "OR_EXPR":
			return some
		}
		return !n.has("ColumnRef")
	}
	if e := n.at("A_Expr"); e != nil && e.at("lexpr") != nil && e.at("lexpr").same(e.at("rexpr")) {
		return true
	}
	if c := n.at("A_Const", "boolval"); c != nil {
		return c.is("boolval")
	}
	return !n.has("ColumnRef") && n.at("CurrentOfExpr") == nil
}

func (r *reader) alterDatabase(n *node) {
	for _, option := range n.at("options").list() {
		if option.at("DefElem", "defname").string() == "tablespace" {
			r.add(Rewrite, n.at("dbname").string(), "moves database % to another tablespace")
		}
	}
}

// renamed without effect on who uses the name in a statement.
var inward = map[string]bool{"INDEX": true, "TABCONSTRAINT": true, "DOMCONSTRAINT": true, "TRIGGER": true, "RULE": true, "POLICY": true, "EVENT_TRIGGER": true}

func (r *reader) rename(n *node) {
	kind := strings.TrimPrefix(n.at("renameType").string(), "OBJECT_")
	if inward[kind] {
		return
	}
	object := n.at("relation").name()
	if object == "" {
		object = n.at("object").name()
	}
	delete(r.made, object)
	if sub := n.at("subname").string(); sub != "" {
		object = strings.TrimPrefix(object+"."+sub, ".")
	}
	r.add(Rename, object, "renames "+strings.ToLower(strings.ReplaceAll(kind, "_", " "))+" % to "+printable(n.at("newname").string()))
}

func (r *reader) move(n *node) {
	object := n.at("relation").name()
	if object == "" {
		object = n.at("object").name()
	}
	delete(r.made, object)
	r.add(Rename, object, "moves % to schema "+printable(n.at("newschema").string()))
}

func (r *reader) alterEnum(n *node) {
	if n.at("oldVal") != nil {
		r.add(Rename, n.at("typeName").name(), "renames a value of type")
	}
}
