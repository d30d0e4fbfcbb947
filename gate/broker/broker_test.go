package broker_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sallyport/sallyport/gate/broker"
	"github.com/sallyport/sallyport/rules"
)

const secretToken = "the token that is exchanged"

func lease(now time.Time) broker.Lease {
	return broker.Lease{ID: strings.Repeat("ab", 16), Repository: 1, Environment: "production", Credential: "c", Made: now, Deadline: now.Add(10 * time.Minute)}
}

func sign(t *testing.T, audience string, most time.Duration, direct bool) broker.Sign {
	t.Helper()
	return func(_ context.Context, _ broker.Lease, aud string, life time.Duration, d bool) (string, error) {
		if aud != audience || life > most || life <= 0 || d != direct {
			return "", fmt.Errorf("audience %q, life %s, direct %v", aud, life, d)
		}
		return secretToken, nil
	}
}

func TestToken(t *testing.T) {
	now := time.Now()
	for _, x := range []struct {
		life, alive time.Duration
		direct      bool
	}{{0, 2 * time.Minute, false}, {5 * time.Minute, 5 * time.Minute, true}, {20 * time.Minute, 10 * time.Minute, true}} {
		at := now
		p := &broker.Token{Sign: sign(t, "orders", x.alive, x.direct), Audience: "orders", Life: x.life, Now: func() time.Time { return at }}
		values, handle, err := p.Mint(t.Context(), lease(now))
		if err != nil || values["token"] != secretToken || handle != nil {
			t.Errorf("%v: %v %v", values, handle, err)
		}
		// It is alive as long as it says, and nothing says that it is not.
		var notYet *broker.NotYet
		at = now.Add(x.alive)
		if err := p.Revoke(t.Context(), lease(now), nil); !errors.As(err, &notYet) || notYet.Until.Before(now.Add(x.alive)) {
			t.Errorf("a living token counts as ended: %v", err)
		}
		at = now.Add(x.alive + time.Minute)
		if err := p.Revoke(t.Context(), lease(now), nil); err != nil {
			t.Error(err)
		}
	}
	if _, _, err := (&broker.Token{Audience: "x"}).Mint(t.Context(), lease(now)); err == nil {
		t.Error("a token without an issuer")
	}
}

// sts is a strict token service: it takes what AWS takes, and nothing else.
func sts(t *testing.T, answer func(w http.ResponseWriter, policy string)) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil || r.Method != http.MethodPost || r.URL.RawQuery != "" || r.Header.Get("Authorization") != "" {
			t.Errorf("%s %s, %v", r.Method, r.URL, err)
		}
		f := r.PostForm
		for name, want := range map[string]string{
			"Action": "AssumeRoleWithWebIdentity", "Version": "2011-06-15", "RoleArn": "arn:aws:iam::123456789012:role/orders", "RoleSessionName": strings.Repeat("ab", 16),
			"WebIdentityToken": secretToken, "DurationSeconds": "900",
		} {
			if f.Get(name) != want {
				t.Errorf("%s is %q, want %q", name, f.Get(name), want)
			}
		}
		answer(w, f.Get("Policy"))
	}))
	t.Cleanup(s.Close)
	return s
}

