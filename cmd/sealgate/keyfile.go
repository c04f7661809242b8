package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/sealgate/sealgate/signer"
)

// PrivateKey names an encrypted private key and where its password is.
type PrivateKey struct {
	// File is an encrypted cosign key with mode 0600, from `sealgate keys generate` or `cosign generate-key-pair`.
	// Default gateway.key in the storage directory, which is generated on the first start; no other ever is.
	File string `mapstructure:"file"`

	// PasswordEnv is the environment variable that holds the password. Default SEALGATE_KEY_PASSWORD.
	PasswordEnv string `mapstructure:"password_env"`

	// PasswordFile is a file that holds the password, instead of a variable. Others must not be able to read it. For
	// gateway.key, when no variable is set, it is gateway.password in the storage directory.
	PasswordFile string `mapstructure:"password_file"`
}

const (
	defaultKeyFile      = "gateway.key"
	defaultPasswordFile = "gateway.password"
	defaultPasswordEnv  = "SEALGATE_KEY_PASSWORD"
)

// keyPath is where a signer's key is, and whether that is the key that the gateway generates for itself. A key that is in no
// file is nowhere.
func (c *Config) keyPath(s Signer) (path string, generated bool) {
	if s.KMS != "" || s.PKCS11 != nil || s.Keyless != nil {
		return "", false
	}
	standard := filepath.Join(c.Storage.Directory, defaultKeyFile)
	if s.Key.File == "" {
		return standard, true
	}
	return s.Key.File, s.Key.File == standard
}

// generateKey makes the gateway's own key where there is none yet, and reports whether it did. The password comes first:
// a crash in between leaves a password without a key, which the next start uses.
func (c *Config) generateKey(s Signer, getenv func(string) string) (generated bool, err error) {
	path, ours := c.keyPath(s)
	if !ours {
		return false, nil
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return false, nil // there, or unreadable, which loading it will say
	}

	password, err := c.password(s, getenv)
	if err != nil && s.Key.PasswordFile == "" {
		if err := writePassword(c.passwordPath()); err != nil {
			return false, err
		}
		password, err = readPassword(c.passwordPath())
	}
	if err != nil {
		return false, err
	}
	err = signer.GenerateKeyFile(path, password)
	if errors.Is(err, fs.ErrExist) {
		return false, nil // another process was faster
	}
	return err == nil, err
}

var errNotYetGenerated = errors.New("the gateway's key is not generated yet")

// keyOpener opens an encrypted key file.
type keyOpener func(file string, password []byte) (*signer.Key, error)

func (b *builder) loadKeyFile(c *Config, s Signer) (*signer.Key, error) {
	if b.scanner != "" { // a scan signs nothing, and asks for no password
		private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		return signer.NewKey(private)
	}
	path, generated := c.keyPath(s)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if generated {
			return nil, fmt.Errorf("%s: %w; sealgate serve does that when it first starts", path, errNotYetGenerated)
		}
		return nil, fmt.Errorf("%s does not exist; make it with: sealgate keys generate --output %[1]s", path)
	}
	password, err := c.password(s, b.getenv)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if b.openKey != nil {
		return b.openKey(path, password)
	}
	return signer.LoadKeyFile(path, password)
}
