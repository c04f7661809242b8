package verifier

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/sealgate/sealgate/policy"
)

// shelf is a memory that loses nothing.
type shelf struct {
	mu   sync.Mutex
	kept map[policy.Subject]kept
}

type kept struct {
	at  time.Time
	raw []byte
}

func newShelf() *shelf { return &shelf{kept: map[policy.Subject]kept{}} }

func (s *shelf) Keep(subject policy.Subject, at time.Time, raw []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept[subject] = kept{at, raw}
}

func (s *shelf) Recall(subject policy.Subject) (time.Time, []byte, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, ok := s.kept[subject]
	return k.at, k.raw, ok
}

func (s *shelf) Drop(subject policy.Subject) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.kept, subject)
}

func (s *shelf) has(subject policy.Subject) bool { _, _, ok := s.Recall(subject); return ok }

// age makes what is kept older.
func (s *shelf) age(subject policy.Subject, by time.Duration) {
	k := s.kept[subject]
	s.kept[subject] = kept{k.at.Add(-by), k.raw}
}

// errOut is an answer of a registry that is in trouble.
type errOut struct{}

func (errOut) Error() string     { return "status 503" }
func (errOut) Unavailable() bool { return true }

// fails makes a registry fail what begins with one of these.
func fails(err error, prefixes ...string) func(context.Context, string) error {
	return func(ctx context.Context, request string) error {
		for _, prefix := range prefixes {
			if strings.HasPrefix(request, prefix) {
				return fmt.Errorf("get %s: %w", request, err)
			}
		}
		return ctx.Err()
	}
}

// bridged is a verifier of what stock cosign signed, before a registry that can fail, with an empty memory.
func bridged(t testing.TB, name string) (v *Verifier, m *memory, s policy.Subject, past *shelf) {
	t.Helper()
	r, m, s := readRecording(t, name)
	pub, err := ParsePublicKeyPEM([]byte(r.Keys["p256"]))
	if err != nil {
		t.Fatal(err)
	}
	a, err := NewKeyAuthority("p256", pub)
	if err != nil {
		t.Fatal(err)
	}
	past = newShelf()
	return newVerifier(t, m, a).WithMemory(past, time.Hour), m, s, past
}

var recordings = []string{"cosign-v2.json", "cosign-v3.json"}

func wantUndecided(t *testing.T, v *Verifier, s policy.Subject, when string) {
	t.Helper()
	ev, err := v.Verify(t.Context(), s)
	if undecided := new(UndecidedError); !errors.As(err, &undecided) {
		t.Errorf("%s: got %+v, %v, want undecided", when, ev, err)
	}
}

func TestThreat134_AnOutageIsBridgedByWhatWasAttachedBefore(t *testing.T) {
	for _, name := range recordings {
		for outage, prefixes := range map[string][]string{
			"nothing answers":              {""},
			"the list fails":               {"list "},
			"tags fail":                    {"manifest sha256-"},
			"manifests fail":               {"manifest "},
			"blobs fail":                   {"blob "},
			"all but the list fails":       {"manifest ", "blob "},
			"all but manifests of digests": {"list ", "manifest sha256-", "blob "},
		} {
			v, m, s, past := bridged(t, name)
			before := verified(t, v, s)
			if !before.Remembered.IsZero() || signers(before) == "" {
				t.Fatalf("%s: before the outage: %+v", name, before)
			}
			m.before = fails(errOut{}, prefixes...)
			after, err := v.Verify(t.Context(), s)
			if err != nil {
				t.Errorf("%s, %s: %v", name, outage, err)
				continue
			}
			if signers(after) != signers(before) {
				t.Errorf("%s, %s: signed by %q, before by %q", name, outage, signers(after), signers(before))
			}
			at := past.kept[s].at
			if outage != "blobs fail" && (!after.Remembered.Equal(at) || !after.Until.Equal(at.Add(time.Hour))) {
				t.Errorf("%s, %s: remembered %v until %v, want %v and an hour", name, outage, after.Remembered, after.Until, at)
			}
			if outage == "blobs fail" && !after.Remembered.IsZero() {
				t.Errorf("%s, %s: what its digest names does not age, and was said to be remembered", name, outage)
			}
		}
	}
}

func TestWhatIsUnknownStaysUndecidedInAnOutage(t *testing.T) {
	for _, name := range recordings {
		v, m, s, past := bridged(t, name)
		m.before = fails(errOut{}, "")
		wantUndecided(t, v, s, "nothing is remembered")

		m.before = nil
		verified(t, v, s)
		m.before = fails(errOut{}, "")
		past.age(s, time.Hour-time.Minute)
		if _, err := v.Verify(t.Context(), s); err != nil {
			t.Errorf("%s: a minute before the end: %v", name, err)
		}
		past.age(s, time.Minute)
		wantUndecided(t, v, s, "it is too old")
		past.age(s, -2*time.Hour)
		wantUndecided(t, v, s, "the clock went back, so that it is from the future")
	}
}

