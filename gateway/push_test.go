package gateway_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/gateway/upstream"
	"github.com/sealgate/sealgate/policy/manifest"
)

func TestThreat142_ARefusedPushStoresNoManifest(t *testing.T) {
	r := newRig(t)
	im := newImage("root", "x")
	a := r.push("a", "v1", im)
	if a.status != http.StatusForbidden || !strings.Contains(a.message(), "it runs as root") || !strings.Contains(a.message(), "USER 65532") {
		t.Fatalf("got %d %s", a.status, a.body)
	}
	for _, reference := range []string{"v1", im.digest.String()} {
		if _, _, err := r.registries.Manifest(context.Background(), "a", reference); !errors.Is(err, upstream.ErrNotFound) {
			t.Errorf("%s: got %v, want not found", reference, err)
		}
	}
	fixed := newImage("65532", "x")
	if a := r.push("a", "v1", fixed); a.status != http.StatusCreated {
		t.Errorf("the fixed image: %d %s", a.status, a.body)
	}
	r.want(http.StatusOK, "GET", "/v2/a/manifests/v1", nil)
}

func TestThreat144_APushByDigestOfOtherBytesIsRefused(t *testing.T) {
	r := newRig(t)
	im := newImage("65532", "x")
	r.pushBlobs("a", im)
	a := r.putManifest("a", digest.FromString("other").String(), im)
	if a.status != http.StatusBadRequest || !strings.HasPrefix(a.message(), "DIGEST_INVALID") {
		t.Errorf("got %d %s", a.status, a.body)
	}
}

func TestARepeatedPushAddsNoSignature(t *testing.T) {
	r := newRig(t)
	im := newImage("65532", "x")
	var tags []string
	for i := range 3 {
		if a := r.push("a", "v1", im); a.status != http.StatusCreated {
			t.Fatalf("push %d: %d %s", i, a.status, a.body)
		}
		tags = append(tags, fmt.Sprint(r.layersOfSig("a", im.digest), r.referrers("a", im.digest)))
	}
	if tags[0] != tags[2] {
		t.Errorf("signatures after one push: %s, after three: %s", tags[0], tags[2])
	}
}

// layersOfSig counts the signatures under a digest's .sig tag.
func (r *rig) layersOfSig(repo string, d digest.Digest) int {
	r.t.Helper()
	return len(r.sig(repo, d).Layers)
}

func (r *rig) sig(repo string, d digest.Digest) *manifest.Manifest {
	r.t.Helper()
	a := r.want(http.StatusOK, "GET", "/v2/"+repo+"/manifests/sha256-"+d.Encoded()+".sig", nil)
	m, err := manifest.Parse(a.body, a.header.Get("Content-Type"))
	if err != nil {
		r.t.Fatal(err)
	}
	return m
}

// referrers counts what the referrers API lists for a digest.
func (r *rig) referrers(repo string, d digest.Digest) int {
	r.t.Helper()
	var index ocispec.Index
	a := r.want(http.StatusOK, "GET", "/v2/"+repo+"/referrers/"+d.String(), nil)
	if err := json.Unmarshal(a.body, &index); err != nil {
		r.t.Fatal(err)
	}
	return len(index.Manifests)
}

func TestThreat154_ConcurrentPushesOfOneTagEndSealed(t *testing.T) {
	r := newRig(t)
	var images []image
	for i := range 10 {
		images = append(images, newImage("65532", fmt.Sprint("content ", i)))
		r.pushBlobs("a", images[i])
	}
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			if a := r.putManifest("a", "v1", images[i%len(images)]); a.status != http.StatusCreated {
				t.Errorf("push %d: %d %s", i, a.status, a.body)
			}
			r.want(http.StatusOK, "GET", "/v2/a/manifests/v1", nil)
		})
	}
	wg.Wait()
	for _, im := range images {
		if got := r.layersOfSig("a", im.digest); got != 1 {
			t.Errorf("%s has %d signatures in its .sig, want 1", im.digest, got)
		}
		if got := r.referrers("a", im.digest); got != 1 {
			t.Errorf("%s has %d referrers, want 1", im.digest, got)
		}
	}
}

