package e2e

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// namespace is a network of its own, from which no packet comes back: everything but loopback goes to an interface behind
// which there is nothing, and that counts.
type namespace struct {
	name   string
	client *http.Client // dials inside
}

const (
	exit    = "nowhere"
	outside = "198.51.100.1" // the namespace's own address at the exit, for what differs from loopback
)

func newNamespace(t *testing.T) *namespace {
	t.Helper()
	n := &namespace{name: filepath.Base(tempDir(t))}
	ip := func(args ...string) { command(t, nil, "/usr/sbin/ip", args...).ok(t) }
	ip("netns", "add", n.name)
	t.Cleanup(func() { command(t, nil, "/usr/sbin/ip", "netns", "delete", n.name) })
	n.run(t, "/usr/sbin/sysctl", "-q", "-w", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1").ok(t) // which chatters by itself
	ip("-n", n.name, "link", "set", "lo", "up")
	ip("-n", n.name, "link", "add", exit, "type", "veth", "peer", "name", "sink")
	ip("-n", n.name, "address", "add", outside+"/24", "dev", exit)
	ip("-n", n.name, "link", "set", exit, "up")
	ip("-n", n.name, "link", "set", "sink", "up")
	ip("-n", n.name, "neighbour", "add", "198.51.100.2", "lladdr", "02:00:00:00:00:02", "dev", exit, "nud", "permanent")
	ip("-n", n.name, "route", "add", "default", "via", "198.51.100.2")
	n.client = &http.Client{Transport: &http.Transport{
		DialContext: func(_ context.Context, network, address string) (conn net.Conn, err error) {
			n.within(t, func() { conn, err = net.Dial(network, address) })
			return conn, err
		},
	}}
	t.Cleanup(n.client.CloseIdleConnections)
	return n
}

// run runs a command inside.
func (n *namespace) run(t *testing.T, name string, args ...string) result {
	t.Helper()
	return command(t, []string{"HTTPS_PROXY="}, "/usr/sbin/ip", append([]string{"netns", "exec", n.name, name}, args...)...)
}

// within calls f on a thread that is inside. Sockets stay where they were made; the thread ends with the call.
func (n *namespace) within(t *testing.T, f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked
		inside, err := os.Open("/var/run/netns/" + n.name)
		if err != nil {
			t.Error(err)
			return
		}
		defer inside.Close()
		if err := unix.Setns(int(inside.Fd()), unix.CLONE_NEWNET); err != nil {
			t.Error(err)
			return
		}
		f()
	}()
	<-done
}

// listen listens on loopback inside.
func (n *namespace) listen(t *testing.T) (l net.Listener) {
	t.Helper()
	var err error
	n.within(t, func() { l, err = net.Listen("tcp", "127.0.0.1:0") })
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// left counts the packets that left.
func (n *namespace) left(t *testing.T) int {
	t.Helper()
	for line := range strings.Lines(n.run(t, "/usr/bin/cat", "/proc/net/dev").ok(t).stdout) {
		name, counts, _ := strings.Cut(strings.TrimSpace(line), ":")
		if fields := strings.Fields(counts); name == exit && len(fields) == 16 {
			packets, err := strconv.Atoi(fields[9]) // of what is transmitted
			if err != nil {
				t.Fatal(err)
			}
			return packets
		}
	}
	t.Fatalf("no interface %s", exit)
	return 0
}

// TestThreat134_WithoutANetworkWhatWasProvenIsPulled runs a gateway where nothing is reachable but the registry's images: not
// what is attached to them, nor Rekor, Fulcio or the mirror of the trust root. What it proved before goes on being pulled,
// over a restart too, and no packet leaves.
func TestThreat134_WithoutANetworkWhatWasProvenIsPulled(t *testing.T) {
	up, kit, offline := startRegistry(t), need(t, suite.images), newNamespace(t)
	faulty := newFaultyRegistry(t, up)
	faulty.server.Listener.Close()
	faulty.server.Listener = offline.listen(t)
	faulty.server.Start()
	for _, signed := range []string{"known", "unknown"} {
		digest := put(t, up.ref(signed+":v1"), kit.image(t, nonroot, signed))
		cosign3.signs(t, "release", up.ref(signed)+"@"+digest).ok(t)
	}
	gw := &gateway{address: freeAddress(t), admin: freeAddress(t), dir: tempDir(t), inside: offline}
	need(t, suite.keys).install(t, "release", gw.path("release.pub"))
	gw.configure(t, fmt.Sprintf(`
registries:
  - {name: up, url: %q, prefix: up/}
authorities:
  - {name: release, key: {file: release.pub}}
  - name: ci
    keyless: {issuer: "https://token.actions.githubusercontent.com", subject: "https://github.com/acme/app/.github/workflows/release.yml@refs/heads/main"}
policies:
  - name: released
    repositories: ["up/**"]
    pull: {signed_by: {any: [release, ci]}}
`, faulty.server.URL))
	gw.start(t)
	pull := func(image string) result {
		t.Helper()
		return offline.run(t, suite.tools["crane"], "pull", "--format=oci", gw.ref(image), filepath.Join(tempDir(t), "image"))
	}
	pull("up/known:v1").ok(t)

	faulty.hidesSignatures.Store(true)
	if code := gw.process.stop(); code != 0 {
		t.Errorf("the gateway ended with exit code %d", code)
	}
	gw.start(t)
	pull("up/known:v1").ok(t)
	decisions := gw.decisions(t, "up/known")
	if last := decisions[len(decisions)-1]; last.Remembered.IsZero() || last.Outcome != "admit" {
		t.Errorf("the last decision does not say that it rests on memory: %+v", last)
	}
	if resp := gw.ask(t, http.MethodGet, "up/known/manifests/v1"); !strings.Contains(resp.Header.Get("Warning"), "judged by what was attached at") {
		t.Errorf("the answer's warning is %q", resp.Header.Get("Warning"))
	}
	pull("up/unknown:v1").fails(t)
	if status := gw.status(t, http.MethodGet, "up/unknown", "v1"); status != http.StatusServiceUnavailable {
		t.Errorf("what was never proven answers %d, want 503", status)
	}
	gw.process.kill()
	gw.start(t)
	pull("up/known:v1").ok(t)

	if n := offline.left(t); n != 0 {
		t.Errorf("%d packets left", n)
	}
	offline.within(t, func() { // the counter counts
		if conn, err := net.Dial("udp", "192.0.2.1:9"); err == nil {
			_, _ = conn.Write([]byte("x"))
			conn.Close()
		}
	})
	if n := offline.left(t); n != 1 {
		t.Errorf("of one packet %d were counted", n)
	}

	faulty.hidesSignatures.Store(false)
	pull("up/unknown:v1").ok(t)
}
