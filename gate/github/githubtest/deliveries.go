package githubtest

import (
	"bytes"
	"compress/flate"
	"context"
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // GitHub still sends the old header too
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io"
	"net/http"
	"slices"
	"time"
)

// keptFor is how long the delivery log goes back.
const keptFor = 3 * 24 * time.Hour

// maxPayload is the longest payload that is sent.
const maxPayload = 25 << 20

// message is what is delivered; each attempt is a Delivery.
type message struct {
	guid    string
	app     *App
	install int64
	repo    int64
	sender  int64
	event   string
	action  string
	packed  []byte // the body, compressed: the log keeps thousands of them
}

// pack compresses a body. It uses the GitHub's one compressor.
func (g *GitHub) pack(body []byte) []byte {
	var out bytes.Buffer
	if g.packer == nil {
		w, err := flate.NewWriter(&out, flate.BestSpeed)
		if err != nil {
			misuse("a compressor: %v", err)
		}
		g.packer = w
	}
	g.packer.Reset(&out)
	if _, err := g.packer.Write(body); err != nil {
		misuse("compressing: %v", err)
	}
	if err := g.packer.Close(); err != nil {
		misuse("compressing: %v", err)
	}
	return out.Bytes()
}

// body is the JSON payload, byte for byte what was signed.
func (m *message) body() []byte {
	out, err := io.ReadAll(flate.NewReader(bytes.NewReader(m.packed)))
	if err != nil {
		misuse("decompressing: %v", err)
	}
	return out
}

// An Event is a webhook about to be sent, as a Fate function sees it.
type Event struct {
	GUID, Event, Action string
	// Number counts the App's webhooks from 0, first attempts only.
	Number int
	// Body is the JSON payload; it must not be changed.
	Body []byte
	// Redelivery says that this is not the first attempt.
	Redelivery bool
}

// A Fate says what becomes of a webhook. The zero value delivers it.
type Fate struct {
	// Lose does not send it; the delivery log shows a failure.
	Lose bool
	// Vanish does not send it, and no log shows it.
	Vanish bool
	// Unanswered sends it and shows a timeout in the log, whatever the receiver said.
	Unanswered bool
	// Copies is how many more times it is sent, with the same GUID.
	Copies int
	// Behind lets so many later webhooks overtake it; if they do not come it goes
	// when Settle is called.
	Behind int
	// Hold keeps it until App.ReleaseHeld.
	Hold bool
}

// Delivery is one attempt to deliver a webhook, in the delivery log.
type Delivery struct {
	// ID is the attempt's number; GUID is the event's.
	ID         int64
	msg        *message
	at         time.Time
	redelivery bool
	duration   time.Duration
	status     string
	code       int
	answer     []byte
	answerHead http.Header
	behind     int
	unanswered bool
}

// Delivered is an attempt as a test sees it.
type Delivered struct {
	ID                  int64
	GUID, Event, Action string
	Redelivery          bool
	// Code is the receiver's status, 0 if there was none.
	Code int
	// Body is what was sent; Header is with what.
	Body   []byte
	Header http.Header
}

// Fate sets what becomes of the App's webhooks; nil delivers all. The function is
// called with the GitHub locked and must not use it.
func (a *App) Fate(f func(Event) Fate) {
	a.g.mu.Lock()
	defer a.g.mu.Unlock()
	a.fate = f
}

// ReleaseHeld sends what Fate held back, in the order it came.
func (a *App) ReleaseHeld() {
	a.g.mu.Lock()
	defer a.g.mu.Unlock()
	a.queue = append(a.queue, a.held...)
	a.held = nil
	a.g.changed.Broadcast()
}

// Deliveries lists the App's attempts so far, oldest first, queued ones too.
func (a *App) Deliveries() []Delivered {
	a.g.mu.Lock()
	defer a.g.mu.Unlock()
	var out []Delivered
	for _, d := range a.log {
		body := d.msg.body()
		out = append(out, Delivered{d.ID, d.msg.guid, d.msg.event, d.msg.action, d.redelivery, d.code, body, a.headers(d, body)})
	}
	return out
}

// queue writes down a first attempt and queues it as its fate says.
func (g *GitHub) queue(m *message, body []byte) {
	a := m.app
	if len(body) > maxPayload {
		return // never sent, and no log shows it
	}
	number := a.emitted
	a.emitted++
	var f Fate
	if a.fate != nil {
		f = a.fate(Event{m.guid, m.event, m.action, number, body, false})
	}
	if f.Vanish {
		return
	}
	g.attempt(m, f, false)
	for range f.Copies {
		g.attempt(m, Fate{Behind: f.Behind}, false)
	}
}

func (g *GitHub) attempt(m *message, f Fate, redelivery bool) {
	a := m.app
	d := &Delivery{ID: g.newID(), msg: m, at: g.Now(), redelivery: redelivery, status: "pending", behind: f.Behind, unanswered: f.Unanswered}
	g.deliveries[d.ID] = d
	a.log = append(a.log, d)
	switch {
	case a.webhookURL == "":
		d.status = "no webhook address"
	case f.Lose:
		d.status = "failed to connect to host"
	case f.Hold:
		a.held = append(a.held, d)
	default:
		a.queue = append(a.queue, d)
	}
	g.changed.Broadcast()
}

