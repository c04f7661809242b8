package gateway_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/sealgate/sealgate/gateway"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// impatient is a second gateway before the same registry that waits for no client.
func (r *rig) impatient() *httptest.Server {
	r.t.Helper()
	g := gateway.New(gateway.Options{Ledger: r.ledger, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(), Patience: 100 * time.Millisecond})
	g.Enforce(r.regime)
	server := httptest.NewUnstartedServer(g)
	server.EnableHTTP2 = true
	server.StartTLS()
	r.t.Cleanup(server.Close)
	return server
}

func TestThreat102_AnUploadThatStandsStillIsEnded(t *testing.T) {
	r := newRig(t, public("all", "**"))
	server := r.impatient()
	for _, request := range []string{
		"POST /v2/a/blobs/uploads/?digest=" + digest.FromString("never whole").String(), // which this registry does not read
		"PATCH UPLOAD", "PUT UPLOAD?digest=" + digest.FromString("never whole").String(),
		"PUT /v2/a/manifests/v1", "GET /v2/a/tags/list", "PATCH /v2/a/blobs/uploads/x",
	} {
		conn, err := tls.Dial("tcp", server.Listener.Addr().String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(60 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(request, "UPLOAD") {
			begun, err := server.Client().Post(server.URL+"/v2/a/blobs/uploads/", "", nil)
			if err != nil {
				t.Fatal(err)
			}
			begun.Body.Close()
			request = strings.Replace(request, "UPLOAD", begun.Header.Get("Location"), 1)
		}
		if _, err := io.WriteString(conn, request+" HTTP/1.1\r\nHost: gate\r\nContent-Type: application/octet-stream\r\nContent-Length: 1000\r\n\r\nhalf"); err != nil {
			t.Fatal(err)
		}
		_, err = io.Copy(io.Discard, conn)
		if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
			t.Errorf("%.40s: a client that sends nothing holds its connection", request)
		}
	}
}

func TestThreat104_AClientThatOpensNoWindowIsHungUpOn(t *testing.T) {
	r := newRig(t, public("all", "**"))
	im := newImage("65532", strings.Repeat("x", 8<<20))
	r.bypass("a", "v1", im)
	server := r.impatient()
	conn, err := tls.Dial("tcp", server.Listener.Addr().String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(60 * time.Second)); err != nil {
		t.Fatal(err)
	}
	w := newFrames(t, conn)
	if err := w.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}); err != nil {
		t.Fatal(err)
	}
	if err := w.request(1, "/v2/a/blobs/"+digest.FromBytes(im.blobs[1]).String()); err != nil {
		t.Fatal(err)
	}
	for {
		frame, err := w.ReadFrame()
		if err != nil {
			if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
				t.Error("a client that opens no window holds its stream")
			}
			return
		}
		if reset, ok := frame.(*http2.RSTStreamFrame); ok && reset.StreamID == 1 {
			return
		}
	}
}

// frames writes and reads frames of HTTP/2.
type frames struct{ *http2.Framer }

func newFrames(t *testing.T, conn io.ReadWriter) frames {
	t.Helper()
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	return frames{http2.NewFramer(conn, conn)}
}

func (f frames) request(stream uint32, path string) error {
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, field := range [][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", "gate"}, {":path", path}} {
		if err := encoder.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]}); err != nil {
			return err
		}
	}
	return f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: block.Bytes(), EndStream: true, EndHeaders: true})
}
