package scan

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/policy/manifest"
	"github.com/sealgate/sealgate/verifier/scan/scantest"
)

// far is a registry that needs a second for each answer.
type far struct {
	scantest.Blobs
	asked, now, most *atomic.Int32
}

func (f far) OpenBlob(ctx context.Context, repo string, d digest.Digest) (io.ReadCloser, int64, error) {
	f.asked.Add(1)
	if now := f.now.Add(1); now > f.most.Load() {
		f.most.Store(now)
	}
	defer f.now.Add(-1)
	select {
	case <-ctx.Done():
		return nil, 0, context.Cause(ctx)
	case <-time.After(time.Second):
		return f.Blobs.OpenBlob(ctx, repo, d)
	}
}

// layered is an image of eight layers, of which two are the same.
func layered(t *testing.T, blobs scantest.Blobs) Image {
	t.Helper()
	var layers []ocispec.Descriptor
	for i := range 8 {
		layers = append(layers, blobs.Add(ocispec.MediaTypeImageLayer, fmt.Appendf(nil, "layer %d", i%7)))
	}
	raw, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageManifest,
		"config": blobs.Add(ocispec.MediaTypeImageConfig, []byte("{}")), "layers": layers,
	})
	if err != nil {
		t.Fatal(err)
	}
	m, err := manifest.Parse(raw, ocispec.MediaTypeImageManifest)
	if err != nil {
		t.Fatal(err)
	}
	return Image{Repo: "prod/app", Manifest: m}
}

func TestThePartsOfAnImageAreFetchedSideBySide(t *testing.T) {
	registry := far{scantest.Blobs{}, new(atomic.Int32), new(atomic.Int32), new(atomic.Int32)}
	image, w := layered(t, registry.Blobs), workplace(t)
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		folder, done, err := w.LayOut(t.Context(), registry, image)
		if err != nil {
			t.Fatal(err)
		}
		defer done()
		if took := time.Since(began); took != 3*time.Second || registry.most.Load() != 3 || registry.asked.Load() != 8 {
			t.Errorf("%d fetches, %d at once, took %s, want 8, 3 and 3s", registry.asked.Load(), registry.most.Load(), took)
		}
		for _, d := range append(image.Manifest.Layers, image.Manifest.Config) {
			raw, err := os.ReadFile(blobPath(filepath.Join(folder, LayoutName), d))
			if err != nil || digest.FromBytes(raw) != d.Digest {
				t.Errorf("%s: got %q, %v", d.Digest, raw, err)
			}
		}
	})
}

func TestAPartThatCannotBeFetchedEndsTheOthers(t *testing.T) {
	registry := far{scantest.Blobs{}, new(atomic.Int32), new(atomic.Int32), new(atomic.Int32)}
	image, w := layered(t, registry.Blobs), workplace(t)
	missing := image.Manifest.Layers[1].Digest
	delete(registry.Blobs, missing)
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		_, _, err := w.LayOut(t.Context(), registry, image)
		if err == nil || !strings.Contains(err.Error(), missing.String()) || errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("the others were waited for, %s", took)
		}
	})
}
