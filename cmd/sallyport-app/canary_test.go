package main

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sallyport/sallyport/gate/github/githubtest"
	"github.com/sallyport/sallyport/gate/store/pgtest"
)

// No piece of any secret is anywhere but where it is handed out, after one run of
// everything: every provider, the action and the command line, requests that are refused,
// providers that fail half-way, a server that is killed, and what operators do, on both
// stores. The real programs run as processes.
//
// One secret is not known here: the password of a PostgreSQL role that could not be made.
func TestCanary(t *testing.T) {
	t.Parallel()
	bin := t.TempDir()
	db := pgtest.Start(t)
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", bin, ".", "../sallyport").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	brokers, storePassword := map[string]string{"sqlite": rand.Text(), "postgres": rand.Text()}, rand.Text()
	statements := []string{
		"CREATE ROLE app_writer NOLOGIN", "CREATE ROLE app_reads_all NOLOGIN", "GRANT pg_read_all_data TO app_reads_all",
		"CREATE ROLE store_postgres LOGIN PASSWORD '" + storePassword + "'", "CREATE DATABASE store_postgres OWNER store_postgres",
	}
	for name, password := range brokers {
		statements = append(statements, "CREATE ROLE broker_"+name+" LOGIN CREATEROLE PASSWORD '"+password+"'", "GRANT pg_signal_backend TO broker_"+name,
			"GRANT app_writer, app_reads_all TO broker_"+name+" WITH ADMIN OPTION", "CREATE DATABASE shop_"+name, "GRANT CREATE ON DATABASE shop_"+name+" TO app_writer")
	}
	// From here on every statement is logged, with what is bound to it.
	statements = append(statements, "ALTER SYSTEM SET log_statement = 'all'", "SELECT pg_reload_conf()")
	if err := db.Do(t.Context(), "postgres", statements...); err != nil {
		t.Fatal(err)
	}
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		newTour(t, "sqlite", bin, db, brokers["sqlite"], "").tell()
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		newTour(t, "postgres", bin, db, brokers["postgres"], storePassword).tell()
	})
}

// tell runs everything and then looks for secrets.
func (w *tour) tell() {
	w.operator("adopt", "acme/"+controlRepository, "--yes")
	w.start()
	run := w.repo.StartRun(githubtest.RunSpec{Workflow: ".github/workflows/deploy.yml", Name: "deploy", By: w.alice, Jobs: []githubtest.JobSpec{{Name: "production", Environment: "production"}}})
	job := run.Job("production")
	w.until("the job runs", func() bool { s, _ := job.Status(); return s == "in_progress" })
	w.release(run, job)
	w.execs(run, job)
	w.refused(job)
	w.mints(run, job)
	w.fail(run, job)
	w.person()
	w.must(w.g.Settle(w.t.Context()))
	w.keys()
	w.metrics()
	w.backup("first.backup") // credentials are alive

	w.end(syscall.SIGKILL)
	w.start()
	w.operator("keys", "rotate", "human")
	w.keys()
	w.operator("keys", "replace", "auto", "--yes")
	w.keys()
	w.operator("keys", "list")
	w.operator("keys", "export", w.root)
	w.operator("revoke", "--all")
	w.must(job.Complete("success"))
	w.must(w.g.Settle(w.t.Context()))
	w.audit()
	w.metrics()
	w.backup("second.backup")
	w.end(syscall.SIGTERM)
	w.search()
}

// release has the job wait until bob approved it.
func (w *tour) release(run *githubtest.Run, job *githubtest.Job) {
	w.t.Helper()
	_, finish := w.inJob(run, job, []string{"CREDENTIAL=" + controlCredential}, "action", "mint")
	if s := finish(); s.code != 3 {
		w.t.Fatalf("before the approval: exit %d, %s%s", s.code, s.out, s.errs)
	}
	_, finish = w.inJob(run, job, []string{"WAIT=1m"}, "action", "gate")
	var check *githubtest.CheckRun
	w.until("there is a check run to press on", func() bool {
		check = w.repo.CheckRun(w.repo.Head("main"), "sallyport / production")
		return check != nil && check.See().Conclusion == "action_required"
	})
	w.must(check.Click(w.bob, "approve"))
	if s := finish(); s.code != 0 {
		w.t.Fatalf("the gate: exit %d, %s%s", s.code, s.out, s.errs)
	}
}

