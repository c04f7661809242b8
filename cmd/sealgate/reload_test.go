package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/sealgate/sealgate/gateway"
	"github.com/sealgate/sealgate/gateway/ledger"
)

// A bench is a reloader with a real gateway, whose log lines the test waits for.
type bench struct {
	*reloader
	file    string
	gateway *gateway.Gateway
	lines   chan string
}

const (
	taken    = "configuration taken"
	notTaken = "configuration not taken"
)

func newBench(t *testing.T, file string) *bench {
	t.Helper()
	decisions, err := ledger.Open(t.TempDir(), ledger.Options{})
	if err != nil {
		t.Fatal(err)
	}
	lines := make(chan string, 1000)
	metrics := prometheus.NewRegistry()
	b := &bench{file: file, lines: lines, gateway: gateway.New(gateway.Options{
		Ledger: decisions, Log: slog.New(slog.DiscardHandler), Metrics: metrics,
	})}
	b.reloader = &reloader{
		load:    func() (*Loaded, error) { return load(file, Overrides{}, nil) },
		enforce: b.gateway.Enforce, builder: &builder{getenv: noEnvironment, openKey: openTestKey},
		log: slog.New(slog.NewTextHandler(lineWriter(lines), nil)), metrics: newConfigMetrics(metrics),
		debounce: 5 * time.Millisecond, poll: time.Hour,
	}
	t.Cleanup(func() { b.builder.close(); decisions.Close() })

	loaded, err := b.load()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.start(loaded); err != nil {
		t.Fatal(err)
	}
	return b
}

type lineWriter chan string

func (w lineWriter) Write(p []byte) (int, error) { w <- string(bytes.Clone(p)); return len(p), nil }

// watch runs the reloader's loop for the rest of the test.
func (b *bench) watch(t *testing.T) chan<- os.Signal {
	ctx, cancel := context.WithCancel(context.Background())
	told := make(chan os.Signal, 1)
	var loop sync.WaitGroup
	loop.Go(func() { b.run(ctx, told) })
	t.Cleanup(func() { cancel(); loop.Wait() })
	return told
}

// next waits for a line of the log that says so.
func (b *bench) next(t *testing.T, want string) string {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		select {
		case line := <-b.lines:
			if strings.Contains(line, want) {
				return line
			}
			if strings.Contains(line, "configuration") {
				t.Fatalf("got %swant %q", line, want)
			}
		case <-deadline:
			t.Fatalf("no log line says %q", want)
		}
	}
}

func renamed(policy string) string {
	return strings.Replace(onePolicy, "name: all", "name: "+policy, 1)
}

func (b *bench) write(t *testing.T, yaml string) {
	t.Helper()
	writeFile(t, b.file, yaml+"storage: {directory: data}\n")
}

func TestThreat138_ABadReloadKeepsTheOldRegimeAndRaisesTheAlarm(t *testing.T) {
	t.Parallel()
	b := newBench(t, newStorage(t, onePolicy))
	before := b.running
	good, err := os.ReadFile(b.file)
	if err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(filepath.Dir(b.file), "data", defaultKeyFile)
	failures := 0
	for _, c := range []struct {
		name  string
		spoil func() error
	}{
		{"invalid", func() error { return os.WriteFile(b.file, []byte(onePolicy+"listn: {}\n"), 0o600) }},
		{"empty", func() error { return os.Truncate(b.file, 0) }},
		{"half-written", func() error { return os.WriteFile(b.file, good[:len(good)/2], 0o600) }},
		{"a second document", func() error { return os.WriteFile(b.file, append(good, "---\n{}\n"...), 0o600) }},
		{"an unknown authority", func() error {
			return os.WriteFile(b.file, bytes.Replace(good, []byte("[gateway]"), []byte("[nobody]"), 1), 0o600)
		}},
		{"deleted", func() error { return os.Remove(b.file) }},
		{"a directory", func() error { return errors.Join(os.Remove(b.file), os.Mkdir(b.file, 0o700)) }},
		{"a key that others can read", func() error { return os.Chmod(key, 0o644) }},
	} {
		if err := c.spoil(); err != nil {
			t.Fatal(err)
		}
		b.reload()
		failures++
		b.next(t, notTaken)
		if b.running != before {
			t.Fatalf("%s: another configuration is in force", c.name)
		}
		if got := testutil.ToFloat64(b.metrics.failures); got != float64(failures) {
			t.Errorf("%s: sealgate_config_reload_failures_total is %v, want %d", c.name, got, failures)
		}
		if got := testutil.ToFloat64(b.metrics.success); got != 0 {
			t.Errorf("%s: sealgate_config_last_reload_success is %v", c.name, got)
		}

		_ = os.Remove(b.file)
		if err := os.Chmod(key, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(b.file, good, 0o600); err != nil {
			t.Fatal(err)
		}
	}

	b.reload()
	b.next(t, taken)
	if got := testutil.ToFloat64(b.metrics.success); got != 1 {
		t.Errorf("after a good one sealgate_config_last_reload_success is %v", got)
	}
}

func TestThreat138_EveryFaultAtTheStartIsAnError(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "sealgate.yaml")
	for _, yaml := range []string{"", "policies: [", onePolicy + "---\n{}\n", onePolicy + "listn: 1\n"} {
		writeFile(t, file, yaml)
		stderr := new(bytes.Buffer)
		if code := run(t.Context(), []string{"serve", "--config", file}, io.Discard, stderr); code != int(exitUsage) || stderr.Len() == 0 {
			t.Errorf("serve with %q ends with %d and says %q", yaml, code, stderr)
		}
	}
}

