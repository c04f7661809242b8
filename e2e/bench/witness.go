package main

import (
	"context"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// A witness stands in front of a registry and remembers what it was asked. Like a registry far away it lets every request
// wait.
type witness struct {
	address string
	server  *http.Server

	busy     sync.WaitGroup // requests under way
	mu       sync.Mutex     // guards what follows
	requests []sighting
}

type sighting struct {
	method, path string
	start, end   time.Time
}

func newWitness(ctx context.Context, target string, latency time.Duration) (*witness, error) {
	to, err := url.Parse(target)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	w := &witness{address: listener.Addr().String()}
	forward := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(to) },
		Transport: &http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true},
	}
	w.server = &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.busy.Add(1)
		defer w.busy.Done()
		seen := sighting{method: r.Method, path: r.URL.Path, start: time.Now()}
		select {
		case <-time.After(latency):
		case <-r.Context().Done():
		}
		forward.ServeHTTP(rw, r)
		seen.end = time.Now()
		w.mu.Lock()
		defer w.mu.Unlock()
		w.requests = append(w.requests, seen)
	})}
	go func() { _ = w.server.Serve(listener) }()
	context.AfterFunc(ctx, w.stop)
	return w, nil
}

func (w *witness) stop() { w.server.Close() }

// take returns what was seen since it was last asked. Nobody may send anything meanwhile.
func (w *witness) take() []sighting {
	w.busy.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	seen := w.requests
	w.requests = nil
	return seen
}

// evidenceOf are the requests that were not for the manifest itself and not for permission to ask.
func evidenceOf(seen []sighting, digest string) []sighting {
	return slices.DeleteFunc(slices.Clone(seen), func(s sighting) bool {
		return s.path == "/v2/" || strings.HasSuffix(s.path, "/manifests/"+digest)
	})
}

// rounds is how many requests came one after another: the longest chain of those that did not overlap. Requests that run
// side by side take one round trip together.
func rounds(seen []sighting) int {
	sorted := slices.SortedFunc(slices.Values(seen), func(a, b sighting) int { return a.end.Compare(b.end) })
	n := 0
	var last time.Time
	for _, s := range sorted {
		if !s.start.Before(last) {
			n++
			last = s.end
		}
	}
	return n
}
