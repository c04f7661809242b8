package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// authority is a real certificate authority.
type authority struct {
	t           testing.TB
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(t testing.TB, name string) *authority {
	t.Helper()
	a := &authority{t: t}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	a.certificate, a.key = a.sign(template)
	return a
}

// sign signs a certificate for a new key; before there is a key it is the authority's own.
func (a *authority) sign(template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	parent, by := a.certificate, a.key
	if by == nil {
		parent, by = template, key
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), by)
	if err != nil {
		a.t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(raw)
	if err != nil {
		a.t.Fatal(err)
	}
	return certificate, key
}

// client is a certificate for a client, with changes.
func (a *authority) client(change func(*x509.Certificate)) *tls.Certificate {
	a.t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "somebody"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	change(template)
	certificate, key := a.sign(template)
	return &tls.Certificate{Certificate: [][]byte{certificate.Raw, a.certificate.Raw}, PrivateKey: key}
}

func (a *authority) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.certificate.Raw}))
}

func dns(names ...string) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.DNSNames = names }
}

func uris(t testing.TB, texts ...string) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		for _, text := range texts {
			u, err := url.Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			c.URIs = append(c.URIs, u)
		}
	}
}

// with is a client that shows a certificate, nil for none.
func with(certificate *tls.Certificate) *http.Client {
	return &http.Client{Transport: &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{
		InsecureSkipVerify: true, ClientSessionCache: tls.NewLRUClientSessionCache(8),
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if certificate == nil {
				return &tls.Certificate{}, nil
			}
			return certificate, nil // whatever the server says that it takes
		},
	}}}
}

func statusOf(t testing.TB, c *http.Client, url string, header ...string) int {
	t.Helper()
	q, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		q.Header.Set(header[i], header[i+1])
	}
	resp, err := c.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode
}

const certifiedConfig = `
listen: {address: "127.0.0.1:0", tls: {certificate: tls.crt, key: tls.key, client_ca: clients.pem}}
admin: {address: "127.0.0.1:0"}
clients:
  certificates:
    - {name: nodes, dns: ["*.nodes.acme.dev"]}
    - {name: mesh, uri: ["spiffe://acme.dev/ns/*/sa/puller"]}
policies:
  - name: all
    repositories: ["**"]
    allow: [{clients: [nodes, mesh], may: [pull]}]
    pull: {admit_unverified: true}
`

