package main

import (
	"context"
	"crypto"
	"crypto/x509"
	"fmt"
	"time"

	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/signer"
	"github.com/sealgate/sealgate/verifier"
)

const maxPublicKeyFile = 64 << 10 // bytes

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

func openKey(
	ctx context.Context, name string, k PublicKey, roots trustRoots, warn func(string, ...any),
) (made verifier.Authority, where string, err error) {
	key := verifier.Key{Revoked: k.Revoked, Logged: k.Logged}
	public, where, err := openPublicKey(ctx, name, k, warn)
	if err != nil {
		return nil, where, err
	}
	key.Public = public
	if key.ValidFrom, err = k.ValidFrom.time(); err != nil {
		return nil, ".key.valid_from", err
	}
	if key.ValidUntil, err = k.ValidUntil.time(); err != nil {
		return nil, ".key.valid_until", err
	}
	if k.bounded() {
		if key.Root, err = roots.one(k.TrustedRoot); err != nil {
			return nil, ".key.trusted_root", err
		}
	}
	made, err = verifier.NewBoundedKeyAuthority(name, key)
	return made, ".key", err
}

func openKeyless(name string, k Keyless, roots trustRoots) (made verifier.Authority, where string, err error) {
	trusted, err := roots.one(k.TrustedRoot)
	if err != nil {
		return nil, ".keyless.trusted_root", err
	}
	made, err = verifier.NewKeylessAuthority(name, verifier.Keyless{
		Identity: verifier.Identity{
			Issuer: k.Issuer, Subject: k.Subject, SubjectPattern: k.SubjectRegexp,
			SourceRepository: k.SourceRepository, SourceRef: k.SourceRef, Workflow: k.Workflow, Trigger: k.Trigger,
			SourceRepositoryID: k.SourceRepositoryID, SourceOwner: k.SourceOwner, SourceOwnerID: k.SourceOwnerID, Runner: k.Runner,
		},
		Root: trusted, Logs: k.TransparencyLogs, Timestamps: k.Timestamps,
		WithoutTransparencyLogUnsafe: k.WithoutTransparencyLogUnsafe, WithoutSCTUnsafe: k.WithoutSCTUnsafe,
	})
	return made, ".keyless", err
}

func openGitHub(name string, g GitHub, roots trustRoots) (made verifier.Authority, where string, err error) {
	authority := g.authority()
	if authority.Roots, err = roots.all(g.TrustedRoot); err != nil {
		return nil, ".github.trusted_root", err
	}
	made, err = verifier.NewGitHubAuthority(name, authority)
	return made, ".github", err
}

// authority is what the settings say, but for the roots.
func (g GitHub) authority() verifier.GitHub {
	return verifier.GitHub{
		Host: g.Host, Owner: g.Owner, Repository: g.Repository, OwnerID: g.OwnerID, RepositoryID: g.RepositoryID,
		Workflow: g.Workflow, Refs: g.Ref, AnyRefUnsafe: g.AnyRefUnsafe, Trigger: g.Trigger, Runner: g.Runner,
	}
}

func openCertificate(name string, c Certificate, roots trustRoots) (made verifier.Authority, where string, err error) {
	own := verifier.Certificate{Identity: verifier.Identity{Issuer: c.Issuer, Subject: c.Subject, SubjectPattern: c.SubjectRegexp}}
	if own.Roots, err = readCertificates(c.Roots); err != nil {
		return nil, ".certificate.roots", err
	}
	if c.Intermediates != "" {
		if own.Intermediates, err = readCertificates(c.Intermediates); err != nil {
			return nil, ".certificate.intermediates", err
		}
	}
	if c.TrustedRoot != "" {
		if own.Root, err = roots.one(c.TrustedRoot); err != nil {
			return nil, ".certificate.trusted_root", err
		}
	}
	made, err = verifier.NewCertificateAuthority(name, own)
	return made, ".certificate", err
}

// readTrustedRoot reads a trusted_root.json, or the root that is built in where none is named.
func readTrustedRoot(file string) (*verifier.TrustRoot, error) {
	all, err := readTrustedRoots(file)
	if err != nil {
		return nil, err
	}
	if len(all) != 1 {
		return nil, fmt.Errorf("trusted root %s: it holds %d roots, and one is wanted", file, len(all))
	}
	return all[0], nil
}

// readTrustedRoots reads a file with one trusted root, or with one in each line.
func readTrustedRoots(file string) ([]*verifier.TrustRoot, error) {
	if file == "" || file == publicGood {
		one, err := verifier.PublicGood()
		return []*verifier.TrustRoot{one}, err
	}
	raw, err := readBounded(file, verifier.MaxTrustRoot, 0)
	if err != nil {
		return nil, fmt.Errorf("trusted root %s: %w", file, err)
	}
	all, err := verifier.ParseTrustRoots(raw)
	if err != nil {
		return nil, fmt.Errorf("trusted root %s: %w", file, err)
	}
	return all, nil
}

func readCertificates(file string) ([]*x509.Certificate, error) {
	raw, err := readBounded(file, maxPublicKeyFile, 0)
	if err != nil {
		return nil, fmt.Errorf("certificates %s: %w", file, err)
	}
	all, err := verifier.ParseCertificatesPEM(raw)
	if err != nil {
		return nil, fmt.Errorf("certificates %s: %w", file, err)
	}
	return all, nil
}

func readPublicKey(file string) (crypto.PublicKey, error) {
	raw, err := readBounded(file, maxPublicKeyFile, 0)
	if err != nil {
		return nil, fmt.Errorf("public key %s: %w", file, err)
	}
	public, err := verifier.ParsePublicKeyPEM(raw)
	if err != nil {
		return nil, fmt.Errorf("public key %s: %w", file, err)
	}
	return public, nil
}

// known is what policies may refer to. A name whose key did not load is known without a fingerprint, so that the policies
// are checked all the same; nothing is built from it.
func known(l *Loaded, authorities map[string]string, signers map[string]signer.Party, bases map[string][]policy.Base) policy.Known {
	k := policy.Known{Authorities: map[string]string{}, Signers: map[string]string{}, Scanners: map[string]string{}, Bases: bases, Now: time.Now()}
	for _, a := range l.Config.Authorities {
		k.Authorities[a.Name] = authorities[a.Name]
	}
	for _, s := range l.Config.Signers {
		k.Signers[s.Name] = ""
		if party := signers[s.Name]; party != nil {
			k.Signers[s.Name] = party.Fingerprint()
		}
	}
	for _, s := range l.Config.Scanners {
		k.Scanners[s.Name] = s.fingerprint()
	}
	for _, group := range l.Config.Clients.Groups {
		k.Groups = append(k.Groups, group.Name)
	}
	return k
}
