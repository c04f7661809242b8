package node

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var gw = Gateway{
	URL:        &url.URL{Scheme: "https", Host: "registry.acme.dev"},
	Registries: []Registry{{"docker.io", "docker.io/"}, {"local", ""}},
}

// nodeWith makes a node's disk of files.
func nodeWith(t *testing.T, files map[string]string) Node {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return Node{Root: root, Home: "/home/op"}
}

// said are findings in short: their grade, file, line and what.
func said(root string, found []Finding) string {
	var lines []string
	for _, f := range found {
		lines = append(lines, fmt.Sprintf("%s %s:%d %s", f.Grade, strings.TrimPrefix(f.File, root), f.Line, f.What))
		if f.Why == "" || f.Fix == "" {
			lines = append(lines, "  without a why or a fix")
		}
	}
	return strings.Join(lines, "\n")
}

const (
	certs    = "etc/containerd/certs.d/"
	enforced = "server = \"https://registry.acme.dev\"\n[host.\"https://registry.acme.dev\"]\n  capabilities = [\"pull\", \"resolve\"]\n"
	version2 = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry]\n  config_path = \"/etc/containerd/certs.d\"\n"
	version3 = "version = 3\n[plugins.'io.containerd.cri.v1.images'.registry]\n  config_path = '/etc/containerd/certs.d:/etc/docker/certs.d'\n"
)

func TestContainerd(t *testing.T) {
	for name, tt := range map[string]struct {
		files map[string]string
		want  []string // the findings, each by how it begins
	}{
		"the gateway as server and one host is final": {
			map[string]string{"etc/containerd/config.toml": version2, certs + "_default/hosts.toml": enforced}, nil},
		"so it is in containerd 2, and with a port": {
			map[string]string{"etc/containerd/config.toml": version3, certs + "_default/hosts.toml": strings.ReplaceAll(enforced, "dev", "dev:443")}, nil},
		"without any configuration only names of the gateway come through it": {
			nil, []string{"worth a look :0 no hosts.toml for docker.io"}},
		"without a server it falls back": {
			map[string]string{"etc/containerd/config.toml": version2, certs + "_default/hosts.toml": "[host.\"https://registry.acme.dev\"]\n"},
			[]string{"falls back /etc/containerd/certs.d/_default/hosts.toml:0 has no server"}},
		"another server is a fallback": {
			map[string]string{certs + "docker.io/hosts.toml": "# why\nserver = \"https://registry-1.docker.io\"\n[host.\"https://registry.acme.dev\"]\n"},
			[]string{"falls back /etc/containerd/certs.d/docker.io/hosts.toml:2 server is https://registry-1.docker.io"}},
		"the gateway's name without TLS is somebody else": {
			map[string]string{certs + "_default/hosts.toml": strings.Replace(enforced, "https://registry", "http://registry", 1)},
			[]string{"falls back /etc/containerd/certs.d/_default/hosts.toml:1 server is http://registry.acme.dev"}},
		"a certificate that is not looked at is worth a look": {
			map[string]string{certs + "_default/hosts.toml": enforced + "  skip_verify = true\n"},
			[]string{"worth a look /etc/containerd/certs.d/_default/hosts.toml:4 the gateway's certificate is not looked at"}},
		"another host is a fallback": {
			map[string]string{certs + "_default/hosts.toml": enforced + "\n[host.\"https://mirror.acme.dev\"]\n"},
			[]string{"falls back /etc/containerd/certs.d/_default/hosts.toml:5 https://mirror.acme.dev is a host beside the gateway"}},
		"a file that is no TOML is left aside by containerd": {
			map[string]string{certs + "_default/hosts.toml": "server = \"https://registry.acme.dev\"\n[host.\n"},
			[]string{"falls back /etc/containerd/certs.d/_default/hosts.toml:2 containerd cannot read it"}},
		"so is one with a capability that there is not": {
			map[string]string{certs + "_default/hosts.toml": strings.ReplaceAll(enforced, "resolve", "resolv")},
			[]string{"falls back /etc/containerd/certs.d/_default/hosts.toml:3 containerd cannot read it: host \"https://registry.acme.dev\": unknown capability \"resolv\""}},
		"and one whose server is no text": {
			map[string]string{certs + "_default/hosts.toml": "server = 1\n"},
			[]string{"falls back /etc/containerd/certs.d/_default/hosts.toml:1 containerd cannot read it: server is no text"}},
		"a registry's own folder goes before _default": {
			map[string]string{certs + "_default/hosts.toml": enforced, certs + "docker.io/hosts.toml": "server = \"https://registry-1.docker.io\"\n"},
			[]string{"goes around /etc/containerd/certs.d/docker.io/hosts.toml:0 decides for docker.io, and does not name the gateway"}},
		"an empty folder goes before _default too": {
			map[string]string{certs + "_default/hosts.toml": enforced, certs + "docker.io/ca.crt": "x"},
			[]string{"goes around /etc/containerd/certs.d/docker.io/hosts.toml:0 is not there or empty"}},
		"a registry with a port has a folder with underlines": {
			map[string]string{certs + "_default/hosts.toml": enforced, certs + "quay.io_8443_/hosts.toml": "[host.\"https://registry.acme.dev\"]\n"},
			[]string{"falls back /etc/containerd/certs.d/quay.io_8443_/hosts.toml:0 has no server"}},
		"the mirrors of containerd 1 always end at the registry": {
			map[string]string{"etc/containerd/config.toml": "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors.\"docker.io\"]\n  endpoint = [\"https://registry.acme.dev\"]\n"},
			[]string{
				"falls back /etc/containerd/config.toml:3 the gateway is a registry.mirrors endpoint for \"docker.io\"",
				"worth a look :0 no hosts.toml for docker.io"}},
		"a mirror of the gateway is asked before it": {
			map[string]string{"etc/containerd/config.toml": "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors.\"registry.acme.dev\"]\n  endpoint = [\"https://mirror.acme.dev\"]\n"},
			[]string{
				"goes around /etc/containerd/config.toml:3 mirrors of the gateway itself: https://mirror.acme.dev",
				"worth a look :0 no hosts.toml for docker.io"}},
		"what is imported counts": {
			map[string]string{
				"etc/containerd/config.toml": "version = 2\nimports = [\"/etc/containerd/conf.d/*.toml\", \"other.toml\"]\n", "etc/containerd/other.toml": "version = 2\n",
				"etc/containerd/conf.d/a.toml": strings.ReplaceAll(version2, "certs.d", "elsewhere"),
				certs + "_default/hosts.toml":  enforced, "etc/containerd/elsewhere/_default/hosts.toml": "[host.\"https://registry.acme.dev\"]\n"},
			[]string{"falls back /etc/containerd/elsewhere/_default/hosts.toml:0 has no server"}},
		"a configuration that is no TOML says nothing": {
			map[string]string{"etc/containerd/config.toml": "version = \n", certs + "_default/hosts.toml": enforced},
			[]string{"cannot tell /etc/containerd/config.toml:1 is no TOML"}},
		"nor does one that is too large": {
			map[string]string{"etc/containerd/config.toml": "#" + strings.Repeat("x", maxFile), certs + "_default/hosts.toml": enforced},
			[]string{"cannot tell /etc/containerd/config.toml:0 cannot be read: more than 1048576 bytes"}},
		"a host before the gateway's own name": {
			map[string]string{certs + "registry.acme.dev/hosts.toml": "server = \"https://registry.acme.dev\"\n[host.\"https://mirror.acme.dev\"]\n", certs + "_default/hosts.toml": enforced},
			[]string{"falls back /etc/containerd/certs.d/registry.acme.dev/hosts.toml:2 https://mirror.acme.dev is a host beside the gateway"}},
	} {
		t.Run(name, func(t *testing.T) {
			n := nodeWith(t, tt.files)
			found, _ := n.Containerd(gw, []string{"docker.io"})
			finds(t, n, found, tt.want)
		})
	}
}

