package clients

import (
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/sealgate/sealgate/policy"
)

// Certified is a client that shows a certificate. It is known by the alternative names alone: a common name is whatever
// somebody typed.
type Certified struct {
	Name  string     // in policies
	Names []NameLike // one of these
}

// NameLike is a pattern for an alternative name of a certificate. It stands for the whole name.
type NameLike struct {
	scheme  string // of a URI, empty for a DNS name
	pattern policy.Pattern
}

// DNSLike compiles a pattern for DNS names, such as *.nodes.acme.dev: a star is a part of one label.
func DNSLike(text string) (NameLike, error) {
	if strings.Trim(text, "abcdefghijklmnopqrstuvwxyz0123456789-.*") != "" || strings.Contains(text, "**") {
		return NameLike{}, fmt.Errorf("%.100q is no DNS name in lower case, with * for a part of a label", text)
	}
	pattern, err := policy.CompilePattern(strings.ReplaceAll(text, ".", "/"))
	return NameLike{pattern: pattern}, err
}

// URILike compiles a pattern for URIs, such as spiffe://acme.dev/ns/*/sa/node: a star is a part of one path component, two
// are one or more whole components. Scheme and host stand for themselves.
func URILike(text string) (NameLike, error) {
	scheme, rest, ok := strings.Cut(text, "://")
	host, _, _ := strings.Cut(rest, "/")
	if !ok || scheme == "" || host == "" || strings.Contains(scheme+host, "*") {
		return NameLike{}, fmt.Errorf("%.100q is no URI like spiffe://acme.dev/ns/*/sa/node, whose scheme and host have no star", text)
	}
	if strings.ContainsAny(text, "%?#@ ") {
		return NameLike{}, fmt.Errorf("%.100q holds more than scheme, host and path", text)
	}
	pattern, err := policy.CompilePattern(rest)
	return NameLike{scheme, pattern}, err
}

func (n NameLike) matchesDNS(name string) bool {
	return n.scheme == "" && !strings.ContainsAny(name, "*/") && n.pattern.Match(strings.ReplaceAll(strings.ToLower(name), ".", "/"))
}

func (n NameLike) matchesURI(u *url.URL) bool {
	if n.scheme == "" || u.Scheme != n.scheme || u.Opaque != "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return false
	}
	name := u.Host + u.EscapedPath()
	dotted := slices.ContainsFunc(strings.Split(name, "/"), func(part string) bool { return part == "." || part == ".." })
	return !dotted && !strings.ContainsAny(name, "%*") && n.pattern.Match(name)
}

// certificates is who is known by a certificate, and who vouches for those.
type certificates struct {
	roots    *x509.CertPool
	clients  []Certified
	verified *lru.Cache[[sha256.Size]byte, verifiedCertificate]
}

type verifiedCertificate struct {
	name, issuer, subject string
	from, until           time.Time // when all of its chain is valid
}

// Bounds of what clients show.
const (
	maxCertificates = 4096 // that are remembered
	maxChain        = 8    // certificates
)

// WithCertificates returns a directory that knows these as well, by certificates that lead to the roots.
func (d *Directory) WithCertificates(roots *x509.CertPool, clients []Certified) *Directory {
	next := *d
	next.certificates = &certificates{roots, slices.Clone(clients), newCache[[sha256.Size]byte, verifiedCertificate](maxCertificates)}
	return &next
}

// ErrNoCertificates says that certificates are not looked at here.
var ErrNoCertificates = errors.New("nobody is known by a certificate")

// Certificate says whose certificate it is, the first of the chain that the client showed and whose key it was shown to
// have. Each use is held against the roots and names of this directory: whatever was so when the connection was made. The
// error is [ErrNoCertificates] or [ErrCredentials].
func (d *Directory) Certificate(chain []*x509.Certificate) (policy.Client, error) {
	if d.certificates == nil || len(chain) == 0 {
		return policy.Client{}, ErrNoCertificates
	}
	now := time.Now()
	v, err := d.certificates.verify(chain, now)
	if err != nil {
		return policy.Client{}, err
	}
	if now.Before(v.from) || now.After(v.until) {
		return policy.Client{}, refused("its certificate is not valid now")
	}
	c := d.client(v.name)
	c.Issuer, c.Subject = v.issuer, v.subject
	return c, nil
}

func (c *certificates) verify(chain []*x509.Certificate, now time.Time) (verifiedCertificate, error) {
	leaf := chain[0]
	hash := sha256.Sum256(leaf.Raw)
	if v, ok := c.verified.Get(hash); ok {
		return v, nil
	}
	if len(chain) > maxChain {
		return verifiedCertificate{}, refused("its certificate comes with %d others", len(chain)-1)
	}
	intermediates := x509.NewCertPool()
	for _, one := range chain[1:] {
		intermediates.AddCert(one)
	}
	chains, err := leaf.Verify(x509.VerifyOptions{
		Roots: c.roots, Intermediates: intermediates, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil || leaf.IsCA {
		return verifiedCertificate{}, refused("its certificate is not one of a client that the client authority vouches for now")
	}
	for _, client := range c.clients {
		if subject, ok := client.matches(leaf); ok {
			v := verifiedCertificate{name: client.Name, issuer: chains[0][len(chains[0])-1].Subject.String(), subject: subject}
			v.from, v.until = validity(chains[0])
			c.verified.Add(hash, v)
			return v, nil
		}
	}
	return verifiedCertificate{}, refused("its certificate has none of the names that are known (DNS %.200q, URI %.200q)", leaf.DNSNames, leaf.URIs)
}

// matches is the name by which a certificate is the client's. With several URIs it is nobody's: SPIFFE wants exactly one,
// since two are two identities.
func (c Certified) matches(leaf *x509.Certificate) (name string, ok bool) {
	for _, like := range c.Names {
		for _, name := range leaf.DNSNames {
			if like.matchesDNS(name) {
				return name, true
			}
		}
		if len(leaf.URIs) == 1 && like.matchesURI(leaf.URIs[0]) {
			return leaf.URIs[0].String(), true
		}
	}
	return "", false
}

func validity(chain []*x509.Certificate) (from, until time.Time) {
	from, until = chain[0].NotBefore, chain[0].NotAfter
	for _, one := range chain[1:] {
		if one.NotBefore.After(from) {
			from = one.NotBefore
		}
		if one.NotAfter.Before(until) {
			until = one.NotAfter
		}
	}
	return from, until
}
