package verifier

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// The clock in a synctest bubble stands still but for the registry's latency, so that time counts round trips.
func TestRoundTripsOfAColdVerification(t *testing.T) {
	const latency = 20 * time.Millisecond
	s, key, other := aSubject(), newSigner(t), newSigner(t)
	for name, c := range map[string]struct {
		attach   func(*memory)
		requests int
		trips    int
	}{
		"nothing":                      {func(*memory) {}, 2, 1},
		"a signature under the tag":    {func(m *memory) { m.signTag(t, s, key) }, 3, 2},
		"two signatures under the tag": {func(m *memory) { m.signTag(t, s, key, other) }, 3, 2},
		"a bundle":                     {func(m *memory) { m.signBundle(t, s, key) }, 4, 3},
		"two bundles":                  {func(m *memory) { m.signBundle(t, s, key); m.signBundle(t, s, other) }, 6, 3},
		"a signature and two attestations": {func(m *memory) {
			m.signTag(t, s, key)
			m.refer(t, s, newBundle(t, key, statementFor(s.Digest, "https://spdx.dev/Document")).json(t), nil)
			m.refer(t, s, newBundle(t, key, statementFor(s.Digest, "https://slsa.dev/provenance/v1")).json(t), nil)
		}, 7, 3},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMemory()
				c.attach(m)
				m.before = func(context.Context, string) error {
					time.Sleep(latency)
					return nil
				}
				began := time.Now()
				verified(t, newVerifier(t, m, key.authority(t, "gateway")), s)
				if trips := int(time.Since(began) / latency); trips != c.trips || len(m.requests) != c.requests {
					t.Errorf("%d round trips and %d requests, want %d and %d: %v", trips, len(m.requests), c.trips, c.requests, m.requests)
				}
			})
		})
	}
}

// G9: a thousand clients, one cold image. It is the same for a refusal.
func TestThreat131_AThousandClientsOfOneColdImageAreOneVerification(t *testing.T) {
	s, key := aSubject(), newSigner(t)
	for name, c := range map[string]struct {
		attach   func(*memory)
		want     string
		requests int
	}{
		"a signed image":    {func(m *memory) { m.signTag(t, s, key) }, "gateway", 3},
		"an unsigned image": {func(*memory) {}, "", 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMemory()
				c.attach(m)
				m.before = func(context.Context, string) error {
					time.Sleep(20 * time.Millisecond)
					return nil
				}
				cache := NewCache(newVerifier(t, m, key.authority(t, "gateway")), CacheOptions{})
				var clients sync.WaitGroup
				for range 1000 {
					clients.Go(func() {
						if got := signers(verified(t, cache, s)); got != c.want {
							t.Errorf("signed by %q, want %q", got, c.want)
						}
					})
				}
				clients.Wait()
				if len(m.requests) != c.requests {
					t.Errorf("%d requests, want %d", len(m.requests), c.requests)
				}
			})
		})
	}
}

var _ prover = (*Cache)(nil)
var _ prover = (*Verifier)(nil)
var _ Source = (*memory)(nil)
