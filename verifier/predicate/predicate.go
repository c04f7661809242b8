// Package predicate reads the predicates of attestations into typed facts.
//
// A predicate is read only after its signature was checked, but whoever signed it may have been careless: what a rule will
// rely on has to be there, with its type, or the whole predicate is an error. Nothing that is absent, null or of another
// type becomes an empty list or a zero. Predicate types compare exactly.
//
// Scans and bills of materials are read as streams: a report of any size takes the memory of what is kept of it. Whatever
// is accepted is valid JSON with one reading: a key that matters is there once, and in its own case.
package predicate

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/policy/strictjson"
)

// Bounds of a predicate. Each has a test at the limit and one past it.
const (
	MaxBytes    = 64 << 20 // of a scan or an SBOM, read as a stream
	MaxDocument = 1 << 20  // of any other, which is kept
	MaxFindings = 20_000   // of one scan
	MaxDepth    = 64       // nesting of objects and arrays in a stream
	MaxText     = 4 << 10  // bytes of a text that is kept

	maxStatements = 10_000 // of one VEX document
	maxProducts   = 1_000  // of one VEX statement
	maxLevels     = 100    // of one verification summary
	maxRules      = 50_000 // of one SARIF run
	maxAliases    = 64     // of one vulnerability
)

// Read reads a predicate of the type that a verified statement names. What the type does not say is left out.
func Read(predicateType string, r io.Reader) (policy.Facts, error) {
	switch policy.KindOf(predicateType) {
	case policy.KindScan:
		return readScan(predicateType, r)
	case policy.KindSBOM:
		return readSBOM(predicateType, r)
	}

	raw, err := io.ReadAll(io.LimitReader(r, MaxDocument+1))
	if err != nil {
		return policy.Facts{}, err
	}
	if len(raw) > MaxDocument {
		return policy.Facts{}, fmt.Errorf("a predicate of more than %d bytes", MaxDocument)
	}
	facts := policy.Facts{}
	switch policy.KindOf(predicateType) {
	case policy.KindProvenance:
		err = readProvenance(predicateType, raw, &facts)
	case policy.KindVEX:
		err = readVEX(raw, &facts)
	case policy.KindSummary:
		err = readSummary(raw, &facts)
	case policy.KindTests:
		err = readTests(raw, &facts)
	}
	if err != nil {
		return policy.Facts{}, err
	}
	if err := strictjson.Decode(raw, &facts.Document); err != nil {
		return policy.Facts{}, err
	}
	return facts, nil
}

// moment reads a time as RFC 3339 has it.
func moment(text string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, fmt.Errorf("%.60q is no time", text)
	}
	return t.UTC(), nil
}

// severityOf reads the word that a scanner has for a severity.
func severityOf(word string) (policy.Severity, bool) {
	switch strings.ToUpper(word) {
	case "CRITICAL":
		return policy.Critical, true
	case "HIGH", "IMPORTANT":
		return policy.High, true
	case "MEDIUM", "MODERATE":
		return policy.Medium, true
	case "LOW", "NEGLIGIBLE":
		return policy.Low, true
	case "NONE":
		return policy.None, true
	}
	return policy.Unknown, false
}

// severityOfScore rates a CVSS base score: https://www.first.org/cvss/v3.1/specification-document, section 5.
func severityOfScore(score float64) policy.Severity {
	switch {
	case score >= 9:
		return policy.Critical
	case score >= 7:
		return policy.High
	case score >= 4:
		return policy.Medium
	case score > 0:
		return policy.Low
	}
	return policy.None
}

func worse(a, b policy.Severity) policy.Severity {
	if a == policy.Unknown || b != policy.Unknown && b > a {
		return b
	}
	return a
}

var errMissing = errors.New("is missing")

func missing(what string) error { return fmt.Errorf("%s %w", what, errMissing) }
