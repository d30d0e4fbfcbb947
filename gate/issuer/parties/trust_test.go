package parties_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// program is the command line program, built by TestMain.
var program string

// TestMain builds the program in its own module, as it is shipped.
func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

func run(m *testing.M) (int, error) {
	folder, err := os.MkdirTemp("", "parties")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(folder)
	program = filepath.Join(folder, "sallyport")
	build := exec.CommandContext(context.Background(), "go", "build", "-o", program, "./cmd/sallyport")
	build.Dir = filepath.Join("..", "..", "..")
	if said, err := build.CombinedOutput(); err != nil {
		return 1, fmt.Errorf("building cmd/sallyport: %w\n%s", err, said)
	}
	return m.Run(), nil
}

// recipe is what is printed for one party.
type recipe struct {
	Party string `json:"party"`
	Parts []struct {
		Language string `json:"language"`
		Text     string `json:"text"`
	} `json:"parts"`
}

// trust runs "sallyport policy trust" for one credential of the approved repository,
// and gives what it prints for each party.
func (w *world) trust(name, target string) map[string]recipe {
	w.Helper()
	folder := w.TempDir()
	files := map[string]string{
		"targets.yml": "targets:\n  orders: {tier: human, repositories: [" + strconv.FormatInt(int64(repository), 10) + "], environments: [" + environment + "], " + target + "}\n",
		"policy.yml": "version: 1\nreviewers: [acme/sre]\nenvironments:\n  production: {gate: human}\n" +
			"credentials:\n  " + name + ": {environment: production, target: orders, capability: write, workflow: deploy.yml, ttl: 5m}\n",
	}
	for file, text := range files {
		if err := os.WriteFile(filepath.Join(folder, file), []byte(text), 0o600); err != nil {
			w.Fatal(err)
		}
	}
	c := exec.CommandContext(w.Context(), program, "policy", "trust", "--targets", "targets.yml", "--url", w.url, "--repository", strconv.FormatInt(int64(repository), 10), "--format", "json", "policy.yml")
	c.Dir = folder
	var stderr strings.Builder
	c.Stderr = &stderr
	said, err := c.Output()
	if err != nil {
		w.Fatalf("policy trust: %v: %s%s", err, said, stderr.String())
	}
	var out struct {
		Credentials []struct {
			Issuer  string   `json:"issuer"`
			Recipes []recipe `json:"recipes"`
		} `json:"credentials"`
	}
	if err := json.Unmarshal(said, &out); err != nil || len(out.Credentials) != 1 || out.Credentials[0].Issuer != w.url {
		w.Fatalf("policy trust printed %s: %v", said, err)
	}
	by := map[string]recipe{}
	for _, r := range out.Credentials[0].Recipes {
		by[r.Party] = r
	}
	return by
}

// called is one command of a recipe, with what it was given on standard input.
type called struct {
	args  []string
	input string
}

// shell runs a part of a recipe as it is pasted, with commands in the place of vault
// and aws that write down what they are given.
func (w *world) shell(text string) []called {
	w.Helper()
	const commands = `n=0
note() { n=$((n+1)); for a in "$@"; do printf '%s\0' "$a"; done > "$n.args"; if [ "$a" = - ]; then cat > "$n.in"; fi; }
vault() { note vault "$@"; }
aws() { note aws "$@"; }
`
	c := exec.CommandContext(w.Context(), "sh", "-eu")
	c.Dir, c.Stdin = w.TempDir(), strings.NewReader(commands+text)
	if said, err := c.CombinedOutput(); err != nil || len(said) > 0 {
		w.Fatalf("%v: %s\n%s", err, said, text)
	}
	var out []called
	for n := 1; ; n++ {
		args, err := os.ReadFile(filepath.Join(c.Dir, strconv.Itoa(n)+".args"))
		if err != nil {
			break
		}
		var input []byte
		if strings.HasSuffix(string(args), "\x00-\x00") {
			if input, err = os.ReadFile(filepath.Join(c.Dir, strconv.Itoa(n)+".in")); err != nil {
				w.Fatal(err)
			}
		}
		out = append(out, called{strings.Split(strings.TrimSuffix(string(args), "\x00"), "\x00"), string(input)})
	}
	return out
}
