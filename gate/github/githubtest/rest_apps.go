package githubtest

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

func appRoutes() []route {
	return []route{
		{pattern: "GET /app", who: byApp, serve: func(c *call) (any, error) { return c.g.appView(c.caller.app), nil }},
		{pattern: "GET /app/hook/config", who: byApp, serve: func(c *call) (any, error) {
			return obj{"content_type": "json", "insecure_ssl": "0", "secret": "********", "url": c.caller.app.webhookURL}, nil
		}},
		{pattern: "GET /app/hook/deliveries", who: byApp, query: "cursor per_page status redelivery", serve: (*call).listDeliveries},
		{pattern: "GET /app/hook/deliveries/{delivery_id}", who: byApp, serve: (*call).getDelivery},
		{pattern: "POST /app/hook/deliveries/{delivery_id}/attempts", who: byApp, serve: (*call).postAttempt},
		{pattern: "GET /app/installations", who: byApp, list: true, query: "since outdated", serve: func(c *call) (any, error) {
			var all []*Installation
			for _, i := range c.g.sortedInstallations() {
				if i.app == c.caller.app {
					all = append(all, i)
				}
			}
			return views(pageOf(c, all), c.g.installationView), nil
		}},
		{pattern: "GET /app/installations/{installation_id}", who: byApp, serve: func(c *call) (any, error) {
			i, err := c.ownInstallation()
			if err != nil {
				return nil, err
			}
			return c.g.installationView(i), nil
		}},
		{pattern: "POST /app/installations/{installation_id}/access_tokens", who: byApp, serve: (*call).postToken},
		{pattern: "GET /installation/repositories", who: byInstallation, list: true, serve: func(c *call) (any, error) {
			var all []*Repository
			for _, r := range c.caller.tok.install.repositories() {
				if c.caller.tok.repos == nil || c.caller.tok.repos[r.ID] {
					all = append(all, r)
				}
			}
			selection := "all"
			if c.caller.tok.install.selected {
				selection = "selected"
			}
			return obj{"total_count": len(all), "repository_selection": selection, "repositories": views(pageOf(c, all), c.g.repoView)}, nil
		}},
		{pattern: "DELETE /installation/token", who: byInstallation, serve: func(c *call) (any, error) {
			delete(c.g.tokens, c.caller.tok.value)
			c.status = http.StatusNoContent
			return nil, nil
		}},
		{pattern: "GET /orgs/{org}/installation", who: byApp, serve: func(c *call) (any, error) {
			return c.installationWhere(func(i *Installation) bool { return i.org == c.org })
		}},
		{pattern: "GET " + repoPath + "/installation", who: byApp, serve: func(c *call) (any, error) {
			return c.installationWhere(func(i *Installation) bool { return i.covers(c.repo) })
		}},
	}
}

func (g *GitHub) sortedInstallations() []*Installation {
	return slices.SortedFunc(maps.Values(g.installs), func(a, b *Installation) int { return int(a.ID - b.ID) })
}

func (c *call) installationWhere(ok func(*Installation) bool) (any, error) {
	for _, i := range c.g.sortedInstallations() {
		if i.app == c.caller.app && ok(i) {
			return c.g.installationView(i), nil
		}
	}
	return nil, notFound()
}

func (c *call) ownInstallation() (*Installation, error) {
	id, err := c.id("installation_id")
	if err != nil {
		return nil, err
	}
	i := c.g.installs[id]
	if i == nil || i.app != c.caller.app {
		return nil, notFound()
	}
	return i, nil
}

