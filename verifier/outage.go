package verifier

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/policy"
)

// Memory keeps what a source said is attached to subjects. It is safe for concurrent use.
type Memory interface {
	// Keep remembers what was so at a time, in the place of what was before. What is older than a drop is not kept. It may
	// be lost.
	Keep(s policy.Subject, at time.Time, raw []byte)

	// Recall returns what was kept last, and when it was so. ok is false where nothing was, or nothing that can be believed.
	Recall(s policy.Subject) (at time.Time, raw []byte, ok bool)

	// Drop forgets a subject. It has happened when Drop returns.
	Drop(s policy.Subject)
}

// Bounds of what bridges an outage.
const (
	maxTestimony = 8 << 20          // bytes that are remembered of one subject; of more, nothing is
	maxAsking    = 11 * time.Second // for the source; the rest of [MaxTime] is for what is remembered
	maxBehind    = 5 * time.Minute  // how far behind a memory the clock may be
)

// WithMemory returns a verifier that bridges outages of its source: where the source cannot be asked what is attached to a
// subject, what it said when it last could is verified anew, up to an age. The evidence says so: see
// [policy.Evidence.Remembered].
//
// What is remembered is bytes, never what they prove. A subject of which nothing counts is not remembered, and a memory
// that proves nothing does not say that nothing is there.
func (v *Verifier) WithMemory(m Memory, most time.Duration) *Verifier {
	other := *v
	other.memory, other.bridge = m, most
	return &other
}

// Forget drops what is remembered of s, because something was attached to it or removed.
func (v *Verifier) Forget(s policy.Subject) {
	if v.memory != nil {
		v.memory.Drop(s)
	}
}

// verifyBridged verifies s with a source that remembers.
func (v *Verifier) verifyBridged(ctx context.Context, s policy.Subject) (policy.Evidence, error) {
	w := &witness{source: v.source, memory: v.memory, subject: s, most: v.bridge, began: time.Now()}
	one := *v
	one.source = w
	ev, err := one.verify(ctx, s)
	if err != nil {
		return policy.Evidence{}, err
	}
	counts := len(ev.Signatures)+len(ev.Attestations) > 0
	if w.cause == nil {
		w.keep(counts)
		return ev, nil
	}
	if !counts {
		return policy.Evidence{}, fmt.Errorf("what is remembered proves nothing: %w", w.cause)
	}
	ev.Remembered = w.at
	ev.Until = earliest(ev.Until, w.at.Add(w.most))
	return ev, nil
}

// testimony is what a source said about a subject, and the documents that it gave for it.
type testimony struct {
	Listed   []ocispec.Descriptor
	IsListed bool                        // Listed was answered, with an empty list perhaps
	Tags     map[string]digest.Digest    // manifests by tag; empty for a tag that is not there
	Content  map[digest.Digest]statedDoc // manifests and blobs
}

type statedDoc struct {
	MediaType string `json:",omitempty"` // of a manifest
	Raw       []byte
}

// witness is a source that listens to what another one says about one subject, and repeats what it said before where it is
// not to be reached. It is safe for concurrent use.
type witness struct {
	source  Source
	memory  Memory
	subject policy.Subject
	most    time.Duration // how old a list may be
	began   time.Time

	mu    sync.Mutex // guards what follows
	heard testimony
	bytes int

	asked bool // the memory was
	past  testimony
	at    time.Time // when past was so
	known bool      // past is something
	cause error     // why a list or tag of the past was repeated; nil when none was
}

// Listed implements [Source].
func (w *witness) Listed(ctx context.Context, s policy.Subject) ([]ocispec.Descriptor, error) {
	asking, cancel := w.patience(ctx)
	defer cancel()
	list, err := w.source.Listed(asking, s)
	w.mu.Lock()
	defer w.mu.Unlock()
	if err == nil {
		w.heard.Listed, w.heard.IsListed = list, true
		return list, nil
	}
	if w.repeats(ctx, err) && w.past.IsListed {
		w.cause = err
		return w.past.Listed, nil
	}
	return nil, err
}

