package rules

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// MaxLeaseSubject is the longest subject in bytes: Google Cloud takes no longer one,
// and AWS and Azure compare it whole.
const MaxLeaseSubject = 127

// LeaseSubject is the sub of the tokens of a credential in an environment of a
// repository:
//
//	sallyport:repo:<id>:env:<environment>:cred:<credential>
//
// It is the same for every run and approval, so that relying parties can be set up
// with it. Every byte of a name but letters and digits of ASCII, ".", "_" and "-" is
// written as "%" and two upper-case hex digits (RFC 3986 §2.1). Two different
// triples never have the same subject, see [ParseLeaseSubject]; case counts, so a
// caller spells an environment as GitHub does.
func LeaseSubject(repository RepositoryID, environment, credential string) (string, error) {
	switch {
	case repository <= 0:
		return "", fmt.Errorf("subject: %d is no repository's id", repository)
	case environment == "":
		return "", errors.New("subject: no environment: the job must name one")
	case credential == "":
		return "", errors.New("subject: no credential")
	}
	env, cred := escapeSubject(environment), escapeSubject(credential)
	sub := "sallyport:repo:" + strconv.FormatInt(int64(repository), 10) + ":env:" + env + ":cred:" + cred
	if over := len(sub) - MaxLeaseSubject; over > 0 {
		return "", fmt.Errorf("the subject of credential %.64q in environment %.64q has %d bytes, %d too many for relying parties: shorten the credential's name (%d bytes there) or the environment's (%d; what is no letter, digit, \".\", \"_\" or \"-\" takes 3 a byte)",
			credential, environment, len(sub), over, len(cred), len(env))
	}
	return sub, nil
}

// ParseLeaseSubject is the reverse of [LeaseSubject]. It accepts only what that gives.
func ParseLeaseSubject(sub string) (repository RepositoryID, environment, credential string, err error) {
	bad := func() (RepositoryID, string, string, error) {
		return 0, "", "", fmt.Errorf("%.160q is no subject of Sallyport's", sub)
	}
	parts := strings.Split(sub, ":")
	if len(parts) != 7 {
		return bad()
	}
	id, err := strconv.ParseInt(parts[2], 10, 64)
	if err != nil {
		return bad()
	}
	environment, okEnv := unescapeSubject(parts[4])
	credential, okCred := unescapeSubject(parts[6])
	again, err := LeaseSubject(RepositoryID(id), environment, credential)
	if err != nil || !okEnv || !okCred || again != sub {
		return bad()
	}
	return RepositoryID(id), environment, credential, nil
}

// LeaseEnvironments are those GitHub environments of a target whose jobs may be given
// a credential of the policy that names the target, spelt and in order as the target
// has them. None is a credential that [DecideLease] gives to nobody.
func LeaseEnvironments(p *Policy, credential string, t *Target) []string {
	if p == nil || p.compiled == nil || t == nil || p.Credentials[credential] == nil {
		return nil
	}
	own := p.Credentials[credential].Environment
	var out []string
	for _, e := range t.Environments {
		places, covered := p.compiled.covering(e)
		isOwn := func(i int) bool { return p.compiled.names[i] == own }
		if covered && slices.ContainsFunc(places, isOwn) && !slices.Contains(out, e) {
			out = append(out, e)
		}
	}
	return out
}

func escapeSubject(s string) string {
	const hex = "0123456789ABCDEF"
	const plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"
	var b strings.Builder
	for i := range len(s) {
		if strings.IndexByte(plain, s[i]) >= 0 {
			b.WriteByte(s[i])
		} else {
			b.Write([]byte{'%', hex[s[i]>>4], hex[s[i]&15]})
		}
	}
	return b.String()
}

func unescapeSubject(s string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b.WriteByte(s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", false
		}
		v, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
		if err != nil {
			return "", false
		}
		b.WriteByte(byte(v))
		i += 2
	}
	return b.String(), true
}
