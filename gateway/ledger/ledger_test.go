package ledger

import (
	"bufio"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
)

func TestThreat171_EveryRecordIsOneLineThatReadsBack(t *testing.T) {
	dir := t.TempDir()
	l, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			// A user agent with a line break must not forge a second record.
			if err := l.Record(Decision{ID: "01", Outcome: Deny, UserAgent: "evil\n{\"outcome\":\"admit\"}"}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}

	f, err := os.Open(filepath.Join(dir, "decisions.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := 0
	for s := bufio.NewScanner(f); s.Scan(); lines++ {
		var d Decision
		if err := json.Unmarshal(s.Bytes(), &d); err != nil || d.Outcome != Deny {
			t.Errorf("line %d: outcome %q, error %v", lines, d.Outcome, err)
		}
	}
	if lines != 50 {
		t.Errorf("got %d lines, want 50", lines)
	}
}

// What a process that died or a disk that was full left of a record spoils no other: neither what is there when it starts nor
// what it leaves itself.
func TestThreat172_HalfARecordSpoilsNoOther(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "decisions.jsonl")
	write := func(text string) {
		t.Helper()
		_ = os.Remove(name)
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("{\"id\":\"01\"}\n{\"id\":\"0")
	l, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := errors.Join(l.Record(Decision{ID: "03"}), l.Record(Decision{ID: "04"})); err != nil {
		t.Fatal(err)
	}
	wantRecords(t, name, "01", "", "03", "04")

	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	_ = os.Remove(name)
	if err := os.Symlink("/dev/full", name); err != nil {
		t.Fatal(err)
	}
	if err := l.Record(Decision{ID: "05"}); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("on a full disk: got %v, want %v", err, syscall.ENOSPC)
	}
	write("{\"id\":\"0") // there is room again, after some of it was written
	if err := l.Record(Decision{ID: "06"}); err != nil {
		t.Fatal(err)
	}
	wantRecords(t, name, "", "06")
}

// wantRecords wants these in a file, "" for a line that is none.
func wantRecords(t *testing.T, name string, want ...string) {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(string(content)) {
		var d Decision
		if json.Unmarshal([]byte(line), &d) != nil {
			d.ID = ""
		}
		got = append(got, d.ID)
	}
	if !slices.Equal(got, want) {
		t.Errorf("got records %q, want %q in\n%s", got, want, content)
	}
}

func TestARecordThatCannotBeWrittenIsAnError(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ledger")
	l, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	// A file in the directory's place: no write can succeed, whoever runs the test.
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := l.Record(Decision{ID: "01"}); err == nil {
		t.Error("Record returned no error, the decision would have taken effect unrecorded")
	}
	if _, err := Open(dir, Options{}); err == nil {
		t.Error("Open returned no error where no decision can be written")
	}
}
