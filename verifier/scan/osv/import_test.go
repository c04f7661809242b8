package osv

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var one = map[string][]string{"npm": {advisory("GHSA-1", "npm", "a", events("SEMVER", "introduced=0"))}}

func importer() Importer { return Importer{http.DefaultClient, func() time.Time { return imported }} }

// What cannot be imported leaves the database as it was, and no file behind.
func TestAnImportThatFailsChangesNothing(t *testing.T) {
	directory := t.TempDir()
	if _, err := importer().Import(t.Context(), published(t, one), directory); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(filepath.Join(directory, FileName))
	if err != nil {
		t.Fatal(err)
	}
	broken := t.TempDir()
	if err := os.WriteFile(filepath.Join(broken, "all.zip"), []byte("no zip"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, from := range map[string]string{
		"nothing there":                     filepath.Join(t.TempDir(), "nothing"),
		"an empty directory":                t.TempDir(),
		"a zip that is none":                broken,
		"a record that is none":             published(t, map[string][]string{"npm": {one["npm"][0], "{"}}),
		"a record without an id":            published(t, map[string][]string{"npm": {`{"modified": "2026-01-01T00:00:00Z"}`}}),
		"a record without a time":           published(t, map[string][]string{"npm": {`{"id": "X"}`}}),
		"scores that are none":              published(t, one, "epss.csv", "CVE-1,2.0\n"),
		"a list without anything exploited": published(t, one, exploitedName, "{}"),
	} {
		if about, err := importer().Import(t.Context(), from, directory); err == nil {
			t.Errorf("%s: got %+v", name, about)
		}
		after, err := os.ReadFile(filepath.Join(directory, FileName))
		if err != nil || string(after) != string(before) {
			t.Errorf("%s: the database changed, %v", name, err)
		}
		if left, _ := os.ReadDir(directory); len(left) != 1 {
			t.Errorf("%s: left behind: %v", name, left)
		}
	}
}

// Over HTTP, as the public database is laid out, and as an operator's mirror may be.
func TestAnImportFromAURL(t *testing.T) {
	from := published(t, one, "ecosystems.txt", "npm\nDebian:12\nGIT\n")
	server := httptest.NewServer(http.FileServer(http.Dir(from)))
	defer server.Close()
	for _, from := range []string{server.URL, server.URL + "/", server.URL + "/npm/all.zip"} {
		directory := t.TempDir()
		about, err := importer().Import(t.Context(), from, directory)
		if err != nil || about.Ecosystems["npm"] != 1 {
			t.Errorf("%s: got %+v, %v", from, about, err)
		}
		if left, _ := os.ReadDir(directory); len(left) != 1 {
			t.Errorf("%s: left behind: %v", from, left)
		}
	}

	withPassword := strings.Replace(server.URL, "http://", "http://me:secret@", 1)
	if _, err := importer().Import(t.Context(), withPassword+"/nothing", t.TempDir()); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("got %v, want an error without the password", err)
	}
	failing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/ecosystems.txt" {
			fmt.Fprintln(w, "npm")
			return
		}
		w.Header().Set("Content-Length", "1000") // and less comes
		fmt.Fprint(w, "PK")
	}))
	defer failing.Close()
	if _, err := importer().Import(t.Context(), failing.URL, t.TempDir()); err == nil {
		t.Error("half a zip was imported")
	}
}

// A database that was cut short or changed, in any byte, is none.
func TestADamagedDatabaseIsNone(t *testing.T) {
	directory := t.TempDir()
	if _, err := Open(directory); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no database: got %v", err)
	}
	if _, err := importer().Import(t.Context(), published(t, one), directory); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(directory, FileName)
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	try := func(what string, raw []byte) {
		if err := os.WriteFile(name, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		if d, err := Open(directory); err == nil {
			_ = d.Close()
			t.Errorf("%s: it was opened", what)
		}
	}
	for i := range whole {
		changed := []byte(string(whole))
		changed[i] ^= 1
		try(fmt.Sprintf("byte %d changed", i), changed)
	}
	for _, n := range []int{0, 1, len(whole) / 2, len(whole) - 1} {
		try(fmt.Sprintf("%d bytes of it", n), whole[:n])
	}
	try("and more", append([]byte(string(whole)), 0))
}

