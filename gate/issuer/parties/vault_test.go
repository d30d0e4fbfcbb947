package parties_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	jwtauth "github.com/hashicorp/vault-plugin-auth-jwt"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/sallyport/sallyport/gate/broker"
	"github.com/sallyport/sallyport/gate/issuer"
	"github.com/sallyport/sallyport/rules"
)

// vault is Vault's own JWT auth method, mounted in this process.
type vault struct {
	*testing.T
	backend logical.Backend
	storage logical.Storage
	mount   string
	role    string
}

// newVault mounts it and runs the recipe. Change may add to what the recipe says of
// the role.
func (w *world) newVault(change func(role object)) *vault {
	w.Helper()
	v := &vault{T: w.T, storage: &logical.InmemStorage{}}
	var err error
	v.backend, err = jwtauth.Factory(w.Context(), &logical.BackendConfig{
		Logger: hclog.NewNullLogger(), StorageView: v.storage,
		System: &logical.StaticSystemView{DefaultLeaseTTLVal: time.Hour, MaxLeaseTTLVal: 24 * time.Hour},
	})
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { v.backend.Cleanup(context.WithoutCancel(w.Context())) })
	for _, p := range w.trust(credential, "token: {audience: "+audience+"}")["Vault and OpenBao"].Parts {
		for _, c := range w.shell(p.Text) {
			v.run(c, w.ca, change)
		}
	}
	if v.mount == "" || v.role == "" {
		w.Fatal("the recipe mounts nothing, or makes no role")
	}
	return v
}

// run does what a command of the recipe does.
func (v *vault) run(c called, ca string, change func(object)) {
	v.Helper()
	switch {
	case len(c.args) == 5 && slices.Equal(c.args[:3], []string{"vault", "auth", "enable"}) && c.args[4] == "jwt":
		v.mount = strings.TrimPrefix(c.args[3], "-path=")
	case len(c.args) == 4 && slices.Equal(c.args[:2], []string{"vault", "write"}):
		path, ok := strings.CutPrefix(c.args[2], "auth/"+v.mount+"/")
		if !ok {
			v.Fatalf("%q is not below the mount %q", c.args[2], v.mount)
		}
		data := object{}
		d := json.NewDecoder(strings.NewReader(c.input))
		d.UseNumber() // as Vault's own server does
		if err := d.Decode(&data); err != nil {
			v.Fatal(err)
		}
		role, isRole := strings.CutPrefix(path, "role/")
		switch {
		case isRole:
			v.role = role
			if change != nil {
				change(data)
			}
		case path == "config":
			data["oidc_discovery_ca_pem"] = ca
		}
		v.write(path, data)
	default:
		v.Fatalf("what is %q?", c.args)
	}
}

// write sets something up, and fails unless all of it is there afterwards: Vault only
// warns of names that it does not know.
func (v *vault) write(path string, data object) {
	v.Helper()
	if _, err := v.do(logical.UpdateOperation, path, maps.Clone(data)); err != nil {
		v.Fatal(err)
	}
	is, err := v.do(logical.ReadOperation, path, nil)
	if err != nil {
		v.Fatal(err)
	}
	for name, want := range data {
		if name == "token_explicit_max_ttl" {
			continue // it is read in another form
		}
		if got := is.Data[name]; !bytes.Equal(must(json.Marshal(got)), must(json.Marshal(want))) {
			v.Errorf("%s: %s is %v, want %v", path, name, got, want)
		}
	}
}

func (v *vault) do(operation logical.Operation, path string, data object) (*logical.Response, error) {
	q := &logical.Request{Operation: operation, Path: path, Storage: v.storage, Data: data, Connection: &logical.Connection{RemoteAddr: "127.0.0.1"}}
	if operation == logical.UpdateOperation {
		// Vault's core asks whether it is there: else the operation is another.
		asked, there, err := v.backend.HandleExistenceCheck(v.Context(), q)
		if err != nil {
			return nil, fmt.Errorf("vault: %w", err)
		}
		if asked && !there {
			q.Operation = logical.CreateOperation
		}
	}
	r, err := v.backend.HandleRequest(v.Context(), q)
	switch {
	case err != nil:
		return nil, fmt.Errorf("vault: %w", err)
	case r.IsError():
		return nil, r.Error()
	}
	return r, nil
}

// login is a job's: it is refused with an error.
func (v *vault) login(token string) (*logical.Auth, error) {
	r, err := v.do(logical.UpdateOperation, "login", object{"role": v.role, "jwt": token})
	if err != nil {
		return nil, err
	}
	if r == nil || r.Auth == nil {
		return nil, errors.New("vault gave no token")
	}
	return r.Auth, nil
}