// Manifest implements [Source].
func (w *witness) Manifest(ctx context.Context, repo, reference string) (raw []byte, mediaType string, err error) {
	asking, cancel := w.patience(ctx)
	defer cancel()
	raw, mediaType, err = w.source.Manifest(asking, repo, reference)
	w.mu.Lock()
	defer w.mu.Unlock()
	if isDigest := strings.Contains(reference, ":"); isDigest {
		return w.document(ctx, digest.Digest(reference), statedDoc{mediaType, raw}, err)
	}

	d := digest.Digest("")
	switch {
	case err == nil:
		d = digest.FromBytes(raw)
		w.hear(d, statedDoc{mediaType, raw})
		fallthrough
	case absent(err):
		if w.heard.Tags == nil {
			w.heard.Tags = map[string]digest.Digest{}
		}
		w.heard.Tags[reference] = d
		return raw, mediaType, err
	}
	if !w.repeats(ctx, err) {
		return nil, "", err
	}
	d, known := w.past.Tags[reference]
	if !known {
		return nil, "", err
	}
	if d == "" {
		w.cause = err
		return nil, "", notThere{}
	}
	doc, known := w.past.Content[d]
	if !known || d.Algorithm().FromBytes(doc.Raw) != d {
		return nil, "", err
	}
	w.cause = err
	w.hear(d, doc)
	return doc.Raw, doc.MediaType, nil
}

// Blob implements [Source].
func (w *witness) Blob(ctx context.Context, repo string, d digest.Digest, limit int64) ([]byte, error) {
	asking, cancel := w.patience(ctx)
	defer cancel()
	raw, err := w.source.Blob(asking, repo, d, limit)
	w.mu.Lock()
	defer w.mu.Unlock()
	raw, _, err = w.document(ctx, d, statedDoc{Raw: raw}, err)
	if err == nil && int64(len(raw)) > limit {
		return nil, fmt.Errorf("%d bytes, at most %d are read", len(raw), limit)
	}
	return raw, err
}

// document is one that its digest names: it never changes, so that of any age will do, and whoever asked hashes it. It is
// called under w.mu, as all below.
func (w *witness) document(ctx context.Context, d digest.Digest, doc statedDoc, err error) ([]byte, string, error) {
	if err != nil {
		known := false
		if w.reachable(ctx, err) {
			return nil, "", err
		}
		w.recall()
		if doc, known = w.past.Content[d]; !known {
			return nil, "", err
		}
	}
	w.hear(d, doc)
	return doc.Raw, doc.MediaType, nil
}

func (w *witness) hear(d digest.Digest, doc statedDoc) {
	if w.bytes += len(doc.Raw); w.bytes > maxTestimony {
		w.heard.Content = nil
		return
	}
	if w.heard.Content == nil {
		w.heard.Content = map[digest.Digest]statedDoc{}
	}
	w.heard.Content[d] = doc
}

// repeats reports that what the source said before may stand for what it would say now.
func (w *witness) repeats(ctx context.Context, err error) bool {
	if w.reachable(ctx, err) {
		return false
	}
	w.recall()
	// A clock that went back makes what is remembered newer than it is; one that is behind it cannot tell its age.
	age := time.Since(w.at)
	return w.known && age <= w.most && age >= -maxBehind
}

// reachable reports an error that is no outage: the source answered, or it is we who gave up.
func (w *witness) reachable(ctx context.Context, err error) bool {
	if absent(err) || ctx.Err() != nil {
		return true
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	out, ok := errors.AsType[interface {
		error
		Unavailable() bool
	}](err)
	return !ok || !out.Unavailable()
}

// recall asks the memory, once.
func (w *witness) recall() {
	if w.asked {
		return
	}
	w.asked = true
	at, raw, ok := w.memory.Recall(w.subject)
	if ok && json.Unmarshal(raw, &w.past) == nil {
		w.at, w.known = at, true
		return
	}
	w.past = testimony{}
}

// patience is for how long the source is asked.
func (w *witness) patience(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithDeadline(ctx, w.began.Add(maxAsking))
}

// keep remembers what was heard, where it proved something. Where it did not, or is too much, what was remembered before is
// outdated all the same.
func (w *witness) keep(counts bool) {
	if !counts || w.bytes > maxTestimony || !w.heard.IsListed {
		w.memory.Drop(w.subject)
		return
	}
	raw, err := json.Marshal(w.heard)
	if err != nil {
		w.memory.Drop(w.subject)
		return
	}
	w.memory.Keep(w.subject, w.began, raw)
}

// notThere is the absence of a tag, as it was when the source could be asked.
type notThere struct{}

func (notThere) Error() string  { return "not there when the registry was last asked" }
func (notThere) NotFound() bool { return true }

// earliest is the earlier of two times, of which zero is none.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
