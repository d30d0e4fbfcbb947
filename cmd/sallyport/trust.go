package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sallyport/sallyport/rules"
)

type trustOptions struct {
	targets    string
	url        string
	repository int64
	all        bool
	format     format
}

func (a *app) trustCommand() *cobra.Command {
	var o trustOptions
	c := &cobra.Command{
		Use:   "trust [flags] [<file>|-]",
		Short: "Print what clouds and others must be set up with to trust the server",
		Long: `Print for each credential of the policy the trust configuration to paste where its
target is: the role's trust policy in AWS, and for a target of kind token what its
audience says it is: Google, Azure, or Vault, OpenBao and Kubernetes.

Whoever is set up like this trusts the server's issuer and not GitHub's, so that
without a release there is no token that would open anything. Each recipe says what
cannot be shortened or revoked there. Nothing is asked of any server.`,
		Example: `$ sallyport policy trust --targets targets.yml --url https://sallyport.acme.internal --repository 123456
$ sallyport policy trust --targets targets.yml --url https://sallyport.acme.internal --repository 123456 --format json draft.yml
$ gh api repos/acme/orders --jq .id     # the repository's id`,
		Args: atMost(1),
		Annotations: map[string]string{"exit": `0  each credential has what to paste, or needs nothing
1  something else went wrong
2  the command line or a file is wrong, or a credential would be given to nobody`},
	}
	c.Flags().StringVar(&o.targets, "targets", "", "The server's targets `file` (SALLYPORT_TARGETS_FILE)")
	c.Flags().StringVar(&o.url, "url", "", "The server's `address` (SALLYPORT_URL)")
	c.Flags().Int64Var(&o.repository, "repository", 0, "The `id` of the repository that the policy is of")
	c.Flags().BoolVar(&o.all, "all", false, "Print every recipe for targets of kind token, whatever their audience")
	f := addFormat(c)
	c.RunE = func(_ *cobra.Command, args []string) error {
		o.format = *f
		return a.trust(o, strings.Join(args, ""))
	}
	return c
}

// trusted is what trust prints as JSON. Fields may be added and are never changed.
type trusted struct {
	URL         string              `json:"url"`
	Repository  rules.RepositoryID  `json:"repository"`
	Credentials []trustedCredential `json:"credentials"`
	// Notes hold for all of them.
	Notes []string `json:"notes,omitempty"`
}

// trustedCredential is one credential with what its relying party must be told.
type trustedCredential struct {
	Credential string           `json:"credential"`
	Target     string           `json:"target"`
	Provider   string           `json:"provider,omitzero"` // token, aws, postgres or github
	Tier       rules.Tier       `json:"tier,omitzero"`
	Issuer     string           `json:"issuer,omitzero"`
	Audience   string           `json:"audience,omitzero"`
	Subjects   []trustedSubject `json:"subjects,omitempty"`
	Recipes    []recipe         `json:"recipes,omitempty"`
	// Note says why there is nothing to paste, where nothing is needed.
	Note string `json:"note,omitzero"`
	// Problem says why a request for it would be refused; there are no recipes then.
	Problem string `json:"problem,omitzero"`

	life string // of a token, for people
	ttl  rules.Duration
	role string // AWS's
}

// trustedSubject is the sub of a credential's tokens in one GitHub environment.
type trustedSubject struct {
	Environment string `json:"environment"`
	Subject     string `json:"subject"`
}

