package parties_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awssts "github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"github.com/sallyport/sallyport/gate/broker"
	"github.com/sallyport/sallyport/gate/issuer"
	"github.com/sallyport/sallyport/rules"
)

const (
	awsRole     = "arn:aws:iam::123456789012:role/orders-uploader"
	awsAudience = "sts.amazonaws.com"
	awsHost     = "sallyport.acme.internal"
	awsRegion   = "eu-west-1"
)

// newAWS is an account that is set up with what is printed. More are conditions of
// StringEquals for one deployment.
func (w *world) newAWS(more map[string]string) *sts {
	w.Helper()
	s := w.newSTS(awsRole)
	s.may = []string{"sts:DecodeAuthorizationMessage"}
	for _, p := range w.trust(credential, "aws: {role: \""+awsRole+"\", region: "+awsRegion+"}")["AWS"].Parts {
		switch p.Language {
		case "shell":
			for _, c := range w.shell(p.Text) {
				if len(c.args) != 7 || !slices.Equal(c.args[:4], []string{"aws", "iam", "create-open-id-connect-provider", "--url"}) || c.args[5] != "--client-id-list" {
					w.Fatalf("what is %q?", c.args)
				}
				if url := c.args[4]; len(url) > 255 || !regexp.MustCompile(`^https://[a-z0-9.-]+(/[^?#]*[^/?#])?$`).MatchString(url) || len(c.args[6]) > 255 {
					w.Fatalf("AWS takes no such provider: %q", c.args)
				}
				s.providers[c.args[4]] = []string{c.args[6]}
			}
		case "json":
			d, err := readDocument([]byte(p.Text))
			if err != nil {
				w.Fatal(err)
			}
			for key, value := range more {
				d.Statement[0].Condition["StringEquals"][key] = words{value}
			}
			s.trust = d
		}
	}
	if len(s.providers) != 1 || len(s.trust.Statement) != 1 {
		w.Fatal("the recipe makes no provider, or no trust")
	}
	return s
}

// sdk is AWS's own client library, with keys or without.
func (s *sts) sdk(keys aws.CredentialsProvider) *awssts.Client {
	return awssts.New(awssts.Options{Region: awsRegion, BaseEndpoint: aws.String(s.url), HTTPClient: s.client, Credentials: keys, Retryer: aws.NopRetryer{}})
}

// exchange asks for a session, as change says otherwise.
func (s *sts) exchange(token string, change func(*awssts.AssumeRoleWithWebIdentityInput)) (*awssts.AssumeRoleWithWebIdentityOutput, error) {
	in := &awssts.AssumeRoleWithWebIdentityInput{
		RoleArn: aws.String(awsRole), RoleSessionName: aws.String(strings.Repeat("0f", 16)), WebIdentityToken: aws.String(token), DurationSeconds: aws.Int32(900),
	}
	if change != nil {
		change(in)
	}
	return s.sdk(nil).AssumeRoleWithWebIdentity(s.Context(), in)
}

// call does something with the keys of a session: the error is AWS's code.
func (s *sts) call(id, secret, token string) string {
	keys := aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: id, SecretAccessKey: secret, SessionToken: token}, nil
	})
	_, err := s.sdk(keys).DecodeAuthorizationMessage(s.Context(), &awssts.DecodeAuthorizationMessageInput{EncodedMessage: aws.String("x")})
	return code(err)
}

// code is AWS's for an error, "" for none.
func code(err error) string {
	var api smithy.APIError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &api):
		return api.ErrorCode()
	}
	return err.Error()
}

// awsMinted is a token as the provider aws has it made.
func (w *world) awsMinted(change func(*broker.Lease)) string {
	w.Helper()
	l := w.lease()
	if change != nil {
		change(&l)
	}
	token, err := w.sign(rules.TierHuman, true)(w.Context(), l, awsAudience, 2*time.Minute, false)
	if err != nil {
		w.Fatal(err)
	}
	return token
}

