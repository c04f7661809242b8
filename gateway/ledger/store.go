package ledger

import (
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// store is a SQLite file, for what should outlive the process and need not: to lose it costs a repeated question. So it is
// never trusted. What is read from it are hints, which whoever asked proves again, and evidence, which is authenticated here
// and verified there. A file that is corrupt, of another version or not as we made it is set aside and begun anew; when it
// fails while we run, we go on without.
//
// It is safe for concurrent use.
type store struct {
	path    string
	limit   int64
	log     *slog.Logger
	metrics *storeMetrics

	writes  chan write    // nil where the file is open to be read
	once    sync.Once     // closes closing
	closing chan struct{} // closed when nothing more is to be written
	stopped chan struct{} // closed when the writer has ended

	mu             sync.RWMutex // guards what follows; held for reading while the file is used
	reader, writer *sql.DB      // nil when there is no file, or no longer
}

// write is one change, made in a transaction with others.
type write struct {
	change func(*sql.Tx) error
	done   chan<- error // nil where nobody waits
}

// errNoStore says that we go without.
var errNoStore = errors.New("the ledger's memory is not available")

// Bounds of the store.
const (
	maxStoreBytes = 256 << 20 // of rows; the oldest tenth goes when there are more
	maxQueued     = 4096      // writes that wait for their turn
	maxBatch      = 256       // writes in one transaction
	maxIdle       = 2         // connections that read
	busyTimeout   = 5 * time.Second
)

// openStore opens the file in a directory, anew where it is not usable. What cannot be opened for another reason, such as a
// directory without permission, is an error.
func openStore(directory string, o Options) (*store, error) {
	path, err := filepath.Abs(filepath.Join(directory, storeFile))
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", storeFile, err)
	}
	s := &store{
		path: path, limit: o.MaxBytes, log: o.Log, metrics: newStoreMetrics(o.Metrics),
		writes: make(chan write, maxQueued), closing: make(chan struct{}), stopped: make(chan struct{}),
	}
	err = s.open()
	if isUnusable(err) {
		s.log.Warn("the ledger's memory is not usable, it is set aside and begun anew", "file", path, "error", err)
		if err = setAside(path); err == nil {
			err = s.open()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	s.metrics.available.Set(1)
	go s.run()
	return s, nil
}

// openStoreToRead opens a file that another process may be writing to, nil where that is not possible.
func openStoreToRead(directory string, o Options) *store {
	path, err := filepath.Abs(filepath.Join(directory, storeFile))
	if err != nil {
		return nil
	}
	if _, err := os.Stat(path); err != nil {
		return nil
	}
	reader, err := connect(path, "ro")
	if err != nil {
		return nil
	}
	reader.SetMaxOpenConns(maxIdle)
	h, err := readHeader(reader)
	if err == nil {
		err = h.check(reader)
	}
	if err != nil {
		o.Log.Warn("the ledger's memory cannot be read", "file", path, "error", errors.Join(err, reader.Close()))
		return nil
	}
	return &store{path: path, log: o.Log, metrics: newStoreMetrics(nil), reader: reader}
}

// read runs a query.
func (s *store) read(query func(*sql.DB) error) error {
	if s == nil {
		return errNoStore
	}
	s.mu.RLock()
	if s.reader == nil {
		s.mu.RUnlock()
		return errNoStore
	}
	err := query(s.reader)
	s.mu.RUnlock()
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		s.failed("read", err)
	}
	return err
}

// later queues a change whose loss costs a repeated question. It never waits.
func (s *store) later(change func(*sql.Tx) error) {
	if s == nil || s.writes == nil {
		return
	}
	select {
	case s.writes <- write{change: change}:
	default:
		s.metrics.dropped.Inc()
	}
}

// soon queues a change. It waits for room, where later drops.
func (s *store) soon(change func(*sql.Tx) error) {
	if s == nil || s.writes == nil {
		return
	}
	select {
	case s.writes <- write{change: change}:
	case <-s.stopped:
	}
}

// now makes a change, after those that are queued, and waits until it is made.
func (s *store) now(change func(*sql.Tx) error) error {
	if s == nil || s.writes == nil {
		return errNoStore
	}
	done := make(chan error, 1)
	select {
	case s.writes <- write{change, done}:
	case <-s.stopped:
		return errNoStore
	}
	select {
	case err := <-done:
		return err
	case <-s.stopped:
		return errNoStore
	}
}

// run is the one writer. It ends when the store closes, after it wrote what is queued.
func (s *store) run() {
	defer close(s.stopped)
	for {
		select {
		case first := <-s.writes:
			s.write(s.batch(first))
		case <-s.closing:
			for len(s.writes) > 0 {
				s.write(s.batch(<-s.writes))
			}
			return
		}
	}
}

// batch takes what is queued behind a write.
func (s *store) batch(first write) []write {
	batch := []write{first}
	for len(batch) < maxBatch {
		select {
		case next := <-s.writes:
			batch = append(batch, next)
		default:
			return batch
		}
	}
	return batch
}

func (s *store) write(batch []write) {
	err := s.commit(batch)
	if err != nil && !errors.Is(err, errNoStore) {
		s.failed("write", err)
	}
	for _, w := range batch {
		if w.done != nil {
			w.done <- err
		}
	}
}

func (s *store) commit(batch []write) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.writer == nil {
		return errNoStore
	}
	tx, err := s.writer.Begin()
	if err != nil {
		return err
	}
	for _, w := range batch {
		if err := w.change(tx); err != nil {
			return errors.Join(err, tx.Rollback())
		}
	}
	if err := s.prune(tx); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

// prune drops the oldest tenth of everything when there is too much.
func (s *store) prune(tx *sql.Tx) error {
	var pages, free, size int64
	err := errors.Join(
		tx.QueryRow("PRAGMA page_count").Scan(&pages), tx.QueryRow("PRAGMA freelist_count").Scan(&free),
		tx.QueryRow("PRAGMA page_size").Scan(&size),
	)
	if err != nil || (pages-free)*size <= s.limit {
		return err
	}
	for _, statement := range []string{
		"DELETE FROM parts WHERE id IN (SELECT id FROM parts ORDER BY id LIMIT 1 + (SELECT count(*) FROM parts) / 10)",
		"DELETE FROM evidence WHERE rowid IN (SELECT rowid FROM evidence ORDER BY at LIMIT 1 + (SELECT count(*) FROM evidence) / 10)",
		"DELETE FROM bodies WHERE sum NOT IN (SELECT sum FROM evidence)",
	} {
		if _, err := tx.Exec(statement); err != nil {
			return err
		}
	}
	s.metrics.pruned.Inc()
	return nil
}

// failed takes note of an error. A file that cannot be read or written is set aside at once: what it says of evidence would
// be outdated when we start again, and nobody could tell.
func (s *store) failed(doing string, err error) {
	s.metrics.failures.Inc()
	if isPassing(err) {
		s.log.Warn("the ledger's memory is busy", "doing", doing, "error", err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.writer == nil {
		return
	}
	closing := s.closeFile()
	s.metrics.available.Set(0)
	s.log.Error("the ledger's memory failed; what is learnt from now on is forgotten with a restart",
		"file", s.path, "doing", doing, "error", err, "closing", closing, "setting_aside", setAside(s.path))
}

// close writes what is queued. What comes afterwards is not.
func (s *store) close() error {
	if s == nil {
		return nil
	}
	if s.writes != nil {
		s.once.Do(func() { close(s.closing) })
		<-s.stopped
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closeFile()
}

type storeMetrics struct {
	failures, dropped, pruned prometheus.Counter
	available                 prometheus.Gauge
}

func newStoreMetrics(r prometheus.Registerer) *storeMetrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	m := &storeMetrics{
		failures: counter("sealgate_ledger_memory_failures_total", "Reads and writes of the ledger's memory that failed; no verdict changed by it."),
		dropped:  counter("sealgate_ledger_memory_dropped_total", "What was not written to the ledger's memory because too much was waiting."),
		pruned:   counter("sealgate_ledger_memory_pruned_total", "Times that the oldest tenth of the ledger's memory was dropped to make room."),
		available: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "sealgate_ledger_memory_available", Help: "1 while what is learnt survives a restart, 0 when the file failed.",
		}),
	}
	if r != nil {
		r.MustRegister(m.failures, m.dropped, m.pruned, m.available)
	}
	return m
}
