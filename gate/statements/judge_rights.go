package statements

import "strings"

func (r *reader) grant(n *node) {
	var objects []string
	for _, one := range n.at("objects").list() {
		objects = append(objects, one.name())
	}
	r.add(Privileges, strings.Join(objects, ", "), grantText(n)+" privileges on")
}

func (r *reader) grantRole(n *node) {
	var roles []string
	for _, one := range n.at("granted_roles").list() {
		roles = append(roles, one.name())
	}
	r.add(Privileges, strings.Join(roles, ", "), grantText(n)+" membership of role")
}

func grantText(n *node) string {
	if n.is("is_grant") {
		return "grants"
	}
	return "revokes"
}

func (r *reader) createRole(n *node) {
	text := "creates role"
	if n.option("options", "superuser") {
		text = "creates superuser"
	}
	r.add(Privileges, n.at("role").name(), text)
}

func (r *reader) alterRole(n *node) {
	text := "changes role"
	if n.option("options", "superuser") {
		text = "makes a superuser of"
	}
	r.add(Privileges, n.at("role").name(), text)
}

func (r *reader) set(n *node) {
	r.setting(n.at("name").string())
}

// setting notes a change of a setting that changes what other statements do.
func (r *reader) setting(name string) {
	switch strings.ToLower(name) {
	case "session_replication_role":
		r.add(Guard, name, "switches triggers and foreign keys by")
	case "row_security":
		r.add(Guard, name, "switches row security by")
	case "role", "session_authorization":
		r.add(Privileges, name, "goes on with the rights of another role by")
	case "standard_conforming_strings", "backslash_quote", "client_encoding":
		r.add(Hidden, name, "changes how the text after it is read, which was not looked at so, by")
	case "search_path":
		clear(r.made) // the same name may be another table from here on
	}
}

func (r *reader) copyFile(n *node) {
	object := n.at("relation").name()
	switch {
	case n.is("is_program"):
		r.add(Server, object, "runs a program on the server for COPY %")
	case n.at("filename") != nil:
		r.add(Server, object, "reads or writes a file of the server for COPY %")
	}
}

func (r *reader) function(n *node) {
	name := n.at("funcname").name()
	if n.option("options", "security") {
		r.add(Privileges, name, "creates % with the rights of its owner (SECURITY DEFINER)")
	}
	if n.at("sql_body") == nil {
		r.add(Hidden, name, "creates function %, whose body is not looked at")
	}
}

func (r *reader) alterFunction(n *node) {
	if n.option("actions", "security") {
		r.add(Privileges, n.at("func").name(), "gives % the rights of its owner (SECURITY DEFINER)")
	}
}

// reaching are functions that run what they are given, or reach out of the
// database.
var reaching = map[string]struct {
	kind Kind
	text string
}{
	"query_to_xml": {Hidden, "runs statements in a string by"}, "query_to_xmlschema": {Hidden, "runs statements in a string by"},
	"query_to_xml_and_xmlschema": {Hidden, "runs statements in a string by"}, "dblink": {Server, "runs statements on a server by"},
	"dblink_exec": {Server, "runs statements on a server by"}, "dblink_send_query": {Server, "runs statements on a server by"},
	"dblink_connect": {Server, "connects to a server by"}, "lo_import": {Server, "reads a file of the server by"},
	"lo_export": {Server, "writes a file of the server by"}, "pg_read_file": {Server, "reads a file of the server by"},
	"pg_read_binary_file": {Server, "reads a file of the server by"}, "pg_ls_dir": {Server, "lists files of the server by"},
	"pg_file_write": {Server, "writes a file of the server by"}, "pg_terminate_backend": {Lock, "ends sessions of others by"},
	"pg_reload_conf": {Privileges, "changes the server's settings by"}, "lo_unlink": {Drop, "drops large objects by"},
}

func (r *reader) call(n *node) {
	name := n.at("funcname").name()
	last := strings.ToLower(name[strings.LastIndex(name, ".")+1:])
	if f, ok := reaching[last]; ok {
		r.add(f.kind, name, f.text)
	}
	if last != "set_config" {
		return
	}
	args := n.at("args").list()
	if len(args) > 0 && args[0].at("A_Const", "sval") != nil {
		r.setting(args[0].at("A_Const", "sval", "sval").string())
		return
	}
	r.add(Hidden, name, "changes a setting whose name is computed, by")
}

// harmless are functions that a migration calls by SELECT for what they are known
// to do.
var harmless = map[string]bool{
	"setval": true, "nextval": true, "currval": true, "lastval": true, "set_config": true, "current_setting": true, "now": true, "pg_sleep": true,
	"version": true, "count": true, "max": true, "min": true, "sum": true, "pg_advisory_lock": true, "pg_advisory_xact_lock": true,
	"pg_advisory_unlock": true, "pg_notify": true, "pg_get_serial_sequence": true, "to_regclass": true,
}

// lookAtCalls reports the functions of a SELECT that stands alone: in a migration
// that is done for what they do.
func (r *reader) lookAtCalls(statement *node) {
	r.calls(statement.at("SelectStmt"))
}

func (r *reader) calls(n *node) {
	for _, kid := range n.list() {
		if kid.key == "FuncCall" {
			name := kid.at("funcname").name()
			last := strings.ToLower(name[strings.LastIndex(name, ".")+1:])
			if _, known := reaching[last]; !known && !harmless[last] {
				r.add(Hidden, name, "calls function %, whose statements are not looked at")
			}
		}
		r.calls(kid)
	}
}