func TestAChangedFileIsTakenByItself(t *testing.T) {
	t.Parallel()
	b := newBench(t, newStorage(t, onePolicy))
	b.watch(t)

	b.write(t, renamed("second"))
	if line := b.next(t, taken); !strings.Contains(line, "second") {
		t.Errorf("got %s", line)
	}
	if err := os.Remove(b.file); err != nil {
		t.Fatal(err)
	}
	b.next(t, notTaken)
	b.write(t, renamed("third"))
	b.next(t, taken)

	// As editors do: a new file takes the name.
	aside := b.file + ".new"
	writeFile(t, aside, renamed("fourth")+"storage: {directory: data}\n")
	if err := os.Rename(aside, b.file); err != nil {
		t.Fatal(err)
	}
	if line := b.next(t, taken); !strings.Contains(line, "fourth") {
		t.Errorf("got %s", line)
	}
}

func TestAChangedKeyIsTakenByItself(t *testing.T) {
	t.Parallel()
	file := newStorage(t, onePolicy+"authorities: [{name: gateway, key: {file: a.pub}}]\n")
	public := filepath.Join(filepath.Dir(file), "a.pub")
	newPublicKey(t, public)
	b := newBench(t, file)
	b.watch(t)

	newPublicKey(t, public+".new")
	if err := os.Rename(public+".new", public); err != nil {
		t.Fatal(err)
	}
	b.next(t, taken)
}

