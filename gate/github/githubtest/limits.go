package githubtest

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Limits are the rate limits. A field of 0 is GitHub's own value, a negative one
// switches that limit off.
type Limits struct {
	// PerHour is the primary limit of an installation or a user, REST and GraphQL
	// counted apart. GitHub's smallest: 5000.
	PerHour int
	// PointsPerMinute is the secondary limit of REST: a GET is 1 point, a write 5.
	// GitHub's: 900.
	PointsPerMinute int
	// ContentPerMinute limits what people see: reviews, comments, … GitHub's: 80.
	ContentPerMinute int
	// ContentPerHour limits the same for an hour. GitHub's: 500.
	ContentPerHour int
	// Concurrent is how many requests may be under way at once. GitHub's: 100.
	Concurrent int
}

// NoLimits switches all limits off, for tests that run in no time.
func NoLimits() Limits { return Limits{-1, -1, -1, -1, -1} }

func (l Limits) withDefaults() Limits {
	for _, f := range []struct {
		field *int
		value int
	}{{&l.PerHour, 5000}, {&l.PointsPerMinute, 900}, {&l.ContentPerMinute, 80}, {&l.ContentPerHour, 500}, {&l.Concurrent, 100}} {
		if *f.field == 0 {
			*f.field = f.value
		}
	}
	return l
}

// window counts what one caller used since a moment.
type window struct {
	from time.Time
	used int
}

// use counts against a limit and reports whether it held. When it did not, wait is
// the time until it does.
func (g *GitHub) use(key string, length time.Duration, limit, cost int) (used int, wait time.Duration) {
	w := g.windows[key]
	if w == nil || g.Now().Sub(w.from) >= length {
		w = &window{from: g.Now()}
		g.windows[key] = w
	}
	if limit >= 0 && w.used+cost > limit {
		return w.used, max(time.Second, w.from.Add(length).Sub(g.Now()))
	}
	w.used += cost
	return w.used, 0
}

// Spend uses up a caller's primary limit but for a rest: a bucket is "core" or
// "graphql".
func (i *Installation) Spend(bucket string, rest int) {
	g := i.app.g
	g.mu.Lock()
	defer g.mu.Unlock()
	g.windows["primary "+bucket+" "+itoa(i.ID)] = &window{from: g.Now(), used: g.cfg.Limits.PerHour - rest}
}

// limited applies the limits to a request. It gives an answer if one is exceeded.
// cost is the price of the primary limit; 0 only writes the headers.
func (c *call) limited(bucket string, cost int) *Refusal {
	g, l := c.g, c.g.cfg.Limits
	if l.Concurrent >= 0 && g.inflight > l.Concurrent {
		return c.secondary(time.Minute)
	}
	who := c.caller.key()
	primary := "primary " + bucket + " " + who
	used, wait := g.use(primary, time.Hour, l.PerHour, cost)
	c.rateHeaders(bucket, primary, used)
	if wait > 0 {
		if bucket == "graphql" {
			return &Refusal{Status: http.StatusOK, Message: "API rate limit exceeded for installation"}
		}
		return refuse(http.StatusForbidden, "API rate limit exceeded for installation ID %s.", who)
	}
	if cost == 0 {
		return nil
	}
	points := 5
	if c.r.Method == http.MethodGet || bucket == "graphql" {
		points = 1
	}
	if _, wait := g.use("points "+who, time.Minute, l.PointsPerMinute, points); wait > 0 {
		return c.secondary(wait)
	}
	if c.route != nil && c.route.content {
		if _, wait := g.use("content "+who, time.Minute, l.ContentPerMinute, 1); wait > 0 {
			return c.secondary(wait)
		}
		if _, wait := g.use("content an hour "+who, time.Hour, l.ContentPerHour, 1); wait > 0 {
			return c.secondary(wait)
		}
	}
	return nil
}

func (c *call) rateHeaders(bucket, key string, used int) {
	limit := c.g.cfg.Limits.PerHour
	if limit < 0 {
		limit = 1_000_000
	}
	from := c.g.Now()
	if w := c.g.windows[key]; w != nil {
		from = w.from
	}
	c.header.Set("X-RateLimit-Limit", strconv.Itoa(limit))
	c.header.Set("X-RateLimit-Used", strconv.Itoa(used))
	c.header.Set("X-RateLimit-Remaining", strconv.Itoa(max(0, limit-used)))
	c.header.Set("X-RateLimit-Reset", itoa(from.Add(time.Hour).Unix()))
	c.header.Set("X-RateLimit-Resource", bucket)
}

func (c *call) secondary(wait time.Duration) *Refusal {
	c.header.Set("Retry-After", itoa(int64((wait+time.Second-1)/time.Second)))
	return refuse(http.StatusForbidden, "You have exceeded a secondary rate limit. Please wait a few minutes before you try again.")
}

// spend takes more of the primary limit than a request was admitted with.
func (c *call) spend(bucket string, more int) {
	c.more += more
	key := "primary " + bucket + " " + c.caller.key()
	if w := c.g.windows[key]; w != nil {
		w.used += more
		c.rateHeaders(bucket, key, w.used)
	}
}

// refund gives back what a request cost of the primary limit: a 304 is free.
func (c *call) refund(bucket string, cost int) {
	key := "primary " + bucket + " " + c.caller.key()
	if w := c.g.windows[key]; w != nil {
		w.used -= cost
		c.rateHeaders(bucket, key, w.used)
	}
}

// rates is GET /rate_limit, which costs nothing.
func (c *call) rates() (any, error) {
	one := func(bucket string) obj {
		limit, used, from := c.g.cfg.Limits.PerHour, 0, c.g.Now()
		if limit < 0 {
			limit = 1_000_000
		}
		if w := c.g.windows["primary "+bucket+" "+c.caller.key()]; w != nil && c.g.Now().Sub(w.from) < time.Hour {
			used, from = w.used, w.from
		}
		return obj{"limit": limit, "used": used, "remaining": max(0, limit-used), "reset": from.Add(time.Hour).Unix()}
	}
	return obj{"resources": obj{"core": one("core"), "search": one("search"), "graphql": one("graphql")}, "rate": one("core")}, nil
}

func bucketOf(path string) string {
	if strings.HasSuffix(path, "/graphql") {
		return "graphql"
	}
	return "core"
}