// An import of many records takes no memory for each: what it knows of them is on disk.
func BenchmarkImport(b *testing.B) {
	var records []string
	for i := range 20_000 {
		records = append(records, advisory(fmt.Sprintf("GHSA-%d", i), "npm", fmt.Sprintf("package-%d", i%5000), events("SEMVER", "introduced=0", "fixed=1.2.3"), aliases(fmt.Sprintf("CVE-2026-%d", i)), cvss(critical)))
	}
	from := published(b, map[string][]string{"npm": records})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := importer().Import(b.Context(), from, b.TempDir()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(records)*b.N)/b.Elapsed().Seconds(), "records/s")
}

// Looking up five hundred packages, which a large image has.
func BenchmarkMatch(b *testing.B) {
	var records []string
	for i := range 20_000 {
		records = append(records, advisory(fmt.Sprintf("GHSA-%d", i), "npm", fmt.Sprintf("package-%d", i%5000), events("SEMVER", "introduced=0", "fixed=1.2.3")))
	}
	d := databaseOf(b, map[string][]string{"npm": records})
	inventory := of()
	for i := range 500 {
		inventory.Packages = append(inventory.Packages, pack("npm", fmt.Sprintf("package-%d", i*20), "1.0.0"))
	}
	for b.Loop() {
		if _, err := d.Match(inventory); err != nil {
			b.Fatal(err)
		}
	}
}

// A folder of records is as good as a zip of them: it counts for the ecosystems that all of it is about.
func TestAnImportOfLooseRecords(t *testing.T) {
	from := t.TempDir()
	write := func(name, record string) {
		t.Helper()
		path := filepath.Join(from, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(record), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	write("npm/GHSA-1.json", one["npm"][0])
	write("npm/GHSA-2.json", advisory("GHSA-2", "npm", "b", events("SEMVER", "introduced=0")))
	write("mixed/1.json", advisory("GHSA-3", "PyPI", "c", events("ECOSYSTEM", "introduced=0")))
	write("mixed/2.json", advisory("GHSA-4", "Go", "d", events("SEMVER", "introduced=0")))
	write(exploitedName, `{"vulnerabilities": [{"cveID": "CVE-2026-1"}]}`)
	write("README.md", "not a record")
	directory := t.TempDir()
	about, err := importer().Import(t.Context(), from, directory)
	if err != nil || len(about.Ecosystems) != 1 || about.Ecosystems["npm"] != 2 || about.Releases["PyPI"] != 1 || about.Exploited != 1 {
		t.Errorf("got %+v, %v", about, err)
	}
	write("npm/GHSA-5.json", `{"id": "GHSA-5"}`)
	if about, err := importer().Import(t.Context(), from, directory); err == nil || !strings.Contains(err.Error(), "GHSA-5.json: it does not say when it was modified") {
		t.Errorf("a record without a time: got %+v, %v", about, err)
	}
}

// Programs of other systems are in no inventory, and what is about those alone is about none that is.
func TestWhatIsOfAnotherSystemIsNotFound(t *testing.T) {
	about := func(id, imports string) string {
		return strings.Replace(advisory(id, "Go", "stdlib", events("SEMVER", "introduced=0", "fixed=1.26.9")), `"ranges"`, `"ecosystem_specific": {"imports": `+imports+`}, "ranges"`, 1)
	}
	d := databaseOf(t, map[string][]string{"Go": {
		about("GO-1", `[{"path": "os", "goos": ["windows"]}, {"path": "internal/windows", "goos": ["windows", "darwin"]}]`),
		about("GO-2", `[{"path": "os", "goos": ["windows", "linux"]}]`),
		about("GO-3", `[{"path": "os", "goos": ["windows"]}, {"path": "net"}]`),
		about("GO-4", `[]`),
		about("GO-5", `{"not": "a list"}`),
		about("GO-6", `[{"path": "os", "goos": ["a system of tomorrow"]}]`),
	}})
	var got []string
	for _, f := range match(t, d, pack("Go", "stdlib", "1.26.8")).Findings {
		got = append(got, f.ID)
	}
	if want := "GO-2 GO-3 GO-4 GO-5 GO-6"; strings.Join(got, " ") != want {
		t.Errorf("got %v, want %s", got, want)
	}
}
