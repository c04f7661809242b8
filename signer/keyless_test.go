package signer

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/sigstore/sigstore-go/pkg/bundle"
)

// certifier is a Fulcio as far as it answers. What it certifies is proven in e2e, with a real one.
type certifier struct {
	t   *testing.T
	key *ecdsa.PrivateKey
	url string

	mu     sync.Mutex // guards what follows: a request that nobody waits for is still served
	tokens []string   // that it was shown
	answer http.HandlerFunc
}

func (c *certifier) answers(answer http.HandlerFunc) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answer = answer
}

// shown is how many tokens it was shown.
func (c *certifier) shown() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.tokens)
}

const anIdentityToken = "c2VjcmV0LWhlYWRlcg.eyJzdWIiOiJzZWFsZ2F0ZSJ9.c2VjcmV0LXNpZ25hdHVyZQ"

func newCertifier(t *testing.T) *certifier {
	c := &certifier{t: t, key: must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))}
	c.answer = c.certify
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		c.tokens = append(c.tokens, strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
		answer := c.answer
		c.mu.Unlock()
		answer(w, r)
	}))
	t.Cleanup(server.Close)
	c.url = server.URL
	return c
}

func (c *certifier) certify(w http.ResponseWriter, r *http.Request) {
	var asked struct {
		PublicKeyRequest struct{ PublicKey struct{ Content string } }
	}
	if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
		c.t.Error(err)
	}
	block, _ := pem.Decode([]byte(asked.PublicKeyRequest.PublicKey.Content))
	public := must(x509.ParsePKIXPublicKey(block.Bytes))
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(int64(c.shown())), Subject: pkix.Name{CommonName: "leaf"},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(10 * time.Minute),
	}
	der := must(x509.CreateCertificate(rand.Reader, leaf, leaf, public, c.key))
	chain := []string{string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))}
	_ = json.NewEncoder(w).Encode(map[string]any{"signedCertificateEmbeddedSct": map[string]any{"chain": map[string]any{"certificates": chain}}})
}

// What has a certificate that the certifier signed is believed.

func (c *certifier) Bundle(b *bundle.Bundle, _ digest.Digest) error {
	content, err := b.VerificationContent()
	if err != nil || content.Certificate() == nil {
		return errors.New("no certificate")
	}
	return c.issued(content.Certificate())
}

func (c *certifier) Envelope(_ []byte, _ digest.Digest, annotations map[string]string) error {
	return c.Signature(nil, nil, annotations)
}

func (c *certifier) Signature(_, _ []byte, annotations map[string]string) error {
	block, _ := pem.Decode([]byte(annotations[certificateAnnotation]))
	if block == nil {
		return errors.New("no certificate")
	}
	return c.issued(must(x509.ParseCertificate(block.Bytes)))
}

func (c *certifier) issued(leaf *x509.Certificate) error {
	sum := sha256.Sum256(leaf.RawTBSCertificate)
	if !ecdsa.VerifyASN1(&c.key.PublicKey, sum[:], leaf.Signature) {
		return errors.New("another's certificate")
	}
	return nil
}

func (c *certifier) signer(change func(*KeylessOptions)) *Keyless {
	o := KeylessOptions{
		Fulcio: c.url, Token: func() (string, error) { return anIdentityToken, nil }, Proof: c, Fingerprint: "sealgate",
	}
	if change != nil {
		change(&o)
	}
	return must(NewKeyless(o))
}

func TestAnIdentitySealsOnceInBundlesThoughEachHasAnotherKey(t *testing.T) {
	store, fulcio, tokens := newMemory(), newCertifier(t), 0
	k := fulcio.signer(func(o *KeylessOptions) {
		o.Token = func() (string, error) { tokens++; return anIdentityToken, nil }
	})
	subject := push(t, store, "prod/app", "x")
	first := mustAttest(t, NewSealer(k, store, nil), subject, says(scanned, 1))
	if len(first) != 2 || fulcio.shown() != 2 || tokens != 2 {
		t.Errorf("%d manifests, %d certificates, the token read %d times; want 2 each", len(first), fulcio.shown(), tokens)
	}
	for _, name := range store.names() {
		if strings.HasSuffix(name, ".sig") || strings.HasSuffix(name, ".att") {
			t.Errorf("wrote %s", name)
		}
	}
	before := store.names()
	again := mustAttest(t, NewSealer(k, store, []Format{Tag}), subject, says(scanned, 1))
	if !slices.Equal(first, again) || !slices.Equal(before, store.names()) || fulcio.shown() != 2 {
		t.Error("sealing again changed something, or asked for a certificate")
	}

	// What it made is ours to a key beside it, which follows no stranger then.
	key := newKey(t)
	mustAttest(t, NewSealer(key, store, nil).Beside(k), subject, says(scanned, 1))
	wantCount(t, store, subject, key, 1, 1)
}

