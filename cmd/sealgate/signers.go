package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/sealgate/sealgate/gateway"
	"github.com/sealgate/sealgate/gateway/upstream"
	"github.com/sealgate/sealgate/signer"
	"github.com/sealgate/sealgate/signer/kms"
	"github.com/sealgate/sealgate/signer/pkcs11"
)

var errNotYetGenerated = errors.New("the gateway's key is not generated yet")

// loadSigners loads what we sign with, as far as it loads. What an operator should know about it goes to warn.
func (b *builder) loadSigners(l *Loaded, roots trustRoots, warn func(string, ...any)) (map[string]signer.Party, Problems) {
	ctx, cancel := context.WithTimeout(context.Background(), remoteKeysTime)
	defer cancel()
	parties := map[string]signer.Party{}
	var problems Problems
	for i, s := range l.Config.Signers {
		party, where, err := b.loadSigner(ctx, &l.Config, s, roots, warn)
		if b.dry && errors.Is(err, errNotYetGenerated) {
			continue // serve will
		}
		if err != nil {
			problems = append(problems, l.problem(fmt.Sprintf("signers[%d]%s", i, where), "%v", err))
			continue
		}
		parties[s.Name] = party
	}
	return parties, problems
}

func (b *builder) loadSigner(
	ctx context.Context, c *Config, s Signer, roots trustRoots, warn func(string, ...any),
) (party signer.Party, where string, err error) {
	if s.Keyless != nil {
		return openKeylessSigner(s, roots)
	}
	return b.loadKey(ctx, c, s, warn)
}

// loadKey loads one; where is the setting that an error is about.
func (b *builder) loadKey(ctx context.Context, c *Config, s Signer, warn func(string, ...any)) (key *signer.Key, where string, err error) {
	switch {
	case s.Keyless != nil:
		return nil, ".keyless", fmt.Errorf("signer %s has no key; others verify it by its identity", s.Name)
	case s.KMS != "":
		return loadRemoteKey(ctx, s, warn)
	case s.PKCS11 != nil:
		key, err = b.loadTokenKey(*s.PKCS11)
		return key, ".pkcs11", err
	}
	key, err = b.loadKeyFile(c, s)
	return key, ".key", err
}

func (b *builder) loadKeyFile(c *Config, s Signer) (*signer.Key, error) {
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

// loadRemoteKey opens a key that a service keeps. With a copy of its public half a gateway starts while the service cannot be
// asked: what is pulled is judged, and what is pushed waits.
func loadRemoteKey(ctx context.Context, s Signer, warn func(string, ...any)) (key *signer.Key, where string, err error) {
	public, where, err := openPublicKey(ctx, s.Name, PublicKey{File: s.Public, KMS: s.KMS}, warn)
	if err != nil {
		if where == ".key.file" {
			return nil, ".public", err
		}
		return nil, ".kms", err
	}
	key, err = signer.NewRemoteKey(kms.KnownKey(s.KMS, public))
	return key, ".kms", err
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
	key, err := signer.NewKey(private)
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

// openSealers makes what seals under each policy. What any of our signers signed is our own to all of them, so that a new key
// seals as the one did that it takes over from.
func openSealers(c *Config, parties map[string]signer.Party, registries *upstream.Registries) (map[string]gateway.Sealer, error) {
	bySigner := map[string]*signer.Sealer{}
	var all []signer.Party
	for _, s := range c.Signers {
		formats, err := signer.ParseFormats(s.Formats)
		if err != nil {
			return nil, fmt.Errorf("signer %s: %w", s.Name, err)
		}
		bySigner[s.Name] = signer.NewSealer(parties[s.Name], registries, formats)
		all = append(all, parties[s.Name])
	}
	byPolicy := map[string]gateway.Sealer{}
	for _, p := range c.Policies {
		if p.Push == nil || p.Push.Seal == nil {
			continue
		}
		names := p.Push.Seal.Signers
		if names == nil {
			names = []string{p.Push.Seal.Signer}
		}
		var several []*signer.Sealer
		for _, name := range names {
			several = append(several, bySigner[name])
		}
		byPolicy[p.Name] = signer.Join(several[0], several[1:]...).Beside(all...)
	}
	return byPolicy, nil
}