// execs runs a command with a credential of each provider, which keeps what it was given.
func (w *tour) execs(run *githubtest.Run, job *githubtest.Job) {
	w.t.Helper()
	names := []string{controlCredential, "token-exec", "github-exec", "aws-exec"}
	args := []string{"exec", "--file", "FILE=token-exec.token"}
	for _, name := range names {
		args = append(args, "--credential", name)
	}
	_, finish := w.inJob(run, job, nil, append(args, "--", "sh", "-c", `cat /proc/$$/cmdline /proc/$PPID/cmdline >"$HOME/arguments"; env >"$HOME/seen"; cat "$FILE" >>"$HOME/seen"; exit 4`)...)
	s := finish()
	if s.code != 4 {
		w.t.Fatalf("exec: exit %d, %s", s.code, s.errs)
	}
	w.hands[filepath.Join(s.dir, "seen")] = true
	line, err := os.ReadFile(filepath.Join(s.dir, "arguments"))
	w.must(err)
	w.saw("arguments of processes", line)
	// Somebody asks again.
	_, finish = w.inJob(run, job, nil, "exec", "--credential", controlCredential, "--", "true")
	if s := finish(); s.code != 1 || !strings.Contains(s.errs, "SP619") {
		w.t.Errorf("a second request: exit %d, %s", s.code, s.errs)
	}
	w.until("people are told", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.places["alerts"] != nil
	})
}

// output is an output of a step, as the runner reads it.
func output(text, name string) string {
	m := regexp.MustCompile(`(?m)^` + name + `<<(\S+)\n((?s:.*?))\n`).FindStringSubmatch(text)
	if m == nil {
		return ""
	}
	return m[2]
}

// mints gets credentials as the action does: as outputs, variables, a file and JSON.
func (w *tour) mints(run *githubtest.Run, job *githubtest.Job) {
	w.t.Helper()
	for _, x := range []struct{ credential, as string }{{"db-outputs", "outputs"}, {"aws-env", "env"}, {"github-file", "file"}, {"token-json", "outputs"}} {
		args := []string{"action", "mint"}
		if x.credential == "token-json" {
			args = append(args, "--format", "json")
		}
		_, finish := w.inJob(run, job, []string{"CREDENTIAL=" + x.credential, "AS=" + x.as}, args...)
		s := finish()
		text, err := os.ReadFile(filepath.Join(s.dir, "output"))
		if s.code != 0 || err != nil {
			w.t.Fatalf("mint %s: exit %d, %s%s", x.credential, s.code, s.out, s.errs)
		}
		w.hands[filepath.Join(s.dir, "output")] = true // it has the lease's secret
		switch x.as {
		case "env":
			w.hands[filepath.Join(s.dir, "env")] = true
		case "file":
			w.hands[output(string(text), "file")] = true
		}
		if x.credential == "db-outputs" {
			c, err := pgx.Connect(w.t.Context(), output(string(text), "url"))
			w.must(err)
			_, err = c.Exec(w.t.Context(), "CREATE SCHEMA job; CREATE TABLE job.one (id int)")
			w.must(err)
			_, _ = c.Exec(w.t.Context(), "SELECT no_such_function()") // the server logs its error
			w.lists()
			w.must(c.Close(w.t.Context()))
		}
		if x.credential == "token-json" {
			_, finish := w.inJob(run, job, []string{"LEASE_ID=" + output(string(text), "lease-id"), "LEASE_SECRET=" + output(string(text), "lease-secret")}, "action", "revoke")
			_ = finish() // a token cannot be ended
		}
	}
	// A revocation with the secret of nothing, and of another's lease.
	wrong := hex.EncodeToString([]byte(rand.Text() + rand.Text()[:6]))
	w.secrets.add("refused bearer", wrong)
	for _, id := range []string{strings.Repeat("0", 32), w.leases[0]} {
		_, finish := w.inJob(run, job, []string{"LEASE_ID=" + id, "LEASE_SECRET=" + wrong}, "action", "revoke")
		if s := finish(); s.code != 1 {
			w.t.Errorf("a wrong secret: exit %d, %s", s.code, s.out)
		}
	}
}

// fail asks for credentials of providers that fail half-way: where the secret is made
// already, or is quoted in the refusal.
func (w *tour) fail(run *githubtest.Run, job *githubtest.Job) {
	w.t.Helper()
	w.g.Fail(githubtest.Fault{Kind: githubtest.DoneThenError, Method: http.MethodPost, Times: -1, When: func(r githubtest.Request) bool {
		return strings.HasSuffix(r.Path, "/access_tokens") && bytes.Contains(r.Body, []byte(`"statuses"`)) && !bytes.Contains(r.Body, []byte(`"checks"`))
	}})
	for _, name := range []string{"db-refused", "aws-refused", "aws-half", "github-lost"} {
		_, finish := w.inJob(run, job, nil, "exec", "--credential", name, "--", "true")
		if s := finish(); s.code != 1 {
			w.t.Errorf("%s: exit %d, %s", name, s.code, s.errs)
		}
	}
	w.g.Heal()
}

