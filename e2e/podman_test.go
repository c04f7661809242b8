package e2e

import (
	"path/filepath"
	"testing"
)

// podman, buildah and skopeo: the containers family, without a daemon.

func runPodman(t *testing.T, args ...string) result {
	t.Helper()
	dir := filepath.Join(suite.dir, "podman")
	return command(t, family(t), "/usr/bin/podman", append([]string{
		"--root", filepath.Join(dir, "root"), "--runroot", filepath.Join(dir, "run"), "--tmpdir", filepath.Join(dir, "tmp"),
		"--events-backend=none", "--cgroup-manager=cgroupfs",
	}, args...)...)
}

func runBuildah(t *testing.T, args ...string) result {
	t.Helper()
	dir := filepath.Join(suite.dir, "buildah")
	return command(t, family(t), "/usr/bin/buildah", append([]string{
		"--root", filepath.Join(dir, "root"), "--runroot", filepath.Join(dir, "run"),
	}, args...)...)
}

func runSkopeo(t *testing.T, args ...string) result {
	t.Helper()
	return command(t, family(t), "/usr/bin/skopeo", args...)
}

// family keeps locks in files of ours: the default is a shared memory segment that outlives the run.
func family(t *testing.T) []string {
	t.Helper()
	config := filepath.Join(suite.dir, "containers.conf")
	writeFile(t, config, []byte("[engine]\nlock_type = \"file\"\n"), 0o644)
	return []string{"CONTAINERS_CONF=" + config}
}

func podmanPull(t *testing.T, ref string) result {
	return runPodman(t, "pull", "--tls-verify=false", ref)
}

func podmanBuild(t *testing.T, s source, ref string) {
	runPodman(t, "build", "-q", "-t", ref, s.context()).ok(t)
}

func podmanPush(t *testing.T, _ source, ref string) result {
	return runPodman(t, "push", "--tls-verify=false", ref)
}

func podmanPushIndex(t *testing.T, s source, ref string) result {
	runPodman(t, "manifest", "create", ref, "oci:"+s.oci()+":image", "--all").ok(t)
	return runPodman(t, "manifest", "push", "--all", "--tls-verify=false", ref, "docker://"+ref)
}

func podmanClear(t *testing.T) { runPodman(t, "rmi", "-af").ok(t) }

func buildahPull(t *testing.T, ref string) result {
	return runBuildah(t, "pull", "--policy=always", "--tls-verify=false", ref)
}

func buildahBuild(t *testing.T, s source, ref string) {
	runBuildah(t, "bud", "-q", "--isolation=chroot", "-t", ref, s.context()).ok(t)
}

func buildahPush(t *testing.T, _ source, ref string) result {
	return runBuildah(t, "push", "--tls-verify=false", ref)
}

func buildahPushIndex(t *testing.T, s source, ref string) result {
	runBuildah(t, "manifest", "create", ref).ok(t)
	runBuildah(t, "manifest", "add", "--all", ref, "oci:"+s.oci()+":image").ok(t)
	return runBuildah(t, "manifest", "push", "--all", "--tls-verify=false", ref, "docker://"+ref)
}

func buildahClear(t *testing.T) { runBuildah(t, "rmi", "-af").ok(t) }

func skopeoPull(t *testing.T, ref string) result {
	return runSkopeo(t, "copy", "--src-tls-verify=false", "docker://"+ref, "dir:"+filepath.Join(tempDir(t), "image"))
}

func skopeoPush(t *testing.T, s source, ref string) result {
	return runSkopeo(t, "copy", "--dest-tls-verify=false", "oci:"+s.oci()+":image", "docker://"+ref)
}

func skopeoPushIndex(t *testing.T, s source, ref string) result {
	return runSkopeo(t, "copy", "--all", "--dest-tls-verify=false", "oci:"+s.oci()+":image", "docker://"+ref)
}
