package gateway

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Bounds of X-Forwarded-For, of which the end alone is read.
const (
	maxForwardedHops  = 16
	maxForwardedBytes = 1024 // of all lines together
)

// clientAddress is where a client asks from: the peer of the connection. Where that is a trusted proxy, it is whom the proxy
// says it asks for, read from the end, where each proxy appended what it saw, up to the first that is not trusted. What a
// client wrote there itself stands before that and is never reached.
func (g *Gateway) clientAddress(r *http.Request) string {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	at := peer.Addr().Unmap()
	if !g.trusts(at) {
		return at.String()
	}
	for _, text := range forwarded(r.Header.Values("X-Forwarded-For")) {
		hop, err := parseHop(text)
		if err != nil {
			break // what stands behind it is all that is known
		}
		if at = hop; !g.trusts(at) {
			break
		}
	}
	return at.String()
}

func (g *Gateway) trusts(at netip.Addr) bool {
	return slices.ContainsFunc(g.proxies, func(p netip.Prefix) bool { return p.Contains(at.WithZone("")) })
}

// forwarded lists the hops, the last first.
func forwarded(lines []string) []string {
	var hops []string
	left := maxForwardedBytes
	for _, line := range slices.Backward(lines) {
		if left -= len(line); left < 0 {
			return hops
		}
		for _, hop := range slices.Backward(strings.Split(line, ",")) {
			if len(hops) == maxForwardedHops {
				return hops
			}
			hops = append(hops, strings.TrimSpace(hop))
		}
	}
	return hops
}

// parseHop reads an address, which some proxies write with a port.
func parseHop(text string) (netip.Addr, error) {
	if at, err := netip.ParseAddrPort(text); err == nil {
		return at.Addr().Unmap().WithZone(""), nil
	}
	at, err := netip.ParseAddr(text)
	return at.Unmap().WithZone(""), err
}
