package main

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"reflect"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// wire is a client of HTTP/2 that writes whatever frames a test wants, over TLS, to a running service.
type wire struct {
	t      *testing.T
	conn   *tls.Conn
	frames *http2.Framer
	block  bytes.Buffer
	hpack  *hpack.Encoder
}

// secured is a running service with TLS before an upstream that counts what reaches it, and holds it until it is told.
type secured struct {
	t        *testing.T
	address  string
	upstream atomic.Int32 // requests that reached it
	hold     chan struct{}
}

func newSecured(t *testing.T, held bool) *secured {
	t.Helper()
	s := &secured{t: t, hold: make(chan struct{})}
	s.address = serveCounted(t, true, &s.upstream, s.hold)
	if held {
		t.Cleanup(func() { close(s.hold) })
	} else {
		close(s.hold)
	}
	return s
}

// dial opens a connection of HTTP/2 with the client's preface and settings.
func (s *secured) dial() *wire {
	s.t.Helper()
	conn, err := tls.Dial("tcp", s.address, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	if err := conn.NetConn().(*net.TCPConn).SetReadBuffer(8 << 10); err != nil { // answers that nobody reads pile up at the service
		s.t.Fatal(err)
	}
	if got := conn.ConnectionState().NegotiatedProtocol; got != "h2" {
		s.t.Fatalf("speaks %q, want h2", got)
	}
	if err := conn.SetDeadline(time.Now().Add(60 * time.Second)); err != nil {
		s.t.Fatal(err)
	}
	w := &wire{t: s.t, conn: conn, frames: http2.NewFramer(conn, conn)}
	w.hpack = hpack.NewEncoder(&w.block)
	w.frames.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		s.t.Fatal(err)
	}
	if err := w.frames.WriteSettings(); err != nil {
		s.t.Fatal(err)
	}
	return w
}

var plainGet = []string{":method", "GET", ":scheme", "https", ":authority", "gate", ":path", "/v2/a/manifests/v1"}

// header encodes fields: name, value, name, value.
func (w *wire) header(fields ...string) []byte {
	w.t.Helper()
	w.block.Reset()
	for i := 0; i+1 < len(fields); i += 2 {
		if err := w.hpack.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}); err != nil {
			w.t.Fatal(err)
		}
	}
	return bytes.Clone(w.block.Bytes())
}

func (w *wire) request(stream uint32, end bool, fields ...string) error {
	return w.frames.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: w.header(fields...), EndStream: end, EndHeaders: true})
}

// end says how a stream ended: with a status, or reset, or with the connection as a whole.
func (w *wire) end(stream uint32) string {
	w.t.Helper()
	for {
		frame, err := w.frames.ReadFrame()
		if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
			return "nothing"
		}
		if err != nil {
			return "hung up"
		}
		switch f := frame.(type) {
		case *http2.GoAwayFrame:
			return "goaway " + f.ErrCode.String()
		case *http2.RSTStreamFrame:
			if f.StreamID == stream {
				return "reset " + f.ErrCode.String()
			}
		case *http2.MetaHeadersFrame:
			if f.StreamID == stream {
				return f.PseudoValue("status")
			}
		}
	}
}

// goesOn demands that the service answers others.
func (s *secured) goesOn() {
	s.t.Helper()
	w := s.dial()
	if err := w.request(1, true, ":method", "GET", ":scheme", "https", ":authority", "gate", ":path", "/v2/"); err != nil {
		s.t.Fatal(err)
	}
	if got := w.end(1); got != "200" {
		s.t.Errorf("somebody else gets %s", got)
	}
}

func TestThreat104_AConnectionHasItsShareOfStreams(t *testing.T) {
	t.Parallel()
	s := newSecured(t, true)
	w := s.dial()
	limit := uint32(0)
	for limit == 0 {
		frame, err := w.frames.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		if settings, ok := frame.(*http2.SettingsFrame); ok && !settings.IsAck() {
			limit, _ = settings.Value(http2.SettingMaxConcurrentStreams)
			if limit != maxStreams {
				t.Fatalf("announces %d streams, want %d", limit, maxStreams)
			}
		}
	}
	if err := w.frames.WriteSettingsAck(); err != nil {
		t.Fatal(err)
	}
	for n := range limit + 20 {
		if err := w.request(2*n+1, true, plainGet...); err != nil {
			t.Fatal(err)
		}
	}
	refused := 0
	for refused < 20 {
		frame, err := w.frames.ReadFrame()
		if err != nil {
			t.Fatalf("after %d refused streams: %v", refused, err)
		}
		if f, ok := frame.(*http2.RSTStreamFrame); ok && f.StreamID > 2*limit-1 {
			refused++
		}
	}
	if got := s.upstream.Load(); got > int32(limit) {
		t.Errorf("%d requests reached the upstream", got)
	}
	s.goesOn()
}

