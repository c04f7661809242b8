package scan

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/verifier/predicate"
	"github.com/sealgate/sealgate/verifier/scan/scantest"
)

// program writes a scanner as a script, of which $1 is the layout, $2 the report's and $3 the SBOM's place.
func program(t *testing.T, script string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "scanner")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func command(t *testing.T, s scantest.Blobs, script string, change ...func(*CommandOptions)) *Command {
	t.Helper()
	o := CommandOptions{
		Argv: []string{program(t, script), LayoutWord}, Format: predicate.Grype, Blobs: s, Workplace: workplace(t), Timeout: 20 * time.Second,
	}
	for _, c := range change {
		c(&o)
	}
	c, err := NewCommand(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func withFiles(o *CommandOptions) { o.Argv = append(o.Argv, ReportWord, SBOMWord) }

// grypeSays is a report of Grype about an image.
func grypeSays(image Image, matches string) string {
	return fmt.Sprintf(`{"matches":[%s],"source":{"type":"image","target":{"userInput":"x","imageID":%q,"manifestDigest":%q}},`+
		`"descriptor":{"name":"grype","version":"0.121.2","timestamp":"2026-11-24T10:00:00Z","db":{"status":{"built":"2026-11-24T02:00:00Z"}}}}`,
		matches, image.Manifest.Config.Digest, image.Manifest.Digest)
}

const aMatch = `{"vulnerability":{"id":"CVE-1","severity":"High","fix":{"versions":["2"],"state":"fixed"}},"artifact":{"name":"zlib","version":"1"}}`

const anSBOM = `{"bomFormat":"CycloneDX","specVersion":"1.6","components":[{"type":"library","name":"zlib"},{"type":"operating-system","name":"debian"},{"type":"file","name":"/x"}]}`

func TestAScannersReportBecomesASummary(t *testing.T) {
	s := scantest.Blobs{}
	image := imageOf(t, s, "x")
	c := command(t, s, "cat <<'E'\n"+grypeSays(image, aMatch)+"\nE\nprintf '%s' '"+anSBOM+"' > $3\nexit 2", func(o *CommandOptions) {
		o.Argv = append(o.Argv, "-", SBOMWord)
	})
	before := time.Now()
	report, err := c.Scan(context.Background(), image)
	if err != nil {
		t.Fatal(err)
	}
	want := policy.Finding{ID: "CVE-1", Package: "zlib", Version: "1", FixedVersion: "2", Fix: policy.FixAvailable, Severity: policy.High}
	if len(report.Findings) != 1 || fmt.Sprint(report.Findings[0]) != fmt.Sprint(want) {
		t.Errorf("got %+v", report.Findings)
	}
	if report.Scanner != "grype" || report.Version != "0.121.2" || report.Packages != 1 || !report.Counted || string(report.SBOM) != anSBOM ||
		report.Started.Before(before) || report.Database != time.Date(2026, 11, 24, 2, 0, 0, 0, time.UTC) || report.Finished != time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC) {
		t.Errorf("got %+v", report)
	}
}

func TestTheScannerGetsTheImageAndNothingElse(t *testing.T) {
	s := scantest.Blobs{}
	image := imageOf(t, s, "x")
	secret := filepath.Join(t.TempDir(), "gateway.key")
	if err := os.WriteFile(secret, []byte("the key"), 0o600); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	t.Setenv("SEALGATE_KEY_PASSWORD", "canary")

	seen := filepath.Join(t.TempDir(), "seen")
	c := command(t, s, `
{ env; pwd; ls -A . "$HOME"; ls "$1" "$1/blobs/sha256"; cat "$1/index.json"; ulimit -d; ulimit -c
  grep -h ^Cap /proc/self/status; echo "run:$(ls -A /run)."; mknod "$TMPDIR/disk" b 8 0 2>&1
  cat `+secret+` 2>&1; cat /proc/$PPID/environ /proc/[0-9]*/environ 2>&1 | tr '\0' '\n'; ip -o link 2>/dev/null || cat /proc/net/dev
  (exec 3<>/dev/tcp/127.0.0.1/`+port+`) 2>&1; bash -c 'exec 3<>/dev/tcp/127.0.0.1/`+port+` && echo connected' 2>&1; } > `+seen+`
cat <<'E'
`+grypeSays(image, aMatch)+`
E`, func(o *CommandOptions) {
		o.Environment = []string{"GRYPE_DB_AUTO_UPDATE=false"}
		o.Hidden = []string{filepath.Dir(secret)}
	})
	if lacks := c.Confinement(); lacks != "" {
		t.Fatalf("a scanner here can %s", lacks)
	}
	if _, err := c.Scan(context.Background(), image); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(seen)
	if err != nil {
		t.Fatal(err)
	}
	got := string(raw)
	for _, want := range []string{"GRYPE_DB_AUTO_UPDATE=false\n", "HOME=" + c.Workplace.dir, "PATH=" + Path, "index.json", "oci-layout", "CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "run:.\n", "Operation not permitted", image.Manifest.Digest.Encoded(), "Permission denied"} {
		if !strings.Contains(got, want) {
			t.Errorf("it does not see %q", want)
		}
	}
	for _, forbidden := range []string{"the key", "canary", "connected", "eth0"} {
		if strings.Contains(got, forbidden) {
			t.Errorf("it sees %q", forbidden)
		}
	}
	if t.Failed() {
		t.Log(got)
	}
}

// A scanner that is compromised, broken or overrun finds nothing out, and that is never an image without vulnerabilities.
func TestThreat152_AScannerThatFailsIsNoCleanScan(t *testing.T) {
	s := scantest.Blobs{}
	image, other := imageOf(t, s, "x"), imageOf(t, s, "another")
	say := func(text string) string { return "cat <<'E'\n" + text + "\nE\n" }
	small := func(o *CommandOptions) { o.Limits = Limits{Memory: 64 << 20, Scratch: 4 << 20} }
	for name, c := range map[string]struct {
		script string
		want   string
		change func(*CommandOptions)
	}{
		"it hangs": {"sleep 1000", "it did not finish in 1s", func(o *CommandOptions) { o.Timeout = time.Second }},
		"it hangs in a child that left the group": {"setsid sleep 1000 & exec setsid sleep 1000", "its report cannot be read", nil},
		"it hangs behind its report":              {say(grypeSays(image, "")) + "exec sleep 1000", "it did not finish in 1s", func(o *CommandOptions) { o.Timeout = time.Second }},
		"it dies":                                 {"ulimit -t 1; while :; do :; done", "signal (killed)", nil},
		"it dies behind its report":               {say(grypeSays(image, "")) + "ulimit -t 1; while :; do :; done", "signal (killed)", nil},
		"it fails":                                {"echo no database >&2; exit 1", "it said: no database", nil},
		"it prints nothing":                       {"exit 0", "its report cannot be read: ends in the middle", nil},
		"it prints half":                          {say(grypeSays(image, aMatch)[:120]), "its report cannot be read", nil},
		"it prints two":                           {say(grypeSays(image, "") + grypeSays(image, "")), "its report cannot be read: something follows", nil},
		"it names another image":                  {say(grypeSays(other, "")), "its report is about the image", nil},
		"it names no image":                       {say(strings.Replace(grypeSays(image, ""), "manifestDigest", "digest", 1)), `its report is about the image ""`, nil},
		"it prints another format":                {say(`{"SchemaVersion":2,"Metadata":{"ImageID":"` + image.Manifest.Config.Digest.String() + `"}}`), "its report is one of trivy, not of grype", nil},
		"it prints without end":                   {`printf '{"x":"'; yes | tr -d '\n'`, "its report cannot be read", nil},
		"it prints without end, into space":       {`yes '        '`, "it printed too much", nil},
		"it fills the disk with one file":         {`head -c 100000000 /dev/zero > "$TMPDIR/x"; exit 1`, "could not be scanned", small},
		"it fills the disk with many":             {`for i in 1 2 3 4 5 6 7 8; do head -c 1000000 /dev/zero > "$TMPDIR/$i"; done; sleep 1000`, "it wrote more than 4194304 bytes to disk", small},
		"it fills the disk where the image lies":  {`for i in 1 2 3 4 5 6 7 8; do head -c 1000000 /dev/zero > "$1/$i"; done; sleep 1000`, "it wrote more than 4194304 bytes to disk", small},
		"it fills the memory":                     {`exec tail /dev/zero`, "its report cannot be read", small},
		"its report is a link":                    {`ln -s /etc/passwd "$2"`, "it wrote no report", withFiles},
		"its report is a pipe":                    {`mkfifo "$2"`, "its report is no file", withFiles},
		"its report is a directory":               {`mkdir "$2"`, "its report is no file", withFiles},
		"its report is not there":                 {`exit 0`, "it wrote no report", withFiles},
		"its bill of materials is not there":      {"cat > \"$2\" <<'E'\n" + grypeSays(image, "") + "\nE", "it wrote no sbom", withFiles},
		"its bill of materials is half":           {"cat > \"$2\" <<'E'\n" + grypeSays(image, "") + "\nE\nprintf '{' > \"$3\"", "its bill of materials cannot be read", withFiles},
		"its version cannot be told":              {`[ "$1" = version ] && exit 1` + "\n" + say(grypeSays(image, "")), "ask for its version", versioned},
		"its database is not valid":               {`[ "$1" = version ] && { echo '{"valid":false}'; exit; }` + "\n" + say(grypeSays(image, "")), "its database is not valid", versioned},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			change := c.change
			if change == nil {
				change = func(*CommandOptions) {}
			}
			scanner := command(t, s, c.script, change, func(o *CommandOptions) {
				if len(o.Version) > 0 {
					o.Version[0] = o.Argv[0]
				}
			})
			report, err := scanner.Scan(context.Background(), image)
			if !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %+v, %v, want %q", report, err, c.want)
			}
		})
	}
}

