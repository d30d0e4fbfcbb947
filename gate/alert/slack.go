package alert

import (
	"strings"
	"time"
	"unicode/utf16"
)

// maxBlock is how long the text of a block may be
// (https://docs.slack.dev/reference/block-kit/blocks/section-block). It is counted in
// UTF-16 units, the most that a character can be meant to be.
const maxBlock = 3000

// slackMessage is the body for an incoming webhook
// (https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks).
type slackMessage struct {
	// Text is what a notification shows, and what is shown where blocks are not.
	Text string `json:"text"`
	// Parse and LinkNames say that names in Text mention nobody.
	Parse     string       `json:"parse"`
	LinkNames bool         `json:"link_names"`
	Unfurl    bool         `json:"unfurl_links"`
	Media     bool         `json:"unfurl_media"`
	Blocks    []slackBlock `json:"blocks"`
}

type slackBlock struct {
	Type     string      `json:"type"`
	Text     *slackText  `json:"text,omitempty"`
	Elements []slackText `json:"elements,omitempty"`
}

type slackText struct {
	Type string `json:"type"`
	Text string `json:"text"`
	// Verbatim says that names and addresses in the text stay text.
	Verbatim bool `json:"verbatim"`
}

func mrkdwn(text string) slackText { return slackText{Type: "mrkdwn", Text: text, Verbatim: true} }

func section(text string) slackBlock {
	t := mrkdwn(text)
	return slackBlock{Type: "section", Text: &t}
}

// slack is the body for a Slack incoming webhook: the title, the text, a link, and
// what it is about, each in a block of its own, so that marks in one do not reach
// into another.
func slack(m Message) ([]byte, error) {
	m = m.tidy()
	icon := ":rotating_light:"
	if m.Kind == KindWaits {
		icon = ":hourglass_flowing_sand:"
	}
	title := slackEscape(m.Title, maxBlock-100)
	out := slackMessage{Text: icon + " " + title, Parse: "none", Blocks: []slackBlock{section(icon + " " + title)}}
	if m.Text != "" {
		out.Blocks = append(out.Blocks, section(slackEscape(m.Text, maxBlock)))
	}
	if m.URL != "" {
		out.Blocks = append(out.Blocks, section("<"+strings.ReplaceAll(m.URL, "&", "&amp;")+"|Look at it>"))
	}
	var about []string
	add := func(text string) {
		if text != "" {
			about = append(about, text)
		}
	}
	add(m.Repository)
	add(m.Environment)
	add(strings.Join(m.Who, ", "))
	add(m.Code)
	add(m.At.Format(time.RFC3339))
	out.Blocks = append(out.Blocks, slackBlock{
		Type: "context", Elements: []slackText{mrkdwn(slackEscape(strings.Join(about, " · "), maxBlock))},
	})
	return encode(out)
}

// slackEscape writes foreign text so that it is text: "&", "<" and ">" as entities
// (https://docs.slack.dev/messaging/formatting-message-text#escaping), without which
// there is no link and no mention. The names that address a whole channel are broken
// by a character that cannot be seen, for clients that link names by themselves. It
// is at most limit UTF-16 units long, and no entity is cut in two.
//
// Known gap: "*", "_", "~" and "`" have no escape, so that foreign text can look bold
// or like code, within its own block.
func slackEscape(s string, limit int) string {
	var out strings.Builder
	units, short := 0, 0 // short is where the text ends if it must be cut
	for i, r := range s {
		piece := string(r)
		switch r {
		case '&':
			piece = "&amp;"
		case '<':
			piece = "&lt;"
		case '>':
			piece = "&gt;"
		case '@':
			if addressesAll(s[i+1:]) {
				piece = "@\u2060"
			}
		}
		for _, p := range piece {
			units += utf16.RuneLen(p)
		}
		if units > limit {
			return out.String()[:short] + "…"
		}
		out.WriteString(piece)
		if units < limit {
			short = out.Len()
		}
	}
	return out.String()
}

// addressesAll reports whether text after an "@" begins with a name that stands for
// everybody.
func addressesAll(rest string) bool {
	for _, name := range []string{"channel", "here", "everyone"} {
		if len(rest) >= len(name) && strings.EqualFold(rest[:len(name)], name) {
			return true
		}
	}
	return false
}