func TestThreat150_AnIndexIsAdmittedWhenItsChildrenAre(t *testing.T) {
	r := newRig(t)
	good, root := newImage("65532", "good"), newImage("0:0", "root")
	r.bypass("a", good.digest.String(), good)
	r.bypass("a", root.digest.String(), root)

	if a := r.putManifest("a", "v1", newIndex(good, root)); a.status != http.StatusForbidden || !strings.Contains(a.message(), "runs as root") {
		t.Errorf("an index with a child that runs as root: %d %s", a.status, a.body)
	}
	if a := r.putManifest("a", "v1", newIndex(good, newImage("65532", "nowhere"))); a.status != http.StatusNotFound {
		t.Errorf("an index with a child that is not there: %d %s", a.status, a.body)
	}
	r.want(http.StatusForbidden, "GET", "/v2/a/manifests/"+good.digest.String(), nil) // a refused push seals nothing
	if got := r.referrers("a", good.digest); got != 0 {
		t.Errorf("a refused index left %d referrers with its good child, want none", got)
	}

	if a := r.putManifest("a", "v1", newIndex(good)); a.status != http.StatusCreated {
		t.Errorf("an index of good children: %d %s", a.status, a.body)
	}
	r.want(http.StatusOK, "GET", "/v2/a/manifests/"+good.digest.String(), nil)
}

func TestThreat011to014_AmbiguousManifestsAreRefusedOnPush(t *testing.T) {
	r := newRig(t)
	im := newImage("65532", "x")
	r.pushBlobs("a", im)
	text := string(im.manifest)
	for name, c := range map[string]struct{ body, contentType string }{
		"another Content-Type":  {text, ocispec.MediaTypeImageIndex},
		"no Content-Type":       {text, ""},
		"manifests beside":      {strings.Replace(text, `"layers"`, `"manifests":[],"layers"`, 1), ocispec.MediaTypeImageManifest},
		"a duplicate key":       {strings.Replace(text, `"layers"`, `"layers":[],"layers"`, 1), ocispec.MediaTypeImageManifest},
		"a key in another case": {strings.Replace(text, `"layers"`, `"Layers":[],"layers"`, 1), ocispec.MediaTypeImageManifest},
		"trailing data":         {text + "{}", ocispec.MediaTypeImageManifest},
		"a truncated document":  {text[:len(text)-1], ocispec.MediaTypeImageManifest},
		"nothing":               {"", ocispec.MediaTypeImageManifest},
		"null":                  {"null", ocispec.MediaTypeImageManifest},
		"schema 1":              {`{"schemaVersion":1,"fsLayers":[]}`, "application/vnd.docker.distribution.manifest.v1+json"},
	} {
		t.Run(name, func(t *testing.T) {
			a := r.send("PUT", "/v2/a/manifests/v1", []byte(c.body), "Content-Type", c.contentType)
			if a.status != http.StatusBadRequest || !strings.HasPrefix(a.message(), "MANIFEST_INVALID") {
				t.Errorf("got %d %s", a.status, a.body)
			}
		})
	}
	if _, _, err := r.registries.Manifest(context.Background(), "a", "v1"); !errors.Is(err, upstream.ErrNotFound) {
		t.Errorf("something was stored: %v", err)
	}
}

func TestThreat027_AManifestHasALimit(t *testing.T) {
	r := newRig(t)
	a := r.send("PUT", "/v2/a/manifests/v1", make([]byte, manifest.MaxBytes+1), "Content-Type", ocispec.MediaTypeImageManifest)
	if a.status != http.StatusRequestEntityTooLarge {
		t.Errorf("got %d %s", a.status, a.body)
	}
}

func TestThreat050_SignaturesCanBeAddedAndNotOverwritten(t *testing.T) {
	r := newRig(t)
	im := newImage("65532", "x")
	r.push("a", "v1", im)
	sig := r.sig("a", im.digest)
	tag := "sha256-" + im.digest.Encoded() + ".sig"

	extra := []byte(`{"critical":{"type":"a stranger's"}}`)
	r.pushBlobs("a", image{blobs: [][]byte{extra}})
	layer := describe(manifest.SimpleSigning, extra)
	layer["annotations"] = map[string]string{"dev.cosignproject.cosign/signature": "c3RyYW5nZXI="}

	alone := r.signatureManifest(sig, []any{layer})
	r.refusedEvidence(tag, alone, "would remove")
	r.refusedEvidence(tag, newImage("65532", "an image").manifest, "it is no signature")
	r.refusedEvidence(strings.TrimSuffix(tag, ".sig"), alone, "it is no signature")

	stripped := describe(manifest.SimpleSigning, nil) // the same payload without the signature
	stripped["digest"], stripped["size"] = sig.Layers[0].Digest, sig.Layers[0].Size
	r.refusedEvidence(tag, r.signatureManifest(sig, []any{stripped}), "would remove")

	both := r.signatureManifest(sig, []any{sig.Layers[0], layer})
	r.want(http.StatusCreated, "PUT", "/v2/a/manifests/"+tag, both, "Content-Type", ocispec.MediaTypeImageManifest)
	r.want(http.StatusOK, "GET", "/v2/a/manifests/v1", nil)
}

