package verifier

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/sigstore/sigstore-go/pkg/root"
)

// Certificate says what signatures an authority makes that has certificates of one's own certificate authority.
//
// The whole path, from the certificate to the root, must be valid at the time of the signature. With a Root, that is the time
// that a log or a timestamp authority of it says, and a signature without one does not count. Without a Root it is now: what
// expired counts no more.
type Certificate struct {
	Identity                          // Issuer may be empty: other authorities than Fulcio have none
	Roots         []*x509.Certificate // trusted; at least one
	Intermediates []*x509.Certificate // offered for the path beside those that come with a signature
	Root          *TrustRoot          // who says the time; nil for now
}

// NewCertificateAuthority returns the authority that signs with certificates under one's own roots.
func NewCertificateAuthority(name string, c Certificate) (Authority, error) {
	a, err := newCertificateAuthority(name, c)
	if err != nil {
		return nil, fmt.Errorf("authority %q: %w", name, err)
	}
	return a, nil
}

func newCertificateAuthority(name string, c Certificate) (*certificateAuthority, error) {
	id, err := c.compile(false)
	if err != nil {
		return nil, err
	}
	material := &ownMaterial{}
	var prints []string
	if len(c.Roots) == 0 {
		return nil, errors.New("no root certificate")
	}
	if len(c.Roots) > MaxChain || len(c.Intermediates) > MaxChain {
		return nil, fmt.Errorf("more than %d certificates", MaxChain)
	}
	for _, r := range c.Roots {
		if !r.IsCA || !bytes.Equal(r.RawIssuer, r.RawSubject) || r.CheckSignatureFrom(r) != nil {
			return nil, fmt.Errorf("%q is no root certificate: an authority's, signed by itself", r.Subject)
		}
		material.authorities = append(material.authorities, &root.FulcioCertificateAuthority{Root: r, Intermediates: c.Intermediates})
		prints = append(prints, certificatePrint(r))
	}
	for _, i := range c.Intermediates {
		if !i.IsCA {
			return nil, fmt.Errorf("%q is no authority's certificate", i.Subject)
		}
		prints = append(prints, certificatePrint(i))
	}

	var ways checks
	from := ""
	if c.Root == nil {
		now, err := newCheck(material, needs{now: true}, id)
		if err != nil {
			return nil, err
		}
		ways = checks{now}
	} else {
		material.times, from = c.Root, c.Root.fingerprint
		if ways, err = timed(material, c.Root, false, id); err != nil {
			return nil, err
		}
	}
	return &certificateAuthority{
		name: name, checks: ways, fingerprint: fingerprintOf("certificate", c.Identity, prints, from),
	}, nil
}

func certificatePrint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}

// ParseCertificatesPEM reads a file with one to [MaxChain] certificates in PEM, and nothing else.
func ParseCertificatesPEM(raw []byte) ([]*x509.Certificate, error) {
	if len(raw) > maxKeyPEM {
		return nil, fmt.Errorf("more than %d bytes", maxKeyPEM)
	}
	return parseCertificates(raw, MaxChain)
}

// ownMaterial trusts one's own certificate authorities, and the logs and timestamp authorities of a root for the time alone.
type ownMaterial struct {
	root.BaseTrustedMaterial
	authorities []root.CertificateAuthority
	times       *TrustRoot // may be nil
}

func (m *ownMaterial) FulcioCertificateAuthorities() []root.CertificateAuthority {
	return m.authorities
}

func (m *ownMaterial) RekorLogs() map[string]*root.TransparencyLog {
	if m.times == nil {
		return nil
	}
	return m.times.RekorLogs()
}

func (m *ownMaterial) TimestampingAuthorities() []root.TimestampingAuthority {
	if m.times == nil {
		return nil
	}
	return m.times.TimestampingAuthorities()
}
