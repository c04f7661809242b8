package verifier

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/sealgate/sealgate/policy"
)

// script is a verifier that answers what a test says.
type script struct {
	calls  atomic.Int64
	answer func(ctx context.Context, s policy.Subject, call int64) (policy.Evidence, error)
}

func (p *script) Verify(ctx context.Context, s policy.Subject) (policy.Evidence, error) {
	return p.answer(ctx, s, p.calls.Add(1))
}

func signedEvidence(names ...string) policy.Evidence {
	var ev policy.Evidence
	for _, name := range names {
		ev.Signatures = append(ev.Signatures, policy.Signature{Authority: name, Signed: aSubject().Digest})
	}
	return ev
}

func always(ev policy.Evidence, err error) *script {
	return &script{answer: func(context.Context, policy.Subject, int64) (policy.Evidence, error) { return ev, err }}
}

func TestThreat129_WhatIsRememberedAndForHowLong(t *testing.T) {
	rejection := policy.Evidence{Rejected: []policy.Rejection{{Why: "a signature by an unknown key"}}}
	for name, c := range map[string]struct {
		ev  policy.Evidence
		err error
		ttl time.Duration
	}{
		"a signature":              {signedEvidence("gateway"), nil, time.Minute},
		"nothing":                  {policy.Evidence{}, nil, 2 * time.Second},
		"only what does not count": {rejection, nil, 2 * time.Second},
		"a failure":                {policy.Evidence{}, errors.New("503"), 0},
		"a failure with evidence":  {signedEvidence("gateway"), errors.New("503"), 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := always(c.ev, c.err)
				cache := NewCache(p, CacheOptions{})
				ask := func(want int64) {
					t.Helper()
					ev, err := cache.Verify(t.Context(), aSubject())
					if !errors.Is(err, c.err) || err != nil && len(ev.Signatures) != 0 || err == nil && signers(ev) != signers(c.ev) {
						t.Errorf("got %+v, %v", ev, err)
					}
					if got := p.calls.Load(); got != want {
						t.Errorf("verified %d times, want %d", got, want)
					}
				}
				ask(1)
				if c.ttl == 0 {
					ask(2)
					return
				}
				time.Sleep(c.ttl - time.Nanosecond)
				ask(1)
				time.Sleep(time.Nanosecond)
				ask(2)
			})
		})
	}
}

func TestEachSubjectIsRememberedOnItsOwn(t *testing.T) {
	p := &script{answer: func(_ context.Context, s policy.Subject, _ int64) (policy.Evidence, error) {
		return signedEvidence(s.String()), nil
	}}
	cache := NewCache(p, CacheOptions{})
	for range 2 {
		for _, s := range []policy.Subject{
			{Repo: "a", Digest: digest.FromString("1")}, {Repo: "b", Digest: digest.FromString("1")},
			{Repo: "a", Digest: digest.FromString("2")}, {Repo: "A", Digest: digest.FromString("1")},
		} {
			if got := signers(verified(t, cache, s)); got != s.String() {
				t.Errorf("%s: signed by %q", s, got)
			}
		}
	}
	if got := p.calls.Load(); got != 4 {
		t.Errorf("verified %d times, want 4", got)
	}
}

func TestThreat127_AnotherAuthorityBeginsWithAnEmptyCache(t *testing.T) {
	m, s, before, after := newMemory(), aSubject(), newSigner(t), newSigner(t)
	m.signTag(t, s, before)
	old := NewCache(newVerifier(t, m, before.authority(t, "gateway")), CacheOptions{})
	wantSigners(t, verified(t, old, s), "gateway", 0, "")
	rotated := NewCache(newVerifier(t, m, after.authority(t, "gateway")), CacheOptions{})
	wantSigners(t, verified(t, rotated, s), "", 1, "a signature by an unknown key")
}

func TestThreat130_TheFirstClientToHangUpFailsNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &script{answer: func(ctx context.Context, _ policy.Subject, _ int64) (policy.Evidence, error) {
			select {
			case <-time.After(time.Second):
				return signedEvidence("gateway"), nil
			case <-ctx.Done():
				return policy.Evidence{}, ctx.Err()
			}
		}}
		cache := NewCache(p, CacheOptions{})
		first, hangUp := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer hangUp()

		var clients sync.WaitGroup
		clients.Go(func() {
			ev, err := cache.Verify(first, aSubject())
			if !errors.Is(err, context.DeadlineExceeded) || len(ev.Signatures) != 0 {
				t.Errorf("the first: got %+v, %v", ev, err)
			}
		})
		synctest.Wait()
		for range 10 {
			clients.Go(func() { wantSigners(t, verified(t, cache, aSubject()), "gateway", 0, "") })
		}
		clients.Wait()
		if got := p.calls.Load(); got != 1 {
			t.Errorf("verified %d times, want once", got)
		}
	})
}

