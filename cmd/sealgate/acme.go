package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"
)

const acmeTimeout = time.Minute // for one request to the authority

// issuer gets certificates for the listener from an authority, and renews them. It is safe for concurrent use. A nil issuer
// gets none.
type issuer struct {
	domains []string
	manager *autocert.Manager
}

// openIssuer returns nil where the configuration names no authority.
func openIssuer(c *Config) (*issuer, error) {
	a := c.Listen.ACME
	if a == nil {
		return nil, nil
	}
	var roots *x509.CertPool
	if a.CAFile != "" {
		pem, err := readBounded(a.CAFile, maxTLSFile, 0)
		if err == nil {
			roots, err = certPool(pem)
		}
		if err != nil {
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
	return &issuer{a.Domains, &autocert.Manager{
		Prompt:     autocert.AcceptTOS,                                            // as accept_terms says
		HostPolicy: autocert.HostWhitelist(a.Domains...),                          // whatever name a client asks for, the authority is asked for these alone
		Cache:      autocert.DirCache(filepath.Join(c.Storage.Directory, "acme")), // which makes the directory for us alone
		Email:      a.Email, Client: client,
	}}, nil
}

// serverTLS is the configuration of a listener behind a door, with certificates of files or of the authority.
func (i *issuer) serverTLS(behind *atomic.Pointer[door]) *tls.Config {
	if i == nil {
		return serverTLS(behind, nil, "h2", "http/1.1")
	}
	return serverTLS(behind, i.manager.GetCertificate, "h2", "http/1.1", acme.ALPNProto)
}

// prepare gets the certificates, so that the first client does not wait for them, and somebody reads it where there is none.
func (i *issuer) prepare(log *slog.Logger) {
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