// signatureManifest is a .sig manifest with the configuration of another and these layers.
func (r *rig) signatureManifest(like *manifest.Manifest, layers []any) []byte {
	r.t.Helper()
	raw, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageManifest, "config": like.Config, "layers": layers,
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return raw
}

func (r *rig) refusedEvidence(tag string, raw []byte, why string) {
	r.t.Helper()
	a := r.send("PUT", "/v2/a/manifests/"+tag, raw, "Content-Type", ocispec.MediaTypeImageManifest)
	if a.status != http.StatusForbidden || !strings.Contains(a.message(), why) {
		r.t.Errorf("got %d %s, want a refusal that says %q", a.status, a.body, why)
	}
}

func TestThreat051_SignaturesCannotBeDeleted(t *testing.T) {
	for _, mode := range []string{"enforce", "audit"} {
		t.Run(mode, func(t *testing.T) {
			doc := sealing()
			doc.Mode = mode
			r := newRig(t, doc)
			im := newImage("65532", "x")
			r.push("a", "v1", im)
			sig := r.sig("a", im.digest)
			for _, path := range []string{
				"manifests/sha256-" + im.digest.Encoded() + ".sig", "manifests/sha256-" + im.digest.Encoded(),
				"manifests/" + sig.Digest.String(), "blobs/" + sig.Layers[0].Digest.String(),
			} {
				r.want(http.StatusForbidden, "DELETE", "/v2/a/"+path, nil)
			}
			r.want(http.StatusAccepted, "DELETE", "/v2/a/manifests/v1", nil)
			r.want(http.StatusAccepted, "DELETE", "/v2/a/manifests/"+im.digest.String(), nil)
			r.want(http.StatusNotFound, "GET", "/v2/a/manifests/"+im.digest.String(), nil)
		})
	}
}

func TestThreat052_AManifestWithASubjectIsListedOnce(t *testing.T) {
	r := newRig(t)
	im := newImage("65532", "x")
	r.push("a", "v1", im)
	before := r.referrers("a", im.digest)

	sbom := r.artifact(im, `{"spdxVersion":"SPDX-2.3"}`)
	for range 2 {
		a := r.push("a", sbom.digest.String(), sbom)
		if a.status != http.StatusCreated || a.header.Get("Oci-Subject") != im.digest.String() {
			t.Fatalf("push: %d %s, OCI-Subject %q", a.status, a.body, a.header.Get("Oci-Subject"))
		}
	}
	if got := r.referrers("a", im.digest) - before; got != 1 {
		t.Errorf("listed %d times, want once", got)
	}
	filtered := r.want(http.StatusOK, "GET", "/v2/a/referrers/"+im.digest.String()+"?artifactType=application/spdx%2Bjson", nil)
	if filtered.header.Get("Oci-Filters-Applied") != "artifactType" || !strings.Contains(string(filtered.body), sbom.digest.String()) {
		t.Errorf("filtered: %v %s", filtered.header, filtered.body)
	}
	r.want(http.StatusAccepted, "DELETE", "/v2/a/manifests/"+sbom.digest.String(), nil)
	if got := r.referrers("a", im.digest) - before; got != 0 {
		t.Errorf("still listed after it was deleted")
	}
}

// artifact is a manifest that refers to an image.
func (r *rig) artifact(subject image, content string) image {
	raw, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageManifest, "artifactType": "application/spdx+json",
		"config":  describe(ocispec.MediaTypeEmptyJSON, []byte("{}")),
		"layers":  []any{describe("application/octet-stream", []byte(content))},
		"subject": describe(ocispec.MediaTypeImageManifest, subject.manifest),
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return image{raw, [][]byte{[]byte("{}"), []byte(content)}, digest.FromBytes(raw)}
}

func TestThreat148_AnUploadBelongsToItsRepository(t *testing.T) {
	r := newRig(t)
	to := r.want(http.StatusAccepted, "POST", "/v2/a/blobs/uploads/", nil).header.Get("Location")
	other := strings.Replace(to, "/v2/a/", "/v2/b/", 1)
	blob := []byte("content")
	r.want(http.StatusNotFound, "PUT", other+"?digest="+digest.FromBytes(blob).String(), blob)
	r.want(http.StatusNotFound, "PATCH", "/v2/a/blobs/uploads/AAAA", blob)
	r.want(http.StatusBadRequest, "PUT", to, blob)

	wrong := r.want(http.StatusBadRequest, "PUT", to+"?digest="+digest.FromString("other").String(), blob)
	if !strings.HasPrefix(wrong.message(), "DIGEST_INVALID") {
		t.Errorf("got %s", wrong.body)
	}
	r.want(http.StatusNotFound, "GET", "/v2/a/blobs/"+digest.FromString("other").String(), nil)
}