// person logs in, gets credentials on a machine of her own, and logs out.
func (w *tour) person() {
	w.t.Helper()
	cmd, finish := w.command(nil, "login", "--url", w.url)
	home := cmd.Env[0]
	w.must(cmd.Start())
	errs, _ := cmd.Stderr.(*buffer)
	shown := regexp.MustCompile(`enter the code (\S+)`)
	w.until("a code is shown", func() bool { return shown.MatchString(errs.String()) })
	w.must(w.g.EnterCode(w.alice, shown.FindStringSubmatch(errs.String())[1], true))
	if s := finish(); s.code != 0 {
		w.t.Fatalf("login: exit %d, %s", s.code, s.errs)
	}
	for _, args := range [][]string{
		{"login", "--status", "--format", "json"},
		{"exec", "--repository", "acme/" + controlRepository, "--credential", "dev-db", "--credential", "dev-token", "--", "sh", "-c", `env >"$RUNNER_TEMP/seen"`},
		{"exec", "--repository", "acme/" + controlRepository, "--credential", "db-outputs", "--", "true"},
		{"logout"},
	} {
		cmd, finish := w.command([]string{home}, args...)
		w.must(cmd.Start())
		s := finish()
		refused := len(args) > 4 && args[4] == "db-outputs"
		if (s.code == 0) == refused {
			w.t.Errorf("%q: exit %d, %s", args, s.code, s.errs)
		}
		if len(args) > 4 && !refused {
			w.hands[filepath.Join(s.dir, "seen")] = true
		}
	}
}

