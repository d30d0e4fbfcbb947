package parties_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// document is a policy of AWS, as far as this token service knows it
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html).
type document struct {
	Version   string
	Statement []struct {
		Effect    string
		Principal struct{ Federated string }
		Action    words
		Resource  words
		Condition map[string]map[string]words
	}
}

// words is one text or a list of them.
type words []string

// UnmarshalJSON takes both.
func (w *words) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*w = words{one}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(w))
}

// readDocument refuses whatever it does not know.
func readDocument(b []byte) (document, error) {
	var out document
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&out); err != nil {
		return document{}, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return document{}, errors.New("something follows the policy")
	}
	if out.Version != "2012-10-17" || len(out.Statement) == 0 {
		return document{}, errors.New("want version 2012-10-17 and a statement")
	}
	for _, s := range out.Statement {
		if s.Effect != "Allow" && s.Effect != "Deny" || len(s.Action) == 0 {
			return document{}, fmt.Errorf("the effect %q on %q", s.Effect, s.Action)
		}
		for _, a := range s.Action {
			if !regexp.MustCompile(`^(\*|[a-z0-9]+:(\*|[A-Za-z]+))$`).MatchString(a) {
				return document{}, fmt.Errorf("the action %q", a)
			}
		}
	}
	return out, nil
}

// checkSession refuses what a session's policy may not say, or this token service
// cannot judge.
func (d *document) checkSession() error {
	for _, s := range d.Statement {
		if s.Principal.Federated != "" || !slices.Equal(s.Resource, words{"*"}) {
			return errors.New("a session's policy names no principal, and here every resource")
		}
		for operator, keys := range s.Condition {
			for key, values := range keys {
				if operator != "DateLessThan" || !strings.EqualFold(key, "aws:CurrentTime") || len(values) != 1 {
					return fmt.Errorf("the condition %s on %s", operator, key)
				}
				if _, err := time.Parse(time.RFC3339, values[0]); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// allows reports whether a session's policy lets a call through at a time: something
// allows it, and nothing denies it.
func (d *document) allows(action string, now time.Time) bool {
	allowed := false
	for _, s := range d.Statement {
		holds := slices.ContainsFunc(s.Action, func(a string) bool {
			service, all := strings.CutSuffix(a, "*")
			return strings.EqualFold(a, action) || all && strings.HasPrefix(action, service)
		})
		for _, keys := range s.Condition { // checkSession saw that they are this one
			for _, values := range keys {
				end, err := time.Parse(time.RFC3339, values[0])
				holds = holds && err == nil && now.Before(end)
			}
		}
		if holds && s.Effect == "Deny" {
			return false
		}
		allowed = allowed || holds
	}
	return allowed
}

// trusts reports whether the role's trust policy lets an identity in. All conditions
// of a statement must hold; of the values of one, any.
func (s *sts) trusts(c *identity) bool {
	account := strings.Split(s.role, ":")[4]
	needs := []string{"sts:AssumeRoleWithWebIdentity"}
	if len(c.tags) > 0 {
		needs = append(needs, "sts:TagSession")
	}
	if c.source != "" {
		needs = append(needs, "sts:SetSourceIdentity")
	}
	is := map[string]string{c.provider + ":sub": c.subject, c.provider + ":aud": c.audience}
	if c.source != "" {
		is["sts:SourceIdentity"] = c.source
	}
	for k, v := range c.tags {
		is["aws:RequestTag/"+k] = v
	}
	for _, t := range s.trust.Statement {
		holds := t.Effect == "Allow" && t.Principal.Federated == "arn:aws:iam::"+account+":oidc-provider/"+c.provider && len(t.Condition) > 0 &&
			!slices.ContainsFunc(needs, func(a string) bool { return !slices.Contains(t.Action, a) })
		for operator, keys := range t.Condition {
			for key, values := range keys {
				value, there := is[key]
				holds = holds && operator == "StringEquals" && there && slices.Contains(values, value)
			}
		}
		if holds {
			return true
		}
	}
	return false
}

// session reads the claims that become a session's tags and source identity
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/id_session-tags.html#id_session-tags_adding-assume-role-idp).
func (c *identity) session(claims object) error {
	invalid := func(format string, args ...any) error { return refuse("InvalidIdentityToken", format, args...) }
	if value, there := claims["https://aws.amazon.com/source_identity"]; there {
		c.source, _ = value.(string)
		if !sessionName.MatchString(c.source) || strings.HasPrefix(strings.ToLower(c.source), "aws:") {
			return invalid("source identity %v", value)
		}
	}
	value, there := claims["https://aws.amazon.com/tags"]
	if !there {
		return nil
	}
	var tags struct {
		Principal  map[string][]string `json:"principal_tags"`
		Transitive []string            `json:"transitive_tag_keys"`
	}
	raw, err := json.Marshal(value)
	if err == nil {
		err = json.Unmarshal(raw, &tags)
	}
	if err != nil || len(tags.Principal) > 50 {
		return invalid("%d tags, %v", len(tags.Principal), err)
	}
	c.tags = map[string]string{}
	folded := map[string]bool{}
	for k, values := range tags.Principal {
		if len(values) != 1 || !tagText(k, 1, 128) || !tagText(values[0], 0, 256) || strings.HasPrefix(strings.ToLower(k), "aws:") || folded[strings.ToLower(k)] {
			return invalid("tag %q: %q", k, values)
		}
		folded[strings.ToLower(k)], c.tags[k] = true, values[0]
	}
	for _, k := range tags.Transitive {
		if _, there := c.tags[k]; !there {
			return invalid("transitive tag %q is no tag", k)
		}
	}
	return nil
}

func tagText(s string, least, most int) bool {
	n := utf8.RuneCountInString(s)
	return utf8.ValidString(s) && n >= least && n <= most && !strings.ContainsFunc(s, func(r rune) bool {
		return !unicode.In(r, unicode.L, unicode.N, unicode.Z) && !strings.ContainsRune("_.:/=+-@", r)
	})
}
