package issuer

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"
)

// Export writes the documents that [Issuer.Handler] serves into a folder, to be
// served by something that does not reach this server: at SALLYPORT_URL, as they lie.
// A tier without a key has none. Each file is replaced as a whole; nothing else in
// the folder is touched. After each step of a rotation they are exported again, and
// a next key may sign only once they are out.
func (i *Issuer) Export(folder string) error {
	if err := i.export(folder); err != nil {
		return fmt.Errorf("exporting the issuer's documents to %q: %w", folder, cause(err))
	}
	return nil
}

func (i *Issuer) export(folder string) error {
	root, err := os.OpenRoot(folder)
	if err != nil {
		return fmt.Errorf("want a folder that is there: %w", cause(err))
	}
	defer root.Close()
	now := i.cfg.Now()
	for _, document := range documentPaths() {
		body, err := i.document(document, now)
		if errors.Is(err, ErrNoKey) {
			continue
		}
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(document, "/")
		if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
			return err
		}
		if err := replace(root, name, body); err != nil {
			return err
		}
	}
	return nil
}

// replace writes a file so that a reader sees the one before or this one, and never
// a part of it.
func replace(root *os.Root, name string, body []byte) error {
	fresh := name + ".new"
	f, err := root.OpenFile(fresh, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(body)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return root.Rename(fresh, name)
}
