package main

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Inside the image.
const (
	user    = 65532 // who runs it, as in distroless images: nobody that a host knows
	program = "/sealgate"
	storage = "/var/lib/sealgate" // the one place that it writes to; put a volume there
)

// contents are what goes into an image. The same contents make the same image, whoever makes it, where and when.
type contents struct {
	Binary       []byte // sealgate, static
	Certificates []byte // PEM: the authorities that upstream registries' certificates are checked against
	Version      string
	Created      time.Time // the zero value is 1970, which says that nobody knows
}

// build makes an image that holds a program, certificates, and nothing that a burglar could use: no shell, no package
// manager, no setuid file, no file that its user may change outside of storage and /tmp.
func build(c contents) (v1.Image, error) {
	architecture, err := staticFor(c.Binary)
	if err != nil {
		return nil, err
	}
	if !bytes.Contains(c.Certificates, []byte("-----BEGIN CERTIFICATE-----")) {
		return nil, errors.New("the certificates are not PEM")
	}
	if c.Created.IsZero() {
		c.Created = time.Unix(0, 0)
	}
	created := c.Created.UTC()

	base, err := layer(created, []file{
		{name: "etc/", mode: 0o755},
		{name: "etc/group", mode: 0o644, content: fmt.Appendf(nil, "root:x:0:\nsealgate:x:%d:\n", user)},
		{name: "etc/passwd", mode: 0o644, content: fmt.Appendf(nil,
			"root:x:0:0:root:/:/sbin/nologin\nsealgate:x:%d:%d:sealgate:%s:/sbin/nologin\n", user, user, storage)},
		{name: "etc/ssl/", mode: 0o755},
		{name: "etc/ssl/certs/", mode: 0o755},
		{name: "etc/ssl/certs/ca-certificates.crt", mode: 0o644, content: c.Certificates},
		{name: "tmp/", mode: 0o1777},
		{name: "var/", mode: 0o755},
		{name: "var/lib/", mode: 0o755},
		{name: storage[1:] + "/", mode: 0o700, owner: user}, // a new volume takes its owner and mode
	})
	if err != nil {
		return nil, err
	}
	top, err := layer(created, []file{{name: program[1:], mode: 0o755, content: c.Binary}})
	if err != nil {
		return nil, err
	}

	image := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	image = mutate.ConfigMediaType(image, types.OCIConfigJSON)
	image, err = mutate.Append(image,
		mutate.Addendum{Layer: base, History: v1.History{Created: v1.Time{Time: created}, CreatedBy: "certificates and folders"}},
		mutate.Addendum{Layer: top, History: v1.History{Created: v1.Time{Time: created}, CreatedBy: "sealgate " + c.Version}},
	)
	if err != nil {
		return nil, fmt.Errorf("append layers: %w", err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Created = "linux", architecture, v1.Time{Time: created}
	config.Config = v1.Config{
		User:         fmt.Sprintf("%d:%d", user, user),
		Entrypoint:   []string{program},
		Cmd:          []string{"serve"},
		WorkingDir:   storage,
		ExposedPorts: map[string]struct{}{"5000/tcp": {}},
		Volumes:      map[string]struct{}{storage: {}},
		Env: []string{
			"SEALGATE_LISTEN_ADDRESS=0.0.0.0:5000", // a container's loopback is nobody's; health and metrics stay there
			"SEALGATE_STORAGE_DIRECTORY=" + storage,
		},
		Labels: map[string]string{
			"org.opencontainers.image.title":       "Sealgate",
			"org.opencontainers.image.description": "A gateway in front of container registries: what nobody vouches for does not run",
			"org.opencontainers.image.source":      "https://github.com/sealgate/sealgate",
			"org.opencontainers.image.licenses":    "Apache-2.0",
			"org.opencontainers.image.version":     c.Version,
		},
	}
	return mutate.ConfigFile(image, config)
}

// architectures names what ELF calls by number.
var architectures = map[elf.Machine]string{
	elf.EM_X86_64: "amd64", elf.EM_AARCH64: "arm64", elf.EM_RISCV: "riscv64", elf.EM_S390: "s390x",
}

// staticFor returns the architecture that a binary is for, as Go names it. A binary that needs a dynamic linker is an
// error: the image has none.
func staticFor(binary []byte) (string, error) {
	f, err := elf.NewFile(bytes.NewReader(binary))
	if err != nil {
		return "", fmt.Errorf("read binary: %w", err)
	}
	for _, segment := range f.Progs {
		if segment.Type == elf.PT_INTERP || segment.Type == elf.PT_DYNAMIC {
			return "", errors.New("the binary is not static; build it with CGO_ENABLED=0")
		}
	}
	architecture, ok := architectures[f.Machine]
	if !ok {
		return "", fmt.Errorf("the binary is for %s, which this does not know", f.Machine)
	}
	return architecture, nil
}

// file is an entry of a layer. A name that ends with a slash is a folder's.
type file struct {
	name    string
	mode    int64
	owner   int // of user and group; the zero value is root
	content []byte
}

func layer(at time.Time, files []file) (v1.Layer, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		kind := byte(tar.TypeReg)
		if f.name[len(f.name)-1] == '/' {
			kind = tar.TypeDir
		}
		if err := w.WriteHeader(&tar.Header{
			Typeflag: kind, Name: f.name, Mode: f.mode, Uid: f.owner, Gid: f.owner, Size: int64(len(f.content)),
			ModTime: at, Format: tar.FormatPAX,
		}); err != nil {
			return nil, fmt.Errorf("write %s: %w", f.name, err)
		}
		if _, err := w.Write(f.content); err != nil {
			return nil, fmt.Errorf("write %s: %w", f.name, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("write layer: %w", err)
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(b.Bytes())), nil
	}, tarball.WithMediaType(types.OCILayer), tarball.WithCompressedCaching)
}

// bundles are where systems keep their certificate authorities, in one file.
var bundles = []string{
	"/etc/ssl/certs/ca-certificates.crt", // Debian, Alpine, Arch
	"/etc/pki/tls/certs/ca-bundle.crt",   // Fedora
	"/etc/ssl/ca-bundle.pem",             // openSUSE
	"/etc/ssl/cert.pem",                  // macOS
}

func readCertificates() ([]byte, error) {
	for _, path := range bundles {
		raw, err := os.ReadFile(path)
		if !errors.Is(err, fs.ErrNotExist) {
			return raw, err
		}
	}
	return nil, fmt.Errorf("no certificate authorities in %v; install ca-certificates", bundles)
}
