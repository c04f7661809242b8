package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/sealgate/sealgate/gateway/ledger"
)

// Keys that are not in a file: in a service, and in a hardware security module.

// secretCanary is in every secret of these tests, and must be nowhere else.
const secretCanary = "canary-8f3a61"

// transit is a server with the transit engine of Vault and OpenBao, as far as a signer asks it.
type transit struct {
	url  string
	key  *ecdsa.PrivateKey
	down atomic.Bool
}

func startTransit(t *testing.T) *transit {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s := &transit{key: key}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

func (s *transit) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var data map[string]any
	switch {
	case s.down.Load():
		http.Error(w, `{"errors":["Vault is sealed"]}`, http.StatusServiceUnavailable)
		return
	case r.Header.Get("X-Vault-Token") != secretCanary+"-token":
		http.Error(w, `{"errors":["permission denied"]}`, http.StatusForbidden)
		return
	case r.Method+r.URL.Path == "GET/v1/transit/keys/release":
		der, err := x509.MarshalPKIXPublicKey(s.key.Public())
		if err != nil {
			panic(err)
		}
		public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
		data = map[string]any{"latest_version": 1, "type": "ecdsa-p256", "keys": map[string]any{
			"1": map[string]any{"name": "P-256", "public_key": string(public)},
		}}
	case r.Method+r.URL.Path == "PUT/v1/transit/sign/release/sha2-256":
		var request struct{ Input []byte }
		if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
			http.Error(w, "{}", http.StatusBadRequest)
			return
		}
		sig, err := ecdsa.SignASN1(rand.Reader, s.key, request.Input)
		if err != nil {
			panic(err)
		}
		data = map[string]any{"signature": "vault:v1:" + base64.StdEncoding.EncodeToString(sig)}
	default:
		http.NotFound(w, r)
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"data": data})
}

const severalConfig = `
registries:
  - {name: local, embedded: true, prefix: ""}
authorities:
  - {name: gateway, signer: gateway}
  - {name: vault, signer: vault}
signers:
  - {name: gateway}
  - {name: vault, kms: "hashivault://release"%s}
policies:
  - name: both
    repositories: ["both/**"]
    pull:
      signed_by: {all: [gateway, vault]}
      attested: [{predicate: vsa, by: {all: [gateway, vault]}}]
    push: {seal: {signers: [gateway, vault], summary: true}}
  - name: one
    repositories: ["**"]
    pull: {signed_by: {any: [gateway, vault]}}
    push: {seal: {signers: [gateway, vault]}}
`

func TestThreat155_WhileAKeyServiceIsDownNothingIsHalfSealed(t *testing.T) {
	vault, kit := startTransit(t), need(t, suite.images)
	gw := newGateway(t, fmt.Sprintf(severalConfig, ""))
	gw.env = []string{"VAULT_ADDR=" + vault.url, "VAULT_TOKEN=" + secretCanary + "-token", "VAULT_MAX_RETRIES=0"}
	gw.start(t)
	public := filepath.Join(gw.dir, "vault.pub")
	writeFile(t, public, []byte(gw.run(t, "keys", "public", "--signer", "vault").ok(t).stdout), 0o644)
	own := filepath.Join(gw.dir, "own.pub")
	writeFile(t, own, []byte(gw.run(t, "keys", "public", "--signer", "gateway").ok(t).stdout), 0o644)

	digest := put(t, gw.ref("both/app:v1"), kit.image(t, nonroot, "vault"))
	cranePull(t, gw.ref("both/app:v1")).ok(t)
	for _, key := range []string{public, own} {
		bothGenerationsVerify(t, key, gw.ref("both/app")+"@"+digest)
		cosign3.attestation(t, key, gw.ref("both/app")+"@"+digest).ok(t)
	}
	before := gw.contents(t, "both/app")
	put(t, gw.ref("both/app:v1"), kit.image(t, nonroot, "vault"))
	if after := gw.contents(t, "both/app"); fmt.Sprint(before) != fmt.Sprint(after) {
		t.Errorf("the second push changed the repository\nfrom %s\nto   %s", strings.Join(before, "\n     "), strings.Join(after, "\n     "))
	}

	// Either signature would do for a pull here. The signer that is up must not leave one.
	vault.down.Store(true)
	layout := filepath.Join(tempDir(t), "oci")
	writeLayout(t, layout, kit.image(t, nonroot, "meanwhile"))
	runCrane(t, "push", layout, gw.ref("one/app:v1")).fails(t).has(t, "UNAVAILABLE")
	gw.nothingHalfSealed(t, "one/app", "Vault is sealed")
	cranePull(t, gw.ref("both/app:v1")).ok(t)

	// With a copy of the key a gateway starts meanwhile, and pulls go on.
	gw.process.stop()
	copied := gw.path("vault.pub")
	content, err := os.ReadFile(public)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, copied, content, 0o644)
	gw.configure(t, fmt.Sprintf(severalConfig, ", public: vault.pub"))
	gw.start(t)
	cranePull(t, gw.ref("both/app:v1")).ok(t)

	vault.down.Store(false)
	runCrane(t, "push", layout, gw.ref("one/app:v1")).ok(t)
	cranePull(t, gw.ref("one/app:v1")).ok(t)
	keepsSecrets(t, gw)
}

