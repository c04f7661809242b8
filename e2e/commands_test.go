package e2e

import (
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
)

func TestSIGTERMEndsServeCleanly(t *testing.T) {
	gw := startGateway(t, `
policies:
  - {name: all, repositories: ["**"], pull: {admit_unverified: true}}
`)
	if code := gw.process.stop(); code != 0 {
		t.Errorf("serve ended with exit code %d, want 0; its log ends with:\n%s", code, gw.process.tail())
	}
	if conn, err := net.Dial("tcp", gw.address); err == nil {
		conn.Close()
		t.Errorf("something still listens on %s", gw.address)
	}
}

func TestServeWithoutAFileSealsAndVerifies(t *testing.T) {
	kit := need(t, suite.images)
	gw := &gateway{address: freeAddress(t), admin: freeAddress(t), dir: tempDir(t)}
	gw.serveWithoutFile(t)

	put(t, gw.ref("app:v1"), kit.image(t, nonroot, "no file"))
	cranePull(t, gw.ref("app:v1")).ok(t)
	cranePush(t, kit.source(t, asRoot, "no file"), gw.ref("app:v2")).fails(t).has(t, "it runs as root")

	// The generated key is there again after a restart.
	if code := gw.process.stop(); code != 0 {
		t.Errorf("serve ended with exit code %d, want 0", code)
	}
	gw.serveWithoutFile(t)
	cranePull(t, gw.ref("app:v1")).ok(t)
}

func (g *gateway) serveWithoutFile(t *testing.T) {
	t.Helper()
	p, err := startProcess(filepath.Join(g.dir, "log"), []string{
		"SEALGATE_LISTEN_ADDRESS=" + g.address, "SEALGATE_ADMIN_ADDRESS=" + g.admin, "SEALGATE_STORAGE_DIRECTORY=" + g.storage(""),
	}, suite.sealgate, "serve")
	if err != nil {
		t.Fatal(err)
	}
	g.process = p
	t.Cleanup(p.kill)
	if err := p.ready(func() bool { return answers("http://" + g.admin + "/readyz") }); err != nil {
		t.Fatal(err)
	}
}

// TestVerifySaysWhatServeWouldSay uses the exit codes that scripts rely on.
func TestVerifySaysWhatServeWouldSay(t *testing.T) {
	up, kit := startRegistry(t), need(t, suite.images)
	gw := startGateway(t, fmt.Sprintf(pullConfig, up.url()))
	digest := put(t, up.ref("signed:v1"), kit.image(t, nonroot, "verify"))
	cosign2.signs(t, "release", up.ref("signed")+"@"+digest).ok(t)
	put(t, up.ref("unsigned:v1"), kit.image(t, nonroot, "verify not"))

	for _, c := range []struct {
		name, ref string
		code      int
		text      string
	}{
		{"admitted", "up/signed:v1", 0, "release"},
		{"denied", "up/unsigned:v1", 3, "no signature by release"},
		{"not found", "up/nothing:v1", 4, "up/nothing:v1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if r := gw.run(t, "verify", c.ref).has(t, c.text); r.code != c.code {
				t.Errorf("%s\nexit code %d, want %d:\n%s", r.command, r.code, c.code, r.output)
			}
		})
	}

	t.Run("upstream down", func(t *testing.T) {
		up.process.kill()
		if r := gw.run(t, "verify", "up/signed:v1"); r.code != 5 {
			t.Errorf("%s\nexit code %d, want 5:\n%s", r.command, r.code, r.output)
		}
	})
}

// TestDemoTellsTheStory runs what the README tells a stranger to run first.
func TestDemoTellsTheStory(t *testing.T) {
	r := commandIn(t, tempDir(t), nil, suite.sealgate, "demo", "--once").ok(t)
	r.has(t, "is refused by policy", "it runs as root", "no signature by gateway")
	if strings.Contains(r.output, "\x1b[") {
		t.Errorf("the demo writes colours where nobody sees them:\n%q", r.output)
	}
}