// postToken makes an installation token; it refuses to give more than was granted.
func (c *call) postToken() (any, error) {
	i, err := c.ownInstallation()
	if err != nil {
		return nil, err
	}
	var in struct {
		Repositories  []string          `json:"repositories"`
		RepositoryIDs []int64           `json:"repository_ids"`
		Permissions   map[string]string `json:"permissions"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if !i.suspended.IsZero() {
		return nil, refuse(http.StatusForbidden, "This installation has been suspended")
	}
	if len(in.RepositoryIDs) > 500 || len(in.Repositories) > 500 {
		return nil, invalid("no more than 500 repositories")
	}
	var repos map[int64]bool
	if len(in.Repositories)+len(in.RepositoryIDs) > 0 {
		repos = map[int64]bool{}
	}
	outside := refuse(http.StatusUnprocessableEntity, "There is at least one repository that does not exist or is not accessible to the parent installation.")
	for _, id := range in.RepositoryIDs {
		if r := c.g.repos[id]; r == nil || !i.covers(r) {
			return nil, outside
		}
		repos[id] = true
	}
	for _, name := range in.Repositories {
		r := c.g.repoByName(i.account.login, name)
		if r == nil || !i.covers(r) {
			return nil, outside
		}
		repos[r.ID] = true
	}
	granted := maps.Clone(i.permissions)
	if len(in.Permissions) > 0 {
		granted = in.Permissions
		granted["metadata"] = "read"
		for name, level := range granted {
			if have := i.permissions[name]; level != "read" && level != "write" || have == "" || level == "write" && have != "write" {
				return nil, refuse(http.StatusUnprocessableEntity, "The permissions requested are not granted to this installation.")
			}
		}
	}
	t := c.g.newToken(i, repos, granted)
	c.status = http.StatusCreated
	out := obj{"token": t.value, "expires_at": stamp(t.expires), "permissions": granted, "repository_selection": "all"}
	if i.selected || repos != nil {
		out["repository_selection"] = "selected"
		list := []any{}
		for _, r := range i.repositories() {
			if repos == nil || repos[r.ID] {
				list = append(list, c.g.repoView(r))
			}
		}
		out["repositories"] = list
	}
	return out, nil
}

// listDeliveries lists attempts, newest first; the cursor is the last one's id.
func (c *call) listDeliveries() (any, error) {
	per := 30
	if n, err := strconv.Atoi(c.query("per_page")); err == nil && n > 0 {
		per = min(n, 100)
	}
	cursor, _ := strconv.ParseInt(c.query("cursor"), 10, 64)
	out, last := []any{}, int64(0)
	log := c.caller.app.log
	for n := len(log) - 1; n >= 0; n-- {
		d := log[n]
		failed := d.status != "OK"
		if cursor > 0 && d.ID >= cursor || c.g.Now().Sub(d.at) > keptFor || d.status == "pending" ||
			c.query("status") == "success" && failed || c.query("status") == "failure" && !failed {
			continue
		}
		if len(out) == per {
			c.header.Set("Link", `<`+c.g.url+`/app/hook/deliveries?per_page=`+strconv.Itoa(per)+`&cursor=`+itoa(last)+`>; rel="next"`)
			break
		}
		out, last = append(out, d.view()), d.ID
	}
	return out, nil
}

func (d *Delivery) view() obj {
	v := obj{
		"id": d.ID, "guid": d.msg.guid, "delivered_at": d.at.Format(time.RFC3339), "redelivery": d.redelivery, "duration": d.duration.Seconds(), "status": d.status,
		"status_code": d.code, "event": d.msg.event, "action": textOrNil(d.msg.action), "installation_id": d.msg.install, "repository_id": nil, "throttled_at": nil,
	}
	if d.msg.repo != 0 {
		v["repository_id"] = d.msg.repo
	}
	return v
}

func (c *call) delivery() (*Delivery, error) {
	id, err := c.id("delivery_id")
	if err != nil {
		return nil, err
	}
	d := c.g.deliveries[id]
	if d == nil || d.msg.app != c.caller.app || c.g.Now().Sub(d.at) > keptFor || d.status == "pending" {
		return nil, notFound()
	}
	return d, nil
}

func (c *call) getDelivery() (any, error) {
	d, err := c.delivery()
	if err != nil {
		return nil, err
	}
	flat := func(h http.Header) obj {
		out := obj{}
		for k := range h {
			out[k] = h.Get(k)
		}
		return out
	}
	body := d.msg.body()
	head := c.caller.app.headers(d, body)
	v := d.view()
	v["url"] = c.caller.app.webhookURL
	v["request"] = obj{"headers": flat(head), "payload": json.RawMessage(body)}
	v["response"] = obj{"headers": flat(d.answerHead), "payload": strings.ToValidUTF8(string(d.answer), "?")}
	return v, nil
}

func (c *call) postAttempt() (any, error) {
	d, err := c.delivery()
	if err != nil {
		return nil, err
	}
	if err := c.caller.app.redeliver(d.ID); err != nil {
		return nil, err
	}
	c.status = http.StatusAccepted
	return obj{}, nil
}
