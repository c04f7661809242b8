package e2e

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The embedded scanner with advisories that are real: those of the Go vulnerability database, on programs that are real. What
// it says is held against govulncheck, which reads the same advisories by rules of its own.

// goAdvisories writes the records as OSV publishes them: with the time of their modification, which they lack in the sources
// of the database. Half of them could not be told from all of them, so they are counted.
func goAdvisories(t *testing.T) (folder, archive string, count int) {
	t.Helper()
	source := filepath.Join(filepath.Dir(suite.tools["vulndb"]), "db", "ID")
	entries, err := os.ReadDir(source)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	folder, archive = filepath.Join(dir, "Go"), filepath.Join(dir, "all.zip")
	var zipped bytes.Buffer
	w := zip.NewWriter(&zipped)
	for _, entry := range entries {
		raw, err := os.ReadFile(filepath.Join(source, entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		raw = bytes.Replace(raw, []byte(`"modified":"0001-01-01T00:00:00Z"`), []byte(`"modified":"2026-11-05T23:49:57Z"`), 1)
		writeFile(t, filepath.Join(folder, entry.Name()), raw, 0o644)
		member, err := w.Create(entry.Name())
		if err == nil {
			_, err = member.Write(raw)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	writeFile(t, archive, zipped.Bytes(), 0o644)
	return folder, archive, len(entries)
}

// known is one advisory about one module of a program: the advisory's id, the module, its version, and the version with a fix.
type known struct{ id, module, version, fixed string }

func TestRealAdvisoriesAreFoundAsGovulncheckFindsThem(t *testing.T) {
	folder, archive, count := goAdvisories(t)
	if count < 4000 {
		t.Fatalf("there are %d advisories, want thousands", count)
	}
	storage := map[string]string{folder: t.TempDir(), archive: t.TempDir()}
	for from, to := range storage {
		command(t, nil, suite.sealgate, "scan", "--storage", to, "--update-database", from).ok(t).has(t, "records of 1 ecosystems, the newest of 2026-11-05")
	}
	size := func(dir string) int64 {
		stat, err := os.Stat(filepath.Join(dir, "osv", "osv.db"))
		if err != nil {
			t.Fatal(err)
		}
		return stat.Size()
	}
	records, err := os.Stat(archive)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d advisories, %d KiB zipped: a database of %d KiB", count, records.Size()>>10, size(storage[archive])>>10)
	// The time of the import is in them, with a fraction that is written without its last zeros.
	if a, b := size(storage[folder]), size(storage[archive]); max(a-b, b-a) > int64(len(".123456789")) {
		t.Errorf("from the folder came %d bytes, from the zip %d", a, b)
	}

	programs := map[string]string{"sealgate": suite.sealgate}
	for _, name := range []string{"cosign2", "cosign3", "crane", "oras", "registry", "crictl", "fulcio", "timestamp", "rekor", "pebble", "grype", "containerd", "govulncheck", "vulndb"} {
		programs[name] = suite.tools[name]
	}
	total := 0
	for _, name := range slices.Sorted(maps.Keys(programs)) {
		content, err := os.ReadFile(programs[name])
		if err != nil {
			t.Fatal(err)
		}
		layout := filepath.Join(t.TempDir(), "image")
		writeLayout(t, layout, assemble(t, "amd64", nonroot, files(t, map[string][]byte{"usr/bin/program": content})))
		ours := scanned(t, storage[archive], layout)
		theirs := checked(t, programs[name])
		for one := range theirs {
			if !ours[one] {
				t.Errorf("%s: govulncheck alone finds %+v", name, one)
			}
		}
		for one := range ours {
			if !theirs[one] {
				t.Errorf("%s: govulncheck does not find %+v", name, one)
			}
		}
		t.Logf("%s: %d and %d", name, len(ours), len(theirs))
		total += len(theirs)
	}
	if total < 20 {
		t.Errorf("%d findings in all: too few to compare anything", total)
	}
}

// scanned is what the embedded scanner finds, one for each of the advisories that it put together.
func scanned(t *testing.T, storage, layout string) map[known]bool {
	t.Helper()
	var said struct {
		Packages  int
		Unmatched []string
		Findings  []struct {
			ID, Package, Version string
			Aliases              []string
			FixedVersion         string `json:"fixed_version"`
		}
	}
	r := command(t, nil, suite.sealgate, "scan", "--storage", storage, "-o", "json", layout).ok(t)
	if err := json.Unmarshal([]byte(r.stdout), &said); err != nil || said.Packages == 0 || len(said.Unmatched) > 0 {
		t.Fatalf("got %v, %+v", err, said)
	}
	all := map[known]bool{}
	for _, f := range said.Findings {
		for _, id := range append(f.Aliases, f.ID) {
			if strings.HasPrefix(id, "GO-") {
				all[known{id, f.Package, f.Version, f.FixedVersion}] = true
			}
		}
	}
	return all
}

// checked is what govulncheck finds in the modules of a program.
func checked(t *testing.T, program string) map[known]bool {
	t.Helper()
	database := filepath.Join(filepath.Dir(suite.tools["vulndb"]), "db")
	r := command(t, nil, suite.tools["govulncheck"], "-mode", "binary", "-scan", "module", "-format", "json", "-db", "file://"+database, program).ok(t)
	all := map[known]bool{}
	for d := json.NewDecoder(strings.NewReader(r.stdout)); ; {
		var m struct {
			Finding *struct {
				OSV          string
				FixedVersion string `json:"fixed_version"`
				Trace        []struct{ Module, Version string }
			}
		}
		if err := d.Decode(&m); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		if m.Finding == nil {
			continue
		}
		at := m.Finding.Trace[0]
		all[known{m.Finding.OSV, at.Module, strings.TrimPrefix(at.Version, "v"), strings.TrimPrefix(m.Finding.FixedVersion, "v")}] = true
	}
}
