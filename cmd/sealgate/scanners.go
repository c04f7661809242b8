package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
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
	"github.com/sealgate/sealgate/verifier/scan/harbor"
)

// scannerFormats are the reports that are understood, with what their scanners are asked for their version by.
var scannerFormats = map[string][]string{
	string(predicate.Trivy): {"version", "-f", "json"},
	string(predicate.Grype): {"db", "status", "-o", "json"},
	string(predicate.SARIF): nil,
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
	return embedded.Compared{Scanner: command, Blobs: blobs, Workplace: b.workplace, Version: thisBuild().Version, Timeout: s.Timeout}, "", nil
}

// openHarbor makes a scanner of an adapter. Its door listens from then on, as long as the gateway runs.
func (b *builder) openHarbor(s Scanner, blobs scan.Blobs) (scan.Scanner, string, error) {
	adapter := s.Harbor
	token := ""
	if adapter.TokenFile != "" {
		raw, err := readPassword(adapter.TokenFile)
		if err != nil {
			return nil, ".harbor.token_file", err
		}
		token = string(raw)
	}
	at, err := url.Parse(adapter.URL)
	if err != nil {
		return nil, ".harbor.url", err
	}
	door := harbor.NewDoor()
	if b.queue != nil {
		if door, err = b.openDoor(adapter.Door.Address); err != nil {
			return nil, ".harbor.door.address", err
		}
	}
	reached := adapter.Door.URL
	if reached == "" {
		reached = "http://" + adapter.Door.Address
	}
	return harbor.New(harbor.Options{
		URL: at, Blobs: blobs, Door: door, DoorURL: reached, Bearer: token, Timeout: s.Timeout,
	}), "", nil
}

// standingDoor is a door that listens. It knows no image until a scan opens it.
type standingDoor struct {
	door   *harbor.Door
	server *http.Server
}

// openDoor returns the door at an address, a new one when there is none.
func (b *builder) openDoor(address string) (*harbor.Door, error) {
	if standing, ok := b.doors[address]; ok {
		return standing.door, nil
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	door := harbor.NewDoor()
	server := &http.Server{
		Handler: door, ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: adminTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug), // what strangers break off, and blobs that were cut short
	}
	go func() { _ = server.Serve(listener) }() // until closed
	if b.doors == nil {
		b.doors = map[string]standingDoor{}
	}
	b.doors[address] = standingDoor{door, server}
	return door, nil
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

var environmentPattern = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,127}=[^\x00-\x1f]*$`)

func (v *validator) scanners(c *Config) {
	seen := map[string]int{}
	for i, s := range c.Scanners {
		at := fmt.Sprintf("scanners[%d]", i)
		v.name(at, s.Name, namePattern, seen, i)
		if s.Timeout != 0 && (s.Timeout < 10*time.Second || s.Timeout > time.Hour) {
			v.add(at+".timeout", "must be between 10s and 1h")
		}
		kinds := 0
		for _, set := range []bool{s.Exec != nil, s.Harbor != nil, s.Embedded != nil} {
			if set {
				kinds++
			}
		}
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

func (v *validator) adapter(at string, a HarborAdapter) {
	v.origin(at+".url", a.URL)
	if a.TokenFile != "" && strings.HasPrefix(a.URL, "http://") && !isLoopback(a.URL) {
		v.add(at+".token_file", "would travel in plain text; use an https URL")
	}
	v.address(at+".door.address", a.Door.Address)
	if a.Door.URL != "" {
		v.origin(at+".door.url", a.Door.URL)
	} else if host, port, err := net.SplitHostPort(a.Door.Address); err == nil && (host == "" || port == "0" || net.ParseIP(host).IsUnspecified()) {
		v.add(at+".door.url", "is missing, and the address is none that an adapter could reach; say how it gets here")
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
