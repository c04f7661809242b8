package ledger

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"sync"
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
