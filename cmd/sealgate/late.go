package main

import (
	"io"
	"sync"
	"time"
)

// Bounds of what waits to be written.
const (
	lateTime  = 100 * time.Millisecond
	lateBytes = 32 << 10
)

// lateWriter gathers lines and writes them together, [lateTime] later at most, so that a log line costs no system call of
// its own. It is for the log alone, which tells what the ledger has written already. It is safe for concurrent use.
type lateWriter struct {
	to io.Writer

	mu      sync.Mutex // guards what follows
	waiting []byte
	timer   *time.Timer // runs when something waits; nil before the first
}

func newLateWriter(to io.Writer) *lateWriter { return &lateWriter{to: to} }

// Write takes p and returns. What cannot be written later is lost, as there is nobody to tell.
func (w *lateWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.waiting) == 0 {
		if w.timer == nil {
			w.timer = time.AfterFunc(lateTime, w.flush)
		} else {
			w.timer.Reset(lateTime)
		}
	}
	w.waiting = append(w.waiting, p...)
	if len(w.waiting) >= lateBytes {
		w.flushLocked()
	}
	return len(p), nil
}

// flush writes what waits.
func (w *lateWriter) flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.flushLocked()
}

func (w *lateWriter) flushLocked() {
	if len(w.waiting) > 0 {
		_, _ = w.to.Write(w.waiting)
		w.waiting = w.waiting[:0]
	}
}
