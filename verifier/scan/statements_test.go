package scan

import (
	"bytes"
	"reflect"
	"testing"
	"time"

	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/verifier/predicate"
	"github.com/sealgate/sealgate/verifier/scan/scantest"
)

// What a seal attests of a scan is read back as what was judged, in whichever form.
func TestThreat159_WhatIsAttestedIsWhatWasFound(t *testing.T) {
	image := imageOf(t, scantest.Blobs{}, "x")
	at := time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC)
	full := policy.Finding{
		ID: "GHSA-1", Package: "left-pad", Version: "1.0", PURL: "pkg:npm/left-pad@1.0", FixedVersion: "1.2", Fix: policy.FixAvailable,
		Severity: policy.Medium, CVSS: 9.8, EPSS: 0.25, KnownExploited: true, Aliases: []string{"CVE-1"},
	}
	findings := []policy.Finding{full, {ID: "CVE-2", Package: "bash", Fix: policy.FixNone, Severity: policy.Unknown}, {ID: "CVE-3", Package: "zlib", Severity: policy.Low}}
	for _, scanner := range []string{"grype", "trivy", "osv-scanner"} {
		report := Report{
			Scan:    policy.Scan{Scanner: scanner, Version: "1.2", Finished: at, Database: at.Add(-time.Hour), Packages: 40, Counted: true, Findings: findings},
			Started: at.Add(-time.Minute), SBOM: []byte(anSBOM),
		}
		statements, err := report.Statements(image)
		if err != nil || len(statements) != 3 {
			t.Fatalf("got %d statements, %v", len(statements), err)
		}
		for _, st := range statements {
			facts, err := predicate.Read(st.PredicateType, bytes.NewReader(st.Predicate))
			if err != nil {
				t.Fatalf("%s of %s: %v\n%s", st.PredicateType, scanner, err, st.Predicate)
			}
			if policy.KindOf(st.PredicateType) == policy.KindSBOM {
				if facts.SBOM.Packages != 1 {
					t.Errorf("got %+v", facts.SBOM)
				}
				continue
			}
			got := *facts.Scan
			want := findings
			if st.PredicateType == policy.ScanByCosign && scanner == "trivy" { // which has no words for these
				plain := full
				plain.EPSS, plain.KnownExploited = 0, false
				unfixed := findings[2]
				unfixed.Fix = policy.FixNone
				want = []policy.Finding{plain, findings[1], unfixed}
			}
			if !reflect.DeepEqual(got.Findings, want) {
				t.Errorf("%s of %s:\ngot  %+v\nwant %+v", st.PredicateType, scanner, got.Findings, want)
			}
			if got.Packages != 40 || !got.Counted || !got.Finished.Equal(at) || !got.Database.Equal(at.Add(-time.Hour)) || got.Scanner != scannerURI(scanner, "1.2") {
				t.Errorf("%s of %s: got %+v", st.PredicateType, scanner, got)
			}
			if _, err := st.Encode(image.Manifest.Digest); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestAScanWithoutADateOfItsDatabaseIsAttestedWithoutOne(t *testing.T) {
	image := imageOf(t, scantest.Blobs{}, "x")
	report := Report{Scan: policy.Scan{Scanner: "x", Finished: time.Now()}}
	statements, err := report.Statements(image)
	if err != nil || len(statements) != 1 || statements[0].PredicateType != policy.ScanByCosign {
		t.Fatalf("got %+v, %v", statements, err)
	}
	facts, err := predicate.Read(policy.ScanByCosign, bytes.NewReader(statements[0].Predicate))
	if err != nil || !facts.Scan.Database.IsZero() || facts.Scan.Counted {
		t.Errorf("got %+v, %v", facts.Scan, err)
	}
}

func TestABillOfMaterialsIsTheSameHoweverOftenItIsWritten(t *testing.T) {
	one := []byte(`{"bomFormat":"CycloneDX","specVersion":"1.6","serialNumber":"urn:uuid:1","metadata":{"timestamp":"2026-11-24T10:00:00Z"},"components":[{"name":"a"}],"vulnerabilities":[]}`)
	again := []byte(`{"bomFormat":"CycloneDX","specVersion":"1.6","serialNumber":"urn:uuid:2","metadata":{"timestamp":"2026-11-25T10:00:00Z"},"components":[{"name":"a"}]}`)
	other := []byte(`{"bomFormat":"CycloneDX","specVersion":"1.6","components":[{"name":"b"}]}`)
	same := sameMaterials(one)
	if !same(one) || !same(again) || same(other) || same([]byte("{")) || same(nil) {
		t.Error("bills of materials are compared by something else than what they list")
	}
}
