package e2e

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// sigstore is a whole Sigstore on this machine alone, of the programs that the public instance runs: Fulcio issues certificates
// to whom our issuer vouches for, the timestamp authority says the time, and Rekor v2 logs. cosign 2 does not know Rekor v2 and
// has a log of ours: see [rekor1]. A certificate log is missing.
type sigstore struct {
	dir                      string
	issuer                   *issuer
	log                      *rekor1
	fulcio, timestamp, rekor string // URLs
	signingConfig            string // files
	roots                    map[string]string
}

// The trusted roots of the deployment: as it is, and as others would have it.
const (
	wholeRoot      = "whole"       // all that the deployment is
	lapsedRoot     = "lapsed"      // its Fulcio was trusted until an hour before the tests
	foreignLogRoot = "foreign-log" // another key is that of the log
	foreignCARoot  = "foreign-ca"  // another Fulcio
)

// builder is who signs, and anybodyElse is not.
const (
	builder     = "builder@acme.example"
	anybodyElse = "mallory@acme.example"
)

func startSigstore() (*sigstore, error) {
	s := &sigstore{dir: filepath.Join(suite.dir, "sigstore"), roots: map[string]string{}}
	if err := os.Mkdir(s.dir, 0o755); err != nil {
		return nil, err
	}
	var err error
	if s.issuer, err = startIssuer(); err != nil {
		return nil, err
	}
	if s.log, err = startRekor1(s.path("rekor1.pub")); err != nil {
		return nil, err
	}
	if err := errors.Join(s.startTimestamp(), s.startFulcio(), s.startRekor()); err != nil {
		return nil, err
	}
	return s, s.writeRoots()
}

func (s *sigstore) path(name string) string { return filepath.Join(s.dir, name) }

// port is a port on loopback where nothing listens.
func port() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, err
}

func ports(n int) ([]string, error) {
	all := make([]string, n)
	var errs []error
	for i := range all {
		p, err := port()
		all[i], errs = p, append(errs, err)
	}
	return all, errors.Join(errs...)
}

func (s *sigstore) start(name, ready string, args ...string) error {
	p, err := startProcess(s.path(name+".log"), nil, suite.tools[name], args...)
	if err != nil {
		return err
	}
	return p.ready(func() bool { return answers(ready) })
}

// startTimestamp starts the timestamp authority in a network of its own, because it serves its metrics to everybody on a port
// that nobody can choose. It is reached by its socket.
func (s *sigstore) startTimestamp() error {
	socket := s.path("timestamp.sock")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s.timestamp = "http://" + listener.Addr().String()
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "http", Host: "timestamp"}) },
		Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		}},
		ErrorLog: log.New(io.Discard, "", 0), // until the socket is there
	}
	go func() { _ = http.Serve(listener, proxy) }()

	p, err := startProcess(s.path("timestamp.log"), nil, "/usr/bin/unshare", "--net", suite.tools["timestamp"], "serve",
		"--scheme", "unix", "--socket-path", socket, "--timestamp-signer", "memory", "--disable-ntp-monitoring")
	if err != nil {
		return err
	}
	if err := p.ready(func() bool { return answers(s.timestamp + "/api/v1/timestamp/certchain") }); err != nil {
		return err
	}
	chain, err := fetch(s.timestamp + "/api/v1/timestamp/certchain")
	if err != nil {
		return err
	}
	return os.WriteFile(s.path("timestamp.pem"), chain, 0o644)
}

func (s *sigstore) startFulcio() error {
	free, err := ports(3)
	if err != nil {
		return err
	}
	config := fmt.Sprintf("oidc-issuers:\n  %q: {issuer-url: %q, client-id: %s, type: email}\n", s.issuer.url, s.issuer.url, audience)
	if err := os.WriteFile(s.path("fulcio.yaml"), []byte(config), 0o644); err != nil {
		return err
	}
	s.fulcio = "http://127.0.0.1:" + free[0]
	err = s.start("fulcio", s.fulcio+"/api/v2/trustBundle", "serve", "--host", "127.0.0.1", "--port", free[0],
		"--grpc-host", "127.0.0.1", "--grpc-port", free[1], "--metrics-port", free[2], "--legacy-unix-domain-socket", "@"+s.path("fulcio.sock"),
		"--ca", "ephemeralca", "--ct-log-url=", "--config-path", s.path("fulcio.yaml"))
	if err != nil {
		return err
	}
	raw, err := fetch(s.fulcio + "/api/v2/trustBundle")
	if err != nil {
		return err
	}
	var bundle struct {
		Chains []struct{ Certificates []string }
	}
	if err := json.Unmarshal(raw, &bundle); err != nil || len(bundle.Chains) != 1 {
		return fmt.Errorf("Fulcio's trust bundle: %w\n%s", err, raw)
	}
	return os.WriteFile(s.path("fulcio.pem"), []byte(strings.Join(bundle.Chains[0].Certificates, "\n")), 0o644)
}

