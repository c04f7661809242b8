package predicate

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/sealgate/sealgate/policy"
)

func day(n, hour, minute int) time.Time { return time.Date(2026, 11, n, hour, minute, 0, 0, time.UTC) }

func wrapped(text string) string {
	raw, err := json.Marshal(text)
	if err != nil {
		panic(err)
	}
	return string(raw)
}

func findings(scanner string) []policy.Finding {
	switch scanner {
	case "trivy":
		return []policy.Finding{
			{ID: "CVE-2026-0001", Package: "openssl", Version: "3.0.14", PURL: "pkg:deb/debian/openssl@3.0.14", FixedVersion: "3.0.15", Fix: policy.FixAvailable, Severity: policy.Critical, CVSS: 9.8, Published: day(2, 3, 0)},
			{ID: "CVE-2026-0002", Package: "zlib1g", Version: "1.2", Fix: policy.FixNone, Severity: policy.Unknown},
		}
	case "grype":
		return []policy.Finding{
			{ID: "GHSA-1", Package: "left-pad", Version: "1.0", PURL: "pkg:npm/left-pad@1.0", FixedVersion: "1.2.3", Fix: policy.FixAvailable, Severity: policy.High, CVSS: 7.5, EPSS: 0.25, KnownExploited: true, Aliases: []string{"CVE-1"}},
			{ID: "CVE-2", Package: "bash", Fix: policy.FixNone, Severity: policy.Low},
		}
	case "sarif":
		return []policy.Finding{{ID: "CVE-1", Severity: policy.Critical, CVSS: 9.8}, {ID: "CVE-2"}}
	}
	return nil
}

