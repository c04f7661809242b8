package gateway_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/gateway"
	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/policy/manifest"
)

func TestThreat052_OneReferrerMoreThanAVerifierReadsIsRefused(t *testing.T) {
	r := newRig(t)
	im := newImage("65532", "x")
	r.push("a", "v1", im)
	subject := policy.Subject{Repo: "a", Digest: im.digest}
	for i := r.referrers("a", im.digest); i < 64; i++ {
		referrer := r.artifact(im, fmt.Sprint("referrer ", i))
		r.bypass("a", referrer.digest.String(), referrer)
		d := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: referrer.digest, Size: int64(len(referrer.manifest))}
		if err := r.registries.Attach(context.Background(), subject, d); err != nil {
			t.Fatal(err)
		}
	}
	last := r.artifact(im, "one more")
	if a := r.push("a", last.digest.String(), last); a.status != http.StatusForbidden || !strings.Contains(a.message(), "64 referrers") {
		t.Errorf("got %d %s", a.status, a.body)
	}
	r.want(http.StatusOK, "GET", "/v2/a/manifests/v1", nil)
}

func TestThreat049_MoreSignaturesThanAVerifierReadsAreNotTaken(t *testing.T) {
	r := newRig(t)
	im := newImage("65532", "x")
	r.push("a", "v1", im)
	sig := r.sig("a", im.digest)
	tag := "sha256-" + im.digest.Encoded() + ".sig"
	for count, want := range map[int]int{64: http.StatusCreated, 65: http.StatusForbidden} {
		layers := []any{sig.Layers[0]}
		for len(layers) < count { // the payload under one more signature
			layer := describe(manifest.SimpleSigning, nil)
			layer["digest"], layer["size"] = sig.Layers[0].Digest, sig.Layers[0].Size
			layer["annotations"] = map[string]string{"dev.cosignproject.cosign/signature": fmt.Sprint(len(layers))}
			layers = append(layers, layer)
		}
		a := r.send("PUT", "/v2/a/manifests/"+tag, r.signatureManifest(sig, layers), "Content-Type", ocispec.MediaTypeImageManifest)
		if a.status != want {
			t.Errorf("%d signatures: got %d %s, want %d", count, a.status, a.body, want)
		}
	}
}

// proves is a verifier that knows who signed which digest.
type proves map[digest.Digest]string

func (p proves) Verify(_ context.Context, s policy.Subject) (policy.Evidence, error) {
	signer, ok := p[s.Digest]
	if !ok {
		return policy.Evidence{}, nil
	}
	return policy.Evidence{Signatures: []policy.Signature{{Authority: signer, Signer: signer, Signed: s.Digest, Evidence: s.Digest}}}, nil
}
func (proves) Forget(policy.Subject) {}

func TestThreat015_AnIndexThatIsNotAdmittedLendsNothing(t *testing.T) {
	r := newRig(t)
	child := newImage("65532", "child")
	index := newIndex(child)
	r.bypass("a", child.digest.String(), child)
	r.bypass("a", "v1", index)
	doc := sealing()
	doc.Pull.SignedBy = &policy.SignedBy{All: []string{"one", "two"}}
	compiled, err := policy.Compile([]policy.Document{doc}, policy.Known{
		Authorities: map[string]string{"one": "1", "two": "2"}, Signers: map[string]string{"gateway": "3"},
	})
	if err != nil {
		t.Fatal(err)
	}
	// Each has one of the two signatures: together they would be enough, and neither is admitted.
	r.swap(func(re *gateway.Regime) {
		re.Policy, re.Verifier = compiled, proves{child.digest: "one", index.digest: "two"}
	})
	r.ledger.Admit("a", index.digest, []digest.Digest{child.digest}) // as an earlier policy had it
	r.want(http.StatusForbidden, "GET", "/v2/a/manifests/"+child.digest.String(), nil)
}

func TestThreat019_IndexesAreNotNestedWithoutEnd(t *testing.T) {
	r := newRig(t)
	top := newImage("65532", "x")
	r.bypass("a", top.digest.String(), top)
	mediaType := ocispec.MediaTypeImageManifest
	for depth := 1; depth <= 4; depth++ {
		next := newIndex(top)
		if mediaType != ocispec.MediaTypeImageManifest {
			next.manifest = bytes.Replace(next.manifest, []byte(ocispec.MediaTypeImageManifest), []byte(mediaType), 1)
			next.digest = digest.FromBytes(next.manifest)
		}
		want := http.StatusCreated
		if depth == 4 {
			want = http.StatusBadRequest
		}
		if a := r.putManifest("a", next.digest.String(), next); a.status != want {
			t.Errorf("depth %d: got %d %s, want %d", depth, a.status, a.body, want)
		}
		top, mediaType = next, ocispec.MediaTypeImageIndex
	}
}

func TestThreat021_AnIndexThatLiesAboutAChildIsRefused(t *testing.T) {
	r := newRig(t)
	im := newImage("65532", "x")
	r.push("a", im.digest.String(), im)
	size := fmt.Sprintf(`"size":%d`, len(im.manifest))
	for _, lie := range [][2]string{{size, `"size":1`}, {ocispec.MediaTypeImageManifest, manifest.DockerManifest}} {
		index := newIndex(im)
		index.manifest = bytes.Replace(index.manifest, []byte(lie[0]), []byte(lie[1]), 1)
		if a := r.putManifest("a", "v1", index); a.status != http.StatusBadRequest {
			t.Errorf("%s: got %d %s", lie[1], a.status, a.body)
		}
	}
}

