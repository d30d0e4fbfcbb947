package holds

import (
	"sync"
	"time"

	"github.com/sallyport/sallyport/rules"
)

const (
	// perMinute is how many requests one job may make within any minute.
	perMinute = 30
	// maxJobs is how many jobs are remembered: 6 MB. Beyond them the one that has
	// asked least lately is forgotten, which gives it a new minute and nobody less.
	maxJobs = 8192
)

// job is whose requests are counted: only verified tokens make one.
type job struct {
	repository rules.RepositoryID
	run        rules.RunID
	check      rules.CheckRunID
}

// asked are the moments of a job's last requests, a ring.
type asked struct {
	at   [perMinute]time.Time
	next int
}

// last is the newest moment.
func (a *asked) last() time.Time { return a.at[(a.next+perMinute-1)%perMinute] }

// rate counts requests.
type rate struct {
	mu   sync.Mutex
	jobs map[job]*asked
}

func newRate() *rate { return &rate{jobs: map[job]*asked{}} }

// take counts a request, or says how long to wait before one would be. One that is
// refused is not counted.
func (r *rate) take(j job, now time.Time) (wait time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.jobs[j]
	if a == nil {
		if len(r.jobs) >= maxJobs {
			r.forgetLocked(now)
		}
		a = &asked{}
		r.jobs[j] = a
	}
	// The place of the next one is that of the request perMinute before it.
	if oldest := a.at[a.next]; !oldest.IsZero() {
		if since := now.Sub(oldest); since >= 0 && since < time.Minute {
			return time.Minute - since
		}
	}
	a.at[a.next] = now
	a.next = (a.next + 1) % perMinute
	return 0
}

// forgetLocked forgets the jobs that have not asked for a minute, or, if all have,
// the one whose last request is oldest.
func (r *rate) forgetLocked(now time.Time) {
	var least job
	var when time.Time
	forgot := false
	for j, a := range r.jobs {
		last := a.last()
		if now.Sub(last) >= time.Minute {
			delete(r.jobs, j)
			forgot = true
		} else if when.IsZero() || last.Before(when) {
			least, when = j, last
		}
	}
	if !forgot {
		delete(r.jobs, least)
	}
}
