// Package inspect reads facts from an image itself: what its configuration says, not what anybody says about it.
//
// Everything that it reads was pushed by somebody, so everything is bounded, hashed against the descriptor that names it,
// and read in one way only (package strictjson): a runtime that finds another user than the one that was judged is what
// must not happen. For the same reason an image counts as runnable whenever some runtime may start it, whatever it claims to
// be: see [manifest.Manifest.IsRunnable].
package inspect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/policy/manifest"
	"github.com/sealgate/sealgate/policy/strictjson"
)

// Bounds of what is read from an image.
const (
	MaxConfigBytes = 4 << 20 // an image configuration; real ones have a few kilobytes
)

// ErrInvalid is in every error that is the image's own fault, and such an error is a [manifest.ErrInvalid] as well. Any
// other error says that the image could not be read.
var ErrInvalid error = invalid("invalid image")

type invalid string

func (i invalid) Error() string        { return string(i) }
func (i invalid) Is(target error) bool { return target == manifest.ErrInvalid }

// Blobs is where an image's parts are read from. It is safe for concurrent use.
type Blobs interface {
	// Blob returns a whole blob of at most limit bytes. A larger one is an error.
	Blob(ctx context.Context, repo string, d digest.Digest, limit int64) ([]byte, error)
}

// Inspector inspects what a registry holds.
type Inspector struct {
	Blobs Blobs
}

// Inspect is [Read] from the inspector's blobs.
func (i Inspector) Inspect(ctx context.Context, repo string, m *manifest.Manifest) (policy.Image, error) {
	return Read(ctx, i.Blobs, repo, m)
}

// Read reads the facts of the image m of a repository. An index has none: its images are inspected one by one.
func Read(ctx context.Context, blobs Blobs, repo string, m *manifest.Manifest) (policy.Image, error) {
	if m.IsIndex() {
		return policy.Image{}, nil
	}

	bytes, err := sum(m)
	if err != nil {
		return policy.Image{}, err
	}
	image := policy.Image{Runnable: m.IsRunnable(), Layers: len(m.Layers), Bytes: bytes}
	if !image.Runnable {
		return image, nil
	}

	c, err := readConfig(ctx, blobs, repo, m.Config)
	if err != nil {
		return policy.Image{}, err
	}
	image.User = c.Config.User
	return image, nil
}

// sum adds up what the manifest says its parts weigh.
func sum(m *manifest.Manifest) (int64, error) {
	total := m.Config.Size
	for _, layer := range m.Layers {
		if layer.Size > math.MaxInt64-total {
			return 0, fmt.Errorf("%w: its sizes add up to more than a number can hold", ErrInvalid)
		}
		total += layer.Size
	}
	return total, nil
}

// config is the part of an image configuration that says how the container runs. The format is OCI's, which Docker's
// agrees with here: https://github.com/opencontainers/image-spec/blob/v1.1.1/config.md
//
// Whatever else says what runs is named too, so that its spelling is checked; its values are taken as they are.
type config struct {
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

func readConfig(ctx context.Context, blobs Blobs, repo string, d ocispec.Descriptor) (config, error) {
	if d.Size > MaxConfigBytes {
		return config{}, fmt.Errorf("%w: its configuration has %d bytes, %d are allowed", ErrInvalid, d.Size, MaxConfigBytes)
	}
	raw, err := blobs.Blob(ctx, repo, d.Digest, MaxConfigBytes)
	if err != nil {
		return config{}, fmt.Errorf("fetch configuration %s: %w", d.Digest, err)
	}
	if d.Digest.Algorithm().FromBytes(raw) != d.Digest {
		return config{}, fmt.Errorf("fetch configuration %s: %w", d.Digest, errOtherBytes)
	}
	if int64(len(raw)) != d.Size {
		return config{}, fmt.Errorf("%w: its configuration has %d bytes, the manifest says %d", ErrInvalid, len(raw), d.Size)
	}
	var c config
	if err := strictjson.Decode(raw, &c); err != nil {
		return config{}, fmt.Errorf("%w: its configuration: %w", ErrInvalid, err)
	}
	return c, nil
}

var errOtherBytes = errors.New("other bytes came than the digest says")
