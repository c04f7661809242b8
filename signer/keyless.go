package signer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/opencontainers/go-digest"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/sign"
	"google.golang.org/protobuf/encoding/protojson"
)

// KeylessOptions say who vouches for an identity of ours, and how what it signed is recognised.
type KeylessOptions struct {
	Fulcio     string   // whose certificates
	Timestamps []string // authorities whose timestamps go into each bundle, by the whole URLs
	Rekor      string   // the transparency log, of version 2, that each bundle goes to; "" for none

	// Token reads the identity token. It is called for each bundle: whoever gives out tokens renews them. Neither the token
	// nor a part of it is in an error.
	Token func() (string, error)

	// Verify proves that a bundle is this identity's statement about a subject. It is the proof that counts on a pull, so
	// that nothing is attached that is not admitted later.
	Verify func(b *bundle.Bundle, subject digest.Digest) error

	// Fingerprint tells the identity from others, and from keys.
	Fingerprint string
}

// Keyless signs each bundle with a key of its own, for which a Fulcio issues a certificate to our identity. The keys are
// forgotten at once. It is immutable and safe for concurrent use.
type Keyless struct{ o KeylessOptions }

// NewKeyless returns the identity. Nothing is asked before it signs.
func NewKeyless(o KeylessOptions) (*Keyless, error) {
	if o.Fulcio == "" || o.Token == nil || o.Verify == nil || o.Fingerprint == "" {
		return nil, errors.New("a keyless signer needs a Fulcio, a token, a fingerprint, and what verifies")
	}
	return &Keyless{o}, nil
}

// Fingerprint is as it was given.
func (k *Keyless) Fingerprint() string { return k.o.Fingerprint }

func (k *Keyless) writer() writer { return k }

func (k *Keyless) made(b *bundle.Bundle, subject digest.Digest) bool {
	return k.o.Verify(b, subject) == nil
}

func (k *Keyless) bundle(ctx context.Context, payload []byte, subject digest.Digest) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, keylessTime)
	defer cancel()
	token, err := k.o.Token()
	if err != nil {
		return nil, fmt.Errorf("read identity token: %w", err)
	}
	made, err := k.ask(ctx, payload, token)
	if err != nil {
		return nil, fmt.Errorf("sign keyless: %w", discreet(err, token))
	}
	raw, err := marshal(made)
	if err != nil {
		return nil, err
	}
	var b bundle.Bundle // of the very bytes that are attached
	if err := b.UnmarshalJSON(raw); err != nil {
		return nil, fmt.Errorf("read the bundle just made: %w", err)
	}
	if err := k.o.Verify(&b, subject); err != nil {
		return nil, fmt.Errorf("the bundle just made is not one of the identity that is configured: %w", err)
	}
	return raw, nil
}

// ask signs with a new key, and has others say for whom, when, and in which log.
func (k *Keyless) ask(ctx context.Context, payload []byte, token string) (*protobundle.Bundle, error) {
	key, err := sign.NewEphemeralKeypair(nil)
	if err != nil {
		return nil, err
	}
	options := sign.BundleOptions{
		Context:                    ctx,
		CertificateProvider:        sign.NewFulcio(&sign.FulcioOptions{BaseURL: k.o.Fulcio, Transport: straight{ctx}}),
		CertificateProviderOptions: &sign.CertificateProviderOptions{IDToken: token},
	}
	for _, at := range k.o.Timestamps {
		options.TimestampAuthorities = append(options.TimestampAuthorities,
			sign.NewTimestampAuthority(&sign.TimestampAuthorityOptions{URL: at, Transport: straight{ctx}}))
	}
	if k.o.Rekor != "" {
		options.TransparencyLogs = []sign.Transparency{sign.NewRekor(&sign.RekorOptions{BaseURL: k.o.Rekor, Version: 2})}
	}
	return sign.Bundle(&sign.DSSEData{Data: payload, PayloadType: inTotoPayload}, key, options)
}

// straight is a transport whose requests end with a context, which sigstore-go's do not, and that follows nobody: a token
// goes to the service that is configured. What is no answer is an error that says so.
type straight struct{ ctx context.Context }

func (s straight) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := http.DefaultTransport.RoundTrip(r.WithContext(s.ctx))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 == 3 || resp.StatusCode/100 == 5 || resp.StatusCode == http.StatusTooManyRequests {
		_ = resp.Body.Close()
		return nil, fmt.Errorf("answered %d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
	}
	return resp, nil
}

// discreet bounds what a service says in an error, and withholds all of it where it says a part of the token.
func discreet(err error, token string) error {
	text := err.Error()
	for part := range strings.SplitSeq(token, ".") {
		if len(part) > 0 && strings.Contains(text, part) {
			return errors.New("an error with the identity token in it, which is withheld")
		}
	}
	if len(text) <= maxSaid {
		return err
	}
	return fmt.Errorf("%.*s", maxSaid, text)
}

// marshal encodes a bundle. protojson varies its spaces on purpose.
func marshal(b *protobundle.Bundle) ([]byte, error) {
	loose, err := protojson.Marshal(b)
	if err != nil {
		return nil, err
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, loose); err != nil {
		return nil, err
	}
	return compact.Bytes(), nil
}
