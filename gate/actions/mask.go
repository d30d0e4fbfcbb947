package actions

import (
	"encoding/base64"
	"encoding/hex"
	"net/url"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/sethvargo/go-githubactions"
)

// minLine is the shortest line of a text of several that is masked by itself: a lone
// brace masked would leave nothing of the log to read.
const minLine = 4

// Mask has the runner show *** in the place of each value, of each of its lines, and of
// the forms in which programs write such a value down: in an address, as base64, as hex,
// in JSON. It comes before anything else that is done with them.
func (j *Job) Mask(values ...Secret) error {
	for _, m := range masks(values) {
		err := try("masking", func() { j.act.IssueCommand(&githubactions.Command{Name: "add-mask", Message: m}) })
		if err != nil {
			return err
		}
	}
	return nil
}

// masks are the texts that the runner is to hide, each once.
func masks(values []Secret) []string {
	var out []string
	seen := map[string]bool{}
	add := func(s string) {
		if strings.TrimSpace(s) != "" && !seen[s] {
			seen[s] = true
			out = append(out, s)
		}
	}
	for _, v := range values {
		text := v.Reveal()
		lines := strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' })
		if len(lines) == 1 {
			add(text)
			add(strings.TrimSpace(text))
		}
		for _, l := range lines {
			if l = strings.TrimSpace(l); len(lines) > 1 && len(l) >= minLine {
				add(l)
			}
		}
		for _, form := range forms(text) {
			add(form)
		}
	}
	return out
}

// forms are the ways in which programs write a value down.
func forms(text string) []string {
	if len(strings.TrimSpace(text)) < minLine {
		return nil
	}
	b := []byte(text)
	out := []string{
		url.QueryEscape(text), url.PathEscape(text), strings.TrimPrefix(url.UserPassword("", text).String(), ":"),
		base64.StdEncoding.EncodeToString(b), base64.RawStdEncoding.EncodeToString(b),
		base64.URLEncoding.EncodeToString(b), base64.RawURLEncoding.EncodeToString(b),
		hex.EncodeToString(b),
	}
	if quoted, err := json.Marshal(text); err == nil {
		out = append(out, strings.Trim(string(quoted), `"`))
	}
	return out
}
