//go:build pkcs11key && cgo

package pkcs11

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/ThalesIgnite/crypto11"
	"github.com/miekg/pkcs11"
)

// refusals are what a token says of a PIN.
var refusals = []pkcs11.Error{pkcs11.CKR_PIN_INCORRECT, pkcs11.CKR_PIN_LOCKED, pkcs11.CKR_PIN_EXPIRED, pkcs11.CKR_PIN_INVALID}

// Supported says whether this build can open tokens.
const Supported = true

// Open logs in to a token and finds a key pair in it. It stays logged in for as long as the process runs. No error has the PIN
// in it.
func Open(t Token) (*Key, error) { return newKey(func() (*session, error) { return logIn(t) }) }

func logIn(t Token) (*session, error) {
	in, err := crypto11.Configure(&crypto11.Config{Path: t.Module, TokenLabel: t.Token, Pin: t.PIN})
	if why, ok := errors.AsType[pkcs11.Error](err); ok && slices.Contains(refusals, why) {
		err = fmt.Errorf("%w: %w", errPIN, withoutPIN(err, t.PIN))
	}
	if err != nil {
		return nil, fmt.Errorf("open token %q by %s: %w", t.Token, t.Module, withoutPIN(err, t.PIN))
	}
	pairs, err := in.FindKeyPairs(nil, []byte(t.Label))
	switch {
	case err != nil:
	case len(pairs) == 0:
		err = fmt.Errorf("there is none with that label and an id (CKA_ID), by which its halves find each other; give both halves "+
			"one id, such as with: pkcs11-tool --module %s --token-label %q --login --label %q --set-id 01 --type privkey, and pubkey",
			t.Module, t.Token, t.Label)
	case len(pairs) > 1:
		err = fmt.Errorf("there are %d with that label, and nobody knows which is meant; give each a label of its own", len(pairs))
	}
	if err != nil {
		err = fmt.Errorf("find key pair %q in token %q: %w", t.Label, t.Token, withoutPIN(err, t.PIN))
		return nil, errors.Join(err, in.Close())
	}
	return &session{pairs[0], in.Close}, nil
}

// withoutPIN keeps a secret out of an error, whatever the library puts there.
func withoutPIN(err error, pin string) error {
	if pin != "" && strings.Contains(err.Error(), pin) {
		return errors.New("the library's error holds the PIN and is not shown")
	}
	return err
}
