package osv

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/verifier/scan/inventory"
)

// Report is what a database knows of an inventory.
type Report struct {
	Findings  []policy.Finding
	Matched   int         // packages that were looked up
	Unmatched []Unmatched // what could not be
}

// Unmatched is something of which the database cannot say whether it is vulnerable.
type Unmatched struct {
	Ecosystem string // empty where there is none for it
	Package   string // empty where it is all of the ecosystem's
	Version   string
	Why       string
}

// Match finds the known vulnerabilities of an inventory's packages, each once for a package, by its CVE where it has one.
// An error says that the database could not be read.
func (d *Database) Match(i *inventory.Inventory) (Report, error) {
	var r Report
	lacking := map[string]int{}
	for _, p := range i.Packages {
		if p.Own {
			continue
		}
		if !d.covers(p.Ecosystem) {
			lacking[p.Ecosystem]++
			continue
		}
		if p.Version == "" {
			r.Unmatched = append(r.Unmatched, Unmatched{p.Ecosystem, p.Name, "", "it has no version"})
			continue
		}
		found, err := d.match(p)
		if err != nil {
			return Report{}, err
		}
		r.Matched++
		r.Findings = append(r.Findings, found.findings...)
		if found.unknown != nil {
			r.Unmatched = append(r.Unmatched, Unmatched{p.Ecosystem, p.Name, p.Version, found.unknown.Error()})
		}
	}
	for _, ecosystem := range slices.Sorted(maps.Keys(lacking)) {
		why := fmt.Sprintf("the database has nothing of it, and %d packages are of it", lacking[ecosystem])
		r.Unmatched = append(r.Unmatched, Unmatched{Ecosystem: ecosystem, Why: why})
	}
	slices.SortStableFunc(r.Findings, func(a, b policy.Finding) int {
		return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Package, b.Package), cmp.Compare(a.Version, b.Version), cmp.Compare(a.PURL, b.PURL))
	})
	return r, nil
}

// covers reports whether the database has an ecosystem as a whole, and with its suffix where it has one.
func (d *Database) covers(ecosystem string) bool {
	return ecosystem != "" && d.about.Ecosystems[family(ecosystem)] > 0 && len(d.releases(ecosystem)) > 0
}

// releases are the ecosystem under the names that the database's records have for it. Distributions that sell parts of a release
// name the parts.
func (d *Database) releases(ecosystem string) []string {
	name, version, _ := strings.Cut(ecosystem, ":")
	major, minor, _ := strings.Cut(version, ".")
	part := func(release string) bool { return release == ecosystem }
	switch {
	case name == "Red Hat" && major != "": // Red Hat:enterprise_linux:9::baseos
		part = func(release string) bool {
			return release == ecosystem || strings.HasPrefix(release, "Red Hat:enterprise_linux:"+major+":")
		}
	case name == "SUSE" && major != "": // SUSE:Linux Enterprise Module for Basesystem 15 SP5
		ending := " " + major
		if minor != "" {
			ending += " SP" + minor
		}
		part = func(release string) bool { return release == ecosystem || strings.HasSuffix(release, ending) }
	}
	var all []string
	for release := range d.about.Releases {
		if part(release) {
			all = append(all, release)
		}
	}
	slices.Sort(all)
	return all
}

// matched is what is known of one package.
type matched struct {
	findings []policy.Finding
	unknown  error // why it is not all
}

// match looks one package up, by the names that advisories use for it.
func (d *Database) match(p inventory.Package) (matched, error) {
	releases := d.releases(p.Ecosystem)
	if all := family(p.Ecosystem); all != p.Ecosystem && d.about.Releases[all] > 0 {
		releases = append(releases, all) // for records that are about all of them
	}
	var hits []entry
	var m matched
	for _, as := range namesOf(p) {
		var entries []entry
		for _, release := range releases {
			more, err := d.lookup(release, as.name)
			if err != nil {
				return matched{}, err
			}
			entries = append(entries, more...)
		}
		v := versionOf(as.version, p.Ecosystem, false)
		for _, e := range entries {
			affected, err := e.affects(v)
			if err != nil {
				m.unknown = cmp.Or(m.unknown, fmt.Errorf("%s: %w", policy.Printable(e.ID), err))
			}
			if affected {
				hits = append(hits, e.at(v))
			}
		}
	}
	for _, group := range grouped(hits) {
		m.findings = append(m.findings, findingOf(p, group))
	}
	return m, nil
}

