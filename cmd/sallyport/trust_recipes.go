package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"gopkg.in/yaml.v3"

	"github.com/sallyport/sallyport/rules"
)

// recipe is what one relying party must be told. Names of environments and audiences
// are foreign text: in JSON and YAML they are encoded, in expressions they are quoted
// texts, in commands they stand between single quotes.
type recipe struct {
	Party string       `json:"party"`
	Parts []recipePart `json:"parts"`
	// Notes say what cannot be shortened or revoked there, and what else to know.
	Notes []string `json:"notes"`
}

// recipePart is one text to paste. Language is json, yaml or shell.
type recipePart struct {
	What     string `json:"what"`
	Language string `json:"language"`
	Text     string `json:"text"`
}

const (
	azureAudience = "api://AzureADTokenExchange"
	// maxGoogleCondition is the longest condition of a provider in characters.
	maxGoogleCondition = 4096
	// trustSeconds is the longest life of a token that Kubernetes is told to take; the
	// server signs none of more than ten minutes.
	trustSeconds = 900
	// vaultSkew is how many seconds Vault's clock may be behind ours and ahead of it: it
	// refuses a token whose iat is later than its own clock, and iat is when we signed.
	vaultSkew = 10
)

// trustLife is how long a token of a target lives, for people.
func trustLife(ttl rules.Duration) string {
	if ttl <= 0 {
		ttl = rules.Duration(2 * time.Minute)
	}
	return shortDuration(time.Duration(ttl))
}

