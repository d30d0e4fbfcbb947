package jobs

import (
	"container/list"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/sallyport/sallyport/rules"
)

const (
	// perMinute is how many requests one asker may make within any minute.
	perMinute = 30
	// maxAskers is how many askers are remembered: 7 MB. Beyond them the one that has
	// asked least lately is forgotten, which gives it a new minute and nobody less.
	maxAskers = 8192
)

// job is whose requests are counted: only verified tokens make one.
type job struct {
	repository rules.RepositoryID
	run        rules.RunID
	check      rules.CheckRunID
}

// asked are the moments of an asker's last requests, a ring.
type asked[K comparable] struct {
	who  K
	at   [perMinute]time.Time
	next int
}

// rate counts requests by who makes them.
type rate[K comparable] struct {
	mu     sync.Mutex
	askers map[K]*list.Element
	order  *list.List // of *asked[K], whoever asked least lately first
}

func newRate[K comparable]() *rate[K] {
	return &rate[K]{askers: map[K]*list.Element{}, order: list.New()}
}

// take counts a request, or says how long to wait before one would be. One that is
// refused is not counted.
func (r *rate[K]) take(who K, now time.Time) (wait time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.askers[who]
	if e == nil {
		if len(r.askers) >= maxAskers {
			r.forgetLocked()
		}
		e = r.order.PushBack(&asked[K]{who: who})
		r.askers[who] = e
	}
	a := e.Value.(*asked[K]) //nolint:errcheck,forcetypeassert // the list has nothing else
	// The place of the next one is that of the request perMinute before it.
	if oldest := a.at[a.next]; !oldest.IsZero() {
		if since := now.Sub(oldest); since >= 0 && since < time.Minute {
			return time.Minute - since
		}
	}
	a.at[a.next] = now
	a.next = (a.next + 1) % perMinute
	r.order.MoveToBack(e)
	return 0
}

// forgetLocked forgets whoever asked least lately.
func (r *rate[K]) forgetLocked() {
	if a, ok := r.order.Remove(r.order.Front()).(*asked[K]); ok {
		delete(r.askers, a.who)
	}
}

// tooOften refuses what take did not count.
func tooOften(who, instead string, wait time.Duration) *problem {
	p := refuseWith(http.StatusTooManyRequests, "rate", who+" "+strconv.Itoa(perMinute)+" times within a minute; "+instead)
	p.retry = int((wait + time.Second - 1) / time.Second)
	return p
}