// refused sends what is refused: wrong tokens, and tokens where none belongs.
func (w *tour) refused(job *githubtest.Job) {
	w.t.Helper()
	good := job.IDToken(w.url, nil)
	claim := func(name string, value any) string {
		return job.IDToken(w.url, func(c map[string]any) { c[name] = value })
	}
	forged := []byte(good)
	for i := len(forged) - 40; i < len(forged); i++ {
		forged[i] = "abcdefghij"[i%10]
	}
	tokens := []string{
		claim("sha", strings.Repeat("a", 40)), claim("exp", time.Now().Add(-time.Hour).Unix()), claim("aud", "https://elsewhere.acme.internal"), claim("iss", "https://elsewhere.acme.internal"), claim("repository_id", "1"),
		string(forged), "ghu_" + rand.Text() + rand.Text()[:10], "ghs_" + rand.Text() + rand.Text()[:10], rand.Text() + rand.Text(), good[:len(good)/2], strings.Repeat(rand.Text(), 1000),
	}
	w.secrets.add("refused bearer", tokens...)
	end := "\r\nHost: sallyport.test\r\nConnection: close\r\n"
	post := func(path, head, body string) {
		w.raw(fmt.Sprintf("POST %s HTTP/1.1%sContent-Type: application/json\r\nContent-Length: %d\r\n%s\r\n%s", path, end, len(body), head, body), false)
	}
	for _, t := range tokens {
		post("/v1/leases", "Authorization: Bearer "+t+"\r\n", `{"credential":"`+controlCredential+`"}`)
		post("/v1/leases", "Authorization: Bearer "+t+"\r\n", `{"credential":"dev-db","repository":"acme/`+controlRepository+`"}`)
		post("/v1/holds", "Authorization: bearer "+t+"\r\n", "")
		w.raw("DELETE /v1/leases/"+strings.Repeat("0", 32)+" HTTP/1.1"+end+"Authorization: Bearer "+t+"\r\n\r\n", false)
	}
	for _, t := range append(tokens[:2:2], tokens[6], tokens[8]) {
		for _, path := range []string{"/v1/leases?access_token=" + t, "/v1/leases/" + t, "/v1/holds/" + t + "?x=" + t, "/v1/login?token=" + t, "/webhooks/github?token=" + t, "/webhooks/" + t, "/ledger/" + t, "/ledger/tile/" + t, "/metrics?token=" + t, "/.well-known/" + t, "/readyz?" + t, "/" + t} {
			w.raw("GET "+path+" HTTP/1.1"+end+"\r\n", false)
			post(path, "Authorization: Bearer "+t+"\r\n", `{"credential":"`+t+`"}`)
		}
		for _, body := range []string{`{"credential":"` + t, `{"credential":"` + t + `"}`, `{"` + t + `":1}`, `{"credential":"x","repository":"` + t + `"}`, `{"credential":"x","repository":"` + t + `/` + t + `"}`, t, `["` + t + `"]`, `{"credential":"x","repository_id":"` + t + `"}`} {
			post("/v1/leases", "Authorization: Bearer "+t+"\r\n", body)
			post("/v1/holds", "Authorization: Bearer "+t+"\r\n", body)
			post("/webhooks/github", "Authorization: Bearer "+t+"\r\n", body)
		}
		for _, head := range []string{"Authorization: Basic " + t, "Authorization: " + t, "Authorization: Bearer " + t + "\r\nAuthorization: Bearer " + t, "Authorization: Bearer " + t + " x", "Cookie: token=" + t, "X-Token: " + t, "Content-Type: " + t, "Accept: " + t} {
			post("/v1/leases", head+"\r\n", `{"credential":"x"}`)
		}
		for _, text := range []string{"GET /" + t + " HTTP/9.9" + end + "\r\n", t + "\r\n\r\n", "GET / HTTP/1.1\r\n" + t + "\r\n\r\n", "GET / HTTP/1.1\r\nHost: " + t + " x\r\n\r\n", "POST /v1/leases HTTP/1.1" + end + "Transfer-Encoding: chunked\r\n\r\n" + t + "\r\n", "GET /%zz" + t + " HTTP/1.1" + end + "\r\n", "\x16\x03\x01" + t, "GET / HTTP/1.1" + end + "Content-Length: " + t + "\r\n\r\n"} {
			w.raw(text, true)
		}
	}
	body := w.app.Deliveries()[0].Body
	for _, secret := range []string{"", rand.Text(), tokens[6]} {
		mac := hmac.New(sha256.New, []byte(secret))
		mac.Write(body)
		sum := hex.EncodeToString(mac.Sum(nil))
		w.secrets.add("webhook signature", sum)
		post("/webhooks/github", "X-GitHub-Event: push\r\nX-GitHub-Delivery: 00000000-0000-0000-0000-000000000000\r\nX-Hub-Signature-256: sha256="+sum+"\r\n", string(body))
		post("/webhooks/github", "X-GitHub-Event: push\r\nX-GitHub-Delivery: 00000000-0000-0000-0000-000000000000\r\nX-Hub-Signature-256: "+sum+"\r\n", string(body))
	}
}

// audit has the ledger verified, exported and shown.
func (w *tour) audit() {
	w.t.Helper()
	for _, args := range [][]string{
		{"audit", "verify", w.url, "--trust-server-key"}, {"audit", "export", w.url, "--trust-server-key", "-o", filepath.Join(w.root, "ledger.jsonl")}, {"audit", "tail", w.url, "--trust-server-key"},
	} {
		cmd, finish := w.command(nil, args...)
		w.must(cmd.Start())
		if s := finish(); s.code != 0 {
			w.t.Errorf("%q: exit %d, %s", args, s.code, s.errs)
		}
	}
}

// metrics sees what the server tells of itself.
func (w *tour) metrics() {
	w.t.Helper()
	r, err := http.Get("http://" + w.listen + "/metrics")
	w.must(err)
	defer r.Body.Close()
	var b bytes.Buffer
	_, err = b.ReadFrom(r.Body)
	w.must(err)
	w.saw("metrics", b.Bytes())
}

// lists sees what PostgreSQL lists of its sessions and roles.
func (w *tour) lists() {
	w.t.Helper()
	c, err := pgx.Connect(w.t.Context(), w.db.Admin("postgres"))
	w.must(err)
	defer c.Close(w.t.Context())
	rows, err := c.Query(w.t.Context(), "SELECT query FROM pg_stat_activity UNION ALL SELECT coalesce(rolname, '') || ' ' || coalesce(shobj_description(oid, 'pg_authid'), '') FROM pg_roles")
	w.must(err)
	texts, err := pgx.CollectRows(rows, pgx.RowTo[string])
	w.must(err)
	w.saw("what PostgreSQL lists", []byte(strings.Join(texts, "\n")))
}