func TestThreat157_AHardwareSecurityModuleSignsAndItsPINIsNowhere(t *testing.T) {
	binary := filepath.Join(suite.dir, "sealgate-pkcs11")
	build := exec.Command("go", "build", "-tags", "pkcs11key", "-o", binary, "../cmd/sealgate")
	build.Env = append(os.Environ(), "CGO_ENABLED=1")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build with PKCS #11: %v\n%s", err, out)
	}
	const module, pin = "/usr/lib/softhsm/libsofthsm2.so", secretCanary // also a PIN
	home := tempDir(t)
	writeFile(t, filepath.Join(home, "softhsm2.conf"), []byte("directories.tokendir = "+home+"\nobjectstore.backend = file\n"), 0o644)
	env := []string{"SOFTHSM2_CONF=" + filepath.Join(home, "softhsm2.conf")}
	command(t, env, "/usr/bin/softhsm2-util", "--init-token", "--free", "--label", "sealgate", "--pin", pin, "--so-pin", "12345678").ok(t)
	token := func(args ...string) {
		t.Helper()
		command(t, env, "/usr/bin/pkcs11-tool", append([]string{"--module", module, "--token-label", "sealgate", "--login", "--pin", pin}, args...)...).ok(t)
	}
	generate := func(label string, id ...string) {
		token(append([]string{"--keypairgen", "--key-type", "EC:prime256v1", "--label", label}, id...)...)
	}
	generate("release", "--id", "01")
	generate("bare")
	generate("twice", "--id", "02")
	generate("twice", "--id", "03")

	config := `
authorities: [{name: hsm, signer: hsm}]
signers:
  - {name: hsm, pkcs11: {module: ` + module + `, token: sealgate, label: %s, pin_file: hsm.pin}}
policies:
  - name: sealed
    repositories: ["**"]
    pull: {signed_by: {any: [hsm]}}
    push: {seal: {signer: hsm, summary: true}}
`
	gw := newGateway(t, fmt.Sprintf(config, "release"))
	writeFile(t, gw.path("hsm.pin"), []byte(pin+"\n"), 0o600)
	gw.run(t, "config", "check").fails(t).has(t, "signers[0].pkcs11", "make build-pkcs11") // the binary without

	gw.binary, gw.env = binary, env
	gw.start(t)
	digest := put(t, gw.ref("app:v1"), need(t, suite.images).image(t, nonroot, "hsm"))
	cranePull(t, gw.ref("app:v1")).ok(t)
	public := gw.publicKey(t)
	bothGenerationsVerify(t, public, gw.ref("app")+"@"+digest)
	cosign3.attestation(t, public, gw.ref("app")+"@"+digest).ok(t)

	gw.reload(t)
	put(t, gw.ref("again:v1"), need(t, suite.images).image(t, nonroot, "hsm"))

	// The module goes, and comes back.
	stored, err := filepath.Glob(filepath.Join(home, "*-*-*-*"))
	if err != nil || len(stored) != 1 {
		t.Fatalf("the token is not in one directory: %v, %v", stored, err)
	}
	away := filepath.Join(tempDir(t), "token")
	if err := os.Rename(stored[0], away); err != nil {
		t.Fatal(err)
	}
	layout := filepath.Join(tempDir(t), "oci")
	writeLayout(t, layout, need(t, suite.images).image(t, nonroot, "meanwhile"))
	runCrane(t, "push", layout, gw.ref("meanwhile:v1")).fails(t).has(t, "UNAVAILABLE")
	gw.nothingHalfSealed(t, "meanwhile", "sealgate")
	cranePull(t, gw.ref("app:v1")).ok(t)
	if err := os.Rename(away, stored[0]); err != nil {
		t.Fatal(err)
	}
	runCrane(t, "push", layout, gw.ref("meanwhile:v1")).ok(t)
	cranePull(t, gw.ref("meanwhile:v1")).ok(t)
	keepsSecrets(t, gw)

	for name, c := range map[string]struct{ label, pin, want string }{
		"a key that is not there": {"another", pin, "another"},
		"a wrong PIN":             {"release", secretCanary + "-wrong", "PIN"},
		"a key without an id":     {"bare", pin, "CKA_ID"},
		"one label for two keys":  {"twice", pin, "there are 2 with that label"},
	} {
		gw.configure(t, fmt.Sprintf(config, c.label))
		writeFile(t, gw.path("hsm.pin"), []byte(c.pin+"\n"), 0o600)
		r := gw.run(t, "config", "check").fails(t).has(t, "signers[0].pkcs11", c.want)
		if strings.Contains(r.output, secretCanary) {
			t.Errorf("%s: the PIN is in %s", name, r.output)
		}
	}

	for _, half := range []string{"privkey", "pubkey"} { // as the message says
		token("--label", "bare", "--set-id", "04", "--type", half)
	}
	gw.configure(t, fmt.Sprintf(config, "bare"))
	writeFile(t, gw.path("hsm.pin"), []byte(pin+"\n"), 0o600)
	gw.run(t, "config", "check").ok(t)
}