func TestAWS(t *testing.T) {
	for _, algorithm := range []string{issuer.RS256, issuer.ES256} {
		t.Run(algorithm, func(t *testing.T) {
			w := newWorld(t, algorithm, awsHost, false)
			s := w.newAWS(nil)
			good := w.awsMinted(nil)
			out, err := s.exchange(good, nil)
			if err != nil {
				t.Fatal(err)
			}
			if *out.SubjectFromWebIdentityToken != subject || *out.SourceIdentity != "github-1001" || *out.Audience != awsAudience || *out.Provider != awsHost {
				t.Errorf("%+v", out)
			}
			k := out.Credentials
			if got := s.call(*k.AccessKeyId, *k.SecretAccessKey, *k.SessionToken); got != "" {
				t.Errorf("the session is of no use: %s", got)
			}
			if got := s.call(*k.AccessKeyId, *k.SecretAccessKey+"x", *k.SessionToken); got != "SignatureDoesNotMatch" {
				t.Errorf("a wrong secret: %q", got)
			}
			if _, err := s.exchange(w.forged(good, func(object) {}), nil); err != nil {
				t.Errorf("signed again as it was: %v", err)
			}
			if _, err := s.exchange(w.minted(func(p *broker.Token, _ *broker.Lease) { p.Audience = awsAudience }), nil); err != nil {
				t.Errorf("of the provider token, without tags: %v", err)
			}
			for _, a := range w.awsAttacks(good) {
				t.Run(a.name, func(t *testing.T) {
					if _, err := s.exchange(a.token, nil); code(err) != a.code {
						t.Errorf("%v, want %s", err, a.code)
					}
				})
			}
		})
	}
}

type awsAttack struct{ name, token, code string }

// awsAttacks are tokens that must open nothing.
func (w *world) awsAttacks(good string) []awsAttack {
	const invalid, denied = "InvalidIdentityToken", "AccessDenied"
	auto, err := w.sign(rules.TierAuto, true)(w.Context(), w.lease(), awsAudience, 2*time.Minute, false)
	if err != nil {
		w.Fatal(err)
	}
	skewed := func(ahead time.Duration) string {
		defer w.ahead.Store(w.ahead.Swap(int64(ahead)))
		return w.awsMinted(nil)
	}
	tags := func(n int, key, value string) func(object) {
		principal := map[string][]string{}
		for i := range n {
			principal[fmt.Sprint(key, i)] = []string{value}
		}
		return with("https://aws.amazon.com/tags", object{"principal_tags": principal})
	}
	list := []awsAttack{
		{"of another environment", w.awsMinted(func(l *broker.Lease) { l.Environment = "staging" }), denied},
		{"of another credential", w.awsMinted(func(l *broker.Lease) { l.Credential = "orders-reader" }), denied},
		{"of another repository", w.awsMinted(func(l *broker.Lease) { l.Repository = 654321 }), denied},
		{"of a subject that begins alike", w.forged(good, with("sub", subject+"-2")), denied},
		{"of a subject in capitals", w.forged(good, with("sub", strings.ToUpper(subject))), denied},
		{"of no subject", w.forged(good, without("sub")), invalid},
		{"for another audience", w.minted(nil), invalid},
		{"for no audience", w.forged(good, without("aud")), invalid},
		{"of tier auto", auto, invalid},
		{"of tier auto, said to be of the other issuer", w.signed(w.algorithm, w.auto, w.kid(auto), part(good, 1)), invalid},
		{"of a key that calls itself the right one", w.signed(w.algorithm, w.auto, w.kid(good), part(good, 1)), invalid},
		{"of no key", unsigned(part(good, 1)), invalid},
		{"of the public key as a secret", w.confused(good), invalid},
		{"that is expired", skewed(-2*time.Minute - 2*time.Second), "ExpiredTokenException"},
		{"that expires between two seconds", w.forged(good, func(c object) { c["exp"] = float64(seconds(c, "exp")) + 0.5 }), invalid},
		{"that never expires", w.forged(good, without("exp")), invalid},
		{"that does not say since when", w.forged(good, without("iat")), invalid},
		{"of an hour from now", skewed(time.Hour), invalid},
		{"with 51 tags", w.forged(good, tags(51, "k", "v")), invalid},
		{"with a tag of AWS's own", w.forged(good, tags(1, "aws:k", "v")), invalid},
		{"with a tag that is too long", w.forged(good, tags(1, "k", strings.Repeat("v", 257))), invalid},
		{"of somebody with a short name", w.forged(good, with("https://aws.amazon.com/source_identity", "x")), invalid},
	}
	for i := range list {
		if strings.Count(list[i].token, ".") != 2 {
			w.Fatalf("%s is no token", list[i].name)
		}
	}
	return list
}

