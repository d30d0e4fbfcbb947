package main

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sallyport/sallyport/gate/github/githubtest"
	"github.com/sallyport/sallyport/gate/store"
	"github.com/sallyport/sallyport/gate/store/pgtest"
	"github.com/sallyport/sallyport/rules"
)

// The words that the control looks for in place of secrets: what is searched must be
// where the run left something.
const (
	controlRepository = "orders-of-the-canary-run"
	controlCredential = "migrator-of-the-canary-run"
	controlMetric     = "sallyport_http_requests_total"
)

const canaryPolicy = `version: 1
reviewers: [acme/sre]
alerts: [ops]
environments:
  dev: {gate: auto, paths: [docs/**]}
  production: {gate: human}
credentials:
  ` + controlCredential + `: {environment: production, target: db, capability: write, workflow: deploy.yml}
  db-outputs: {environment: production, target: db, capability: write, workflow: deploy.yml}
  db-refused: {environment: production, target: db-refused, capability: write, workflow: deploy.yml}
  token-exec: {environment: production, target: token, capability: write, workflow: deploy.yml}
  token-json: {environment: production, target: token, capability: write, workflow: deploy.yml}
  github-exec: {environment: production, target: github, capability: write, workflow: deploy.yml}
  github-file: {environment: production, target: github, capability: write, workflow: deploy.yml}
  github-lost: {environment: production, target: github-lost, capability: write, workflow: deploy.yml}
  aws-exec: {environment: production, target: aws, capability: write, workflow: deploy.yml}
  aws-env: {environment: production, target: aws, capability: write, workflow: deploy.yml}
  aws-refused: {environment: production, target: aws-refused, capability: write, workflow: deploy.yml}
  aws-half: {environment: production, target: aws-half, capability: write, workflow: deploy.yml}
  dev-db: {environment: dev, target: dev-db, capability: write, ttl: 5m}
  dev-token: {environment: dev, target: dev-token, capability: write, ttl: 5m}
`

const canaryTargets = `alerts:
  ops: {webhook: {url_file: %[2]q}, repositories: [%[1]d], private: true}
targets:
  db: {tier: human, private: true, repositories: [%[1]d], environments: [production], postgres: {url_file: %[3]q, groups: {write: app_writer}}}
  db-refused: {tier: human, private: true, repositories: [%[1]d], environments: [production], postgres: {url_file: %[3]q, groups: {write: app_reads_all}}}
  token: {tier: human, repositories: [%[1]d], environments: [production], token: {audience: "https://vault.acme.internal"}}
  github: {tier: human, repositories: [%[1]d], environments: [production], github: {repositories: [%[1]d], permissions: {contents: read}}}
  github-lost: {tier: human, repositories: [%[1]d], environments: [production], github: {repositories: [%[1]d], permissions: {statuses: read}}}
  aws: {tier: human, repositories: [%[1]d], environments: [production], aws: {role: "arn:aws:iam::123456789012:role/deploy", region: eu-west-1}}
  aws-refused: {tier: human, repositories: [%[1]d], environments: [production], aws: {role: "arn:aws:iam::123456789012:role/refused", region: eu-west-1}}
  aws-half: {tier: human, repositories: [%[1]d], environments: [production], aws: {role: "arn:aws:iam::123456789012:role/half", region: eu-west-1}}
  dev-db: {tier: auto, private: true, repositories: [%[1]d], environments: [dev], postgres: {url_file: %[3]q, groups: {write: app_writer}}}
  dev-token: {tier: auto, repositories: [%[1]d], environments: [dev], token: {audience: "https://vault.acme.internal"}}
`

// tour is one run of everything, and what it left.
type tour struct {
	t        *testing.T
	bin      string
	db       *pgtest.Server
	root     string // every file of the run is below it
	secrets  canaries
	g        *githubtest.GitHub
	repo     *githubtest.Repository
	alice    *githubtest.User
	bob      *githubtest.User
	app      *githubtest.App
	webhooks string // what signs them
	url      string // of the server, as everybody reaches it
	listen   string // of the server itself
	seal     []byte
	store    store.Config
	env      []string // of the server and the commands beside it
	serve    *exec.Cmd
	steps    int
	// hands are the files that hand a secret out; nothing else may have one.
	hands map[string]bool

	mu     sync.Mutex
	places map[string]*bytes.Buffer
	leases []string // their ids
}

