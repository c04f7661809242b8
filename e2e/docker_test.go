package e2e

import (
	"path/filepath"
	"testing"
)

// docker is Debian's dockerd 20.10 with a store of its own.
type docker struct {
	dir    string
	daemon *process
}

func startDocker() (*docker, error) { return startDockerWith("docker", "{}") }

func startDockerWith(name, config string) (*docker, error) {
	return startDockerBy(name, config, nil, "/usr/sbin/dockerd")
}

// startDockerInside starts one in a network of its own, until the test's end.
func startDockerInside(t *testing.T, n *namespace) *docker {
	t.Helper()
	d := need(t, func() (*docker, error) {
		// Not by ip netns exec: it mounts a /sys of its own, without the control groups that dockerd needs.
		return startDockerBy(n.name, "{}", []string{"HTTPS_PROXY="}, "/usr/bin/nsenter", "--net=/var/run/netns/"+n.name, "/usr/sbin/dockerd")
	})
	t.Cleanup(d.daemon.kill)
	return d
}

// startDockerBy starts one by a command that takes a daemon's arguments.
func startDockerBy(name, config string, env []string, command ...string) (*docker, error) {
	d := &docker{dir: filepath.Join(suite.dir, name)}
	if err := makeFiles(d.dir, map[string]string{"etc/docker/daemon.json": config, "client/config.json": "{}"}); err != nil {
		return nil, err
	}
	var err error
	d.daemon, err = startProcess(filepath.Join(d.dir, "log"), env, command[0], append(command[1:],
		"--config-file", filepath.Join(d.dir, "etc/docker/daemon.json"),
		"--data-root", filepath.Join(d.dir, "root"), "--exec-root", filepath.Join(d.dir, "exec"),
		"-H", d.host(), "--pidfile", filepath.Join(d.dir, "pid"),
		"--iptables=false", "--ip6tables=false", "--bridge=none",
		"--storage-driver=overlay2")...)
	if err != nil {
		return nil, err
	}
	return d, d.daemon.ready(func() bool {
		r, err := d.execute("version")
		return err == nil && r.code == 0
	})
}

func (d *docker) host() string  { return "unix://" + filepath.Join(d.dir, "docker.sock") }
func (d *docker) env() []string { return []string{"DOCKER_CONFIG=" + filepath.Join(d.dir, "client")} }

func (d *docker) execute(args ...string) (result, error) {
	return execute(d.dir, d.env(), "/usr/bin/docker", append([]string{"-H", d.host()}, args...)...)
}

func (d *docker) run(t *testing.T, args ...string) result {
	t.Helper()
	r, err := d.execute(args...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func runDocker(t *testing.T, args ...string) result {
	t.Helper()
	return need(t, suite.docker).run(t, args...)
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
