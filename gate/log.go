package gate

import (
	"context"
	"log/slog"

	"github.com/sallyport/sallyport/gate/store"
)

// LogHandler has each line of a log say which look it belongs to: the subject (the
// work's key), its repository and, once there is one, the decision. What a line says
// of these itself comes first. A server wraps the handler of the logger that all its
// parts have.
func LogHandler(next slog.Handler) slog.Handler { return logHandler{next} }

type logHandler struct{ slog.Handler }

type lookKey struct{}

// look is what the lines that are written while a key is looked at have in common.
// A context's is not changed.
type look struct{ subject, repository, decision string }

// withLook has the lines of a context name a piece of work.
func withLook(ctx context.Context, work store.Work) context.Context {
	return context.WithValue(ctx, lookKey{}, look{subject: work.Key.String(), repository: work.FullName})
}

// withDecision has them name a decision too.
func withDecision(ctx context.Context, id string) context.Context {
	l, _ := ctx.Value(lookKey{}).(look)
	l.decision = id
	return context.WithValue(ctx, lookKey{}, l)
}

// Handle writes a line.
func (h logHandler) Handle(ctx context.Context, r slog.Record) error {
	l, ok := ctx.Value(lookKey{}).(look)
	if !ok {
		return h.Handler.Handle(ctx, r)
	}
	said := map[string]bool{}
	r.Attrs(func(a slog.Attr) bool {
		said[a.Key] = true
		return true
	})
	r = r.Clone()
	for _, a := range [...]slog.Attr{slog.String("subject", l.subject), slog.String("repository", l.repository), slog.String("decision", l.decision)} {
		if !said[a.Key] && a.Value.String() != "" {
			r.AddAttrs(a)
		}
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs is a handler whose lines have attributes more.
func (h logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return logHandler{h.Handler.WithAttrs(attrs)}
}

// WithGroup is a handler whose lines have a group.
func (h logHandler) WithGroup(name string) slog.Handler { return logHandler{h.Handler.WithGroup(name)} }
