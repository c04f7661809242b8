package gateway_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/gateway/ledger"
	"github.com/sealgate/sealgate/gateway/upstream"
	"github.com/sealgate/sealgate/policy"
)

// canary is what must never reach a client.
const canary = "internal-host.corp token=s3cret"

// open admits everything, so that only the content stands between a client and an upstream's bytes.
func open() policy.Document {
	return policy.Document{
		Name: "open", Repositories: []string{"**"},
		Pull: &policy.PullDocument{AdmitUnverified: true}, Push: &policy.PushDocument{AcceptUnsealed: true},
	}
}

// newRigBeforeHandler is a gateway before an upstream of the test's own making.
func newRigBeforeHandler(t *testing.T, h http.HandlerFunc, docs ...policy.Document) *rig {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	origin, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	registry, err := upstream.New(upstream.Options{Name: "hostile", URL: origin})
	if err != nil {
		t.Fatal(err)
	}
	return newRigBefore(t, registry, docs...)
}

func serveManifest(w http.ResponseWriter, raw []byte) {
	w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
	w.Write(raw)
}

func TestHostileManifestsAreNeverServed(t *testing.T) {
	im, other := newImage("65532", "x"), newImage("65532", "y")
	text := string(im.manifest)
	for name, serve := range map[string]http.HandlerFunc{
		"Threat004 a digest header of other bytes": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Docker-Content-Digest", other.digest.String())
			serveManifest(w, im.manifest)
		},
		"Threat007 other bytes": func(w http.ResponseWriter, r *http.Request) { serveManifest(w, other.manifest) },
		"Threat010 gzip": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
			z := gzip.NewWriter(w)
			z.Write(im.manifest)
			z.Close()
		},
		"Threat011 another type": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", ocispec.MediaTypeImageIndex)
			w.Write(im.manifest)
		},
		"Threat028 nothing": func(w http.ResponseWriter, r *http.Request) { serveManifest(w, nil) },
		"Threat027 an endless stream": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
			block := bytes.Repeat([]byte(" "), 1<<20)
			for range 64 {
				if _, err := w.Write(block); err != nil {
					return
				}
			}
		},
		"Threat039 not modified": func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusNotModified) },
		"Threat040 a short body": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", ocispec.MediaTypeImageManifest)
			w.Header().Set("Content-Length", fmt.Sprint(len(text)+10))
			w.Write(im.manifest)
		},
		"Threat106 a redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://169.254.169.254/latest", http.StatusTemporaryRedirect)
		},
		"Threat115 an error with secrets": func(w http.ResponseWriter, r *http.Request) {
			http.Error(w, `{"errors":[{"code":"UNKNOWN","message":"`+canary+`"}]}`, http.StatusInternalServerError)
		},
		"an HTML page": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprint(w, "<html>"+canary)
		},
		"a refusal of our own credentials": func(w http.ResponseWriter, r *http.Request) {
			http.Error(w, canary, http.StatusForbidden)
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRigBeforeHandler(t, func(w http.ResponseWriter, q *http.Request) {
				if q.URL.Path != "/v2/" {
					serve(w, q)
				}
			}, open())
			for _, reference := range []string{"v1", im.digest.String()} {
				if reference == "v1" && strings.HasPrefix(name, "Threat007") {
					continue // for a tag, what comes is what the tag names
				}
				a := r.send("GET", "/v2/a/manifests/"+reference, nil)
				if a.status != http.StatusBadGateway {
					t.Errorf("%s: got %d %s, want 502", reference, a.status, a.body)
				}
				if strings.Contains(string(a.body)+fmt.Sprint(a.header), "corp") || bytes.Contains(a.body, im.manifest) {
					t.Errorf("%s: the answer shows what the upstream said: %s", reference, a.body)
				}
			}
		})
	}
}

func TestThreat001_WhatWasJudgedIsWhatIsServedThoughTheTagMoves(t *testing.T) {
	images := []image{newImage("65532", "first"), newImage("65532", "second")}
	var asked atomic.Int32
	r := newRigBeforeHandler(t, func(w http.ResponseWriter, q *http.Request) {
		if strings.Contains(q.URL.Path, "/manifests/v1") {
			serveManifest(w, images[int(asked.Add(1)-1)%2].manifest)
		}
	}, open())
	for range 4 {
		before := asked.Load()
		a := r.want(http.StatusOK, "GET", "/v2/a/manifests/v1", nil)
		if got := digest.FromBytes(a.body).String(); got != a.header.Get("Docker-Content-Digest") {
			t.Errorf("the bytes are of %s, the header says %s", got, a.header.Get("Docker-Content-Digest"))
		}
		if asked.Load() != before+1 {
			t.Errorf("the tag was resolved %d times", asked.Load()-before)
		}
	}
}

