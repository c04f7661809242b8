package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
)

func TestNewAcceptsOriginsAlone(t *testing.T) {
	for raw, want := range map[string]string{
		"https://registry.acme.dev":        "",
		"https://registry.acme.dev/":       "",
		"http://127.0.0.1:5000":            "",
		"https://registry.acme.dev/mirror": "no path",
		"https://registry.acme.dev/?x=y":   "no path, query",
		"https://registry.acme.dev/#x":     "no path, query or fragment",
		"https://me:secret@registry.acme":  "credentials do not belong",
		"ftp://registry.acme.dev":          "must be https or http",
		"https:registry.acme.dev":          "names no host",
		"https://":                         "names no host",
	} {
		u, err := url.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		_, err = New(Options{Name: "acme", Prefix: "acme/", URL: u})
		if want == "" && err != nil {
			t.Errorf("%s: %v", raw, err)
		}
		if want != "" && (err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret")) {
			t.Errorf("%s: got the error %v, want one about %q that holds no secret", raw, err, want)
		}
	}
	_, err := New(Options{Name: "acme", URL: nil})
	mustFail(t, err, "no URL")
	_, err = New(Options{Name: "acme", Prefix: "acme", URL: &url.URL{Scheme: "https", Host: "acme.dev"}})
	mustFail(t, err, "ends in a slash")
	_, err = New(Options{Name: "acme", Prefix: "../", URL: &url.URL{Scheme: "https", Host: "acme.dev"}})
	mustFail(t, err, "ends in a slash")
}

