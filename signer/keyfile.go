package signer

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/sealgate/sealgate/signer/safefile"
	"github.com/secure-systems-lab/go-securesystemslib/encrypted"
)

// A key file is what `cosign generate-key-pair` writes: one PEM block of one of these types, whose content is the PKCS
// #8 private key encrypted with NaCl's secretbox under a key that scrypt derives from the password.
const (
	sigstoreKeyType = "ENCRYPTED SIGSTORE PRIVATE KEY"
	cosignKeyType   = "ENCRYPTED COSIGN PRIVATE KEY" // cosign before 2.0
)

// GenerateKeyFile makes a new P-256 key and writes it to path, in cosign's format, encrypted with password, readable by
// its owner alone. Missing folders are made, for their owner alone. The file appears whole or not at all, and an
// existing one is never touched: the error is then [fs.ErrExist]. An empty password is as good as no encryption.
func GenerateKeyFile(path string, password []byte) error {
	if err := generateKeyFile(path, password); err != nil {
		return fmt.Errorf("generate key file %s: %w", path, err)
	}
	return nil
}

func generateKeyFile(path string, password []byte) error {
	if _, err := os.Lstat(path); err == nil {
		return fs.ErrExist // before a second of scrypt
	}

	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	plain, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return err
	}
	defer clear(plain)
	sealed, err := encrypted.Encrypt(plain, password)
	if err != nil {
		return err
	}
	return safefile.Create(path, pem.EncodeToMemory(&pem.Block{Type: sigstoreKeyType, Bytes: sealed}))
}

// LoadKeyFile reads a key file. It must be a regular file that belongs to us or to root, with mode 0600 or stricter,
// and hold exactly one encrypted private key. Deriving the key from the password takes a good part of a second: load
// once, at start. Every error says what to do.
func LoadKeyFile(path string, password []byte) (*Key, error) {
	k, err := loadKeyFile(path, password)
	if err != nil {
		return nil, fmt.Errorf("load key file %s: %w", path, err)
	}
	return k, nil
}

func loadKeyFile(path string, password []byte) (*Key, error) {
	content, err := safefile.ReadOwn(path, maxKeyFile, 0o177)
	if err != nil {
		return nil, err
	}
	block, rest := pem.Decode(content)
	if block == nil {
		return nil, errors.New("there is no PEM block in it; make a key with `sealgate keys generate`")
	}
	if next, _ := pem.Decode(rest); next != nil {
		return nil, errors.New("it holds more than one PEM block; keep the one private key that is to sign")
	}
	if err := checkBlockType(block.Type); err != nil {
		return nil, err
	}

	plain, err := encrypted.Decrypt(block.Bytes, password)
	if err != nil && len(password) == 0 {
		return nil, errors.New("the key is encrypted and no password was given; set the signer's password")
	}
	if err != nil {
		return nil, errors.New("the password is wrong, or the file is damaged")
	}
	defer clear(plain)
	parsed, err := x509.ParsePKCS8PrivateKey(plain)
	if err != nil {
		return nil, errors.New("what it decrypts to is not a PKCS #8 private key") // the cause could quote the key
	}
	private, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("a private key of type %T does not sign", parsed)
	}
	return NewKey(private)
}

// checkBlockType names the usual mistakes.
func checkBlockType(blockType string) error {
	switch blockType {
	case sigstoreKeyType, cosignKeyType:
		return nil
	case "PUBLIC KEY", "RSA PUBLIC KEY":
		return errors.New("it is a public key; signing needs the private key")
	case "CERTIFICATE":
		return errors.New("it is a certificate; signing needs the private key")
	case "PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY", "OPENSSH PRIVATE KEY":
		return errors.New("the private key in it is not encrypted; encrypt it with `cosign import-key-pair`")
	}
	return fmt.Errorf("PEM block %.60q is not an encrypted cosign key", blockType)
}
