package e2e

import (
	"fmt"
	"net/http"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Multi-arch images: a list of images, one for each platform. Clients ask for the list by tag and then for its children by
// digest.

func TestEveryPlatformOfAPushedIndexIsSealed(t *testing.T) {
	up, kit := startRegistry(t), need(t, suite.images)
	gw := startGateway(t, fmt.Sprintf(sealConfig, up.url()))
	publicKey := gw.publicKey(t)

	forEachPusher(t, "an index is pushed and pulled", func(t *testing.T, c client) {
		repo := "multi/" + c.name
		src := kit.indexSource(t, nonroot, c.name)
		c.pushIndex(t, src, gw.ref(repo+":v1")).ok(t)

		digest := gw.digest(t, repo, "v1")
		bothGenerationsVerify(t, publicKey, gw.ref(repo)+"@"+digest)
		for _, child := range gw.children(t, repo, digest) {
			bothGenerationsVerify(t, publicKey, gw.ref(repo)+"@"+child.Digest.String())
		}
		c.fresh(t, gw.ref(repo+":v1")).ok(t)
	})

	forEachPusher(t, "an index with one child that runs as root is refused", func(t *testing.T, c client) {
		repo := "rooted/" + c.name
		r := c.pushIndex(t, kit.indexSource(t, asRoot, c.name), gw.ref(repo+":v1")).fails(t)
		if !c.mute {
			r.has(t, "it runs as root")
		}
		if status := gw.status(t, http.MethodGet, repo, "v1"); status != http.StatusNotFound {
			t.Errorf("the tag answers %d after a refused push, want 404", status)
		}
	})
}

// TestAChildIsPulledThroughItsSignedIndex signs the index alone, as `cosign sign` without --recursive does.
func TestAChildIsPulledThroughItsSignedIndex(t *testing.T) {
	up, kit := startRegistry(t), need(t, suite.images)
	gw := startGateway(t, fmt.Sprintf(pullConfig, up.url()))
	digest := put(t, up.ref("multi:v1"), kit.index(t, nonroot, "inherited"))
	cosign2.signs(t, "release", up.ref("multi")+"@"+digest).ok(t)

	child := kit.platform(t, "amd64", nonroot, "inherited")
	childDigest, err := child.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if status := gw.status(t, http.MethodGet, "up/multi", childDigest.String()); status != http.StatusForbidden {
		t.Errorf("the child answers %d before its index was admitted, want 403", status)
	}
	forEachClient(t, "the index and its child are pulled", func(t *testing.T, c client) {
		c.fresh(t, gw.ref("up/multi:v1")).ok(t)
	})
	if status := gw.status(t, http.MethodGet, "up/multi", childDigest.String()); status != http.StatusOK {
		t.Errorf("the child answers %d after its index was admitted, want 200", status)
	}

	// The ledger outlives the process: nobody has to pull the index again.
	verify := func(when string, outcome int) {
		t.Helper()
		if r := gw.run(t, "verify", "up/multi@"+childDigest.String()); r.code != outcome {
			t.Errorf("%s, sealgate verify ends with %d, want %d:\n%s", when, r.code, outcome, r.output)
		}
	}
	verify("while the gateway runs", 0)
	gw.process.stop()
	verify("while it does not run", 0)
	gw.start(t)
	if status := gw.status(t, http.MethodGet, "up/multi", childDigest.String()); status != http.StatusOK {
		t.Errorf("the child answers %d after a restart, want 200", status)
	}
	gw.process.kill()
	gw.start(t)
	if status := gw.status(t, http.MethodGet, "up/multi", childDigest.String()); status != http.StatusOK {
		t.Errorf("the child answers %d after the gateway was killed, want 200", status)
	}

	// The same child in another repository, where no signed index lists it.
	put(t, up.ref("elsewhere:v1"), child)
	forEachClient(t, "the child is refused where no signed index lists it", func(t *testing.T, c client) {
		c.fresh(t, gw.ref("up/elsewhere:v1")).fails(t)
	})
}

// children are what an index lists.
func (g *gateway) children(t *testing.T, repo, digest string) []v1.Descriptor {
	t.Helper()
	resp := g.ask(t, http.MethodGet, repo+"/manifests/"+digest)
	index, err := v1.ParseIndexManifest(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if len(index.Manifests) != 2 {
		t.Errorf("the index lists %d manifests, want 2", len(index.Manifests))
	}
	return index.Manifests
}
