package gateway_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
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

// heavy is a registry that counts what is read of its blobs.
type heavy struct {
	http.Handler
	read atomic.Int64
}

func (h *heavy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/sha256:") {
		w = countingWriter{w, &h.read}
	}
	h.Handler.ServeHTTP(w, r)
}

type countingWriter struct {
	http.ResponseWriter
	n *atomic.Int64
}

func (c countingWriter) Write(b []byte) (int, error) {
	n, err := c.ResponseWriter.Write(b)
	c.n.Add(int64(n))
	return n, err
}

// A manifest of a few hundred bytes that calls a large layer a signature: as often as somebody likes to send one.
func TestThreat027_AShortRequestDoesNotMakeTheGatewayReadLargeBlobs(t *testing.T) {
	closed := open()
	closed.Name, closed.Repositories, closed.Push = "closed", []string{"closed/**"}, nil
	h := &heavy{Handler: newRegistryWithReferrers()}
	r := newRigBefore(t, registryAt(t, "other", "", h), closed, sealing())
	binary := append([]byte{0x1f, 0x8b, 8, 0}, make([]byte, 32<<20)...)
	text := bytes.Repeat([]byte("text\n"), 4<<20)
	for repo, layer := range map[string][]byte{"a": binary, "closed/a": text} {
		config := []byte(`{"architecture":"amd64","os":"linux"}`)
		raw, err := json.Marshal(map[string]any{
			"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageManifest,
			"config": describe(ocispec.MediaTypeImageConfig, config), "layers": []any{describe(manifest.SimpleSigning, layer)},
		})
		if err != nil {
			t.Fatal(err)
		}
		im := image{raw, [][]byte{config, layer}, digest.FromBytes(raw)}
		r.bypass(repo, "there", im)
		for _, reference := range []string{im.digest.String(), "sha256-" + im.digest.Encoded() + ".sig"} {
			h.read.Store(0)
			if a := r.putManifest(repo, reference, im); a.status/100 != 4 {
				t.Errorf("%s:%s: got %d %s", repo, reference, a.status, a.body)
			}
			if n := h.read.Load(); n > 8<<20 {
				t.Errorf("%s:%s: %d bytes were read of the registry's blobs", repo, reference, n)
			}
		}
	}
}

// A verifier reads all that is attached, where a rule needs attestations. What takes it longer than it has refuses the image.
func TestThreat070_MoreAttestationsThanAreReadInTimeAreNotAttached(t *testing.T) {
	const bundle = "application/vnd.dev.sigstore.bundle.v0.3+json"
	content := append([]byte(`{"`), bytes.Repeat([]byte("x"), 33<<20)...)
	attestation := func(im image, n int) image {
		raw, err := json.Marshal(map[string]any{
			"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageManifest, "annotations": map[string]string{"n": fmt.Sprint(n)},
			"config": describe(ocispec.MediaTypeEmptyJSON, []byte("{}")), "layers": []any{describe(bundle, content)},
			"subject": describe(ocispec.MediaTypeImageManifest, im.manifest),
		})
		if err != nil {
			t.Fatal(err)
		}
		return image{raw, [][]byte{[]byte("{}"), content}, digest.FromBytes(raw)}
	}
	everyList(t, func(t *testing.T, r *rig) {
		im := newImage("65532", "x")
		r.push("a", "v1", im)
		r.pushBlobs("a", attestation(im, 0))
		for n, want := range []int{201, 201, 201, 403} { // of 128 MiB
			one := attestation(im, n)
			if a := r.putManifest("a", one.digest.String(), one); a.status != want || want == 403 && !strings.Contains(a.message(), "bytes of attestations") {
				t.Errorf("the %dth: got %d %s, want %d", n+1, a.status, a.body, want)
			}
			if want == 201 { // again is no more than once
				if a := r.putManifest("a", one.digest.String(), one); a.status != want {
					t.Errorf("the %dth again: got %d %s", n+1, a.status, a.body)
				}
			}
		}

		var layers []any
		for range 4 {
			layers = append(layers, describe(manifest.DSSE, content))
		}
		tag := "sha256-" + im.digest.Encoded() + ".att"
		for n, want := range map[int]int{4: 403, 3: 201} {
			raw, err := json.Marshal(map[string]any{
				"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageManifest,
				"config": describe(ocispec.MediaTypeEmptyJSON, []byte("{}")), "layers": layers[:n],
			})
			if err != nil {
				t.Fatal(err)
			}
			if a := r.putManifest("a", tag, image{manifest: raw}); a.status != want {
				t.Errorf("%d under the .att tag: got %d %s, want %d", n, a.status, a.body, want)
			}
		}
	})
}

// Many at once are as much as one after the other.
func TestThreat070_AttestationsThatComeAtOnceAreAddedUp(t *testing.T) {
	const all = 8
	const bundle = "application/vnd.dev.sigstore.bundle.v0.3+json"
	content := append([]byte(`{"`), bytes.Repeat([]byte("x"), 33<<20)...)
	g := &gathering{Handler: newRegistryWithReferrers(), all: all, arrived: make(chan struct{})}
	r := newRigBefore(t, registryAt(t, "other", "", g))
	im := newImage("65532", "x")
	r.push("a", "v1", im)
	r.pushBlobs("a", image{blobs: [][]byte{[]byte("{}"), content}})
	g.begin()
	var group sync.WaitGroup
	var taken atomic.Int32
	for n := range all {
		raw, err := json.Marshal(map[string]any{
			"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageManifest, "annotations": map[string]string{"n": fmt.Sprint(n)},
			"config": describe(ocispec.MediaTypeEmptyJSON, []byte("{}")), "layers": []any{describe(bundle, content)},
			"subject": describe(ocispec.MediaTypeImageManifest, im.manifest),
		})
		if err != nil {
			t.Fatal(err)
		}
		group.Go(func() {
			if r.putManifest("a", digest.FromBytes(raw).String(), image{manifest: raw}).status == http.StatusCreated {
				taken.Add(1)
			}
		})
	}
	group.Wait()
	if n := taken.Load(); n > 3 {
		t.Errorf("%d were taken, of which 3 are accepted one after the other", n)
	}
}

func TestThreat051_ALargeAttestationIsNotDeletedAsABlob(t *testing.T) {
	r := newRig(t)
	attestation := append([]byte(`{"payloadType":"application/vnd.in-toto+json","payload":"`), bytes.Repeat([]byte("A"), 5<<20)...)
	layer := append([]byte{0x1f, 0x8b, 8, 0}, make([]byte, 5<<20)...)
	r.pushBlobs("a", image{blobs: [][]byte{attestation, layer}})
	blob := func(raw []byte) string { return "/v2/a/blobs/" + digest.FromBytes(raw).String() }
	r.want(http.StatusForbidden, "DELETE", blob(attestation), nil)
	r.want(http.StatusOK, "HEAD", blob(attestation), nil)
	r.want(http.StatusAccepted, "DELETE", blob(layer), nil)
	r.want(http.StatusNotFound, "DELETE", blob([]byte("nothing")), nil)
}
