// Package scantest keeps images in memory, for the tests of scanners.
package scantest

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/policy/manifest"
)

// Blobs are a registry's, by their digests. A test may put other bytes in the place of one. They implement scan.Blobs.
type Blobs map[digest.Digest][]byte

// OpenBlob gives any repository the same blobs.
func (b Blobs) OpenBlob(_ context.Context, _ string, d digest.Digest) (io.ReadCloser, int64, error) {
	raw, ok := b[d]
	if !ok {
		return nil, 0, errors.New("not found")
	}
	return &verified{bytes.NewReader(raw), raw, d}, int64(len(raw)), nil
}

// verified ends in io.EOF only when its bytes are those that the digest names.
type verified struct {
	*bytes.Reader
	raw  []byte
	want digest.Digest
}

func (v *verified) Read(p []byte) (int, error) {
	n, err := v.Reader.Read(p)
	if errors.Is(err, io.EOF) && digest.FromBytes(v.raw) != v.want {
		return n, errors.New("other bytes came than the digest says")
	}
	return n, err
}

func (*verified) Close() error { return nil }

// Add adds a blob, and describes it.
func (b Blobs) Add(mediaType string, raw []byte) ocispec.Descriptor {
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
	b[d.Digest] = raw
	return d
}

// Image adds the blobs of an image for linux on amd64, whose one layer has these files, and returns its manifest.
func (b Blobs) Image(t testing.TB, files map[string]string) *manifest.Manifest {
	t.Helper()
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(files[name])), Typeflag: tar.TypeReg})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, files[name]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	config := fmt.Appendf(nil, `{"os":"linux","architecture":"amd64","config":{},"rootfs":{"type":"layers","diff_ids":[%q]}}`, digest.FromBytes(layer.Bytes()))
	raw, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageManifest,
		"config": b.Add(ocispec.MediaTypeImageConfig, config), "layers": []any{b.Add(ocispec.MediaTypeImageLayer, layer.Bytes())},
	})
	if err != nil {
		t.Fatal(err)
	}
	m, err := manifest.Parse(raw, ocispec.MediaTypeImageManifest)
	if err != nil {
		t.Fatal(err)
	}
	return m
}
