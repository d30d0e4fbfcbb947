package postgres

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/sallyport/sallyport/gate/broker"
)

// The form of a lease's role and of its comment is stored in databases and may never
// change: what an older broker made must be found by a newer one.
const (
	rolePrefix    = "sallyport_"
	commentPrefix = "sallyport lease "
	// ours is the condition for a row r of pg_roles to be the role of a lease.
	ours = `r.rolname ~ '^sallyport_[0-9a-f]{32}$' AND shobj_description(r.oid, 'pg_authid') LIKE 'sallyport lease %'`
)

func isLeaseID(s string) bool {
	return len(s) == 32 && strings.Trim(s, "0123456789abcdef") == ""
}

func isLeaseRole(name string) bool {
	id, ok := strings.CutPrefix(name, rolePrefix)
	return ok && isLeaseID(id)
}

// roleName is the name of a lease's role.
func roleName(l broker.Lease) (string, error) {
	if !isLeaseID(l.ID) {
		return "", fmt.Errorf("the lease's id %.40q is not 32 lower-case hex digits", l.ID)
	}
	return rolePrefix + l.ID, nil
}

// comment is what stands at the role, for who looks at the database and for
// [Provider.Sweep]. It has numbers only: names come from outside.
func comment(l broker.Lease) string {
	return fmt.Sprintf("%s%s until %s, repository %d, run %d, attempt %d, job %d",
		commentPrefix, l.ID, l.Deadline.UTC().Format(time.RFC3339), l.Repository, l.Run, l.Attempt, l.Job)
}

// deadline reads the deadline of a comment, by the broker's clock.
func deadline(comment string) (time.Time, bool) {
	m := regexp.MustCompile(`^` + commentPrefix + `[0-9a-f]{32} until (\S+),`).FindStringSubmatch(comment)
	if m == nil {
		return time.Time{}, false
	}
	t, err := time.Parse(time.RFC3339, m[1])
	return t, err == nil
}
