package e2e

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// sealConfig is a gateway that signs what passes its checks, and serves only that: in front of its own registry, and of
// one elsewhere.
const sealConfig = `
registries:
  - {name: local, embedded: true, prefix: ""}
  - {name: up, url: %q, prefix: up/}
policies:
  - name: sealed
    repositories: ["**"]
    pull: {signed_by: {any: [gateway]}}
    push: {image: {nonroot: deny}, seal: {signer: gateway}}
`

// TestDockerPushesSealsPulls is the promise in one test: what docker pushes through the gateway is signed and pulls; what
// went around it is refused, and says why.
func TestDockerPushesSealsPulls(t *testing.T) {
	up, kit := startRegistry(t), need(t, suite.images)
	gw := startGateway(t, fmt.Sprintf(sealConfig, up.url()))

	pushed := gw.ref("up/app:v1")
	dockerBuild(t, kit.source(t, nonroot, "promise"), pushed)
	runDocker(t, "push", pushed).ok(t)
	dockerClear(t)
	dockerPull(t, pushed).ok(t)
	runDocker(t, "run", "--rm", "--network=none", pushed).ok(t).has(t, greeting)

	put(t, up.ref("around:v1"), kit.image(t, nonroot, "around"))
	dockerPull(t, gw.ref("up/around:v1")).fails(t).has(t, `is refused by policy "sealed"`, "fix: push it through the gateway")
}

func TestPushes(t *testing.T) {
	up, kit := startRegistry(t), need(t, suite.images)
	gw := startGateway(t, fmt.Sprintf(sealConfig, up.url()))
	publicKey := gw.publicKey(t)

	// Behind the gateway are its own registry and another one; a push must not show the difference.
	for _, behind := range []struct{ name, prefix string }{{"the embedded registry", ""}, {"another registry", "up/"}} {
		forEachPusher(t, "what is pushed to "+behind.name+" is sealed, and a second push adds nothing", func(t *testing.T, c client) {
			repo := behind.prefix + "sealed/" + c.name
			src := kit.source(t, nonroot, c.name)
			c.deliver(t, src, gw.ref(repo+":v1")).ok(t)

			digest := gw.digest(t, repo, "v1")
			if digest == "" {
				t.Fatalf("%s:v1 does not pull after its push", repo)
			}
			bothGenerationsVerify(t, publicKey, gw.ref(repo)+"@"+digest)

			before := gw.contents(t, repo)
			c.push(t, src, gw.ref(repo+":v1")).ok(t)
			if after := gw.contents(t, repo); !slices.Equal(before, after) {
				t.Errorf("the second push changed the repository\nfrom %s\nto   %s", strings.Join(before, "\n     "), strings.Join(after, "\n     "))
			}
			c.fresh(t, gw.ref(repo+":v1")).ok(t)
		})
	}

	forEachPusher(t, "a root image is refused, and the fixed one is pushed to the same tag", func(t *testing.T, c client) {
		repo := "fixed/" + c.name
		r := c.deliver(t, kit.source(t, asRoot, c.name), gw.ref(repo+":v1")).fails(t)
		if !c.mute {
			r.has(t, `is refused by policy "sealed": it runs as root`, "USER 65532")
		}
		golden(t, c.name, "root", r.output)
		if status := gw.status(t, http.MethodGet, repo, "v1"); status != http.StatusNotFound {
			t.Errorf("the tag answers %d after a refused push, want 404", status)
		}

		c.deliver(t, kit.source(t, nonroot, c.name), gw.ref(repo+":v1")).ok(t)
		c.fresh(t, gw.ref(repo+":v1")).ok(t)
	})

	forEachPusher(t, "over a tag that nobody may pull, the fixed image is pushed", func(t *testing.T, c client) {
		repo := "over/" + c.name
		put(t, up.ref(repo+":v1"), kit.image(t, asRoot, c.name))
		c.fresh(t, gw.ref("up/"+repo+":v1")).fails(t)

		c.deliver(t, kit.source(t, nonroot, c.name), gw.ref("up/"+repo+":v1")).ok(t)
		c.fresh(t, gw.ref("up/"+repo+":v1")).ok(t)
	})

	forEachPusher(t, "the very image that lies there unsigned is sealed by its push", func(t *testing.T, c client) {
		repo := "same/" + c.name
		src := kit.source(t, nonroot, c.name)
		c.deliver(t, src, up.ref(repo+":v1")).ok(t) // around the gateway
		c.fresh(t, gw.ref("up/"+repo+":v1")).fails(t)

		c.deliver(t, src, gw.ref("up/"+repo+":v1")).ok(t)
		c.fresh(t, gw.ref("up/"+repo+":v1")).ok(t)
	})
}

