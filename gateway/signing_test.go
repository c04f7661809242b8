package gateway_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/gateway"
	"github.com/sealgate/sealgate/gateway/ledger"
	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/policy/manifest"
)

var signers = map[string]string{"sue": "sue-s3cret", "node": "node-s3cret", "dev": "dev-s3cret", "both": "both-s3cret"}

// signed is a policy by which sue signs, node pulls, dev pushes and pulls, and both signs and pulls.
func signed() policy.Document {
	doc := sealing()
	doc.Allow = []policy.AllowDocument{allow("sue", "sign"), allow("node", "pull"), allow("dev", "push", "pull"), allow("both", "sign", "pull")}
	return doc
}

// signature is a .sig manifest as cosign makes it, of something.
func signature(t *testing.T, content string) image {
	t.Helper()
	payload := []byte(`{"critical":{"type":"cosign container image signature"},"optional":{"x":"` + content + `"}}`)
	config := []byte(`{"architecture":"","os":"","rootfs":{"type":"layers","diff_ids":["` + digest.FromBytes(payload).String() + `"]}}`)
	raw, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageManifest,
		"config": describe(ocispec.MediaTypeImageConfig, config), "layers": []any{describe(manifest.SimpleSigning, payload)},
	})
	if err != nil {
		t.Fatal(err)
	}
	return image{raw, [][]byte{config, payload}, digest.FromBytes(raw)}
}

// attach pushes evidence as somebody and returns the answer to its manifest.
func (g *guarded) attach(who, repo, reference string, im image) answer {
	g.t.Helper()
	for _, blob := range im.blobs {
		g.send("HEAD", "/v2/"+repo+"/blobs/"+digest.FromBytes(blob).String(), nil, g.as(who)...)
		started := g.want(http.StatusAccepted, "POST", "/v2/"+repo+"/blobs/uploads/", nil, g.as(who)...)
		finish(g, started.header.Get("Location"), blob, g.as(who)...)
	}
	return g.send("PUT", "/v2/"+repo+"/manifests/"+reference, im.manifest, append([]string{"Content-Type", mediaTypeOf(im.manifest)}, g.as(who)...)...)
}

func TestARefusedImageIsReadBySignersAndIsNobodysPull(t *testing.T) {
	g := newGuarded(t, true, signers, nil, signed())
	im, other := newImage("65532", "unsigned"), newImage("0", "other")
	index := newIndex(im, other)
	g.bypass("a", "v1", im)
	g.bypass("a", "v2", other)
	g.bypass("a", "all", index)

	for _, who := range []string{"sue", "both"} {
		for _, reference := range []string{"v1", im.digest.String(), "all", index.digest.String()} {
			a := g.want(http.StatusOK, "GET", "/v2/a/manifests/"+reference, nil, g.as(who)...)
			if !strings.Contains(strings.Join(a.header["Warning"], " "), "no signature by gateway") {
				t.Errorf("%s reads %s and is not told that it is refused: %v", who, reference, a.header)
			}
			all := g.recorded()
			if last := all[len(all)-1]; last.Action != ledger.Sign || last.Outcome != ledger.Admit || last.Identity != who || len(last.Warnings) == 0 {
				t.Errorf("recorded %+v", last)
			}
			g.want(http.StatusOK, "HEAD", "/v2/a/manifests/"+reference, nil, g.as(who)...)
		}
	}
	// It does not make anything one that was pulled: neither for others, nor for what the index lists.
	for _, who := range []string{"node", "dev"} {
		for _, reference := range []string{"v1", im.digest.String(), "all", index.digest.String()} {
			g.want(http.StatusForbidden, "GET", "/v2/a/manifests/"+reference, nil, g.as(who)...)
		}
	}
	g.want(http.StatusUnauthorized, "GET", "/v2/a/manifests/v1", nil)
	if parents := g.ledger.Wholes("a", im.digest); len(parents) > 0 {
		t.Errorf("%v counts as an index that was pulled", parents)
	}
	// By the other door as well.
	for _, who := range []string{"node", "sue"} {
		if a := g.send("GET", "/v2/a/blobs/"+im.digest.String(), nil, g.as(who)...); a.status == http.StatusOK {
			t.Errorf("%s gets the manifest as a blob", who)
		}
	}

	g.sealAround("a", im)
	g.want(http.StatusOK, "GET", "/v2/a/manifests/v1", nil, g.as("node")...)
	g.want(http.StatusOK, "GET", "/v2/a/manifests/v1", nil, g.as("both")...)
	all := g.recorded()
	if last := all[len(all)-1]; last.Action != ledger.Pull {
		t.Errorf("who may pull what is admitted pulls it: %+v", last)
	}
}

