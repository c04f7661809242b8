// Package inspect reads facts from an image itself: what its configuration and layers hold, not what anybody says about it.
//
// Everything that it reads was pushed by somebody, so everything is bounded, hashed against the descriptor that names it,
// and read in one way only: a runtime that finds another user or another file than the one that was judged is what must not
// happen. Where readers may differ, the image has a flaw and is refused. For the same reason an image counts as runnable
// whenever some runtime may start it, whatever it claims to be: see [manifest.Manifest.IsRunnable].
//
// A layer is read in one pass, from the registry through decompression, hash and tar reader into the checks. Nothing of it
// is written to disk, and no more than a few megabytes of it are in memory. What was found is remembered by the layer's
// digest: see [Layers].
package inspect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/policy/manifest"
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

	// OpenBlob streams a blob; size is its length in bytes, -1 when nobody said. The stream ends in io.EOF when its bytes
	// hash to d, and in another error otherwise. The caller closes it.
	OpenBlob(ctx context.Context, repo string, d digest.Digest) (body io.ReadCloser, size int64, err error)
}

// Inspector inspects what a registry holds.
type Inspector struct {
	Blobs  Blobs
	Layers *Layers // nil: nothing is remembered
}

// Inspect reads the facts of the image m of a repository that somebody needs, and no more: without needs it is the user as
// the configuration has it. An index has none: its images are inspected one by one.
//
// An error with [ErrInvalid] is the image's fault, one with [policy.ErrUnfinished] says that the layers are still being
// read and a later call will have them. What is odd about the layers is no error but a flaw in the result.
func (i Inspector) Inspect(ctx context.Context, repo string, m *manifest.Manifest, needs policy.ImageNeeds) (policy.Image, error) {
	if m.IsIndex() {
		return policy.Image{}, nil
	}
	bytes, err := sum(m)
	if err != nil {
		return policy.Image{}, err
	}
	image := policy.Image{Runnable: m.IsRunnable(), Layers: len(m.Layers), Bytes: bytes, BaseClaim: policy.BaseClaimOf(m.Annotations)}
	if !image.Runnable {
		return image, nil
	}

	raw, err := fetchConfig(ctx, i.Blobs, repo, m.Config)
	if err != nil {
		return policy.Image{}, err
	}
	if image.User, err = readUser(raw); err != nil {
		return policy.Image{}, err
	}
	named := needs.Account && hasName(image.User) || needs.Group && needsGroupFile(image.User)
	if needs.Sizes && !needs.Layers && !named { // else they are counted while they are read
		if err := i.checkSizes(ctx, repo, m); err != nil {
			return policy.Image{}, err
		}
	}
	if !needs.Config && !needs.Layers && !named {
		return image, nil
	}

	c, err := readConfig(raw)
	if err != nil {
		return policy.Image{}, err
	}
	if needs.Config {
		image.Config = c.facts()
	}
	if needs.Layers || named {
		files, err := i.readLayers(ctx, repo, m, c.RootFS.DiffIDs)
		if err != nil {
			return policy.Image{}, err
		}
		image.Content = files.content()
		image.Content.Program = files.machine(c.started())
		if named && len(image.Content.Flaws) == 0 {
			image.Account = files.account(image.User)
		}
	}
	return image, nil
}

// checkSizes makes sure that layers are as large as the manifest says: what a registry stores is what clients will fetch.
func (i Inspector) checkSizes(ctx context.Context, repo string, m *manifest.Manifest) error {
	for _, d := range m.Layers {
		size, err := sizeOf(ctx, i.Blobs, repo, d)
		if err != nil {
			return err
		}
		if size != d.Size {
			return fmt.Errorf("%w: its layer %s is not of the %d bytes that the manifest says", ErrInvalid, d.Digest, d.Size)
		}
	}
	return nil
}

// sizeOf is a layer's size, which is counted where the registry does not say it, up to one byte more than it should have.
func sizeOf(ctx context.Context, blobs Blobs, repo string, d ocispec.Descriptor) (int64, error) {
	body, size, err := blobs.OpenBlob(ctx, repo, d.Digest)
	if err != nil {
		return 0, fmt.Errorf("open layer %s: %w", d.Digest, err)
	}
	defer body.Close()
	if size >= 0 {
		return size, nil
	}
	if size, err = io.Copy(io.Discard, io.LimitReader(body, d.Size+1)); err != nil {
		return 0, fmt.Errorf("read layer %s: %w", d.Digest, err)
	}
	return size, nil
}

// hasName reports that who a user is takes the image's /etc/passwd.
func hasName(user string) bool {
	name, _, _ := strings.Cut(user, ":")
	return name != "" && name != "root" && !isNumber(name)
}

// needsGroupFile reports that which group it is takes the image's files.
func needsGroupFile(user string) bool {
	name, group, _ := strings.Cut(user, ":")
	switch {
	case group != "":
		return group != "root" && !isNumber(group)
	case name == "" || name == "root":
		return false
	}
	return true
}

func isNumber(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

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

var errOtherBytes = errors.New("other bytes came than the digest says")
