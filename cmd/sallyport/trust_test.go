package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"gopkg.in/yaml.v3"

	"github.com/sallyport/sallyport/rules"
)

// hostile are names that mean something to a shell, to JSON, to YAML, to CEL or to
// gcloud, and that the loaders take.
const (
	hostileEnvironment = "p'\"$(touch pwned)`touch pwned`: #&"
	hostileAudience    = "^,^v'\"; touch pwned EOF `touch pwned`"
)

// runTrust runs the command on a policy and a target's provider, in a folder of its
// own. The one target is t, the one credential c of repository 1.
func runTrust(t *testing.T, environments []string, target string, flags ...string) (trusted, int, string) {
	t.Helper()
	dir := t.TempDir()
	var names []string
	for _, e := range environments {
		names = append(names, quoted(e))
	}
	for name, text := range map[string]string{
		"targets.yml": fmt.Sprintf("targets:\n  t: {tier: human, repositories: [1], environments: [%s], %s}\n", strings.Join(names, ", "), target),
		"policy.yml": "version: 1\nreviewers: [acme/sre]\nenvironments:\n  production: {gate: human, deployments: [\"**\"]}\n" +
			"credentials:\n  c: {environment: production, target: t, capability: write, workflow: deploy.yml}\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var stdout, stderr bytes.Buffer
	args := append([]string{"policy", "trust", "--targets", filepath.Join(dir, "targets.yml"), "--url", "https://sallyport.test", "--repository", "1", "--format", "json"}, flags...)
	code := Main(append(args, filepath.Join(dir, "policy.yml")), nil, strings.NewReader(""), &stdout, &stderr)
	var out trusted
	if stdout.Len() > 0 {
		if err := json.Unmarshal(stdout.Bytes(), &out); err != nil {
			t.Fatalf("%v: %s", err, stdout.String())
		}
	}
	return out, code, stderr.String()
}

// recipes are those of the one credential by their party.
func recipes(t *testing.T, environments []string, target string, flags ...string) (trustedCredential, map[string]recipe) {
	t.Helper()
	out, code, said := runTrust(t, environments, target, flags...)
	if code != ExitOK || len(out.Credentials) != 1 || len(out.Credentials[0].Recipes) == 0 {
		t.Fatalf("exit code %d, %+v, %s", code, out, said)
	}
	by := map[string]recipe{}
	for _, r := range out.Credentials[0].Recipes {
		by[r.Party] = r
		if len(r.Notes) == 0 {
			t.Errorf("%s: no word on what cannot be revoked", r.Party)
		}
	}
	return out.Credentials[0], by
}

// called is one command that a recipe ran, with what it was given on standard input.
type called struct {
	args  []string
	input string
}

// runShell runs a recipe in a shell whose commands write down what they are given,
// and fails if anything else happened.
func runShell(t *testing.T, text string) []called {
	t.Helper()
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("no shell")
	}
	dir := t.TempDir()
	stub := `n=0
note() { n=$((n+1)); for a in "$@"; do printf '%s\0' "$a"; done > "$n.args"; if [ "$last" = - ]; then cat > "$n.in"; fi; }
vault() { for last in "$@"; do :; done; note vault "$@"; }
gcloud() { last=; note gcloud "$@"; }
aws() { last=; note aws "$@"; }
`
	c := exec.CommandContext(t.Context(), sh, "-eu")
	c.Dir, c.Stdin = dir, strings.NewReader(stub+text)
	if said, err := c.CombinedOutput(); err != nil || len(said) > 0 {
		t.Fatalf("%v: %s\n%s", err, said, text)
	}
	var out []called
	for n := 1; ; n++ {
		args, err := os.ReadFile(filepath.Join(dir, strconv.Itoa(n)+".args"))
		if err != nil {
			break
		}
		input, _ := os.ReadFile(filepath.Join(dir, strconv.Itoa(n)+".in"))
		out = append(out, called{strings.Split(strings.TrimSuffix(string(args), "\x00"), "\x00"), string(input)})
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".args") && !strings.HasSuffix(e.Name(), ".in") {
			t.Errorf("the recipe made %s: %s", e.Name(), text)
		}
	}
	return out
}

// A check of the check: what the tests below look for is found.
func TestRunShellSeesCommands(t *testing.T) {
	got := runShell(t, "vault write a - <<'EOF'\n{}\nEOF\ngcloud 'a b' \"c'd\"\n")
	if len(got) != 2 || got[0].input != "{}\n" || !slices.Equal(got[1].args, []string{"gcloud", "a b", "c'd"}) {
		t.Errorf("%q", got)
	}
}

