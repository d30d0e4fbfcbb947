package alert_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/sallyport/sallyport/gate/alert"
)

// slackBodies returns a function that sends a message to a Slack target and returns
// the body that arrived.
func slackBodies(t testing.TB) func(alert.Message) string {
	t.Helper()
	r := receive(t, nil)
	all := targets(t, "", private)
	all.Alerts["ops"].Webhook, all.Alerts["ops"].Slack = nil, urlFile(t, r.URL+"/"+secret)
	s := newSender(t, all, alert.Config{Roots: r.roots()})
	return func(m alert.Message) string {
		if err := s.Send(context.Background(), "ops", m); err != nil {
			t.Fatal(err)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.bodies[len(r.bodies)-1]
	}
}

type slackBody struct {
	Text      string `json:"text"`
	Parse     string `json:"parse"`
	LinkNames bool   `json:"link_names"`
	Blocks    []struct {
		Type     string     `json:"type"`
		Text     slackWords `json:"text"`
		Elements []slackWords
	} `json:"blocks"`
}

type slackWords struct {
	Type, Text string
	Verbatim   bool
}

func read(t *testing.T, text string) slackBody {
	t.Helper()
	var b slackBody
	if err := json.Unmarshal([]byte(text), &b); err != nil {
		t.Fatal(err)
	}
	return b
}

// words are all texts of a body.
func (b slackBody) words() []slackWords {
	out := []slackWords{{Type: "mrkdwn", Text: b.Text, Verbatim: true}}
	for _, x := range b.Blocks {
		if x.Text.Type != "" {
			out = append(out, x.Text)
		}
		out = append(out, x.Elements...)
	}
	return out
}

func TestSlack(t *testing.T) {
	const want = `{"text":":rotating_light: a job of production started although nothing released it","parse":"none","link_names":false,"unfurl_links":false,"unfurl_media":false,` +
		`"blocks":[{"type":"section","text":{"type":"mrkdwn","text":":rotating_light: a job of production started although nothing released it","verbatim":true}},` +
		`{"type":"section","text":{"type":"mrkdwn","text":"deploy.yml, run 77: nobody approved it.\nFind out who started it.","verbatim":true}},` +
		`{"type":"section","text":{"type":"mrkdwn","text":"<https://github.com/acme/orders/actions/runs/77|Look at it>","verbatim":true}},` +
		`{"type":"context","elements":[{"type":"mrkdwn","text":"acme/orders · production · alice, bob · SP540 · 2026-03-01T12:00:00Z","verbatim":true}]}]}`
	body := slackBodies(t)
	got := body(message())
	if got != want {
		t.Errorf("sent %s, want %s", got, want)
	}
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "alerts.md"))
	if err != nil || !strings.Contains(string(page), want) {
		t.Errorf("docs/alerts.md does not show what was sent: %v", err)
	}
	m := message()
	m.Kind, m.Text, m.URL, m.Environment, m.Who = alert.KindWaits, "", "", "", nil
	if b := read(t, body(m)); len(b.Blocks) != 2 || !strings.HasPrefix(b.Text, ":hourglass_flowing_sand: ") || b.Blocks[1].Elements[0].Text != "acme/orders · SP540 · 2026-03-01T12:00:00Z" {
		t.Errorf("a short one: %+v", b)
	}
}

