package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
)

// Three scanners look at the same images, each with a database that is made of one list of advisories: our own, Grype and
// Trivy. What they find is compared finding by finding.

// differences are those that are known, by scanner and what is said by the others.
var differences = []difference{
	{"grype", "does not find CVE-2026-2208 github.com/opencontainers/distribution-spec/conformance",
		"it does not believe the version of a main module that is v0.0.0, as Go before 1.24 wrote it for any"},
	{"grype", `finds CVE-2026-2701 in openssl 1:3.0.7-6.el9_2, HIGH, fixed in "3.0.8-1.el9"`, rpmEpochs},
	{"grype", `finds CVE-2026-2701 in openssl-libs 1:3.0.7-6.el9_2, HIGH, fixed in "3.0.8-1.el9"`, rpmEpochs},
	{"trivy", `CVE-2026-2304 @acme/pad is fixed in "1.5.0, 2.1.0", not "2.1.0"`, "it names the fix of every line"},
}

const rpmEpochs = "where one of two versions of an rpm has no epoch, it compares them without: some advisories leave it out"

// listedOnly is what is found in a bill of materials, and not in the image.
var listedOnly = map[string]string{
	"grype: CVE-2026-2208 github.com/opencontainers/distribution-spec/conformance": "a list does not tell which module is the main one",
}

// difference is what one scanner says otherwise than the list of advisories.
type difference struct {
	scanner string
	what    string // as it is printed
	why     string
}

// agreementImages are the images that are looked at.
func agreementImages(t *testing.T, kit *imageKit) map[string]source {
	t.Helper()
	programs := map[string]string{}
	for _, name := range []string{"crane", "conformance"} {
		raw, err := os.ReadFile(suite.tools[name])
		if err != nil {
			t.Fatal(err)
		}
		programs["usr/bin/"+name] = string(raw)
	}
	debian := debianWith(
		[3]string{"libssl3", "openssl", "3.0.11-1~deb12u1"}, [3]string{"zlib1g", "zlib", "1:1.2.13.dfsg-1"}, [3]string{"bash", "bash", "5.2.15-2"},
		[3]string{"bsdutils", "util-linux (2.38.1-5)", "1:2.38.1-5"}, [3]string{"libstdc++6", "gcc-12", "12.2.0-14"})
	for path, content := range programs {
		debian[path] = content
	}
	for name, version := range map[string]string{"left-pad": "1.3.0-beta.2", "@acme/pad": "2.0.0"} {
		debian["app/node_modules/"+name+"/package.json"] = fmt.Sprintf(`{"name": %q, "version": %q}`, name, version)
	}
	for name, version := range map[string]string{"Flask_Login": "1.0rc1", "clock": "1!0.1"} {
		debian["usr/lib/python3/dist-packages/"+name+"-"+version+".dist-info/METADATA"] = fmt.Sprintf("Metadata-Version: 2.1\nName: %s\nVersion: %s\n", name, version)
	}
	debian["usr/lib/ruby/gems/3.1.0/specifications/rack-2.0.0.rc1.gemspec"] = "Gem::Specification.new do |s|\n  s.name = \"rack\".freeze\n  s.version = \"2.0.0.rc1\"\n  s.licenses = [\"MIT\".freeze]\nend\n"
	ubuntu := debianWith([3]string{"libssl3", "openssl", "3.0.2-0ubuntu1.10"}, [3]string{"linked", "linked", "1.0"})
	ubuntu["etc/os-release"] = "ID=ubuntu\nID_LIKE=debian\nVERSION_ID=\"22.04\"\nPRETTY_NAME=\"Ubuntu 22.04 LTS\"\n"
	ubuntu["etc/lsb-release"] = "DISTRIB_ID=Ubuntu\nDISTRIB_RELEASE=22.04\n"
	delete(ubuntu, "etc/debian_version")
	installed := ""
	for _, p := range [][3]string{{"libcrypto3", "openssl", "3.3.1-r0"}, {"musl", "musl", "1.2.5-r9"}, {"early", "early", "1.0_rc1-r0"}, {"patched", "patched", "2.0_p1-r0"}} {
		installed += fmt.Sprintf("P:%s\nV:%s\nA:x86_64\no:%s\nL:MIT\n\n", p[0], p[2], p[1])
	}
	return map[string]source{
		"rocky": kit.sourceWith(t, nonroot, "agree", map[string]string{
			"etc/os-release": "ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\nVERSION_ID=\"9.2\"\nPRETTY_NAME=\"Rocky Linux 9.2\"\n", "etc/rocky-release": "Rocky Linux release 9.2 (Blue Onyx)\n",
			"var/lib/rpm/rpmdb.sqlite": rpms(t),
		}),
		"debian": kit.sourceWith(t, nonroot, "agree", debian),
		"ubuntu": kit.sourceWith(t, nonroot, "agree", ubuntu),
		"alpine": kit.sourceWith(t, nonroot, "agree", map[string]string{
			"etc/os-release": "ID=alpine\nVERSION_ID=3.20.1\nPRETTY_NAME=\"Alpine Linux v3.20\"\n", "etc/alpine-release": "3.20.1\n", "lib/apk/db/installed": installed,
		}),
	}
}

