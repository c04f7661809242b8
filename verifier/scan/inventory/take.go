package inventory

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/policy/manifest"
	"github.com/sealgate/sealgate/verifier/inspect"
)

// Taker takes inventories, each in a child. It is safe for concurrent use; how many children there are at a time is the
// caller's to bound.
type Taker struct {
	// Directory is where the layers lie while they are read, in a file without a name. Empty is the system's directory for
	// temporary files.
	Directory string

	Limits Limits
}

// Take says what is in an image. An error with [inspect.ErrInvalid] is the image's fault, any other has [ErrUnknown].
func (t Taker) Take(ctx context.Context, image Image) (*Inventory, error) {
	limits := t.Limits.orDefaults()
	request, layers, err := image.open(limits)
	defer closeAll(layers)
	if err != nil {
		return nil, wrapped(err)
	}
	spool, err := nameless(t.Directory)
	if err != nil {
		return nil, fmt.Errorf("%w: make room for its layers: %w", ErrUnknown, err)
	}
	defer spool.Close()

	raw, err := ask(ctx, t.Directory, limits, request, append([]*os.File{spool}, layers...))
	if err != nil {
		return nil, wrapped(err)
	}
	return readAnswer(raw, image.Manifest)
}

// wrapped makes sure that an error says whose fault it is.
func wrapped(err error) error {
	if errors.Is(err, inspect.ErrInvalid) || errors.Is(err, ErrUnknown) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnknown, err)
}

// open opens an image's layers. Their bytes are checked where they are read.
func (i Image) open(limits Limits) (*request, []*os.File, error) {
	raw, err := i.read(ocispec.Descriptor{Digest: i.Manifest, Size: -1}, manifestLimit)
	if err != nil {
		return nil, nil, err
	}
	m, err := manifest.Parse(raw, typeOf(raw))
	if err != nil {
		return nil, nil, err
	}
	switch {
	case m.IsIndex():
		return nil, nil, fmt.Errorf("%s is an index, not an image", i.Manifest)
	case len(m.Layers) > inspect.MaxLayers:
		return nil, nil, fmt.Errorf("%w: it has %d layers, %d are read", inspect.ErrInvalid, len(m.Layers), inspect.MaxLayers)
	}
	config, err := i.read(m.Config, inspect.MaxConfigBytes)
	if err != nil {
		return nil, nil, err
	}
	var layers []*os.File
	for _, d := range m.Layers {
		f, err := i.openBlob(d.Digest)
		if err != nil {
			return nil, layers, err
		}
		layers = append(layers, f)
	}
	return &request{Image: i.Manifest, Config: config, Layers: m.Layers, Limits: limits}, layers, nil
}

// typeOf is the type that a manifest gives itself. One that gives none is OCI's.
func typeOf(raw []byte) string {
	var typed struct {
		MediaType string `json:"mediaType"`
	}
	if err := json.Unmarshal(raw, &typed); err != nil || typed.MediaType == "" {
		return ocispec.MediaTypeImageManifest
	}
	return typed.MediaType
}

const manifestLimit = 4 << 20

// openBlob opens a blob's file, and nothing that it leads to: a scanner that reads the same layout may have put there a pipe
// that waits for its other end, or a link to what only the gateway may read.
func (i Image) openBlob(d digest.Digest) (*os.File, error) {
	root, err := os.OpenRoot(i.Layout)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	f, err := root.OpenFile(blob(d), os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	if stat, err := f.Stat(); err != nil || !stat.Mode().IsRegular() {
		return nil, errors.Join(fmt.Errorf("%s is no file", d), err, f.Close())
	}
	return f, nil
}

// read reads a small blob, and makes sure that it is the one of that name.
func (i Image) read(d ocispec.Descriptor, limit int64) ([]byte, error) {
	if err := manifest.CheckDigest(d.Digest); err != nil {
		return nil, err
	}
	f, err := i.openBlob(d.Digest)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, limit+1))
	switch {
	case err != nil:
		return nil, err
	case int64(len(raw)) > limit:
		return nil, fmt.Errorf("%w: %s has more than %d bytes", inspect.ErrInvalid, d.Digest, limit)
	case d.Digest.Algorithm().FromBytes(raw) != d.Digest:
		return nil, fmt.Errorf("%s: other bytes are there than the digest says", d.Digest)
	case d.Size >= 0 && int64(len(raw)) != d.Size:
		return nil, fmt.Errorf("%w: %s has %d bytes, the manifest says %d", inspect.ErrInvalid, d.Digest, len(raw), d.Size)
	}
	return raw, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}

// line is a text that others wrote as one line of a message.
func line(text string) string {
	const most = 400
	if len(text) > most {
		text = text[:most] + "..."
	}
	return policy.Printable(text)
}
