package inspect

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/policy/manifest"
)

// everything is what a rule with all checks needs.
var everything = policy.ImageNeeds{Account: true, Group: true, Config: true, Layers: true}

// entry is a tar entry; a name without anything else is an empty file.
type entry struct {
	name, content string
	header        tar.Header
}

func file(name, content string) entry { return entry{name: name, content: content} }

func with(name, content string, change func(*tar.Header)) entry {
	e := entry{name: name, content: content}
	change(&e.header)
	return e
}

func link(name, to string) entry {
	return with(name, "", func(h *tar.Header) { h.Typeflag, h.Linkname = tar.TypeSymlink, to })
}

func mode(name string, mode int64) entry {
	return with(name, "x", func(h *tar.Header) { h.Mode = mode })
}

// tarOf writes a tar as container tools do.
func tarOf(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := e.header
		h.Name = e.name
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
			if strings.HasSuffix(e.name, "/") {
				h.Typeflag = tar.TypeDir
			}
		}
		if h.Size == 0 {
			h.Size = int64(len(e.content))
		}
		if h.Mode == 0 && h.Typeflag != tar.TypeXGlobalHeader {
			h.Mode = 0o644
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zip(t testing.TB, raw []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(raw); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zstded(t testing.TB, raw []byte, options ...zstd.EOption) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil, options...)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	return w.EncodeAll(raw, nil)
}

// blob is a layer as it is stored, with its type and what the configuration says that it unpacks to.
type blob struct {
	raw         []byte
	mediaType   string
	diffID      digest.Digest
	annotations map[string]string
}

// plainly is a layer that is nothing but a tar.
func plainly(t testing.TB, entries ...entry) blob {
	raw := tarOf(t, entries...)
	return blob{raw: raw, mediaType: ocispec.MediaTypeImageLayer, diffID: digest.FromBytes(raw)}
}

// build stores an image of these layers. settings are the configuration's "config".
func build(t testing.TB, s store, settings string, layers ...blob) *manifest.Manifest {
	t.Helper()
	doc := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Layers: []ocispec.Descriptor{}}
	doc.SchemaVersion = 2
	diffIDs := []digest.Digest{}
	for _, l := range layers {
		d := digest.FromBytes(l.raw)
		s[d] = l.raw
		doc.Layers = append(doc.Layers, ocispec.Descriptor{MediaType: l.mediaType, Digest: d, Size: int64(len(l.raw)), Annotations: l.annotations})
		diffIDs = append(diffIDs, l.diffID)
	}
	if settings == "" {
		settings = `{"User":"65532:65532"}`
	}
	ids, err := json.Marshal(diffIDs)
	if err != nil {
		t.Fatal(err)
	}
	config := []byte(`{"config":` + settings + `,"rootfs":{"type":"layers","diff_ids":` + string(ids) + `}}`)
	s[digest.FromBytes(config)] = config
	doc.Config = ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: digest.FromBytes(config), Size: int64(len(config))}
	raw, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	m, err := manifest.Parse(raw, doc.MediaType)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func inspectAll(t testing.TB, s store, m *manifest.Manifest) policy.Image {
	t.Helper()
	image, err := Inspector{Blobs: s}.Inspect(t.Context(), "prod/app", m, everything)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// flawOf inspects an image of these layers and returns its flaw, empty for none.
func flawOf(t testing.TB, layers ...blob) string {
	t.Helper()
	s := store{}
	image := inspectAll(t, s, build(t, s, "", layers...))
	if len(image.Content.Flaws) == 0 {
		return ""
	}
	return image.Content.Flaws[0].Why
}

// findingsOf lists what a check found in an image of these layers, as "path: what".
func findingsOf(t testing.TB, check policy.Check, layers ...blob) []string {
	t.Helper()
	s := store{}
	image := inspectAll(t, s, build(t, s, "", layers...))
	if len(image.Content.Flaws) > 0 {
		t.Fatalf("a flaw: %+v", image.Content.Flaws)
	}
	list := []string{}
	for _, f := range image.Content.Findings {
		if f.Check == check {
			list = append(list, strings.TrimSuffix(f.Path+": "+f.What, ": "))
		}
	}
	return list
}

// counting counts the bytes of layers that are read.
type counting struct {
	store
	mu   sync.Mutex
	read map[digest.Digest]int64
}

func (c *counting) OpenBlob(ctx context.Context, repo string, d digest.Digest) (io.ReadCloser, int64, error) {
	body, size, err := c.store.OpenBlob(ctx, repo, d)
	if err != nil {
		return nil, 0, err
	}
	return &countedBody{body, c, d}, size, nil
}

type countedBody struct {
	io.ReadCloser
	to *counting
	d  digest.Digest
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.to.mu.Lock()
	defer b.to.mu.Unlock()
	b.to.read[b.d] += int64(n)
	return n, err
}
