package main

import (
	"context"
	"fmt"

	"github.com/sealgate/sealgate/signer"
	"github.com/sealgate/sealgate/verifier"
)

// Authority is somebody whose signature we can check: exactly one of signer, key, keyless, github and certificate is set.
type Authority struct {
	// Name is what policies call it.
	Name string `mapstructure:"name"`

	// Signer is one of our own signers.
	Signer string `mapstructure:"signer"`

	// Key is a public key.
	Key PublicKey `mapstructure:"key"`

	// Keyless is an identity to which a Fulcio issues certificates.
	Keyless *Keyless `mapstructure:"keyless"`

	// GitHub is a workflow on GitHub, as its artifact attestations sign.
	GitHub *GitHub `mapstructure:"github"`

	// Certificate is a subject of one's own certificate authority.
	Certificate *Certificate `mapstructure:"certificate"`
}

func (v *validator) authorities(c *Config) {
	if len(c.Authorities) == 0 {
		v.add("authorities", "is an empty list; leave it out for the gateway alone")
	}
	seen := map[string]int{}
	for i, a := range c.Authorities {
		at := fmt.Sprintf("authorities[%d]", i)
		v.name(at, a.Name, namePattern, seen, i)
		kinds := howMany(a.Signer != "", a.Key != PublicKey{}, a.Keyless != nil, a.GitHub != nil, a.Certificate != nil)
		switch {
		case kinds > 1:
			v.add(at, "has more than one of signer, key, keyless, github and certificate; they contradict each other")
		case kinds == 0:
			v.add(at, "has neither signer nor key, keyless, github or certificate; say how its signatures are checked")
		case a.Signer != "" && !c.hasSigner(a.Signer):
			v.add(at+".signer", "unknown signer %.64q; signers has %s", a.Signer, c.signerNames())
		case a.Key != PublicKey{}:
			v.publicKey(at+".key", a.Key)
			v.remoteKey(at+".key", a.Key)
		case a.Keyless != nil:
			if a.Keyless.Issuer == "" {
				v.add(at+".keyless", "has no issuer; name who vouches for the identity, like https://token.actions.githubusercontent.com")
			}
			v.subject(at+".keyless", a.Keyless.Subject, a.Keyless.SubjectRegexp)
		case a.GitHub != nil:
			if _, err := a.GitHub.authority().Identity(); err != nil {
				v.add(at+".github", "%v", err)
			}
		case a.Certificate != nil:
			if a.Certificate.Roots == "" {
				v.add(at+".certificate", "has no roots; name a file with the root certificates")
			}
			v.subject(at+".certificate", a.Certificate.Subject, a.Certificate.SubjectRegexp)
		}
	}
}

// openAuthorities reads what authorities are checked with, and gives their fingerprints by name. What an operator should know
// about them goes to warn.
func openAuthorities(
	l *Loaded, signers map[string]signer.Party, roots trustRoots, warn func(string, ...any),
) (all []verifier.Authority, fingerprints map[string]string, problems Problems) {
	ctx, cancel := context.WithTimeout(context.Background(), remoteKeysTime)
	defer cancel()
	fingerprints = map[string]string{}
	names := map[string]string{} // by fingerprint
	for i, a := range l.Config.Authorities {
		at := fmt.Sprintf("authorities[%d]", i)
		authority, where, err := openAuthority(ctx, &l.Config, a, signers, roots, warn)
		if err != nil {
			problems = append(problems, l.problem(at+where, "%v", err))
			continue
		}
		if authority == nil {
			continue // its signer did not load, which was said there
		}
		if other, ok := names[authority.Fingerprint()]; ok {
			problems = append(problems, l.problem(at, "has the key of authority %s; one signature must not count for two", other))
		}
		names[authority.Fingerprint()], fingerprints[a.Name] = a.Name, authority.Fingerprint()
		all = append(all, authority)
	}
	return all, fingerprints, problems
}

// openAuthority opens one; where is the setting that an error is about.
func openAuthority(
	ctx context.Context, c *Config, a Authority, signers map[string]signer.Party, roots trustRoots, warn func(string, ...any),
) (made verifier.Authority, where string, err error) {
	switch {
	case a.Signer != "":
		made, err = signersAuthority(c, a, signers[a.Signer], roots)
		return made, ".signer", err
	case a.Keyless != nil:
		return openKeyless(a.Name, *a.Keyless, roots)
	case a.GitHub != nil:
		return openGitHub(a.Name, *a.GitHub, roots)
	case a.Certificate != nil:
		return openCertificate(a.Name, *a.Certificate, roots)
	}
	return openKey(ctx, a.Name, a.Key, roots, warn)
}

// signersAuthority is what others would configure for one of our signers. It is nil for one that did not load.
func signersAuthority(c *Config, a Authority, party signer.Party, roots trustRoots) (made verifier.Authority, err error) {
	if key, ok := party.(*signer.Key); ok {
		return verifier.NewKeyAuthority(a.Name, key.Public())
	}
	s, err := c.signer(a.Signer)
	if party == nil || err != nil {
		return nil, err
	}
	made, _, err = s.Keyless.authority(a.Name, roots)
	return made, err
}
