package gateway_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/gateway/ledger"
	"github.com/sealgate/sealgate/policy"
)

func TestWhatIsPushedComesBackSealed(t *testing.T) {
	r := newRig(t)
	im := newImage("65532", "hello")
	if a := r.push("acme/app", "v1", im); a.status != http.StatusCreated {
		t.Fatalf("push: %d %s", a.status, a.body)
	}
	a := r.want(http.StatusOK, "GET", "/v2/acme/app/manifests/v1", nil)
	if !bytes.Equal(a.body, im.manifest) {
		t.Errorf("got other bytes than were pushed: %s", a.body)
	}
	if got := a.header.Get("Docker-Content-Digest"); got != im.digest.String() {
		t.Errorf("Docker-Content-Digest %s, want %s", got, im.digest)
	}
	for _, blob := range im.blobs {
		got := r.want(http.StatusOK, "GET", "/v2/acme/app/blobs/"+digest.FromBytes(blob).String(), nil)
		if !bytes.Equal(got.body, blob) {
			t.Errorf("blob: got %q, want %q", got.body, blob)
		}
	}
}

func TestThreat042_WhatWentAroundTheGatewayIsRefusedWithAReason(t *testing.T) {
	r := newRig(t)
	im := newImage("65532", "sneaked in")
	r.bypass("acme/app", "v1", im)

	a := r.want(http.StatusForbidden, "GET", "/v2/acme/app/manifests/v1", nil)
	message := a.message()
	first, rest, _ := strings.Cut(message, "\n")
	if !strings.HasPrefix(first, `DENIED: sealgate: acme/app:v1 is refused by policy "default": no signature by gateway`) || len(first) > 210 {
		t.Errorf("line 1: %s", first)
	}
	if !strings.Contains(rest, "fix: push it through the gateway") || !strings.Contains(rest, "decision 0") {
		t.Errorf("the rest: %s", rest)
	}
	for _, reference := range []string{"v1", im.digest.String()} {
		a := r.want(http.StatusForbidden, "HEAD", "/v2/acme/app/manifests/"+reference, nil)
		if len(a.body) > 0 {
			t.Errorf("HEAD %s has a body", reference)
		}
	}
}

func TestThreat003_HeadAndGetTellTheSameStory(t *testing.T) {
	r := newRig(t)
	signed, unsigned := newImage("65532", "signed"), newImage("65532", "unsigned")
	r.push("a", "signed", signed)
	r.bypass("a", "unsigned", unsigned)
	for _, reference := range []string{"signed", signed.digest.String(), "unsigned", unsigned.digest.String(), "absent"} {
		get := r.send("GET", "/v2/a/manifests/"+reference, nil)
		head := r.send("HEAD", "/v2/a/manifests/"+reference, nil)
		if get.status != head.status {
			t.Errorf("%s: GET %d, HEAD %d", reference, get.status, head.status)
		}
		for _, name := range []string{"Content-Type", "Docker-Content-Digest", "Etag"} {
			if g, h := get.header.Get(name), head.header.Get(name); g != h {
				t.Errorf("%s: %s is %q for GET and %q for HEAD", reference, name, g, h)
			}
		}
		if get.status == http.StatusOK && get.header.Get("Content-Length") != head.header.Get("Content-Length") {
			t.Errorf("%s: other Content-Length", reference)
		}
	}
}

func TestEveryDecisionHasExactlyOneRecord(t *testing.T) {
	r := newRig(t)
	r.push("a", "v1", newImage("65532", "x"))
	r.bypass("a", "v2", newImage("65532", "y"))
	before := len(r.recorded())

	r.send("GET", "/v2/a/manifests/v1", nil)
	r.send("GET", "/v2/a/manifests/v2", nil, "User-Agent", "curl\"}{")
	got := r.recorded()[before:]
	if len(got) != 2 {
		t.Fatalf("got %d records, want 2", len(got))
	}
	admit, deny := got[0], got[1]
	if admit.Outcome != ledger.Admit || len(admit.Evidence) == 0 || admit.PolicyVersion == "" || admit.Client == "" {
		t.Errorf("the admit: %+v", admit)
	}
	if deny.Outcome != ledger.Deny || len(deny.Reasons) != 1 || deny.Reasons[0].Code != policy.Unsigned {
		t.Errorf("the deny: %+v", deny)
	}
}

func TestThreat081_AKeyThatIsReplacedEndsItsVerdictsAtOnce(t *testing.T) {
	r := newRig(t)
	r.push("a", "v1", newImage("65532", "x"))
	r.want(http.StatusOK, "HEAD", "/v2/a/manifests/v1", nil)
	r.enforce(newKey(t))
	r.want(http.StatusForbidden, "HEAD", "/v2/a/manifests/v1", nil)
}

