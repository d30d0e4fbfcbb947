package pgtest

import (
	"context"
	"net"
	"net/url"
	"sync"
	"testing"
)

// Proxy is a network between a client and a server that can be cut.
type Proxy struct {
	to       string
	listener net.Listener

	mu    sync.Mutex
	cut   bool
	heal  *sync.Cond
	conns map[net.Conn]bool
	all   sync.WaitGroup
}

// NewProxy gives a URL that leads where another does, through a proxy of its own.
func NewProxy(t testing.TB, address string) (*Proxy, string) {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{to: u.Host, listener: l, conns: map[net.Conn]bool{}}
	p.heal = sync.NewCond(&p.mu)
	p.all.Go(p.accept)
	t.Cleanup(func() {
		_ = l.Close() // nobody listens any more
		p.Reset()
		p.Heal()
		p.all.Wait()
	})
	u.Host = l.Addr().String()
	return p, u.String()
}

// Cut lets nothing through any more, in either direction, and says so to nobody: what
// is sent is neither taken nor refused.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = true
}

// Heal lets everything through again, what was held up first.
func (p *Proxy) Heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = false
	p.heal.Broadcast()
}

// Reset ends every connection there is.
func (p *Proxy) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close() // ends both copies
	}
	clear(p.conns)
	p.heal.Broadcast()
}

func (p *Proxy) accept() {
	for {
		a, err := p.listener.Accept()
		if err != nil {
			return
		}
		b, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", p.to)
		if err != nil {
			_ = a.Close() // as the server refuses
			continue
		}
		p.mu.Lock()
		p.conns[a], p.conns[b] = true, true
		p.mu.Unlock()
		p.all.Go(func() { p.copy(a, b) })
		p.all.Go(func() { p.copy(b, a) })
	}
}

func (p *Proxy) copy(to, from net.Conn) {
	defer func() {
		_ = to.Close() // either end is the end of both
		_ = from.Close()
		p.mu.Lock()
		delete(p.conns, to)
		delete(p.conns, from)
		p.mu.Unlock()
	}()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		p.mu.Lock()
		for p.cut && p.conns[from] {
			p.heal.Wait()
		}
		p.mu.Unlock()
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return // io.EOF or a reset: the other end is told so
		}
	}
}
