package keychain

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
)

// Docker has what docker's configuration says of a registry, or what the helper program gives that it names there. It is
// read again every minute. helper is the one program that may be run, by its absolute path, with that environment; empty
// for none: a configuration that names another is an error, never a reason to look for it on a path.
func Docker(host, file, helper string, environment []string) (*Keychain, error) {
	if helper != "" && !filepath.IsAbs(helper) {
		return nil, fmt.Errorf("the helper %s is not named by its absolute path", helper)
	}
	return &Keychain{host: host, get: func(ctx context.Context) (*authn.AuthConfig, time.Time, error) {
		config, err := readDocker(file)
		if err != nil {
			return nil, time.Time{}, fmt.Errorf("docker's configuration: %w", err)
		}
		name := config.helperFor(host)
		if name == "" {
			return config.accountOf(host), time.Time{}, nil
		}
		if helper == "" || filepath.Base(helper) != "docker-credential-"+name {
			return nil, time.Time{}, fmt.Errorf("docker's configuration has the credentials of %s kept by docker-credential-%s, which is not the helper that may be run", host, name)
		}
		account, err := run(ctx, helper, environment, config.serverOf(host))
		if err != nil {
			return nil, time.Time{}, fmt.Errorf("%s: %w", filepath.Base(helper), err)
		}
		return account, time.Time{}, nil
	}}, nil
}

// dockerConfig is docker's config.json, as far as it is about credentials.
type dockerConfig struct {
	Auths map[string]struct {
		Auth          string `json:"auth"`
		Username      string `json:"username"`
		Password      string `json:"password"`
		IdentityToken string `json:"identitytoken"`
		RegistryToken string `json:"registrytoken"`
	} `json:"auths"`
	CredsStore  string            `json:"credsStore"`
	CredHelpers map[string]string `json:"credHelpers"`
}

const maxDockerConfig = 1 << 20 // bytes

// readDocker reads a configuration; one that is not there says nothing.
func readDocker(file string) (config dockerConfig, err error) {
	f, err := os.Open(file)
	if errors.Is(err, os.ErrNotExist) {
		return config, nil
	}
	if err != nil {
		return config, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxDockerConfig+1))
	if err != nil {
		return config, err
	}
	if len(raw) > maxDockerConfig {
		return config, fmt.Errorf("%s has more than %d bytes", file, maxDockerConfig)
	}
	if json.Unmarshal(raw, &config) != nil {
		return config, fmt.Errorf("%s is not what docker writes", file) // and what it is may be a secret
	}
	return config, nil
}

// hostOf is the host in the name that docker keeps an account by: a host, or a URL of a registry.
func hostOf(name string) string {
	if _, rest, ok := strings.Cut(name, "://"); ok {
		name = rest
	}
	name, _, _ = strings.Cut(name, "/")
	return strings.ToLower(name)
}

func (c dockerConfig) helperFor(host string) string {
	for name, helper := range c.CredHelpers {
		if hostOf(name) == host {
			return helper
		}
	}
	return c.CredsStore
}

// serverOf is what a helper calls a registry by.
func (c dockerConfig) serverOf(host string) string {
	for name := range c.Auths {
		if hostOf(name) == host {
			return name
		}
	}
	if host == "index.docker.io" {
		return "https://index.docker.io/v1/"
	}
	return host
}

// accountOf is what stands in the file itself. The zero account is anonymous.
func (c dockerConfig) accountOf(host string) *authn.AuthConfig {
	for name, a := range c.Auths {
		if hostOf(name) != host {
			continue
		}
		account := &authn.AuthConfig{Username: a.Username, Password: a.Password, IdentityToken: a.IdentityToken, RegistryToken: a.RegistryToken}
		if plain, err := base64.StdEncoding.DecodeString(a.Auth); err == nil && a.Auth != "" {
			account.Username, account.Password, _ = strings.Cut(strings.TrimRight(string(plain), "\x00"), ":")
		}
		return account
	}
	return &authn.AuthConfig{}
}

// run asks a helper, by docker's protocol: the server's name goes in, a JSON document comes out.
func run(ctx context.Context, helper string, environment []string, server string) (*authn.AuthConfig, error) {
	command := exec.CommandContext(ctx, helper, "get")
	command.Env = environment
	command.Stdin = strings.NewReader(server)
	out := &bounded{most: maxAnswer}
	command.Stdout = out // what it says on the other pipe may be a secret too
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	command.Cancel = func() error { return syscall.Kill(-command.Process.Pid, syscall.SIGKILL) }
	command.WaitDelay = time.Second
	err := command.Run()
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("no answer in time: %w", ctx.Err())
	case out.over:
		return nil, fmt.Errorf("more than %d bytes", maxAnswer)
	case err != nil && bytes.Contains(out.kept, []byte("credentials not found")):
		return &authn.AuthConfig{}, nil // as the helpers of docker say that they have none
	case err != nil:
		return nil, err
	}
	var answer struct{ Username, Secret string }
	if json.Unmarshal(out.kept, &answer) != nil || answer.Secret == "" {
		return nil, errNoCredential
	}
	if answer.Username == "<token>" {
		return &authn.AuthConfig{IdentityToken: answer.Secret}, nil
	}
	return &authn.AuthConfig{Username: answer.Username, Password: answer.Secret}, nil
}

// bounded keeps at most so many bytes, and fails at the next.
type bounded struct {
	kept []byte
	most int
	over bool
}

func (b *bounded) Write(p []byte) (int, error) {
	if len(b.kept)+len(p) > b.most {
		b.over = true
		return 0, io.ErrShortWrite
	}
	b.kept = append(b.kept, p...)
	return len(p), nil
}
