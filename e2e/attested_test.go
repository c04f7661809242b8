package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const attestedConfig = `
registries:
  - {name: up, url: %q, prefix: ""}
authorities:
  - {name: release, key: {file: release.pub}}
policies:
  - name: scanned
    repositories: ["vuln/**"]
    pull:
      attested:
        - predicate: vuln
          by: {any: [release]}
          max_age: 87600h
          trust_statement_time: true
          deny: finding.severity >= HIGH && finding.fixed
  - name: listed
    repositories: ["spdx/**", "spdxjson/**", "cyclonedx/**"]
    pull:
      attested: [{predicate: sbom, by: {any: [release]}, where: sbom.packages == 2}]
  - name: built
    repositories: ["slsaprovenance/**", "slsaprovenance1/**"]
    pull:
      attested:
        - predicate: slsa-provenance
          by: {any: [release]}
          builder: ["https://github.com/acme/ci"]
          source_repository: ["https://github.com/acme/app"]
          ref: [refs/heads/*]
  - name: reviewed
    repositories: ["**"]
    pull:
      attested: [{predicate: "https://acme.dev/review/v1", by: {any: [release]}, where: predicate.approved == true}]
`

// What stock cosign is given to attest: one of each type that the policies admit, and one that they refuse.
var attestedPredicates = map[string]struct{ good, bad, why string }{
	"vuln": {scanOf("2026-10-01", "LOW"), scanOf("2026-10-02", "CRITICAL"), "found CVE-1 in zlib, CRITICAL, fixed in 2"},
	"spdx": {
		"SPDXVersion: SPDX-2.3\nDocumentName: app\nPackageName: a\nPackageName: b\n",
		"SPDXVersion: SPDX-2.3\nDocumentName: app\nPackageName: a\n", "does not meet where",
	},
	"spdxjson": {
		`{"spdxVersion":"SPDX-2.3","name":"app","packages":[{"name":"a"},{"name":"b"}]}`,
		`{"spdxVersion":"SPDX-2.3","name":"app","packages":[]}`, "does not meet where",
	},
	"cyclonedx": {
		`{"bomFormat":"CycloneDX","specVersion":"1.6","version":1,"components":[{"type":"library","name":"a"},{"type":"library","name":"b"}]}`,
		`{"bomFormat":"CycloneDX","specVersion":"1.6","version":1,"components":[]}`, "does not meet where",
	},
	"slsaprovenance": {
		`{"builder":{"id":"https://github.com/acme/ci"},"buildType":"t","invocation":{"configSource":{"uri":"git+https://github.com/acme/app@refs/heads/main"}}}`,
		`{"builder":{"id":"https://github.com/acme/ci"},"buildType":"t","invocation":{"configSource":{"uri":"git+https://github.com/evil/app@refs/heads/main"}}}`, "has the source repository https://github.com/evil/app",
	},
	"slsaprovenance1": {
		`{"buildDefinition":{"buildType":"t","externalParameters":{"workflow":{"repository":"https://github.com/acme/app","ref":"refs/heads/main"}}},"runDetails":{"builder":{"id":"https://github.com/acme/ci"}}}`,
		`{"buildDefinition":{"buildType":"t","externalParameters":{"workflow":{"repository":"https://github.com/acme/app","ref":"refs/pull/1/merge"}}},"runDetails":{"builder":{"id":"https://github.com/acme/ci"}}}`, "has the ref refs/pull/1/merge",
	},
	"https://acme.dev/review/v1": {`{"approved":true}`, `{"approved":"true"}`, "does not meet where"},
}

func scanOf(day, severity string) string {
	return fmt.Sprintf(`{"invocation":{"parameters":null,"uri":"","event_id":"","builder.id":""},"scanner":{"uri":"pkg:trivy","version":"0.70","db":{"uri":"","version":"","lastUpdate":"%[1]sT00:00:00Z"},
		"result":{"SchemaVersion":2,"Results":[{"Packages":[{"Name":"zlib"}],"Vulnerabilities":[{"VulnerabilityID":"CVE-1","PkgName":"zlib","FixedVersion":"2","Severity":%[2]q}]}]}},
		"metadata":{"scanStartedOn":"%[1]sT00:00:00Z","scanFinishedOn":"%[1]sT00:00:01Z"}}`, day, severity)
}

