package architecture

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const advisoriesFile = "docs/advisories.md"

// advised are the advisories of August 2026 on what does as we do; see the document for what became of each.
const advised = `
CVE-2022-23649 CVE-2022-35929 CVE-2022-35930 CVE-2022-36056 CVE-2023-46737 CVE-2024-29902 CVE-2024-29903 CVE-2026-22703 CVE-2026-24122 CVE-2026-39395
GHSA-ccxc-vr6p-4858 GHSA-vjxv-45g9-9296 GHSA-739f-hw6h-7wq8 GHSA-8gw7-4j42-w388 GHSA-vfp6-jrw2-99g9 GHSA-88jx-383q-w4qc GHSA-95pr-fxf5-86gv
GHSA-whqx-f9j3-ch6m GHSA-wfqv-66vq-46rm GHSA-w6c6-c85g-mmv6 cosign#542 containers/image#2950
CVE-2024-45395 GHSA-cq38-jh5f-37mq CVE-2026-49834 GHSA-9vcr-p3rj-q5q6 CVE-2026-54787 GHSA-wqqc-jjcq-vfxm
CVE-2026-24137 GHSA-fcv2-xgw5-pqxf CVE-2026-24686 CVE-2026-23991 CVE-2026-23992 CVE-2024-47534 CVE-2022-29173 GHSA-3633-5h82-39pq
CVE-2023-30551 CVE-2023-33199 CVE-2026-23831 CVE-2026-48702 CVE-2026-24117 CVE-2026-22772 CVE-2026-49478
CVE-2025-66506 CVE-2025-66564 CVE-2026-39984 CVE-2026-49835 CVE-2024-51746 CVE-2023-47122 CVE-2026-44310 CVE-2026-44309
GHSA-pmwq-pjrm-6p5r CVE-2021-41087 CVE-2025-62375
CVE-2022-47633 GHSA-m3cq-xcx9-3gvm CVE-2023-47630 GHSA-3hfq-cx9j-923w CVE-2023-42813 CVE-2023-42814 CVE-2023-42815 CVE-2023-42816
CVE-2025-29778 GHSA-46mp-8w32-6g94 CVE-2023-34091 CVE-2025-46342 GHSA-gg4x-fgg2-h9w9 CVE-2024-48921
GHSA-8wfp-579w-6r25 CVE-2026-41323 CVE-2026-40868 GHSA-459x-q9hg-4gpq GHSA-qr4g-8hrp-c4rw CVE-2026-4789 CVE-2026-22039 CVE-2026-41068 kyverno#6521
Connaisseur#1311 policy-controller#268 CVE-2025-27403 GO-2026-6225
CVE-2023-33957 CVE-2023-33958 CVE-2023-33959 CVE-2024-23332 CVE-2023-25656 CVE-2024-51491 CVE-2024-56138`

var (
	anyTest   = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	namedTest = regexp.MustCompile("`((?:Test|Fuzz)[A-Za-z0-9_]+)`")
)

// Each advisory has a row, with a test that exists or the reason why it cannot apply. A name that ends with _ stands for the tests
// that begin so.
func TestAdvisoriesHaveTheirTests(t *testing.T) {
	root := filepath.Join("..", "..")
	raw, err := os.ReadFile(filepath.Join(root, advisoriesFile))
	if err != nil {
		t.Fatal(err)
	}
	text, tests := string(raw), allTests(t, root)
	for _, id := range strings.Fields(advised) {
		if !strings.Contains(text, id) {
			t.Errorf("%s is not in %s", id, advisoriesFile)
		}
	}

	rows := 0
	for line := range strings.Lines(text) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if strings.HasPrefix(line, "|") && len(cells) == 4 { // an exception; e2e/tools/vulns reads it
			for _, name := range namedTest.FindAllStringSubmatch(cells[3], -1) {
				if !there(tests, name[1]) {
					t.Errorf("%s: there is no test %s", strings.TrimSpace(cells[0]), name[1])
				}
			}
		}
		if !strings.HasPrefix(line, "|") || len(cells) != 3 || strings.HasPrefix(cells[0], "---") || strings.Contains(cells[0], "advisory") {
			continue
		}
		rows++
		named := namedTest.FindAllStringSubmatch(cells[2], -1)
		if len(named) == 0 && !strings.Contains(cells[2], "cannot apply: ") {
			t.Errorf("%s: neither a test nor why it cannot apply", strings.TrimSpace(cells[0]))
		}
		for _, name := range named {
			if !there(tests, name[1]) {
				t.Errorf("%s: there is no test %s", strings.TrimSpace(cells[0]), name[1])
			}
		}
	}
	if rows < 40 {
		t.Errorf("found %d rows", rows)
	}
}

func there(tests map[string]bool, name string) bool {
	if !strings.HasSuffix(name, "_") {
		return tests[name]
	}
	for test := range tests {
		if strings.HasPrefix(test, name) {
			return true
		}
	}
	return false
}

func allTests(t *testing.T, root string) map[string]bool {
	t.Helper()
	tests := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		raw, err := os.ReadFile(path)
		for _, match := range anyTest.FindAllSubmatch(raw, -1) {
			tests[string(match[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return tests
}
