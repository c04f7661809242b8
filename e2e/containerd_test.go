package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// containerd is one containerd daemon. Its clients are ctr, which talks to it directly, and crictl, which asks the way a
// kubelet does.
type containerd struct {
	dir string
	ctr string // the client of the same version
}

const containerd1Config = `
version = 2
root = "{dir}/root"
state = "{dir}/state"
[grpc]
  address = "{dir}/ctd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "{dir}/opt"
[plugins."io.containerd.grpc.v1.cri".registry]
  config_path = "{dir}/hosts"
[plugins."io.containerd.grpc.v1.cri".cni]
  conf_dir = "{dir}/cni"
  bin_dir = "/usr/lib/cni"
`

const containerd2Config = `
version = 3
root = "{dir}/root"
state = "{dir}/state"
[grpc]
  address = "{dir}/ctd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "{dir}/opt"
[plugins."io.containerd.cri.v1.images".registry]
  config_path = "{dir}/hosts"
[plugins."io.containerd.cri.v1.runtime".cni]
  conf_dir = "{dir}/cni"
  bin_dirs = ["/usr/lib/cni"]
[plugins."io.containerd.nri.v1.nri"]
  disable = true
`

func startContainerd1() (*containerd, error) {
	return startContainerd("c1", "/usr/bin", containerd1Config)
}

func startContainerd2() (*containerd, error) {
	return startContainerd("c2", filepath.Dir(suite.tools["containerd"]), containerd2Config)
}

func startContainerd(name, binaries, config string) (*containerd, error) {
	c := &containerd{dir: filepath.Join(suite.dir, name), ctr: filepath.Join(binaries, "ctr")}
	err := makeFiles(c.dir, map[string]string{
		"etc/containerd/config.toml": strings.ReplaceAll(config, "{dir}", c.dir),
		"crictl.yaml":                fmt.Sprintf("runtime-endpoint: unix://%[1]s/ctd.sock\nimage-endpoint: unix://%[1]s/ctd.sock\ntimeout: 60\n", c.dir),
		"cni/.keep":                  "",
		"hosts/.keep":                "",
	})
	if err != nil {
		return nil, err
	}
	// The daemon takes the first shim on the PATH: it must be its own.
	env := []string{"PATH=" + binaries + ":/usr/sbin:/usr/bin:/sbin:/bin", "CONTAINERD_SUPPRESS_DEPRECATION_WARNINGS=1"}
	p, err := startProcess(filepath.Join(c.dir, "log"), env, filepath.Join(binaries, "containerd"),
		"--config", filepath.Join(c.dir, "etc/containerd/config.toml"))
	if err != nil {
		return nil, err
	}
	return c, p.ready(func() bool {
		r, err := execute(c.dir, nil, suite.tools["crictl"], "--config", filepath.Join(c.dir, "crictl.yaml"), "images")
		return err == nil && r.code == 0
	})
}

// ctrClient is ctr with one of the daemons.
type ctrClient struct {
	daemon func() (*containerd, error)
	flags  []string // of pull and push
}

var (
	ctr1 = ctrClient{daemon: func() (*containerd, error) { return suite.containerd1() }}
	ctr2 = ctrClient{daemon: func() (*containerd, error) { return suite.containerd2() }, flags: []string{"--local"}}
)

func (c ctrClient) run(t *testing.T, args ...string) result {
	t.Helper()
	d := need(t, c.daemon)
	r := command(t, nil, d.ctr, append([]string{"-a", filepath.Join(d.dir, "ctd.sock"), "-n", "t"}, args...)...)
	r.output = lastWords(r.output)
	return r
}

// lastWords is ctr's output without the progress that it draws many times a second.
func lastWords(output string) string {
	if at := strings.LastIndex(output, "ctr: "); at >= 0 {
		return output[at:]
	}
	return output
}

func (c ctrClient) images(t *testing.T, verb string, args ...string) result {
	t.Helper()
	return c.run(t, append([]string{"images", verb}, args...)...)
}

func (c ctrClient) pull(t *testing.T, ref string) result {
	return c.images(t, "pull", append(c.flags, "--plain-http", ref)...)
}

// load imports a source's archive, one image or all platforms, as ref.
func (c ctrClient) load(t *testing.T, s source, ref string) {
	t.Helper()
	c.images(t, "import", append(c.flags, "--all-platforms", "--base-name", untagged(ref), s.archive())...).ok(t)
	c.images(t, "tag", "--force", untagged(ref)+":image", ref).ok(t)
}

func (c ctrClient) push(t *testing.T, _ source, ref string) result {
	return c.images(t, "push", append(c.flags, "--plain-http", ref)...)
}

func (c ctrClient) pushIndex(t *testing.T, s source, ref string) result {
	c.load(t, s, ref)
	return c.push(t, s, ref)
}

func (c ctrClient) clear(t *testing.T) {
	listed := c.images(t, "ls", "-q").ok(t)
	if names := strings.Fields(listed.stdout); len(names) > 0 {
		c.images(t, "rm", append([]string{"--sync"}, names...)...).ok(t)
	}
}

// criClient is the interface that a kubelet uses.
type criClient struct{ daemon func() (*containerd, error) }

var (
	cri1 = criClient{func() (*containerd, error) { return suite.containerd1() }}
	cri2 = criClient{func() (*containerd, error) { return suite.containerd2() }}
)

func (c criClient) run(t *testing.T, args ...string) result {
	t.Helper()
	d := need(t, c.daemon)
	return command(t, nil, suite.tools["crictl"], append([]string{"--config", filepath.Join(d.dir, "crictl.yaml")}, args...)...)
}

func (c criClient) pull(t *testing.T, ref string) result {
	t.Helper()
	need(t, c.daemon).trust(t, ref)
	return c.run(t, "pull", ref)
}

func (c criClient) clear(t *testing.T) { c.run(t, "rmi", "--all").ok(t) }

// trust writes what makes a refusal final: the gateway is the image's registry and its only host.
func (d *containerd) trust(t *testing.T, ref string) {
	t.Helper()
	host, _, _ := strings.Cut(ref, "/")
	path := filepath.Join(d.dir, "hosts", host, "hosts.toml")
	if _, err := os.Stat(path); err == nil {
		return
	}
	writeFile(t, path, fmt.Appendf(nil, `server = "http://%[1]s"
[host."http://%[1]s"]
  capabilities = ["pull", "resolve"]
`, host), 0o644)
}
