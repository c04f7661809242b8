package ledger

import (
	"bytes"
	"database/sql"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/sealgate/sealgate/policy"
)

var (
	secret  = bytes.Repeat([]byte("s"), 32)
	subject = policy.Subject{Repo: "a", Digest: nth("subject", 0)}
)

// settled waits until what is queued is written.
func settled(t testing.TB, l *Ledger) {
	t.Helper()
	if err := l.store.now(func(*sql.Tx) error { return nil }); err != nil {
		t.Fatal(err)
	}
}

func TestEvidenceIsRecalledWithItsTimeAlsoAfterARestart(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{})
	at := time.Now()
	l.Evidence(secret).Keep(subject, at.Add(-time.Hour), []byte("older"))
	l.Evidence(secret).Keep(subject, at, []byte("what was listed"))
	l = restart(t, l, dir)
	got, raw, ok := l.Evidence(secret).Recall(subject)
	if !ok || !got.Equal(at) || string(raw) != "what was listed" {
		t.Errorf("got %v %q %v", got, raw, ok)
	}
	if _, _, ok := l.Evidence(secret).Recall(policy.Subject{Repo: "b", Digest: subject.Digest}); ok {
		t.Error("another repository has it too")
	}
	if n := count(t, l, "bodies"); n != 1 {
		t.Errorf("%d bodies are kept, want 1", n)
	}
}

func count(t *testing.T, l *Ledger, table string) (n int) {
	t.Helper()
	settled(t, l)
	if err := l.store.read(func(db *sql.DB) error { return db.QueryRow("SELECT count(*) FROM " + table).Scan(&n) }); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestWhatWasDroppedIsNotRecalledAndNotKeptByWhoBeganBefore(t *testing.T) {
	l := open(t, t.TempDir(), Options{})
	e := l.Evidence(secret)
	began := time.Now()
	e.Keep(subject, began, []byte("before"))
	e.Drop(subject)
	if _, _, ok := e.Recall(subject); ok {
		t.Error("recalled after it was dropped")
	}
	e.Keep(subject, began, []byte("by a verification that looked before"))
	settled(t, l)
	if _, _, ok := e.Recall(subject); ok {
		t.Error("kept although it is older than the drop")
	}
	e.Keep(subject, time.Now(), []byte("since"))
	settled(t, l)
	if _, raw, ok := e.Recall(subject); !ok || string(raw) != "since" {
		t.Errorf("got %q %v, want what was learnt since", raw, ok)
	}
	e.Drop(subject)
	if n := count(t, l, "bodies"); n != 0 {
		t.Errorf("%d bodies are left", n)
	}
}

func TestThreat132_EvidenceThatTheSecretDoesNotConfirmWasNeverThere(t *testing.T) {
	other := nth("subject", 1)
	for name, change := range map[string]string{
		"made newer":              "UPDATE evidence SET at = at + 1",
		"given to another image":  fmt.Sprintf("UPDATE evidence SET digest = '%s'", other),
		"given to another repo":   "UPDATE evidence SET repo = 'b' WHERE repo = 'a'",
		"another list":            "UPDATE bodies SET body = x'00'",
		"an older list":           "UPDATE evidence SET sum = (SELECT sum FROM bodies WHERE body = CAST('older' AS BLOB))",
		"authenticated by nobody": "UPDATE evidence SET mac = x''",
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			l := open(t, dir, Options{})
			e := l.Evidence(secret)
			e.Keep(policy.Subject{Repo: "c", Digest: subject.Digest}, time.Now(), []byte("older"))
			e.Keep(subject, time.Now(), []byte("newer"))
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			edit(t, filepath.Join(dir, storeFile), change)
			l = open(t, dir, Options{})
			for _, s := range []policy.Subject{subject, {Repo: "a", Digest: other}, {Repo: "b", Digest: subject.Digest}} {
				if _, raw, ok := l.Evidence(secret).Recall(s); ok {
					t.Errorf("%s: recalled %q", s, raw)
				}
			}
		})
	}
}

func TestEvidenceUnderAnotherSecretIsNotRecalled(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{})
	l.Evidence(secret).Keep(subject, time.Now(), []byte("x"))
	l.Evidence(nil).Keep(policy.Subject{Repo: "b", Digest: subject.Digest}, time.Now(), []byte("x"))
	l = restart(t, l, dir)
	if _, _, ok := l.Evidence([]byte("another")).Recall(subject); ok {
		t.Error("recalled under another secret")
	}
	if _, _, ok := l.Evidence(nil).Recall(policy.Subject{Repo: "b", Digest: subject.Digest}); ok {
		t.Error("what was kept without a secret outlived the process")
	}
	if _, _, ok := l.Evidence(secret).Recall(subject); !ok {
		t.Error("not recalled under its own secret")
	}
}

func TestThreat133_EvidenceIsNotRecalledFromAFileThatFailed(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{})
	e := l.Evidence(secret)
	e.Keep(subject, time.Now(), []byte("x"))
	settled(t, l)
	if _, err := l.store.writer.Exec("PRAGMA max_page_count = 1"); err != nil {
		t.Fatal(err)
	}
	e.Keep(policy.Subject{Repo: "b", Digest: subject.Digest}, time.Now(), bytes.Repeat([]byte("no room "), 8192))
	_ = l.store.now(func(*sql.Tx) error { return nil })
	if _, _, ok := e.Recall(subject); ok {
		t.Error("recalled from a file that can no longer be told of changes")
	}
	e.Drop(subject)
	l = restart(t, l, dir)
	if _, _, ok := l.Evidence(secret).Recall(subject); ok {
		t.Error("recalled after a restart")
	}
}

func TestThreat089_AClockThatWentBackRecallsNothing(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{})
	l.Evidence(secret).Keep(subject, time.Now(), []byte("x"))
	for _, ahead := range []time.Duration{maxBehind - time.Minute, maxBehind + time.Minute} {
		if err := l.Record(Decision{ID: "01", Time: time.Now().Add(ahead)}); err != nil {
			t.Fatal(err)
		}
		settled(t, l)
		l = restart(t, l, dir)
		if _, _, ok := l.Evidence(secret).Recall(subject); ok != (ahead < maxBehind) {
			t.Errorf("%s behind the newest record: recalled: %v", ahead, ok)
		}
	}
}
