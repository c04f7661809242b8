package e2e

import (
	"os"
	"path/filepath"
	"testing"
)

// keyRing holds the keys of people, made by cosign: release, whom policies trust, and stranger, whom none does.
type keyRing struct{ dir string }

const keyPassword = "COSIGN_PASSWORD=correct horse"

func newKeyRing() (*keyRing, error) {
	ring := &keyRing{filepath.Join(suite.dir, "keys")}
	err := makeFiles(ring.dir, map[string]string{
		// An empty trust root: cosign 2 wants one, and asks a server far away when it is not given.
		"trusted_root.json": `{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}`,
		"predicate.json":    `{"reviewed":"yes"}`,
	})
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"release", "stranger", "interim"} {
		r, err := execute(ring.dir, []string{keyPassword}, suite.tools["cosign2"], "generate-key-pair", "--output-key-prefix", name)
		if err != nil || r.code != 0 {
			return nil, orExit(err, r)
		}
	}
	return ring, nil
}

func (ring *keyRing) private(name string) string { return filepath.Join(ring.dir, name+".key") }
func (ring *keyRing) public(name string) string  { return filepath.Join(ring.dir, name+".pub") }
func (ring *keyRing) root() string               { return filepath.Join(ring.dir, "trusted_root.json") }
func (ring *keyRing) predicate() string          { return filepath.Join(ring.dir, "predicate.json") }

// install copies a public key to where a configuration names it.
func (ring *keyRing) install(t *testing.T, name, to string) {
	t.Helper()
	pem, err := os.ReadFile(ring.public(name))
	if err != nil {
		t.Fatal(err)
	}
	next := to + ".next"
	writeFile(t, next, pem, 0o644)
	if err := os.Rename(next, to); err != nil {
		t.Fatal(err)
	}
}

// cosign is one generation of cosign with its flags for work without a transparency log.
type cosign struct {
	name string
	sign []string // also of attest
	env  []string
}

var (
	// cosign2 writes .sig and .att tags.
	cosign2 = cosign{name: "cosign2", sign: []string{"--tlog-upload=false"}}
	// cosign3 writes bundles, as referrers.
	cosign3 = cosign{name: "cosign3", sign: []string{"--tlog-upload=false", "--use-signing-config=false"}}
)

func (c cosign) run(t *testing.T, args ...string) result {
	t.Helper()
	return command(t, append([]string{keyPassword}, c.env...), suite.tools[c.name], args...)
}

// as is a cosign that is logged in.
func (c cosign) as(t *testing.T, who string, gw *gateway) cosign {
	t.Helper()
	config := tempDir(t)
	command(t, []string{"DOCKER_CONFIG=" + config}, suite.tools["crane"], "auth", "login", gw.address, "-u", who, "-p", passwordOf(who)).ok(t)
	c.env = []string{"DOCKER_CONFIG=" + config}
	return c
}

// signs signs name@digest with one of the ring's keys.
func (c cosign) signs(t *testing.T, key, ref string) result {
	t.Helper()
	ring := need(t, suite.keys)
	return c.run(t, append(append([]string{"sign", "--yes", "--key", ring.private(key)}, c.sign...), ref)...)
}

// attests attaches an attestation to name@digest.
func (c cosign) attests(t *testing.T, key, ref string) result {
	t.Helper()
	ring := need(t, suite.keys)
	return c.run(t, append(append([]string{"attest", "--yes", "--key", ring.private(key), "--type", "custom",
		"--predicate", ring.predicate()}, c.sign...), ref)...)
}

// verifies checks name@digest with a public key. More flags choose what to look for.
func (c cosign) verifies(t *testing.T, publicKey, ref string, flags ...string) result {
	t.Helper()
	return c.run(t, append(append([]string{"verify", "--key", publicKey, "--insecure-ignore-tlog"}, flags...), ref)...)
}
