package pkcs11

import (
	"context"
	"crypto"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	signTime = 10 * time.Second // for one signature; the push that waits for it has 20
	maxTurns = 16               // signatures at a time; a module that hangs holds so many, and the others end with their context
)

// errPIN says that a token refused the PIN. Tokens count that, and lock themselves.
var errPIN = errors.New("the token refuses the PIN")

// Key is a key pair in a token. It is safe for concurrent use.
//
// A module that was away, because its network or its power was, knows none of its handles when it is back. So what fails is
// tried once more with everything opened anew.
type Key struct {
	public crypto.PublicKey
	open   func() (*session, error)
	turns  chan struct{}

	mu      sync.Mutex // guards what follows
	current *session   // nil: to be opened
	refused error      // is errPIN: nothing is tried with that PIN any more
}

// session is a token that was logged in to, with a key in it.
type session struct {
	crypto.Signer
	close func() error
}

// newKey opens a key by a function that opens it again when the module was away.
func newKey(open func() (*session, error)) (*Key, error) {
	first, err := open()
	if err != nil {
		return nil, err
	}
	return &Key{public: first.Public(), open: open, turns: make(chan struct{}, maxTurns), current: first}, nil
}

// Public is the public half.
func (k *Key) Public() crypto.PublicKey { return k.public }

// SignDigest has the module sign a SHA-256. The error says that it could not, or would not. Modules do not listen to a context:
// when it ends, SignDigest returns, and what the module does comes to nothing.
func (k *Key) SignDigest(ctx context.Context, sha256 []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, signTime)
	defer cancel()
	select {
	case k.turns <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for the module: %w", ctx.Err())
	}
	type answer struct {
		signature []byte
		err       error
	}
	answers := make(chan answer, 1)
	go func() {
		defer func() { <-k.turns }()
		signature, err := k.sign(sha256)
		answers <- answer{signature, err}
	}()
	select {
	case a := <-answers:
		return a.signature, a.err
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for the module: %w", ctx.Err())
	}
}

func (k *Key) sign(sha256 []byte) ([]byte, error) {
	s, err := k.opened(nil)
	if err != nil {
		return nil, err
	}
	signature, err := s.Sign(rand.Reader, sha256, crypto.SHA256)
	if err == nil {
		return signature, nil
	}
	s, again := k.opened(s)
	if again != nil {
		return nil, errors.Join(err, again)
	}
	return s.Sign(rand.Reader, sha256, crypto.SHA256)
}

// opened is a session to sign in: a new one where there is none but the one that failed.
func (k *Key) opened(failed *session) (*session, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.refused != nil {
		return nil, k.refused
	}
	if k.current != nil && k.current != failed {
		return k.current, nil
	}
	if k.current != nil {
		_ = k.current.close() // what is broken does not close well
		k.current = nil
	}
	s, err := k.open()
	if errors.Is(err, errPIN) {
		k.refused = fmt.Errorf("%w, which is not tried again before a restart", err)
		return nil, k.refused
	}
	if err != nil {
		return nil, err
	}
	if same, ok := s.Public().(interface{ Equal(crypto.PublicKey) bool }); !ok || !same.Equal(k.public) {
		return nil, errors.Join(errors.New("the token has another key than before"), s.close())
	}
	k.current = s
	return s, nil
}
