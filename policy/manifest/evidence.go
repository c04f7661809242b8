package manifest

import (
	"errors"
	"slices"
	"strings"
	"unicode/utf8"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Media types of what is attached to images to vouch for them.
const (
	SimpleSigning = "application/vnd.dev.cosign.simplesigning.v1+json" // the payload of a cosign v2 signature
	DSSE          = "application/vnd.dsse.envelope.v1+json"            // a cosign v2 attestation
	InToto        = "application/vnd.in-toto+json"                     // a BuildKit attestation
	BundlePrefix  = "application/vnd.dev.sigstore.bundle"              // a cosign v3 bundle: see [IsBundleType]
)

// sbomTypes are the layers of cosign's .sbom tags, and of SBOMs that other tools attach.
var sbomTypes = []string{
	"text/spdx", "spdx+json", "text/spdx+json", "text/spdx+xml", "application/spdx+json",
	"application/vnd.cyclonedx", "application/vnd.cyclonedx+json", "application/vnd.cyclonedx+xml",
	"application/vnd.syft+json",
}

// IsEvidence reports that the manifest claims to hold nothing but evidence: every layer has the type of a signature, an
// attestation, a bundle or an SBOM. What is evidence passes by its content, whatever its tag is called. An index is never
// evidence by itself: see [Manifest.MayListEvidence].
//
// It is a claim about blobs that this package does not see. Where [Manifest.IsRunnable] is true as well, it is proven only
// when each layer passes [CheckText]: podman unpacks layers of any type.
func (m *Manifest) IsEvidence() bool {
	return !m.IsIndex() && len(m.Layers) > 0 && !slices.ContainsFunc(m.Layers, func(layer ocispec.Descriptor) bool {
		return !isEvidenceType(layer.MediaType)
	})
}

func isEvidenceType(mediaType string) bool {
	switch mediaType {
	case SimpleSigning, DSSE, InToto:
		return true
	}
	return IsBundleType(mediaType) || slices.Contains(sbomTypes, mediaType)
}

// IsBundleType reports the media type of a Sigstore bundle of a version 0, in both spellings that were in use:
// application/vnd.dev.sigstore.bundle.v0.3+json and application/vnd.dev.sigstore.bundle+json;version=0.2. Nothing may
// follow the version.
func IsBundleType(mediaType string) bool {
	rest, ok := strings.CutPrefix(mediaType, BundlePrefix)
	if !ok {
		return false
	}
	if version, ok := strings.CutPrefix(rest, "+json;version=0."); ok {
		return isDigit(version)
	}
	version, v := strings.CutPrefix(rest, ".v0.")
	version, json := strings.CutSuffix(version, "+json")
	return v && json && isDigit(version)
}

func isDigit(version string) bool { return len(version) == 1 && version[0] >= '1' && version[0] <= '9' }

// MayListEvidence reports that an index can be a list of referrers, as the fallback tag of OCI 1.1 holds it: no entry
// names a platform. Whether it is one depends on what it lists.
func (m *Manifest) MayListEvidence() bool {
	return m.IsIndex() && !slices.ContainsFunc(m.Manifests, func(d ocispec.Descriptor) bool { return d.Platform != nil })
}

// TextHead is how many bytes of a blob [CheckText] wants to see.
const TextHead = 512

// CheckText accepts the beginning of a blob, or the whole of one, that is text: JSON, XML or tag-value, which is what
// evidence is made of. It refuses what a runtime would unpack as a layer, whatever its type claims: a tar archive, even one
// whose header is all text, and anything compressed. head is the first [TextHead] bytes, or all where there are fewer; the
// caller vouches that they belong to the digest.
func CheckText(head []byte) error {
	whole := len(head) < TextHead
	head = head[:min(len(head), TextHead)]
	switch {
	case len(head) == 0:
		return errors.New("is empty")
	case strings.HasPrefix(string(head), "BZh"): // bzip2 is the one compression that begins with text
		return errors.New("is compressed")
	case !whole && isTarHeader(head):
		return errors.New("is a tar archive")
	}
	for i := 0; i < len(head); {
		c, n := utf8.DecodeRune(head[i:])
		cut := !whole && !utf8.FullRune(head[i:])
		if c == utf8.RuneError && n == 1 && !cut || c < ' ' && c != '\t' && c != '\n' && c != '\r' || c == 0x7f {
			return errors.New("is not text")
		}
		i += n
	}
	return nil
}

// isTarHeader reports that a block has the checksum that makes it a tar header. Unpackers look at nothing else.
func isTarHeader(block []byte) bool {
	var want, unsigned, signed int64 // both ways of adding bytes are in use
	for _, c := range strings.TrimLeft(string(block[148:156]), " ") {
		if c < '0' || c > '7' {
			break
		}
		want = want<<3 | int64(c-'0')
	}
	for i, c := range block {
		if i >= 148 && i < 156 {
			c = ' '
		}
		unsigned, signed = unsigned+int64(c), signed+int64(int8(c))
	}
	return want == unsigned || want == signed
}
