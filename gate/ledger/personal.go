package ledger

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

const (
	saltSize = 32
	// The first bytes of what a commitment hashes. They never change.
	commitDomain = "sallyport ledger personal v1\n"
)

// commitment hides a personal value behind its salt.
func commitment(salt [saltSize]byte, name string, value jsontext.Value) string {
	h := sha256.New()
	h.Write([]byte(commitDomain))
	h.Write(salt[:])
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(name))))
	h.Write([]byte(name))
	h.Write(value)
	return hex.EncodeToString(h.Sum(nil))
}

// Check reports whether an opening opens the commitment of a name.
func (o Opening) Check(name, committed string) error {
	raw, err := hex.DecodeString(o.Salt)
	if err != nil || len(raw) != saltSize {
		return fmt.Errorf("the salt of %q is not %d bytes of hex", name, saltSize)
	}
	value, err := recanonical(o.Value, nil)
	if err != nil {
		return fmt.Errorf("the value of %q: %w", name, err)
	}
	if commitment([saltSize]byte(raw), name, value) != committed {
		return fmt.Errorf("the value of %q is not the one committed to", name)
	}
	return nil
}

// ParseOpenings reads the openings of one entry as a store keeps them. Nothing is
// no openings.
func ParseOpenings(data []byte) (map[string]Opening, error) {
	if len(data) == 0 {
		return nil, nil
	}
	var out map[string]Opening
	if err := json.Unmarshal(data, &out); err != nil {
		return nil, fmt.Errorf("openings: %w", err)
	}
	return out, nil
}

// EraseTx is the caller's transaction as erasing needs it.
type EraseTx interface {
	// LedgerOpenings returns the openings of an entry, nil if there are none.
	LedgerOpenings(index int64) ([]byte, error)
	// SetLedgerOpenings replaces them; nil removes them. What stood there before
	// must not stay readable in the store.
	SetLedgerOpenings(index int64, openings []byte) error
}

// Erase removes the openings of the named personal values of an entry, or all of
// them if no name is given. What is erased already stays so.
func Erase(tx EraseTx, index int64, names ...string) error {
	data, err := tx.LedgerOpenings(index)
	if err != nil {
		return fmt.Errorf("erasing from entry %d: %w", index, err)
	}
	opened, err := ParseOpenings(data)
	if err != nil {
		return fmt.Errorf("erasing from entry %d: %w", index, err)
	}
	for _, name := range names {
		delete(opened, name)
	}
	data = nil
	if len(names) > 0 && len(opened) > 0 {
		if data, err = json.Marshal(opened, json.Deterministic(true)); err != nil {
			return fmt.Errorf("erasing from entry %d: %w", index, err)
		}
	}
	if err := tx.SetLedgerOpenings(index, data); err != nil {
		return fmt.Errorf("erasing from entry %d: %w", index, err)
	}
	return nil
}

// impersonal refuses what looks like personal data in clear.
func impersonal(text []byte, member bool) error {
	if member && personalMember(string(text)) {
		return fmt.Errorf("the member %q is of a person: it belongs into Personal", text)
	}
	if bytes.IndexByte(text, '@') >= 0 && hasAddress(string(text)) {
		return fmt.Errorf("%q has an e-mail address in it: it belongs into Personal", text)
	}
	return nil
}

// personalMember says whether a member of an object is named like one that holds
// a person.
func personalMember(name string) bool {
	name = strings.ToLower(name)
	for _, end := range []string{"login", "logins", "email", "emails", "username", "usernames", "display_name"} {
		if rest, ok := strings.CutSuffix(name, end); ok && (rest == "" || rest[len(rest)-1] == '_') {
			return true
		}
	}
	switch name {
	case "user", "users", "actor", "actors", "author", "authors", "committer", "sender", "pusher", "pushers", "last_pusher",
		"approver", "approvers", "reviewer", "reviewers", "dispatcher", "rerunner", "requester", "assignee", "assignees",
		"co_authors", "approved", "approved_by", "full_name", "owner", "evidence", "authorship", "needs", "reasons":
		return true
	}
	return false
}

// hasAddress finds what looks like an e-mail address: something, an at sign, and a
// host with a dot. A team (@acme/sre) is none.
func hasAddress(s string) bool {
	for i, c := range s {
		if c != '@' || i == 0 {
			continue
		}
		if before := s[i-1]; strings.IndexByte(" \t\r\n<>(),;:\"'`", before) >= 0 {
			continue
		}
		host := s[i+1:]
		if end := strings.IndexFunc(host, func(r rune) bool {
			return r != '.' && r != '-' && (r < '0' || r > '9') && (r|0x20 < 'a' || r|0x20 > 'z') && r < 0x80
		}); end >= 0 {
			host = host[:end]
		}
		if dot := strings.IndexByte(host, '.'); dot > 0 && dot < len(host)-1 {
			return true
		}
	}
	return false
}
