package scan

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/policy/strictjson"
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

	mu      sync.Mutex
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

// open opens a program, and makes sure that it is the one that is meant.
func (c *Command) open(path string) (*os.File, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if stat, err := file.Stat(); err != nil || !stat.Mode().IsRegular() {
		return nil, errors.Join(fmt.Errorf("%s is no program", path), file.Close())
	}
	if c.Digest == "" {
		return file, nil
	}
	got, err := c.Digest.Algorithm().FromReader(file)
	if err == nil && got != c.Digest {
		err = fmt.Errorf("%s has the digest %s, not the one that is pinned", path, got)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
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
			report.Scan, read = c.read(stdout, image)
			return read
		}
		_, err := io.Copy(io.Discard, stdout)
		return err
	})
	if err == nil && c.uses(ReportWord) {
		err = readFile(out, "report", func(r io.Reader) error {
			report.Scan, read = c.read(r, image)
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
func (c *Command) read(r io.Reader, image Image) (policy.Scan, error) {
	report, err := predicate.ReadReport(r)
	if err != nil {
		return policy.Scan{}, fmt.Errorf("its report cannot be read: %w", err)
	}
	if report.Format != c.Format {
		return policy.Scan{}, fmt.Errorf("its report is one of %s, not of %s", report.Format, c.Format)
	}
	manifest, config := image.Manifest.Digest.String(), image.Manifest.Config.Digest.String()
	switch {
	case c.Format == predicate.Grype && report.Manifest != manifest:
		return policy.Scan{}, fmt.Errorf("its report is about the image %.71q, not about %s", report.Manifest, manifest)
	case c.Format == predicate.Trivy && report.Config != config:
		return policy.Scan{}, fmt.Errorf("its report is about the image %.71q, not about %s", report.Config, config)
	}
	if report.Scanner == "" {
		report.Scanner = string(c.Format)
	}
	return report.Scan, nil
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

// versionInfo is what a program says of itself.
type versionInfo struct {
	scanner  string
	database time.Time
	edition  string
}

// versionFor is how long a version is believed.
const versionFor = 15 * time.Second

// undatedFor is how long a scanner without a version command is believed to be the same.
const undatedFor = 10 * time.Minute

// Edition implements [Scanner].
func (c *Command) Edition(ctx context.Context) (string, error) {
	version, err := c.ask(ctx)
	return version.edition, err
}

// ask asks the program for its version, from time to time.
func (c *Command) ask(ctx context.Context) (versionInfo, error) {
	if len(c.CommandOptions.Version) == 0 {
		return versionInfo{edition: time.Now().Truncate(undatedFor).UTC().Format(time.RFC3339)}, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.asked) < versionFor {
		return c.version, nil
	}
	folder, done, err := c.Workplace.Folder()
	if err != nil {
		return versionInfo{}, err
	}
	defer done()
	var raw []byte
	err = c.run(ctx, folder, c.asks, c.CommandOptions.Version, maxVersion, func(stdout io.Reader) error {
		raw, err = io.ReadAll(stdout)
		return err
	})
	if err != nil {
		return versionInfo{}, err
	}
	if c.version, err = readVersion(raw); err != nil {
		return versionInfo{}, err
	}
	c.asked = time.Now()
	return c.version, nil
}

// readVersion reads `trivy version -f json` and `grype db status -o json`.
func readVersion(raw []byte) (versionInfo, error) {
	var said struct {
		Version  string `json:"Version"` // Trivy's
		Built    string `json:"built"`   // Grype's
		Valid    *bool  `json:"valid"`
		Database struct {
			Updated string `json:"UpdatedAt"`
		} `json:"VulnerabilityDB"`
	}
	if err := strictjson.Decode(raw, &said); err != nil {
		return versionInfo{}, fmt.Errorf("what it says of its version cannot be read: %w", err)
	}
	if said.Valid != nil && !*said.Valid {
		return versionInfo{}, errors.New("it says that its database is not valid")
	}
	sum := sha256.Sum256(raw)
	v := versionInfo{scanner: said.Version, edition: hex.EncodeToString(sum[:12])}
	for _, text := range []string{said.Built, said.Database.Updated} {
		if text == "" {
			continue
		}
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			return versionInfo{}, fmt.Errorf("its database is of %.60q, which is no time", text)
		}
		v.database = older(v.database, at.UTC())
	}
	return v, nil
}

// older is the earlier of two times of which one may be unknown.
func older(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// run runs a program in a folder and hands its standard output to read. Whatever its exit status is: what it printed says
// whether it did its work, unless something ended it.
func (c *Command) run(ctx context.Context, folder, path string, argv []string, limit int64, read func(io.Reader) error) error {
	program, err := c.open(path)
	if err != nil {
		return err
	}
	defer program.Close()
	env := append([]string{"PATH=" + Path}, c.Environment...)
	for name, dir := range map[string]string{"HOME": "home", "TMPDIR": "tmp", "": "cwd"} {
		path := filepath.Join(folder, dir)
		if err := os.MkdirAll(path, 0o700); err != nil {
			return err
		}
		if name != "" {
			env = append(env, name+"="+path)
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	cmd, err := c.confined(ctx, folder, program, argv)
	if err != nil {
		return err
	}
	cmd.Env, cmd.Dir = env, filepath.Join(folder, "cwd")
	complaint, before := &tail{}, used(folder)
	cmd.Stderr = complaint
	stdout, err := pipeTo(cmd)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return cause // before it began
	}
	if err != nil {
		return err
	}
	defer stdout.Close()
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		c.watchDisk(ctx, folder, before, cancel)
	}()
	done := make(chan error, 1)
	go func() {
		err := read(&capped{stdout, limit})
		if err != nil {
			time.AfterFunc(grace, func() { cancel(err) }) // it may say itself why it ends
		}
		done <- err
	}()

	waitErr := cmd.Wait()
	_ = stdout.SetReadDeadline(time.Now().Add(grace)) // somebody else may hold its other end
	readErr := <-done
	cause := context.Cause(ctx)
	cancel(nil)
	<-watched

	exit, _ := errors.AsType[*exec.ExitError](waitErr)
	var status syscall.WaitStatus
	if exit != nil {
		status, _ = exit.Sys().(syscall.WaitStatus)
	}
	switch {
	case cause != nil && cause != readErr:
		return fmt.Errorf("%w%s", cause, complaint.said())
	case cause == nil && status.Signaled():
		return fmt.Errorf("it was ended by a signal (%s)%s", status.Signal(), complaint.said())
	case readErr != nil && exit != nil && !status.Signaled():
		return fmt.Errorf("%w (exit status %d)%s", readErr, status.ExitStatus(), complaint.said())
	case readErr != nil:
		return fmt.Errorf("%w%s", readErr, complaint.said())
	case waitErr != nil && exit == nil:
		return waitErr
	}
	return nil
}

// grace is how long a program has to end by itself, and its pipes to empty.
const grace = 500 * time.Millisecond

// pipeTo starts a program and returns its standard output.
func pipeTo(cmd *exec.Cmd) (*os.File, error) {
	out, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd.Stdout = in
	err = cmd.Start()
	_ = in.Close()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start it: %w", err), out.Close())
	}
	return out, nil
}

// watchDisk ends a program that fills the disk. What lay in its folder before is not its own.
func (c *Command) watchDisk(ctx context.Context, folder string, before int64, end context.CancelCauseFunc) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if used(folder)-before > c.Limits.Scratch {
				end(fmt.Errorf("it wrote more than %d bytes to disk", c.Limits.Scratch))
				return
			}
		}
	}
}

