package rules

import (
	"cmp"
	"slices"
	"strings"
)

// actionsApp is the slug of the App that GitHub Actions' jobs are check runs of.
const actionsApp Slug = "github-actions"

// checks waits for the checks that must be green: those in the touched
// environments' after, and for an automatic approval at least one.
func (j *mergeDoor) checks(envs []int, auto, approved bool) {
	var wanted []CheckName
	var bare []string
	for _, e := range envs {
		env := j.pc.envs[e]
		wanted = append(wanted, env.After...)
		if len(env.After) == 0 && env.Gate == GateAuto {
			bare = append(bare, j.pc.names[e])
		}
	}
	slices.SortFunc(wanted, func(a, b CheckName) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.App, b.App))
	})
	wanted = slices.Compact(wanted)
	if !auto {
		bare = nil
	}
	if len(wanted) == 0 && len(bare) == 0 {
		return
	}
	if j.c.Checks == nil && j.c.Basis != Local {
		j.say(codeChecksUnknown, VerdictWait, at{})
		return
	}
	before := len(j.rs)
	var green []string
	for _, w := range wanted {
		if j.green(w, approved) {
			green = append(green, w.Name)
		}
	}
	green = append(green, j.required(bare)...)
	open := slices.ContainsFunc(j.rs[before:], func(r Reason) bool { return r.Verdict != VerdictAllow })
	if !open && len(green) > 0 {
		slices.Sort(green)
		j.say(codeChecksGreen, VerdictAllow, at{}, quoted(strings.Join(slices.Compact(green), ", ")))
	}
}

// required judges the checks that the base branch requires, for environments
// that name none themselves.
func (j *mergeDoor) required(bare []string) (green []string) {
	if len(bare) == 0 {
		return nil
	}
	if j.c.RequiredChecks == nil {
		j.say(codeRequiredUnknown, VerdictWait, at{env: bare[0]}, strings.Join(bare, ", "))
		return nil
	}
	pinned := 0
	for _, r := range j.c.RequiredChecks {
		if r.App == "" {
			continue // anyone may post it
		}
		pinned++
		ok := false
		var last *Check
		for i := range j.c.Checks {
			k := &j.c.Checks[i]
			if k.Name != r.Name || !strings.EqualFold(string(k.App), string(r.App)) || j.ownApp(k.App) {
				continue
			}
			// As GitHub counts them: skipped and neutral satisfy a required check.
			good := k.Conclusion == "success" || k.Conclusion == "skipped" || k.Conclusion == "neutral"
			if last == nil || !good {
				last, ok = k, good
			}
		}
		switch {
		case ok:
			green = append(green, r.Name)
		case last == nil:
			j.say(codeCheckMissing, VerdictWait, at{}, quoted(r.Name))
		default:
			j.notGreen(last)
		}
	}
	if pinned == 0 {
		j.say(codeNoneRequired, VerdictWait, at{})
	}
	return green
}

func (j *mergeDoor) notGreen(k *Check) {
	if k.Conclusion == "" {
		j.say(codeCheckPending, VerdictWait, at{}, quoted(k.Name))
		return
	}
	j.say(codeCheckRed, VerdictWait, at{}, quoted(k.Name), quoted(k.Conclusion))
}

// ownApp reports whether an App is an agent's own, or the one that the change was
// opened through.
func (j *mergeDoor) ownApp(app Slug) bool {
	if strings.EqualFold(string(app), string(actionsApp)) {
		return false
	}
	return j.pc.agents.OwnApp(app) || j.c.App != "" && strings.EqualFold(string(app), string(j.c.App))
}

// green reports whether a check that the policy names is green; if not, it says
// why. Where several of the name are there, all must be.
func (j *mergeDoor) green(w CheckName, approved bool) bool {
	app := cmp.Or(w.App, actionsApp)
	var foreign *Check
	n, red, edited := 0, 0, 0
	for i := range j.c.Checks {
		k := &j.c.Checks[i]
		if k.Name != w.Name {
			continue
		}
		switch {
		case !strings.EqualFold(string(k.App), string(app)):
			foreign = k
			continue
		case j.ownApp(k.App):
			j.say(codeCheckOwnApp, VerdictAllow, at{}, quoted(k.Name), quoted(k.App))
			continue
		case k.Conclusion != "success":
			red++
			j.notGreen(k)
		case app != actionsApp:
			n++
		case k.Workflow == "" && j.c.Basis == Observed:
			j.say(codeCheckWorkflow, VerdictAllow, at{}, quoted(k.Name))
			continue
		case k.Workflow == "":
			n++
			j.say(codeStatedCheck, VerdictAllow, at{}, quoted(k.Name))
		case j.edits(k.Workflow) && !approved:
			edited++
			j.say(codeCheckWorkflowEdited, VerdictWait, at{path: k.Workflow}, quoted(k.Name), quoted(k.Workflow))
		case j.edits(k.Workflow):
			// Every reviewer asked has approved the workflow as it is now.
			n++
			j.say(codeCheckWorkflowApproved, VerdictAllow, at{path: k.Workflow}, quoted(k.Name), quoted(k.Workflow))
		default:
			n++
		}
	}
	if n > 0 && red+edited == 0 {
		return true
	}
	if red+edited == 0 {
		if foreign != nil {
			from := quoted(foreign.App)
			if from == "" {
				from = "an unknown App"
			}
			j.say(codeCheckSource, VerdictAllow, at{}, quoted(w.Name), from, string(app))
		}
		j.say(codeCheckMissing, VerdictWait, at{}, quoted(w.Name))
	}
	return false
}

// edits reports whether the change touches a file, under either name.
func (j *mergeDoor) edits(path string) bool {
	return slices.ContainsFunc(j.c.Files, func(f File) bool { return f.Path == path || f.PreviousPath == path })
}
