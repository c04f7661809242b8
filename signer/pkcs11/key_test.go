package pkcs11

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
)

// module is one whose handles are worth nothing since it was away. A real one is in e2e.
type module struct {
	key *ecdsa.PrivateKey

	mu     sync.Mutex // guards what follows
	epoch  int        // how often it was away
	refuse error      // to log in
	logins int
	hang   chan struct{} // until which it does not answer
}

// handle is the key in one login.
type handle struct {
	m     *module
	epoch int
}

func newModule(t *testing.T) *module {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &module{key: key}
}

func (m *module) logIn() (*session, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.logins++
	if m.refuse != nil {
		return nil, m.refuse
	}
	return &session{&handle{m, m.epoch}, func() error { return errors.New("nobody to close it with") }}, nil
}

// away has it go, and come back unless login says why not.
func (m *module) away(login error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.epoch++
	m.refuse = login
}

func (h *handle) Public() crypto.PublicKey { return h.m.key.Public() }

func (h *handle) Sign(_ io.Reader, digest []byte, _ crypto.SignerOpts) ([]byte, error) {
	h.m.mu.Lock()
	epoch, hang := h.m.epoch, h.m.hang
	h.m.mu.Unlock()
	if hang != nil {
		<-hang
	}
	if epoch != h.epoch {
		return nil, errors.New("CKR_OBJECT_HANDLE_INVALID")
	}
	return ecdsa.SignASN1(rand.Reader, h.m.key, digest)
}

var digest = make([]byte, 32)

func (m *module) signs(t *testing.T, k *Key) {
	t.Helper()
	signature, err := k.SignDigest(t.Context(), digest)
	if err != nil || !ecdsa.VerifyASN1(&m.key.PublicKey, digest, signature) {
		t.Errorf("signed %x, %v", signature, err)
	}
}

func TestThreat155_AModuleThatWasAwaySignsAgain(t *testing.T) {
	m := newModule(t)
	k, err := newKey(m.logIn)
	if err != nil {
		t.Fatal(err)
	}
	m.signs(t, k)
	m.away(nil)
	m.signs(t, k)

	m.away(errors.New("no such token"))
	for range 2 {
		if signature, err := k.SignDigest(t.Context(), digest); err == nil || !strings.Contains(err.Error(), "no such token") {
			t.Errorf("while it is away: got %x, %v", signature, err)
		}
	}
	m.away(nil)
	m.signs(t, k)
	logins := m.logins
	var all sync.WaitGroup
	m.away(nil)
	for range 2 * maxTurns {
		all.Go(func() { m.signs(t, k) })
	}
	all.Wait()
	if m.logins != logins+1 {
		t.Errorf("logged in %d times after it was away once", m.logins-logins)
	}
}

func TestAPINThatIsRefusedIsNotTriedUntilTheTokenLocksItself(t *testing.T) {
	m := newModule(t)
	k, err := newKey(m.logIn)
	if err != nil {
		t.Fatal(err)
	}
	m.away(fmt.Errorf("open token: %w", errPIN))
	before := m.logins
	for range 5 {
		if _, err := k.SignDigest(t.Context(), digest); !errors.Is(err, errPIN) {
			t.Errorf("got %v", err)
		}
	}
	if m.logins != before+1 {
		t.Errorf("the PIN was tried %d times", m.logins-before)
	}
}

func TestATokenThatComesBackWithAnotherKeySignsNothing(t *testing.T) {
	m, other := newModule(t), newModule(t)
	k, err := newKey(m.logIn)
	if err != nil {
		t.Fatal(err)
	}
	m.away(nil)
	k.open = other.logIn
	if signature, err := k.SignDigest(t.Context(), digest); err == nil || !strings.Contains(err.Error(), "another key than before") {
		t.Errorf("got %x, %v", signature, err)
	}
	k.open = m.logIn
	m.signs(t, k)
}

// A module that hangs holds no push longer than the push waits, and not one goroutine for each.
func TestThreat155_AModuleThatHangsIsAnErrorInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newModule(t)
		k, err := newKey(m.logIn)
		if err != nil {
			t.Fatal(err)
		}
		m.hang = make(chan struct{})
		for range maxTurns + 3 {
			if _, err := k.SignDigest(t.Context(), digest); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v", err)
			}
		}
		if len(k.turns) != maxTurns {
			t.Errorf("%d wait for it, want %d", len(k.turns), maxTurns)
		}
		close(m.hang)
		synctest.Wait()
		m.signs(t, k)
	})
}
