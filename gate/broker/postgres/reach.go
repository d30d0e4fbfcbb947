package postgres

import (
	"fmt"
	"net/netip"
)

// refusedError is a connection that was not made.
type refusedError struct {
	address netip.Addr
	why     string
}

func (r *refusedError) Error() string {
	return fmt.Sprintf("the database is at %s, which is %s", r.address, r.why)
}

// reach is where a target may lead.
type reach struct {
	private bool // private ranges and this machine too
	inside  bool // nowhere but there: what is sent is not encrypted
}

// check refuses an address, as "IP:port", that a connection is about to be made to.
func (r reach) check(address string) error {
	where, err := netip.ParseAddrPort(address)
	if err != nil {
		return &refusedError{why: "no address that can be judged"}
	}
	a := where.Addr()
	inner := a
	if four, ok := embedded(a); ok {
		inner = four
	}
	if a.Zone() != "" {
		return &refusedError{a, "of one network link"}
	}
	for _, p := range special() {
		if !p.prefix.Contains(inner) {
			continue
		}
		if p.private && r.private {
			return nil
		}
		if p.private {
			return &refusedError{a, p.what + ": if that is meant, say private: true in the targets file"}
		}
		return &refusedError{a, p.what + ": no database is there"}
	}
	if r.inside {
		return &refusedError{a, "public, and what is sent there is not encrypted: want sslmode=verify-full"}
	}
	return nil
}

// embedded is the IPv4 address that an IPv6 address stands for: mapped
// (RFC 4291), translated by NAT64 (RFC 6052), or tunnelled by 6to4 (RFC 3056).
func embedded(a netip.Addr) (netip.Addr, bool) {
	if a.Is4In6() {
		return a.Unmap(), true
	}
	if !a.Is6() {
		return a, false
	}
	b := a.As16()
	switch {
	case netip.MustParsePrefix("64:ff9b::/96").Contains(a.WithZone("")):
		return netip.AddrFrom4([4]byte(b[12:])), true
	case netip.MustParsePrefix("2002::/16").Contains(a.WithZone("")):
		return netip.AddrFrom4([4]byte(b[2:6])), true
	}
	return a, false
}

type specialRange struct {
	prefix netip.Prefix
	// private says that the owner of a network may have machines there.
	private bool
	what    string
}

// special are the ranges that are not the public Internet
// (https://www.iana.org/assignments/iana-ipv4-special-registry and
// https://www.iana.org/assignments/iana-ipv6-special-registry), as in gate/alert. Of
// IPv6 only 2000::/3 is public; the last two rows are all the rest.
func special() []specialRange {
	p := netip.MustParsePrefix
	return []specialRange{
		{p("127.0.0.0/8"), true, "this machine"},
		{p("10.0.0.0/8"), true, "in a private range"},
		{p("172.16.0.0/12"), true, "in a private range"},
		{p("192.168.0.0/16"), true, "in a private range"},
		{p("100.64.0.0/10"), true, "in a carrier's private range"},
		{p("0.0.0.0/8"), false, "no host"},
		{p("169.254.0.0/16"), false, "on the local link, where clouds keep their credentials"},
		{p("168.63.129.16/32"), false, "a cloud's own service"}, // Azure's, public only by its looks
		{p("192.0.0.0/24"), false, "reserved"},
		{p("192.0.2.0/24"), false, "for documentation"},
		{p("192.88.99.0/24"), false, "reserved"},
		{p("198.18.0.0/15"), false, "for benchmarks"},
		{p("198.51.100.0/24"), false, "for documentation"},
		{p("203.0.113.0/24"), false, "for documentation"},
		{p("224.0.0.0/4"), false, "multicast"},
		{p("240.0.0.0/4"), false, "reserved"},
		{p("::1/128"), true, "this machine"},
		{p("fd00:ec2::/32"), false, "a cloud's own service"}, // Amazon's
		{p("fc00::/7"), true, "in a private range"},
		{p("fe80::/10"), false, "on the local link"},
		{p("ff00::/8"), false, "multicast"},
		{p("2001::/23"), false, "reserved"}, // Teredo and others
		{p("2001:db8::/32"), false, "for documentation"},
		{p("3fff::/20"), false, "for documentation"},
		{p("::/3"), false, "reserved"}, // with IPv4-compatible and local NAT64 prefixes
		{p("4000::/2"), false, "reserved"},
		{p("8000::/1"), false, "reserved"},
	}
}
