package osv

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

// record is what is read of an OSV record: https://ossf.github.io/osv-schema/
type record struct {
	ID        string     `json:"id"`
	Modified  time.Time  `json:"modified"`
	Published time.Time  `json:"published"`
	Withdrawn *time.Time `json:"withdrawn"`
	Aliases   []string   `json:"aliases"`
	Upstream  []string   `json:"upstream"`
	Severity  []severity `json:"severity"`
	Affected  []affected `json:"affected"`

	Specific struct {
		Severity json.RawMessage `json:"severity"`
	} `json:"database_specific"`
}

type affected struct {
	Package struct {
		Ecosystem string `json:"ecosystem"`
		Name      string `json:"name"`
	} `json:"package"`
	Severity []severity `json:"severity"`
	Ranges   []struct {
		Type   string `json:"type"`
		Events []struct {
			Introduced   string `json:"introduced"`
			Fixed        string `json:"fixed"`
			LastAffected string `json:"last_affected"`
			Limit        string `json:"limit"`
		} `json:"events"`
	} `json:"ranges"`
	Versions []string `json:"versions"`

	EcosystemSpecific specific `json:"ecosystem_specific"`
	DatabaseSpecific  specific `json:"database_specific"`
}

// specific is what databases add of their own.
type specific struct {
	Severity json.RawMessage `json:"severity"`
	Urgency  json.RawMessage `json:"urgency"` // Debian's

	Imports json.RawMessage `json:"imports"` // Go's: the packages of a module that are affected
}

// elsewhere are the systems whose programs are in no ELF file, and so in no inventory.
var elsewhere = []string{"aix", "darwin", "ios", "js", "plan9", "wasip1", "windows"}

// isElsewhere reports that a record is about code of Go that is in no program that an inventory has: all of it names systems,
// and none of those that have such programs. https://go.dev/doc/security/vuln/database#schema
func (s specific) isElsewhere() bool {
	var imports []struct {
		GOOS []string `json:"goos"`
	}
	if json.Unmarshal(s.Imports, &imports) != nil { // it is not Go's
		return false
	}
	for _, p := range imports {
		if len(p.GOOS) == 0 || slices.ContainsFunc(p.GOOS, func(name string) bool { return !slices.Contains(elsewhere, name) }) {
			return false
		}
	}
	return len(imports) > 0
}

type severity struct {
	Type  string `json:"type"`
	Score string `json:"score"`
}

// Bounds of a record. The largest real ones list some thousand versions of some hundred packages.
const (
	maxRecord  = 32 << 20 // bytes of its JSON
	maxText    = 1 << 10  // bytes of a name or version
	maxAliases = 1000
)

// readRecord reads a record. One that nobody can read is an error: what it is about would be taken for safe.
func readRecord(raw []byte) (*record, error) {
	r := new(record)
	if err := json.Unmarshal(raw, r); err != nil {
		return nil, err
	}
	switch {
	case r.ID == "" || len(r.ID) > maxText:
		return nil, errors.New("it has no id, or none of a sane length")
	case r.Modified.IsZero():
		return nil, errors.New("it does not say when it was modified")
	case len(r.Aliases)+len(r.Upstream) > maxAliases:
		return nil, fmt.Errorf("it has more than %d aliases", maxAliases)
	}
	for _, name := range slices.Concat(r.Aliases, r.Upstream) {
		if len(name) > maxText {
			return nil, fmt.Errorf("it has an alias of more than %d bytes", maxText)
		}
	}
	for _, a := range r.Affected {
		if len(a.Package.Name) > maxText || len(a.Package.Ecosystem) > maxText {
			return nil, fmt.Errorf("it has a package whose name has more than %d bytes", maxText)
		}
	}
	return r, nil
}

// entries are what a database keeps of a record about one of the packages that it affects. An advisory about several CVEs is
// several: they are judged one by one.
func (r *record) entries(a affected) []entry {
	if a.Package.Ecosystem == "Go" && a.EcosystemSpecific.isElsewhere() {
		return nil
	}
	e := entry{ID: r.ID, Aliases: r.Aliases, Published: r.Published}
	e.Severity, e.CVSS = rate(r, a)
	for _, spanned := range a.Ranges {
		if spanned.Type == "GIT" {
			continue // commits are no versions
		}
		var s span
		for _, ev := range spanned.Events {
			s = append(s, event{ev.Introduced, ev.Fixed, ev.LastAffected, ev.Limit})
		}
		if len(s) > 0 {
			e.Ranges = append(e.Ranges, s)
			e.SemVer = e.SemVer || spanned.Type == "SEMVER"
		}
	}
	e.Listed = e.outside(a.Package.Ecosystem, a.Versions)
	if len(e.Ranges) == 0 && len(e.Listed) == 0 {
		return nil
	}

	var cves []string
	for _, name := range r.Upstream {
		if isCVE(name) && !slices.Contains(cves, name) {
			cves = append(cves, name)
		}
	}
	if len(cves) == 0 {
		return []entry{e}
	}
	var all []entry
	for _, cve := range cves {
		one := e
		one.ID, one.Record = cve, r.ID
		one.Aliases = nil
		if len(cves) == 1 {
			one.Aliases = r.Aliases
		}
		all = append(all, one)
	}
	return all
}

// outside are the versions that no range has. Most records list again what their ranges say, at ten times the length.
func (e *entry) outside(ecosystem string, versions []string) []string {
	if len(e.Ranges) == 0 {
		return versions
	}
	var outside []string
	for _, version := range versions {
		if in, err := e.spans(versionOf(version, ecosystem, e.SemVer)); err == nil && in {
			continue
		}
		outside = append(outside, version)
	}
	return outside
}

// affects reports whether a version is affected. The error says that nobody can tell.
func (e *entry) affects(v *version) (bool, error) {
	if slices.Contains(e.Listed, v.text) {
		return true, nil
	}
	if e.SemVer && !v.semver {
		v = versionOf(v.text, v.ecosystem, true)
	}
	return e.spans(v)
}

// spans reports whether a version is in one of the ranges.
func (e *entry) spans(v *version) (bool, error) {
	for _, s := range e.Ranges {
		in, err := s.has(v)
		if in || err != nil {
			return in, err
		}
	}
	return false, nil
}