func (a *app) trust(o trustOptions, policy string) error {
	switch {
	case o.targets == "":
		return usage("--targets is missing: name the server's targets file")
	case o.url == "":
		return usage("--url is missing: give the server's address, like https://sallyport.acme.internal")
	case o.repository <= 0:
		return usage("--repository is missing or no id: ask GitHub with: gh api repos/OWNER/NAME --jq .id")
	case o.targets == "-" && policy == "-":
		return usage("standard input is one file: name the targets file or the policy")
	}
	if err := checkTrustURL(o.url); err != nil {
		return err
	}
	t, err := a.trustTargets(o.targets)
	if err != nil {
		return err
	}
	p, err := a.trustPolicy(policy)
	if err != nil {
		return err
	}
	out := trusted{URL: o.url, Repository: rules.RepositoryID(o.repository), Credentials: []trustedCredential{}}
	faulty := false
	for _, name := range slices.Sorted(maps.Keys(p.Credentials)) {
		c := trustCredential(p, t, name, &out, o.all)
		if c.Problem != "" {
			faulty = true
		}
		if len(c.Recipes) > 0 && out.Notes == nil {
			out.Notes = []string{"Subjects are compared with case: see that each environment is spelt here as it is on GitHub, and mend the targets file if not."}
		}
		out.Credentials = append(out.Credentials, c)
	}
	if o.format == formatJSON {
		if err := a.printJSON(out); err != nil {
			return err
		}
	} else {
		a.showTrust(&out)
	}
	if faulty {
		return errSaid()
	}
	return nil
}

// trustURL is an address that every relying party compares alike, and that needs no
// quotes anywhere: what stands in a policy of AWS or in a command is compared byte by
// byte.
var trustURL = regexp.MustCompile(`^https://[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?(/[A-Za-z0-9][A-Za-z0-9._~-]*)*$`)

// maxTrustURL leaves room for /auto in the 255 bytes that AWS takes of an issuer.
const maxTrustURL = 250

func checkTrustURL(address string) error {
	switch {
	case strings.HasPrefix(address, "http://"):
		return usage("--url %q: anybody on the way could replace the keys: want https", address)
	case strings.HasSuffix(address, "/"):
		return usage("--url %q ends with a slash, which relying parties compare too: leave it out", address)
	case len(address) > maxTrustURL:
		return usage("--url has %d bytes: relying parties take %d", len(address), maxTrustURL)
	case !trustURL.MatchString(address):
		return usage("--url %q is no issuer: want an address like https://sallyport.acme.internal, its host in lower case and nothing after its path", address)
	}
	return nil
}

// hasPort reports whether an address that checkTrustURL took names a port.
func hasPort(address string) bool {
	host, _, _ := strings.Cut(strings.TrimPrefix(address, "https://"), "/")
	return strings.Contains(host, ":")
}

func (a *app) trustTargets(name string) (*rules.Targets, error) {
	data, err := a.trustFile(name)
	if err != nil {
		return nil, err
	}
	t, problems := rules.LoadTargets(trustShown(name), data)
	if rules.HasErrors(problems) {
		for _, p := range problems {
			fmt.Fprint(a.stderr, p.Render())
		}
		return nil, refuse("the targets file has errors, so nothing was printed: mend what is named above")
	}
	return t, nil
}

func (a *app) trustPolicy(name string) (*rules.Policy, error) {
	if name == "" {
		found, err := a.findUp(rules.PolicyPath)
		if err != nil {
			return nil, err
		}
		name = found
	}
	data, err := a.trustFile(name)
	if err != nil {
		return nil, err
	}
	p, problems := rules.LoadPolicy(trustShown(name), data)
	if rules.HasErrors(problems) {
		return nil, a.invalidPolicy(problems)
	}
	return p, nil
}

func (a *app) trustFile(name string) ([]byte, error) {
	data, err := a.readInput(name, rules.MaxPolicyBytes+1)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, refuse("%w", err)
	}
	return data, err
}

func trustShown(name string) string {
	if name == "-" {
		return "(standard input)"
	}
	return name
}

