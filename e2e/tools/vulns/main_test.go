package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const sbom = `{"SBOM":{"go_version":"go1.26.8","modules":[{"path":"example.org/lib","version":"v1.2.3"}]}}`

func finding(id, module, version, function string) string {
	return fmt.Sprintf(`{"finding":{"osv":%q,"trace":[{"module":%q,"version":%q,"package":"p","function":%q},{"module":"us","package":"us/cmd","function":"main"}]}}`, id, module, version, function)
}

func TestWhatIsCalledNeedsAReason(t *testing.T) {
	t.Parallel()
	const reason = "only a server of HTTP/3 is concerned, and there is none"
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	row := func(id, module, until string) string {
		return "| " + id + " | " + module + " | " + until + " | " + reason + " |"
	}
	for name, c := range map[string]struct {
		row, report string
		want, fails string
	}{
		"nothing is found":                  {report: sbom},
		"it is called":                      {report: sbom + finding("GO-1", "example.org/lib", "v1.2.3", "Do"), fails: "GO-1 in example.org/lib v1.2.3 is called and has no exception: p.Do, from us/cmd.main"},
		"it is not called":                  {report: sbom + finding("GO-1", "example.org/lib", "v1.2.3", ""), want: "GO-1 in example.org/lib v1.2.3: not called"},
		"it is excepted":                    {row: row("GO-1", "example.org/lib v1.2.3", "2026-12-31"), report: sbom + finding("GO-1", "example.org/lib", "v1.2.3", "Do"), want: "1 known and called"},
		"another is excepted":               {row: row("GO-2", "example.org/lib v1.2.3", "2026-12-31"), report: sbom + finding("GO-1", "example.org/lib", "v1.2.3", "Do"), fails: "GO-1 in example.org/lib v1.2.3 is called"},
		"in another module":                 {row: row("GO-1", "example.org/other v1.2.3", "2026-12-31"), report: sbom + finding("GO-1", "example.org/lib", "v1.2.3", "Do"), fails: "is called and has no exception"},
		"in another version":                {row: row("GO-1", "example.org/lib v1.2.2", "2026-12-31"), report: sbom + finding("GO-1", "example.org/lib", "v1.2.3", "Do"), fails: "is for another version than v1.2.3"},
		"on its last day":                   {row: row("GO-1", "example.org/lib v1.2.3", "2026-11-25"), report: sbom + finding("GO-1", "example.org/lib", "v1.2.3", "Do"), want: "1 known and called"},
		"after its last day":                {row: row("GO-1", "example.org/lib v1.2.3", "2026-11-23"), report: sbom + finding("GO-1", "example.org/lib", "v1.2.3", "Do"), fails: "the exception ended on 2026-11-23"},
		"for too long":                      {row: row("GO-1", "example.org/lib v1.2.3", "2027-02-25"), report: sbom + finding("GO-1", "example.org/lib", "v1.2.3", "Do"), fails: "for more than 90 days"},
		"it is needed no longer":            {row: row("GO-1", "example.org/lib v1.2.3", "2026-12-31"), report: sbom, fails: "needed no longer"},
		"it is called no longer":            {row: row("GO-1", "example.org/lib v1.2.3", "2026-12-31"), report: sbom + finding("GO-1", "example.org/lib", "v1.2.3", ""), fails: "needed no longer"},
		"of this Go":                        {row: row("GO-1", "stdlib v1.26.8", "2026-12-31"), report: sbom, fails: "needed no longer"},
		"of another Go":                     {row: row("GO-1", "stdlib v1.26.7", "2026-12-31"), report: sbom, want: "1 exceptions are for another Go than v1.26.8"},
		"of another Go, and found":          {row: row("GO-1", "stdlib v1.26.7", "2026-12-31"), report: sbom + finding("GO-1", "stdlib", "v1.26.8", "Do"), fails: "GO-1 in stdlib v1.26.8 is called and has no exception"},
		"a reason is none":                  {row: "| GO-1 | example.org/lib v1.2.3 | 2026-12-31 | - |", report: sbom, fails: "a day and a reason"},
		"there is no day":                   {row: row("GO-1", "example.org/lib v1.2.3", "soon"), report: sbom, fails: "a day such as"},
		"the report was cut short":          {report: sbom[:20], fails: "unexpected EOF"},
		"the report says nothing":           {report: `{"config":{}}`, fails: "no whole report"},
		"one of two findings has no reason": {row: row("GO-1", "example.org/lib v1.2.3", "2026-12-31"), report: sbom + finding("GO-1", "example.org/lib", "v1.2.3", "Do") + finding("GO-3", "stdlib", "v1.26.8", "Do"), fails: "GO-3 in stdlib"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			table, report := filepath.Join(t.TempDir(), "table.md"), filepath.Join(t.TempDir(), "report.json")
			text := "# Advisories\n" + heading + " why it may stay |\n|---|---|---|---|\n" + c.row + "\n\nMore.\n"
			if err := os.WriteFile(table, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(report, []byte(c.report), 0o600); err != nil {
				t.Fatal(err)
			}
			said, err := run([]string{table, report}, now)
			if got := strings.Join(said, "\n"); !strings.Contains(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if c.fails == "" && err != nil || c.fails != "" && (err == nil || !strings.Contains(err.Error(), c.fails)) {
				t.Errorf("got the error %v, want %q", err, c.fails)
			}
		})
	}
	if _, err := run([]string{filepath.Join("..", "..", "..", "README.md"), "x"}, now); err == nil || !strings.Contains(err.Error(), "there is no table") {
		t.Errorf("without a table: got %v", err)
	}
}
