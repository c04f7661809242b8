package upstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/net/http2"
)

// transports are the ways out of one registry. Writes have a pool of their own because a registry may take minutes to
// answer the end of an upload, and seconds for everything else. Token hosts have one because our certificate is for the
// registry alone. Storage, where blobs are redirected to, has one because it is chosen by the registry and must not reach
// what the registry could not.
type transports struct {
	reads, writes, tokens, storage *http.Transport
	blobs                          *spliceTransport // blobs over plain HTTP
	reach                          *atomic.Int32
}

func newTransports(origin *url.URL, roots *x509.CertPool, certificate *tls.Certificate) *transports {
	t := &transports{reach: new(atomic.Int32)}
	t.reach.Store(int32(linkLocal))
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}
	home := hostPort(origin)
	toRegistry := func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dialer.DialContext(ctx, network, address)
		if at, ok := remote(conn); ok && address == home {
			t.dialled(at)
		}
		return conn, err
	}
	toStorage := &net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second, Control: t.checkStorage}

	t.blobs = &spliceTransport{dial: toRegistry}
	t.reads = newTransport(toRegistry, roots, headerTimeout)
	t.writes = newTransport(toRegistry, roots, commitTimeout)
	t.tokens = newTransport(dialer.DialContext, roots, headerTimeout)
	t.storage = newTransport(toStorage.DialContext, roots, headerTimeout)
	if certificate != nil {
		for _, own := range []*http.Transport{t.reads, t.writes} { // which go to the registry's origin and nowhere else
			own.TLSClientConfig.Certificates = []tls.Certificate{*certificate}
		}
	}
	return t
}

func newTransport(dial func(context.Context, string, string) (net.Conn, error), roots *x509.CertPool, answer time.Duration) *http.Transport {
	t := &http.Transport{
		DialContext:            dial,
		TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    dialTimeout,
		MaxIdleConnsPerHost:    idleConnections,
		IdleConnTimeout:        idleTimeout,
		ResponseHeaderTimeout:  answer,
		MaxResponseHeaderBytes: maxResponseHeader,
		DisableCompression:     true, // what is encoded on the way would not hash to its digest
		WriteBufferSize:        64 << 10,
		ReadBufferSize:         64 << 10,
	}
	// HTTP/2 not by net/http: what is wrong with this one is mended by raising a version in go.mod, whatever Go builds the program.
	//lint:ignore SA1019 its successor is net/http's own, which comes with Go
	if err := http2.ConfigureTransport(t); err != nil {
		panic("upstream: a new transport has no HTTP/2 yet: " + err.Error())
	}
	return t
}

func remote(conn net.Conn) (netip.Addr, bool) {
	if conn == nil {
		return netip.Addr{}, false
	}
	at, ok := conn.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.Addr{}, false
	}
	return at.AddrPort().Addr(), true
}

// dialled remembers the most public kind of address that the registry was ever reached at. A name that resolves to the
// inside for once does not bring the registry there: its redirects still come from where it answers.
func (t *transports) dialled(at netip.Addr) {
	kind := int32(reachOf(at))
	for {
		known := t.reach.Load()
		if kind >= known || t.reach.CompareAndSwap(known, kind) {
			return
		}
	}
}

func (t *transports) close() error {
	t.reads.CloseIdleConnections()
	t.blobs.CloseIdleConnections()
	t.writes.CloseIdleConnections()
	t.tokens.CloseIdleConnections()
	t.storage.CloseIdleConnections()
	return nil
}

// checkStorage runs with the address that is about to be dialled, behind every name resolution, so that no name, no
// redirect and no second look-up leads elsewhere.
func (t *transports) checkStorage(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("redirect to %s: %w", address, err)
	}
	if kind := reachOf(at.Addr()); kind > reach(t.reach.Load()) {
		return fmt.Errorf("redirect to a %s address is refused: the registry itself is at a %s one", kind, reach(t.reach.Load()))
	}
	return nil
}

// reach orders addresses by what a peer could do with a request of ours to them. A registry may redirect blobs to what is
// at most as inside as it is itself.
type reach int32

const (
	public    reach = iota
	private         // RFC 1918, unique local, shared (RFC 6598)
	loopback        // this machine
	linkLocal       // the metadata services of clouds, and whatever is no host at all
)

func (r reach) String() string { return [...]string{"public", "private", "loopback", "link-local"}[r] }

func reachOf(a netip.Addr) reach {
	a = a.WithZone("").Unmap()
	if v4, ok := embeddedV4(a); ok {
		a = v4
	}
	switch {
	case slices.Contains(metadata, a):
		return linkLocal
	case a.IsLoopback():
		return loopback
	case a.IsLinkLocalUnicast() || a.IsMulticast() || a.IsUnspecified() || !a.IsValid() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return linkLocal
	case a.IsPrivate() || shared.Contains(a) || site.Contains(a):
		return private
	}
	return public
}

var (
	shared  = netip.MustParsePrefix("100.64.0.0/10")
	site    = netip.MustParsePrefix("fec0::/10") // what unique local addresses replaced
	nat64   = netip.MustParsePrefix("64:ff9b::/96")
	nat64At = netip.MustParsePrefix("64:ff9b:1::/48") // RFC 8215, of which the last 96 bits are the usual ones
	sixTo4  = netip.MustParsePrefix("2002::/16")
	thisNet = netip.MustParsePrefix("0.0.0.0/8")
)

// metadata are services of clouds that know the machine's own credentials and are at no link-local address.
var metadata = []netip.Addr{
	netip.MustParseAddr("fd00:ec2::254"),   // AWS by IPv6
	netip.MustParseAddr("fd20:ce::254"),    // Google by IPv6
	netip.MustParseAddr("168.63.129.16"),   // Azure, to all others a public address
	netip.MustParseAddr("100.100.100.200"), // Alibaba
	netip.MustParseAddr("192.0.0.192"),     // Oracle
}

// embeddedV4 finds the IPv4 address that a translator would make of an IPv6 one.
func embeddedV4(a netip.Addr) (netip.Addr, bool) {
	if a.Is4() {
		if thisNet.Contains(a) {
			return netip.IPv4Unspecified(), true // 0.x.x.x is this machine to some systems
		}
		return a, false
	}
	b := a.As16()
	switch {
	case nat64.Contains(a) || nat64At.Contains(a):
		return netip.AddrFrom4([4]byte(b[12:16])), true
	case sixTo4.Contains(a):
		return netip.AddrFrom4([4]byte(b[2:6])), true
	}
	return a, false
}
