// Package manifest reads OCI and Docker manifests in exactly one way.
//
// A registry, a runtime and a verifier that read one document differently are an attack: what is judged is then not what
// runs. So [Parse] accepts only documents with a single reading, and refuses the rest: duplicate keys, keys that differ
// from a known one in case only (all that package strictjson refuses), a document that is an index and an image at once, a
// mediaType that contradicts the Content-Type, malformed digests and sizes, content that is to be fetched elsewhere, a
// manifest in the place of a layer. The bytes are kept and served as they came; nothing is ever marshalled again.
package manifest

import (
	_ "crypto/sha512" // the digests of descriptors
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/policy/strictjson"
)

// Bounds of what is read as a manifest.
const (
	MaxBytes       = 4 << 20 // a manifest, the limit that the distribution specification recommends
	MaxDescriptors = 1000    // layers of an image or manifests of an index
	MaxMediaType   = 255     // bytes of a media type; RFC 6838 allows twice 127 and a slash

	MaxDepth = strictjson.MaxDepth // nesting of the JSON document
)

// The media types of Docker's manifests, which OCI's replaced.
const (
	DockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	DockerIndex    = "application/vnd.docker.distribution.manifest.list.v2+json"
)

// ErrInvalid is in every error of this package: the document is at fault, not the way to it.
var ErrInvalid = errors.New("invalid manifest")

// Manifest is a manifest as it was read. It is immutable, and whoever gave Parse its bytes leaves them alone.
type Manifest struct {
	Raw       []byte        // the very bytes, to be served as they are
	Digest    digest.Digest // sha256 of Raw
	MediaType string

	ArtifactType string
	Subject      *ocispec.Descriptor // what this manifest refers to, nil for most
	Config       ocispec.Descriptor  // of an image or artifact
	Layers       []ocispec.Descriptor
	Manifests    []ocispec.Descriptor // of an index
	Annotations  map[string]string
}

// Parse reads raw, whose Content-Type was contentType. Every error wraps [ErrInvalid].
func Parse(raw []byte, contentType string) (*Manifest, error) {
	m, err := parse(raw, contentType)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return m, nil
}

// document has every field that any accepted kind has; which of them may be there is checked by parse. Pointers tell an
// absent field from an empty one.
type document struct {
	SchemaVersion int                   `json:"schemaVersion"`
	MediaType     string                `json:"mediaType"`
	ArtifactType  string                `json:"artifactType"`
	Config        *ocispec.Descriptor   `json:"config"`
	Layers        *[]ocispec.Descriptor `json:"layers"`
	Manifests     *[]ocispec.Descriptor `json:"manifests"`
	Subject       *ocispec.Descriptor   `json:"subject"`
	Annotations   map[string]string     `json:"annotations"`

	// What only other formats have: Docker schema 1 and the withdrawn OCI artifact manifest.
	FSLayers   json.RawMessage `json:"fsLayers"`
	History    json.RawMessage `json:"history"`
	Signatures json.RawMessage `json:"signatures"`
	Blobs      json.RawMessage `json:"blobs"`
}

func parse(raw []byte, contentType string) (*Manifest, error) {
	if len(raw) > MaxBytes {
		return nil, fmt.Errorf("more than %d bytes", MaxBytes)
	}
	var doc document
	if err := strictjson.Decode(raw, &doc); err != nil {
		return nil, err
	}

	mediaType, err := mediaTypeOf(doc, contentType)
	if err != nil {
		return nil, err
	}
	if doc.SchemaVersion != 2 {
		return nil, fmt.Errorf("schemaVersion %d, want 2", doc.SchemaVersion)
	}
	if doc.FSLayers != nil || doc.History != nil || doc.Signatures != nil || doc.Blobs != nil {
		return nil, errors.New("has fields of another format (fsLayers, history, signatures or blobs)")
	}

	m := &Manifest{
		Raw: raw, Digest: digest.FromBytes(raw), MediaType: mediaType,
		ArtifactType: doc.ArtifactType, Subject: doc.Subject, Annotations: doc.Annotations,
	}
	if m.IsIndex() {
		err = m.takeIndex(doc)
	} else {
		err = m.takeImage(doc)
	}
	if err != nil {
		return nil, err
	}
	if err := m.checkRest(); err != nil {
		return nil, err
	}
	return m, nil
}

// checkRest checks what any kind may have.
func (m *Manifest) checkRest() error {
	if m.Subject != nil {
		if err := checkDescriptor(*m.Subject); err != nil {
			return fmt.Errorf("subject: %w", err)
		}
	}
	if m.ArtifactType != "" {
		if err := checkMediaType(m.ArtifactType); err != nil {
			return fmt.Errorf("artifactType: %w", err)
		}
	}
	return nil
}

