package e2e

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/opencontainers/go-digest"
	"github.com/sealgate/sealgate/gateway/ledger"
)

// Images are scanned on their way in by a real Grype and a real Trivy, with databases that hold what the fixture images have.

const scanConfig = `
registries:
  - {name: local, embedded: true, prefix: ""}
scanners:
  - name: default
    exec: %s
policies:
  - name: scanned
    repositories: ["**"]
    pull:
      signed_by: {any: [gateway]}
      attested:
        - {predicate: vuln, by: {any: [gateway]}, trust_statement_time: true, max_age: 1h, deny: finding.severity >= HIGH && finding.fixed}
        - {predicate: cyclonedx, by: {any: [gateway]}}
    push: {image: {nonroot: deny}, scan: {scanner: default}, seal: {signer: gateway, scan: true, sbom: true, summary: true}}
`

const vulnerabilities = `{"Vulnerabilities": [
  {"ID": "CVE-2026-1000", "Severity": "critical", "System": "debian:12", "Ecosystem": "deb", "Package": "openssl",
   "Affected": "< 3.0.15-1~deb12u1", "Format": "dpkg", "Fixed": "3.0.15-1~deb12u1", "Exploited": true},
  {"ID": "CVE-2026-1001", "Severity": "high", "System": "debian:12", "Ecosystem": "deb", "Package": "zlib",
   "Affected": "< 1:1.3", "Format": "dpkg", "Fixed": "1:1.3"},
  {"ID": "CVE-2026-1002", "Severity": "low", "System": "debian:12", "Ecosystem": "deb", "Package": "bash",
   "Affected": "< 99", "Format": "dpkg"}
]}`

const vulnerabilitiesOfTrivy = `{"Vulnerabilities": [
  {"ID": "CVE-2026-1000", "Severity": "CRITICAL", "Bucket": "debian 12", "Package": "openssl", "Fixed": "3.0.15-1~deb12u1", "VendorIDs": ["DSA-1000-1"]},
  {"ID": "CVE-2026-1001", "Severity": "HIGH", "Bucket": "debian 12", "Package": "zlib", "Fixed": "1:1.3"},
  {"ID": "CVE-2026-1002", "Severity": "LOW", "Bucket": "debian 12", "Package": "bash"}
]}`

// makeGrypeDatabase makes a database in a folder of the run.
func makeGrypeDatabase(name, vulnerabilities string) (string, error) {
	dir, grype := filepath.Join(suite.dir, name), suite.tools["grype"]
	return dir, makeDatabase(vulnerabilities, filepath.Join(filepath.Dir(grype), "grypedb"), grype, dir)
}

func makeTrivyDatabase(name, vulnerabilities string) (string, error) {
	dir := filepath.Join(suite.dir, name)
	return dir, makeDatabase(vulnerabilities, suite.tools["trivydb"], dir)
}

func makeDatabase(vulnerabilities, program string, args ...string) error {
	command := exec.Command(program, args...)
	command.Stdin = strings.NewReader(vulnerabilities)
	command.Env = environment()
	if said, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", filepath.Base(program), err, said)
	}
	return nil
}

// grype is the configuration of a scanner that is Grype, pinned.
func grype(t *testing.T) string {
	t.Helper()
	return grypeWith(t, need(t, suite.grypeDatabase))
}

func grypeWith(t *testing.T, database string) string {
	t.Helper()
	program := suite.tools["grype"]
	return fmt.Sprintf(`
      command: [%q, "oci-dir:{layout}", -q, -o, "json={report}", -o, "cyclonedx-json={sbom}"]
      report: grype
      environment: ["GRYPE_DB_CACHE_DIR=%s", GRYPE_DB_AUTO_UPDATE=false, GRYPE_CHECK_FOR_APP_UPDATE=false]
      digest: %s`, program, database, digestOf(t, program))
}

