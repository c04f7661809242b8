package inspect

import (
	"context"
	"errors"
	"io"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/policy"
)

// untold is a registry that does not say how large its blobs are.
type untold struct{ store }

func (u untold) OpenBlob(ctx context.Context, repo string, d digest.Digest) (io.ReadCloser, int64, error) {
	body, _, err := u.store.OpenBlob(ctx, repo, d)
	return body, -1, err
}

// A bound of an image's size is one of what is stored, not of what the manifest says about it.
func TestSizesAreThoseOfTheLayers(t *testing.T) {
	layer := []byte("a layer of some bytes")
	needs := policy.ImageNeeds{Sizes: true}
	for says, valid := range map[int64]bool{21: true, 20: false, 22: false, 0: false} {
		s := store{digest.FromBytes(layer): layer}
		m := image(t, s, `{"config":{}}`, func(m *ocispec.Manifest) {
			m.Layers = []ocispec.Descriptor{{MediaType: ocispec.MediaTypeImageLayerGzip, Digest: digest.FromBytes(layer), Size: says}}
		})
		for name, blobs := range map[string]Blobs{"a registry that says": s, "one that does not": untold{s}} {
			_, err := Inspector{Blobs: blobs}.Inspect(t.Context(), "prod/app", m, needs)
			if valid != (err == nil) || errors.Is(err, ErrInvalid) == valid {
				t.Errorf("%s, %d bytes: got %v", name, says, err)
			}
		}
		if _, err := (Inspector{Blobs: s}).Inspect(t.Context(), "prod/app", m, policy.ImageNeeds{}); err != nil {
			t.Errorf("who does not ask: %v", err)
		}
		s[digest.FromBytes(layer)] = nil
		if _, err := (Inspector{Blobs: s}).Inspect(t.Context(), "prod/app", m, needs); !errors.Is(err, errOutage) || errors.Is(err, ErrInvalid) {
			t.Errorf("a layer that does not come: got %v", err)
		}
	}
}