func TestThreat124_AClientIsKnownByAnAlternativeNameOfAGoodCertificateAlone(t *testing.T) {
	t.Parallel()
	file := newStorage(t, certifiedConfig)
	directory := filepath.Dir(file)
	newCertificate(t, directory, 1)
	ours, theirs := newAuthority(t, "ours"), newAuthority(t, "ours")
	writeFile(t, filepath.Join(directory, "clients.pem"), ours.pem())
	r := startForTest(t, file)

	both := func(changes ...func(*x509.Certificate)) func(*x509.Certificate) {
		return func(c *x509.Certificate) {
			for _, change := range changes {
				change(c)
			}
		}
	}
	node := dns("a.nodes.acme.dev")
	self := func(change func(*x509.Certificate)) *tls.Certificate {
		alone := &authority{t: t}
		template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
		change(template)
		certificate, key := alone.sign(template)
		return &tls.Certificate{Certificate: [][]byte{certificate.Raw}, PrivateKey: key}
	}
	for _, c := range []struct {
		name        string
		certificate *tls.Certificate
		want        int // 404: somebody who may pull, and nothing is there
	}{
		{"a node", ours.client(node), 404},
		{"a node by one of its names", ours.client(dns("x.example", "B.nodes.acme.dev")), 404},
		{"a workload of a mesh", ours.client(uris(t, "spiffe://acme.dev/ns/prod/sa/puller")), 404},
		{"no certificate", nil, 401},
		{"another authority of that name", theirs.client(node), 401},
		{"nobody's authority", self(node), 401},
		{"expired", ours.client(both(node, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })), 401},
		{"not yet valid", ours.client(both(node, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) })), 401},
		{"a server's", ours.client(both(node, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })), 401},
		{"an authority's", ours.client(both(node, func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true })), 401},
		{"the name as common name", ours.client(func(c *x509.Certificate) { c.Subject.CommonName = "a.nodes.acme.dev" }), 401},
		{"another name", ours.client(dns("a.nodes.acme.dev.evil.example")), 401},
		{"a name with more before it", ours.client(dns("x.a.nodes.acme.dev")), 401},
		{"the name without its first label", ours.client(dns("nodes.acme.dev")), 401},
		{"a star for a name", ours.client(dns("*.nodes.acme.dev")), 401},
		{"the name as an email address", ours.client(func(c *x509.Certificate) { c.EmailAddresses = []string{"a.nodes.acme.dev"} }), 401},
		{"another trust domain", ours.client(uris(t, "spiffe://acme.dev.evil.example/ns/prod/sa/puller")), 401},
		{"another scheme", ours.client(uris(t, "https://acme.dev/ns/prod/sa/puller")), 401},
		{"another account", ours.client(uris(t, "spiffe://acme.dev/ns/prod/sa/pullers")), 401},
		{"a longer path", ours.client(uris(t, "spiffe://acme.dev/ns/prod/x/sa/puller")), 401},
		{"dots in the path", ours.client(uris(t, "spiffe://acme.dev/ns/../sa/puller")), 401},
		{"an encoded path", ours.client(uris(t, "spiffe://acme.dev/ns/a%2Fb/sa/puller")), 401},
		{"a query", ours.client(uris(t, "spiffe://acme.dev/ns/prod/sa/puller?x")), 401},
		{"two identities", ours.client(uris(t, "spiffe://acme.dev/ns/prod/sa/puller", "spiffe://acme.dev/ns/prod/sa/other")), 401},
		{"a URI as a DNS name", ours.client(dns("acme.dev/ns/prod/sa/puller")), 401},
	} {
		if got := statusOf(t, with(c.certificate), r.URL+"/v2/app/manifests/v1"); got != c.want {
			t.Errorf("%s: got %d, want %d", c.name, got, c.want)
		}
	}
	// What a request itself shows comes before the connection's certificate.
	if got := statusOf(t, with(ours.client(node)), r.URL+"/v2/app/manifests/v1", "Authorization", "Bearer x"); got != 401 {
		t.Errorf("with a wrong token: got %d", got)
	}
}

func TestThreat105_AnAuthorityThatWasReplacedEndsWithTheReloadOnOpenConnectionsToo(t *testing.T) {
	t.Parallel()
	file := newStorage(t, certifiedConfig)
	directory := filepath.Dir(file)
	newCertificate(t, directory, 1)
	before, after := newAuthority(t, "before"), newAuthority(t, "after")
	writeFile(t, filepath.Join(directory, "clients.pem"), before.pem())
	r := startForTest(t, file)
	open, fresh := with(before.client(dns("a.nodes.acme.dev"))), with(after.client(dns("a.nodes.acme.dev")))
	url := r.URL + "/v2/app/manifests/v1"
	if old, next := statusOf(t, open, url), statusOf(t, fresh, url); old != 404 || next != 401 {
		t.Fatalf("before: %d and %d", old, next)
	}

	writeFile(t, filepath.Join(directory, "clients.pem"), after.pem())
	deadline := time.Now().Add(30 * time.Second)
	for statusOf(t, open, url) != 401 { // one connection, of before
		if time.Now().After(deadline) {
			t.Fatal("the old authority still vouches")
		}
	}
	if got := statusOf(t, fresh, url); got != 404 {
		t.Errorf("the new authority: %d", got)
	}
	// A new connection of the same client, which has whatever session it was given.
	open.CloseIdleConnections()
	if got := statusOf(t, open, url); got != 401 {
		t.Errorf("a session of before: %d", got)
	}
}

