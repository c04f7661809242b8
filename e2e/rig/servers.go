package rig

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Root is the folder of our go.mod, from anywhere below it.
func Root() (string, error) {
	directory, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; directory != "/"; directory = filepath.Dir(directory) {
		if _, err := os.Stat(filepath.Join(directory, "e2e", "tools", "versions")); err == nil {
			return directory, nil
		}
	}
	return "", errors.New("run this inside the source tree")
}

// Tool is the path of a program that e2e/tools/install built.
func Tool(ctx context.Context, name string) (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	out, err := exec.CommandContext(ctx, filepath.Join(root, "e2e", "tools", "install"), "path", name).Output()
	if err != nil {
		return "", fmt.Errorf("find %s: %w", name, err)
	}
	path := strings.TrimSpace(string(out))
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("find %s: %w; run e2e/tools/install", name, err)
	}
	return path, nil
}

// Build builds the gateway's binary into a directory and returns its path.
func Build(ctx context.Context, directory string) (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	binary := filepath.Join(directory, "sealgate")
	command := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-o", binary, "./cmd/sealgate")
	command.Dir = root
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build sealgate: %w\n%s", err, out)
	}
	return binary, nil
}

// registryConfig is the embedded registry's, as a file. It logs each request, as it does when nobody says otherwise, and as
// we do with each decision.
const registryConfig = `version: 0.1
log: {level: info}
storage:
  filesystem: {rootdirectory: %s}
  delete: {enabled: true}
  maintenance: {uploadpurging: {enabled: false}}
http: {addr: %s, relativeurls: true}
`

// Registry starts distribution's own registry with its storage and configuration in a directory.
func Registry(ctx context.Context, directory string) (*Program, error) {
	path, err := Tool(ctx, "registry")
	if err != nil {
		return nil, err
	}
	address, err := FreeAddress()
	if err != nil {
		return nil, err
	}
	config, err := write(directory, "registry.yaml", fmt.Sprintf(registryConfig, filepath.Join(directory, "registry"), address))
	if err != nil {
		return nil, err
	}
	return Start(ctx, Command{
		Name: "distribution", Path: path, Args: []string{"serve", config}, Dir: directory,
		Env: []string{"OTEL_TRACES_EXPORTER=none"}, Address: address, Ready: "/v2/",
	})
}

// Gateway is ours, with what a test may ask of it beside the protocol.
type Gateway struct {
	*Program
	Admin     string // host:port of the admin listener
	Directory string // its storage
}

// StartGateway starts the gateway's binary with its storage and configuration in a directory. The configuration is what
// stands below the keys listen, admin and storage, in YAML.
func StartGateway(ctx context.Context, binary, directory, config string) (*Gateway, error) {
	address, err := FreeAddress()
	if err != nil {
		return nil, err
	}
	admin, err := FreeAddress()
	if err != nil {
		return nil, err
	}
	storage := filepath.Join(directory, "storage")
	head := fmt.Sprintf("listen: {address: %q}\nadmin: {address: %q}\nstorage: {directory: %q}\n", address, admin, storage)
	file, err := write(directory, "sealgate.yaml", head+config)
	if err != nil {
		return nil, err
	}
	p, err := Start(ctx, Command{
		Name: "sealgate", Path: binary, Args: []string{"serve", "--config", file}, Dir: directory, Address: address, Ready: "/v2/",
	})
	if err != nil {
		return nil, err
	}
	return &Gateway{Program: p, Admin: admin, Directory: storage}, nil
}

// Nginx starts Debian's nginx as a reverse proxy. site is a text/template-free part of the configuration: the http block's
// inside, where LISTEN stands for the address.
func Nginx(ctx context.Context, directory, site string) (*Program, error) {
	path, err := exec.LookPath("nginx")
	if errors.Is(err, exec.ErrNotFound) {
		path, err = "/usr/sbin/nginx", nil // not on the PATH of people who are not root
	}
	if err != nil {
		return nil, err
	}
	address, err := FreeAddress()
	if err != nil {
		return nil, err
	}
	var config bytes.Buffer
	fmt.Fprintf(&config, "daemon off;\nworker_processes auto;\npid %s;\nerror_log stderr error;\n", filepath.Join(directory, "nginx.pid"))
	if os.Geteuid() == 0 {
		config.WriteString("user root;\n") // the folders are ours alone
	}
	config.WriteString("events { worker_connections 4096; }\nhttp {\naccess_log off;\n")
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&config, "%s_temp_path %s;\n", kind, filepath.Join(directory, "nginx-"+kind))
	}
	config.WriteString(strings.ReplaceAll(site, "LISTEN", address) + "}\n")
	file, err := write(directory, "nginx.conf", config.String())
	if err != nil {
		return nil, err
	}
	return Start(ctx, Command{Name: "nginx", Path: path, Args: []string{"-c", file, "-p", directory}, Dir: directory, Address: address, Ready: "/v2/"})
}

func write(directory, name, text string) (string, error) {
	path := filepath.Join(directory, name)
	if err := os.MkdirAll(directory, 0o755); err != nil {
		return "", err
	}
	return path, os.WriteFile(path, []byte(text), 0o600)
}
