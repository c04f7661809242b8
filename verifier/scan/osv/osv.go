// Package osv finds the known vulnerabilities of packages in a local copy of an OSV database.
//
// OSV is the open format that distributions and language ecosystems publish their advisories in, one zip of JSON records for
// each: https://ossf.github.io/osv-schema/. [Importer] reads those zips into one file, [Open] opens it, [Database.Match]
// finds what an inventory has. There is no network here but the one that an operator names to an import.
//
// What cannot be said is said: an ecosystem of which the database has nothing, and a version that cannot be compared, are in
// [Report.Unmatched]. No findings and something unmatched is not clean.
package osv

import (
	"cmp"
	"regexp"
	"strings"
	"time"

	"github.com/sealgate/sealgate/policy"
)

// entry is what a database keeps of one record about one package.
type entry struct {
	ID      string   `json:"id"`           // a CVE where the record is about one
	Record  string   `json:"r,omitempty"`  // the record, where that is another
	Aliases []string `json:"a,omitempty"`  // other names of the same vulnerability
	Ranges  []span   `json:"s,omitempty"`  // of versions that are affected
	Listed  []string `json:"v,omitempty"`  // versions that are affected and in no range
	SemVer  bool     `json:"sv,omitempty"` // the ranges are by semantic versions, whatever the ecosystem's own are

	Severity  policy.Severity `json:"sev,omitempty"`
	CVSS      float64         `json:"cvss,omitempty"`
	EPSS      float64         `json:"epss,omitempty"`
	Exploited bool            `json:"kev,omitempty"`
	Published time.Time       `json:"p,omitzero"`
}

// span is a range's events, in the record's order.
type span []event

// event is one event: one of its fields is set.
type event struct {
	Introduced string `json:"i,omitempty"`
	Fixed      string `json:"f,omitempty"`
	Last       string `json:"l,omitempty"`
	Limit      string `json:"m,omitempty"`
}

func (e event) version() string { return cmp.Or(e.Introduced, e.Fixed, e.Last, e.Limit) }

// key is what a package is found by: its ecosystem with the suffix, and its name in the ecosystem's one spelling.
func key(ecosystem, name string) string { return ecosystem + "\x00" + spelled(ecosystem, name) }

var separators = regexp.MustCompile(`[-_.]+`)

// spelled is a name as everybody spells it, for ecosystems in which several spellings are one package.
func spelled(ecosystem, name string) string {
	switch family(ecosystem) {
	case "PyPI": // https://packaging.python.org/en/latest/specifications/name-normalization/
		return separators.ReplaceAllString(strings.ToLower(name), "-")
	case "NuGet", "Packagist":
		return strings.ToLower(name)
	}
	return name
}

// family is an ecosystem without its suffix: Debian of Debian:12.
func family(ecosystem string) string {
	name, _, _ := strings.Cut(ecosystem, ":")
	return name
}

// isCVE reports that a name is one of https://www.cve.org.
func isCVE(id string) bool { return strings.HasPrefix(id, "CVE-") }
