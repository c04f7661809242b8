package gateway_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func TestThreat002_TheDigestOfAHeadIsJudgedAgainByItsGet(t *testing.T) {
	r := newRig(t)
	im := newImage("65532", "x")
	r.push("a", "v1", im)
	head := r.want(http.StatusOK, "HEAD", "/v2/a/manifests/v1", nil)
	resolved := head.header.Get("Docker-Content-Digest")
	if resolved != im.digest.String() {
		t.Fatalf("HEAD gave %s, want %s", resolved, im.digest)
	}
	r.enforce(newKey(t)) // between the two
	r.want(http.StatusForbidden, "GET", "/v2/a/manifests/"+resolved, nil)
}

func TestThreat006_AHeadIsAnsweredFromWhatAGetBrings(t *testing.T) {
	im := newImage("65532", "what GET brings")
	r := newRigBeforeHandler(t, func(w http.ResponseWriter, q *http.Request) {
		if q.Method == http.MethodHead {
			w.Header().Set("Docker-Content-Digest", digest.FromString("what HEAD claims").String())
			return
		}
		serveManifest(w, im.manifest)
	}, open())
	head := r.want(http.StatusOK, "HEAD", "/v2/a/manifests/v1", nil)
	if got := head.header.Get("Docker-Content-Digest"); got != im.digest.String() {
		t.Errorf("got %s, want %s", got, im.digest)
	}
}

func TestThreat009_WhateverIsAcceptedTheBytesAreTheSame(t *testing.T) {
	r := newRig(t)
	im := newImage("65532", "x")
	r.push("a", "v1", im)
	for _, accept := range []string{
		"", "*/*", "application/*", ocispec.MediaTypeImageManifest + ";q=0.1", ocispec.MediaTypeImageIndex + ", " + ocispec.MediaTypeImageManifest,
		ocispec.MediaTypeImageManifest + strings.Repeat(", text/plain", 4000),
	} {
		header := []string{"Accept", accept}
		if accept == "" {
			header = nil
		}
		a := r.want(http.StatusOK, "GET", "/v2/a/manifests/v1", nil, header...)
		if string(a.body) != string(im.manifest) {
			t.Errorf("Accept %.60q: other bytes", accept)
		}
	}
}

func TestThreat017_AnUnsignedIndexDoesNotPassThroughItsSignedChild(t *testing.T) {
	r := newRig(t)
	child, other := newImage("65532", "child"), newImage("65532", "other")
	signed, unsigned := newIndex(child), newIndex(child, other)
	r.bypass("a", child.digest.String(), child)
	r.bypass("a", other.digest.String(), other)
	r.bypass("a", "signed", signed)
	r.bypass("a", "unsigned", unsigned)
	r.sealAround("a", signed)
	r.want(http.StatusOK, "GET", "/v2/a/manifests/signed", nil)
	r.want(http.StatusForbidden, "GET", "/v2/a/manifests/unsigned", nil)
	r.want(http.StatusOK, "GET", "/v2/a/manifests/"+child.digest.String(), nil)
	r.want(http.StatusForbidden, "GET", "/v2/a/manifests/"+other.digest.String(), nil)
}

func TestThreat036_037_RangesAreForBlobsOneAtATime(t *testing.T) {
	r := newRig(t)
	content := strings.Repeat("0123456789", 1<<19)
	im := newImage("65532", content)
	r.push("a", "v1", im)
	whole := r.want(http.StatusOK, "GET", "/v2/a/manifests/v1", nil, "Range", "bytes=0-3")
	if string(whole.body) != string(im.manifest) {
		t.Errorf("a range of a manifest: %q", whole.body)
	}
	for _, blob := range [][]byte{im.blobs[0], im.blobs[1]} { // a small one and a large one
		path := "/v2/a/blobs/" + digest.FromBytes(blob).String()
		for ranges, want := range map[string]string{
			"bytes=0-3":                            string(blob[:4]),
			"bytes=-5":                             string(blob[len(blob)-5:]),
			fmt.Sprint("bytes=", len(blob)-2, "-"): string(blob[len(blob)-2:]),
			"bytes=0-99999999999":                  string(blob),
		} {
			a := r.want(http.StatusPartialContent, "GET", path, nil, "Range", ranges)
			if string(a.body) != want {
				t.Errorf("%s: got %d bytes, want %d", ranges, len(a.body), len(want))
			}
		}
		for _, ranges := range []string{"bytes=0-1,2-3", "bytes=99999999999-", "bytes=0-" + strings.Repeat("9", 200)} {
			r.want(http.StatusRequestedRangeNotSatisfiable, "GET", path, nil, "Range", ranges)
		}
	}
}

func TestThreat143_WhatWasInspectedIsWhatIsStored(t *testing.T) {
	im := newImage("65532", "x")
	var stored atomic.Pointer[string]
	r := newRigBeforeHandler(t, func(w http.ResponseWriter, q *http.Request) {
		switch {
		case q.Method == http.MethodPut:
			lie := digest.FromString("something else").String()
			stored.Store(&lie)
			w.Header().Set("Docker-Content-Digest", lie)
			w.WriteHeader(http.StatusCreated)
		case strings.Contains(q.URL.Path, "/blobs/"+digest.FromBytes(im.blobs[0]).String()):
			w.Write(im.blobs[0])
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}, sealing())
	a := r.putManifest("a", "v1", im)
	if stored.Load() == nil {
		t.Fatalf("nothing was stored: %d %s", a.status, a.body)
	}
	if a.status < 500 {
		t.Errorf("the registry stored other bytes: got %d %s", a.status, a.body)
	}
}

func TestThreat155_WithoutASignerNothingIsPublished(t *testing.T) {
	r := newRig(t)
	r.withoutSigner()
	im := newImage("65532", "x")
	if a := r.push("a", "v1", im); a.status != http.StatusServiceUnavailable {
		t.Errorf("push: %d %s", a.status, a.body)
	}
	r.want(http.StatusNotFound, "GET", "/v2/a/manifests/v1", nil)
	r.enforce(r.key)
	r.want(http.StatusForbidden, "GET", "/v2/a/manifests/"+im.digest.String(), nil) // staged, and nobody's
	if a := r.putManifest("a", "v1", im); a.status != http.StatusCreated {
		t.Errorf("the retry: %d %s", a.status, a.body)
	}
	r.want(http.StatusOK, "GET", "/v2/a/manifests/v1", nil)
}

func TestThreat034_ABlobIsInTheRepositoriesThatHaveItAndInNoOther(t *testing.T) {
	r := newRig(t)
	large := newImage("65532", strings.Repeat("0123456789", 1<<19)) // one that is sent as a file, and its small configuration
	r.push("a", "v1", large)
	r.push("b", "v1", newImage("65532", "another"))
	for _, blob := range large.blobs {
		path := "/blobs/" + digest.FromBytes(blob).String()
		r.want(http.StatusOK, "GET", "/v2/a"+path, nil)
		for _, method := range []string{"GET", "HEAD"} {
			r.want(http.StatusNotFound, method, "/v2/b"+path, nil)
			r.want(http.StatusNotFound, method, "/v2/absent"+path, nil)
		}
	}
}