func TestThreat015_AChildComesThroughItsAdmittedIndexOnly(t *testing.T) {
	r := newRig(t)
	one, two := newImage("65532", "one"), newImage("65532", "two")
	index := newIndex(one, two)
	for _, im := range []image{one, two} {
		r.bypass("a", im.digest.String(), im)
	}
	r.bypass("a", "v1", index)
	r.want(http.StatusForbidden, "GET", "/v2/a/manifests/v1", nil)
	r.want(http.StatusForbidden, "GET", "/v2/a/manifests/"+one.digest.String(), nil)

	// Somebody signs the index alone, in the registry.
	r.sealAround("a", index)
	r.want(http.StatusForbidden, "GET", "/v2/a/manifests/"+one.digest.String(), nil)
	r.want(http.StatusOK, "GET", "/v2/a/manifests/v1", nil)
	r.want(http.StatusOK, "GET", "/v2/a/manifests/"+one.digest.String(), nil)

	// The edge is trusted no longer than the index's key, and in no other repository.
	r.bypass("b", one.digest.String(), one)
	r.want(http.StatusForbidden, "GET", "/v2/b/manifests/"+one.digest.String(), nil)
	r.enforce(newKey(t))
	r.want(http.StatusForbidden, "GET", "/v2/a/manifests/"+one.digest.String(), nil)
}

func TestThreat016_ASignedChildDoesNotAdmitItsIndex(t *testing.T) {
	r := newRig(t)
	one := newImage("65532", "one")
	if a := r.push("a", one.digest.String(), one); a.status != http.StatusCreated {
		t.Fatalf("push: %d %s", a.status, a.body)
	}
	r.bypass("a", "v1", newIndex(one))
	r.want(http.StatusForbidden, "GET", "/v2/a/manifests/v1", nil)
}

func TestDigestOnlyRefusesTagsAndSaysWhatToPin(t *testing.T) {
	doc := sealing()
	doc.Pull.DigestOnly = true
	r := newRig(t, doc)
	im := newImage("65532", "x")
	r.push("a", "v1", im)
	a := r.want(http.StatusForbidden, "GET", "/v2/a/manifests/v1", nil)
	if want := "/a:v1@" + im.digest.String(); !strings.Contains(a.message(), want) {
		t.Errorf("the message does not say %s: %s", want, a.message())
	}
	r.want(http.StatusOK, "GET", "/v2/a/manifests/"+im.digest.String(), nil)
}

func TestAuditModeServesAndRecordsWhatItWouldRefuse(t *testing.T) {
	doc := sealing()
	doc.Mode = "audit"
	r := newRig(t, doc)
	im := newImage("", "root and unsigned")
	r.bypass("a", "v1", im)
	a := r.want(http.StatusOK, "GET", "/v2/a/manifests/v1", nil)
	if !strings.Contains(a.header.Get("Warning"), "would be refused") {
		t.Errorf("Warning: %q", a.header.Get("Warning"))
	}
	last := r.recorded()[len(r.recorded())-1]
	if last.Outcome != ledger.Deny || !last.Audit {
		t.Errorf("the record: %+v", last)
	}
	// A push that fails its checks is stored, and not sealed.
	r.push("a", "v2", newImage("0", "another"))
	if a := r.want(http.StatusOK, "GET", "/v2/a/manifests/v2", nil); a.header.Get("Warning") == "" {
		t.Error("what failed its checks was sealed")
	}
}

func TestARepositoryThatNoPolicyNamesIsDenied(t *testing.T) {
	doc := sealing()
	doc.Repositories = []string{"prod/**"}
	r := newRig(t, doc)
	r.bypass("dev/app", "v1", newImage("65532", "x"))
	for _, request := range []string{
		"GET /v2/dev/app/manifests/v1", "HEAD /v2/dev/app/manifests/v1", "GET /v2/dev/app/tags/list",
		"GET /v2/dev/app/blobs/" + digest.FromString("x").String(), "POST /v2/dev/app/blobs/uploads/",
		"GET /v2/dev/app/referrers/" + digest.FromString("x").String(),
	} {
		method, path, _ := strings.Cut(request, " ")
		r.want(http.StatusForbidden, method, path, nil)
	}
	if a := r.want(http.StatusOK, "GET", "/v2/_catalog", nil); strings.Contains(string(a.body), "dev/app") {
		t.Errorf("the catalog shows it: %s", a.body)
	}
}

