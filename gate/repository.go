package gate

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/gate/github"
	"github.com/sallyport/sallyport/gate/ledger"
	"github.com/sallyport/sallyport/gate/store"
	"github.com/sallyport/sallyport/rules"
)

// repository looks at one repository: whether its policy (and, where it holds it,
// the organisation's floor) is another one now, and whether the new one is in
// force; and which pull requests stand open that no event told of.
func (g *Gate) repository(ctx context.Context, work store.Work, at *place) error {
	info, err := at.Info(ctx)
	switch {
	case errors.Is(err, github.ErrNotFound):
		if err := g.readInstallation(ctx, at.installation.ID); err != nil {
			return err
		}
		return g.cfg.Store.Done(ctx, work.Key, work.Lease)
	case err != nil:
		return fmt.Errorf("reading %s: %w", at.fullName, err)
	case info.ID != at.id:
		return g.moved(ctx, at, info.ID)
	case info.FullName != at.fullName || info.DefaultBranch == "":
		return g.moved(ctx, at, info.ID)
	}
	old, err := g.repositoryData(ctx, at.id)
	if err != nil {
		return err
	}
	data := repositoryData{Branch: info.DefaultBranch, Files: map[string]seenFile{}}
	files := []string{rules.PolicyPath}
	if at.holdsFloor() {
		files = append(files, rules.FloorPath)
	}
	news := false
	var alerts []raised
	for _, path := range files {
		seen, changed, found, err := g.policyFile(ctx, at, info.DefaultBranch, path, old.Files[path])
		if err != nil {
			return fmt.Errorf("reading %s of %s: %w", path, at.fullName, err)
		}
		data.Files[path] = seen
		news = news || changed || seen.State != old.Files[path].State
		alerts = append(alerts, found...)
	}
	pulls, open, err := g.lookAgain(ctx, at, news)
	if err != nil {
		return err
	}
	if news {
		runs, err := g.heldRuns(ctx, at)
		if err != nil {
			return err
		}
		pulls = append(pulls, runs...)
	}
	var floor []rules.Mark
	if at.holdsFloor() && news {
		if floor, err = g.siblings(ctx, at); err != nil {
			return err
		}
	}
	if data.Files[rules.FloorPath].State == github.FileFound {
		// First of all: from here on its absence is no absence.
		if err := g.cfg.Store.SetSetting(ctx, floorSetting(at.installation.Account), []byte(strconv.FormatInt(int64(at.id), 10)), g.cfg.Now()); err != nil {
			return err
		}
	}
	policies, err := g.policiesOf(ctx, at, data.Files[rules.PolicyPath].State)
	if err != nil {
		return err
	}
	if !news { // else all of them are marked
		stand, err := g.standing(ctx, at, policies, open)
		if err != nil {
			return err
		}
		pulls = append(pulls, stand...)
	}
	if policies.Repository.Policy != nil {
		runs, err := g.waitingRuns(ctx, at)
		if err != nil {
			return err
		}
		pulls = append(pulls, runs...)
		missing, err := g.unruled(ctx, at, policies, &old, &data)
		if err != nil {
			return err
		}
		alerts = append(alerts, missing...)
	}
	for i := range alerts {
		alerts[i].key = fmt.Sprintf("%d:%s", at.id, alerts[i].key)
	}
	entries, tell, err := g.raise(ctx, at, policies, alerts)
	if err != nil {
		return err
	}
	return g.write(ctx, entries, func(tx *store.Tx) error {
		if err := tell(tx); err != nil {
			return err
		}
		for _, m := range append(pulls, floor...) {
			if err := tx.Mark(m, g.cfg.Now()); err != nil {
				return err
			}
		}
		if err := g.setSubject(tx, work.Key, "", false, data); err != nil {
			return err
		}
		return tx.Done(work.Key, work.Lease)
	})
}

