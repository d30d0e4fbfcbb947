package ledger

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/sallyport/sallyport/rules"
)

// Limits of an entry.
const (
	// MaxLeaf is the largest leaf in bytes: what an entry bundle of tlog-tiles can
	// hold.
	MaxLeaf = math.MaxUint16
	// MaxPersonal is how many personal values an entry may have.
	MaxPersonal = 64
	// MaxOpening is the largest personal value in bytes of canonical JSON.
	MaxOpening = 1 << 20

	version = 1
	maxName = 64 // bytes of the name of a personal value, of a kind
	// The largest whole number that canonical JSON keeps as it is.
	maxWhole = 1<<53 - 1
)

// Kind is what an entry records.
type Kind string

// The kinds of entries. They are stored for ever: they may be added to and never
// changed. A reader takes a kind that it does not know as it is.
const (
	// KindDecision is what a judge said.
	KindDecision Kind = "decision"
	// KindEffect is what is going to be done to the world because of a decision.
	KindEffect Kind = "effect"
	// KindOutcome is what became of an effect.
	KindOutcome Kind = "outcome"
	// KindFact is a fact that existed only in an event, or in what an operator did.
	KindFact Kind = "fact"
	// KindPolicy is a policy version that came into force, or did not.
	KindPolicy Kind = "policy"
	// KindAlert is something that should not have happened.
	KindAlert Kind = "alert"
)

// Subject is what an entry is about, by ids and never by names. Zero fields are
// left out. The fields are in the order of their names in JSON, which is the
// canonical one.
type Subject struct {
	Attempt    int                `json:"attempt,omitzero"`
	Deployment rules.DeploymentID `json:"deployment,omitzero"`
	// Environment is GitHub's name of it.
	Environment string `json:"environment,omitzero"`
	// Key is the key of an effect or of anything else that has one.
	Key         string             `json:"key,omitzero"`
	PullRequest int                `json:"pull_request,omitzero"`
	Repository  rules.RepositoryID `json:"repository,omitzero"`
	Run         rules.RunID        `json:"run,omitzero"`
	SHA         rules.SHA          `json:"sha,omitzero"`
}

// Entry is one thing to record.
type Entry struct {
	Kind Kind
	// Time is when it was so, by the facts. It is recorded in UTC to the
	// microsecond.
	Time    time.Time
	Subject Subject
	// Decision is the id of the decision that it belongs to, if any.
	Decision string
	// Payload is encoded as a JSON object and recorded in clear for everybody to
	// read. It may hold no personal data: members that are named as such ("login",
	// "email", "sender", …) and strings with an e-mail address in them are refused,
	// at any depth. Nil is none. Numbers beyond 2⁵³ are refused.
	Payload any
	// Personal are values with personal data in them, each under a name of lower
	// case letters, digits and underscores. They are committed to, see the package
	// comment.
	Personal map[string]any
}

// leaf is the form of an entry in the tree. Its fields are in the order of their
// names, so that encoding it makes canonical JSON.
type leaf struct {
	Decision string            `json:"decision,omitzero"`
	Kind     Kind              `json:"kind"`
	Payload  jsontext.Value    `json:"payload,omitzero"`
	Personal map[string]string `json:"personal,omitzero"`
	Subject  Subject           `json:"subject"`
	Time     string            `json:"time"`
	Version  int               `json:"v"`
}

// write appends a leaf with a payload, whose Payload is not looked at. It writes what
// json.Marshal would, in one go.
func (l *leaf) write(buf *bytes.Buffer, payload any) error {
	out := buf.AvailableBuffer()
	var err error
	text := func(before, s string) {
		out = append(out, before...)
		if err == nil {
			out, err = jsontext.AppendQuote(out, s)
		}
	}
	if l.Decision != "" {
		text(`{"decision":`, l.Decision)
		text(`,"kind":`, string(l.Kind))
	} else {
		text(`{"kind":`, string(l.Kind))
	}
	if payload != nil {
		buf.Write(append(out, `,"payload":`...))
		from := buf.Len()
		if err := canonical(buf, payload, impersonal); err != nil {
			return fmt.Errorf("the payload: %w", err)
		}
		if buf.Bytes()[from] != '{' {
			return errors.New("the payload is not a JSON object")
		}
		out = buf.AvailableBuffer()
	}
	if len(l.Personal) > 0 {
		before := `,"personal":{`
		for _, name := range slices.Sorted(maps.Keys(l.Personal)) { // ASCII: the order of bytes is that of UTF-16
			text(before, name)
			text(":", l.Personal[name])
			before = ","
		}
		out = append(out, '}')
	}
	out = append(out, `,"subject":{`...)
	separate := func() {
		if out[len(out)-1] != '{' {
			out = append(out, ',')
		}
	}
	number := func(name string, n int64) {
		if n != 0 {
			separate()
			out = strconv.AppendInt(append(out, name...), n, 10)
		}
	}
	number(`"attempt":`, int64(l.Subject.Attempt))
	number(`"deployment":`, int64(l.Subject.Deployment))
	if l.Subject.Environment != "" {
		separate()
		text(`"environment":`, l.Subject.Environment)
	}
	if l.Subject.Key != "" {
		separate()
		text(`"key":`, l.Subject.Key)
	}
	number(`"pull_request":`, int64(l.Subject.PullRequest))
	number(`"repository":`, int64(l.Subject.Repository))
	number(`"run":`, int64(l.Subject.Run))
	if l.Subject.SHA != "" {
		separate()
		text(`"sha":`, string(l.Subject.SHA))
	}
	text(`},"time":`, l.Time)
	buf.Write(append(strconv.AppendInt(append(out, `,"v":`...), int64(l.Version), 10), '}'))
	return err
}