// nothingHalfSealed checks that the push to a repository was undecided, for a cause that the record tells, and that it left
// nothing that can be pulled and nothing that anybody signed.
func (g *gateway) nothingHalfSealed(t *testing.T, repo, cause string) {
	t.Helper()
	staged, why := "", ""
	for _, d := range g.decisions(t, repo) {
		if d.Action == ledger.Push && d.Outcome == ledger.Undecided {
			staged, why = d.Digest.String(), d.Cause
		}
	}
	if staged == "" || !strings.Contains(why, cause) {
		t.Errorf("%s: %q was undecided because of %q, want %q", repo, staged, why, cause)
		return
	}
	hex := strings.TrimPrefix(staged, "sha256:")
	for reference, want := range map[string]int{
		"v1": http.StatusNotFound, staged: http.StatusForbidden, "sha256-" + hex + ".sig": http.StatusNotFound, "sha256-" + hex + ".att": http.StatusNotFound,
	} {
		if status := g.status(t, http.MethodGet, repo, reference); status != want {
			t.Errorf("%s: %s answers %d, want %d", repo, reference, status, want)
		}
	}
	if n := len(g.referrers(t, repo, staged)); n != 0 {
		t.Errorf("%s: %d manifests refer to what was not sealed", repo, n)
	}
}

// keepsSecrets looks for the canary in all that a gateway tells and writes.
func keepsSecrets(t *testing.T, gw *gateway) {
	t.Helper()
	look := func(where string, content []byte) {
		if strings.Contains(string(content), secretCanary) {
			t.Errorf("%s has a secret in it", where)
		}
	}
	look("config show", []byte(gw.run(t, "config", "show").ok(t).output))
	for _, path := range []string{"/metrics", "/livez", "/readyz"} {
		resp, err := http.Get("http://" + gw.admin + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		look(path, body)
	}
	err := filepath.WalkDir(gw.dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() || strings.HasSuffix(path, ".pin") {
			return err
		}
		content, err := os.ReadFile(path)
		look(path, content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