// used is how much lies in a directory.
func used(dir string) (sum int64) {
	_ = filepath.WalkDir(dir, func(_ string, entry os.DirEntry, err error) error {
		if err != nil {
			return nil // it was removed meanwhile
		}
		if info, err := entry.Info(); err == nil {
			if stat, ok := info.Sys().(*syscall.Stat_t); ok {
				sum += stat.Blocks * 512
			}
		}
		return nil
	})
	return sum
}

// removeAll removes a folder, whatever modes the program gave to what is in it.
func removeAll(folder string) {
	if os.RemoveAll(folder) == nil {
		return
	}
	_ = filepath.WalkDir(folder, func(path string, entry os.DirEntry, err error) error {
		if entry != nil && entry.IsDir() {
			_ = os.Chmod(path, 0o700)
		}
		return nil
	})
	_ = os.RemoveAll(folder) // what is left goes with the next start
}

// capped fails where there is more than a limit.
type capped struct {
	from io.Reader
	left int64
}

func (c *capped) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	if c.left -= int64(n); c.left < 0 {
		return 0, errors.New("it printed too much")
	}
	return n, err
}

// tail keeps the end of what is written to it.
type tail struct{ end []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.end = append(t.end, p...)
	if over := len(t.end) - maxComplaint; over > 0 {
		t.end = append(t.end[:0], t.end[over:]...)
	}
	return len(p), nil
}

// said is the last line, for the log.
func (t *tail) said() string {
	lines := strings.Split(strings.TrimSpace(string(t.end)), "\n")
	last := policy.Printable(lines[len(lines)-1])
	if last == "" {
		return ""
	}
	return "; it said: " + last
}