// Names of a policy and of a targets file stay names, whatever they hold.
func TestTrustHostileNames(t *testing.T) {
	audience := hostileAudience
	c, by := recipes(t, []string{hostileEnvironment, "b"}, "token: {audience: "+quoted(audience)+"}", "--all")
	sub, err := rules.LeaseSubject(1, hostileEnvironment, "c")
	if err != nil || c.Subjects[0].Subject != sub || c.Subjects[0].Environment != hostileEnvironment || c.Audience != audience {
		t.Fatalf("%+v, want the subject %q %v", c, sub, err)
	}
	if len(by) != 4 {
		t.Fatalf("--all prints %d recipes", len(by))
	}
	t.Run("Vault and OpenBao", func(t *testing.T) {
		for i, p := range by["Vault and OpenBao"].Parts {
			calls := runShell(t, p.Text)
			if want := []int{2, 1, 1}[i]; len(calls) != want {
				t.Fatalf("%d commands, want %d: %q", len(calls), want, calls)
			}
			var config struct {
				Subject   string            `json:"bound_subject"`
				Audiences []string          `json:"bound_audiences"`
				Claims    map[string]string `json:"bound_claims"`
				Kind      string            `json:"bound_claims_type"`
				Skew      int               `json:"clock_skew_leeway"`
			}
			if err := json.Unmarshal([]byte(calls[len(calls)-1].input), &config); err != nil {
				t.Fatalf("%v: %q", err, calls)
			}
			if i != 1 {
				continue
			}
			if config.Subject != sub || !slices.Equal(config.Audiences, []string{audience}) || config.Claims["environment"] != hostileEnvironment || config.Claims["repository_id"] != "1" || config.Skew != 10 {
				t.Errorf("%+v", config)
			}
			// Any approval will do, and of nothing else any value.
			if config.Kind != "glob" || config.Claims["approval_id"] != "*" || len(config.Claims) != 4 || config.Claims["tier"] != "human" {
				t.Errorf("%+v", config)
			}
			for name, value := range config.Claims {
				if name != "approval_id" && strings.Contains(value, "*") {
					t.Errorf("%s may be like %q", name, value)
				}
			}
			if path := calls[0].args[2]; path != "auth/sallyport/role/c-"+short(sub) {
				t.Errorf("the role is %q", path)
			}
		}
	})
	t.Run("Google", func(t *testing.T) {
		g := by["Google"]
		create := runShell(t, g.Parts[0].Text)
		if len(create) != 1 || !slices.Contains(create[0].args, "--allowed-audiences=^|^"+audience) ||
			!slices.ContainsFunc(create[0].args, func(a string) bool {
				return strings.HasPrefix(a, `--attribute-condition=assertion.repository_id == "1" && assertion.environment in [`+quoted(hostileEnvironment)+`, "b"] && `)
			}) {
			t.Errorf("%q", create)
		}
		bind := runShell(t, g.Parts[1].Text)
		if len(bind) != 2 || !slices.ContainsFunc(bind[0].args, func(a string) bool { return strings.HasSuffix(a, "/subject/"+sub) }) {
			t.Errorf("%q", bind)
		}
	})
	t.Run("Kubernetes", func(t *testing.T) {
		var file struct {
			JWT []struct {
				Issuer struct {
					Audiences []string `yaml:"audiences"`
				} `yaml:"issuer"`
				Rules []struct {
					Expression string `yaml:"expression"`
				} `yaml:"claimValidationRules"`
			} `yaml:"jwt"`
		}
		d := yaml.NewDecoder(strings.NewReader(by["Kubernetes"].Parts[0].Text))
		if err := d.Decode(&file); err != nil {
			t.Fatal(err)
		}
		if len(file.JWT) != 1 || len(file.JWT[0].Rules) != 6 || !slices.Equal(file.JWT[0].Issuer.Audiences, []string{audience}) ||
			file.JWT[0].Rules[2].Expression != "claims.environment in ["+quoted(hostileEnvironment)+`, "b"]` {
			t.Errorf("%+v", file)
		}
	})
	t.Run("Azure", func(t *testing.T) {
		var credential struct {
			Name, Issuer, Subject string
			Audiences             []string
		}
		if err := json.Unmarshal([]byte(by["Azure"].Parts[0].Text), &credential, json.MatchCaseInsensitiveNames(true)); err != nil {
			t.Fatal(err)
		}
		if credential.Subject != sub || credential.Issuer != "https://sallyport.test" || !slices.Equal(credential.Audiences, []string{azureAudience}) ||
			len(credential.Name) < 3 || len(credential.Name) > 120 || strings.Trim(credential.Name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			t.Errorf("%+v", credential)
		}
	})
}