// shortDuration is a duration without parts that are zero: 10m, not 10m0s.
func shortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// tokenRecipes are those that a target's audience calls for.
func tokenRecipes(c *trustedCredential, repository rules.RepositoryID, all bool) ([]recipe, error) {
	google := strings.HasPrefix(c.Audience, "//iam.googleapis.com/") || strings.HasPrefix(c.Audience, "https://iam.googleapis.com/")
	azure := c.Audience == azureAudience
	var out []recipe
	if google || all {
		r, err := googleRecipe(c, repository, google)
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	if azure || all {
		out = append(out, azureRecipe(c, repository))
	}
	if !google && !azure || all {
		k, err := kubernetesRecipe(c, repository)
		if err != nil {
			return nil, err
		}
		out = append(out, vaultRecipe(c, repository), k)
	}
	return out, nil
}

// awsRecipe is for a role (https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_create_for-idp_oidc.html).
func awsRecipe(c *trustedCredential) recipe {
	provider := strings.TrimPrefix(c.Issuer, "https://")
	arn := strings.Split(c.role, ":") // LoadTargets saw that it is a role's
	var subjects any = c.Subjects[0].Subject
	if len(c.Subjects) > 1 {
		var all []string
		for _, s := range c.Subjects {
			all = append(all, s.Subject)
		}
		subjects = all
	}
	type statement struct {
		Effect    string
		Principal map[string]string
		Action    []string
		Condition map[string]map[string]any
	}
	return recipe{
		Party: "AWS",
		Parts: []recipePart{
			{"the provider, once in account " + arn[4], "shell", "aws iam create-open-id-connect-provider --url " + shell(c.Issuer) + " --client-id-list " + shell(c.Audience) + "\n"},
			{"the trust policy of " + c.role, "json", encode(struct {
				Version   string
				Statement []statement
			}{"2012-10-17", []statement{{
				Effect:    "Allow",
				Principal: map[string]string{"Federated": "arn:" + arn[1] + ":iam::" + arn[4] + ":oidc-provider/" + provider},
				Action:    []string{"sts:AssumeRoleWithWebIdentity", "sts:TagSession", "sts:SetSourceIdentity"},
				Condition: map[string]map[string]any{"StringEquals": {provider + ":aud": c.Audience, provider + ":sub": subjects}},
			}}})},
		},
		Notes: []string{
			"AWS reads " + c.Issuer + "/.well-known/openid-configuration from the internet: it must be reachable there.",
			"The server makes the exchange: the session's own policy denies everything from the lease's deadline on. AWS makes no session shorter than 15 minutes, and nothing ends one before that deadline.",
			"To hold the role to one deployment, add that one's aws:RequestTag/sha or sts:SourceIdentity to StringEquals; the attempt is no tag.",
			"A session that may assume another role outlives the deadline in it: give this role no sts:AssumeRole.",
			"A role has one trust policy: keep a statement for each credential that opens it, and take out every one that trusts GitHub's own issuer, which asks nobody.",
		},
	}
}

// googlePool is a provider's name as an audience
// (https://cloud.google.com/iam/docs/reference/rest/v1/projects.locations.workloadIdentityPools.providers).
var googlePool = regexp.MustCompile(`^(?:https:)?//iam\.googleapis\.com/projects/([0-9]+)/locations/global/workloadIdentityPools/([a-z0-9][a-z0-9-]*)/providers/([a-z0-9][a-z0-9-]*)$`)

// googleRecipe is for Workload Identity Federation. named says that the audience is
// meant to be a provider's name.
func googleRecipe(c *trustedCredential, repository rules.RepositoryID, named bool) (recipe, error) {
	project, pool, provider := "PROJECT_NUMBER", "POOL", "PROVIDER"
	notes := []string{}
	if m := googlePool.FindStringSubmatch(c.Audience); m != nil {
		project, pool, provider = m[1], m[2], m[3]
	} else if named {
		return recipe{}, fmt.Errorf("the audience %q is no provider's name: want one like //iam.googleapis.com/projects/123456789012/locations/global/workloadIdentityPools/POOL/providers/PROVIDER", c.Audience)
	} else {
		notes = append(notes, "The words in capitals are yours to fill in: with the provider's own name as the target's audience they are known.")
	}
	mapping := []string{"google.subject=assertion.sub", "attribute.repository_id=assertion.repository_id", "attribute.environment=assertion.environment", "attribute.sha=assertion.sha"}
	condition := "assertion.repository_id == " + quoted(strconv.FormatInt(int64(repository), 10)) + " && assertion.environment in " + environmentList(c.Subjects) +
		" && assertion.tier == " + quoted(string(c.Tier))
	if c.Tier != rules.TierAuto {
		mapping = append(mapping, "attribute.approval_id=assertion.approval_id")
		condition += ` && assertion.approval_id != ""`
	}
	if n := len(condition); n > maxGoogleCondition {
		return recipe{}, fmt.Errorf("the condition would have %d characters and Google takes %d: make a target for fewer environments", n, maxGoogleCondition)
	}
	create := command("gcloud iam workload-identity-pools providers create-oidc "+provider,
		"--project="+project, "--location=global", "--workload-identity-pool="+pool,
		"--issuer-uri="+shell(c.Issuer), "--allowed-audiences="+shell(gcloudList(c.Audience)),
		"--attribute-mapping="+shell(strings.Join(mapping, ",")), "--attribute-condition="+shell(condition))
	var bind strings.Builder
	for _, s := range c.Subjects {
		bind.WriteString(command("gcloud iam service-accounts add-iam-policy-binding SERVICE_ACCOUNT_EMAIL", "--role=roles/iam.workloadIdentityUser",
			"--member="+shell("principal://iam.googleapis.com/projects/"+project+"/locations/global/workloadIdentityPools/"+pool+"/subject/"+s.Subject)))
	}
	return recipe{
		Party: "Google",
		Parts: []recipePart{{"the provider", "shell", create}, {"the service account, for exactly this credential", "shell", bind.String()}},
		Notes: append(notes,
			"Google exchanges the same token as often as it is shown, for the "+c.life+" that it lives. What it gives without a service account ends with it.",
			"A token of the service account lives an hour unless the job asks for less (lifetime), and nothing revokes it alone.",
			"Google reads "+c.Issuer+"/.well-known/openid-configuration from the internet, unless its keys are uploaded (--jwk-json-path), again at each rotation.",
			"Bind the subject, never the pool: the condition lets every credential of these environments through. Where credentials share a provider, join their conditions with ||.",
		),
	}, nil
}

// azureRecipe is for an application or a managed identity
// (https://learn.microsoft.com/en-us/graph/api/resources/federatedidentitycredential).
func azureRecipe(c *trustedCredential, repository rules.RepositoryID) recipe {
	r := recipe{Party: "Azure"}
	for _, s := range c.Subjects {
		r.Parts = append(r.Parts, recipePart{
			"credential.json of: az ad app federated-credential create --id APPLICATION_ID --parameters credential.json", "json",
			encode(struct {
				Name        string   `json:"name"`
				Issuer      string   `json:"issuer"`
				Subject     string   `json:"subject"`
				Audiences   []string `json:"audiences"`
				Description string   `json:"description"`
			}{
				"sallyport-" + strconv.FormatInt(int64(repository), 10) + "-" + short(s.Subject), c.Issuer, s.Subject, []string{azureAudience},
				"Sallyport: credential " + c.Credential + " of repository " + strconv.FormatInt(int64(repository), 10),
			}),
		})
	}
	if c.Audience != azureAudience {
		r.Notes = append(r.Notes, "Azure takes no other audience than "+azureAudience+": make it the target's before you paste this.")
	}
	r.Notes = append(r.Notes,
		"Azure reads "+c.Issuer+"/.well-known/openid-configuration from the internet: it must be reachable there.",
		"Azure compares issuer, subject and audience and looks at nothing else of the token, which it exchanges as often as it is shown.",
		"Its access tokens live 60 to 90 minutes. Nobody can ask for less, and nothing revokes one alone.",
		"A new trust takes minutes to spread (AADSTS70021 until then). An application takes 20 of them. RS256 is the only algorithm that is documented to work.",
	)
	return r
}

// vaultRecipe is for the JWT auth method of Vault and OpenBao
// (https://developer.hashicorp.com/vault/api-docs/auth/jwt, https://openbao.org/api-docs/auth/jwt/).
func vaultRecipe(c *trustedCredential, repository rules.RepositoryID) recipe {
	mount := "sallyport"
	if c.Tier == rules.TierAuto {
		mount = "sallyport-auto"
	}
	life := time.Duration(c.ttl)
	if life <= 0 {
		life = 10 * time.Minute
	}
	policy := "sallyport-" + strings.ToLower(c.Credential)
	claims := map[string]string{"sha": "sha", "run_id": "run_id"}
	// Exact values, unless there must be an approval, whichever it is: only a glob says
	// that. The other values have no asterisk, which LoadTargets refuses in a name.
	kind, approval, one := "string", map[string]string{}, "sha or run_attempt"
	if c.Tier != rules.TierAuto {
		claims["approval_id"], claims["approver_ids"] = "approval_id", "approver_ids"
		kind, approval["approval_id"], one = "glob", "*", "sha, run_attempt or approver_ids"
	}
	write := func(path string, v any) string {
		// Each line of indented JSON begins with a blank, a brace or a bracket: none ends it.
		return "vault write " + path + " - <<'EOF'\n" + encode(v) + "EOF\n"
	}
	r := recipe{
		Party: "Vault and OpenBao",
		Parts: []recipePart{{"the mount, once for this issuer", "shell", "vault auth enable -path=" + mount + " jwt\n" + write("auth/"+mount+"/config", struct {
			Discovery  string   `json:"oidc_discovery_url"`
			Issuer     string   `json:"bound_issuer"`
			Algorithms []string `json:"jwt_supported_algs"`
		}{c.Issuer, c.Issuer, []string{"RS256", "ES256"}})}},
		Notes: []string{
			"The Vault token lives " + shortDuration(life) + " at most. The job ends it sooner by auth/token/revoke-self, which revokes its leases too; Sallyport cannot.",
			"Vault takes the same token of ours as often as it is shown, until " + strconv.Itoa(vaultSkew) + "s after it expires. It refuses one if its clock is more than " + strconv.Itoa(vaultSkew) + "s behind the server's: clock_skew_leeway is both, and a minute by default.",
			"To hold the role to one deployment, add that one's " + one + " to bound_claims.",
			"If the server's certificate is of a private CA, add the CA's to the config as oidc_discovery_ca_pem.",
			"What it opens is your Vault policy " + policy + ". For OpenBao write bao in place of vault.",
		},
	}
	for _, s := range c.Subjects {
		bound := map[string]string{"repository_id": strconv.FormatInt(int64(repository), 10), "environment": s.Environment, "tier": string(c.Tier)}
		maps.Copy(bound, approval)
		name, what := c.Credential, "the role"
		if len(c.Subjects) > 1 {
			name, what = c.Credential+"-"+short(s.Subject), "the role for environment "+s.Environment
		}
		r.Parts = append(r.Parts, recipePart{what, "shell", write("auth/"+mount+"/role/"+name, struct {
			Type       string            `json:"role_type"`
			User       string            `json:"user_claim"`
			Audiences  []string          `json:"bound_audiences"`
			Subject    string            `json:"bound_subject"`
			ClaimsType string            `json:"bound_claims_type"`
			Claims     map[string]string `json:"bound_claims"`
			Mappings   map[string]string `json:"claim_mappings"`
			Expiration int               `json:"expiration_leeway"`
			NotBefore  int               `json:"not_before_leeway"`
			Skew       int               `json:"clock_skew_leeway"`
			TokenType  string            `json:"token_type"`
			MaxTTL     string            `json:"token_explicit_max_ttl"`
			Policies   []string          `json:"token_policies"`
		}{
			"jwt", "sub", []string{c.Audience}, s.Subject,
			kind, bound, claims,
			-1, -1, vaultSkew, // the first two are for tokens without exp or nbf; ours have both
			"service", strconv.Itoa(int(life/time.Second)) + "s", []string{policy},
		})})
	}
	return r
}

// kubernetesRecipe is for the API server's own file
// (https://kubernetes.io/docs/reference/access-authn-authz/authentication/#using-authentication-configuration).
func kubernetesRecipe(c *trustedCredential, repository rules.RepositoryID) (recipe, error) {
	type rule struct {
		Expression string `yaml:"expression"`
		Message    string `yaml:"message"`
	}
	var subjects []string
	for _, s := range c.Subjects {
		subjects = append(subjects, quoted(s.Subject))
	}
	rulesOf := []rule{
		{"claims.sub in [" + strings.Join(subjects, ", ") + "]", "another credential"},
		{"claims.repository_id == " + quoted(strconv.FormatInt(int64(repository), 10)), "another repository"},
		{"claims.environment in " + environmentList(c.Subjects), "another environment"},
		{"claims.tier == " + quoted(string(c.Tier)), "another tier"},
		{"claims.exp - claims.iat <= " + strconv.Itoa(trustSeconds), "it lives too long"},
	}
	deployment := "To hold it to one deployment, add a rule for that one's sha or run_attempt"
	if c.Tier != rules.TierAuto {
		rulesOf = append(rulesOf, rule{`has(claims.approval_id) && claims.approval_id != ""`, "nobody approved it"})
		deployment += `, or for a person: "ID" in claims.approver_ids.split(",")`
	}
	type username struct {
		Claim  string `yaml:"claim"`
		Prefix string `yaml:"prefix"`
	}
	type authenticator struct {
		Issuer struct {
			URL       string   `yaml:"url"`
			Audiences []string `yaml:"audiences"`
		} `yaml:"issuer"`
		Rules    []rule `yaml:"claimValidationRules"`
		Mappings struct {
			Username username `yaml:"username"`
		} `yaml:"claimMappings"`
	}
	one := authenticator{Rules: rulesOf}
	one.Issuer.URL, one.Issuer.Audiences = c.Issuer, []string{c.Audience}
	one.Mappings.Username = username{"sub", ""}
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	err := e.Encode(struct {
		Version string          `yaml:"apiVersion"`
		Kind    string          `yaml:"kind"`
		JWT     []authenticator `yaml:"jwt"`
	}{"apiserver.config.k8s.io/v1", "AuthenticationConfiguration", []authenticator{one}})
	if err != nil {
		return recipe{}, fmt.Errorf("writing YAML: %w", err)
	}
	return recipe{
		Party: "Kubernetes",
		Parts: []recipePart{{"the file of the API server's --authentication-config", "yaml", b.String()}},
		Notes: []string{
			"The token is the credential: it lives " + c.life + " (the target's ttl, 10m at most), nothing revokes it sooner, and the API server takes it as often as it is shown. An exec, a port-forward or a watch that began before goes on.",
			"The subject is the user's name: what it may do is in a RoleBinding for that user.",
			deployment + ".",
			"If the server's certificate is of a private CA, add the CA's as certificateAuthority below issuer.",
			"The file has one authenticator for each issuer: where several credentials come here, list their audiences with audienceMatchPolicy: MatchAny, and join their rules with ||. Before Kubernetes 1.34 write v1beta1.",
		},
	}, nil
}

// environmentList is the environments as a list of CEL.
func environmentList(subjects []trustedSubject) string {
	var out []string
	for _, s := range subjects {
		out = append(out, quoted(s.Environment))
	}
	return "[" + strings.Join(out, ", ") + "]"
}

// quoted is a text of CEL. JSON's texts are such: CEL has the same escapes
// (https://github.com/google/cel-spec/blob/master/doc/langdef.md#string-and-bytes-values).
func quoted(s string) string {
	b, err := jsontext.AppendQuote(nil, s)
	if err != nil {
		panic("a name that was loaded is no UTF-8: " + err.Error())
	}
	return string(b)
}

// shell is one word of a POSIX shell, whatever it holds.
func shell(s string) string {
	const safe = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_./:=@%"
	if s != "" && strings.Trim(s, safe) == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// command is a command with one argument a line.
func command(name string, args ...string) string {
	return name + " \\\n  " + strings.Join(args, " \\\n  ") + "\n"
}

// gcloudList is a list of one for gcloud, which takes commas apart unless another
// delimiter is named first (gcloud topic escaping).
func gcloudList(s string) string {
	if !strings.Contains(s, ",") && !strings.HasPrefix(s, "^") {
		return s
	}
	delimiter := "|"
	for strings.Contains(s, delimiter) {
		delimiter += "|"
	}
	return "^" + delimiter + "^" + s
}

// short tells subjects apart in names that take few characters: 48 bits of SHA-256.
func short(subject string) string {
	sum := sha256.Sum256([]byte(subject))
	return hex.EncodeToString(sum[:6])
}

// encode is indented JSON with a line feed.
func encode(v any) string {
	b, err := json.Marshal(v, json.Deterministic(true), jsontext.WithIndent("  "))
	if err != nil {
		panic("encoding a recipe: " + err.Error())
	}
	return string(b) + "\n"
}
