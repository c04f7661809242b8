package policy

import (
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
)

// Attestation is a statement about a subject that an authority is proven to have signed. What it says was read from the very
// bytes that were signed.
type Attestation struct {
	// PredicateType is what the statement says it is, such as https://slsa.dev/provenance/v1. Types compare exactly.
	PredicateType string

	// Authority is the configured name of who signed.
	Authority string

	// Signer is who signed, as in [Signature].
	Signer string

	// Signed is the manifest that the statement names: the subject itself, or an index of the same repository that lists it.
	Signed digest.Digest

	// Evidence is the manifest that carries the attestation, for the decision record, and Format how it does.
	Evidence digest.Digest
	Format   Format

	// Vouched is the time for which a transparency log or a timestamp authority vouches, zero where none does, and Witness
	// which of them.
	Vouched time.Time
	Witness Witness

	// Facts is what the predicate says. It is not used where Malformed is set.
	Facts Facts

	// Malformed says why the predicate could not be read, for a person, one line. An authority that attested nonsense
	// attested something all the same: it stands in the way of what it attested before.
	Malformed string
}

// Facts is what a predicate says, typed where its type is known. One of the pointers is set, or none.
type Facts struct {
	// Claimed is the time that the predicate gives itself, zero where it gives none: of the scan, of the build, of the
	// document. Only a rule can make a time of it: see [AttestedDocument.TrustStatementTime].
	Claimed time.Time

	Scan       *Scan
	SBOM       *SBOM
	Provenance *Provenance
	VEX        *VEX
	Summary    *Summary
	Tests      *Tests

	// Document is the whole predicate as JSON decodes: maps, lists, texts, numbers. It is nil for scans and SBOMs, which are
	// too large to keep. It must not be changed.
	Document map[string]any
}

// Scan is the summary of a vulnerability scan.
type Scan struct {
	Scanner string // a URI or a name
	Version string // of the scanner, where it is told

	// Finished is when the scan ended, zero where it is not told.
	Finished time.Time

	// Database is when the database of vulnerabilities was last updated, zero where it is not told.
	Database time.Time

	// Packages is how many packages the scanner saw. It means something only where Counted is set: many formats do not tell.
	Packages int
	Counted  bool

	// Inventory is the packages of the image, vulnerable or not; nil where nobody listed them.
	Inventory []Package

	// Unmatched is what the scanner could not look up, one line each for a person.
	Unmatched []string

	Findings []Finding
}

// Finding is one vulnerability of one package. What a scanner left out is empty, and an expression that asks for it fails.
type Finding struct {
	ID           string
	Package      string
	Version      string
	PURL         string
	FixedVersion string
	Fix          Fix
	Severity     Severity
	CVSS         float64 // the highest base score that is given, 0 where none is
	EPSS         float64 // the probability of exploitation that is given, from 0 to 1, 0 where none is

	// Aliases are other names of the same vulnerability, such as the CVE of a GHSA.
	Aliases []string

	// KnownExploited says that the scanner found it in a list of what is being exploited. A scanner without such a list
	// says nothing.
	KnownExploited bool

	// Published is when the vulnerability became public, zero where it is not told.
	Published time.Time
}

// Package is a package of an image. What nobody told is empty.
type Package struct {
	Name      string
	Version   string
	PURL      string
	Ecosystem string   // of OSV, such as Debian:12
	Licenses  []string // as the package says it
}

// Fix says whether a finding has a fix.
type Fix uint8

// The zero value is not known: it is neither of the others.
const (
	FixUnknown Fix = iota
	FixNone
	FixAvailable
)

// Severity of a finding. Unknown, the zero value, ranks above Critical: what nobody could rate may be anything.
type Severity uint8

// The severities.
const (
	Unknown Severity = iota
	None
	Low
	Medium
	High
	Critical
)

var severityNames = [...]string{"UNKNOWN", "NONE", "LOW", "MEDIUM", "HIGH", "CRITICAL"}

// SeverityNames are the words for severities, the lowest first. UNKNOWN, the last, may be anything.
func SeverityNames() []string { return append(slices.Clone(severityNames[1:]), severityNames[0]) }

func (s Severity) String() string {
	if int(s) >= len(severityNames) {
		return severityNames[Unknown]
	}
	return severityNames[s]
}

// rank orders severities.
func (s Severity) rank() int {
	if s == Unknown || s > Critical {
		return int(Critical) + 1
	}
	return int(s)
}

// SBOM is the summary of a software bill of materials.
type SBOM struct {
	Format   string // spdx or cyclonedx
	Name     string // of the document or of what it is about, where it has one
	Packages int
}

// Provenance says how an image was built, in the words of either version of SLSA. What the builder left out is empty.
type Provenance struct {
	Builder    string // its identifier
	BuildType  string
	Repository string // of the source, such as https://github.com/acme/app
	Ref        string // of the source, such as refs/heads/main
	Digest     string // of the source, in hexadecimal
	Workflow   string // path or entry point of the build's definition
	Trigger    string // the event that started the build
	Materials  int    // what went into the build, counted
}

// VEX is a statement about which vulnerabilities matter.
type VEX struct {
	Author     string
	Statements []VEXStatement
}

// VEXStatement is what a VEX document says about one vulnerability.
type VEXStatement struct {
	Vulnerability string
	Aliases       []string // other names of it
	Products      []VEXProduct
	Status        string // not_affected, affected, fixed or under_investigation
	Justification string
	Time          time.Time
}

// VEXProduct is what a VEX statement is about, by package URLs or other identifiers.
type VEXProduct struct {
	ID            string
	Subcomponents []string // the parts of it that are meant; empty: all of it
}

// Summary is the verdict of another verifier (SLSA's verification summary).
type Summary struct {
	Verifier string
	Resource string
	Policy   string
	Result   string
	Levels   []string
}

// Tests is the result of tests.
type Tests struct {
	Result                 string // PASSED, WARNED or FAILED
	Passed, Warned, Failed int
}
