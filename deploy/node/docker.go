package node

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// DockerConfig is where dockerd reads its configuration.
const DockerConfig = "/etc/docker/daemon.json"

// DockerRegistries is what dockerd itself says of its registries, by `docker info`: its flags count too, not only its file.
type DockerRegistries struct{ Mirrors []string }

// Docker reads dockerd's configuration. running is what the daemon says, nil when it was not asked.
func (n Node) Docker(gw Gateway, running *DockerRegistries) []Finding {
	found, mirrors := n.dockerConfig(gw)
	if running == nil {
		return found
	}
	for _, mirror := range running.Mirrors {
		if gw.isNamed(mirror) && !slices.ContainsFunc(mirrors, gw.isNamed) {
			found = append(found, gatewayAsMirror("dockerd, as docker info says", 0, mirror))
		}
	}
	return found
}

func gatewayAsMirror(file string, line int, mirror string) Finding {
	return Finding{
		Grade: FallsBack, File: file, Line: line, What: fmt.Sprintf("the gateway is a registry mirror: %s", mirror),
		Why: "docker asks the next mirror and then Docker Hub when a mirror refuses, and says nothing",
		Fix: "take it out, and name the gateway in the image",
	}
}

func (n Node) dockerConfig(gw Gateway) (found []Finding, mirrors []string) {
	content, path, err := n.read(DockerConfig)
	if absent(err) {
		return nil, nil
	}
	if err != nil {
		return []Finding{unreadable(path, err)}, nil
	}
	var config struct {
		Mirrors  []string `json:"registry-mirrors"`
		Insecure []string `json:"insecure-registries"`
	}
	if err := json.Unmarshal(content, &config); err != nil {
		return []Finding{{
			Grade: Unreadable, File: path, What: "is not what dockerd reads: " + shorten(err.Error()),
			Why: "dockerd does not start with it, or runs with what it read before", Fix: "correct it, and restart dockerd",
		}}, nil
	}
	for _, mirror := range config.Mirrors {
		if gw.isNamed(mirror) {
			found = append(found, gatewayAsMirror(path, lineWith(content, mirror), mirror))
		}
	}
	for _, registry := range config.Insecure {
		if gw.is(registry) && gw.URL.Scheme == "https" {
			found = append(found, Finding{
				Grade: Notable, File: path, Line: lineWith(content, registry), What: fmt.Sprintf("the gateway is an insecure registry: %s", registry),
				Why: "docker takes any certificate for it, and plain HTTP: who is between can answer in its place", Fix: "take it out; put the gateway's authority into /etc/docker/certs.d",
			})
		}
	}
	return found, config.Mirrors
}

// lineWith is the first line that holds a text, 0 when none does.
func lineWith(content []byte, text string) int {
	before, _, ok := bytes.Cut(content, []byte(text))
	if !ok {
		return 0
	}
	return 1 + bytes.Count(before, []byte("\n"))
}

// DockerRegistries asks the daemon what it does for registries, whether from its file or from its flags.
func (c Client) DockerRegistries(ctx context.Context) (*DockerRegistries, error) {
	if c.kind != "docker" {
		return nil, fmt.Errorf("%s is not docker", c.kind)
	}
	output, err := c.run(ctx, "info", "--format", "{{json .RegistryConfig}}")
	if err != nil {
		return nil, fmt.Errorf("docker info: %w: %s", err, lastLine(output))
	}
	var registries DockerRegistries
	if err := json.Unmarshal([]byte(lastJSON(output)), &registries); err != nil {
		return nil, fmt.Errorf("docker info: %w", err)
	}
	return &registries, nil
}

// lastJSON leaves out the warnings that docker prints before.
func lastJSON(output string) string {
	for line := range strings.Lines(output) {
		if strings.HasPrefix(line, "{") {
			return line
		}
	}
	return output
}
