package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"
)

const acmeConfig = `
policies:
  - {name: all, repositories: ["**"], pull: {admit_unverified: true}, push: {accept_unsealed: true}}
`

// TestACertificateComesFromAnAuthority has a real ACME server prove the gateway's name on the gateway's own listener, which is
// then served under the certificate, and under the same one after a restart without the authority.
func TestACertificateComesFromAnAuthority(t *testing.T) {
	const name = "registry.acme.example"
	gw := &gateway{address: freeAddress(t), admin: freeAddress(t), dir: tempDir(t)}
	pebble, roots := startPebble(t, gw.address, gw.path)
	writeFile(t, gw.path("sealgate.yaml"), fmt.Appendf(nil,
		"listen: {address: %q, acme: {domains: [%s], accept_terms: true, directory: %q, ca_file: authority.pem}}\nadmin: {address: %q}\nstorage: {directory: %q}\n%s",
		gw.address, name, "https://"+pebble.address+"/dir", gw.admin, gw.storage(""), acmeConfig), 0o644)
	gw.start(t)

	serial := ""
	served := func() (bool, string) {
		connection, err := tls.Dial("tcp", gw.address, &tls.Config{ServerName: name, RootCAs: roots})
		if err != nil {
			return false, err.Error()
		}
		defer connection.Close()
		serial = connection.ConnectionState().PeerCertificates[0].SerialNumber.String()
		return true, ""
	}
	eventually(t, "the gateway has a certificate", served)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{ServerName: name, RootCAs: roots}}}
	resp, err := client.Get("https://" + gw.address + "/v2/")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("the gateway answers %d", resp.StatusCode)
	}
	for _, other := range []string{"evil.example", "", "x." + name} {
		if c, err := tls.Dial("tcp", gw.address, &tls.Config{ServerName: other, InsecureSkipVerify: true}); err == nil {
			c.Close()
			t.Errorf("it has a certificate for %q too", other)
		}
	}

	first := serial
	pebble.kill()
	gw.process.stop()
	gw.start(t)
	eventually(t, "the gateway has its certificate", served)
	if serial != first {
		t.Error("it asked for another one, and was given it by nobody")
	}
}

// acmeServer is a running pebble.
type acmeServer struct {
	*process
	address string
}

// startPebble starts an authority that asks a DNS where every name is 127.0.0.1, and proves names at the port of the gateway. The
// certificate of whoever vouches for its server is written to authority.pem, the roots that it issues under are returned.
func startPebble(t *testing.T, gateway string, path func(string) string) (*acmeServer, *x509.CertPool) {
	t.Helper()
	dir := tempDir(t)
	_, port, _ := net.SplitHostPort(gateway)
	dns, management := freeAddress(t), freeAddress(t)
	server := &acmeServer{address: freeAddress(t)}

	vouching := newVouching(t)
	vouching.make("server", &x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: vouching.root.Raw})
	writeFile(t, path("authority.pem"), authority, 0o644)
	writeFile(t, filepath.Join(dir, "config.json"), fmt.Appendf(nil,
		`{"pebble": {"listenAddress": %q, "managementListenAddress": %q, "certificate": %q, "privateKey": %q, "httpPort": 1, "tlsPort": %s,
		  "profiles": {"default": {"description": "for tests", "validityPeriod": 86400}}}}`,
		server.address, management, vouching.file("server.crt"), vouching.file("server.key"), port), 0o644)

	tools := filepath.Dir(suite.tools["pebble"])
	resolver, err := startProcess(filepath.Join(dir, "dns.log"), nil, filepath.Join(tools, "pebble-challtestsrv"),
		"-defaultIPv4", "127.0.0.1", "-defaultIPv6", "", "-dnsserver", dns, "-http01", "", "-https01", "", "-tlsalpn01", "", "-doh", "", "-management", freeAddress(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(resolver.kill)
	// Otherwise it waits before it looks, and refuses good requests at random to teach clients.
	server.process, err = startProcess(filepath.Join(dir, "log"), []string{"PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=0"},
		suite.tools["pebble"], "-config", filepath.Join(dir, "config.json"), "-dnsserver", dns)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		server.kill()
		if t.Failed() {
			t.Logf("the authority's log ends with:\n%s\nthat of its DNS with:\n%s", server.tail(), resolver.tail())
		}
	})

	trusted := x509.NewCertPool()
	trusted.AddCert(vouching.root)
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusted}}}
	roots := x509.NewCertPool()
	eventually(t, "the authority tells its root", func() (bool, string) {
		resp, err := client.Get("https://" + management + "/roots/0")
		if err != nil {
			return false, err.Error()
		}
		defer resp.Body.Close()
		root, err := io.ReadAll(resp.Body)
		return err == nil && roots.AppendCertsFromPEM(root), fmt.Sprintf("%d, %v", resp.StatusCode, err)
	})
	return server, roots
}
