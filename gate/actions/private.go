package actions

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// private is how the folders of [PrivateDir] are called, so that [RemovePrivate] removes
// nothing else.
const private = "sallyport-lease-"

// PrivateDir makes a folder that only this user enters, below temp; "" is the system's
// own. The runner empties its temp after the job, whatever became of it.
func PrivateDir(temp string) (string, error) {
	dir, err := os.MkdirTemp(temp, private) // 0700
	if err != nil {
		return "", fmt.Errorf("making a private folder: %w", err)
	}
	return dir, nil
}

// WritePrivate writes a file into a folder of [PrivateDir], readable by this user alone.
func WritePrivate(dir, name string, content Secret) (string, error) {
	if name == "" || name != filepath.Base(name) || strings.ContainsAny(name, `/\`) {
		return "", fmt.Errorf("the file %q is no plain name", name)
	}
	file := filepath.Join(dir, name)
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", fmt.Errorf("writing a private file: %w", err)
	}
	_, err = f.WriteString(content.Reveal())
	if err = errors.Join(err, f.Close()); err != nil {
		return "", fmt.Errorf("writing a private file: %w", errors.Join(err, os.Remove(file)))
	}
	return file, nil
}

// RemovePrivate removes a file of [WritePrivate] with its folder. What is gone already is
// no error; what is none of ours is left alone.
func RemovePrivate(temp, file string) error {
	dir := filepath.Dir(filepath.Clean(file))
	if temp == "" {
		temp = os.TempDir()
	}
	if filepath.Dir(dir) != filepath.Clean(temp) || !strings.HasPrefix(filepath.Base(dir), private) {
		return fmt.Errorf("%q is no file of a lease in %q, and is left alone", file, temp)
	}
	return os.RemoveAll(dir)
}
