package e2e

import (
	"fmt"
	"net/http"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/sealgate/sealgate/gateway/ledger"
)

const signersConfig = `
clients:
  htpasswd: %q
registries:
  - {name: local, embedded: true, prefix: ""}
  - {name: up, url: %q, prefix: up/}
authorities:
  - {name: release, key: {file: release.pub}}
policies:
  - name: release
    repositories: ["**"]
    allow:
      - {clients: [dev], may: [push, pull]}
      - {clients: [sue], may: [sign]}
      - {clients: [lead], may: [sign, pull, push]}
      - {clients: [node], may: [pull]}
    pull: {signed_by: {any: [release]}}
    push: {accept_unsealed: true}
`

var anyDigest = regexp.MustCompile("sha256:[0-9a-f]{64}")

// TestCosignSignsARefusedImageThroughTheGateway signs what the policy refuses for want of that signature, as somebody who has
// the right to sign and no other, and then the node pulls it.
func TestCosignSignsARefusedImageThroughTheGateway(t *testing.T) {
	up, kit := startRegistry(t), need(t, suite.images)
	users := filepath.Join(tempDir(t), "htpasswd")
	htpasswd(t, users, "dev", "sue", "lead", "node")
	gw := startGateway(t, fmt.Sprintf(signersConfig, users, up.url()))
	node := "node:" + passwordOf("node")

	for _, generation := range []cosign{cosign2, cosign3} {
		for _, prefix := range []string{"", "up/"} {
			for _, who := range []string{"sue", "lead"} {
				t.Run(generation.name+" in "+prefix+" by "+who, func(t *testing.T) {
					t.Parallel()
					repo := prefix + "app/" + generation.name + "/" + who
					ref := gw.ref(repo + ":v1")
					craneAs(t, "dev:"+passwordOf("dev"), ref, "push", kit.source(t, nonroot, ref).oci(), ref).ok(t)
					craneAs(t, node, ref, "pull", ref, filepath.Join(tempDir(t), "image")).fails(t).has(t, "no signature by release")
					digest := anyDigest.FindString(craneAs(t, who+":"+passwordOf(who), ref, "digest", ref).ok(t).output)

					generation.as(t, who, gw).signs(t, "release", gw.ref(repo)+"@"+digest).ok(t)
					generation.as(t, who, gw).attests(t, "release", gw.ref(repo)+"@"+digest).ok(t)
					if who == "sue" {
						gw.decidedAbout(t, repo, map[ledger.Action]string{ledger.Push: "dev", ledger.Sign: "sue"})
					}

					craneAs(t, node, ref, "pull", ref, filepath.Join(tempDir(t), "image")).ok(t)
					generation.as(t, "node", gw).verifies(t, need(t, suite.keys).public("release"), gw.ref(repo)+"@"+digest).ok(t)
					if who != "sue" {
						return
					}
					craneAs(t, "sue:"+passwordOf("sue"), ref, "pull", ref, filepath.Join(tempDir(t), "image")).fails(t).has(t, "sue may not pull here")
					craneAs(t, "sue:"+passwordOf("sue"), ref, "push", kit.source(t, nonroot, "by sue").oci(), ref).fails(t)
				})
			}
		}
	}

	t.Run("nobody signs without the right", func(t *testing.T) {
		ref := gw.ref("app/other:v1")
		craneAs(t, "dev:"+passwordOf("dev"), ref, "push", kit.source(t, nonroot, "other").oci(), ref).ok(t)
		for _, who := range []string{"node", "dev"} {
			cosign3.as(t, who, gw).signs(t, "release", ref).fails(t)
		}
		if status := gw.status(t, http.MethodGet, "app/other", "v1"); status != http.StatusUnauthorized {
			t.Errorf("who did not log in gets %d", status)
		}
	})
}
