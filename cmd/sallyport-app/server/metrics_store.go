package server

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sallyport/sallyport/gate"
	"github.com/sallyport/sallyport/gate/github"
	"github.com/sallyport/sallyport/gate/store"
)

const (
	// countsKept is for how long what was counted in the store counts, however often
	// and by however many it is scraped; countsTime is how long a scrape waits for it.
	countsKept = 10 * time.Second
	countsTime = 3 * time.Second
)

// counts is what was counted in the store.
type counts struct {
	stats store.Stats
	held  map[string]gate.HeldStats // nil until GitHub was reached
}

// count counts.
func (x *Server) count(ctx context.Context) (counts, error) {
	if _, err := x.ping.ask(ctx); err != nil {
		return counts{}, err
	}
	var out counts
	var err error
	if out.stats, err = x.store.Stats(ctx, time.Now()); err != nil {
		return counts{}, err
	}
	if g := x.gate.Load(); g != nil {
		if out.held, err = g.HeldDeployments(ctx); err != nil {
			return counts{}, err
		}
	}
	return out, nil
}

// storeMetrics are what is counted in the store, and what is known of GitHub's limits,
// when they are scraped. Replicas that share a store all say the same of it.
type storeMetrics struct {
	x   *Server
	all []*prometheus.Desc

	storeUp, githubReached, workKeys, workOldest, pullsHeld, deploymentsHeld, deploymentOldest, leasesAlive, leasesUnended, leasesOverdue,
	noticesWaiting, noticesOldest, noticesGivenUp, effectsOpen, ledgerEntries, budgetLeft, budgetLimit, budgetReset, githubPaused *prometheus.Desc
}

func newStoreMetrics(x *Server) *storeMetrics {
	m := &storeMetrics{x: x}
	gauge := func(name, help string, labels ...string) *prometheus.Desc {
		d := prometheus.NewDesc("sallyport_"+name, help, labels, nil)
		m.all = append(m.all, d)
		return d
	}
	m.storeUp = gauge("store_up", "1 if the database could be read and written, 0 if not: then nothing that is counted in it is shown.")
	m.githubReached = gauge("github_reached", "1 once GitHub said who the App is, so that there is work done.")
	m.workKeys = gauge("work_keys", "Keys to look at, by state.", "state")
	m.workOldest = gauge("work_oldest_ready_seconds", "For how long the oldest key could have been looked at, and was not; 0 if none waits.")
	m.pullsHeld = gauge("pull_requests_held", "Pull requests that are held.")
	m.deploymentsHeld = gauge("deployments_held", "Deployments that are held or under way, by what they wait for.", "state")
	m.deploymentOldest = gauge("deployment_oldest_seconds", "Since when the oldest of them is held.", "state")
	m.leasesAlive = gauge("leases", "Leases that have not ended, by state and what made the credential.", "state", "provider")
	m.leasesUnended = gauge("leases_unended", "Leases that could not be ended when it was last tried.", "provider")
	m.leasesOverdue = gauge("leases_overdue", "Leases that have not ended although their deadline is over.", "provider")
	m.noticesWaiting = gauge("notices_waiting", "Notices that wait to be sent.")
	m.noticesOldest = gauge("notices_oldest_due_seconds", "For how long the oldest notice should have been sent, and was not; 0 if none is due.")
	m.noticesGivenUp = gauge("notices_given_up", "Notices that did not arrive and are not tried again.")
	m.effectsOpen = gauge("effects_open", "Effects that are on record and not known to have happened.")
	m.ledgerEntries = gauge("ledger_entries", "Entries of the ledger.")
	m.budgetLeft = gauge("github_budget_remaining", "Requests that the installation with the least left has in this hour.", "resource")
	m.budgetLimit = gauge("github_budget_limit", "Requests that this installation has in an hour.", "resource")
	m.budgetReset = gauge("github_budget_reset_timestamp_seconds", "When it has all of them again.", "resource")
	m.githubPaused = gauge("github_paused", "Installations that nothing is sent for now, since GitHub said to wait.")
	return m
}

