package rules

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// LoadTargets parses and checks a targets file; name is what problems call it.
// The result is nil if any problem is an error. Problems are sorted by position.
func LoadTargets(name string, data []byte) (*Targets, []Problem) {
	f := newFile(name, data)
	var t Targets
	if f.decode(&t) {
		lintTargets(f, &t)
	}
	if f.failed() {
		return nil, f.sorted()
	}
	t.loaded = true
	return &t, f.sorted()
}

func lintTargets(f *file, t *Targets) {
	for _, name := range slices.Sorted(maps.Keys(t.Targets)) {
		lintTarget(f, name, t.Targets[name])
	}
	for _, name := range slices.Sorted(maps.Keys(t.Alerts)) {
		field := child("alerts", name)
		if err := checkName(name); err != nil {
			f.wrongKey(field, "alert address %s: %s", quote(name), err)
		}
		lintOneOf(f, field, "alert address "+quote(name), []string{"slack", "webhook"})
	}
}

func lintTarget(f *file, name string, t *Target) {
	field := child("targets", name)
	at := func(key string) string { return child(field, key) }
	if err := checkName(name); err != nil {
		f.wrongKey(field, "target %s: %s", quote(name), err)
	}
	if t.UnattendedRead && t.Tier != TierAuto {
		f.wrong(at("unattended_read"), "unattended_read needs tier: auto: a human target always needs a human's grant")
	}
	for i, env := range t.Environments {
		if err := checkEnvironmentName(env); err != nil {
			f.wrong(entry(at("environments"), i), "GitHub environment %s: want its plain name, not a pattern", quote(env))
		}
	}
	if time.Duration(t.TTL) > maxTargetTTL {
		f.wrong(at("ttl"), "a token that is used without an exchange lives 10m at most, not %s", duration(t.TTL))
	}
	lintOneOf(f, field, "target "+quote(name), []string{"token", "postgres", "aws", "github"})
	if t.AWS != nil {
		if !isRoleARN(t.AWS.Role) {
			f.wrong(child(at("aws"), "role"), "%s is no role: want one like %q", quote(t.AWS.Role), "arn:aws:iam::123456789012:role/name")
		}
		if !isToken(t.AWS.Region, 32, "-") || !strings.Contains(t.AWS.Region, "-") || strings.ToLower(t.AWS.Region) != t.AWS.Region {
			f.wrong(child(at("aws"), "region"), "%s is no region: want one like %q", quote(t.AWS.Region), "eu-west-1")
		}
	}
	if t.GitHub != nil {
		for _, p := range slices.Sorted(maps.Keys(t.GitHub.Permissions)) {
			where := child(child(at("github"), "permissions"), p)
			if !isToken(p, 64, "_") || strings.ToLower(p) != p {
				f.wrongKey(where, "permission %s: want GitHub's name for it, like contents", quote(p))
			}
			if v := t.GitHub.Permissions[p]; v != "read" && v != "write" && v != "admin" {
				f.wrong(where, "unknown value %s for permission %s: %s", quote(v), quote(p), wanted(v, []string{"read", "write", "admin"}))
			}
		}
	}
}

// lintOneOf requires that exactly one of some keys is there.
func lintOneOf(f *file, field, what string, keys []string) {
	var given []string
	for _, k := range keys {
		if _, ok := f.marks[child(field, k)]; ok {
			given = append(given, k)
		}
	}
	switch {
	case len(given) == 0:
		f.wrongKey(field, "%s leads nowhere: want exactly one of %s", what, strings.Join(keys, ", "))
	case len(given) > 1:
		f.wrongKey(field, "%s has %s: want exactly one of these", what, strings.Join(given, " and "))
	}
}

// isRoleARN reports whether s names an IAM role in any partition
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html).
func isRoleARN(s string) bool {
	parts := strings.SplitN(s, ":", 6)
	if len(parts) != 6 {
		return false
	}
	name, isRole := strings.CutPrefix(parts[5], "role/")
	return parts[0] == "arn" && strings.HasPrefix(parts[1], "aws") && parts[2] == "iam" && parts[3] == "" &&
		len(parts[4]) == 12 && strings.Trim(parts[4], "0123456789") == "" && isRole && name != "" && !strings.Contains(name, "*")
}
