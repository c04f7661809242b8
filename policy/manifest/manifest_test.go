package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

func TestManifestsOfEachAcceptedKindAreRead(t *testing.T) {
	dockerImage := strings.NewReplacer(imageType, DockerManifest, configType, "application/vnd.docker.container.image.v1+json",
		layerType, "application/vnd.docker.image.rootfs.diff.tar.gzip").Replace(plainImage)
	for _, c := range []struct {
		raw, contentType, mediaType   string
		index                         bool
		configs, layers, manifests    int
		artifactType, subject, labels string
	}{
		{raw: plainImage, contentType: imageType, mediaType: imageType, layers: 1},
		{raw: plainIndex, contentType: indexType, mediaType: indexType, index: true, manifests: 1},
		{raw: dockerImage, contentType: DockerManifest, mediaType: DockerManifest, layers: 1},
		{raw: replace(plainIndex, indexType, DockerIndex), contentType: DockerIndex, mediaType: DockerIndex, index: true, manifests: 1},
		{raw: replace(plainImage, `"mediaType":"`+imageType+`",`, ""), contentType: imageType, mediaType: imageType, layers: 1},
		{raw: replace(plainIndex, `"mediaType":"`+indexType+`",`, ""), contentType: indexType, mediaType: indexType, index: true, manifests: 1},
		{raw: plainImage, contentType: imageType + "; charset=utf-8", mediaType: imageType, layers: 1},
		{raw: plainImage, contentType: strings.ToUpper(imageType), mediaType: imageType, layers: 1},
		{raw: " \n" + plainImage + "\n", contentType: imageType, mediaType: imageType, layers: 1},
		{raw: image(config, "", ""), contentType: imageType, mediaType: imageType},
		{raw: index("", ""), contentType: indexType, mediaType: indexType, index: true},
		{
			raw:         image(config, layer, `,"artifactType":"application/x","subject":`+desc(imageType, "s", "")+`,"annotations":{"a":"b","A":"c"}`),
			contentType: imageType, mediaType: imageType, layers: 1, artifactType: "application/x", subject: "s", labels: "b",
		},
	} {
		m := accept(t, c.raw, c.contentType)
		if m.MediaType != c.mediaType || m.IsIndex() != c.index || len(m.Layers) != c.layers || len(m.Manifests) != c.manifests {
			t.Errorf("got %+v, want %+v", m, c)
		}
		if string(m.Raw) != c.raw || m.Digest != digest.FromString(c.raw) {
			t.Errorf("%s: the bytes or their digest changed", c.raw)
		}
		if m.ArtifactType != c.artifactType || (m.Subject != nil) != (c.subject != "") || m.Annotations["a"] != c.labels {
			t.Errorf("got %+v, want %+v", m, c)
		}
	}
}

func TestThreat011_WhatADocumentIsAndWhatItIsSentAsAgree(t *testing.T) {
	docs := map[string]string{
		imageType: plainImage, indexType: plainIndex,
		DockerManifest: replace(plainImage, imageType, DockerManifest), DockerIndex: replace(plainIndex, indexType, DockerIndex),
	}
	for is, raw := range docs {
		for sent := range docs {
			if _, err := Parse([]byte(raw), sent); (err == nil) != (is == sent) || err != nil && !errors.Is(err, ErrInvalid) {
				t.Errorf("%s sent as %s: %v", is, sent, err)
			}
		}
	}
	refuse(t, indexType, map[string]string{
		"an image without mediaType: index with config": replace(plainImage, `"mediaType":"`+imageType+`",`, ""),
	})
	refuse(t, imageType, map[string]string{
		"an index without mediaType: with manifests": replace(plainIndex, `"mediaType":"`+indexType+`",`, ""),
		"another mediaType: contradicts":             replace(plainImage, imageType, "application/json"),
		"a long mediaType: contradicts":              replace(plainImage, imageType, strings.Repeat("x", 1<<20)),
		"another case: contradicts":                  replace(plainImage, imageType, strings.ToUpper(imageType)),
		"with parameters: contradicts":               replace(plainImage, imageType, imageType+"; a=b"),
	})
	refuse(t, DockerManifest, map[string]string{
		"a Docker image without mediaType: contradicts": replace(plainImage, `"mediaType":"`+imageType+`",`, ""),
	})
	for _, sent := range []string{"", "*/*", "application/json", "text/html", imageType + ", " + indexType, imageType + "; a=b; a=c", "\n" + imageType + "\x00"} {
		if m, err := Parse([]byte(plainImage), sent); !errors.Is(err, ErrInvalid) {
			t.Errorf("sent as %q: got %v, %v", sent, m, err)
		}
	}
}

