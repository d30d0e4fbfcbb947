//go:build unix

package acttest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/gate/ledger"
)

// header is of every workflow: the first lines of its one job.
const header = `name: deploy
on: [push, pull_request]
jobs:
  production:
    runs-on: ubuntu-latest
    environment: production
    steps:
`

// footer sees what a later step of the job finds, and then what the steps came to: that
// last step names every output, the secret ones too.
const footer = `
      - name: a later step
        if: always()
        run: 'env >"$SEEN/later"; cat "$GITHUB_ENV" "$GITHUB_OUTPUT" "$GITHUB_PATH" "$GITHUB_STEP_SUMMARY" "$RUNNER_TEMP"/*.json >>"$SEEN/later" 2>/dev/null || true'
      - name: what the steps came to
        if: always()
        run: 'printf "%s" "$STEPS" >"$SEEN/steps"'
        env: {STEPS: "${{ toJSON(steps) }}"}
`

// with are inputs of a step of the action.
func (h *house) with(inputs string) string {
	return "{" + inputs + ", server: \"" + h.url + "\", audience: \"" + audience + "\"}"
}

// step is a step of the action that may fail.
func (h *house) step(id, inputs string) string {
	return "      - {id: " + id + ", name: " + id + ", uses: ACTION, continue-on-error: true, with: " + h.with(inputs) + "}\n"
}

// push is the event of a deployment.
func push() map[string]any { return map[string]any{"ref": "refs/heads/main"} }

// A job through its whole life: held, told so, let through by an approval, given
// credentials in every way there is, and nothing of them left.
func TestRunnerDeploy(t *testing.T) {
	t.Parallel()
	theAct(t)
	h := newHouse(t)
	h.deploy()
	stranger := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		_, _ = w.Write([]byte(`{"id":"1","state":"released","environment":"production","run_id":1,"run_attempt":1}`))
	}))
	defer stranger.Close()
	command := func(id, command string) string {
		return "      - {id: " + id + ", name: " + id + ", run: '" + command + " || echo \"exits with $?\"'}\n"
	}
	run := "sallyport exec --audience " + audience + " --credential "
	j := newJob(t, header+
		h.step("over", "command: gate, wait: 0s")+
		h.step("mistaken", "command: gate, wait: soon")+
		strings.Replace(h.step("fooled", "command: gate, wait: 0s"), h.url, stranger.URL, 1)+
		h.step("early", "command: mint, credential: one")+
		h.step("gate", "command: gate, wait: 1m")+
		h.step("unknown", "command: mint, credential: none")+
		h.step("mint", "command: mint, credential: one")+
		`      - {name: use, run: 'printf "%s %s" "$LEASE" "$TOKEN" >"$SEEN/one"; echo "log: $TOKEN, $LEASE"; printf "base64: "; printf "%s" "$TOKEN" | base64 -w0; echo', env: {TOKEN: "${{ steps.mint.outputs.token }}", LEASE: "${{ steps.mint.outputs.lease-secret }}"}}`+"\n"+
		h.step("again", "command: mint, credential: one")+
		h.step("file", "command: mint, credential: two, as: file")+
		`      - {name: look, run: 'cp "$FILE" "$SEEN/two"; ls -l "$FILE" >"$SEEN/mode"', env: {FILE: "${{ steps.file.outputs.file }}"}}`+"\n"+
		h.step("setup", "command: setup")+
		command("exec", run+`three -- sh -c "env >\"\$SEEN/child\"; echo says \$SALLYPORT_TOKEN"`)+
		command("code", run+`four -- sh -c "printf %s \$SALLYPORT_TOKEN >\"\$SEEN/four\"; exit 7"`)+
		command("missing", run+`five -- no-such-command`)+
		command("refused", run+`none -- touch ran`)+
		command("after", `test ! -e ran; env >"$SEEN/after"`)+
		h.step("revoke", "command: revoke, lease-id: '${{ steps.mint.outputs.lease-id }}', lease-secret: '${{ steps.mint.outputs.lease-secret }}'")+
		h.step("twice", "command: revoke, lease-id: '${{ steps.mint.outputs.lease-id }}', lease-secret: '${{ steps.mint.outputs.lease-secret }}'")+
		h.step("remove", "command: revoke, lease-id: '${{ steps.file.outputs.lease-id }}', lease-secret: '${{ steps.file.outputs.lease-secret }}', file: '${{ steps.file.outputs.file }}'")+
		"      - {name: gone, run: 'ls \"$RUNNER_TEMP\" >\"$SEEN/temp\"'}\n"+
		h.step("forged", "command: revoke, lease-id: '${{ steps.mint.outputs.lease-id }}', lease-secret: 'not-the-secret-of-it'")+
		footer)
	secrets := h.becomes(j)

	r := j.start("push", push())
	r.until("Run Main gate\n", "Held for a human: ")
	h.press("approve")
	r.end()
	if r.code != 0 {
		t.Fatalf("exit %d: %s", r.code, r.log)
	}
	r.want("over", 3, "one of acme/sre for production", "state", "waiting", "environment", "production", "grant", "false")
	if said := r.said("over"); !strings.Contains(said, "Summary - ") || !strings.Contains(said, "held for a human") || !strings.Contains(said, "http") {
		t.Errorf("over: %s", said)
	}
	r.want("mistaken", 2, "want a time")
	r.want("fooled", 1, "this is run")
	r.want("early", 3, "SP614", "token", "", "lease-id", "")
	r.want("gate", 0, "Released: production at "+h.repo.Head("main")[:7], "state", "released", "environment", "production", "grant", "true")
	if said := r.said("gate"); !strings.Contains(said, "Summary - ### Sallyport: production released") {
		t.Errorf("gate: %s", said)
	}
	r.want("unknown", 1, "SP6")
	r.want("mint", 0, "one for production: given until", "credential", "one", "environment", "production", "file", "")
	r.want("again", 1, "SP619", "token", "")
	r.want("file", 0, "two for production: given until", "token", "", "values", "")
	r.want("exec", 0, "says ***")
	r.want("code", 0, "exits with 7")
	r.want("missing", 0, "no credential was asked for")
	r.want("refused", 0, "SP601")
	for name, code := range map[string]int{"missing": 127, "refused": 1} {
		r.want(name, 0, fmt.Sprintf("exits with %d\n", code))
	}
	r.want("after", 0, "")
	r.want("revoke", 0, "has ended")
	r.want("twice", 0, "has ended")
	r.want("remove", 0, "has ended")
	r.want("forged", 1, "may be alive")

	steps := r.steps()
	lease, one, _ := strings.Cut(r.see("one"), " ")
	if one == "" || one != steps["mint"].Outputs["token"] || lease != steps["mint"].Outputs["lease-secret"] {
		t.Fatalf("the step that names the outputs has %q and %q", lease, one)
	}
	var values map[string]string
	must(t, json.Unmarshal([]byte(r.see("two")), &values))
	two := values["token"]
	child := r.see("child")
	_, three, _ := strings.Cut(child, "SALLYPORT_TOKEN=")
	three, _, _ = strings.Cut(three, "\n")
	four := r.see("four")
	if !strings.HasPrefix(r.see("mode"), "-rw------- ") || strings.Contains(child, "ACTIONS_ID_TOKEN_REQUEST") || !strings.Contains(child, "SALLYPORT_THREE_TOKEN="+three) {
		t.Errorf("the file is %s and the command has %s", r.see("mode"), child)
	}
	secrets = append(secrets, lease, steps["file"].Outputs["lease-secret"], one, two, three, four)
	if !strings.Contains(r.said("use"), "log: ***, ***") || !strings.Contains(r.said("use"), "base64: ***") {
		t.Errorf("not masked: %s", r.said("use"))
	}
	clean(t, "the log", r.log.String(), secrets...)
	for _, name := range []string{"after", "later"} {
		clean(t, name, withoutRunner(r.see(name)), secrets...)
	}
	for name, s := range steps {
		if name != "mint" { // as it was asked to
			delete(s.Outputs, "lease-secret")
			clean(t, "the outputs of "+name, fmt.Sprint(s.Outputs), secrets...)
		}
	}
	for _, token := range []string{one, two, three, four} {
		if h.alive(token) {
			t.Errorf("%.6s… is alive after its end", token)
		}
	}
	if left := r.see("temp"); !strings.Contains(left, "sallyport") || strings.Contains(left, "sallyport-lease") {
		t.Errorf("left in the job's temp folder: %q", left)
	}
	h.verify()
}

