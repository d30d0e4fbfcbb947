package jobs

import (
	"errors"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/sallyport/sallyport/rules"
)

const (
	// DefaultReadTimeout is how long a body may take to arrive.
	DefaultReadTimeout = 5 * time.Second

	// maxBearer is the longest bearer in bytes; it bounds what is copied, and whoever
	// looks at it has the limit that counts.
	maxBearer = 16 << 10
	// maxBody is room for the name of a credential and what may come to stand beside
	// it.
	maxBody = 4 << 10
	// letters are those of ids and, with a few signs more, of bearers.
	letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
	// whoseToken is the bearer of all that a job asks in its own name.
	whoseToken = "the job's OIDC token" //nolint:gosec // says what is wanted, and is none
)

// surface is what holds and leases have in common: a path to POST to with the job's
// token, and below it a path for each thing that was made.
type surface struct {
	thing string // "hold" or "lease", for codes and the log
	path  string
	below string // the method of path/ID
	want  string // what a body is to be
	often string // what to do instead of asking too often

	verifier    Verifier
	readTimeout time.Duration
	now         func() time.Time
	log         *slog.Logger
	jobs        *rate[job]
}

// complete refuses what cannot work and fills in what nil and zero mean.
func (s *surface) complete() error {
	if s.verifier == nil {
		return errors.New(s.thing + "s: no verifier: anybody could ask")
	}
	if s.readTimeout <= 0 {
		s.readTimeout = DefaultReadTimeout
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.jobs = newRate[job]()
	return nil
}

// route is the id in the path, "" for the path itself, once the method is right.
func (s *surface) route(r *http.Request) (string, *problem) {
	id, method := "", http.MethodPost
	if r.URL.Path != s.path {
		rest, ok := strings.CutPrefix(r.URL.Path, s.path+"/")
		if !ok || !isID(rest) {
			return "", refuseWith(http.StatusNotFound, "not-found", "there is nothing at this path")
		}
		id, method = rest, s.below
	}
	if r.Method != method {
		p := refuseWith(http.StatusMethodNotAllowed, "method", "want "+method)
		p.allow = method
		return "", p
	}
	return id, nil
}

func isID(s string) bool { return s != "" && len(s) <= 64 && strings.Trim(s, letters) == "" }

// authenticate verifies the job's token in the header and counts the request.
func (s *surface) authenticate(r *http.Request) (rules.JobToken, *problem) {
	raw, p := bearer(r.Header, "token-missing", whoseToken)
	if p != nil {
		return rules.JobToken{}, p
	}
	return s.verify(r, raw)
}

// verify verifies a job's token and counts the request.
func (s *surface) verify(r *http.Request, raw string) (rules.JobToken, *problem) {
	token, err := s.verifier.Verify(r.Context(), raw)
	if err != nil {
		var refused *rules.TokenRefused
		if errors.As(err, &refused) {
			p := refuseWith(http.StatusUnauthorized, refused.Code, refused.Text)
			p.Claim, p.challenge = refused.Claim, `Bearer error="invalid_token"`
			return rules.JobToken{}, p
		}
		return rules.JobToken{}, down("issuer-unavailable", "the token cannot be verified now: the issuer's keys cannot be read", err)
	}
	c := &token.Claims
	if wait := s.jobs.take(job{c.RepositoryID, c.RunID, c.CheckRunID}, s.now()); wait > 0 {
		return rules.JobToken{}, tooOften("this job asked", s.often, wait)
	}
	return token, nil
}

// bearer is what the one Authorization header has; whose says what that is to be.
func bearer(head http.Header, code, whose string) (string, *problem) {
	bad := func(text string) (string, *problem) {
		p := refuseWith(http.StatusUnauthorized, code, text)
		p.challenge = "Bearer"
		return "", p
	}
	values := head.Values("Authorization")
	if len(values) != 1 {
		return bad("want one Authorization header: Bearer and " + whose)
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return bad("want the Authorization header to be Bearer and " + whose)
	}
	token = strings.Trim(token, " ")
	if !isBearer(token) {
		return bad("the bearer is not " + whose)
	}
	return token, nil
}

// isBearer reports whether s can stand in an Authorization header (RFC 6750 §2.1).
func isBearer(s string) bool {
	return s != "" && len(s) <= maxBearer && strings.Trim(s, letters+".~+/=") == ""
}

// read reads a JSON object into a struct, which stays as it is where there is no
// body. Members that it does not have, and doubled ones, are refused.
func (s *surface) read(w http.ResponseWriter, r *http.Request, into any) *problem {
	tooLarge := refuseWith(http.StatusRequestEntityTooLarge, "body", "the body is larger than "+strconv.Itoa(maxBody)+" bytes; want "+s.want)
	if r.ContentLength > maxBody {
		return tooLarge
	}
	if r.ContentLength == 0 {
		return nil // and no time limit: it would end the request while it is worked on
	}
	// The time limit is the connection's, until the body has come. Without one, as in
	// a test that has no connection, there is none.
	if err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(s.readTimeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return down("connection", "the connection takes no time limit", err)
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var large *http.MaxBytesError
	var timeout interface{ Timeout() bool }
	switch {
	case errors.As(err, &large):
		return tooLarge
	case errors.As(err, &timeout) && timeout.Timeout():
		return refuseWith(http.StatusRequestTimeout, "body", "the body did not come in time")
	case err != nil:
		return refuseWith(http.StatusBadRequest, "body", "the body could not be read")
	case len(body) == 0:
		return nil
	}
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" || len(r.Header.Values("Content-Type")) != 1 || r.Header.Get("Content-Encoding") != "" {
		return refuseWith(http.StatusUnsupportedMediaType, "body", "want "+s.want+" as application/json")
	}
	// null is no object, and would pass for one.
	if err := json.Unmarshal(body, into, json.RejectUnknownMembers(true)); err != nil || !strings.HasPrefix(strings.TrimLeft(string(body), " \t\r\n"), "{") {
		return refuseWith(http.StatusBadRequest, "body", "want "+s.want+": all else follows from the token")
	}
	return nil
}
