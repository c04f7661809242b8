// Package embedded scans with what is in this program: packages are listed by a confined child (package inventory), and
// looked up in a local database of vulnerabilities (package osv). It needs nothing installed and no network.
//
// Without a database it still lists packages, and says that it looked up none of them: nobody takes that for clean.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/verifier/scan"
	"github.com/sealgate/sealgate/verifier/scan/inventory"
	"github.com/sealgate/sealgate/verifier/scan/osv"
	"github.com/sealgate/sealgate/verifier/scan/sbom"
)

// Options are a scanner's settings. Blobs and Workplace are required.
type Options struct {
	Blobs     scan.Blobs
	Workplace *scan.Workplace

	// Database is the directory of the database of vulnerabilities. What is not there, or cannot be read, is an error; empty
	// is no database.
	Database string

	Version string        // of this program
	Timeout time.Duration // the longest that a scan may take, [scan.MaxDuration] by default
}

// Scanner lists packages and looks them up.
type Scanner struct {
	Options

	mu       sync.Mutex
	database *osv.Database
	file     os.FileInfo // the database's, as it was opened
}

// New makes a scanner. The database is opened when it is first needed, and again when it is another.
func New(o Options) *Scanner {
	if o.Timeout <= 0 {
		o.Timeout = scan.MaxDuration
	}
	return &Scanner{Options: o}
}

// Name is what reports call the scanner.
const Name = "sealgate"

// open returns the database as it is now, nil for none. A database that was replaced stays open for whoever uses it.
func (s *Scanner) open() (*osv.Database, error) {
	if s.Database == "" {
		return nil, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	file, err := os.Stat(filepath.Join(s.Database, osv.FileName))
	if err != nil {
		return nil, fmt.Errorf("no database of vulnerabilities: %w", err)
	}
	if s.database != nil && os.SameFile(file, s.file) && file.ModTime().Equal(s.file.ModTime()) && file.Size() == s.file.Size() {
		return s.database, nil
	}
	database, err := osv.Open(s.Database)
	if err != nil {
		return nil, err
	}
	s.database, s.file = database, file
	return database, nil
}

// Edition implements [scan.Scanner].
func (s *Scanner) Edition(context.Context) (string, error) {
	database, err := s.open()
	if err != nil || database == nil {
		return s.Version, err
	}
	about := database.About()
	return fmt.Sprintf("%s %s %s", s.Version, about.Imported.UTC().Format(time.RFC3339Nano), about.Updated.UTC().Format(time.RFC3339Nano)), nil
}

// Scan implements [scan.Scanner].
func (s *Scanner) Scan(ctx context.Context, image scan.Image) (scan.Report, error) {
	report, err := s.scan(ctx, image)
	if err != nil {
		return scan.Report{}, fmt.Errorf("%w: %w", scan.ErrUnknown, err)
	}
	return report, nil
}

func (s *Scanner) scan(ctx context.Context, image scan.Image) (scan.Report, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, s.Timeout, fmt.Errorf("it did not finish in %s", s.Timeout))
	defer cancel()
	began := time.Now()
	database, err := s.open()
	if err != nil {
		return scan.Report{}, err
	}
	packages, err := take(ctx, s.Workplace, s.Blobs, image)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
			err = fmt.Errorf("%w: %w", cause, err)
		}
		return scan.Report{}, err
	}

	report := scan.Report{Started: began, Scan: policy.Scan{Scanner: Name, Version: s.Version, Counted: true, Unmatched: gaps(packages)}}
	if err := describeIn(&report, image, packages, s.Version); err != nil {
		return scan.Report{}, err
	}
	if database == nil {
		report.Unmatched = append(report.Unmatched, fmt.Sprintf("%d packages, as there is no database", len(packages.Packages)))
		report.Finished = time.Now()
		return report, nil
	}
	matched, err := database.Match(packages)
	if err != nil {
		return scan.Report{}, err
	}
	report.Findings, report.Packages, report.Database = matched.Findings, matched.Matched, database.Updated()
	for _, u := range matched.Unmatched {
		report.Unmatched = append(report.Unmatched, describe(u))
	}
	report.Finished = time.Now()
	return report, nil
}

// take lists an image's packages.
func take(ctx context.Context, w *scan.Workplace, blobs scan.Blobs, image scan.Image) (*inventory.Inventory, error) {
	folder, done, err := w.LayOut(ctx, blobs, image)
	if err != nil {
		return nil, err
	}
	defer done()
	at := inventory.Image{Layout: filepath.Join(folder, scan.LayoutName), Manifest: image.Manifest.Digest}
	return inventory.Taker{Directory: folder}.Take(ctx, at)
}

// describeIn lists an image's packages in a report, and writes the bills of materials that it does not have.
func describeIn(report *scan.Report, image scan.Image, packages *inventory.Inventory, version string) (err error) {
	doc := sbom.Document{Repository: image.Repo, Subject: image.Manifest.Digest, Created: time.Now(), Version: version, Inventory: packages}
	report.Inventory = []policy.Package{}
	for _, p := range packages.Packages {
		report.Inventory = append(report.Inventory, policy.Package{Name: p.Name, Version: p.Version, PURL: p.PURL, Ecosystem: p.Ecosystem, Licenses: p.Licenses})
	}
	if report.SBOM == nil {
		if report.SBOM, err = sbom.CycloneDX(doc); err != nil {
			return err
		}
	}
	if report.SPDX == nil {
		report.SPDX, err = sbom.SPDX(doc)
	}
	return err
}

// gaps says what of an image was not understood.
func gaps(i *inventory.Inventory) (all []string) {
	for _, g := range i.Gaps {
		where := "the image"
		if g.Path != "" {
			where = policy.Printable(g.Path)
		}
		all = append(all, where+": "+g.Why)
	}
	return all
}

func describe(u osv.Unmatched) string {
	what := u.Ecosystem
	if what == "" {
		what = "packages of no ecosystem"
	}
	if u.Package != "" {
		what = policy.Printable(u.Package + " " + u.Version)
	}
	return what + ": " + u.Why
}
