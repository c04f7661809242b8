package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// edge is a running service before an upstream that counts what reaches it.
type edge struct {
	t        *testing.T
	address  string
	upstream atomic.Int32
}

func newEdge(t *testing.T) *edge {
	t.Helper()
	e := &edge{t: t}
	e.address = serveCounted(t, false, &e.upstream, nil)
	return e
}

// serveCounted starts a service before an upstream that counts what reaches it, and holds each request until hold is closed,
// if there is one. It returns the service's address.
func serveCounted(t *testing.T, secure bool, seen *atomic.Int32, hold <-chan struct{}) string {
	t.Helper()
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v2/" { // how to authenticate is asked once
			seen.Add(1)
			if hold != nil {
				select {
				case <-hold:
				case <-r.Context().Done():
				}
			}
		}
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusNotFound)
	}))
	t.Cleanup(upstream.Close)

	certificate := ""
	if secure {
		certificate = ", tls: {certificate: tls.crt, key: tls.key}"
	}
	file := newStorage(t, `
listen: {address: "127.0.0.1:0"`+certificate+`}
admin: {address: "127.0.0.1:0"}
registries: [{name: counted, url: "`+upstream.URL+`"}]
policies:
  - name: open
    repositories: ["**"]
    pull: {admit_unverified: true}
    push: {accept_unsealed: true}
`)
	if secure {
		newCertificate(t, filepath.Dir(file), 1)
	}
	reload := func() (*Loaded, error) { return load(file, Overrides{}, nil) }
	loaded, err := reload()
	if err != nil {
		t.Fatal(err)
	}
	s, err := startService(loaded, reload, openTestKey, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.close() })
	_, address, _ := strings.Cut(s.URL, "://")
	return address
}

// raw sends bytes as they are, and returns the statuses of the answers until the connection ends.
func (e *edge) raw(request string) (statuses []int) {
	e.t.Helper()
	conn, err := net.Dial("tcp", e.address)
	if err != nil {
		e.t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		e.t.Fatal(err)
	}
	go func() {
		_, _ = io.WriteString(conn, request) // the server may hang up before it read all
	}()
	r := bufio.NewReader(conn)
	for {
		response, err := http.ReadResponse(r, nil)
		if err != nil {
			return statuses
		}
		_, _ = io.Copy(io.Discard, response.Body)
		response.Body.Close()
		statuses = append(statuses, response.StatusCode)
		_ = conn.(*net.TCPConn).CloseWrite() // not before: a client that is gone gets no answer
	}
}

const pullLine = "GET /v2/a/manifests/v1 HTTP/1.1\r\nHost: gate\r\n"

