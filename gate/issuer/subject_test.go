package issuer_test

import (
	"strings"
	"testing"

	"github.com/sallyport/sallyport/gate/issuer"
	"github.com/sallyport/sallyport/rules"
)

func TestSubject(t *testing.T) {
	for _, c := range []struct{ environment, credential, want string }{
		{"production", "db", "sallyport:repo:42:env:production:cred:db"},
		{"Prod/EU", "db", "sallyport:repo:42:env:Prod%2FEU:cred:db"},
		{"a:cred:b", "c", "sallyport:repo:42:env:a%3Acred%3Ab:cred:c"},
		{"a", "b:cred:c", "sallyport:repo:42:env:a:cred:b%3Acred%3Ac"},
		{"100%", "a*?$", "sallyport:repo:42:env:100%25:cred:a%2A%3F%24"},
		{"%25", "x", "sallyport:repo:42:env:%2525:cred:x"},
		{"é 🚀", "x", "sallyport:repo:42:env:%C3%A9%20%F0%9F%9A%80:cred:x"},
	} {
		got, err := issuer.Subject(42, c.environment, c.credential)
		if err != nil || got != c.want {
			t.Errorf("%q, %q: %q %v, want %q", c.environment, c.credential, got, err, c.want)
		}
	}
	fixed := len("sallyport:repo:42:env::cred:x")
	if _, err := issuer.Subject(42, strings.Repeat("e", issuer.MaxSubject-fixed), "x"); err != nil {
		t.Error(err)
	}
	_, err := issuer.Subject(42, strings.Repeat("e", issuer.MaxSubject-fixed+1), "x")
	if err == nil || !strings.Contains(err.Error(), "1 too many") || !strings.Contains(err.Error(), "shorten the credential's name (1 bytes there) or the environment's (99;") {
		t.Errorf("a byte too long: %v", err)
	}
	for _, sub := range []string{
		"", "sallyport", "sallyport:repo:42:env:production", "sallyport:repo:042:env:a:cred:b", "sallyport:repo:+42:env:a:cred:b", "sallyport:repo:0:env:a:cred:b",
		"sallyport:repo:42:env:a%3a:cred:b", "sallyport:repo:42:env:%41:cred:b", "sallyport:repo:42:env:%:cred:b", "sallyport:repo:42:env:%4:cred:b", "sallyport:repo:42:env:%+1:cred:b",
		"sallyport:repo:42:env:a b:cred:b", "sallyport:repo:42:env::cred:b", "sallyport:repo:42:env:a:cred:", "sallyport:repo:42:env:a:cred:b:c", "Sallyport:repo:42:env:a:cred:b", "sallyport:repo:42:ENV:a:cred:b",
	} {
		if _, _, _, err := issuer.ParseSubject(sub); err == nil {
			t.Errorf("%q is taken for a subject", sub)
		}
	}
}

func FuzzSubject(f *testing.F) {
	f.Add(int64(42), "production", "db")
	f.Add(int64(1), "a:cred:b", "%3A")
	f.Add(int64(-1), "", "\xff\x00")
	f.Fuzz(func(t *testing.T, id int64, environment, credential string) {
		sub, err := issuer.Subject(rules.RepositoryID(id), environment, credential)
		if err != nil {
			return
		}
		if len(sub) > issuer.MaxSubject || strings.ContainsFunc(sub, func(r rune) bool { return r <= ' ' || r > '~' }) || strings.Count(sub, ":") != 6 {
			t.Errorf("%q is no subject", sub)
		}
		gotID, gotEnv, gotCred, err := issuer.ParseSubject(sub)
		if err != nil || int64(gotID) != id || gotEnv != environment || gotCred != credential {
			t.Errorf("%q comes back as %d %q %q: %v", sub, gotID, gotEnv, gotCred, err)
		}
	})
}

func FuzzParseSubject(f *testing.F) {
	f.Add("sallyport:repo:42:env:production:cred:db")
	f.Add("sallyport:repo:42:env:%C3%A9:cred:%25")
	f.Fuzz(func(t *testing.T, sub string) {
		id, environment, credential, err := issuer.ParseSubject(sub)
		if err != nil {
			return
		}
		if again, err := issuer.Subject(id, environment, credential); err != nil || again != sub {
			t.Errorf("%q comes back as %q: %v", sub, again, err)
		}
	})
}
