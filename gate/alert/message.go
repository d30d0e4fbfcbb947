package alert

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/sallyport/sallyport/rules"
)

// The kinds of messages. They are shown to machines: they may be added to and never
// changed.
const (
	// KindWaits is for something that waits for a person.
	KindWaits = "waits"
	// KindAlert is for something unexpected.
	KindAlert = "alert"
)

const (
	maxTitle = 200   // runes: a line
	maxText  = 8_000 // runes: what people read of an alert, and much more
	maxWord  = 300   // runes, of a code, a name or a login
	maxURL   = 2_000 // bytes
	maxWho   = 50    // people
)

// Message is what people are told. Its JSON is what a generic webhook gets: members
// may be added and are never changed.
type Message struct {
	// Code is the stable name of what happened, such as a reason's code.
	Code string `json:"code"`
	// Title is one line, Text what there is to know and to do. Both may quote what
	// strangers wrote.
	Title string `json:"title"`
	Text  string `json:"text"`
	// URL is where to look; "" is nowhere.
	URL string `json:"url"`
	// Repository is the name for people, RepositoryID decides.
	Repository   string             `json:"repository"`
	RepositoryID rules.RepositoryID `json:"repository_id"`
	// Environment is GitHub's; "" if it is about none.
	Environment string `json:"environment"`
	// Who it concerns, by login.
	Who []string  `json:"who"`
	At  time.Time `json:"at"`
	// Kind is [KindWaits] or [KindAlert].
	Kind string `json:"kind"`
}

// valid reports what keeps a message from being sent.
func (m Message) valid() error {
	switch {
	case m.Kind != KindWaits && m.Kind != KindAlert:
		return fmt.Errorf("a message of the kind %q: want %q or %q", m.Kind, KindWaits, KindAlert)
	case m.Code == "" || strings.TrimSpace(m.Title) == "":
		return errors.New("a message without a code or a title")
	case m.RepositoryID <= 0 || m.At.IsZero():
		return fmt.Errorf("a message about the repository %d at %s", m.RepositoryID, m.At)
	}
	return nil
}

// tidy is the message in its limits, without what hides or reorders text.
func (m Message) tidy() Message {
	m.Code, m.Repository, m.Environment = line(m.Code, maxWord), line(m.Repository, maxWord), line(m.Environment, maxWord)
	m.Title, m.Text = line(m.Title, maxTitle), strings.TrimSpace(cut(plain(head(m.Text, maxText)), maxText))
	who := make([]string, 0, min(len(m.Who), maxWho)) // [] in JSON, never null
	for _, w := range m.Who[:min(len(m.Who), maxWho)] {
		who = append(who, line(w, maxWord))
	}
	m.Who, m.At = who, m.At.UTC()
	if !linkable(m.URL) {
		m.URL = ""
	}
	return m
}

// plain takes out of foreign text what is not text: control characters but line
// breaks and tabs, and characters that turn the direction or cannot be seen.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return r
		case r == utf8.RuneError || unicode.IsControl(r), unicode.In(r, unicode.Zl, unicode.Zp):
			return ' '
		case unicode.Is(unicode.Cf, r):
			return -1
		}
		return r
	}, s)
}

// line is foreign text on one line, at most limit runes.
func line(s string, limit int) string {
	return cut(strings.Join(strings.Fields(plain(head(s, limit))), " "), limit)
}

// head is as much of a text as is worth looking at for a number of runes: a stranger's
// megabytes are not.
func head(s string, limit int) string {
	if most := 16 * limit; len(s) > most {
		return s[:most] + "…"
	}
	return s
}

// cut shortens to at most limit runes, and shows that it did.
func cut(s string, limit int) string {
	n := 0
	for i := range s {
		if n++; n == limit {
			if utf8.RuneCountInString(s[i:]) <= 1 {
				return s
			}
			return s[:i] + "…"
		}
	}
	return s
}

// linkable reports whether an address can stand in a link as it is: http or https,
// and no character that ends a link or that an address does not have.
func linkable(s string) bool {
	rest, ok := strings.CutPrefix(s, "https://")
	if !ok {
		rest, ok = strings.CutPrefix(s, "http://")
	}
	return ok && rest != "" && len(s) <= maxURL && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune("<>|\"\\^`{}", r)
	})
}

// webhook is the body for a generic webhook: the message as JSON.
func webhook(m Message) ([]byte, error) { return encode(m.tidy()) }

// encode is JSON on one line that stands as it is where "<" has no meaning.
func encode(x any) ([]byte, error) {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(x); err != nil {
		return nil, fmt.Errorf("writing a message: %w", err)
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}
