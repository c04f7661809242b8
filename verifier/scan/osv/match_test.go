package osv

import (
	"slices"
	"testing"

	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/verifier/scan/inventory"
)

const critical = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H" // 9.8

// Which versions a record is about, by each ecosystem's own order of versions.
func TestVersionsInARange(t *testing.T) {
	eco := func(all ...string) string { return events("ECOSYSTEM", all...) }
	sem := func(all ...string) string { return events("SEMVER", all...) }
	for name, c := range map[string]struct {
		ecosystem, ranges string
		in, out           []string
	}{
		"fixed":                           {"Debian:12", eco("introduced=0", "fixed=3.0.11-1~deb12u2"), []string{"3.0.11-1~deb12u1", "1.0", "3.0.9-1"}, []string{"3.0.11-1~deb12u2", "3.0.11-1", "1:0.1"}},
		"never fixed":                     {"Debian:12", eco("introduced=0"), []string{"1", "9:9"}, nil},
		"from a version on":               {"npm", sem("introduced=4.0.0", "fixed=4.17.21"), []string{"4.0.0", "4.17.20", "4.17.21-rc.1"}, []string{"3.9.9", "4.17.21", "5.0.0", "4.0.0-rc.1"}},
		"twice":                           {"npm", sem("introduced=1.0.0", "fixed=1.2.0", "introduced=2.0.0", "fixed=2.1.0"), []string{"1.1.9", "2.0.5"}, []string{"1.2.0", "1.9.9", "2.1.0"}},
		"twice, in disorder":              {"npm", sem("fixed=2.1.0", "introduced=2.0.0", "fixed=1.2.0", "introduced=1.0.0"), []string{"1.1.9", "2.0.5"}, []string{"1.2.0", "1.9.9", "2.1.0"}},
		"again where it was fixed":        {"npm", sem("introduced=0", "fixed=1.0.0", "introduced=1.0.0", "fixed=1.1.0"), []string{"0.9.0"}, []string{"1.0.0", "1.1.0"}},
		"to a last one":                   {"PyPI", eco("introduced=0", "last_affected=2.25.0"), []string{"2.25.0", "2.25", "1.0"}, []string{"2.25.1", "2.25.0.post1"}},
		"below a limit":                   {"Go", sem("introduced=0", "limit=1.5.0"), []string{"1.4.9"}, []string{"1.5.0"}},
		"without a limit":                 {"Go", sem("introduced=1.0.0", "limit=*"), []string{"1.4.9"}, []string{"0.9.0"}},
		"by pseudo-version":               {"Go", sem("introduced=0", "fixed=0.0.0-20220314234659-1baeb1ce4c0b"), []string{"0.0.0-20200622213623-75b288015ac9"}, []string{"0.17.0", "0.0.0-20230101000000-000000000000"}},
		"of the standard library":         {"Go", sem("introduced=0", "fixed=1.21.8", "introduced=1.22.0-0", "fixed=1.22.1"), []string{"1.20", "1.21.7", "1.22.0", "1.22rc1"}, []string{"1.21.8", "1.22.1", "1.23"}},
		"by Maven's order":                {"Maven", eco("introduced=2.0-beta9", "fixed=2.15.0"), []string{"2.0", "2.14.1"}, []string{"2.0-beta8", "2.15.0", "2.17.1"}},
		"by Alpine's order":               {"Alpine:v3.20", eco("introduced=0", "fixed=1.36.1-r29"), []string{"1.36.1-r28", "1.36.0-r99"}, []string{"1.36.1-r29", "1.36.1-r30"}},
		"listed":                          {"PyPI", `"versions": ["1.0", "1.1"]`, []string{"1.0", "1.1"}, []string{"1.2", "1.0.1"}},
		"listed beside a range":           {"PyPI", eco("introduced=2.0", "fixed=2.1") + `, "versions": ["2.0", "1.0rc1"]`, []string{"2.0", "2.0.5", "1.0rc1"}, []string{"1.0", "2.1"}},
		"of commits alone":                {"PyPI", events("GIT", "introduced=0"), nil, []string{"1.0"}},
		"semantic in another's ecosystem": {"PyPI", sem("introduced=0", "fixed=1.0.0"), []string{"0.9.0"}, []string{"1.0.0"}},
	} {
		t.Run(name, func(t *testing.T) {
			d := databaseOf(t, map[string][]string{family(c.ecosystem): {advisory("X-1", c.ecosystem, "thing", c.ranges), advisory("X-2", c.ecosystem, "other", `"versions": ["0"]`)}})
			for _, version := range c.in {
				if r := match(t, d, pack(c.ecosystem, "thing", version)); len(r.Findings) != 1 || len(r.Unmatched) != 0 {
					t.Errorf("%s: got %+v, want one finding", version, r)
				}
			}
			for _, version := range c.out {
				if r := match(t, d, pack(c.ecosystem, "thing", version)); len(r.Findings) != 0 || len(r.Unmatched) != 0 || r.Matched != 1 {
					t.Errorf("%s: got %+v, want none", version, r)
				}
			}
		})
	}
}