func TestPredicatesAreReadIntoFacts(t *testing.T) {
	const uri, version = "pkg:github/aquasecurity/trivy@0.70.0", "0.70.0"
	for name, c := range map[string]struct {
		predicateType, raw string
		want               policy.Facts
	}{
		"Trivy in cosign's wrapping": {policy.ScanByCosign, cosignScan(trivyReport), policy.Facts{
			Claimed: time.Date(2026, 11, 20, 7, 0, 0, 5e8, time.UTC),
			Scan:    &policy.Scan{Scanner: uri, Version: version, Finished: time.Date(2026, 11, 20, 7, 0, 0, 5e8, time.UTC), Database: day(20, 0, 0), Packages: 3, Counted: true, Findings: findings("trivy")},
		}},
		"Trivy that found nothing, in cosign 1's wrapping": {policy.ScanByCosignOne, cosignScan(trivyClean), policy.Facts{
			Claimed: day(20, 8, 0), Scan: &policy.Scan{Scanner: uri, Version: version, Finished: day(20, 8, 0), Database: day(20, 0, 0), Packages: 1, Counted: true},
		}},
		"Trivy that saw nothing": {policy.ScanByCosign, cosignScan(trivyEmpty), policy.Facts{
			Claimed: day(20, 8, 0), Scan: &policy.Scan{Scanner: uri, Version: version, Finished: day(20, 8, 0), Database: day(20, 0, 0)},
		}},
		"a wrapping without a date of the database": {policy.ScanByCosign, strings.Replace(cosignScan(trivyClean), `"2026-11-20T00:00:00Z"`, `""`, 1), policy.Facts{
			Claimed: day(20, 8, 0), Scan: &policy.Scan{Scanner: uri, Version: version, Finished: day(20, 8, 0), Packages: 1, Counted: true},
		}},
		"Grype, whose own times are older than the wrapping's": {policy.ScanByCosign, cosignScan(grypeReport), policy.Facts{
			Claimed: day(20, 7, 30), Scan: &policy.Scan{Scanner: uri, Version: version, Finished: day(20, 7, 30), Database: time.Date(2026, 11, 19, 1, 2, 3, 0, time.UTC), Findings: findings("grype")},
		}},
		"Grype of an old schema": {policy.ScanByCosign, cosignScan(grypeOld), policy.Facts{
			Claimed: day(20, 8, 0), Scan: &policy.Scan{Scanner: uri, Version: version, Finished: day(20, 8, 0), Database: time.Date(2024, 1, 2, 3, 4, 5, 0, time.UTC)},
		}},
		"SARIF, with rules behind the results": {policy.ScanByCosign, cosignScan(sarifReport), policy.Facts{
			Claimed: day(20, 8, 0), Scan: &policy.Scan{Scanner: uri, Version: version, Finished: day(20, 8, 0), Database: day(20, 0, 0), Findings: findings("sarif")},
		}},
		"in-toto 0.2": {policy.ScanByInToto02, inTotoScan(inTotoResult), policy.Facts{
			Claimed: day(20, 8, 0), Scan: &policy.Scan{Scanner: uri, Version: version, Finished: day(20, 8, 0), Database: day(20, 0, 0), Findings: []policy.Finding{
				{ID: "CVE-1", Severity: policy.High, CVSS: 7.2}, {ID: "CVE-2"},
			}},
		}},
		"in-toto 0.1 as its text says": {policy.ScanByInToto01, inTotoScan(inTotoNestedResult), policy.Facts{
			Claimed: day(20, 8, 0), Scan: &policy.Scan{Scanner: uri, Version: version, Finished: day(20, 8, 0), Database: day(20, 0, 0), Findings: []policy.Finding{{ID: "CVE-1", Severity: policy.Low}}},
		}},
		"in-toto 0.1 as its example says": {policy.ScanByInToto01, inTotoScan(inTotoResult), policy.Facts{
			Claimed: day(20, 8, 0), Scan: &policy.Scan{Scanner: uri, Version: version, Finished: day(20, 8, 0), Database: day(20, 0, 0), Findings: []policy.Finding{
				{ID: "CVE-1", Severity: policy.High, CVSS: 7.2}, {ID: "CVE-2"},
			}},
		}},
		"SPDX":                    {"https://spdx.dev/Document", spdxDocument, policy.Facts{Claimed: day(1, 0, 0), SBOM: &policy.SBOM{Format: "spdx", Name: "app", Packages: 3}}},
		"SPDX in a text":          {"https://spdx.dev/Document/v2.3", wrapped(spdxDocument), policy.Facts{Claimed: day(1, 0, 0), SBOM: &policy.SBOM{Format: "spdx", Name: "app", Packages: 3}}},
		"SPDX in lines of a text": {"https://spdx.dev/Document", wrapped(spdxLines), policy.Facts{Claimed: day(1, 0, 0), SBOM: &policy.SBOM{Format: "spdx", Name: "app", Packages: 3}}},
		"SPDX 3":                  {"https://spdx.dev/Document/v3", spdxThree, policy.Facts{Claimed: day(1, 0, 0), SBOM: &policy.SBOM{Format: "spdx", Name: "app", Packages: 1}}},
		"CycloneDX":               {"https://cyclonedx.org/bom", cyclonedxDocument, policy.Facts{Claimed: day(1, 0, 0), SBOM: &policy.SBOM{Format: "cyclonedx", Name: "app", Packages: 3}}},
		"CycloneDX of a version":  {"https://cyclonedx.org/bom/v1.6", cyclonedxDocument, policy.Facts{Claimed: day(1, 0, 0), SBOM: &policy.SBOM{Format: "cyclonedx", Name: "app", Packages: 3}}},
		"provenance 0.2": {policy.Provenance02, provenanceOld, policy.Facts{Claimed: day(2, 0, 5), Provenance: &policy.Provenance{
			Builder: "https://github.com/actions/runner", BuildType: "https://github.com/slsa-framework/generic@v1", Repository: "https://github.com/acme/app",
			Ref: "refs/heads/main", Digest: "abc123", Workflow: ".github/workflows/release.yml", Trigger: "push", Materials: 2,
		}}},
		"provenance 1": {policy.Provenance1, provenanceNew, policy.Facts{Claimed: day(2, 0, 5), Provenance: &policy.Provenance{
			Builder: "https://github.com/acme/app/.github/workflows/release.yml@refs/heads/main", BuildType: "https://actions.github.io/buildtypes/workflow/v1",
			Repository: "https://github.com/acme/app", Ref: "refs/heads/main", Digest: "abc123", Workflow: ".github/workflows/release.yml", Trigger: "push", Materials: 1,
		}}},
		"OpenVEX": {"https://openvex.dev/ns/v0.2.0", vexDocument, policy.Facts{Claimed: day(3, 0, 0), VEX: &policy.VEX{Author: "sec@acme.dev", Statements: []policy.VEXStatement{
			{Vulnerability: "CVE-1", Aliases: []string{"GHSA-1"}, Products: []policy.VEXProduct{
				{ID: "pkg:oci/app@sha256:aa", Subcomponents: []string{"pkg:x"}}, {ID: "pkg:oci/b"},
			}, Status: "not_affected", Justification: "component_not_present", Time: day(3, 0, 0)},
			{Vulnerability: "CVE-2", Products: []policy.VEXProduct{{ID: "pkg:oci/app"}}, Status: "affected", Time: day(4, 0, 0)},
		}}}},
		"a verification summary": {"https://slsa.dev/verification_summary/v1", summaryDocument, policy.Facts{Claimed: day(5, 0, 0), Summary: &policy.Summary{
			Verifier: "https://sealgate.example", Resource: "prod/app", Policy: "https://sealgate.example/policy", Result: "PASSED", Levels: []string{"SLSA_BUILD_LEVEL_3"},
		}}},
		"test results":           {"https://in-toto.io/attestation/test-result/v0.1", testsDocument, policy.Facts{Tests: &policy.Tests{Result: "WARNED", Passed: 2, Warned: 1}}},
		"anything else":          {"https://acme.dev/review/v1", `{"by": ["a", 1, null]}`, policy.Facts{}},
		"a type that is like it": {policy.ScanByCosign + "/", `{"scanner": 1}`, policy.Facts{}},
	} {
		// However the bytes come, a byte at a time among other ways, they are the same predicate.
		for _, r := range []io.Reader{strings.NewReader(c.raw), iotest.OneByteReader(strings.NewReader(c.raw)), iotest.DataErrReader(strings.NewReader(c.raw))} {
			got, err := Read(c.predicateType, r)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				break
			}
			streamed := got.Scan != nil || got.SBOM != nil
			if streamed == (got.Document != nil) {
				t.Errorf("%s: the document is %v", name, got.Document)
			}
			got.Document = nil
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("%s: got\n%+v %+v\nwant\n%+v %+v", name, got, got.Scan, c.want, c.want.Scan)
			}
		}
	}
}

