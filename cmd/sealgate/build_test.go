package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/sealgate/sealgate/gateway/upstream"
	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/signer"
	"github.com/sealgate/sealgate/signer/safefile"
)

const testPassword = "correct horse"

// encryptedKey is one key file for all tests: making and opening one takes a good part of a second.
var encryptedKey = sync.OnceValues(func() ([]byte, error) {
	directory, err := os.MkdirTemp("", "sealgate-test-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(directory)
	file := filepath.Join(directory, "key")
	if err := signer.GenerateKeyFile(file, []byte(testPassword)); err != nil {
		return nil, err
	}
	return os.ReadFile(file)
})

// openedKey is encryptedKey, opened.
var openedKey = sync.OnceValues(func() (*signer.Key, error) {
	raw, err := encryptedKey()
	if err != nil {
		return nil, err
	}
	directory, err := os.MkdirTemp("", "sealgate-test-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(directory)
	file := filepath.Join(directory, "key")
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		return nil, err
	}
	return signer.LoadKeyFile(file, []byte(testPassword))
})

// openTestKey is [signer.LoadKeyFile] without the second of key derivation for a file that is surely encryptedKey.
func openTestKey(file string, password []byte) (*signer.Key, error) {
	raw, err := safefile.Read(file, maxConfigFile, 0o177)
	if want, _ := encryptedKey(); err == nil && bytes.Equal(raw, want) && string(password) == testPassword {
		return openedKey()
	}
	return signer.LoadKeyFile(file, password)
}

// newStorage is a directory with a configuration file, and in data/ the gateway's key and its password.
func newStorage(t testing.TB, yaml string) (file string) {
	t.Helper()
	directory := t.TempDir()
	key, err := encryptedKey()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(directory, "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(directory, "data", defaultKeyFile), string(key))
	writeFile(t, filepath.Join(directory, "data", defaultPasswordFile), testPassword+"\n")
	file = filepath.Join(directory, "sealgate.yaml")
	writeFile(t, file, yaml+"storage: {directory: data}\n")
	return file
}

func noEnvironment(string) string { return "" }

func newPublicKey(t testing.TB, path string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, path, string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})))
}

func buildFile(file string, getenv func(string) string) (*built, error) {
	loaded, err := load(file, Overrides{}, nil)
	if err != nil {
		return nil, err
	}
	return (&builder{getenv: getenv, openKey: openTestKey, dry: true}).build(loaded)
}

func TestAKeyThatCannotBeUsedIsAnErrorThatSaysWhatToDo(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, yaml string
		spoil      func(directory string) error
		getenv     func(string) string
		want       string
	}{
		{
			name: "a configured key that is missing", yaml: onePolicy + "signers: [{name: gateway, key: {file: other.key}}]\n",
			want: ":5: signers[0].key: DIR/other.key does not exist; make it with: sealgate keys generate --output DIR/other.key",
		},
		{
			name: "a key that others can read", yaml: onePolicy,
			spoil: func(d string) error { return os.Chmod(filepath.Join(d, "data", "gateway.key"), 0o644) },
			want:  "its mode is 0644",
		},
		{
			name: "a wrong password", yaml: onePolicy,
			getenv: func(string) string { return "wrong" },
			want:   "signers[0].key: load key file DIR/data/gateway.key: the password is wrong, or the file is damaged",
		},
		{
			name: "a password file that others can read", yaml: onePolicy,
			spoil: func(d string) error { return os.Chmod(filepath.Join(d, "data", "gateway.password"), 0o604) },
			want:  "password file DIR/data/gateway.password: its mode is 0604, so others may read or change it; chmod 600 it",
		},
		{
			name: "a password file of two lines", yaml: onePolicy,
			spoil: func(d string) error {
				return os.WriteFile(filepath.Join(d, "data", "gateway.password"), []byte("a\nb\n"), 0o600)
			},
			want: "it has more than one line",
		},
		{
			name: "an empty password file", yaml: onePolicy,
			spoil: func(d string) error { return os.Truncate(filepath.Join(d, "data", "gateway.password"), 0) },
			want:  "it is empty",
		},
		{
			name: "a configured key without a password", yaml: onePolicy + "signers: [{name: gateway, key: {file: other.key}}]\n",
			spoil: func(d string) error {
				return os.Rename(filepath.Join(d, "data", "gateway.key"), filepath.Join(d, "other.key"))
			},
			want: "no password: the variable SEALGATE_KEY_PASSWORD is not set",
		},
		{
			name: "a public key that is missing", yaml: onePolicy + "authorities: [{name: gateway, key: {file: a.pub}}]\n",
			want: ":5: authorities[0].key.file: public key DIR/a.pub: no such file or directory",
		},
		{
			name: "a private key for a public one", yaml: onePolicy + "authorities: [{name: gateway, key: {file: data/gateway.key}}]\n",
			want: ":5: authorities[0].key.file: public key DIR/data/gateway.key: a",
		},
		{
			name: "one key under two names", yaml: onePolicy + "authorities:\n  - {name: gateway, signer: gateway}\n  - {name: again, signer: gateway}\n",
			want: ":7: authorities[1]: has the key of authority gateway; one signature must not count for two",
		},
		{
			name: "a registry's password that is missing", yaml: onePolicy + "registries: [{name: a, url: \"https://a\", credentials: {username: u, password_file: p}}]\n",
			want: ":5: registries[0].credentials.password_file: password file DIR/p: no such file or directory",
		},
		{
			name: "a certificate that is missing", yaml: onePolicy + "listen: {tls: {certificate: c, key: k}}\n",
			want: ":5: listen.tls: certificate DIR/c: no such file or directory",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			file := newStorage(t, c.yaml)
			if c.spoil != nil {
				if err := c.spoil(filepath.Dir(file)); err != nil {
					t.Fatal(err)
				}
			}
			getenv := c.getenv
			if getenv == nil {
				getenv = noEnvironment
			}
			_, err := buildFile(file, getenv)
			want := strings.ReplaceAll(c.want, "DIR", filepath.Dir(file))
			if err == nil || !strings.Contains(err.Error(), want) || codeOf(err) != exitUsage {
				t.Errorf("got\n%v\nwant it to contain\n%s", err, want)
			}
			if err != nil && strings.Contains(err.Error(), testPassword) {
				t.Error("the error repeats the password")
			}
		})
	}
}

