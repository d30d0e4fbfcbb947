package rules

// eventKind says who can make a workflow event happen.
type eventKind int8

const (
	eventOutside eventKind = iota // anybody: a pull request, a comment, an issue, or what they started; and any event not known
	eventOwn                      // somebody with write access, a schedule, or an App
	eventNever                    // never the event of a run
)

// githubEvents are the events that start workflows
// (https://docs.github.com/actions/reference/workflows-and-actions/events-that-trigger-workflows).
// What a pull request from a fork, a comment or an issue can start is marked: it
// never deploys to an environment with gate: human, nor opens a human target.
func githubEvents() map[string]eventKind {
	return map[string]eventKind{
		"branch_protection_rule":      eventOwn,
		"check_run":                   eventOutside,
		"check_suite":                 eventOutside,
		"create":                      eventOwn,
		"delete":                      eventOwn,
		"deployment":                  eventOwn,
		"deployment_status":           eventOwn,
		"discussion":                  eventOutside,
		"discussion_comment":          eventOutside,
		"fork":                        eventOutside,
		"gollum":                      eventOutside,
		"image_version":               eventOwn,
		"issue_comment":               eventOutside,
		"issues":                      eventOutside,
		"label":                       eventOwn,
		"merge_group":                 eventOwn,
		"milestone":                   eventOwn,
		"page_build":                  eventOwn,
		"public":                      eventOwn,
		"pull_request":                eventOutside,
		"pull_request_review":         eventOutside,
		"pull_request_review_comment": eventOutside,
		"pull_request_target":         eventOutside,
		"push":                        eventOwn,
		"registry_package":            eventOwn,
		"release":                     eventOwn,
		"repository_dispatch":         eventOwn,
		"schedule":                    eventOwn,
		"status":                      eventOutside,
		"watch":                       eventOutside,
		"workflow_call":               eventNever,
		"workflow_dispatch":           eventOwn,
		"workflow_run":                eventOutside,
	}
}
