package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/sealgate/sealgate/gateway/ledger"
)

// The images of this table were placed in the registry around the gateway. What each client gets of them, and what it says
// when it gets nothing, is what an enforcing gateway is for.

const pullConfig = `
registries:
  - {name: up, url: %q, prefix: up/}
authorities:
  - {name: release, key: {file: release.pub}}
policies:
  - name: pinned
    repositories: ["up/pinned/**"]
    pull: {digest_only: true, signed_by: {any: [release]}}
  - name: released
    repositories: ["up/**"]
    pull: {signed_by: {any: [release]}}
`

func TestPulls(t *testing.T) {
	up := startRegistry(t)
	gw := startGateway(t, fmt.Sprintf(pullConfig, up.url()))
	stage := &pullStage{up: up, gw: gw, kit: need(t, suite.images)}

	for _, c := range []struct {
		name  string
		story string // of the golden files
		repo  string
		place func(stage *pullStage, t *testing.T, repo string) (digest string)
		try   func(t *testing.T, c client, story, ref, digest string)
	}{
		{"an image signed by cosign 2 is pulled", "signed", "signed", signedWith(cosign2, "release"), pulls},
		{"an image signed by cosign 3 is pulled", "bundled", "bundled", signedWith(cosign3, "release"), pulls},
		{"an unsigned image is refused", "unsigned", "unsigned", (*pullStage).unsigned, refuses("found none")},
		{"an image signed by a stranger is refused", "stranger", "stranger", signedWith(cosign2, "stranger"), refuses("found 1")},
		{"a signature of another digest under this image's tag is refused", "moved", "moved", (*pullStage).movedSignature, refuses("found 1")},
		{"a tag is refused where digests are demanded, then the pinned digest is pulled", "unpinned", "pinned/app", signedWith(cosign2, "release"), refusesTagThenPullsPinned},
	} {
		digest := c.place(stage, t, c.repo)
		forEachClient(t, c.name, func(t *testing.T, each client) {
			c.try(t, each, c.story, gw.ref("up/"+c.repo+":v1"), digest)
		})
		everyDecisionHasItsReason(t, gw, "up/"+c.repo)
	}
}

// pullStage is what the cases of the table share.
type pullStage struct {
	up  *registry
	gw  *gateway
	kit *imageKit
}

// unsigned places an image that nobody signed.
func (stage *pullStage) unsigned(t *testing.T, repo string) string {
	return put(t, stage.up.ref(repo+":v1"), stage.kit.image(t, nonroot, repo))
}

// signedWith places an image and signs it there.
func signedWith(generation cosign, key string) func(*pullStage, *testing.T, string) string {
	return func(stage *pullStage, t *testing.T, repo string) string {
		digest := stage.unsigned(t, repo)
		generation.signs(t, key, stage.up.ref(repo)+"@"+digest).ok(t)
		return digest
	}
}

// movedSignature copies a good signature of one image to the tag where another's would be.
func (stage *pullStage) movedSignature(t *testing.T, repo string) string {
	good := put(t, stage.up.ref(repo+":good"), stage.kit.image(t, nonroot, "good"))
	cosign2.signs(t, "release", stage.up.ref(repo)+"@"+good).ok(t)
	digest := stage.unsigned(t, repo)

	signature, err := name.NewTag(stage.up.ref(repo) + ":" + signatureTag(good))
	if err != nil {
		t.Fatal(err)
	}
	described, err := remote.Get(signature)
	if err != nil {
		t.Fatal(err)
	}
	put(t, stage.up.ref(repo)+":"+signatureTag(digest), described)
	return digest
}

// signatureTag is where cosign 2 keeps the signatures of a digest.
func signatureTag(digest string) string { return strings.Replace(digest, ":", "-", 1) + ".sig" }

func pulls(t *testing.T, c client, _, ref, _ string) {
	c.fresh(t, ref).ok(t)
}

// refuses demands that the client got nothing and that the person reads why.
func refuses(why string) func(*testing.T, client, string, string, string) {
	return func(t *testing.T, c client, story, ref, _ string) {
		r := c.fresh(t, ref).fails(t).has(t, "is refused by policy", "no signature by release", why, "fix: ", "decision 01")
		golden(t, c.name, story, r.output)
	}
}

func refusesTagThenPullsPinned(t *testing.T, c client, story, ref, digest string) {
	r := c.fresh(t, ref).fails(t).has(t, "only digests are served", "pin it: "+ref+"@"+digest)
	golden(t, c.name, story, r.output)

	c.fresh(t, c.pinned(ref, digest)).ok(t)
}

// everyDecisionHasItsReason checks what the ledger remembers of a case: who was refused what, and why.
func everyDecisionHasItsReason(t *testing.T, gw *gateway, repo string) {
	t.Helper()
	all := gw.decisions(t, repo)
	if len(all) < len(clients) {
		t.Errorf("the ledger has %d decisions about %s, there were %d clients", len(all), repo, len(clients))
	}
	for _, d := range all {
		if d.ID == "" || d.Client == "" || d.PolicyVersion == "" || (d.Outcome == ledger.Deny) != (len(d.Reasons) > 0) {
			t.Errorf("the ledger has a decision that does not say who, what or why: %+v", d)
		}
	}
}

// TestAClientThatHasEveryByteIsRefusedAfterARevocation shows that a HEAD is a decision: it is all that docker and
// containerd send for an image that they have.
func TestAClientThatHasEveryByteIsRefusedAfterARevocation(t *testing.T) {
	up := startRegistry(t)
	keys, kit := need(t, suite.keys), need(t, suite.images)
	config := fmt.Sprintf(`
registries:
  - {name: up, url: %q, prefix: up/}
authorities:
  - {name: interim, key: {file: interim.pub}}
policies:
  - {name: interim, repositories: ["**"], pull: {signed_by: {any: [interim]}}}
`, up.url())
	gw := startGateway(t, config, "interim")

	forEachClient(t, "what interim signed is pulled", func(t *testing.T, c client) {
		digest := put(t, up.ref(c.name+":v1"), kit.image(t, nonroot, c.name))
		cosign2.signs(t, "interim", up.ref(c.name)+"@"+digest).ok(t)
		repo := "up/" + c.name
		c.fresh(t, gw.ref(repo+":v1")).ok(t)

		before := len(gw.decisions(t, repo))
		c.pull(t, gw.ref(repo+":v1")).ok(t)
		again := gw.decisions(t, repo)[before:]
		if c.keeps && !allHEAD(again) {
			t.Errorf("the second pull asked more than HEAD, which is not what this test is about: %+v", again)
		}
	})

	keys.install(t, "stranger", gw.path("interim.pub")) // interim's key is compromised, and replaced
	gw.reload(t)
	eventually(t, "the revocation takes effect", func() (bool, string) {
		status := gw.status(t, http.MethodHead, "up/docker", "v1")
		return status == http.StatusForbidden, fmt.Sprintf("HEAD answers %d", status)
	})

	forEachClient(t, "the same is refused", func(t *testing.T, c client) {
		r := c.pull(t, gw.ref("up/"+c.name+":v1")).fails(t).has(t, "no signature by interim")
		golden(t, c.name, "revoked", r.output)
	})
}

func allHEAD(list []ledger.Decision) bool {
	for _, d := range list {
		if d.Method != http.MethodHead {
			return false
		}
	}
	return len(list) > 0
}
