package ledger

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
)

func TestThreat171_EveryRecordIsOneLineThatReadsBack(t *testing.T) {
	dir := t.TempDir()
	l, err := Open(dir)
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
	l, err := Open(dir)
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
	if _, err := Open(dir); err == nil {
		t.Error("Open returned no error where no decision can be written")
	}
}

func TestParentsAreTheLatestIndexesOfTheSameRepository(t *testing.T) {
	l, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	child := digest.FromString("child")
	for i := range 2 * maxParents {
		l.Admit("a", digest.FromBytes([]byte{byte(i)}), []digest.Digest{child})
	}
	l.Admit("a", digest.FromBytes([]byte{byte(2*maxParents - 2)}), []digest.Digest{child})

	got := l.Parents("a", child)
	if len(got) != maxParents {
		t.Fatalf("got %d parents, want %d", len(got), maxParents)
	}
	if want := digest.FromBytes([]byte{byte(2*maxParents - 2)}); got[0] != want {
		t.Errorf("the first parent is %s, want the latest, %s", got[0], want)
	}
	if got := l.Parents("b", child); len(got) != 0 {
		t.Errorf("another repository has %d parents, want none", len(got))
	}
}