// ready is the position of the attempt that may be sent next, or -1: the first that
// waits for no other.
func (a *App) ready() int {
	return slices.IndexFunc(a.queue, func(d *Delivery) bool { return d.behind == 0 })
}

// next takes the attempt at a position; what it overtakes waits for one less.
func (a *App) next(at int) *Delivery {
	d := a.queue[at]
	a.queue = slices.Delete(a.queue, at, at+1)
	for _, o := range a.queue[:at] {
		o.behind--
	}
	return d
}

// send sends the App's webhooks until the GitHub closes.
func (a *App) send() {
	g := a.g
	g.mu.Lock()
	defer g.mu.Unlock()
	for {
		for a.ready() < 0 && !g.closing {
			g.changed.Wait()
		}
		if g.closing {
			return
		}
		d := a.next(a.ready())
		a.sending++
		url, body := a.webhookURL, d.msg.body()
		head := a.headers(d, body)
		g.mu.Unlock()
		began := time.Now()
		code, status, answer, answerHead := g.post(url, head, body)
		took := time.Since(began)
		g.mu.Lock()
		a.sending--
		d.code, d.status, d.answer, d.answerHead, d.duration = code, status, answer, answerHead, took
		if d.unanswered {
			d.code, d.status, d.answer, d.answerHead = 0, "timed out", nil, nil
		}
		g.changed.Broadcast()
	}
}

// headers are what GitHub sends with a webhook.
func (a *App) headers(d *Delivery, body []byte) http.Header {
	h := http.Header{}
	h.Set("Accept", "*/*")
	h.Set("Content-Type", "application/json")
	h.Set("User-Agent", "GitHub-Hookshot/0000000")
	h.Set("X-GitHub-Delivery", d.msg.guid)
	h.Set("X-GitHub-Event", d.msg.event)
	h.Set("X-GitHub-Hook-ID", itoa(a.ID))
	h.Set("X-GitHub-Hook-Installation-Target-ID", itoa(a.ID))
	h.Set("X-GitHub-Hook-Installation-Target-Type", "integration")
	if a.secret != "" {
		h.Set("X-Hub-Signature", "sha1="+sign(sha1.New, a.secret, body))
		h.Set("X-Hub-Signature-256", "sha256="+sign(sha256.New, a.secret, body))
	}
	return h
}

func sign(h func() hash.Hash, secret string, body []byte) string {
	m := hmac.New(h, []byte(secret))
	m.Write(body)
	return hex.EncodeToString(m.Sum(nil))
}

// post sends one webhook; 2xx is "OK".
func (g *GitHub) post(url string, head http.Header, body []byte) (code int, status string, answer []byte, answerHead http.Header) {
	ctx, cancel := context.WithTimeout(g.life, g.cfg.WebhookTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return 0, "invalid address", nil, nil
	}
	request.Header = head.Clone()
	response, err := g.client.Do(request)
	if err != nil {
		if ctx.Err() != nil {
			return 0, "timed out", nil, nil
		}
		return 0, "failed to connect to host", nil, nil
	}
	defer response.Body.Close()
	answer, err = io.ReadAll(io.LimitReader(response.Body, 1<<16))
	if err != nil {
		return 0, "timed out", nil, nil
	}
	if response.StatusCode/100 == 2 {
		return response.StatusCode, "OK", answer, response.Header
	}
	return response.StatusCode, "Invalid HTTP Response: " + itoa(int64(response.StatusCode)), answer, response.Header
}

// Settle waits until no webhook is queued or under way; what Fate holds back does
// not count. It gives ctx's error if that ends first.
func (g *GitHub) Settle(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.changed.Broadcast()
	})
	defer stop()
	g.mu.Lock()
	defer g.mu.Unlock()
	for {
		busy := false
		for _, a := range g.apps {
			busy = busy || len(a.queue) > 0 || a.sending > 0
			if a.sending == 0 && a.ready() < 0 {
				for _, d := range a.queue { // nothing more comes to overtake them
					d.behind = 0
				}
				g.changed.Broadcast()
			}
		}
		switch {
		case !busy || g.closing:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		}
		g.changed.Wait()
	}
}

// Redeliver presses Redeliver for an attempt: a new one with the same GUID.
func (a *App) Redeliver(id int64) error {
	a.g.mu.Lock()
	defer a.g.mu.Unlock()
	return a.redeliver(id)
}

func (a *App) redeliver(id int64) error {
	d := a.g.deliveries[id]
	if d == nil || d.msg.app != a || a.g.Now().Sub(d.at) > keptFor {
		return notFound()
	}
	var f Fate
	if a.fate != nil {
		f = a.fate(Event{d.msg.guid, d.msg.event, d.msg.action, 0, d.msg.body(), true})
	}
	a.g.attempt(d.msg, f, true)
	return nil
}
