package inspect

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/policy/manifest"
	"github.com/sealgate/sealgate/policy/strictjson"
)

// user is the part of an image configuration that says how the container runs. The format is OCI's, which Docker's agrees
// with here: https://github.com/opencontainers/image-spec/blob/v1.1.1/config.md
//
// Whatever else says what runs is named too, so that its spelling is checked; its values are taken as they are.
type user struct {
	OS     json.RawMessage `json:"os"`
	Config struct {
		User       string          `json:"User"`
		Env        json.RawMessage `json:"Env"`
		Entrypoint json.RawMessage `json:"Entrypoint"`
		Cmd        json.RawMessage `json:"Cmd"`
		WorkingDir json.RawMessage `json:"WorkingDir"`
		Labels     json.RawMessage `json:"Labels"`
		Volumes    json.RawMessage `json:"Volumes"`
	} `json:"config"`
	RootFS  json.RawMessage `json:"rootfs"`
	History json.RawMessage `json:"history"`
}

// config is what else is read of it, where a rule needs it.
type config struct {
	Created      string `json:"created"`
	OS           string `json:"os"`
	Architecture string `json:"architecture"`
	Variant      string `json:"variant"`
	Config       struct {
		Entrypoint   json.RawMessage            `json:"Entrypoint"`
		Cmd          json.RawMessage            `json:"Cmd"`
		WorkingDir   string                     `json:"WorkingDir"`
		Env          []string                   `json:"Env"`
		Labels       map[string]string          `json:"Labels"`
		ExposedPorts map[string]json.RawMessage `json:"ExposedPorts"`
		Volumes      map[string]json.RawMessage `json:"Volumes"`
	} `json:"config"`
	RootFS struct {
		DiffIDs []digest.Digest `json:"diff_ids"`
	} `json:"rootfs"`
	History []struct {
		CreatedBy  string `json:"created_by"`
		Comment    string `json:"comment"`
		EmptyLayer bool   `json:"empty_layer"`
	} `json:"history"`
}

// fetchConfig fetches a configuration, and makes sure that it is the one that the descriptor names.
func fetchConfig(ctx context.Context, blobs Blobs, repo string, d ocispec.Descriptor) ([]byte, error) {
	if d.Size > MaxConfigBytes {
		return nil, fmt.Errorf("%w: its configuration has %d bytes, %d are allowed", ErrInvalid, d.Size, MaxConfigBytes)
	}
	raw, err := blobs.Blob(ctx, repo, d.Digest, MaxConfigBytes)
	if err != nil {
		return nil, fmt.Errorf("fetch configuration %s: %w", d.Digest, err)
	}
	if d.Digest.Algorithm().FromBytes(raw) != d.Digest {
		return nil, fmt.Errorf("fetch configuration %s: %w", d.Digest, errOtherBytes)
	}
	if int64(len(raw)) != d.Size {
		return nil, fmt.Errorf("%w: its configuration has %d bytes, the manifest says %d", ErrInvalid, len(raw), d.Size)
	}
	return raw, nil
}

// Stack is what the configuration of an image says that it is built of, and for which platform. Nothing of it is held against
// the layers: it is the word of whoever published the image.
type Stack struct {
	Platform ocispec.Platform
	DiffIDs  []digest.Digest // one for each layer, the lowest first
}

// ReadStack reads the stack of an image that runs. An error with [ErrInvalid] is the image's fault.
func ReadStack(ctx context.Context, blobs Blobs, repo string, m *manifest.Manifest) (Stack, error) {
	if !m.IsRunnable() {
		return Stack{}, fmt.Errorf("%w: it is not an image that runs", ErrInvalid)
	}
	raw, err := fetchConfig(ctx, blobs, repo, m.Config)
	if err != nil {
		return Stack{}, err
	}
	c, err := readConfig(raw)
	if err != nil {
		return Stack{}, err
	}
	ids := c.RootFS.DiffIDs
	switch {
	case len(ids) == 0:
		return Stack{}, fmt.Errorf("%w: it has no layers", ErrInvalid)
	case len(ids) != len(m.Layers):
		return Stack{}, fmt.Errorf("%w: its configuration has %d diff ids, and its manifest %d layers", ErrInvalid, len(ids), len(m.Layers))
	}
	for _, id := range ids {
		if err := manifest.CheckDigest(id); err != nil || id.Algorithm() != digest.SHA256 {
			return Stack{}, fmt.Errorf("%w: its configuration has a diff id that is not sha256: and 64 digits", ErrInvalid)
		}
	}
	return Stack{Platform: ocispec.Platform{OS: c.OS, Architecture: c.Architecture, Variant: c.Variant}, DiffIDs: ids}, nil
}

func readUser(raw []byte) (string, error) {
	var u user
	if err := strictjson.Decode(raw, &u); err != nil {
		return "", fmt.Errorf("%w: its configuration: %w", ErrInvalid, err)
	}
	return u.Config.User, nil
}

func readConfig(raw []byte) (*config, error) {
	c := new(config)
	if err := strictjson.Decode(raw, c); err != nil {
		return nil, fmt.Errorf("%w: its configuration: %w", ErrInvalid, err)
	}
	return c, nil
}

