package server_test

import (
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/sallyport/sallyport/cmd/sallyport-app/server"
)

func readDoc(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("../../../" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

var variable = regexp.MustCompile(`SALLYPORT_[A-Z]+(?:_[A-Z]+)*`)

// The table of settings has every setting, and none that there is not.
func TestSettingsDocumentation(t *testing.T) {
	text := readDoc(t, "docs/server.md")
	_, table, ok := strings.Cut(text, "## Settings\n")
	table, _, end := strings.Cut(table, "\n## ")
	if !ok || !end {
		t.Fatal("there is no table of settings")
	}
	documented := map[string]bool{}
	for line := range strings.Lines(table) {
		cells := strings.Split(line, "|")
		if len(cells) < 2 {
			continue
		}
		for _, name := range variable.FindAllString(cells[1], -1) {
			documented[name] = true
		}
	}
	known := map[string]bool{}
	for _, s := range server.All() {
		known[s.Variable()] = true
		if s.Secret || s.File {
			known[s.Variable()+"_FILE"] = true
		}
		if !documented[s.Variable()] && !(s.Secret && documented[s.Variable()+"_FILE"]) {
			t.Errorf("docs/server.md has no %s", s.Variable())
		}
	}
	for name := range documented {
		if !known[name] {
			t.Errorf("docs/server.md has %s, which is no setting", name)
		}
	}
	for _, file := range []string{"docs/setup.md", "docs/database.md", "docs/keys.md", "docs/observability.md", "docs/operate/compose.yaml", "docs/operate/kubernetes.yaml", "docs/operate/sallyport-app.service", "Dockerfile"} {
		for _, name := range variable.FindAllString(readDoc(t, file), -1) {
			if !known[name] {
				t.Errorf("%s has %s, which is no setting", file, name)
			}
		}
	}
}

// at is what lies in a YAML value, by keys; of a list the first that has the next key.
func at(t *testing.T, v any, keys ...string) any {
	t.Helper()
	for _, k := range keys {
		if list, ok := v.([]any); ok {
			i := slices.IndexFunc(list, func(x any) bool { m, ok := x.(map[string]any); return ok && m[k] != nil })
			if i < 0 {
				t.Fatalf("there is no %s of %q", k, keys)
			}
			v = list[i]
		}
		m, _ := v.(map[string]any)
		if m[k] == nil {
			t.Fatalf("there is no %s of %q", k, keys)
		}
		v = m[k]
	}
	return v
}

// as is a value of a document that has to be of one type.
func as[T any](t *testing.T, v any) T {
	t.Helper()
	out, ok := v.(T)
	if !ok {
		t.Fatalf("%v is a %T", v, v)
	}
	return out
}

// image is what the Dockerfile says: who runs the program, and its port.
func image(t *testing.T) (user, port string) {
	t.Helper()
	text := readDoc(t, "Dockerfile")
	u := regexp.MustCompile(`(?m)^USER (\d+):(\d+)$`).FindStringSubmatch(text)
	p := regexp.MustCompile(`(?m)^EXPOSE (\d+)$`).FindStringSubmatch(text)
	if u == nil || p == nil || u[1] != u[2] || !strings.Contains(text, "SALLYPORT_LISTEN=0.0.0.0:"+p[1]+"\n") {
		t.Fatalf("the Dockerfile has user %q and port %q", u, p)
	}
	return u[1], p[1]
}

// The manifests fit the image, the server and each other.
func TestKubernetesManifests(t *testing.T) {
	text := readDoc(t, "docs/operate/kubernetes.yaml")
	user, port := image(t)
	kinds := map[string]any{}
	for decoder := yaml.NewDecoder(strings.NewReader(text)); ; {
		var v map[string]any
		if err := decoder.Decode(&v); err != nil {
			break
		}
		kinds[as[string](t, v["kind"])] = v
		if name := at(t, v, "metadata", "name"); name != "sallyport" {
			t.Errorf("the %s is called %v", v["kind"], name)
		}
	}
	if len(kinds) != 6 {
		t.Fatalf("there are %d kinds", len(kinds))
	}
	same := func(what string, got, want any) {
		t.Helper()
		a, err := yaml.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		b, err := yaml.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Trim(string(a), "\"\n") != strings.Trim(string(b), "\"\n") {
			t.Errorf("%s: %s, want %s", what, a, b)
		}
	}
	deployment := kinds["Deployment"]
	labels := at(t, deployment, "spec", "template", "metadata", "labels")
	same("the deployment's labels", at(t, deployment, "spec", "selector", "matchLabels"), labels)
	same("the service's labels", at(t, kinds["Service"], "spec", "selector"), labels)
	same("the budget's labels", at(t, kinds["PodDisruptionBudget"], "spec", "selector", "matchLabels"), labels)
	same("the network policy's labels", at(t, kinds["NetworkPolicy"], "spec", "podSelector", "matchLabels"), labels)
	if r, m := as[int](t, at(t, deployment, "spec", "replicas")), as[int](t, at(t, kinds["PodDisruptionBudget"], "spec", "minAvailable")); m >= r {
		t.Errorf("%d of %d have to stay: no node can be drained", m, r)
	}
	pod := at(t, deployment, "spec", "template", "spec")
	for _, key := range []string{"runAsUser", "runAsGroup", "fsGroup"} {
		same(key, at(t, pod, "securityContext", key), user)
	}
	container := as[[]any](t, at(t, pod, "containers"))[0]
	same("the root is read-only", at(t, container, "securityContext", "readOnlyRootFilesystem"), true)
	same("the port", at(t, container, "ports", "containerPort"), port)
	http := at(t, container, "ports", "name")
	same("the service's port", at(t, kinds["Service"], "spec", "ports", "targetPort"), http)
	same("the network policy's port", at(t, kinds["NetworkPolicy"], "spec", "ingress", "ports", "port"), http)
	for probe, want := range map[string]string{"livenessProbe": "/healthz", "readinessProbe": "/readyz"} {
		same(probe, at(t, container, probe, "httpGet", "path"), want)
		same(probe, at(t, container, probe, "httpGet", "port"), http)
	}
	mount := as[string](t, at(t, container, "volumeMounts", "mountPath"))
	for name, value := range as[map[string]any](t, at(t, kinds["ConfigMap"], "data")) {
		if !strings.HasSuffix(name, "_FILE") {
			continue
		}
		dir, file := path.Split(as[string](t, value))
		if path.Clean(dir) != mount || !regexp.MustCompile(`--from-file=`+file+`(=\S+)?\s`).MatchString(text) {
			t.Errorf("%s is %v, which is not in the secret", name, value)
		}
	}
}

// The compose file fits the image, and mounts the secrets that it names.
func TestComposeFile(t *testing.T) {
	user, port := image(t)
	text := readDoc(t, "docs/operate/compose.yaml")
	var v map[string]any
	if err := yaml.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	app := at(t, v, "services", "sallyport-app")
	if ports := as[[]any](t, at(t, app, "ports")); len(ports) != 1 || ports[0] != "127.0.0.1:8080:"+port {
		t.Errorf("the ports are %v", ports)
	}
	if !strings.Contains(text, "readable by user "+user) || at(t, app, "read_only") != true {
		t.Errorf("it is not for user %s, or its root can be written", user)
	}
	secrets := as[[]any](t, at(t, app, "secrets"))
	for name, value := range as[map[string]any](t, at(t, app, "environment")) {
		if !strings.HasSuffix(name, "_FILE") {
			continue
		}
		file, ok := strings.CutPrefix(as[string](t, value), "/run/secrets/")
		if !ok || !slices.Contains(secrets, any(file)) {
			t.Errorf("%s is %v, which is not mounted", name, value)
		}
		at(t, v, "secrets", file, "file")
	}
}

// The unit loads each credential that its settings name.
func TestUnit(t *testing.T) {
	text := readDoc(t, "docs/operate/sallyport-app.service")
	named := regexp.MustCompile(`(?m)^Environment=SALLYPORT_[A-Z_]+_FILE=%d/(\S+)$`).FindAllStringSubmatch(text, -1)
	if len(named) < 3 {
		t.Errorf("%d files are named", len(named))
	}
	for _, n := range named {
		if !strings.Contains(text, "\nLoadCredential="+n[1]+":/etc/sallyport/secrets/") {
			t.Errorf("%s is not loaded", n[1])
		}
	}
}
