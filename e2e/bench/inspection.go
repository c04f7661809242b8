package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	fast "github.com/klauspost/compress/gzip"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/policy/manifest"
	"github.com/sealgate/sealgate/verifier/inspect"
)

// inspectLayers measures G17: an image with a layer of our own program and one of Go's sources, inspected
// with every check on. Decompression alone, by the same library, is the limit.
func inspectLayers(ctx context.Context, b *bench) ([]finding, error) {
	layers, err := layersOf(b.sealgate)
	if err != nil {
		return nil, err
	}
	blobs, m, size, err := imageOf(layers)
	if err != nil {
		return nil, err
	}
	inspection := func(ctx context.Context) error {
		image, err := inspect.Inspector{Blobs: blobs}.Inspect(ctx, "bench/app", m, policy.ImageNeeds{Account: true, Group: true, Config: true, Layers: true})
		if err == nil && len(image.Content.Flaws) > 0 {
			err = fmt.Errorf("the image is flawed: %v", image.Content.Flaws)
		}
		return err
	}
	inflation := func(context.Context) error {
		for _, d := range m.Layers {
			r, err := fast.NewReader(bytes.NewReader(blobs[d.Digest]))
			if err != nil {
				return err
			}
			if _, err := io.Copy(io.Discard, r); err != nil {
				return err
			}
		}
		return nil
	}

	var ours, limit []time.Duration
	for round := range b.rounds + 1 {
		us, err := spent(ctx, runtime.GOMAXPROCS(0), inspection)
		if err != nil {
			return nil, err
		}
		least, err := spent(ctx, runtime.GOMAXPROCS(0), inflation)
		if err != nil {
			return nil, err
		}
		if round > 0 { // the first one warms up
			ours, limit = append(ours, us), append(limit, least)
		}
	}
	rate := func(cpu time.Duration) float64 { return float64(size) / 1e6 / cpu.Seconds() }
	us, least := median(ours), median(limit)
	return []finding{{
		"G17", fmt.Sprintf("inspecting %d MB in gzip, every check on", size/1e6),
		fmt.Sprintf("%.0f MB/s a core; gzip alone %.0f MB/s", rate(us), rate(least)), ">= 150 MB/s", rate(us) >= 150,
	}}, nil
}

// layersOf makes the tars of two layers: one with a program, one with thousands of small files of text.
func layersOf(program string) ([][]byte, error) {
	binary, err := os.ReadFile(program)
	if err != nil {
		return nil, err
	}
	binary = binary[:min(len(binary), 32<<20)]
	files := map[string][]byte{}
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return nil, fmt.Errorf("find sources: %w", err)
	}
	sources, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(root)), "src", "*", "*.go"))
	if err != nil || len(sources) == 0 {
		return nil, fmt.Errorf("find sources: %d, %w", len(sources), err)
	}
	var names []string
	for size := 0; size < 24<<20; {
		for _, source := range sources {
			raw, err := os.ReadFile(source)
			if err != nil {
				return nil, err
			}
			name := fmt.Sprintf("usr/src/%d/%s/%s", size>>23, filepath.Base(filepath.Dir(source)), filepath.Base(source))
			if files[name] == nil {
				names = append(names, name)
			}
			files[name] = raw
			if size += len(raw); size >= 24<<20 {
				break
			}
		}
	}
	one, err := tarOf([]string{"usr/bin/app"}, map[string][]byte{"usr/bin/app": binary}, 0o755)
	if err != nil {
		return nil, err
	}
	two, err := tarOf(names, files, 0o644)
	return [][]byte{one, two}, err
}

func tarOf(names []string, files map[string][]byte, mode int64) ([]byte, error) {
	var raw bytes.Buffer
	w := tar.NewWriter(&raw)
	for _, name := range names {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(files[name]))}); err != nil {
			return nil, err
		}
		if _, err := w.Write(files[name]); err != nil {
			return nil, err
		}
	}
	return raw.Bytes(), w.Close()
}

// memory is a registry's blobs.
type memory map[digest.Digest][]byte

func (m memory) Blob(_ context.Context, _ string, d digest.Digest, _ int64) ([]byte, error) {
	return m[d], nil
}

func (m memory) OpenBlob(_ context.Context, _ string, d digest.Digest) (io.ReadCloser, int64, error) {
	return io.NopCloser(bytes.NewReader(m[d])), int64(len(m[d])), nil
}

func (m memory) add(mediaType string, raw []byte) ocispec.Descriptor {
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
	m[d.Digest] = raw
	return d
}

// imageOf packs layers into an image. size is that of the layers without compression.
func imageOf(layers [][]byte) (blobs memory, m *manifest.Manifest, size int64, err error) {
	blobs = memory{}
	doc := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
	config := ocispec.Image{Config: ocispec.ImageConfig{User: "65532:65532"}, RootFS: ocispec.RootFS{Type: "layers"}}
	for _, raw := range layers {
		var packed bytes.Buffer
		w := gzip.NewWriter(&packed)
		if _, err := w.Write(raw); err != nil {
			return nil, nil, 0, err
		}
		if err := w.Close(); err != nil {
			return nil, nil, 0, err
		}
		doc.Layers = append(doc.Layers, blobs.add(ocispec.MediaTypeImageLayerGzip, packed.Bytes()))
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, digest.FromBytes(raw))
		size += int64(len(raw))
	}
	raw, err := json.Marshal(config)
	if err != nil {
		return nil, nil, 0, err
	}
	doc.Config = blobs.add(ocispec.MediaTypeImageConfig, raw)
	if raw, err = json.Marshal(doc); err != nil {
		return nil, nil, 0, err
	}
	m, err = manifest.Parse(raw, doc.MediaType)
	return blobs, m, size, err
}
