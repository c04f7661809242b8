package signer

import (
	"context"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
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

	// madeEnvelope reports that a layer of a .att is such a statement.
	madeEnvelope(raw []byte, subject digest.Digest, annotations map[string]string) bool

	// madeSignature reports that a layer of a .sig has a signature by this party. payload fetches what it is over, and is
	// called only where that is not known without; nil is nothing.
	madeSignature(layer ocispec.Descriptor, signature []byte, payload func() ([]byte, error)) (bool, error)
}

// writer is a party at work on one seal. What it makes it verifies.
type writer interface {
	Party

	// bundle signs a statement about a subject, in the form that goes into a bundle.
	bundle(ctx context.Context, payload []byte, subject digest.Digest) ([]byte, error)

	// envelope signs a statement about a subject, in the form of a layer of a .att with its annotations.
	envelope(ctx context.Context, payload []byte, subject digest.Digest) (raw []byte, annotations map[string]string, err error)

	// signature signs a payload, and returns the annotations that go with it as a layer of a .sig.
	signature(ctx context.Context, payload []byte) (annotations map[string]string, err error)
}

// same reports that two parties are one.
func same(a, b Party) bool { return a.Fingerprint() == b.Fingerprint() }
