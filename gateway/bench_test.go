package gateway_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/opencontainers/go-digest"
)

// nowhere takes an answer and keeps nothing.
type nowhere struct {
	header http.Header
	status int
}

func (w *nowhere) Header() http.Header         { return w.header }
func (w *nowhere) WriteHeader(status int)      { w.status = status }
func (w *nowhere) Write(b []byte) (int, error) { return len(b), nil }

// BenchmarkPullWarm is a verified manifest by digest with its decision recorded: everything but the network.
func BenchmarkPullWarm(b *testing.B) {
	r := newRig(b)
	im := newImage("65532", "x")
	r.push("acme/app", "v1", im)
	request := httptest.NewRequest("GET", "/v2/acme/app/manifests/"+im.digest.String(), nil)
	b.ReportAllocs()
	for b.Loop() {
		w := &nowhere{header: http.Header{}}
		if r.gateway.ServeHTTP(w, request); w.status != http.StatusOK {
			b.Fatalf("status %d", w.status)
		}
	}
}

// BenchmarkPullByTag has the registry resolve the tag each time.
func BenchmarkPullByTag(b *testing.B) {
	r := newRig(b)
	r.push("acme/app", "v1", newImage("65532", "x"))
	request := httptest.NewRequest("GET", "/v2/acme/app/manifests/v1", nil)
	b.ReportAllocs()
	for b.Loop() {
		w := &nowhere{header: http.Header{}}
		if r.gateway.ServeHTTP(w, request); w.status != http.StatusOK {
			b.Fatalf("status %d", w.status)
		}
	}
}

// BenchmarkPullBlob streams 16 MiB from the embedded registry.
func BenchmarkPullBlob(b *testing.B) {
	r := newRig(b)
	content := string(make([]byte, 16<<20))
	r.push("acme/app", "v1", newImage("65532", content))
	request := httptest.NewRequest("GET", "/v2/acme/app/blobs/"+digest.FromString(content).String(), nil)
	b.SetBytes(16 << 20)
	b.ReportAllocs()
	for b.Loop() {
		w := &nowhere{header: http.Header{}}
		if r.gateway.ServeHTTP(w, request); w.status != http.StatusOK {
			b.Fatalf("status %d", w.status)
		}
	}
}