// The role for one deployment has the trust policy that is printed, and two conditions
// more. The attempt is no tag, so AWS cannot be told which.
func TestAWSBoundToDeployment(t *testing.T) {
	w := newWorld(t, issuer.ES256, awsHost, false)
	s := w.newAWS(map[string]string{"aws:RequestTag/sha": string(approvedSHA), "sts:SourceIdentity": "github-1001"})
	if _, err := s.exchange(w.awsMinted(nil), nil); err != nil {
		t.Fatal(err)
	}
	stock := w.newAWS(nil)
	for name, token := range map[string]string{
		"of another commit":            w.awsMinted(func(l *broker.Lease) { l.SHA = otherSHA }),
		"that another person approved": w.awsMinted(func(l *broker.Lease) { l.Approvers = []rules.Actor{{ID: 2002, Login: "bob"}} }),
		"without tags":                 w.forged(w.awsMinted(nil), without("https://aws.amazon.com/tags")),
		"of no approver":               w.forged(w.awsMinted(nil), without("https://aws.amazon.com/source_identity")),
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := s.exchange(token, nil); code(err) != "AccessDenied" {
				t.Errorf("%v, want AccessDenied", err)
			}
			if _, err := stock.exchange(token, nil); err != nil {
				t.Errorf("without the two conditions: %v", err)
			}
		})
	}
}

// The trust policy that is printed has no more than the session needs.
func TestAWSTrustPolicyIsNeeded(t *testing.T) {
	w := newWorld(t, issuer.ES256, awsHost, false)
	token := w.awsMinted(nil)
	for i, action := range []string{"sts:AssumeRoleWithWebIdentity", "sts:TagSession", "sts:SetSourceIdentity"} {
		s := w.newAWS(nil)
		if got := s.trust.Statement[0].Action; len(got) != 3 || got[i] != action {
			t.Fatalf("the trust policy allows %q", got)
		}
		s.trust.Statement[0].Action = slices.Delete(s.trust.Statement[0].Action, i, i+1)
		if _, err := s.exchange(token, nil); code(err) != "AccessDenied" {
			t.Errorf("without %s: %v", action, err)
		}
	}
}