func TestDocker(t *testing.T) {
	const path = "etc/docker/daemon.json"
	for name, tt := range map[string]struct {
		daemon  string
		running *DockerRegistries
		want    []string
	}{
		"no configuration is final for names of the gateway": {},
		"the gateway as a mirror falls back": {
			daemon: "{\n \"registry-mirrors\": [\n  \"https://registry.acme.dev\"]}",
			want:   []string{"falls back /etc/docker/daemon.json:3 the gateway is a registry mirror"}},
		"so it does when a flag says it": {
			running: &DockerRegistries{Mirrors: []string{"https://registry.acme.dev/"}},
			want:    []string{"falls back dockerd, as docker info says:0 the gateway is a registry mirror"}},
		"it is said once where both say it": {
			daemon: `{"registry-mirrors": ["https://registry.acme.dev"]}`, running: &DockerRegistries{Mirrors: []string{"https://registry.acme.dev/"}},
			want: []string{"falls back /etc/docker/daemon.json:1 the gateway is a registry mirror"}},
		"other mirrors concern others": {daemon: `{"registry-mirrors": ["https://mirror.acme.dev"]}`},
		"an insecure gateway is worth a look": {
			daemon: `{"insecure-registries": ["registry.acme.dev"]}`,
			want:   []string{"worth a look /etc/docker/daemon.json:1 the gateway is an insecure registry"}},
		"what is no JSON says nothing": {daemon: `{`, want: []string{"cannot tell /etc/docker/daemon.json:0 is not what dockerd reads"}},
	} {
		t.Run(name, func(t *testing.T) {
			files := map[string]string{path: tt.daemon}
			if tt.daemon == "" {
				files = nil
			}
			n := nodeWith(t, files)
			finds(t, n, n.Docker(gw, tt.running), tt.want)
		})
	}
}