// facts are what the policy is told of a configuration.
func (c *config) facts() *policy.Config {
	facts := &policy.Config{
		Labels:  c.Config.Labels,
		Ports:   slices.Sorted(maps.Keys(c.Config.ExposedPorts)),
		Volumes: slices.Sorted(maps.Keys(c.Config.Volumes)),
		OS:      c.OS, Architecture: c.Architecture, HistoryLayers: -1,
	}
	if len(c.History) > 0 {
		facts.HistoryLayers = 0
		for _, step := range c.History {
			if !step.EmptyLayer {
				facts.HistoryLayers++
			}
		}
	}
	if created, err := time.Parse(time.RFC3339Nano, c.Created); err == nil {
		facts.Created = created
	}
	facts.Findings = c.secrets()
	for _, port := range facts.Ports {
		if what := administration(port); what != "" {
			facts.Findings = append(facts.Findings, policy.ImageFinding{Check: policy.CheckPorts, Path: "config.ExposedPorts " + port, What: what})
		}
	}
	for _, volume := range facts.Volumes {
		if systemPaths[path.Clean("/"+volume)] {
			facts.Findings = append(facts.Findings, policy.ImageFinding{Check: policy.CheckVolumes, Path: "config.Volumes " + volume})
		}
	}
	return facts
}

// started lists where the program may be that a configuration starts, the first that is there counts.
func (c *config) started() []string {
	var argument []string
	for _, raw := range []json.RawMessage{c.Config.Entrypoint, c.Config.Cmd} {
		var all []string
		if json.Unmarshal(raw, &all) == nil && len(all) > 0 { // old tools write a line for the shell
			argument = all
			break
		}
	}
	switch {
	case len(argument) == 0:
		return nil
	case strings.Contains(argument[0], "/"):
		if path.IsAbs(argument[0]) {
			return []string{path.Clean(argument[0])}
		}
		return []string{path.Join("/", c.Config.WorkingDir, argument[0])}
	}
	search := "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	for _, variable := range c.Config.Env {
		if value, ok := strings.CutPrefix(variable, "PATH="); ok {
			search = value
		}
	}
	var all []string
	for _, dir := range strings.Split(search, ":") {
		all = append(all, path.Join("/", dir, argument[0]))
	}
	return all
}

// administration names the protocol when a port is one by which machines are administered.
func administration(port string) string {
	number, _, _ := strings.Cut(port, "/")
	return administrationPorts[number]
}

var administrationPorts = map[string]string{
	"22": "SSH", "23": "telnet", "2375": "Docker", "2376": "Docker", "3389": "remote desktop", "5900": "VNC",
	"5985": "WinRM", "5986": "WinRM", "10250": "kubelet",
}

// systemPaths are where a volume would cover the system's own files, or those of the machine.
var systemPaths = map[string]bool{
	"/": true, "/bin": true, "/boot": true, "/dev": true, "/etc": true, "/lib": true, "/lib64": true, "/proc": true, "/root": true,
	"/run": true, "/run/docker.sock": true, "/sbin": true, "/sys": true, "/usr": true, "/usr/bin": true, "/usr/sbin": true,
	"/var/lib/containerd": true, "/var/lib/docker": true, "/var/lib/kubelet": true, "/var/run": true, "/var/run/docker.sock": true,
}

// secrets looks for secrets in a configuration: by the rules for files, and by the names of variables.
func (c *config) secrets() []policy.ImageFinding {
	var found []policy.ImageFinding
	scanner := newScanner()
	add := func(path, rule string) {
		f := policy.ImageFinding{Check: policy.CheckSecrets, Path: path, What: rule}
		if !slices.Contains(found, f) {
			found = append(found, f)
		}
	}
	look := func(path, text string) {
		for _, rule := range scanner.text(text) {
			add(path, rule)
		}
	}

	for _, variable := range c.Config.Env {
		name, value, _ := strings.Cut(variable, "=")
		path := "config.Env " + name
		if holdsSecret(name, value) {
			add(path, "secret-variable")
		}
		look(path, variable)
	}
	for _, label := range slices.Sorted(maps.Keys(c.Config.Labels)) {
		look("config.Labels "+label, label+"="+c.Config.Labels[label])
	}
	for i, step := range c.History {
		path := fmt.Sprintf("history[%d]", i)
		for _, word := range strings.Fields(step.CreatedBy) { // ENV and ARG, and the arguments that a RUN got
			if name, value, ok := strings.Cut(word, "="); ok && holdsSecret(strings.TrimLeft(name, `"'`), strings.Trim(value, `"'`)) {
				add(path, "secret-variable")
			}
		}
		look(path, step.CreatedBy)
		look(path, step.Comment)
	}
	return found
}

var secretSuffixes = []string{
	"PASSWORD", "PASSWD", "SECRET", "TOKEN", "API_KEY", "APIKEY", "ACCESS_KEY", "SECRET_KEY", "PRIVATE_KEY", "CREDENTIALS",
}

// holdsSecret reports that a variable is called like a secret and holds more than where one is, or whether there is one.
func holdsSecret(name, value string) bool {
	name = strings.ToUpper(name)
	if !slices.ContainsFunc(secretSuffixes, func(suffix string) bool { return name == suffix || strings.HasSuffix(name, "_"+suffix) }) {
		return false
	}
	if strings.Contains(name, "ALLOW_EMPTY") || strings.Contains(name, "RANDOM") {
		return false
	}
	switch strings.ToLower(value) {
	case "", "0", "1", "true", "false", "yes", "no", "none", "null":
		return false
	}
	return !strings.ContainsAny(value[:1], "/$<{") // a file, a reference, a place to fill in
}
