package gateway_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func TestAChildIsPulledThroughItsIndexAfterARestart(t *testing.T) {
	r := newRig(t)
	child := newImage("65532", "child")
	index := newIndex(child)
	r.bypass("a", child.digest.String(), child)
	r.bypass("a", "v1", index)
	r.sealAround("a", index)
	r.want(http.StatusForbidden, "GET", "/v2/a/manifests/"+child.digest.String(), nil)
	r.want(http.StatusOK, "GET", "/v2/a/manifests/v1", nil)

	r.restart()
	r.want(http.StatusOK, "GET", "/v2/a/manifests/"+child.digest.String(), nil)

	// The index is judged each time: under another key it vouches for nobody.
	r.enforce(newKey(t))
	r.want(http.StatusForbidden, "GET", "/v2/a/manifests/"+child.digest.String(), nil)
}

// Whoever can edit the ledger's file can write any line into it.
func TestThreat132_LineageThatSomebodyMadeUpLendsNothing(t *testing.T) {
	r := newRig(t)
	child, stranger := newImage("65532", "child"), newImage("65532", "stranger")
	index := newIndex(child)
	carrier := newImage("65532", "carrier")
	carrier.manifest, _ = json.Marshal(map[string]any{ // an image with somebody's manifest as a layer
		"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageManifest,
		"config": describe(ocispec.MediaTypeImageConfig, carrier.blobs[0]),
		"layers": []any{describe(ocispec.MediaTypeImageLayer, stranger.manifest)},
	})
	carrier.digest, carrier.blobs = digest.FromBytes(carrier.manifest), append(carrier.blobs, stranger.manifest)
	r.bypass("a", "child", child)
	r.bypass("a", "stranger", stranger)
	r.bypass("a", "index", index) // which the registry takes when its child is there
	r.bypass("a", "carrier", carrier)
	r.sealAround("a", index)
	r.sealAround("a", carrier)
	for name, whole := range map[string]digest.Digest{
		"an index that does not list it": index.digest,
		"an image that has it as a blob": carrier.digest,
		"a manifest that is not there":   digest.FromString("nothing"),
		"itself":                         stranger.digest,
	} {
		r.ledger.Admit("a", whole, []digest.Digest{stranger.digest})
		if a := r.send("GET", "/v2/a/manifests/"+stranger.digest.String(), nil); a.status != http.StatusForbidden {
			t.Errorf("%s: got %d, want 403", name, a.status)
		}
	}
}
