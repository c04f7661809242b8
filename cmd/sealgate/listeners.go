package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
)

// Listen is the listener for clients.
type Listen struct {
	// Address is host:port. Port 0 takes a free one, which the log names. Default 127.0.0.1:5000. The environment
	// variable SEALGATE_LISTEN_ADDRESS overrides it.
	Address string `mapstructure:"address"`

	// ExternalURL is how clients reach us, such as https://registry.acme.dev: the name in signatures and in the fixes
	// that refused people read. Default empty: what the client called us. SEALGATE_LISTEN_EXTERNAL_URL overrides it.
	ExternalURL string `mapstructure:"external_url"`

	// TLS serves HTTPS. Without it the listener speaks plain HTTP, for loopback or behind a proxy.
	TLS TLS `mapstructure:"tls"`

	// ACME gets the certificate from an authority that speaks ACME (RFC 8555), in the place of TLS's files. Default: none.
	ACME *ACME `mapstructure:"acme"`

	// TrustedProxies are the addresses, such as 10.0.0.7 or 10.0.0.0/24, of load balancers and proxies before us: what they
	// say in X-Forwarded-For is where a client asks from, in the limits of failed logins and in decisions. Default none: the
	// header is not read.
	TrustedProxies []string `mapstructure:"trusted_proxies"`
}

// TLS names a certificate. Both files are set, or none. A renewed certificate is taken without a restart.
type TLS struct {
	// Certificate is a PEM file with the certificate and its intermediates.
	Certificate string `mapstructure:"certificate"`

	// Key is a PEM file with its private key.
	Key string `mapstructure:"key"`

	// ClientCA is a PEM file with the certificates of the authority that vouches for clients' own. Default empty: clients are
	// asked for none.
	ClientCA string `mapstructure:"client_ca"`
}

// Admin is the listener for /livez, /readyz and /metrics. The first two are open to everybody who reaches it; the third is for
// who shows the token or a certificate, where one of them is set.
type Admin struct {
	// Address is host:port. Default 127.0.0.1:5001. SEALGATE_ADMIN_ADDRESS overrides it.
	Address string `mapstructure:"address"`

	// TLS serves HTTPS. With client_ca, every client certificate of that authority may see the metrics.
	TLS TLS `mapstructure:"tls"`

	// TokenFile holds a token, of 16 characters or more, that may see the metrics as Bearer. Others must not be able to read
	// the file. Default empty.
	TokenFile string `mapstructure:"token_file"`

	// UnauthenticatedUnsafe lets everybody see the metrics who reaches an address that is not on loopback. Default false.
	UnauthenticatedUnsafe bool `mapstructure:"unauthenticated_unsafe"`
}

func (v *validator) listeners(c *Config) {
	v.address("listen.address", c.Listen.Address)
	v.address("admin.address", c.Admin.Address)
	if _, port, _ := net.SplitHostPort(c.Listen.Address); c.Listen.Address == c.Admin.Address && port != "0" {
		v.add("admin.address", "is listen.address too; health and metrics need an address of their own")
	}
	if c.Listen.ExternalURL != "" {
		v.origin("listen.external_url", c.Listen.ExternalURL)
	}
	v.tls("listen.tls", c.Listen.TLS, c.Listen.ACME != nil)
	v.tls("admin.tls", c.Admin.TLS, false)
	if c.Listen.ACME != nil {
		v.acme(c)
	}
	for i, text := range c.Listen.TrustedProxies {
		if _, err := parsePrefix(text); err != nil {
			v.add(fmt.Sprintf("listen.trusted_proxies[%d]", i), "is neither an address like 10.0.0.7 nor a network like 10.0.0.0/24, and not all of them")
		}
	}
	asks := c.Admin.TokenFile != "" || c.Admin.TLS.ClientCA != ""
	if !asks && !isLoopbackAddress(c.Admin.Address) && !c.Admin.UnauthenticatedUnsafe {
		v.add("admin.address", "is reached from other machines, and everybody there would see the metrics: set admin.token_file or admin.tls.client_ca, or say unauthenticated_unsafe: true")
	}
	if asks && c.Admin.UnauthenticatedUnsafe {
		v.add("admin.unauthenticated_unsafe", "contradicts token_file and client_ca; leave it out")
	}
	if c.Storage.Directory == "" {
		v.add("storage.directory", "is empty; name a directory")
	}
}

// tls wants a certificate with its key. issued says that it comes from elsewhere.
func (v *validator) tls(path string, t TLS, issued bool) {
	if (t.Certificate == "") != (t.Key == "") {
		v.add(path, "has one file; set certificate and key, or neither")
	}
	if t.ClientCA != "" && t.Certificate == "" && !issued {
		v.add(path+".client_ca", "means nothing without certificate and key: clients show certificates over TLS")
	}
}

// parsePrefix reads an address or a network. The network of all addresses is none: then anybody could say where he asks from.
func parsePrefix(text string) (netip.Prefix, error) {
	if address, err := netip.ParseAddr(text); err == nil && address.Zone() == "" {
		return netip.PrefixFrom(address.Unmap(), address.Unmap().BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(text)
	if err == nil && (prefix.Bits() == 0 || prefix != prefix.Masked() || prefix.Addr().Is4In6()) {
		err = errors.New("not a network")
	}
	return prefix, err
}

// isLoopbackAddress reports that no other machine reaches a host:port.
func isLoopbackAddress(address string) bool {
	host, _, _ := net.SplitHostPort(address)
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}

func (l Listen) proxies() []netip.Prefix {
	var all []netip.Prefix
	for _, text := range l.TrustedProxies {
		if prefix, err := parsePrefix(text); err == nil { // as was validated
			all = append(all, prefix)
		}
	}
	return all
}