func TestThreat139_AConfigurationThatWouldAllowAllDoesNotLoad(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, yaml, want string }{
		{"an empty list of policies", "policies: []\n", "policies: is missing, so everything would be denied"},
		{"an empty policy", "policies: [{}]\n", ":1: policies[0].name: a policy needs a name"},
		{"a policy without anything", "policies:\n  - {name: a, repositories: [\"**\"]}\n", ":2: policies[0]: has neither pull nor push"},
		{"a pull that demands nothing", "policies:\n  - {name: a, repositories: [\"**\"], pull: {}}\n", ":2: policies[0].pull: demands no signature"},
		{"a requirement that names nobody", "policies:\n  - {name: a, repositories: [\"**\"], pull: {signed_by: {any: []}}}\n", ":2: policies[0].pull.signed_by.any: names nobody"},
		{"an unknown authority", "policies:\n  - name: a\n    repositories: [\"**\"]\n    pull:\n      signed_by:\n        any:\n          - gateway\n          - ci\n", ":8: policies[0].pull.signed_by.any[1]: unknown authority \"ci\"; authorities has gateway"},
		{"an unknown signer", "policies:\n  - {name: a, repositories: [\"**\"], push: {seal: {signer: x}}}\n", ":2: policies[0].push.seal.signer: unknown signer \"x\""},
		{"a mode that is neither", "policies:\n  - {name: a, mode: permissive, repositories: [\"**\"], pull: {admit_unverified: true}}\n", ":2: policies[0].mode: mode \"permissive\""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := buildFile(newStorage(t, c.yaml), noEnvironment)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got\n%v\nwant it to contain\n%s", err, c.want)
			}
		})
	}
}

func TestKeysAndPoliciesAreReportedTogether(t *testing.T) {
	t.Parallel()
	_, err := buildFile(newStorage(t, strings.Replace(onePolicy, "[gateway]", "[gateway, ci]", 1)+"signers: [{name: gateway, key: {file: absent.key}}]\n"), noEnvironment)
	problems, _ := errors.AsType[Problems](err)
	if len(problems) != 2 || problems[0].Line != 4 || problems[1].Line != 5 {
		t.Errorf("got\n%v\nwant the policy's problem in line 4 and the key's in line 5", err)
	}
}

func TestTheGatewaysKeyIsGeneratedOnce(t *testing.T) {
	t.Parallel()
	directory := filepath.Join(t.TempDir(), "a", "b")
	loaded, err := load("", Overrides{Storage: directory}, nil)
	if err != nil {
		t.Fatal(err)
	}
	c := &loaded.Config
	for _, want := range []bool{true, false} {
		if generated, err := c.generateKey(c.Signers[0], noEnvironment); generated != want || err != nil {
			t.Fatalf("got %v, %v, want %v", generated, err, want)
		}
	}
	for _, name := range []string{defaultKeyFile, defaultPasswordFile} {
		stat, err := os.Stat(filepath.Join(directory, name))
		if err != nil {
			t.Fatal(err)
		}
		if stat.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", name, stat.Mode())
		}
	}
	entries, err := os.ReadDir(directory)
	if err != nil || len(entries) != 2 {
		t.Errorf("left over: %v, %v", entries, err)
	}
	made, err := (&builder{getenv: noEnvironment, openKey: openTestKey, dry: true}).build(loaded)
	if err != nil || made.Authorities["gateway"] == "" {
		t.Errorf("got %+v, %v", made, err)
	}
}

