// Package ledger remembers what the gateway decided and learnt: one record for each decision, and which admitted index
// lists which manifest.
//
// Decisions are JSON lines in the directory's decisions.jsonl. A record is written, in one write, before [Ledger.Record]
// returns, so that a decision that was acted on is one that was recorded; a record that cannot be written is an error and
// the caller must not act. Files are rotated by size and the oldest removed.
package ledger

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/opencontainers/go-digest"
	"gopkg.in/natefinch/lumberjack.v2"
)

// Bounds of what is kept.
const (
	maxFileMiB = 64      // a decisions file, before it is rotated
	maxFiles   = 16      // rotated files
	maxEdges   = 100_000 // manifests whose indexes are remembered, in memory
	maxParents = 16      // indexes remembered for one manifest
)

// Ledger is safe for concurrent use.
type Ledger struct {
	file *lumberjack.Logger

	mu      sync.Mutex // guards what parents holds: its values are replaced, never changed
	parents *lru.Cache[edge, []digest.Digest]
}

type edge struct {
	repo  string
	child digest.Digest
}

// Open opens the ledger in a directory, which is created with mode 0700 when it is not there. It fails when no decision
// could be written there.
func Open(directory string) (*Ledger, error) {
	if err := os.MkdirAll(directory, 0o700); err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	name := filepath.Join(directory, "decisions.jsonl")
	probe, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	parents, err := lru.New[edge, []digest.Digest](maxEdges)
	if err := errors.Join(err, probe.Close()); err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	return &Ledger{
		file:    &lumberjack.Logger{Filename: name, MaxSize: maxFileMiB, MaxBackups: maxFiles},
		parents: parents,
	}, nil
}

// Record writes one decision. When it returns an error the decision must not take effect.
func (l *Ledger) Record(d Decision) error {
	line, err := json.Marshal(d)
	if err != nil {
		return fmt.Errorf("record decision %s: %w", d.ID, err)
	}
	if _, err := l.file.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("record decision %s: %w", d.ID, err)
	}
	return nil
}

// Close closes the file. Nothing may be recorded afterwards.
func (l *Ledger) Close() error { return l.file.Close() }

// Admit remembers that an index of a repository was admitted and lists these manifests. It is lineage, not trust: whoever
// asks for [Ledger.Parents] judges them again, under the policy of that moment.
func (l *Ledger) Admit(repo string, index digest.Digest, children []digest.Digest) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, child := range children {
		key := edge{repo, child}
		before, _ := l.parents.Get(key)
		parents := []digest.Digest{index} // the latest first: it is the likeliest to still be admitted
		for _, parent := range before {
			if parent != index && len(parents) < maxParents {
				parents = append(parents, parent)
			}
		}
		l.parents.Add(key, parents)
	}
}

// Parents lists the admitted indexes of a repository that list a manifest, the latest first.
func (l *Ledger) Parents(repo string, child digest.Digest) []digest.Digest {
	l.mu.Lock()
	defer l.mu.Unlock()
	parents, _ := l.parents.Get(edge{repo, child})
	return parents
}
