package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/sealgate/sealgate/gateway"
	"github.com/sealgate/sealgate/policy/manifest"
	"github.com/sealgate/sealgate/verifier/predicate"
	"github.com/sealgate/sealgate/verifier/scan"
	"github.com/sealgate/sealgate/verifier/scan/embedded"
)

// Scanner is something that looks for vulnerabilities in images.
type Scanner struct {
	// Name is what policies call it.
	Name string `mapstructure:"name"`

	// Exec is a program that prints a report. It is run for each image anew, without network, keys and environment.
	Exec *ScannerProgram `mapstructure:"exec"`

	// Embedded is our own scanner: a child lists the packages, which are looked up in a local database.
	Embedded *EmbeddedScanner `mapstructure:"embedded"`

	// Harbor is a service that speaks Harbor's Pluggable Scanner API.
	Harbor *HarborAdapter `mapstructure:"harbor"`

	// Timeout is the longest that a scan may take, between 10s and 1h. Default 5m.
	Timeout time.Duration `mapstructure:"timeout"`
}

// ScannerProgram is a scanner that is a program, such as Trivy or Grype.
type ScannerProgram struct {
	// Command is the program, by an absolute path or a name in the usual directories, and its arguments. {layout} stands
	// for the image, a directory that is an OCI layout, and has to be among them; {report} for the file that the report
	// is to be written to, without which it is read from standard output; {sbom} for one that a bill of materials in
	// CycloneDX is to be written to, for scanners whose report does not count the packages that they saw.
	Command []string `mapstructure:"command"`

	// Report is what the report is written in: trivy, grype or sarif.
	Report string `mapstructure:"report"`

	// VersionCommand says in JSON which version scanner and database have. Default for trivy: its version -f json, for
	// grype: its db status -o json, for sarif: none.
	VersionCommand []string `mapstructure:"version_command"`

	// Environment lists NAME=VALUE for the program, which has no other environment. No secrets: it is run on what
	// anybody pushed.
	Environment []string `mapstructure:"environment"`

	// Digest pins the program's file: sha256: and 64 digits. Default: whatever lies there is run.
	Digest string `mapstructure:"digest"`
}

// EmbeddedScanner is our own scanner.
type EmbeddedScanner struct {
	// Database is the directory of its database, which sealgate scan --update-database fills. Default: none, and then
	// packages are listed and not looked up, which no policy takes for clean.
	Database string `mapstructure:"database"`
}

// fingerprint changes with what a scanner is configured to be.
func (s Scanner) fingerprint() string {
	raw, err := json.Marshal(s)
	if err != nil {
		panic("config: plain structs always marshal: " + err.Error())
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:12])
}

// scannerFormats are the reports that are understood, with what their scanners are asked for their version by.
var scannerFormats = map[string][]string{
	string(predicate.Trivy): {"version", "-f", "json"},
	string(predicate.Grype): {"db", "status", "-o", "json"},
	string(predicate.SARIF): nil,
}

