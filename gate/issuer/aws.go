package issuer

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// AWSClaims become session tags and the source identity of a role's session. A role
// takes them only if its trust policy allows sts:TagSession and
// sts:SetSourceIdentity (https://docs.aws.amazon.com/IAM/latest/UserGuide/id_session-tags.html).
type AWSClaims struct {
	// Tags are the session's: at most 50. They pass on to every role that the session
	// assumes from there.
	Tags map[string]string
	// SourceIdentity says who, in AWS's own log: 2 to 64 letters and digits of ASCII
	// and "_+=,.@-". Empty is none.
	SourceIdentity string
}

// AWS's limits for session tags, keys and values in characters.
const maxTags, maxTagKey, maxTagValue = 50, 128, 256

// awsTags is the form that AWS reads: each tag has a list of one value.
type awsTags struct {
	Principal  map[string][]string `json:"principal_tags"`
	Transitive []string            `json:"transitive_tag_keys"`
}

// claims are the two claims for AWS, either of which may be none.
func (a *AWSClaims) claims() (*awsTags, string, error) {
	if s := a.SourceIdentity; s != "" {
		const word = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+=,.@-"
		if len(s) < 2 || len(s) > 64 || strings.Trim(s, word) != "" || reserved(s) {
			return nil, "", fmt.Errorf("source identity %.80q: AWS wants 2 to 64 letters, digits and \"_+=,.@-\"", s)
		}
	}
	if len(a.Tags) == 0 {
		return nil, a.SourceIdentity, nil
	}
	if len(a.Tags) > maxTags {
		return nil, "", fmt.Errorf("%d tags: AWS takes %d", len(a.Tags), maxTags)
	}
	out := &awsTags{Principal: map[string][]string{}, Transitive: slices.Sorted(maps.Keys(a.Tags))}
	folded := map[string]string{}
	for _, k := range out.Transitive {
		if !taggable(k, maxTagKey) || k == "" || reserved(k) {
			return nil, "", fmt.Errorf("tag %.140q: AWS wants 1 to %d letters, digits, spaces and \"_.:/=+-@\", not beginning with \"aws:\"", k, maxTagKey)
		}
		if other, twice := folded[strings.ToLower(k)]; twice {
			return nil, "", fmt.Errorf("tags %q and %q are one to AWS", other, k)
		}
		folded[strings.ToLower(k)] = k
		if !taggable(a.Tags[k], maxTagValue) {
			return nil, "", fmt.Errorf("the value of tag %q is %.280q: AWS wants at most %d letters, digits, spaces and \"_.:/=+-@\"", k, a.Tags[k], maxTagValue)
		}
		out.Principal[k] = []string{a.Tags[k]}
	}
	return out, a.SourceIdentity, nil
}

func reserved(s string) bool { return len(s) >= 4 && strings.EqualFold(s[:4], "aws:") }

// taggable reports whether s has only what AWS takes in a tag's key and value. AWS
// also takes line separators, which are spaces to Unicode; here they are refused.
func taggable(s string, most int) bool {
	return utf8.ValidString(s) && utf8.RuneCountInString(s) <= most && !strings.ContainsFunc(s, func(r rune) bool {
		return !unicode.In(r, unicode.L, unicode.N, unicode.Zs) && !strings.ContainsRune("_.:/=+-@", r)
	})
}
