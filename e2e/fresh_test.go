package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/sealgate/sealgate/gateway/ledger"
	"github.com/sealgate/sealgate/policy"
)

const freshConfig = `
registries:
  - {name: local, embedded: true, prefix: ""}
scanners:
  - name: default
    exec: %s
policies:
  - name: fresh
    repositories: ["**"]
    pull:
      signed_by: {any: [gateway]}
      attested:
        - {predicate: vuln, by: {any: [gateway]}, trust_statement_time: true, max_age: %s, max_database_age: %s, deny: finding.severity >= HIGH && finding.fixed}
        - {predicate: cyclonedx, by: {any: [gateway]}}
        - {predicate: spdx, by: {any: [gateway]}}
    push: {image: {nonroot: deny}, scan: {scanner: default}, seal: {signer: gateway, scan: true, sbom: true, summary: true}}
`

// The story that the gateway is for: docker pushes, the gateway scans, signs and attests, and every container runtime pulls what
// is signed, has a fresh scan and an SBOM. When the scan has become too old, or its database, the same image is refused.
func TestWhatWasSealedIsPulledWhileItsScanIsFresh(t *testing.T) {
	kit := need(t, suite.images)
	scanner := grype(t)
	gw := startGateway(t, fmt.Sprintf(freshConfig, scanner, "24h", "72h"))
	docker := clients[slices.IndexFunc(clients, func(c client) bool { return c.name == "docker" })]
	docker.deliverScanned(t, gw, kit.sourceWith(t, nonroot, "fresh", repaired), "app").ok(t)

	nodes := func(name string, do func(t *testing.T, c client)) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			for _, c := range clients {
				if c.name == "docker" || strings.HasPrefix(c.name, "ctr-") || strings.HasPrefix(c.name, "cri-") {
					t.Run(c.name, func(t *testing.T) { do(t, c) })
				}
			}
		})
	}
	nodes("fresh", func(t *testing.T, c client) { c.fresh(t, gw.ref("app:v1")).ok(t) })
	all := gw.decisions(t, "app")
	last := all[len(all)-1]
	if last.Outcome != ledger.Admit || last.Policy != "fresh" || len(last.Evidence) < 3 {
		t.Errorf("the last pull rests on %d pieces of evidence: %+v", len(last.Evidence), last)
	}

	for _, c := range []struct {
		name, age, databaseAge, says string
		code                         policy.Code
	}{
		{"the scan is too old", "1s", "72h", "vuln by gateway is ", policy.Stale},
		{"its database is too old", "24h", "1s", "vuln by gateway used a database that is ", policy.StaleDatabase},
	} {
		gw.configure(t, fmt.Sprintf(freshConfig, scanner, c.age, c.databaseAge))
		gw.reload(t)
		eventually(t, c.name, func() (bool, string) {
			status := gw.status(t, http.MethodGet, "app", "v1")
			all := gw.decisions(t, "app")
			last := all[len(all)-1]
			return status == http.StatusForbidden && last.Reasons[0].Code == c.code, fmt.Sprintf("GET answers %d: %+v", status, last.Reasons)
		})
		nodes(c.name, func(t *testing.T, node client) {
			node.fresh(t, gw.ref("app:v1")).fails(t).has(t, `is refused by policy "fresh"`, c.says, "fix: ")
		})
	}

	gw.configure(t, fmt.Sprintf(freshConfig, scanner, "24h", "72h"))
	gw.reload(t)
	eventually(t, "the image is admitted again", func() (bool, string) {
		status := gw.status(t, http.MethodGet, "app", "v1")
		return status == http.StatusOK, fmt.Sprintf("GET answers %d", status)
	})
}
