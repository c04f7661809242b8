package e2e

import (
	"fmt"
	"net/http"
	"testing"
)

// People sign through the gateway with the cosign that they have. What they attach protects their images from then on: it
// counts, and no client can take it away.

const cosignConfig = `
registries:
  - {name: local, embedded: true, prefix: ""}
  - {name: up, url: %q, prefix: up/}
authorities:
  - {name: release, key: {file: release.pub}}
  - {name: gateway, signer: gateway}
delete: {allowed: true}
policies:
  - name: released
    repositories: ["released/**", "up/released/**"]
    pull: {signed_by: {any: [release]}}
    push: {accept_unsealed: true}
  - name: twice
    repositories: ["**"]
    pull: {signed_by: {all: [gateway, release]}}
    push: {image: {nonroot: deny}, seal: {signer: gateway}}
`

func TestCosignThroughTheGateway(t *testing.T) {
	up, kit, keys := startRegistry(t), need(t, suite.images), need(t, suite.keys)
	gw := startGateway(t, fmt.Sprintf(cosignConfig, up.url()))
	gatewayKey := gw.publicKey(t)

	for _, generation := range []cosign{cosign2, cosign3} {
		for _, prefix := range []string{"", "up/"} {
			t.Run(generation.name+" signs, verifies and attests in "+prefix+"released", func(t *testing.T) {
				t.Parallel()
				repo := prefix + "released/" + generation.name
				digest := put(t, gw.ref(repo+":v1"), kit.image(t, nonroot, repo))
				image := gw.ref(repo) + "@" + digest
				cranePull(t, gw.ref(repo+":v1")).fails(t).has(t, "no signature by release")

				generation.signs(t, "release", image).ok(t)
				cranePull(t, gw.ref(repo+":v1")).ok(t)
				generation.verifies(t, keys.public("release"), image).ok(t)

				generation.attests(t, "release", image).ok(t)
				generation.run(t, "verify-attestation", "--key", keys.public("release"), "--insecure-ignore-tlog", "--type", "custom", image).ok(t)
				generation.verifies(t, keys.public("release"), image).ok(t)
				cranePull(t, gw.ref(repo+":v1")).ok(t)
			})

			t.Run(generation.name+" signs beside the seal in "+prefix+"twice", func(t *testing.T) {
				t.Parallel()
				repo := prefix + "twice/" + generation.name
				digest := put(t, gw.ref(repo+":v1"), kit.image(t, nonroot, repo))
				image := gw.ref(repo) + "@" + digest
				cranePull(t, gw.ref(repo+":v1")).fails(t).has(t, "no signature by release")

				generation.signs(t, "release", image).ok(t)
				cranePull(t, gw.ref(repo+":v1")).ok(t)
				generation.verifies(t, keys.public("release"), image).ok(t)
				bothGenerationsVerify(t, gatewayKey, image)
			})
		}
	}

	t.Run("an attestation is no signature", func(t *testing.T) {
		t.Parallel()
		for _, generation := range []cosign{cosign2, cosign3} {
			repo := "released/attested-" + generation.name
			digest := put(t, gw.ref(repo+":v1"), kit.image(t, nonroot, repo))
			generation.attests(t, "release", gw.ref(repo)+"@"+digest).ok(t)
			cranePull(t, gw.ref(repo+":v1")).fails(t).has(t, "no signature by release")
		}
	})

	t.Run("no client takes a signature away, even where images may be deleted", func(t *testing.T) {
		t.Parallel()
		const repo = "released/kept"
		digest := put(t, gw.ref(repo+":v1"), kit.image(t, nonroot, repo))
		image := gw.ref(repo) + "@" + digest
		cosign2.signs(t, "release", image).ok(t)

		cosign2.run(t, "clean", "--force", image)
		runCrane(t, "delete", gw.ref(repo+":"+signatureTag(digest))).fails(t)
		runCrane(t, "copy", gw.ref(repo+":v1"), gw.ref(repo+":"+signatureTag(digest))).fails(t).has(t, "kept for signatures")
		cranePull(t, gw.ref(repo+":v1")).ok(t)

		runCrane(t, "delete", image).ok(t)
		if status := gw.status(t, http.MethodGet, repo, "v1"); status != http.StatusNotFound {
			t.Errorf("the image answers %d after it was deleted, want 404", status)
		}
	})
}