func TestThreat098_SmuggledRequestsReachNobody(t *testing.T) {
	t.Parallel()
	chunked := "PUT /v2/a/manifests/v1 HTTP/1.1\r\nHost: gate\r\nContent-Type: application/vnd.oci.image.manifest.v1+json\r\n"
	hidden := pullLine + "\r\n"
	e := newEdge(t)
	for name, c := range map[string]struct {
		request  string
		upstream int32 // at most
	}{
		"CL.TE":                             {chunked + "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden, 1},
		"TE.TE with a second coding":        {chunked + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + hidden, 0},
		"TE misspelled":                     {chunked + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + hidden, 0},
		"TE with a tab":                     {chunked + "Transfer-Encoding:\tchunked, identity\r\n\r\n0\r\n\r\n" + hidden, 0},
		"two Content-Lengths":               {chunked + "Content-Length: 0\r\nContent-Length: 50\r\n\r\n" + hidden, 0},
		"a signed Content-Length":           {chunked + "Content-Length: +5\r\n\r\nhello" + hidden, 0},
		"a negative Content-Length":         {chunked + "Content-Length: -5\r\n\r\n" + hidden, 0},
		"a space before the colon":          {chunked + "Content-Length : 5\r\n\r\nhello" + hidden, 0},
		"a bare line feed in a chunk":       {chunked + "Transfer-Encoding: chunked\r\n\r\n1\nA\r\n0\r\n\r\n" + hidden, 0},
		"a chunk larger than an int":        {chunked + "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff1\r\n" + hidden, 0},
		"a header without a name":           {pullLine + ": x\r\n\r\n", 0},
		"a folded header":                   {pullLine + "X-A: b\r\n c\r\n\r\n", 1},
		"two Hosts":                         {"GET /v2/a/manifests/v1 HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 0},
		"no Host":                           {"GET /v2/a/manifests/v1 HTTP/1.1\r\n\r\n", 0},
		"a control character in a path":     {"GET /v2/a/manifests/v1\x01 HTTP/1.1\r\nHost: gate\r\n\r\n", 0},
		"an absolute target":                {"GET http://elsewhere/v2/a/manifests/v1 HTTP/1.1\r\nHost: gate\r\n\r\n", 0},
		"TE before CL":                      {chunked + "Transfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\n" + hidden, 1},
		"TE.CL":                             {chunked + fmt.Sprintf("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(hidden), hidden), 1},
		"TE with a vertical tab":            {chunked + "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n" + hidden, 0},
		"TE behind a bare line feed":        {chunked + "X-A: b\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + hidden, 0},
		"TE with a quoted value":            {chunked + "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n" + hidden, 0},
		"gzip before chunked":               {chunked + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" + hidden, 0},
		"TE in HTTP/1.0":                    {"PUT /v2/a/manifests/v1 HTTP/1.0\r\nHost: gate\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + hidden, 1},
		"two Content-Lengths in one":        {chunked + "Content-Length: 0, 50\r\n\r\n" + hidden, 0},
		"a Content-Length in hex":           {chunked + "Content-Length: 0x5\r\n\r\nhello" + hidden, 0},
		"a Content-Length of spaces":        {chunked + "Content-Length: 5 5\r\n\r\nhello" + hidden, 0},
		"an endless Content-Length":         {chunked + "Content-Length: 99999999999999999999\r\n\r\n" + hidden, 0},
		"a chunk's size with a sign":        {chunked + "Transfer-Encoding: chunked\r\n\r\n+1\r\nA\r\n0\r\n\r\n" + hidden, 0},
		"a chunk's size in 0x":              {chunked + "Transfer-Encoding: chunked\r\n\r\n0x1\r\nA\r\n0\r\n\r\n" + hidden, 0},
		"a chunk's size with an underscore": {chunked + "Transfer-Encoding: chunked\r\n\r\n0_1\r\nA\r\n0\r\n\r\n" + hidden, 0},
		"a chunk longer than its size":      {chunked + "Transfer-Encoding: chunked\r\n\r\n1\r\nAB\r\n0\r\n\r\n" + hidden, 0},
		"a chunk's extension without end":   {chunked + "Transfer-Encoding: chunked\r\n\r\n1;" + strings.Repeat("x", 1<<20) + "\r\nA\r\n0\r\n\r\n" + hidden, 0},
		"a header with a bare CR":           {pullLine + "X-A: b\rX-B: c\r\n\r\n", 0},
		"a header with a NUL":               {pullLine + "X-A: b\x00c\r\n\r\n", 0},
		"a Host with a path":                {"GET /v2/a/manifests/v1 HTTP/1.1\r\nHost: gate/v2\r\n\r\n", 0},
		"a method with a space":             {"GE T /v2/a/manifests/v1 HTTP/1.1\r\nHost: gate\r\n\r\n", 0},
		"a version that is none":            {"GET /v2/a/manifests/v1 HTTP/1.1x\r\nHost: gate\r\n\r\n", 0},
		"a space in a target":               {"GET /v2/a/manifests/v1 HTTP/1.1 HTTP/1.1\r\nHost: gate\r\n\r\n", 0},
		"a GET with a body":                 {pullLine + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(hidden), hidden), 1},
		"HTTP/0.9":                          {"GET /v2/a/manifests/v1\r\n\r\n", 0},
	} {
		t.Run(name, func(t *testing.T) {
			before := e.upstream.Load()
			statuses := e.raw(c.request)
			if got := e.upstream.Load() - before; got > c.upstream {
				t.Errorf("%d requests reached the upstream, at most %d should; answers %v", got, c.upstream, statuses)
			}
			for _, status := range statuses {
				if status < 400 {
					t.Errorf("answers %v", statuses)
				}
			}
		})
	}
}

func TestThreat097_100_MethodsAndUpgradesAreRefused(t *testing.T) {
	t.Parallel()
	e := newEdge(t)
	for _, request := range []string{
		"CONNECT /v2/ HTTP/1.1\r\nHost: gate\r\n\r\n",
		"TRACE /v2/a/manifests/v1 HTTP/1.1\r\nHost: gate\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\nHost: gate\r\n\r\n",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
	} {
		for _, status := range e.raw(request) {
			if status < 200 || status == http.StatusSwitchingProtocols || status < 300 && !strings.HasPrefix(request, "OPTIONS *") {
				t.Errorf("%q: status %d", request, status)
			}
		}
	}
	upgrade := pullLine + "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n"
	if got := fmt.Sprint(e.raw(upgrade)); got != "[404]" {
		t.Errorf("an upgrade: answers %s, want the plain one, [404]", got)
	}
}

func TestThreat101_ARefusalComesBeforeTheBody(t *testing.T) {
	t.Parallel()
	e := newEdge(t)
	request := "PUT /v2/a/blobs/uploads/AAAA?digest=sha256:" + strings.Repeat("0", 64) + " HTTP/1.1\r\nHost: gate\r\nExpect: 100-continue\r\nContent-Length: 1000000000\r\n\r\n"
	if got := fmt.Sprint(e.raw(request)); got != "[404]" {
		t.Errorf("answers %s, want [404] without 100", got)
	}
}

func TestThreat103_HeadersHaveALimit(t *testing.T) {
	t.Parallel()
	e := newEdge(t)
	for name, headers := range map[string]string{
		"one long":  "X-Long: " + strings.Repeat("x", 1<<20) + "\r\n",
		"many":      strings.Repeat("X-Many: y\r\n", 20_000),
		"long line": "",
	} {
		request := pullLine + headers + "\r\n"
		if name == "long line" {
			request = "GET /v2/a/tags/list?last=" + strings.Repeat("x", 1<<20) + " HTTP/1.1\r\nHost: gate\r\n\r\n"
		}
		for _, status := range e.raw(request) {
			if status != http.StatusRequestHeaderFieldsTooLarge && status != http.StatusBadRequest {
				t.Errorf("%s: status %d", name, status)
			}
		}
	}
	if got := e.upstream.Load(); got != 0 {
		t.Errorf("%d requests reached the upstream", got)
	}
}

func TestThreat125_ThePublicListenerHasNoAdminEndpoints(t *testing.T) {
	t.Parallel()
	e := newEdge(t)
	for _, path := range []string{"/metrics", "/livez", "/readyz", "/debug/pprof/", "/", "/v2/metrics"} {
		if got := fmt.Sprint(e.raw("GET " + path + " HTTP/1.1\r\nHost: gate\r\nConnection: close\r\n\r\n")); got != "[404]" {
			t.Errorf("%s: answers %s, want [404]", path, got)
		}
	}
}

func TestThreat102_AClientThatDripsIsHungUpOn(t *testing.T) {
	t.Parallel() // it waits for the real deadline
	e := newEdge(t)
	conn, err := net.Dial("tcp", e.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /v2/ HTTP/1.1\r\nHost: gate\r\nX-Slow: "); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(2*readHeaderTimeout + 10*time.Second)); err != nil {
		t.Fatal(err)
	}
	var timeout net.Error
	if _, err := io.Copy(io.Discard, conn); errors.As(err, &timeout) && timeout.Timeout() {
		t.Error("half a header held a connection for longer than its deadline")
	}
}
