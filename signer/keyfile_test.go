package signer

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/secure-systems-lab/go-securesystemslib/encrypted"
	"github.com/sigstore/cosign/v2/pkg/cosign"
)

const password = "canary-password-7f3a"

func TestKeyFileIsGeneratedAndLoaded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data", "keys", "gateway.key")
	if err := GenerateKeyFile(path, []byte(password)); err != nil {
		t.Fatal(err)
	}
	k, err := LoadKeyFile(path, []byte(password))
	if err != nil {
		t.Fatal(err)
	}
	if stat := must(os.Stat(path)); stat.Mode().Perm() != 0o600 {
		t.Errorf("mode of the file is %v, want 0600", stat.Mode())
	}
	for folder := filepath.Dir(path); filepath.Base(folder) != "data"; folder = filepath.Dir(folder) {
		if stat := must(os.Stat(folder)); stat.Mode().Perm() != 0o700 {
			t.Errorf("mode of %s is %v, want 0700", folder, stat.Mode())
		}
	}
	if left := must(os.ReadDir(filepath.Dir(path))); len(left) != 1 {
		t.Errorf("%d files beside the key, want none", len(left)-1)
	}

	t.Run("cosign loads it", func(t *testing.T) {
		loaded, err := cosign.LoadPrivateKey(must(os.ReadFile(path)), []byte(password), nil)
		if err != nil {
			t.Fatal(err)
		}
		if public := must(loaded.PublicKey()); !k.Public().(*ecdsa.PublicKey).Equal(public) {
			t.Error("cosign reads another key")
		}
	})
	t.Run("an existing file is never touched", func(t *testing.T) {
		before := must(os.ReadFile(path))
		if err := GenerateKeyFile(path, []byte(password)); !errors.Is(err, fs.ErrExist) {
			t.Errorf("got %v, want fs.ErrExist", err)
		}
		if !bytes.Equal(before, must(os.ReadFile(path))) {
			t.Error("the file changed")
		}
	})
	t.Run("the wrong password is said to be wrong and not repeated", func(t *testing.T) {
		_, err := LoadKeyFile(path, []byte("canary-wrong-1"))
		wantError(t, err, "password is wrong")
		_, err = LoadKeyFile(path, nil)
		wantError(t, err, "no password was given")
	})
}

func TestKeyFileOfCosignIsLoaded(t *testing.T) {
	for _, blockType := range []string{sigstoreKeyType, cosignKeyType} {
		pair, err := cosign.GenerateKeyPair(func(bool) ([]byte, error) { return []byte(password), nil })
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(pair.PrivateBytes)
		block.Type = blockType
		k, err := LoadKeyFile(write(t, pem.EncodeToMemory(block), 0o400), []byte(password))
		if err != nil {
			t.Fatalf("%s: %v", blockType, err)
		}
		if !bytes.Equal(k.PublicPEM(), pair.PublicBytes) {
			t.Errorf("%s: public key\n%s want\n%s", blockType, k.PublicPEM(), pair.PublicBytes)
		}
	}
}

func TestOfManyWhoGenerateAKeyFileOneWins(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gateway.key")
	var group sync.WaitGroup
	won := make(chan bool, 4)
	for range cap(won) {
		group.Go(func() {
			err := GenerateKeyFile(path, nil)
			if err != nil && !errors.Is(err, fs.ErrExist) {
				t.Error(err)
			}
			won <- err == nil
		})
	}
	group.Wait()
	close(won)
	winners := 0
	for w := range won {
		if w {
			winners++
		}
	}
	if winners != 1 {
		t.Errorf("%d generated it, want 1", winners)
	}
	if _, err := LoadKeyFile(path, nil); err != nil {
		t.Error(err)
	}
}

