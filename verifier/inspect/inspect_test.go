package inspect

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/policy/manifest"
)

// store is a registry's blobs in memory. What is nil fails to come.
type store map[digest.Digest][]byte

func (s store) OpenBlob(ctx context.Context, repo string, d digest.Digest) (io.ReadCloser, int64, error) {
	raw, err := s.Blob(ctx, repo, d, math.MaxInt64)
	if err != nil {
		return nil, 0, err
	}
	if digest.FromBytes(raw) != d {
		return io.NopCloser(io.MultiReader(bytes.NewReader(raw), failing{})), int64(len(raw)), nil
	}
	return io.NopCloser(bytes.NewReader(raw)), int64(len(raw)), nil
}

// failing is what a registry client says where the bytes are not those of the digest.
type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errOutage }

// read inspects an image for a rule that asks for nothing but the user.
func read(t *testing.T, blobs Blobs, m *manifest.Manifest) (policy.Image, error) {
	t.Helper()
	return Inspector{Blobs: blobs}.Inspect(t.Context(), "prod/app", m, policy.ImageNeeds{})
}

var errOutage = errors.New("connection reset")

func (s store) Blob(_ context.Context, _ string, d digest.Digest, limit int64) ([]byte, error) {
	raw, ok := s[d]
	if !ok || raw == nil {
		return nil, errOutage
	}
	if int64(len(raw)) > limit {
		return nil, fmt.Errorf("%s is larger than %d", d, limit)
	}
	return raw, nil
}

// image makes a manifest and stores its configuration. change may alter the document before it is parsed.
func image(t *testing.T, s store, config string, change func(*ocispec.Manifest)) *manifest.Manifest {
	t.Helper()
	raw := []byte(config)
	s[digest.FromBytes(raw)] = raw
	doc := ocispec.Manifest{
		MediaType: ocispec.MediaTypeImageManifest,
		Config:    ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: digest.FromBytes(raw), Size: int64(len(raw))},
		Layers: []ocispec.Descriptor{
			{MediaType: ocispec.MediaTypeImageLayerGzip, Digest: digest.FromString("one"), Size: 1000},
			{MediaType: ocispec.MediaTypeImageLayerGzip, Digest: digest.FromString("two"), Size: 200},
		},
	}
	doc.SchemaVersion = 2
	if change != nil {
		change(&doc)
	}
	document, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	m, err := manifest.Parse(document, doc.MediaType)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestAnImageIsReadFromItsConfiguration(t *testing.T) {
	const config = `{"os":"linux","config":{"User":"65532:65532","Env":["A=b"],"Labels":{"user":"root","User":"x"}},` +
		`"rootfs":{"type":"layers","diff_ids":[]}}`
	s := store{}
	m := image(t, s, config, nil)
	got, err := read(t, s, m)
	want := policy.Image{Runnable: true, User: "65532:65532", Layers: 2, Bytes: 1200 + int64(len(config))}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
}

func TestAnImageWithoutAUserHasNone(t *testing.T) {
	for _, config := range []string{`{}`, `{"config":null}`, `{"config":{}}`, `{"config":{"User":""}}`, `{"config":{"User":null}}`} {
		s := store{}
		got, err := read(t, s, image(t, s, config, nil))
		if err != nil || got.User != "" || !got.Runnable {
			t.Errorf("%s: got %+v, %v", config, got, err)
		}
	}
}

func TestAmbiguousConfigurationsAreTheImagesFault(t *testing.T) {
	for name, config := range map[string]string{
		"the user twice":            `{"config":{"User":"65532","User":"0"}}`,
		"the user in another case":  `{"config":{"user":"65532"}}`,
		"the user in both cases":    `{"config":{"User":"65532","USER":"0"}}`,
		"the config in two cases":   `{"config":{"User":"65532"},"Config":{"User":"0"}}`,
		"the config twice":          `{"config":{"User":"65532"},"config":{"User":"0"}}`,
		"something behind it":       `{"config":{"User":"65532"}}{"config":{"User":"0"}}`,
		"a user that is no text":    `{"config":{"User":0}}`,
		"a config that is a list":   `{"config":[]}`,
		"a list":                    `[]`,
		"null":                      `null`,
		"nothing":                   ``,
		"half of it":                `{"config":{"User":"65532"`,
		"not UTF-8":                 "{\"config\":{\"User\":\"\xff\"}}",
		"nested a thousand deep":    `{"x":` + strings.Repeat("[", 1000) + strings.Repeat("]", 1000) + `}`,
		"a manifest in its place":   `{"schemaVersion":2,"config":{"mediaType":"x"},"Config":{}}`,
		"the long s in the history": "{\"hi\u017ftory\":[]}",
	} {
		s := store{}
		got, err := read(t, s, image(t, s, config, nil))
		if !errors.Is(err, ErrInvalid) || !errors.Is(err, manifest.ErrInvalid) || !reflect.DeepEqual(got, policy.Image{}) {
			t.Errorf("%s: got %+v, %v, want nothing and %v", name, got, err, ErrInvalid)
		}
	}
}

