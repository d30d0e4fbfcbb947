package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/sallyport/sallyport/gate/webhook"
	"github.com/sallyport/sallyport/rules"
)

const (
	secret = "a secret of this benchmark alone"
	// firstRepository begins ids of one width, so that every delivery is about a
	// repository of its own and makes rows of its own.
	firstRepository = 100_000_000
)

// payload is a body that can be made about any repository.
type payload struct {
	event string
	body  []byte // compact, as GitHub sends it
	at    []int  // where the repository's id stands, nine digits each
}

// builtIn is what is sent where no folder is named: the members that are read, in
// the smallest bodies that have them.
func builtIn() map[string]string {
	sha := strings.Repeat("a", 40)
	return map[string]string{
		"pull_request": `{"action":"synchronize","number":7,"before":"` + strings.Repeat("b", 40) + `","after":"` + sha + `","pull_request":{"number":7,"head":{"sha":"` + sha + `"}},` +
			`"repository":{"id":1,"full_name":"acme/orders","default_branch":"main"},"sender":{"id":583231,"login":"octocat","type":"User"},"installation":{"id":9}}`,
		"check_run": `{"action":"completed","check_run":{"id":4,"name":"test","head_sha":"` + sha + `","app":{"id":15368},"pull_requests":[{"number":7,"base":{"repo":{"id":1}}}]},` +
			`"repository":{"id":1,"full_name":"acme/orders","default_branch":"main"},"sender":{"id":583231,"login":"octocat","type":"User"},"installation":{"id":9}}`,
		"push": `{"ref":"refs/heads/main","before":"` + strings.Repeat("b", 40) + `","after":"` + sha + `",` +
			`"repository":{"id":1,"full_name":"acme/orders","default_branch":"main"},"sender":{"id":583231,"login":"octocat","type":"User"},"installation":{"id":9}}`,
	}
}

// load reads the payloads of a folder, or the built-in ones, and keeps those that
// make rows.
func load(folder string) ([]payload, error) {
	raw := map[string][]byte{} // by a name that begins with the event's
	for event, body := range builtIn() {
		raw[event+".json"] = []byte(body)
	}
	if folder != "" {
		clear(raw)
		files, err := filepath.Glob(filepath.Join(folder, "*.json"))
		if err != nil {
			return nil, err
		}
		for _, f := range files {
			if raw[filepath.Base(f)], err = os.ReadFile(f); err != nil { //nolint:gosec // G703: the folder is named by whoever runs this
				return nil, err
			}
		}
	}
	var out []payload
	for name, body := range raw {
		event, _, _ := strings.Cut(name, ".")
		p, err := newPayload(event, body)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if p.at == nil {
			continue
		}
		d, err := capture(p, 0)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		// What coalesces with others, by an installation's or an owner's key, would
		// not make the same rows each time.
		if len(d.Marks)+len(d.Facts) > 0 && !slices.ContainsFunc(d.Marks, func(m rules.Mark) bool { return m.Key.Repository == 0 }) {
			out = append(out, p)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("no payload in %q makes work", folder)
	}
	slices.SortFunc(out, func(a, b payload) int { return bytes.Compare(a.body, b.body) })
	return out, nil
}

// newPayload finds the repository's id in a body. There is none in an event that
// is about no repository.
func newPayload(event string, raw []byte) (payload, error) {
	var compact bytes.Buffer
	if err := json.Compact(&compact, raw); err != nil {
		return payload{}, err
	}
	var e struct {
		Repository struct {
			ID int64 `json:"id"`
		} `json:"repository"`
	}
	if err := json.Unmarshal(compact.Bytes(), &e); err != nil {
		return payload{}, err
	}
	if e.Repository.ID == 0 {
		return payload{event: event}, nil
	}
	p := payload{event: event}
	old := []byte(`"id":` + strconv.FormatInt(e.Repository.ID, 10))
	for rest := compact.Bytes(); ; {
		i := bytes.Index(rest, old)
		if i < 0 {
			p.body = append(p.body, rest...)
			return p, nil
		}
		end := i + len(old)
		p.body = append(p.body, rest[:end]...)
		if end < len(rest) && (rest[end] < '0' || rest[end] > '9') { // not the beginning of a longer id
			p.body = append(p.body[:len(p.body)-len(old)], `"id":`...)
			p.at = append(p.at, len(p.body))
			p.body = append(p.body, strconv.Itoa(firstRepository)...)
		}
		rest = rest[end:]
	}
}

// about is the payload about the nth repository.
func (p payload) about(n int) []byte {
	body := bytes.Clone(p.body)
	id := strconv.Itoa(firstRepository + n)
	for _, at := range p.at {
		copy(body[at:], id)
	}
	return body
}

func deliveryID(n int) string { return fmt.Sprintf("72d3162e-cc78-11e3-81ab-%012d", n) }

// request is a delivery as GitHub sends it.
func (p payload) request(n int) (header http.Header, body []byte) {
	body = p.about(n)
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write(body)
	return http.Header{
		"Content-Type":        {"application/json"},
		"User-Agent":          {"GitHub-Hookshot/044aadd"},
		"X-Github-Event":      {p.event},
		"X-Github-Delivery":   {deliveryID(n)},
		"X-Hub-Signature-256": {"sha256=" + hex.EncodeToString(mac.Sum(nil))},
	}, body
}

// wire is a request as it goes over the connection, made before anything is timed.
func (p payload) wire(n int) []byte {
	header, body := p.request(n)
	var out bytes.Buffer
	fmt.Fprintf(&out, "POST /webhooks/github HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n", len(body))
	_ = header.Write(&out) // a buffer takes everything
	out.WriteString("\r\n")
	out.Write(body)
	return out.Bytes()
}

// wires are count deliveries from the nth on, the payloads in turn.
func wires(all []payload, from, count int) [][]byte {
	out := make([][]byte, count)
	for i := range out {
		out[i] = all[(from+i)%len(all)].wire(from + i)
	}
	return out
}

// keep is a store that remembers the delivery that it was given.
type keep struct{ got *rules.Delivery }

// Accept implements webhook.Store.
func (k *keep) Accept(_ context.Context, d rules.Delivery) (bool, error) {
	k.got = &d
	return false, nil
}

// capture is what the handler makes of a payload.
func capture(p payload, n int) (rules.Delivery, error) {
	k := &keep{}
	h, err := newHandler(k)
	if err != nil {
		return rules.Delivery{}, err
	}
	header, body := p.request(n)
	req := httptest.NewRequestWithContext(context.Background(), http.MethodPost, "/webhooks/github", bytes.NewReader(body))
	req.Header = header
	w := httptest.NewRecorder()
	h.ServeHTTP(w, req)
	if w.Code != http.StatusAccepted {
		text, _ := io.ReadAll(w.Body)
		return rules.Delivery{}, fmt.Errorf("the handler answers %d: %s", w.Code, text)
	}
	if k.got == nil {
		return rules.Delivery{}, nil
	}
	return *k.got, nil
}

func newHandler(s webhook.Store) (http.Handler, error) {
	if s == nil {
		return nil, errors.New("no store")
	}
	return webhook.New(webhook.Config{Secrets: []webhook.Secret{secret}, App: 1, Store: s})
}
