// Package ledger remembers what the gateway decided and learnt: one record for each decision, which admitted manifest is made
// of what, and what a registry said is attached to images.
//
// Decisions are JSON lines in the directory's decisions.jsonl. A record is written, in one write, before [Ledger.Record]
// returns, so that a decision that was acted on is one that was recorded; a record that cannot be written is an error and
// the caller must not act. Files are rotated by size and the oldest removed.
//
// The rest is memory (store.go): in a bounded file that is written a little later, and in front of it in the process. No
// verdict rests on it alone.
package ledger

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"github.com/opencontainers/go-digest"
	"github.com/prometheus/client_golang/prometheus"
	"gopkg.in/natefinch/lumberjack.v2"
)

// Bounds of the decision log.
const (
	maxFileMiB = 64 // a decisions file, before it is rotated
	maxFiles   = 16 // rotated files
)

// Options are a ledger's settings. What is zero has its default.
type Options struct {
	Log      *slog.Logger          // nowhere
	Metrics  prometheus.Registerer // none
	MaxBytes int64                 // of what is remembered in the file; 256 MiB
}

func (o Options) withDefaults() Options {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.MaxBytes <= 0 {
		o.MaxBytes = maxStoreBytes
	}
	return o
}

// Ledger is safe for concurrent use.
type Ledger struct {
	store   *store // nil: nothing survives
	lineage *lineage
	newest  *newest

	mu   sync.Mutex         // guards what follows
	file *lumberjack.Logger // nil: nothing is recorded
	torn bool               // its end may be half a record, of a process that died or a disk that was full
}

// Open opens the ledger in a directory, which is created with mode 0700 when it is not there. It fails when no decision
// could be written there. One process at a time may have a directory open.
func Open(directory string, o Options) (*Ledger, error) {
	o = o.withDefaults()
	if err := os.MkdirAll(directory, 0o700); err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	name := filepath.Join(directory, "decisions.jsonl")
	probe, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	if err := probe.Close(); err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	store, err := openStore(directory, o)
	if err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	return &Ledger{
		file: &lumberjack.Logger{Filename: name, MaxSize: maxFileMiB, MaxBackups: maxFiles}, torn: true,
		store: store, lineage: newLineage(store), newest: newNewest(store),
	}, nil
}

// OpenToRead opens what a ledger remembers, for as long as it is asked and nothing is recorded. The gateway that it belongs to
// may be running. Where nothing is remembered, or it cannot be read, it remembers nothing.
func OpenToRead(directory string, o Options) *Ledger {
	store := openStoreToRead(directory, o.withDefaults())
	return &Ledger{store: store, lineage: newLineage(store), newest: newNewest(store)}
}

// errReadOnly is a record in a ledger that is open to be read.
var errReadOnly = errors.New("the ledger is open to be read")

// Record writes one decision. When it returns an error the decision must not take effect.
func (l *Ledger) Record(d Decision) error {
	if l.file == nil {
		return errReadOnly
	}
	line, err := json.Marshal(d)
	if err != nil {
		return fmt.Errorf("record decision %s: %w", d.ID, err)
	}
	if err := l.write(append(line, '\n')); err != nil {
		return fmt.Errorf("record decision %s: %w", d.ID, err)
	}
	l.newest.note(d.Time)
	return nil
}

// write appends a line. Half a record that is there stays a line of its own, so that it spoils no other.
func (l *Ledger) write(line []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.torn {
		whole, err := endsWithLine(l.file.Filename)
		if err != nil {
			return err
		}
		if !whole {
			line = append([]byte{'\n'}, line...)
		}
	}
	if _, err := l.file.Write(line); err != nil {
		l.torn = true
		return errors.Join(err, l.file.Close()) // the next one opens it anew
	}
	l.torn = false
	return nil
}

// endsWithLine reports that nothing follows the last line of a file, which need not be there.
func endsWithLine(name string) (bool, error) {
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil || size == 0 {
		return size == 0, err
	}
	last := make([]byte, 1)
	_, err = f.ReadAt(last, size-1)
	return last[0] == '\n', err
}

// Close writes what waits to be written and closes the files. Nothing may be recorded or learnt afterwards.
func (l *Ledger) Close() error {
	err := l.store.close()
	if l.file != nil {
		err = errors.Join(err, l.file.Close())
	}
	return err
}

// Admit remembers that a manifest of a repository was admitted and is made of these: the manifests of an index, the blobs of
// an image. It is lineage, not trust: see [Ledger.Wholes].
func (l *Ledger) Admit(repo string, whole digest.Digest, parts []digest.Digest) {
	l.lineage.admit(repo, whole, parts)
}

// Wholes lists admitted manifests of a repository that were made of a part, the latest first, at most maxWholes. They are
// hints, which may come from a file: whoever asks reads each manifest, looks whether it is made of the part, and judges it
// under the policy of that moment.
func (l *Ledger) Wholes(repo string, part digest.Digest) []digest.Digest {
	return l.lineage.wholes(repo, part)
}