// required lists, by sample, what a predicate may not lack, as a text of it.
// What packages lie in is no package, in any form: an image in which nothing was found has none.
func TestTheImageIsNoPackageOfItself(t *testing.T) {
	for name, document := range map[string]string{
		"SPDX":   `{"spdxVersion":"SPDX-2.3","name":"app","packages":[{"name":"app","primaryPackagePurpose":"CONTAINER"},{"name":"debian","primaryPackagePurpose":"OPERATING-SYSTEM"},{"name":"a"},{"name":"b","primaryPackagePurpose":"LIBRARY"}]}`,
		"lines":  wrapped("SPDXVersion: SPDX-2.3\nDocumentName: app\nPackageName: app\nPrimaryPackagePurpose: CONTAINER\nPrimaryPackagePurpose: CONTAINER\nPackageName: debian\nPrimaryPackagePurpose: OPERATING-SYSTEM\nPackageName: a\nPackageName: b\nPrimaryPackagePurpose: LIBRARY\n"),
		"SPDX 3": `{"@graph":[{"type":"software_Package","name":"app","software_primaryPurpose":"container"},{"type":"software_Package","name":"debian","software_primaryPurpose":"operatingSystem"},{"type":"software_Package","name":"a"},{"type":"software_Package","name":"b","software_primaryPurpose":"library"}]}`,
	} {
		facts, err := Read("https://spdx.dev/Document", strings.NewReader(document))
		if err != nil || facts.SBOM.Packages != 2 {
			t.Errorf("%s: got %+v, %v, want 2 packages", name, facts.SBOM, err)
		}
	}
	for _, packages := range []string{`["a"]`, `[null]`, `[{"primaryPackagePurpose":1}]`, `{"a":{}}`} {
		if facts, err := Read("https://spdx.dev/Document", strings.NewReader(`{"spdxVersion":"SPDX-2.3","name":"app","packages":`+packages+`}`)); err == nil {
			t.Errorf("%s: got %+v", packages, facts.SBOM)
		}
	}
}

func TestATrivyReportSaysWhoWroteItAndWhatItSaw(t *testing.T) {
	report, err := ReadReport(strings.NewReader(`{"SchemaVersion":2,"Trivy":{"Version":"0.74.0"},"Metadata":{"ImageID":"sha256:1"},"Results":[
		{"Packages":[{"Name":"a","Identifier":{"PURL":"pkg:deb/debian/a@1","UID":"x"}},{"Name":"b"}],
		 "Vulnerabilities":[{"VulnerabilityID":"CVE-1","PkgName":"a","Severity":"LOW","VendorIDs":["GHSA-1","CVE-1","GHSA-1"]}]},
		{"Packages":[{"Identifier":{"PURL":"pkg:npm/c@1"}}]}]}`))
	if err != nil || report.Version != "0.74.0" || report.Packages != 3 || !slices.Equal(report.Listed, []string{"pkg:deb/debian/a@1", "pkg:npm/c@1"}) ||
		len(report.Findings) != 1 || !slices.Equal(report.Findings[0].Aliases, []string{"GHSA-1"}) {
		t.Errorf("got %+v, %v", report, err)
	}
}

