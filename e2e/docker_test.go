package e2e

import (
	"path/filepath"
	"testing"
)

// docker is Debian's dockerd 20.10 with a store of its own.
type docker struct{ dir string }

func startDocker() (*docker, error) { return startDockerWith("docker", "{}") }

func startDockerWith(name, config string) (*docker, error) {
	d := &docker{filepath.Join(suite.dir, name)}
	if err := makeFiles(d.dir, map[string]string{"etc/docker/daemon.json": config, "client/config.json": "{}"}); err != nil {
		return nil, err
	}
	p, err := startProcess(filepath.Join(d.dir, "log"), nil, "/usr/sbin/dockerd",
		"--config-file", filepath.Join(d.dir, "etc/docker/daemon.json"),
		"--data-root", filepath.Join(d.dir, "root"), "--exec-root", filepath.Join(d.dir, "exec"),
		"-H", d.host(), "--pidfile", filepath.Join(d.dir, "pid"),
		"--iptables=false", "--ip6tables=false", "--bridge=none",
		"--storage-driver=overlay2")
	if err != nil {
		return nil, err
	}
	return d, p.ready(func() bool {
		r, err := d.execute("version")
		return err == nil && r.code == 0
	})
}

func (d *docker) host() string  { return "unix://" + filepath.Join(d.dir, "docker.sock") }
func (d *docker) env() []string { return []string{"DOCKER_CONFIG=" + filepath.Join(d.dir, "client")} }

func (d *docker) execute(args ...string) (result, error) {
	return execute(d.dir, d.env(), "/usr/bin/docker", append([]string{"-H", d.host()}, args...)...)
}

func runDocker(t *testing.T, args ...string) result {
	t.Helper()
	d := need(t, suite.docker)
	r, err := d.execute(args...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func dockerPull(t *testing.T, ref string) result { return runDocker(t, "pull", ref) }

func dockerClear(t *testing.T) { runDocker(t, "image", "prune", "-af").ok(t) }

func dockerBuild(t *testing.T, s source, ref string) {
	runDocker(t, "build", "-q", "-t", ref, s.context()).ok(t)
}

func dockerPush(t *testing.T, _ source, ref string) result { return runDocker(t, "push", ref) }

// dockerPushIndex pushes each platform's image, then the list of them: docker 20.10 has no other way.
func dockerPushIndex(t *testing.T, s source, ref string) result {
	var children []string
	for _, arch := range []string{"amd64", "arm64"} {
		child := ref + "-" + arch
		runDocker(t, "build", "-q", "--platform", "linux/"+arch, "-t", child, s.context()).ok(t)
		if r := runDocker(t, "push", child); r.code != 0 {
			return r
		}
		children = append(children, child)
	}
	runDocker(t, append([]string{"manifest", "create", "--insecure", ref}, children...)...).ok(t)
	for i, arch := range []string{"amd64", "arm64"} {
		runDocker(t, "manifest", "annotate", "--os", "linux", "--arch", arch, ref, children[i]).ok(t)
	}
	return runDocker(t, "manifest", "push", "--insecure", ref)
}