func TestThreat021_AConfigurationOfAnotherSizeIsTheImagesFault(t *testing.T) {
	for _, by := range []int64{-1, 1} {
		s := store{}
		m := image(t, s, `{"config":{"User":"1"}}`, func(doc *ocispec.Manifest) { doc.Config.Size += by })
		if got, err := read(t, s, m); !errors.Is(err, ErrInvalid) {
			t.Errorf("size off by %d: got %+v, %v, want %v", by, got, err, ErrInvalid)
		}
	}
}

func TestTheConfigurationIsBounded(t *testing.T) {
	const config = `{"config":{"User":"1"}}`
	for size, want := range map[int]error{MaxConfigBytes: nil, MaxConfigBytes + 1: ErrInvalid} {
		s := store{}
		m := image(t, s, config+strings.Repeat(" ", size-len(config)), nil)
		if _, err := read(t, s, m); !errors.Is(err, want) {
			t.Errorf("%d bytes: got %v, want %v", size, err, want)
		}
	}
}

func TestAnOversizedConfigurationIsNotFetched(t *testing.T) {
	m := image(t, store{}, `{}`, func(doc *ocispec.Manifest) { doc.Config.Size = math.MaxInt64 - 2000 })
	if _, err := read(t, nil, m); !errors.Is(err, ErrInvalid) {
		t.Errorf("got %v, want %v", err, ErrInvalid)
	}
}

func TestSizesThatOverflowAreTheImagesFault(t *testing.T) {
	s := store{}
	m := image(t, s, `{}`, func(doc *ocispec.Manifest) { doc.Layers[0].Size = math.MaxInt64 - 100 })
	if got, err := read(t, s, m); !errors.Is(err, ErrInvalid) {
		t.Errorf("got %+v, %v, want %v", got, err, ErrInvalid)
	}
}

func TestAnOutageIsNotTheImagesFault(t *testing.T) {
	s := store{}
	m := image(t, s, `{}`, nil)
	s[m.Config.Digest] = nil
	_, err := read(t, s, m)
	if !errors.Is(err, errOutage) || errors.Is(err, ErrInvalid) || errors.Is(err, manifest.ErrInvalid) {
		t.Errorf("got %v, want the outage alone", err)
	}
}

func TestOtherBytesThanTheDigestSaysAreNotRead(t *testing.T) {
	s := store{}
	m := image(t, s, `{"config":{"User":"0"}}`, nil)
	s[m.Config.Digest] = bytes.ReplaceAll(s[m.Config.Digest], []byte("0"), []byte("1"))
	if got, err := read(t, s, m); err == nil || errors.Is(err, ErrInvalid) {
		t.Errorf("got %+v, %v, want an error that does not blame the image", got, err)
	}
}

func TestThreat026_WhateverARuntimeMayStartIsRunnable(t *testing.T) {
	const docker = "application/vnd.docker.container.image.v1+json"
	const layer, other = ocispec.MediaTypeImageLayerGzip, "application/vnd.acme.part"
	for _, c := range []struct {
		name, manifest, config, layer string
		want                          bool
	}{
		{"an OCI image", ocispec.MediaTypeImageManifest, ocispec.MediaTypeImageConfig, layer, true},
		{"a Docker image", manifest.DockerManifest, docker, layer, true},
		{"an OCI manifest with Docker's configuration", ocispec.MediaTypeImageManifest, docker, layer, true},
		{"what docker takes for an image: octet-stream", ocispec.MediaTypeImageManifest, "application/octet-stream", other, true},
		{"what docker takes for an image: json", ocispec.MediaTypeImageManifest, "application/json", other, true},
		{"what docker takes for an image: html", ocispec.MediaTypeImageManifest, "text/html", other, true},
		{"an image whose layers have types of their own", ocispec.MediaTypeImageManifest, ocispec.MediaTypeImageConfig, other, true},
		{"a Docker manifest with an artifact's configuration", manifest.DockerManifest, "application/vnd.acme+json", other, true},
		{"an artifact", ocispec.MediaTypeImageManifest, "application/vnd.acme+json", other, false},
		{"an artifact without a configuration", ocispec.MediaTypeImageManifest, ocispec.MediaTypeEmptyJSON, other, false},
	} {
		s := store{}
		m := image(t, s, `{"config":{"User":"root"}}`, func(doc *ocispec.Manifest) {
			doc.MediaType, doc.Config.MediaType = c.manifest, c.config
			for i := range doc.Layers {
				doc.Layers[i].MediaType = c.layer
			}
		})
		got, err := read(t, s, m)
		if err != nil || got.Runnable != c.want || c.want && got.User != "root" || got.Layers != 2 {
			t.Errorf("%s: got %+v, %v, want runnable %v", c.name, got, err, c.want)
		}
	}
}

