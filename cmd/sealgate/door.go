package main

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sealgate/sealgate/signer/safefile"
)

const (
	maxTLSFile    = 1 << 20 // bytes of a certificate with its chain, of its key, or of authorities
	maxTokenFile  = 4 << 10 // bytes
	minAdminToken = 16      // characters
)

// door is what a listener shows of itself and asks of who comes. It is immutable; a reload replaces it as a whole.
type door struct {
	certificate *tls.Certificate // nil: plain HTTP
	clientRoots *x509.CertPool   // who vouches for clients' certificates; nil: none is asked for
	token       [sha256.Size]byte
	hasToken    bool
}

// openDoors reads what both listeners show and ask for.
func openDoors(l *Loaded) (public, admin *door, problems Problems) {
	open := func(path string, t TLS) *door {
		d := &door{}
		var err error
		if d.certificate, err = loadCertificate(t); err != nil {
			problems = append(problems, l.problem(path, "%v", err))
		}
		if t.ClientCA == "" {
			return d
		}
		if d.clientRoots, err = readPool(t.ClientCA); err != nil {
			problems = append(problems, l.problem(path+".client_ca", "%s: %v", t.ClientCA, err))
		}
		return d
	}
	public, admin = open("listen.tls", l.Config.Listen.TLS), open("admin.tls", l.Config.Admin.TLS)
	if file := l.Config.Admin.TokenFile; file != "" {
		token, err := readAdminToken(file)
		if err != nil {
			problems = append(problems, l.problem("admin.token_file", "%s: %v", file, err))
		}
		admin.token, admin.hasToken = sha256.Sum256([]byte(token)), true
	}
	return public, admin, problems
}

func readAdminToken(file string) (string, error) {
	raw, err := safefile.Read(file, maxTokenFile, tooOpen)
	if err != nil {
		return "", err
	}
	token := strings.TrimSpace(string(raw))
	if len(token) < minAdminToken || strings.ContainsAny(token, " \t\r\n") {
		return "", fmt.Errorf("it must hold one token of %d characters or more", minAdminToken)
	}
	return token, nil
}

func loadCertificate(t TLS) (*tls.Certificate, error) {
	if t.Certificate == "" {
		return nil, nil
	}
	chain, err := safefile.Read(t.Certificate, maxTLSFile, 0)
	if err != nil {
		return nil, fmt.Errorf("certificate %s: %w", t.Certificate, err)
	}
	key, err := safefile.Read(t.Key, maxTLSFile, tooOpen)
	if err != nil {
		return nil, fmt.Errorf("certificate's key %s: %w", t.Key, err)
	}
	certificate, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return nil, err
	}
	return &certificate, nil
}

// serverTLS is the configuration of a listener behind a door that reloads can replace. Clients' certificates are asked for
// and not judged here, only held against their keys: who uses a connection is judged at each request, under the authorities
// of that moment. Where they are asked for no session is resumed, so that no connection stands on a handshake of before.
//
// issued gets a certificate for a name, where there is no file with one.
func serverTLS(behind *atomic.Pointer[door], issued func(*tls.ClientHelloInfo) (*tls.Certificate, error), protocols ...string) *tls.Config {
	forDoor := func(d *door) *tls.Config {
		c := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: protocols, GetCertificate: issued}
		if d.certificate != nil {
			c.Certificates = []tls.Certificate{*d.certificate}
		}
		if d.clientRoots != nil {
			c.ClientAuth, c.ClientCAs, c.SessionTicketsDisabled = tls.RequestClientCert, d.clientRoots, true
		}
		return c
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: protocols,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return forDoor(behind.Load()), nil },
	}
}

// asks reports whether the door lets in only some.
func (d *door) asks() bool { return d.hasToken || d.clientRoots != nil }

// lets says whether a request may pass: with the token, or with a certificate of a client that the authorities vouch for
// now. The error says which of them was wrong.
func (d *door) lets(r *http.Request) error {
	if !d.asks() {
		return nil
	}
	if shown := r.Header.Values("Authorization"); len(shown) > 0 {
		scheme, token, _ := strings.Cut(shown[0], " ")
		sum := sha256.Sum256([]byte(token))
		if d.hasToken && len(shown) == 1 && strings.EqualFold(scheme, "Bearer") && subtle.ConstantTimeCompare(sum[:], d.token[:]) == 1 {
			return nil
		}
		return errors.New("the token is not right")
	}
	if d.clientRoots == nil || r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return errors.New("log in: with the token as Bearer, or with a certificate, as the configuration says")
	}
	chain := r.TLS.PeerCertificates
	intermediates := x509.NewCertPool()
	for _, one := range chain[1:] {
		intermediates.AddCert(one)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{
		Roots: d.clientRoots, Intermediates: intermediates, CurrentTime: time.Now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil || chain[0].IsCA {
		return errors.New("the certificate is not one of a client that the authority vouches for now")
	}
	return nil
}

// readPool reads certificates in PEM from a file.
func readPool(file string) (*x509.CertPool, error) {
	pem, err := safefile.Read(file, maxTLSFile, 0)
	if err != nil {
		return nil, err
	}
	return certPool(pem)
}

// certPool reads certificates in PEM. A text without any is an error: nobody would mean the system's by it.
func certPool(pem []byte) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New("holds no certificate in PEM")
	}
	return pool, nil
}