// Opening is what turns a commitment into something to read.
type Opening struct {
	// Salt is 64 digits of hex.
	Salt string `json:"salt"`
	// Value is canonical JSON.
	Value jsontext.Value `json:"value"`
}

// encode appends the leaf of an entry and returns the openings beside it, which are nil
// where it has nothing personal. Equal entries and salts make equal bytes.
func encode(buf *bytes.Buffer, e Entry, random io.Reader) (openings []byte, err error) {
	l := leaf{Version: version, Kind: e.Kind, Subject: e.Subject, Decision: e.Decision}
	if !validName(string(e.Kind)) {
		return nil, fmt.Errorf("the kind %q is not lower-case letters, digits and underscores", e.Kind)
	}
	if e.Time.IsZero() || e.Time.Year() < 1 || e.Time.Year() > 9999 {
		return nil, fmt.Errorf("the time %s cannot be recorded", e.Time)
	}
	l.Time = e.Time.UTC().Truncate(time.Microsecond).Format(time.RFC3339Nano)
	for _, n := range []int64{int64(e.Subject.Attempt), int64(e.Subject.Deployment), int64(e.Subject.PullRequest), int64(e.Subject.Repository), int64(e.Subject.Run)} {
		if n < 0 || n > maxWhole {
			return nil, fmt.Errorf("the subject has the number %d", n)
		}
	}
	if len(e.Personal) > MaxPersonal {
		return nil, fmt.Errorf("%d personal values, want at most %d", len(e.Personal), MaxPersonal)
	}
	if len(e.Personal) > 0 {
		l.Personal = map[string]string{}
		opened := map[string]Opening{}
		names := make([]string, 0, len(e.Personal))
		for name := range e.Personal {
			names = append(names, name)
		}
		slices.Sort(names) // each takes its salt in turn
		for _, name := range names {
			if !validName(name) {
				return nil, fmt.Errorf("the personal value's name %q is not lower-case letters, digits and underscores", name)
			}
			var value bytes.Buffer
			if err := canonical(&value, e.Personal[name], nil); err != nil {
				return nil, fmt.Errorf("the personal value %q: %w", name, err)
			}
			if value.Len() > MaxOpening {
				return nil, fmt.Errorf("the personal value %q has %d bytes, want at most %d", name, value.Len(), MaxOpening)
			}
			var salt [saltSize]byte
			if _, err := io.ReadFull(random, salt[:]); err != nil {
				return nil, fmt.Errorf("a salt: %w", err)
			}
			l.Personal[name] = commitment(salt, name, value.Bytes())
			opened[name] = Opening{Salt: hex.EncodeToString(salt[:]), Value: value.Bytes()}
		}
		if openings, err = json.Marshal(opened, json.Deterministic(true)); err != nil {
			return nil, fmt.Errorf("openings: %w", err)
		}
	}
	from := buf.Len()
	if err := l.write(buf, e.Payload); err != nil {
		return nil, err
	}
	if size := buf.Len() - from; size > MaxLeaf {
		return nil, fmt.Errorf("an entry of %d bytes, want at most %d: what is large belongs into a personal value or behind a hash", size, MaxLeaf)
	}
	return openings, nil
}

// Record is an entry as it stands in the tree.
type Record struct {
	Kind     Kind
	Time     time.Time
	Subject  Subject
	Decision string
	// Payload is canonical JSON, nil if there is none.
	Payload jsontext.Value
	// Personal are the commitments.
	Personal map[string]string
	// Hash is the leaf's hash in the tree.
	Hash tlog.Hash
	// Leaf is the whole of it, canonical JSON.
	Leaf jsontext.Value
}

