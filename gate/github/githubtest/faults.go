package githubtest

import (
	"net/http"
	"path"
	"strings"
	"time"
)

// Kind is a kind of fault.
type Kind int

// Kinds of faults. The first four do nothing at GitHub; Unanswered and
// DoneThenError act first, so that a client that asks again may do it twice.
const (
	// ServerError answers 502 without acting.
	ServerError Kind = iota
	// Reset closes the connection without acting.
	Reset
	// Hang never answers and does not act; it ends when the client gives up.
	Hang
	// Throttle answers as the secondary limit does, with Retry-After.
	Throttle
	// Unanswered acts and then closes the connection.
	Unanswered
	// DoneThenError acts and then answers 502.
	DoneThenError
	// Stale answers a read as it was answered the last time.
	Stale
)

func (k Kind) String() string {
	names := []string{"server error", "reset", "hang", "throttle", "unanswered", "done then error", "stale"}
	if k < 0 || int(k) >= len(names) {
		return "unknown"
	}
	return names[k]
}

// Fault is a fault to come. It is used up when Times requests met it.
type Fault struct {
	Kind Kind
	// Method and Path say which requests meet it: Path is matched as path.Match does,
	// "**" alone matches everything. Empty means any.
	Method, Path string
	// When, if not nil, must agree too. It is called with the GitHub locked.
	When func(Request) bool
	// Times is how many requests meet it. Default 1; negative for ever.
	Times int
	// RetryAfter is what Throttle asks for. Default a minute.
	RetryAfter time.Duration
	// Status is what Throttle answers: 403 or 429, both of which GitHub uses. Default
	// 403.
	Status int
	met    int
}

// Fail arms a fault. Several are asked in the order they came.
func (g *GitHub) Fail(f Fault) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if f.Times == 0 {
		f.Times = 1
	}
	if f.RetryAfter == 0 {
		f.RetryAfter = time.Minute
	}
	if f.Status == 0 {
		f.Status = http.StatusForbidden
	}
	g.faults = append(g.faults, &f)
}

// Heal disarms all faults.
func (g *GitHub) Heal() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.faults = nil
}

// fault is the fault that a request meets, or nil.
func (g *GitHub) fault(q Request) *Fault {
	for _, f := range g.faults {
		if f.Times >= 0 && f.met >= f.Times || f.Method != "" && f.Method != q.Method {
			continue
		}
		if ok, err := path.Match(f.Path, q.Path); f.Path != "" && f.Path != "**" && (!ok || err != nil) {
			continue
		}
		if f.Kind == Stale && q.Write() || f.When != nil && !f.When(q) {
			continue
		}
		f.met++
		return f
	}
	return nil
}

// answer is what a caller got for an address.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// A Request is one request that came.
type Request struct {
	// Method and Path are as sent; Path is still escaped, without the query.
	Method, Path string
	// Query is the raw query.
	Query string
	// Kind is the route, such as "GET /repos/{owner}/{repo}/pulls/{pull_number}",
	// "POST /graphql query pullRequest", or "" if there is none.
	Kind string
	// Status is the answer's; 0 if there was none.
	Status int
	// Cost is what it took of the primary limit.
	Cost int
	// App is the slug of the App that asked, or "".
	App string
	// Body is what was sent.
	Body []byte
	// Fault is the fault that it met, or "".
	Fault string
	At    time.Time
}

// Write reports whether the request may change something.
func (r Request) Write() bool {
	if strings.HasPrefix(r.Kind, "POST /graphql query") {
		return false
	}
	return r.Method != http.MethodGet && r.Method != http.MethodHead
}

// Requests lists every request so far, in the order in which they were answered.
func (g *GitHub) Requests() []Request {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]Request(nil), g.requests...)
}

// Counts says how many requests of each kind came.
func (g *GitHub) Counts() map[string]int {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := map[string]int{}
	for _, r := range g.requests {
		out[r.Kind]++
	}
	return out
}

// ForgetRequests starts counting anew.
func (g *GitHub) ForgetRequests() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.requests = nil
}