func TestAWS(t *testing.T) {
	now := time.Now()
	aws := func(endpoint string) *broker.AWS {
		return &broker.AWS{Sign: sign(t, "sts.amazonaws.com", 2*time.Minute, false), Role: "arn:aws:iam::123456789012:role/orders", Region: "eu-west-1", Endpoint: endpoint}
	}
	ok := sts(t, func(w http.ResponseWriter, policy string) {
		var p struct {
			Statement []struct {
				Effect    string
				Condition map[string]map[string]time.Time
			}
		}
		if err := json.Unmarshal([]byte(policy), &p); err != nil || len(policy) > 2048 || len(p.Statement) != 1 {
			t.Errorf("the session policy %q: %v", policy, err)
		} else if end := p.Statement[0].Condition["DateLessThan"]["aws:CurrentTime"]; end.After(now.Add(10*time.Minute)) || end.Before(now.Add(9*time.Minute)) {
			t.Errorf("the session ends at %s, want the lease's deadline", end)
		}
		fmt.Fprint(w, `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult><Credentials>
			<AccessKeyId>ASIAX</AccessKeyId><SecretAccessKey>s3</SecretAccessKey><SessionToken>tok</SessionToken></Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`)
	})
	values, _, err := aws(ok.URL).Mint(t.Context(), lease(now))
	if err != nil || values["access_key_id"] != "ASIAX" || values["secret_access_key"] != "s3" || values["session_token"] != "tok" || values["region"] != "eu-west-1" {
		t.Errorf("%v %v", values, err)
	}
	for name, answer := range map[string]func(w http.ResponseWriter, policy string){
		"refused": func(w http.ResponseWriter, _ string) {
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprintf(w, "<ErrorResponse><Error><Code>AccessDenied</Code><Message>%s</Message></Error></ErrorResponse>", secretToken)
		},
		"no XML":  func(w http.ResponseWriter, _ string) { fmt.Fprint(w, secretToken) },
		"no keys": func(w http.ResponseWriter, _ string) { fmt.Fprint(w, "<AssumeRoleWithWebIdentityResponse/>") },
		"endless": func(w http.ResponseWriter, _ string) { fmt.Fprint(w, strings.Repeat("<a>", 1<<20)) },
		"redirect": func(w http.ResponseWriter, _ string) {
			w.Header().Set("Location", ok.URL)
			w.WriteHeader(http.StatusTemporaryRedirect)
		},
	} {
		values, _, err := aws(sts(t, answer).URL).Mint(t.Context(), lease(now))
		if err == nil || values != nil || strings.Contains(err.Error(), secretToken) {
			t.Errorf("%s: %v %v", name, values, err)
		}
	}
	for _, region := range []string{"", "evil.example/", "eu-west-1.evil.example#", "EU-WEST-1"} {
		a := aws("")
		a.Region = region
		if _, _, err := a.Mint(t.Context(), lease(now)); err == nil || !strings.Contains(err.Error(), "region") {
			t.Errorf("the region %q: %v", region, err)
		}
	}
	at := now
	a := aws(ok.URL)
	a.Now = func() time.Time { return at }
	var notYet *broker.NotYet
	if err := a.Revoke(t.Context(), lease(now), nil); !errors.As(err, &notYet) {
		t.Errorf("a living session counts as ended: %v", err)
	}
	at = now.Add(10 * time.Minute)
	if err := a.Revoke(t.Context(), lease(now), nil); err != nil {
		t.Error(err)
	}
}

type fakeTokens struct {
	asked   [][]rules.RepositoryID
	revoked []string
}

func (f *fakeTokens) ScopedToken(_ context.Context, repositories []rules.RepositoryID, _ map[string]string) (string, time.Time, error) {
	f.asked = append(f.asked, repositories)
	return "ghs_1", time.Now().Add(time.Hour), nil
}

func (f *fakeTokens) RevokeToken(_ context.Context, token string) error {
	f.revoked = append(f.revoked, token)
	return nil
}

func TestGitHub(t *testing.T) {
	f := &fakeTokens{}
	p := &broker.GitHub{Tokens: f, Repositories: []rules.RepositoryID{7}, Permissions: map[string]string{"contents": "read"}}
	l := lease(time.Now())
	values, handle, err := p.Mint(t.Context(), l)
	if err != nil || values["token"] != "ghs_1" || string(handle) != "ghs_1" {
		t.Fatalf("%v %q %v", values, handle, err)
	}
	if err := p.Revoke(t.Context(), l, handle); err != nil || len(f.revoked) != 1 || f.revoked[0] != "ghs_1" {
		t.Errorf("%v %v", f.revoked, err)
	}
	// Made, perhaps, and the answer lost: nobody can revoke what nobody knows.
	var notYet *broker.NotYet
	if err := p.Revoke(t.Context(), l, nil); !errors.As(err, &notYet) {
		t.Errorf("an unknown token counts as revoked: %v", err)
	}
	for _, bad := range []*broker.GitHub{{Tokens: f, Permissions: p.Permissions}, {Tokens: f, Repositories: p.Repositories}} {
		if _, _, err := bad.Mint(t.Context(), l); err == nil {
			t.Error("a token for everything")
		}
	}
	if len(f.asked) != 1 {
		t.Errorf("GitHub was asked %d times", len(f.asked))
	}
}