// Foreign text in any member makes no link and mentions nobody.
func TestSlackInjection(t *testing.T) {
	body := slackBodies(t)
	for _, foreign := range []string{
		"<!channel>", "<!here>", "<!everyone>", "<!subteam^S012|ops>", "<@U012AB3CD>", "<#C012|general>", "<https://example.com|click>", "<mailto:eve@example.com|x>",
		"<!date^1|{date}^https://example.com|x>", "&lt;!channel&gt;", "&amp;lt;!channel>", "<\u200b!channel>", "<\x00!channel>", "\ufeff<!channel>",
		"@channel", "@here", "@Everyone", "@\u200bchannel", "x|y>z<", "\u202e>lennahc!<", "a\r\n<!channel>", string([]byte{'<', 0xff, '!', 'c', '>'}),
	} {
		m := message()
		m.Code, m.Title, m.Text, m.Repository, m.Environment, m.Who = foreign+"1", foreign+"2", foreign+"3", foreign+"4", foreign+"5", []string{foreign + "6"}
		sent := body(m)
		b := read(t, sent)
		if b.Parse != "none" || b.LinkNames {
			t.Errorf("names are linked in %s", sent)
		}
		for _, w := range b.words() {
			if w.Type != "mrkdwn" || !w.Verbatim {
				t.Errorf("%q is read as %q, verbatim %t", w.Text, w.Type, w.Verbatim)
			}
			text := strings.ReplaceAll(w.Text, "<https://github.com/acme/orders/actions/runs/77|Look at it>", "")
			if strings.ContainsAny(text, "<>\x00\r\u200b\u202e\ufeff") {
				t.Errorf("%q is shown as %q", foreign, text)
			}
			bare := strings.NewReplacer("&amp;", "", "&lt;", "", "&gt;", "").Replace(text)
			if strings.Contains(bare, "&") {
				t.Errorf("%q is shown as %q", foreign, text)
			}
			for _, all := range []string{"@channel", "@here", "@everyone"} {
				if strings.Contains(strings.ToLower(text), all) {
					t.Errorf("%q is shown as %q", foreign, text)
				}
			}
		}
		for _, n := range []string{"1", "2", "3", "4", "5", "6"} {
			if !strings.Contains(sent, n) {
				t.Errorf("%q lost its member %s in %s", foreign, n, sent)
			}
		}
	}
	for _, url := range []string{
		"javascript:alert(1)", "https://example.com/x|y", "https://example.com/>x", "https://example.com/<!channel>", "https://example.com/a b", "https://", "//example.com",
		"https://example.com/\n", "https://example.com/\u202e", "https://example.com/" + strings.Repeat("x", 3000), "data:text/html,x", "HTTPS://example.com", `https://example.com/"`,
	} {
		m := message()
		m.URL = url
		if sent := body(m); strings.Contains(sent, "Look at it") || strings.Contains(sent, "example.com") {
			t.Errorf("%q became a link: %s", url, sent)
		}
	}
	m := message()
	m.URL = "https://example.com/?a=1&b=2"
	if sent := body(m); !strings.Contains(sent, "<https://example.com/?a=1&amp;b=2|Look at it>") {
		t.Errorf("the link is %s", sent)
	}
}

func TestSlackLimits(t *testing.T) {
	body := slackBodies(t)
	for _, r := range []string{"x", "&", "é", "\U0001f680", "<&>", "@channel "} {
		for _, n := range []int{100, 599, 600, 749, 750, 1499, 1500, 2999, 3000, 3001, 7999, 8000, 8001, 100_000} {
			m := message()
			m.Title, m.Text, m.Repository, m.Environment = strings.Repeat(r, n), strings.Repeat(r, n), strings.Repeat(r, n), strings.Repeat(r, n)
			m.Who = make([]string, 200)
			for i := range m.Who {
				m.Who[i] = strings.Repeat(r, n)
			}
			for _, w := range read(t, body(m)).words() {
				if len(utf16.Encode([]rune(w.Text))) > 3000 {
					t.Errorf("%d times %q: a block of %d", n, r, len(utf16.Encode([]rune(w.Text))))
				}
				if bare := strings.NewReplacer("&amp;", "", "&lt;", "", "&gt;", "", "Look at it>", "").Replace(w.Text); strings.ContainsAny(bare, "&") {
					t.Errorf("%d times %q: an entity is cut in %q", n, r, w.Text[len(w.Text)-20:])
				}
			}
		}
	}
	// What fits is whole, and what does not shows it.
	for n, want := range map[int]bool{3000: true, 3001: false} {
		m := message()
		m.Text = strings.Repeat("x", n)
		text := read(t, body(m)).Blocks[1].Text.Text
		if whole := text == m.Text; whole != want || whole == strings.HasSuffix(text, "…") {
			t.Errorf("%d characters: %d shown, ending in %q", n, len(text), text[len(text)-5:])
		}
	}
	// A generic webhook has limits too.
	r := receive(t, nil)
	m := message()
	m.Title, m.Text, m.Who = strings.Repeat("\U0001f680", 1<<20), strings.Repeat("<", 1<<20), make([]string, 1<<16)
	if err := newSender(t, targets(t, r.URL+"/"+secret, private), alert.Config{Roots: r.roots()}).Send(t.Context(), "ops", m); err != nil || len(r.bodies[0]) > 64<<10 {
		t.Errorf("%v, %d bytes", err, len(r.bodies[0]))
	}
}

// FuzzSlack looks for text that gets out of being text.
func FuzzSlack(f *testing.F) {
	body := slackBodies(f)
	f.Add("<!channel>", "https://example.com/")
	f.Add("&", "https://example.com/|x>")
	f.Fuzz(func(t *testing.T, text, url string) {
		m := message()
		m.Text, m.Repository, m.URL = text, text, url
		for _, w := range read(t, body(m)).words() {
			if link, ok := strings.CutSuffix(w.Text, "|Look at it>"); ok && w.Text[0] == '<' {
				w.Text = link[1:]
			}
			if strings.ContainsAny(w.Text, "<>") {
				t.Errorf("%q and %q are shown as %q", text, url, w.Text)
			}
		}
	})
}