func TestThreat064_WhatIsRequiredIsThereWithItsType(t *testing.T) {
	trivy, grype, sarif := cosignScan(trivyReport), cosignScan(grypeReport), cosignScan(sarifReport)
	inToto := inTotoScan(inTotoResult)
	for _, c := range []struct{ predicateType, raw, old, new string }{
		{policy.ScanByCosign, trivy, `"scanner":`, `"scanners":`},
		{policy.ScanByCosign, trivy, `"metadata":`, `"meta":`},
		{policy.ScanByCosign, trivy, `"result":`, `"results":`},
		{policy.ScanByCosign, trivy, `"scanFinishedOn": "2026-11-20T08:00:00Z"`, `"x": 1`},
		{policy.ScanByCosign, trivy, `"scanFinishedOn": "2026-11-20T08:00:00Z"`, `"scanFinishedOn": ""`},
		{policy.ScanByCosign, trivy, `"scanFinishedOn": "2026-11-20T08:00:00Z"`, `"scanFinishedOn": null`},
		{policy.ScanByCosign, trivy, `"scanFinishedOn": "2026-11-20T08:00:00Z"`, `"scanFinishedOn": 0`},
		{policy.ScanByCosign, trivy, `"scanFinishedOn": "2026-11-20T08:00:00Z"`, `"scanFinishedOn": "yesterday"`},
		{policy.ScanByCosign, trivy, `"uri": "pkg:github/aquasecurity/trivy@0.70.0"`, `"uri": ""`},
		{policy.ScanByCosign, trivy, `"lastUpdate": "2026-11-20T00:00:00Z"`, `"lastUpdate": "never"`},
		{policy.ScanByCosign, trivy, `"db": {`, `"db": null, "x": {`},
		{policy.ScanByCosign, trivy, `"SchemaVersion": 2`, `"SchemaVersion": 1`},
		{policy.ScanByCosign, trivy, `"SchemaVersion": 2`, `"SchemaVersion": "2"`},
		{policy.ScanByCosign, trivy, `"SchemaVersion": 2,`, ``},
		{policy.ScanByCosign, trivy, `"Results": [`, `"Results": null, "x": [`},
		{policy.ScanByCosign, trivy, `"Vulnerabilities": [`, `"Vulnerabilities": null, "x": [`},
		{policy.ScanByCosign, trivy, `"Vulnerabilities": [`, `"Vulnerabilities": 0, "x": [`},
		{policy.ScanByCosign, trivy, `"Vulnerabilities": [`, `"vulnerabilities": [`},
		{policy.ScanByCosign, trivy, `"Vulnerabilities": [`, `"\u0056ulnerabilities": [`},
		{policy.ScanByCosign, trivy, `"Vulnerabilities": [`, `"Vulnerabilities": [], "Vulnerabilities": [`},
		{policy.ScanByCosign, trivy, `"VulnerabilityID": "CVE-2026-0001"`, `"x": 1`},
		{policy.ScanByCosign, trivy, `"VulnerabilityID": "CVE-2026-0001"`, `"VulnerabilityID": ""`},
		{policy.ScanByCosign, trivy, `"Severity": "CRITICAL"`, `"x": 1`},
		{policy.ScanByCosign, trivy, `"Severity": "CRITICAL"`, `"Severity": null`},
		{policy.ScanByCosign, trivy, `"Severity": "CRITICAL"`, `"Severity": 4`},
		{policy.ScanByCosign, trivy, `"Severity": "CRITICAL"`, `"Severity": ""`},
		{policy.ScanByCosign, trivy, `"V3Score": 9.8`, `"V3Score": "9.8"`},
		{policy.ScanByCosign, trivy, `"V3Score": 9.8`, `"V3Score": 98`},
		{policy.ScanByCosign, trivy, `"PublishedDate": "2026-11-02T03:00:00Z"`, `"PublishedDate": "in autumn"`},
		{policy.ScanByCosign, grype, `"epss": 0.25`, `"epss": 1.5`},
		{policy.ScanByCosign, grype, `"epss": 0.25`, `"epss": "high"`},
		{policy.ScanByCosign, grype, `"knownExploited": [`, `"knownExploited": true, "x": [`},
		{policy.ScanByCosign, grype, `"relatedVulnerabilities": [{"id": "CVE-1"`, `"relatedVulnerabilities": [{"id": ""`},
		{policy.ScanByCosign, trivy, `"V3Score": 9.8`, `"V3Score": 1e999`},
		{policy.ScanByCosign, trivy, `"FixedVersion": "3.0.15"`, `"FixedVersion": null`},
		{policy.ScanByCosign, grype, `"matches": [`, `"matches": null, "x": [`},
		{policy.ScanByCosign, grype, `"matches": [`, `"Matches": [`},
		{policy.ScanByCosign, grype, `"matches": [`, `"x": [`},
		{policy.ScanByCosign, grype, `"severity": "High"`, `"severity": {}`},
		{policy.ScanByCosign, grype, `"id": "GHSA-1", `, ``},
		{policy.ScanByCosign, grype, `"artifact": {"name": "bash"}`, `"x": 1`},
		{policy.ScanByCosign, grype, `"state": "fixed"`, `"state": null`},
		{policy.ScanByCosign, grype, `"baseScore": 7.5`, `"baseScore": 75`},
		{policy.ScanByCosign, grype, `"built": "2026-11-19T01:02:03Z"`, `"built": "x"`},
		{policy.ScanByCosign, sarif, `"results": [`, `"results": null, "x": [`},
		{policy.ScanByCosign, sarif, `"results": [`, `"x": [`},
		{policy.ScanByCosign, sarif, `"ruleId": "CVE-1"`, `"x": 1`},
		{policy.ScanByCosign, sarif, `"executionSuccessful": true`, `"executionSuccessful": false`},
		{policy.ScanByCosign, sarif, `"security-severity": "9.8"`, `"security-severity": "high"`},
		{policy.ScanByCosign, sarif, `"security-severity": "9.8"`, `"security-severity": "NaN"`},
		{policy.ScanByCosign, sarif, `"tool": {`, `"x": {`},
		{policy.ScanByCosign, cosignScan(`{"runs": []}`), ``, ``},
		{policy.ScanByCosign, cosignScan(`{"matches": [], "SchemaVersion": 2}`), ``, ``},
		{policy.ScanByCosign, cosignScan(`{}`), ``, ``},
		{policy.ScanByCosign, cosignScan(`null`), ``, ``},
		{policy.ScanByCosign, cosignScan(`[]`), ``, ``},
		{policy.ScanByCosign, cosignScan(`"no vulnerabilities"`), ``, ``},
		{policy.ScanByInToto02, inToto, `"lastUpdate": "2026-11-20T00:00:00Z"`, `"lastUpdate": ""`},
		{policy.ScanByInToto02, inToto, `"lastUpdate": "2026-11-20T00:00:00Z"`, `"x": ""`},
		{policy.ScanByInToto02, inToto, `"db":`, `"x":`},
		{policy.ScanByInToto02, inToto, `"id": "CVE-1", `, ``},
		{policy.ScanByInToto02, inToto, `"score": "medium"`, `"score": 5`},
		{policy.ScanByInToto02, inToto, `"score": "7.2"`, `"score": "72"`},
		{policy.ScanByInToto02, inToto, `"score": "7.2"`, `"score": "-0.1"`},
		{policy.ScanByInToto02, inToto, `"severity": [{"method": "vendor", "score": "CVSS:3.1/AV:N"}]`, `"severity": null`},
		{policy.ScanByInToto02, inToto, `, "severity": [{"method": "vendor", "score": "CVSS:3.1/AV:N"}]`, ``},
		{policy.ScanByInToto02, inTotoScan(inTotoNestedResult), ``, ``},
		{policy.ScanByInToto02, inTotoScan(`{}`), ``, ``},
		{policy.ScanByInToto02, inTotoScan(`[{}]`), ``, ``},
		{policy.ScanByInToto02, inTotoScan(`[null]`), ``, ``},
		{policy.ScanByInToto02, inTotoScan(trivyClean), ``, ``},
		{policy.ScanByInToto01, inTotoScan(inTotoNestedResult), `"vulnerability": {`, `"id": "x", "severity": [], "vulnerability": {`},
		{"https://spdx.dev/Document", spdxDocument, `"spdxVersion": "SPDX-2.3"`, `"spdxVersion": "2.3"`},
		{"https://spdx.dev/Document", spdxDocument, `"spdxVersion": "SPDX-2.3",`, ``},
		{"https://spdx.dev/Document", spdxDocument, `"packages": [`, `"packages": null, "x": [`},
		{"https://spdx.dev/Document", spdxDocument, `"created": "2026-11-01T00:00:00Z"`, `"created": 1`},
		{"https://spdx.dev/Document", spdxThree, `"@graph"`, `"spdxVersion": "SPDX-2.3", "@graph"`},
		{"https://spdx.dev/Document", wrapped(spdxLines), `SPDX-2.3`, `x`},
		{"https://spdx.dev/Document", wrapped(spdxLines), `2026-11-01T00:00:00Z`, `yesterday`},
		{"https://spdx.dev/Document", wrapped(spdxDocument + "{}"), ``, ``},
		{"https://spdx.dev/Document", `""`, ``, ``},
		{"https://spdx.dev/Document", `"\ud800"`, ``, ``},
		{"https://spdx.dev/Document", `null`, ``, ``},
		{"https://spdx.dev/Document", cyclonedxDocument, ``, ``},
		{"https://cyclonedx.org/bom", spdxDocument, ``, ``},
		{"https://cyclonedx.org/bom", cyclonedxDocument, `"CycloneDX"`, `"cyclonedx"`},
		{"https://cyclonedx.org/bom", cyclonedxDocument, `"components": [{"type"`, `"components": null, "x": [{"type"`},
		{"https://cyclonedx.org/bom", cyclonedxDocument, `"name": "a1"`, `"x": "a1"`},
		{policy.Provenance02, provenanceOld, `"builder":`, `"x":`},
		{policy.Provenance02, provenanceOld, `"builder": {`, `"builder": null, "x": {`},
		{policy.Provenance02, provenanceOld, `"id": "https://github.com/actions/runner"`, `"id": ""`},
		{policy.Provenance02, provenanceOld, `"buildType":`, `"buildtype":`},
		{policy.Provenance02, provenanceOld, `"buildFinishedOn": "2026`, `"buildFinishedOn": "x`},
		{policy.Provenance02, provenanceNew, ``, ``},
		{policy.Provenance1, provenanceOld, ``, ``},
		{policy.Provenance1, provenanceNew, `"externalParameters":`, `"x":`},
		{policy.Provenance1, provenanceNew, `"builder": {`, `"x": {`},
		{policy.Provenance1, provenanceNew, `"buildType":`, `"x":`},
		{"https://openvex.dev/ns", vexDocument, `"@context": "https://openvex.dev/ns/v0.2.0"`, `"@context": "https://openvex.devil/ns"`},
		{"https://openvex.dev/ns", vexDocument, `"author": "sec@acme.dev"`, `"author": ""`},
		{"https://openvex.dev/ns", vexDocument, `"timestamp": "2026-11-03T00:00:00Z", `, ``},
		{"https://openvex.dev/ns", vexDocument, `"status": "affected"`, `"status": "fine"`},
		{"https://openvex.dev/ns", vexDocument, `"vulnerability": "CVE-2"`, `"vulnerability": 2`},
		{"https://openvex.dev/ns", vexDocument, `"statements":`, `"x":`},
		{"https://openvex.dev/ns", vexDocument, `"products": ["pkg:oci/app"]`, `"products": [{}]`},
		{"https://slsa.dev/verification_summary/v1", summaryDocument, `"PASSED"`, `"passed"`},
		{"https://slsa.dev/verification_summary/v1", summaryDocument, `"verificationResult":`, `"x":`},
		{"https://slsa.dev/verification_summary/v1", summaryDocument, `"verifiedLevels": [`, `"verifiedLevels": null, "x": [`},
		{"https://slsa.dev/verification_summary/v1", summaryDocument, `"id": "https://sealgate.example"`, `"id": ""`},
		{"https://slsa.dev/verification_summary/v1", summaryDocument, `"resourceUri":`, `"x":`},
		{"https://slsa.dev/verification_summary/v1", summaryDocument, `"timeVerified": "2026`, `"timeVerified": "x`},
		{"https://in-toto.io/attestation/test-result/v0.1", testsDocument, `"WARNED"`, `""`},
		{"https://in-toto.io/attestation/test-result/v0.1", testsDocument, `"result":`, `"x":`},
		{"https://in-toto.io/attestation/test-result/v0.1", testsDocument, `"configuration":`, `"x":`},
		{"https://in-toto.io/attestation/test-result/v0.1", testsDocument, `"failedTests": []`, `"failedTests": [1]`},
		{"https://acme.dev/review/v1", `[]`, ``, ``},
		{"https://acme.dev/review/v1", `null`, ``, ``},
		{"https://acme.dev/review/v1", `{"a": 1, "a": 2}`, ``, ``},
		{"https://acme.dev/review/v1", ``, ``, ``},
	} {
		if !strings.Contains(c.raw, c.old) {
			t.Fatalf("%q is not in %.60q", c.old, c.raw)
		}
		raw := strings.Replace(c.raw, c.old, c.new, 1)
		if facts, err := Read(c.predicateType, strings.NewReader(raw)); err == nil {
			t.Errorf("%s with %q in place of %q is read as %+v", c.predicateType, c.new, c.old, facts)
		} else if len(err.Error()) > 500 {
			t.Errorf("an error of %d bytes", len(err.Error()))
		}
	}
}

