// Package contract holds requests and answers to what GitHub publishes: its OpenAPI
// description, the schema of its webhooks and its GraphQL schema. It is for tests
// only. The files are not part of this repository; environment variables name them,
// and a test that needs one that is not named skips with a line that says how to get
// it.
package contract

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
)

// Environment variables that name GitHub's published files.
const (
	// OpenAPIVariable names api.github.com.json of npm @octokit/openapi, or a part
	// of it.
	OpenAPIVariable = "SALLYPORT_GITHUB_OPENAPI"
	// WebhooksVariable names a folder with schema/events.schema.json (of npm
	// @octokit/webhooks-schemas, or a part of it) and captured payloads named
	// EVENT.ACTION[.VARIANT].json.
	WebhooksVariable = "SALLYPORT_WEBHOOKS"
	// GraphQLVariable names schema.graphql of npm @octokit/graphql-schema.
	GraphQLVariable = "SALLYPORT_GRAPHQL_SCHEMA"
)

// named is what a variable names; without one the test skips.
func named(t testing.TB, variable, how string) string {
	t.Helper()
	name := os.Getenv(variable)
	if name == "" {
		t.Skipf("%s is not set. %s", variable, how)
	}
	return name
}

// OpenAPI is GitHub's description of its REST API.
type OpenAPI struct {
	doc *openapi3.T
	// mu guards seen.
	mu   sync.Mutex
	seen map[string]int
}

// LoadOpenAPI reads the description that SALLYPORT_GITHUB_OPENAPI names.
func LoadOpenAPI(t testing.TB) *OpenAPI {
	t.Helper()
	file := named(t, OpenAPIVariable, "Get it with: npm pack @octokit/openapi@23.0.2, file generated/api.github.com.json")
	doc, err := openapi3.NewLoader().LoadFromFile(file)
	if err != nil {
		t.Fatal(err)
	}
	// The description's own examples do not all fit it.
	if err := doc.Validate(t.Context(), openapi3.DisableExamplesValidation()); err != nil {
		t.Fatal(err)
	}
	// GitHub takes and gives can_admins_bypass; the description forgets it.
	if item := doc.Paths.Value("/repos/{owner}/{repo}/environments/{environment_name}"); item != nil && item.Put != nil && item.Put.RequestBody != nil {
		body := item.Put.RequestBody.Value.Content.Get("application/json").Schema.Value
		body.Properties["can_admins_bypass"] = openapi3.NewBoolSchema().NewRef()
	}
	// An account is a user or an enterprise; in one list the description says both.
	if item := doc.Paths.Value("/app/installations"); item != nil && item.Get != nil {
		list := item.Get.Responses.Status(http.StatusOK).Value.Content.Get("application/json").Schema.Value
		if account := list.Items.Value.Properties["account"]; account != nil && account.Value != nil {
			account.Value.AnyOf, account.Value.AllOf = account.Value.AllOf, nil
		}
	}
	return &OpenAPI{doc: doc, seen: map[string]int{}}
}

// Operations lists every operation of the description as "METHOD /path".
func (o *OpenAPI) Operations() []string {
	var out []string
	for path, item := range o.doc.Paths.Map() {
		for method := range item.Operations() {
			out = append(out, method+" "+path)
		}
	}
	return out
}

// Seen says how many exchanges of each operation were held to the description, as
// "METHOD /path STATUS".
func (o *OpenAPI) Seen() map[string]int {
	o.mu.Lock()
	defer o.mu.Unlock()
	out := map[string]int{}
	for k, n := range o.seen {
		out[k] = n
	}
	return out
}

// find matches a path against the description. A literal part wins over a
// parameter; the path of a file takes all that is left.
func (o *OpenAPI) find(method, path string) *routers.Route {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	var best *routers.Route
	bestLiterals := -1
each:
	for template, item := range o.doc.Paths.Map() {
		op := item.GetOperation(method)
		if op == nil {
			continue
		}
		want := strings.Split(strings.Trim(template, "/"), "/")
		contents := strings.HasSuffix(template, "/contents/{path}")
		if len(want) != len(parts) && (!contents || len(parts) < len(want)) {
			continue
		}
		literals := 0
		for i, w := range want {
			if strings.HasPrefix(w, "{") {
				continue
			}
			if w != parts[i] {
				continue each
			}
			literals++
		}
		if literals > bestLiterals {
			bestLiterals = literals
			best = &routers.Route{Spec: o.doc, Path: template, PathItem: item, Method: method, Operation: op}
		}
	}
	return best
}

