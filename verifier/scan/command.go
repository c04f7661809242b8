package scan

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/verifier/predicate"
)

// What stands in a command for where things are.
const (
	LayoutWord = "{layout}" // the image's OCI layout, a directory
	ReportWord = "{report}" // where the report is to be written; without it, it is read from standard output
	SBOMWord   = "{sbom}"   // where a bill of materials in CycloneDX is to be written
)

// CommandOptions say what to run. Argv, Format, Blobs and Workplace are required.
type CommandOptions struct {
	// Argv is the program, by an absolute path or a name on [Path], and its arguments, with [LayoutWord] in one of them.
	Argv []string

	// Version is a command that says, in JSON, which version scanner and database have, as `trivy version -f json` and
	// `grype db status -o json` do. Empty: a report is remembered for a few minutes only.
	Version []string

	// Format is what the report is written in.
	Format predicate.Format

	// Environment is all that the program finds in its environment beside PATH, HOME and TMPDIR.
	Environment []string

	// Digest is that of the program's file. Empty: whatever lies there is run.
	Digest digest.Digest

	// Timeout is the longest that a scan may take, [MaxDuration] by default.
	Timeout time.Duration

	// Hidden are files and directories that the program must not read: keys, and what the gateway knows.
	Hidden []string

	Blobs     Blobs
	Workplace *Workplace
	Limits    Limits
}

// Path is where programs are looked for, here and by themselves.
const Path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Command is a scanner that is a program. For each scan it is started anew, in a process group of its own, and where the
// system permits it without network, without sight of other processes and of hidden files; in an empty directory, with an
// empty home and next to no environment; bounded in time, memory, output and disk. It gets the image as an OCI layout that
// we wrote from what we hashed. Nothing of it remains.
type Command struct {
	CommandOptions
	program   string // of Argv
	asks      string // of Version
	isolation func() isolation

	mu     sync.Mutex // of what follows
	hashed identity   // of the program that is pinned

	asking  sync.Mutex // of what follows
	version versionInfo
	asked   time.Time
}

// NewCommand checks the options, and that the program is there.
func NewCommand(o CommandOptions) (*Command, error) {
	if len(o.Argv) == 0 || !strings.Contains(strings.Join(o.Argv[1:], "\x00"), LayoutWord) {
		return nil, fmt.Errorf("the command has no argument with %s, so it would scan nothing", LayoutWord)
	}
	switch o.Format {
	case predicate.Trivy, predicate.Grype, predicate.SARIF:
	default:
		return nil, fmt.Errorf("no report is called %q", o.Format)
	}
	if o.Timeout <= 0 {
		o.Timeout = MaxDuration
	}
	o.Limits = o.Limits.orDefaults()
	program, err := look(o.Argv[0])
	if err != nil {
		return nil, err
	}
	c := &Command{CommandOptions: o, program: program}
	if len(o.Version) > 0 {
		if c.asks, err = look(o.Version[0]); err != nil {
			return nil, err
		}
		if o.Digest != "" && c.asks != program {
			return nil, fmt.Errorf("%s, which is to tell the version, is another program than the one that is pinned", c.asks)
		}
	}
	c.isolation = sync.OnceValue(probe)
	file, err := c.open(program)
	if err != nil {
		return nil, err
	}
	return c, file.Close()
}

