package rig

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestAProgramThatEndsAtOnceIsAnErrorWithWhatItSaid(t *testing.T) {
	address, err := FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	_, err = Start(t.Context(), Command{Name: "broken", Path: "/bin/sh", Args: []string{"-c", "echo no such key >&2; exit 3"}, Address: address, Ready: "/"})
	if err == nil || !strings.Contains(err.Error(), "no such key") {
		t.Errorf("got %v, want an error with what it printed", err)
	}
	if took := time.Since(start); took > maxStart/2 {
		t.Errorf("noticed after %s", took)
	}
}

func TestStopEndsWhatAProgramStarted(t *testing.T) {
	// The server that answers is not of this program; the program is a shell with a child that ignores SIGTERM.
	registry, err := Registry(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer registry.Stop()
	note := filepath.Join(t.TempDir(), "child")
	script := fmt.Sprintf(`(trap "" TERM; while :; do :; done) & echo $! >%s; wait`, note)
	p, err := Start(t.Context(), Command{Name: "family", Path: "/bin/sh", Args: []string{"-c", script}, Address: registry.Address, Ready: "/v2/"})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop()

	var child int
	waitFor(t, "the child's number", func() bool {
		raw, err := os.ReadFile(note)
		return err == nil && len(raw) > 0 && func() bool { _, err := fmt.Sscan(string(raw), &child); return err == nil }()
	})
	waitFor(t, "the child's processor time", func() bool {
		used, err := p.CPU()
		return err == nil && used >= 100*time.Millisecond
	})
	if memory, err := p.Memory(); memory < 100<<10 || err != nil {
		t.Errorf("two shells take %d bytes (%v)", memory, err)
	}
	p.Stop()
	waitFor(t, "the child's end", func() bool { return syscall.Kill(child, 0) != nil || zombie(child) })
}

func TestLogIsTheEndOfWhatAProgramSaid(t *testing.T) {
	registry, err := Registry(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer registry.Stop()
	p, err := Start(t.Context(), Command{Name: "loud", Path: "/bin/sh", Args: []string{"-c", "head -c 200000 /dev/zero | tr '\\0' x; echo the end; sleep 60"}, Address: registry.Address, Ready: "/v2/"})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	waitFor(t, "its last words", func() bool { return strings.HasSuffix(p.Log(), "the end\n") })
	if n := len(p.Log()); n != maxLog {
		t.Errorf("the log has %d bytes, want the last %d", n, maxLog)
	}
}

func zombie(pid int) bool {
	fields, err := stat(pid)
	return err == nil && fields[0] == "Z"
}

func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(10 * time.Second); !done(); {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s: not within 10 s", what)
		}
	}
}
