package rules_test

import (
	"bytes"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/sallyport/sallyport/rules"
)

// trailerMessages are messages and their trailers. The differential test below
// asks git about them too.
var trailerMessages = []struct {
	name, message string
	want          []rules.Trailer
}{
	{"none", "Add retry", nil},
	{"the subject is none", "Fix: add retry", nil},
	{"the first paragraph is none", "Add retry\nSigned-off-by: Mona <m@example.com>", nil},
	{"one", "Add retry\n\nSigned-off-by: Mona <m@example.com>\n", []rules.Trailer{{"Signed-off-by", "Mona <m@example.com>"}}},
	{"only the last paragraph", "Add retry\n\nReviewed-by: A\n\nAcked-by: B\n", []rules.Trailer{{"Acked-by", "B"}}},
	{"a paragraph of prose after it", "Add retry\n\nAcked-by: B\n\nThat is all.\n", nil},
	{"a quarter is enough beside git's own", "Add retry\n\nSigned-off-by: Mona\none\ntwo\nthree\n", []rules.Trailer{{"Signed-off-by", "Mona"}}},
	{"less than a quarter is not", "Add retry\n\nSigned-off-by: Mona\none\ntwo\nthree\nfour\n", nil},
	{"prose beside others' trailers", "Add retry\n\nAcked-by: B\none\n", nil},
	{"cherry-picked", "Add retry\n\nAcked-by: B\none\n(cherry picked from commit 0123)\n", []rules.Trailer{{"Acked-by", "B"}}},
	{"folded", "Add retry\n\nAcked-by: B\n  and\n\t C\n", []rules.Trailer{{"Acked-by", "B and C"}}},
	{"an indented line continues only a trailer", "Add retry\n\nSigned-off-by: Mona\nprose\n  more\nAcked-by: B\n", []rules.Trailer{{"Signed-off-by", "Mona"}, {"Acked-by", "B"}}},
	{"space before the separator", "Add retry\n\nAcked-by : B\n", []rules.Trailer{{"Acked-by", "B"}}},
	{"two words are no key", "Add retry\n\nAcked by: B\n", nil},
	{"other separators", "Add retry\n\nAcked-by=B\nFixes #12\n", nil},
	{"no key", "Add retry\n\n: B\n", nil},
	{"an empty value", "Add retry\n\nAcked-by:\n", []rules.Trailer{{"Acked-by", ""}}},
	{"a comment in it", "Add retry\n\nAcked-by: B\n# Acked-by: C\nAcked-by: D\n", []rules.Trailer{{"Acked-by", "B"}, {"Acked-by", "D"}}},
	{"comments after it", "Add retry\n\nAcked-by: B\n\n# Please enter\n# a message\n", []rules.Trailer{{"Acked-by", "B"}}},
	{"conflicts after it", "Add retry\n\nAcked-by: B\n\nConflicts:\n\ta.go\n\tb.go\n", []rules.Trailer{{"Acked-by", "B"}}},
	{"scissors", "Add retry\n\nAcked-by: B\n# ------------------------ >8 ------------------------\nAcked-by: C\n", []rules.Trailer{{"Acked-by", "B"}}},
	{"a divider is none in a commit", "Add retry\n\nAcked-by: B\n---\n\nAcked-by: C\n", []rules.Trailer{{"Acked-by", "C"}}},
	{"a squash merge", "Add retry (#1)\n\n* one\n\n---------\n\nCo-authored-by: Claude <noreply@anthropic.com>", []rules.Trailer{{"Co-authored-by", "Claude <noreply@anthropic.com>"}}},
	{"carriage returns", "Add retry\r\n\r\nAcked-by: B\r\nAcked-by: C\r\n", []rules.Trailer{{"Acked-by", "B"}, {"Acked-by", "C"}}},
	{"blank lines at the end", "Add retry\n\nAcked-by: B\n\n \n\t\n", []rules.Trailer{{"Acked-by", "B"}}},
	{"literal newlines", `Add retry\n\nCo-authored-by: Copilot <c@example.com>`, nil},
	{"a comment as the subject", "# x\nAcked-by: B\n\nAcked-by: C\n", []rules.Trailer{{"Acked-by", "C"}}},
	{"nothing", "", nil},
	{"a paragraph that begins indented", "Add retry\n\n  more\nAcked-by: B\n", nil},
}

