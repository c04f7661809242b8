package manifest

import (
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// IsIndex reports that the manifest lists other manifests.
func (m *Manifest) IsIndex() bool {
	return m.MediaType == ocispec.MediaTypeImageIndex || m.MediaType == DockerIndex
}

// IsRunnable reports that a container runtime would start it: what its configuration says about the user matters.
// Artifacts carry a configuration of a type of their own.
func (m *Manifest) IsRunnable() bool {
	return !m.IsIndex() && (m.Config.MediaType == ocispec.MediaTypeImageConfig ||
		m.Config.MediaType == "application/vnd.docker.container.image.v1+json")
}

// Media types of what Sigstore's tools attach to images.
const (
	SimpleSigning = "application/vnd.dev.cosign.simplesigning.v1+json" // the payload of a cosign v2 signature
	DSSE          = "application/vnd.dsse.envelope.v1+json"            // a cosign v2 attestation
	BundlePrefix  = "application/vnd.dev.sigstore.bundle"              // a cosign v3 bundle, any version
)

// sbomTypes are the layers of cosign's .sbom tags.
var sbomTypes = []string{
	"text/spdx", "spdx+json", "text/spdx+json", "text/spdx+xml",
	"application/vnd.cyclonedx", "application/vnd.cyclonedx+json", "application/vnd.cyclonedx+xml",
	"application/vnd.syft+json",
}

// IsEvidence reports that the manifest holds nothing but Sigstore's material: every layer is a signature, an attestation,
// a bundle or an SBOM. Nothing in it runs, so it passes by its content, whatever its tag is called. An index is never
// evidence by itself: see [Manifest.MayListEvidence].
func (m *Manifest) IsEvidence() bool {
	return !m.IsIndex() && len(m.Layers) > 0 && !slices.ContainsFunc(m.Layers, func(layer ocispec.Descriptor) bool {
		return !isEvidenceType(layer.MediaType)
	})
}

func isEvidenceType(mediaType string) bool {
	return mediaType == SimpleSigning || mediaType == DSSE || IsBundleType(mediaType) || slices.Contains(sbomTypes, mediaType)
}

// IsBundleType reports the media type of a Sigstore bundle, in both spellings that were in use:
// application/vnd.dev.sigstore.bundle.v0.3+json and application/vnd.dev.sigstore.bundle+json;version=0.2.
func IsBundleType(mediaType string) bool {
	rest, ok := strings.CutPrefix(mediaType, BundlePrefix)
	return ok && (strings.HasPrefix(rest, ".v0.") && strings.HasSuffix(rest, "+json") || strings.HasPrefix(rest, "+json;version=0."))
}

// MayListEvidence reports that an index can be a list of referrers, as the fallback tag of OCI 1.1 holds it: no entry
// names a platform. Whether it is one depends on what it lists.
func (m *Manifest) MayListEvidence() bool {
	return m.IsIndex() && !slices.ContainsFunc(m.Manifests, func(d ocispec.Descriptor) bool { return d.Platform != nil })
}