func TestThreat130_APanicIsAnErrorForAllWhoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &script{answer: func(_ context.Context, _ policy.Subject, call int64) (policy.Evidence, error) {
			if call > 1 {
				return signedEvidence("gateway"), nil
			}
			time.Sleep(time.Second)
			panic("boom")
		}}
		cache := NewCache(p, CacheOptions{})
		var clients sync.WaitGroup
		for range 10 {
			clients.Go(func() {
				ev, err := cache.Verify(t.Context(), aSubject())
				if err == nil || !strings.Contains(err.Error(), "panic: boom") || len(ev.Signatures) != 0 {
					t.Errorf("got %+v, %v, want the panic as an error", ev, err)
				}
			})
		}
		clients.Wait()
		wantSigners(t, verified(t, cache, aSubject()), "gateway", 0, "") // and it is not remembered
	})
}

func TestAFlightHasADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &script{answer: func(ctx context.Context, _ policy.Subject, _ int64) (policy.Evidence, error) {
			<-ctx.Done()
			return policy.Evidence{}, ctx.Err()
		}}
		began := time.Now()
		ev, err := NewCache(p, CacheOptions{}).Verify(t.Context(), aSubject())
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != MaxTime {
			t.Errorf("after %v: got %+v, %v", time.Since(began), ev, err)
		}
	})
}

func TestForgetDropsWhatIsRememberedOfOneSubject(t *testing.T) {
	p := always(signedEvidence("gateway"), nil)
	cache := NewCache(p, CacheOptions{})
	one, two := aSubject(), policy.Subject{Repo: "prod/other", Digest: aSubject().Digest}
	verified(t, cache, one)
	verified(t, cache, two)
	cache.Forget(one)
	verified(t, cache, one)
	verified(t, cache, two)
	if got := p.calls.Load(); got != 3 {
		t.Errorf("verified %d times, want 3", got)
	}
	cache.Forget(policy.Subject{Repo: "never/seen"})
}

// A flight that looked before the signature was attached must be nobody's answer after it.
func TestForgetReachesAFlightThatIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &script{answer: func(_ context.Context, _ policy.Subject, call int64) (policy.Evidence, error) {
			if call == 1 {
				time.Sleep(time.Second) // it has looked already
				return policy.Evidence{}, nil
			}
			return signedEvidence("gateway"), nil
		}}
		cache := NewCache(p, CacheOptions{NoneTTL: time.Hour})
		var early sync.WaitGroup
		early.Go(func() { wantSigners(t, verified(t, cache, aSubject()), "", 0, "") })
		synctest.Wait()

		cache.Forget(aSubject())
		wantSigners(t, verified(t, cache, aSubject()), "gateway", 0, "")
		early.Wait() // the old flight lands last
		wantSigners(t, verified(t, cache, aSubject()), "gateway", 0, "")
		if got := p.calls.Load(); got != 2 {
			t.Errorf("verified %d times, want 2", got)
		}
	})
}

func TestThreat131_ManyColdImagesAreVerifiedAFewAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var now, most atomic.Int64
		p := &script{answer: func(context.Context, policy.Subject, int64) (policy.Evidence, error) {
			for n := now.Add(1); n > most.Load(); {
				most.Store(n)
			}
			time.Sleep(10 * time.Millisecond)
			now.Add(-1)
			return signedEvidence("gateway"), nil
		}}
		cache := NewCache(p, CacheOptions{Flights: 4})
		var clients sync.WaitGroup
		for i := range 1000 {
			clients.Go(func() { verified(t, cache, policy.Subject{Repo: fmt.Sprint(i), Digest: aSubject().Digest}) })
		}
		clients.Wait()
		if got := most.Load(); got != 4 {
			t.Errorf("%d verifications at once, want 4", got)
		}
	})
}

func TestWhoGetsNoTurnInTimeIsUndecided(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &script{answer: func(ctx context.Context, _ policy.Subject, _ int64) (policy.Evidence, error) {
			time.Sleep(30 * time.Second) // a verifier that does not care about its deadline
			return signedEvidence("gateway"), nil
		}}
		cache := NewCache(p, CacheOptions{Flights: 1})
		var clients sync.WaitGroup
		clients.Go(func() { verified(t, cache, aSubject()) })
		synctest.Wait()
		ev, err := cache.Verify(t.Context(), policy.Subject{Repo: "prod/other", Digest: aSubject().Digest})
		if undecided := new(UndecidedError); !errors.As(err, &undecided) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %+v, %v, want an UndecidedError", ev, err)
		}
		clients.Wait()
	})
}

