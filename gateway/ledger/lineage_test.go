package ledger

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
)

// open opens a ledger that the test's end closes; closing it twice is harmless.
func open(t testing.TB, dir string, o Options) *Ledger {
	t.Helper()
	l, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func restart(t testing.TB, l *Ledger, dir string) *Ledger {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return open(t, dir, Options{})
}

func nth(what string, i int) digest.Digest { return digest.FromString(fmt.Sprint(what, " ", i)) }

func TestWholesAreTheLatestOfTheSameRepositoryAlsoAfterARestart(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{})
	child := digest.FromString("child")
	for i := range 2 * maxWholes {
		l.Admit("a", nth("index", i), []digest.Digest{child, nth("other", i)})
	}
	check := func(when string) {
		t.Helper()
		got := l.Wholes("a", child)
		if len(got) != maxWholes {
			t.Fatalf("%s: got %d wholes, want %d", when, len(got), maxWholes)
		}
		if got := l.Wholes("a", nth("other", 3)); !slices.Equal(got, []digest.Digest{nth("index", 3)}) {
			t.Errorf("%s: another part has the wholes %v", when, got)
		}
		if got := l.Wholes("b", child); len(got) != 0 {
			t.Errorf("%s: another repository has %d wholes, want none", when, len(got))
		}
	}
	check("at once")
	if got := l.Wholes("a", child)[0]; got != nth("index", 2*maxWholes-1) {
		t.Errorf("the first whole is %s, want the latest", got)
	}
	l = restart(t, l, dir)
	check("after a restart")
	l.Admit("a", nth("new", 0), []digest.Digest{child})
	if got := l.Wholes("a", child); got[0] != nth("new", 0) || len(got) != maxWholes {
		t.Errorf("after a restart, one more is admitted: got %d wholes, the first %s", len(got), got[0])
	}
}

// What is admitted before anybody asks must not hide what the file knows.
func TestWhatTheFileKnowsIsJoinedWithWhatIsNew(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{})
	child := digest.FromString("child")
	l.Admit("a", nth("index", 1), []digest.Digest{child})
	l = restart(t, l, dir)
	l.Admit("a", nth("index", 2), []digest.Digest{child})
	if got := l.Wholes("a", child); !slices.Equal(got, []digest.Digest{nth("index", 2), nth("index", 1)}) {
		t.Errorf("got %v", got)
	}
}

func TestLineageFromManyAtOnce(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Options{})
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			for j := range 50 {
				l.Admit("a", nth("whole", i), []digest.Digest{nth("part", j)})
				l.Wholes("a", nth("part", j+1))
			}
		})
	}
	all.Wait()
	l = restart(t, l, dir)
	for j := range 50 {
		if got := l.Wholes("a", nth("part", j)); len(got) != maxWholes {
			t.Errorf("part %d has %d wholes after a restart, want %d", j, len(got), maxWholes)
		}
	}
}

func BenchmarkAdmitKnown(b *testing.B) {
	l := open(b, b.TempDir(), Options{})
	parts := []digest.Digest{nth("p", 1), nth("p", 2), nth("p", 3), nth("p", 4), nth("p", 5), nth("p", 6)}
	for b.Loop() {
		l.Admit("a", "sha256:whole", parts)
	}
}

func BenchmarkWholesKnown(b *testing.B) {
	l := open(b, b.TempDir(), Options{})
	l.Admit("a", nth("w", 1), []digest.Digest{nth("p", 1)})
	part := nth("p", 1)
	for b.Loop() {
		l.Wholes("a", part)
	}
}
