package postgres

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// maxIdle is how many connections are kept for the next lease: a new one costs
	// several times what a lease does.
	maxIdle = 4
	// idleEnd is when the server ends a connection that nobody used: nobody here needs
	// to remember it.
	idleEnd = "30s"
	// pingTime is how long a connection may take to show that it lives.
	pingTime = time.Second
)

// idle are connections that nobody uses. It holds mu for no statement.
type idle struct {
	mu    sync.Mutex
	conns []kept
}

type kept struct {
	conn *pgx.Conn
	at   address
}

// borrow gives a connection to the database of the address, one that lives or a new
// one. Whoever calls it gives it back with giveBack.
func (p *Provider) borrow(ctx context.Context) (*pgx.Conn, address, error) {
	now, err := p.address()
	if err != nil {
		return nil, address{}, err
	}
	for {
		k, ok := p.idle.take()
		if !ok {
			return p.connect(ctx, "", nil)
		}
		if k.at == now && lives(ctx, k.conn) {
			return k.conn, k.at, nil
		}
		shut(k.conn)
	}
}

// giveBack keeps a connection for the next, or closes it: one in a transaction, or
// whose last statement was not answered, is nobody's to use.
func (p *Provider) giveBack(c *pgx.Conn, at address) {
	if c.IsClosed() || c.PgConn().TxStatus() != 'I' || !p.idle.put(kept{c, at}) {
		shut(c)
	}
}

func lives(ctx context.Context, c *pgx.Conn) bool {
	ctx, cancel := context.WithTimeout(ctx, pingTime)
	defer cancel()
	return c.Ping(ctx) == nil
}

func (i *idle) take() (kept, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.conns) == 0 {
		return kept{}, false
	}
	k := i.conns[len(i.conns)-1]
	i.conns = i.conns[:len(i.conns)-1]
	return k, true
}

func (i *idle) put(k kept) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.conns) >= maxIdle {
		return false
	}
	i.conns = append(i.conns, k)
	return true
}
