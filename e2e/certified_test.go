package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sealgate/sealgate/gateway/ledger"
)

// Nodes show a certificate: each client, in the place that it has for them.

const certifiedConfig = `
clients:
  certificates:
    - {name: nodes, dns: ["*.nodes.acme.dev"]}
    - {name: builder, uri: ["spiffe://acme.dev/ns/ci/sa/builder"]}
policies:
  - name: all
    repositories: ["**"]
    allow: [{clients: [nodes], may: [pull]}, {clients: [builder], may: [pull, push]}]
    pull: {signed_by: {any: [gateway]}}
    push: {image: {nonroot: deny}, seal: {signer: gateway}}
`

// vouching is a certificate authority with a directory for what it makes.
type vouching struct {
	t    *testing.T
	dir  string
	root *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newVouching(t *testing.T) *vouching {
	t.Helper()
	v := &vouching{t: t, dir: tempDir(t)}
	v.root, v.key = v.make("ca", &x509.Certificate{
		Subject: pkix.Name{CommonName: "acme"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
	return v
}

// make signs a certificate and writes it to NAME.crt and its key to NAME.key.
func (v *vouching) make(name string, template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	v.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		v.t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, by := v.root, v.key
	if parent == nil {
		parent, by = template, key
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), by)
	if err != nil {
		v.t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(raw)
	if err != nil {
		v.t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		v.t.Fatal(err)
	}
	writeFile(v.t, v.file(name+".crt"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw}), 0o644)
	writeFile(v.t, v.file(name+".key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600)
	return certificate, key
}

func (v *vouching) file(name string) string { return filepath.Join(v.dir, name) }

// folder is a directory of certificates as docker and podman read it, for a client.
func (v *vouching) folder(name string) string {
	v.t.Helper()
	dir := tempDir(v.t)
	v.fill(dir, name)
	return dir
}

func (v *vouching) fill(dir, name string) {
	v.t.Helper()
	for to, from := range map[string]string{"ca.crt": "ca.crt", "client.cert": name + ".crt", "client.key": name + ".key"} {
		raw, err := os.ReadFile(v.file(from))
		if err != nil {
			v.t.Fatal(err)
		}
		writeFile(v.t, filepath.Join(dir, to), raw, 0o600)
	}
}

// makeAll makes certificates of the gateway, for its address, and of those who may ask it; the stranger only looks like a node.
func (v *vouching) makeAll(address string) {
	v.t.Helper()
	client := []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	v.make("tls", &x509.Certificate{IPAddresses: []net.IP{net.ParseIP(address)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	v.make("node", &x509.Certificate{DNSNames: []string{"a.nodes.acme.dev"}, ExtKeyUsage: client})
	v.make("builder", &x509.Certificate{URIs: parseURIs(v.t, "spiffe://acme.dev/ns/ci/sa/builder"), ExtKeyUsage: client})
	v.make("stranger", &x509.Certificate{Subject: pkix.Name{CommonName: "a.nodes.acme.dev"}, DNSNames: []string{"nodes.acme.dev"}, ExtKeyUsage: client})
}

// listen is the section of a gateway that asks for certificates.
func (v *vouching) listen() string {
	return fmt.Sprintf(", tls: {certificate: %q, key: %q, client_ca: %q}", v.file("tls.crt"), v.file("tls.key"), v.file("ca.crt"))
}

// certified is a client that shows a certificate.
type certified struct {
	name       string
	pull, push func(t *testing.T, as, ref string, s source) result
}

// mayWhatItsCertificateSays shows that a builder pushes and a node pulls, that a node does not push and a stranger does nothing.
func (c certified) mayWhatItsCertificateSays(t *testing.T, gw *gateway) {
	t.Helper()
	kit, repo := need(t, suite.images), "app/"+c.name
	ref, src := gw.ref(repo+":v1"), kit.source(t, nonroot, "certified "+c.name)
	c.push(t, "builder", ref, src).ok(t)
	c.pull(t, "node", ref, src).ok(t)
	gw.decidedAbout(t, repo, map[ledger.Action]string{ledger.Push: "builder", ledger.Pull: "nodes"})
	c.push(t, "node", gw.ref(repo+":v2"), kit.source(t, nonroot, "by a node "+c.name)).fails(t)
	c.pull(t, "stranger", gw.ref(repo+":v1"), src).fails(t)
}

func TestThreat124_NodesShowACertificate(t *testing.T) {
	v := newVouching(t)
	v.makeAll("127.0.0.1")
	gw := startGatewayAt(t, &gateway{address: freeAddress(t), tls: v.listen()}, certifiedConfig)
	hosts := func(name string) string { // containerd's
		dir := tempDir(t)
		writeFile(t, filepath.Join(dir, gw.address, "hosts.toml"), fmt.Appendf(nil, "server = \"https://%[1]s\"\n[host.\"https://%[1]s\"]\n  ca = %[2]q\n  client = [[%[3]q, %[4]q]]\n",
			gw.address, v.file("ca.crt"), v.file(name+".crt"), v.file(name+".key")), 0o644)
		return dir
	}

	ctr := func(name string, c ctrClient) certified {
		return certified{
			name,
			func(t *testing.T, as, ref string, _ source) result {
				return c.images(t, "pull", append(c.flags, "--hosts-dir", hosts(as), ref)...)
			},
			func(t *testing.T, as, ref string, s source) result {
				c.load(t, s, ref)
				return c.images(t, "push", append(c.flags, "--hosts-dir", hosts(as), ref)...)
			},
		}
	}
	for _, c := range []certified{
		{
			"podman",
			func(t *testing.T, as, ref string, _ source) result {
				return runPodman(t, "pull", "--cert-dir", v.folder(as), ref)
			},
			func(t *testing.T, as, ref string, s source) result {
				podmanBuild(t, s, ref)
				return runPodman(t, "push", "--cert-dir", v.folder(as), ref)
			},
		},
		{
			"skopeo",
			func(t *testing.T, as, ref string, _ source) result {
				return runSkopeo(t, "copy", "--src-cert-dir", v.folder(as), "docker://"+ref, "dir:"+filepath.Join(tempDir(t), "image"))
			},
			func(t *testing.T, as, ref string, s source) result {
				return runSkopeo(t, "copy", "--dest-cert-dir", v.folder(as), "oci:"+s.oci()+":image", "docker://"+ref)
			},
		},
		{
			"oras",
			func(t *testing.T, as, ref string, _ source) result {
				return runOras(t, "copy", "--no-tty", "--from-ca-file", v.file("ca.crt"), "--from-cert-file", v.file(as+".crt"), "--from-key-file", v.file(as+".key"), ref, "--to-oci-layout", filepath.Join(tempDir(t), "image")+":image")
			},
			func(t *testing.T, as, ref string, s source) result {
				return runOras(t, "copy", "--no-tty", "--to-ca-file", v.file("ca.crt"), "--to-cert-file", v.file(as+".crt"), "--to-key-file", v.file(as+".key"), "--from-oci-layout", s.oci()+":image", ref)
			},
		},
		ctr("ctr-1.6", ctr1),
		ctr("ctr-2.4", ctr2),
	} {
		t.Run(c.name, func(t *testing.T) { c.mayWhatItsCertificateSays(t, gw) })
	}
}

// TestThreat124_DockerShowsACertificate has a network of its own, because docker shows none to what is on loopback.
func TestThreat124_DockerShowsACertificate(t *testing.T) {
	v, n := newVouching(t), newNamespace(t)
	v.makeAll(outside)
	gw := startGatewayAt(t, &gateway{address: net.JoinHostPort(outside, "5443"), tls: v.listen(), inside: n}, certifiedConfig)
	d := startDockerInside(t, n)

	// Docker reads this directory, and no other.
	certsD := filepath.Join("/etc/docker/certs.d", gw.address)
	t.Cleanup(func() { _ = os.RemoveAll(certsD) })
	certified{
		"docker",
		func(t *testing.T, as, ref string, _ source) result {
			v.fill(certsD, as)
			return d.run(t, "pull", ref)
		},
		func(t *testing.T, as, ref string, s source) result {
			v.fill(certsD, as)
			d.run(t, "build", "-q", "-t", ref, s.context()).ok(t)
			return d.run(t, "push", ref)
		},
	}.mayWhatItsCertificateSays(t, gw)
}

func parseURIs(t *testing.T, texts ...string) []*url.URL {
	t.Helper()
	var all []*url.URL
	for _, text := range texts {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, u)
	}
	return all
}
