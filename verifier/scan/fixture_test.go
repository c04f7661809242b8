package scan

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/policy/manifest"
)

func TestMain(m *testing.M) {
	ServeChild()
	os.Exit(m.Run())
}

// store is a registry's blobs in memory.
type store map[digest.Digest][]byte

func (s store) OpenBlob(_ context.Context, _ string, d digest.Digest) (io.ReadCloser, int64, error) {
	raw, ok := s[d]
	if !ok {
		return nil, 0, errors.New("not found")
	}
	return &verified{bytes.NewReader(raw), raw, d}, int64(len(raw)), nil
}

// verified ends as [Blobs] says.
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

func (s store) add(mediaType string, raw []byte) ocispec.Descriptor {
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
	s[d.Digest] = raw
	return d
}

// image makes an image whose one layer holds one file.
func (s store) image(t testing.TB, content string) Image {
	t.Helper()
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	_ = w.WriteHeader(&tar.Header{Name: "word", Mode: 0o644, Size: int64(len(content)), Typeflag: tar.TypeReg})
	_, _ = w.Write([]byte(content))
	_ = w.Close()
	config, _ := json.Marshal(map[string]any{
		"os": "linux", "architecture": "amd64", "config": map[string]any{},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{digest.FromBytes(layer.Bytes()).String()}},
	})
	raw, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageManifest,
		"config": s.add(ocispec.MediaTypeImageConfig, config), "layers": []any{s.add(ocispec.MediaTypeImageLayer, layer.Bytes())},
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

func workplace(t testing.TB) *Workplace {
	t.Helper()
	w, err := OpenWorkplace(filepath.Join(t.TempDir(), "scan"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if left, _ := os.ReadDir(w.dir); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	})
	return w
}
