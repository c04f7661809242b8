package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// Large layers travel over bad lines: what broke off is resumed with a Range, not begun again.

const layerSize = 6 << 20 // bytes; more than any manifest, so that nothing of it is ever held back

func TestResumes(t *testing.T) {
	kit := need(t, suite.images)
	content := make([]byte, layerSize)
	_, _ = rand.Read(content) // does not compress
	up := startRegistry(t)
	gw := startGateway(t, fmt.Sprintf(sealConfig, up.url()))
	layer := files(t, map[string][]byte{"hello": kit.programs["amd64"], "large": content})
	digest, err := layer.Digest()
	if err != nil {
		t.Fatal(err)
	}

	for _, repo := range []string{"large", "up/large"} {
		put(t, gw.ref(repo+":v1"), assemble(t, "amd64", nonroot, layer))

		t.Run("the ranges of "+repo+" are the bytes of the whole", func(t *testing.T) {
			whole := []byte(runCrane(t, "blob", gw.ref(repo)+"@"+digest.String()).ok(t).stdout)
			half := len(whole) / 2
			for _, r := range []struct {
				header string
				want   []byte
			}{
				{fmt.Sprintf("bytes=%d-", half), whole[half:]},
				{"bytes=0-99", whole[:100]},
				{fmt.Sprintf("bytes=%d-%d", half, half+10), whole[half : half+11]},
			} {
				status, got := gw.ranged(t, repo, digest.String(), r.header)
				if status != http.StatusPartialContent || !bytes.Equal(got, r.want) {
					t.Errorf("Range %s: status %d with %d bytes, want 206 with these %d bytes", r.header, status, len(got), len(r.want))
				}
			}
			if status, _ := gw.ranged(t, repo, digest.String(), fmt.Sprintf("bytes=%d-", 2*layerSize)); status != http.StatusRequestedRangeNotSatisfiable {
				t.Errorf("a range behind the end: status %d, want 416", status)
			}
		})
	}

	// Only these two resume; the others begin again or give up.
	for _, c := range clients {
		if c.name != "docker" && c.name != "ctr-1.6" {
			continue
		}
		t.Run(c.name+" resumes a layer that broke off", func(t *testing.T) {
			t.Parallel()
			line := startBadLine(t, gw, 2<<20)
			c.fresh(t, line.address()+"/up/large:v1").ok(t)
			if ranges := line.ranges(); len(ranges) == 0 {
				t.Errorf("no request had a Range: the layer was begun again")
			}
		})
	}
}

func (g *gateway) ranged(t *testing.T, repo, digest, ranges string) (status int, body []byte) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+g.address+"/v2/"+repo+"/blobs/"+digest, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Range", ranges)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, body
}

// badLine stands between a client and the gateway. It breaks the connection once, in the middle of a blob.
type badLine struct {
	server *httptest.Server
	limit  int64

	mu     sync.Mutex // guards all below
	broken bool
	asked  []string // the Range headers that came
}

func startBadLine(t *testing.T, gw *gateway, limit int64) *badLine {
	t.Helper()
	target, err := url.Parse("http://" + gw.address)
	if err != nil {
		t.Fatal(err)
	}
	line := &badLine{limit: limit}
	forward := &httputil.ReverseProxy{
		Rewrite:        func(r *httputil.ProxyRequest) { r.SetURL(target) },
		ModifyResponse: line.cut,
		FlushInterval:  -1,
	}
	line.server = httptest.NewServer(forward)
	t.Cleanup(line.server.Close)
	return line
}

func (l *badLine) address() string { return strings.TrimPrefix(l.server.URL, "http://") }

func (l *badLine) ranges() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.asked
}

func (l *badLine) cut(resp *http.Response) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if ranges := resp.Request.Header.Get("Range"); ranges != "" {
		l.asked = append(l.asked, ranges)
	}
	if !l.broken && strings.Contains(resp.Request.URL.Path, "/blobs/") && resp.ContentLength > l.limit {
		l.broken = true
		resp.Body = &brokenBody{ReadCloser: resp.Body, left: l.limit}
	}
	return nil
}

// brokenBody fails after some bytes: the proxy then ends the connection without a clean end.
type brokenBody struct {
	io.ReadCloser
	left int64
}

func (b *brokenBody) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, context.Canceled
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}