func TestThreat109_OfAClientsHeadersOnlyTheHarmlessGoUpstream(t *testing.T) {
	var got http.Header
	r := behind(t, func(w http.ResponseWriter, r *http.Request) { got = r.Header.Clone() })
	q := get("/v2/app/manifests/v1")
	q.Header = http.Header{
		"Authorization": {"Bearer client"}, "Cookie": {"session=client"}, "Proxy-Authorization": {"client"}, "X-Forwarded-For": {"client"},
		"Connection": {"Accept"}, "Accept-Encoding": {"gzip"}, "Accept": {"a/b"}, "Range": {"bytes=0-1"},
	}
	resp, err := r.Do(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	want := map[string]string{"Accept": "a/b", "Range": "bytes=0-1", "Accept-Encoding": "identity", "User-Agent": "sealgate"}
	for name, value := range want {
		if got.Get(name) != value {
			t.Errorf("%s: got %q, want %q", name, got.Get(name), value)
		}
		got.Del(name)
	}
	if len(got) != 0 {
		t.Errorf("these went upstream as well: %v", got)
	}
}

func TestThreat041_OnlyUsefulHeadersOfAnAnswerStay(t *testing.T) {
	r := behind(t, func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h.Set("Set-Cookie", "a=b")
		h.Set("Location", "https://elsewhere.example/")
		h.Set("Www-Authenticate", "Basic")
		h.Set("X-Internal", "secret")
		h.Set("Trailer", "Docker-Content-Digest")
		h.Set("Content-Type", "application/json")
		io.WriteString(w, "{}")
		h.Set("Docker-Content-Digest", someDigest.String())
	})
	resp, err := r.Do(t.Context(), get("/v2/app/manifests/v1"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.ReadAll(resp.Body); err != nil {
		t.Fatal(err)
	}
	if len(resp.Header) != 1 || resp.Header.Get("Content-Type") != "application/json" || len(resp.Trailer) != 0 {
		t.Errorf("got %v and the trailers %v, want the Content-Type alone", resp.Header, resp.Trailer)
	}
	if resp.Request.Header.Get("Authorization") != "" {
		t.Error("the answer remembers the credential")
	}
}

// raw serves connections with bytes that no HTTP server would send.
func raw(t *testing.T, answer func(conn net.Conn)) *Registry {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	converse(t, listener, func(conn net.Conn) {
		if _, err := conn.Read(make([]byte, 4096)); err == nil {
			answer(conn)
		}
	})
	r, err := New(Options{Name: "remote", URL: &url.URL{Scheme: "http", Host: listener.Addr().String()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func TestThreat041_FloodsOfHeadersEndInAnError(t *testing.T) {
	for name, answer := range map[string]func(net.Conn){
		"informational answers without end": func(conn net.Conn) {
			for {
				if _, err := io.WriteString(conn, "HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n"); err != nil {
					return
				}
			}
		},
		"one header of a megabyte": func(conn net.Conn) {
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nX: "+strings.Repeat("x", 1<<20)+"\r\n\r\n")
		},
		"headers without end": func(conn net.Conn) {
			io.WriteString(conn, "HTTP/1.1 200 OK\r\n")
			for {
				if _, err := io.WriteString(conn, "X: x\r\n"); err != nil {
					return
				}
			}
		},
		"a protocol that was not asked for": func(conn net.Conn) {
			io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n")
		},
		"terminal escapes for a status": func(conn net.Conn) {
			io.WriteString(conn, "HTTP/1.1 2\x1b[2J0 OK\r\n\r\n")
		},
		"nothing": func(net.Conn) {},
	} {
		t.Run(name, func(t *testing.T) {
			resp, err := raw(t, answer).Do(t.Context(), get(someBlob))
			if err == nil {
				resp.Body.Close()
				t.Fatalf("got status %d, want an error", resp.StatusCode)
			}
			if strings.ContainsAny(err.Error(), "\x1b\r\n") {
				t.Errorf("the error holds what the peer sent: %q", err)
			}
			if errors.Is(err, ErrNotFound) {
				t.Errorf("%v reads as absence", err)
			}
		})
	}
}

func TestThreat040_AShortBodyNeverEndsWell(t *testing.T) {
	r := raw(t, func(conn net.Conn) { io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort") })
	resp, err := r.Do(t.Context(), get(someBlob))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.ReadAll(resp.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the body ends in %v, want io.ErrUnexpectedEOF", err)
	}
}

func TestThreat039_AnAnswerThatNothingAskedForIsAnError(t *testing.T) {
	for status, part := range map[int]string{
		http.StatusNotModified: "status 304", http.StatusPartialContent: "a part came", http.StatusMultipleChoices: "status 300",
	} {
		r := behind(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
		_, err := r.Do(t.Context(), get(someBlob))
		mustFail(t, err, part)
	}

	r := behind(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotModified) })
	q := get(someBlob)
	q.Header = http.Header{"If-None-Match": {`"x"`}}
	resp, err := r.Do(t.Context(), q)
	if err != nil {
		t.Fatal("a 304 that was asked for:", err)
	}
	resp.Body.Close()
}

func TestThreat010_AnEncodedAnswerIsAnError(t *testing.T) {
	var asked string
	r := behind(t, func(w http.ResponseWriter, r *http.Request) {
		asked = r.Header.Get("Accept-Encoding")
		w.Header().Set("Content-Encoding", "gzip")
		w.Write([]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	})
	_, _, err := r.Manifest(t.Context(), "app", "v1")
	mustFail(t, err, "Content-Encoding gzip")
	_, err = r.Do(t.Context(), get(someBlob))
	mustFail(t, err, "Content-Encoding gzip")
	if asked != "identity" {
		t.Errorf("asked for the encoding %q, want identity", asked)
	}
}

func TestThreat113_EveryRefusalIsReportedAfterOneRequest(t *testing.T) {
	for _, status := range []int{400, 401, 403, 404, 405, 416, 429, 500, 502, 503, 504} {
		var requests atomic.Int32
		r := behind(t, func(w http.ResponseWriter, _ *http.Request) {
			requests.Add(1)
			w.Header().Set("Retry-After", "1000000000")
			w.WriteHeader(status)
			io.WriteString(w, `{"errors":[{"code":"TOOMANYREQUESTS","message":"slow down"}]}`)
		})
		_, err := r.Do(t.Context(), get(someBlob))
		got := new(StatusError)
		if !errors.As(err, &got) || got.Status != status || got.Code != "TOOMANYREQUESTS" || got.Message != "slow down" {
			t.Errorf("status %d: got %v", status, err)
		}
		if requests.Load() != 1 {
			t.Errorf("status %d: %d requests, want 1", status, requests.Load())
		}
		if errors.Is(err, ErrNotFound) != (status == 404) {
			t.Errorf("status %d reads as absence: %v", status, errors.Is(err, ErrNotFound))
		}
		var absent interface{ NotFound() bool }
		if !errors.As(err, &absent) || absent.NotFound() != (status == 404) {
			t.Errorf("status %d: the method NotFound says otherwise", status)
		}
	}
}

func TestThreat115_AnErrorsWordsAreBoundedAndClean(t *testing.T) {
	for name, tt := range map[string]struct{ body, code, message string }{
		"a page of a proxy":    {"<html>token=secret</html>", "", ""},
		"not a list":           {`{"errors":"x"}`, "", ""},
		"an empty list":        {`{"errors":[]}`, "", ""},
		"control characters":   {`{"errors":[{"code":"DENIED\r\nX: y","message":"a\u001b[2Jb\u202ec\u0000"}]}`, "DENIED  X: y", "a [2Jb c "},
		"a megabyte":           {`{"errors":[{"code":"UNKNOWN","message":"` + strings.Repeat("x", 1<<20) + `"}]}`, "", ""},
		"ten thousand letters": {`{"errors":[{"code":"UNKNOWN","message":"` + strings.Repeat("ä", 10_000) + `"}]}`, "UNKNOWN", strings.Repeat("ä", maxMessage/2)},
	} {
		t.Run(name, func(t *testing.T) {
			r := behind(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusForbidden)
				io.WriteString(w, tt.body)
			})
			_, err := r.Do(t.Context(), get(someBlob))
			got := new(StatusError)
			if !errors.As(err, &got) || got.Code != tt.code || got.Message != tt.message {
				t.Errorf("got %+v, want code %q, message %q", got, tt.code, tt.message)
			}
		})
	}
}

func TestDoSendsEachBodyOnceAndAtItsLength(t *testing.T) {
	for name, tt := range map[string]struct {
		body     io.Reader
		length   int64
		declared string // as the server sees it
	}{
		"none":              {nil, 0, "0"},
		"none of a stream":  {readerFunc(func([]byte) (int, error) { panic("read") }), 0, "0"},
		"of known length":   {struct{ io.Reader }{strings.NewReader("abc")}, 3, "3"},
		"of unknown length": {struct{ io.Reader }{strings.NewReader("abc")}, -1, "-1"},
	} {
		t.Run(name, func(t *testing.T) {
			requests := 0
			r := behind(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/v2/" {
					return
				}
				requests++
				if got := fmt.Sprint(r.ContentLength); got != tt.declared {
					t.Errorf("Content-Length %s, want %s", got, tt.declared)
				}
				w.WriteHeader(http.StatusUnauthorized)
			})
			_, err := r.Do(t.Context(), Request{Method: http.MethodPost, Path: "/v2/app/blobs/uploads/", Body: tt.body, Length: tt.length})
			mustFail(t, err, "status 401")
			if requests != 1 {
				t.Errorf("%d requests, want 1", requests)
			}
		})
	}
}

func TestDoEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	r := behind(t, func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	})
	if _, err := r.Do(ctx, get(someBlob)); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}

func TestDoSendsAnOpaqueLocationAsItIs(t *testing.T) {
	var got string
	r := behind(t, func(_ http.ResponseWriter, r *http.Request) { got = r.RequestURI })
	for _, uri := range []string{"/artifacts-uploads/a%2Fb/c?_state=x%3D%3D&z&y=1", "/v2/app/blobs/uploads/ID?a=+&a=%20", "/v2/app/blobs/uploads/ID"} {
		path, query, _ := strings.Cut(uri, "?")
		resp, err := r.Do(t.Context(), Request{Method: http.MethodPatch, Path: path, RawQuery: query})
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if got != uri {
			t.Errorf("sent %s, want %s", got, uri)
		}
	}
	for _, q := range []Request{
		{Path: ""}, {Path: "v2/"}, {Path: "/v2/?x"}, {Path: "/v2/#x"}, {Path: "/v2/ x"}, {Path: "/v2/%zz"}, {Path: "/v2/\r\nX: y"}, {Path: `/v2/\x`},
		{Path: "/v2/", RawQuery: "a b"}, {Path: "/v2/", RawQuery: "a#b"}, {Path: "/v2/", RawQuery: "a\nb"}, {Path: "/v2/" + strings.Repeat("x", maxLocation)},
	} {
		q.Method = http.MethodGet
		_, err := r.Do(t.Context(), q)
		if err == nil {
			t.Errorf("%q?%q was sent", q.Path, q.RawQuery)
		}
	}
}

func TestScopesAreNoWiderThanTheRequest(t *testing.T) {
	for _, tt := range []struct{ method, target, want string }{
		{"GET", "/v2/", "[]"},
		{"GET", "/v2/_catalog", "[registry:catalog:*]"},
		{"GET", "/v2/a/b/tags/list", "[repository:a/b:pull]"},
		{"HEAD", "/v2/a/b/manifests/v1", "[repository:a/b:pull]"},
		{"GET", "/v2/manifests/manifests/v1", "[repository:manifests:pull]"},
		{"GET", "/v2/blobs/uploads/manifests/v1", "[repository:blobs/uploads:pull]"},
		{"GET", "/v2/a/blobs/uploads/manifests/v1", "[repository:a/blobs/uploads:pull]"},
		{"GET", "/v2/a/blobs/sha256:00", "[repository:a:pull]"},
		{"GET", "/v2/a/referrers/sha256:00", "[repository:a:pull]"},
		{"PUT", "/v2/a/manifests/v1", "[repository:a:pull,push]"},
		{"DELETE", "/v2/a/manifests/v1", "[repository:a:pull,push,delete]"},
		{"POST", "/v2/a/blobs/uploads/", "[repository:a:pull,push]"},
		{"POST", "/v2/a/blobs/uploads/?mount=sha256:00&from=b", "[repository:a:pull,push repository:b:pull]"},
		{"POST", "/v2/a/blobs/uploads/?mount=sha256:00&from=b:push%20x", "[repository:a:pull,push]"},
		{"GET", "/v2/a/blobs/uploads/id", "[repository:a:pull,push]"},
		{"DELETE", "/v2/a/blobs/uploads/id", "[repository:a:pull,push]"},
		{"PATCH", "/elsewhere/id", "[]"},
	} {
		path, query, _ := strings.Cut(tt.target, "?")
		q := Request{Method: tt.method, Path: path, RawQuery: query}
		q.Repo = repositoryOf(path)
		if got := fmt.Sprint(scopes(q)); got != tt.want {
			t.Errorf("%s %s: got %s, want %s", tt.method, tt.target, got, tt.want)
		}
	}
	if got := fmt.Sprint(scopes(Request{Method: "PATCH", Repo: "a", Path: "/elsewhere/id"})); got != "[repository:a:pull,push]" {
		t.Errorf("an upload elsewhere: got %s", got)
	}
}

func BenchmarkDo(b *testing.B) {
	r := behind(b, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "{}") })
	for b.Loop() {
		resp, err := r.Do(b.Context(), get("/v2/app/tags/list"))
		if err != nil {
			b.Fatal(err)
		}
		discard(resp)
	}
}

func FuzzClean(f *testing.F) {
	f.Add("plain")
	f.Add("a\r\nb\x1b[0m\xff\u202e")
	f.Add(strings.Repeat("ä", 200))
	f.Fuzz(func(t *testing.T, s string) {
		got := clean(s)
		if len(got) > maxMessage*3 || strings.ContainsFunc(got, func(c rune) bool { return c < ' ' || c == 0x7f || c == 0xfffd }) {
			t.Errorf("clean(%q) = %q", s, got)
		}
	})
}
