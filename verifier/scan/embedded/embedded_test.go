package embedded

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/policy/manifest"
	"github.com/sealgate/sealgate/verifier/predicate"
	"github.com/sealgate/sealgate/verifier/scan"
	"github.com/sealgate/sealgate/verifier/scan/inventory"
	"github.com/sealgate/sealgate/verifier/scan/osv"
	"github.com/sealgate/sealgate/verifier/scan/scantest"
)

func TestMain(m *testing.M) {
	inventory.ServeChild()
	scan.ServeChild()
	os.Exit(m.Run())
}

func imageOf(t testing.TB, blobs scantest.Blobs, files map[string]string) scan.Image {
	t.Helper()
	return scan.Image{Repo: "prod/app", Manifest: blobs.Image(t, files)}
}

// debian is an image with openssl and bash.
var debian = map[string]string{
	"etc/os-release": "ID=debian\nVERSION_ID=\"12\"\n",
	"var/lib/dpkg/status": "Package: libssl3\nStatus: install ok installed\nSource: openssl\nVersion: 3.0.11-1~deb12u1\nArchitecture: amd64\nMaintainer: x <x@example.org>\nDescription: x\n\n" +
		"Package: bash\nStatus: install ok installed\nVersion: 5.2.15-2\nArchitecture: amd64\nMaintainer: x <x@example.org>\nDescription: x\n\n",
}