// Whoever has a registry fail must not gain more than an outage: an answer that is wrong is none.
func TestAWrongAnswerIsNoOutage(t *testing.T) {
	for what, err := range map[string]error{
		"refused":     errors.New("status 403"),
		"other bytes": errors.New("other bytes than the digest names"),
		"nonsense":    errors.New("invalid character '<'"),
		"absent":      &notFoundError{"x"},
	} {
		for _, prefix := range []string{"list ", "manifest sha256:", "blob "} {
			v, m, s, _ := bridged(t, "cosign-v3.json")
			verified(t, v, s)
			m.before = fails(err, prefix)
			wantUndecided(t, v, s, prefix+what)
		}
	}
}

// A referrer that is listed and cannot be read may be the newest scan.
func TestWhatIsNewAndCannotBeReadIsNotBridged(t *testing.T) {
	v, m, s, _ := bridged(t, "cosign-v3.json")
	verified(t, v, s)
	newer := m.putManifest(t, s.Repo, image())
	m.listed[s] = append(m.listed[s], newer)
	m.before = fails(errOut{}, "manifest "+newer.Digest.String())
	wantUndecided(t, v, s, "one of the list is new")
}

func TestThreat129_ThatNothingCountsIsNeverRemembered(t *testing.T) {
	for _, name := range recordings {
		v, m, s, past := bridged(t, name)
		verified(t, v, s)
		listed, tag := m.listed[s], m.manifests[s.Repo+" "+signatureTag(s)]
		delete(m.listed, s)
		delete(m.manifests, s.Repo+" "+signatureTag(s))
		if ev := verified(t, v, s); signers(ev) != "" || past.has(s) {
			t.Errorf("%s: the signature is gone: got %+v, remembered: %v", name, ev, past.has(s))
		}
		m.before = fails(errOut{}, "")
		wantUndecided(t, v, s, "the signature was gone before the outage")

		// An authority that is trusted no more makes the memory worthless, which is not to know that nothing is there.
		m.before, m.listed[s] = nil, listed
		if tag.raw != nil {
			m.manifests[s.Repo+" "+signatureTag(s)] = tag
		}
		verified(t, v, s)
		m.before = fails(errOut{}, "")
		stranger := newVerifier(t, m, newSigner(t).authority(t, "stranger")).WithMemory(past, time.Hour)
		wantUndecided(t, stranger, s, "nobody who signed is trusted")
	}
}

func TestWhatIsForgottenIsNotRemembered(t *testing.T) {
	v, m, s, past := bridged(t, "cosign-v2.json")
	c := NewCache(v, CacheOptions{})
	if _, err := c.Verify(t.Context(), s); err != nil || !past.has(s) {
		t.Fatal(err, past.has(s))
	}
	c.Forget(s)
	m.before = fails(errOut{}, "")
	if ev, err := c.Verify(t.Context(), s); err == nil {
		t.Errorf("got %+v", ev)
	}
}

// A memory is bytes of whoever can write to its file: whatever is in it proves no more than the same bytes would in a registry.
func TestThreat132_AMemoryIsVerifiedAnew(t *testing.T) {
	v, m, s, past := bridged(t, "cosign-v3.json")
	verified(t, v, s)
	genuine := string(past.kept[s].raw)
	m.before = fails(errOut{}, "")
	other := policy.Subject{Repo: s.Repo, Digest: digest.FromString("another image")}
	past.Keep(other, time.Now(), []byte(genuine))
	wantUndecided(t, v, other, "the memory of another image")

	for i := range len(genuine) {
		if i%97 != 0 {
			continue
		}
		changed := []byte(genuine)
		changed[i] ^= 1
		past.Keep(s, time.Now(), changed)
		ev, err := v.Verify(t.Context(), s)
		if err == nil && signers(ev) != "p256" {
			t.Errorf("byte %d changed: %+v", i, ev)
		}
	}
	for _, nonsense := range []string{"", "null", "[]", "{}", `{"IsListed":true}`, `{"Listed":[{"digest":"../x"}],"IsListed":true,"Tags":{"x":"y"}}`, strings.Repeat("[", 100_000)} {
		past.Keep(s, time.Now(), []byte(nonsense))
		wantUndecided(t, v, s, fmt.Sprintf("%.40q", nonsense))
	}
}