func TestThreat035_ASmallBlobOfOtherBytesIsNotServed(t *testing.T) {
	r := newRigBeforeHandler(t, func(w http.ResponseWriter, q *http.Request) { fmt.Fprint(w, `{"other":"bytes"}`) }, open())
	a := r.want(http.StatusBadGateway, "GET", "/v2/a/blobs/"+digest.FromString(`{"right":"bytes"}`).String(), nil)
	if bytes.Contains(a.body, []byte("other")) {
		t.Errorf("got %s", a.body)
	}
}

// countingInspector counts what is inspected.
type countingInspector struct {
	gateway.Inspector
	n *atomic.Int64
}

func (c countingInspector) Inspect(ctx context.Context, repo string, m *manifest.Manifest, needs policy.ImageNeeds) (policy.Image, error) {
	c.n.Add(1)
	return c.Inspector.Inspect(ctx, repo, m, needs)
}

// A few kilobytes, of which each level lists the one below as often as an index may: a billion ways lead to the last.
func TestThreat019_WhatIsListedAThousandTimesIsJudgedOnce(t *testing.T) {
	r := newRig(t)
	im := newImage("65532", "x")
	r.push("a", im.digest.String(), im)
	var n atomic.Int64
	r.swap(func(re *gateway.Regime) { re.Inspector = countingInspector{re.Inspector, &n} })
	top, mediaType := im, ocispec.MediaTypeImageManifest
	for depth := 1; depth <= 3; depth++ {
		list := make([]any, 1000)
		for i := range list {
			list[i] = describe(mediaType, top.manifest)
		}
		raw, err := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageIndex, "manifests": list})
		if err != nil {
			t.Fatal(err)
		}
		top, mediaType = image{manifest: raw, digest: digest.FromBytes(raw)}, ocispec.MediaTypeImageIndex
		n.Store(0)
		if a := r.putManifest("a", fmt.Sprint("depth", depth), top); a.status != http.StatusCreated {
			t.Fatalf("depth %d: got %d %s", depth, a.status, a.body)
		}
		if got := n.Load(); got != int64(depth)+1 {
			t.Errorf("depth %d: %d manifests were inspected, there are %d", depth, got, depth+1)
		}
	}
	r.want(http.StatusOK, "GET", "/v2/a/manifests/depth3", nil)
}

// What was judged where it may be counts nowhere else: not deeper, and not as something that it is not.
func TestThreat019_021_WhatWasJudgedOnceIsStillTooDeepAndStillLiedAbout(t *testing.T) {
	r := newRig(t)
	im := newImage("65532", "x")
	r.push("a", im.digest.String(), im)
	indexOf := func(entries ...any) image {
		raw, err := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageIndex, "manifests": entries})
		if err != nil {
			t.Fatal(err)
		}
		return image{manifest: raw, digest: digest.FromBytes(raw)}
	}
	entry := func(im image) map[string]any { return describe(mediaTypeOf(im.manifest), im.manifest) }

	levels := []image{im}
	for range 3 {
		next := indexOf(entry(levels[len(levels)-1]))
		r.bypass("a", next.digest.String(), next)
		levels = append(levels, next)
	}
	for name, deep := range map[string]image{
		"first where it may be": indexOf(entry(levels[1]), entry(levels[3])),
		"first too deep":        indexOf(entry(levels[3]), entry(levels[1])),
	} {
		if a := r.putManifest("a", "deep", deep); a.status != http.StatusBadRequest {
			t.Errorf("%s: got %d %s", name, a.status, a.body)
		}
	}

	lie := entry(im)
	lie["size"] = 1
	liar := indexOf(lie)
	r.bypass("a", liar.digest.String(), liar)
	if a := r.putManifest("a", "lie", indexOf(entry(levels[2]), entry(liar))); a.status != http.StatusBadRequest {
		t.Errorf("an index that lies: got %d %s", a.status, a.body)
	}
}

// remembers is a verifier that knows of one subject what was attached to it a while ago, and of all others that nothing is.
type remembers struct {
	digest   digest.Digest
	evidence policy.Evidence
}

func (v remembers) Verify(_ context.Context, s policy.Subject) (policy.Evidence, error) {
	if s.Digest == v.digest {
		return v.evidence, nil
	}
	return policy.Evidence{}, nil
}
func (remembers) Forget(policy.Subject) {}

// The signature that the index lacks may have been attached since: nobody can tell whether its child is to be refused.
func TestThreat134_AChildIsNotRefusedByWhatIsRememberedOfItsIndex(t *testing.T) {
	r := newRig(t)
	child := newImage("65532", "child")
	index := newIndex(child)
	r.bypass("a", child.digest.String(), child)
	r.bypass("a", "v1", index)
	r.ledger.Admit("a", index.digest, []digest.Digest{child.digest})
	byStranger := policy.Evidence{Signatures: []policy.Signature{{Authority: "stranger", Signed: index.digest, Evidence: index.digest}}}
	path := "/v2/a/manifests/" + child.digest.String()
	for _, c := range []struct {
		remembered time.Time
		want       int
	}{{time.Time{}, http.StatusForbidden}, {time.Now().Add(-time.Minute), http.StatusServiceUnavailable}} {
		byStranger.Remembered = c.remembered
		r.swap(func(re *gateway.Regime) { re.Verifier = remembers{index.digest, byStranger} })
		r.want(c.want, "GET", path, nil)
	}
}
