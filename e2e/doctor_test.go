package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The doctor against real runtimes: with every configuration that lets a refusal fall back it must say so, and its canary
// must show it; with the ones that `sealgate clients` prints a refusal must be final.

const doctorConfig = `
registries:
  - {name: %q, url: %q, prefix: %q}
policies:
  - name: all
    repositories: ["**"]
    pull: {signed_by: {any: [gateway]}}
    push: {seal: {signer: gateway}}
`

// clinic is a gateway with canaries behind it, under the names that nodes know.
type clinic struct {
	gw       *gateway
	up       *registry
	admitted string // by the name of the registry behind the gateway
	refused  string
}

func newClinic(t *testing.T, registryName, prefix, repo string) *clinic {
	t.Helper()
	c := &clinic{up: startRegistry(t)}
	if registryName == "" {
		registryName = c.up.address
	}
	c.gw = startGateway(t, fmt.Sprintf(doctorConfig, registryName, c.up.url(), prefix))
	c.gw.run(t, "doctor", "canaries", "--repository", prefix+repo).ok(t).has(t,
		"--canary-admitted "+c.gw.ref(prefix+repo+":admitted"), "--canary-refused "+registryName+"/"+repo+":refused")
	c.admitted, c.refused = registryName+"/"+repo+":admitted", registryName+"/"+repo+":refused"
	return c
}

// examined is what the doctor's JSON says.
type examined struct {
	Outcome  string
	Findings []struct {
		Grade, File, What string
		Line              int
	}
	Canaries []struct{ Image, Gateway, Node, Result string }
}

// examine runs the doctor with both canaries.
func (c *clinic) examine(t *testing.T, env []string, flags ...string) (result, examined) {
	t.Helper()
	args := append([]string{
		"doctor", "-o", "json", "--config", c.gw.path("sealgate.yaml"), "--canary-admitted", c.admitted, "--canary-refused", c.refused,
	}, flags...)
	r := command(t, env, suite.sealgate, args...)
	var e examined
	if err := json.Unmarshal([]byte(r.stdout), &e); err != nil {
		t.Fatalf("%s: %v\n%s", r.command, err, r.output)
	}
	return r, e
}

// final wants a diagnosis with which a refusal is final.
func final(t *testing.T, r result, e examined) {
	t.Helper()
	if r.code != 0 || e.Outcome != "enforced" {
		t.Errorf("exit code %d, want 0:\n%s", r.code, r.output)
	}
}

// fallsBack wants a finding that says what, in a file and line, and a canary that shows it.
func fallsBack(t *testing.T, r result, e examined, what string) {
	t.Helper()
	found, shown := false, false
	for _, f := range e.Findings {
		found = found || (f.Grade == "falls back" || f.Grade == "goes around") && f.File != "" && strings.Contains(f.What, what)
	}
	for _, c := range e.Canaries {
		shown = shown || c.Result == "fell back"
	}
	if r.code != 3 || e.Outcome != "falls-back" || !found || !shown {
		t.Errorf("exit code %d, want 3; a finding with %q: %v, and a canary that shows it: %v\n%s", r.code, what, found, shown, r.output)
	}
}