// Kubernetes mounts sealgate.yaml -> ..data/sealgate.yaml, ..data -> ..1, and swaps ..data by a rename.
func TestThreat138_AKubernetesSwapOfASymlinkIsSeen(t *testing.T) {
	t.Parallel()
	original := newStorage(t, onePolicy)
	storage := "storage: {directory: " + filepath.Join(filepath.Dir(original), "data") + "}\n"
	mount := t.TempDir()
	version := func(name, yaml string) {
		t.Helper()
		if err := os.Mkdir(filepath.Join(mount, name), 0o700); err != nil {
			t.Fatal(err)
		}
		writeFile(t, filepath.Join(mount, name, "sealgate.yaml"), yaml+storage)
		if err := os.Symlink(name, filepath.Join(mount, "..tmp")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(mount, "..tmp"), filepath.Join(mount, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	version("..1", onePolicy)
	file := filepath.Join(mount, "sealgate.yaml")
	if err := os.Symlink("..data/sealgate.yaml", file); err != nil {
		t.Fatal(err)
	}

	b := newBench(t, file)
	b.watch(t)
	for i := 2; i < 5; i++ {
		policy := fmt.Sprintf("version%d", i)
		version(fmt.Sprintf("..%d", i), renamed(policy))
		if line := b.next(t, taken); !strings.Contains(line, policy) {
			t.Errorf("after the swap to %s: %s", policy, line)
		}
		if err := os.RemoveAll(filepath.Join(mount, fmt.Sprintf("..%d", i-1))); err != nil {
			t.Fatal(err)
		}
	}
}

func TestASignalHasTheFileReadThoughNothingChanged(t *testing.T) {
	t.Parallel()
	b := newBench(t, newStorage(t, onePolicy))
	told := b.watch(t)
	told <- syscall.SIGHUP
	b.next(t, taken)
}

func TestWhereNoEventTellsThePollFindsTheChange(t *testing.T) {
	t.Parallel()
	b := newBench(t, newStorage(t, onePolicy))
	b.poll = 10 * time.Millisecond
	b.seen = snapshot{b.file: "as it was before an event that was lost"}
	b.watch(t)
	b.next(t, taken)
}

func TestChangesOfListenersAndStorageWaitForARestart(t *testing.T) {
	t.Parallel()
	b := newBench(t, newStorage(t, onePolicy))
	writeFile(t, b.file, renamed("second")+`
listen: {address: "127.0.0.1:1", external_url: "https://registry.acme.dev"}
admin: {address: "127.0.0.1:2"}
storage: {directory: elsewhere}
delete: {allowed: true}
`)
	before := b.running.Config
	b.reload()
	line := b.next(t, taken)
	if !strings.Contains(line, "second") {
		t.Errorf("the policy did not change: %s", line)
	}
	line = b.next(t, "need a restart")
	for _, setting := range []string{"listen.address", "listen.external_url", "admin.address", "storage.directory", "delete.allowed"} {
		if !strings.Contains(line, setting) {
			t.Errorf("%s is not in %s", setting, line)
		}
	}
	if got := testutil.ToFloat64(b.metrics.restart); got != 5 {
		t.Errorf("sealgate_config_restart_needed is %v, want 5", got)
	}
	now := b.running.Config
	if now.Storage != before.Storage || !reflect.DeepEqual(now.Listen, before.Listen) || now.Delete.Allowed {
		t.Errorf("a setting changed that cannot: %+v", now)
	}
}

func TestThreat140_AuditModeCannotBeOnUnseen(t *testing.T) {
	t.Parallel()
	b := newBench(t, newStorage(t, onePolicy))
	if got := testutil.ToFloat64(b.metrics.audited); got != 0 {
		t.Errorf("sealgate_policies_in_audit_mode is %v before", got)
	}
	b.write(t, onePolicy+"    mode: audit\n")
	b.reload()
	b.next(t, taken)
	if line := b.next(t, "AUDIT MODE"); !strings.Contains(line, "level=WARN") || !strings.Contains(line, "all") {
		t.Errorf("got %s", line)
	}
	if got := testutil.ToFloat64(b.metrics.audited); got != 1 {
		t.Errorf("sealgate_policies_in_audit_mode is %v", got)
	}
	b.write(t, onePolicy)
	b.reload()
	if got := testutil.ToFloat64(b.metrics.audited); got != 0 {
		t.Errorf("sealgate_policies_in_audit_mode is %v after", got)
	}
}

// Readers that come while regimes are swapped get an answer under one or the other, never an error of ours.
func TestManyReadersSeeWholeRegimesWhileTheyAreSwapped(t *testing.T) {
	t.Parallel()
	b := newBench(t, newStorage(t, onePolicy))
	var stop atomic.Bool
	var answers atomic.Int64
	var readers sync.WaitGroup
	for i := range 50 {
		readers.Go(func() {
			for !stop.Load() {
				w := httptest.NewRecorder()
				path := []string{"/v2/", "/v2/app/manifests/v1"}[i%2]
				b.gateway.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
				if want := []int{http.StatusOK, http.StatusNotFound}[i%2]; w.Code != want {
					t.Errorf("GET %s: got %d, want %d: %s", path, w.Code, want, w.Body)
					return
				}
				answers.Add(1)
			}
		})
	}
	for i := range 30 {
		for enough := answers.Load() + 100; answers.Load() < enough && !t.Failed(); {
			runtime.Gosched() // each regime has its readers
		}
		if i%3 == 2 {
			b.write(t, "policies: [")
			b.reload()
			b.next(t, notTaken)
			continue
		}
		b.write(t, renamed(fmt.Sprintf("version%d", i)))
		b.reload()
		b.next(t, taken)
	}
	stop.Store(true)
	readers.Wait()
}
