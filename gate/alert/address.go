package alert

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"net/url"
	"os"
	"strings"
)

// maxAddress is how many bytes a url_file may have.
const maxAddress = 4 << 10

// address is where messages go. Who has it can write there: it prints as a
// placeholder.
type address struct{ url string }

// String hides the address.
func (address) String() string { return "(address)" }

// GoString hides the address.
func (address) GoString() string { return "(address)" }

// LogValue hides the address.
func (address) LogValue() slog.Value { return slog.StringValue("(address)") }

// readAddress reads a url_file. The error has nothing of what is in it.
func readAddress(path string) (address, error) {
	// Before it is opened: opening a pipe waits for whoever writes to it.
	if info, err := os.Stat(path); err != nil {
		return address{}, fmt.Errorf("its url_file: %w", err)
	} else if !info.Mode().IsRegular() {
		return address{}, fmt.Errorf("its url_file %q is not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return address{}, fmt.Errorf("its url_file: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxAddress+1))
	if err != nil {
		return address{}, fmt.Errorf("its url_file: %w", err)
	}
	if len(text) > maxAddress {
		return address{}, fmt.Errorf("its url_file %q has more than %d bytes: want one address", path, maxAddress)
	}
	a := address{strings.TrimSpace(string(text))}
	if _, err := a.parse(); err != nil {
		return address{}, fmt.Errorf("its url_file %q %w", path, err)
	}
	return a, nil
}

// parse checks an address. The error has nothing of it.
func (a address) parse() (*url.URL, error) {
	u, err := url.Parse(a.url)
	switch {
	case err != nil || strings.ContainsAny(a.url, " \t\r\n") || u.Opaque != "" || u.Hostname() == "":
		return nil, errors.New("does not hold one address, such as https://host/path")
	case u.Scheme == "http" && isLoopback(u.Hostname()):
	case u.Scheme != "https":
		return nil, errors.New("holds an address that is not https")
	}
	return u, nil
}

// isLoopback reports whether a host is this machine by its name or address.
func isLoopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.Unmap().IsLoopback()
}
