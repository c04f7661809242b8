package predicate

import (
	"strings"
	"testing"

	"github.com/sealgate/sealgate/policy"
)

const harborReportText = `{"generated_at":"2026-11-24T10:00:00Z","artifact":{"repository":"a","digest":"sha256:1"},"scanner":{"name":"Trivy","vendor":"x","version":"1"},
 "severity":"High","vulnerabilities":[{"id":"CVE-1","package":"zlib","version":"1","fix_version":"2","severity":"High","preferred_cvss":{"score_v3":7.5}}]}`

func TestThreat064_AReportOfAnAdapterHasWhatItMust(t *testing.T) {
	report, err := ReadHarbor(strings.NewReader(harborReportText))
	if err != nil || len(report.Findings) != 1 || report.Findings[0].CVSS != 7.5 || report.Findings[0].Fix != policy.FixAvailable || report.Manifest != "sha256:1" || report.Scanner != "Trivy" {
		t.Fatalf("got %+v, %v", report, err)
	}
	for _, change := range [][2]string{
		{`"id":"CVE-1"`, `"id":null`}, {`"package":"zlib",`, ``}, {`"severity":"High","preferred_cvss"`, `"severity":3,"preferred_cvss"`},
		{`"score_v3":7.5`, `"score_v3":75`}, {`"score_v3":7.5`, `"score_v3":"7.5"`}, {`"2026-11-24T10:00:00Z"`, `""`}, {`"2026-11-24T10:00:00Z"`, `"now"`},
		{`"digest":"sha256:1"`, `"digest":""`}, {`"name":"Trivy"`, `"name":""`}, {`"vulnerabilities":[`, `"vulnerabilities":{"a":[`},
		{`"artifact":{`, `"artifact":{"digest":"sha256:2",`}, {`]}`, `]}{}`},
	} {
		text := strings.Replace(harborReportText, change[0], change[1], 1)
		if report, err := ReadHarbor(strings.NewReader(text)); err == nil {
			t.Errorf("with %s: got %+v", change[1], report)
		}
	}
}

func TestThreat064_WhatOurSealsAddHasItsType(t *testing.T) {
	const clean = `{"scanner":{"uri":"x","db":{"lastUpdate":"2026-11-24T10:00:00Z"},"result":[{"id":"CVE-1","severity":[{"method":"x","score":"HIGH"}],"sealgate_finding":{"fixed":true,"cvss":7.5}}]},
 "metadata":{"scanFinishedOn":"2026-11-24T10:00:00Z"},"sealgate_packages":3}`
	facts, err := Read(policy.ScanByInToto02, strings.NewReader(clean))
	if err != nil || facts.Scan.Packages != 3 || !facts.Scan.Counted || facts.Scan.Findings[0].Fix != policy.FixAvailable {
		t.Fatalf("got %+v, %v", facts.Scan, err)
	}
	for _, change := range [][2]string{
		{`"sealgate_packages":3`, `"sealgate_packages":-1`}, {`"sealgate_packages":3`, `"sealgate_packages":1.5`}, {`"sealgate_packages":3`, `"sealgate_packages":"3"`},
		{`"sealgate_packages":3`, `"sealgate_packages":2147483649`}, {`"sealgate_packages":3`, `"sealgate_packages":null`},
		{`"fixed":true`, `"fixed":"yes"`}, {`"cvss":7.5`, `"cvss":11`}, {`{"fixed"`, `{"epss":2,"fixed"`}, {`{"fixed"`, `{"aliases":[""],"fixed"`},
	} {
		text := strings.Replace(clean, change[0], change[1], 1)
		if facts, err := Read(policy.ScanByInToto02, strings.NewReader(text)); err == nil {
			t.Errorf("with %s: got %+v", change[1], facts.Scan)
		}
	}
}

func FuzzHarbor(f *testing.F) {
	f.Add(harborReportText)
	f.Add(`{"generated_at":"2026-11-24T10:00:00Z","artifact":{"digest":"x"},"scanner":{"name":"x"},"vulnerabilities":null}`)
	f.Fuzz(func(t *testing.T, text string) {
		report, err := ReadHarbor(strings.NewReader(text))
		if err != nil {
			return
		}
		if report.Manifest == "" || report.Scanner == "" || report.Finished.IsZero() {
			t.Errorf("%q was taken without who, when and what: %+v", text, report)
		}
		for _, finding := range report.Findings {
			if finding.ID == "" || finding.Package == "" {
				t.Errorf("%q has a finding without a name: %+v", text, finding)
			}
		}
	})
}