func TestThreat155_AFulcioThatDoesNotVouchLeavesNothingAndARetryCompletes(t *testing.T) {
	store, fulcio, key := newMemory(), newCertifier(t), newKey(t)
	subject := push(t, store, "prod/app", "x")
	before := store.names()
	refuse := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status); _, _ = io.WriteString(w, body) }
	}
	endless := func(status int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.WriteHeader(status)
			for r.Context().Err() == nil {
				if _, err := io.WriteString(w, strings.Repeat(" ", 64<<10)); err != nil {
					return
				}
			}
		}
	}
	apart := func(path string, answer http.HandlerFunc) http.HandlerFunc { // all but one path is Fulcio's
		return func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == path {
				answer(w, r)
				return
			}
			fulcio.certify(w, r)
		}
	}
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("followed to somebody else") }))
	defer elsewhere.Close()
	other := newCertifier(t)
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		change func(*KeylessOptions)
		want   string
	}{
		"down":            {refuse(http.StatusServiceUnavailable, ""), nil, "503"},
		"another's token": {refuse(http.StatusUnauthorized, "who are you?"), nil, "who are you?"},
		"too much to say": {refuse(http.StatusBadRequest, strings.Repeat("x", 1<<20)), nil, "400"},
		"repeats secrets": {refuse(http.StatusBadRequest, "bad: "+anIdentityToken), nil, "withheld"},
		"elsewhere":       {http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect).ServeHTTP, nil, "307"},
		"without an end":  {endless(http.StatusOK), nil, "answered 200 with more than 512 KiB"},
		"a log without an end": {apart("/api/v2/log/entries", endless(http.StatusCreated)), func(o *KeylessOptions) {
			o.Rekor, o.RekorVersion = fulcio.url, 2
		}, "answered 201 with more than 512 KiB"},
		"a log of version 1 without an end": {apart("/api/v1/log/entries", endless(http.StatusCreated)), func(o *KeylessOptions) {
			o.Rekor, o.RekorVersion = fulcio.url, 1
		}, "answered 201 with more than 512 KiB"},
		"a log that is elsewhere": {apart("/api/v2/log/entries", http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect).ServeHTTP), func(o *KeylessOptions) {
			o.Rekor, o.RekorVersion = fulcio.url, 2
		}, "307"},
		"a log that refuses": {apart("/api/v2/log/entries", refuse(http.StatusBadRequest, "not of ours")), func(o *KeylessOptions) {
			o.Rekor, o.RekorVersion = fulcio.url, 2
		}, "answered 400: not of ours"},
		"a log with nothing to say": {apart("/api/v2/log/entries", refuse(http.StatusCreated, "")), func(o *KeylessOptions) {
			o.Rekor, o.RekorVersion = fulcio.url, 2
		}, "read the transparency log's answer"},
		"a time without an end": {apart("/timestamp", endless(http.StatusCreated)), func(o *KeylessOptions) {
			o.Timestamps = []string{fulcio.url + "/timestamp"}
		}, "answered 201 with more than 512 KiB"},
		"another identity": {fulcio.certify, func(o *KeylessOptions) { o.Proof = other }, "not one of the identity that is configured"},
		"no token": {fulcio.certify, func(o *KeylessOptions) {
			o.Token = func() (string, error) { return "", errors.New("no such file") }
		}, "no such file"},
		"an empty token": {fulcio.certify, func(o *KeylessOptions) {
			o.Token = func() (string, error) { return "", nil }
		}, "IDToken"},
		"nobody says the time": {apart("/timestamp", refuse(http.StatusBadGateway, "")), func(o *KeylessOptions) { o.Timestamps = []string{fulcio.url + "/timestamp"} }, "502"},
	} {
		fulcio.answers(c.answer)
		both := Join(NewSealer(key, store, nil), NewSealer(fulcio.signer(c.change), store, nil))
		_, err := both.Seal(t.Context(), subject, host+subject.Repo, []Statement{says(scanned, 1)})
		if err == nil || !strings.Contains(err.Error(), c.want) || len(err.Error()) > 2*maxSaid {
			t.Errorf("%s: got %.2000v", name, err)
		}
		for part := range strings.SplitSeq(anIdentityToken, ".") {
			if err != nil && strings.Contains(err.Error(), part) {
				t.Errorf("%s: the token is in the error", name)
			}
		}
		if !slices.Equal(before, store.names()) || len(store.listed[subject]) > 0 {
			t.Fatalf("%s: something was left", name)
		}
	}

	fulcio.answers(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // only then a server notices that nobody waits any more
		<-r.Context().Done()
	})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := NewSealer(fulcio.signer(nil), store, nil).Seal(ctx, subject, host+subject.Repo, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a Fulcio that never answers: got %v", err)
	}

	fulcio.answers(fulcio.certify)
	mustAttest(t, Join(NewSealer(key, store, nil), NewSealer(fulcio.signer(nil), store, nil)), subject, says(scanned, 1))
	wantCount(t, store, subject, key, 1, 1)
}

func TestAKeylessSignerWithoutWhatVerifiesIsNone(t *testing.T) {
	for _, o := range []KeylessOptions{
		{},
		{Fulcio: "https://fulcio.acme.dev", Token: func() (string, error) { return "", nil }, Fingerprint: "x"},
	} {
		if k, err := NewKeyless(o); err == nil {
			t.Errorf("got %v", k)
		}
	}
}