func TestTrailers(t *testing.T) {
	for _, tc := range trailerMessages {
		if got := rules.Trailers(tc.message); !slices.Equal(got, tc.want) {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}

// gitTrailers asks the installed git.
func gitTrailers(t interface {
	Helper()
	Fatal(...any)
}, message string) []byte {
	t.Helper()
	cmd := exec.Command("git", "interpret-trailers", "--parse", "--no-divider")
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_SYSTEM="+os.DevNull, "GIT_DIR="+os.DevNull, "LC_ALL=C")
	cmd.Stdin = strings.NewReader(message)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func asGitPrints(list []rules.Trailer) []byte {
	var b bytes.Buffer
	for _, t := range list {
		b.WriteString(t.Key + ": " + t.Value + "\n")
	}
	return b.Bytes()
}

func TestTrailersAsGitReadsThem(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is not installed: apt-get install git")
	}
	for _, tc := range trailerMessages {
		if want, got := gitTrailers(t, tc.message), asGitPrints(rules.Trailers(tc.message)); !bytes.Equal(got, want) {
			t.Errorf("%s: %q, git says %q", tc.name, got, want)
		}
	}
	if testing.Short() {
		return
	}
	piece := rapid.SampledFrom([]string{
		"Add retry", "Acked-by: B", "Signed-off-by: Mona", "Signed-off-by:Mona", "(cherry picked from commit 01)", "prose here",
		"", "", "", " ", "\t", "  folded", "# comment", "#", "Conflicts:", "\tfile.go", "---", "--- ", "a:b", "a b: c", "a-1 : x", ":x", "=x", "é: x", "x\r", "\r", "Acked-by: \r",
		"# ------------------------ >8 ------------------------", "Co-authored-by: Claude <noreply@anthropic.com>", "\vx: y", "https://x: y", "a\u00a0: b",
	})
	rapid.Check(t, func(t *rapid.T) {
		message := strings.Join(rapid.SliceOfN(piece, 0, 14).Draw(t, "lines"), "\n") + rapid.SampledFrom([]string{"", "\n", "\n\n"}).Draw(t, "end")
		if want, got := gitTrailers(t, message), asGitPrints(rules.Trailers(message)); !bytes.Equal(got, want) {
			t.Fatalf("%q: %q, git says %q", message, got, want)
		}
	})
}

func FuzzTrailers(f *testing.F) {
	for _, tc := range trailerMessages {
		f.Add(tc.message)
	}
	f.Fuzz(func(t *testing.T, message string) {
		list := rules.Trailers(message)
		text, _, _ := strings.Cut(message, "\x00")
		_, below, _ := strings.Cut(text, "\n")
		for _, tr := range list {
			if tr.Key == "" || strings.ContainsAny(tr.Key, ":\n") || strings.TrimSpace(tr.Key) != tr.Key {
				t.Errorf("%q: key %q", message, tr.Key)
			}
			if strings.Contains(tr.Value, "\n") {
				t.Errorf("%q: folded value %q", message, tr.Value)
			}
			if !strings.Contains(below, tr.Key) {
				t.Errorf("%q: key %q is not below the subject", message, tr.Key)
			}
		}
		// What was read is read again from a message that has nothing else.
		if len(list) > 0 {
			again := rules.Trailers("Subject\n\n" + string(asGitPrints(list)))
			if !slices.Equal(again, list) {
				t.Errorf("%q: %q, written and read again %q", message, list, again)
			}
		}
	})
}