func FuzzMemory(f *testing.F) {
	v, m, s, past := bridged(f, "cosign-v3.json")
	if _, err := v.Verify(context.Background(), s); err != nil {
		f.Fatal(err)
	}
	f.Add(past.kept[s].raw)
	f.Add([]byte(`{"Listed":null,"IsListed":true,"Tags":{"sha256-x.sig":""},"Content":{"sha256:x":{"Raw":"AA=="}}}`))
	m.before = fails(errOut{}, "")
	m.forgetful = true
	f.Fuzz(func(t *testing.T, raw []byte) {
		past.Keep(s, time.Now(), raw)
		if ev, err := v.Verify(t.Context(), s); err == nil && signers(ev) != "p256" {
			t.Errorf("%+v", ev)
		}
	})
}

func TestThreat135_ASourceThatHangsLeavesTimeForTheMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, m, s, _ := bridged(t, "cosign-v3.json")
		verified(t, v, s)
		m.before = func(ctx context.Context, _ string) error { <-ctx.Done(); return ctx.Err() }
		began := time.Now()
		if ev, err := v.Verify(t.Context(), s); err != nil || signers(ev) != "p256" {
			t.Errorf("got %+v, %v", ev, err)
		}
		if took := time.Since(began); took > MaxTime {
			t.Errorf("it took %s, more than %s", took, MaxTime)
		}
	})
}

func TestMoreThanIsRememberedIsNotRemembered(t *testing.T) {
	w := &witness{memory: newShelf(), subject: aSubject(), heard: testimony{IsListed: true}}
	w.memory.Keep(w.subject, time.Now(), []byte("{}"))
	half := make([]byte, maxTestimony/2)
	w.hear("sha256:a", statedDoc{Raw: half})
	w.hear("sha256:b", statedDoc{Raw: half})
	w.keep(true)
	if _, raw, ok := w.memory.Recall(w.subject); !ok || len(raw) < maxTestimony {
		t.Errorf("what is just small enough is not kept: %v, %d bytes", ok, len(raw))
	}
	w.hear("sha256:c", statedDoc{Raw: []byte{1}})
	w.keep(true)
	if _, _, ok := w.memory.Recall(w.subject); ok {
		t.Error("one byte more is kept, or what was there before still is")
	}
}

// With certificates that must be valid now, what is proven ends with the first of the path.
func TestThreat128_WhatIsProvenNowEndsWithItsCertificate(t *testing.T) {
	r, m, s := readRecording(t, "cosign-v3-certificate.json")
	roots, err := ParseCertificatesPEM([]byte(r.Root))
	if err != nil {
		t.Fatal(err)
	}
	a, err := NewCertificateAuthority("release", Certificate{Identity: Identity{Subject: "release@acme.example"}, Roots: roots})
	if err != nil {
		t.Fatal(err)
	}
	ev := verified(t, newVerifier(t, m, a), s)
	if ev.Until.IsZero() || ev.Until.After(roots[0].NotAfter) {
		t.Errorf("proven until %v, the root ends %v", ev.Until, roots[0].NotAfter)
	}
	v, _, s, _ := bridged(t, "cosign-v3.json")
	if ev := verified(t, v, s); !ev.Until.IsZero() {
		t.Errorf("a key has no end, got %v", ev.Until)
	}
}

func TestThreat128_TheCacheForgetsWhenWhatIsProvenEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		c := NewCache(proverFunc(func() policy.Evidence {
			calls++
			return policy.Evidence{Signatures: []policy.Signature{{Authority: "a"}}, Until: time.Now().Add(10 * time.Second)}
		}), CacheOptions{TTL: time.Minute})
		ask := func() {
			t.Helper()
			if _, err := c.Verify(t.Context(), aSubject()); err != nil {
				t.Fatal(err)
			}
		}
		ask()
		time.Sleep(10*time.Second - time.Nanosecond)
		if ask(); calls != 1 {
			t.Errorf("just before the end: %d verifications, want 1", calls)
		}
		time.Sleep(time.Nanosecond)
		if ask(); calls != 2 {
			t.Errorf("at the end: %d verifications, want 2", calls)
		}
	})
}

type proverFunc func() policy.Evidence

func (f proverFunc) Verify(context.Context, policy.Subject) (policy.Evidence, error) { return f(), nil }

// What was kept is bytes that somebody may have changed: under a digest that is not theirs they are nothing.
func TestThreat132_RememberedBytesOfAnotherDigestAreNotTakenForATags(t *testing.T) {
	v, m, s, past := bridged(t, "cosign-v2.json")
	verified(t, v, s)
	k := past.kept[s]
	var told testimony
	if err := json.Unmarshal(k.raw, &told); err != nil {
		t.Fatal(err)
	}
	d := told.Tags[signatureTag(s)]
	doc := told.Content[d]
	doc.Raw = append([]byte(" "), doc.Raw...) // a manifest all the same
	told.Content[d] = doc
	raw, err := json.Marshal(told)
	if err != nil {
		t.Fatal(err)
	}
	past.kept[s] = kept{k.at, raw}
	m.before = fails(errOut{}, "")
	wantUndecided(t, v, s, "with other bytes under the tag's digest")
}