// One vulnerability that three databases tell of is one finding, and one advisory about two vulnerabilities is two.
func TestOneFindingForEachVulnerability(t *testing.T) {
	fixed := events("SEMVER", "introduced=0", "fixed=0.0.0-20220314234659-1baeb1ce4c0b")
	deb := func(fix string) string { return events("ECOSYSTEM", "introduced=0", "fixed="+fix) }
	d := databaseOf(t, map[string][]string{
		"Go": {
			advisory("GO-2022-0969", "Go", "golang.org/x/crypto", fixed, aliases("CVE-2022-27191", "GHSA-8c26-wmh5-6g9v")),
			advisory("GHSA-8c26-wmh5-6g9v", "Go", "golang.org/x/crypto", fixed, aliases("CVE-2022-27191"), cvss("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:H"), `"published": "2022-03-19T00:00:00Z"`),
			advisory("GHSA-gone", "Go", "golang.org/x/crypto", fixed, `"withdrawn": "2023-01-01T00:00:00Z"`),
		},
		"Debian": {
			advisory("DSA-1", "Debian:12", "openssl", deb("3.0.12-1"), upstream("CVE-2024-1", "CVE-2024-2")),
			advisory("DEBIAN-CVE-2024-1", "Debian:12", "openssl", deb("3.0.12-1"), upstream("CVE-2024-1"), cvss(critical)),
			advisory("DEBIAN-CVE-2024-9", "Debian:11", "openssl", deb("9"), upstream("CVE-2024-9")),
		},
	})

	crypto := match(t, d, pack("Go", "golang.org/x/crypto", "0.0.0-20200622213623-75b288015ac9"))
	if len(crypto.Findings) != 1 {
		t.Fatalf("got %+v, want one finding", crypto.Findings)
	}
	f := crypto.Findings[0]
	if f.ID != "CVE-2022-27191" || !slices.Equal(f.Aliases, []string{"GHSA-8c26-wmh5-6g9v", "GO-2022-0969"}) ||
		f.Severity != policy.High || f.CVSS != 7.5 || f.Fix != policy.FixAvailable || f.FixedVersion != "0.0.0-20220314234659-1baeb1ce4c0b" || f.Published.IsZero() {
		t.Errorf("got %+v", f)
	}

	libssl := pack("Debian:12", "libssl3", "3.0.11-1")
	libssl.Source = "openssl"
	ssl := match(t, d, libssl)
	if len(ssl.Findings) != 2 || ssl.Findings[0].ID != "CVE-2024-1" || ssl.Findings[1].ID != "CVE-2024-2" {
		t.Fatalf("got %+v, want CVE-2024-1 and CVE-2024-2", ssl.Findings)
	}
	if f := ssl.Findings[0]; f.Package != "libssl3" || f.Severity != policy.Critical || !slices.Equal(f.Aliases, []string{"DEBIAN-CVE-2024-1", "DSA-1"}) {
		t.Errorf("got %+v", f)
	}
}

// A package of the distribution is looked up by its source, at the source's version.
func TestADistributionSpeaksOfSourcePackages(t *testing.T) {
	d := databaseOf(t, map[string][]string{"Debian": {
		advisory("CVE-2024-1", "Debian:12", "gcc-12", events("ECOSYSTEM", "introduced=0", "fixed=12.2.0-14")),
		advisory("CVE-2024-2", "Debian:12", "libgcc-s1", events("ECOSYSTEM", "introduced=0")),
	}})
	p := inventory.Package{Name: "libgcc-s1", Version: "13.0", Source: "gcc-12", SourceVersion: "12.2.0-13", Ecosystem: "Debian:12"}
	if r := match(t, d, p); len(r.Findings) != 1 || r.Findings[0].ID != "CVE-2024-1" {
		t.Errorf("got %+v, want CVE-2024-1", r.Findings)
	}
}