// What breaks off anywhere, or goes on behind its end, is no predicate.
func TestHalfAPredicateIsAnError(t *testing.T) {
	for _, c := range samples() {
		for n := range len(c.raw) {
			if facts, err := Read(c.predicateType, strings.NewReader(c.raw[:n])); err == nil {
				t.Fatalf("%.60q, cut at %d, is read as %+v", c.raw, n, facts)
			}
		}
		for _, more := range []string{"{}", "x", "]", "\x00"} {
			if facts, err := Read(c.predicateType, strings.NewReader(c.raw+more)); err == nil {
				t.Errorf("%.60q, with %q behind it, is read as %+v", c.raw, more, facts)
			}
		}
		broken := iotest.TimeoutReader(iotest.HalfReader(strings.NewReader(c.raw)))
		if _, err := Read(c.predicateType, broken); err == nil || !strings.Contains(err.Error(), "timeout") {
			t.Errorf("got %v from a reader that fails", err)
		}
	}
}

type sample struct{ predicateType, raw string }

func samples() []sample {
	return []sample{
		{policy.ScanByCosign, cosignScan(trivyReport)}, {policy.ScanByCosignOne, cosignScan(grypeReport)}, {policy.ScanByCosign, cosignScan(sarifReport)},
		{policy.ScanByInToto02, inTotoScan(inTotoResult)}, {policy.ScanByInToto01, inTotoScan(inTotoNestedResult)},
		{"https://spdx.dev/Document", spdxDocument}, {"https://spdx.dev/Document", wrapped(spdxLines)}, {"https://spdx.dev/Document", spdxThree},
		{"https://cyclonedx.org/bom", cyclonedxDocument}, {policy.Provenance02, provenanceOld}, {policy.Provenance1, provenanceNew},
		{"https://openvex.dev/ns", vexDocument}, {"https://slsa.dev/verification_summary/v1", summaryDocument},
		{"https://in-toto.io/attestation/test-result/v0.1", testsDocument},
	}
}