// trivyWith is the configuration of a scanner that is Trivy, pinned.
func trivyWith(t *testing.T, database string) string {
	t.Helper()
	program := suite.tools["trivy"]
	return fmt.Sprintf(`
      command: [%q, image, --input, "{layout}", --format, json, --output, "{report}", --scanners, vuln, --list-all-pkgs,
        --offline-scan, --skip-db-update, --skip-java-db-update, --cache-backend, memory, --quiet]
      report: trivy
      environment: ["TRIVY_CACHE_DIR=%s"]
      digest: %s`, program, database, digestOf(t, program))
}

func digestOf(t *testing.T, path string) digest.Digest {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d, err := digest.FromReader(f)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// debian is what an image of Debian 12 says of itself, with some packages.
func debianWith(packages ...[3]string) map[string]string { // name, source, version
	status := ""
	for _, p := range packages {
		status += fmt.Sprintf("Package: %s\nStatus: install ok installed\nSource: %s\nVersion: %s\nArchitecture: amd64\nMaintainer: nobody <n@example.org>\nDescription: a fixture\n\n", p[0], p[1], p[2])
	}
	return map[string]string{
		"etc/os-release":      "ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n",
		"etc/debian_version":  "12.5\n",
		"var/lib/dpkg/status": status,
	}
}

var (
	vulnerable = debianWith([3]string{"libssl3", "openssl", "3.0.11-1~deb12u1"}, [3]string{"zlib1g", "zlib", "1:1.2.13"}, [3]string{"bash", "bash", "5.2.15-2"})
	repaired   = debianWith([3]string{"libssl3", "openssl", "3.0.15-1~deb12u1"}, [3]string{"zlib1g", "zlib", "1:1.3"}, [3]string{"bash", "bash", "5.2.15-2"})
)

func TestScannedPushes(t *testing.T) {
	kit := need(t, suite.images)
	gw := startGateway(t, fmt.Sprintf(scanConfig, grype(t)))

	for _, c := range clients {
		switch c.name {
		case "docker", "podman", "crane", "buildah": // the others differ in nothing that a scan changes
		default:
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			repo := "scanned/" + c.name
			r := c.deliverScanned(t, gw, kit.sourceWith(t, nonroot, c.name, vulnerable), repo).fails(t)
			r.has(t,
				`is refused by policy "scanned": it has CVE-2026-1000 in libssl3 3.0.11-1~deb12u1 (critical, exploited, fixed in 3.0.15-1~deb12u1), and 1 more`,
				"CRITICAL  CVE-2026-1000", "HIGH      CVE-2026-1001       zlib1g 1:1.2.13  fixed in 1:1.3",
				"fix: update libssl3 to 3.0.15-1~deb12u1, zlib1g to 1:1.3, and build the image again")
			if status := gw.status(t, http.MethodGet, repo, "v1"); status != http.StatusNotFound {
				t.Errorf("the tag answers %d after a refused push, want 404", status)
			}

			c.deliverScanned(t, gw, kit.sourceWith(t, nonroot, c.name, repaired), repo).ok(t)
			c.fresh(t, gw.ref(repo+":v1")).ok(t)
		})
	}

	t.Run("an image in which nothing is recognised is not clean", func(t *testing.T) {
		src := kit.sourceOf(t, assemble(t, "amd64", nonroot, files(t, map[string][]byte{"data": []byte("no package is here")})))
		cranes().deliverScanned(t, gw, src, "empty").fails(t).has(t, "the scan by default recognised no package at all")
	})
	if left, err := os.ReadDir(gw.storage("scan")); err != nil || len(left) > 0 {
		t.Errorf("scans left %v, %v", left, err)
	}
}

