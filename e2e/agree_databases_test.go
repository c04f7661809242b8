package e2e

import (
	"archive/zip"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// advisory is one about one package.
type advisory struct {
	id         string
	system     string // such as debian:12, alpine:3.20, npm, go
	pkg        string // for a system, the source package
	introduced string // empty for the first version of all
	fixed      string // empty where there is no fix
	severity   string
	found      []string // the installed packages that have it
	why        string   // what is told apart here
}

var advisories = []advisory{
	{"CVE-2026-2000", "debian:12", "openssl", "", "3.0.11-1~deb12u2", "HIGH", []string{"libssl3"}, "a source package of another name"},
	{"CVE-2026-2001", "debian:12", "openssl", "", "3.0.11-1~deb12u1", "HIGH", nil, "the version with the fix"},
	{"CVE-2026-2002", "debian:12", "openssl", "", "3.0.11-1", "HIGH", []string{"libssl3"}, "a tilde is before nothing"},
	{"CVE-2026-2003", "debian:12", "zlib", "", "1:1.2.13.dfsg-2", "CRITICAL", []string{"zlib1g"}, "an epoch"},
	{"CVE-2026-2004", "debian:12", "zlib", "", "1.3", "CRITICAL", nil, "a version without the epoch"},
	{"CVE-2026-2005", "debian:12", "util-linux", "", "2.38.1-6", "MEDIUM", []string{"bsdutils"}, "a source package of a lower version"},
	{"CVE-2026-2006", "debian:12", "util-linux", "", "2.38.1-5", "MEDIUM", nil, "a source package at the fix"},
	{"CVE-2026-2007", "debian:12", "bash", "", "", "LOW", []string{"bash"}, "no fix"},
	{"CVE-2026-2008", "debian:11", "bash", "", "99", "HIGH", nil, "another release"},
	{"CVE-2026-2009", "debian:12", "bsdutils", "", "2", "HIGH", nil, "a source package that is called as a binary one"},
	{"CVE-2026-2010", "debian:12", "gcc-12", "", "12.2.0-15", "LOW", []string{"libstdc++6"}, "a name with plus signs"},

	{"CVE-2026-2100", "alpine:3.20", "openssl", "", "3.3.2-r0", "HIGH", []string{"libcrypto3"}, "an origin of another name"},
	{"CVE-2026-2101", "alpine:3.20", "openssl", "", "3.3.1-r0", "HIGH", nil, "the version with the fix"},
	{"CVE-2026-2102", "alpine:3.20", "early", "", "1.0-r0", "HIGH", []string{"early"}, "a candidate is before the release"},
	{"CVE-2026-2103", "alpine:3.20", "patched", "", "2.0-r9", "HIGH", nil, "a patch is after the release"},
	{"CVE-2026-2104", "alpine:3.19", "musl", "", "99-r0", "HIGH", nil, "another release"},
	{"CVE-2026-2105", "alpine:3.20", "musl", "", "1.2.5-r10", "LOW", []string{"musl"}, "revisions are numbers"},

	{"CVE-2026-2200", "go", "github.com/spf13/cobra", "", "1.11.0", "HIGH", []string{"github.com/spf13/cobra"}, "a module"},
	{"CVE-2026-2201", "go", "github.com/spf13/cobra", "", "1.10.2", "HIGH", nil, "the version with the fix"},
	{"CVE-2026-2202", "go", "github.com/docker/cli", "", "29.8.0+incompatible", "MEDIUM", []string{"github.com/docker/cli"}, "an incompatible version"},
	{"CVE-2026-2203", "go", "github.com/docker/cli", "", "29.7.2+incompatible", "MEDIUM", nil, "an incompatible version with the fix"},
	{"CVE-2026-2204", "go", "stdlib", "", "1.99.0", "CRITICAL", []string{"stdlib"}, "the standard library"},
	{"CVE-2026-2205", "go", "stdlib", "1.98.0", "1.99.0", "CRITICAL", nil, "a later standard library"},
	{"CVE-2026-2206", "go", "github.com/opencontainers/distribution-spec/specs-go", "", "0.0.0-20250101000000-000000000000", "HIGH", []string{"github.com/opencontainers/distribution-spec/specs-go"}, "a pseudo version"},
	{"CVE-2026-2207", "go", "github.com/opencontainers/distribution-spec/specs-go", "", "0.0.0-20240101000000-000000000000", "HIGH", nil, "a pseudo version after the fix"},
	{"CVE-2026-2208", "go", "github.com/opencontainers/distribution-spec/conformance", "", "0.0.0-20270101000000-000000000000", "HIGH", []string{"github.com/opencontainers/distribution-spec/conformance"}, "a main module with a pseudo version"},

	{"CVE-2026-2300", "npm", "left-pad", "", "1.3.0", "HIGH", []string{"left-pad"}, "a version before the release"},
	{"CVE-2026-2301", "npm", "left-pad", "1.3.0", "1.3.1", "HIGH", nil, "a release that is not yet there"},
	{"CVE-2026-2302", "npm", "left-pad", "", "1.3.0-beta.2", "HIGH", nil, "a version before the release, with the fix"},
	{"CVE-2026-2303", "npm", "left-pad", "", "1.3.0-beta.11", "LOW", []string{"left-pad"}, "numbers in the name of a version"},
	{"CVE-2026-2304", "npm", "@acme/pad", "", "1.5.0", "MEDIUM", nil, "one of two lines"},
	{"CVE-2026-2304", "npm", "@acme/pad", "2.0.0", "2.1.0", "MEDIUM", []string{"@acme/pad"}, "the other line, and a scope"},

	{"CVE-2026-2400", "pypi", "flask-login", "", "1.0", "HIGH", []string{"flask-login"}, "a candidate, and a name in another spelling"},
	{"CVE-2026-2401", "pypi", "flask-login", "1.0", "1.1", "HIGH", nil, "a release that is not yet there"},
	{"CVE-2026-2402", "pypi", "flask-login", "", "1.0rc1", "HIGH", nil, "the candidate with the fix"},
	{"CVE-2026-2403", "pypi", "flask-login", "1.0b2", "1.0.post1", "LOW", []string{"flask-login"}, "from a beta to a release after the release"},
	{"CVE-2026-2404", "pypi", "clock", "", "2026.1", "HIGH", nil, "an epoch that is above all years"},

	{"CVE-2026-2500", "gem", "rack", "", "2.0.0", "HIGH", []string{"rack"}, "letters are before the release"},
	{"CVE-2026-2501", "gem", "rack", "", "2.0.0.beta2", "HIGH", nil, "a beta is before a candidate"},
	{"CVE-2026-2502", "gem", "rack", "", "2.0.0.rc10", "LOW", []string{"rack"}, "numbers behind letters"},

	{"CVE-2026-2600", "ubuntu:22.04", "openssl", "", "3.0.2-0ubuntu1.12", "HIGH", []string{"libssl3"}, "a release with long support"},
	{"CVE-2026-2601", "ubuntu:22.04", "openssl", "", "3.0.2-0ubuntu1.9", "HIGH", nil, "revisions are numbers"},
	{"CVE-2026-2602", "ubuntu:20.04", "openssl", "", "99", "HIGH", nil, "another release"},
	{"CVE-2026-2603", "ubuntu:22.04", "linked", "", "1.0+esm1", "MEDIUM", []string{"linked"}, "a plus is after nothing"},

	{"CVE-2026-2700", "rocky:9", "openssl", "", "1:3.0.7-24.el9", "HIGH", []string{"openssl", "openssl-libs"}, "all packages of a source, and an epoch"},
	{"CVE-2026-2701", "rocky:9", "openssl", "", "3.0.8-1.el9", "HIGH", nil, "a version without the epoch"},
	{"CVE-2026-2702", "rocky:9", "coreutils", "", "8.32-35.el9", "MEDIUM", []string{"coreutils-single"}, "a source package of another name"},
	{"CVE-2026-2703", "rocky:9", "bash", "", "5.1.8-6.el9", "LOW", nil, "a fix of an earlier minor release"},
	{"CVE-2026-2704", "rocky:9", "bash", "", "5.1.8-6.el9_2", "LOW", []string{"bash"}, "a fix of a later minor release"},
	{"CVE-2026-2705", "rocky:8", "bash", "", "99", "HIGH", nil, "another release"},
	{"CVE-2026-2706", "rocky:9", "zlib", "", "1.2.11-39.el9~1", "HIGH", nil, "a tilde is before nothing"},
	{"CVE-2026-2707", "rocky:9", "zlib", "", "1.2.11-39.el9^1", "HIGH", []string{"zlib"}, "a caret is after nothing"},
}

// ecosystem is what a system is called.
type ecosystem struct{ osv, kind, grype, format, trivy string }

// grypeSystem is the system that Grype looks into: what is built from Red Hat's sources has Red Hat's advisories.
func grypeSystem(system string) string { return strings.Replace(system, "rocky:", "rhel:", 1) }

var ecosystems = map[string]ecosystem{
	"debian": {"Debian:%s", "ECOSYSTEM", "deb", "dpkg", "debian %s"},
	"ubuntu": {"Ubuntu:%s:LTS", "ECOSYSTEM", "deb", "dpkg", "ubuntu %s"},
	"rocky":  {"Rocky Linux:%s", "ECOSYSTEM", "rpm", "rpm", "rocky %s"},
	"alpine": {"Alpine:v%s", "ECOSYSTEM", "apk", "apk", "alpine %s"},
	"go":     {"Go", "SEMVER", "go-module", "golang", "go::tests"},
	"npm":    {"npm", "SEMVER", "npm", "semver", "npm::tests"},
	"pypi":   {"PyPI", "ECOSYSTEM", "python", "python", "pip::tests"},
	"gem":    {"RubyGems", "ECOSYSTEM", "gem", "gem", "rubygems::tests"},
}

// in is a name with the release in it.
func in(pattern, release string) string { return strings.Replace(pattern, "%s", release, 1) }

// otherID is the name of an advisory in GitHub's database.
func otherID(cve string) string { return "GHSA-" + cve[9:] + "-aaaa-aaaa" }

// asOSV are the records that distributions and languages publish: by their own ids, with the CVE as an upstream or alias. One
// more record of each language has another id, and one was withdrawn.
func asOSV(t *testing.T, dir string) {
	t.Helper()
	zips := map[string][]map[string]any{}
	for i, a := range advisories {
		name, release, _ := strings.Cut(a.system, ":")
		of, events := ecosystems[name], []map[string]string{{"introduced": "0"}}
		if a.introduced != "" {
			events = []map[string]string{{"introduced": a.introduced}}
		}
		if a.fixed != "" {
			events = append(events, map[string]string{"fixed": a.fixed})
		}
		record := map[string]any{
			"id": strings.ToUpper(name) + "-" + a.id, "modified": "2026-11-01T00:00:00Z", "upstream": []string{a.id},
			"affected": []any{map[string]any{
				"package": map[string]string{"ecosystem": in(of.osv, release), "name": a.pkg}, "ranges": []any{map[string]any{"type": of.kind, "events": events}},
			}},
			"database_specific": map[string]string{"severity": a.severity},
		}
		if release == "" {
			record["id"] = fmt.Sprintf("%s-%d", otherID(a.id), i)
			record["aliases"], record["upstream"] = []string{a.id, otherID(a.id)}, nil
		}
		zips[name] = append(zips[name], record)
		if name == "go" { // the Go team's own record of the same
			second := map[string]any{"id": "GO-2026-" + a.id[9:], "modified": "2026-11-01T00:00:00Z", "aliases": []string{a.id}, "affected": record["affected"]}
			zips[name] = append(zips[name], second)
		}
	}
	zips["npm"] = append(zips["npm"], map[string]any{
		"id": "GHSA-gone-gone-gone", "modified": "2026-11-01T00:00:00Z", "withdrawn": "2026-10-01T00:00:00Z", "affected": []any{map[string]any{
			"package": map[string]string{"ecosystem": "npm", "name": "left-pad"}, "ranges": []any{map[string]any{"type": "SEMVER", "events": []any{map[string]string{"introduced": "0"}}}},
		}},
	})
	for name, records := range zips {
		f, err := os.Create(filepath.Join(dir, name+".zip"))
		if err != nil {
			t.Fatal(err)
		}
		w := zip.NewWriter(f)
		for i, record := range records {
			member, err := w.Create(fmt.Sprintf("%d.json", i))
			if err == nil {
				err = json.NewEncoder(member).Encode(record)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// asGrype is the list for grypedb.
func asGrype(t *testing.T) string {
	t.Helper()
	var all []map[string]any
	for _, a := range advisories {
		name, release, _ := strings.Cut(a.system, ":")
		one := map[string]any{
			"ID": a.id, "Severity": strings.ToLower(a.severity), "Package": a.pkg, "Affected": constraint(a), "Fixed": a.fixed,
			"Ecosystem": ecosystems[name].grype, "Format": ecosystems[name].format,
		}
		if release != "" {
			one["System"] = grypeSystem(a.system)
		} else {
			one["ID"], one["CVEs"] = otherID(a.id), []string{a.id}
		}
		all = append(all, one)
	}
	return marshal(t, map[string]any{"Vulnerabilities": all})
}

// asTrivy is the list for trivydb.
func asTrivy(t *testing.T) string {
	t.Helper()
	var all []map[string]any
	at := map[string]map[string]any{} // Trivy has all lines of one advisory in one
	for _, a := range advisories {
		name, release, _ := strings.Cut(a.system, ":")
		one := map[string]any{"ID": a.id, "Severity": a.severity, "Package": a.pkg, "Bucket": in(ecosystems[name].trivy, release)}
		if release != "" {
			one["Fixed"] = a.fixed
			if name == "rocky" { // of which Trivy knows what is installed, and not the sources
				for _, installed := range a.found {
					one := maps.Clone(one)
					one["Package"] = installed
					all = append(all, one)
				}
			}
			all = append(all, one)
			continue
		}
		if known := at[a.id]; known != nil {
			one = known
		} else {
			at[a.id] = one
			all = append(all, one)
		}
		ranges, _ := one["Vulnerable"].([]string)
		patched, _ := one["Patched"].([]string)
		one["VendorIDs"] = []string{otherID(a.id)}
		one["Vulnerable"], one["Patched"] = append(ranges, constraint(a)), append(patched, a.fixed)
	}
	return marshal(t, map[string]any{"Vulnerabilities": all})
}

func constraint(a advisory) string {
	var all []string
	if a.introduced != "" {
		all = append(all, ">="+a.introduced)
	}
	if a.fixed != "" {
		all = append(all, "<"+a.fixed)
	}
	return strings.Join(all, ", ")
}

func marshal(t *testing.T, v any) string {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}
