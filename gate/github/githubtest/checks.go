package githubtest

import (
	"cmp"
	"net/http"
	"slices"
	"time"
	"unicode/utf8"
)

// A CheckRun is one check run. An Actions job has one too, with the same id.
type CheckRun struct {
	repo *Repository
	// ID is the check run's number.
	ID          int64
	app         *App
	suite       *checkSuite
	name        string
	sha         string
	status      string // queued | in_progress | completed, for jobs also waiting
	conclusion  string
	externalID  string
	detailsURL  string
	started     time.Time
	completed   time.Time
	created     time.Time
	title       string
	summary     string
	text        string
	annotations []Annotation
	actions     []Action
	patches     int
	closed      bool // somebody asked for another one in its place
	job         *Job
}

// Annotation is one line of a check run's annotations.
type Annotation struct {
	Path      string `json:"path"`
	StartLine int    `json:"start_line"`
	EndLine   int    `json:"end_line"`
	StartCol  int    `json:"start_column,omitempty"`
	EndCol    int    `json:"end_column,omitempty"`
	Level     string `json:"annotation_level"`
	Message   string `json:"message"`
	Title     string `json:"title,omitempty"`
	Details   string `json:"raw_details,omitempty"`
}

// Action is one button of a check run.
type Action struct {
	Label       string `json:"label"`
	Description string `json:"description"`
	Identifier  string `json:"identifier"`
}

type checkSuite struct {
	repo        *Repository
	id          int64
	app         *App
	branch, sha string
	before      string
	created     time.Time
	runs        []*CheckRun
}

type status struct {
	id          int64
	sha         string
	context     string
	state       string
	description string
	creator     *User
	at          time.Time
}

// CheckState is what a person sees of a check run.
type CheckState struct {
	ID                   int64
	App, Name, SHA       string
	Status, Conclusion   string
	Title, Summary, Text string
	ExternalID           string
	Annotations          []Annotation
	Actions              []Action
	// Patches counts the updates after its creation.
	Patches int
}

// See is the check run as it is now.
func (c *CheckRun) See() CheckState {
	c.repo.g.mu.Lock()
	defer c.repo.g.mu.Unlock()
	return c.see()
}

func (c *CheckRun) see() CheckState {
	return CheckState{
		ID: c.ID, App: c.app.slug, Name: c.name, SHA: c.sha, Status: c.status, Conclusion: c.conclusion, Title: c.title, Summary: c.summary,
		Text: c.text, ExternalID: c.externalID, Annotations: slices.Clone(c.annotations), Actions: slices.Clone(c.actions), Patches: c.patches,
	}
}

// Checks are all check runs of a commit, oldest first, older ones of a name too.
func (r *Repository) Checks(sha string) []CheckState {
	r.g.mu.Lock()
	defer r.g.mu.Unlock()
	var out []CheckState
	for _, c := range r.checksOf(sha) {
		out = append(out, c.see())
	}
	return out
}

// CheckRun finds the newest check run of a name at a commit, or nil.
func (r *Repository) CheckRun(sha, name string) *CheckRun {
	r.g.mu.Lock()
	defer r.g.mu.Unlock()
	var out *CheckRun
	for _, c := range r.checksOf(sha) {
		if c.name == name {
			out = c
		}
	}
	return out
}

