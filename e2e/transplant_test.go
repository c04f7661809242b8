package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"
)

// What attackers do with evidence that is good: they take it from one image to another, leave something out, put something
// else in. The bytes are what stock cosign wrote.

// shelf is where a test keeps images: a registry, or a gateway in front of one.
type shelf interface{ ref(image string) string }

// document is a manifest as it is sent.
type document struct {
	mediaType types.MediaType
	raw       []byte
}

func (d document) RawManifest() ([]byte, error)        { return d.raw, nil }
func (d document) MediaType() (types.MediaType, error) { return d.mediaType, nil }
func (d document) Digest() (v1.Hash, error)            { return v1.NewHash(digest.FromBytes(d.raw).String()) }
func (d document) Size() (int64, error)                { return int64(len(d.raw)), nil }
func (d document) descriptor() map[string]any {
	return map[string]any{"mediaType": string(d.mediaType), "digest": digest.FromBytes(d.raw).String(), "size": len(d.raw)}
}

func fetchDocument(t *testing.T, ref string) document {
	t.Helper()
	parsed, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	got, err := remote.Get(parsed)
	if err != nil {
		t.Fatalf("get %s: %v", ref, err)
	}
	return document{got.MediaType, got.Manifest}
}

// fields is a JSON object, to be changed.
type fields = map[string]any

func (d document) fields(t *testing.T) fields {
	t.Helper()
	return decodeFields(t, d.raw)
}

func decodeFields(t *testing.T, raw []byte) fields {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	var f fields
	if err := decoder.Decode(&f); err != nil {
		t.Fatal(err)
	}
	return f
}

func encodeFields(t *testing.T, f fields) []byte {
	t.Helper()
	raw, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// evidence is what is attached to an image in one place: the manifest under a tag of cosign 2, or one that refers to the image.
type evidence struct {
	document
	suffix string // .sig or .att; empty for a referrer
	bundle []byte // of a referrer
}

// attachedTo reads the one thing that is attached to repo@digest.
func attachedTo(t *testing.T, at shelf, repo, d string, r row) evidence {
	t.Helper()
	if r.generation.name == cosign2.name {
		suffix := ".sig"
		if r.attests {
			suffix = ".att"
		}
		return evidence{document: fetchDocument(t, at.ref(repo)+":"+strings.Replace(d, ":", "-", 1)+suffix), suffix: suffix}
	}
	subject, err := name.NewDigest(at.ref(repo) + "@" + d)
	if err != nil {
		t.Fatal(err)
	}
	index, err := remote.Referrers(subject)
	if err != nil {
		t.Fatal(err)
	}
	list, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(list.Manifests) != 1 {
		t.Fatalf("%s@%s has %d referrers, want one", repo, d, len(list.Manifests))
	}
	e := evidence{document: fetchDocument(t, at.ref(repo)+"@"+list.Manifests[0].Digest.String())}
	layer := e.fields(t)["layers"].([]any)[0].(fields)["digest"].(string)
	e.bundle = readBlob(t, at.ref(repo)+"@"+layer)
	return e
}

// attach hangs evidence on repo@digest, an image of the same repository or of another one that has the blobs. change may
// change the manifest, changeBundle the bundle; nil leaves them.
func (e evidence) attach(t *testing.T, at shelf, repo string, subject document, change func(fields), changeBundle func(fields)) string {
	t.Helper()
	m := e.fields(t)
	layers := m["layers"].([]any)
	if e.suffix == "" {
		raw := e.bundle
		if changeBundle != nil {
			b := decodeFields(t, raw)
			changeBundle(b)
			raw = encodeFields(t, b)
		}
		m["subject"] = subject.descriptor()
		layer := layers[0].(fields)
		layer["digest"], layer["size"] = putBlob(t, at, repo, raw), len(raw)
	}
	if change != nil {
		change(m)
	}
	raw := encodeFields(t, m)
	ref := at.ref(repo) + "@" + digest.FromBytes(raw).String()
	if e.suffix != "" {
		ref = at.ref(repo) + ":" + strings.Replace(digest.FromBytes(subject.raw).String(), ":", "-", 1) + e.suffix
	}
	return put(t, ref, document{e.mediaType, raw})
}

func readBlob(t *testing.T, ref string) []byte {
	t.Helper()
	parsed, err := name.NewDigest(ref)
	if err != nil {
		t.Fatal(err)
	}
	layer, err := remote.Layer(parsed)
	if err != nil {
		t.Fatal(err)
	}
	content, err := layer.Compressed()
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	raw, err := io.ReadAll(content)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// putBlob stores a blob.
func putBlob(t *testing.T, at shelf, repo string, raw []byte) string {
	t.Helper()
	repository, err := name.NewRepository(at.ref(repo))
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteLayer(repository, static.NewLayer(raw, "application/octet-stream")); err != nil {
		t.Fatal(err)
	}
	return digest.FromBytes(raw).String()
}

const bundleType = "application/vnd.dev.sigstore.bundle.v0.3+json"

// garbage says to be a bundle, and is none.
var garbage = []byte(`{"mediaType": "` + bundleType + `", "verificationMaterial": {}}`)

// attachGarbage hangs garbage on an image, as what it says to be.
func attachGarbage(t *testing.T, at shelf, repo string, subject document) string {
	t.Helper()
	nothing := []byte(`{}`)
	raw := encodeFields(t, fields{
		"schemaVersion": 2, "mediaType": string(types.OCIManifestSchema1), "artifactType": bundleType, "subject": subject.descriptor(),
		"config": fields{"mediaType": "application/vnd.oci.empty.v1+json", "digest": putBlob(t, at, repo, nothing), "size": len(nothing)},
		"layers": []any{fields{"mediaType": bundleType, "digest": putBlob(t, at, repo, garbage), "size": len(garbage)}},
	})
	return put(t, fmt.Sprintf("%s@%s", at.ref(repo), digest.FromBytes(raw)), document{types.OCIManifestSchema1, raw})
}
