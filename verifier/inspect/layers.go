package inspect

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/policy/manifest"
)

// Layers remembers what is in layers, by their digest, and reads each only once however many ask for it at a time. It
// outlives inspectors, as a layer's content outlives policies. It is safe for concurrent use.
type Layers struct {
	hash  hasher
	slots chan struct{} // one for each layer that is being read
	ctx   context.Context
	stop  context.CancelFunc

	mu      sync.Mutex
	known   *simplelru.LRU[layerKey, result]
	weight  int // of all that is known, in bytes
	budget  int
	flights map[flightKey]*flight
}

// layerKey is everything that a layer is read by.
type layerKey struct {
	digest    digest.Digest
	size      int64
	mediaType string
	toc       string
}

type flightKey struct {
	layerKey
	repo string
}

// result is a layer, or its flaw.
type result struct {
	layer *layer
	flaw  error
}

func (r result) weight() int {
	if r.layer == nil {
		return 512
	}
	return r.layer.weight()
}

// flight is a layer that is being read.
type flight struct {
	done   chan struct{}
	result result
	err    error
}

// NewLayers returns a memory of so many bytes. The caller closes it.
func NewLayers(budget int) *Layers {
	seed := maphash.MakeSeed()
	ctx, stop := context.WithCancel(context.Background())
	l := &Layers{
		hash:  func(name string) uint64 { return maphash.String(seed, name) },
		slots: make(chan struct{}, atOnce), ctx: ctx, stop: stop,
		budget: budget, flights: map[flightKey]*flight{},
	}
	known, err := simplelru.NewLRU(1<<20, func(_ layerKey, r result) { l.weight -= r.weight() })
	if err != nil {
		panic("inspect: the size of a cache is a positive constant: " + err.Error())
	}
	l.known = known
	return l
}

// Close ends all reading.
func (l *Layers) Close() error {
	l.stop()
	return nil
}

// read returns a layer of a repository, from memory or from its bytes. When ctx ends, the reading goes on: whoever asks
// again finds what was read.
func (l *Layers) read(ctx context.Context, blobs Blobs, repo string, d ocispec.Descriptor) (result, error) {
	if err := checkDescriptor(d); err != nil {
		return result{flaw: err}, nil
	}
	key := layerKey{d.Digest, d.Size, d.MediaType, d.Annotations[tocDigest]}
	l.mu.Lock()
	known, ok := l.known.Get(key)
	if ok {
		l.mu.Unlock()
		return known, present(ctx, blobs, repo, d)
	}
	f, err := l.join(ctx, blobs, flightKey{key, repo}, d)
	l.mu.Unlock()
	if err != nil {
		return result{}, err
	}

	select {
	case <-f.done:
		return f.result, f.err
	case <-ctx.Done():
		return result{}, fmt.Errorf("read layer %s: %w: %w", d.Digest, policy.ErrUnfinished, ctx.Err())
	}
}

// present makes sure that a layer that is known from elsewhere is in the repository too.
func present(ctx context.Context, blobs Blobs, repo string, d ocispec.Descriptor) error {
	body, _, err := blobs.OpenBlob(ctx, repo, d.Digest)
	if err != nil {
		return fmt.Errorf("open layer %s: %w", d.Digest, err)
	}
	return body.Close()
}

// join returns the flight of a layer, a new one when there is none. The caller holds the lock.
func (l *Layers) join(ctx context.Context, blobs Blobs, key flightKey, d ocispec.Descriptor) (*flight, error) {
	if f := l.flights[key]; f != nil {
		return f, nil
	}
	if len(l.flights) >= maxQueue {
		return nil, fmt.Errorf("read layer %s: %d layers are waiting already", d.Digest, maxQueue)
	}
	f := &flight{done: make(chan struct{})}
	l.flights[key] = f
	go l.fly(context.WithoutCancel(ctx), f, blobs, key, d)
	return f, nil
}

