package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/sealgate/sealgate/gateway/ledger"
)

// gateway is `sealgate serve` with a configuration file, as an administrator runs it.
type gateway struct {
	address string
	admin   string
	dir     string
	tls     string // the section of that name, empty for plain HTTP
	process *process
	binary  string     // empty: the one under test
	env     []string   // beside what every child sees
	inside  *namespace // nil: the machine's own network
}

// startGateway serves under a configuration. The listeners and the storage are the harness's; the rest is as written. The
// public keys that it names lie beside the file: release.pub always, others by name.
func startGateway(t *testing.T, sections string, publicKeys ...string) *gateway {
	t.Helper()
	return startGatewayAt(t, &gateway{address: freeAddress(t)}, sections, publicKeys...)
}

// startGatewayAt serves at an address, with what is beside it.
func startGatewayAt(t *testing.T, g *gateway, sections string, publicKeys ...string) *gateway {
	t.Helper()
	g.prepare(t, sections, publicKeys...)
	g.start(t)
	return g
}

// newGateway is startGateway without the start.
func newGateway(t *testing.T, sections string, publicKeys ...string) *gateway {
	t.Helper()
	g := &gateway{address: freeAddress(t)}
	g.prepare(t, sections, publicKeys...)
	return g
}

// prepare writes what a gateway reads when it starts.
func (g *gateway) prepare(t *testing.T, sections string, publicKeys ...string) {
	t.Helper()
	g.admin = freeAddress(t)
	if g.dir == "" {
		g.dir = tempDir(t)
	}
	for _, name := range append(publicKeys, "release") {
		need(t, suite.keys).install(t, name, g.path(name+".pub"))
	}
	g.configure(t, sections)
}

// path is a file beside the configuration file.
func (g *gateway) path(name string) string { return filepath.Join(g.dir, "etc", name) }

func (g *gateway) storage(name string) string { return filepath.Join(g.dir, "data", name) }

// configure writes the configuration file, as a whole or not at all.
func (g *gateway) configure(t *testing.T, sections string) {
	t.Helper()
	next := g.path(".next")
	writeFile(t, next, fmt.Appendf(nil, "listen: {address: %q%s}\nadmin: {address: %q}\nstorage: {directory: %q}\n%s",
		g.address, g.tls, g.admin, g.storage(""), sections), 0o644)
	if err := os.Rename(next, g.path("sealgate.yaml")); err != nil {
		t.Fatal(err)
	}
}

// start serves until stop or the test's end.
func (g *gateway) start(t *testing.T) {
	t.Helper()
	name, args, env := g.program(), []string{"serve", "--config", g.path("sealgate.yaml")}, g.env
	if g.inside != nil {
		name, args, env = "/usr/sbin/ip", append([]string{"netns", "exec", g.inside.name, g.program()}, args...), append(slices.Clone(env), "HTTPS_PROXY=")
	}
	p, err := startProcess(filepath.Join(g.dir, "log"), env, name, args...)
	if err != nil {
		t.Fatal(err)
	}
	g.process = p
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("the gateway complained:\n%s\nits log ends with:\n%s", p.complaints(), p.tail())
		}
	})
	if err := p.ready(func() bool { return answersTo(g.http(), "http://"+g.admin+"/readyz") }); err != nil {
		t.Fatal(err)
	}
}

func (g *gateway) program() string {
	if g.binary != "" {
		return g.binary
	}
	return suite.sealgate
}

// reload makes the gateway read its files again.
func (g *gateway) reload(t *testing.T) {
	t.Helper()
	if err := g.process.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
}

// ref is an image behind the gateway.
func (g *gateway) ref(image string) string { return g.address + "/" + image }

// run runs another command of the binary under the same configuration.
func (g *gateway) run(t *testing.T, args ...string) result {
	t.Helper()
	return command(t, g.env, g.program(), append(args, "--config", g.path("sealgate.yaml"))...)
}

// publicKey is the file with the public half of the gateway's own key.
func (g *gateway) publicKey(t *testing.T) string {
	t.Helper()
	path := filepath.Join(g.dir, "gateway.pub")
	writeFile(t, path, []byte(g.run(t, "keys", "public").ok(t).stdout), 0o644)
	return path
}

// decisions are what the ledger holds about a repository.
func (g *gateway) decisions(t *testing.T, repo string) []ledger.Decision {
	t.Helper()
	content, err := os.ReadFile(g.storage(filepath.Join("ledger", "decisions.jsonl")))
	if err != nil {
		t.Fatal(err)
	}
	var list []ledger.Decision
	for lines := bufio.NewScanner(bytes.NewReader(content)); lines.Scan(); {
		var d ledger.Decision
		if err := json.Unmarshal(lines.Bytes(), &d); err != nil {
			t.Fatalf("the ledger holds a line that is no decision: %v\n%s", err, lines.Text())
		}
		if d.Repo == repo {
			list = append(list, d)
		}
	}
	return list
}

// accept lists the media types of manifests, as pulling clients do.
var accept = strings.Join([]string{
	"application/vnd.oci.image.index.v1+json", "application/vnd.oci.image.manifest.v1+json",
	"application/vnd.docker.distribution.manifest.list.v2+json", "application/vnd.docker.distribution.manifest.v2+json",
}, ", ")

// ask sends one plain request for a manifest or blob: "GET", "up/app/manifests/v1".
func (g *gateway) ask(t *testing.T, method, path string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://"+g.address+"/v2/"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", accept)
	resp, err := g.http().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}

// http is a client that reaches the gateway.
func (g *gateway) http() *http.Client {
	if g.inside != nil {
		return g.inside.client
	}
	return http.DefaultClient
}

// digest is what a tag names at the gateway, empty when nobody may pull it.
func (g *gateway) digest(t *testing.T, repo, tag string) string {
	t.Helper()
	resp := g.ask(t, http.MethodGet, repo+"/manifests/"+tag)
	if resp.StatusCode != http.StatusOK {
		return ""
	}
	return resp.Header.Get("Docker-Content-Digest")
}

// status is the answer to a request for a manifest.
func (g *gateway) status(t *testing.T, method, repo, reference string) int {
	t.Helper()
	return g.ask(t, method, repo+"/manifests/"+reference).StatusCode
}
