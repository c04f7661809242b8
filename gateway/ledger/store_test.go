package ledger

import (
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// filled makes a ledger's directory that remembers one part, closed.
func filled(t testing.TB) (dir, file string) {
	t.Helper()
	dir = t.TempDir()
	l := open(t, dir, Options{})
	l.Admit("a", nth("whole", 0), []digest.Digest{nth("part", 0)})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return dir, filepath.Join(dir, storeFile)
}

func edit(t *testing.T, file string, statements ...string) {
	t.Helper()
	db, err := sql.Open("sqlite", file)
	if err != nil {
		t.Fatal(err)
	}
	for _, statement := range statements {
		if _, err := db.Exec(statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestThreat132_AFileThatIsNotAsWeMadeItIsSetAside(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, file string){
		"it is cut off": func(t *testing.T, file string) {
			if err := os.Truncate(file, 5000); err != nil {
				t.Fatal(err)
			}
		},
		"it is something else": func(t *testing.T, file string) {
			if err := os.WriteFile(file, []byte(strings.Repeat("no database ", 1000)), 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"it is of another version": func(t *testing.T, file string) { edit(t, file, "PRAGMA user_version = 2") },
		"it is of another program": func(t *testing.T, file string) { edit(t, file, "PRAGMA application_id = 7") },
		"it has a trigger": func(t *testing.T, file string) {
			edit(t, file, "CREATE TRIGGER x AFTER INSERT ON parts BEGIN DELETE FROM parts; END")
		},
		"it has a view for a table": func(t *testing.T, file string) {
			edit(t, file, "DROP TABLE parts", "CREATE VIEW parts AS SELECT 1 AS id")
		},
		"it has a table less":         func(t *testing.T, file string) { edit(t, file, "DROP TABLE evidence") },
		"it has one index too many":   func(t *testing.T, file string) { edit(t, file, "CREATE INDEX more ON parts (whole)") },
		"its version is that of none": func(t *testing.T, file string) { edit(t, file, "PRAGMA application_id = 0", "PRAGMA user_version = 0") },
	} {
		t.Run(name, func(t *testing.T) {
			dir, file := filled(t)
			change(t, file)

			if l := OpenToRead(dir, Options{}); len(l.Wholes("a", nth("part", 0))) != 0 {
				t.Error("a file that is not ours was believed by a reader")
			}
			l := open(t, dir, Options{})
			if got := l.Wholes("a", nth("part", 0)); len(got) != 0 {
				t.Errorf("it was believed: %v", got)
			}
			if _, err := os.Stat(file + asideSuffix); err != nil {
				t.Errorf("it was not set aside: %v", err)
			}
			l.Admit("a", nth("whole", 1), []digest.Digest{nth("part", 1)})
			l = restart(t, l, dir)
			if got := l.Wholes("a", nth("part", 1)); len(got) != 1 {
				t.Errorf("the new file remembers %d wholes, want 1", len(got))
			}
		})
	}
}

func TestThreat132_WhatIsNoDigestIsNotReadFromTheFile(t *testing.T) {
	dir, file := filled(t)
	edit(t, file, "INSERT INTO parts (repo, part, whole) VALUES ('a', '"+string(nth("part", 0))+"', '../../x')")
	if got := open(t, dir, Options{}).Wholes("a", nth("part", 0)); len(got) != 1 {
		t.Errorf("got %v, want the one digest", got)
	}
}

func TestThreat133_AFileThatFailsWhileWeRunIsLeftAndSetAside(t *testing.T) {
	for name, fail := range map[string]func(t *testing.T, l *Ledger){
		"the disk is full": func(t *testing.T, l *Ledger) {
			if _, err := l.store.writer.Exec("PRAGMA max_page_count = 1"); err != nil { // what a full disk answers: SQLITE_FULL
				t.Fatal(err)
			}
		},
		"its pages are overwritten": func(t *testing.T, l *Ledger) {
			if _, err := l.store.writer.Exec("PRAGMA wal_checkpoint(TRUNCATE)"); err != nil {
				t.Fatal(err)
			}
			f, err := os.OpenFile(l.store.path, os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if _, err := f.WriteAt([]byte(strings.Repeat("garbage!", 4096)), 4096); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir, file := filled(t)
			metrics := prometheus.NewRegistry()
			l := open(t, dir, Options{Metrics: metrics})
			fail(t, l)

			for i := range 200 {
				l.Admit("a", nth("whole", i), []digest.Digest{nth("new", i), nth("newer", i)})
			}
			_ = l.store.now(func(*sql.Tx) error { return nil }) // all that is queued was tried
			if got := l.Wholes("a", nth("new", 7)); len(got) != 1 {
				t.Errorf("what was learnt since is not known: %v", got)
			}
			if got := value(t, metrics, "sealgate_ledger_memory_available"); got != 0 {
				t.Errorf("sealgate_ledger_memory_available is %v, want 0", got)
			}
			if got := value(t, metrics, "sealgate_ledger_memory_failures_total"); got < 1 {
				t.Errorf("sealgate_ledger_memory_failures_total is %v", got)
			}
			if _, err := os.Stat(file); err == nil {
				t.Error("the file is still in its place: after a restart it would be believed")
			}
			if err := l.Record(Decision{ID: "01"}); err != nil {
				t.Errorf("decisions are no longer recorded: %v", err)
			}
			l = restart(t, l, dir)
			if got := l.Wholes("a", nth("new", 7)); len(got) != 0 {
				t.Errorf("after a restart it is known: %v", got)
			}
		})
	}
}

func TestALedgerThatCannotBeOpenedIsAnErrorThatNamesTheFile(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, storeFile), 0o700); err != nil {
		t.Fatal(err)
	}
	if l, err := Open(dir, Options{}); err == nil || !strings.Contains(err.Error(), storeFile) {
		t.Errorf("got %v, %v", l, err)
	}
}

func TestTheFileIsBoundedAndTheOldestGoesFirst(t *testing.T) {
	dir := t.TempDir()
	const limit = 1 << 20
	metrics := prometheus.NewRegistry()
	l := open(t, dir, Options{MaxBytes: limit, Metrics: metrics})
	for i := range 12_000 {
		l.Admit("a", nth("whole", i), []digest.Digest{nth("part", i)})
		if i%1000 == 0 {
			if err := l.store.now(func(*sql.Tx) error { return nil }); err != nil {
				t.Fatal(err)
			}
		}
	}
	l = restart(t, l, dir)
	info, err := os.Stat(filepath.Join(dir, storeFile))
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() > 2*limit {
		t.Errorf("the file has %d bytes, want about %d", info.Size(), limit)
	}
	if got := l.Wholes("a", nth("part", 11_999)); len(got) != 1 {
		t.Error("the latest is forgotten")
	}
	if got := l.Wholes("a", nth("part", 0)); len(got) != 0 {
		t.Error("the oldest is remembered")
	}
	if value(t, metrics, "sealgate_ledger_memory_pruned_total") < 1 {
		t.Error("nothing was counted as pruned")
	}
}

func TestAnotherProcessReadsWhileOneWrites(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{})
	l.Admit("a", nth("whole", 0), []digest.Digest{nth("part", 0)})
	if err := l.store.now(func(*sql.Tx) error { return nil }); err != nil {
		t.Fatal(err)
	}
	reader := OpenToRead(dir, Options{})
	defer reader.Close()
	if got := reader.Wholes("a", nth("part", 0)); len(got) != 1 {
		t.Errorf("a reader sees %d wholes, want 1", len(got))
	}
	reader.Admit("a", nth("whole", 1), []digest.Digest{nth("part", 1)})
	if err := reader.Record(Decision{}); err == nil {
		t.Error("a reader recorded a decision")
	}
	if len(OpenToRead(t.TempDir(), Options{}).Wholes("a", nth("part", 0))) != 0 {
		t.Error("an empty directory knows something")
	}
}

func TestTheFileIsForItsOwnerAlone(t *testing.T) {
	_, file := filled(t)
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, want 0600", info.Mode().Perm())
	}
}

// value reads one metric.
func value(t *testing.T, r *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			m := f.GetMetric()[0]
			if f.GetType() == dto.MetricType_GAUGE {
				return m.GetGauge().GetValue()
			}
			return m.GetCounter().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}
