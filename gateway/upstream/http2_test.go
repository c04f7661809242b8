package upstream

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"reflect"
	"runtime"
)

// Frames of HTTP/2 (RFC 9113), as a registry can write them that means harm.
const (
	frameData, frameHeaders, frameReset, frameSettings, framePing, frameGoAway, frameContinuation = 0, 1, 3, 4, 6, 7, 9

	endStream, ack, endHeaders = 0x1, 0x1, 0x4
)

func frame(kind, flags byte, stream uint32, payload ...byte) []byte {
	b := make([]byte, 9, 9+len(payload))
	b[0], b[1], b[2] = byte(len(payload)>>16), byte(len(payload)>>8), byte(len(payload))
	b[3], b[4] = kind, flags
	binary.BigEndian.PutUint32(b[5:], stream)
	return append(b, payload...)
}

func setting(id uint16, value uint32) []byte {
	payload := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(nil, id), value)
	return frame(frameSettings, 0, 0, payload...)
}

const (
	initialWindow = 4
	maxFrameSize  = 5
	maxHeaderList = 6
)

// status is a header block that says a status, by HPACK's static table or literally.
func status(code string) []byte {
	if code == "200" {
		return []byte{0x88}
	}
	return append([]byte{0x08, byte(len(code))}, code...) // literal, name from the table, not indexed
}

// hostile speaks HTTP/2 as say has it, after the client's preface and with its requests read away. It returns the
// registry that it is.
func hostile(t *testing.T, say func(write func(...byte) error)) *Registry {
	t.Helper()
	template := httptest.NewUnstartedServer(http.NotFoundHandler()) // for its certificate
	template.StartTLS()
	t.Cleanup(template.Close)
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: template.TLS.Certificates, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	converse(t, listener, func(conn net.Conn) {
		if _, err := io.CopyN(io.Discard, conn, int64(len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))); err != nil {
			return
		}
		read := make(chan struct{})
		go func() {
			defer close(read)
			_, _ = io.Copy(io.Discard, conn)
		}()
		say(func(b ...byte) error {
			_ = conn.SetWriteDeadline(time.Now().Add(5 * time.Second))
			_, err := conn.Write(b)
			return err
		})
		<-read // the client reads what was said before the end, and hangs up
	})
	return at(t, template, func(o *Options) { o.URL = &url.URL{Scheme: "https", Host: listener.Addr().String()} })
}

// TestThreat041_104_AHostileHTTP2RegistryEndsInAnError has what made transports spin or grow (CVE-2026-33814, CVE-2023-45288
// from the other side): each ends in an error by the request's own deadline, which is no absence.
func TestThreat041_104_AHostileHTTP2RegistryEndsInAnError(t *testing.T) {
	forever := func(write func(...byte) error, b []byte) {
		for write(b...) == nil {
		}
	}
	settings := frame(frameSettings, 0, 0)
	for name, say := range map[string]func(write func(...byte) error){
		"frames of no size":  func(write func(...byte) error) { _ = write(setting(maxFrameSize, 0)...) },
		"frames of one byte": func(write func(...byte) error) { _ = write(setting(maxFrameSize, 1)...) },
		"frames of the most size": func(write func(...byte) error) {
			_ = write(append(setting(maxFrameSize, 1<<24-1), setting(initialWindow, 0)...)...)
		},
		"a window past its bound": func(write func(...byte) error) { _ = write(setting(initialWindow, 1<<32-1)...) },
		"no headers allowed":      func(write func(...byte) error) { _ = write(setting(maxHeaderList, 0)...) },
		"settings without end":    func(write func(...byte) error) { forever(write, setting(maxFrameSize, 1<<14)) },
		"pings without end": func(write func(...byte) error) {
			_ = write(settings...)
			forever(write, frame(framePing, 0, 0, make([]byte, 8)...))
		},
		"headers without end": func(write func(...byte) error) {
			_ = write(append(settings, frame(frameHeaders, 0, 1, status("200")...)...)...)
			junk := append([]byte{0x00, 0x01, 'x', 0x7f, 0x81, 0x7d}, make([]byte, 16_000)...) // a literal of 16,128 bytes, and so on
			forever(write, frame(frameContinuation, 0, 1, junk...))
		},
		"interim answers without end": func(write func(...byte) error) {
			_ = write(settings...)
			forever(write, frame(frameHeaders, endHeaders, 1, status("103")...))
		},
		"an answer to nobody": func(write func(...byte) error) {
			_ = write(append(settings, frame(frameHeaders, endHeaders|endStream, 99, status("200")...)...)...)
		},
		"a reset": func(write func(...byte) error) {
			_ = write(append(settings, frame(frameReset, 0, 1, 0, 0, 0, 2)...)...)
		},
		"a farewell": func(write func(...byte) error) {
			_ = write(append(settings, frame(frameGoAway, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)...)...)
		},
		"no frames": func(write func(...byte) error) { _ = write([]byte("HTTP/1.1 404 Not Found\r\n\r\n")...) },
		"silence":   func(func(...byte) error) { time.Sleep(3 * time.Second) },
		"data past what was granted": func(write func(...byte) error) {
			_ = write(append(settings, frame(frameHeaders, endHeaders, 1, status("200")...)...)...)
			forever(write, frame(frameData, 0, 1, make([]byte, 16_384)...))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := hostile(t, say)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if _, _, err := r.Manifest(ctx, "app", "v1"); err == nil || errors.Is(err, ErrNotFound) {
				t.Errorf("a read: got %v, want an error that is no absence", err)
			}
			if strings.Contains(name, "size") || strings.Contains(name, "window") { // what a body is cut and sent by
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				if err := r.PutManifest(ctx, "app", "v1", ocispec.MediaTypeImageManifest, make([]byte, 1<<20)); err == nil {
					t.Error("a write that nobody answered succeeded")
				}
			}
		})
	}
}

// Of the two implementations of HTTP/2 it is the one that go.mod names: net/http has the faults of the Go that built it.
func TestThreat104_HTTP2ToRegistriesIsOfTheVersionInGoMod(t *testing.T) {
	transport := newTransport(new(net.Dialer).DialContext, nil, time.Second)
	speaker := runtime.FuncForPC(reflect.ValueOf(transport.TLSNextProto["h2"]).Pointer()).Name()
	if !strings.HasPrefix(speaker, "golang.org/x/net/http2.") {
		t.Errorf("HTTP/2 is spoken by %s", speaker)
	}
}
