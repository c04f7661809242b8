package manifest

import (
	"bytes"
	"encoding/json"
	"slices"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// checkOtherReaders holds what we read against three others: a generic one, which folds no keys, the OCI types, as
// containerd and docker use them, and go-containerregistry's.
func checkOtherReaders(t *testing.T, m *Manifest) {
	t.Helper()
	var generic map[string]any
	if err := json.Unmarshal(m.Raw, &generic); err != nil {
		t.Fatalf("encoding/json refuses %q: %v", m.Raw, err)
	}
	if got, want := genericDigests(generic["layers"]), digestsOf(m.Layers); !slices.Equal(got, want) {
		t.Errorf("a generic reader finds layers %v, we %v", got, want)
	}
	if got, want := genericDigests(generic["manifests"]), digestsOf(m.Manifests); !slices.Equal(got, want) {
		t.Errorf("a generic reader finds manifests %v, we %v", got, want)
	}

	var both struct {
		ocispec.Manifest
		Manifests []ocispec.Descriptor `json:"manifests"`
	}
	if err := json.Unmarshal(m.Raw, &both); err != nil {
		t.Fatalf("the OCI types refuse %q: %v", m.Raw, err)
	}
	if !slices.Equal(digestsOf(both.Layers), digestsOf(m.Layers)) || !slices.Equal(digestsOf(both.Manifests), digestsOf(m.Manifests)) ||
		both.Config.Digest != m.Config.Digest || both.MediaType != "" && both.MediaType != m.MediaType {
		t.Errorf("the OCI types read %+v, we %+v", both, m)
	}

	if m.IsIndex() {
		return
	}
	other, err := v1.ParseManifest(bytes.NewReader(m.Raw))
	if err != nil {
		return // it is stricter about some fields, which fails closed
	}
	for i, layer := range other.Layers {
		if layer.Digest.String() != m.Layers[i].Digest.String() || layer.Size != m.Layers[i].Size {
			t.Errorf("go-containerregistry finds %v as layers[%d], we %+v", layer, i, m.Layers[i])
		}
	}
	if other.Config.Digest.String() != m.Config.Digest.String() {
		t.Errorf("go-containerregistry finds the config %s, we %s", other.Config.Digest, m.Config.Digest)
	}
}

func genericDigests(list any) []digest.Digest {
	var all []digest.Digest
	entries, _ := list.([]any)
	for _, entry := range entries {
		d, _ := entry.(map[string]any)["digest"].(string)
		all = append(all, digest.Digest(d))
	}
	return all
}

func digestsOf(list []ocispec.Descriptor) []digest.Digest {
	var all []digest.Digest
	for _, d := range list {
		all = append(all, d.Digest)
	}
	return all
}