func TestAnIndexIsNotRunnable(t *testing.T) {
	index := []byte(`{"schemaVersion":2,"mediaType":"` + ocispec.MediaTypeImageIndex + `","manifests":[]}`)
	m, err := manifest.Parse(index, ocispec.MediaTypeImageIndex)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := read(t, nil, m); err != nil || !reflect.DeepEqual(got, policy.Image{}) {
		t.Errorf("got %+v, %v, want no facts", got, err)
	}
}

// Whatever the configuration, the user that is judged is the one that a plain reader of the format finds.
func FuzzConfig(f *testing.F) {
	f.Add([]byte(`{"config":{"User":"65532","Env":["A=b"]},"rootfs":{"diff_ids":["sha256:x"]},"history":[{"empty_layer":true}]}`))
	f.Add([]byte(`{"config":{"User":"65532"},"Config":{"User":"0"}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		d := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
		fetched, err := fetchConfig(t.Context(), store{d.Digest: append([]byte{}, raw...)}, "prod/app", d)
		if err != nil {
			t.Fatal(err)
		}
		got, err := readUser(fetched)
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Errorf("%q: %v does not blame the image", raw, err)
			}
			return
		}
		var plain ocispec.Image
		if err := json.Unmarshal(raw, &plain); err == nil && plain.Config.User != got {
			t.Errorf("%q: user reads %q and %q", raw, got, plain.Config.User)
		}
	})
}

func TestAStackIsOneDiffIDForEachLayer(t *testing.T) {
	id := func(c string) string { return "sha256:" + strings.Repeat(c, 64) }
	config := func(ids ...string) string {
		return `{"os":"linux","architecture":"arm","variant":"v7","rootfs":{"type":"layers","diff_ids":["` + strings.Join(ids, `","`) + `"]}}`
	}
	s := store{}
	stack, err := ReadStack(context.Background(), s, "app", image(t, s, config(id("a"), id("b")), nil))
	if err != nil || stack.Platform.OS+stack.Platform.Architecture+stack.Platform.Variant != "linuxarmv7" ||
		!slices.Equal(stack.DiffIDs, []digest.Digest{digest.Digest(id("a")), digest.Digest(id("b"))}) {
		t.Errorf("got %+v, %v", stack, err)
	}
	chart := func(doc *ocispec.Manifest) {
		doc.Config.MediaType, doc.Layers = "application/x", []ocispec.Descriptor{}
	}
	for name, c := range map[string]struct {
		config string
		change func(*ocispec.Manifest)
	}{
		"none":                {`{"rootfs":{"diff_ids":[]}}`, nil},
		"no rootfs":           {`{}`, nil},
		"one for two":         {config(id("a")), nil},
		"three for two":       {config(id("a"), id("b"), id("c")), nil},
		"no digest":           {config(id("a"), "latest"), nil},
		"another algorithm":   {config(id("a"), "sha512:"+strings.Repeat("b", 128)), nil},
		"in capitals":         {config(id("a"), id("B")), nil},
		"two readings":        {`{"rootfs":{"diff_ids":[]},"rootfs":{"diff_ids":["` + id("a") + `","` + id("b") + `"]}}`, nil},
		"what does not run":   {config(id("a"), id("b")), chart},
		"no layers, no stack": {`{"rootfs":{"diff_ids":[]}}`, func(doc *ocispec.Manifest) { doc.Layers = []ocispec.Descriptor{} }},
	} {
		s := store{}
		if stack, err := ReadStack(context.Background(), s, "app", image(t, s, c.config, c.change)); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: got %+v, %v", name, stack, err)
		}
	}
	m := image(t, s, config(id("a"), id("b")), nil)
	s[m.Config.Digest] = []byte(config(id("c"), id("d")))
	if stack, err := ReadStack(context.Background(), s, "app", m); err == nil {
		t.Errorf("other bytes are taken for the configuration: %+v", stack)
	}
}