// TestThreat104_ARapidResetDoesNotReachTheRegistryWithoutEnd is CVE-2023-39325: streams that are reset as soon as they are
// opened are no streams to count, and their handlers run on.
func TestThreat104_ARapidResetDoesNotReachTheRegistryWithoutEnd(t *testing.T) {
	t.Parallel()
	s := newSecured(t, true)
	w := s.dial()
	go func() { // what the server says has to be read
		_, _ = io.Copy(io.Discard, w.conn)
	}()
	const streams = 10_000
	for n := range uint32(streams) {
		if w.request(2*n+1, true, plainGet...) != nil || w.frames.WriteRSTStream(2*n+1, http2.ErrCodeCancel) != nil {
			break // it hung up
		}
	}
	s.goesOn()
	if got := s.upstream.Load(); got > streams/10 {
		t.Errorf("%d of %d requests that were taken back reached the upstream", got, streams)
	}
}

func TestThreat104_HeadersWithoutEndAreCut(t *testing.T) {
	t.Parallel()
	s := newSecured(t, false)
	w := s.dial()
	if err := w.frames.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: w.header(plainGet...), EndStream: true}); err != nil {
		t.Fatal(err)
	}
	sent := 0
	for n := range 100_000 {
		fragment := w.header(fmt.Sprintf("x-%d", n), strings.Repeat("x", 1024))
		if w.frames.WriteContinuation(1, false, fragment) != nil {
			break
		}
		sent += len(fragment)
	}
	if sent > 16<<20 {
		t.Errorf("%d bytes of headers were taken", sent)
	}
	if got := w.end(1); got != "hung up" && !strings.HasPrefix(got, "goaway") && got != "431" {
		t.Errorf("got %s", got)
	}
	if got := s.upstream.Load(); got != 0 {
		t.Errorf("%d requests reached the upstream", got)
	}
	s.goesOn()
}

func TestThreat104_HeadersHaveALimit(t *testing.T) {
	t.Parallel()
	s := newSecured(t, false)
	for name, fields := range map[string][]string{
		"one long": append(append([]string{}, plainGet...), "x-long", strings.Repeat("x", 1<<20)),
		"many": func() []string {
			all := append([]string{}, plainGet...)
			for n := range 20_000 {
				all = append(all, fmt.Sprintf("x-%d", n), "y")
			}
			return all
		}(),
	} {
		w := s.dial()
		block := w.header(fields...)
		const frame = 16 << 10
		first := block[:frame]
		err := w.frames.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: first, EndStream: true})
		for rest := block[frame:]; len(rest) > 0 && err == nil; rest = rest[min(frame, len(rest)):] {
			err = w.frames.WriteContinuation(1, len(rest) <= frame, rest[:min(frame, len(rest))])
		}
		if got := w.end(1); got != "431" && got != "hung up" && !strings.HasPrefix(got, "goaway") && !strings.HasPrefix(got, "reset") {
			t.Errorf("%s: got %s", name, got)
		}
	}
	if got := s.upstream.Load(); got != 0 {
		t.Errorf("%d requests reached the upstream", got)
	}
	s.goesOn()
}

// TestThreat104_WhatHasToBeAnsweredIsNotQueuedWithoutEnd sends settings and pings, each of which wants an answer, and reads
// none of them.
func TestThreat104_WhatHasToBeAnsweredIsNotQueuedWithoutEnd(t *testing.T) {
	t.Parallel()
	for name, write := range map[string]func(w *wire) error{
		"settings": func(w *wire) error {
			return w.frames.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1})
		},
		"pings": func(w *wire) error { return w.frames.WritePing(false, [8]byte{1}) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSecured(t, false)
			w := s.dial()
			for range 1_000_000 {
				if err := w.conn.SetWriteDeadline(time.Now().Add(5 * time.Second)); err != nil {
					t.Fatal(err)
				}
				if write(w) != nil {
					break // it hung up, or reads no more: either way nothing piles up
				}
			}
			s.goesOn()
		})
	}
}

