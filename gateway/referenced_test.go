package gateway_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/sealgate/sealgate/gateway"
	"github.com/sealgate/sealgate/policy"
)

func referenced() policy.Document {
	d := sealing()
	d.Pull.Blobs = "referenced"
	return d
}

func layerOf(im image) string { return digest.FromBytes(im.blobs[1]).String() }

func TestThreat032_ABlobThatNoAdmittedManifestNamesIsNotServed(t *testing.T) {
	r := newRig(t, referenced())
	around, pushed := newImage("65532", "around"), newImage("65532", "pushed")
	r.bypass("a", "around", around)
	for what, d := range map[string]string{"there": layerOf(around), "not there": digest.FromString("nothing").String()} {
		a := r.want(http.StatusForbidden, "GET", "/v2/a/blobs/"+d, nil)
		if !strings.Contains(string(a.body), "BLOB_UNREFERENCED") {
			t.Errorf("%s: %s", what, a.body)
		}
		r.want(http.StatusNotFound, "HEAD", "/v2/a/blobs/"+d, nil)
	}
	if a := r.push("a", "v1", pushed); a.status != http.StatusCreated {
		t.Fatal(a.status, string(a.body))
	}
	for _, restart := range []func(){func() {}, r.restart} {
		restart()
		r.want(http.StatusOK, "GET", "/v2/a/blobs/"+layerOf(pushed), nil)
		r.want(http.StatusOK, "HEAD", "/v2/a/blobs/"+digest.FromBytes(pushed.blobs[0]).String(), nil)
		r.want(http.StatusForbidden, "GET", "/v2/b/blobs/"+layerOf(pushed), nil)
	}
	r.want(http.StatusForbidden, "GET", "/v2/a/blobs/"+pushed.digest.String(), nil) // the manifest itself, through this door
}

func TestThreat033_TheBlobsOfADeniedManifestAreServedOnceItIsAdmitted(t *testing.T) {
	r := newRig(t, referenced())
	im := newImage("65532", "x")
	r.bypass("a", "v1", im)
	blob := "/v2/a/blobs/" + layerOf(im)
	r.want(http.StatusForbidden, "GET", "/v2/a/manifests/v1", nil)
	r.want(http.StatusForbidden, "GET", blob, nil)

	r.sealAround("a", im)
	r.want(http.StatusOK, "GET", "/v2/a/manifests/v1", nil)
	r.want(http.StatusOK, "GET", blob, nil)

	// And no longer when it is refused again.
	r.enforce(newKey(t))
	if a := r.want(http.StatusForbidden, "GET", blob, nil); !strings.Contains(string(a.body), "UNTRUSTED") {
		t.Errorf("the reason is not the manifest's: %s", a.body)
	}
}

func TestAClientFindsAndMountsWhatItJustUploadedAndCannotReadIt(t *testing.T) {
	r := newRig(t, referenced())
	im := newImage("65532", "x")
	r.pushBlobs("a", im)
	r.want(http.StatusOK, "HEAD", "/v2/a/blobs/"+layerOf(im), nil) // docker asks so after each upload
	r.want(http.StatusForbidden, "GET", "/v2/a/blobs/"+layerOf(im), nil)
	r.want(http.StatusNotFound, "HEAD", "/v2/b/blobs/"+layerOf(im), nil)
	r.want(http.StatusCreated, "POST", "/v2/b/blobs/uploads/?mount="+layerOf(im)+"&from=a", nil)
	r.want(http.StatusOK, "HEAD", "/v2/b/blobs/"+layerOf(im), nil)
}

func TestThreat147_ABlobOfADeniedImageIsNotMounted(t *testing.T) {
	r := newRig(t, referenced())
	im := newImage("65532", "x")
	r.bypass("a", "v1", im)
	mount := "/v2/b/blobs/uploads/?mount=" + layerOf(im) + "&from=a"
	r.want(http.StatusAccepted, "POST", mount, nil) // upload it, then
	r.sealAround("a", im)
	r.want(http.StatusOK, "GET", "/v2/a/manifests/v1", nil)
	r.want(http.StatusCreated, "POST", mount, nil)
}

func TestInAuditModeABlobThatNothingNamesIsServedAndRecorded(t *testing.T) {
	doc := referenced()
	doc.Mode = "audit"
	r := newRig(t, doc)
	im := newImage("65532", "x")
	r.bypass("a", "v1", im)
	a := r.want(http.StatusOK, "GET", "/v2/a/blobs/"+layerOf(im), nil)
	if !strings.Contains(a.header.Get("Warning"), "would be refused") {
		t.Errorf("the warning is %q", a.header.Get("Warning"))
	}
	if d := r.last(); !d.Audit || len(d.Reasons) == 0 || d.Reasons[0].Code != policy.BlobUnreferenced {
		t.Errorf("recorded %+v", d)
	}
}

// Signatures are pulled with their blobs, whatever a rule says of images.
func TestTheBlobsOfEvidenceAreServedOnceItsManifestIs(t *testing.T) {
	r := newRig(t, referenced())
	im := newImage("65532", "x")
	r.push("a", "v1", im)
	tag := "sha256-" + im.digest.Encoded() + ".sig"
	a := r.want(http.StatusOK, "GET", "/v2/a/manifests/"+tag, nil)
	_, payload, _ := strings.Cut(string(a.body), `"layers":[`)
	_, payload, _ = strings.Cut(payload, `"digest":"`)
	payload, _, _ = strings.Cut(payload, `"`)
	r.want(http.StatusOK, "GET", "/v2/a/blobs/"+payload, nil)
}

// A registry that takes a blob in one request stores what was sent, not what the same request says that it would mount.
func TestThreat147_WhatWasNotMountedIsNotTakenForAnUpload(t *testing.T) {
	r := newRigBefore(t, registryAt(t, "other", "", newRegistryWithReferrers()), referenced())
	secret, own := newImage("65532", "secret"), []byte("the client's own")
	r.bypass("a", "v1", secret)
	both := "/v2/a/blobs/uploads/?digest=" + digest.FromBytes(own).String() + "&mount=" + layerOf(secret) + "&from=a"
	a := r.want(http.StatusCreated, "POST", both, own)
	if d := a.header.Get("Docker-Content-Digest"); d != digest.FromBytes(own).String() {
		t.Errorf("%s was stored, and the answer names %s", digest.FromBytes(own), d)
	}
	r.want(http.StatusNotFound, "HEAD", "/v2/a/blobs/"+layerOf(secret), nil)
	r.want(http.StatusAccepted, "POST", "/v2/b/blobs/uploads/?mount="+layerOf(secret)+"&from=a", nil)
}

// "Not here" makes a client push; that nobody can tell is no such answer.
func TestABlobOfWhichNobodyCanTellIsNotSaidToBeAbsent(t *testing.T) {
	r := newRig(t, referenced())
	im := newImage("65532", "x")
	r.push("a", "v1", im)
	r.restart() // the upload is forgotten
	r.swap(func(re *gateway.Regime) { re.Verifier = failing{} })
	for _, method := range []string{"HEAD", "GET"} {
		r.want(http.StatusServiceUnavailable, method, "/v2/a/blobs/"+layerOf(im), nil)
	}
}
