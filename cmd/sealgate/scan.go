package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/policy/manifest"
	"github.com/sealgate/sealgate/verifier/scan"
	"github.com/sealgate/sealgate/verifier/scan/osv"
	"github.com/spf13/cobra"
)

func newScan() *cobra.Command {
	o := scanOptions{format: "table"}
	cmd := &cobra.Command{
		Use:   "scan REF|DIR|TAR",
		Short: "Look for vulnerabilities in an image, as a push would",
		Long: `Look for known vulnerabilities in an image, with a scanner of the configuration: the one that --scanner names, or the first.
Without one it is the embedded scanner, with the database in the storage directory.

REF is the image as it is typed at the gateway: [host/]repo[:tag][@digest]. DIR is an OCI layout with one image. TAR is such a
layout as a tar, or what docker save writes, compressed by gzip or not; "-" is one on standard input. Of an image for several
platforms it is the one of --platform.

--update-database makes the embedded scanner's database anew, from a zip of OSV records, a directory of such zips or of the
records themselves, or a URL; then an image is not needed.

Exit codes: 0 done, whatever was found, unless --exit-code says otherwise; 2 usage or configuration, 4 not found,
5 upstream or credentials, 6 it could not be scanned.`,
		Example: `  sealgate scan app:v1
  sealgate scan --severity HIGH,CRITICAL --ignore-unfixed --exit-code 1 app:v1
  sealgate scan -o sarif ./image > results.sarif
  docker save app:v1 | sealgate scan -
  sealgate scan --update-database ./osv-zips`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 || len(args) == 0 && o.updateFrom == "" {
				return usage("scan takes one image, like: sealgate scan app:v1")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, args) },
	}
	o.source.flags(cmd)
	f := cmd.Flags()
	f.StringVarP(&o.format, "format", "o", o.format, "how to print the result: "+strings.Join(scanFormats, ", "))
	f.StringVar(&o.scanner, "scanner", "", "the scanner's name in the configuration (default: the first)")
	f.StringVar(&o.platform, "platform", "linux/"+runtime.GOARCH, "which image of several")
	f.StringVar(&o.severities, "severity", "", "only findings of these: UNKNOWN, NONE, LOW, MEDIUM, HIGH, CRITICAL, separated by commas")
	f.BoolVar(&o.ignoreUnfixed, "ignore-unfixed", false, "only findings with a fix")
	f.IntVar(&o.exitCode, "exit-code", 0, "what to end with when there are findings")
	f.StringVar(&o.updateFrom, "update-database", "", "make the embedded scanner's database anew from here")
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(scanFormats, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

var scanFormats = []string{"table", "json", "sarif", "cyclonedx", "spdx"}

// scanOptions are the flags of scan.
type scanOptions struct {
	source        configSource
	format        string
	scanner       string
	platform      string
	severities    string
	ignoreUnfixed bool
	exitCode      int
	updateFrom    string
}

func (o *scanOptions) run(cmd *cobra.Command, args []string) error {
	if !slices.Contains(scanFormats, o.format) {
		return usage("--format is none of %s", strings.Join(scanFormats, ", "))
	}
	keep, err := o.filter()
	if err != nil {
		return err
	}
	if o.exitCode < 0 || o.exitCode > 255 {
		return usage("--exit-code is not between 0 and 255")
	}
	loaded, err := o.source.load()
	if err != nil {
		return err
	}
	chosen, err := o.choose(&loaded.Config)
	if err != nil {
		return err
	}
	if o.updateFrom != "" {
		if err := updateDatabase(cmd.Context(), cmd.ErrOrStderr(), o.updateFrom, chosen); err != nil || len(args) == 0 {
			return err
		}
	}

	done := meanwhile(cmd.ErrOrStderr(), "scanning "+args[0])
	report, image, err := o.scan(cmd.Context(), loaded, chosen, args[0])
	done()
	if err != nil {
		return err
	}
	if chosen.Embedded != nil && chosen.Embedded.Database == "" {
		fmt.Fprintln(cmd.ErrOrStderr(), "sealgate: there is no database of vulnerabilities; make one with: sealgate scan --update-database FROM")
	}
	report.Findings = slices.DeleteFunc(report.Findings, func(f policy.Finding) bool { return !keep(f) })
	slices.SortStableFunc(report.Findings, policy.CompareFindings)
	result := scanResult{typed: args[0], image: image, report: report}
	if err := result.print(cmd.OutOrStdout(), o.format); err != nil {
		return err
	}
	if len(report.Findings) > 0 && o.exitCode != 0 {
		return &exitError{code: exitCode(o.exitCode)}
	}
	return nil
}

// filter says which findings are shown.
func (o *scanOptions) filter() (func(policy.Finding) bool, error) {
	var wanted []string
	for word := range strings.SplitSeq(o.severities, ",") {
		word = strings.ToUpper(strings.TrimSpace(word))
		if word == "" {
			continue
		}
		if !slices.Contains(policy.SeverityNames(), word) {
			return nil, usage("--severity has %.40q, which is none of %s", word, strings.Join(policy.SeverityNames(), ", "))
		}
		wanted = append(wanted, word)
	}
	return func(f policy.Finding) bool {
		return (len(wanted) == 0 || slices.Contains(wanted, f.Severity.String())) && (!o.ignoreUnfixed || f.Fix == policy.FixAvailable)
	}, nil
}

// choose finds the scanner in the configuration. Without any it is the embedded one.
func (o *scanOptions) choose(c *Config) (Scanner, error) {
	if o.updateFrom != "" {
		for _, s := range c.Scanners {
			if s.Embedded != nil && (o.scanner == "" || s.Name == o.scanner) && s.Embedded.Database != "" {
				return s, nil
			}
		}
	}
	for _, s := range c.Scanners {
		if o.scanner == "" || s.Name == o.scanner {
			return s, nil
		}
	}
	if o.scanner != "" {
		return Scanner{}, usage("no scanner is called %q", o.scanner)
	}
	own := Scanner{Name: "embedded", Embedded: &EmbeddedScanner{}}
	standard := filepath.Join(c.Storage.Directory, "osv")
	if _, err := os.Stat(filepath.Join(standard, osv.FileName)); err == nil || o.updateFrom != "" {
		own.Embedded.Database = standard
	}
	return own, nil
}

func updateDatabase(ctx context.Context, out io.Writer, from string, s Scanner) error {
	if s.Embedded == nil || s.Embedded.Database == "" {
		return usage("there is no embedded scanner with a database to update; configure scanners[].embedded.database")
	}
	if err := os.MkdirAll(s.Embedded.Database, 0o755); err != nil {
		return err
	}
	done := meanwhile(out, "importing "+from)
	about, err := osv.Importer{Client: http.DefaultClient, Now: time.Now}.Import(ctx, from, s.Embedded.Database)
	done()
	if err != nil {
		return &exitError{exitUpstream, err}
	}
	total := 0
	for _, n := range about.Ecosystems {
		total += n
	}
	fmt.Fprintf(out, "database %s: %d records of %d ecosystems, the newest of %s\n", s.Embedded.Database, total, len(about.Ecosystems), about.Updated.Format(time.DateOnly))
	return nil
}

// scan scans an image, in a workplace of its own.
func (o *scanOptions) scan(ctx context.Context, loaded *Loaded, chosen Scanner, typed string) (scan.Report, scan.Image, error) {
	fail := func(err error) (scan.Report, scan.Image, error) { return scan.Report{}, scan.Image{}, err }
	scratch, err := os.MkdirTemp("", "sealgate-scan-")
	if err != nil {
		return fail(err)
	}
	defer os.RemoveAll(scratch)
	b := &builder{getenv: os.Getenv, alone: true, scanner: chosen.Name}
	if b.workplace, err = scan.OpenWorkplace(filepath.Join(scratch, "work")); err != nil {
		return fail(err)
	}

	local, err := openLocal(typed, scratch)
	if err != nil {
		return fail(err)
	}
	if local != nil {
		defer local.close()
	}
	image, blobs, err := o.find(ctx, loaded, b, local, typed)
	defer b.close()
	if err != nil {
		return fail(err)
	}
	scanner, at, err := b.openScanner(loaded, chosen, blobs, &built{})
	if err != nil {
		return fail(usage("scanner %s%s: %v", chosen.Name, at, err))
	}
	report, err := scanner.Scan(ctx, image)
	if err != nil {
		return fail(&exitError{exitUndecided, err})
	}
	return report, image, nil
}

// find reads the manifest of an image on disk, or behind the gateway.
func (o *scanOptions) find(ctx context.Context, loaded *Loaded, b *builder, local *localImage, typed string) (scan.Image, scan.Blobs, error) {
	if local != nil {
		m, err := o.pick(local.read)
		return scan.Image{Repo: "image", Manifest: m}, local, err
	}

	made, err := b.build(loaded)
	if err != nil {
		return scan.Image{}, nil, err
	}
	if err := b.keep(made); err != nil {
		return scan.Image{}, nil, err
	}
	registries := made.Regime.Registries
	ref, err := parseReference(typed, prefixesOf(registries))
	if err != nil {
		return scan.Image{}, nil, err
	}
	m, err := o.pick(func(d digest.Digest, _ string) ([]byte, string, error) {
		asked := ref.asked()
		if d != "" {
			asked = d.String()
		}
		return registries.Manifest(ctx, ref.repo, asked)
	})
	if err != nil {
		if usageError, ok := errors.AsType[*exitError](err); ok {
			return scan.Image{}, nil, usageError
		}
		return scan.Image{}, nil, upstreamError(err)
	}
	return scan.Image{Repo: ref.repo, Manifest: m}, registries, nil
}

// pick follows indexes to the image of the platform.
func (o *scanOptions) pick(read func(d digest.Digest, mediaType string) ([]byte, string, error)) (*manifest.Manifest, error) {
	var d ocispec.Descriptor
	for range 4 {
		raw, mediaType, err := read(d.Digest, d.MediaType)
		if err != nil {
			return nil, err
		}
		if d.Digest != "" && d.Digest.Algorithm().FromBytes(raw) != d.Digest {
			return nil, fmt.Errorf("%s: other bytes came than the digest says", d.Digest)
		}
		m, err := manifest.Parse(raw, mediaType)
		if err != nil || !m.IsIndex() {
			return m, err
		}
		if d, err = o.choosePlatform(m.Manifests); err != nil {
			return nil, err
		}
	}
	return nil, usage("indexes are nested too deep")
}

func (o *scanOptions) choosePlatform(all []ocispec.Descriptor) (ocispec.Descriptor, error) {
	if len(all) == 1 {
		return all[0], nil
	}
	var have []string
	for _, d := range all {
		if d.Platform == nil {
			continue
		}
		name := d.Platform.OS + "/" + d.Platform.Architecture
		if d.Platform.Variant != "" && name+"/"+d.Platform.Variant == o.platform || name == o.platform {
			return d, nil
		}
		have = append(have, name)
	}
	return ocispec.Descriptor{}, usage("there is no image for %s; there are %s", o.platform, strings.Join(have, ", "))
}

// scanResult is what scan prints.
type scanResult struct {
	typed  string
	image  scan.Image
	report scan.Report
}

func (r *scanResult) print(w io.Writer, format string) error {
	switch format {
	case "table":
		r.table(w)
		return nil
	case "cyclonedx", "spdx":
		sbom := r.report.SBOM
		if format == "spdx" {
			sbom = r.report.SPDX
		}
		if sbom == nil {
			return usage("the scanner %s writes no %s", r.report.Scanner, format)
		}
		_, err := w.Write(sbom)
		return err
	}
	var value any = r.json()
	if format == "sarif" {
		value = r.sarif()
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(value)
}
