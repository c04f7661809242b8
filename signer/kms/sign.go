package kms

import (
	"bytes"
	"context"
	"crypto"
	"fmt"
	"sync"
	"time"

	"github.com/sigstore/sigstore/pkg/signature/kms"
	"github.com/sigstore/sigstore/pkg/signature/options"
)

const (
	signTime = 10 * time.Second // for one signature; the push that waits for it has 20
	maxTurns = 16               // signatures at a time by one key; what a service that hangs holds, whatever the providers wait for
)

// Key is a key that a service keeps. It is safe for concurrent use.
type Key struct {
	reference string
	public    crypto.PublicKey
	turns     chan struct{}

	mu      sync.Mutex
	service kms.SignerVerifier // nil: nobody asked for a signature yet
}

// KnownKey is a key whose public half is known, as [PublicKey] fetched it or a file has it. The service is asked when something
// is to be signed; where it signs with another version of the key, whoever checks the signature will see.
func KnownKey(reference string, public crypto.PublicKey) *Key {
	return &Key{reference: reference, public: public, turns: make(chan struct{}, maxTurns)}
}

// Public is the public half.
func (k *Key) Public() crypto.PublicKey { return k.public }

// SignDigest has the service sign a SHA-256. The error says that it could not be asked, or refused.
func (k *Key) SignDigest(ctx context.Context, sha256 []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, signTime)
	defer cancel()
	select {
	case k.turns <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for %s: %w", k.reference, ctx.Err())
	}
	signature, err := inTime(ctx, func() ([]byte, error) {
		defer func() { <-k.turns }() // when the provider is done, which may be later than we are
		service, err := k.opened(ctx)
		if err != nil {
			return nil, err
		}
		return service.SignMessage(bytes.NewReader(nil), options.WithContext(ctx), options.WithDigest(sha256),
			options.WithCryptoSignerOpts(crypto.SHA256))
	})
	if err != nil {
		return nil, fmt.Errorf("sign with %s: %w", k.reference, err)
	}
	return signature, nil
}

func (k *Key) opened(ctx context.Context) (kms.SignerVerifier, error) {
	k.mu.Lock()
	service := k.service
	k.mu.Unlock()
	if service != nil {
		return service, nil
	}
	service, err := open(ctx, k.reference) // perhaps several at once, of which one is kept
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.service = service
	return service, nil
}
