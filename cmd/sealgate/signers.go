package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/sealgate/sealgate/gateway"
	"github.com/sealgate/sealgate/gateway/upstream"
	"github.com/sealgate/sealgate/signer"
	"github.com/sealgate/sealgate/signer/kms"
)

// Signer is something that we sign with: at most one of key, kms, pkcs11 and keyless is set.
type Signer struct {
	// Name is what policies and authorities call it.
	Name string `mapstructure:"name"`

	// Key is a private key in a file. Default, where none of the others is set: the key that the gateway generates.
	Key PrivateKey `mapstructure:"key"`

	// KMS is a key that a key management service keeps, by its reference: awskms://, gcpkms://, azurekms://, hashivault://
	// or openbao://, as cosign writes it. Who asks, the service's own variables say, such as AWS_REGION or VAULT_ADDR.
	KMS string `mapstructure:"kms"`

	// Public is a file with a copy of the public half of a key in a service, in PEM. With it a gateway starts while the service
	// cannot be asked, and one whose key was changed there does not. Only with kms. Default none.
	Public string `mapstructure:"public"`

	// PKCS11 is a key in a hardware security module. It needs the build for such modules.
	PKCS11 *PKCS11 `mapstructure:"pkcs11"`

	// Keyless signs with certificates that a Fulcio issues to an identity of ours.
	Keyless *KeylessSigner `mapstructure:"keyless"`

	// Formats are auto, or a list of bundle (what cosign v3 reads first) and tag (cosign v2's .sig). Auto follows what
	// the image carries and hides nobody's signature; an image that carries nothing gets both. With keyless and without a log
	// of version 1, auto is bundle, and tag is refused. Default auto.
	Formats Formats `mapstructure:"formats"`
}

// Formats are the layouts of a seal.
type Formats []string

func (f *Formats) takeWord(word string) error {
	if word != "auto" {
		return errors.New("is neither auto nor a list of bundle and tag")
	}
	*f = Formats{word}
	return nil
}

func (v *validator) signers(c *Config) {
	if len(c.Signers) == 0 {
		v.add("signers", "is an empty list; leave it out for the generated key")
	}
	seen := map[string]int{}
	for i, s := range c.Signers {
		at := fmt.Sprintf("signers[%d]", i)
		v.name(at, s.Name, namePattern, seen, i)
		v.signer(at, s)
		if len(s.Formats) == 0 {
			v.add(at+".formats", "is an empty list; write auto, or any of bundle and tag")
		}
		if _, err := signer.ParseFormats(s.Formats); err != nil {
			v.add(at+".formats", "%v", err)
		}
	}
}

func (v *validator) signer(at string, s Signer) {
	kinds := howMany(s.Key != PrivateKey{}, s.KMS != "", s.PKCS11 != nil, s.Keyless != nil)
	if kinds > 1 {
		v.add(at, "has more than one of key, kms, pkcs11 and keyless; they contradict each other")
	}
	v.secretVariable(at+".key.password_env", s.Key.PasswordEnv, s.Key.PasswordFile, "password")
	if s.KMS != "" {
		if err := kms.CheckReference(s.KMS); err != nil {
			v.add(at+".kms", "%v", err)
		}
	}
	if s.Public != "" && s.KMS == "" {
		v.add(at+".public", "means nothing without kms; leave it out")
	}
	if t := s.PKCS11; t != nil {
		for _, one := range []struct{ key, value string }{{"module", t.Module}, {"token", t.Token}, {"label", t.Label}} {
			if one.value == "" {
				v.add(at+".pkcs11", "has no %s", one.key)
			}
		}
		if t.PINEnv == "" && t.PINFile == "" {
			v.add(at+".pkcs11", "has neither pin_env nor pin_file; say where the PIN is")
		}
		v.secretVariable(at+".pkcs11.pin_env", t.PINEnv, t.PINFile, "PIN")
	}
	if s.Keyless != nil {
		v.keylessSigner(at, *s.Keyless, s.Formats)
	}
}

// signer is the signer of that name; the only one, when none is named.
func (c *Config) signer(name string) (Signer, error) {
	if name == "" && len(c.Signers) == 1 {
		return c.Signers[0], nil
	}
	for _, s := range c.Signers {
		if s.Name == name {
			return s, nil
		}
	}
	if name == "" {
		return Signer{}, usage("there are several signers; choose one with --signer: %s", c.signerNames())
	}
	return Signer{}, usage("unknown signer %q; signers has %s", name, c.signerNames())
}

func (c *Config) hasSigner(name string) bool {
	for _, s := range c.Signers {
		if s.Name == name {
			return true
		}
	}
	return false
}

func (c *Config) signerNames() string {
	var names []string
	for _, s := range c.Signers {
		names = append(names, s.Name)
	}
	return strings.Join(names, ", ")
}

var variablePattern = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,127}$`)

// secretVariable checks the name of a variable that holds a secret, beside that of a file which could.
func (v *validator) secretVariable(at, name, file, what string) {
	if name != "" && file != "" {
		v.add(at, "contradicts %s; leave one of them out", strings.TrimSuffix(at[strings.LastIndex(at, ".")+1:], "_env")+"_file")
	}
	if name != "" && !variablePattern.MatchString(name) {
		v.add(at, "is not the name of a variable; write the name, never the %s itself", what)
	}
}

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