// saw keeps what somebody could read.
func (w *tour) saw(place string, data ...[]byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.places[place] == nil {
		w.places[place] = &bytes.Buffer{}
	}
	for _, d := range data {
		w.places[place].Write(d)
		w.places[place].WriteByte('\n')
	}
}

func (w *tour) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// file writes a file; one that is secret hands out what it says.
func (w *tour) file(name, text string, secret bool) string {
	w.t.Helper()
	path := filepath.Join(w.root, name)
	w.must(os.WriteFile(path, []byte(text), 0o600))
	w.hands[path] = secret
	return path
}

func (w *tour) until(what string, so func() bool) {
	w.t.Helper()
	for end := time.Now().Add(30 * time.Second); !so(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			text, _ := os.ReadFile(filepath.Join(w.root, "server.log")) // said with what is known
			w.t.Fatalf("waited in vain until %s:\n%s", what, text)
		}
	}
}

// newTour makes everything but a server that runs. Name is also that of its databases.
func newTour(t *testing.T, name, bin string, db *pgtest.Server, brokerPassword, storePassword string) *tour {
	t.Helper()
	w := &tour{t: t, bin: bin, db: db, root: t.TempDir(), g: githubtest.Start(t), webhooks: rand.Text() + rand.Text(), hands: map[string]bool{}, places: map[string]*bytes.Buffer{}, seal: make([]byte, 32)}
	w.g.Allow("Bad credentials") // a token that was revoked is asked about
	acme := w.g.Organization("acme")
	w.alice, w.bob = w.g.User("alice"), w.g.User("bob")
	acme.Owner(w.alice)
	w.repo = w.g.Repository(acme, controlRepository)
	acme.Team("sre", w.bob).Access(w.repo, "write")
	w.repo.CommitTo(w.alice, "main", "Add the policy", map[string]string{rules.PolicyPath: canaryPolicy, ".github/workflows/deploy.yml": "on: push\n"})
	w.app = w.g.App(githubtest.AppConfig{
		Slug: "sallyport", Owner: acme, Secret: w.webhooks,
		Permissions: map[string]string{
			"actions": "write", "checks": "write", "contents": "write", "deployments": "write", "members": "read", "merge_queues": "read", "pull_requests": "write", "statuses": "read",
		},
		Events: []string{
			"check_run", "check_suite", "deployment", "deployment_protection_rule", "deployment_review", "deployment_status", "membership", "merge_group",
			"pull_request", "pull_request_review", "push", "status", "team", "workflow_dispatch", "workflow_job", "workflow_run",
		},
	})
	w.app.Install(acme)
	id, clientSecret := w.app.OAuth()
	w.app.DeviceFlow(true, 1)
	if _, err := rand.Read(w.seal); err != nil {
		t.Fatal(err)
	}

	w.listen = freeAddress(t)
	w.url = w.front()
	alerts := w.alerts()
	broker := db.URL("broker_"+name, brokerPassword, "shop_"+name)
	databaseURL := "sqlite:" + filepath.Join(w.root, "s.db")
	w.store = store.Config{Path: filepath.Join(w.root, "s.db"), MustExist: true}
	if storePassword != "" {
		databaseURL = db.URL("store_"+name, storePassword, "store_"+name)
		w.store = store.Config{URL: store.Address(databaseURL), MustExist: true}
		w.secrets.add("database password", storePassword)
	}
	w.secrets.addPEM(t, "App key", w.app.KeyPEM())
	w.secrets.add("client secret", clientSecret)
	w.secrets.add("webhook secret", w.webhooks)
	w.secrets.add("sealing key", hex.EncodeToString(w.seal))
	w.secrets.add("database password", brokerPassword)
	w.secrets.add("alert address", alerts[strings.LastIndex(alerts, "/")+1:])
	proxy, ca := w.aws()
	targets := fmt.Sprintf(canaryTargets, w.repo.ID, w.file("alerts.url", alerts, true), w.file("broker.url", broker, true))
	w.env = []string{
		"HOME=" + w.root, "PATH=/usr/bin:/bin", "HTTPS_PROXY=" + proxy, "SSL_CERT_FILE=" + ca, "SALLYPORT_URL=" + w.url, "SALLYPORT_LISTEN=" + w.listen,
		"SALLYPORT_DATABASE_URL_FILE=" + w.file("database.url", databaseURL, storePassword != ""), "SALLYPORT_APP_ID=" + fmt.Sprint(w.app.ID),
		"SALLYPORT_PRIVATE_KEY_FILE=" + w.file("app.pem", string(w.app.KeyPEM()), true), "SALLYPORT_WEBHOOK_SECRET_FILE=" + w.file("webhook.secret", w.webhooks+"\n", true),
		"SALLYPORT_GITHUB_API_URL=" + w.g.URL(), "SALLYPORT_OIDC_ISSUER=" + w.g.OIDCIssuer(), "SALLYPORT_TARGETS_FILE=" + w.file("targets.yml", targets, false),
		"SALLYPORT_SEAL_KEY_FILE=" + w.file("seal.key", hex.EncodeToString(w.seal)+"\n", true), "SALLYPORT_CLIENT_ID=" + id,
		"SALLYPORT_CLIENT_SECRET_FILE=" + w.file("client.secret", clientSecret+"\n", true),
	}
	w.app.Webhook(w.url+"/webhooks/github", w.webhooks)
	return w
}