func (v *vault) takes(name, token string) {
	v.Helper()
	if _, err := v.login(token); err != nil {
		v.Errorf("%s: %v", name, err)
	}
}

func TestVault(t *testing.T) {
	for _, algorithm := range []string{issuer.RS256, issuer.ES256} {
		t.Run(algorithm, func(t *testing.T) {
			w := newWorld(t, algorithm, "", false)
			v := w.newVault(nil)
			good := w.minted(nil)
			auth, err := v.login(good)
			if err != nil {
				t.Fatal(err)
			}
			if part(good, 0)["alg"] != algorithm || auth.Alias.Name != subject || !slices.Equal(auth.Policies, []string{"sallyport-" + credential}) || auth.ExplicitMaxTTL != 5*time.Minute {
				t.Errorf("%+v", auth)
			}
			for name, want := range map[string]string{"sha": string(approvedSHA), "run_id": "7001", "approval_id": "dec_0f0f", "approver_ids": "1001"} {
				if auth.Metadata[name] != want {
					t.Errorf("the audit log says %s %q, want %q", name, auth.Metadata[name], want)
				}
			}
			v.takes("signed again as it was", w.resigned())
			v.takes("used without an exchange", w.minted(func(p *broker.Token, _ *broker.Lease) { p.Life = 10 * time.Minute }))
			for _, a := range w.attacks() {
				t.Run(a.name, func(t *testing.T) {
					_, err := v.login(a.token)
					if a.vault == "" {
						// A role of Vault has no such rule; the issuer signs none of these.
						if err != nil {
							t.Errorf("Vault can refuse it after all: %v", err)
						}
						return
					}
					check(t, err, a.vault)
				})
			}
			if w.asked.Load() == 0 {
				t.Error("nobody asked for the issuer's documents")
			}
		})
	}
}

// The role for one deployment is the one that is printed, and in its bound_claims
// three claims more.
func TestVaultBoundToDeployment(t *testing.T) {
	w := newWorld(t, issuer.ES256, "", false)
	v := w.newVault(func(role object) {
		bound, ok := role["bound_claims"].(object)
		if !ok {
			t.Fatalf("%v", role)
		}
		bound["sha"], bound["run_attempt"], bound["approver_ids"] = string(approvedSHA), "2", "1001"
	})
	v.takes("the approved deployment", w.minted(nil))
	stock := w.newVault(nil)
	for _, a := range w.deployments() {
		t.Run(a.name, func(t *testing.T) {
			_, err := v.login(a.token)
			check(t, err, a.vault)
		})
		stock.takes(a.name+", without the three claims", a.token)
	}
}

// Clocks differ by seconds. What the recipe says takes that, and takes no token much
// longer than it lives.
func TestVaultClocks(t *testing.T) {
	w := newWorld(t, issuer.ES256, "", false)
	printed := w.newVault(nil)
	leeway := func(skew int) *vault {
		return w.newVault(func(role object) { role["clock_skew_leeway"] = skew })
	}
	none, usual := leeway(-1), leeway(0)
	const life = 2 * time.Minute
	for _, c := range []struct {
		ahead                time.Duration // our clock of Vault's
		printed, none, usual string        // what is said; empty is taken
	}{
		{0, "", "", ""},
		{8 * time.Second, "", "(iat)", ""}, // nbf lies a minute back, and iat does not
		{30 * time.Second, "(iat)", "(iat)", ""},
		{80 * time.Second, "(nbf)", "(nbf)", "(iat)"},
		{-4 * time.Second, "", "", ""},
		{-life + 30*time.Second, "", "", ""},
		{-life - time.Second, "", "(exp)", ""},
		{-life - 20*time.Second, "(exp)", "(exp)", ""},
		{-life - 70*time.Second, "(exp)", "(exp)", "(exp)"}, // expiration_leeway is for tokens without exp
	} {
		t.Run(c.ahead.String(), func(t *testing.T) {
			token := w.skewed(c.ahead)
			for _, p := range []struct {
				of   *vault
				want string
				name string
			}{{printed, c.printed, "printed"}, {none, c.none, "leeway -1"}, {usual, c.usual, "leeway 60 s"}} {
				_, err := p.of.login(token)
				if p.want != "" {
					check(t, err, p.want)
				} else if err != nil {
					t.Errorf("%s: %v", p.name, err)
				}
			}
		})
	}
}

// What Export writes is served by anything that serves files, and is as good.
func TestVaultExportedDocuments(t *testing.T) {
	w := newWorld(t, issuer.RS256, "", true)
	v := w.newVault(nil)
	v.takes("a sound token", w.minted(nil))
	auto := w.minted(func(p *broker.Token, _ *broker.Lease) { p.Sign = w.sign(rules.TierAuto, false) })
	_, err := v.login(auto)
	check(t, err, vaultSignature)
}