func TestThreat012_AnImageAndAnIndexAtOnceIsNeither(t *testing.T) {
	refuse(t, imageType, map[string]string{
		"with manifests: with manifests":           image(config, layer, `,"manifests":[`+child+`]`),
		"with an empty list: with manifests":       image(config, layer, `,"manifests":[]`),
		"with null for a list: null":               image(config, layer, `,"manifests":null`),
		"without a config: without config":         replace(plainImage, `"config":`+config+`,`, ""),
		"with null for a config: null":             image("null", layer, ""),
		"without layers: without config or layers": replace(plainImage, `,"layers":[`+layer+`]`, ""),
		"with null for layers: null":               replace(plainImage, `[`+layer+`]`, "null"),
	})
	refuse(t, indexType, map[string]string{
		"with layers: with config or layers":             index(child, `,"layers":[`+layer+`]`),
		"with an empty list: with config or layers":      index(child, `,"layers":[]`),
		"with a config: with config or layers":           index(child, `,"config":`+config),
		"with null for layers: null":                     index(child, `,"layers":null`),
		"with null for a config: null":                   index(child, `,"config":null`),
		"without manifests: without manifests":           replace(plainIndex, `,"manifests":[`+child+`]`, ""),
		"with one manifest for a list: cannot unmarshal": replace(plainIndex, `[`+child+`]`, child),
	})
}

func TestThreat013_ADocumentWithTwoReadingsIsRefused(t *testing.T) {
	other := desc(layerType, "other", "")
	refuse(t, imageType, map[string]string{
		"layers twice: there twice":                     image(config, layer, `,"layers":[`+other+`]`),
		"layers twice, once escaped: there twice":       image(config, layer, `,"l\u0061yers":[`+other+`]`),
		"config twice: there twice":                     image(config, layer, `,"config":`+other),
		"mediaType twice: there twice":                  image(config, layer, `,"mediaType":"`+indexType+`"`),
		"a digest twice: there twice":                   image(config, desc(layerType, "layer", `,"digest":"`+digest.FromString("x").String()+`"`), ""),
		"an annotation twice: there twice":              image(config, layer, `,"annotations":{"a":"1","a":"2"}`),
		"twice under an unknown key: there twice":       image(config, layer, `,"x":[{"a":1,"a":2}]`),
		"Layers: in case only":                          image(config, layer, `,"Layers":[`+other+`]`),
		"LAYERS instead of layers: in case only":        replace(plainImage, `"layers"`, `"LAYERS"`),
		"Manifests: in case only":                       image(config, layer, `,"Manifests":[`+child+`]`),
		"FSLayers: in case only":                        image(config, layer, `,"FSLayers":[]`),
		"the long s in layers: in case only":            image(config, layer, ",\"layer\u017f\":["+other+"]"),
		"the long s, escaped: in case only":             image(config, layer, `,"layer\u017f":[`+other+`]`),
		"the long s in manifests: in case only":         image(config, layer, ",\"manife\u017ft\u017f\":["+other+"]"),
		"the long s in size: in case only":              replace(plainImage, `"size"`, "\"\u017fize\""),
		"Digest in a descriptor: in case only":          image(config, desc(layerType, "layer", `,"Digest":"`+digest.FromString("x").String()+`"`), ""),
		"URLs in a descriptor: in case only":            image(config, desc(layerType, "layer", `,"URLs":["https://example.com"]`), ""),
		"Platform in a descriptor: in case only":        image(config, desc(layerType, "layer", `,"Platform":{}`), ""),
		"layers written with escapes: with escapes":     replace(plainImage, `"layers"`, `"l\u0061yers"`),
		"something behind it: after top-level":          plainImage + plainImage,
		"a brace behind it: after top-level":            plainImage + "}",
		"a NUL behind it: after top-level":              plainImage + "\x00",
		"a byte order mark: invalid character":          "\ufeff" + plainImage,
		"not UTF-8: not UTF-8":                          image(config, layer, ",\"annotations\":{\"a\":\"\xff\"}"),
		"an overlong slash: not UTF-8":                  image(config, layer, ",\"annotations\":{\"a\":\"\xc0\xaf\"}"),
		"an escaped NUL in a type: NUL":                 image(desc(configType, "config", ""), replace(layer, layerType, layerType+`\u0000`), ""),
		"half a surrogate pair: surrogate":              image(config, layer, `,"annotations":{"a":"\ud800"}`),
		"a comment: invalid character":                  plainImage + "// ",
		"a comma too many: invalid character":           image(config, layer+",", ""),
		"a text for a list: cannot unmarshal":           replace(plainImage, `[`+layer+`]`, `"`+layerType+`"`),
		"a list for a descriptor: cannot unmarshal":     image(`[]`, layer, ""),
		"a number for a mediaType: cannot unmarshal":    replace(plainImage, `"`+imageType+`"`, `2`),
		"a number for an annotation: cannot unmarshal":  image(config, layer, `,"annotations":{"a":1}`),
		"null for a subject: null":                      image(config, layer, `,"subject":null`),
		"a type beyond ASCII: visible ASCII":            image(config, desc("application/vnd.oci.image.layer.v1.t\u0430r", "x", ""), ""),
		"a line break in a type: visible ASCII":         image(config, replace(layer, layerType, layerType+`\n`), ""),
		"a line break in the artifact type: artifactTy": image(config, layer, `,"artifactType":"a\nb"`),
	})
}