func TestThreat005_AMissingDigestHeaderIsComputed(t *testing.T) {
	im := newImage("65532", "x")
	r := newRigBeforeHandler(t, func(w http.ResponseWriter, q *http.Request) { serveManifest(w, im.manifest) }, open())
	a := r.want(http.StatusOK, "HEAD", "/v2/a/manifests/v1", nil)
	if got := a.header.Get("Docker-Content-Digest"); got != im.digest.String() {
		t.Errorf("got %q", got)
	}
}

func TestThreat054_AListingThatFailsIsUndecidedNotUnsigned(t *testing.T) {
	im := newImage("65532", "x")
	for name, fail := range map[string]http.HandlerFunc{
		"throttled":    func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTooManyRequests) },
		"failing":      func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		"unauthorized": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) },
		"an HTML page": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") },
		"broken off":   func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRigBeforeHandler(t, func(w http.ResponseWriter, q *http.Request) {
				switch {
				case q.URL.Path == "/v2/":
				case strings.HasSuffix(q.URL.Path, "/manifests/v1"):
					serveManifest(w, im.manifest)
				default: // all evidence
					fail(w, q)
				}
			}, sealing())
			a := r.want(http.StatusServiceUnavailable, "GET", "/v2/a/manifests/v1", nil)
			if a.header.Get("Retry-After") == "" || !strings.HasPrefix(a.message(), "UNAVAILABLE") {
				t.Errorf("got %v %s", a.header, a.body)
			}
			d := r.recorded()
			if len(d) != 1 || d[0].Outcome != ledger.Undecided || d[0].Cause == "" {
				t.Errorf("the record: %+v", d)
			}
			r.want(http.StatusServiceUnavailable, "HEAD", "/v2/a/manifests/v1", nil)
		})
	}
}

func TestThreat035_136_AShortBlobEndsTheConnectionNotTheBody(t *testing.T) {
	content := bytes.Repeat([]byte("x"), 8<<20)
	r := newRigBeforeHandler(t, func(w http.ResponseWriter, q *http.Request) {
		if q.URL.Path == "/v2/" {
			return
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(content)))
		w.Write(content[:len(content)/2])
	}, open())
	response, err := http.Get(r.url + "/v2/a/blobs/" + digest.FromBytes(content).String())
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var got bytes.Buffer
	if _, err := got.ReadFrom(response.Body); err == nil {
		t.Errorf("half of the blob, %d bytes, ended like the whole", got.Len())
	}
}

func TestThreat041_OnlyKnownHeadersPass(t *testing.T) {
	r := newRigBeforeHandler(t, func(w http.ResponseWriter, q *http.Request) {
		for _, name := range []string{"Set-Cookie", "Location", "X-Internal", "Www-Authenticate", "Server", "Refresh"} {
			w.Header().Set(name, canary)
		}
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, "<script>")
	}, open())
	a := r.want(http.StatusOK, "GET", "/v2/a/blobs/"+digest.FromString("<script>").String(), nil)
	if strings.Contains(fmt.Sprint(a.header), "corp") || a.header.Get("Content-Type") != "application/octet-stream" {
		t.Errorf("headers: %v", a.header)
	}
}

func TestThreat096_099_109_TheClientsHeadersAndCredentialsStayHere(t *testing.T) {
	var seen sync.Map
	r := newRigBeforeHandler(t, func(w http.ResponseWriter, q *http.Request) {
		for name, values := range q.Header {
			seen.Store(name+": "+strings.Join(values, ","), q.URL.Path)
		}
		w.WriteHeader(http.StatusNotFound)
	}, open())
	headers := []string{
		"Authorization", "Basic " + canary, "Cookie", canary, "X-Forwarded-Host", canary, "X-Original-Url", canary,
		"X-Http-Method-Override", "DELETE", "Proxy-Authorization", canary, "Connection", "Authorization, close",
	}
	r.send("GET", "/v2/a/manifests/v1", nil, headers...)
	r.send("GET", "/v2/a/blobs/"+digest.FromString("x").String(), nil, headers...)
	r.send("POST", "/v2/a/blobs/uploads/", nil, headers...)
	seen.Range(func(line, path any) bool {
		if strings.Contains(line.(string), "corp") || strings.Contains(line.(string), "Override") {
			t.Errorf("%s got %s", path, line)
		}
		return true
	})
}