func versioned(o *CommandOptions) { o.Version = []string{"", "version"} }

func TestThreat146_TheScannerGetsWhatWasHashed(t *testing.T) {
	for name, change := range map[string]func(scantest.Blobs, Image){
		"other bytes": func(s scantest.Blobs, i Image) {
			d := i.Manifest.Layers[0].Digest
			s[d] = append([]byte("x"), s[d][1:]...)
		},
		"a byte more": func(s scantest.Blobs, i Image) {
			d := i.Manifest.Layers[0].Digest
			s[d] = append(s[d], 0)
		},
		"no layer":         func(s scantest.Blobs, i Image) { delete(s, i.Manifest.Layers[0].Digest) },
		"no configuration": func(s scantest.Blobs, i Image) { delete(s, i.Manifest.Config.Digest) },
	} {
		t.Run(name, func(t *testing.T) {
			s := scantest.Blobs{}
			image := imageOf(t, s, "x")
			change(s, image)
			ran := filepath.Join(t.TempDir(), "ran")
			c := command(t, s, "touch "+ran+"\ncat <<'E'\n"+grypeSays(image, "")+"\nE")
			if report, err := c.Scan(context.Background(), image); !errors.Is(err, ErrUnknown) {
				t.Errorf("got %+v, %v", report, err)
			}
			if _, err := os.Stat(ran); err == nil {
				t.Error("the scanner ran")
			}
		})
	}
}

