package node

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Client is the node's own client of its runtime, which does what the node does.
type Client struct {
	command     []string
	kind        string
	directories []string // of hosts.toml, for ctr, which reads no configuration
}

// NewClient takes a command with its first arguments, such as sudo-less "crictl --config FILE"; what it is says its name.
// Without a command it is the runtime's: crictl, or ctr where that is not installed, docker or podman.
func NewClient(runtime, command, socket string, directories []string) (Client, error) {
	c := Client{command: strings.Fields(command), directories: directories}
	if len(c.command) == 0 {
		c.command = standard(runtime, socket)
	}
	c.kind = filepath.Base(c.command[0])
	switch c.kind {
	case "crictl", "ctr", "docker", "podman":
		return c, nil
	}
	return c, fmt.Errorf("%s is no client that is known here: crictl, ctr, docker or podman", c.kind)
}

func standard(runtime, socket string) []string {
	switch runtime {
	case "containerd":
		if socket == "" {
			socket = "/run/containerd/containerd.sock"
		}
		if _, err := exec.LookPath("crictl"); err == nil {
			return []string{"crictl", "--runtime-endpoint", "unix://" + socket, "--image-endpoint", "unix://" + socket}
		}
		return []string{"ctr", "--address", socket, "--namespace", "k8s.io"}
	case "docker":
		if socket != "" {
			return []string{"docker", "--host", "unix://" + socket}
		}
		return []string{"docker"}
	}
	return []string{"podman"}
}

// String is the client's name.
func (c Client) String() string { return c.kind }

// Alive asks the runtime for a sign of life.
func (c Client) Alive(ctx context.Context) error {
	ask := map[string][]string{"crictl": {"images", "-q"}, "ctr": {"version"}, "docker": {"version"}, "podman": {"info"}}[c.kind]
	if output, err := c.run(ctx, ask...); err != nil {
		return fmt.Errorf("%s does not answer: %w: %s", c.kind, err, output)
	}
	return nil
}

// has reports whether the node has an image already.
func (c Client) has(ctx context.Context, image Image) (bool, error) {
	if c.kind == "ctr" {
		output, err := c.run(ctx, "images", "ls", "-q", "name=="+image.String())
		return strings.TrimSpace(output) != "", err
	}
	ask := map[string][]string{"crictl": {"inspecti", "-q"}, "docker": {"image", "inspect"}, "podman": {"image", "exists"}}[c.kind]
	_, err := c.run(ctx, append(ask, image.String())...)
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		return false, nil
	}
	return err == nil, err
}

// pull pulls an image and returns what the client printed. An error that is an [exec.ExitError] is the client's own.
func (c Client) pull(ctx context.Context, image Image) (output string, err error) {
	arguments := []string{"pull"}
	if c.kind == "ctr" {
		arguments = []string{"images", "pull"}
		for _, directory := range c.directories {
			if exists(directory) {
				arguments = append(arguments, "--hosts-dir", directory)
				break
			}
		}
	}
	return c.run(ctx, append(arguments, image.String())...)
}

func (c Client) remove(ctx context.Context, image Image) error {
	arguments := map[string][]string{"crictl": {"rmi"}, "ctr": {"images", "rm", "--sync"}, "docker": {"image", "rm"}, "podman": {"rmi"}}[c.kind]
	_, err := c.run(ctx, append(arguments, image.String())...)
	return err
}

// Bounds of one run of a client.
const (
	maxOutput = 16 << 10        // bytes, the last of what it printed
	patience  = 3 * time.Minute // podman tries for half a minute where nothing answers
)

func (c Client) run(ctx context.Context, arguments ...string) (output string, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	all := append(append([]string{}, c.command[1:]...), arguments...)
	command := exec.CommandContext(ctx, c.command[0], all...)
	var end tail
	command.Stdout, command.Stderr = &end, &end
	command.WaitDelay = time.Second
	err = command.Run()
	if ctx.Err() != nil {
		err = fmt.Errorf("%s: not done within %s", c.kind, patience) // be it killed: it said nothing
	}
	return strings.TrimSpace(string(end.bytes)), err
}

// tail keeps the last of what is written to it.
type tail struct{ bytes []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.bytes = append(t.bytes, p...)
	if over := len(t.bytes) - maxOutput; over > 0 {
		t.bytes = append(t.bytes[:0], t.bytes[over:]...)
	}
	return len(p), nil
}