func TestPodman(t *testing.T) {
	const conf, drop = "etc/containers/registries.conf", "etc/containers/registries.conf.d/"
	rewrite := "[[registry]]\nprefix = \"docker.io\"\nlocation = \"registry.acme.dev/docker.io\"\n"
	mirror := "[[registry]]\nlocation = \"docker.io\"\n[[registry.mirror]]\nlocation = \"registry.acme.dev/docker.io\"\n"
	for name, tt := range map[string]struct {
		files map[string]string
		want  []string
	}{
		"a rewritten location is final": {map[string]string{conf: rewrite}, nil},
		"a mirror falls back": {map[string]string{conf: mirror},
			[]string{"falls back /etc/containers/registries.conf:4 the gateway is a mirror of docker.io"}},
		"a later file takes the place of an earlier": {map[string]string{conf: mirror, drop + "900.conf": rewrite}, nil},
		"and the other way round": {map[string]string{conf: rewrite, drop + "900.conf": "# ours\n" + mirror},
			[]string{"falls back /etc/containers/registries.conf.d/900.conf:5 the gateway is a mirror of docker.io"}},
		"a file in the home directory takes the place of the system's": {
			map[string]string{conf: rewrite, "home/op/.config/containers/registries.conf": mirror},
			[]string{"falls back /home/op/.config/containers/registries.conf:4 the gateway is a mirror of docker.io"}},
		"a mirror of the gateway is asked before it": {
			map[string]string{conf: rewrite + "[[registry.mirror]]\nlocation = \"mirror.acme.dev\"\n"},
			[]string{"goes around /etc/containers/registries.conf:5 mirror.acme.dev is a mirror of the gateway"}},
		"nothing that sends docker.io here goes around": {nil, []string{"worth a look /etc/containers/registries.conf:0 nothing sends docker.io to the gateway"}},
		"it does when another is sent here": {
			map[string]string{conf: "[[registry]]\nprefix = \"quay.io\"\nlocation = \"registry.acme.dev/quay.io\"\n"},
			[]string{"goes around /etc/containers/registries.conf:0 nothing sends docker.io to the gateway"}},
		"a blocked registry gives nothing": {map[string]string{conf: "[[registry]]\nlocation = \"docker.io\"\nblocked = true\n"}, nil},
		"a name without a registry is tried at all of them": {
			map[string]string{conf: "unqualified-search-registries = [\"registry.acme.dev\", \"quay.io\"]\n" + rewrite},
			[]string{"falls back /etc/containers/registries.conf:1 unqualified-search-registries has others beside the gateway"}},
		"aliases are taken before the search": {
			map[string]string{conf: "unqualified-search-registries = [\"registry.acme.dev\"]\n" + rewrite,
				drop + "shortnames.conf": "[aliases]\n \"alpine\" = \"docker.io/library/alpine\"\n \"ubi8\" = \"registry.access.redhat.com/ubi8\"\n"},
			[]string{"worth a look /etc/containers/registries.conf.d/shortnames.conf:1 1 short names are aliases"}},
		"a policy that accepts everything is worth a look": {
			map[string]string{conf: rewrite, "etc/containers/policy.json": "{\n\"default\": [{\"type\": \"insecureAcceptAnything\"}]}"},
			[]string{"worth a look /etc/containers/policy.json:2 images of every registry are accepted"}},
		"one that rejects is not": {
			map[string]string{conf: rewrite, "etc/containers/policy.json": `{"default": [{"type": "reject"}]}`}, nil},
		"what is no TOML says nothing": {map[string]string{conf: "[[registry]", drop + "1.conf": rewrite},
			[]string{"cannot tell /etc/containers/registries.conf:1 is no TOML"}},
	} {
		t.Run(name, func(t *testing.T) {
			n := nodeWith(t, tt.files)
			finds(t, n, n.Podman(gw, []string{"docker.io"}), tt.want)
		})
	}
}

// finds compares findings by how they begin.
func finds(t *testing.T, n Node, found []Finding, want []string) {
	t.Helper()
	got := said(n.Root, found)
	lines := strings.Split(got, "\n")
	if got == "" {
		lines = nil
	}
	ok := len(lines) == len(want)
	for i := 0; ok && i < len(want); i++ {
		if strings.HasPrefix(want[i], "worth a look :0") { // of no file
			ok = strings.Contains(lines[i], strings.TrimPrefix(want[i], "worth a look :0")) && strings.HasPrefix(lines[i], "worth a look")
			continue
		}
		ok = strings.HasPrefix(lines[i], want[i])
	}
	if !ok {
		t.Errorf("found:\n%s\nwant:\n%s", got, strings.Join(want, "\n"))
	}
}