// A credential as variables is seen by every later step, as it was asked for, until it is
// revoked, and the log in JSON has it no more than the plain one.
func TestRunnerMintEnv(t *testing.T) {
	t.Parallel()
	theAct(t)
	h := newHouse(t)
	h.deploy()
	j := newJob(t, header+
		h.step("gate", "command: gate, wait: 1m")+
		h.step("mint", "command: mint, credential: one, as: env")+
		h.step("named", "command: mint, credential: two, as: env, prefix: CODE_")+
		"      - {id: use, name: use, run: 'env >\"$SEEN/env\"; env'}\n"+
		h.step("revoke", "command: revoke, lease-id: '${{ steps.mint.outputs.lease-id }}', lease-secret: '${{ steps.mint.outputs.lease-secret }}'")+
		footer)
	secrets := h.becomes(j)
	r := j.start("push", push(), "--json")
	h.press("approve")
	r.end()
	if r.code != 0 {
		t.Fatalf("exit %d: %s", r.code, r.log)
	}
	steps, vars := r.steps(), map[string]string{}
	for line := range strings.Lines(r.see("env")) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		vars[name] = value
	}
	one, two := vars["SALLYPORT_ONE_TOKEN"], vars["CODE_TOKEN"]
	if one == "" || vars["SALLYPORT_TOKEN"] != one || two == "" || vars["SALLYPORT_TWO_TOKEN"] != "" || steps["mint"].Outputs["token"] != "" {
		t.Fatalf("later steps have %q", vars)
	}
	secrets = append(secrets, one, two, steps["mint"].Outputs["lease-secret"], steps["named"].Outputs["lease-secret"])
	// The runner's own token is one that act does not mask, and that a real runner does.
	secrets = secrets[1:]
	for line := range strings.Lines(r.log.String()) {
		var entry struct{ Msg, Step, Job string }
		if json.Unmarshal([]byte(line), &entry) != nil {
			entry.Msg = line
		}
		clean(t, "the log", entry.Msg+entry.Step+entry.Job, secrets...)
	}
	if h.alive(one) || !h.alive(two) {
		t.Errorf("revoked: alive %v; not revoked: alive %v", h.alive(one), h.alive(two))
	}
	// What nobody revokes ends with the job.
	if err := h.job.Complete("success"); err != nil {
		t.Fatal(err)
	}
	h.until("the job's end ended its credential", func() bool { return !h.alive(two) })
}

