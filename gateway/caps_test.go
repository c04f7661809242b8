package gateway_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/gateway"
	"github.com/sealgate/sealgate/gateway/upstream"
)

// TestThreat108_AnUploadContinuesInItsRegistryAlone moves the repository to another registry in the middle of an upload: the
// path that the first one gave means nothing to the second, or somebody else's upload.
func TestThreat108_AnUploadContinuesInItsRegistryAlone(t *testing.T) {
	r := newRig(t, public("all", "**"))
	blob := []byte("half here, half there")
	started := r.want(http.StatusAccepted, "POST", "/v2/a/blobs/uploads/", nil)
	location := started.header.Get("Location")

	other, err := upstream.NewEmbedded("other", "", filepath.Join(t.TempDir(), "registry"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { other.Close() })
	moved, err := upstream.NewRegistries(other)
	if err != nil {
		t.Fatal(err)
	}
	before := r.registries
	r.swap(func(re *gateway.Regime) { re.Registries = moved })
	for _, method := range []string{"GET", "PATCH", "DELETE"} {
		if a := r.send(method, location, nil); a.status != http.StatusNotFound || a.message() != "BLOB_UPLOAD_UNKNOWN: no such upload; begin again" {
			t.Errorf("%s: got %d %s", method, a.status, a.body)
		}
	}
	end := location + "?digest=" + digest.FromBytes(blob).String()
	r.want(http.StatusNotFound, "PUT", end, blob, "Content-Type", "application/octet-stream")
	r.swap(func(re *gateway.Regime) { re.Registries = before })
	r.want(http.StatusCreated, "PUT", end, blob, "Content-Type", "application/octet-stream")
}

// TestAListOfReferrersIsReadToALimit: what is on a list is fetched to see what it is, so a list that anybody may push must not
// make a pull fetch without end. Beyond the limit it is a manifest like any other, which is refused without a signature.
func TestAListOfReferrersIsReadToALimit(t *testing.T) {
	r := newRig(t)
	const most = 2 * 64 // entries
	var entries []any
	for n := range most + 1 {
		sig := signature(t, fmt.Sprint(n))
		r.bypass("a", sig.digest.String(), sig)
		entries = append(entries, describe(ocispec.MediaTypeImageManifest, sig.manifest))
	}
	for n, want := range map[int]int{most: http.StatusOK, most + 1: http.StatusForbidden} {
		raw, err := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageIndex, "manifests": entries[:n]})
		if err != nil {
			t.Fatal(err)
		}
		list := image{manifest: raw, digest: digest.FromBytes(raw)}
		r.bypass("a", fmt.Sprint("list", n), list)
		if a := r.send("GET", fmt.Sprint("/v2/a/manifests/list", n), nil); a.status != want {
			t.Errorf("%d entries: got %d %s, want %d", n, a.status, a.body, want)
		}
	}
}
