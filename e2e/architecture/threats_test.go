package architecture

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite docs/threats.md")

const threatsFile = "docs/threats.md"

var (
	threatTest = regexp.MustCompile(`func (Test[A-Za-z]*Threat([0-9]{3}(?:(?:to|_|And)[0-9]{3})*)[A-Za-z0-9_]*)|"(Threat([0-9]{3}) [^"]+)"`)
	threatRow  = regexp.MustCompile(`^\| ([0-9]+) \| ([^|]+) \|`)
)

// TestThreatsAreListedWithTheirTests keeps the table of attacks and the tests that repel them true. A number without a test
// is visible there.
func TestThreatsAreListedWithTheirTests(t *testing.T) {
	root := filepath.Join("..", "..")
	raw, err := os.ReadFile(filepath.Join(root, threatsFile))
	if err != nil {
		t.Fatal(err)
	}
	tests := threatTests(t, root)
	var want strings.Builder
	last := 0
	for line := range strings.Lines(string(raw)) {
		row := threatRow.FindStringSubmatch(line)
		if row == nil {
			want.WriteString(line)
			continue
		}
		number, _ := strconv.Atoi(row[1])
		if number <= last {
			t.Errorf("%s has the row %d after the row %d", threatsFile, number, last) // a merge went wrong
		}
		last = number
		where := "none yet"
		if found := tests[number]; len(found) > 0 {
			slices.Sort(found)
			where = strings.Join(slices.Compact(found), ", ")
		}
		fmt.Fprintf(&want, "| %d | %s | %s |\n", number, strings.TrimSpace(row[2]), where)
		delete(tests, number)
	}
	for number, found := range tests {
		t.Errorf("threat %d is tested by %v and has no row in %s", number, found, threatsFile)
	}
	if want.String() == string(raw) {
		return
	}
	if *update {
		if err := os.WriteFile(filepath.Join(root, threatsFile), []byte(want.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Errorf("%s is not what the tests say; run: go test ./e2e/architecture -run Threats -update", threatsFile)
}

// threatTests finds the tests that are named after a number, by number, each with the folder that it is in.
func threatTests(t *testing.T, root string) map[int][]string {
	t.Helper()
	found := map[int][]string{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		folder, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		for _, match := range threatTest.FindAllStringSubmatch(string(raw), -1) {
			for _, number := range threatNumbers(match[2] + match[4]) {
				found[number] = append(found[number], "`"+filepath.ToSlash(folder)+"`")
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// threatNumbers reads "011to014", "036_037" and "059And060".
func threatNumbers(text string) []int {
	var numbers []int
	for part := range strings.SplitSeq(strings.ReplaceAll(text, "And", "_"), "_") {
		first, last, isRange := strings.Cut(part, "to")
		from, _ := strconv.Atoi(first)
		to := from
		if isRange {
			to, _ = strconv.Atoi(last)
		}
		for n := from; n <= to; n++ {
			numbers = append(numbers, n)
		}
	}
	return numbers
}
