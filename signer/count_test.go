package signer

import (
	"bytes"
	"context"
	"crypto"
	"encoding/base64"
	"errors"
	"fmt"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/policy/manifest"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/sign"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/payload"
	"google.golang.org/protobuf/encoding/protojson"
)

const host = "registry.acme.dev:5000/"

func mustSeal(t testing.TB, s *Sealer, subject policy.Subject) []digest.Digest {
	t.Helper()
	sealed, err := s.Seal(context.Background(), subject, host+subject.Repo, nil)
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}

// count counts a key's valid signatures of a subject in each format, read and verified independently of what wrote
// them. It fails the test where a manifest names a blob that is missing, or a list a manifest.
func count(t testing.TB, store Store, subject policy.Subject, key *Key) map[Format]int {
	t.Helper()
	ctx := context.Background()
	found := map[Format]int{}
	verifier := must(signature.LoadVerifier(key.Public(), crypto.SHA256))

	raw, mediaType, err := store.Manifest(ctx, subject.Repo, sigTag(subject))
	if err == nil {
		m := must(manifest.Parse(raw, mediaType))
		must(store.Blob(ctx, subject.Repo, m.Config.Digest, 1<<20))
		for _, layer := range m.Layers {
			said := must(store.Blob(ctx, subject.Repo, layer.Digest, 1<<20))
			sig := must(base64.StdEncoding.DecodeString(layer.Annotations["dev.cosignproject.cosign/signature"]))
			var simple payload.Cosign
			if verifier.VerifySignature(bytes.NewReader(sig), bytes.NewReader(said)) == nil &&
				simple.UnmarshalJSON(said) == nil && simple.Image.DigestStr() == subject.Digest.String() &&
				simple.ClaimedIdentity == host+subject.Repo {
				found[Tag]++
			}
		}
	} else if !absent(err) {
		t.Fatal(err)
	}

	for _, d := range must(store.Listed(ctx, subject)) {
		raw, mediaType, err := store.Manifest(ctx, subject.Repo, d.Digest.String())
		if err != nil {
			t.Fatalf("listed, but not there: %v", err)
		}
		m := must(manifest.Parse(raw, mediaType))
		must(store.Blob(ctx, subject.Repo, m.Config.Digest, 1<<20))
		var b bundle.Bundle
		if b.UnmarshalJSON(must(store.Blob(ctx, subject.Repo, m.Layers[0].Digest, 1<<30))) != nil {
			continue
		}
		v := must(verify.NewVerifier(must(trust(key)), verify.WithNoObserverTimestamps()))
		proven, err := v.Verify(&b,
			verify.NewPolicy(verify.WithArtifactDigest("sha256", unhex(subject.Digest)), verify.WithKey()))
		if err == nil && proven.Statement.GetPredicateType() == "https://sigstore.dev/cosign/sign/v1" &&
			m.Subject.Digest == subject.Digest {
			found[Bundle]++
		}
	}
	return found
}

func unhex(d digest.Digest) []byte {
	var raw []byte
	fmt.Sscanf(d.Encoded(), "%x", &raw)
	return raw
}

func wantCount(t testing.TB, store Store, subject policy.Subject, key *Key, tag, bundle int) {
	t.Helper()
	if found := count(t, store, subject, key); found[Tag] != tag || found[Bundle] != bundle {
		t.Errorf("found %d signatures under .sig and %d in bundles, want %d and %d", found[Tag], found[Bundle], tag, bundle)
	}
}

// attest attaches an attestation in a bundle, and returns the digest of its manifest.
func attest(t testing.TB, store Store, subject policy.Subject, key *Key, predicate string) digest.Digest {
	t.Helper()
	statement := fmt.Appendf(nil,
		`{"_type":%q,"subject":[{"digest":{"sha256":%q}}],"predicateType":%q,"predicate":{"a":1}}`,
		statementType, subject.Digest.Encoded(), predicate)
	made := must(sign.Bundle(&sign.DSSEData{Data: statement, PayloadType: inTotoPayload}, keypair{newPen(key)}, sign.BundleOptions{}))
	return refer(t, store, subject, bundleType, must(protojson.Marshal(made)))
}

// refer attaches bytes as a referrer.
func refer(t testing.TB, store Store, subject policy.Subject, mediaType string, content []byte) digest.Digest {
	t.Helper()
	ctx := context.Background()
	layer := describe(mediaType, content)
	image, _, err := store.Manifest(ctx, subject.Repo, subject.Digest.String())
	if err != nil {
		t.Fatal(err)
	}
	raw, referrer, err := referTo(describe(ocispec.MediaTypeImageManifest, image), layer, signPredicate, "")
	if err := errors.Join(err,
		store.PutBlob(ctx, subject.Repo, layer, content),
		store.PutBlob(ctx, subject.Repo, ocispec.DescriptorEmptyJSON, []byte("{}")),
		store.PutManifest(ctx, subject.Repo, referrer.Digest.String(), referrer.MediaType, raw),
		store.Attach(ctx, subject, referrer),
	); err != nil {
		t.Fatal(err)
	}
	return referrer.Digest
}
