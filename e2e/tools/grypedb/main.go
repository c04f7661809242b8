// Command grypedb makes a small vulnerability database for Grype, for tests: what it reads on standard input becomes a
// directory that Grype takes by GRYPE_DB_CACHE_DIR. It is written by Grype's own writer, so that Grype for real reads it.
//
//	grypedb GRYPE DIRECTORY < vulnerabilities.json
package main

import (
	"archive/tar"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	v6 "github.com/anchore/grype/grype/db/v6"
	"github.com/klauspost/compress/zstd"
	"gorm.io/gorm"
)

// input is what is read.
type input struct {
	Built           time.Time // when the database says that it was made; zero: now
	Vulnerabilities []vulnerability
}

// vulnerability is one of one package.
type vulnerability struct {
	ID        string
	Severity  string   // critical, high, medium, low, negligible
	System    string   // such as debian:12 or alpine:3.20; empty for a language's package
	Ecosystem string   // such as deb, apk, npm, go-module
	Package   string   // for an operating system, the source package
	Affected  string   // a constraint such as < 1.2.3
	Format    string   // of its versions: dpkg, apk, semver, golang
	Fixed     string   // the version with a fix; empty for none
	CVEs      []string // other names
	Exploited bool
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "grypedb:", err)
		os.Exit(1)
	}
}

// run writes the database and has Grype import it.
func run() error {
	if len(os.Args) != 3 {
		return fmt.Errorf("usage: grypedb GRYPE DIRECTORY < vulnerabilities.json")
	}
	var in input
	if err := json.NewDecoder(os.Stdin).Decode(&in); err != nil {
		return err
	}
	scratch, err := os.MkdirTemp("", "grypedb-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)

	if err := write(scratch, in); err != nil {
		return err
	}
	archive := filepath.Join(scratch, "database.tar.zst")
	if err := pack(filepath.Join(scratch, v6.VulnerabilityDBFileName), archive); err != nil {
		return err
	}
	load := exec.Command(os.Args[1], "db", "import", archive)
	load.Env = append(os.Environ(), "GRYPE_DB_CACHE_DIR="+os.Args[2], "GRYPE_DB_AUTO_UPDATE=false", "GRYPE_CHECK_FOR_APP_UPDATE=false")
	if said, err := load.CombinedOutput(); err != nil {
		return fmt.Errorf("grype db import: %w\n%s", err, said)
	}
	return nil
}

func write(dir string, in input) (err error) {
	w, err := v6.NewWriter(v6.Config{DBDirPath: dir, CacheSizeKiB: 1024})
	if err != nil {
		return err
	}
	defer func() {
		if closed := w.Close(); err == nil {
			err = closed
		}
	}()
	now := time.Now().UTC()
	provider := &v6.Provider{ID: "test", Version: "1", Processor: "grypedb", DateCaptured: &now}
	if err := w.AddProvider(*provider); err != nil {
		return err
	}
	for _, v := range in.Vulnerabilities {
		if err := add(w, provider, v); err != nil {
			return fmt.Errorf("%s: %w", v.ID, err)
		}
	}
	if err := w.SetDBMetadata(); err != nil || in.Built.IsZero() {
		return err
	}
	store, ok := w.(interface{ GetDB() *gorm.DB })
	if !ok {
		return fmt.Errorf("the writer shows no database to date")
	}
	return store.GetDB().Model(&v6.DBMetadata{}).Where("true").Update("build_timestamp", in.Built.UTC()).Error
}

func add(w v6.Writer, provider *v6.Provider, v vulnerability) error {
	handle := &v6.VulnerabilityHandle{
		Name: v.ID, Status: v6.VulnerabilityActive, Provider: provider, ProviderID: provider.ID,
		BlobValue: &v6.VulnerabilityBlob{
			ID: v.ID, Aliases: v.CVEs,
			Severities: []v6.Severity{{Scheme: v6.SeveritySchemeCHMLN, Value: v.Severity, Rank: 1}},
		},
	}
	if err := w.AddVulnerabilities(handle); err != nil {
		return err
	}
	fix := &v6.Fix{State: v6.NotFixedStatus}
	if v.Fixed != "" {
		fix = &v6.Fix{State: v6.FixedStatus, Version: v.Fixed}
	}
	affected := &v6.AffectedPackageHandle{
		Vulnerability: handle, VulnerabilityID: handle.ID,
		Package: &v6.Package{Ecosystem: v.Ecosystem, Name: v.Package},
		BlobValue: &v6.PackageBlob{CVEs: v.CVEs, Ranges: []v6.Range{{
			Version: v6.Version{Type: v.Format, Constraint: v.Affected}, Fix: fix,
		}}},
	}
	if name, release, ok := strings.Cut(v.System, ":"); ok {
		major, minor, _ := strings.Cut(release, ".")
		affected.OperatingSystem = &v6.OperatingSystem{Name: name, MajorVersion: major, MinorVersion: minor}
	}
	if err := w.AddAffectedPackages(affected); err != nil || !v.Exploited {
		return err
	}
	return w.AddKnownExploitedVulnerabilities(&v6.KnownExploitedVulnerabilityHandle{
		Cve: v.ID, BlobValue: &v6.KnownExploitedVulnerabilityBlob{Cve: v.ID},
	})
}

func pack(file, archive string) error {
	in, err := os.Open(file)
	if err != nil {
		return err
	}
	defer in.Close()
	stat, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.Create(archive)
	if err != nil {
		return err
	}
	defer out.Close()
	z, err := zstd.NewWriter(out)
	if err != nil {
		return err
	}
	t := tar.NewWriter(z)
	if err := t.WriteHeader(&tar.Header{Name: filepath.Base(file), Mode: 0o644, Size: stat.Size()}); err != nil {
		return err
	}
	if _, err := io.Copy(t, in); err != nil {
		return err
	}
	if err := t.Close(); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	return out.Close()
}