func TestThreat134_ARegistryThatStandsStillHoldsUpNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &script{answer: func(ctx context.Context, s policy.Subject, _ int64) (policy.Evidence, error) {
			if strings.HasPrefix(s.Repo, "stuck/") {
				<-ctx.Done()
				return policy.Evidence{}, ctx.Err()
			}
			return signedEvidence("gateway"), nil
		}}
		lane := func(repo string) string { return strings.SplitN(repo, "/", 2)[0] }
		cache := NewCache(p, CacheOptions{Flights: 2, Lane: lane})
		var clients sync.WaitGroup
		for i := range 5 {
			clients.Go(func() {
				_, _ = cache.Verify(t.Context(), policy.Subject{Repo: fmt.Sprint("stuck/", i), Digest: aSubject().Digest})
			})
		}
		synctest.Wait()
		began := time.Now()
		verified(t, cache, aSubject())
		if waited := time.Since(began); waited > 0 {
			t.Errorf("it took %s while another registry stood still", waited)
		}
		if n := p.calls.Load(); n != 3 {
			t.Errorf("%d verifications, want two of the registry that stands still, and one", n)
		}
		clients.Wait()
	})
}

func TestTheCacheIsBoundedInEntries(t *testing.T) {
	p := always(signedEvidence("gateway"), nil)
	cache := NewCache(p, CacheOptions{Entries: 3})
	subject := func(i int) policy.Subject { return policy.Subject{Repo: fmt.Sprint(i), Digest: aSubject().Digest} }
	for i := range 3 {
		verified(t, cache, subject(i))
	}
	verified(t, cache, subject(0)) // used again, so that 1 is the oldest
	verified(t, cache, subject(3))
	for i, want := range map[int]bool{0: true, 1: false, 2: true, 3: true} {
		if _, ok := cache.entries[subject(i)]; ok != want {
			t.Errorf("subject %d is remembered: %v, want %v", i, ok, want)
		}
	}
	if len(cache.entries) != 3 || cache.recent.Len() != 3 || len(cache.flights) != 0 {
		t.Errorf("%d entries, %d in order, %d flights", len(cache.entries), cache.recent.Len(), len(cache.flights))
	}
}

func TestTheCacheIsBoundedInBytes(t *testing.T) {
	big := policy.Evidence{Rejected: []policy.Rejection{{Why: strings.Repeat("x", 1000)}}}
	weight := weigh(aSubject(), big)
	cache := NewCache(always(big, nil), CacheOptions{Bytes: 2 * weight})
	for i := range 10 {
		verified(t, cache, policy.Subject{Repo: fmt.Sprintf("prod/%03d", i), Digest: aSubject().Digest})
	}
	if len(cache.entries) != 2 || cache.bytes > 2*weight || cache.bytes < weight {
		t.Errorf("%d entries of %d bytes, at most %d are allowed", len(cache.entries), cache.bytes, 2*weight)
	}
	cache = NewCache(always(big, nil), CacheOptions{Bytes: weight - 1})
	verified(t, cache, aSubject())
	if len(cache.entries) != 0 || cache.bytes != 0 {
		t.Errorf("%d entries of %d bytes, want none", len(cache.entries), cache.bytes)
	}
}

// The gateway appends an index's signatures to those of its children.
func TestAppendingToRememberedEvidenceChangesNothing(t *testing.T) {
	roomy := policy.Evidence{Signatures: make([]policy.Signature, 1, 10), Rejected: make([]policy.Rejection, 1, 10)}
	cache := NewCache(always(roomy, nil), CacheOptions{})
	for _, name := range []string{"a", "b"} {
		ev := verified(t, cache, aSubject())
		more := append(ev.Signatures, policy.Signature{Authority: name})
		again := verified(t, cache, aSubject())
		if len(again.Signatures) != 1 || cap(again.Signatures) != 1 || cap(again.Rejected) != 1 {
			t.Errorf("remembered: %+v after %+v", again, more)
		}
	}
}

func TestManyClientsAndForgettingAtOnceAreSafe(t *testing.T) {
	cache := NewCache(always(signedEvidence("gateway"), nil), CacheOptions{Entries: 5, TTL: time.Microsecond, Flights: 2})
	var clients sync.WaitGroup
	for i := range 8 {
		clients.Go(func() {
			for n := range 300 {
				s := policy.Subject{Repo: fmt.Sprint((i + n) % 11), Digest: aSubject().Digest}
				if i == 0 {
					cache.Forget(s)
					continue
				}
				wantSigners(t, verified(t, cache, s), "gateway", 0, "")
			}
		})
	}
	clients.Wait()
	if len(cache.flights) != 0 || len(cache.entries) > 5 || cache.recent.Len() != len(cache.entries) {
		t.Errorf("%d flights, %d entries, %d in order", len(cache.flights), len(cache.entries), cache.recent.Len())
	}
}
