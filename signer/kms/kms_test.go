package kms

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sigstore/sigstore/pkg/signature"
)

const awsKey = "1234abcd-12ab-34cd-56ef-1234567890ab"

// answering answers in a service's place, where it is asked to sign.
type answering = func(w http.ResponseWriter, r *http.Request)

// newAWS serves one key by the protocol of AWS KMS (TrentService, JSON 1.1, over TLS), and makes the environment lead there.
// It returns the reference of the key.
func newAWS(t *testing.T, key *ecdsa.PrivateKey, instead ...answering) (reference string) {
	t.Helper()
	mux := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		authorization := r.Header.Get("Authorization")
		if !strings.HasPrefix(authorization, "AWS4-HMAC-SHA256 Credential=AKIATEST/") ||
			!strings.Contains(authorization, "/eu-central-1/kms/aws4_request") || strings.Contains(authorization, "the-secret") {
			http.Error(w, `{"__type":"IncompleteSignatureException"}`, http.StatusForbidden)
			return
		}
		var request struct {
			KeyID            string `json:"KeyId"`
			Message          []byte
			MessageType      string
			SigningAlgorithm string
		}
		if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
			t.Error(err)
		}
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		if request.KeyID != awsKey {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"__type":"NotFoundException","message":"no such key"}`)
			return
		}
		var answer any
		switch r.Header.Get("X-Amz-Target") {
		case "TrentService.GetPublicKey":
			answer = map[string]any{"KeyId": awsKey, "PublicKey": publicDER(t, key), "KeyUsage": "SIGN_VERIFY"}
		case "TrentService.DescribeKey":
			answer = map[string]any{"KeyMetadata": map[string]any{"KeyId": awsKey, "SigningAlgorithms": []string{"ECDSA_SHA_256"}}}
		case "TrentService.Sign":
			if instead != nil {
				instead[0](w, r)
				return
			}
			if request.MessageType != "DIGEST" || request.SigningAlgorithm != "ECDSA_SHA_256" {
				t.Errorf("sign %q with %q", request.MessageType, request.SigningAlgorithm)
			}
			sig, err := ecdsa.SignASN1(rand.Reader, key, request.Message)
			if err != nil {
				t.Error(err)
			}
			answer = map[string]any{"KeyId": awsKey, "Signature": sig, "SigningAlgorithm": request.SigningAlgorithm}
		default:
			http.Error(w, `{"__type":"UnknownOperationException"}`, http.StatusBadRequest)
			return
		}
		_ = json.NewEncoder(w).Encode(answer)
	})
	server := httptest.NewTLSServer(mux)
	t.Cleanup(server.Close)

	bundle := filepath.Join(t.TempDir(), "ca.pem")
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(bundle, certificate, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"AWS_CA_BUNDLE": bundle, "AWS_REGION": "eu-central-1", "AWS_ACCESS_KEY_ID": "AKIATEST", "AWS_SECRET_ACCESS_KEY": "the-secret",
		"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull,
	} {
		t.Setenv(name, value)
	}
	return "awskms://" + server.Listener.Addr().String() + "/" + awsKey
}

// newVault serves one key by the protocol of the transit engine of Vault and OpenBao.
func newVault(t *testing.T, key *ecdsa.PrivateKey, instead ...answering) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Vault-Token") != "the-token" {
			http.Error(w, `{"errors":["permission denied"]}`, http.StatusForbidden)
			return
		}
		var data any
		switch r.Method + " " + r.URL.Path {
		case "GET /v1/transit/keys/release":
			public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: publicDER(t, key)})
			data = map[string]any{"latest_version": 1, "type": "ecdsa-p256", "keys": map[string]any{
				"1": map[string]any{"name": "P-256", "public_key": string(public)},
			}}
		case "PUT /v1/transit/sign/release/sha2-256":
			if instead != nil {
				instead[0](w, r)
				return
			}
			var request struct {
				Input     []byte
				Prehashed bool
			}
			if err := json.NewDecoder(r.Body).Decode(&request); err != nil || !request.Prehashed {
				t.Errorf("sign: %v, %+v", err, request)
			}
			sig, err := ecdsa.SignASN1(rand.Reader, key, request.Input)
			if err != nil {
				t.Error(err)
			}
			data = map[string]any{"signature": "vault:v1:" + base64.StdEncoding.EncodeToString(sig)}
		default:
			http.NotFound(w, r)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"data": data})
	}))
	t.Cleanup(server.Close)
	t.Setenv("VAULT_ADDR", server.URL)
	t.Setenv("VAULT_TOKEN", "the-token")
}

func TestAKeyOfAServiceSignsAndShowsItsPublicHalf(t *testing.T) {
	key := newKey(t)
	newVault(t, key)
	for _, reference := range []string{newAWS(t, key), "hashivault://release", "openbao://release"} {
		public, err := PublicKey(t.Context(), reference)
		if err != nil {
			t.Errorf("%s: %v", reference, err)
			continue
		}
		if !key.PublicKey.Equal(public) {
			t.Errorf("%s: got another key", reference)
		}

		opened, err := open(t.Context(), reference)
		if err != nil {
			t.Errorf("%s: %v", reference, err)
			continue
		}
		message := "what is signed"
		sig, err := opened.SignMessage(strings.NewReader(message))
		if err != nil {
			t.Errorf("%s: %v", reference, err)
			continue
		}
		known, err := signature.LoadVerifier(key.Public(), crypto.SHA256)
		if err != nil {
			t.Fatal(err)
		}
		if err := known.VerifySignature(bytes.NewReader(sig), strings.NewReader(message)); err != nil {
			t.Errorf("%s: %v", reference, err)
		}
	}
}

func TestAKeyThatTheServiceDoesNotHaveIsAnError(t *testing.T) {
	key := newKey(t)
	newVault(t, key)
	elsewhere := strings.TrimSuffix(newAWS(t, key), awsKey) + "00000000-12ab-34cd-56ef-1234567890ab"
	for _, reference := range []string{elsewhere, "hashivault://another"} {
		if public, err := PublicKey(t.Context(), reference); err == nil {
			t.Errorf("%s: got %v", reference, public)
		}
	}
	t.Setenv("VAULT_TOKEN", "a-stranger's")
	if _, err := PublicKey(t.Context(), "hashivault://release"); err == nil {
		t.Error("a stranger got the key")
	}
}

// The library runs a program that is called sigstore-kms-SCHEME for a scheme that it does not know.
func TestAReferenceOfAnUnknownSchemeRunsNothing(t *testing.T) {
	directory := t.TempDir()
	trace := filepath.Join(directory, "ran")
	script := fmt.Sprintf("#!/bin/sh\ntouch %s\n", trace)
	if err := os.WriteFile(filepath.Join(directory, "sigstore-kms-evil"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", directory+string(os.PathListSeparator)+os.Getenv("PATH"))

	for _, reference := range []string{
		"evil://key", "", "awskms:/x", "AWSKMS:///" + awsKey, "file:///etc/passwd", "pkcs11:token=x", "awskms://", "hashivault://a/b",
		"hashivault://../x", "azurekms://vault", "gcpkms://projects/x", "awskms:///alias/x\n", "awskms:///alias/ä", "k8s://a/b",
		"awskms:///alias/" + strings.Repeat("a", 1024),
	} {
		if err := CheckReference(reference); err == nil {
			t.Errorf("%q passes for a reference", reference)
		}
		if _, err := open(t.Context(), reference); err == nil {
			t.Errorf("%q opens", reference)
		}
	}
	if _, err := os.Stat(trace); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a program ran: %v", err)
	}
}

func TestAReferenceOfEachServicePasses(t *testing.T) {
	for _, reference := range []string{
		"awskms:///" + awsKey,
		"awskms:///arn:aws:kms:eu-central-1:111122223333:key/" + awsKey,
		"awskms://localhost:4566/alias/release",
		"awskms:///alias/" + strings.Repeat("a", 1024-len("awskms:///alias/")),
		"gcpkms://projects/acme/locations/global/keyRings/release/cryptoKeys/images/versions/1",
		"azurekms://acme.vault.azure.net/release",
		"hashivault://release",
		"openbao://release",
	} {
		if err := CheckReference(reference); err != nil {
			t.Errorf("%q: %v", reference, err)
		}
	}
}

func TestAServiceThatDoesNotAnswerIsAnErrorInTime(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	t.Setenv("VAULT_ADDR", "http://"+silent.Addr().String())
	t.Setenv("VAULT_TOKEN", "the-token")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := PublicKey(ctx, "hashivault://release"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestAServiceThatNobodyIdentifiesIsNotAsked(t *testing.T) {
	key := newKey(t)
	reference := newAWS(t, key)
	newVault(t, key)
	for _, name := range unchecked {
		t.Run(name, func(t *testing.T) {
			t.Setenv(name, "1")
			for _, r := range []string{reference, "hashivault://release"} {
				if _, err := PublicKey(t.Context(), r); err == nil || !strings.Contains(err.Error(), name) {
					t.Errorf("%s: got %v", r, err)
				}
			}
		})
	}
	t.Setenv("AWS_CA_BUNDLE", "")
	if _, err := PublicKey(t.Context(), reference); err == nil || !strings.Contains(err.Error(), "x509") {
		t.Errorf("a certificate of nobody: got %v", err)
	}
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func publicDER(t *testing.T, key *ecdsa.PrivateKey) []byte {
	t.Helper()
	raw, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestAKeyOfAServiceSignsDigestsThatOthersVerify(t *testing.T) {
	key := newKey(t)
	newVault(t, key)
	known, err := signature.LoadVerifier(key.Public(), crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	for _, reference := range []string{newAWS(t, key), "hashivault://release", "openbao://release"} {
		public, err := PublicKey(t.Context(), reference)
		if err != nil {
			t.Errorf("%s: %v", reference, err)
			continue
		}
		if !key.PublicKey.Equal(public) {
			t.Errorf("%s: got another key", reference)
		}
		sum := sha256.Sum256([]byte("what is signed"))
		sig, err := KnownKey(reference, public).SignDigest(t.Context(), sum[:])
		if err != nil {
			t.Errorf("%s: %v", reference, err)
			continue
		}
		if err := known.VerifySignature(bytes.NewReader(sig), strings.NewReader("what is signed")); err != nil {
			t.Errorf("%s: %v", reference, err)
		}
	}
}

func TestAServiceThatCannotBeAskedIsAnErrorAndNoSignature(t *testing.T) {
	key := newKey(t)
	newVault(t, key)
	known := KnownKey("hashivault://release", key.Public())
	t.Setenv("VAULT_TOKEN", "a-stranger's")
	if sig, err := known.SignDigest(t.Context(), make([]byte, 32)); err == nil {
		t.Errorf("got %x", sig)
	}
	t.Setenv("VAULT_TOKEN", "the-token")
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if sig, err := known.SignDigest(ended, make([]byte, 32)); !errors.Is(err, context.Canceled) {
		t.Errorf("got %x, %v", sig, err)
	}
}

func TestThreat155_AServiceThatRefusesOrHangsGivesNoSignatureAndSaysWhy(t *testing.T) {
	const vault = "hashivault://release"
	t.Setenv("AWS_MAX_ATTEMPTS", "1")
	t.Setenv("VAULT_MAX_RETRIES", "0")
	says := func(status int, body string) answering {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status); _, _ = io.WriteString(w, body) }
	}
	var over chan struct{} // Vault's client does not end when its context does
	hangs := func(http.ResponseWriter, *http.Request) { <-over }
	for name, c := range map[string]struct {
		service string
		instead answering
		want    string
	}{
		"AWS throttles":           {"aws", says(http.StatusBadRequest, `{"__type":"ThrottlingException","message":"Rate exceeded"}`), "Rate exceeded"},
		"AWS permits it not":      {"aws", says(http.StatusBadRequest, `{"__type":"AccessDeniedException","message":"not authorized"}`), "not authorized"},
		"AWS disabled the key":    {"aws", says(http.StatusBadRequest, `{"__type":"DisabledException","message":"is disabled"}`), "is disabled"},
		"AWS is broken":           {"aws", says(http.StatusInternalServerError, `{"__type":"KMSInternalException"}`), "500"},
		"AWS hangs":               {"aws", hangs, "deadline exceeded"},
		"AWS signs nothing":       {"aws", says(http.StatusOK, `{}`), ""},
		"Vault throttles":         {vault, says(http.StatusTooManyRequests, `{"errors":["request path rate limit exceeded"]}`), "rate limit"},
		"Vault permits it not":    {vault, says(http.StatusForbidden, `{"errors":["permission denied"]}`), "permission denied"},
		"Vault is sealed":         {vault, says(http.StatusServiceUnavailable, `{"errors":["Vault is sealed"]}`), "Vault is sealed"},
		"Vault hangs":             {vault, hangs, "deadline exceeded"},
		"Vault signs nothing":     {vault, says(http.StatusOK, `{"data":{}}`), ""},
		"Vault answers something": {vault, says(http.StatusOK, `<html>`), ""},
	} {
		t.Run(name, func(t *testing.T) {
			over = make(chan struct{})
			defer close(over)
			key := newKey(t)
			reference := c.service
			if c.service == "aws" {
				reference = newAWS(t, key, c.instead)
			} else {
				newVault(t, key, c.instead)
			}
			ctx, cancel := context.WithTimeout(t.Context(), signTime/2)
			defer cancel()
			if c.want == "deadline exceeded" {
				ctx, cancel = context.WithTimeout(ctx, 100*time.Millisecond)
				defer cancel()
			}
			sum := sha256.Sum256([]byte("what is signed"))
			sig, err := KnownKey(reference, key.Public()).SignDigest(ctx, sum[:])
			if c.want == "" { // what is no signature is found by whoever verifies it, at once
				if err == nil && len(sig) > 0 {
					t.Errorf("got %x", sig)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %x, %v", sig, err)
			}
		})
	}
}

// A service that hangs holds no push longer than the push waits, and not one request for each: Vault's client waits for a minute.
func TestThreat155_AServiceThatHangsHoldsSoManyAndNoMore(t *testing.T) {
	t.Setenv("VAULT_MAX_RETRIES", "0")
	key, over := newKey(t), make(chan struct{})
	var asked atomic.Int64
	newVault(t, key, func(http.ResponseWriter, *http.Request) { asked.Add(1); <-over })
	defer close(over)
	k := KnownKey("hashivault://release", key.Public())
	for range maxTurns + 3 {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if sig, err := k.SignDigest(ctx, make([]byte, sha256.Size)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %x, %v", sig, err)
		}
		cancel()
	}
	if n := asked.Load(); n > maxTurns {
		t.Errorf("it was asked %d times, want at most %d", n, maxTurns)
	}
	if n := len(k.turns); n > maxTurns {
		t.Errorf("%d wait for it, want at most %d", n, maxTurns)
	}
}