func look(name string) (string, error) {
	if filepath.IsAbs(name) {
		return name, nil
	}
	if strings.Contains(name, "/") {
		return "", fmt.Errorf("%s is neither an absolute path nor a name", name)
	}
	for dir := range strings.SplitSeq(Path, ":") {
		path := filepath.Join(dir, name)
		if stat, err := os.Stat(path); err == nil && stat.Mode().IsRegular() && stat.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s is in none of %s", name, Path)
}

// open opens a program, and makes sure that it is the one that is meant. What has not changed since it was hashed is not hashed
// again: that takes longer than most scans.
func (c *Command) open(path string) (*os.File, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	stat, err := file.Stat()
	if err != nil || !stat.Mode().IsRegular() {
		return nil, errors.Join(fmt.Errorf("%s is no program", path), file.Close())
	}
	if c.Digest == "" {
		return file, nil
	}
	c.mu.Lock()
	hashed := c.hashed
	c.mu.Unlock()
	if now, ok := identityOf(stat); ok && now == hashed {
		return file, nil
	}
	got, err := c.Digest.Algorithm().FromReader(file)
	if err == nil && got != c.Digest {
		err = fmt.Errorf("%s has the digest %s, not the one that is pinned", path, got)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	if id, ok := identityOf(stat); ok && id.settled(time.Now()) {
		c.mu.Lock()
		c.hashed = id
		c.mu.Unlock()
	}
	return file, nil
}

// Confinement says what this system does not permit us to keep the program from, one line for a person; empty when nothing.
func (c *Command) Confinement() string { return c.isolation().lacks() }

// Scan implements [Scanner].
func (c *Command) Scan(ctx context.Context, image Image) (Report, error) {
	report, err := c.scan(ctx, image)
	if err != nil {
		return Report{}, fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	return report, nil
}

func (c *Command) scan(ctx context.Context, image Image) (Report, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, c.Timeout, fmt.Errorf("it did not finish in %s", c.Timeout))
	defer cancel()
	began := time.Now()
	version, err := c.ask(ctx)
	if err != nil {
		return Report{}, fmt.Errorf("ask for its version: %w", err)
	}
	folder, done, err := c.Workplace.LayOut(ctx, c.Blobs, image)
	if err != nil {
		return Report{}, err
	}
	defer done()

	out := filepath.Join(folder, "out")
	if err := os.Mkdir(out, 0o700); err != nil {
		return Report{}, err
	}
	words := strings.NewReplacer(LayoutWord, filepath.Join(folder, LayoutName), ReportWord, filepath.Join(out, "report"), SBOMWord, filepath.Join(out, "sbom"))
	var argv []string
	for _, word := range c.Argv {
		argv = append(argv, words.Replace(word))
	}
	var report Report
	var read error
	err = c.run(ctx, folder, c.program, argv, MaxReport, func(stdout io.Reader) error {
		if !c.uses(ReportWord) {
			read = c.read(stdout, image, &report)
			return read
		}
		_, err := io.Copy(io.Discard, stdout)
		return err
	})
	if err == nil && c.uses(ReportWord) {
		err = readFile(out, "report", func(r io.Reader) error {
			read = c.read(r, image, &report)
			return read
		})
	}
	if err == nil && c.uses(SBOMWord) {
		err = readFile(out, "sbom", func(r io.Reader) error { return report.takeSBOM(r) })
	}
	if err != nil {
		return Report{}, err
	}

	report.Started = began
	report.Database = older(report.Database, version.database)
	if report.Version == "" {
		report.Version = version.scanner
	}
	if report.Finished.IsZero() || report.Finished.After(time.Now()) {
		report.Finished = time.Now()
	}
	return report, nil
}

func (c *Command) uses(word string) bool {
	for _, arg := range c.Argv {
		if strings.Contains(arg, word) {
			return true
		}
	}
	return false
}

// read reads a report, and makes sure that it is about the image.
func (c *Command) read(from io.Reader, image Image, into *Report) error {
	report, err := predicate.ReadReport(from)
	if err != nil {
		return fmt.Errorf("its report cannot be read: %w", err)
	}
	if report.Format != c.Format {
		return fmt.Errorf("its report is one of %s, not of %s", report.Format, c.Format)
	}
	manifest, config := image.Manifest.Digest.String(), image.Manifest.Config.Digest.String()
	switch {
	case c.Format == predicate.Grype && report.Manifest != manifest:
		return fmt.Errorf("its report is about the image %.71q, not about %s", report.Manifest, manifest)
	case c.Format == predicate.Trivy && report.Config != config:
		return fmt.Errorf("its report is about the image %.71q, not about %s", report.Config, config)
	}
	if report.Scanner == "" {
		report.Scanner = string(c.Format)
	}
	into.Scan, into.Listed = report.Scan, report.Listed
	return nil
}

// takeSBOM counts the packages that the scanner saw. A report that counts them itself must not count more.
func (r *Report) takeSBOM(from io.Reader) error {
	raw, err := io.ReadAll(io.LimitReader(from, MaxReport+1))
	if err != nil {
		return err
	}
	if len(raw) > MaxReport {
		return fmt.Errorf("its bill of materials has more than %d bytes", MaxReport)
	}
	facts, err := predicate.Read(policy.PredicateTypes("cyclonedx")[0], bytes.NewReader(raw))
	if err != nil {
		return fmt.Errorf("its bill of materials cannot be read: %w", err)
	}
	r.Packages, r.Counted, r.SBOM = facts.SBOM.Packages, true, raw
	return nil
}

// readFile reads a regular file that the program wrote into a directory, and nothing that it leads to.
func readFile(dir, name string, read func(io.Reader) error) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	file, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0) // a pipe would wait for its other end
	if err != nil {
		return fmt.Errorf("it wrote no %s", name)
	}
	defer file.Close()
	stat, err := file.Stat()
	if err != nil || !stat.Mode().IsRegular() {
		return fmt.Errorf("its %s is no file", name)
	}
	if stat.Size() > MaxReport {
		return fmt.Errorf("its %s has more than %d bytes", name, MaxReport)
	}
	return read(file)
}
