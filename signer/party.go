package signer

import (
	"context"

	"github.com/opencontainers/go-digest"
	"github.com/sigstore/sigstore-go/pkg/bundle"
)

// Party is somebody who seals: a [Key], or an identity that gets a certificate for each signature, [Keyless].
type Party interface {
	// Fingerprint tells parties apart.
	Fingerprint() string

	// writer makes the parts of one seal.
	writer() writer

	// made reports that a bundle is a statement that this party signed. What it is about is for the caller to read.
	made(b *bundle.Bundle, subject digest.Digest) bool
}

// writer is a party at work on one seal.
type writer interface {
	Party

	// bundle signs a statement about a subject, in the form that goes into a bundle, and verifies what it made.
	bundle(ctx context.Context, payload []byte, subject digest.Digest) ([]byte, error)
}

// same reports that two parties are one.
func same(a, b Party) bool { return a.Fingerprint() == b.Fingerprint() }

// keysOf are the parties that have a key.
func keysOf(parties []Party) (keys []*Key) {
	for _, one := range parties {
		if key, ok := one.(*Key); ok {
			keys = append(keys, key)
		}
	}
	return keys
}