// A push that Trivy scans, and what the seal says of the scan in both forms, which decide again when it is pulled.
func TestPushesThatTrivyScans(t *testing.T) {
	kit, database := need(t, suite.images), need(t, suite.trivyDatabase)
	gw := startGateway(t, fmt.Sprintf(scanConfig, trivyWith(t, database)))

	cranes().deliverScanned(t, gw, kit.sourceWith(t, nonroot, "trivy", vulnerable), "app").fails(t).has(t,
		`is refused by policy "scanned": it has CVE-2026-1000 in libssl3 3.0.11-1~deb12u1 (critical, fixed in 3.0.15-1~deb12u1), and 1 more`,
		"HIGH      CVE-2026-1001       zlib1g 1:1.2.13  fixed in 1:1.3")
	if status := gw.status(t, http.MethodGet, "app", "v1"); status != http.StatusNotFound {
		t.Errorf("the tag answers %d after a refused push, want 404", status)
	}
	clean := kit.sourceWith(t, nonroot, "trivy", repaired)
	cranes().deliverScanned(t, gw, clean, "app").ok(t)
	cranePull(t, gw.ref("app:v1")).ok(t)
	said := gw.run(t, "inspect", gw.ref("app:v1")).ok(t)
	said.has(t, "found     1 low; 0 with a fix; in 4 packages", "scanner   pkg:github/aquasecurity/trivy@", "lists     4 packages, cyclonedx app", "lists     4 packages, spdx app@")
	if n := strings.Count(said.stdout, "✓ scan by gateway"); n != 4 {
		t.Errorf("%d scans are attested, want one in each form of predicate and of attestation:\n%s", n, said.stdout)
	}

	// Under a policy that its low finding does not pass, what was found is read from the seal.
	gw.configure(t, strings.Replace(fmt.Sprintf(scanConfig, trivyWith(t, database)), "finding.severity >= HIGH && finding.fixed", "finding.severity >= LOW", 1))
	gw.reload(t)
	eventually(t, "the low finding refuses it", func() (bool, string) {
		status := gw.status(t, http.MethodHead, "app", "v1")
		return status == http.StatusForbidden, fmt.Sprintf("HEAD answers %d", status)
	})
	cranePull(t, gw.ref("app:v1")).fails(t).has(t, "found CVE-2026-1002 in bash 5.2.15-2, LOW")

	// A database of last year is known by what Trivy says of it.
	old, err := makeTrivyDatabase("trivy-old", `{"Built": "2025-01-01T00:00:00Z", "Vulnerabilities": []}`)
	if err != nil {
		t.Fatal(err)
	}
	late := startGateway(t, fmt.Sprintf(scanConfig, trivyWith(t, old)))
	cranes().deliverScanned(t, late, clean, "app").fails(t).has(t, "the database of the scanner default is", "old, at most")
	if left, err := os.ReadDir(database); err != nil || len(left) != 1 {
		t.Errorf("scans left %v in Trivy's cache, %v", left, err)
	}
}

// deliverScanned pushes repo:v1 as a person does: again, when the scan takes longer than a push may.
func (c client) deliverScanned(t *testing.T, gw *gateway, s source, repo string) result {
	t.Helper()
	r := c.deliver(t, s, gw.ref(repo+":v1"))
	for range 10 {
		all := gw.decisions(t, repo)
		if len(all) == 0 || all[len(all)-1].Outcome != ledger.Undecided {
			break
		}
		r = c.push(t, s, gw.ref(repo+":v1"))
	}
	return r
}

func cranes() client { return client{name: "crane", push: cranePush} }

