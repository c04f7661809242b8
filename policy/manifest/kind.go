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

// IsRunnable reports that some container runtime may start it, so that what its configuration says about the user matters.
//
// Media types are claims, and runtimes believe them in different ways. Seen by trying them:
//   - Docker 20.10 starts an OCI manifest whose configuration has any type that begins, in any case, with
//     application/vnd.oci.image. or application/vnd.docker., or one of the types that old registries invented;
//   - podman 4.3 starts a Docker manifest whatever the type of its configuration is, and an OCI image whatever the types of
//     its layers are;
//   - containerd 1.6 unpacks what has the types of layers, and starts some types of configuration that are not an image's.
//
// So everything that one of them may start is runnable. Evidence can be runnable by that measure, for cosign 2 gives its
// signatures the configuration of an image: see [CheckText].
func (m *Manifest) IsRunnable() bool {
	switch {
	case m.IsIndex():
		return false
	case m.MediaType == DockerManifest || isImageConfig(m.Config.MediaType):
		return true
	case m.Config.Digest == ocispec.DescriptorEmptyJSON.Digest:
		return false // {} names no layers, and without the type of an image that stops them all
	}
	return slices.ContainsFunc(m.Layers, func(d ocispec.Descriptor) bool { return isImageLayer(d.MediaType) })
}

func isImageConfig(mediaType string) bool {
	mediaType = strings.ToLower(mediaType)
	switch mediaType {
	case "application/octet-stream", "application/json", "text/html":
		return true
	}
	return strings.HasPrefix(mediaType, "application/vnd.oci.image") || strings.HasPrefix(mediaType, "application/vnd.docker")
}

func isImageLayer(mediaType string) bool {
	mediaType = strings.ToLower(mediaType)
	for _, prefix := range []string{"application/vnd.oci.image", "application/vnd.docker", "application/vnd.erofs"} {
		if strings.HasPrefix(mediaType, prefix) {
			return true
		}
	}
	return false
}

// isManifest reports the types that runtimes read as manifests, those that are not accepted here included.
func isManifest(mediaType string) bool {
	switch mediaType, _, _ = strings.Cut(strings.ToLower(mediaType), ";"); mediaType {
	case ocispec.MediaTypeImageManifest, ocispec.MediaTypeImageIndex, DockerManifest, DockerIndex,
		"application/vnd.docker.distribution.manifest.v1+json", "application/vnd.docker.distribution.manifest.v1+prettyjws",
		"application/vnd.oci.artifact.manifest.v1+json":
		return true
	}
	return false
}
