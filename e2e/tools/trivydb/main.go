// Command trivydb makes a small vulnerability database for Trivy, for tests: what it reads on standard input becomes the folder
// db in a directory that Trivy takes as its cache. It is written by the writer of Trivy's own databases, so that Trivy for real
// reads it.
//
//	trivydb DIRECTORY < vulnerabilities.json
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/aquasecurity/trivy-db/pkg/db"
	"github.com/aquasecurity/trivy-db/pkg/metadata"
	"github.com/aquasecurity/trivy-db/pkg/types"
	bolt "go.etcd.io/bbolt"
)

// input is what is read.
type input struct {
	Built           time.Time // when the database says that it was made; zero: now
	Vulnerabilities []vulnerability
}

// vulnerability is one of one package.
type vulnerability struct {
	ID        string
	Severity  string // CRITICAL, HIGH, MEDIUM, LOW
	Published time.Time
	Bucket    string // such as debian 12, alpine 3.20, go::tests, npm::tests
	Package   string // for an operating system, the source package

	Fixed      string   // for an operating system, the version with a fix; empty for none
	Vulnerable []string // for a language, constraints such as >=1.0.0, <1.2.3
	Patched    []string // for a language, versions with a fix
	VendorIDs  []string // other names
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "trivydb:", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) != 2 {
		return fmt.Errorf("usage: trivydb DIRECTORY < vulnerabilities.json")
	}
	var in input
	if err := json.NewDecoder(os.Stdin).Decode(&in); err != nil {
		return err
	}
	dir := filepath.Join(os.Args[1], "db")
	if err := db.Init(dir); err != nil {
		return err
	}
	err := (db.Config{}).BatchUpdate(func(tx *bolt.Tx) error {
		for _, v := range in.Vulnerabilities {
			if err := add(tx, v); err != nil {
				return fmt.Errorf("%s: %w", v.ID, err)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := db.Close(); err != nil {
		return err
	}
	if in.Built.IsZero() {
		in.Built = time.Now()
	}
	return metadata.NewClient(dir).Update(metadata.Metadata{
		Version: db.SchemaVersion, UpdatedAt: in.Built.UTC(), NextUpdate: in.Built.UTC().AddDate(0, 0, 1), DownloadedAt: in.Built.UTC(),
	})
}

// source is whose advisories and ratings they are.
const source = "nvd"

func add(tx *bolt.Tx, v vulnerability) error {
	severity, err := types.NewSeverity(v.Severity)
	if err != nil {
		return err
	}
	var store db.Config
	if err := store.PutDataSource(tx, v.Bucket, types.DataSource{ID: source, Name: "tests"}); err != nil {
		return err
	}
	advisory := &types.Advisory{VendorIDs: v.VendorIDs, FixedVersion: v.Fixed, VulnerableVersions: v.Vulnerable, PatchedVersions: v.Patched}
	if err := store.PutAdvisory(tx, []string{v.Bucket, v.Package}, v.ID, advisory); err != nil {
		return err
	}
	known := types.Vulnerability{Title: v.ID, VendorSeverity: types.VendorSeverity{source: severity}}
	if !v.Published.IsZero() {
		known.PublishedDate = &v.Published
	}
	if err := store.PutVulnerabilityID(tx, v.ID); err != nil {
		return err
	}
	return store.PutVulnerability(tx, v.ID, known)
}