// What a scanner does wrong is never a clean scan, and nothing of it remains.
func TestThreat152_ScannersThatFail(t *testing.T) {
	kit := need(t, suite.images)
	other := strings.Repeat("0", 64)
	for name, script := range map[string]string{
		"hangs":               "sleep 1000",
		"dies":                "ulimit -t 1; while :; do :; done",
		"prints nothing":      "exit 0",
		"prints half":         `printf '{"matches":[],"desc'`,
		"names another image": `printf '{"matches":[],"source":{"target":{"manifestDigest":"sha256:` + other + `"}},"descriptor":{}}'`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			program := filepath.Join(tempDir(t), "scanner")
			writeFile(t, program, []byte("#!/bin/sh\n"+script+"\n"), 0o755)
			gw := startGateway(t, fmt.Sprintf(scanConfig, fmt.Sprintf(`{command: [%q, "{layout}"], report: grype, version_command: [/bin/echo, "{}"]}
    timeout: 10s`, program)))
			src := kit.sourceWith(t, nonroot, name, repaired)
			cranePush(t, src, gw.ref("app:v1")).fails(t).has(t, "UNAVAILABLE", "cannot verify app now")
			if status := gw.status(t, http.MethodGet, "app", src.digest); status != http.StatusNotFound {
				t.Errorf("the manifest answers %d, want 404: it is stored", status)
			}
			eventually(t, "the scanner's files are gone", func() (bool, string) {
				left, err := os.ReadDir(gw.storage("scan"))
				return err == nil && len(left) == 0, fmt.Sprint(left, err)
			})
		})
	}
}

// A scan that takes longer than clients wait goes on, and the repeated push is answered from its result. One that a crash
// ended leaves no process and no file.
func TestALongScanIsAnsweredByTheNextPush(t *testing.T) {
	kit := need(t, suite.images)
	dir := tempDir(t)
	program, running := filepath.Join(dir, "scanner"), filepath.Join(dir, "running")
	database, program2 := need(t, suite.grypeDatabase), suite.tools["grype"]
	writeFile(t, program, fmt.Appendf(nil, "#!/bin/sh\necho $$ >> %s\nsleep 17\nexec %s \"oci-dir:$1\" -q -o json=\"$2\" -o cyclonedx-json=\"$3\"\n", running, program2), 0o755)
	gw := startGateway(t, fmt.Sprintf(scanConfig, fmt.Sprintf(`
      command: [%q, "{layout}", "{report}", "{sbom}"]
      report: grype
      version_command: [%q, db, status, -o, json]
      environment: ["GRYPE_DB_CACHE_DIR=%s", GRYPE_DB_AUTO_UPDATE=false, GRYPE_CHECK_FOR_APP_UPDATE=false]`, program, program2, database)))

	src := kit.sourceWith(t, nonroot, "long", repaired)
	cranePush(t, src, gw.ref("app:v1")).fails(t).has(t, "DENIED", "the scan of app is running, push it again in a minute")
	cranes().deliverScanned(t, gw, src, "app").ok(t)
	if gw.digest(t, "app", "v1") != src.digest {
		t.Error("the image does not pull after the second push")
	}
	if began, err := os.ReadFile(running); err != nil || strings.Count(string(began), "\n") != 1 {
		t.Errorf("it was scanned other than once: %q, %v", began, err)
	}

	cut := kit.sourceWith(t, nonroot, "cut", repaired)
	pushed := make(chan result, 1)
	go func() { pushed <- cranePush(t, cut, gw.ref("app:v2")) }()
	eventually(t, "the second image is being scanned", func() (bool, string) {
		began, _ := os.ReadFile(running)
		return strings.Count(string(began), "\n") == 2, string(began)
	})
	folder := gw.storage("scan")
	gw.process.kill()
	<-pushed
	eventually(t, "the scanner has ended with the gateway", func() (bool, string) {
		left, _ := filepath.Glob("/proc/[0-9]*/cmdline")
		for _, path := range left {
			if said, err := os.ReadFile(path); err == nil && strings.Contains(string(said), program) {
				return false, strings.ReplaceAll(string(said), "\x00", " ")
			}
		}
		return true, ""
	})
	gw.start(t)
	if left, err := os.ReadDir(folder); err != nil || len(left) > 0 {
		t.Errorf("the next start left %v, %v", left, err)
	}
	if status := gw.status(t, http.MethodGet, "app", "v2"); status != http.StatusNotFound {
		t.Errorf("the tag of the image whose scan was cut answers %d, want 404", status)
	}
}

