package clients

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/sealgate/sealgate/signer/safefile"
)

// A key signs for keyTime. It verifies for as long as a token can live that it signed, and is forgotten then.
const (
	keyTime    = 30 * 24 * time.Hour
	keyGrace   = keyTime // for which it goes on signing where no new one can be stored
	keyForgets = keyTime + keyGrace + RefreshTime
)

const maxKeysFile = 64 << 10 // bytes; a few keys of 300

// keyRing has the keys that sign tokens, in a file that nobody else can read. It is safe for concurrent use.
type keyRing struct {
	file string

	mu   sync.RWMutex
	keys []tokenKey // the newest first; replaced, never changed
}

type tokenKey struct {
	Created time.Time       `json:"created"`
	Key     jose.JSONWebKey `json:"key"`
}

func (k tokenKey) private() (*ecdsa.PrivateKey, bool) {
	private, ok := k.Key.Key.(*ecdsa.PrivateKey)
	return private, ok
}

func openKeys(file string) (*keyRing, error) {
	r := &keyRing{file: file}
	err := r.read()
	if errors.Is(err, fs.ErrNotExist) {
		err = r.rotate(time.Now())
	}
	if err != nil {
		return nil, fmt.Errorf("keys of tokens in %s: %w", file, err)
	}
	return r, nil
}

func (r *keyRing) read() error {
	raw, err := safefile.Read(r.file, maxKeysFile, 0o077)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, &r.keys); err != nil {
		return errors.New("it is not what was written there; remove it, and clients log in again") // the cause may show a key
	}
	for _, k := range r.keys {
		if private, ok := k.private(); !ok || private.Curve != elliptic.P256() || k.Key.KeyID == "" {
			return errors.New("it holds another kind of key; remove it, and clients log in again")
		}
	}
	if len(r.keys) == 0 {
		return errors.New("it holds no key; remove it, and clients log in again")
	}
	return nil
}

// signer is the key to sign with now, a new one when the last one signed for long enough.
func (r *keyRing) signer(now time.Time) (tokenKey, error) {
	newest := r.newest()
	if now.Before(newest.Created.Add(keyTime)) {
		return newest, nil
	}
	if err := r.rotate(now); err != nil && !now.Before(newest.Created.Add(keyTime+keyGrace)) {
		return tokenKey{}, fmt.Errorf("keys of tokens in %s: %w", r.file, err)
	}
	return r.newest(), nil
}

func (r *keyRing) newest() tokenKey {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.keys[0]
}

// public is the key that a token names, when it may still verify tokens.
func (r *keyRing) public(id string, now time.Time) (*ecdsa.PublicKey, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, k := range r.keys {
		if private, ok := k.private(); ok && k.Key.KeyID == id && now.Before(k.Created.Add(keyForgets)) {
			return &private.PublicKey, true
		}
	}
	return nil, false
}

// rotate stores a new key before it signs anything.
func (r *keyRing) rotate(now time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.keys) > 0 && now.Before(r.keys[0].Created.Add(keyTime)) {
		return nil // another request was faster
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	keys := []tokenKey{{Created: now.UTC(), Key: jose.JSONWebKey{
		Key: private, KeyID: rand.Text(), Algorithm: string(jose.ES256), Use: "sig",
	}}}
	keys = append(keys, slices.DeleteFunc(slices.Clone(r.keys), func(k tokenKey) bool {
		return !now.Before(k.Created.Add(keyForgets))
	})...)
	if err := write(r.file, keys); err != nil {
		return err
	}
	r.keys = keys
	return nil
}

func write(file string, keys []tokenKey) error {
	raw, err := json.Marshal(keys)
	if err != nil {
		return err
	}
	return safefile.Replace(file, raw)
}
