package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// newIdentity writes a certificate that vouches for itself, and its key.
func newIdentity(t *testing.T, certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, certificate, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw})))
	if err := os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestARenewedCertificateMakesANewRegistry holds the files of a registry's TLS to what a reload needs: they are watched,
// and what is in them counts.
func TestARenewedCertificateMakesANewRegistry(t *testing.T) {
	t.Parallel()
	file := newStorage(t, onePolicy+"registries: [{name: a, url: \"https://a.acme.dev\", ca_file: ca.pem, client_certificate: own.pem, client_key: own.key}]\n")
	beside := func(name string) string { return filepath.Join(filepath.Dir(file), name) }
	newIdentity(t, beside("ca.pem"), beside("ca.key"))
	newIdentity(t, beside("own.pem"), beside("own.key"))
	b := &builder{getenv: noEnvironment, openKey: openTestKey}
	defer b.close()
	build := func() *built {
		t.Helper()
		loaded, err := load(file, Overrides{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if watched := strings.Join(loaded.watched(), " "); !strings.Contains(watched, "ca.pem") || !strings.Contains(watched, "own.pem") || !strings.Contains(watched, "own.key") {
			t.Errorf("watched are only %s", watched)
		}
		made, err := b.build(loaded)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.keep(made); err != nil {
			t.Fatal(err)
		}
		return made
	}

	before := build().Regime.Registries.ByName("a")
	if build().Regime.Registries.ByName("a") != before {
		t.Error("nothing changed, and the registry is another")
	}
	for _, renewed := range []string{"own", "ca"} {
		newIdentity(t, beside(renewed+".pem"), beside(renewed+".key"))
		after := build().Regime.Registries.ByName("a")
		if after == before {
			t.Errorf("%s.pem was renewed, and the registry is the same", renewed)
		}
		before = after
	}
}

func TestFilesOfARegistrysTLSThatAreOfNoUse(t *testing.T) {
	t.Parallel()
	file := newStorage(t, onePolicy+"registries: [{name: a, url: \"https://a.acme.dev\", ca_file: ca.pem, client_certificate: own.pem, client_key: own.key}]\n")
	beside := func(name string) string { return filepath.Join(filepath.Dir(file), name) }
	newIdentity(t, beside("own.pem"), beside("own.key"))
	writeFile(t, beside("ca.pem"), "") // which must not stand for the system's
	if err := os.Chmod(beside("own.key"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := buildFile(file, noEnvironment)
	if err == nil || !strings.Contains(err.Error(), "registries[0].ca_file: holds no certificate in PEM") || !strings.Contains(err.Error(), "registries[0].client_certificate: certificate's key") {
		t.Errorf("got %v", err)
	}
}