func TestThreat019_NestingIsBounded(t *testing.T) {
	nested := func(depth int) string { // the document itself is one level
		return image(config, layer, `,"x":`+strings.Repeat("[", depth-1)+strings.Repeat("]", depth-1))
	}
	accept(t, nested(MaxDepth), imageType)
	refuse(t, imageType, map[string]string{
		"one past the bound: nested deeper":   nested(MaxDepth + 1),
		"ten thousand: nested deeper":         nested(10_000),
		"two million: exceeded max depth":     nested(2_000_000),
		"objects, a million: exceeded max de": image(config, layer, `,"x":`+strings.Repeat(`{"":`, 500_000)+"1"+strings.Repeat("}", 500_000)),
	})
}

func TestThreat020_ListsAreBoundedAndAgreeWithThemselves(t *testing.T) {
	list := func(mediaType string, n int) string {
		all := make([]string, n)
		for i := range all {
			all[i] = desc(mediaType, fmt.Sprint(i), "")
		}
		return strings.Join(all, ",")
	}
	accept(t, image(config, list(layerType, MaxDescriptors), ""), imageType)
	accept(t, index(list(imageType, MaxDescriptors), ""), indexType)
	accept(t, image(config, layer+","+layer, ""), imageType) // an empty layer is often there twice

	same := digest.FromString("layer").String()
	refuse(t, imageType, map[string]string{
		"one layer past the bound: 1001 entries": image(config, list(layerType, MaxDescriptors+1), ""),
		"one digest in two sizes: another size":  image(config, layer+","+replace(layer, `"size":5`, `"size":6`), ""),
		"one digest of two types: or type":       image(config, layer+","+desc("application/x", "layer", ""), ""),
		"the config in another size: is the con": image(replace(config, digest.FromString("config").String(), same), layer, ""),
	})
	refuse(t, indexType, map[string]string{
		"one manifest past the bound: 1001 entries": index(list(imageType, MaxDescriptors+1), ""),
		"ten thousand: 10000 entries":               index(list(imageType, 10_000), ""),
		"one digest in two sizes: another size":     index(child+","+replace(child, `"size":5`, `"size":6`), ""),
		"one digest of two types: or type":          index(child+","+desc(indexType, "child", ""), ""),
	})
	full := MaxBytes - len(image(config, "", "")) // a million descriptors must not be allocated
	refuse(t, imageType, map[string]string{"as many as fit: entries": image(config, strings.Repeat("{},", full/3-1)+"{}", "")})

	var many strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&many, `,"%d":1`, i)
	}
	refuse(t, imageType, map[string]string{"thousands of keys: keys": image(config, layer, many.String())})
}

func TestThreat024_Schema1IsRefused(t *testing.T) {
	const body = `"name":"a","tag":"b","architecture":"amd64","fsLayers":[{"blobSum":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}],"history":[{"v1Compatibility":"{}"}]`
	for _, contentType := range []string{
		"application/vnd.docker.distribution.manifest.v1+json", "application/vnd.docker.distribution.manifest.v1+prettyjws",
		"application/json", imageType, indexType, DockerManifest, DockerIndex,
	} {
		refuse(t, contentType, map[string]string{
			"plain":       `{"schemaVersion":1,` + body + `}`,
			"signed":      `{"schemaVersion":1,` + body + `,"signatures":[{"header":{},"signature":"","protected":""}]}`,
			"as OCI's":    `{"schemaVersion":2,` + body + `,"config":` + config + `,"layers":[` + layer + `]}`,
			"as an index": `{"schemaVersion":2,` + body + `,"manifests":[]}`,
		})
	}
	refuse(t, imageType, map[string]string{
		"fsLayers: another format":        image(config, layer, `,"fsLayers":[]`),
		"null for history: another forma": image(config, layer, `,"history":null`),
		"signatures: another format":      image(config, layer, `,"signatures":[]`),
	})
}

