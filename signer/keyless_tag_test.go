package signer

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/sigstore/sigstore-go/pkg/sign"
)

// loggedBy is a certifier that is a log of version 1 as well: it answers with an entry of the right form. What it proves is shown in
// e2e.
func loggedBy(t *testing.T, fulcio *certifier) *Keyless {
	t.Helper()
	key := must(sign.NewEphemeralKeypair(nil))
	signature, hash, err := key.SignData(context.Background(), []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	public := must(key.GetPublicKeyPem())
	body := must(json.Marshal(map[string]any{"kind": "hashedrekord", "apiVersion": "0.0.1", "spec": map[string]any{
		"data":      map[string]any{"hash": map[string]string{"algorithm": "sha256", "value": hex.EncodeToString(hash)}},
		"signature": map[string]any{"content": signature, "publicKey": map[string]any{"content": []byte(public)}},
	}}))
	fulcio.answers(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/api/v1/log/entries") {
			fulcio.certify(w, r)
			return
		}
		w.WriteHeader(http.StatusCreated)
		_, _ = w.Write(logAnswer(t, func(entry map[string]any) { entry["body"] = base64.StdEncoding.EncodeToString(body) }))
	})
	return fulcio.signer(func(o *KeylessOptions) { o.Rekor, o.RekorVersion = fulcio.url, 1 })
}

func TestAnIdentityInAnOldLogSealsUnderTheTagsToo(t *testing.T) {
	store, fulcio := newMemory(), newCertifier(t)
	k := loggedBy(t, fulcio)
	subject := push(t, store, "prod/app", "x")
	first := mustAttest(t, NewSealer(k, store, nil), subject, says(scanned, 1))
	asked := fulcio.shown()
	if asked != 6 { // a certificate and an entry for the signature, for that in a bundle, and for the statement, which both have
		t.Errorf("asked %d times, want 6", asked)
	}
	hex := strings.TrimPrefix(subject.Digest.String(), "sha256:")
	for _, tag := range []string{"sha256-" + hex + ".sig", "sha256-" + hex + ".att"} {
		if !slices.ContainsFunc(store.names(), func(name string) bool { return strings.HasSuffix(name, tag) }) {
			t.Errorf("wrote no %s", tag)
		}
	}
	before := store.names()
	again := mustAttest(t, NewSealer(k, store, nil), subject, says(scanned, 1))
	if !slices.Equal(first, again) || !slices.Equal(before, store.names()) || fulcio.shown() != asked {
		t.Error("sealing again changed something, or asked somebody")
	}

	// A key beside it follows nobody, and who does not know it follows what a stranger signed under the tags and as bundles.
	key := newKey(t)
	mustAttest(t, NewSealer(key, store, nil).Beside(k), subject, says(scanned, 1))
	wantCount(t, store, subject, key, 1, 1)
	stranger := newKey(t)
	mustSeal(t, NewSealer(stranger, store, nil), subject)
	wantCount(t, store, subject, stranger, 0, 1)
}

func TestWhatAnIdentityDidNotMakeIsNotAttachedUnderTheTags(t *testing.T) {
	fulcio, other := newCertifier(t), newCertifier(t)
	k := loggedBy(t, fulcio)
	for name, proof := range map[string]Proof{"nothing": other, "no envelope": noEnvelope{fulcio}} {
		k.o.Proof = proof
		store := newMemory()
		subject := push(t, store, "prod/app", "x")
		before := store.names()
		_, err := NewSealer(k, store, []Format{Tag}).Seal(t.Context(), subject, host+subject.Repo, []Statement{says(scanned, 1)})
		if err == nil || !strings.Contains(err.Error(), "not one of the identity that is configured") || !slices.Equal(before, store.names()) {
			t.Errorf("%s is proven: got %v", name, err)
		}
	}
	k.o.Proof = other
	store := newMemory()
	subject := push(t, store, "prod/app", "x")
	if _, err := NewSealer(k, store, []Format{Tag}).Seal(t.Context(), subject, host+subject.Repo, nil); err == nil {
		t.Error("a signature that is not proven is attached")
	}
}

// noEnvelope proves all that its certifier does but envelopes.
type noEnvelope struct{ *certifier }

func (noEnvelope) Envelope([]byte, digest.Digest, map[string]string) error {
	return errors.New("another's envelope")
}

// The payload of a layer is what is signed, whoever claims to have signed it: only where it is the same bytes is it known without
// being fetched.
func TestAnIdentitysLayerIsRecognisedByItsPayload(t *testing.T) {
	store, fulcio := newMemory(), newCertifier(t)
	k := loggedBy(t, fulcio)
	subject := push(t, store, "prod/app", "x")
	mustSeal(t, NewSealer(k, store, []Format{Tag}), subject)
	fetched := 0
	store.fail = func(operation, _ string) error {
		if operation == "Blob" {
			fetched++
		}
		return nil
	}
	layout := newTagLayout([]Party{k}, store, subject, host+subject.Repo, nil)
	if _, err := layout.look(t.Context()); err != nil || len(layout.signed) != 1 || layout.signed[0] == nil || fetched != 0 {
		t.Errorf("signed by %v, fetched %d times, %v", layout.signed, fetched, err)
	}
	elsewhere := newTagLayout([]Party{k}, store, subject, "elsewhere.example/"+subject.Repo, nil)
	if _, err := elsewhere.look(t.Context()); err != nil || len(elsewhere.signed) != 1 || elsewhere.signed[0] == nil {
		t.Errorf("signed by %v, %v", elsewhere.signed, err)
	}
	fetched = 0
	strange := newTagLayout([]Party{newCertifier(t).signer(nil)}, store, subject, "elsewhere.example/"+subject.Repo, nil)
	if strangers, err := strange.look(t.Context()); err != nil || !strangers || fetched != 1 {
		t.Errorf("another's: strangers %v, fetched %d times, %v", strangers, fetched, err)
	}
	strange.sig.current.Layers[0].Size = maxPayload + 1
	if err := strange.recognise(t.Context()); err != nil || strange.signed[0] != nil || fetched != 1 {
		t.Errorf("a payload that is too large: signed by %v, fetched %d times, %v", strange.signed, fetched, err)
	}
	store.fail = nil
	store.blobs = map[string][]byte{}
	if strangers, err := elsewhere.look(t.Context()); err != nil || !strangers {
		t.Errorf("without its payload: strangers %v, %v", strangers, err)
	}
}