// named is a name that a package is known by, with the version under that name.
type named struct{ name, version string }

// namesOf lists the names of a package in advisories. Debian, Ubuntu and Alpine speak of source packages alone, the others
// of what is installed, some of both.
func namesOf(p inventory.Package) []named {
	own := named{p.Name, p.Version}
	if p.Source == "" {
		return []named{own}
	}
	source := named{p.Source, cmp.Or(p.SourceVersion, p.Version)}
	switch family(p.Ecosystem) {
	case "Debian", "Ubuntu", "Alpine", "Wolfi", "Chainguard", "MinimOS":
		return []named{source}
	}
	if source.name == own.name {
		return []named{own}
	}
	return []named{own, source}
}

// at is an entry with nothing but what concerns a version: its fix, as the only event.
func (e entry) at(v *version) entry {
	fix := ""
	for _, s := range e.Ranges {
		for _, ev := range s {
			if ev.Fixed == "" {
				continue
			}
			if c, err := v.compare(ev.Fixed); err != nil || c >= 0 {
				continue
			}
			if fix == "" {
				fix = ev.Fixed
			} else if c, err := versionOf(fix, v.ecosystem, v.semver).compare(ev.Fixed); err == nil && c > 0 {
				fix = ev.Fixed
			}
		}
	}
	e.Ranges = []span{{{Fixed: fix}}}
	return e
}

// grouped puts together what is one vulnerability: entries that share a name.
func grouped(hits []entry) [][]entry {
	var groups [][]entry
	for _, hit := range hits {
		joined := []entry{hit}
		groups = slices.DeleteFunc(groups, func(group []entry) bool {
			if slices.ContainsFunc(group, func(e entry) bool { return e.shares(hit) }) {
				joined = append(group, joined...)
				return true
			}
			return false
		})
		groups = append(groups, joined)
	}
	return groups
}

// names are all by which an entry's vulnerability is known. The record that an entry is a part of is none: it may be about
// others too.
func (e entry) names() []string { return append([]string{e.ID}, e.Aliases...) }

func (e entry) shares(other entry) bool {
	return slices.ContainsFunc(e.names(), func(name string) bool { return slices.Contains(other.names(), name) })
}

// findingOf is a group as one finding: the most severe of what is said, and the earliest fix of those who have one.
func findingOf(p inventory.Package, group []entry) policy.Finding {
	f := policy.Finding{Package: p.Name, Version: p.Version, PURL: p.PURL, Fix: policy.FixNone}
	names := map[string]bool{}
	for _, e := range group {
		for _, name := range append(e.names(), e.Record) {
			if name != "" {
				names[name] = true
			}
		}
		if e.Severity != policy.Unknown && (f.Severity == policy.Unknown || e.Severity > f.Severity) {
			f.Severity = e.Severity
		}
		f.CVSS, f.EPSS = max(f.CVSS, e.CVSS), max(f.EPSS, e.EPSS)
		f.KnownExploited = f.KnownExploited || e.Exploited
		if !e.Published.IsZero() && (f.Published.IsZero() || e.Published.Before(f.Published)) {
			f.Published = e.Published
		}
		if fix := e.Ranges[0][0].Fixed; fix != "" && (f.FixedVersion == "" || before(fix, f.FixedVersion, p.Ecosystem)) {
			f.FixedVersion, f.Fix = fix, policy.FixAvailable
		}
	}
	all := slices.Sorted(maps.Keys(names))
	i := max(slices.IndexFunc(all, isCVE), 0)
	f.ID = all[i]
	f.Aliases = slices.Delete(all, i, i+1)
	return f
}

func before(a, b, ecosystem string) bool {
	c, err := versionOf(a, ecosystem, false).compare(b)
	return err == nil && c < 0
}
