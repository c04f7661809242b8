package upstream

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// blobServer serves one blob to GETs, and counts the connections that it got.
func blobServer(t *testing.T, serve http.HandlerFunc) (*Registry, *atomic.Int32) {
	t.Helper()
	var connections atomic.Int32
	server := httptest.NewUnstartedServer(serve)
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	origin, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	r, err := New(Options{Name: "plain", URL: origin})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r, &connections
}

func blobRequest(content []byte) Request {
	return Request{Method: http.MethodGet, Path: "/v2/a/blobs/" + digest.FromBytes(content).String()}
}

func TestSplicedBlobsArriveWholeOverOneConnection(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	r, connections := blobServer(t, func(w http.ResponseWriter, q *http.Request) {
		if q.URL.Path == "/v2/" {
			return
		}
		http.ServeContent(w, q, "", time.Time{}, bytes.NewReader(content))
	})

	// To a client, as the gateway does it, and read in place.
	client := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		resp, err := r.Do(q.Context(), blobRequest(content))
		if err != nil {
			t.Error(err)
			return
		}
		defer resp.Body.Close()
		w.Header().Set("Content-Length", fmt.Sprint(resp.ContentLength))
		w.WriteHeader(http.StatusOK)
		if n, err := resp.Body.(io.WriterTo).WriteTo(w); err != nil || n != int64(len(content)) {
			t.Errorf("wrote %d, %v", n, err)
		}
	}))
	defer client.Close()
	for range 5 {
		resp, err := http.Get(client.URL)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || !bytes.Equal(got, content) {
			t.Fatalf("got %d bytes, %v", len(got), err)
		}
	}
	for range 5 {
		resp, err := r.Do(t.Context(), blobRequest(content))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || !bytes.Equal(got, content) {
			t.Fatalf("got %d bytes, %v", len(got), err)
		}
	}
	if got := connections.Load(); got > 3 { // one for blobs, and what asking how to authenticate takes
		t.Errorf("got %d connections for 10 blobs one after another", got)
	}
}

func TestThreat035_AShortSplicedBodyIsAnErrorNotAnEnd(t *testing.T) {
	content := []byte(strings.Repeat("x", 1<<20))
	r, _ := blobServer(t, func(w http.ResponseWriter, q *http.Request) {
		if q.URL.Path == "/v2/" {
			return
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(content)))
		w.Write(content[:len(content)/2])
		panic(http.ErrAbortHandler)
	})
	for name, copied := range map[string]func(io.Reader) error{
		"written": func(body io.Reader) error { _, err := body.(io.WriterTo).WriteTo(io.Discard); return err },
		"read":    func(body io.Reader) error { _, err := io.ReadAll(body); return err },
	} {
		resp, err := r.Do(t.Context(), blobRequest(content))
		if err != nil {
			t.Fatal(err)
		}
		if err := copied(resp.Body); err == nil {
			t.Errorf("%s: half a body ended like a whole one", name)
		}
		resp.Body.Close()
	}
}

func TestAnEndedContextEndsASplicedBody(t *testing.T) {
	release := make(chan struct{})
	r, _ := blobServer(t, func(w http.ResponseWriter, q *http.Request) {
		if q.URL.Path == "/v2/" {
			return
		}
		w.Header().Set("Content-Length", "10")
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		<-release
	})
	defer close(release)
	ctx, cancel := context.WithCancel(t.Context())
	resp, err := r.Do(ctx, blobRequest(nil))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	context.AfterFunc(ctx, func() {})
	cancel()
	if _, err := io.ReadAll(resp.Body); err == nil {
		t.Error("the body was read to an end that never came")
	}
}

func TestSplicedAnswersOfOtherFormsPassToo(t *testing.T) {
	content := []byte("of unknown length")
	r, _ := blobServer(t, func(w http.ResponseWriter, q *http.Request) {
		switch {
		case q.URL.Path == "/v2/":
		case strings.Contains(q.URL.Path, digest.FromBytes(content).String()):
			w.WriteHeader(http.StatusOK)
			w.(http.Flusher).Flush() // chunked
			w.Write(content)
		case strings.Contains(q.URL.Path, digest.FromString("headers").String()):
			w.Header().Set("X-Large", strings.Repeat("x", maxResponseHeader))
		default:
			http.Error(w, `{"errors":[{"code":"BLOB_UNKNOWN"}]}`, http.StatusNotFound)
		}
	})
	resp, err := r.Do(t.Context(), blobRequest(content))
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil || !bytes.Equal(got, content) {
		t.Errorf("chunked: got %q, %v", got, err)
	}
	if _, err := r.Do(t.Context(), blobRequest([]byte("absent"))); !errors.Is(err, ErrNotFound) {
		t.Errorf("absent: got %v", err)
	}
	if _, err := r.Do(t.Context(), blobRequest([]byte("headers"))); err == nil || !strings.Contains(err.Error(), "bytes of headers") {
		t.Errorf("endless headers: got %v", err)
	}
}

func TestManySplicedBlobsAtOnceDoNotMix(t *testing.T) {
	r, _ := blobServer(t, func(w http.ResponseWriter, q *http.Request) {
		if q.URL.Path != "/v2/" {
			body := strings.Repeat(q.URL.Path, 1000)
			w.Header().Set("Content-Length", fmt.Sprint(len(body)))
			io.WriteString(w, body)
		}
	})
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			q := blobRequest([]byte{byte(i)})
			resp, err := r.Do(t.Context(), q)
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			var got bytes.Buffer
			if _, err := resp.Body.(io.WriterTo).WriteTo(&got); err != nil || got.String() != strings.Repeat(q.Path, 1000) {
				t.Errorf("blob %d: got %d bytes, %v", i, got.Len(), err)
			}
		})
	}
	wg.Wait()
}

func TestBytesThatNobodyAskedForEndAnIdleConnection(t *testing.T) {
	content := bytes.Repeat([]byte("content "), 2<<10) // larger than the buffer that would see what follows it
	answer := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(content), content)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	var connections atomic.Int32
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			connections.Add(1)
			go func() {
				defer conn.Close()
				for r := bufio.NewReader(conn); ; {
					q, err := http.ReadRequest(r)
					if err != nil {
						return
					}
					if strings.Contains(q.URL.Path, "/blobs/") {
						io.WriteString(conn, answer+strings.ReplaceAll(answer, "content ", "smuggle ")) // at once: it is there in time
					} else {
						io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
					}
				}
			}()
		}
	}()
	r, err := New(Options{Name: "plain", URL: &url.URL{Scheme: "http", Host: listener.Addr().String()}})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for range 3 {
		resp, err := r.Do(t.Context(), blobRequest(content))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || !bytes.Equal(got, content) {
			t.Errorf("got %q, %v", got, err)
		}
	}
}
