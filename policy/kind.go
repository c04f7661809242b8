package policy

import (
	"regexp"
	"slices"
	"strings"
)

// Kind is what a predicate type is about: how it is read, and which fields expressions have.
type Kind string

// The kinds. A predicate type that is none of ours is of no kind.
const (
	KindScan       Kind = "vuln"
	KindSBOM       Kind = "sbom"
	KindProvenance Kind = "slsa-provenance"
	KindVEX        Kind = "openvex"
	KindSummary    Kind = "vsa"
	KindTests      Kind = "test-result"
)

// The predicate types that readers have to tell apart.
const (
	ScanByCosign    = "https://cosign.sigstore.dev/attestation/vuln/v1"
	ScanByCosignOne = "cosign.sigstore.dev/attestation/vuln/v1" // as cosign 1 wrote it
	ScanByInToto01  = "https://in-toto.io/attestation/vulns/v0.1"
	ScanByInToto02  = "https://in-toto.io/attestation/vulns/v0.2"
	Provenance02    = "https://slsa.dev/provenance/v0.2"
	Provenance1     = "https://slsa.dev/provenance/v1"
)

// alias is a short name with the predicate types that it stands for. Each of them is compared exactly.
type alias struct {
	name  string
	kind  Kind
	types []string
}

var (
	spdxTypes = []string{
		"https://spdx.dev/Document", "https://spdx.dev/Document/v2.2", "https://spdx.dev/Document/v2.3", "https://spdx.dev/Document/v3",
	}
	cyclonedxTypes = []string{
		"https://cyclonedx.org/bom", "https://cyclonedx.org/bom/v1.2", "https://cyclonedx.org/bom/v1.3", "https://cyclonedx.org/bom/v1.4",
		"https://cyclonedx.org/bom/v1.5", "https://cyclonedx.org/bom/v1.6", "https://cyclonedx.org/bom/v1.7",
	}
)

// aliases are the short names that a policy may use in place of predicate types, in the order of the manual.
var aliases = []alias{
	{"vuln", KindScan, []string{ScanByCosign, ScanByCosignOne, ScanByInToto01, ScanByInToto02}},
	{"spdx", KindSBOM, spdxTypes},
	{"cyclonedx", KindSBOM, cyclonedxTypes},
	{"sbom", KindSBOM, slices.Concat(spdxTypes, cyclonedxTypes)},
	{"slsa-provenance", KindProvenance, []string{Provenance02, Provenance1}},
	{"openvex", KindVEX, []string{"https://openvex.dev/ns", "https://openvex.dev/ns/v0.2.0"}},
	{"vsa", KindSummary, []string{"https://slsa.dev/verification_summary/v1"}},
	{"test-result", KindTests, []string{"https://in-toto.io/attestation/test-result/v0.1"}},
}

// predicateAliases lists the short names of predicate types.
func predicateAliases() []string {
	names := make([]string, len(aliases))
	for i, a := range aliases {
		names[i] = a.name
	}
	return names
}

// PredicateTypes lists the types that a short name stands for. Any other name stands for itself.
func PredicateTypes(name string) []string {
	for _, a := range aliases {
		if a.name == name {
			return slices.Clone(a.types)
		}
	}
	return []string{name}
}

// KindOf returns the kind of a predicate type, empty for one that is none of ours.
func KindOf(predicateType string) Kind {
	for _, a := range aliases {
		if slices.Contains(a.types, predicateType) {
			return a.kind
		}
	}
	return ""
}

// predicateURI is a predicate type that is none of ours: https://in-toto.io/Statement asks for a TypeURI.
var predicateURI = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*:[!-~]+$`)

const maxPredicateType = 255 // bytes

// Needs lists the predicate types that a judgement depends on. It is comparable. The zero value needs no attestation.
type Needs struct {
	types string // sorted, one a line
}

// NeedsOf lists predicate types, which hold no line end.
func NeedsOf(predicateTypes ...string) Needs {
	sorted := slices.Clone(predicateTypes)
	slices.Sort(sorted)
	return Needs{types: strings.Join(slices.Compact(sorted), "\n")}
}

// NeedsEverything needs attestations of every type: for whoever shows what is attached.
func NeedsEverything() Needs { return Needs{types: everything} }

const everything = "*" // no predicate type

// Attestations reports that some attestation is needed.
func (n Needs) Attestations() bool { return n.types != "" }

// Includes reports that attestations of a predicate type are needed.
func (n Needs) Includes(predicateType string) bool {
	if n.types == everything {
		return true
	}
	for one := range strings.SplitSeq(n.types, "\n") {
		if one == predicateType && one != "" {
			return true
		}
	}
	return false
}
