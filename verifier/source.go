package verifier

import (
	"context"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/policy"
)

// Source is where evidence is read from. It is safe for concurrent use, and it bounds and hashes what it reads.
//
// Its errors say that it could not find out. The one exception is a thing that is definitely absent: such an error, or one
// that it wraps, has the method NotFound() bool, which returns true.
type Source interface {
	// Listed returns the descriptors of what refers to a subject, from every place where a registry may list it. When one
	// of the places fails, is throttled or answers nonsense, the whole list is an error.
	Listed(ctx context.Context, s policy.Subject) ([]ocispec.Descriptor, error)

	// Manifest returns a manifest's bytes and Content-Type. reference is a tag or a digest.
	Manifest(ctx context.Context, repo, reference string) (raw []byte, mediaType string, err error)

	// Blob returns a whole blob of at most limit bytes. A larger one is an error.
	Blob(ctx context.Context, repo string, d digest.Digest, limit int64) ([]byte, error)
}

// absent reports that an error says, definitively, that there is no such thing. Errors that were joined are not searched:
// "not found and also timed out" is not an absence.
func absent(err error) bool {
	for ; err != nil; err = errors.Unwrap(err) {
		if e, ok := err.(interface{ NotFound() bool }); ok {
			return e.NotFound()
		}
	}
	return false
}

// fetchManifest fetches a manifest that something names by its digest. That it is missing is a failure: it may be the very
// signature that is looked for.
func fetchManifest(ctx context.Context, source Source, repo string, d digest.Digest) ([]byte, string, error) {
	raw, mediaType, err := source.Manifest(ctx, repo, d.String())
	if err == nil && d.Algorithm().FromBytes(raw) != d {
		err = errOtherBytes
	}
	if err != nil {
		return nil, "", fmt.Errorf("fetch manifest %s: %w", d, err)
	}
	return raw, mediaType, nil
}

func fetchBlob(ctx context.Context, source Source, repo string, d ocispec.Descriptor, limit int64) ([]byte, error) {
	raw, err := source.Blob(ctx, repo, d.Digest, limit)
	if err == nil && d.Digest.Algorithm().FromBytes(raw) != d.Digest {
		err = errOtherBytes
	}
	if err != nil {
		return nil, fmt.Errorf("fetch blob %s: %w", d.Digest, err)
	}
	return raw, nil
}

var errOtherBytes = errors.New("other bytes came than the digest says")