// fly reads a layer, for all that wait for it. It is detached: the first client to hang up must not fail the others. What
// ctx carries, such as whose credentials the layer is read with, stays.
func (l *Layers) fly(ctx context.Context, f *flight, blobs Blobs, key flightKey, d ocispec.Descriptor) {
	defer close(f.done)
	defer func() {
		if p := recover(); p != nil { // a reader of hostile input must not end the process
			f.result, f.err = result{}, fmt.Errorf("read layer %s: panic: %v", d.Digest, p)
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.flights, key)
		if f.err == nil {
			l.remember(key.layerKey, f.result)
		}
	}()

	select {
	case l.slots <- struct{}{}:
		defer func() { <-l.slots }()
	case <-l.ctx.Done():
		f.err = l.ctx.Err()
		return
	}
	ctx, cancel := context.WithTimeout(ctx, maxReading)
	defer cancel()
	defer context.AfterFunc(l.ctx, cancel)()
	read, err := readLayer(ctx, blobs, key.repo, d, newScanner(), l.hash)
	if fault := flaw(""); errors.As(err, &fault) {
		f.result = result{flaw: fault}
		return
	}
	f.result, f.err = result{layer: read}, err
}

// remember keeps a result and forgets the oldest ones beyond the budget. The caller holds the lock.
func (l *Layers) remember(key layerKey, r result) {
	if r.weight() > l.budget/4 || l.known.Contains(key) {
		return
	}
	l.weight += r.weight()
	l.known.Add(key, r)
	for l.weight > l.budget {
		l.known.RemoveOldest()
	}
}

// readLayers reads all layers of an image, and holds them against what its configuration says they are.
func (i Inspector) readLayers(ctx context.Context, repo string, m *manifest.Manifest, diffIDs []digest.Digest) (*filesystem, error) {
	memory := i.Layers
	if memory == nil {
		memory = NewLayers(0)
		defer memory.Close()
	}
	fs := &filesystem{hash: memory.hash}
	flawed := func(d digest.Digest, format string, args ...any) (*filesystem, error) {
		fs.flaws = append(fs.flaws, policy.Flaw{Layer: d, Why: fmt.Sprintf(format, args...)})
		return fs, nil
	}
	if len(m.Layers) > MaxLayers {
		return flawed("", "it has %d layers, %d are read", len(m.Layers), MaxLayers)
	}
	if len(diffIDs) != len(m.Layers) {
		return flawed("", "it has %d layers, and its configuration names %d", len(m.Layers), len(diffIDs))
	}

	results, err := memory.readAll(ctx, i.Blobs, repo, m.Layers)
	if err != nil {
		return nil, err
	}
	var size, entries int64
	for n, d := range m.Layers {
		r := results[n]
		if r.flaw != nil {
			return flawed(d.Digest, "%s", r.flaw)
		}
		if r.layer.diffID != diffIDs[n] {
			return flawed(d.Digest, "it unpacks to %.19s, its configuration says %.19s", r.layer.diffID, diffIDs[n])
		}
		if size += max(r.layer.size, r.layer.bytes); size > MaxImageBytes {
			return flawed("", "it unpacks to more than %d GiB", MaxImageBytes>>30)
		}
		if entries += int64(r.layer.entries); entries > MaxEntries {
			return flawed("", "it has more than %d entries", MaxEntries)
		}
		fs.layers, fs.digests = append(fs.layers, r.layer), append(fs.digests, d.Digest)
	}
	return fs, nil
}

// readAll reads layers side by side, and each of them once.
func (l *Layers) readAll(ctx context.Context, blobs Blobs, repo string, all []ocispec.Descriptor) ([]result, error) {
	ctx, cancel := context.WithTimeout(ctx, MaxWait)
	defer cancel()
	results, errs := make([]result, len(all)), make([]error, len(all))
	var group sync.WaitGroup
	for n, d := range all {
		group.Go(func() { results[n], errs[n] = l.read(ctx, blobs, repo, d) })
	}
	group.Wait()
	return results, firstError(errs)
}

// firstError prefers what will not change by waiting.
func firstError(errs []error) error {
	var unfinished error
	for _, err := range errs {
		if err != nil && !errors.Is(err, policy.ErrUnfinished) {
			return err
		}
		if err != nil {
			unfinished = err
		}
	}
	return unfinished
}
