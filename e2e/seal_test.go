package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// The seal says more than "signed": what the gateway attests is an attestation to everybody else, too.

const summaryConfig = `
signers:
  - {name: gateway, formats: %s}
registries:
  - {name: local, embedded: true, prefix: ""}
  - {name: up, url: %q, prefix: up/}
policies:
  - name: summarized
    repositories: ["**"]
    pull:
      signed_by: {any: [gateway]}
      attested:
        - predicate: vsa
          by: {any: [gateway]}
          max_age: 24h
          trust_statement_time: true
          where: vsa.result == "PASSED" && "SEALGATE_CHECKED" in vsa.levels
    push: {image: {nonroot: deny}, seal: {signer: gateway, summary: true}}
`

const summaryType = "https://slsa.dev/verification_summary/v1"

func TestThreat159_WhatTheSealAttestsVerifiesEverywhere(t *testing.T) {
	up, kit := startRegistry(t), need(t, suite.images)
	root := need(t, suite.keys).root()
	for _, formats := range []string{"auto", "[tag]", "[bundle]"} {
		t.Run("formats "+formats, func(t *testing.T) {
			gw := startGateway(t, fmt.Sprintf(summaryConfig, formats, up.url()))
			publicKey := gw.publicKey(t)
			flags2 := []string{"--new-bundle-format", "--trusted-root", root} // cosign 2 finds bundles when it is told to
			if formats == "[tag]" {
				flags2 = nil
			}
			for _, repo := range []string{"app", "up/" + strings.Trim(formats, "[]")} {
				digest := put(t, gw.ref(repo+":v1"), kit.image(t, nonroot, repo))
				image := gw.ref(repo) + "@" + digest
				cranePull(t, gw.ref(repo+":v1")).ok(t)
				cosign2.verifies(t, publicKey, image, flags2...).ok(t)
				cosign3.verifies(t, publicKey, image).ok(t)

				verified := []result{cosign2.attestation(t, publicKey, image, flags2...), cosign3.attestation(t, publicKey, image)}
				if formats == "auto" {
					verified = append(verified, cosign3.attestation(t, publicKey, image, "--new-bundle-format=false")) // the .att beside the bundle
				}
				for _, r := range verified {
					if got := summaryIn(t, r); got != "PASSED" {
						t.Errorf("%s\nprinted a summary with the result %q:\n%s", r.command, got, r.output)
					}
				}
				cosign3.attestation(t, need(t, suite.keys).public("stranger"), image).fails(t)

				before := gw.contents(t, repo)
				put(t, gw.ref(repo+":v1"), kit.image(t, nonroot, repo))
				if after := gw.contents(t, repo); !slices.Equal(before, after) {
					t.Errorf("the second push changed the repository\nfrom %s\nto   %s", strings.Join(before, "\n     "), strings.Join(after, "\n     "))
				}
			}

			put(t, up.ref("around:v1"), kit.image(t, nonroot, "around"))
			if status := gw.status(t, http.MethodGet, "up/around", "v1"); status != http.StatusForbidden {
				t.Errorf("what went around the gateway answers %d, want 403", status)
			}
		})
	}
}

// attestation checks a verification summary of name@digest.
func (c cosign) attestation(t *testing.T, publicKey, ref string, flags ...string) result {
	t.Helper()
	return c.run(t, append(append([]string{
		"verify-attestation", "--key", publicKey, "--insecure-ignore-tlog", "--type", summaryType,
	}, flags...), ref)...)
}

// summaryIn is the result in the summary that cosign printed, in an envelope.
func summaryIn(t *testing.T, r result) string {
	t.Helper()
	var envelope struct{ Payload []byte }
	var statement struct {
		PredicateType string
		Predicate     struct{ VerificationResult string }
	}
	for line := range strings.Lines(r.ok(t).stdout) {
		if json.Unmarshal([]byte(line), &envelope) == nil && len(envelope.Payload) > 0 {
			break
		}
	}
	if err := json.Unmarshal(envelope.Payload, &statement); err != nil || statement.PredicateType != summaryType {
		t.Fatalf("%s\nprinted no summary (%v):\n%s", r.command, err, r.output)
	}
	return statement.Predicate.VerificationResult
}

func TestSealDoesWhatAPushWouldBesideARunningGateway(t *testing.T) {
	up, kit := startRegistry(t), need(t, suite.images)
	gw := startGateway(t, fmt.Sprintf(summaryConfig, "auto", up.url()))

	digest := put(t, up.ref("around:v1"), kit.image(t, nonroot, "around"))
	cranePull(t, gw.ref("up/around:v1")).fails(t)
	gw.run(t, "seal", "up/around:v1").ok(t).has(t, "checking "+digest, "sealing "+digest, "sealed  up/around:v1")
	eventually(t, "the gateway sees the seal", func() (bool, string) {
		r := cranePull(t, gw.ref("up/around:v1"))
		return r.code == 0, r.output
	})
	bothGenerationsVerify(t, gw.publicKey(t), gw.ref("up/around")+"@"+digest)
	before := gw.contents(t, "up/around")
	gw.run(t, "seal", "up/around@"+digest).ok(t)
	if after := gw.contents(t, "up/around"); !slices.Equal(before, after) {
		t.Errorf("sealing again changed the repository\nfrom %s\nto   %s", strings.Join(before, "\n     "), strings.Join(after, "\n     "))
	}

	put(t, up.ref("root:v1"), kit.image(t, asRoot, "root"))
	if r := gw.run(t, "seal", "up/root:v1"); r.code != 3 {
		t.Errorf("ends with %d, want 3:\n%s", r.code, r.output)
	}
	put(t, gw.ref("own:v1"), kit.image(t, nonroot, "own"))
	if r := gw.run(t, "seal", "own:v1"); r.code != 2 {
		t.Errorf("ends with %d, want 2: the storage is the gateway's\n%s", r.code, r.output)
	}
}