// front is before the server, as a proxy is: it sees what is asked and answered.
func (w *tour) front() string {
	to := &url.URL{Scheme: "http", Host: w.listen}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(to)
			p.Out.Host = p.In.Host
			for _, name := range []string{"X-Hub-Signature", "X-Hub-Signature-256"} {
				if _, sum, ok := strings.Cut(p.In.Header.Get(name), "="); ok {
					w.secrets.add("webhook signature", sum)
				}
			}
		},
		ModifyResponse: w.answered,
		ErrorHandler:   func(r http.ResponseWriter, _ *http.Request, _ error) { r.WriteHeader(http.StatusBadGateway) }, // the server was killed
		ErrorLog:       log.New(io.Discard, "", 0),
	}
	s := httptest.NewServer(proxy)
	w.t.Cleanup(s.Close)
	return s.URL
}

// answered sees an answer of the server, but for the credentials in one that gives them.
func (w *tour) answered(r *http.Response) error {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	shown := body
	if r.StatusCode == http.StatusCreated && r.Request.URL.Path == "/v1/leases" {
		if shown, err = w.given(body); err != nil {
			return err
		}
	}
	w.saw("answers of the server", fmt.Appendf(nil, "%s %d %v", r.Request.URL.Path, r.StatusCode, r.Header), shown)
	return nil
}

// given takes the secrets out of a lease.
func (w *tour) given(body []byte) ([]byte, error) {
	var lease map[string]any
	if err := json.Unmarshal(body, &lease); err != nil {
		return nil, err
	}
	secret, _ := lease["secret"].(string)
	values, _ := lease["values"].(map[string]any)
	w.secrets.add("lease secret", secret)
	for name, v := range values {
		text, _ := v.(string)
		switch name {
		case "password", "token", "secret_access_key", "session_token", "access_key_id": // a url has its password
			w.secrets.add("minted "+strings.ReplaceAll(name, "_", " "), text)
		}
	}
	delete(lease, "secret")
	delete(lease, "values")
	id, _ := lease["id"].(string)
	w.mu.Lock()
	w.leases = append(w.leases, id)
	w.mu.Unlock()
	return json.Marshal(lease)
}

// alerts is where people are told. Its address is a secret, which it quotes when it fails
// the first time.
func (w *tour) alerts() string {
	var once sync.Once
	s := httptest.NewServer(http.HandlerFunc(func(a http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body) // what came of it is looked at
		w.saw("alerts", fmt.Appendf(nil, "%v", r.Header), body)
		once.Do(func() { http.Error(a, "cannot deliver to "+r.URL.Path, http.StatusInternalServerError) })
	}))
	w.t.Cleanup(s.Close)
	return s.URL + "/" + rand.Text()
}