// GO-2026-6617: a client changes the size of the table for headers while they are being encoded, which could end the process.
func TestThreat104_TheTableForHeadersMayChangeWhileItIsUsed(t *testing.T) {
	s := newSecured(t, false)
	w := s.dial()
	const atOnce = maxStreams / 2
	size := http2.Setting{ID: http2.SettingHeaderTableSize, Val: 1024} // always the same: hpack's decoder takes one change at a time
	for stream := uint32(1); stream < 40*atOnce; {
		first := stream
		for range atOnce {
			if err := errors.Join(w.frames.WriteSettings(size), w.request(stream, true, ":method", "GET", ":scheme", "https", ":authority", "gate", ":path", "/v2/")); err != nil {
				t.Fatal(err)
			}
			stream += 2
		}
		statuses := map[uint32]string{}
		for len(statuses) < atOnce {
			frame, err := w.frames.ReadFrame()
			if err != nil {
				t.Fatalf("%d answers after stream %d: %v", len(statuses), first, err)
			}
			switch f := frame.(type) {
			case *http2.MetaHeadersFrame:
				statuses[f.StreamID] = f.PseudoValue("status")
			case *http2.GoAwayFrame, *http2.RSTStreamFrame:
				t.Fatalf("it ends with %v", f)
			}
		}
	}
	s.goesOn()
}

// Of the two implementations of HTTP/2 it is the one that go.mod names: net/http has the faults of the Go that built it.
func TestThreat104_HTTP2IsOfTheVersionInGoMod(t *testing.T) {
	server := &http.Server{}
	secure(server, &tls.Config{})
	speaker := runtime.FuncForPC(reflect.ValueOf(server.TLSNextProto["h2"]).Pointer()).Name()
	if !strings.HasPrefix(speaker, "golang.org/x/net/http2.") {
		t.Errorf("HTTP/2 is spoken by %s", speaker)
	}
}

func TestThreat104_MalformedRequestsReachNobody(t *testing.T) {
	t.Parallel()
	s := newSecured(t, false)
	without := func(name string) []string {
		var rest []string
		for i := 0; i+1 < len(plainGet); i += 2 {
			if plainGet[i] != name {
				rest = append(rest, plainGet[i], plainGet[i+1])
			}
		}
		return rest
	}
	with := func(fields ...string) []string { return append(append([]string{}, plainGet...), fields...) }
	for name, fields := range map[string][]string{
		"no method":                     without(":method"),
		"no path":                       without(":path"),
		"no scheme":                     without(":scheme"),
		"a path twice":                  with(":path", "/v2/b/manifests/v1"),
		"a method twice":                with(":method", "PUT"),
		"a pseudo-header behind others": append([]string{"x-a", "b"}, plainGet...),
		"an unknown pseudo-header":      with(":protocol-x", "y"),
		"extended CONNECT":              {":method", "CONNECT", ":protocol", "websocket", ":scheme", "https", ":authority", "gate", ":path", "/v2/"},
		"a status in a request":         with(":status", "200"),
		"an upper-case name":            with("X-Upper", "x"),
		"te: chunked":                   with("te", "chunked"),
		"transfer-encoding":             with("transfer-encoding", "chunked"),
		"connection":                    with("connection", "x-a"),
		"upgrade":                       with("upgrade", "h2c"),
		"a line break in a value":       with("x-a", "b\r\nhost: evil"),
		"a NUL in a value":              with("x-a", "b\x00"),
		"a space in a name":             with("x a", "b"),
		"an empty path":                 append(without(":path"), ":path", ""),
		"a path that is a URL":          append(without(":path"), ":path", "https://elsewhere/v2/a/manifests/v1"),
		"a path with a line break":      append(without(":path"), ":path", "/v2/a/manifests/v1\r\nx: y"),
	} {
		t.Run(name, func(t *testing.T) {
			before := s.upstream.Load()
			w := s.dial()
			if err := w.request(1, true, fields...); err != nil {
				t.Fatal(err)
			}
			got := w.end(1)
			if got == "nothing" || strings.HasPrefix(got, "2") || strings.HasPrefix(got, "3") || strings.HasPrefix(got, "1") {
				t.Errorf("got %s", got)
			}
			if n := s.upstream.Load() - before; n != 0 {
				t.Errorf("it reached the upstream (%s)", got)
			}
		})
	}
	s.goesOn()
}