// Describe describes all of them.
func (m *storeMetrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range m.all {
		to <- d
	}
}

// Collect says what is known. Of a store that is away it says only that.
func (m *storeMetrics) Collect(to chan<- prometheus.Metric) {
	x := m.x
	say := func(d *prometheus.Desc, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	m.limits(say, x.github.Limits())
	say(m.githubReached, truth(x.gate.Load() != nil))
	c, err := x.counts.ask(context.Background())
	say(m.storeUp, truth(err == nil))
	if err != nil {
		return
	}
	now := time.Now()
	s := c.stats
	for state, n := range map[string]int{"ready": s.Ready, "leased": s.Leased, "backoff": s.Backoff, "later": s.Later, "poisoned": s.Poisoned} {
		say(m.workKeys, float64(n), state)
	}
	say(m.workOldest, age(now, s.ReadySince))
	say(m.pullsHeld, float64(s.HeldPulls))
	for state, h := range c.held {
		say(m.deploymentsHeld, float64(h.Count), state)
		say(m.deploymentOldest, age(now, h.Since), state)
	}
	m.leases(say, s.Leases)
	say(m.noticesWaiting, float64(s.Notices))
	say(m.noticesOldest, age(now, s.NoticesDue))
	say(m.noticesGivenUp, float64(s.NoticesGivenUp))
	say(m.effectsOpen, float64(s.Effects))
	say(m.ledgerEntries, float64(s.LedgerEntries))
}

// leases says it of every provider that a target has, also where there is no
// lease.
func (m *storeMetrics) leases(say func(*prometheus.Desc, float64, ...string), all []store.LeaseStats) {
	type key struct {
		state    store.LeaseState
		provider string
	}
	alive, unended, overdue := map[key]int{}, map[string]int{}, map[string]int{}
	begin := func(provider string) {
		for _, s := range []store.LeaseState{store.LeaseCreating, store.LeaseLive, store.LeaseRevoking} {
			alive[key{s, provider}] += 0
		}
		unended[provider] += 0
		overdue[provider] += 0
	}
	if m.x.settings.Targets != nil {
		for name := range m.x.settings.Targets.Targets {
			begin(m.x.providerOf(name))
		}
	}
	for _, l := range all {
		p := m.x.providerOf(l.Target)
		begin(p)
		alive[key{l.State, p}] += l.Count
		unended[p] += l.Failed
		overdue[p] += l.Overdue
	}
	for k, n := range alive {
		say(m.leasesAlive, float64(n), string(k.state), k.provider)
	}
	for p, n := range unended {
		say(m.leasesUnended, float64(n), p)
		say(m.leasesOverdue, float64(overdue[p]), p)
	}
}

// providerOf is what makes a target's credentials, or "gone" for a target that is not
// declared any more.
func (x *Server) providerOf(target string) string {
	if x.settings.Targets == nil || x.settings.Targets.Targets[target] == nil {
		return "gone"
	}
	switch t := x.settings.Targets.Targets[target]; {
	case t.Token != nil:
		return "token"
	case t.Postgres != nil:
		return "postgres"
	case t.AWS != nil:
		return "aws"
	case t.GitHub != nil:
		return "github"
	default:
		return "other"
	}
}

func (m *storeMetrics) limits(say func(*prometheus.Desc, float64, ...string), l github.Limits) {
	say(m.githubPaused, float64(l.Paused))
	for resource, q := range map[string]github.Quota{"core": l.Core, "graphql": l.GraphQL} {
		if q.Limit == 0 {
			continue // unknown is not nothing
		}
		say(m.budgetLeft, float64(q.Left), resource)
		say(m.budgetLimit, float64(q.Limit), resource)
		say(m.budgetReset, float64(q.Reset.Unix()), resource)
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// age is how long ago something was, 0 if it was not.
func age(now, since time.Time) float64 {
	if since.IsZero() {
		return 0
	}
	return max(0, now.Sub(since).Seconds())
}
