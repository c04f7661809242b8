package main

import (
	"fmt"

	"github.com/sealgate/sealgate/signer"
	"github.com/sealgate/sealgate/signer/pkcs11"
)

// PKCS11 names a key in a token.
type PKCS11 struct {
	// Module is the library of the module's maker, such as /usr/lib/softhsm/libsofthsm2.so.
	Module string `mapstructure:"module"`

	// Token is the label of the token.
	Token string `mapstructure:"token"`

	// Label is that of one key pair in the token, both halves of which have the same id (CKA_ID).
	Label string `mapstructure:"label"`

	// PINEnv is the environment variable that holds the PIN. This or pin_file is required.
	PINEnv string `mapstructure:"pin_env"`

	// PINFile is a file that holds the PIN. Others must not be able to read it.
	PINFile string `mapstructure:"pin_file"`
}

// loadTokenKey opens a key in a token. A token stays open for as long as we run: a configuration that names it again gets the
// same key.
func (b *builder) loadTokenKey(t PKCS11) (*signer.Key, error) {
	if key := b.tokens[t]; key != nil {
		return key, nil
	}
	pin, err := t.pin(b.getenv)
	if err != nil {
		return nil, err
	}
	private, err := pkcs11.Open(pkcs11.Token{Module: t.Module, Token: t.Token, Label: t.Label, PIN: pin})
	if err != nil {
		return nil, err
	}
	key, err := signer.NewRemoteKey(private)
	if err != nil {
		return nil, err
	}
	if b.tokens == nil {
		b.tokens = map[PKCS11]*signer.Key{}
	}
	b.tokens[t] = key
	return key, nil
}

func (t PKCS11) pin(getenv func(string) string) (string, error) {
	if t.PINFile != "" {
		pin, err := readPassword(t.PINFile)
		return string(pin), err
	}
	if pin := getenv(t.PINEnv); pin != "" {
		return pin, nil
	}
	return "", fmt.Errorf("no PIN: the variable %s is not set; set it, or name a file in pin_file", t.PINEnv)
}