// TestThreat104_ALengthOfNoBodyIsNotPassedOn: such a request has ended with its headers. It is taken for the one request that
// it is; what reaches the registry is made anew, and nothing follows it.
func TestThreat104_ALengthOfNoBodyIsNotPassedOn(t *testing.T) {
	t.Parallel()
	for name, fields := range map[string][]string{
		"a length": {"content-length", "5"}, "two lengths": {"content-length", "0", "content-length", "5"}, "a negative length": {"content-length", "-1"},
	} {
		s := newSecured(t, false)
		w := s.dial()
		if err := w.request(1, true, append(append([]string{}, plainGet...), fields...)...); err != nil {
			t.Fatal(err)
		}
		if got := w.end(1); got != "404" && !strings.HasPrefix(got, "reset") && got != "400" {
			t.Errorf("%s: got %s", name, got)
		}
		if n := s.upstream.Load(); n > 1 {
			t.Errorf("%s: %d requests reached the upstream", name, n)
		}
		s.goesOn()
	}
}

func TestThreat104_ABodyOfAnotherLengthIsNoBody(t *testing.T) {
	t.Parallel()
	s := newSecured(t, false)
	for _, c := range []struct{ announced, sent string }{{"5", "hello, world"}, {"50", "hello"}, {"0", "x"}} {
		w := s.dial()
		digest := "sha256:" + strings.Repeat("0", 64)
		err := w.request(1, false, ":method", "POST", ":scheme", "https", ":authority", "gate", ":path", "/v2/a/blobs/uploads/?digest="+digest,
			"content-length", c.announced, "content-type", "application/octet-stream")
		if err != nil {
			t.Fatal(err)
		}
		if err := w.frames.WriteData(1, true, []byte(c.sent)); err != nil {
			t.Fatal(err)
		}
		if got := w.end(1); strings.HasPrefix(got, "2") || got == "nothing" {
			t.Errorf("%s announced, %d sent: got %s", c.announced, len(c.sent), got)
		}
	}
	s.goesOn()
}

func TestThreat104_FramesThatBreakTheProtocolEndTheConnection(t *testing.T) {
	t.Parallel()
	s := newSecured(t, false)
	for name, write := range map[string]func(w *wire) error{
		"a stream of the server's":  func(w *wire) error { return w.request(2, true, plainGet...) },
		"data before a request":     func(w *wire) error { return w.frames.WriteData(1, true, []byte("x")) },
		"a continuation of nothing": func(w *wire) error { return w.frames.WriteContinuation(1, true, w.header(plainGet...)) },
		"a window that overflows": func(w *wire) error {
			return errors.Join(w.frames.WriteWindowUpdate(0, 1<<31-1), w.frames.WriteWindowUpdate(0, 1<<31-1))
		},
		"a frame larger than allowed": func(w *wire) error { return w.frames.WriteRawFrame(http2.FrameData, 0, 1, make([]byte, maxFrame+1)) },
		"a promise": func(w *wire) error {
			return w.frames.WriteRawFrame(http2.FramePushPromise, http2.FlagPushPromiseEndHeaders, 1, []byte{0, 0, 0, 2})
		},
		"headers that do not decode": func(w *wire) error {
			return w.frames.WriteRawFrame(http2.FrameHeaders, http2.FlagHeadersEndHeaders|http2.FlagHeadersEndStream, 1, []byte{0xff, 0xff, 0xff, 0xff, 0xff})
		},
	} {
		w := s.dial()
		if err := write(w); err != nil {
			t.Fatal(name, err)
		}
		if got := w.end(0); got != "hung up" && !strings.HasPrefix(got, "goaway") {
			t.Errorf("%s: got %s", name, got)
		}
	}
	if got := s.upstream.Load(); got != 0 {
		t.Errorf("%d requests reached the upstream", got)
	}
	s.goesOn()
}

func TestThreat100_HTTP2IsSpokenOverTLSAlone(t *testing.T) {
	t.Parallel()
	e := newEdge(t)
	conn, err := net.Dial("tcp", e.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	frames := http2.NewFramer(conn, conn)
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	if err := frames.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	if frame, err := frames.ReadFrame(); err == nil && frame.Header().Type == http2.FrameSettings {
		t.Error("it speaks HTTP/2 in plain text")
	}
}
