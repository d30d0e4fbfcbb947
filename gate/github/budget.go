package github

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"golang.org/x/time/rate"

	"github.com/sallyport/sallyport/rules"
)

// GitHub's limits, and what is kept off them
// (https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api).
const (
	maxAtOnce = 50 // GitHub's own limit is 100 for all of an installation
	// reserve is the part of the hour's budget that housekeeping leaves to doors.
	reserve = 5
	// What people see may be written 80 times in a minute and 500 times in an hour.
	// One a second after a burst of 20 is never more than 80 in 60 s; 400 in an hour
	// after a burst of 100 never more than 500.
	contentBurst     = 20
	contentEvery     = time.Second
	contentHourBurst = 100
	contentHourEvery = time.Hour / 400
	// maxWait is how long a caller is made to wait before it is told to come back.
	maxWait = 3 * time.Second
	// minPause is how long nothing is sent after a refusal that does not say how
	// long. It doubles, up to maxPause, while such refusals go on.
	minPause = time.Minute
	maxPause = 32 * time.Minute
)

// budget is what is known of the limits of an installation, or of the App itself.
type budget struct {
	atOnce       chan struct{}
	minute, hour *rate.Limiter // of content

	// mu guards the rest. It is held for no request.
	mu     sync.Mutex
	until  time.Time // nothing goes out before
	looked time.Time // when what other servers know was last asked for
	pause  time.Duration
	quotas map[string]quota // by resource
}

// quota is what is left of an hour's requests.
type quota struct {
	limit, left int
	reset       time.Time
}

// budget is that of an installation; 0 is the App's own.
func (c *Client) budget(in rules.InstallationID) *budget {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := c.budgets[in]
	if b == nil {
		b = &budget{
			atOnce: make(chan struct{}, maxAtOnce), quotas: map[string]quota{},
			minute: rate.NewLimiter(rate.Every(contentEvery), contentBurst), hour: rate.NewLimiter(rate.Every(contentHourEvery), contentHourBurst),
		}
		c.budgets[in] = b
	}
	return b
}

// resource is which of GitHub's hourly limits a request counts against.
func resource(r *http.Request) string {
	if isQuery(r) {
		return "graphql"
	}
	return "core"
}

// makesContent reports whether a request makes what people see. Check runs do not
// count as such, and what takes an approval back never waits.
func makesContent(r *http.Request) bool {
	switch r.Method {
	case http.MethodPost, http.MethodPut, http.MethodPatch:
		return strings.Contains(r.URL.Path, "/repos/") && !strings.Contains(r.URL.Path, "/check-runs") && !strings.HasSuffix(r.URL.Path, "/dismissals")
	default:
		return false
	}
}

// admit refuses a request that would meet a limit.
func (b *budget) admit(now time.Time, resource string, housekeeping bool) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now.Before(b.until) {
		return &RateLimited{Until: b.until}
	}
	q := b.quotas[resource]
	if housekeeping && q.limit > 0 && q.left < q.limit/reserve && now.Before(q.reset) {
		return &RateLimited{Until: q.reset}
	}
	return nil
}

// space waits until something may be written that people see, or refuses it if that
// takes long.
func (b *budget) space(ctx context.Context, now time.Time) error {
	minute, hour := b.minute.ReserveN(now, 1), b.hour.ReserveN(now, 1)
	giveBack := func() {
		minute.CancelAt(now)
		hour.CancelAt(now)
	}
	wait := max(minute.DelayFrom(now), hour.DelayFrom(now))
	if wait > maxWait {
		giveBack()
		return &RateLimited{Until: now.Add(wait)}
	}
	if wait == 0 {
		return nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		giveBack()
		return ctx.Err()
	}
}

// hold lets nothing out before a time.
func (b *budget) hold(until time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if until.After(b.until) {
		b.until = until
	}
}

// learn takes over what an answer says of the limits. Limited says that one is
// reached, until when.
func (b *budget) learn(r *http.Response, body []byte, now time.Time) (until time.Time, limited bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	limit, err := strconv.Atoi(r.Header.Get("X-Ratelimit-Limit"))
	left, err2 := strconv.Atoi(r.Header.Get("X-Ratelimit-Remaining"))
	reset, err3 := strconv.ParseInt(r.Header.Get("X-Ratelimit-Reset"), 10, 64)
	known := errors.Join(err, err2, err3) == nil
	if name := r.Header.Get("X-Ratelimit-Resource"); known && name != "" {
		b.quotas[name] = quota{limit, left, time.Unix(reset, 0)}
	}
	if r.StatusCode != http.StatusForbidden && r.StatusCode != http.StatusTooManyRequests {
		b.pause = 0
		return time.Time{}, false
	}
	after, err := strconv.Atoi(r.Header.Get("Retry-After"))
	switch {
	case err == nil && after > 0:
		until = now.Add(time.Duration(min(after, 3600)) * time.Second)
	case known && left == 0 && time.Unix(reset, 0).After(now):
		until = time.Unix(reset, 0)
	case r.StatusCode == http.StatusTooManyRequests, r.Header.Get("Retry-After") != "", r.Header.Get("X-Ratelimit-Remaining") == "0", secondary(body):
		b.pause = min(max(2*b.pause, minPause), maxPause)
		until = now.Add(b.pause)
	default:
		return time.Time{}, false // a permission
	}
	if until.After(b.until) {
		b.until = until
	}
	return until, true
}

// secondary reports whether a 403 is about the secondary limit. Its documentation
// link is what says so where no header does.
func secondary(body []byte) bool {
	var answer struct {
		Documentation string `json:"documentation_url"`
	}
	if json.Unmarshal(body, &answer) != nil {
		return false
	}
	_, about, _ := strings.Cut(answer.Documentation, "#")
	return strings.HasSuffix(about, "secondary-rate-limits") || about == "abuse-rate-limits" || strings.HasSuffix(answer.Documentation, "secondary-rate-limits")
}