func TestThreat031_AManifestAskedForAsABlobGetsTheManifestsVerdict(t *testing.T) {
	r := newRig(t)
	im := newImage("65532", "x")
	r.bypass("a", "v1", im)
	d := ocispec.Descriptor{MediaType: "application/octet-stream", Digest: im.digest, Size: int64(len(im.manifest))}
	if err := r.registries.PutBlob(context.Background(), "a", d, im.manifest); err != nil {
		t.Fatal(err)
	}
	r.want(http.StatusForbidden, "GET", "/v2/a/blobs/"+im.digest.String(), nil)
	r.want(http.StatusForbidden, "GET", "/v2/a/blobs/"+im.digest.String(), nil, "Range", "bytes=0-10")
	r.sealAround("a", im)
	r.want(http.StatusOK, "GET", "/v2/a/blobs/"+im.digest.String(), nil)
}

func TestBlobsAnswerRanges(t *testing.T) {
	r := newRig(t)
	content := strings.Repeat("0123456789", 1<<20)
	im := newImage("65532", content)
	r.push("a", "v1", im)
	path := "/v2/a/blobs/" + digest.FromString(content).String()
	a := r.want(http.StatusPartialContent, "GET", path, nil, "Range", "bytes=5-8")
	if string(a.body) != "5678" {
		t.Errorf("got %q", a.body)
	}
	r.want(http.StatusRequestedRangeNotSatisfiable, "GET", path, nil, "Range", "bytes=0-1,3-4")
	head := r.want(http.StatusOK, "HEAD", path, nil)
	if got := head.header.Get("Content-Length"); got != fmt.Sprint(len(content)) {
		t.Errorf("Content-Length %s, want %d", got, len(content))
	}
}

func TestThreat038_NotModifiedComesAfterTheVerdict(t *testing.T) {
	r := newRig(t)
	im := newImage("65532", "x")
	r.push("a", "v1", im)
	etag := `"` + im.digest.String() + `"`
	r.want(http.StatusNotModified, "GET", "/v2/a/manifests/v1", nil, "If-None-Match", etag)
	r.enforce(newKey(t))
	r.want(http.StatusForbidden, "GET", "/v2/a/manifests/v1", nil, "If-None-Match", etag)
}

func TestThreat008_AClientThatDoesNotAcceptTheTypeGetsNoOtherDocument(t *testing.T) {
	r := newRig(t)
	one := newImage("65532", "one")
	r.push("a", one.digest.String(), one)
	if a := r.putManifest("a", "v1", newIndex(one)); a.status != http.StatusCreated {
		t.Fatalf("push: %d %s", a.status, a.body)
	}
	r.want(http.StatusNotFound, "GET", "/v2/a/manifests/v1", nil, "Accept", ocispec.MediaTypeImageManifest)
	r.want(http.StatusOK, "GET", "/v2/a/manifests/v1", nil, "Accept", "*/*")
	r.want(http.StatusOK, "GET", "/v2/a/manifests/v1", nil, "Accept", strings.Repeat("text/x;q=0, ", 30)+ocispec.MediaTypeImageIndex)
}

func TestTheHeadBeforeAPushIsAnsweredNotHere(t *testing.T) {
	r := newRig(t)
	r.bypass("a", "v1", newImage("65532", "refused"))
	r.want(http.StatusNotFound, "HEAD", "/v2/a/manifests/v1", nil, "Accept", ocispec.MediaTypeImageManifest)
	r.want(http.StatusNotFound, "HEAD", "/v2/a/manifests/v1", nil, "Accept", ocispec.MediaTypeImageManifest+", */*")
	r.want(http.StatusForbidden, "HEAD", "/v2/a/manifests/v1", nil, "Accept", ocispec.MediaTypeImageManifest+", "+ocispec.MediaTypeImageIndex)
}

func TestContainerd1ReadsTheReasonByAMadeUpDigest(t *testing.T) {
	r := newRig(t)
	im := newImage("65532", "refused")
	r.bypass("a", "v1", im)
	agent := []string{"User-Agent", "containerd/1.6.20~ds1"}
	before := len(r.recorded())

	head := r.want(http.StatusOK, "HEAD", "/v2/a/manifests/v1", nil, agent...)
	made := head.header.Get("Docker-Content-Digest")
	if made == im.digest.String() {
		t.Fatal("the refused manifest's own digest was given")
	}
	get := r.want(http.StatusForbidden, "GET", "/v2/a/manifests/"+made, nil, agent...)
	if !strings.Contains(get.message(), "is refused by policy") {
		t.Errorf("the message: %s", get.message())
	}
	if got := len(r.recorded()) - before; got != 1 {
		t.Errorf("got %d records for one decision", got)
	}
	// As a mirror the node would go to the next host.
	r.want(http.StatusBadRequest, "HEAD", "/v2/a/manifests/v1?ns=elsewhere", nil, agent...)
	r.want(http.StatusForbidden, "HEAD", "/v2/a/manifests/v1?ns=local", nil, agent...)
	r.want(http.StatusForbidden, "HEAD", "/v2/a/manifests/v1", nil, "User-Agent", "containerd/2.4.2")
}
