package osv

import (
	"archive/zip"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sealgate/sealgate/verifier/scan/inventory"
)

var imported = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

// databaseOf imports zips of records, by ecosystem, and opens what came out.
func databaseOf(t testing.TB, zips map[string][]string, beside ...string) *Database {
	t.Helper()
	directory := t.TempDir()
	if _, err := (Importer{http.DefaultClient, func() time.Time { return imported }}).Import(t.Context(), published(t, zips, beside...), directory); err != nil {
		t.Fatal(err)
	}
	d, err := Open(directory)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	if left, _ := os.ReadDir(directory); len(left) != 1 {
		t.Errorf("the import left %v", left)
	}
	return d
}

// published lays zips down as the public database has them. Beside them are files by name and content in turn.
func published(t testing.TB, zips map[string][]string, beside ...string) string {
	t.Helper()
	directory := t.TempDir()
	for ecosystem, records := range zips {
		if err := os.MkdirAll(filepath.Join(directory, ecosystem), 0o755); err != nil {
			t.Fatal(err)
		}
		f, err := os.Create(filepath.Join(directory, ecosystem, "all.zip"))
		if err != nil {
			t.Fatal(err)
		}
		w := zip.NewWriter(f)
		for i, record := range records {
			member, err := w.Create(fmt.Sprintf("%d.json", i))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := member.Write([]byte(record)); err != nil {
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
	for i := 0; i+1 < len(beside); i += 2 {
		if err := os.WriteFile(filepath.Join(directory, beside[i]), []byte(beside[i+1]), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return directory
}

// advisory is a record about one package; more are fields of the record, as JSON.
func advisory(id, ecosystem, name, ranges string, more ...string) string {
	fields := append([]string{
		fmt.Sprintf(`"id": %q, "modified": "2026-02-01T00:00:00Z"`, id),
		fmt.Sprintf(`"affected": [{"package": {"ecosystem": %q, "name": %q}, %s}]`, ecosystem, name, ranges),
	}, more...)
	record := "{" + strings.Join(fields, ", ") + "}"
	if !json.Valid([]byte(record)) {
		panic("not JSON: " + record)
	}
	return record
}

// events is a range of a type: introduced=1, fixed=2 and so on.
func events(kind string, all ...string) string {
	var list []string
	for _, e := range all {
		name, version, _ := strings.Cut(e, "=")
		list = append(list, fmt.Sprintf(`{%q: %q}`, name, version))
	}
	return fmt.Sprintf(`"ranges": [{"type": %q, "events": [%s]}]`, kind, strings.Join(list, ", "))
}

func aliases(names ...string) string {
	return fmt.Sprintf(`"aliases": ["%s"]`, strings.Join(names, `", "`))
}
func upstream(names ...string) string {
	return fmt.Sprintf(`"upstream": ["%s"]`, strings.Join(names, `", "`))
}
func cvss(vector string) string {
	return fmt.Sprintf(`"severity": [{"type": "CVSS_V3", "score": %q}]`, vector)
}

func of(packages ...inventory.Package) *inventory.Inventory {
	return &inventory.Inventory{Packages: packages}
}

func pack(ecosystem, name, version string) inventory.Package {
	return inventory.Package{Name: name, Version: version, Ecosystem: ecosystem, PURL: "pkg:generic/" + name + "@" + version}
}

func match(t testing.TB, d *Database, packages ...inventory.Package) Report {
	t.Helper()
	r, err := d.Match(of(packages...))
	if err != nil {
		t.Fatal(err)
	}
	return r
}