func parameters(template, path string) map[string]string {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	out := map[string]string{}
	want := strings.Split(strings.Trim(template, "/"), "/")
	for i, w := range want {
		name, ok := strings.CutPrefix(w, "{")
		if !ok {
			continue
		}
		raw := parts[i]
		if i == len(want)-1 {
			raw = strings.Join(parts[i:], "/")
		}
		if value, err := url.PathUnescape(raw); err == nil {
			raw = value
		}
		out[strings.TrimSuffix(name, "}")] = raw
	}
	return out
}

// Transport holds each exchange to the description and tells the test what does not
// fit. base is the API's base URL. Operations for which except is true are let
// through: for what the description, or the part of it that there is, does not know.
func (o *OpenAPI) Transport(t testing.TB, base string, next http.RoundTripper, except func(method, path string) bool) http.RoundTripper {
	if next == nil {
		next = http.DefaultTransport
	}
	return transport{o, t, base, next, except}
}

type transport struct {
	o      *OpenAPI
	t      testing.TB
	base   string
	next   http.RoundTripper
	except func(method, path string) bool
}

// RoundTrip implements http.RoundTripper.
func (x transport) RoundTrip(r *http.Request) (*http.Response, error) {
	var sent []byte
	if r.Body != nil {
		var err error
		if sent, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
		r.Body.Close()
		r.Body = io.NopCloser(bytes.NewReader(sent))
	}
	w, err := x.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	got, err := io.ReadAll(w.Body)
	w.Body.Close()
	if err != nil {
		return nil, err
	}
	w.Body = io.NopCloser(bytes.NewReader(got))
	for _, problem := range x.o.check(r, sent, w, got, x.base, x.except) {
		x.t.Errorf("%s %s (%d): %s", r.Method, r.URL.Path, w.StatusCode, problem)
	}
	return w, nil
}

// check holds one exchange to the description.
func (o *OpenAPI) check(r *http.Request, sent []byte, w *http.Response, got []byte, base string, except func(method, path string) bool) []string {
	path := strings.TrimPrefix(r.URL.EscapedPath(), strings.TrimSuffix(mustParse(base).EscapedPath(), "/"))
	if path == "/graphql" || except != nil && except(r.Method, path) {
		return nil
	}
	route := o.find(r.Method, path)
	if route == nil {
		return []string{"the description has no such operation"}
	}
	o.mu.Lock()
	o.seen[fmt.Sprintf("%s %s %d", r.Method, route.Path, w.StatusCode)]++
	o.mu.Unlock()
	again := r.Clone(context.Background())
	again.Body = io.NopCloser(bytes.NewReader(sent))
	if len(sent) > 0 && again.Header.Get("Content-Type") == "" {
		again.Header.Set("Content-Type", "application/json")
	}
	in := &openapi3filter.RequestValidationInput{
		Request: again, PathParams: parameters(route.Path, path), QueryParams: r.URL.Query(), Route: route,
		Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, SkipSettingDefaults: true, IncludeResponseStatus: true},
	}
	var out []string
	if w.StatusCode < 300 { // a wrong request is allowed to be refused
		if err := openapi3filter.ValidateRequest(context.Background(), in); err != nil {
			out = append(out, "request: "+short(err))
		}
	}
	if w.StatusCode >= 300 && route.Operation.Responses.Status(w.StatusCode) == nil {
		return out // errors and redirects can come from everywhere and are listed nowhere
	}
	err := openapi3filter.ValidateResponse(context.Background(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: in, Status: w.StatusCode, Header: w.Header, Body: io.NopCloser(bytes.NewReader(got)), Options: in.Options,
	})
	if err != nil {
		out = append(out, "answer: "+short(err))
	}
	return out
}

func mustParse(s string) *url.URL {
	u, err := url.Parse(s)
	if err != nil {
		return &url.URL{}
	}
	return u
}

// short leaves the schema and the value out of an error.
func short(err error) string {
	text, _, _ := strings.Cut(err.Error(), "\nSchema:")
	return text
}
