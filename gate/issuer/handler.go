package issuer

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/sallyport/sallyport/rules"
)

const (
	// autoPath is the issuer of tier auto below SALLYPORT_URL.
	autoPath = "/auto"
	// discoveryPath and keysPath are below an issuer's address
	// (OpenID Connect Discovery 1.0 §4).
	discoveryPath = "/.well-known/openid-configuration"
	keysPath      = "/.well-known/jwks.json"
	// maxAge is how long others may keep the documents, in seconds. It is short: for
	// as long do they miss that a stolen key was replaced.
	maxAge = 900
)

// discovery is what an issuer says of itself. There is no authorization endpoint:
// tokens are had by leases only.
type discovery struct {
	Issuer        string   `json:"issuer"`
	Keys          string   `json:"jwks_uri"`
	ResponseTypes []string `json:"response_types_supported"`
	SubjectTypes  []string `json:"subject_types_supported"`
	Algorithms    []string `json:"id_token_signing_alg_values_supported"`
	Scopes        []string `json:"scopes_supported"`
	Claims        []string `json:"claims_supported"`
}

// document is one of the issuers' four documents, by its path below SALLYPORT_URL.
func (i *Issuer) document(path string, now time.Time) ([]byte, error) {
	tier := rules.TierHuman
	below, auto := strings.CutPrefix(path, autoPath)
	if auto {
		tier = rules.TierAuto
	}
	r, err := i.ring(tier)
	if err != nil {
		return nil, err
	}
	var value any
	if below == keysPath {
		set := jose.JSONWebKeySet{}
		r.each(now, func(_ State, m member) { set.Keys = append(set.Keys, m.public.Public()) })
		value = set
	} else {
		value = discovery{
			Issuer: i.URL(tier), Keys: i.URL(tier) + keysPath, ResponseTypes: []string{"id_token"}, SubjectTypes: []string{"public"},
			Algorithms: r.algorithms(now), Scopes: []string{"openid"}, Claims: claimNames(),
		}
	}
	body, err := json.Marshal(value)
	return append(body, '\n'), err
}

// documentPaths are the paths of all documents below SALLYPORT_URL.
func documentPaths() []string {
	return []string{discoveryPath, keysPath, autoPath + discoveryPath, autoPath + keysPath}
}

// Handler serves the documents of both issuers to everybody:
//
//	/.well-known/openid-configuration       /.well-known/jwks.json       tier human
//	/auto/.well-known/openid-configuration  /auto/.well-known/jwks.json  tier auto
//
// It answers 404 to other paths and for a tier without a key, and 405 to anything
// but GET and HEAD. If SALLYPORT_URL has a path, whoever is in front takes it off.
func (i *Issuer) Handler() http.Handler {
	mux := http.NewServeMux()
	for _, path := range documentPaths() {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) { i.serve(w, r, path) })
	}
	return mux
}

func (i *Issuer) serve(w http.ResponseWriter, r *http.Request, path string) {
	head := w.Header()
	head.Set("X-Content-Type-Options", "nosniff")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		head.Set("Allow", "GET, HEAD")
		http.Error(w, "want GET or HEAD", http.StatusMethodNotAllowed)
		return
	}
	body, err := i.document(path, i.cfg.Now())
	if err != nil {
		head.Set("Cache-Control", "no-store")
		http.Error(w, "this server issues no tokens of this tier", http.StatusNotFound)
		return
	}
	sum := sha256.Sum256(body)
	head.Set("Content-Type", "application/json")
	head.Set("Cache-Control", "public, max-age="+strconv.Itoa(maxAge))
	head.Set("ETag", `"`+base64.RawURLEncoding.EncodeToString(sum[:16])+`"`)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
}
