package main

import (
	"bytes"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestLinesAreWrittenTogetherAndInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out countingWriter
		w := newLateWriter(&out)
		for range 10 {
			if _, err := w.Write([]byte("line\n")); err != nil {
				t.Fatal(err)
			}
		}
		if out.text() != "" {
			t.Error("a line was written at once")
		}
		time.Sleep(lateTime)
		synctest.Wait()
		if got, want := out.text(), strings.Repeat("line\n", 10); got != want || out.writes != 1 {
			t.Errorf("got %q in %d writes", got, out.writes)
		}
		if _, err := w.Write([]byte("last\n")); err != nil {
			t.Fatal(err)
		}
		w.flush()
		if !strings.HasSuffix(out.text(), "last\n") {
			t.Error("flush left something behind")
		}
		if _, err := w.Write(bytes.Repeat([]byte("x"), lateBytes)); err != nil {
			t.Fatal(err)
		}
		if len(out.text()) < lateBytes {
			t.Error("more waits than may")
		}
	})
}

type countingWriter struct {
	mu     sync.Mutex
	all    bytes.Buffer
	writes int
}

func (w *countingWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writes++
	return w.all.Write(p)
}

func (w *countingWriter) text() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.all.String()
}