func TestAPinnedScannerIsTheOneThatRuns(t *testing.T) {
	s := scantest.Blobs{}
	image := imageOf(t, s, "x")
	script := "cat <<'E'\n" + grypeSays(image, aMatch) + "\nE"
	pinned := func(o *CommandOptions) {
		raw, err := os.ReadFile(o.Argv[0])
		if err != nil {
			t.Fatal(err)
		}
		o.Digest = digest.FromBytes(raw)
	}
	c := command(t, s, script, pinned)
	if _, err := c.Scan(context.Background(), image); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(c.Argv[0], []byte("#!/bin/sh\n"+script+"\n# compromised"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Scan(context.Background(), image); !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), "not the one that is pinned") {
		t.Errorf("got %v", err)
	}
	if _, err := NewCommand(c.CommandOptions); err == nil {
		t.Error("it is taken at the next start")
	}
}

func TestTheVersionDatesTheDatabaseAndNamesTheEdition(t *testing.T) {
	s := scantest.Blobs{}
	image := imageOf(t, s, "x")
	answer := filepath.Join(t.TempDir(), "version")
	write := func(text string) {
		if err := os.WriteFile(answer, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(`{"Version":"0.71.0","VulnerabilityDB":{"Version":2,"UpdatedAt":"2026-11-20T06:00:00.5Z"}}`)
	c := command(t, s, `[ "$1" = version ] && exec cat `+answer+"\ncat <<'E'\n"+`{"SchemaVersion":2,"Metadata":{"ImageID":"`+image.Manifest.Config.Digest.String()+`"},"Results":[{"Packages":[{},{}]}]}`+"\nE", versioned,
		func(o *CommandOptions) { o.Version[0], o.Format = o.Argv[0], predicate.Trivy })
	report, err := c.Scan(context.Background(), image)
	if err != nil {
		t.Fatal(err)
	}
	if report.Scanner != "trivy" || report.Version != "0.71.0" || report.Database != time.Date(2026, 11, 20, 6, 0, 0, 5e8, time.UTC) || report.Packages != 2 {
		t.Errorf("got %+v", report)
	}
	before, _ := c.Edition(context.Background())
	write(`{"Version":"0.71.0","VulnerabilityDB":{"Version":2,"UpdatedAt":"2026-11-21T06:00:00Z"}}`)
	c.asked = time.Time{}
	after, err := c.Edition(context.Background())
	if err != nil || before == after {
		t.Errorf("a newer database is the same edition: %q, %q, %v", before, after, err)
	}
}

func TestCommandsThatCannotWorkAreRefused(t *testing.T) {
	for want, o := range map[string]CommandOptions{
		"no argument with {layout}":         {Argv: []string{"/bin/true"}, Format: predicate.Grype},
		`no report is called "json"`:        {Argv: []string{"/bin/true", LayoutWord}, Format: "json"},
		"no such file":                      {Argv: []string{"/nowhere/grype", LayoutWord}, Format: predicate.Grype},
		"neither an absolute path nor":      {Argv: []string{"./grype", LayoutWord}, Format: predicate.Grype},
		"no-such-scanner is in none of":     {Argv: []string{"no-such-scanner", LayoutWord}, Format: predicate.Grype},
		"is no program":                     {Argv: []string{"/tmp", LayoutWord}, Format: predicate.Grype},
		"not the one that is pinned":        {Argv: []string{"/bin/sh", LayoutWord}, Format: predicate.Grype, Digest: digest.FromString("x")},
		"no argument with {layout}, so it ": {Format: predicate.Grype},
		"another program than the one that": {Argv: []string{"/bin/sh", LayoutWord}, Version: []string{"/bin/ls"}, Format: predicate.Grype, Digest: digest.FromString("x")},
	} {
		if _, err := NewCommand(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestAWorkplaceIsEmptyAtTheStart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "scan")
	if err := os.MkdirAll(filepath.Join(dir, "scan-1", "layout"), 0o700); err != nil {
		t.Fatal(err)
	}
	w, err := OpenWorkplace(dir)
	if err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(w.dir); len(left) != 0 {
		t.Errorf("what a crash left is still there: %v", left)
	}
	if stat, _ := os.Stat(w.dir); stat.Mode().Perm() != 0o700 {
		t.Errorf("its mode is %v", stat.Mode())
	}
}

// Without root it takes a namespace of users, and comes to the same.
func TestWhoIsNotRootConfinesAsWell(t *testing.T) {
	if os.Geteuid() != 0 {
		return // then every test here is this one
	}
	dir, err := os.MkdirTemp("", "sealgate-scan-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	program, err := os.ReadFile("/proc/self/exe")
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "test"), program, 0o755)
	}
	if err == nil {
		err = errors.Join(os.Chmod(dir, 0o755), os.Mkdir(filepath.Join(dir, "tmp"), 0o700), os.Chown(filepath.Join(dir, "tmp"), 65534, 65534))
	}
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(dir, "test"), "-test.run=^(TestTheScannerGetsTheImageAndNothingElse|TestAPinnedScannerIsTheOneThatRuns)$")
	cmd.Dir, cmd.Env = dir, []string{"PATH=" + Path, "TMPDIR=" + filepath.Join(dir, "tmp")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, said)
	}
}