// policyFile finds which version of a policy file is in force now. It brings those
// into force that arrived rightly, in their order, and says what else was found.
func (g *Gate) policyFile(ctx context.Context, at *place, branch, path string, before seenFile) (seen seenFile, changed bool, alerts []raised, err error) {
	file, err := at.File(ctx, path, branch)
	if errors.Is(err, github.ErrNotFound) {
		file, err = github.PolicyFile{State: github.FileAbsent, Branch: branch}, nil
	}
	if err != nil {
		return seenFile{}, false, nil, err
	}
	seen = seenFile{State: file.State, Blob: file.Blob, Branch: branch}
	row, err := g.cfg.Store.Policy(ctx, at.id, path)
	if errors.Is(err, store.ErrNotFound) {
		return seen, false, nil, nil // nothing was adopted
	}
	if err != nil {
		return seenFile{}, false, nil, err
	}
	seen.Refused = before.Refused
	if seen == before || row.Branch == branch && (file.State == github.FileFound && file.Blob == row.Blob && !row.Deleted || file.State == github.FileAbsent && row.Deleted) {
		if seen.Blob == row.Blob {
			seen.Refused = ""
		}
		return seen, false, nil, nil
	}
	seen.Refused = ""
	if row.Branch != branch {
		// Another default branch: whatever stands there, an administrator adopts it.
		_, r := rules.NextPolicy(g.version(row), rules.PolicyCandidate{Version: rules.PolicyVersion{State: rules.PolicyInForce}, DefaultBranch: rules.No})
		return refuse(seen, before, path, r, nil)
	}
	head, err := at.Head(ctx, branch)
	if err != nil {
		return seenFile{}, false, nil, err
	}
	steps, err := at.PolicySteps(ctx, path, row.Commit, head)
	if errors.Is(err, github.ErrNotFound) {
		// The head is there: the two have no history in common, or the commit in force
		// is gone. That is a rewritten history, and no reason to stop looking.
		steps, err = github.Steps{Descends: rules.No}, nil
	}
	if err != nil {
		return seenFile{}, false, nil, err
	}
	if !steps.Complete && steps.Descends == rules.Yes {
		steps.Descends = rules.Unknown
	}
	if len(steps.List) == 0 || steps.Descends != rules.Yes {
		steps.List = []github.Step{{Commit: head, File: file}}
	}
	var why *rules.Reason
	for _, step := range steps.List {
		var next store.Policy
		next, why, err = g.nextPolicy(ctx, at, path, branch, row, steps.Descends, step)
		if err != nil {
			return seenFile{}, changed, alerts, err
		}
		if next.Version == row.Version {
			continue
		}
		if err := g.bringIntoForce(ctx, at, next, step.Pull); err != nil {
			return seenFile{}, changed, alerts, err
		}
		row, changed = next, true
	}
	if why != nil && row.Blob != file.Blob {
		return refuse(seen, before, path, why, changedIf(changed))
	}
	return seen, changed, alerts, nil
}

func changedIf(b bool) *bool { return &b }

// refuse says why what was found is not in force, once.
func refuse(seen, before seenFile, path string, r *rules.Reason, changed *bool) (seenFile, bool, []raised, error) {
	did := changed != nil && *changed
	if r == nil {
		return seen, did, nil, nil
	}
	seen.Refused = r.Code
	if before == seen {
		return seen, did, nil, nil
	}
	key := fmt.Sprintf("policy:%s:%s:%s:%s:%s", path, seen.Branch, seen.Blob, r.SHA, r.Code)
	return seen, did, []raised{{key: key, path: path, reason: *r}}, nil
}

// nextPolicy is the version in force after a step, and why the step's is not.
func (g *Gate) nextPolicy(ctx context.Context, at *place, path, branch string, row store.Policy, descends rules.Tri, step github.Step) (store.Policy, *rules.Reason, error) {
	c := rules.PolicyCandidate{Descends: descends, DefaultBranch: rules.Yes, Version: rules.PolicyVersion{
		Source: rules.PolicySource{Repository: at.id, Path: path, Commit: step.Commit, Blob: step.File.Blob},
	}}
	var policy *rules.Policy
	switch step.File.State {
	case github.FileFound:
		var problems []rules.Problem
		if policy, problems = g.parse(path, step.File.Blob, step.File.Text); policy == nil {
			c.Version.State, c.Version.Why = rules.PolicyInvalid, firstProblem(problems)
		} else {
			c.Version.State, c.Version.Policy = rules.PolicyInForce, policy
		}
	case github.FileAbsent:
		c.Version.State = rules.PolicyDeleted
	default:
		c.Version.State, c.Version.Why = rules.PolicyInvalid, "it is no plain text file"
	}
	var err error
	if c.Arrival, err = g.arrival(ctx, at, branch, row, step); err != nil {
		return row, nil, err
	}
	current := g.version(row)
	next, why := rules.NextPolicy(current, c)
	if why != nil && next.State != rules.PolicyDeleted || next.Source.Commit != step.Commit {
		return row, why, nil
	}
	if next.State == rules.PolicyDeleted && row.Deleted {
		return row, nil, nil
	}
	out := store.Policy{
		Repository: at.id, Path: path, Version: row.Version + 1, Deleted: next.State == rules.PolicyDeleted, Commit: step.Commit, Blob: step.File.Blob,
		Branch: branch, Text: step.File.Text, Arrival: "passed", Why: fmt.Sprintf("pull request %d passed under version %d", step.Pull, row.Version), Since: g.cfg.Now(),
	}
	if c.Arrival != rules.ArrivalPassed {
		out.Arrival, out.Why = "unchanged", fmt.Sprintf("it is the file of version %d again", row.Version)
	}
	if out.Deleted {
		out.Text = nil
		return out, why, nil
	}
	pins, lost, err := g.pins(ctx, at, policy, row.Pins)
	if err != nil {
		return row, nil, err
	}
	if len(lost) > 0 {
		// Who is not there cannot be pinned, and approves nothing.
		g.cfg.Log.WarnContext(ctx, "the policy names who is not there", slog.String("repository", at.fullName), slog.Any("names", lost))
	}
	out.Pins = pins
	return out, nil, nil
}