// AWS's trust policy names exactly the subjects and the audience, compared whole.
func TestTrustAWS(t *testing.T) {
	_, by := recipes(t, []string{"a", hostileEnvironment}, `aws: {role: "arn:aws-cn:iam::123456789012:role/x", region: cn-north-1}`)
	r := by["AWS"]
	if calls := runShell(t, r.Parts[0].Text); len(calls) != 1 || !slices.Equal(calls[0].args, []string{"aws", "iam", "create-open-id-connect-provider", "--url", "https://sallyport.test", "--client-id-list", "sts.amazonaws.com"}) {
		t.Errorf("%q", calls)
	}
	var policy struct {
		Statement []struct {
			Effect    string
			Principal map[string]string
			Action    []string
			Condition map[string]map[string]any
		}
	}
	if err := json.Unmarshal([]byte(r.Parts[1].Text), &policy); err != nil {
		t.Fatal(err)
	}
	if len(policy.Statement) != 1 {
		t.Fatalf("%+v", policy)
	}
	s := policy.Statement[0]
	equals := s.Condition["StringEquals"]
	subjects, _ := equals["sallyport.test:sub"].([]any)
	if s.Effect != "Allow" || s.Principal["Federated"] != "arn:aws-cn:iam::123456789012:oidc-provider/sallyport.test" || len(s.Condition) != 1 || len(equals) != 2 ||
		equals["sallyport.test:aud"] != "sts.amazonaws.com" || len(subjects) != 2 || subjects[0] != "sallyport:repo:1:env:a:cred:c" ||
		!slices.Equal(s.Action, []string{"sts:AssumeRoleWithWebIdentity", "sts:TagSession", "sts:SetSourceIdentity"}) {
		t.Errorf("%+v", s)
	}
	if text := r.Parts[1].Text; strings.ContainsAny(text, "*?$") {
		t.Errorf("something in it could be a pattern or a variable: %s", text)
	}
}

// Names that cannot be seen never get as far as a recipe.
func TestTrustRefusesInvisible(t *testing.T) {
	for _, env := range []string{"a\u202eb", "a\x1b[2Jb", "a\nb", "a\u2028b"} {
		if out, code, said := runTrust(t, []string{env}, "token: {audience: x}"); code != ExitUsage || len(out.Credentials) > 0 || strings.ContainsAny(said, "\x1b\u202e\u2028") {
			t.Errorf("%q: exit code %d, %+v, %q", env, code, out, said)
		}
	}
}

// What stands in no policy of a relying party is refused with a problem, without a
// recipe, and the command fails.
func TestTrustProblems(t *testing.T) {
	many := make([]string, 200)
	for i := range many {
		many[i] = fmt.Sprintf("environment-%05d", i)
	}
	google := `token: {audience: "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/pool/providers/provider"}`
	for _, c := range []struct {
		environments []string
		target, want string
	}{
		{[]string{strings.Repeat("é", 60)}, "token: {audience: x}", "too many for relying parties"},
		{many, google, "Google takes 4096"},
		{[]string{"a"}, `token: {audience: "//iam.googleapis.com/projects/1/x' $(touch pwned)"}`, "is no provider's name"},
		{[]string{"a"}, `token: {audience: "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/a/providers/b; touch pwned"}`, "is no provider's name"},
		{[]string{"a"}, `token: {audience: "https://iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/-a/providers/b"}`, "is no provider's name"},
	} {
		out, code, said := runTrust(t, c.environments, c.target)
		if code != ExitUsage || len(out.Credentials) != 1 || !strings.Contains(out.Credentials[0].Problem, c.want) || len(out.Credentials[0].Recipes) > 0 {
			t.Errorf("%.60q: exit code %d, %+v, %s: want %q", c.target, code, out, said, c.want)
		}
	}
}

// gcloud takes a list apart at commas, or at what stands between two carets.
func TestGcloudList(t *testing.T) {
	for s, want := range map[string]string{
		"//iam.googleapis.com/x": "//iam.googleapis.com/x",
		"a,b":                    "^|^a,b",
		"^;^a;b":                 "^|^^;^a;b",
		"a,b|c||d":               "^|||^a,b|c||d",
	} {
		if got := gcloudList(s); got != want {
			t.Errorf("%q: %q, want %q", s, got, want)
		}
	}
}

func TestCheckTrustURL(t *testing.T) {
	for _, good := range []string{"https://a", "https://sallyport.acme.internal", "https://a.b:8443", "https://a.b/sally/port_1"} {
		if err := checkTrustURL(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{
		"", "https://", "http://a", "https://a/", "https://A", "ftp://a", "https://a?b", "https://a#b", "https://u@a", "https://a b", "https://a'b", "https://a/$x", "https://a/../b",
		"https://a/%41", "https://a//b", "https://a:", "https://a:b", "https://a\n", "https://a/\u202e", "https://é", "https://a/" + strings.Repeat("b", maxTrustURL),
	} {
		if checkTrustURL(bad) == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// The names that Vault compares as patterns are plain: with an asterisk in one, another
// environment would do too.
func TestTrustRefusesPatterns(t *testing.T) {
	for _, env := range []string{"*", "prod*", "prod-[ab]", "prod?"} {
		if out, code, said := runTrust(t, []string{env}, "token: {audience: x}"); code != ExitUsage || len(out.Credentials) > 0 || !strings.Contains(said, "plain name") {
			t.Errorf("%q: exit code %d, %+v, %q", env, code, out, said)
		}
	}
}