// rpms is the database of packages of a real image of Rocky Linux 9.
func rpms(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/google/osv-scalibr").Output()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(out)), "extractor/filesystem/os/rpm/testdata/rpmdb.sqlite"))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// said is a finding in the words that scanners share.
type said struct{ id, pkg, version, fixed, severity string }

func (s said) String() string {
	return fmt.Sprintf("%s in %s %s, %s, fixed in %q", s.id, s.pkg, s.version, s.severity, s.fixed)
}

func TestScannersAgree(t *testing.T) {
	kit, dir := need(t, suite.images), tempDir(t)
	grypeData, err := makeGrypeDatabase("grype-agree", asGrype(t))
	if err != nil {
		t.Fatal(err)
	}
	trivyData, err := makeTrivyDatabase("trivy-agree", asTrivy(t))
	if err != nil {
		t.Fatal(err)
	}
	asOSV(t, dir)
	gw := newGateway(t, fmt.Sprintf(`
scanners:
  - {name: own, embedded: {database: %q}}
  - name: grype
    exec: %s
  - name: trivy
    exec: %s
policies:
  - {name: all, repositories: ["**"], pull: {admit_unverified: true}}
`, filepath.Join(dir, "osv"), grypeWith(t, grypeData), trivyWith(t, trivyData)))
	gw.run(t, "scan", "--scanner", "own", "--update-database", dir).ok(t)

	images := agreementImages(t, kit)
	found, direct := map[string][]said{}, map[string]map[string]bool{} // by scanner; by scanner and image
	for _, scanner := range []string{"own", "grype", "trivy"} {
		for _, name := range []string{"debian", "ubuntu", "rocky", "alpine"} {
			all := findings(t, gw.run(t, "scan", "--scanner", scanner, "-o", "json", images[name].oci()).ok(t).stdout)
			found[scanner] = append(found[scanner], all...)
			direct[scanner+name] = map[string]bool{}
			for _, f := range all {
				direct[scanner+name][f.id+" "+f.pkg] = true
			}
		}
	}
	for scanner, all := range found { // some tell of a package in each program that has it
		slices.SortFunc(all, func(a, b said) int { return strings.Compare(a.String(), b.String()) })
		found[scanner] = slices.Compact(all)
	}
	compareFindings(t, found)

	t.Run("as the bills of materials say", func(t *testing.T) {
		for _, format := range []string{"spdx", "cyclonedx"} {
			for _, name := range []string{"debian", "ubuntu", "rocky", "alpine"} {
				file := filepath.Join(dir, name+"."+format+".json")
				writeFile(t, file, []byte(gw.run(t, "scan", "--scanner", "own", "-o", format, images[name].oci()).ok(t).stdout), 0o644)
				env := []string{"GRYPE_DB_CACHE_DIR=" + grypeData, "GRYPE_DB_AUTO_UPDATE=false", "GRYPE_CHECK_FOR_APP_UPDATE=false", "TRIVY_CACHE_DIR=" + trivyData}
				byGrype := command(t, env, suite.tools["grype"], "sbom:"+file, "-q", "-o", "json").ok(t).stdout
				byTrivy := command(t, env, suite.tools["trivy"], "sbom", file, "--format", "json", "--offline-scan", "--skip-db-update", "--cache-backend", "memory", "--quiet").ok(t).stdout
				for scanner, report := range map[string]string{"grype": byGrype, "trivy": byTrivy} {
					got, want := idsIn(t, report), direct[scanner+name]
					for _, one := range sorted(got, want) {
						if _, known := listedOnly[scanner+": "+one]; known && got[one] && !want[one] {
							continue
						}
						if got[one] != want[one] {
							t.Errorf("%s of %s in %s: found %t in the bill of materials, %t in the image: %s", scanner, name, format, got[one], want[one], one)
						}
					}
				}
			}
		}
	})
}

func sorted(a, b map[string]bool) (all []string) {
	for one := range a {
		all = append(all, one)
	}
	for one := range b {
		if !a[one] {
			all = append(all, one)
		}
	}
	slices.Sort(all)
	return all
}

// findings reads what `sealgate scan -o json` prints.
func findings(t *testing.T, raw string) (all []said) {
	t.Helper()
	var report struct {
		Findings []struct {
			ID, Severity, Package, Version string
			Aliases                        []string
			Fixed                          string `json:"fixed_version"`
		}
	}
	if err := json.Unmarshal([]byte(raw), &report); err != nil {
		t.Fatalf("%v\n%s", err, raw)
	}
	for _, f := range report.Findings {
		all = append(all, said{cveOf(append(f.Aliases, f.ID)), spelled(f.Package), plain(f.Version), plain(f.Fixed), f.Severity})
	}
	return all
}

// idsIn reads the findings of a report of Grype or Trivy as they come.
func idsIn(t *testing.T, raw string) map[string]bool {
	t.Helper()
	var report struct {
		Matches []struct {
			Vulnerability struct{ ID string }
			Related       []struct{ ID string } `json:"relatedVulnerabilities"`
			Artifact      struct{ Name string }
		}
		Results []struct {
			Vulnerabilities []struct{ VulnerabilityID, PkgName string }
		}
	}
	if err := json.Unmarshal([]byte(raw), &report); err != nil {
		t.Fatalf("%v\n%s", err, raw)
	}
	all := map[string]bool{}
	for _, m := range report.Matches {
		ids := []string{m.Vulnerability.ID}
		for _, r := range m.Related {
			ids = append(ids, r.ID)
		}
		all[cveOf(ids)+" "+spelled(m.Artifact.Name)] = true
	}
	for _, r := range report.Results {
		for _, v := range r.Vulnerabilities {
			all[v.VulnerabilityID+" "+spelled(v.PkgName)] = true
		}
	}
	return all
}

func cveOf(ids []string) string {
	for _, id := range ids {
		if strings.HasPrefix(id, "CVE-") {
			return id
		}
	}
	return strings.Join(ids, " ")
}

// spelled is a name in one of the spellings that Python has for it.
func spelled(name string) string {
	if name == "Flask_Login" {
		return "flask-login"
	}
	return name
}

// plain is a version as most write it: Go's are written with a v, the standard library's with go.
func plain(version string) string { return strings.TrimPrefix(strings.TrimPrefix(version, "go"), "v") }

// compareFindings holds what each scanner found against the list of advisories, and prints where they differ.
func compareFindings(t *testing.T, found map[string][]said) {
	t.Helper()
	want := map[string]advisory{} // by id and package
	for _, a := range advisories {
		for _, pkg := range a.found {
			want[a.id+" "+pkg] = a
		}
	}
	known := map[string]string{}
	for _, d := range differences {
		known[d.scanner+": "+d.what] = d.why
	}
	table := &strings.Builder{}
	w := tabwriter.NewWriter(table, 0, 8, 2, ' ', 0)
	seen := map[string]bool{}
	differ := func(scanner, what string) {
		line := scanner + ": " + what
		why, ok := known[line]
		seen[line] = true
		if !ok {
			why = "UNEXPLAINED"
			t.Errorf("unexplained: %s", line)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", scanner, what, why)
	}
	for _, scanner := range []string{"own", "grype", "trivy"} {
		left := map[string]bool{}
		for key := range want {
			left[key] = true
		}
		for _, f := range found[scanner] {
			key := f.id + " " + f.pkg
			a, ok := want[key]
			switch {
			case !ok || !left[key]:
				differ(scanner, "finds "+f.String())
			case f.fixed != a.fixed:
				differ(scanner, fmt.Sprintf("%s is fixed in %q, not %q", key, f.fixed, a.fixed))
			case f.severity != a.severity:
				differ(scanner, fmt.Sprintf("%s is %s, not %s", key, f.severity, a.severity))
			}
			delete(left, key)
		}
		for _, key := range sorted(left, nil) {
			differ(scanner, "does not find "+key)
		}
	}
	for line := range known {
		if !seen[line] {
			t.Errorf("explained, and not there any more: %s", line)
		}
	}
	_ = w.Flush()
	t.Logf("%d findings by each; where scanners differ:\n%s", len(want), table)
}