// printed is a file that `sealgate clients` writes.
func (c *clinic) printed(t *testing.T, client, path string) string {
	t.Helper()
	dir := tempDir(t)
	c.gw.run(t, "clients", client, "--output", dir).ok(t)
	content, err := os.ReadFile(filepath.Join(dir, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func TestDoctorContainerd(t *testing.T) {
	for name, start := range map[string]func(name string) (*containerd, error){
		"containerd 1.6": func(name string) (*containerd, error) { return startContainerd(name, "/usr/bin", containerd1Config) },
		"containerd 2.4": func(name string) (*containerd, error) {
			return startContainerd(name, filepath.Dir(suite.tools["containerd"]), containerd2Config)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := need(t, func() (*containerd, error) { return start("dr" + name[11:12]) })
			c := newClinic(t, "", "up/", "canary")
			examineContainerd(t, c, d)
		})
	}
}

func examineContainerd(t *testing.T, c *clinic, d *containerd) {
	host := strings.Replace(c.up.address, ":", "_", 1) + "_"
	gatewayHost := fmt.Sprintf("[host.%q]\n  capabilities = [\"pull\", \"resolve\"]\n", "http://"+c.gw.address)
	whole := c.printed(t, "containerd", "etc/containerd/certs.d/_default/hosts.toml")
	upstream := fmt.Sprintf("server = %q\n", c.up.url())
	for _, tt := range []struct {
		name  string
		hosts map[string]string
		what  string // empty: final
	}{
		{"what sealgate clients prints is final", map[string]string{"_default": whole}, ""},
		{"a hosts.toml without a server", map[string]string{"_default": gatewayHost}, "has no server"},
		{"a hosts.toml that is no TOML", map[string]string{"_default": strings.Replace(whole, "[host", "[[host", 1)}, "containerd cannot read it"},
		{"a hosts.toml with a capability that there is not", map[string]string{"_default": strings.Replace(whole, `"resolve"`, `"resolv"`, 1)}, "unknown capability"},
		{"a server that is the registry", map[string]string{host: upstream + gatewayHost}, "server is http://" + c.up.address},
		{"a second host", map[string]string{"_default": whole + fmt.Sprintf("\n[host.%q]\n", c.up.url())}, "is a host beside the gateway"},
		{"a folder of the registry's own", map[string]string{"_default": whole, host: upstream}, "does not name the gateway"},
		{"a folder of the registry's own, without a file", map[string]string{"_default": whole, host: ""}, "is not there or empty"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			hosts := filepath.Join(d.dir, "hosts")
			if err := os.RemoveAll(hosts); err != nil {
				t.Fatal(err)
			}
			for name, content := range tt.hosts {
				file := "hosts.toml"
				if content == "" {
					file = "empty"
				}
				writeFile(t, filepath.Join(hosts, name, file), []byte(content), 0o644)
			}
			r, e := c.examine(t, nil, "--containerd", "--root", d.dir, "--client", suite.tools["crictl"]+" --config "+filepath.Join(d.dir, "crictl.yaml"))
			if tt.what == "" {
				final(t, r, e)
				return
			}
			fallsBack(t, r, e, tt.what)
		})
	}

	t.Run("the gateway in the image's name is final", func(t *testing.T) {
		if err := os.RemoveAll(filepath.Join(d.dir, "hosts")); err != nil {
			t.Fatal(err)
		}
		named := *c
		named.admitted, named.refused = c.gw.ref("up/canary:admitted"), c.gw.ref("up/canary:refused")
		r, e := named.examine(t, nil, "--containerd", "--root", d.dir, "--client", suite.tools["crictl"]+" --config "+filepath.Join(d.dir, "crictl.yaml"))
		final(t, r, e)
	})
	t.Run("without canaries nothing is proven", func(t *testing.T) {
		r := c.gw.run(t, "doctor", "--containerd", "--root", d.dir)
		if r.code != 6 {
			t.Errorf("exit code %d, want 6:\n%s", r.code, r.output)
		}
	})
}

// TestDoctorContainerdLegacyMirrors has the way of containerd 1 to name a mirror, which has no way to make it final.
func TestDoctorContainerdLegacyMirrors(t *testing.T) {
	c := newClinic(t, "", "up/", "canary")
	config := strings.Replace(containerd1Config, `registry]
  config_path = "{dir}/hosts"`, fmt.Sprintf(`registry.mirrors.%q]
  endpoint = ["http://%s"]`, c.up.address, c.gw.address), 1)
	d := need(t, func() (*containerd, error) { return startContainerd("drl", "/usr/bin", config) })
	r, e := c.examine(t, nil, "--containerd", "--root", d.dir, "--client", suite.tools["crictl"]+" --config "+filepath.Join(d.dir, "crictl.yaml"))
	fallsBack(t, r, e, "registry.mirrors endpoint")
}

func TestDoctorDocker(t *testing.T) {
	c := newClinic(t, "docker.io", "", "library/canary")
	t.Run("the gateway as a mirror falls back", func(t *testing.T) {
		// Docker Hub is not here, so the next place is a second mirror.
		d := need(t, func() (*docker, error) {
			return startDockerWith("drd", fmt.Sprintf(`{"registry-mirrors": [%q, %q]}`, "http://"+c.gw.address, c.up.url()))
		})
		r, e := c.examine(t, d.env(), "--docker", "--root", d.dir, "--client", "/usr/bin/docker -H "+d.host())
		fallsBack(t, r, e, "the gateway is a registry mirror")
	})
	t.Run("the gateway in the image's name, under what sealgate clients prints, is final", func(t *testing.T) {
		d := need(t, func() (*docker, error) {
			return startDockerWith("drn", c.printed(t, "docker", "etc/docker/daemon.json"))
		})
		named := *c
		named.admitted, named.refused = c.gw.ref("library/canary:admitted"), c.gw.ref("library/canary:refused")
		r, e := named.examine(t, d.env(), "--docker", "--root", d.dir, "--client", "/usr/bin/docker -H "+d.host())
		final(t, r, e)
		_ = r.has(t, "did not get it: sealgate: ")
	})
}

func TestDoctorPodman(t *testing.T) {
	c := newClinic(t, "", "up/", "canary")
	insecure := func(location string) string {
		return fmt.Sprintf("[[registry]]\nlocation = %q\ninsecure = true\n", location)
	}
	for _, tt := range []struct{ name, conf, what string }{
		{"what sealgate clients prints is final", c.printed(t, "podman", "etc/containers/registries.conf.d/900-sealgate.conf"), ""},
		{
			"the gateway as a mirror falls back",
			insecure(c.up.address) + fmt.Sprintf("[[registry.mirror]]\nlocation = %q\ninsecure = true\n", c.gw.ref("up")),
			"the gateway is a mirror of",
		},
		{
			"a mirror before the gateway goes around it",
			fmt.Sprintf("[[registry]]\nprefix = %q\nlocation = %q\ninsecure = true\n[[registry.mirror]]\nlocation = %q\ninsecure = true\n", c.up.address, c.gw.ref("up"), c.up.address),
			"is a mirror of the gateway",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPodmanNode(t, tt.conf, c.printed(t, "podman", "etc/containers/policy.json"))
			r, e := c.examine(t, p.env, "--podman", "--root", p.root, "--client", strings.Join(p.command, " "))
			if tt.what == "" {
				final(t, r, e)
				return
			}
			fallsBack(t, r, e, tt.what)
		})
	}

	t.Run("a registry that the gateway does not answer for is rejected", func(t *testing.T) {
		elsewhere := startRegistry(t)
		put(t, elsewhere.ref("app:v1"), need(t, suite.images).image(t, nonroot, "elsewhere"))
		p := newPodmanNode(t, insecure(elsewhere.address)+c.printed(t, "podman", "etc/containers/registries.conf.d/900-sealgate.conf"),
			c.printed(t, "podman", "etc/containers/policy.json"))
		command(t, p.env, p.command[0], append(p.command[1:], "pull", elsewhere.ref("app:v1"))...).fails(t).has(t, "rejected by policy")
	})
}

// podmanNode is a podman with configuration and storage of its own.
type podmanNode struct {
	root    string
	env     []string
	command []string
}

func newPodmanNode(t *testing.T, registries, policy string) *podmanNode {
	t.Helper()
	dir := tempDir(t)
	writeFile(t, filepath.Join(dir, "etc/containers/registries.conf"), []byte(registries), 0o644)
	writeFile(t, filepath.Join(dir, "home/.config/containers/policy.json"), []byte(policy), 0o644)
	return &podmanNode{
		root: dir,
		env:  append(family(t), "CONTAINERS_REGISTRIES_CONF="+filepath.Join(dir, "etc/containers/registries.conf"), "HOME="+filepath.Join(dir, "home")),
		command: []string{
			"/usr/bin/podman", "--root", filepath.Join(dir, "storage"), "--runroot", filepath.Join(dir, "run"), "--tmpdir", filepath.Join(dir, "tmp"),
			"--events-backend=none", "--cgroup-manager=cgroupfs",
		},
	}
}