func TestThreat025_OtherKindsOfManifestsAreRefused(t *testing.T) {
	artifact := `{"mediaType":"application/vnd.oci.artifact.manifest.v1+json","artifactType":"application/x","blobs":[` + layer + `]}`
	for _, contentType := range []string{"application/vnd.oci.artifact.manifest.v1+json", imageType, indexType} {
		refuse(t, contentType, map[string]string{"an artifact manifest": artifact})
	}
	refuse(t, imageType, map[string]string{"an image with blobs: another format": image(config, layer, `,"blobs":[]`)})
	refuse(t, indexType, map[string]string{"an index with blobs: another format": index(child, `,"blobs":[]`)})
	refuse(t, configType, map[string]string{"a configuration: not a manifest": `{"architecture":"amd64"}`})
}

func TestThreat026_AManifestIsNoBlobOfAnother(t *testing.T) {
	for _, kind := range []string{
		imageType, indexType, DockerManifest, DockerIndex, strings.ToUpper(indexType), imageType + "; a=b",
		"application/vnd.docker.distribution.manifest.v1+prettyjws", "application/vnd.oci.artifact.manifest.v1+json",
	} {
		refuse(t, imageType, map[string]string{
			kind + " as config: is a manifest":     image(desc(kind, "config", ""), layer, ""),
			kind + " as layer: is a manifest":      image(config, desc(kind, "layer", ""), ""),
			kind + " as last layer: is a manifest": image(config, layer+","+desc(kind, "last", ""), ""),
		})
	}
}

func TestThreat027_TheSizeOfAManifestIsBounded(t *testing.T) {
	padded := func(size int) []byte {
		return append([]byte(plainImage), bytes.Repeat([]byte(" "), size-len(plainImage))...)
	}
	if _, err := Parse(padded(MaxBytes), imageType); err != nil {
		t.Errorf("at the bound: %v", err)
	}
	if _, err := Parse(padded(MaxBytes+1), imageType); !errors.Is(err, ErrInvalid) {
		t.Errorf("one past the bound: %v", err)
	}
}

func TestThreat028_WhatIsNoObjectIsRefused(t *testing.T) {
	for _, contentType := range []string{imageType, indexType} {
		for _, raw := range []string{"", " ", "\n", "null", "[]", "{}", "true", "2", `""`, "[" + plainImage + "]", `"` + imageType + `"`, "{", plainImage[:len(plainImage)-1], "\x00"} {
			if m, err := Parse([]byte(raw), contentType); !errors.Is(err, ErrInvalid) {
				t.Errorf("%q as %s: got %+v, %v", raw, contentType, m, err)
			}
		}
	}
	if _, err := Parse(nil, imageType); !errors.Is(err, ErrInvalid) {
		t.Error("nothing at all is accepted")
	}
}

func FuzzParse(f *testing.F) {
	for _, raw := range []string{
		plainImage, plainIndex, image(config, desc(layerType, "layer", `,"data":"bGF5ZXI=","annotations":{"a":"b"}`), `,"annotations":{"A":"b"}`),
		image(config, layer, `,"subject":`+desc(imageType, "s", "")+`,"artifactType":"application/x"`), `{"layers":[],"Layers":[]}`,
		replace(plainImage, imageType, DockerManifest),
	} {
		for _, contentType := range []string{imageType, indexType, DockerManifest, DockerIndex + "; charset=utf-8"} {
			f.Add([]byte(raw), contentType)
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte, contentType string) {
		before := bytes.Clone(raw)
		m, err := Parse(raw, contentType)
		if !bytes.Equal(raw, before) {
			t.Fatal("the bytes changed")
		}
		if err != nil {
			if !errors.Is(err, ErrInvalid) || m != nil {
				t.Errorf("got %v with %v", m, err)
			}
			return
		}
		again, err := Parse(before, contentType)
		if err != nil || !reflect.DeepEqual(m, again) {
			t.Errorf("read twice: %+v and %+v, %v", m, again, err)
		}
		if m.Digest != digest.FromBytes(before) || !bytes.Equal(m.Raw, before) {
			t.Error("the digest is not that of the bytes")
		}
		checkOtherReaders(t, m)
	})
}

// A manifest of ten layers is what most images have; a thousand are the bound.
func BenchmarkParse(b *testing.B) {
	for _, n := range []int{10, MaxDescriptors} {
		layers := make([]string, n)
		for i := range layers {
			layers[i] = desc(layerType, fmt.Sprint(i), `,"annotations":{"org.opencontainers.image.title":"file"}`)
		}
		raw := []byte(image(config, strings.Join(layers, ","), `,"annotations":{"a":"b","c":"d"}`))
		b.Run(fmt.Sprintf("layers=%d", n), func(b *testing.B) {
			b.SetBytes(int64(len(raw)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Parse(raw, imageType); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
