package jobs

import (
	"log/slog"
	"net/http"

	"github.com/go-json-experiment/json"
)

// LoginPath says how a person logs in.
const LoginPath = "/v1/login"

// Login is how a person logs in: GitHub's device flow (RFC 8628), for this server's App.
// It is the body of an answer: fields may be added and never changed. None is secret.
type Login struct {
	ClientID               string `json:"client_id"`
	DeviceAuthorizationURL string `json:"device_authorization_url"`
	TokenURL               string `json:"token_url"`
}

// NewLogin makes the handler of [LoginPath]. A login without a client id answers that
// nobody can log in.
func NewLogin(l Login, log *slog.Logger) http.Handler {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &surface{thing: "login", log: log}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method != http.MethodGet:
			p := refuseWith(http.StatusMethodNotAllowed, "method", "want GET")
			p.allow = http.MethodGet
			s.refuse(w, r, p)
		case l.ClientID == "":
			s.refuse(w, r, loginOff())
		default:
			body, err := json.Marshal(l)
			if err != nil {
				s.refuse(w, r, down("login-unavailable", "how to log in cannot be said now", err))
				return
			}
			_ = show(w, http.StatusOK, body) // who asked went away
		}
	})
}

func loginOff() *problem {
	return refuseWith(http.StatusNotFound, "login-off", "this server gives people no credentials: whoever runs it has to set SALLYPORT_CLIENT_ID, SALLYPORT_CLIENT_SECRET and SALLYPORT_TARGETS_FILE")
}
