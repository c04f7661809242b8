package verifier

import (
	"container/list"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/sealgate/sealgate/policy"
)

// prover is what a [Cache] remembers the answers of: a [Verifier], or anything like it. It is safe for concurrent use.
type prover interface {
	Verify(ctx context.Context, s policy.Subject) (policy.Evidence, error)
}

// CacheOptions bounds a [Cache]. What is zero has its default.
type CacheOptions struct {
	TTL      time.Duration // how long proven signatures are remembered; 1 minute
	NoneTTL  time.Duration // how long it is remembered that there are none that count; 2 seconds
	Deadline time.Duration // for one verification, including the wait for its turn; 15 seconds

	Entries int   // subjects that are remembered; 100,000
	Bytes   int64 // about what they take; 64 MiB
	Flights int   // verifications at a time, in each lane; 32

	// Lane names where evidence of a repository is read from, of few places: a registry that stands still holds up nobody
	// who waits for another one. Nil: one lane for all.
	Lane func(repo string) string
}

func (o CacheOptions) withDefaults() CacheOptions {
	o.TTL = orDefault(o.TTL, time.Minute)
	o.NoneTTL = orDefault(o.NoneTTL, 2*time.Second)
	o.Deadline = orDefault(o.Deadline, MaxTime)
	o.Entries = orDefault(o.Entries, 100_000)
	o.Bytes = orDefault(o.Bytes, 64<<20)
	o.Flights = orDefault(o.Flights, 32)
	if o.Lane == nil {
		o.Lane = func(string) string { return "" }
	}
	return o
}

func orDefault[T int | int64 | time.Duration](value, otherwise T) T {
	if value <= 0 {
		return otherwise
	}
	return value
}

// Cache remembers what a verifier proved. It is a verifier itself, safe for concurrent use.
//
// It belongs to one verifier, so to one set of authorities: who changes an authority begins with an empty cache. Evidence
// that counts is remembered for a minute, its definite absence for seconds, a failure never. However many ask for one
// subject at once, it is verified once, in a flight of its own that no client can cancel: the first client to hang up must
// not fail the others.
type Cache struct {
	verifier prover
	o        CacheOptions

	mu      sync.Mutex               // guards what follows
	turns   map[string]chan struct{} // by lane, as many as there may be flights
	entries map[policy.Subject]*list.Element
	recent  list.List // of *entry, the most recently used in front
	bytes   int64
	flights map[policy.Subject]*flight
}

type entry struct {
	subject  policy.Subject
	evidence policy.Evidence
	expires  time.Time
	bytes    int64
}

// flight is one verification under way. Its results are written before done is closed, and read after.
type flight struct {
	done     chan struct{}
	evidence policy.Evidence
	err      error
}

// NewCache returns an empty cache before v.
func NewCache(v prover, o CacheOptions) *Cache {
	o = o.withDefaults()
	return &Cache{
		verifier: v, o: o, turns: map[string]chan struct{}{},
		entries: map[policy.Subject]*list.Element{}, flights: map[policy.Subject]*flight{},
	}
}

// Verify returns what is proven about s: remembered, or from the flight that is under way, or from a new one. It returns
// early when ctx ends; the flight goes on. The evidence is shared with other callers: who appends to its lists gets lists of
// his own, their elements must not be changed.
func (c *Cache) Verify(ctx context.Context, s policy.Subject) (policy.Evidence, error) {
	c.mu.Lock()
	if ev, ok := c.lookup(s, time.Now()); ok {
		c.mu.Unlock()
		return ev, nil
	}
	f := c.flights[s]
	if f == nil {
		f = &flight{done: make(chan struct{})}
		c.flights[s] = f
		go c.fly(context.WithoutCancel(ctx), s, f)
	}
	c.mu.Unlock()

	select {
	case <-f.done:
		return f.evidence, f.err
	case <-ctx.Done():
		return policy.Evidence{}, &UndecidedError{Subject: s, Cause: ctx.Err()}
	}
}

