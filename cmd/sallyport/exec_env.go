package main

import (
	"fmt"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/gate/actions"
)

var (
	prefixes      = regexp.MustCompile(`^[A-Z][A-Z0-9_]*$`)
	variableNames = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

func prefixForm(s string) bool { return len(s) <= 63 && prefixes.MatchString(s) }

// shape says under which names a command finds credentials.
type shape struct {
	prefix      string // of all names; "" is the usual names
	bare        bool   // none but maps and files
	maps, files []naming
}

// naming is a variable and the value that it is for.
type naming struct{ flag, name, credential, key string }

// readMappings reads VAR=[name.]key.
func readMappings(flag string, texts, credentials []string) ([]naming, error) {
	var out []naming
	for _, text := range texts {
		name, what, ok := strings.Cut(text, "=")
		m := naming{flag: flag, name: name, key: what}
		if i := strings.LastIndexByte(what, '.'); i >= 0 {
			m.credential, m.key = what[:i], what[i+1:]
		} else if len(credentials) == 1 {
			m.credential = credentials[0]
		}
		switch {
		case !ok || len(name) > 100 || !variableNames.MatchString(name) || m.key == "":
			return nil, usage("%s %q: want VAR=key, or VAR=name.key with several credentials", flag, text)
		case !slices.Contains(credentials, m.credential):
			return nil, usage("%s %q: name one of the credentials: VAR=name.key", flag, text)
		}
		out = append(out, m)
	}
	return out, nil
}

// setting is one variable of the command's environment.
type setting struct {
	name  string
	value actions.Secret
}

// environment is what the command's environment has more, and less.
type environment struct {
	set []setting
	// drop are variables that would lead a program elsewhere with the credential, or
	// away from it.
	drop  []string
	notes []string
}

// environment lays out credentials; files go into dir.
func (s shape) environment(leases []actions.Lease, dir string) (environment, error) {
	var e environment
	if !s.bare {
		e, e.notes = variables(leases, s.prefix)
	}
	find := func(m naming) (actions.Secret, error) {
		i := slices.IndexFunc(leases, func(l actions.Lease) bool { return l.Credential == m.credential })
		if i < 0 {
			return "", fmt.Errorf("%s %s: the credential %s was not given", m.flag, m.name, m.credential)
		}
		v, ok := leases[i].Values[m.key]
		if !ok {
			return "", fmt.Errorf("%s %s: the credential %s has no %q: it has %s", m.flag, m.name, m.credential, m.key, strings.Join(leases[i].Keys(), ", "))
		}
		return v, nil
	}
	for _, m := range s.maps {
		v, err := find(m)
		if err != nil {
			return environment{}, err
		}
		e.set = append(e.set, setting{m.name, v})
	}
	for _, m := range s.files {
		v, err := find(m)
		if err != nil {
			return environment{}, err
		}
		file, err := actions.WritePrivate(dir, m.name, v)
		if err != nil {
			return environment{}, err
		}
		e.set = append(e.set, setting{m.name, actions.Secret(file)})
	}
	return e, nil
}

// variables are the names under which credentials are found: each value by the prefix and
// its key, and, unless a prefix was asked for, by the names that programs know. Where two
// credentials would have the same known name, neither has it: a program would work on the
// wrong one of two databases.
func variables(leases []actions.Lease, prefix string) (e environment, notes []string) {
	known := map[string][]actions.Secret{}
	var order []string
	for i := range leases {
		l := &leases[i]
		p := prefix
		if p == "" {
			p = "SALLYPORT_" + upper(l.Credential) + "_"
		}
		for _, key := range l.Keys() {
			e.set = append(e.set, setting{p + upper(key), l.Values[key]})
		}
		if prefix != "" {
			continue
		}
		for _, k := range knownNames(l) {
			if known[k.name] == nil {
				order = append(order, k.name)
			}
			known[k.name] = append(known[k.name], k.value)
		}
	}
	var twice []string
	for _, name := range order {
		if len(known[name]) > 1 {
			twice = append(twice, name)
			e.drop = append(e.drop, name)
			continue
		}
		e.set = append(e.set, setting{name, known[name][0]})
	}
	if len(twice) > 0 {
		notes = append(notes, fmt.Sprintf("more than one credential would set %s, so that none does: use --map", strings.Join(twice, ", ")))
	}
	for name, leads := range map[string][]string{
		"PGPASSWORD":        {"PGHOSTADDR", "PGSERVICE", "PGSERVICEFILE", "PGPASSFILE"},
		"AWS_ACCESS_KEY_ID": {"AWS_PROFILE", "AWS_DEFAULT_PROFILE"},
	} {
		if known[name] != nil {
			e.drop = append(e.drop, leads...)
		}
	}
	return e, notes
}

// knownNames are the names that programs know for a credential.
func knownNames(l *actions.Lease) []setting {
	var out []setting
	take := func(pairs ...string) {
		for i := 0; i < len(pairs); i += 2 {
			if v, ok := l.Values[pairs[i]]; ok {
				out = append(out, setting{pairs[i+1], v})
			}
		}
	}
	take("url", "DATABASE_URL")
	if u := l.Values["url"].Reveal(); strings.HasPrefix(u, "postgres://") || strings.HasPrefix(u, "postgresql://") {
		take("host", "PGHOST", "port", "PGPORT", "database", "PGDATABASE", "username", "PGUSER", "password", "PGPASSWORD")
	}
	if l.Values["access_key_id"] != "" {
		take("access_key_id", "AWS_ACCESS_KEY_ID", "secret_access_key", "AWS_SECRET_ACCESS_KEY", "session_token", "AWS_SESSION_TOKEN",
			"region", "AWS_REGION", "region", "AWS_DEFAULT_REGION")
	}
	take("token", "SALLYPORT_TOKEN")
	return out
}

// upper is a name as variables are named.
func upper(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z':
			return r - 'a' + 'A'
		case 'A' <= r && r <= 'Z' || '0' <= r && r <= '9':
			return r
		default:
			return '_'
		}
	}, s)
}

// oidc are the variables by which a process asks for OIDC tokens of the job.
func oidc() []string {
	return []string{"ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN"}
}

// childEnv is the environment of the command.
func childEnv(base []string, e environment, keepOIDC bool) []string {
	gone := slices.Clone(e.drop)
	if !keepOIDC {
		gone = append(gone, oidc()...)
	}
	for _, s := range e.set {
		gone = append(gone, s.name)
	}
	out := slices.DeleteFunc(slices.Clone(base), func(pair string) bool {
		name, _, _ := strings.Cut(pair, "=")
		return slices.ContainsFunc(gone, func(g string) bool {
			return g == name || runtime.GOOS == "windows" && strings.EqualFold(g, name)
		})
	})
	for _, s := range e.set {
		out = append(out, s.name+"="+s.value.Reveal())
	}
	return out
}
