package parties_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/apis/apiserver/install"
	"k8s.io/apiserver/pkg/apis/apiserver/validation"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/cel"
	"k8s.io/apiserver/plugin/pkg/authenticator/token/oidc"

	"github.com/sallyport/sallyport/gate/broker"
	"github.com/sallyport/sallyport/gate/issuer"
	"github.com/sallyport/sallyport/rules"
)

// kubernetes is what the API server asks who comes with a token.
type kubernetes struct {
	*testing.T
	token authenticator.Token
}

type authority string

func (a authority) CurrentCABundleContent() []byte { return []byte(a) }

// newKubernetes reads the file that is printed as the API server does: strictly, and
// with its own validation. More are rules for one deployment.
func (w *world) newKubernetes(more ...apiserver.ClaimValidationRule) *kubernetes {
	w.Helper()
	parts := w.trust(credential, "ttl: 10m, token: {audience: "+audience+"}")["Kubernetes"].Parts
	if len(parts) != 1 || parts[0].Language != "yaml" {
		w.Fatalf("the recipe has %d parts", len(parts))
	}
	scheme := runtime.NewScheme()
	install.Install(scheme)
	read, err := runtime.Decode(serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDecoder(), []byte(parts[0].Text))
	if err != nil {
		w.Fatal(err)
	}
	file, ok := read.(*apiserver.AuthenticationConfiguration)
	if !ok || len(file.JWT) != 1 {
		w.Fatalf("%T %+v", read, read)
	}
	one := file.JWT[0]
	one.Issuer.CertificateAuthority = w.ca
	one.ClaimValidationRules = append(one.ClaimValidationRules, more...)
	file.JWT[0] = one
	if errs := validation.ValidateAuthenticationConfiguration(cel.NewDefaultCompiler(), file, nil); len(errs) > 0 {
		w.Fatal(errs.ToAggregate())
	}
	ctx, cancel := context.WithCancel(w.Context())
	w.Cleanup(cancel)
	// All algorithms is what the API server allows with such a file.
	a, err := oidc.New(ctx, oidc.Options{JWTAuthenticator: one, CAContentProvider: authority(one.Issuer.CertificateAuthority), SupportedSigningAlgs: oidc.AllValidSigningAlgorithms()})
	if err != nil {
		w.Fatal(err)
	}
	for deadline := time.Now().Add(30 * time.Second); a.HealthCheck() != nil; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.Fatal(a.HealthCheck())
		}
	}
	return &kubernetes{w.T, a}
}

// user is whose request it is: it is refused with an error.
func (k *kubernetes) user(token string) (string, error) {
	r, ok, err := k.token.AuthenticateToken(k.Context(), token)
	switch {
	case err != nil:
		return "", err
	case !ok:
		return "", errors.New(notOurs)
	}
	return r.User.GetName(), nil
}

func (k *kubernetes) takes(name, token string) {
	k.Helper()
	if user, err := k.user(token); err != nil || user != subject {
		k.Errorf("%s: user %q, %v", name, user, err)
	}
}

func TestKubernetes(t *testing.T) {
	for _, algorithm := range []string{issuer.RS256, issuer.ES256} {
		t.Run(algorithm, func(t *testing.T) {
			w := newWorld(t, algorithm, "", false)
			k := w.newKubernetes()
			k.takes("a sound token", w.minted(nil))
			k.takes("signed again as it was", w.resigned())
			k.takes("used without an exchange", w.minted(func(p *broker.Token, _ *broker.Lease) { p.Life = 10 * time.Minute }))
			for _, a := range w.attacks() {
				t.Run(a.name, func(t *testing.T) {
					_, err := k.user(a.token)
					check(t, err, a.kubernetes)
				})
			}
		})
	}
}

// The file for one deployment is the one that is printed, and three rules more.
func TestKubernetesBoundToDeployment(t *testing.T) {
	w := newWorld(t, issuer.ES256, "", false)
	k := w.newKubernetes(
		apiserver.ClaimValidationRule{Expression: `claims.sha == "` + string(approvedSHA) + `"`, Message: "another commit"},
		apiserver.ClaimValidationRule{Expression: `claims.run_attempt == "2"`, Message: "another attempt"},
		apiserver.ClaimValidationRule{Expression: `"1001" in claims.approver_ids.split(",")`, Message: "another approver"},
	)
	k.takes("the approved deployment", w.minted(nil))
	k.takes("two people approved it", w.minted(func(_ *broker.Token, l *broker.Lease) {
		l.Approvers = append(l.Approvers, rules.Actor{ID: 5, Login: "octocat"})
	}))
	stock := w.newKubernetes()
	for _, a := range w.deployments() {
		t.Run(a.name, func(t *testing.T) {
			_, err := k.user(a.token)
			check(t, err, a.kubernetes)
		})
		stock.takes(a.name+", without the three rules", a.token)
	}
}

// Kubernetes looks at no iat, gives nbf a minute and exp none.
func TestKubernetesClocks(t *testing.T) {
	w := newWorld(t, issuer.ES256, "", false)
	k := w.newKubernetes()
	const life = 2 * time.Minute
	for _, c := range []struct {
		ahead time.Duration
		want  string
	}{
		{0, ""},
		{8 * time.Second, ""},
		{110 * time.Second, ""}, // its nbf is a minute before
		{140 * time.Second, "nbf"},
		{-life + 30*time.Second, ""},
		{-life - 2*time.Second, "expired"},
	} {
		t.Run(c.ahead.String(), func(t *testing.T) {
			token := w.skewed(c.ahead)
			if c.want == "" {
				k.takes("it", token)
				return
			}
			_, err := k.user(token)
			check(t, err, c.want)
		})
	}
}

// A life is bounded to the second.
func TestKubernetesLife(t *testing.T) {
	w := newWorld(t, issuer.ES256, "", false)
	k := w.newKubernetes()
	good := w.minted(nil)
	lives := func(n int64) string {
		return w.forged(good, func(c object) { c["exp"] = seconds(c, "iat") + n })
	}
	k.takes("900 seconds", lives(900))
	_, err := k.user(lives(901))
	check(t, err, "it lives too long")
}

// A file that says more than the API server knows is refused: a recipe of another
// version would be.
func TestKubernetesReadsStrictly(t *testing.T) {
	scheme := runtime.NewScheme()
	install.Install(scheme)
	w := newWorld(t, issuer.ES256, "", false)
	text := w.trust(credential, "token: {audience: "+audience+"}")["Kubernetes"].Parts[0].Text
	text = strings.Replace(text, "claimValidationRules", "claimValidationRule", 1)
	if _, err := runtime.Decode(serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDecoder(), []byte(text)); err == nil {
		t.Error("a field that does not exist is taken")
	}
}
