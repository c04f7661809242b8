package upstream

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func index(w http.ResponseWriter, raw []byte) {
	w.Header().Set("Content-Type", ocispec.MediaTypeImageIndex)
	w.Write(raw)
}

func TestReferrersOfARegistryThatHasTheAPI(t *testing.T) {
	r, count := genuine(t, true)
	subject := push(t, r, "app", "subject", nil)
	list, supported, err := r.Referrers(t.Context(), "app", subject.Digest)
	if err != nil || !supported || len(list) != 0 {
		t.Fatalf("of none: got %v, %v, %v", list, supported, err)
	}
	one := push(t, r, "app", "referrer", &subject)
	list, supported, err = r.Referrers(t.Context(), "app", subject.Digest)
	if err != nil || !supported || len(list) != 1 || list[0].Digest != one.Digest {
		t.Errorf("of one: got %v, %v, %v", list, supported, err)
	}
	if n := count.count("/referrers/"); n != 2 {
		t.Errorf("%d requests, want 2", n)
	}
}

func TestThreat054_ARegistryWithoutTheAPIIsAskedOnce(t *testing.T) {
	r, count := genuine(t, false)
	for range 3 {
		list, supported, err := r.Referrers(t.Context(), "app", someDigest)
		if list != nil || supported || err != nil {
			t.Errorf("got %v, %v, %v, want an API that is missing", list, supported, err)
		}
	}
	if n := count.count("/referrers/"); n != 1 {
		t.Errorf("%d requests, want 1", n)
	}
	r.referrers.until.Store(0) // minutes later
	if _, _, err := r.Referrers(t.Context(), "app", someDigest); err != nil || count.count("/referrers/") != 2 {
		t.Errorf("later: %v, %d requests, want it to be asked again", err, count.count("/referrers/"))
	}
}

func TestAnUnknownRepositorySaysNothingAboutTheAPI(t *testing.T) {
	requests := 0
	r := behind(t, func(w http.ResponseWriter, _ *http.Request) {
		requests++
		w.WriteHeader(http.StatusNotFound)
		io.WriteString(w, `{"errors":[{"code":"NAME_UNKNOWN","message":"x"}]}`)
	})
	for range 2 {
		if list, supported, err := r.Referrers(t.Context(), "app", someDigest); list != nil || supported || err != nil {
			t.Errorf("got %v, %v, %v", list, supported, err)
		}
	}
	if requests != 2 {
		t.Errorf("%d requests, want 2", requests)
	}
}

func TestThreat054_WhatIsNoListIsUnknown(t *testing.T) {
	broken := func(answer string) func(t *testing.T) *Registry {
		return func(t *testing.T) *Registry { return raw(t, func(c net.Conn) { io.WriteString(c, answer) }) }
	}
	answering := func(status int, mediaType, body string) func(t *testing.T) *Registry {
		return func(t *testing.T) *Registry {
			return behind(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", mediaType)
				w.WriteHeader(status)
				io.WriteString(w, body)
			})
		}
	}
	const list = ocispec.MediaTypeImageIndex
	for name, registry := range map[string]func(t *testing.T) *Registry{
		"401":                     answering(401, "text/plain", ""),
		"403":                     answering(403, "text/plain", ""),
		"400":                     answering(400, "text/plain", ""),
		"405":                     answering(405, "text/plain", ""),
		"429":                     answering(429, "text/plain", ""),
		"500":                     answering(500, "text/plain", ""),
		"503":                     answering(503, "text/plain", ""),
		"a redirect":              answering(302, "text/plain", ""),
		"no content":              answering(204, "text/plain", ""),
		"a page with status 200":  answering(200, "text/html", "<html>please log in</html>"),
		"a page that says index":  answering(200, list, "<html>please log in</html>"),
		"an image":                answering(200, ocispec.MediaTypeImageManifest, emptyImage),
		"an index as JSON":        answering(200, "application/json", string(indexOf(0, 1))),
		"null":                    answering(200, list, "null"),
		"nothing":                 answering(200, list, ""),
		"no manifests":            answering(200, list, `{"schemaVersion":2}`),
		"two lists":               answering(200, list, `{"schemaVersion":2,"manifests":[],"manifests":[]}`),
		"a digest that is a path": answering(200, list, `{"schemaVersion":2,"manifests":[{"mediaType":"x","digest":"sha256:../../x","size":1}]}`),
		"half a list":             broken("HTTP/1.1 200 OK\r\nContent-Type: " + list + "\r\nContent-Length: 1000\r\n\r\n" + string(indexOf(0, 1))),
		"half a chunked list":     broken("HTTP/1.1 200 OK\r\nContent-Type: " + list + "\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n{\"schemaVersion\"\r\n"),
		"a closed connection":     broken(""),
		"a list too long":         answering(200, list, string(indexOf(0, maxReferrers+1))),
		"bytes without end":       answering(200, list, strings.Repeat(" ", maxManifest+1)),
	} {
		t.Run(name, func(t *testing.T) {
			r := registry(t)
			got, supported, err := r.Referrers(t.Context(), "app", someDigest)
			if err == nil || got != nil || supported || isNotFound(err) {
				t.Errorf("got %d entries, %v, %v, want an error that is no absence", len(got), supported, err)
			}
			if r.referrers.lacking() {
				t.Error("the API is taken for missing")
			}
		})
	}
}

