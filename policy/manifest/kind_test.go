package manifest

import (
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const dockerConfig = "application/vnd.docker.container.image.v1+json"

// of makes an image of one layer, by types alone.
func of(manifest, config string, layers ...string) *Manifest {
	m := &Manifest{MediaType: manifest, Config: ocispec.Descriptor{MediaType: config}}
	for _, layer := range layers {
		m.Layers = append(m.Layers, ocispec.Descriptor{MediaType: layer})
	}
	return m
}

// empty gives a manifest the configuration {}.
func empty(m *Manifest) *Manifest {
	m.Config.Digest, m.Config.Size = ocispec.DescriptorEmptyJSON.Digest, ocispec.DescriptorEmptyJSON.Size
	return m
}

func TestWhateverSomeRuntimeStartsIsRunnable(t *testing.T) {
	const helm, chart = "application/vnd.cncf.helm.config.v1+json", "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
	for name, c := range map[string]struct {
		m    *Manifest
		want bool
	}{
		"an OCI image":                                   {of(imageType, configType, layerType), true},
		"a Docker image":                                 {of(DockerManifest, dockerConfig, layerType), true},
		"an image without layers":                        {of(imageType, configType), true},
		"a Docker configuration in an OCI manifest":      {of(imageType, dockerConfig, layerType), true},
		"a Docker plugin":                                {of(DockerManifest, "application/vnd.docker.plugin.v1+json", layerType), true},
		"a Docker manifest with any configuration":       {of(DockerManifest, "application/vnd.acme+json", chart), true},
		"a Docker manifest with the empty configuration": {empty(of(DockerManifest, ocispec.MediaTypeEmptyJSON, DSSE)), true},
		"another case":                                   {of(imageType, strings.ToUpper(configType), chart), true},
		"parameters behind the type":                     {of(imageType, configType+"; v=1", chart), true},
		"something that begins like an OCI type":         {of(imageType, "application/vnd.oci.image.acme", chart), true},
		"something that begins like a Docker type":       {of(imageType, "application/vnd.docker.acme", chart), true},
		"what old registries made of the type":           {of(imageType, "application/octet-stream", chart), true},
		"what older ones made of it":                     {of(imageType, "text/html", chart), true},
		"JSON":                                           {of(imageType, "application/json", chart), true},
		"layers under a configuration of one's own":      {of(imageType, "application/vnd.acme+json", chart, layerType), true},
		"layers in another case":                         {of(imageType, "application/vnd.acme+json", strings.ToUpper(layerType)), true},
		"the empty configuration as an image's":          {empty(of(imageType, configType, layerType)), true},
		"a signature of cosign 2":                        {of(imageType, configType, SimpleSigning), true},

		"files that oras pushed":       {empty(of(imageType, ocispec.MediaTypeEmptyJSON, ocispec.MediaTypeImageLayer)), false},
		"a signature of cosign 3":      {empty(of(imageType, ocispec.MediaTypeEmptyJSON, BundlePrefix+".v0.3+json")), false},
		"a Helm chart":                 {of(imageType, helm, chart), false},
		"an artifact without layers":   {empty(of(imageType, "application/vnd.acme+json")), false},
		"an index":                     {&Manifest{MediaType: indexType}, false},
		"a Docker index":               {&Manifest{MediaType: DockerIndex}, false},
		"the empty type alone":         {of(imageType, ocispec.MediaTypeEmptyJSON, DSSE), false},
		"its content under other name": {of(imageType, ocispec.MediaTypeEmptyJSON, layerType), true},
	} {
		if got := c.m.IsRunnable(); got != c.want {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
}

func TestEvidenceIsWhatClaimsNothingElse(t *testing.T) {
	bundle := BundlePrefix + ".v0.3+json"
	for name, c := range map[string]struct {
		m    *Manifest
		want bool
	}{
		"a signature":                   {of(imageType, configType, SimpleSigning), true},
		"two signatures":                {of(imageType, configType, SimpleSigning, SimpleSigning), true},
		"an attestation":                {of(imageType, configType, DSSE), true},
		"an attestation by BuildKit":    {of(imageType, configType, InToto, InToto), true},
		"a bundle":                      {of(imageType, ocispec.MediaTypeEmptyJSON, bundle), true},
		"an SBOM":                       {of(imageType, configType, "spdx+json"), true},
		"a signature, an attestation":   {of(DockerManifest, dockerConfig, SimpleSigning, DSSE), true},
		"an image":                      {of(imageType, configType, layerType), false},
		"a signature above a layer":     {of(imageType, configType, layerType, SimpleSigning), false},
		"a layer above a signature":     {of(imageType, configType, SimpleSigning, layerType), false},
		"nothing":                       {of(imageType, configType), false},
		"a signature in another case":   {of(imageType, configType, strings.ToUpper(SimpleSigning)), false},
		"a signature with parameters":   {of(imageType, configType, SimpleSigning+";a=b"), false},
		"something that begins like it": {of(imageType, configType, DSSE+".tar"), false},
		"an index":                      {&Manifest{MediaType: indexType}, false},
		"an index with layers":          {of(indexType, configType, SimpleSigning), false},
	} {
		if got := c.m.IsEvidence(); got != c.want {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
	for _, sbom := range sbomTypes {
		if !of(imageType, configType, sbom).IsEvidence() {
			t.Errorf("%s is no evidence", sbom)
		}
	}
}

func TestBundleTypesHaveAVersionAndNothingBehindIt(t *testing.T) {
	for mediaType, want := range map[string]bool{
		BundlePrefix + ".v0.1+json":                  true,
		BundlePrefix + ".v0.3+json":                  true,
		BundlePrefix + "+json;version=0.1":           true,
		BundlePrefix + "+json;version=0.3":           true,
		BundlePrefix:                                 false,
		BundlePrefix + "+json":                       false,
		BundlePrefix + "3+json":                      false,
		BundlePrefix + ".v0.+json":                   false,
		BundlePrefix + ".v0.3":                       false,
		BundlePrefix + ".v0.3+json+gzip":             false,
		BundlePrefix + ".v0.3.tar+gzip+json":         false,
		BundlePrefix + ".v0.3+json;version=0.3":      false,
		BundlePrefix + ".v0.3+json; charset=utf-8":   false,
		BundlePrefix + ".v0.x+json":                  false,
		BundlePrefix + ".v1.0+json":                  false,
		BundlePrefix + ".V0.3+json":                  false,
		BundlePrefix + "+json;version=0.":            false,
		BundlePrefix + "+json;version=1.0":           false,
		BundlePrefix + "+json;version=0.3;a=b":       false,
		BundlePrefix + "+json; version=0.3":          false,
		BundlePrefix + "+json;version=0.3+tar+gzip":  false,
		strings.ToUpper(BundlePrefix) + ".v0.3+json": false,
		"x" + BundlePrefix + ".v0.3+json":            false,
		"":                                           false,
	} {
		if got := IsBundleType(mediaType); got != want {
			t.Errorf("%s: got %v, want %v", mediaType, got, want)
		}
	}
}

func TestAListOfReferrersHasNoPlatforms(t *testing.T) {
	plain, there := desc(imageType, "a", ""), desc(imageType, "b", `,"platform":{"architecture":"amd64","os":"linux"}`)
	for name, c := range map[string]struct {
		raw, contentType string
		want             bool
	}{
		"an empty list":              {index("", ""), indexType, true},
		"entries without platforms":  {index(plain, ""), indexType, true},
		"an entry with a platform":   {index(plain+","+there, ""), indexType, false},
		"an entry with an empty one": {index(desc(imageType, "a", `,"platform":{"architecture":"","os":""}`), ""), indexType, false},
		"an image":                   {plainImage, imageType, false},
	} {
		if got := accept(t, c.raw, c.contentType).MayListEvidence(); got != c.want {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
}