// aws is AWS's token service behind a proxy, which is how the real client gets there.
// It gives a session, refuses and quotes the token, or gives half a session, as the role
// says.
func (w *tour) aws() (proxy, ca string) {
	w.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	w.must(err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"sts.eu-west-1.amazonaws.com"}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	w.must(err)
	sts := httptest.NewUnstartedServer(http.HandlerFunc(func(a http.ResponseWriter, r *http.Request) {
		token := r.PostFormValue("WebIdentityToken")
		w.secrets.add("exchanged token", token)
		id, secret, session := "ASIA"+rand.Text()[:16], rand.Text()+rand.Text()[:14], rand.Text()+rand.Text()+rand.Text()
		w.secrets.add("AWS secret", id, secret, session)
		switch _, role, _ := strings.Cut(r.PostFormValue("RoleArn"), "/"); role {
		case "refused":
			a.WriteHeader(http.StatusBadRequest)
			fmt.Fprintf(a, "<ErrorResponse><Error><Code>InvalidIdentityToken</Code><Message>The token %s is wrong</Message></Error></ErrorResponse>", token)
			return
		case "half":
			session = ""
		}
		fmt.Fprintf(a, "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>%s</AccessKeyId><SecretAccessKey>%s</SecretAccessKey><SessionToken>%s</SessionToken></Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>", id, secret, session)
	}))
	sts.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS13}
	sts.StartTLS()
	w.t.Cleanup(sts.Close)
	through := httptest.NewServer(http.HandlerFunc(func(a http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect || r.Host != "sts.eu-west-1.amazonaws.com:443" {
			w.t.Errorf("something asked the proxy for %s %s", r.Method, r.Host)
			http.Error(a, "no", http.StatusForbidden)
			return
		}
		there, err := net.Dial("tcp", sts.Listener.Addr().String())
		if err != nil {
			http.Error(a, "away", http.StatusBadGateway)
			return
		}
		defer there.Close()
		here, _, err := http.NewResponseController(a).Hijack()
		if err != nil {
			return
		}
		defer here.Close()
		_, _ = io.WriteString(here, "HTTP/1.1 200 OK\r\n\r\n")
		go func() {
			_, _ = io.Copy(there, here)
			_ = there.Close()
		}()
		_, _ = io.Copy(here, there)
	}))
	w.t.Cleanup(through.Close)
	return through.URL, w.file("aws.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), false)
}