func TestThreat070_PredicatesAreBounded(t *testing.T) {
	list := func(n int, one string) string { return strings.TrimSuffix(strings.Repeat(one+",", n), ",") }
	vulnerability := `{"VulnerabilityID":"CVE-1","PkgName":"a","Severity":"LOW"}`
	trivy := func(n int) string {
		return cosignScan(`{"SchemaVersion":2,"Results":[{"Vulnerabilities":[` + list(n, vulnerability) + `]}]}`)
	}
	deep := func(n int) string {
		return cosignScan(`{"matches":[],"x":` + strings.Repeat("[", n) + strings.Repeat("]", n) + `}`)
	}
	text := func(n int) string {
		return cosignScan(`{"SchemaVersion":2,"Results":[{"Vulnerabilities":[` + strings.Replace(vulnerability, "CVE-1", strings.Repeat("x", n), 1) + `]}]}`)
	}
	document := func(n int) string { return `{"x":"` + strings.Repeat("x", n-8) + `"}` }
	for name, c := range map[string]struct {
		predicateType, atLimit, past string
	}{
		"findings":  {policy.ScanByCosign, trivy(MaxFindings), trivy(MaxFindings + 1)},
		"depth":     {policy.ScanByCosign, deep(MaxDepth - 3), deep(MaxDepth - 2)},
		"texts":     {policy.ScanByCosign, text(MaxText), text(MaxText + 1)},
		"documents": {"https://acme.dev/x", document(MaxDocument), document(MaxDocument + 1)},
		"levels": {"https://slsa.dev/verification_summary/v1",
			strings.Replace(summaryDocument, `"SLSA_BUILD_LEVEL_3"`, list(maxLevels, `"x"`), 1), strings.Replace(summaryDocument, `"SLSA_BUILD_LEVEL_3"`, list(maxLevels+1, `"x"`), 1)},
		"products": {"https://openvex.dev/ns",
			strings.Replace(vexDocument, `["pkg:oci/app"]`, "["+list(maxProducts, `"x"`)+"]", 1), strings.Replace(vexDocument, `["pkg:oci/app"]`, "["+list(maxProducts+1, `"x"`)+"]", 1)},
		"rules": {policy.ScanByCosign,
			cosignScan(`{"runs":[{"results":[],"tool":{"driver":{"rules":[` + numbered(maxRules) + `]}}}]}`), cosignScan(`{"runs":[{"results":[],"tool":{"driver":{"rules":[` + numbered(maxRules+1) + `]}}}]}`)},
	} {
		if _, err := Read(c.predicateType, strings.NewReader(c.atLimit)); err != nil {
			t.Errorf("%s at the limit: %v", name, err)
		}
		if _, err := Read(c.predicateType, strings.NewReader(c.past)); err == nil {
			t.Errorf("%s past the limit are read", name)
		}
	}

	// Bytes, without holding them.
	spaces := func(n int) io.Reader {
		return io.MultiReader(io.LimitReader(blank{}, int64(n-len(spdxDocument))), strings.NewReader(spdxDocument))
	}
	if _, err := Read("https://spdx.dev/Document", spaces(MaxBytes)); err != nil {
		t.Errorf("as many bytes as are read: %v", err)
	}
	if _, err := Read("https://spdx.dev/Document", spaces(MaxBytes+1)); err == nil {
		t.Error("a byte more is read")
	}
}

