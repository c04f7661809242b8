package upstream

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// at returns a registry at a listening server. TLS servers are trusted by their own certificate.
func at(t testing.TB, server *httptest.Server, settings ...func(*Options)) *Registry {
	t.Helper()
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Name: "remote", Prefix: "remote/", URL: u}
	if server.TLS != nil {
		o.RootCAs = x509.NewCertPool()
		o.RootCAs.AddCert(server.Certificate())
	}
	for _, set := range settings {
		set(&o)
	}
	r, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// behind returns a registry that answers as handler does, over plain HTTP.
func behind(t testing.TB, handler http.HandlerFunc, settings ...func(*Options)) *Registry {
	t.Helper()
	return at(t, serve(t, handler), settings...)
}

func serve(t testing.TB, handler http.Handler) *httptest.Server {
	server := httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.Start()
	t.Cleanup(server.Close)
	return server
}

func serveTLS(t testing.TB, handler http.Handler) *httptest.Server {
	server := httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}

// converse has each connection to a listener talked to, until the test ends.
func converse(t testing.TB, listener net.Listener, with func(conn net.Conn)) {
	t.Helper()
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				defer context.AfterFunc(t.Context(), func() { conn.Close() })()
				with(conn)
			}()
		}
	}()
}

// genuine returns a registry by URL that behaves, with or without the referrers API, and counts requests by
// "METHOD path".
func genuine(t testing.TB, referrers bool) (*Registry, *counter) {
	t.Helper()
	inner := ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)), ggcr.WithReferrersSupport(referrers))
	count := &counter{}
	return behind(t, func(w http.ResponseWriter, r *http.Request) {
		count.add(r.Method + " " + r.URL.Path)
		inner.ServeHTTP(w, r)
	}), count
}

// lax returns a registry by URL that keeps any manifest under any name, whatever it refers to, and has no referrers API.
func lax(t testing.TB) *Registry {
	t.Helper()
	type kept struct {
		mediaType string
		raw       []byte
	}
	var mu sync.Mutex
	all := map[string]kept{}
	return behind(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if r.Method == http.MethodPut {
			raw, _ := io.ReadAll(r.Body)
			all[r.URL.Path] = kept{r.Header.Get("Content-Type"), raw}
			w.WriteHeader(http.StatusCreated)
			return
		}
		one, ok := all[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", one.mediaType)
		w.Write(one.raw)
	})
}

func embedded(t testing.TB) *Registry {
	t.Helper()
	r, err := NewEmbedded("local", "", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

type counter struct {
	mu   sync.Mutex
	seen []string
}

func (c *counter) add(s string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen = append(c.seen, s)
}

func (c *counter) list() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.seen...)
}

func (c *counter) count(part string) int {
	n := 0
	for _, s := range c.list() {
		if strings.Contains(s, part) {
			n++
		}
	}
	return n
}

// canary is a credential that must reach nobody but its own registry.
const (
	canaryUser     = "canary-user"
	canaryPassword = "canary-password"
)

var canaryAccount = authn.AuthConfig{Username: canaryUser, Password: canaryPassword}

func withCanary(o *Options) { o.Credentials = StaticCredentials(canaryUser, canaryPassword) }

// stranger is a second listener, which fails the test when it is sent a credential.
func stranger(t testing.TB, handler http.HandlerFunc) (server *httptest.Server, visits *counter) {
	visits = &counter{}
	return serve(t, refuseCredentials(t, visits, handler)), visits
}

func refuseCredentials(t testing.TB, visits *counter, handler http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		visits.add(r.Method + " " + r.URL.Path)
		body, _ := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		sent := fmt.Sprint(r.Header, r.URL, string(body))
		if r.Header.Get("Authorization") != "" || strings.Contains(sent, "canary") || r.Header.Get("Cookie") != "" {
			t.Errorf("a stranger was sent a credential: %s", sent)
		}
		handler(w, r)
	})
}

func blob(content string) (ocispec.Descriptor, []byte) {
	raw := []byte(content)
	return ocispec.Descriptor{MediaType: "application/octet-stream", Digest: digest.FromBytes(raw), Size: int64(len(raw))}, raw
}

// image makes a small manifest, whose config and layer it pushes. With a subject it is a referrer.
func image(t testing.TB, r *Registry, repo, content string, subject *ocispec.Descriptor) (ocispec.Descriptor, []byte) {
	t.Helper()
	config, rawConfig := blob("{}")
	config.MediaType = ocispec.MediaTypeImageConfig
	layer, rawLayer := blob(content)
	for d, raw := range map[*ocispec.Descriptor][]byte{&config: rawConfig, &layer: rawLayer} {
		if err := r.PutBlob(t.Context(), repo, *d, raw); err != nil {
			t.Fatal(err)
		}
	}
	return document(t, ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: config, Layers: []ocispec.Descriptor{layer}, Subject: subject,
	})
}

// push pushes an image under its digest.
func push(t testing.TB, r *Registry, repo, content string, subject *ocispec.Descriptor) ocispec.Descriptor {
	t.Helper()
	d, raw := image(t, r, repo, content, subject)
	if err := r.PutManifest(t.Context(), repo, d.Digest.String(), d.MediaType, raw); err != nil {
		t.Fatal(err)
	}
	return d
}

func document(t testing.TB, v any) (ocispec.Descriptor, []byte) {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var kind struct {
		MediaType string `json:"mediaType"`
	}
	if err := json.Unmarshal(raw, &kind); err != nil {
		t.Fatal(err)
	}
	return ocispec.Descriptor{MediaType: kind.MediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw))}, raw
}

// indexOf writes an OCI index of n made-up entries, the first of which has the number from.
func indexOf(from, n int) []byte {
	var b bytes.Buffer
	b.WriteString(`{"schemaVersion":2,"mediaType":"` + ocispec.MediaTypeImageIndex + `","manifests":[`)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		sum := sha256.Sum256(fmt.Append(nil, from+i))
		fmt.Fprintf(&b, `{"mediaType":"%s","digest":"sha256:%s","size":7}`, ocispec.MediaTypeImageManifest, hex.EncodeToString(sum[:]))
	}
	b.WriteString(`]}`)
	return b.Bytes()
}

var (
	someDigest  = digest.FromString("something")
	someBlob    = "/v2/app/blobs/" + someDigest.String()
	emptyImage  = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.empty.v1+json","digest":"` + digest.FromString("{}").String() + `","size":2},"layers":[]}`
	emptyDigest = digest.FromString(emptyImage)
)

func get(path string) Request { return Request{Method: http.MethodGet, Path: path} }

// mustFail says which part of an error's text the case is about.
func mustFail(t *testing.T, err error, part string) {
	t.Helper()
	if err == nil {
		t.Fatalf("got no error, want one about %q", part)
	}
	if !strings.Contains(err.Error(), part) {
		t.Fatalf("got the error %q, want one about %q", err, part)
	}
}

// isNotFound asks as packages do that cannot name ErrNotFound.
func isNotFound(err error) bool {
	var absent interface{ NotFound() bool }
	return errors.As(err, &absent) && absent.NotFound()
}
