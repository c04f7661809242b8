package deploy

import (
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sealgate/sealgate/e2e/rig"
)

// Our image serves with no rights at all: not as root, without capabilities, on a read-only file system. Podman stands for
// whatever runs containers.
func TestOurImageRunsWithoutAnyRights(t *testing.T) {
	directory, err := os.MkdirTemp("", "sealgate-") // podman wants its paths short and in lower case
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(directory); err != nil {
			t.Error(err)
		}
	})
	binary, err := rig.Build(t.Context(), directory)
	if err != nil {
		t.Fatal(err)
	}
	layout := filepath.Join(directory, "image")
	if out, err := exec.Command("go", "run", "./image", "-binary", binary, "-output", layout, "-version", "v0").CombinedOutput(); err != nil {
		t.Fatalf("make the image: %v\n%s", err, out)
	}

	store := filepath.Join(directory, "podman")
	podman := func(args ...string) string {
		t.Helper()
		out, err := exec.Command("podman", append([]string{
			"--root", store + "/root", "--runroot", store + "/run", "--tmpdir", store + "/tmp", "--events-backend=none", "--cgroup-manager=cgroupfs",
		}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("podman %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	t.Cleanup(func() {
		podman("rm", "--all", "--force", "--volumes")
		_ = syscall.Unmount(store+"/root/overlay", syscall.MNT_DETACH)
	})
	podman("pull", "oci:"+layout)
	image := strings.TrimSpace(podman("images", "--quiet"))

	address, err := rig.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	admin, err := rig.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	// The limits are for machines whose own are below podman's defaults.
	podman("run", "--detach", "--name", "gate", "--read-only", "--read-only-tmpfs=false", "--cap-drop=all", "--security-opt=no-new-privileges",
		"--network=host", "--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024",
		"--env", "SEALGATE_LISTEN_ADDRESS="+address, "--env", "SEALGATE_ADMIN_ADDRESS="+admin, image)

	if status := await(t, "http://"+admin+"/readyz"); status != http.StatusOK {
		t.Errorf("GET /readyz: status %d\n%s", status, podman("logs", "gate"))
	}
	if status := await(t, "http://"+address+"/v2/"); status != http.StatusOK {
		t.Errorf("GET /v2/: status %d\n%s", status, podman("logs", "gate"))
	}
	if user := strings.TrimSpace(podman("top", "gate", "huser")); !strings.HasSuffix(user, "65532") {
		t.Errorf("it runs as %q", user)
	}
	podman("stop", "--time", "10", "gate")
	if code := strings.TrimSpace(podman("inspect", "--format", "{{.State.ExitCode}}", "gate")); code != "0" {
		t.Errorf("it ended with %s after SIGTERM\n%s", code, podman("logs", "gate"))
	}
}

// await asks until somebody answers, and returns the status.
func await(t *testing.T, url string) int {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(20 * time.Second); ; {
		if response, err := http.Get(url); err == nil {
			_, _ = io.Copy(io.Discard, response.Body)
			response.Body.Close()
			return response.StatusCode
		}
		select {
		case <-tick.C:
		case <-deadline:
			return 0
		}
	}
}
