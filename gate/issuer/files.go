package issuer

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sallyport/sallyport/rules"
)

// maxKeyFile is room for the largest key there is, and comments.
const maxKeyFile = 64 << 10

// readKeys reads what SALLYPORT_SIGNING_KEY_FILE names: a file with the key of tier
// human, or a folder with TIER.pem for each tier, and while keys are rotated
// TIER.next.pem and TIER.old.pem, which are published and sign nothing.
func readKeys(path string) (map[rules.Tier]*ring, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("SALLYPORT_SIGNING_KEY_FILE: %q cannot be read: %w", path, cause(err))
	}
	if !info.IsDir() {
		k, err := readKey(path)
		if err != nil {
			return nil, err
		}
		return map[rules.Tier]*ring{rules.TierHuman: {tier: rules.TierHuman, source: FromFile, current: member{key: k}}}, nil
	}
	if err := onlyKnown(path); err != nil {
		return nil, err
	}
	out := map[rules.Tier]*ring{}
	for _, tier := range tiers() {
		if out[tier], err = readFolder(path, tier); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// readFolder reads the keys of a tier.
func readFolder(folder string, tier rules.Tier) (*ring, error) {
	read := func(suffix string) (key, error) {
		return readKey(filepath.Join(folder, string(tier)+suffix))
	}
	current, err := read(".pem")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("SALLYPORT_SIGNING_KEY_FILE: the folder %q has no %s.pem: it needs a key for each tier, human.pem and auto.pem", folder, tier)
	}
	if err != nil {
		return nil, err
	}
	r := &ring{tier: tier, source: FromFile, current: member{key: current}}
	next, err := read(".next.pem")
	switch {
	case err == nil:
		r.next = &member{key: next}
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	old, err := read(".old.pem")
	switch {
	case err == nil:
		old.signer = nil
		r.old = []member{{key: old}}
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	return r, nil
}

// onlyKnown refuses a misspelt name: the key in it would silently not be published.
func onlyKnown(folder string) error {
	var known []string
	for _, tier := range tiers() {
		known = append(known, string(tier)+".pem", string(tier)+".next.pem", string(tier)+".old.pem")
	}
	entries, err := os.ReadDir(folder)
	if err != nil {
		return fmt.Errorf("SALLYPORT_SIGNING_KEY_FILE: %q cannot be read: %w", folder, cause(err))
	}
	for _, e := range entries {
		if strings.EqualFold(filepath.Ext(e.Name()), ".pem") && !slices.Contains(known, e.Name()) {
			return fmt.Errorf("SALLYPORT_SIGNING_KEY_FILE: the folder %q has %q, which has no meaning: want %s", folder, e.Name(), strings.Join(known, ", "))
		}
	}
	return nil
}

// readKey reads a key file.
func readKey(path string) (key, error) {
	bad := func(err error) error {
		return fmt.Errorf("SALLYPORT_SIGNING_KEY_FILE: %q %w", path, err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return key{}, bad(fmt.Errorf("cannot be read: %w", cause(err)))
	}
	if !info.Mode().IsRegular() {
		return key{}, bad(errors.New("is no file")) // opening a pipe would wait for ever
	}
	f, err := os.Open(path)
	if err != nil {
		return key{}, bad(fmt.Errorf("cannot be read: %w", cause(err)))
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return key{}, bad(fmt.Errorf("cannot be read: %w", cause(err)))
	}
	if len(data) > maxKeyFile {
		return key{}, bad(fmt.Errorf("has more than %d bytes: want one key and nothing else", maxKeyFile))
	}
	k, err := parsePEM(data)
	if err != nil {
		return key{}, bad(err)
	}
	return k, nil
}

// cause is an error of the file system without the path, which the message has.
func cause(err error) error {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return pathErr.Err
	}
	return err
}