func TestAPasswordFromTheEnvironmentIsNotWritten(t *testing.T) {
	t.Parallel()
	loaded, err := load("", Overrides{Storage: t.TempDir()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	c := &loaded.Config
	if _, err := c.generateKey(c.Signers[0], func(string) string { return testPassword }); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(c.passwordPath()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("gateway.password: %v", err)
	}
}

func TestAnyOtherKeyIsNeverGenerated(t *testing.T) {
	t.Parallel()
	file := newStorage(t, onePolicy+"signers: [{name: gateway, key: {file: data/other.key}}]\n")
	loaded, err := load(file, Overrides{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if generated, err := loaded.Config.generateKey(loaded.Config.Signers[0], noEnvironment); generated || err != nil {
		t.Errorf("got %v, %v", generated, err)
	}
}

func TestRegistriesThatDidNotChangeStayTheSame(t *testing.T) {
	t.Parallel()
	file := newStorage(t, onePolicy+"registries:\n  - {name: local, embedded: true}\n  - {name: a, prefix: a/, url: \"https://a.acme.dev\"}\n")
	b := &builder{getenv: noEnvironment, openKey: openTestKey}
	build := func() *built {
		t.Helper()
		loaded, err := load(file, Overrides{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		made, err := b.build(loaded)
		if err != nil {
			t.Fatal(err)
		}
		return made
	}
	first := build()
	if err := b.keep(first); err != nil {
		t.Fatal(err)
	}
	defer b.close()

	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, file, strings.Replace(string(raw), "a.acme.dev", "b.acme.dev", 1))
	second := build()
	if first.Regime.Registries.ByName("local") != second.Regime.Registries.ByName("local") {
		t.Error("the embedded registry was opened twice")
	}
	if first.Regime.Registries.ByName("a") == second.Regime.Registries.ByName("a") {
		t.Error("a registry at another URL is the same registry")
	}
	b.drop(second)

	writeFile(t, file, strings.Replace(string(raw), "name: local", "name: other", 1))
	loaded, err := load(file, Overrides{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.build(loaded); err == nil || !strings.Contains(err.Error(), "change by a restart only") {
		t.Errorf("a second embedded registry in one directory: %v", err)
	}
}

func TestThreat044_AMirrorTakesSignaturesOnlyUnderTheNameThatItIsRemapped(t *testing.T) {
	t.Parallel()
	compiled, err := policy.Compile([]policy.Document{{
		Name: "mirror", Repositories: []string{"mirror/**"},
		Pull: &policy.PullDocument{SignedBy: &policy.SignedBy{Any: []string{"ci"}}, Remap: []policy.Remap{
			{From: "ghcr.io/acme/", To: "mirror/acme/"}, {From: "docker.io/library/nginx", To: "mirror/nginx"},
		}},
	}}, policy.Known{Authorities: map[string]string{"ci": "1"}})
	if err != nil {
		t.Fatal(err)
	}
	registries, err := upstream.NewRegistries()
	if err != nil {
		t.Fatal(err)
	}
	same := sameRepository(registries, compiled)
	for _, c := range []struct {
		repo, reference string
		want            bool
	}{
		{"mirror/acme/app", "registry.example/mirror/acme/app", true}, // as ever
		{"mirror/acme/app", "ghcr.io/acme/app", true},
		{"mirror/acme/app", "ghcr.io/acme/app:v1", true},
		{"mirror/acme/app", "GHCR.io/acme/app", true},
		{"mirror/nginx", "nginx", true},
		{"mirror/nginx", "registry-1.docker.io/library/nginx", true},
		{"mirror/acme/app", "ghcr.io/acme/other", false},
		{"mirror/acme/app", "evil.example/acme/app", false},
		{"mirror/acme/app", "ghcr.io.evil.example/acme/app", false},
		{"mirror/nginx", "nginx/nginx", false},
		{"other/acme/app", "ghcr.io/acme/app", false},
	} {
		if got := same(c.repo, c.reference); got != c.want {
			t.Errorf("%s under %s: got %v", c.reference, c.repo, got)
		}
	}
}
