package gateway_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/policy/manifest"
)

// What a verifier would not read refuses the image: nobody may attach it to somebody's.
func TestThreat052_AnAttestationThatNobodyWouldReadIsNotAttached(t *testing.T) {
	r := newRig(t)
	im := newImage("65532", "x")
	if a := r.push("a", "v1", im); a.status != http.StatusCreated {
		t.Fatalf("push: %d %s", a.status, a.body)
	}
	tag := "sha256-" + im.digest.Encoded() + ".att"
	for _, reference := range []string{tag, ""} {
		layer := describe(manifest.DSSE, []byte("an envelope"))
		layer["size"] = 64<<20 + 1
		doc := map[string]any{
			"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageManifest,
			"config": describe(ocispec.MediaTypeEmptyJSON, []byte("{}")), "layers": []any{layer},
		}
		if reference == "" {
			doc["subject"] = describe(ocispec.MediaTypeImageManifest, im.manifest)
		}
		raw, _ := json.Marshal(doc)
		if reference == "" {
			reference = digest.FromBytes(raw).String()
		}
		a := r.want(http.StatusForbidden, "PUT", "/v2/a/manifests/"+reference, raw, "Content-Type", ocispec.MediaTypeImageManifest)
		if !strings.Contains(string(a.body), "EVIDENCE_TOO_MUCH") || !strings.Contains(a.message(), "67108864 are accepted") {
			t.Errorf("%s: got %s", reference, a.body)
		}
	}
}