// mediaTypeOf holds what the document says of itself against what it was sent as. OCI lets mediaType be absent; Docker
// does not.
func mediaTypeOf(doc document, contentType string) (string, error) {
	sent, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return "", fmt.Errorf("Content-Type %.150q: %w", contentType, err)
	}
	switch sent {
	case ocispec.MediaTypeImageManifest, ocispec.MediaTypeImageIndex, DockerManifest, DockerIndex:
	default:
		return "", fmt.Errorf("Content-Type %.150q is not a manifest that is accepted here", contentType)
	}
	switch {
	case doc.MediaType == sent:
	case doc.MediaType == "" && (sent == ocispec.MediaTypeImageManifest || sent == ocispec.MediaTypeImageIndex):
	default:
		return "", fmt.Errorf("mediaType %.150q contradicts the Content-Type %.150q", doc.MediaType, contentType)
	}
	return sent, nil
}

func (m *Manifest) takeIndex(doc document) error {
	if doc.Config != nil || doc.Layers != nil {
		return errors.New("is an index with config or layers")
	}
	if doc.Manifests == nil {
		return errors.New("is an index without manifests")
	}
	m.Manifests = *doc.Manifests
	return checkDescriptors("manifests", m.Manifests)
}

func (m *Manifest) takeImage(doc document) error {
	if doc.Manifests != nil {
		return errors.New("is an image with manifests")
	}
	if doc.Config == nil || doc.Layers == nil {
		return errors.New("is an image without config or layers")
	}
	m.Config, m.Layers = *doc.Config, *doc.Layers
	if err := checkDescriptor(m.Config); err != nil {
		return fmt.Errorf("config: %w", err)
	}
	if err := checkDescriptors("layers", m.Layers); err != nil {
		return err
	}
	return m.checkBlobs()
}

// checkBlobs refuses a manifest in the place of a blob: a client would read it as one, and reach content that nobody judged.
func (m *Manifest) checkBlobs() error {
	if isManifest(m.Config.MediaType) {
		return fmt.Errorf("config: is a manifest (%s)", m.Config.MediaType)
	}
	for i, layer := range m.Layers {
		if isManifest(layer.MediaType) {
			return fmt.Errorf("layers[%d]: is a manifest (%s)", i, layer.MediaType)
		}
		if layer.Digest == m.Config.Digest && layer.Size != m.Config.Size {
			return fmt.Errorf("layers[%d]: %s is the config, with another size", i, layer.Digest)
		}
	}
	return nil
}

func checkDescriptors(what string, all []ocispec.Descriptor) error {
	if len(all) > MaxDescriptors {
		return fmt.Errorf("%s has %d entries, %d are allowed", what, len(all), MaxDescriptors)
	}
	seen := make(map[digest.Digest]int, len(all))
	for i, d := range all {
		if err := checkDescriptor(d); err != nil {
			return fmt.Errorf("%s[%d]: %w", what, i, err)
		}
		if before, ok := seen[d.Digest]; ok && (all[before].Size != d.Size || all[before].MediaType != d.MediaType) {
			return fmt.Errorf("%s[%d]: %s is listed with another size or type", what, i, d.Digest)
		}
		seen[d.Digest] = i
	}
	return nil
}

func checkDescriptor(d ocispec.Descriptor) error {
	if err := CheckDigest(d.Digest); err != nil {
		return err
	}
	if d.Size < 0 {
		return fmt.Errorf("%s: negative size", d.Digest)
	}
	if err := checkMediaType(d.MediaType); err != nil {
		return fmt.Errorf("%s: %w", d.Digest, err)
	}
	if len(d.URLs) > 0 {
		return fmt.Errorf("%s: is to be fetched elsewhere (urls), where nobody checks it", d.Digest)
	}
	if d.Data != nil && (int64(len(d.Data)) != d.Size || d.Digest.Algorithm().FromBytes(d.Data) != d.Digest) {
		return fmt.Errorf("%s: data is not what digest and size say", d.Digest)
	}
	return nil
}

// checkMediaType accepts what can be shown and compared: visible ASCII. Its grammar is not checked, for cosign has types
// without a slash.
func checkMediaType(mediaType string) error {
	switch {
	case mediaType == "":
		return errors.New("no mediaType")
	case len(mediaType) > MaxMediaType:
		return fmt.Errorf("a mediaType of %d bytes, %d are allowed", len(mediaType), MaxMediaType)
	case strings.ContainsFunc(mediaType, func(c rune) bool { return c < ' ' || c > '~' }):
		return fmt.Errorf("mediaType %q holds more than visible ASCII", mediaType)
	}
	return nil
}

// CheckDigest accepts sha256 and sha512 in lower-case hexadecimal of the full length and nothing else, so that a digest
// can stand in a path or a URL.
func CheckDigest(d digest.Digest) error {
	algorithm, hex, ok := strings.Cut(string(d), ":")
	if !ok || (algorithm != "sha256" || len(hex) != 64) && (algorithm != "sha512" || len(hex) != 128) {
		return fmt.Errorf("digest %.150q is neither sha256: nor sha512: with all its hexadecimal digits", string(d))
	}
	for _, c := range hex {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return fmt.Errorf("digest %.150q is not in lower-case hexadecimal", string(d))
		}
	}
	return nil
}