// database makes one that knows of openssl in Debian.
func database(t *testing.T, dir, id string) {
	t.Helper()
	record := fmt.Sprintf(`{"schema_version":"1.6.0","id":%q,"modified":"2026-11-20T00:00:00Z","published":"2026-11-01T00:00:00Z",
		"affected":[{"package":{"ecosystem":"Debian:12","name":"openssl"},"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"fixed":"3.0.15-1~deb12u1"}]}]}],
		"severity":[{"type":"CVSS_V3","score":"CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}]}`, id)
	var raw bytes.Buffer
	z := zip.NewWriter(&raw)
	f, err := z.Create(id + ".json")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = f.Write([]byte(record))
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	from := filepath.Join(t.TempDir(), "Debian.zip")
	if err := os.WriteFile(from, raw.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := (osv.Importer{Now: time.Now}).Import(context.Background(), from, dir); err != nil {
		t.Fatal(err)
	}
}

func workplace(t testing.TB) *scan.Workplace {
	t.Helper()
	w, err := scan.OpenWorkplace(filepath.Join(t.TempDir(), "scan"))
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func TestPackagesAreListedAndLookedUp(t *testing.T) {
	s, dir := scantest.Blobs{}, t.TempDir()
	database(t, dir, "CVE-2026-1000")
	scanner := New(Options{Blobs: s, Workplace: workplace(t), Database: dir, Version: "1.0"})
	image := imageOf(t, s, debian)
	report, err := scanner.Scan(context.Background(), image)
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Findings) != 1 || report.Findings[0].ID != "CVE-2026-1000" || report.Findings[0].Package != "libssl3" || report.Findings[0].FixedVersion != "3.0.15-1~deb12u1" || report.Findings[0].Severity != policy.Critical {
		t.Errorf("got %+v", report.Findings)
	}
	if report.Packages != 2 || !report.Counted || report.Scanner != Name || report.Version != "1.0" || !report.Database.Equal(time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)) || len(report.Unmatched) != 0 {
		t.Errorf("got %+v", report.Scan)
	}

	for predicateType, sbom := range map[string][]byte{"https://cyclonedx.org/bom": report.SBOM, "https://spdx.dev/Document": report.SPDX} {
		facts, err := predicate.Read(predicateType, bytes.NewReader(sbom))
		if err != nil || facts.SBOM.Packages < 2 || !bytes.Contains(sbom, []byte("pkg:deb/debian/libssl3@3.0.11-1")) {
			t.Errorf("%s: got %+v, %v", predicateType, facts.SBOM, err)
		}
	}
	if statements, err := report.Statements(image); err != nil || len(statements) != 4 {
		t.Errorf("got %d statements, %v", len(statements), err)
	}

	before, err := scanner.Edition(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	database(t, dir, "CVE-2026-2000") // a newer database, while we run
	after, err := scanner.Edition(context.Background())
	if err != nil || before == after {
		t.Errorf("a newer database is the same edition: %q, %v", after, err)
	}
	if report, err := scanner.Scan(context.Background(), image); err != nil || report.Findings[0].ID != "CVE-2026-2000" {
		t.Errorf("got %+v, %v", report.Findings, err)
	}
}

func TestWithoutADatabaseNothingIsClean(t *testing.T) {
	s := scantest.Blobs{}
	report, err := New(Options{Blobs: s, Workplace: workplace(t)}).Scan(context.Background(), imageOf(t, s, debian))
	if err != nil || report.Packages != 0 || len(report.Unmatched) != 1 || !strings.Contains(report.Unmatched[0], "2 packages, as there is no database") {
		t.Errorf("got %+v, %v", report.Scan, err)
	}
	_, err = New(Options{Blobs: s, Workplace: workplace(t), Database: t.TempDir()}).Scan(context.Background(), imageOf(t, s, debian))
	if !errors.Is(err, scan.ErrUnknown) {
		t.Errorf("a database that is not there: got %v", err)
	}
}

func TestThreat153_AnImageThatIsNotWhatItSaysIsNotScanned(t *testing.T) {
	s, dir := scantest.Blobs{}, t.TempDir()
	database(t, dir, "CVE-1")
	image := imageOf(t, s, debian)
	other := imageOf(t, s, map[string]string{"etc/os-release": "ID=debian\nVERSION_ID=\"12\"\n"})
	raw := strings.Replace(string(image.Manifest.Raw), image.Manifest.Config.Digest.String(), other.Manifest.Config.Digest.String(), 1)
	m, err := manifest.Parse([]byte(raw), ocispec.MediaTypeImageManifest)
	if err != nil {
		t.Fatal(err)
	}
	report, err := New(Options{Blobs: s, Workplace: workplace(t), Database: dir}).Scan(context.Background(), scan.Image{Repo: "a", Manifest: m})
	if !errors.Is(err, scan.ErrUnknown) {
		t.Errorf("got %+v, %v", report.Scan, err)
	}
}

// said is a scanner that says it saw something.
type said struct{ scan.Report }

func (s said) Scan(context.Context, scan.Image) (scan.Report, error) { return s.Report, nil }
func (said) Edition(context.Context) (string, error)                 { return "1", nil }

func TestThreat152_AScannerThatSawLessThanWeDoHasNotScanned(t *testing.T) {
	s := scantest.Blobs{}
	files := maps.Clone(debian)
	files["app/node_modules/left-pad/package.json"] = `{"name":"left-pad","version":"1.0.0"}`
	image := imageOf(t, s, files)
	sbom := func(purls ...string) scan.Report {
		var components []string
		for _, purl := range purls {
			components = append(components, fmt.Sprintf(`{"type":"library","name":"x","purl":%q}`, purl))
		}
		return scan.Report{Scan: policy.Scan{Counted: true, Packages: len(purls)}, SBOM: []byte(`{"components":[` + strings.Join(components, ",") + `]}`)}
	}
	ssl, bash, pad := "pkg:deb/debian/libssl3@3.0.11-1~deb12u1?arch=amd64", "pkg:deb/debian/bash@5.2.15-2?arch=amd64", "pkg:npm/left-pad@1.0.0"
	for name, c := range map[string]struct {
		report scan.Report
		want   string // empty: it is taken
	}{
		"all of it":                       {sbom(ssl, bash, pad), ""},
		"more than we do":                 {sbom(ssl, bash, pad, "pkg:golang/stdlib@1.26"), ""},
		"nothing":                         {sbom(), "it did not see the package deb/"},
		"not all of the operating system": {sbom(bash, pad), "it did not see the package deb/libssl3"},
		"nothing of a language":           {sbom(ssl, bash), "it saw no package of npm"},
		"as many as there are":            {scan.Report{Scan: policy.Scan{Counted: true, Packages: 2}}, ""},
		"fewer than there are":            {scan.Report{Scan: policy.Scan{Counted: true, Packages: 1}}, "it saw 1 packages"},
		"a report that lists all":         {scan.Report{Scan: policy.Scan{Counted: true, Packages: 3}, Listed: []string{ssl, bash, pad}}, ""},
		"a report that lists others":      {scan.Report{Scan: policy.Scan{Counted: true, Packages: 3}, Listed: []string{bash, pad, pad}}, "it did not see the package deb/libssl3"},
		"a report that lists no language": {scan.Report{Scan: policy.Scan{Counted: true, Packages: 3}, Listed: []string{bash, ssl, bash}}, "it saw no package of npm"},
		"what it does not count":          {scan.Report{}, ""}, // which a policy refuses where nothing was found
		"half a list":                     {scan.Report{SBOM: []byte(`{"components":[`)}, "its bill of materials cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Compared{Scanner: said{c.report}, Blobs: s, Workplace: workplace(t)}.Scan(context.Background(), image)
			if c.want == "" && err != nil || c.want != "" && (!errors.Is(err, scan.ErrUnknown) || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// counted counts what is read of a registry.
type counted struct {
	scantest.Blobs
	opened *atomic.Int64 // bytes
}

func (c counted) OpenBlob(ctx context.Context, repo string, d digest.Digest) (io.ReadCloser, int64, error) {
	body, size, err := c.Blobs.OpenBlob(ctx, repo, d)
	c.opened.Add(size)
	return body, size, err
}

// grypeScript is a scanner that says it saw nothing at all.
func grypeScript(t testing.TB, blobs scan.Blobs, w *scan.Workplace, image scan.Image) *scan.Command {
	t.Helper()
	path := filepath.Join(t.TempDir(), "scanner")
	script := fmt.Sprintf(`#!/bin/sh
cat "$1"/blobs/sha256/* > /dev/null
echo '{"matches":[],"source":{"target":{"imageID":%q,"manifestDigest":%q}},"descriptor":{"name":"grype"}}'
`, image.Manifest.Config.Digest, image.Manifest.Digest)
	if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	c, err := scan.NewCommand(scan.CommandOptions{Argv: []string{path, scan.LayoutWord}, Format: predicate.Grype, Blobs: blobs, Workplace: w})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestBothLooksAtAnImageFetchItOnce(t *testing.T) {
	s := scantest.Blobs{}
	image, dir, opened := imageOf(t, s, debian), filepath.Join(t.TempDir(), "scan"), new(atomic.Int64)
	w, err := scan.OpenWorkplace(dir)
	if err != nil {
		t.Fatal(err)
	}
	blobs := counted{s, opened}
	report, err := Compared{Scanner: grypeScript(t, blobs, w, image), Blobs: blobs, Workplace: w}.Scan(t.Context(), image)
	if err != nil || len(report.Inventory) != 2 {
		t.Fatalf("got %+v, %v", report, err)
	}
	if want := image.Manifest.Config.Size + image.Manifest.Layers[0].Size; opened.Load() != want {
		t.Errorf("%d bytes were fetched, the image has %d", opened.Load(), want)
	}
	if _, err := (Compared{Scanner: said{}, Blobs: slow{s}, Workplace: w, Timeout: time.Millisecond}).Scan(t.Context(), image); !errors.Is(err, scan.ErrUnknown) || !strings.Contains(err.Error(), "it did not finish in 1ms") {
		t.Errorf("from a registry that hangs, got %v", err)
	}
	if err := os.Remove(dir); err != nil {
		t.Errorf("something was left: %v", err)
	}
}

// slow is a registry that answers when nobody waits any more.
type slow struct{ scantest.Blobs }

func (slow) OpenBlob(ctx context.Context, _ string, _ digest.Digest) (io.ReadCloser, int64, error) {
	<-ctx.Done()
	return nil, 0, context.Cause(ctx)
}

// BenchmarkCompared scans an image of 64 MiB of noise beside our own inventory. fetched is how much of the image was written
// to disk, in images.
func BenchmarkCompared(b *testing.B) {
	s := scantest.Blobs{}
	noise := make([]byte, 64<<20)
	_, _ = rand.NewChaCha8([32]byte{}).Read(noise)
	files := maps.Clone(debian)
	files["noise"] = string(noise)
	image, w, opened := imageOf(b, s, files), workplace(b), new(atomic.Int64)
	blobs := counted{s, opened}
	command := grypeScript(b, blobs, w, image)
	for name, scanner := range map[string]scan.Scanner{"alone": command, "compared": Compared{Scanner: command, Blobs: blobs, Workplace: w}} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(noise)))
			opened.Store(0)
			for b.Loop() {
				if _, err := scanner.Scan(b.Context(), image); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(opened.Load())/float64(b.N)/float64(len(noise)), "fetched/op")
		})
	}
}