func TestThreat157_KeyFileThatOthersCanReachIsRefused(t *testing.T) {
	path := write(t, must(encryptedKey(password)), 0o600)
	for _, mode := range []os.FileMode{0o640, 0o604, 0o660, 0o666, 0o644, 0o620, 0o601, 0o700} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, err := LoadKeyFile(path, []byte(password))
		wantError(t, err, "chmod 600")
	}
	if err := os.Chmod(path, 0o400); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadKeyFile(path, []byte(password)); err != nil {
		t.Errorf("mode 0400: %v", err)
	}

	t.Run("somebody else's", func(t *testing.T) {
		if os.Geteuid() != 0 {
			t.Skip("only root can give a file away")
		}
		if err := os.Chown(path, 12345, -1); err != nil {
			t.Fatal(err)
		}
		_, err := LoadKeyFile(path, []byte(password))
		wantError(t, err, "belongs to user 12345")
	})
}

func TestThreat083_WhatIsNoKeyFileIsNamed(t *testing.T) {
	private := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	plain := must(x509.MarshalPKCS8PrivateKey(private))
	public := must(x509.MarshalPKIXPublicKey(private.Public()))
	_, edwards, _ := ed25519.GenerateKey(rand.Reader)
	good := must(encryptedKey(password))
	seal := func(content []byte) []byte {
		return block(sigstoreKeyType, must(encrypted.Encrypt(content, []byte(password))))
	}

	for name, c := range map[string]struct {
		content []byte
		want    string
	}{
		"an empty file":             {nil, "no PEM block"},
		"text":                      {[]byte("hello"), "no PEM block"},
		"a public key":              {block("PUBLIC KEY", public), "public key"},
		"a certificate":             {block("CERTIFICATE", public), "certificate"},
		"a key without password":    {block("PRIVATE KEY", plain), "not encrypted"},
		"an EC key":                 {block("EC PRIVATE KEY", plain), "not encrypted"},
		"something else":            {block("LETTER", plain), "not an encrypted cosign key"},
		"two keys":                  {append(bytes.Clone(good), good...), "more than one"},
		"a key and a public key":    {append(bytes.Clone(good), block("PUBLIC KEY", public)...), "more than one"},
		"a damaged key":             {block(sigstoreKeyType, []byte("{}")), "damaged"},
		"an encrypted letter":       {seal([]byte("dear reader, canary-letter")), "not a PKCS #8"},
		"an encrypted Ed25519 key":  {seal(must(x509.MarshalPKCS8PrivateKey(edwards))), "only ECDSA P-256 and RSA"},
		"a file larger than a key":  {bytes.Repeat([]byte("#"), maxKeyFile+1), "larger than"},
		"a file as large as can be": {bytes.Repeat([]byte("#"), maxKeyFile), "no PEM block"},
	} {
		t.Run(name, func(t *testing.T) {
			path := write(t, c.content, 0o600)
			_, err := LoadKeyFile(path, []byte(password))
			wantError(t, err, c.want)
			if strings.Count(err.Error(), path) != 1 {
				t.Errorf("%q does not name the file exactly once", err)
			}
		})
	}
}

func TestKeyFileThatIsNoFileIsRefusedAtOnce(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := LoadKeyFile(pipe, nil)
	wantError(t, err, "not a regular file")
	_, err = LoadKeyFile(t.TempDir(), nil)
	wantError(t, err, "not a regular file")
	_, err = LoadKeyFile(pipe+".absent", nil)
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want fs.ErrNotExist", err)
	}
}

func TestKeyFileMayBeALinkAsMountedSecretsAre(t *testing.T) {
	path := write(t, must(encryptedKey(password)), 0o600)
	link := filepath.Join(t.TempDir(), "gateway.key")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadKeyFile(link, []byte(password)); err != nil {
		t.Error(err)
	}
}

func encryptedKey(password string) ([]byte, error) {
	private := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	sealed, err := encrypted.Encrypt(must(x509.MarshalPKCS8PrivateKey(private)), []byte(password))
	return block(sigstoreKeyType, sealed), err
}

func block(blockType string, content []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: blockType, Bytes: content})
}

func write(t *testing.T, content []byte, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "gateway.key")
	if err := os.WriteFile(path, content, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// wantError wants an error that says something, and none of the canaries.
func wantError(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Fatalf("got error %v, want one that says %q", err, want)
	}
	if strings.Contains(err.Error(), "canary") {
		t.Errorf("a secret is in the error: %v", err)
	}
}