// backup sees the database while the server runs, and makes a backup of it in a file.
func (w *tour) backup(name string) {
	w.t.Helper()
	if w.store.Path == "" {
		out, err := exec.CommandContext(w.t.Context(), filepath.Join(pgtest.Bin(), "pg_dump"), w.db.Admin("store_postgres")).Output()
		w.must(err)
		w.file(name, string(out), false)
		return
	}
	for _, suffix := range []string{"", "-wal"} {
		data, err := os.ReadFile(w.store.Path + suffix)
		w.must(err)
		w.saw("database while the server runs", data)
	}
	db, err := sql.Open("sqlite", "file:"+w.store.Path)
	w.must(err)
	defer db.Close()
	_, err = db.ExecContext(w.t.Context(), "VACUUM INTO ?", filepath.Join(w.root, name))
	w.must(err)
}

// search looks for every secret in everything, and for what must be there too.
func (w *tour) search() {
	for kind, values := range w.g.Secrets() {
		w.secrets.add(kind, values...)
	}
	for _, r := range w.g.Requests() {
		w.saw("requests to GitHub", []byte(r.Method+" "+r.Path+"?"+r.Query))
		// GitHub is asked whose a token is.
		if !strings.HasPrefix(r.Kind, "POST /applications/") {
			w.saw("requests to GitHub", r.Body)
		}
	}
	counts := w.secrets.counts()
	for _, kind := range []string{
		"App key", "client secret", "webhook secret", "webhook signature", "sealing key", "ledger key", "issuer key", "database password", "alert address", "lease secret", "minted password", "minted token",
		"minted access key id", "minted secret access key", "minted session token", "exchanged token", "AWS secret", "refused bearer",
		githubtest.SecretInstallation, githubtest.SecretUser, githubtest.SecretRefresh, githubtest.SecretDevice, githubtest.SecretJob, githubtest.SecretRequest, githubtest.SecretShown,
	} {
		if counts[kind] == 0 {
			w.t.Errorf("no %s was collected: nothing would be found", kind)
		}
	}
	secrets := w.secrets.scanner()
	words := &canaries{}
	words.add("word", controlRepository, controlCredential, controlMetric, "SALLYPORT_SEAL_KEY_FILE")
	words.add("word", w.leases...)
	control := words.scanner()
	size := 0
	clean := func(place string, data []byte) {
		size += len(data)
		if found := secrets.find(data); found != nil {
			var b strings.Builder
			for what, at := range found {
				fmt.Fprintf(&b, "\n  %s: %q", what, data[max(0, at-120):min(len(data), at+40)])
			}
			w.t.Errorf("%s has%s", place, &b)
		}
	}
	searched := map[string][]byte{}
	for place, b := range w.places {
		clean(place, b.Bytes())
		searched[place] = b.Bytes()
	}
	walk(w.t, w.root, func(path string, data []byte) {
		name, _ := filepath.Rel(w.root, path) // it is below
		if w.hands[path] {
			delete(w.hands, path)
			if secrets.find(data) == nil {
				w.t.Errorf("the file %s hands a secret out, and none is found in it", name)
			}
			return
		}
		clean("the file "+name, data)
		searched["the file "+name] = data
	})
	for path, secret := range w.hands {
		if secret {
			w.t.Errorf("the file %s was to hand a secret out, and is not there", path)
		}
	}
	cluster := filepath.Dir(w.db.Log())
	logged, err := os.ReadFile(w.db.Log())
	w.must(err)
	searched["PostgreSQL's log"] = logged
	clean("PostgreSQL's log", logged)
	walk(w.t, filepath.Join(cluster, "data"), func(path string, data []byte) {
		name, _ := filepath.Rel(cluster, path) // it is below
		clean("PostgreSQL's file "+name, data)
		if control.find(data) != nil {
			searched["PostgreSQL's files"] = data
		}
	})
	places := []string{
		"answers of the server", "alerts", "arguments of processes", "environment of the server", "output of the operator's commands", "standard output of the command line", "standard error of the command line", "requests to GitHub",
		"metrics", "what PostgreSQL lists", "PostgreSQL's log", "PostgreSQL's files", "the file server.log", "the file ledger.jsonl", "the file first.backup", "the file second.backup",
	}
	if w.store.Path != "" {
		places = append(places, "database while the server runs", "the file s.db")
	}
	for _, place := range places {
		if control.find(searched[place]) == nil {
			w.t.Errorf("%s (%d bytes) has nothing of this run: that no secret is there proves nothing", place, len(searched[place]))
		}
	}
	w.t.Logf("%d pieces of %v searched for in %d bytes", len(secrets.pieces), counts, size)
}
