package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// rotationConfig is completed as docs/operations.md has it: by what sealgate keys rotate prints, and in the policy.
const rotationConfig = `
registries: [{name: up, url: %q, prefix: ""}]
%s
policies:
  - name: all
    repositories: ["**"]
    pull: {signed_by: {any: [%s]}}
    push: {seal: {signers: [%s]}}
`

const oldKey = `
signers: [{name: gateway, key: {file: old.key, password_file: old.key.password}}]
authorities: [{name: gateway, signer: gateway}]
`

// TestThreat158_AKeyIsReplacedOnTwoGateways has two gateways in front of one registry, and goes through the steps of
// docs/operations.md on one after the other. Somebody pulls at both all the while.
func TestThreat158_AKeyIsReplacedOnTwoGateways(t *testing.T) {
	up, kit := startRegistry(t), need(t, suite.images)
	before := fmt.Sprintf(rotationConfig, up.url(), oldKey, "gateway", "gateway")
	a, b := newGateway(t, before), newGateway(t, before)
	both := []*gateway{a, b}
	for _, gw := range both { // clients know them by one name
		gw.tls = ", external_url: \"https://registry.acme.example\""
		gw.configure(t, before)
	}
	everywhere := func(name string, content []byte, mode os.FileMode) {
		for _, gw := range both {
			writeFile(t, gw.path(name), content, mode)
		}
	}
	command(t, nil, a.program(), "keys", "generate", "--output", a.path("old.key")).ok(t)
	for _, name := range []string{"old.key", "old.key.password"} {
		everywhere(name, readFile(t, a.path(name)), 0o600)
	}
	for _, gw := range both {
		gw.start(t)
	}
	push := func(gw *gateway, name string) {
		t.Helper()
		cranePush(t, kit.source(t, nonroot, name), gw.ref(name+":v1")).ok(t)
	}
	pulls := func(names ...string) {
		t.Helper()
		for _, gw := range both {
			for _, name := range names {
				cranePull(t, gw.ref(name+":v1")).ok(t)
			}
		}
	}
	push(a, "before")
	pulls("before")

	stop, all := make(chan struct{}), sync.WaitGroup{}
	for _, gw := range both {
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				resp, err := http.Get("http://" + gw.address + "/v2/before/manifests/v1")
				if err != nil {
					t.Errorf("while the key was replaced: %v", err)
					return
				}
				_ = resp.Body.Close()
				if resp.StatusCode != http.StatusOK {
					t.Errorf("while the key was replaced, a pull answered %d", resp.StatusCode)
				}
			}
		})
	}
	halt := sync.OnceFunc(func() { close(stop); all.Wait() })
	defer halt()

	// Step 1.
	var next struct {
		New, Old               struct{ File string }
		Signer, Overlap, After string
	}
	made := a.run(t, "keys", "rotate", "--signer", "gateway", "--output", a.path("next.key"), "-o", "json").ok(t)
	if err := json.Unmarshal([]byte(made.stdout), &next); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"next.key", "next.key.password", "next-before.pub"} {
		everywhere(name, readFile(t, a.path(name)), 0o600)
	}
	reconfigure := func(gw *gateway, sections, policy, seal string) {
		t.Helper()
		was := gw.policyVersion(t)
		gw.configure(t, fmt.Sprintf(rotationConfig, up.url(), strings.ReplaceAll(sections, a.path(""), gw.path("")), policy, seal))
		gw.reload(t)
		eventually(t, "the configuration is in force", func() (bool, string) {
			now := gw.policyVersion(t)
			return now != was, "policy version " + now
		})
	}

	// Step 2, on one gateway. What it seals, the other admits, and the other way around.
	overlap := joinSections(oldKey, next.Overlap)
	reconfigure(a, overlap, "gateway, "+next.Signer, "gateway, "+next.Signer)
	push(a, "by-the-new")
	push(b, "by-the-old")
	pulls("before", "by-the-new", "by-the-old")

	// Step 2, on the other.
	reconfigure(b, overlap, "gateway, "+next.Signer, "gateway, "+next.Signer)
	push(b, "by-both")
	pulls("before", "by-the-new", "by-the-old", "by-both")

	// Step 3, for one of them, and nothing changes at the second time.
	b.run(t, "seal", "before:v1").ok(t)
	sealed := a.contents(t, "before")
	push(a, "before")
	a.run(t, "seal", "before:v1").ok(t)
	if again := a.contents(t, "before"); fmt.Sprint(sealed) != fmt.Sprint(again) {
		t.Errorf("sealing again changed\n%s\nto\n%s", strings.Join(sealed, "\n"), strings.Join(again, "\n"))
	}

	// Step 4.
	for _, gw := range both {
		reconfigure(gw, next.After, "gateway, "+next.Signer, next.Signer)
	}
	pulls("before", "by-the-new", "by-both")
	halt()
	for _, gw := range both {
		cranePull(t, gw.ref("by-the-old:v1")).fails(t).has(t, "a key that is revoked").has(t, "sealgate seal by-the-old@sha256:")
	}
	b.run(t, "seal", "by-the-old:v1").ok(t)
	soon := func(name string) {
		t.Helper()
		for _, gw := range both { // which may remember for seconds that nothing counted
			eventually(t, "it is admitted", func() (bool, string) {
				status := gw.status(t, http.MethodGet, name, "v1")
				return status == http.StatusOK, fmt.Sprintf("GET answers %d", status)
			})
		}
		pulls(name)
	}
	soon("by-the-old")

	// A date in place of the revocation ends it as well, and a push completes what is missing.
	for _, gw := range both {
		reconfigure(gw, overlap, "gateway, "+next.Signer, "gateway")
	}
	push(a, "late")
	for _, gw := range both {
		reconfigure(gw, strings.Replace(next.After, "revoked: true", "valid_until: 2026-01-01", 1), "gateway, "+next.Signer, next.Signer)
		cranePull(t, gw.ref("late:v1")).fails(t).has(t, "sealgate seal late@sha256:")
	}
	push(b, "late")
	soon("late")
	pulls("before")
}

// joinSections adds the entries of the second to the lists of the first, of signers and of authorities.
func joinSections(first, second string) string {
	for _, list := range []string{"signers", "authorities"} {
		_, rest, _ := strings.Cut(second, list+":\n")
		entry, _, _ := strings.Cut(rest, "\n")
		entry = strings.TrimPrefix(strings.TrimSpace(entry), "- ")
		before, after, _ := strings.Cut(first, list+": [")
		first = before + list + ": [" + entry + ", " + after
	}
	return first
}

// policyVersion is that of the regime in force, as the newest line of the log about it says.
func (g *gateway) policyVersion(t *testing.T) (version string) {
	t.Helper()
	for line := range strings.SplitSeq(string(readFile(t, filepath.Join(g.dir, "log"))), "\n") {
		var entry struct {
			Version string `json:"policy_version"`
		}
		if json.Unmarshal([]byte(line), &entry) == nil && entry.Version != "" {
			version = entry.Version
		}
	}
	return version
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
