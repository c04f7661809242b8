package clients

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"testing"
	"testing/synctest"
	"time"
)

// vouching is an authority of the test's own.
type vouching struct {
	t           testing.TB
	key         *ecdsa.PrivateKey
	certificate *x509.Certificate
	n           int64
}

func newVouching(t testing.TB) *vouching {
	t.Helper()
	v := &vouching{t: t}
	v.certificate, v.key = v.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: "clients"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(1000 * time.Hour),
	})
	return v
}

// sign makes a certificate, which is its own authority as long as there is none.
func (v *vouching) sign(template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	v.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		v.t.Fatal(err)
	}
	parent, by := v.certificate, v.key
	if parent == nil {
		parent, by = template, key
	}
	v.n++
	template.SerialNumber = big.NewInt(v.n)
	raw, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), by)
	if err != nil {
		v.t.Fatal(err)
	}
	made, err := x509.ParseCertificate(raw)
	if err != nil {
		v.t.Fatal(err)
	}
	return made, key
}

// client makes a client's certificate for an hour.
func (v *vouching) client(change func(*x509.Certificate)) *x509.Certificate {
	v.t.Helper()
	template := &x509.Certificate{
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	change(template)
	made, _ := v.sign(template)
	return made
}

// certified knows a node by DNS and a workload of a mesh by URI.
func (v *vouching) certified() *Directory {
	v.t.Helper()
	node, err := DNSLike("*.nodes.acme.dev")
	if err != nil {
		v.t.Fatal(err)
	}
	puller, err := URILike("spiffe://acme.dev/ns/*/sa/puller")
	if err != nil {
		v.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(v.certificate)
	return openDesk(v.t).Directory(nil, nil, false).WithCertificates(roots, []Certified{{"nodes", []NameLike{node}}, {"mesh", []NameLike{puller}}})
}

func TestThreat124_ACertificateIsItsClientsByOneNameAlone(t *testing.T) {
	v := newVouching(t)
	d := v.certified()
	dns := func(names ...string) *x509.Certificate {
		return v.client(func(c *x509.Certificate) { c.DNSNames = names })
	}
	uri := func(all ...string) *x509.Certificate {
		return v.client(func(c *x509.Certificate) {
			for _, one := range all {
				u, err := url.Parse(one)
				if err != nil {
					t.Fatal(err)
				}
				c.URIs = append(c.URIs, u)
			}
		})
	}
	const puller = "spiffe://acme.dev/ns/prod/sa/puller"
	for name, c := range map[string]struct {
		leaf *x509.Certificate
		want string
	}{
		"a node":     {dns("a.nodes.acme.dev"), "nodes"},
		"a workload": {uri(puller), "mesh"},
		"an authority": {v.client(func(c *x509.Certificate) {
			c.DNSNames, c.IsCA, c.BasicConstraintsValid = []string{"a.nodes.acme.dev"}, true, true
		}), ""},
		"two identities":         {uri(puller, "spiffe://acme.dev/ns/prod/sa/other"), ""},
		"two, the other first":   {uri("spiffe://acme.dev/ns/prod/sa/other", puller), ""},
		"a query":                {uri(puller + "?x"), ""},
		"an empty query":         {uri(puller + "?"), ""},
		"a fragment":             {uri(puller + "#x"), ""},
		"a user":                 {uri("spiffe://x@acme.dev/ns/prod/sa/puller"), ""},
		"an encoded slash":       {uri("spiffe://acme.dev/ns/a%2Fb/sa/puller"), ""},
		"a star for a namespace": {uri("spiffe://acme.dev/ns/*/sa/puller"), ""},
		"a namespace of dots":    {uri("spiffe://acme.dev/ns/../sa/puller"), ""},
		"a namespace of one dot": {uri("spiffe://acme.dev/ns/./sa/puller"), ""},
		"a star for a node":      {dns("*.nodes.acme.dev"), ""},
		"a slash in a node":      {dns("a/nodes.acme.dev"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			client, err := d.Certificate([]*x509.Certificate{c.leaf})
			if client.Name != c.want || (err == nil) != (c.want != "") || err != nil && !errors.Is(err, ErrCredentials) {
				t.Errorf("it is %q's: %v", client.Name, err)
			}
		})
	}

	// As long a chain as a client likes would be as much work as it likes.
	chain := []*x509.Certificate{dns("b.nodes.acme.dev")}
	for len(chain) <= maxChain {
		chain = append(chain, v.client(func(c *x509.Certificate) { c.DNSNames = []string{fmt.Sprint(len(chain))} }))
	}
	if client, err := d.Certificate(chain); !errors.Is(err, ErrCredentials) {
		t.Errorf("a chain of %d: it is %q's", len(chain), client.Name)
	}
	if client, err := d.Certificate(chain[:maxChain]); err != nil || client.Name != "nodes" {
		t.Errorf("a chain of %d: it is %q's: %v", maxChain, client.Name, err)
	}
}

// A connection that lives for days shows the certificate of its beginning.
func TestThreat124_ACertificateThatWasVerifiedEndsWhenItDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVouching(t)
		d := v.certified()
		chain := []*x509.Certificate{v.client(func(c *x509.Certificate) { c.DNSNames = []string{"a.nodes.acme.dev"} })}
		for _, c := range []struct {
			after time.Duration
			want  bool
		}{{0, true}, {59 * time.Minute, true}, {2 * time.Minute, false}} {
			time.Sleep(c.after)
			client, err := d.Certificate(chain)
			if (err == nil) != c.want || err != nil && !errors.Is(err, ErrCredentials) {
				t.Errorf("%s later: it is %q's: %v", c.after, client.Name, err)
			}
		}
	})
}