// arrival is how a step came onto the default branch: whether by a pull request that
// passed the merge door under the version in force before it.
func (g *Gate) arrival(ctx context.Context, at *place, branch string, row store.Policy, step github.Step) (rules.Arrival, error) {
	if step.Pull == 0 || step.PullBase != branch {
		return rules.ArrivalDirect, nil
	}
	// A merge that was made elsewhere and pushed can hold anything.
	if !step.SignedByGitHub && (step.HeadBlob == "" && step.File.State != github.FileAbsent || step.HeadBlob != step.File.Blob) {
		return rules.ArrivalUngated, nil
	}
	var data pullData
	if err := g.subject(ctx, pullKey(at.id, step.Pull), &data); err != nil {
		return rules.ArrivalUnknown, err
	}
	under := ""
	if v := g.version(row); v.State == rules.PolicyInForce {
		under = v.Policy.Digest()
	}
	judged := data.Policy
	if row.Path == rules.FloorPath {
		judged = data.Floor
	}
	if data.Head == "" || data.Head != step.PullHead || data.Decision.Verdict != rules.VerdictAllow || judged != under || under == "" {
		return rules.ArrivalUngated, nil
	}
	return rules.ArrivalPassed, nil
}

// bringIntoForce records a version and stores it, in one transaction.
func (g *Gate) bringIntoForce(ctx context.Context, at *place, p store.Policy, pull int) error {
	e := policyEntry(p)
	e.Subject.PullRequest = pull
	err := g.write(ctx, []ledger.Entry{e}, func(tx *store.Tx) error { return tx.SetPolicy(p) })
	if err != nil && !errors.Is(err, store.ErrAlready) {
		return err
	}
	g.cfg.Log.InfoContext(ctx, "a policy came into force", slog.String("repository", at.fullName), slog.String("path", p.Path), slog.Int64("version", p.Version), slog.Bool("deleted", p.Deleted))
	return nil
}

// policyEntry is a version as it is recorded, with whom its names meant under a
// commitment.
func policyEntry(p store.Policy) ledger.Entry {
	said := policyPayload{Arrival: p.Arrival, Blob: p.Blob, Deleted: p.Deleted, File: p.Path, Version: p.Version, Why: p.Why}
	if !p.Deleted {
		sum := sha256.Sum256(p.Text)
		said.Digest = hex.EncodeToString(sum[:])
	}
	return ledger.Entry{
		Kind: ledger.KindPolicy, Time: p.Since, Subject: ledger.Subject{Repository: p.Repository, SHA: p.Commit}, Payload: said,
		Personal: map[string]any{"pins": p.Pins},
	}
}

// pins finds who the names of a policy are. Lost are those that are nobody. A name that
// the version before has keeps the id that it has there: whoever read the change saw no
// new name, and somebody else may have taken that of a reviewer who gave it up. Only an
// administrator, who adopts a policy under no version before, means by it who has it now.
func (g *Gate) pins(ctx context.Context, at *place, p *rules.Policy, before store.Pins) (store.Pins, []string, error) {
	users, teams := names(p)
	kept := store.Pins{Users: map[string]rules.AccountID{}, Teams: map[string]rules.TeamID{}}
	users = slices.DeleteFunc(users, func(l rules.Login) bool {
		key := rules.Reviewer(l).Key()
		id, known := before.Users[key]
		if known {
			kept.Users[key] = id
		}
		return known
	})
	teams = slices.DeleteFunc(teams, func(key string) bool {
		id, known := before.Teams[key]
		if known {
			kept.Teams[key] = id
		}
		return known
	})
	u, t, lost, err := at.Pins(ctx, at.owner(), users, teams)
	if err != nil {
		return store.Pins{}, nil, fmt.Errorf("asking who the policy's names are: %w", err)
	}
	maps.Copy(kept.Users, u)
	maps.Copy(kept.Teams, t)
	return kept, lost, nil
}