// TestAttestationsOfStockCosign attests with both generations in a registry, and pulls through the gateway before it.
func TestAttestationsOfStockCosign(t *testing.T) {
	up, kit := startRegistry(t), need(t, suite.images)
	gw := startGateway(t, fmt.Sprintf(attestedConfig, up.url()))
	for _, generation := range []cosign{cosign2, cosign3} {
		for name, predicates := range attestedPredicates {
			repo := filepath.Base(name)
			if name == "https://acme.dev/review/v1" {
				repo = "review"
			}
			repo += "/" + generation.name
			t.Run(repo, func(t *testing.T) {
				t.Parallel()
				digest := put(t, up.ref(repo+":v1"), kit.image(t, nonroot, repo))
				cranePull(t, gw.ref(repo+":v1")).fails(t).has(t, "attestation by release (found none)")

				attest(t, generation, "stranger", name, predicates.good, up.ref(repo)+"@"+digest)
				gw.waitFor(t, repo, "an attestation by an unknown key")
				attest(t, generation, "release", name, predicates.good, up.ref(repo)+"@"+digest)
				eventually(t, "it is admitted", func() (bool, string) {
					status := gw.status(t, http.MethodHead, repo, "v1")
					return status == http.StatusOK, fmt.Sprintf("HEAD answers %d", status)
				})
				cranePull(t, gw.ref(repo+":v1")).ok(t)

				other := put(t, up.ref(repo+":v2"), kit.image(t, nonroot, repo+" 2"))
				attest(t, generation, "release", name, predicates.good, up.ref(repo)+"@"+other)
				attest(t, generation, "release", name, predicates.bad, up.ref(repo)+"@"+other)
				cranePull(t, gw.ref(repo+":v2")).fails(t).has(t, predicates.why)
			})
		}
	}
}

// waitFor waits until a refusal says so: what is known of an image without evidence is remembered for two seconds.
func (gw *gateway) waitFor(t *testing.T, repo, why string) {
	t.Helper()
	eventually(t, why, func() (bool, string) {
		said := cranePull(t, gw.ref(repo+":v1")).fails(t).output
		return strings.Contains(said, why), said
	})
}

// attest attaches a predicate to name@digest with one of the ring's keys.
func attest(t *testing.T, generation cosign, key, predicateType, predicate, ref string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "predicate")
	if err := os.WriteFile(file, []byte(predicate), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"attest", "--yes", "--key", need(t, suite.keys).private(key), "--type", predicateType, "--predicate", file}
	generation.run(t, append(append(args, generation.sign...), ref)...).ok(t)
}

const triagedConfig = `
verification: {cache_ttl: 1s}
registries:
  - {name: up, url: %q, prefix: ""}
authorities:
  - {name: scanner, key: {file: release.pub}}
  - {name: security, key: {file: interim.pub}}
policies:
  - name: triaged
    repositories: ["**"]
    pull:
      attested:
        - predicate: vuln
          by: {any: [scanner]}
          deny: finding.severity >= HIGH
          vex: {by: [security], trust_statement_time: true}
`

// TestAVEXOfStockCosignClearsAFinding has a scan that refuses an image, the scanner's own word that it does not matter, which
// counts for nothing, the word of those who may say so, and then that they took it back.
func TestAVEXOfStockCosignClearsAFinding(t *testing.T) {
	up, kit := startRegistry(t), need(t, suite.images)
	gw := startGateway(t, fmt.Sprintf(triagedConfig, up.url()), "interim")
	for _, generation := range []cosign{cosign2, cosign3} {
		repo := "vex/" + generation.name
		t.Run(repo, func(t *testing.T) {
			t.Parallel()
			digest := put(t, up.ref(repo+":v1"), kit.image(t, nonroot, repo))
			ref, now := up.ref(repo)+"@"+digest, time.Now().UTC().Truncate(time.Second)
			word := func(status string, at time.Time) string {
				return fmt.Sprintf(`{"@context":"https://openvex.dev/ns/v0.2.0","@id":"https://acme.dev/vex","author":"security","timestamp":%q,"version":1,
					"statements":[{"vulnerability":{"name":"CVE-1"},"products":[{"@id":"pkg:oci/app@%s"}],"status":%q,"justification":"component_not_present"}]}`,
					at.Format(time.RFC3339), digest, status)
			}
			pulls := func(what string) {
				eventually(t, what, func() (bool, string) {
					status := gw.status(t, http.MethodHead, repo, "v1")
					return status == http.StatusOK, fmt.Sprintf("HEAD answers %d", status)
				})
			}

			attest(t, generation, "release", "vuln", scanOf("2026-10-02", "CRITICAL"), ref)
			attest(t, generation, "release", "openvex", word("not_affected", now.Add(-2*time.Hour)), ref)
			cranePull(t, gw.ref(repo+":v1")).fails(t).has(t, "found CVE-1 in zlib, CRITICAL")

			attest(t, generation, "interim", "openvex", word("not_affected", now.Add(-time.Hour)), ref)
			pulls("the finding is cleared")
			cranePull(t, gw.ref(repo+":v1")).ok(t)

			attest(t, generation, "interim", "openvex", word("affected", now), ref)
			eventually(t, "it counts again", func() (bool, string) {
				status := gw.status(t, http.MethodHead, repo, "v1")
				return status == http.StatusForbidden, fmt.Sprintf("HEAD answers %d", status)
			})
			cranePull(t, gw.ref(repo+":v1")).fails(t).has(t, "found CVE-1 in zlib, CRITICAL")
		})
	}
}