// ParseLeaf reads a leaf. It must be canonical JSON of a version that is known;
// members that are not known are left alone, since some may be added.
func ParseLeaf(data []byte) (Record, error) {
	if len(data) > MaxLeaf {
		return Record{}, fmt.Errorf("a leaf of %d bytes, want at most %d", len(data), MaxLeaf)
	}
	var l leaf
	if err := json.Unmarshal(data, &l); err != nil {
		return Record{}, fmt.Errorf("leaf: %w", err)
	}
	if l.Version != version {
		return Record{}, fmt.Errorf("a leaf of version %d, want %d", l.Version, version)
	}
	again, err := recanonical(data, nil)
	if err != nil {
		return Record{}, fmt.Errorf("leaf: %w", err)
	}
	if !bytes.Equal(again, data) {
		return Record{}, errors.New("the leaf is not in canonical form")
	}
	when, err := time.Parse(time.RFC3339Nano, l.Time)
	if err != nil {
		return Record{}, fmt.Errorf("leaf: %w", err)
	}
	if !validName(string(l.Kind)) {
		return Record{}, fmt.Errorf("a leaf of the impossible kind %q", l.Kind)
	}
	for name, c := range l.Personal {
		if raw, err := hex.DecodeString(c); err != nil || len(raw) != 32 || !validName(name) || strings.ToLower(c) != c {
			return Record{}, fmt.Errorf("leaf: %q is not the commitment of a personal value", name)
		}
	}
	return Record{
		Kind: l.Kind, Time: when, Subject: l.Subject, Decision: l.Decision,
		Payload: l.Payload, Personal: l.Personal, Hash: tlog.RecordHash(data), Leaf: data,
	}, nil
}

func validName(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return s != "" && len(s) <= maxName
}

// canonical appends a value as RFC 8785 says. Strings are shown to look, if it is
// not nil, members' names with member set.
func canonical(buf *bytes.Buffer, v any, look func(text []byte, member bool) error) error {
	from := buf.Len()
	if err := json.MarshalWrite(buf, v, json.Deterministic(true)); err != nil {
		return err
	}
	raw := buf.Bytes()[from:]
	if plain, err := inspect(raw, look); plain || err != nil {
		return err
	}
	again, err := recanonical(raw, look)
	if err != nil {
		return err
	}
	buf.Truncate(from)
	buf.Write(again)
	return nil
}

// inspect shows look the strings of JSON that json.Marshal wrote, and reports
// whether it is plain: as RFC 8785 wants it already. It gives up at what needs more
// than a look at the bytes: escapes, names beyond ASCII or out of order, and numbers
// that are not small and whole.
func inspect(raw []byte, look func(text []byte, member bool) error) (plain bool, err error) {
	if bytes.IndexByte(raw, '\\') >= 0 {
		return false, nil
	}
	var before [16][]byte // the last name at each depth
	depth := 0
	for i := 0; i < len(raw); {
		switch c := raw[i]; {
		case c == '{' || c == '[':
			if depth++; depth == len(before) {
				return false, nil
			}
			before[depth] = nil
			i++
		case c == '}' || c == ']':
			depth--
			i++
		case c == '"':
			text := raw[i+1:]
			text = text[:bytes.IndexByte(text, '"')]
			i += len(text) + 2
			member := i < len(raw) && raw[i] == ':'
			if member {
				if len(before[depth]) > 0 && bytes.Compare(before[depth], text) >= 0 || !ascii(text) {
					return false, nil
				}
				before[depth] = text
			}
			if look != nil {
				if err := look(text, member); err != nil {
					return false, err
				}
			}
		case c == '-' || '0' <= c && c <= '9':
			end := i + 1
			for end < len(raw) && raw[end] >= '0' && raw[end] <= '9' {
				end++
			}
			if end-i > 15 || c == '-' || end < len(raw) && strings.IndexByte(",]}", raw[end]) < 0 {
				return false, nil
			}
			i = end
		default: // , : and the letters of true, false and null
			i++
		}
	}
	return true, nil
}

func ascii(s []byte) bool {
	for _, c := range s {
		if c >= 0x80 {
			return false
		}
	}
	return true
}

// recanonical brings JSON into the form of RFC 8785. That form has no room for
// large numbers, and they are refused rather than rounded.
func recanonical(raw []byte, look func(text []byte, member bool) error) (jsontext.Value, error) {
	d := jsontext.NewDecoder(bytes.NewBuffer(raw))
	for {
		tok, err := d.ReadToken()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		switch tok.Kind() {
		case '0':
			// A fraction may become whole: 9007199254740993.4 has no place either.
			if n, err := strconv.ParseFloat(tok.String(), 64); err != nil || n > maxWhole || n < -maxWhole {
				return nil, fmt.Errorf("the number %s is beyond 2⁵³", tok.String())
			}
		case '"':
			if look == nil {
				continue
			}
			kind, n := d.StackIndex(d.StackDepth())
			if err := look([]byte(tok.String()), kind == '{' && n%2 == 1); err != nil {
				return nil, err
			}
		default: // nothing to look at
		}
	}
	v := jsontext.Value(bytes.Clone(raw))
	if err := v.Canonicalize(); err != nil {
		return nil, err
	}
	return v, nil
}