func TestChunksArriveInOrder(t *testing.T) {
	r := newRig(t)
	to := r.want(http.StatusAccepted, "POST", "/v2/a/blobs/uploads/", nil).header.Get("Location")
	first := r.want(http.StatusAccepted, "PATCH", to, []byte("hello "), "Content-Range", "0-5", "Content-Type", "application/octet-stream")
	if got := first.header.Get("Range"); got != "0-5" {
		t.Errorf("Range %q, want 0-5", got)
	}
	to = first.header.Get("Location")
	r.want(http.StatusRequestedRangeNotSatisfiable, "PATCH", to, []byte("again"), "Content-Range", "0-4", "Content-Type", "application/octet-stream")
	status := r.want(http.StatusNoContent, "GET", to, nil)
	if got := status.header.Get("Range"); got != "0-5" {
		t.Errorf("Range %q, want 0-5", got)
	}
	second := r.want(http.StatusAccepted, "PATCH", status.header.Get("Location"), []byte("world"), "Content-Range", "6-10", "Content-Type", "application/octet-stream")
	d := digest.FromString("hello world").String()
	done := r.want(http.StatusCreated, "PUT", second.header.Get("Location")+"?digest="+d, nil)
	if got := r.want(http.StatusOK, "GET", done.header.Get("Location"), nil); string(got.body) != "hello world" {
		t.Errorf("got %q", got.body)
	}
}

// The embedded registry reads forms: a body called one would give it another digest than the one that the gateway saw.
func TestThreat148_TheBytesOfAnUploadAreNeverRead(t *testing.T) {
	r := newRig(t)
	other := digest.FromString("other").String()
	for contentType, body := range map[string]string{
		"application/x-www-form-urlencoded":   "digest=" + other,
		"multipart/form-data; boundary=x":     "--x\r\nContent-Disposition: form-data; name=digest\r\n\r\n" + other + "\r\n--x--\r\n",
		"application/vnd.oci.image.layer.tar": "other",
	} {
		to := r.want(http.StatusAccepted, "POST", "/v2/a/blobs/uploads/", nil).header.Get("Location")
		chunk := r.want(http.StatusAccepted, "PATCH", to, []byte(body), "Content-Type", contentType)
		d := digest.FromString(body + body).String()
		done := r.want(http.StatusCreated, "PUT", chunk.header.Get("Location")+"?digest="+d, []byte(body), "Content-Type", contentType)
		if got := r.want(http.StatusOK, "GET", done.header.Get("Location"), nil); string(got.body) != body+body {
			t.Errorf("%s: got %q", contentType, got.body)
		}
	}
}

func TestThreat147_AMountNeedsTheRightToPullItsSource(t *testing.T) {
	closed, open := sealing(), sealing()
	closed.Name, closed.Repositories, closed.Pull = "closed", []string{"secret/**"}, nil
	open.Repositories = []string{"**"}
	r := newRig(t, closed, open)
	im := newImage("65532", "x")
	r.bypass("secret/app", "v1", im)
	r.bypass("public/app", "v1", im)
	layer := digest.FromBytes(im.blobs[1]).String()

	r.want(http.StatusAccepted, "POST", "/v2/mine/blobs/uploads/?mount="+layer+"&from=secret/app", nil)
	r.want(http.StatusNotFound, "GET", "/v2/mine/blobs/"+layer, nil)
	a := r.want(http.StatusCreated, "POST", "/v2/mine/blobs/uploads/?mount="+layer+"&from=public/app", nil)
	if a.header.Get("Location") != "/v2/mine/blobs/"+layer {
		t.Errorf("Location %q", a.header.Get("Location"))
	}
	r.want(http.StatusBadRequest, "POST", "/v2/mine/blobs/uploads/?mount="+layer+"&from=../secret", nil)
}

func TestThreat149_EncodedBodiesAreRefused(t *testing.T) {
	r := newRig(t)
	r.want(http.StatusUnsupportedMediaType, "PUT", "/v2/a/manifests/v1", []byte("x"), "Content-Encoding", "gzip", "Content-Type", ocispec.MediaTypeImageManifest)
	to := r.want(http.StatusAccepted, "POST", "/v2/a/blobs/uploads/", nil).header.Get("Location")
	r.want(http.StatusUnsupportedMediaType, "PATCH", to, []byte("x"), "Content-Encoding", "gzip")
}