func TestThreat108_AnUploadThatContinuesElsewhereIsRefused(t *testing.T) {
	for _, location := range []string{"http://evil.test/upload", "//evil.test/upload", "file:///etc/passwd", "", "http://127.0.0.1:1/x"} {
		r := newRigBeforeHandler(t, func(w http.ResponseWriter, q *http.Request) {
			w.Header().Set("Location", location)
			w.WriteHeader(http.StatusAccepted)
		}, open())
		if a := r.send("POST", "/v2/a/blobs/uploads/", nil); a.status != http.StatusBadGateway || a.header.Get("Location") != "" {
			t.Errorf("Location %q: got %d %v", location, a.status, a.header)
		}
	}
}

func TestThreat090_APanicAdmitsNothing(t *testing.T) {
	r := newRig(t)
	im := newImage("65532", "x")
	r.push("a", "v1", im)
	r.panicking()
	a := r.want(http.StatusInternalServerError, "GET", "/v2/a/manifests/v1", nil)
	if bytes.Contains(a.body, []byte("layers")) {
		t.Errorf("got %s", a.body)
	}
	r.enforce(r.key)
	r.want(http.StatusOK, "GET", "/v2/a/manifests/v1", nil)
}

func TestThreat133_ADecisionThatCannotBeRecordedIsNotTaken(t *testing.T) {
	r := newRig(t)
	r.push("a", "v1", newImage("65532", "x"))
	r.loseLedger()
	r.want(http.StatusServiceUnavailable, "GET", "/v2/a/manifests/v1", nil)
	r.want(http.StatusServiceUnavailable, "HEAD", "/v2/a/manifests/v1", nil)
	if a := r.push("a", "v2", newImage("65532", "y")); a.status != http.StatusServiceUnavailable {
		t.Errorf("a push: got %d", a.status)
	}
}

func TestThreat095_ANamespaceIsAConfiguredNameOrNothing(t *testing.T) {
	r := newRig(t)
	r.push("a", "v1", newImage("65532", "x"))
	r.want(http.StatusOK, "GET", "/v2/a/manifests/v1?ns=local", nil)
	for _, ns := range []string{"169.254.169.254", "localhost:22", "LOCAL", "local%00", "loc%61l%2F..", ""} {
		if ns == "" {
			continue
		}
		r.want(http.StatusBadRequest, "GET", "/v2/a/manifests/v1?ns="+ns, nil)
	}
	r.want(http.StatusBadRequest, "GET", "/v2/a/manifests/v1?ns=local&ns=local", nil)
}

func TestThreat160_DeletesAreOffUnlessConfigured(t *testing.T) {
	r := newRig(t)
	im := newImage("65532", "x")
	r.push("a", "v1", im)
	closed := r.withoutDelete()
	for _, path := range []string{"manifests/v1", "manifests/" + im.digest.String(), "blobs/" + digest.FromBytes(im.blobs[0]).String()} {
		closed.want(http.StatusMethodNotAllowed, "DELETE", "/v2/a/"+path, nil)
	}
	closed.want(http.StatusOK, "GET", "/v2/a/manifests/v1", nil)
}

func TestThreat131_AThousandClientsOfOneColdImageAskTheRegistryOnce(t *testing.T) {
	inner := newRig(t)
	im := newImage("65532", "x")
	inner.push("a", "v1", im)
	var manifests, evidence atomic.Int32
	r := newRigBeforeHandler(t, func(w http.ResponseWriter, q *http.Request) {
		switch {
		case strings.HasSuffix(q.URL.Path, "/manifests/"+im.digest.String()):
			manifests.Add(1)
		case q.URL.Path != "/v2/":
			evidence.Add(1)
		}
		inner.gateway.ServeHTTP(w, q)
	}, sealing())
	r.enforce(inner.key)
	var wg sync.WaitGroup
	for range 1000 {
		wg.Go(func() {
			w := httptest.NewRecorder()
			r.gateway.ServeHTTP(w, httptest.NewRequest("GET", "/v2/a/manifests/"+im.digest.String(), nil))
			if w.Code != http.StatusOK {
				t.Errorf("got %d %s", w.Code, w.Body)
			}
		})
	}
	wg.Wait()
	// Tag and bundle: the fallback list, the .sig, its payload, the bundle's manifest and blob; and whether there is an API.
	if manifests.Load() != 1 || evidence.Load() > 6 {
		t.Errorf("the registry was asked %d times for the manifest and %d times for evidence", manifests.Load(), evidence.Load())
	}
}