// forEachPusher is forEachClient for those that push.
func forEachPusher(t *testing.T, name string, do func(t *testing.T, c client)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		for _, c := range clients {
			if c.push == nil {
				continue
			}
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				do(t, c)
			})
		}
	})
}

// bothGenerationsVerify runs stock cosign on a seal: the tag and the bundle, by the version that wrote each first.
func bothGenerationsVerify(t *testing.T, publicKey, ref string) {
	t.Helper()
	root := need(t, suite.keys).root()
	cosign2.verifies(t, publicKey, ref, "--new-bundle-format", "--trusted-root", root).ok(t)
	cosign3.verifies(t, publicKey, ref).ok(t)
}

// contents lists what a repository holds: its tags with what they name, and what is attached to each.
func (g *gateway) contents(t *testing.T, repo string) []string {
	t.Helper()
	parsed, err := name.NewRepository(g.ref(repo))
	if err != nil {
		t.Fatal(err)
	}
	tags, err := remote.List(parsed)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, tag := range tags {
		digest := g.digest(t, repo, tag)
		resp := g.ask(t, http.MethodGet, repo+"/referrers/"+digest)
		referrers, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, fmt.Sprintf("%s = %s, referrers %s", tag, digest, referrers))
	}
	slices.Sort(list)
	return list
}

// TestPushesWhereBlobsNeedAnImage pushes where blobs are served for admitted images alone and tags are written once: clients ask
// for what they uploaded before there is a manifest, and mount it elsewhere.
func TestPushesWhereBlobsNeedAnImage(t *testing.T) {
	up, kit := startRegistry(t), need(t, suite.images)
	gw := startGateway(t, fmt.Sprintf(`
registries:
  - {name: local, embedded: true, prefix: ""}
  - {name: up, url: %q, prefix: up/}
policies:
  - name: sealed
    repositories: ["**"]
    pull: {signed_by: {any: [gateway]}, blobs: referenced}
    push: {image: {nonroot: deny}, seal: {signer: gateway}, immutable_tags: ["once-*"]}
`, up.url()))

	forEachPusher(t, "images and indexes are pushed and pulled, and a tag is written once", func(t *testing.T, c client) {
		for _, prefix := range []string{"", "up/"} {
			repo := prefix + "strict/" + c.name
			src := kit.source(t, nonroot, "strict "+c.name)
			c.deliver(t, src, gw.ref(repo+":once-1")).ok(t)
			c.fresh(t, gw.ref(repo+":once-1")).ok(t)
			c.deliver(t, src, gw.ref(repo+":once-1")).ok(t)
			c.deliver(t, src, gw.ref(repo+"/mounted:v1")).ok(t)
			c.fresh(t, gw.ref(repo+"/mounted:v1")).ok(t)

			r := c.deliver(t, kit.source(t, nonroot, "other "+c.name), gw.ref(repo+":once-1")).fails(t)
			if !c.mute {
				r.has(t, "is written once")
			}
			c.pushIndex(t, kit.indexSource(t, nonroot, "strict "+c.name), gw.ref(repo+":multi")).ok(t)
			c.fresh(t, gw.ref(repo+":multi")).ok(t)
		}
	})

	// Around the gateway: the image is refused, and so is what it is made of.
	unsigned := kit.image(t, nonroot, "around the gateway")
	put(t, up.ref("around:v1"), unsigned)
	layers, err := unsigned.Layers()
	if err != nil {
		t.Fatal(err)
	}
	d, err := layers[0].Digest()
	if err != nil {
		t.Fatal(err)
	}
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		if resp := gw.ask(t, method, "up/around/blobs/"+d.String()); resp.StatusCode < 400 {
			t.Errorf("%s of a refused image's layer is answered %d", method, resp.StatusCode)
		}
	}
}
