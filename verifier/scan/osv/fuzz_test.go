package osv

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/sealgate/sealgate/verifier/scan/inventory"
)

// Whatever a file holds, it is opened and read or an error, within bounds.
func FuzzDatabase(f *testing.F) {
	d := databaseOf(f, map[string][]string{"npm": {advisory("GHSA-1", "npm", "a", events("SEMVER", "introduced=0"))}})
	raw, err := os.ReadFile(d.file.Name())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add(raw[:len(raw)-1])
	f.Fuzz(func(t *testing.T, raw []byte) {
		name := filepath.Join(t.TempDir(), FileName)
		if err := os.WriteFile(name, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		// The sum keeps nearly all else out; so the parts behind it are read without it as well.
		if d, err := Open(filepath.Dir(name)); err == nil {
			_, _ = d.Match(of(pack("npm", "a", "1.0.0")))
			_ = d.Close()
		}
		file, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		unchecked := &Database{file: file, index: int64(len(magic)), count: int64(len(raw)) / rowSize}
		_, _ = unchecked.lookup("npm", "a")
	})
}

// Whatever a record holds, it is an error or one that is kept and matched without a panic; a version that a record lists is
// affected.
func FuzzRecord(f *testing.F) {
	f.Add([]byte(advisory("GHSA-1", "npm", "a", events("SEMVER", "introduced=1", "fixed=2")+`, "versions": ["1.0"]`, aliases("CVE-1"), cvss(critical))), "1.0")
	f.Add([]byte(advisory("DSA-1", "Debian:12", "a", events("ECOSYSTEM", "introduced=0", "last_affected=1:2-3~4"), upstream("CVE-1", "CVE-2"))), "1:2-3")
	f.Add([]byte(advisory("X", "Maven", "a:b", events("ECOSYSTEM", "introduced=0", "limit=1.0-alpha"))), "1.0-SNAPSHOT")
	f.Fuzz(func(t *testing.T, raw []byte, version string) {
		r, err := readRecord(raw)
		if err != nil {
			return
		}
		for _, a := range r.Affected {
			for _, e := range r.entries(a) {
				v := versionOf(version, a.Package.Ecosystem, false)
				one, err := e.affects(v)
				stored, marshalled := json.Marshal(e)
				if marshalled != nil {
					t.Fatal(marshalled)
				}
				var read entry
				if err := json.NewDecoder(bytes.NewReader(stored)).Decode(&read); err != nil {
					t.Fatal(err)
				}
				if two, again := read.affects(v); one != two || (err == nil) != (again == nil) {
					t.Errorf("%v, %v and after storing %v, %v", one, err, two, again)
				}
				_ = findingOf(inventory.Package{Name: "a", Version: version, Ecosystem: a.Package.Ecosystem}, []entry{e.at(v)})
			}
		}
	})
}