// withoutRunner takes out what the runner itself gives to every step.
func withoutRunner(env string) string {
	var out []string
	for line := range strings.Lines(env) {
		if !strings.HasPrefix(line, "ACTIONS_ID_TOKEN_REQUEST_TOKEN=") {
			out = append(out, line)
		}
	}
	return strings.Join(out, "")
}

// text is the workflow.
func (j *job) text() string {
	j.t.Helper()
	b, err := os.ReadFile(j.dir + "/" + deployFile)
	if err != nil {
		j.t.Fatal(err)
	}
	return string(b)
}

// A reviewer says no: nothing after the gate runs.
func TestRunnerRejected(t *testing.T) {
	t.Parallel()
	theAct(t)
	h := newHouse(t)
	h.deploy()
	j := newJob(t, header+
		"      - {id: gate, name: gate, uses: ACTION, with: "+h.with("command: gate, wait: 1m")+"}\n"+
		"      - {id: ship, name: ship, run: 'touch \"$SEEN/shipped\"'}\n"+footer)
	secrets := h.becomes(j)
	r := j.start("push", push())
	r.until("Run Main gate\n", "Held for a human: ")
	h.press("reject")
	r.end()
	if r.code == 0 {
		t.Errorf("the job goes on: %s", r.log)
	}
	r.want("gate", 1, "rejected: ", "state", "rejected", "grant", "false")
	if !strings.Contains(r.said("gate"), "Summary - ### Sallyport: production rejected") || len(j.found("shipped")) > 0 {
		t.Errorf("%s", r.log)
	}
	clean(t, "the log", r.log.String(), secrets...)
	clean(t, "a later step", withoutRunner(r.see("later")), secrets...)
}

// The private repository whose plan has no protection rules: the job is held in its first
// step, ends with 3, is approved, is run again by the App, and only then has a credential,
// which ends with the command that used it.
func TestRunnerPrivateRepository(t *testing.T) {
	t.Parallel()
	theAct(t)
	h := newHouse(t)
	h.deploy()
	j := newJob(t, header+
		"      - {id: gate, name: gate, uses: ACTION, with: "+h.with("command: gate, wait: 0s")+"}\n"+
		`      - {id: ship, name: ship, run: 'sallyport exec --audience `+audience+` --credential one -- sh -c "printf %s \$SALLYPORT_TOKEN >\"\$SEEN/token\"; touch \"\$SEEN/shipped\""'}`+"\n"+footer)
	j.workflow(strings.Replace(j.text(), "      - {id: ship", "      - {name: setup, uses: "+pinned+", with: {command: setup}}\n      - {id: ship", 1))
	secrets := h.becomes(j)
	first := j.run("push", push())
	if first.code == 0 || len(j.found("shipped")) > 0 {
		t.Fatalf("the job goes on: %s", first.log)
	}
	first.want("gate", 3, "one of acme/sre for production", "state", "waiting")
	clean(t, "the log", first.log.String(), secrets...)
	if err := h.job.Complete("failure"); err != nil {
		t.Fatal(err)
	}

	h.press("approve")
	h.until("the App runs it again", func() bool { return h.run.Attempt() == 2 })
	h.begun()
	second := newJob(t, j.text())
	secrets = append(secrets, h.becomes(second)...)
	r := second.run("push", push())
	if r.code != 0 {
		t.Fatalf("attempt 2: exit %d: %s", r.code, r.log)
	}
	r.want("gate", 0, "Released: production", "state", "released", "grant", "true")
	token := r.see("token")
	if len(second.found("shipped")) != 1 || token == "" {
		t.Errorf("nothing was shipped: %s", r.log)
	}
	secrets = append(secrets, token)
	clean(t, "the log", r.log.String(), secrets...)
	clean(t, "a later step", withoutRunner(r.see("later")), secrets...)
	if h.alive(token) {
		t.Error("the credential outlives its command")
	}
	if err := h.job.Complete("success"); err != nil {
		t.Fatal(err)
	}
	ended := false
	for _, e := range h.verify() {
		clean(t, "the ledger", string(e.Leaf), token)
		ended = ended || e.Kind == ledger.KindOutcome && strings.HasPrefix(e.Subject.Key, "lease:") && e.Subject.Attempt == 2 && strings.Contains(string(e.Payload), `"ended"`)
	}
	if !ended {
		t.Error("the ledger does not say that the lease ended")
	}
}