// names are the logins and teams that a policy names.
func names(p *rules.Policy) (users []rules.Login, teams []string) {
	seen := map[string]bool{}
	add := func(list ...rules.Reviewer) {
		for _, r := range list {
			if seen[r.Key()] {
				continue
			}
			seen[r.Key()] = true
			if r.IsTeam() {
				teams = append(teams, r.Key())
			} else {
				users = append(users, rules.Login(r))
			}
		}
	}
	add(p.Reviewers...)
	for _, name := range p.EnvironmentNames() {
		env := p.Environments[name]
		add(env.Reviewers...)
		for _, pattern := range slices.Sorted(maps.Keys(env.Also)) {
			add(env.Also[pattern]...)
		}
	}
	if p.BreakGlass != nil {
		add(p.BreakGlass.Reviewers...)
	}
	for _, a := range p.Agents.Also {
		for _, l := range a.Logins {
			add(rules.Reviewer(l))
		}
	}
	return users, teams
}

// lookAgain are the open pull requests that have to be looked at: all of them after
// the policy changed, else those that moved without an event. It says too how many are
// open.
func (g *Gate) lookAgain(ctx context.Context, at *place, all bool) ([]rules.Mark, int, error) {
	pulls, err := at.OpenPulls(ctx)
	if err != nil {
		return nil, 0, fmt.Errorf("listing the open pull requests of %s: %w", at.fullName, err)
	}
	priority := rules.PriorityHousekeeping
	if all {
		priority = rules.PriorityDoor
	}
	var out []rules.Mark
	for _, p := range pulls {
		s, err := g.cfg.Store.Subject(ctx, pullKey(at.id, p.Number))
		switch {
		case err != nil && !errors.Is(err, store.ErrNotFound):
			return nil, 0, err
		case err == nil && !all && s.SHA == p.HeadSHA && !p.UpdatedAt.After(s.UpdatedAt):
			continue
		}
		out = append(out, g.markAt(at, pullKey(at.id, p.Number), priority))
	}
	return out, len(pulls), nil
}

// siblings marks what is held in all repositories of an installation whose floor
// changed.
func (g *Gate) siblings(ctx context.Context, at *place) ([]rules.Mark, error) {
	repos, err := g.cfg.Store.Repositories(ctx, at.installation.ID)
	if err != nil {
		return nil, err
	}
	byID := map[rules.RepositoryID]store.Repository{}
	for _, r := range repos {
		byID[r.ID] = r
	}
	marks, err := g.heldIn(ctx, byID)
	for i := range marks {
		marks[i].Priority = rules.PriorityDoor
	}
	return marks, err
}

// waitingRuns are the runs that GitHub holds and of which no event told.
func (g *Gate) waitingRuns(ctx context.Context, at *place) ([]rules.Mark, error) {
	runs, err := at.WaitingRuns(ctx)
	if errors.Is(err, github.ErrForbidden) || errors.Is(err, github.ErrNotFound) {
		return nil, nil // no Actions there, or no permission, which is told of elsewhere
	}
	if err != nil {
		return nil, fmt.Errorf("listing the waiting runs of %s: %w", at.fullName, err)
	}
	var out []rules.Mark
	for _, run := range runs {
		s, err := g.cfg.Store.Subject(ctx, runKey(at.id, run))
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return nil, err
		}
		if err != nil || !s.Held {
			out = append(out, g.markAt(at, runKey(at.id, run), rules.PriorityHousekeeping))
		}
	}
	return out, nil
}

// maxRuled is how many environments of a repository are asked for their rules.
const maxRuled = 200

// unruled finds environments that the policy gates and that do not have our rule. It
// asks now and then.
func (g *Gate) unruled(ctx context.Context, at *place, policies rules.Policies, old, data *repositoryData) ([]raised, error) {
	now := g.cfg.Now()
	data.Ruled = old.Ruled
	if age := now.Sub(old.Ruled); age >= 0 && age < relook {
		return nil, nil
	}
	all, err := at.Environments(ctx)
	if errors.Is(err, github.ErrForbidden) || errors.Is(err, github.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing the environments of %s: %w", at.fullName, err)
	}
	var out []raised
	for _, e := range all[:min(len(all), maxRuled)] {
		if !policies.Repository.Policy.Gated(e.Name) {
			continue
		}
		enabled, err := at.RuleEnabled(ctx, e.Name)
		if errors.Is(err, github.ErrNotFound) {
			continue // it went away
		}
		if err != nil {
			return nil, fmt.Errorf("reading the rules of environment %q: %w", e.Name, err)
		}
		if !enabled {
			out = append(out, raised{key: fmt.Sprintf("rule:%d", e.ID), environment: e.Name, reason: rules.RuleMissing(e.Name)})
		}
	}
	data.Ruled = now
	return out, nil
}

// ownerRepo splits OWNER/REPO.
func ownerRepo(s string) (owner, name string, ok bool) {
	owner, name, ok = strings.Cut(s, "/")
	return owner, name, ok && owner != "" && name != "" && !strings.Contains(name, "/")
}