func TestARightToSignIsNoneToLayers(t *testing.T) {
	g := newGuarded(t, false, signers, nil, signed())
	im, sig := newImage("65532", "unsigned"), signature(t, "x")
	g.bypass("a", "v1", im)
	g.bypass("a", "sig", sig)
	for i, blob := range im.blobs {
		path := "/v2/a/blobs/" + digest.FromBytes(blob).String()
		if a := g.want(http.StatusForbidden, "GET", path, nil, g.as("sue")...); !strings.Contains(a.message(), "sue may not pull here") {
			t.Errorf("blob %d: %s", i, a.body)
		}
		g.want(http.StatusForbidden, "GET", path, nil, append([]string{"Range", "bytes=0-3"}, g.as("sue")...)...)
		g.want(http.StatusOK, "HEAD", path, nil, g.as("sue")...)
	}
	g.want(http.StatusOK, "GET", "/v2/a/blobs/"+digest.FromBytes(sig.blobs[1]).String(), nil, g.as("sue")...)
	g.want(http.StatusForbidden, "GET", "/v2/a/tags/list", nil, g.as("sue")...)
	g.want(http.StatusOK, "GET", "/v2/a/referrers/"+im.digest.String(), nil, g.as("sue")...)
	if a := g.want(http.StatusOK, "GET", "/v2/_catalog", nil, g.as("sue")...); strings.Contains(string(a.body), `"a"`) {
		t.Errorf("the catalog shows her %s", a.body)
	}
	large := newImage("65532", strings.Repeat("x", manifest.MaxBytes+1))
	g.bypass("a", "large", large)
	g.want(http.StatusForbidden, "GET", "/v2/a/blobs/"+digest.FromBytes(large.blobs[1]).String(), nil, g.as("sue")...)
}

func TestWhoMaySignAttachesEvidenceAndNothingElse(t *testing.T) {
	for _, pushes := range []bool{true, false} {
		doc := signed()
		if !pushes {
			doc.Push = nil // images come another way, and are signed here
		}
		g := newGuarded(t, false, signers, nil, doc)
		im := newImage("65532", "unsigned")
		g.bypass("a", "v1", im)
		tag := "sha256-" + im.digest.Encoded() + ".sig"

		if a := g.attach("sue", "a", tag, signature(t, "one")); a.status != http.StatusCreated {
			t.Fatalf("a push section: %v: got %d %s", pushes, a.status, a.body)
		}
		all := g.recorded()
		if last := all[len(all)-1]; last.Action != ledger.Sign || last.Identity != "sue" || last.Digest != signature(t, "one").digest {
			t.Errorf("recorded %+v", last)
		}
		for name, c := range map[string]struct {
			reference string
			im        image
		}{
			"an image":                               {"v2", newImage("65532", "new")},
			"the image itself":                       {"v1", im},
			"an image by its digest":                 {im.digest.String(), im},
			"a signature in the place of an image":   {"v1", signature(t, "two")},
			"an image in the place of a signature":   {tag, newImage("65532", "new")},
			"a disguised image":                      {digest.FromString("x").String(), disguised(t, tarOf(t, "bin/evil", "#!/bin/sh"))},
			"a signature in the place of another":    {tag, signature(t, "three")},
			"an index in the place of the referrers": {"sha256-" + im.digest.Encoded(), newIndex(im)},
		} {
			if a := g.attach("sue", "a", c.reference, c.im); a.status != http.StatusForbidden && a.status != http.StatusBadRequest {
				t.Errorf("%s: got %d %s", name, a.status, a.body)
			}
		}
		g.want(http.StatusForbidden, "DELETE", "/v2/a/manifests/"+tag, nil, g.as("sue")...)
	}
}

