package e2e

import (
	"fmt"
	"net/http"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
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
    mode: %s
    pull: {signed_by: {any: [release]}}
    push: {accept_unsealed: true}
  - name: twice
    repositories: ["twice/**", "up/twice/**"]
    pull: {signed_by: {all: [gateway, release]}}
    push: {image: {nonroot: deny}, seal: {signer: gateway}}
  - name: sealed
    repositories: ["**"]
    pull: {signed_by: {any: [gateway]}}
    push: {image: {nonroot: deny}, seal: {signer: gateway}}
`

// TestCosignThroughTheGateway signs while the policy is in audit mode: cosign reads the image that it signs, and where nobody
// logs in, nobody reads one that is refused (signing_test.go is about where they do). Then the policy is enforced, and what is signed pulls.
func TestCosignThroughTheGateway(t *testing.T) {
	up, kit, keys := startRegistry(t), need(t, suite.images), need(t, suite.keys)
	gw := startGateway(t, fmt.Sprintf(cosignConfig, up.url(), "audit"))
	forEachGeneration := func(name string, do func(t *testing.T, generation cosign, repo string)) {
		t.Run(name, func(t *testing.T) {
			for _, generation := range []cosign{cosign2, cosign3} {
				for _, prefix := range []string{"", "up/"} {
					t.Run(generation.name+" in "+prefix+"released", func(t *testing.T) {
						t.Parallel()
						do(t, generation, prefix+"released/"+generation.name)
					})
				}
			}
		})
	}

	forEachGeneration("cosign signs, attests and verifies", func(t *testing.T, generation cosign, repo string) {
		digest := put(t, gw.ref(repo+":v1"), kit.image(t, nonroot, repo))
		generation.signs(t, "release", gw.ref(repo)+"@"+digest).ok(t)
		generation.verifies(t, keys.public("release"), gw.ref(repo)+"@"+digest).ok(t)
		generation.attests(t, "release", gw.ref(repo)+"@"+digest).ok(t)

		digest = put(t, gw.ref(repo+":attested"), kit.image(t, nonroot, repo+" attested"))
		generation.attests(t, "release", gw.ref(repo)+"@"+digest).ok(t)
		put(t, gw.ref(repo+":unsigned"), kit.image(t, nonroot, repo+" unsigned"))
	})

	gw.configure(t, fmt.Sprintf(cosignConfig, up.url(), "enforce"))
	gw.reload(t)
	eventually(t, "the policy is enforced", func() (bool, string) {
		status := gw.status(t, http.MethodHead, "released/cosign2", "unsigned")
		return status == http.StatusForbidden, fmt.Sprintf("HEAD answers %d", status)
	})

	forEachGeneration("what is signed pulls, and verifies through the gateway", func(t *testing.T, generation cosign, repo string) {
		image := gw.ref(repo) + "@" + gw.digest(t, repo, "v1")
		cranePull(t, gw.ref(repo+":v1")).ok(t)
		generation.verifies(t, keys.public("release"), image).ok(t)
		generation.run(t, "verify-attestation", "--key", keys.public("release"), "--insecure-ignore-tlog", "--type", "custom", image).ok(t)
		generation.attests(t, "release", image).ok(t) // once more, of an image that is admitted
		cranePull(t, gw.ref(repo+":v1")).ok(t)

		cranePull(t, gw.ref(repo+":unsigned")).fails(t).has(t, "no signature by release")
		cranePull(t, gw.ref(repo+":attested")).fails(t).has(t, "no signature by release")
	})
}

func TestCosignSignsBesideTheSeal(t *testing.T) {
	up, kit, keys := startRegistry(t), need(t, suite.images), need(t, suite.keys)
	gw := startGateway(t, fmt.Sprintf(cosignConfig, up.url(), "enforce"))
	gatewayKey := gw.publicKey(t)

	for _, c := range []struct {
		generation cosign
		reader     cosign // what finds both signatures
		flags      []string
	}{
		// The seal of a new image has both forms. Where there is a bundle, cosign looks at .sig only when it is told to,
		// and cosign 2 cannot be told.
		{cosign2, cosign3, []string{"--new-bundle-format=false"}},
		{cosign3, cosign3, nil},
	} {
		for _, prefix := range []string{"", "up/"} {
			t.Run(c.generation.name+" in "+prefix+"sealed", func(t *testing.T) {
				t.Parallel()
				repo := prefix + "sealed/" + c.generation.name
				digest := put(t, gw.ref(repo+":v1"), kit.image(t, nonroot, repo))
				image := gw.ref(repo) + "@" + digest
				c.generation.signs(t, "release", image).ok(t)

				c.reader.verifies(t, keys.public("release"), image, c.flags...).ok(t)
				c.reader.verifies(t, gatewayKey, image, c.flags...).ok(t)
				bothGenerationsVerify(t, gatewayKey, image)
				cranePull(t, gw.ref(repo+":v1")).ok(t)
			})
		}
	}
}

// TestASealInOneFormLeavesCosign2AtEase is for teams that sign with cosign 2: the gateway is told to seal in their form.
func TestASealInOneFormLeavesCosign2AtEase(t *testing.T) {
	kit, keys := need(t, suite.images), need(t, suite.keys)
	gw := startGateway(t, `
signers:
  - {name: gateway, formats: [tag]}
policies:
  - name: sealed
    repositories: ["**"]
    pull: {signed_by: {any: [gateway]}}
    push: {seal: {signer: gateway}}
`)
	digest := put(t, gw.ref("app:v1"), kit.image(t, nonroot, "cosign 2"))
	cosign2.signs(t, "release", gw.ref("app")+"@"+digest).ok(t)
	for _, key := range []string{keys.public("release"), gw.publicKey(t)} {
		cosign2.verifies(t, key, gw.ref("app")+"@"+digest).ok(t)
		cosign3.verifies(t, key, gw.ref("app")+"@"+digest).ok(t)
	}
	cranePull(t, gw.ref("app:v1")).ok(t)
}

// TestAnImageIsPromotedWithItsSignatures copies an image from where it was signed to where both signatures are demanded.
// There nobody could sign it: cosign reads what it signs, and where nobody logs in, nobody reads what is refused.
func TestAnImageIsPromotedWithItsSignatures(t *testing.T) {
	up, kit := startRegistry(t), need(t, suite.images)
	gw := startGateway(t, fmt.Sprintf(cosignConfig, up.url(), "enforce"))
	for _, prefix := range []string{"", "up/"} {
		from, to := prefix+"sealed/app", prefix+"twice/app"
		digest := put(t, gw.ref(from+":v1"), kit.image(t, nonroot, prefix))
		cosign3.signs(t, "release", gw.ref(from)+"@"+digest).ok(t)

		runCrane(t, "copy", gw.ref(from+":v1"), gw.ref(to+":v1")).ok(t)
		cranePull(t, gw.ref(to+":v1")).fails(t).has(t, "no signature by release")
		for _, bundle := range gw.referrers(t, from, digest) {
			runCrane(t, "copy", gw.ref(from)+"@"+bundle, gw.ref(to)+"@"+bundle).ok(t)
		}
		cranePull(t, gw.ref(to+":v1")).ok(t)
	}
}

// referrers are the digests of what is attached to a digest.
func (g *gateway) referrers(t *testing.T, repo, digest string) []string {
	t.Helper()
	index, err := v1.ParseIndexManifest(g.ask(t, http.MethodGet, repo+"/referrers/"+digest).Body)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, d := range index.Manifests {
		list = append(list, d.Digest.String())
	}
	return list
}

func TestThreat051_NoClientTakesASignatureAway(t *testing.T) {
	up, kit := startRegistry(t), need(t, suite.images)
	gw := startGateway(t, fmt.Sprintf(cosignConfig, up.url(), "enforce")) // deleting images is allowed

	for _, repo := range []string{"kept", "up/kept"} {
		digest := put(t, gw.ref(repo+":v1"), kit.image(t, nonroot, repo))
		image := gw.ref(repo) + "@" + digest

		cosign2.run(t, "clean", "--force", image)
		runCrane(t, "delete", gw.ref(repo+":"+signatureTag(digest))).fails(t)
		runCrane(t, "copy", gw.ref(repo+":v1"), gw.ref(repo+":"+signatureTag(digest))).fails(t).has(t, "EVIDENCE_MISPLACED")
		cranePull(t, gw.ref(repo+":v1")).ok(t)

		runCrane(t, "delete", image).ok(t)
		if status := gw.status(t, http.MethodGet, repo, "v1"); status != http.StatusNotFound {
			t.Errorf("the image answers %d after it was deleted, want 404", status)
		}
	}
}
