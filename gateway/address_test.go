package gateway

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"
)

func TestWhereAClientAsksFromIsSaidByTrustedProxiesAlone(t *testing.T) {
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("2001:db8::/64")}
	for _, c := range []struct {
		name, peer string
		forwarded  []string
		want       string
	}{
		{"nobody says anything", "203.0.113.7:1", nil, "203.0.113.7"},
		{"a stranger says something", "203.0.113.7:1", []string{"198.51.100.1"}, "203.0.113.7"},
		{"a proxy says whom it asks for", "10.0.0.7:1", []string{"198.51.100.1"}, "198.51.100.1"},
		{"a client wrote something before", "10.0.0.7:1", []string{"192.0.2.1, 10.0.0.9, 198.51.100.1"}, "198.51.100.1"},
		{"in a line of its own", "10.0.0.7:1", []string{"192.0.2.1", "198.51.100.1"}, "198.51.100.1"},
		{"two proxies", "10.0.0.7:1", []string{"192.0.2.1, 198.51.100.1, 10.0.0.8"}, "198.51.100.1"},
		{"by IPv6", "[2001:db8::7]:1", []string{"2001:db8:1::1"}, "2001:db8:1::1"},
		{"an IPv4 proxy as IPv6", "[::ffff:10.0.0.7]:1", []string{"::ffff:198.51.100.1"}, "198.51.100.1"},
		{"with ports", "10.0.0.7:1", []string{"198.51.100.1:5555"}, "198.51.100.1"},
		{"with ports and IPv6", "10.0.0.7:1", []string{"[2001:db8:1::1]:5555"}, "2001:db8:1::1"},
		{"nothing that is an address", "10.0.0.7:1", []string{"198.51.100.1, unknown"}, "10.0.0.7"},
		{"an empty hop", "10.0.0.7:1", []string{"198.51.100.1, "}, "10.0.0.7"},
		{"proxies alone", "10.0.0.7:1", []string{"10.0.0.9, 10.0.0.8"}, "10.0.0.9"},
		{"a proxy that says nothing", "10.0.0.7:1", nil, "10.0.0.7"},
		{"as many hops as are read", "10.0.0.7:1", []string{"198.51.100.1" + strings.Repeat(", 10.0.0.8", maxForwardedHops-1)}, "198.51.100.1"},
		{"more hops than are read", "10.0.0.7:1", []string{"198.51.100.1" + strings.Repeat(", 10.0.0.8", maxForwardedHops)}, "10.0.0.8"},
		{"as many bytes as are read", "10.0.0.7:1", []string{strings.Repeat(" ", maxForwardedBytes-12) + "198.51.100.1"}, "198.51.100.1"},
		{"more bytes than are read", "10.0.0.7:1", []string{strings.Repeat(" ", maxForwardedBytes-11) + "198.51.100.1"}, "10.0.0.7"},
		{"a zone", "10.0.0.7:1", []string{"fe80::1%eth0"}, "fe80::1"},
	} {
		r := &http.Request{RemoteAddr: c.peer, Header: http.Header{"X-Forwarded-For": c.forwarded}}
		if got := (&Gateway{proxies: proxies}).clientAddress(r); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
		if got, want := (&Gateway{}).clientAddress(r), strings.TrimPrefix(strings.Trim(c.peer[:strings.LastIndex(c.peer, ":")], "[]"), "::ffff:"); got != want {
			t.Errorf("%s, and no proxy is trusted: got %s, want %s", c.name, got, want)
		}
	}
}
