// Package deploy holds what is needed to run Sealgate somewhere: a systemd unit, a Dockerfile, a compose file, and below it
// the maker of our own image. These tests hold the files against each other and against what they promise.
package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

const unit = "sealgate.service"

// maxExposure is the limit for `systemd-analyze security`, in tenths: 1.5 of 10. Below 2.0 it says OK.
const maxExposure = "15"

func TestSystemdUnitIsHardened(t *testing.T) {
	out, err := exec.Command("systemd-analyze", "security", "--no-pager", "--offline=yes", "--threshold="+maxExposure, unit).CombinedOutput()
	if err != nil || !strings.Contains(string(out), " OK ") {
		t.Errorf("systemd-analyze security: %v (is the Debian package systemd installed? e2e/tools/install does it)\n%s", err, out)
	}
}

func TestSystemdUnitHasNoMistake(t *testing.T) {
	// It names a program and a folder that are not on this machine; another program stands in for ours.
	standIn, err := exec.LookPath("true")
	if err != nil {
		t.Fatal(err)
	}
	text := read(t, unit)
	real := regexp.MustCompile(`(?m)^ExecStart=/usr/local/bin/sealgate `)
	if !real.MatchString(text) {
		t.Fatalf("%s starts something else than /usr/local/bin/sealgate", unit)
	}
	path := filepath.Join(t.TempDir(), unit)
	if err := os.WriteFile(path, []byte(real.ReplaceAllString(text, "ExecStart="+standIn+" ")), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("systemd-analyze", "verify", "--man=no", path).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}

// The binary in a Docker image is the one that `make build` makes.
func TestDockerfileBuildsWhatTheMakefileBuilds(t *testing.T) {
	build := regexp.MustCompile(`CGO_ENABLED=0 \S+ build (.*) -ldflags ['"](.*)['"] -o \S+ (\S+)`)
	flags := func(name string) []string {
		found := build.FindStringSubmatch(read(t, name))
		if found == nil {
			t.Fatalf("%s: no line like %s", name, build)
		}
		found[2] = regexp.MustCompile(`\$[({]([A-Z]+)[)}]`).ReplaceAllString(found[2], "$1") // $(VERSION), ${VERSION}
		return found[1:]
	}
	makefile, dockerfile := flags("../Makefile"), flags("Dockerfile")
	if strings.Join(makefile, "\n") != strings.Join(dockerfile, "\n") {
		t.Errorf("the Makefile builds with %q, the Dockerfile with %q", makefile, dockerfile)
	}

	// Every package that the command needs is copied, and reaches the Docker daemon.
	ignore := read(t, "../.dockerignore")
	entries, err := os.ReadDir("..")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		switch name := entry.Name(); name {
		case "cmd", "gateway", "policy", "signer", "verifier":
			if !strings.Contains(read(t, "Dockerfile"), "\nCOPY "+name+" "+name+"\n") || !strings.Contains(ignore, "\n!"+name+"\n") {
				t.Errorf("%s does not reach the build: see Dockerfile and .dockerignore", name)
			}
		}
	}
}

func TestComposeGivesAwayNothing(t *testing.T) {
	var file struct {
		Services map[string]struct {
			User     string   `yaml:"user"`
			ReadOnly bool     `yaml:"read_only"`
			CapDrop  []string `yaml:"cap_drop"`
			CapAdd   []string `yaml:"cap_add"`
			Security []string `yaml:"security_opt"`
			Ports    []string `yaml:"ports"`
			Volumes  []string `yaml:"volumes"`
			Pids     int      `yaml:"pids_limit"`
			Memory   string   `yaml:"mem_limit"`
		} `yaml:"services"`
	}
	if err := yaml.Unmarshal([]byte(read(t, "compose.yaml")), &file); err != nil {
		t.Fatal(err)
	}
	s, ok := file.Services["sealgate"]
	if !ok || s.User != "65532:65532" || !s.ReadOnly || strings.Join(s.CapDrop, " ") != "ALL" || len(s.CapAdd) > 0 ||
		strings.Join(s.Security, " ") != "no-new-privileges:true" || s.Pids == 0 || s.Memory == "" {
		t.Errorf("the service is %+v", s)
	}
	for _, port := range s.Ports {
		if !strings.HasPrefix(port, "127.0.0.1:") {
			t.Errorf("port %s is open to everybody, without TLS", port)
		}
	}
	for _, volume := range s.Volumes {
		if source, _, _ := strings.Cut(volume, ":"); strings.ContainsAny(source, "/.") {
			t.Errorf("volume %s is a folder of the host", volume)
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}