func TestReferrersFollowsPages(t *testing.T) {
	r := behind(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.RawQuery {
		case "":
			w.Header().Set("Link", `<`+r.URL.Path+`?page=2>; rel="next"`)
			index(w, indexOf(0, 2))
		case "page=2":
			w.Header().Set("Link", `<http://`+r.Host+r.URL.Path+`?page=3>; rel="next"`)
			index(w, indexOf(2, 2))
		case "page=3":
			index(w, indexOf(4, 1))
		}
	})
	list, supported, err := r.Referrers(t.Context(), "app", someDigest)
	if err != nil || !supported || len(list) != 5 {
		t.Errorf("got %d entries, %v, %v, want 5", len(list), supported, err)
	}
}

func TestThreat055_PagesThatLeadAstray(t *testing.T) {
	evil, visits := stranger(t, func(http.ResponseWriter, *http.Request) {})
	for name, tt := range map[string]struct {
		page func(w http.ResponseWriter, r *http.Request, page int)
		part string
	}{
		"to the same page": {func(w http.ResponseWriter, r *http.Request, _ int) {
			w.Header().Set("Link", `<`+r.URL.Path+`>; rel="next"`)
			index(w, indexOf(0, 1))
		}, "leads back"},
		"in a circle": {func(w http.ResponseWriter, r *http.Request, page int) {
			w.Header().Set("Link", fmt.Sprintf(`<%s?page=%d>; rel="next"`, r.URL.Path, page%2))
			index(w, indexOf(page, 1))
		}, "leads back"},
		"on without end": {func(w http.ResponseWriter, r *http.Request, page int) {
			w.Header().Set("Link", fmt.Sprintf(`<%s?page=%d>; rel="next"`, r.URL.Path, page))
			index(w, indexOf(page, 1))
		}, "more than 20 pages"},
		"on without progress": {func(w http.ResponseWriter, r *http.Request, page int) {
			w.Header().Set("Link", fmt.Sprintf(`<%s?page=%d>; rel="next"`, r.URL.Path, page))
			index(w, indexOf(0, 0))
		}, "is empty and leads on"},
		"to too many": {func(w http.ResponseWriter, r *http.Request, page int) {
			w.Header().Set("Link", fmt.Sprintf(`<%s?page=%d>; rel="next"`, r.URL.Path, page))
			index(w, indexOf(page*400, 400))
		}, "more than 1000 referrers"},
		"to too much": {func(w http.ResponseWriter, r *http.Request, page int) {
			w.Header().Set("Link", fmt.Sprintf(`<%s?page=%d>; rel="next"`, r.URL.Path, page))
			index(w, append(indexOf(page, 1), bytes.Repeat([]byte(" "), maxReferrerBytes/3)...))
		}, "or 8388608 bytes"},
		"to another host": {func(w http.ResponseWriter, _ *http.Request, _ int) {
			w.Header().Set("Link", `<`+evil.URL+`/v2/x>; rel="next"`)
			index(w, indexOf(0, 1))
		}, "another origin"},
		"nowhere": {func(w http.ResponseWriter, _ *http.Request, _ int) {
			w.Header().Set("Link", `nonsense`)
			index(w, indexOf(0, 1))
		}, "no next page"},
		"to a page that is not there": {func(w http.ResponseWriter, r *http.Request, page int) {
			if page > 1 {
				http.NotFound(w, r)
				return
			}
			w.Header().Set("Link", `<?page=2>; rel="next"`)
			index(w, indexOf(0, 1))
		}, "page 2: "},
		"to a throttled page": {func(w http.ResponseWriter, _ *http.Request, page int) {
			if page > 1 {
				w.WriteHeader(http.StatusTooManyRequests)
				return
			}
			w.Header().Set("Link", `<?page=2>; rel="next"`)
			index(w, indexOf(0, 1))
		}, "page 2: "},
	} {
		t.Run(name, func(t *testing.T) {
			page := 0
			r := behind(t, func(w http.ResponseWriter, r *http.Request) {
				page++
				tt.page(w, r, page)
			}, withCanary)
			list, supported, err := r.Referrers(t.Context(), "app", someDigest)
			mustFail(t, err, tt.part)
			if list != nil || supported || isNotFound(err) || errors.Is(err, ErrNotFound) {
				t.Errorf("got %d entries, %v, %v", len(list), supported, err)
			}
			if page > maxReferrerPages {
				t.Errorf("%d pages were read", page)
			}
		})
	}
	if n := len(visits.list()); n != 0 {
		t.Errorf("the other host was visited %d times", n)
	}
}

func TestThreat057_AListIsAskedForWithoutAFilter(t *testing.T) {
	r := behind(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery != "" {
			t.Errorf("asked with %s", r.URL.RawQuery)
		}
		index(w, indexOf(0, 0))
	})
	if _, _, err := r.Referrers(t.Context(), "app", someDigest); err != nil {
		t.Error(err)
	}
}

func TestTheEmbeddedRegistryIsNeverAskedForReferrers(t *testing.T) {
	r := embedded(t)
	r.reads = nowhere{}
	if list, supported, err := r.Referrers(t.Context(), "app", someDigest); list != nil || supported || err != nil {
		t.Errorf("got %v, %v, %v", list, supported, err)
	}
}