var environmentPattern = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,127}=[^\x00-\x1f]*$`)

func (v *validator) scanners(c *Config) {
	seen := map[string]int{}
	for i, s := range c.Scanners {
		at := fmt.Sprintf("scanners[%d]", i)
		v.name(at, s.Name, namePattern, seen, i)
		if s.Timeout != 0 && (s.Timeout < 10*time.Second || s.Timeout > time.Hour) {
			v.add(at+".timeout", "must be between 10s and 1h")
		}
		kinds := howMany(s.Exec != nil, s.Harbor != nil, s.Embedded != nil)
		switch {
		case kinds > 1:
			v.add(at, "has more than one of embedded, exec and harbor; they contradict each other")
		case s.Exec != nil:
			v.program(at+".exec", *s.Exec)
		case s.Harbor != nil:
			v.adapter(at+".harbor", *s.Harbor)
		case s.Embedded == nil:
			v.add(at, "has neither embedded nor exec nor harbor; say how it scans")
		}
	}
}

func (v *validator) program(at string, p ScannerProgram) {
	_, known := scannerFormats[p.Report]
	switch {
	case len(p.Command) == 0 || p.Command[0] == "":
		v.add(at, "has no command; write the program and its arguments as a list")
	case !strings.Contains(strings.Join(p.Command[1:], " "), scan.LayoutWord):
		v.add(at+".command", "has no argument with %s, which stands for the image", scan.LayoutWord)
	}
	if !known {
		v.add(at+".report", "is none of grype, sarif, trivy")
	}
	for i, variable := range p.Environment {
		if !environmentPattern.MatchString(variable) {
			v.add(fmt.Sprintf("%s.environment[%d]", at, i), "is not NAME=VALUE")
		}
	}
	if d := digest.Digest(p.Digest); p.Digest != "" && (manifest.CheckDigest(d) != nil || d.Algorithm() != digest.SHA256) {
		v.add(at+".digest", "is not sha256: and 64 digits")
	}
}

// openScanners makes the configured scanners. Those that are opened wait for their turn in the builder's queue.
func (b *builder) openScanners(l *Loaded, blobs scan.Blobs, made *built) (map[string]gateway.Scanner, Problems) {
	all := map[string]gateway.Scanner{}
	var problems Problems
	for i, s := range l.Config.Scanners {
		scanner, at, err := b.openScanner(l, s, blobs, made)
		if err != nil {
			problems = append(problems, l.problem(fmt.Sprintf("scanners[%d]%s", i, at), "%v", err))
			continue
		}
		if b.queue != nil {
			all[s.Name] = b.queue.Before(scanner, s.Name, s.fingerprint())
		}
	}
	return all, problems
}

// openScanner makes one scanner, or says at which key it cannot be made.
func (b *builder) openScanner(l *Loaded, s Scanner, blobs scan.Blobs, made *built) (scanner scan.Scanner, at string, err error) {
	if s.Harbor != nil {
		return b.openHarbor(s, blobs)
	}
	if s.Embedded != nil {
		return embedded.New(embedded.Options{
			Blobs: blobs, Workplace: b.workplace, Database: s.Embedded.Database, Version: thisBuild().Version, Timeout: s.Timeout,
		}), "", nil
	}
	version := s.Exec.VersionCommand
	if extra := scannerFormats[s.Exec.Report]; version == nil && extra != nil {
		version = append([]string{s.Exec.Command[0]}, extra...)
	}
	command, err := scan.NewCommand(scan.CommandOptions{
		Argv: s.Exec.Command, Version: version, Format: predicate.Format(s.Exec.Report), Environment: s.Exec.Environment,
		Digest: digest.Digest(s.Exec.Digest), Timeout: s.Timeout, Hidden: l.Config.secrets(), Blobs: blobs, Workplace: b.workplace,
	})
	if err != nil {
		return nil, ".exec.command", err
	}
	if b.workplace != nil {
		if lacks := command.Confinement(); lacks != "" {
			made.warn("this system does not permit to confine a scanner as it should be", "scanner", s.Name, "it_can", lacks)
		}
		if s.Exec.Digest == "" {
			made.warn("a scanner is not pinned: whatever lies at its path is run", "scanner", s.Name)
		}
	}
	return b.compared(command, s, blobs), "", nil
}

// compared is a scanner whose word is held against our own inventory.
func (b *builder) compared(scanner scan.Scanner, s Scanner, blobs scan.Blobs) scan.Scanner {
	return embedded.Compared{Scanner: scanner, Blobs: blobs, Workplace: b.workplace, Version: thisBuild().Version, Timeout: s.Timeout}
}

// secrets are the files and directories that a scanner must not see.
func (c *Config) secrets() []string {
	all := []string{c.Storage.Directory}
	for path, file := range c.paths() {
		if *file != "" && (strings.HasSuffix(path, ".key.file") || strings.HasSuffix(path, "password_file") || strings.HasSuffix(path, "pin_file") || strings.HasSuffix(path, "token_file") || path == "listen.tls.key" || path == "clients.htpasswd") {
			all = append(all, *file)
		}
	}
	return all
}

const scanFolder = "scan" // in the storage directory: what scanners read and write

func (c *Config) scanDirectory() string { return filepath.Join(c.Storage.Directory, scanFolder) }
