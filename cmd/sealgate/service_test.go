package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// running is a service in this process.
type running struct {
	*service
	stop func() error // ends it and waits
}

func startForTest(t testing.TB, file string) *running {
	t.Helper()
	reload := func() (*Loaded, error) {
		return load(file, Overrides{Listen: "127.0.0.1:0", Admin: "127.0.0.1:0"}, nil)
	}
	loaded, err := reload()
	if err != nil {
		t.Fatal(err)
	}
	s, err := startService(loaded, reload, openTestKey, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.wait(ctx, nil) }()
	stopped := false
	r := &running{service: s, stop: func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return <-done
	}}
	t.Cleanup(func() {
		if err := r.stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	return r
}

func get(t testing.TB, url string) (status int, body string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(raw)
}

// newImage is a small image with a user.
func newImage(t testing.TB, user string) v1.Image {
	t.Helper()
	image, err := random.Image(256, 1)
	if err != nil {
		t.Fatal(err)
	}
	image, err = mutate.Config(image, v1.Config{User: user})
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// at is the image's name at a running service.
func (r *running) at(t testing.TB, ref string) name.Reference {
	t.Helper()
	_, host, _ := strings.Cut(r.URL, "://")
	parsed, err := name.ParseReference(host + "/" + ref)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func TestAPushIsSealedAndComesBack(t *testing.T) {
	t.Parallel()
	r := startForTest(t, newStorage(t, onePolicy+"    push: {image: {nonroot: deny}, seal: {signer: gateway}}\n"))
	if err := remote.Write(r.at(t, "app:v1"), newImage(t, "65532")); err != nil {
		t.Fatal(err)
	}
	if _, err := remote.Image(r.at(t, "app:v1")); err != nil {
		t.Errorf("what was sealed does not come back: %v", err)
	}
	if err := remote.Write(r.at(t, "app:v2"), newImage(t, "")); err == nil || !strings.Contains(err.Error(), "DENIED") {
		t.Errorf("an image that runs as root was taken: %v", err)
	}
}

func TestHealthAndMetricsAreOnTheAdminListenerAlone(t *testing.T) {
	t.Parallel()
	r := startForTest(t, newStorage(t, onePolicy))
	for path, want := range map[string]string{
		"/livez": "ok", "/readyz": "ok", "/metrics": "sealgate_config_last_reload_success 1",
	} {
		if status, body := get(t, r.Admin+path); status != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("GET %s at the admin listener: got %d, want 200 and %q in\n%s", path, status, want, body)
		}
		if status, body := get(t, r.URL+path); status == http.StatusOK {
			t.Errorf("GET %s at the public listener: got 200: %s", path, body)
		}
	}
	if status, _ := get(t, r.Admin+"/v2/"); status != http.StatusNotFound {
		t.Errorf("GET /v2/ at the admin listener: got %d", status)
	}
	if status, _ := get(t, r.Admin+"/debug/pprof/"); status != http.StatusNotFound {
		t.Errorf("GET /debug/pprof/ at the admin listener: got %d", status)
	}
}

func TestThreat140_AuditModeHasAGauge(t *testing.T) {
	t.Parallel()
	r := startForTest(t, newStorage(t, onePolicy+"    mode: audit\n"))
	if _, body := get(t, r.Admin+"/metrics"); !strings.Contains(body, "\nsealgate_policies_in_audit_mode 1\n") {
		t.Errorf("no sealgate_policies_in_audit_mode 1 in\n%s", body)
	}
}

func TestThreat137_WhatIsUnderWayEndsAndWhatIsNewIsRefused(t *testing.T) {
	t.Parallel()
	r := startForTest(t, newStorage(t, onePolicy+"    push: {seal: {signer: gateway}}\n"))
	resp, err := http.Post(r.URL+"/v2/app/blobs/uploads/", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	location := resp.Header.Get("Location")
	if strings.HasPrefix(location, "/") {
		location = r.URL + location
	}

	body, write := io.Pipe()
	patched := make(chan int, 1)
	go func() {
		request, err := http.NewRequest(http.MethodPatch, location, body)
		if err != nil {
			patched <- 0
			return
		}
		request.Header.Set("Content-Type", "application/octet-stream")
		request.Header.Set("Expect", "100-continue") // no byte leaves before a handler wants it
		resp, err := (&http.Transport{ExpectContinueTimeout: time.Minute}).RoundTrip(request)
		if err != nil {
			t.Errorf("the upload under way: %v", err)
			patched <- 0
			return
		}
		resp.Body.Close()
		patched <- resp.StatusCode
	}()
	if _, err := write.Write([]byte("first half, ")); err != nil {
		t.Fatal(err)
	}

	ended := make(chan error, 1)
	go func() { ended <- r.stop() }()
	for status := http.StatusOK; status == http.StatusOK; { // until the stop has begun
		status, _ = get(t, r.Admin+"/readyz")
	}
	if resp, err := http.Get(r.URL + "/v2/"); err == nil {
		resp.Body.Close()
		if resp.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("a new request while stopping: got %d", resp.StatusCode)
		}
	}
	if status, _ := get(t, r.Admin+"/readyz"); status != http.StatusServiceUnavailable {
		t.Errorf("readyz while stopping: got %d", status)
	}

	if _, err := write.Write([]byte("second half")); err != nil {
		t.Fatal(err)
	}
	write.Close()
	if status := <-patched; status != http.StatusAccepted {
		t.Errorf("the upload under way: got %d, want 202", status)
	}
	if err := <-ended; err != nil {
		t.Errorf("stop: %v", err)
	}
	if _, err := net.Dial("tcp", strings.TrimPrefix(r.URL, "http://")); err == nil {
		t.Error("the listener is still open")
	}
}

func TestOneProcessServesFromAStorageDirectory(t *testing.T) {
	t.Parallel()
	file := newStorage(t, onePolicy)
	first := startForTest(t, file)
	reload := func() (*Loaded, error) {
		return load(file, Overrides{Listen: "127.0.0.1:0", Admin: "127.0.0.1:0"}, nil)
	}
	loaded, err := reload()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := startService(loaded, reload, openTestKey, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "in use by another sealgate") {
		t.Fatalf("a second one: %v", err)
	}
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}
	startForTest(t, file)
}

func TestAnAddressInUseIsNamed(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for setting, overrides := range map[string]Overrides{
		"listen.address": {Listen: taken.Addr().String(), Admin: "127.0.0.1:0"},
		"admin.address":  {Listen: "127.0.0.1:0", Admin: taken.Addr().String()},
	} {
		file := newStorage(t, onePolicy)
		loaded, err := load(file, overrides, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, err = startService(loaded, nil, openTestKey, slog.New(slog.DiscardHandler))
		if err == nil || !strings.Contains(err.Error(), setting+": listen tcp") {
			t.Errorf("got %v, want it to name %s", err, setting)
		}
	}
}

func TestThreat105_ARenewedCertificateIsServedWithoutARestartAndOldTLSIsNot(t *testing.T) {
	t.Parallel()
	file := newStorage(t, onePolicy+"listen: {tls: {certificate: tls.crt, key: tls.key}}\n")
	directory := filepath.Dir(file)
	newCertificate(t, directory, 1)
	r := startForTest(t, file)
	if !strings.HasPrefix(r.URL, "https://") {
		t.Fatalf("serves at %s", r.URL)
	}
	serial := func() int64 {
		t.Helper()
		connection, err := tls.Dial("tcp", strings.TrimPrefix(r.URL, "https://"), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer connection.Close()
		return connection.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	}
	if got := serial(); got != 1 {
		t.Errorf("certificate %d, want 1", got)
	}
	newCertificate(t, directory, 2)
	deadline := time.Now().Add(30 * time.Second)
	for serial() != 2 {
		if time.Now().After(deadline) {
			t.Fatal("the renewed certificate is not served")
		}
	}

	old := &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11}
	if connection, err := tls.Dial("tcp", strings.TrimPrefix(r.URL, "https://"), old); err == nil {
		connection.Close()
		t.Error("speaks TLS 1.1")
	}
}

func newCertificate(t *testing.T, directory string, serial int64) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "gateway"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"},
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(directory, "tls.key"), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
	writeFile(t, filepath.Join(directory, "tls.crt"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate})))
}

func TestNoLogLineAndNoDecisionHoldsASecret(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	lines := new(strings.Builder)
	overrides := Overrides{Listen: "127.0.0.1:0", Admin: "127.0.0.1:0", Storage: directory}
	loaded, err := load("", overrides, nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := startService(loaded, nil, openTestKey, slog.New(slog.NewJSONHandler(lines, nil)))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	password, err := os.ReadFile(filepath.Join(directory, defaultPasswordFile))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(lines.String(), strings.TrimSpace(string(password))) {
		t.Error("the log holds the password")
	}

	said := map[string]int{}
	for line := range strings.Lines(lines.String()) {
		var event struct{ Msg string }
		if err := json.Unmarshal([]byte(line), &event); err != nil {
			t.Fatal(err)
		}
		said[strings.SplitN(event.Msg, ";", 2)[0]]++
	}
	if said["generated a signing key"] != 1 || said["serving"] != 1 {
		t.Errorf("the log says %v", said)
	}
}
