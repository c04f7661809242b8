package manifest

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	imageType  = ocispec.MediaTypeImageManifest
	indexType  = ocispec.MediaTypeImageIndex
	configType = ocispec.MediaTypeImageConfig
	layerType  = ocispec.MediaTypeImageLayerGzip
)

// desc writes a descriptor. more follows its three fields, such as `,"urls":[]`.
func desc(mediaType, content, more string) string {
	return fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d%s}`, mediaType, digest.FromString(content), len(content), more)
}

// image writes an OCI image. more follows its fields.
func image(config, layers, more string) string {
	return fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":%s,"layers":[%s]%s}`, imageType, config, layers, more)
}

func index(manifests, more string) string {
	return fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[%s]%s}`, indexType, manifests, more)
}

var (
	config = desc(configType, "config", "")
	layer  = desc(layerType, "layer", "")
	child  = desc(imageType, "child", `,"platform":{"architecture":"amd64","os":"linux"}`)

	plainImage = image(config, layer, "")
	plainIndex = index(child, "")
)

func replace(doc, old, new string) string {
	changed := strings.Replace(doc, old, new, 1)
	if changed == doc {
		panic(fmt.Sprintf("%q is not in %s", old, doc))
	}
	return changed
}

// refuse checks that no document of a table is accepted, and that each error wraps ErrInvalid and says what it should.
func refuse(t *testing.T, contentType string, docs map[string]string) {
	t.Helper()
	for name, raw := range docs {
		_, want, _ := strings.Cut(name, ": ")
		m, err := Parse([]byte(raw), contentType)
		if !errors.Is(err, ErrInvalid) || m != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %+v, %v, want an error that says %q\n%.300s", name, m, err, want, raw)
		} else if len(err.Error()) > 1000 {
			t.Errorf("%s: the error has %d bytes", name, len(err.Error()))
		}
	}
}

func accept(t *testing.T, raw, contentType string) *Manifest {
	t.Helper()
	m, err := Parse([]byte(raw), contentType)
	if err != nil {
		t.Fatalf("%v\n%.300s", err, raw)
	}
	return m
}
