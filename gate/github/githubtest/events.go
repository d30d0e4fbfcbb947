package githubtest

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// emit sends an event about a repository to every App that is installed there,
// subscribed and permitted.
func (g *GitHub) emit(r *Repository, event, action string, by *User, payload obj) {
	for _, i := range g.installationsOf(r) {
		if !slices.Contains(i.app.events, event) {
			continue
		}
		need := eventNeeds(event)
		if event == "issue_comment" && i.permissions["pull_requests"] != "" {
			need = "pull_requests" // comments on pull requests pass with either
		}
		if need == "" || i.permissions[need] != "" {
			g.emitTo(i, r, event, action, by, payload)
		}
	}
}

// emitOrg sends an event about an organisation.
func (g *GitHub) emitOrg(o *Organization, event, action string, by *User, payload obj) {
	for _, i := range g.installs {
		if i.org == o && i.suspended.IsZero() && slices.Contains(i.app.events, event) && i.permissions[eventNeeds(event)] != "" {
			g.emitTo(i, nil, event, action, by, payload)
		}
	}
}

// emitTo writes one delivery down and queues it.
func (g *GitHub) emitTo(i *Installation, r *Repository, event, action string, by *User, payload obj) {
	p := obj{}
	maps.Copy(p, payload)
	if action != "" {
		p["action"] = action
	}
	p["sender"] = g.userView(by)
	if _, own := p["installation"]; !own {
		p["installation"] = obj{"id": i.ID, "node_id": nodeID("Installation", i.ID)}
	}
	m := &message{guid: guid(), app: i.app, install: i.ID, event: event, action: action, sender: by.ID}
	org := i.org
	if r != nil {
		m.repo, org = r.ID, r.org
		if _, own := p["repository"]; !own {
			p["repository"] = g.repoView(r)
			if event == "push" {
				p["repository"] = g.pushRepoView(r)
			}
		}
	}
	if org != nil && event != "installation" && event != "installation_repositories" {
		p["organization"] = g.orgView(org)
	}
	body := encode(p)
	m.packed = g.pack(body)
	g.queue(m, body)
}

func guid() string {
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		misuse("random bytes: %v", err)
	}
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// encode is JSON as GitHub writes it: no escaped angle brackets, no last newline.
func encode(v any) []byte {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		misuse("encoding an answer: %v", err)
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n"))
}
