package main

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/sealgate/sealgate/signer"
	"github.com/sealgate/sealgate/signer/safefile"
	"github.com/sealgate/sealgate/verifier"
	"github.com/sigstore/sigstore-go/pkg/bundle"
)

// KeylessSigner names who vouches for us, and as whom.
type KeylessSigner struct {
	// Fulcio is the URL of the certificate authority. The token goes there and nowhere else, so it is https but for loopback.
	Fulcio string `mapstructure:"fulcio"`

	// IdentityTokenFile is a file with an OpenID Connect token that Fulcio takes, such as a projected one of Kubernetes. It is
	// read anew for each signature.
	IdentityTokenFile string `mapstructure:"identity_token_file"`

	// Identity is who the certificates must be for. Signatures of anybody else are not attached.
	Identity SignerIdentity `mapstructure:"identity"`

	// Timestamp are one to four timestamp authorities, by whole URLs, each of which says the time of each signature; a
	// signature under a tag has room for the first alone. With a log of version 1, which says the time as well, may be none.
	Timestamp []string `mapstructure:"timestamp"`

	// Rekor is the URL of a transparency log that each signature goes to.
	Rekor string `mapstructure:"rekor"`

	// RekorVersion is that of the log's API, 1 or 2. Signatures in a log of version 1 have a place under the tags of cosign v2,
	// which knows no other log. Default 2.
	RekorVersion int `mapstructure:"rekor_version"`

	// WithoutTransparencyLogUnsafe, instead of rekor, signs in no log, and believes this identity without: whoever steals it
	// signs unseen. Default false.
	WithoutTransparencyLogUnsafe bool `mapstructure:"without_transparency_log_unsafe"`

	// TrustedRoot is what the signatures are verified with before they are attached, and when they are pulled: a name of
	// trust_roots, or a trusted_root.json. Default public-good.
	TrustedRoot string `mapstructure:"trusted_root"`
}

// SignerIdentity is an identity, all of it exactly.
type SignerIdentity struct {
	// Issuer is who gives out the tokens, as certificates have it.
	Issuer string `mapstructure:"issuer"`

	// Subject is the certificates' subject: an address, or a URI.
	Subject string `mapstructure:"subject"`
}

func (v *validator) keylessSigner(at string, k KeylessSigner, formats Formats) {
	for _, one := range []struct{ key, value string }{
		{"identity_token_file", k.IdentityTokenFile}, {"identity.issuer", k.Identity.Issuer}, {"identity.subject", k.Identity.Subject},
	} {
		if one.value == "" {
			v.add(at+".keyless", "has no %s", one.key)
		}
	}
	v.origin(at+".keyless.fulcio", k.Fulcio)
	if strings.HasPrefix(k.Fulcio, "http://") && !isLoopback(k.Fulcio) {
		v.add(at+".keyless.fulcio", "the identity token would travel in plain text; use an https URL")
	}
	first := k.Rekor != "" && k.rekorVersion() == 1 // which says the time itself
	if len(k.Timestamp) == 0 && !first || len(k.Timestamp) > 4 {
		v.add(at+".keyless.timestamp", "are not one to four timestamp authorities; without one, nobody says when the certificate was valid")
	}
	for i, where := range k.Timestamp {
		u, err := url.Parse(where)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			v.add(fmt.Sprintf("%s.keyless.timestamp[%d]", at, i), "is not a URL like https://timestamp.acme.dev/api/v1/timestamp")
		}
	}
	switch {
	case k.Rekor == "" && !k.WithoutTransparencyLogUnsafe:
		v.add(at+".keyless", "has no rekor; name a transparency log, or set without_transparency_log_unsafe")
	case k.Rekor != "" && k.WithoutTransparencyLogUnsafe:
		v.add(at+".keyless.without_transparency_log_unsafe", "contradicts rekor; leave one of them out")
	case k.Rekor != "":
		v.origin(at+".keyless.rekor", k.Rekor)
	}
	switch {
	case k.rekorVersion() != 1 && k.rekorVersion() != 2:
		v.add(at+".keyless.rekor_version", "is not 1 or 2, the versions of a transparency log's API")
	case k.RekorVersion != 0 && k.Rekor == "":
		v.add(at+".keyless.rekor_version", "is the version of no log; name one in rekor, or leave it out")
	}
	if slices.Contains(formats, string(signer.Tag)) && !first {
		v.add(at+".formats", "without a log of version 1 a keyless signature is a bundle; write bundle, or auto, which means the same here")
	}
}

const maxIdentityToken = 16 << 10 // bytes; Kubernetes' take 1 KiB

// openKeylessSigner opens a signer without a key. Nobody is asked, and the token need not be there: a gateway serves pulls
// while nobody vouches for it.
func openKeylessSigner(s Signer, roots trustRoots) (made *signer.Keyless, where string, err error) {
	own, where, err := s.Keyless.authority(s.Name, roots)
	if err != nil {
		return nil, where, err
	}
	k := *s.Keyless
	made, err = signer.NewKeyless(signer.KeylessOptions{
		Fulcio: k.Fulcio, Timestamps: slices.Clone(k.Timestamp), Rekor: k.Rekor, RekorVersion: k.rekorVersion(),
		Token: func() (string, error) {
			raw, err := safefile.Read(k.IdentityTokenFile, maxIdentityToken, 0)
			return strings.TrimSpace(string(raw)), err
		},
		Proof: proofBy{own}, Fingerprint: own.Fingerprint(),
	})
	return made, ".keyless", err
}

// proofBy is an authority as a signer wants to know it.
type proofBy struct{ authority verifier.Authority }

func (p proofBy) Bundle(b *bundle.Bundle, subject digest.Digest) error {
	_, err := p.authority.CheckBundle(b, subject)
	return err
}

func (p proofBy) Signature(payload, signature []byte, annotations map[string]string) error {
	_, err := p.authority.CheckTagSignature(verifier.NewTagSignature(payload, signature, annotations))
	return err
}

func (p proofBy) Envelope(raw []byte, subject digest.Digest, annotations map[string]string) error {
	_, err := verifier.CheckTagAttestation(p.authority, raw, subject, annotations)
	return err
}

// authority is who signs so: what is sealed, what is there already and what is pulled is judged by the same.
func (k KeylessSigner) authority(name string, roots trustRoots) (made verifier.Authority, where string, err error) {
	trusted, err := roots.one(k.TrustedRoot)
	if err != nil {
		return nil, ".keyless.trusted_root", err
	}
	made, err = verifier.NewKeylessAuthority(name, verifier.Keyless{
		Identity: verifier.Identity{Issuer: k.Identity.Issuer, Subject: k.Identity.Subject},
		Root:     trusted, WithoutTransparencyLogUnsafe: k.WithoutTransparencyLogUnsafe,
	})
	return made, ".keyless", err
}

// rekorVersion is that of the log's API.
func (k KeylessSigner) rekorVersion() int {
	if k.RekorVersion == 0 {
		return 2
	}
	return k.RekorVersion
}
