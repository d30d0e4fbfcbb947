package gate_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/gate"
)

// Lines that are written while nothing is looked at are as they were.
func TestLogOutsideALook(t *testing.T) {
	var b bytes.Buffer
	log := slog.New(gate.LogHandler(slog.NewTextHandler(&b, nil))).With("a", 1).WithGroup("g")
	log.InfoContext(context.Background(), "hello", "b", "x\nlevel=ERROR msg=forged")
	if got := b.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, `a=1 g.b="x\nlevel=ERROR msg=forged"`) || strings.Contains(got, "subject") {
		t.Errorf("%q", got)
	}
}
