package verifier

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/sealgate/sealgate/policy"
)

func TestASubjectIsARepositoryAndASHA256Digest(t *testing.T) {
	m := newMemory()
	v := newVerifier(t, m, newSigner(t).authority(t, "gateway"))
	for _, s := range []policy.Subject{
		{},
		{Repo: "prod/app"},
		{Digest: aSubject().Digest},
		{Repo: "prod/app", Digest: "v1"},
		{Repo: "prod/app", Digest: digest.Digest(strings.ToUpper(string(aSubject().Digest)))},
		{Repo: "prod/app", Digest: "sha256:../../../../../../etc/passwd"},
		{Repo: "prod/app", Digest: digest.SHA512.FromString("x")},
	} {
		ev, err := v.Verify(t.Context(), s)
		if undecided := new(UndecidedError); !errors.As(err, &undecided) || undecided.Subject != s {
			t.Errorf("%v: got %+v, %v, want an UndecidedError", s, ev, err)
		}
	}
	if len(m.requests) != 0 {
		t.Errorf("asked the registry: %v", m.requests)
	}
}

// The same image in two repositories has two sets of evidence: what is attached in one proves nothing in the other.
func TestEvidenceIsOfOneRepository(t *testing.T) {
	m, s, key := newMemory(), aSubject(), newSigner(t)
	m.signTag(t, s, key)
	m.signBundle(t, s, key)
	other := policy.Subject{Repo: "dev/app", Digest: s.Digest}
	wantSigners(t, verified(t, newVerifier(t, m, key.authority(t, "gateway")), other), "", 0, "")
}

func TestEvidenceIsInTheOrderInWhichItIsListed(t *testing.T) {
	m, s := newMemory(), aSubject()
	var authorities []Authority
	for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
		key := newSigner(t)
		authorities = append(authorities, key.authority(t, name))
		if name < "d" {
			m.signBundle(t, s, key)
		} else if name == "d" {
			m.signTag(t, s, key)
		}
	}
	for range 20 {
		if got := signers(verified(t, newVerifier(t, m, authorities...), s)); got != "d a b c" {
			t.Fatalf("got %q, want %q", got, "d a b c")
		}
	}
}

func TestAPanicIsAFailureOfTheOneVerification(t *testing.T) {
	s, key := aSubject(), newSigner(t)
	for name, attach := range map[string]func(*memory){
		"under the tag": func(m *memory) { m.signTag(t, s, key) },
		"in a bundle":   func(m *memory) { m.signBundle(t, s, key) },
	} {
		m := newMemory()
		attach(m)
		broken := fakeAuthority{name: "broken", check: func() error { panic("boom") }}
		ev, err := newVerifier(t, m, key.authority(t, "gateway"), broken).Verify(t.Context(), s)
		if err == nil || !strings.Contains(err.Error(), "panic: boom") || len(ev.Signatures) != 0 {
			t.Errorf("%s: got %+v, %v, want an error", name, ev, err)
		}
	}
	for _, request := range []string{"list", "manifest", "blob"} {
		m := newMemory()
		m.signTag(t, s, key)
		m.signBundle(t, s, key)
		m.before = func(_ context.Context, asked string) error {
			if strings.HasPrefix(asked, request) {
				panic("boom")
			}
			return nil
		}
		if ev, err := newVerifier(t, m, key.authority(t, "gateway")).Verify(t.Context(), s); err == nil {
			t.Errorf("%s: got %+v, want an error", request, ev)
		}
	}
}

func TestThreat135_AVerificationThatTakesTooLongIsUndecided(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, s, key := newMemory(), aSubject(), newSigner(t)
		m.signTag(t, s, key)
		m.before = func(ctx context.Context, request string) error {
			if strings.HasPrefix(request, "list") {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}
		began := time.Now()
		ev, err := newVerifier(t, m, key.authority(t, "gateway")).Verify(t.Context(), s)
		if !errors.Is(err, context.DeadlineExceeded) || len(ev.Signatures) != 0 || time.Since(began) != MaxTime {
			t.Errorf("after %v: got %+v, %v, want a deadline after %v", time.Since(began), ev, err, MaxTime)
		}
	})
}

func TestACanceledVerificationIsUndecided(t *testing.T) {
	m, s, key := newMemory(), aSubject(), newSigner(t)
	m.signTag(t, s, key)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if ev, err := newVerifier(t, m, key.authority(t, "gateway")).Verify(ctx, s); !errors.Is(err, context.Canceled) {
		t.Errorf("got %+v, %v, want %v", ev, err, context.Canceled)
	}
}

// What strangers wrote comes to logs, terminals and error messages only as one short line.
func TestReasonsAreOneShortLine(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                        "plain",
		"two\nlines\r\n":               "two lines  ",
		"\x1b[31mred":                  " [31mred",
		"right\u202eleft":              "right left",
		"nul\x00 next\u0085 sep\u2028": "nul  next  sep ",
		"für":                          "für",
		strings.Repeat("x", 200):       strings.Repeat("x", 200),
		strings.Repeat("x", 201):       strings.Repeat("x", 200) + "...",
		strings.Repeat("ü", 100000):    strings.Repeat("ü", 200) + "...",
		"not \xff UTF-8":               "not \ufffd UTF-8",
	} {
		if got := oneLine(in); got != want {
			t.Errorf("%.40q: got %.80q, want %.80q", in, got, want)
		}
	}
}

// I10: taking evidence away never adds a signature.
func TestWithoutAPieceOfEvidenceNothingMoreIsProven(t *testing.T) {
	s, gateway, ci, stranger := aSubject(), newSigner(t), newSigner(t), newSigner(t)
	authorities := []Authority{gateway.authority(t, "gateway"), ci.authority(t, "ci")}
	pieces := []func(*memory){
		func(m *memory) { m.signTag(t, s, gateway, stranger) },
		func(m *memory) { m.signBundle(t, s, ci) },
		func(m *memory) { m.signBundle(t, s, stranger) },
		func(m *memory) { m.refer(t, s, []byte("junk"), nil) },
	}
	count := make([]int, 1<<len(pieces))
	for set := range count {
		m := newMemory()
		for i, attach := range pieces {
			if set&(1<<i) != 0 {
				attach(m)
			}
		}
		count[set] = len(verified(t, newVerifier(t, m, authorities...), s).Signatures)
	}
	for set, n := range count {
		for i := range pieces {
			if less := set &^ (1 << i); count[less] > n {
				t.Errorf("pieces %04b prove %d, %04b prove %d", set, n, less, count[less])
			}
		}
	}
}