// trustCredential says what opens a credential's target, or why nothing does.
func trustCredential(p *rules.Policy, t *rules.Targets, name string, of *trusted, all bool) trustedCredential {
	k := p.Credentials[name]
	c := trustedCredential{Credential: name, Target: k.Target, ttl: k.TTL}
	problem := func(format string, args ...any) trustedCredential {
		c.Recipes = nil
		c.Problem = fmt.Sprintf(format, args...)
		return c
	}
	target := t.Targets[k.Target]
	if target == nil {
		return problem("the targets file has no target %q: declare it there, or name another in the policy", k.Target)
	}
	// Anything but auto is human, as the server has it.
	c.Tier, c.Issuer = rules.TierHuman, of.URL
	if target.Tier == rules.TierAuto {
		c.Tier, c.Issuer = rules.TierAuto, of.URL+"/auto"
	}
	if !slices.Contains(target.Repositories, of.Repository) {
		return problem("target %q is not for repository %d: add the id to its repositories in the targets file", k.Target, of.Repository)
	}
	environments := rules.LeaseEnvironments(p, name, target)
	if len(environments) == 0 {
		return problem("target %q is for jobs of %s, and the policy's environment %q covers none of these: add its GitHub environment in the targets file, or to its deployments in the policy",
			k.Target, list(target.Environments, "and"), k.Environment)
	}
	for _, e := range environments {
		sub, err := rules.LeaseSubject(of.Repository, e, name)
		if err != nil {
			return problem("%v", err)
		}
		c.Subjects = append(c.Subjects, trustedSubject{e, sub})
	}
	var err error
	switch {
	case target.AWS != nil:
		c.Provider, c.Audience, c.role = "aws", "sts.amazonaws.com", target.AWS.Role
		if hasPort(of.URL) {
			return problem("AWS takes no issuer with a port: serve the server's address at 443, without one")
		}
		c.Recipes = []recipe{awsRecipe(&c)}
	case target.Token != nil:
		c.Provider, c.Audience, c.life = "token", target.Token.Audience, trustLife(target.TTL)
		c.Recipes, err = tokenRecipes(&c, of.Repository, all)
	case target.Postgres != nil:
		c.Provider, c.Issuer, c.Subjects = "postgres", "", nil
		c.Note = "Nothing to paste: the server makes the role itself. What it needs in the database is in docs/postgres.md."
	default:
		c.Provider, c.Issuer, c.Subjects = "github", "", nil
		c.Note = "Nothing to paste: the App's own installation is what GitHub trusts."
	}
	if err != nil {
		return problem("%v", err)
	}
	return c
}

// showTrust prints everything for people. What is to be pasted stands at the
// beginning of its lines and is nothing but itself: as it is, for the loaders refuse
// names with characters that cannot be seen.
func (a *app) showTrust(t *trusted) {
	if len(t.Credentials) == 0 {
		fmt.Fprintln(a.stdout, "The policy has no credentials: nothing has to trust the server.")
	}
	note := func(n string) {
		for i, line := range wrap(n, a.out.width-4) {
			lead := "    "
			if i == 0 {
				lead = "  - "
			}
			fmt.Fprintln(a.stdout, lead+visible(line))
		}
	}
	for i := range t.Credentials {
		c := &t.Credentials[i]
		if i > 0 {
			fmt.Fprintln(a.stdout)
		}
		fmt.Fprintln(a.stdout, a.out.name(visible(c.Credential)))
		rows := []row{{a.out.dim("target"), visible(c.Target)}}
		for _, r := range [][2]string{{"tier", string(c.Tier)}, {"issuer", c.Issuer}, {"audience", c.Audience}} {
			if r[1] != "" {
				rows = append(rows, row{a.out.dim(r[0]), visible(r[1])})
			}
		}
		for _, s := range c.Subjects {
			rows = append(rows, row{a.out.dim("subject"), visible(s.Subject)})
		}
		a.columns(a.stdout, "  ", rows)
		switch {
		case c.Problem != "":
			fmt.Fprintf(a.stdout, "  %s %s\n", a.out.bad("✗"), visible(c.Problem))
		case c.Note != "":
			fmt.Fprintf(a.stdout, "  %s\n", visible(c.Note))
		}
		for _, r := range c.Recipes {
			for _, p := range r.Parts {
				fmt.Fprintf(a.stdout, "\n%s\n%s", a.out.strong(visible(r.Party+": "+p.What)), p.Text)
			}
			fmt.Fprintln(a.stdout)
			for _, n := range r.Notes {
				note(n)
			}
		}
	}
	if len(t.Notes) > 0 {
		fmt.Fprintln(a.stdout)
	}
	for _, n := range t.Notes {
		note(n)
	}
}
