package rules

import "time"

// JobToken is what the OIDC token of a GitHub Actions job says, once its
// signature, issuer, audience and times were checked. There is none without that:
// whoever makes one vouches for it.
type JobToken struct {
	Claims JobClaims `json:"claims"`
	// Actor started the first attempt of the run; whoever runs it again is not named
	// in a token.
	Actor   AccountID `json:"actor_id,omitzero"`
	RefType RefType   `json:"ref_type,omitzero"`
	// ID is the jti: each token that a job fetches has another.
	ID string `json:"jti,omitzero"`
	// Expires is the token's own exp, without leeway.
	Expires time.Time `json:"expires,omitzero"`
}

// What is wrong with a job's token, shown to machines: these may be added to and
// never changed.
const (
	// TokenMalformed: it is not a JSON Web Token as GitHub makes them.
	TokenMalformed = "token-malformed"
	// TokenAlgorithm: it is not signed with RS256.
	TokenAlgorithm = "token-algorithm" //nolint:gosec // the code of a refusal
	// TokenKey: it names no key, or one that the issuer does not publish.
	TokenKey = "token-key"
	// TokenSignature: the issuer's key did not sign it.
	TokenSignature = "token-signature"
	// TokenIssuer: somebody else issued it.
	TokenIssuer = "token-issuer"
	// TokenAudience: it was fetched for somebody else, or for several.
	TokenAudience = "token-audience"
	// TokenExpired: its time is over.
	TokenExpired = "token-expired"
	// TokenEarly: its time has not come.
	TokenEarly = "token-early"
	// TokenLifetime: it lives longer than GitHub's do.
	TokenLifetime = "token-lifetime"
	// TokenClaims: a claim is missing, there twice, or not of its form.
	TokenClaims = "token-claims"
)

// TokenRefused says that a job's token is not accepted, which is for the job to
// mend: it is answered with 401. An issuer that cannot be reached is another error.
type TokenRefused struct { //nolint:errname // it is the token that is refused
	// Code is one of the constants above.
	Code string
	// Claim is the claim that differs, if one does.
	Claim string
	// Text is one sentence for people, without the token. Foreign text in it is
	// quoted and short.
	Text string
}

// Error is the sentence.
func (r *TokenRefused) Error() string { return r.Text }