func TestARightToSignIsGivenByName(t *testing.T) {
	g := newGuarded(t, true, signers, nil, sealing()) // without allow everybody may do everything but that
	g.bypass("a", "v1", newImage("65532", "unsigned"))
	g.want(http.StatusForbidden, "GET", "/v2/a/manifests/v1", nil, g.as("sue")...)
	g.want(http.StatusForbidden, "GET", "/v2/a/manifests/v1", nil)

	for _, who := range [][]string{{"anonymous"}, {"sue", "anonymous"}} {
		doc := sealing()
		doc.Allow = []policy.AllowDocument{{Clients: who, May: []string{"sign"}}}
		if _, err := policy.Compile([]policy.Document{doc}, policy.Known{Authorities: map[string]string{"gateway": "x"}, Signers: map[string]string{"gateway": "x"}}); err == nil || !strings.Contains(err.Error(), "sign is for clients with a name") {
			t.Errorf("%v: got %v", who, err)
		}
	}
}

func TestATokenForPushingAsksWhetherToPushThoughItsHolderSigns(t *testing.T) {
	doc := sealing()
	doc.Allow = []policy.AllowDocument{allow("both", "sign", "pull", "push")}
	g := newGuarded(t, false, signers, nil, doc)
	im := newImage("65532", "unsigned")
	g.bypass("a", "v1", im)
	g.want(http.StatusNotFound, "HEAD", "/v2/a/manifests/v1", nil, g.token("both", "repository:a:pull,push")...)
	g.want(http.StatusOK, "HEAD", "/v2/a/manifests/v1", nil, g.token("both", "repository:a:pull")...)
	one := append([]string{"Accept", ocispec.MediaTypeImageManifest}, g.as("both")...)
	g.want(http.StatusNotFound, "HEAD", "/v2/a/manifests/v1", nil, one...)

	doc.Allow = []policy.AllowDocument{allow("sue", "sign")}
	g.policies = []policy.Document{doc}
	g.enforce(g.key)
	g.want(http.StatusOK, "HEAD", "/v2/a/manifests/v1", nil, append([]string{"Accept", ocispec.MediaTypeImageManifest}, g.as("sue")...)...) // she pushes no images
	g.want(http.StatusNotFound, "HEAD", "/v2/a/manifests/v2", nil, g.as("sue")...)

	doc.Allow = []policy.AllowDocument{allow("sue", "sign", "push")}
	g.policies = []policy.Document{doc}
	g.enforce(g.key)
	g.want(http.StatusNotFound, "HEAD", "/v2/a/manifests/v1", nil, append([]string{"Accept", ocispec.MediaTypeImageManifest}, g.as("sue")...)...)
	g.want(http.StatusOK, "GET", "/v2/a/manifests/v1", nil, g.as("sue")...)
}

func TestWhatCannotBeDecidedIsNotReadToSign(t *testing.T) {
	g := newGuarded(t, false, signers, nil, signed())
	g.bypass("a", "v1", newImage("65532", "unsigned"))
	g.panicking()
	if a := g.send("GET", "/v2/a/manifests/v1", nil, g.as("sue")...); a.status == http.StatusOK {
		t.Errorf("got %d %s", a.status, a.body)
	}
	g.swap(func(re *gateway.Regime) { re.Verifier = failing{} })
	for _, who := range []string{"sue", "both", "node"} {
		if a := g.want(http.StatusServiceUnavailable, "GET", "/v2/a/manifests/v1", nil, g.as(who)...); bytes.Contains(a.body, []byte("layers")) {
			t.Errorf("%s reads %s", who, a.body)
		}
	}
}

// failing is a verifier that cannot find out.
type failing struct{}

func (failing) Verify(context.Context, policy.Subject) (policy.Evidence, error) {
	return policy.Evidence{}, errors.New("the registry does not answer")
}
func (failing) Forget(policy.Subject) {}

// In audit mode what is refused is served as a pull, and its record says what it would have been.
func TestInAuditModeARefusedImageIsPulledAlsoByWhoSigns(t *testing.T) {
	doc := signed()
	doc.Mode = "audit"
	g := newGuarded(t, false, signers, nil, doc)
	g.bypass("a", "v1", newImage("65532", "unsigned"))
	g.want(http.StatusOK, "GET", "/v2/a/manifests/v1", nil, g.as("both")...)
	if d := g.last(); d.Action != ledger.Pull || d.Outcome != ledger.Deny || !d.Audit || d.Identity != "both" {
		t.Errorf("recorded %+v", d)
	}
}