// What the database lacks is told and never clean.
func TestWhatIsNotCoveredIsTold(t *testing.T) {
	d := databaseOf(t, map[string][]string{
		"Debian": {advisory("CVE-2024-1", "Debian:12", "openssl", events("ECOSYSTEM", "introduced=0"))},
		"npm":    {advisory("GHSA-1", "npm", "a", events("SEMVER", "introduced=0")), `{"id": "GHSA-2", "modified": "2026-02-01T00:00:00Z", "affected": [{"package": {"ecosystem": "npm", "name": "b"}, "versions": ["1"]}, {"package": {"ecosystem": "Maven", "name": "b:b"}, "versions": ["1"]}]}`},
	})
	for name, p := range map[string]inventory.Package{
		"another release":                     pack("Debian:13", "openssl", "3"),
		"no release":                          pack("Debian", "openssl", "3"),
		"an ecosystem that nobody imported":   pack("PyPI", "requests", "1.0"),
		"one that came along with another's":  pack("Maven", "b:b", "1"),
		"no ecosystem":                        pack("", "thing", "1"),
		"no version":                          pack("npm", "a", ""),
		"a system that no database speaks of": pack("myos", "openssl", "3"),
	} {
		r := match(t, d, p)
		if len(r.Findings) != 0 || len(r.Unmatched) != 1 || r.Matched != 0 {
			t.Errorf("%s: got %+v, want one that is unmatched", name, r)
		}
	}
	if got := d.About(); got.Ecosystems["npm"] != 2 || got.Ecosystems["Maven"] != 0 || !got.Imported.Equal(imported) || got.Updated.IsZero() {
		t.Errorf("about: %+v", got)
	}
}

// Distributions name the parts of a release that they sell, and packages come from all of them.
func TestReleasesThatAreSoldInParts(t *testing.T) {
	below := events("ECOSYSTEM", "introduced=0", "fixed=2:3.0.7-24.el9")
	d := databaseOf(t, map[string][]string{
		"Red Hat": {
			advisory("RHSA-1", "Red Hat:enterprise_linux:9::baseos", "openssl", below, upstream("CVE-1")),
			advisory("RHSA-2", "Red Hat:enterprise_linux:9::appstream", "openssl", below, upstream("CVE-2")),
			advisory("RHSA-3", "Red Hat:enterprise_linux:8::baseos", "openssl", below, upstream("CVE-3")),
		},
		"SUSE": {
			advisory("SUSE-1", "SUSE:Linux Enterprise Module for Basesystem 15 SP5", "openssl", below, upstream("CVE-4")),
			advisory("SUSE-2", "SUSE:Linux Enterprise Server 15 SP4", "openssl", below, upstream("CVE-5")),
		},
		"Debian": {
			advisory("DSA-1", "Debian:12", "openssl", events("ECOSYSTEM", "introduced=0"), upstream("CVE-6")),
			advisory("DSA-2", "Debian", "openssl", events("ECOSYSTEM", "introduced=0"), upstream("CVE-7")),
		},
	})
	for ecosystem, want := range map[string][]string{
		"Red Hat:9.4": {"CVE-1", "CVE-2"}, "Red Hat:8.10": {"CVE-3"}, "SUSE:15.5": {"CVE-4"}, "SUSE:15.4": {"CVE-5"}, "Debian:12": {"CVE-6", "CVE-7"},
	} {
		r := match(t, d, pack(ecosystem, "openssl", "1:3.0.7-1.el9"))
		var got []string
		for _, f := range r.Findings {
			got = append(got, f.ID)
		}
		if !slices.Equal(got, want) || len(r.Unmatched) != 0 {
			t.Errorf("%s: got %q and %+v, want %q", ecosystem, got, r.Unmatched, want)
		}
	}
	for _, ecosystem := range []string{"Red Hat:10.0", "Red Hat", "SUSE:15.6", "SUSE:5", "Debian:13"} {
		if r := match(t, d, pack(ecosystem, "openssl", "1:3.0.7-1.el9")); len(r.Findings) != 0 || len(r.Unmatched) != 1 {
			t.Errorf("%s: got %+v, want it unmatched", ecosystem, r)
		}
	}
}