// start starts the server and waits until it works.
func (w *tour) start() {
	w.t.Helper()
	file, err := os.OpenFile(filepath.Join(w.root, "server.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	w.must(err)
	defer file.Close()
	w.serve = exec.CommandContext(context.WithoutCancel(w.t.Context()), filepath.Join(w.bin, "sallyport-app"), "serve", "--debug")
	w.serve.Env, w.serve.Stdout, w.serve.Stderr = w.env, file, file
	w.must(w.serve.Start())
	w.t.Cleanup(func() { w.end(syscall.SIGKILL) })
	w.until("the server is ready", func() bool {
		r, err := http.Get("http://" + w.listen + "/readyz")
		return err == nil && r.Body.Close() == nil && r.StatusCode == http.StatusOK
	})
	w.arguments(w.serve.Process.Pid)
}

// end ends the server by a signal, if it runs.
func (w *tour) end(s syscall.Signal) {
	if w.serve == nil {
		return
	}
	_ = w.serve.Process.Signal(s) // gone already
	_ = w.serve.Wait()            // ended by the signal
	w.serve = nil
}

// arguments sees what everybody on the machine sees of a process, and the environment
// of the server, which its settings say is no place for secrets.
func (w *tour) arguments(pid int) {
	w.t.Helper()
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	w.must(err)
	w.saw("arguments of processes", line)
	env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	w.must(err)
	w.saw("environment of the server", env)
}

// operator runs a command beside the server.
func (w *tour) operator(args ...string) string {
	w.t.Helper()
	cmd := exec.CommandContext(w.t.Context(), filepath.Join(w.bin, "sallyport-app"), append(args, "--debug")...)
	var out, errs bytes.Buffer
	cmd.Env, cmd.Stdout, cmd.Stderr = w.env, &out, &errs
	if err := cmd.Run(); err != nil {
		w.t.Fatalf("sallyport-app %v: %v\n%s%s", args, err, &out, &errs)
	}
	w.saw("output of the operator's commands", out.Bytes(), errs.Bytes())
	return out.String()
}

// step is one step of a job that ended, or one command on somebody's machine.
type step struct {
	code      int
	out, errs string
	dir       string
}

// command makes a command of the command line in a folder of its own.
func (w *tour) command(env []string, args ...string) (cmd *exec.Cmd, finish func() step) {
	w.t.Helper()
	w.steps++
	dir := filepath.Join(w.root, fmt.Sprintf("step-%d", w.steps))
	w.must(os.Mkdir(dir, 0o700))
	cmd = exec.CommandContext(w.t.Context(), filepath.Join(w.bin, "sallyport"), args...)
	cmd.Env = append([]string{
		"HOME=" + dir, "PATH=/usr/bin:/bin", "RUNNER_TEMP=" + dir, "SALLYPORT_URL=" + w.url,
		"GITHUB_OUTPUT=" + filepath.Join(dir, "output"), "GITHUB_STEP_SUMMARY=" + filepath.Join(dir, "summary"), "GITHUB_ENV=" + filepath.Join(dir, "env"), "GITHUB_STATE=" + filepath.Join(dir, "state"),
	}, env...)
	var out, errs buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	return cmd, func() step {
		_ = cmd.Wait() // the exit code says it
		s := step{cmd.ProcessState.ExitCode(), out.String(), errs.String(), dir}
		// What has the runner mask something is not in the log that people read.
		for place, text := range map[string]string{"standard output of the command line": s.out, "standard error of the command line": s.errs} {
			for line := range strings.Lines(text) {
				if !strings.HasPrefix(line, "::add-mask::") {
					w.saw(place, []byte(line))
				}
			}
		}
		return s
	}
}

// inJob runs a command as a step of a job.
func (w *tour) inJob(run *githubtest.Run, job *githubtest.Job, inputs []string, args ...string) (cmd *exec.Cmd, finish func() step) {
	w.t.Helper()
	address, bearer := job.TokenRequest()
	env := []string{
		"GITHUB_ACTIONS=true", fmt.Sprint("GITHUB_RUN_ID=", run.ID), fmt.Sprint("GITHUB_RUN_ATTEMPT=", job.Attempt()), "ACTIONS_ID_TOKEN_REQUEST_URL=" + address, "ACTIONS_ID_TOKEN_REQUEST_TOKEN=" + bearer,
	}
	for _, i := range inputs {
		env = append(env, "INPUT_"+i)
	}
	cmd, finish = w.command(env, args...)
	w.must(cmd.Start())
	return cmd, finish
}

// row opens a row of the settings that must be sealed; nil where there is none.
func (w *tour) row(s *store.Store, name, sealedAs string) []byte {
	w.t.Helper()
	row, err := s.Setting(w.t.Context(), name)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	w.must(err)
	if string(row) == "x" { // erased
		return []byte{}
	}
	block, err := aes.NewCipher(w.seal)
	w.must(err)
	aead, err := cipher.NewGCMWithRandomNonce(block)
	w.must(err)
	value := bytes.TrimPrefix(row[1:], []byte("s")) // the issuer marks its rows too
	if row[0] != 's' {
		w.t.Fatalf("the setting %q is not sealed", name)
	}
	if value, err = aead.Open(nil, nil, value, []byte(sealedAs)); err != nil {
		w.t.Fatalf("the setting %q: %v", name, err)
	}
	return value
}

// keys collects the private keys that lie sealed in the store at this moment.
func (w *tour) keys() {
	w.t.Helper()
	s, err := store.Open(w.t.Context(), w.store)
	w.must(err)
	defer s.Close()
	ledger := strings.SplitN(string(w.row(s, "ledger key", "ledger key")), "+", 5) // PRIVATE+KEY+name+hash+key
	private, err := base64.StdEncoding.DecodeString(ledger[4])
	w.must(err)
	w.secrets.add("ledger key", string(private[1:])) // after the algorithm
	for _, tier := range []string{"human", "auto"} {
		for n := 1; ; n++ {
			value := w.row(s, fmt.Sprintf("issuer keys %s %d", tier, n), "issuer")
			if value == nil {
				break
			}
			if len(value) == 0 {
				continue
			}
			var r struct {
				Current, Next *struct{ PKCS8 []byte }
			}
			w.must(json.Unmarshal(value, &r))
			for _, k := range []*struct{ PKCS8 []byte }{r.Current, r.Next} {
				if k == nil {
					continue
				}
				key, err := x509.ParsePKCS8PrivateKey(k.PKCS8)
				w.must(err)
				w.secrets.addKey(w.t, "issuer key", key)
			}
		}
	}
}

// raw sends bytes to the server as they are. With broken it says that nothing more comes,
// so that the server does not wait for it.
func (w *tour) raw(text string, broken bool) {
	w.t.Helper()
	c, err := net.Dial("tcp", w.listen)
	w.must(err)
	defer c.Close()
	w.must(c.SetDeadline(time.Now().Add(10 * time.Second)))
	_, _ = io.WriteString(c, text) // the server may have closed
	if tcp, ok := c.(*net.TCPConn); ok && broken {
		_ = tcp.CloseWrite() // as above
	}
	answer, _ := io.ReadAll(c) // what came is looked at
	w.saw("answers of the server", answer)
}

// walk calls do for every file below a folder. One that goes away meanwhile is none.
func walk(t *testing.T, folder string, do func(path string, data []byte)) {
	t.Helper()
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || err == nil && !d.Type().IsRegular() {
			return nil
		}
		if err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			do(path, data)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
