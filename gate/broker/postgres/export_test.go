package postgres

import (
	"time"

	"github.com/sallyport/sallyport/gate/broker"
)

// Check tells tests whether a target may lead to an address, as "IP:port".
func Check(private, plain bool, address string) error {
	return reach{private: private, inside: plain}.check(address)
}

// Verifier tells tests what the server would store of a password.
func Verifier(password string, salt []byte, iterations int) (string, error) {
	return scramVerifier(password, salt, iterations)
}

// Values parses an address and tells tests what a job would get of it.
func Values(address string) (map[string]string, error) {
	a, err := parseAddress(address)
	if err != nil {
		return nil, err
	}
	return a.values("bob", "b/o@b"), nil
}

// Creation tells tests the statements that make a role.
func Creation(l broker.Lease, group string) string {
	return creation(l, rolePrefix+l.ID, group, "verifier", time.Unix(0, 0), time.Hour, true)
}

// Deadline reads a comment.
func Deadline(l broker.Lease) (time.Time, bool) { return deadline(comment(l)) }

// CheckGroup tells tests whether a group's name can be used.
func CheckGroup(name string) error { return checkGroup(name) }
