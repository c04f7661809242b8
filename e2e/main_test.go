// Package e2e tries the built binary with the clients, registries and signers that people have: docker, containerd 1.6 and
// 2.4, podman, skopeo, buildah, crane, oras, cosign 2 and 3.
//
// [TestMain] builds the binary and finds the tools; a tool that is missing is a failure, never a skipped test. Daemons start
// with the first test that needs them and serve all tests of the run: what a test asks a client is in client_test.go, how
// each client does it in docker_test.go, containerd_test.go, podman_test.go and crane_test.go. So does a whole Sigstore
// (sigstore_test.go), against which cosign signs as an identity (matrix_test.go). Gateways and registries are a test's own
// (gateway_test.go, registry_test.go). Everything listens on loopback and lives in one folder that goes with the run.
//
// What a client prints when it is refused is kept in testdata/golden; `go test ./e2e -update` writes it anew.
package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden files anew")

// suite is what the tests of one run share. TestMain fills it before the first test; daemons start when first asked for.
var suite struct {
	dir      string            // everything that the run writes is below it; short, because sockets are
	sealgate string            // the binary under test
	tools    map[string]string // paths of what ./tools/install built, by name

	docker        func() (*docker, error)
	containerd1   func() (*containerd, error) // Debian's, 1.6
	containerd2   func() (*containerd, error)
	images        func() (*imageKit, error)
	keys          func() (*keyRing, error)
	sigstore      func() (*sigstore, error)
	grypeDatabase func() (string, error) // a directory
	trivyDatabase func() (string, error) // a directory
}

// debian lists what Debian packages bring. Absolute: another docker may be first on the PATH.
var debian = []string{
	"/usr/bin/docker", "/usr/sbin/dockerd", "/usr/bin/containerd", "/usr/bin/ctr", "/usr/sbin/runc",
	"/usr/bin/podman", "/usr/bin/skopeo", "/usr/bin/buildah",
}

// built lists the tools of ./tools/versions that the tests run.
var built = []string{
	"crane", "oras", "registry", "cosign2", "cosign3", "crictl", "containerd", "conformance", "fulcio", "timestamp", "rekor", "pebble",
	"grype", "trivy", "trivydb", "govulncheck", "vulndb",
}

func TestMain(m *testing.M) {
	flag.Parse()
	// Clients wait for timers and disks more than for a CPU: more of them at once than there are CPUs.
	if parallel := flag.Lookup("test.parallel"); parallel.Value.String() == parallel.DefValue {
		_ = parallel.Value.Set("8")
	}
	code, err := runAll(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = 1
	}
	os.Exit(code)
}

func runAll(m *testing.M) (code int, err error) {
	sweep()
	suite.dir, err = os.MkdirTemp("", fmt.Sprintf("%s%d-", dirPrefix, os.Getpid()))
	if err != nil {
		return 1, err
	}
	defer func() {
		stopProcesses()
		removeAll(suite.dir)
	}()
	for _, dir := range []string{"home", "tmp"} {
		if err := os.Mkdir(filepath.Join(suite.dir, dir), 0o755); err != nil {
			return 1, err
		}
	}
	if err := errors.Join(findTools(), buildSealgate()); err != nil {
		return 1, err
	}
	suite.docker = sync.OnceValues(startDocker)
	suite.containerd1 = sync.OnceValues(startContainerd1)
	suite.containerd2 = sync.OnceValues(startContainerd2)
	suite.images = sync.OnceValues(newImageKit)
	suite.keys = sync.OnceValues(newKeyRing)
	suite.grypeDatabase = sync.OnceValues(func() (string, error) { return makeGrypeDatabase("grype", vulnerabilities) })
	suite.trivyDatabase = sync.OnceValues(func() (string, error) { return makeTrivyDatabase("trivy", vulnerabilitiesOfTrivy) })
	suite.sigstore = sync.OnceValues(startSigstore)
	return m.Run(), nil
}

func findTools() error {
	var missing []string
	for _, path := range debian {
		if _, err := os.Stat(path); err != nil {
			missing = append(missing, path)
		}
	}
	suite.tools = map[string]string{}
	for _, name := range built {
		out, err := exec.Command("./tools/install", "path", name).Output()
		if err != nil {
			return fmt.Errorf("ask tools/install for %s: %w", name, err)
		}
		path := strings.TrimSpace(string(out))
		if _, err := os.Stat(path); err != nil {
			missing = append(missing, path)
		}
		suite.tools[name] = path
	}
	if len(missing) > 0 {
		return fmt.Errorf("these tools are missing, run make test, which installs them: %s", strings.Join(missing, ", "))
	}
	return nil
}

func buildSealgate() error {
	suite.sealgate = filepath.Join(suite.dir, "sealgate")
	build := exec.Command("go", "build", "-o", suite.sealgate, "../cmd/sealgate")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build sealgate: %w\n%s", err, out)
	}
	return nil
}

// need returns what several tests share, or ends the test.
func need[T any](t *testing.T, get func() (T, error)) T {
	t.Helper()
	v, err := get()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// tempDir is t.TempDir with a path that is short enough for sockets, and that can hold mounts.
func tempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(suite.dir, "t")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removeAll(dir) })
	return dir
}

// dirPrefix begins the name of a run's folder; the run's process id follows.
const dirPrefix = "sealgate-e2e-"

// sweep removes what runs left behind that were killed.
func sweep() {
	left, _ := filepath.Glob(filepath.Join(os.TempDir(), dirPrefix+"*"))
	for _, dir := range left {
		id, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), dirPrefix), "-")
		if pid, err := strconv.Atoi(id); err == nil && syscall.Kill(pid, 0) == syscall.ESRCH {
			removeAll(dir)
		}
	}
}

// removeAll removes a folder with everything that is mounted below it.
func removeAll(dir string) {
	mounts, _ := os.ReadFile("/proc/self/mounts")
	var below []string
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); len(fields) > 1 && strings.HasPrefix(fields[1], dir+"/") {
			below = append(below, fields[1])
		}
	}
	for i := len(below) - 1; i >= 0; i-- { // the last mounted first
		_ = syscall.Unmount(below[i], syscall.MNT_DETACH)
	}
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, "e2e: left behind:", err)
	}
}

// makeFiles writes files below a folder, for fixtures that belong to no test.
func makeFiles(dir string, contents map[string]string) error {
	for name, content := range contents {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// eventually polls until ok returns true, and ends the test with what it last said when it never does.
func eventually(t *testing.T, what string, ok func() (bool, string)) {
	t.Helper()
	if err := poll(20*time.Second, ok); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

func poll(patience time.Duration, ok func() (bool, string)) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		done, saw := ok()
		if done {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("not within %s: %s", patience, saw)
		}
	}
}
