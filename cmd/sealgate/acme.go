package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"
)

// ACME is where the certificate of the listener for clients comes from. The authority proves a name by connecting to its port
// 443 (tls-alpn-01, RFC 8737), which has to lead to the listener. Account and certificates are kept in storage, under acme.
type ACME struct {
	// Domains are the names that certificates are asked for: those that clients use, and no others.
	Domains []string `mapstructure:"domains"`

	// AcceptTerms says that you accept the authority's terms of service. It has to be true.
	AcceptTerms bool `mapstructure:"accept_terms"`

	// Email is whom the authority writes to. Default empty: nobody.
	Email string `mapstructure:"email"`

	// Directory is the authority's directory. Default empty: that of Let's Encrypt.
	Directory string `mapstructure:"directory"`

	// CAFile is a PEM file of who vouches for the authority's own server. Default empty: those whom the system trusts.
	CAFile string `mapstructure:"ca_file"`
}

// domainName is a name in DNS with two labels or more, as RFC 1123 writes it.
var domainName = regexp.MustCompile(`^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?$`)

// acme holds what is asked of an authority against what it could give.
func (v *validator) acme(c *Config) {
	const at = "listen.acme"
	a := c.Listen.ACME
	if c.Listen.TLS.Certificate != "" || c.Listen.TLS.Key != "" {
		v.add(at, "contradicts the certificate in listen.tls; leave one of them out")
	}
	if len(a.Domains) == 0 {
		v.add(at+".domains", "names no domain to get a certificate for")
	}
	for i, name := range a.Domains {
		if !domainName.MatchString(name) || len(name) > 253 {
			v.add(fmt.Sprintf("%s.domains[%d]", at, i), "%.80q is no domain in lower case, like registry.acme.dev; an authority proves no address and no pattern", name)
		}
		if slices.Index(a.Domains, name) < i {
			v.add(fmt.Sprintf("%s.domains[%d]", at, i), "names %q twice", name)
		}
	}
	if !a.AcceptTerms {
		v.add(at+".accept_terms", "is not true: read the authority's terms of service, and say that you accept them")
	}
	if a.Email != "" && (strings.Count(a.Email, "@") != 1 || strings.ContainsAny(a.Email, " ,;<>")) {
		v.add(at+".email", "is no address, like ops@acme.dev")
	}
	if u, err := url.Parse(a.Directory); a.Directory != "" && (err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil) {
		v.add(at+".directory", "is not an https URL")
	}
}

const acmeTimeout = time.Minute // for one request to the authority

// acmeIssuer gets certificates for the listener from an authority, and renews them. It is safe for concurrent use. A nil issuer
// gets none.
type acmeIssuer struct {
	domains []string
	manager *autocert.Manager
}

// openACMEIssuer returns nil where the configuration names no authority.
func openACMEIssuer(c *Config) (*acmeIssuer, error) {
	a := c.Listen.ACME
	if a == nil {
		return nil, nil
	}
	var roots *x509.CertPool
	if a.CAFile != "" {
		var err error
		if roots, err = readPool(a.CAFile); err != nil {
			return nil, fmt.Errorf("listen.acme.ca_file: %s: %w", a.CAFile, err)
		}
	}
	client := &acme.Client{
		DirectoryURL: a.Directory, // empty: that of Let's Encrypt
		UserAgent:    "sealgate/" + version,
		HTTPClient: &http.Client{Timeout: acmeTimeout, Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout: acmeTimeout, ForceAttemptHTTP2: true, IdleConnTimeout: time.Minute,
		}},
	}
	return &acmeIssuer{a.Domains, &autocert.Manager{
		Prompt:     autocert.AcceptTOS,                                            // as accept_terms says
		HostPolicy: autocert.HostWhitelist(a.Domains...),                          // whatever name a client asks for, the authority is asked for these alone
		Cache:      autocert.DirCache(filepath.Join(c.Storage.Directory, "acme")), // which makes the directory for us alone
		Email:      a.Email, Client: client,
	}}, nil
}

// serverTLS is the configuration of a listener behind a door, with certificates of files or of the authority.
func (i *acmeIssuer) serverTLS(behind *atomic.Pointer[door]) *tls.Config {
	if i == nil {
		return serverTLS(behind, nil, "h2", "http/1.1")
	}
	return serverTLS(behind, i.manager.GetCertificate, "h2", "http/1.1", acme.ALPNProto)
}

// prepare gets the certificates, so that the first client does not wait for them, and somebody reads it where there is none.
func (i *acmeIssuer) prepare(log *slog.Logger) {
	for _, name := range i.domains {
		_, err := i.manager.GetCertificate(&tls.ClientHelloInfo{
			ServerName: name, SignatureSchemes: []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256},
			SupportedCurves: []tls.CurveID{tls.CurveP256}, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256},
		})
		if err != nil {
			log.Warn("no certificate from the authority yet; it is asked again when a client comes", "domain", name, "error", err)
			continue
		}
		log.Info("has a certificate of the authority", "domain", name)
	}
}