func TestNoSessionIsResumedWhereCertificatesAreAskedFor(t *testing.T) {
	t.Parallel()
	file := newStorage(t, certifiedConfig)
	directory := filepath.Dir(file)
	newCertificate(t, directory, 1)
	ca := newAuthority(t, "ours")
	writeFile(t, filepath.Join(directory, "clients.pem"), ca.pem())
	r := startForTest(t, file)
	cache := tls.NewLRUClientSessionCache(8)
	for n := range 3 {
		c, err := tls.Dial("tcp", strings.TrimPrefix(r.URL, "https://"), &tls.Config{InsecureSkipVerify: true, ClientSessionCache: cache, ServerName: "localhost"})
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(c, "GET /v2/ HTTP/1.0\r\n\r\n") // a ticket comes with the first bytes
		_, _ = io.Copy(io.Discard, c)
		if c.ConnectionState().DidResume {
			t.Errorf("connection %d is a resumed one", n)
		}
		c.Close()
	}
}

func TestAdminListenerAsksWhoSeesTheMetrics(t *testing.T) {
	t.Parallel()
	const token = "0123456789abcdef-token"
	start := func(t *testing.T, admin string) (r *running, ca *authority) {
		t.Helper()
		file := newStorage(t, onePolicy+admin)
		directory := filepath.Dir(file)
		ca = newAuthority(t, "inside")
		newCertificate(t, directory, 1)
		writeFile(t, filepath.Join(directory, "clients.pem"), ca.pem())
		writeFile(t, filepath.Join(directory, "token"), token+"\n")
		return startForTest(t, file), ca
	}
	bearer := []string{"Authorization", "Bearer " + token}
	for name, c := range map[string]struct {
		admin       string
		https       bool
		token, cert bool // is enough
		open        bool
	}{
		"nothing":     {admin: "admin: {}\n", open: true},
		"a token":     {admin: "admin: {token_file: token}\n", token: true},
		"TLS":         {admin: "admin: {tls: {certificate: tls.crt, key: tls.key}}\n", https: true, open: true},
		"TLS, token":  {admin: "admin: {token_file: token, tls: {certificate: tls.crt, key: tls.key}}\n", https: true, token: true},
		"certificate": {admin: "admin: {tls: {certificate: tls.crt, key: tls.key, client_ca: clients.pem}}\n", https: true, cert: true},
		"both":        {admin: "admin: {token_file: token, tls: {certificate: tls.crt, key: tls.key, client_ca: clients.pem}}\n", https: true, token: true, cert: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, ca := start(t, c.admin)
			if strings.HasPrefix(r.Admin, "https://") != c.https {
				t.Fatalf("it is at %s", r.Admin)
			}
			want := func(what string, client *http.Client, lets bool, header ...string) {
				t.Helper()
				status := 401
				if lets || c.open {
					status = 200
				}
				if got := statusOf(t, client, r.Admin+"/metrics", header...); got != status {
					t.Errorf("%s: got %d, want %d", what, got, status)
				}
			}
			good := ca.client(dns("prometheus.acme.dev"))
			want("nobody", with(nil), false)
			want("the token", with(nil), c.token, bearer...)
			want("another token", with(nil), false, "Authorization", "Bearer "+token+"x")
			want("no scheme", with(nil), false, "Authorization", token)
			want("the token as password", with(nil), false, "Authorization", "Basic "+token)
			if c.https {
				want("a certificate", with(good), c.cert)
				want("a stranger's certificate", with(newAuthority(t, "inside").client(dns("x"))), false)
				want("an expired certificate", with(ca.client(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })), false)
				want("a server's certificate", with(ca.client(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })), false)
				want("a certificate and a wrong token", with(good), false, "Authorization", "Bearer x")
			}
			for _, path := range []string{"/livez", "/readyz"} { // for load balancers and kubelets
				if got := statusOf(t, with(nil), r.Admin+path); got != 200 {
					t.Errorf("%s: %d", path, got)
				}
			}
		})
	}
}

func TestAdminTokenIsTakenWhileWeServe(t *testing.T) {
	t.Parallel()
	file := newStorage(t, onePolicy+"admin: {token_file: token}\n")
	token := filepath.Join(filepath.Dir(file), "token")
	writeFile(t, token, "0123456789abcdef")
	r := startForTest(t, file)
	writeFile(t, token, "fedcba9876543210")
	deadline := time.Now().Add(30 * time.Second)
	for statusOf(t, http.DefaultClient, r.Admin+"/metrics", "Authorization", "Bearer fedcba9876543210") != 200 {
		if time.Now().After(deadline) {
			t.Fatal("the new token is not taken")
		}
	}
	if got := statusOf(t, http.DefaultClient, r.Admin+"/metrics", "Authorization", "Bearer 0123456789abcdef"); got != 401 {
		t.Errorf("the old token: %d", got)
	}
}

