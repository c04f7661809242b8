package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// The figures are for people to read; these tests are of the instruments.

func TestRoundsCountsWhatCameOneAfterAnother(t *testing.T) {
	at := func(start, end int) sighting {
		return sighting{start: time.UnixMilli(int64(start)), end: time.UnixMilli(int64(end))}
	}
	for name, c := range map[string]struct {
		seen []sighting
		want int
	}{
		"none":                          {nil, 0},
		"one":                           {[]sighting{at(0, 20)}, 1},
		"two side by side":              {[]sighting{at(0, 20), at(1, 22)}, 1},
		"one after another":             {[]sighting{at(0, 20), at(20, 40), at(41, 60)}, 3},
		"two, then two":                 {[]sighting{at(0, 20), at(2, 21), at(22, 41), at(23, 45)}, 2},
		"a slow one beside two":         {[]sighting{at(0, 60), at(1, 20), at(21, 40)}, 2},
		"in the order of their endings": {[]sighting{at(41, 60), at(0, 20), at(20, 40)}, 3},
	} {
		if got := rounds(c.seen); got != c.want {
			t.Errorf("%s: got %d, want %d", name, got, c.want)
		}
	}
}

func TestTheWitnessSeesEveryRequest(t *testing.T) {
	registry := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, r.URL.Path, http.StatusTeapot)
	}))
	defer registry.Close()
	w, err := newWitness(t.Context(), registry.URL, time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	defer w.stop()

	var all sync.WaitGroup
	for _, path := range []string{"/v2/", "/v2/a/manifests/sha256:1", "/v2/a/manifests/sha256-1.sig", "/v2/a/manifests/sha256-1.sig", "/v2/a/blobs/sha256:2"} {
		all.Go(func() {
			response, err := http.Get("http://" + w.address + path)
			if err != nil {
				t.Error(err)
				return
			}
			response.Body.Close()
			if response.StatusCode != http.StatusTeapot {
				t.Errorf("%s: status %d, want the registry's", path, response.StatusCode)
			}
		})
	}
	all.Wait()

	seen := w.take()
	if evidence := evidenceOf(seen, "sha256:1"); len(seen) != 5 || len(evidence) != 3 || mostRepeated(evidence) != 2 {
		t.Errorf("saw %d requests, %d of them for evidence, one %d times; want 5, 3, 2", len(seen), len(evidence), mostRepeated(evidence))
	}
	if again := w.take(); len(again) != 0 {
		t.Errorf("saw them twice: %v", again)
	}
}

func TestLoadSendsWhatItSaysAndFailsOnARefusal(t *testing.T) {
	var mu sync.Mutex
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		asked++
		if r.URL.Path != "/ok" {
			http.Error(w, "DENIED", http.StatusForbidden)
			return
		}
		_, _ = w.Write(make([]byte, 100))
	}))
	defer server.Close()
	address := strings.TrimPrefix(server.URL, "http://")

	if n, err := load(t.Context(), address, "/ok", 3, 50); n != 5000 || err != nil || asked != 50 {
		t.Errorf("got %d bytes of %d answers and %v, want 5000 of 50", n, asked, err)
	}
	if _, err := load(t.Context(), address, "/refused", 3, 50); err == nil || !strings.Contains(err.Error(), "DENIED") {
		t.Errorf("got %v, want the refusal", err)
	}
}
