package signer

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"strings"
	"testing"
)

func newKey(t testing.TB) *Key {
	t.Helper()
	return must(NewKey(must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))))
}

func TestKeySignsWhatItsPublicHalfVerifies(t *testing.T) {
	for name, private := range map[string]crypto.Signer{
		"P-256": must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)),
		"RSA":   must(rsa.GenerateKey(rand.Reader, 2048)),
	} {
		t.Run(name, func(t *testing.T) {
			k, err := NewKey(private)
			if err != nil {
				t.Fatal(err)
			}
			signature, hash, err := k.sign(t.Context(), []byte("said"))
			if err != nil {
				t.Fatal(err)
			}
			if want := sha256.Sum256([]byte("said")); !bytes.Equal(hash, want[:]) {
				t.Errorf("signed hash %x, want %x", hash, want)
			}
			if !k.signed(hash, signature) {
				t.Error("does not verify under its own key")
			}
			if newKey(t).signed(hash, signature) {
				t.Error("verifies under another key")
			}
			again, _, _ := k.sign(t.Context(), []byte("said"))
			if !bytes.Equal(signature, again) {
				t.Error("signing twice gives two signatures, so two gateways would write two seals")
			}
		})
	}
}

func TestKeyTellsItsPublicHalf(t *testing.T) {
	k := newKey(t)
	block, rest := pem.Decode(k.PublicPEM())
	if block == nil || block.Type != "PUBLIC KEY" || len(rest) != 0 {
		t.Fatalf("public key is not one PEM block: %s", k.PublicPEM())
	}
	public, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil || !k.Public().(*ecdsa.PublicKey).Equal(public) {
		t.Errorf("PEM holds another key (%v)", err)
	}
	if sum := sha256.Sum256(block.Bytes); k.Fingerprint() != hex.EncodeToString(sum[:]) {
		t.Errorf("fingerprint %s, want %x", k.Fingerprint(), sum)
	}
}

func TestThreat082_KeysThatVersionsOfCosignReadDifferentlyAreRefused(t *testing.T) {
	_, edwards, _ := ed25519.GenerateKey(rand.Reader)
	short := must(rsa.GenerateKey(rand.Reader, 1024))
	for name, private := range map[string]crypto.Signer{
		"P-384":    must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)),
		"P-224":    must(ecdsa.GenerateKey(elliptic.P224(), rand.Reader)),
		"Ed25519":  edwards,
		"RSA-1024": short,
	} {
		if k, err := NewKey(private); err == nil {
			t.Errorf("%s was accepted as %v", name, k)
		}
	}
}

// faulty signs other bytes than it was given.
type faulty struct{ *ecdsa.PrivateKey }

func (f faulty) Sign(random io.Reader, hash []byte, opts crypto.SignerOpts) ([]byte, error) {
	flipped := bytes.Clone(hash)
	flipped[0] ^= 1
	return f.PrivateKey.Sign(random, flipped, opts)
}

type broken struct{ *ecdsa.PrivateKey }

func (broken) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, errors.New("token removed")
}

func TestSignatureThatDoesNotVerifyIsNotHandedOut(t *testing.T) {
	private := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	for _, signer := range []crypto.Signer{faulty{private}, broken{private}} {
		k := must(NewKey(signer))
		if signature, _, err := k.sign(t.Context(), []byte("said")); err == nil {
			t.Errorf("%T: got signature %x", signer, signature)
		}
	}
}

// secrets are the spellings in which a private key could slip out.
func secrets(t testing.TB, private *ecdsa.PrivateKey) []string {
	raw := must(private.Bytes())
	pkcs8 := must(x509.MarshalPKCS8PrivateKey(private))
	return []string{
		hex.EncodeToString(raw), strings.ToUpper(hex.EncodeToString(raw)), string(raw), fmt.Sprint(raw),
		strings.Trim(fmt.Sprint(raw), "[]"), base64.StdEncoding.EncodeToString(raw),
		new(big.Int).SetBytes(raw).String(), base64.StdEncoding.EncodeToString(pkcs8), fmt.Sprintf("%#v", raw),
	}
}

func TestThreat157_PrintingAKeyNeverTellsIt(t *testing.T) {
	private := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	k := must(NewKey(private))
	sealer := NewSealer(k, newMemory(), nil)

	var said strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%p", "%T", "% x", "%#x"} {
		for _, value := range []any{
			k, *k, []any{k}, struct{ K Key }{*k}, struct{ k Key }{*k}, map[string]*Key{"k": k}, sealer, *sealer,
		} {
			fmt.Fprintf(&said, verb+"\n", value)
		}
	}
	log := slog.New(slog.NewTextHandler(&said, nil))
	log.Info("event", "key", k, "value", *k, "sealer", sealer)
	slog.New(slog.NewJSONHandler(&said, nil)).Info("event", "key", k, "value", *k, "sealer", sealer)
	said.Write(must(json.Marshal(k)))
	said.Write(must(json.Marshal(*k)))

	for _, secret := range secrets(t, private) {
		if strings.Contains(said.String(), secret) {
			t.Errorf("the private key is in what was printed, as %.30q", secret)
		}
	}
	if got, want := fmt.Sprintf("%+v", k), "key "+k.Fingerprint(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func BenchmarkKeySign(b *testing.B) {
	k := newKey(b)
	data := []byte("said")
	for b.Loop() {
		if _, _, err := k.sign(b.Context(), data); err != nil {
			b.Fatal(err)
		}
	}
}