// The image's own code, which has no version, is nothing that a database could know, and no hole in it.
func TestOwnCodeIsNotLookedUp(t *testing.T) {
	d := databaseOf(t, map[string][]string{"Go": {advisory("GO-1", "Go", "example.com/app", events("SEMVER", "introduced=0"))}})
	own := inventory.Package{Name: "example.com/app", Ecosystem: "Go", Own: true}
	if r := match(t, d, own); len(r.Findings) != 0 || len(r.Unmatched) != 0 || r.Matched != 0 {
		t.Errorf("got %+v", r)
	}
}

// A version that cannot be compared is no version that is safe.
func TestAVersionThatCannotBeCompared(t *testing.T) {
	d := databaseOf(t, map[string][]string{"Debian": {advisory("CVE-2024-1", "Debian:12", "openssl", events("ECOSYSTEM", "introduced=1", "fixed=3"))}})
	r := match(t, d, pack("Debian:12", "openssl", "abc:1"))
	if len(r.Findings) != 0 || len(r.Unmatched) != 1 {
		t.Errorf("got %+v, want it unmatched", r)
	}
}

// How severe a finding is, by scores first and words where there are none.
func TestSeverities(t *testing.T) {
	all := events("SEMVER", "introduced=0")
	d := databaseOf(t, map[string][]string{"npm": {
		advisory("CVE-1", "npm", "v4", all, `"severity": [{"type": "CVSS_V4", "score": "CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N"}]`),
		advisory("CVE-2", "npm", "v2", all, `"severity": [{"type": "CVSS_V2", "score": "AV:N/AC:L/Au:N/C:P/I:P/A:P"}]`),
		advisory("CVE-3", "npm", "v30", all, cvss("CVSS:3.0/AV:N/AC:H/PR:N/UI:N/S:U/C:L/I:N/A:N")),
		advisory("CVE-4", "npm", "word", all, `"database_specific": {"severity": "MODERATE"}`),
		advisory("CVE-5", "npm", "none", all),
		advisory("CVE-6", "npm", "broken", all, cvss("CVSS:3.1/AV:X")),
		advisory("CVE-7", "npm", "ubuntu", all, `"severity": [{"type": "Ubuntu", "score": "medium"}]`),
		advisory("GHSA-8", "npm", "elsewhere", all, aliases("CVE-2")),
		advisory("CVE-9", "npm", "debian", all+`, "ecosystem_specific": {"urgency": "unimportant"}`),
	}})
	for name, want := range map[string]struct {
		severity policy.Severity
		cvss     float64
	}{
		"v4": {policy.Critical, 9.3}, "v2": {policy.High, 7.5}, "v30": {policy.Low, 3.7}, "word": {policy.Medium, 0}, "none": {policy.Unknown, 0},
		"broken": {policy.Unknown, 0}, "ubuntu": {policy.Medium, 0}, "elsewhere": {policy.High, 7.5}, "debian": {policy.Low, 0},
	} {
		r := match(t, d, pack("npm", name, "1.0.0"))
		if len(r.Findings) != 1 || r.Findings[0].Severity != want.severity || r.Findings[0].CVSS != want.cvss {
			t.Errorf("%s: got %+v, want %v %v", name, r.Findings, want.severity, want.cvss)
		}
	}
}

// What is exploited, and how likely, comes from files beside the zips.
func TestExploitation(t *testing.T) {
	d := databaseOf(t, map[string][]string{"npm": {advisory("GHSA-1", "npm", "a", events("SEMVER", "introduced=0"), aliases("CVE-2024-1"))}},
		"epss.csv", "#model_version:v2025.03.14\ncve,epss,percentile\nCVE-2024-1,0.97,0.99\n",
		exploitedName, `{"vulnerabilities": [{"cveID": "CVE-2024-1"}]}`)
	r := match(t, d, pack("npm", "a", "1.0.0"))
	if len(r.Findings) != 1 || r.Findings[0].EPSS != 0.97 || !r.Findings[0].KnownExploited {
		t.Errorf("got %+v", r.Findings)
	}
}
