package signer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/sign"
	"google.golang.org/protobuf/encoding/protojson"
)

// KeylessOptions say who vouches for an identity of ours, and how what it signed is recognised.
type KeylessOptions struct {
	Fulcio     string   // whose certificates
	Timestamps []string // authorities whose timestamps go into each bundle, by the whole URLs
	Rekor      string   // the transparency log that each signature goes to; "" for none

	// RekorVersion is that of the log's API, 1 or 2. Only what is in a log of version 1 has a place under the tags of cosign
	// v2, whose verifiers know no other.
	RekorVersion int

	// Token reads the identity token. It is called for each signature: whoever gives out tokens renews them. Neither the token
	// nor a part of it is in an error.
	Token func() (string, error)

	// Proof is the one that counts on a pull, so that nothing is attached that is not admitted later.
	Proof Proof

	// Fingerprint tells the identity from others, and from keys.
	Fingerprint string
}

// Proof proves that something was signed by an identity. Any error says that it is not proven. It is safe for concurrent use.
type Proof interface {
	// Bundle is around a statement about a subject.
	Bundle(b *bundle.Bundle, subject digest.Digest) error

	// Signature is one of a payload, as a layer of a .sig has it, with the layer's annotations.
	Signature(payload, signature []byte, annotations map[string]string) error

	// Envelope is around a statement about a subject, as a layer of a .att has it, with the layer's annotations.
	Envelope(raw []byte, subject digest.Digest, annotations map[string]string) error
}

// Keyless signs each thing with a key of its own, for which a Fulcio issues a certificate to our identity. The keys are
// forgotten at once. It is immutable and safe for concurrent use.
type Keyless struct{ o KeylessOptions }

// NewKeyless returns the identity. Nothing is asked before it signs.
func NewKeyless(o KeylessOptions) (*Keyless, error) {
	if o.Fulcio == "" || o.Token == nil || o.Proof == nil || o.Fingerprint == "" {
		return nil, errors.New("a keyless signer needs a Fulcio, a token, a fingerprint, and a proof")
	}
	if o.Rekor != "" && o.RekorVersion != 1 && o.RekorVersion != 2 {
		return nil, fmt.Errorf("a transparency log of version %d: only 1 and 2 are known", o.RekorVersion)
	}
	return &Keyless{o}, nil
}

// Fingerprint is as it was given.
func (k *Keyless) Fingerprint() string { return k.o.Fingerprint }

// tags reports that what it signs has a place under the tags of cosign v2.
func (k *Keyless) tags() bool { return k.o.Rekor != "" && k.o.RekorVersion == 1 }

func (k *Keyless) writer() writer { return &hand{k, map[[sha256.Size]byte]*protobundle.Bundle{}} }

func (k *Keyless) made(b *bundle.Bundle, subject digest.Digest) bool {
	return k.o.Proof.Bundle(b, subject) == nil
}

func (k *Keyless) madeEnvelope(raw []byte, subject digest.Digest, annotations map[string]string) bool {
	return annotations[certificateAnnotation] != "" && k.o.Proof.Envelope(raw, subject, annotations) == nil
}

func (k *Keyless) madeSignature(layer ocispec.Descriptor, signature []byte, payload func() ([]byte, error)) (bool, error) {
	if layer.Annotations[certificateAnnotation] == "" {
		return false, nil
	}
	signed, err := payload()
	if err != nil || signed == nil {
		return false, err
	}
	return k.o.Proof.Signature(signed, signature, layer.Annotations) == nil, nil
}

// hand signs for an identity. What it signed once goes into each format.
type hand struct {
	*Keyless
	done map[[sha256.Size]byte]*protobundle.Bundle // by the statement
}

func (h *hand) bundle(ctx context.Context, payload []byte, subject digest.Digest) ([]byte, error) {
	made, err := h.statement(ctx, payload)
	if err != nil {
		return nil, err
	}
	raw, err := marshal(made)
	if err != nil {
		return nil, err
	}
	var b bundle.Bundle // of the very bytes that are attached
	if err := b.UnmarshalJSON(raw); err != nil {
		return nil, fmt.Errorf("read the bundle just made: %w", err)
	}
	if err := h.o.Proof.Bundle(&b, subject); err != nil {
		return nil, notOurs(err)
	}
	return raw, nil
}

// envelope is what the log has: its entry holds the hash of these very bytes.
func (h *hand) envelope(ctx context.Context, payload []byte, subject digest.Digest) (raw []byte, annotations map[string]string, err error) {
	made, err := h.statement(ctx, payload)
	if err != nil {
		return nil, nil, err
	}
	if raw, err = json.Marshal(made.GetDsseEnvelope()); err != nil {
		return nil, nil, err
	}
	if annotations, err = beside(made); err != nil {
		return nil, nil, err
	}
	annotations[signatureAnnotation] = ""
	if len(h.o.Timestamps) > 0 { // cosign v2 has the whole envelope stamped, where bundles have the signature in it
		stamp, err := h.stamp(ctx, raw)
		if err != nil {
			return nil, nil, err
		}
		annotations[timestampAnnotation] = stampText(stamp)
	}
	if err := h.o.Proof.Envelope(raw, subject, annotations); err != nil {
		return nil, nil, notOurs(err)
	}
	return raw, annotations, nil
}