// rekorName is the log's name in checkpoints. Trusted roots know it by it, wherever it listens.
const rekorName = "rekor.acme.example"

func (s *sigstore) startRekor() error {
	free, err := ports(3)
	if err != nil {
		return err
	}
	for _, name := range []string{"rekor", "foreign"} {
		if err := makeLogKey(s.path(name)); err != nil {
			return err
		}
	}
	s.rekor = "http://127.0.0.1:" + free[0]
	return s.start("rekor", s.rekor+"/healthz", "serve", "--http-address", "127.0.0.1", "--http-port", free[0],
		"--grpc-address", "127.0.0.1", "--grpc-port", free[1], "--http-metrics-port", free[2], "--hostname", rekorName,
		"--storage-dir", s.path("log"), "--signer-filepath", s.path("rekor.pem"), "--checkpoint-interval", "1s")
}

func makeLogKey(path string) error {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return err
	}
	open, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(path+".pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600),
		os.WriteFile(path+".pub", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: open}), 0o644),
	)
}

// writeRoots describes the deployment for those who verify and for those who sign, as an administrator would: with cosign.
func (s *sigstore) writeRoots() error {
	begin := time.Now().Add(-2 * time.Hour).UTC().Format(time.RFC3339)
	lapse := time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)
	fulcio := "url=" + s.fulcio + ",certificate-chain=" + s.path("fulcio.pem") + ",start-time=" + begin
	logged := func(key string) string {
		return "url=http://" + rekorName + ",public-key=" + s.path(key+".pub") + ",start-time=" + begin + ",origin=" + rekorName
	}
	var errs []error
	root := func(name, fulcio string, logs ...string) {
		s.roots[name] = s.path(name + ".json")
		args := []string{"trusted-root", "create", "--fulcio", fulcio}
		for _, log := range logs {
			args = append(args, "--rekor", log)
		}
		errs = append(errs, s.cosign(append(args, "--tsa", "url="+s.timestamp+"/api/v1/timestamp,certificate-chain="+s.path("timestamp.pem")+",start-time="+begin, "--out", s.roots[name])...))
	}
	first := "url=" + s.log.url + ",public-key=" + s.path("rekor1.pub") + ",start-time=" + begin
	root(wholeRoot, fulcio, logged("rekor"), first)
	root(lapsedRoot, fulcio+",end-time="+lapse, logged("rekor"), first)
	root(foreignLogRoot, fulcio, logged("foreign"))
	root(foreignCARoot, strings.Replace(fulcio, "fulcio.pem", "timestamp.pem", 1), logged("rekor"), first)

	service := ",api-version=%d,start-time=" + begin + ",operator=acme"
	s.signingConfig = s.path("signing-config.json")
	errs = append(errs, s.cosign("signing-config", "create",
		"--fulcio", fmt.Sprintf("url="+s.fulcio+service, 1), "--rekor", fmt.Sprintf("url="+s.rekor+service, 2), "--rekor-config", "ANY",
		"--oidc-provider", fmt.Sprintf("url="+s.issuer.url+service, 1),
		"--tsa", fmt.Sprintf("url="+s.timestamp+"/api/v1/timestamp"+service, 1), "--tsa-config", "ANY", "--out", s.signingConfig))
	return errors.Join(errs...)
}

func (s *sigstore) cosign(args ...string) error {
	r, err := execute(s.dir, nil, suite.tools["cosign3"], args...)
	if err != nil || r.code != 0 {
		return orExit(err, r)
	}
	return nil
}

// signing is how a generation of cosign signs and attests keyless, in the log of its generation and with a timestamp. What
// cosign 2 makes may be in no log at all.
func (s *sigstore) signing(generation cosign, who string, logged bool) ([]string, error) {
	token, err := s.issuer.token(who)
	if err != nil {
		return nil, err
	}
	args := []string{"--yes", "--identity-token", token}
	if generation.name == cosign3.name {
		return append(args, "--signing-config", s.signingConfig, "--trusted-root", s.roots[wholeRoot]), nil
	}
	return append(args, "--fulcio-url", s.fulcio, "--insecure-skip-verify", "--timestamp-server-url", s.timestamp+"/api/v1/timestamp",
		fmt.Sprintf("--tlog-upload=%v", logged), "--rekor-url", s.log.url), nil
}

func fetch(url string) ([]byte, error) {
	resp, err := http.Get(url)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: %s\n%s", url, resp.Status, raw)
	}
	return raw, err
}