// Forget drops what is remembered of s, because something was attached to it or removed. A flight that is under way may have
// looked before that: who waits for it gets its answer, but nobody who asks from now on, and it is not remembered.
func (c *Cache) Forget(s policy.Subject) {
	if v, ok := c.verifier.(interface{ Forget(policy.Subject) }); ok {
		defer v.Forget(s) // also what it remembers longer
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.entries[s]; ok {
		c.drop(e)
	}
	delete(c.flights, s)
}

// fly verifies s and lands: the result is remembered, unless the flight was forgotten meanwhile, and handed to all who wait.
func (c *Cache) fly(ctx context.Context, s policy.Subject, f *flight) {
	ctx, cancel := context.WithTimeout(ctx, c.o.Deadline)
	defer cancel()

	f.evidence, f.err = c.verify(ctx, s)
	f.evidence.Proven = time.Now()
	// Whoever appends to what he is given must get lists of his own.
	f.evidence.Signatures, f.evidence.Rejected = slices.Clip(f.evidence.Signatures), slices.Clip(f.evidence.Rejected)
	f.evidence.Attestations, f.evidence.Unread = slices.Clip(f.evidence.Attestations), slices.Clip(f.evidence.Unread)

	c.mu.Lock()
	if c.flights[s] == f {
		delete(c.flights, s)
		if f.err == nil {
			c.store(s, f.evidence, time.Now())
		}
	}
	c.mu.Unlock()
	close(f.done)
}

// lane returns the turns of those who are read from the same place as a repository.
func (c *Cache) lane(repo string) chan struct{} {
	name := c.o.Lane(repo)
	c.mu.Lock()
	defer c.mu.Unlock()
	turns := c.turns[name]
	if turns == nil {
		turns = make(chan struct{}, c.o.Flights)
		c.turns[name] = turns
	}
	return turns
}

func (c *Cache) verify(ctx context.Context, s policy.Subject) (ev policy.Evidence, err error) {
	turns := c.lane(s.Repo)
	select {
	case turns <- struct{}{}:
		defer func() { <-turns }()
	case <-ctx.Done():
		return policy.Evidence{}, &UndecidedError{Subject: s, Cause: ctx.Err()}
	}

	// A panic that ended the flight would leave everybody waiting.
	err = guarded(func() (err error) {
		ev, err = c.verifier.Verify(ctx, s)
		return err
	})()
	if err != nil {
		return policy.Evidence{}, err
	}
	return ev, nil
}

// The methods below are called under c.mu.

func (c *Cache) lookup(s policy.Subject, now time.Time) (policy.Evidence, bool) {
	e, ok := c.entries[s]
	if !ok {
		return policy.Evidence{}, false
	}
	found := e.Value.(*entry)
	if !now.Before(found.expires) {
		c.drop(e)
		return policy.Evidence{}, false
	}
	c.recent.MoveToFront(e)
	return found.evidence, true
}

func (c *Cache) store(s policy.Subject, ev policy.Evidence, now time.Time) {
	if e, ok := c.entries[s]; ok {
		c.drop(e)
	}
	ttl := c.o.TTL
	if len(ev.Signatures)+len(ev.Attestations) == 0 {
		ttl = c.o.NoneTTL
	}
	if !ev.Until.IsZero() { // a span, so that no change of the clock makes it longer
		ttl = min(ttl, ev.Until.Sub(now))
	}
	next := &entry{subject: s, evidence: ev, expires: now.Add(ttl), bytes: weigh(s, ev)}
	if next.bytes > c.o.Bytes {
		return
	}
	c.entries[s] = c.recent.PushFront(next)
	c.bytes += next.bytes
	for len(c.entries) > c.o.Entries || c.bytes > c.o.Bytes {
		c.drop(c.recent.Back())
	}
}

func (c *Cache) drop(e *list.Element) {
	dropped := c.recent.Remove(e).(*entry)
	delete(c.entries, dropped.subject)
	c.bytes -= dropped.bytes
}

// weigh estimates the memory that an entry takes: its texts, and a fixed amount for what holds them.
func weigh(s policy.Subject, ev policy.Evidence) int64 {
	const perEntry, perItem = 320, 128
	n := perEntry + len(s.Repo) + len(s.Digest)
	for _, sig := range ev.Signatures {
		n += perItem + len(sig.Authority) + len(sig.Signer) + len(sig.Signed) + len(sig.Evidence) + len(sig.Witness.Clock) + len(sig.Witness.Log)
	}
	for i := range ev.Attestations {
		n += perItem + weighAttestation(&ev.Attestations[i])
	}
	for _, r := range slices.Concat(ev.Rejected, ev.Unread) {
		n += perItem + len(r.Evidence) + len(r.Code) + len(r.Why) + len(r.PredicateType) + len(r.Claims)
	}
	return int64(n)
}