func TestListenersThatMakeNoSenseAreRefused(t *testing.T) {
	t.Parallel()
	for yaml, want := range map[string]string{
		"admin: {address: \"0.0.0.0:5001\"}\n":                                       "admin.address: is reached from other machines",
		"admin: {address: \":5001\"}\n":                                              "admin.address: is reached from other machines",
		"admin: {address: \"admin.acme.dev:5001\"}\n":                                "admin.address: is reached from other machines",
		"admin: {address: \":5001\", token_file: x, unauthenticated_unsafe: true}\n": "admin.unauthenticated_unsafe: contradicts",
		"admin: {tls: {certificate: a}}\n":                                           "admin.tls: has one file",
		"admin: {tls: {client_ca: a}}\n":                                             "admin.tls.client_ca: means nothing without",
		"listen: {tls: {client_ca: a}}\n":                                            "listen.tls.client_ca: means nothing without",
		"listen: {tls: {certificate: a, key: b, client_ca: c}}\n":                    "listen.tls.client_ca: asks for certificates that are nobody's",
		"clients: {certificates: [{name: a, dns: [b.c]}]}\n":                         "clients.certificates: nobody vouches for them",
		"clients: {certificates: [{name: a}]}\n":                                     "clients.certificates[0]: has neither dns nor uri",
		"clients: {certificates: [{name: a, dns: [\"*\"]}]}\n":                       `clients.certificates[0].dns[0]: "*" is any name`,
		"clients: {certificates: [{name: a, dns: [\"**.acme.dev\"]}]}\n":             "clients.certificates[0].dns[0]:",
		"clients: {certificates: [{name: a, dns: [\"a/b\"]}]}\n":                     "clients.certificates[0].dns[0]:",
		"clients: {certificates: [{name: a, uri: [\"spiffe://*/x\"]}]}\n":            "clients.certificates[0].uri[0]:",
		"clients: {certificates: [{name: a, uri: [\"acme.dev/x\"]}]}\n":              "clients.certificates[0].uri[0]:",
		"clients: {certificates: [{name: a, uri: [\"spiffe://a/x?y\"]}]}\n":          "clients.certificates[0].uri[0]:",
		"clients: {certificates: [{name: a, dns: [b.c]}, {name: a, dns: [d.e]}]}\n":  "clients.certificates[1].name: a is the name in line",
		"listen: {trusted_proxies: [\"0.0.0.0/0\"]}\n":                               "listen.trusted_proxies[0]: is neither",
		"listen: {trusted_proxies: [\"10.0.0.1/24\"]}\n":                             "listen.trusted_proxies[0]: is neither",
		"listen: {trusted_proxies: [10.0.0.1, proxy.acme.dev]}\n":                    "listen.trusted_proxies[1]: is neither",
	} {
		if _, err := loadText(t, onePolicy+yaml); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", yaml, err, want)
		}
	}
	for _, yaml := range []string{
		"admin: {address: \"[::1]:5001\"}\n", "admin: {address: \"localhost:5001\"}\n", "admin: {address: \":5001\", token_file: x}\n",
		"admin: {address: \":5001\", unauthenticated_unsafe: true}\n", "listen: {trusted_proxies: [10.0.0.1, \"2001:db8::/32\", \"::1\"]}\n",
	} {
		if _, err := loadText(t, onePolicy+yaml); err != nil {
			t.Errorf("%s: %v", yaml, err)
		}
	}
	for content, want := range map[string]string{"short": "16 characters or more", "two tokens of enough characters": "16 characters or more", "": "16 characters or more"} {
		file := newStorage(t, onePolicy+"admin: {token_file: token}\n")
		writeFile(t, filepath.Join(filepath.Dir(file), "token"), content)
		if _, err := buildFile(file, noEnvironment); err == nil || !strings.Contains(err.Error(), want) || content != "" && strings.Contains(err.Error(), content) {
			t.Errorf("%q: got %v", content, err)
		}
	}
}