// The bills of materials that we write are what stock cosign attests and policies read.
func TestStockCosignAttestsOurBillsOfMaterials(t *testing.T) {
	up, kit := startRegistry(t), need(t, suite.images)
	gw := startGateway(t, fmt.Sprintf(attestedConfig, up.url()))
	contents := map[string][]byte{}
	for path, content := range debianWith([3]string{"libssl3", "openssl", "3.0.11-1~deb12u1"}, [3]string{"bash", "bash", "5.2.15-2"}) {
		contents[path] = []byte(content)
	}
	img := assemble(t, "amd64", nonroot, files(t, contents))
	layout := kit.sourceOf(t, img).oci()
	for predicateType, format := range map[string]string{"spdxjson": "spdx", "cyclonedx": "cyclonedx"} {
		bill := gw.run(t, "scan", "-o", format, layout).ok(t).stdout
		for _, generation := range []cosign{cosign2, cosign3} {
			repo := predicateType + "/ours/" + generation.name
			digest := put(t, up.ref(repo+":v1"), img)
			attest(t, generation, "release", predicateType, bill, up.ref(repo)+"@"+digest)
			cranePull(t, gw.ref(repo+":v1")).ok(t)
		}
	}
}

// What Trivy and Grype write themselves, for stock cosign to attest, is what policies read.
func TestStockCosignAttestsWhatScannersWrite(t *testing.T) {
	up, kit := startRegistry(t), need(t, suite.images)
	gw := startGateway(t, fmt.Sprintf(attestedConfig, up.url()))
	env := []string{"GRYPE_DB_CACHE_DIR=" + need(t, suite.grypeDatabase), "GRYPE_DB_AUTO_UPDATE=false", "GRYPE_CHECK_FOR_APP_UPDATE=false", "TRIVY_CACHE_DIR=" + need(t, suite.trivyDatabase)}
	image := func(packages map[string]string) (v1.Image, string) {
		contents := map[string][]byte{}
		for path, content := range packages {
			contents[path] = []byte(content)
		}
		img := assemble(t, "amd64", nonroot, files(t, contents))
		return img, kit.sourceOf(t, img).oci()
	}
	trivy := func(layout, format string) string {
		return command(t, env, suite.tools["trivy"], "image", "--input", layout, "--format", format, "--scanners", "vuln",
			"--offline-scan", "--skip-db-update", "--cache-backend", "memory", "--quiet").ok(t).stdout
	}
	grype := func(layout, format string) string {
		return command(t, env, suite.tools["grype"], "oci-dir:"+layout, "-q", "-o", format).ok(t).stdout
	}

	two, layout := image(debianWith([3]string{"zlib1g", "zlib", "1:1.3"}, [3]string{"bash", "bash", "5.2.15-2"}))
	for _, c := range []struct{ name, predicateType, predicate string }{
		{"vuln/trivy", "vuln", trivy(layout, "cosign-vuln")},
		{"spdxjson/trivy", "spdxjson", trivy(layout, "spdx-json")},
		{"cyclonedx/trivy", "cyclonedx", trivy(layout, "cyclonedx")},
		{"cyclonedx/grype", "cyclonedx", grype(layout, "cyclonedx-json")},
	} {
		digest := put(t, up.ref(c.name+":v1"), two)
		attest(t, cosign3, "release", c.predicateType, c.predicate, up.ref(c.name)+"@"+digest)
		cranePull(t, gw.ref(c.name+":v1")).ok(t)
	}

	old, layout := image(vulnerable)
	digest := put(t, up.ref("vuln/trivy:v2"), old)
	attest(t, cosign3, "release", "vuln", trivy(layout, "cosign-vuln"), up.ref("vuln/trivy")+"@"+digest)
	cranePull(t, gw.ref("vuln/trivy:v2")).fails(t).has(t, "found CVE-2026-1000 in libssl3 3.0.11-1~deb12u1, CRITICAL, fixed in 3.0.15-1~deb12u1")
}
