package predicate

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/sealgate/sealgate/policy"
)

// fuzzReader checks what holds for every reader: what it accepts is valid JSON, is read alike however its bytes come, and
// stays within the bounds.
func fuzzReader(f *testing.F, predicateTypes ...string) {
	for _, s := range samples() {
		for i, predicateType := range predicateTypes {
			if s.predicateType == predicateType {
				f.Add(uint8(i), []byte(s.raw))
			}
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, raw []byte) {
		predicateType := predicateTypes[int(which)%len(predicateTypes)]
		facts, err := Read(predicateType, bytes.NewReader(raw))
		again, errAgain := Read(predicateType, iotest.OneByteReader(bytes.NewReader(raw)))
		if (err == nil) != (errAgain == nil) || !reflect.DeepEqual(facts, again) {
			t.Fatalf("%q: read as %+v, %v, and a byte at a time as %+v, %v", raw, facts, err, again, errAgain)
		}
		if err != nil {
			return
		}
		if !json.Valid(raw) {
			t.Errorf("%q is no JSON and is read as %+v", raw, facts)
		}
		if scan := facts.Scan; scan != nil {
			// Another reader sees as many findings as we do.
			if n := naively(raw); n >= 0 && n != len(scan.Findings) {
				t.Errorf("%q has %d findings, %d are read", raw, n, len(scan.Findings))
			}
			for _, finding := range scan.Findings {
				if finding.ID == "" || finding.CVSS < 0 || finding.CVSS > 10 || finding.Severity > policy.Critical {
					t.Errorf("%q is read as %+v", raw, finding)
				}
			}
			if scan.Finished.IsZero() && !strings.Contains(string(raw), "0001") {
				t.Errorf("%q has no time", raw)
			}
		}
	})
}

// naively counts the findings as a reader without care does. -1 is what it cannot read.
func naively(raw []byte) int {
	var doc struct {
		Scanner struct {
			Result json.RawMessage `json:"result"`
		} `json:"scanner"`
	}
	if json.Unmarshal(raw, &doc) != nil {
		return -1
	}
	var list []any
	if json.Unmarshal(doc.Scanner.Result, &list) == nil {
		return len(list)
	}
	var report struct {
		Results []struct{ Vulnerabilities []any }
		Matches []any `json:"matches"`
		Runs    []struct {
			Results []any `json:"results"`
		} `json:"runs"`
	}
	if json.Unmarshal(doc.Scanner.Result, &report) != nil {
		return -1
	}
	n := len(report.Matches)
	for _, r := range report.Results {
		n += len(r.Vulnerabilities)
	}
	for _, r := range report.Runs {
		n += len(r.Results)
	}
	return n
}

func FuzzScan(f *testing.F) {
	fuzzReader(f, policy.ScanByCosign, policy.ScanByCosignOne, policy.ScanByInToto01, policy.ScanByInToto02)
}

func FuzzSBOM(f *testing.F) { fuzzReader(f, "https://spdx.dev/Document", "https://cyclonedx.org/bom") }

func FuzzProvenance(f *testing.F) { fuzzReader(f, policy.Provenance02, policy.Provenance1) }

func FuzzDocument(f *testing.F) {
	fuzzReader(f, "https://openvex.dev/ns", "https://slsa.dev/verification_summary/v1", "https://in-toto.io/attestation/test-result/v0.1", "https://acme.dev/x")
}

func FuzzStatement(f *testing.F) {
	f.Add([]byte(aStatement))
	f.Fuzz(func(t *testing.T, payload []byte) {
		st, err := ReadStatement(payload)
		if err != nil {
			return
		}
		var plain struct {
			PredicateType string          `json:"predicateType"`
			Predicate     json.RawMessage `json:"predicate"`
			Subject       []struct {
				Digest map[string]string `json:"digest"`
			} `json:"subject"`
		}
		if err := json.Unmarshal(payload, &plain); err != nil {
			t.Fatalf("%q is accepted: %v", payload, err)
		}
		if plain.PredicateType != st.PredicateType || !bytes.Equal(plain.Predicate, st.Predicate) || len(plain.Subject) != len(st.Subjects) {
			t.Errorf("%q is read as %+v, and by others as %+v", payload, st, plain)
		}
	})
}