// What AWS's library may ask for is bounded by AWS's documented limits: a check of the
// token service that the tests rest on.
func TestAWSLimits(t *testing.T) {
	w := newWorld(t, issuer.ES256, awsHost, false)
	s := w.newAWS(nil)
	token := w.awsMinted(nil)
	type in = awssts.AssumeRoleWithWebIdentityInput
	policy := func(text string) func(*in) { return func(i *in) { i.Policy = &text } }
	for _, c := range []struct {
		name, code string
		change     func(*in)
	}{
		{"an hour", "", func(i *in) { i.DurationSeconds = aws.Int32(3600) }},
		{"no duration", "", func(i *in) { i.DurationSeconds = nil }},
		{"14 minutes", "ValidationError", func(i *in) { i.DurationSeconds = aws.Int32(899) }},
		{"longer than the role allows", "ValidationError", func(i *in) { i.DurationSeconds = aws.Int32(3601) }},
		{"13 hours", "ValidationError", func(i *in) { i.DurationSeconds = aws.Int32(43201) }},
		{"a name of one letter", "ValidationError", func(i *in) { i.RoleSessionName = aws.String("a") }},
		{"a name with a space", "ValidationError", func(i *in) { i.RoleSessionName = aws.String("a b") }},
		{"a name of 65 letters", "ValidationError", func(i *in) { i.RoleSessionName = aws.String(strings.Repeat("a", 65)) }},
		{"no role", "ValidationError", func(i *in) { i.RoleArn = aws.String("arn:aws:iam::123456789012:user/orders") }},
		{"another role", "AccessDenied", func(i *in) { i.RoleArn = aws.String("arn:aws:iam::123456789012:role/admin") }},
		{"a policy", "", policy(`{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*"}]}`)},
		{"a policy that is too long", "ValidationError", policy(`{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*"}]}` + strings.Repeat(" ", 2048))},
		{"a policy that is no JSON", "MalformedPolicyDocument", policy(`{"Version":`)},
		{"a policy of another version", "MalformedPolicyDocument", policy(`{"Version":"2026-01-01","Statement":[{"Effect":"Deny","Action":"*","Resource":"*"}]}`)},
		{"a policy with a date that is none", "MalformedPolicyDocument", policy(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"DateLessThan":{"aws:CurrentTime":"soon"}}}]}`)},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := s.exchange(token, c.change); code(err) != c.code {
				t.Errorf("%v, want %q", err, c.code)
			}
		})
	}
}

// The provider aws: what it gives works until the lease's deadline, though AWS's
// session lives on.
func TestAWSProvider(t *testing.T) {
	for _, algorithm := range []string{issuer.RS256, issuer.ES256} {
		t.Run(algorithm, func(t *testing.T) {
			w := newWorld(t, algorithm, awsHost, false)
			s := w.newAWS(nil)
			p := &broker.AWS{Sign: w.sign(rules.TierHuman, true), Role: awsRole, Region: awsRegion, Endpoint: s.url + "/", Client: s.client}
			l := w.lease()
			l.Deadline = l.Made.Add(5 * time.Minute)
			values, _, err := p.Mint(t.Context(), l)
			if err != nil {
				t.Fatal(err)
			}
			s.mu.Lock()
			made := s.sessions[values["session_token"]]
			s.mu.Unlock()
			if made == nil || made.name != l.ID || made.source != "github-1001" || made.tags["sha"] != string(approvedSHA) || made.tags["run_id"] != "7001" {
				t.Fatalf("%+v", made)
			}
			for _, c := range []struct {
				later time.Duration
				want  string
			}{
				{0, ""},
				{4 * time.Minute, ""},
				{5*time.Minute + time.Second, "AccessDenied"},
				{14 * time.Minute, "AccessDenied"},
				{15*time.Minute + time.Second, "ExpiredToken"},
			} {
				s.later.Store(int64(c.later))
				if got := s.call(values["access_key_id"], values["secret_access_key"], values["session_token"]); got != c.want {
					t.Errorf("%s after the lease: %q, want %q", c.later, got, c.want)
				}
			}
			s.later.Store(0)
			// A session without the policy lives on: the deadline is the policy's doing.
			out, err := s.exchange(w.awsMinted(nil), nil)
			if err != nil {
				t.Fatal(err)
			}
			s.later.Store(int64(10 * time.Minute))
			if got := s.call(*out.Credentials.AccessKeyId, *out.Credentials.SecretAccessKey, *out.Credentials.SessionToken); got != "" {
				t.Errorf("a session without a policy ended: %s", got)
			}
			s.later.Store(0)
			for name, change := range map[string]func(*broker.Lease){
				"of another environment": func(l *broker.Lease) { l.Environment = "staging" },
				"of another credential":  func(l *broker.Lease) { l.Credential = "orders-reader" },
				"of another repository":  func(l *broker.Lease) { l.Repository = 654321 },
			} {
				other := l
				change(&other)
				if values, _, err := p.Mint(t.Context(), other); err == nil || !strings.Contains(err.Error(), "AccessDenied") || values != nil {
					t.Errorf("%s: %v, want AccessDenied", name, err)
				}
			}
			// A lease that nobody approved has no token to show.
			l.ApprovalID, l.Approvers, l.ApprovedAt = "", []rules.Actor{{ID: approver}}, time.Time{}
			if values, _, err := p.Mint(t.Context(), l); err == nil || values != nil {
				t.Error("a session that nobody approved")
			}
		})
	}
}

// The policy of a session that denies is as good as one that does not allow.
func TestPolicyEvaluation(t *testing.T) {
	at := time.Date(2026, 11, 3, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]bool{
		`{"Effect":"Allow","Action":"*","Resource":"*"}`:                                                                                                                       true,
		`{"Effect":"Allow","Action":["sts:DecodeAuthorizationMessage"],"Resource":"*"}`:                                                                                        true,
		`{"Effect":"Allow","Action":"sts:*","Resource":"*"}`:                                                                                                                   true,
		`{"Effect":"Allow","Action":"s3:*","Resource":"*"}`:                                                                                                                    false,
		`{"Effect":"Deny","Action":"s3:*","Resource":"*"}`:                                                                                                                     false,
		`{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Action":"sts:*","Resource":"*"}`:                                                                     false,
		`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"DateLessThan":{"aws:CurrentTime":"2026-11-03T12:00:01Z"}}}`:                                               true,
		`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"DateLessThan":{"aws:CurrentTime":"2026-11-03T12:00:00Z"}}}`:                                               false,
		`{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"DateLessThan":{"aws:CurrentTime":"1970-01-01T00:00:00Z"}}}`: true,
	} {
		d, err := readDocument([]byte(`{"Version":"2012-10-17","Statement":[` + text + `]}`))
		if err != nil || d.checkSession() != nil {
			t.Errorf("%s: %v %v", text, err, d.checkSession())
		} else if got := d.allows("sts:DecodeAuthorizationMessage", at); got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
}
