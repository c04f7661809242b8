package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/signer"
	"github.com/sealgate/sealgate/verifier"
)

const maxPublicKeyFile = 64 << 10 // bytes

var errNotYetGenerated = errors.New("the gateway's key is not generated yet")

// loadKeys loads the signers' keys, as far as they load.
func (b *builder) loadKeys(l *Loaded) (map[string]*signer.Key, Problems) {
	keys := map[string]*signer.Key{}
	var problems Problems
	for i, s := range l.Config.Signers {
		key, err := b.loadKey(&l.Config, s)
		if b.dry && errors.Is(err, errNotYetGenerated) {
			continue // serve will
		}
		if err != nil {
			problems = append(problems, l.problem(fmt.Sprintf("signers[%d].key", i), "%v", err))
			continue
		}
		keys[s.Name] = key
	}
	return keys, problems
}

func (b *builder) loadKey(c *Config, s Signer) (*signer.Key, error) {
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
	return signer.LoadKeyFile(path, password)
}

// openAuthorities reads the authorities' public keys, and gives their fingerprints by name.
func openAuthorities(l *Loaded, signerKeys map[string]*signer.Key) (all []verifier.Authority, fingerprints map[string]string, problems Problems) {
	fingerprints = map[string]string{}
	names := map[string]string{} // by fingerprint
	for i, a := range l.Config.Authorities {
		at := fmt.Sprintf("authorities[%d]", i)
		authority, err := openAuthority(a, signerKeys)
		if err != nil {
			problems = append(problems, l.problem(at+".key.file", "%v", err))
			continue
		}
		if authority == nil {
			continue // its signer's key did not load, which was said there
		}
		if other, ok := names[authority.Fingerprint()]; ok {
			problems = append(problems, l.problem(at, "has the key of authority %s; one signature must not count for two", other))
		}
		names[authority.Fingerprint()], fingerprints[a.Name] = a.Name, authority.Fingerprint()
		all = append(all, authority)
	}
	return all, fingerprints, problems
}

func openAuthority(a Authority, signerKeys map[string]*signer.Key) (verifier.Authority, error) {
	if a.Signer != "" {
		key := signerKeys[a.Signer]
		if key == nil {
			return nil, nil
		}
		return verifier.NewKeyAuthority(a.Name, key.Public())
	}
	raw, err := readBounded(a.Key.File, maxPublicKeyFile, 0)
	if err != nil {
		return nil, fmt.Errorf("public key %s: %w", a.Key.File, err)
	}
	public, err := verifier.ParsePublicKeyPEM(raw)
	if err != nil {
		return nil, fmt.Errorf("public key %s: %w", a.Key.File, err)
	}
	return verifier.NewKeyAuthority(a.Name, public)
}

// known is what policies may refer to. A name whose key did not load is known without a fingerprint, so that the policies
// are checked all the same; nothing is built from it.
func known(l *Loaded, authorities map[string]string, keys map[string]*signer.Key, bases map[string][]policy.Base) policy.Known {
	k := policy.Known{Authorities: map[string]string{}, Signers: map[string]string{}, Bases: bases}
	for _, a := range l.Config.Authorities {
		k.Authorities[a.Name] = authorities[a.Name]
	}
	for _, s := range l.Config.Signers {
		k.Signers[s.Name] = ""
		if key := keys[s.Name]; key != nil {
			k.Signers[s.Name] = key.Fingerprint()
		}
	}
	return k
}
