package main

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// newTransit serves a public key as the transit engine of Vault does, and makes the environment lead there.
func newTransit(t *testing.T, public crypto.PublicKey) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || r.URL.Path != "/v1/transit/keys/release" || r.Header.Get("X-Vault-Token") != "the-token" {
			http.NotFound(w, r)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"data": map[string]any{
			"latest_version": 1, "keys": map[string]any{"1": map[string]any{"name": "P-256", "public_key": string(publicPEM(t, public))}},
		}})
	}))
	t.Cleanup(server.Close)
	t.Setenv("VAULT_ADDR", server.URL)
	t.Setenv("VAULT_TOKEN", "the-token")
	t.Setenv("VAULT_MAX_RETRIES", "0")
	return server
}

func publicPEM(t *testing.T, public crypto.PublicKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func newECDSA(t *testing.T) crypto.PublicKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key.Public()
}

func TestAKeyOfAServiceIsAnAuthority(t *testing.T) {
	public, other := newECDSA(t), newECDSA(t)
	print := fingerprint(public)
	for name, c := range map[string]struct {
		key     string
		copied  crypto.PublicKey // in release.pub, nil for none
		down    bool
		problem string // none when empty
		warned  bool
	}{
		"the key that is there":           {key: "kms: hashivault://release"},
		"by its fingerprint":              {key: "kms: hashivault://release, fingerprint: " + print},
		"with a copy":                     {key: "kms: hashivault://release, file: release.pub", copied: public},
		"with a copy, while it is down":   {key: "kms: hashivault://release, file: release.pub, fingerprint: " + print, copied: public, down: true, warned: true},
		"with a validity":                 {key: "kms: hashivault://release, valid_until: 2030-01-01"},
		"another fingerprint":             {key: "kms: hashivault://release, fingerprint: " + fingerprint(other), problem: "key.kms: hashivault://release: its key has the fingerprint " + print},
		"a copy of another key":           {key: "kms: hashivault://release, file: release.pub", copied: other, problem: "differ"},
		"a copy of another fingerprint":   {key: "kms: hashivault://release, file: release.pub, fingerprint: " + print, copied: other, down: true, problem: "key.file"},
		"a copy that is not there":        {key: "kms: hashivault://release, file: release.pub", problem: "key.file"},
		"no copy, while it is down":       {key: "kms: hashivault://release", down: true, problem: "name a copy of the key in file"},
		"a key that it does not have":     {key: "kms: hashivault://another", problem: "key.kms"},
		"a scheme that would run a file":  {key: "kms: evil://release", problem: "begins with none of"},
		"a file of another fingerprint":   {key: "file: release.pub, fingerprint: " + print, copied: other, problem: "key.file"},
		"a fingerprint that is none":      {key: "kms: hashivault://release, fingerprint: " + strings.ToUpper(print), problem: "64 digits"},
		"a fingerprint, and nothing else": {key: "fingerprint: " + print, problem: "neither file nor kms"},
	} {
		t.Run(name, func(t *testing.T) {
			server := newTransit(t, public)
			if c.down {
				server.Close()
			}
			file := newStorage(t, onePolicy+"authorities:\n  - {name: gateway, signer: gateway}\n  - {name: release, key: {"+c.key+"}}\n")
			if c.copied != nil {
				writeFile(t, filepath.Join(filepath.Dir(file), "release.pub"), string(publicPEM(t, c.copied)))
			}
			made, err := buildFile(file, noEnvironment)
			if c.problem != "" {
				if err == nil || !strings.Contains(err.Error(), c.problem) {
					t.Errorf("got %v, want a problem with %q", err, c.problem)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if len(made.Authorities) != 2 || c.warned != (len(made.Warnings) == 1) {
				t.Errorf("got %v, warned %v", made.Authorities, made.Warnings)
			}
			if !strings.Contains(c.key, "valid") && made.Authorities["release"] != print {
				t.Errorf("its fingerprint is %s, want %s", made.Authorities["release"], print)
			}
		})
	}
}

func TestConfigCheckShowsWhichKeyAServiceHas(t *testing.T) {
	public := newECDSA(t)
	newTransit(t, public)
	file := newStorage(t, onePolicy+"authorities:\n  - {name: gateway, signer: gateway}\n  - {name: release, key: {kms: hashivault://release}}\n")
	code, out, stderr := runCommand(t, "config", "check", "--config", file)
	if code != 0 || !strings.Contains(out, fingerprint(public)) {
		t.Errorf("%d: %s%s", code, out, stderr)
	}
	raw, err := os.ReadFile(file)
	if err != nil || bytes.Contains(raw, []byte("the-token")) {
		t.Fatal(err)
	}
}