func (h *hand) signature(ctx context.Context, payload []byte) (annotations map[string]string, err error) {
	made, err := h.ask(ctx, &sign.PlainData{Data: payload})
	if err != nil {
		return nil, err
	}
	if annotations, err = beside(made); err != nil {
		return nil, err
	}
	signature := made.GetMessageSignature().GetSignature()
	annotations[signatureAnnotation] = base64.StdEncoding.EncodeToString(signature)
	if err := h.o.Proof.Signature(payload, signature, annotations); err != nil {
		return nil, notOurs(err)
	}
	return annotations, nil
}

func notOurs(err error) error {
	return fmt.Errorf("the signature just made is not one of the identity that is configured: %w", err)
}

// statement signs a statement, once for all formats.
func (h *hand) statement(ctx context.Context, payload []byte) (*protobundle.Bundle, error) {
	sum := sha256.Sum256(payload)
	if made := h.done[sum]; made != nil {
		return made, nil
	}
	made, err := h.ask(ctx, &sign.DSSEData{Data: payload, PayloadType: inTotoPayload})
	if err == nil {
		h.done[sum] = made
	}
	return made, err
}

// ask signs with a new key, and has others say for whom, when, and in which log.
func (k *Keyless) ask(ctx context.Context, content sign.Content) (*protobundle.Bundle, error) {
	ctx, cancel := context.WithTimeout(ctx, keylessTime)
	defer cancel()
	token, err := k.o.Token()
	if err != nil {
		return nil, fmt.Errorf("read identity token: %w", err)
	}
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
		options.TransparencyLogs = []sign.Transparency{newLog(ctx, k.o.Rekor, k.o.RekorVersion)}
	}
	made, err := sign.Bundle(content, key, options)
	if err != nil {
		return nil, fmt.Errorf("sign keyless: %w", discreet(err, token))
	}
	return made, nil
}

// stamp has the first timestamp authority say when: a layer has room for one.
func (k *Keyless) stamp(ctx context.Context, data []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, keylessTime)
	defer cancel()
	authority := sign.NewTimestampAuthority(&sign.TimestampAuthorityOptions{URL: k.o.Timestamps[0], Transport: straight{ctx}})
	stamp, err := authority.GetTimestamp(ctx, data)
	if err != nil {
		return nil, fmt.Errorf("ask for a timestamp: %w", discreet(err, ""))
	}
	return stamp, nil
}

// What cosign v2 writes beside a signature that no key vouches for
// (https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md).
const (
	certificateAnnotation = "dev.sigstore.cosign/certificate"
	logAnnotation         = "dev.sigstore.cosign/bundle"
	timestampAnnotation   = "dev.sigstore.cosign/rfc3161timestamp"
)

// beside is what a bundle has beside its signature, as annotations of a layer. The proof of inclusion has no place there: the
// promise stands for it.
func beside(made *protobundle.Bundle) (annotations map[string]string, err error) {
	material := made.GetVerificationMaterial()
	if len(material.GetTlogEntries()) != 1 {
		return nil, fmt.Errorf("%d log entries, where a layer has room for one", len(material.GetTlogEntries()))
	}
	entry := material.GetTlogEntries()[0]
	type payload struct {
		Body           []byte `json:"body"`
		IntegratedTime int64  `json:"integratedTime"`
		LogIndex       int64  `json:"logIndex"`
		LogID          string `json:"logID"`
	}
	logged, err := json.Marshal(struct {
		SignedEntryTimestamp []byte
		Payload              payload
	}{
		entry.GetInclusionPromise().GetSignedEntryTimestamp(),
		payload{entry.GetCanonicalizedBody(), entry.GetIntegratedTime(), entry.GetLogIndex(), hex.EncodeToString(entry.GetLogId().GetKeyId())},
	})
	if err != nil {
		return nil, err
	}
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: material.GetCertificate().GetRawBytes()})
	annotations = map[string]string{certificateAnnotation: string(certificate), logAnnotation: string(logged)}
	if stamps := material.GetTimestampVerificationData().GetRfc3161Timestamps(); len(stamps) > 0 {
		annotations[timestampAnnotation] = stampText(stamps[0].GetSignedTimestamp())
	}
	return annotations, nil
}

// stampText is a timestamp as an annotation.
func stampText(stamp []byte) string {
	return `{"SignedRFC3161Timestamp":"` + base64.StdEncoding.EncodeToString(stamp) + `"}`
}

// straight is a transport whose requests end with a context, which sigstore-go's do not, and that follows nobody: a token
// goes to the service that is configured. What is no answer is an error that says so, and so is one that does not end.
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
	resp.Body = &boundedBody{resp.Body, resp.StatusCode, maxAnswer}
	return resp, nil
}

// boundedBody fails where an answer is longer than any that is meant.
type boundedBody struct {
	io.ReadCloser
	status int
	left   int
}

func (b *boundedBody) Read(p []byte) (int, error) {
	if len(p) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.ReadCloser.Read(p)
	if b.left -= n; b.left < 0 {
		return 0, fmt.Errorf("answered %d with more than %d KiB", b.status, maxAnswer>>10)
	}
	return n, err
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