func (r *Repository) checksOf(sha string) []*CheckRun {
	var out []*CheckRun
	for _, s := range r.suites {
		if s.sha == sha {
			out = append(out, s.runs...)
		}
	}
	slices.SortFunc(out, func(a, b *CheckRun) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// suite is the App's check suite of a commit; made if need be.
func (r *Repository) suite(app *App, branch, before, sha string) *checkSuite {
	for _, s := range r.suites {
		if s.app == app && s.sha == sha {
			return s
		}
	}
	if branch == "" {
		for ref, at := range r.refs {
			if at == sha && len(ref) > 11 && ref[:11] == "refs/heads/" && (branch == "" || ref[11:] < branch) {
				branch = ref[11:]
			}
		}
	}
	s := &checkSuite{repo: r, id: r.g.newID(), app: app, branch: branch, sha: sha, before: before, created: r.g.Now()}
	r.suites = append(r.suites, s)
	return s
}

// runSuite is a check suite of GitHub Actions for one more run at a commit. The first run
// takes the suite that is there for what jobs' tokens report.
func (r *Repository) runSuite(branch, sha string) *checkSuite {
	s := r.suite(r.g.actions, branch, noSHA, sha)
	if !slices.ContainsFunc(r.runs, func(o *Run) bool { return o.suite == s }) {
		return s
	}
	own := &checkSuite{repo: r, id: r.g.newID(), app: r.g.actions, branch: branch, sha: sha, before: noSHA, created: r.g.Now()}
	r.suites = append(r.suites, own)
	return own
}

// requestSuites asks each App that may write checks for a suite, as after a push.
func (r *Repository) requestSuites(by *User, branch, before, sha string) {
	for _, i := range r.g.installationsOf(r) {
		if i.permissions["checks"] == "write" && !slices.ContainsFunc(r.suites, func(s *checkSuite) bool { return s.app == i.app && s.sha == sha }) {
			s := r.suite(i.app, branch, before, sha)
			r.g.emitTo(i, r, "check_suite", "requested", by, obj{"check_suite": r.g.suiteView(s)})
		}
	}
}

// AddCheck makes a completed check run of an App: conclusion success, failure …
func (r *Repository) AddCheck(app *App, sha, name, conclusion string) *CheckRun {
	r.g.mu.Lock()
	defer r.g.mu.Unlock()
	r.mustCommit(sha)
	c := r.addCheck(app, sha, name)
	c.complete(conclusion)
	return c
}

func (r *Repository) addCheck(app *App, sha, name string) *CheckRun {
	now := r.g.Now()
	c := &CheckRun{repo: r, ID: r.g.newID(), app: app, name: name, sha: sha, status: "queued", started: now, created: now}
	c.suite = r.suite(app, "", noSHA, sha)
	c.suite.runs = append(c.suite.runs, c)
	r.g.checks[c.ID] = c
	c.event("created", c.app.bot, nil)
	return c
}

// Complete gives the check run a conclusion, or another one.
func (c *CheckRun) Complete(conclusion string) {
	c.repo.g.mu.Lock()
	defer c.repo.g.mu.Unlock()
	c.complete(conclusion)
}

func (c *CheckRun) complete(conclusion string) {
	c.status, c.conclusion, c.completed = "completed", conclusion, c.repo.g.Now()
	c.event("completed", c.app.bot, nil)
	c.suite.settle()
	c.repo.advanceQueues()
}

// settle tells that a suite has completed, when all its runs have.
func (s *checkSuite) settle() {
	if slices.ContainsFunc(s.runs, func(c *CheckRun) bool { return c.status != "completed" }) {
		return
	}
	s.repo.g.emit(s.repo, "check_suite", "completed", s.app.bot, obj{"check_suite": s.repo.g.suiteView(s)})
}

func (s *checkSuite) state() (status, conclusion string) {
	if len(s.runs) == 0 {
		return "queued", ""
	}
	conclusion = "success"
	for _, c := range s.runs {
		if c.status != "completed" {
			return "in_progress", ""
		}
		if c.conclusion != "success" && c.conclusion != "neutral" && c.conclusion != "skipped" {
			conclusion = c.conclusion
		}
	}
	return "completed", conclusion
}

func (c *CheckRun) event(action string, by *User, extra obj) {
	payload := obj{"check_run": c.repo.g.webhookCheckView(c)}
	for k, v := range extra {
		payload[k] = v
	}
	if action == "requested_action" || action == "rerequested" {
		// Only the App whose check run it is hears of these.
		if i := c.repo.installation(c.app); i != nil {
			c.repo.g.emitTo(i, c.repo, "check_run", action, by, payload)
		}
		return
	}
	c.repo.g.emit(c.repo, "check_run", action, by, payload)
}

// Click presses a button of the check run. GitHub shows the buttons of completed
// runs only, to whoever may write; it does not ask whether they may decide.
func (c *CheckRun) Click(by *User, identifier string) error {
	c.repo.g.mu.Lock()
	defer c.repo.g.mu.Unlock()
	switch {
	case !c.repo.may(by, "write"):
		return notFound()
	case c.status != "completed", !slices.ContainsFunc(c.actions, func(a Action) bool { return a.Identifier == identifier }):
		return refuse(http.StatusUnprocessableEntity, "no button %q is shown", identifier)
	}
	c.event("requested_action", by, obj{"requested_action": obj{"identifier": identifier}})
	return nil
}

// Rerequest presses Re-run on the check run.
func (c *CheckRun) Rerequest(by *User) error {
	c.repo.g.mu.Lock()
	defer c.repo.g.mu.Unlock()
	if !c.repo.may(by, "write") {
		return notFound()
	}
	if c.status != "completed" {
		return refuse(http.StatusUnprocessableEntity, "the check run is not completed")
	}
	c.rerequest(by)
	return nil
}

// rerequest tells the check run's App. The run itself stays as it ended.
func (c *CheckRun) rerequest(by *User) {
	c.closed = true
	c.event("rerequested", by, nil)
}

// RerequestSuite presses "Re-run all checks" for an App's checks of a commit.
func (r *Repository) RerequestSuite(by *User, app *App, sha string) error {
	r.g.mu.Lock()
	defer r.g.mu.Unlock()
	i := r.installation(app)
	at := slices.IndexFunc(r.suites, func(s *checkSuite) bool { return s.app == app && s.sha == sha })
	if i == nil || at < 0 || !r.may(by, "write") {
		return notFound()
	}
	view := r.g.suiteView(r.suites[at])
	delete(view, "rerequestable") // this action alone has them not
	delete(view, "runs_rerequestable")
	r.g.emitTo(i, r, "check_suite", "rerequested", by, obj{"check_suite": view})
	return nil
}

// Status sets a commit status: state is success, failure, error or pending.
func (r *Repository) Status(by *User, sha, context, state string) {
	r.g.mu.Lock()
	defer r.g.mu.Unlock()
	r.mustCommit(sha)
	s := &status{r.g.newID(), sha, context, state, "", by, r.g.Now()}
	r.statuses = append(r.statuses, s)
	r.g.emit(r, "status", "", by, r.statusPayload(s))
	r.advanceQueues()
}

// latestStatuses is the newest status of each context of a commit.
func (r *Repository) latestStatuses(sha string) []*status {
	var out []*status
	for i := len(r.statuses) - 1; i >= 0; i-- {
		s := r.statuses[i]
		if s.sha == sha && !slices.ContainsFunc(out, func(o *status) bool { return o.context == s.context }) {
			out = append(out, s)
		}
	}
	return out
}

// required finds what speaks for a required check at a commit: the newest check run
// of that name and source, or the newest status.
func (r *Repository) required(c RequiredCheck, sha string) (conclusion string, found bool) {
	runs := r.checksOf(sha)
	for i := len(runs) - 1; i >= 0; i-- {
		if k := runs[i]; k.name == c.Context && (c.AppID <= 0 || k.app.ID == c.AppID) {
			if k.status != "completed" {
				return "pending", true
			}
			return k.conclusion, true
		}
	}
	if c.AppID <= 0 {
		for _, s := range r.latestStatuses(sha) {
			if s.context == c.Context {
				return s.state, true
			}
		}
	}
	return "", false
}

func (r *Repository) satisfied(c RequiredCheck, sha string) bool {
	got, _ := r.required(c, sha)
	return got == "success" || got == "neutral" || got == "skipped"
}

func (r *Repository) failed(c RequiredCheck, sha string) bool {
	got, found := r.required(c, sha)
	return found && got != "pending" && !r.satisfied(c, sha)
}

// rollup is success, pending, failure or "" for everything at a commit.
func (r *Repository) rollup(sha string) string {
	out := ""
	add := func(s string) {
		switch {
		case s == "pending" && out != "failure":
			out = s
		case s == "success" || s == "neutral" || s == "skipped":
			out = cmp.Or(out, "success")
		case s != "pending":
			out = "failure"
		}
	}
	newest := map[string]*CheckRun{}
	for _, c := range r.checksOf(sha) {
		newest[c.app.slug+"/"+c.name] = c
	}
	for _, c := range newest {
		if c.status != "completed" {
			add("pending")
		} else {
			add(c.conclusion)
		}
	}
	for _, s := range r.latestStatuses(sha) {
		add(s.state)
	}
	return out
}

// Limits of check runs.
const (
	maxOutput      = 65535 // characters of summary and of text
	maxAnnotations = 50    // in one request
	maxActions     = 3
	// Of an annotation: characters of its title, bytes of its message and details.
	maxAnnotationTitle = 255
	maxAnnotationText  = 64 << 10
	maxLabel           = 20
	maxDescription     = 40
	maxIdentifier      = 20
)

// checkInput is the body of POST and PATCH check-runs.
type checkInput struct {
	Name       *string    `json:"name"`
	HeadSHA    *string    `json:"head_sha"`
	DetailsURL *string    `json:"details_url"`
	ExternalID *string    `json:"external_id"`
	Status     *string    `json:"status"`
	StartedAt  *time.Time `json:"started_at"`
	Conclusion *string    `json:"conclusion"`
	Completed  *time.Time `json:"completed_at"`
	Output     *struct {
		Title       *string      `json:"title"`
		Summary     *string      `json:"summary"`
		Text        *string      `json:"text"`
		Annotations []Annotation `json:"annotations"`
		Images      []obj        `json:"images"`
	} `json:"output"`
	Actions *[]Action `json:"actions"`
}

// apply checks and takes over what a request says.
func (in checkInput) apply(c *CheckRun) error {
	if o := in.Output; o != nil {
		switch {
		case o.Summary == nil, o.Title == nil && c.title == "":
			return invalid("output needs title and summary together")
		case utf8.RuneCountInString(deref(o.Summary)) > maxOutput, utf8.RuneCountInString(deref(o.Text)) > maxOutput:
			return invalid("Only %d characters are allowed; the output is too long", maxOutput)
		case len(o.Annotations) > maxAnnotations:
			return invalid("No more than %d annotations are allowed in one request; %d were supplied.", maxAnnotations, len(o.Annotations))
		}
		for _, a := range o.Annotations {
			switch {
			case utf8.RuneCountInString(a.Title) > maxAnnotationTitle, len(a.Message) > maxAnnotationText, len(a.Details) > maxAnnotationText:
				return invalid("annotation on %q is too long", a.Path)
			case (a.StartCol != 0 || a.EndCol != 0) && a.StartLine != a.EndLine:
				return invalid("annotation on %q has columns on several lines", a.Path)
			}
			if a.Path == "" || a.Message == "" || a.StartLine < 1 || a.EndLine < a.StartLine || !slices.Contains([]string{"notice", "warning", "failure"}, a.Level) {
				return invalid("annotation on %q is not valid", a.Path)
			}
		}
	}
	if in.Actions != nil {
		if len(*in.Actions) > maxActions {
			return invalid("No more than %d actions are allowed", maxActions)
		}
		for _, a := range *in.Actions {
			if a.Label == "" || a.Description == "" || a.Identifier == "" || utf8.RuneCountInString(a.Label) > maxLabel ||
				utf8.RuneCountInString(a.Description) > maxDescription || utf8.RuneCountInString(a.Identifier) > maxIdentifier {
				return invalid("action %q is missing a part or too long (label %d, description %d, identifier %d characters)", a.Identifier, maxLabel, maxDescription, maxIdentifier)
			}
		}
	}
	if in.Status != nil && !slices.Contains([]string{"queued", "in_progress", "completed"}, *in.Status) {
		return invalid("status %q is not included in the list", *in.Status)
	}
	if in.Status != nil && *in.Status != "completed" && c.closed {
		return invalid("a check run that was asked for again is not opened again")
	}
	if in.Conclusion != nil && !slices.Contains([]string{"action_required", "cancelled", "failure", "neutral", "success", "skipped", "timed_out"}, *in.Conclusion) {
		return invalid("conclusion %q is not included in the list", *in.Conclusion)
	}
	if in.Status != nil && *in.Status == "completed" && in.Conclusion == nil && c.conclusion == "" {
		return invalid("conclusion is required when status is completed")
	}
	if in.Name != nil {
		c.name = *in.Name
	}
	if in.DetailsURL != nil {
		c.detailsURL = *in.DetailsURL
	}
	if in.ExternalID != nil {
		c.externalID = *in.ExternalID
	}
	if in.StartedAt != nil {
		c.started = *in.StartedAt
	}
	if in.Status != nil {
		c.status = *in.Status
		if c.status != "completed" {
			c.conclusion, c.completed = "", time.Time{}
		}
	}
	if in.Conclusion != nil {
		c.status, c.conclusion, c.completed = "completed", *in.Conclusion, c.repo.g.Now()
	}
	if in.Completed != nil {
		c.completed = *in.Completed
	}
	if o := in.Output; o != nil {
		if o.Title != nil {
			c.title = *o.Title
		}
		c.summary = deref(o.Summary)
		if o.Text != nil {
			c.text = *o.Text
		}
		c.annotations = append(c.annotations, o.Annotations...)
	}
	if in.Actions != nil {
		c.actions = *in.Actions
	}
	return nil
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// grow marks check runs stale that nobody completed in 14 days.
func (r *Repository) grow() {
	for _, s := range r.suites {
		for _, c := range s.runs {
			if c.job == nil && c.status != "completed" && r.g.Now().Sub(c.created) > 14*24*time.Hour {
				c.status, c.conclusion, c.completed = "completed", "stale", r.g.Now()
			}
		}
	}
}
