package upstream

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// ownCertificate makes a certificate that vouches for itself, for clients.
func ownCertificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "gateway"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, IsCA: true, BasicConstraintsValid: true,
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(raw)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key, Leaf: leaf}
}

// asking serves HTTPS and asks each client for a certificate; shown counts who has one.
func asking(t *testing.T, demand tls.ClientAuthType, clients *x509.CertPool, handler http.HandlerFunc) (server *httptest.Server, shown *atomic.Int32) {
	t.Helper()
	shown = new(atomic.Int32)
	server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.TLS.PeerCertificates) > 0 {
			shown.Add(1)
		}
		handler(w, r)
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.TLS = &tls.Config{ClientAuth: demand, ClientCAs: clients}
	server.StartTLS()
	t.Cleanup(server.Close)
	return server, shown
}

func TestThreat109_TheClientCertificateIsShownToTheRegistryAlone(t *testing.T) {
	certificate := ownCertificate(t)
	clients := x509.NewCertPool()
	clients.AddCert(certificate.Leaf)

	tokens, shownForTokens := asking(t, tls.RequestClientCert, nil, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"token":"t"}`) })
	storage, shownToStorage := asking(t, tls.RequestClientCert, nil, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "a blob") })
	registry, shown := asking(t, tls.RequireAndVerifyClientCert, clients, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("Authorization") == "":
			w.Header().Set("Www-Authenticate", `Bearer realm="`+tokens.URL+`/token"`)
			w.WriteHeader(http.StatusUnauthorized)
		case strings.Contains(r.URL.Path, "/blobs/"):
			http.Redirect(w, r, storage.URL+"/blob", http.StatusTemporaryRedirect)
		}
	})

	trusted := x509.NewCertPool()
	for _, server := range []*httptest.Server{registry, tokens, storage} {
		trusted.AddCert(server.Certificate())
	}
	r := at(t, registry, func(o *Options) {
		o.RootCAs, o.Certificate = trusted, &certificate
		o.TokenHosts = []string{tokens.Listener.Addr().String()}
	})
	if got, err := read(t, r, get(someBlob)); err != nil || got != "a blob" {
		t.Fatalf("got %q, %v; want the blob", got, err)
	}
	if shown.Load() == 0 || shownForTokens.Load() != 0 || shownToStorage.Load() != 0 {
		t.Errorf("it was shown %d times to the registry, %d to the token host, %d to the storage; want it shown to the registry alone",
			shown.Load(), shownForTokens.Load(), shownToStorage.Load())
	}
}

func TestThreat112_ARegistryThatWantsACertificateGetsAnErrorWithoutOne(t *testing.T) {
	registry, _ := asking(t, tls.RequireAnyClientCert, nil, func(http.ResponseWriter, *http.Request) {})
	if _, err := at(t, registry).Do(t.Context(), get("/v2/")); err == nil || isNotFound(err) {
		t.Errorf("got %v, want an error that is no absence", err)
	}
}

func TestThreat112_OldTLSIsRefused(t *testing.T) {
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
	server.StartTLS()
	t.Cleanup(server.Close)
	if _, err := at(t, server).Do(t.Context(), get("/v2/")); err == nil || isNotFound(err) {
		t.Errorf("got %v, want an error about the version", err)
	}
}