type blank struct{}

func (blank) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

func numbered(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"id":"%d","properties":{"security-severity":"1"}},`, i)
	}
	return strings.TrimSuffix(b.String(), ",")
}

// largeReport is a report of about so many bytes, as Trivy writes it.
func largeReport(size int) []byte {
	var b bytes.Buffer
	b.WriteString(`{"SchemaVersion":2,"Results":[{"Target":"app","Packages":[`)
	for i := 0; b.Len() < size/3; i++ {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "\n   {\"ID\":\"p%d@1.0\",\"Name\":\"p%d\",\"Version\":\"1.0\",\"Identifier\":{\"PURL\":\"pkg:deb/debian/p%d@1.0?arch=amd64\"},\"Licenses\":[\"MIT\",\"GPL-2.0-only\"],\"InstalledFiles\":[\"/usr/share/doc/p%d/copyright\"]}", i, i, i, i)
	}
	b.WriteString(`],"Vulnerabilities":[`)
	for i := 0; b.Len() < size; i++ {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "\n   {\"VulnerabilityID\":\"CVE-2026-%04d\",\"PkgName\":\"p%d\",\"InstalledVersion\":\"1.0\",\"Severity\":\"LOW\",\"CVSS\":{\"nvd\":{\"V3Vector\":\"CVSS:3.1/AV:N/AC:L\",\"V3Score\":3.1}},\"Description\":\"%s\",\"References\":[%s]}",
			i, i, strings.Repeat("A flaw was found in the parser of \\\"things\\\" that come. ", 25), strings.Repeat(`"https://cve.example.org/CVERecord?id=CVE-2026-1234",`, 30)+`"x"`)
	}
	b.WriteString(`]}]}`)
	return b.Bytes()
}

func TestALargeReportTakesTheMemoryOfItsSummary(t *testing.T) {
	raw := []byte(cosignScan(string(largeReport(20 << 20))))
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	facts, err := Read(policy.ScanByCosign, bytes.NewReader(raw))
	runtime.ReadMemStats(&after)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(facts.Scan.Findings); n < 4000 {
		t.Errorf("found %d", n)
	}
	if took := after.TotalAlloc - before.TotalAlloc; took > 6<<20 {
		t.Errorf("%d findings out of %d bytes took %d bytes", len(facts.Scan.Findings), len(raw), took)
	}
}

func BenchmarkReadReport(b *testing.B) {
	raw := largeReport(20 << 20)
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ReadReport(bytes.NewReader(raw)); err != nil {
			b.Fatal(err)
		}
	}
}
