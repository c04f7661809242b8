package upstream

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"
)

// spliceTransport reads blobs over plain TCP in a way that lets the kernel move the bodies. http.Transport hides the
// connection behind buffers, so every byte of a blob would be copied into this process and out again; here a body is an
// [io.WriterTo] that hands the connection itself to the client's, and on Linux that is a splice. It speaks HTTP/1.1 to one
// origin, sends GETs without a body, and is safe for concurrent use.
type spliceTransport struct {
	dial func(ctx context.Context, network, address string) (net.Conn, error)

	mu   sync.Mutex
	idle []*spliceConn // the most recently used last
}

// spliceConn is a connection with what was read of it and not used yet.
type spliceConn struct {
	tcp    *net.TCPConn
	head   *headReader
	reader *bufio.Reader // of head; small, because what it holds of a body is copied
	since  time.Time     // when it became idle
}

// headReader bounds how much is read while headers are parsed, which net/http does not do for us here.
type headReader struct {
	from  io.Reader
	left  int64 // negative: unbounded
	heard bool  // something came since the request was sent
}

func (h *headReader) Read(p []byte) (int, error) {
	if h.left == 0 {
		return 0, fmt.Errorf("more than %d bytes of headers", maxResponseHeader)
	}
	if h.left > 0 && int64(len(p)) > h.left {
		p = p[:h.left]
	}
	n, err := h.from.Read(p)
	h.heard = h.heard || n > 0
	if h.left > 0 {
		h.left -= int64(n)
	}
	return n, err
}

// RoundTrip sends a request. A connection that was idle may end just then: where nothing of an answer came, the request goes
// over a new one, once.
func (t *spliceTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	if conn := t.take(); conn != nil {
		resp, err := t.exchange(req, conn)
		if err == nil {
			return resp, nil
		}
		conn.tcp.Close()
		if timeout := net.Error(nil); conn.head.heard || req.Context().Err() != nil || errors.As(err, &timeout) && timeout.Timeout() {
			return nil, err
		}
	}
	conn, err := t.open(req)
	if err != nil {
		return nil, err
	}
	resp, err := t.exchange(req, conn)
	if err != nil {
		conn.tcp.Close()
		return nil, err
	}
	return resp, nil
}

func (t *spliceTransport) open(req *http.Request) (*spliceConn, error) {
	dialled, err := t.dial(req.Context(), "tcp", hostPort(req.URL))
	if err != nil {
		return nil, err
	}
	tcp, ok := dialled.(*net.TCPConn)
	if !ok {
		dialled.Close()
		return nil, fmt.Errorf("a %T is no TCP connection", dialled)
	}
	head := &headReader{from: tcp}
	return &spliceConn{tcp: tcp, head: head, reader: bufio.NewReaderSize(head, 4<<10)}, nil
}

// take returns an idle connection that is silent: one with bytes that nobody asked for, or with an end, is of no use.
func (t *spliceTransport) take() *spliceConn {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.idle) > 0 {
		last := t.idle[len(t.idle)-1]
		t.idle = t.idle[:len(t.idle)-1]
		if time.Since(last.since) < idleTimeout && silent(last.tcp) {
			return last
		}
		last.tcp.Close()
	}
	return nil
}

// silent reports that a connection is open and has nothing to read. It does not wait.
func silent(tcp *net.TCPConn) bool {
	raw, err := tcp.SyscallConn()
	if err != nil {
		return false
	}
	nothing := false
	err = raw.Read(func(fd uintptr) bool {
		var b [1]byte
		_, err := syscall.Read(int(fd), b[:])
		nothing = errors.Is(err, syscall.EAGAIN)
		return true
	})
	return err == nil && nothing
}

func (t *spliceTransport) put(conn *spliceConn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.idle) == idleConnections {
		conn.tcp.Close()
		return
	}
	conn.since = time.Now()
	t.idle = append(t.idle, conn)
}

// CloseIdleConnections closes the connections that nobody uses.
func (t *spliceTransport) CloseIdleConnections() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, conn := range t.idle {
		conn.tcp.Close()
	}
	t.idle = nil
}

// exchange sends the request and reads the answer's head. The end of the request's context ends the connection.
func (t *spliceTransport) exchange(req *http.Request, conn *spliceConn) (*http.Response, error) {
	stop := context.AfterFunc(req.Context(), func() { conn.tcp.SetDeadline(time.Unix(1, 0)) })
	resp, err := conn.ask(req)
	if err != nil {
		stop()
		return nil, errors.Join(req.Context().Err(), err)
	}
	body := &splicedBody{transport: t, conn: conn, stop: stop}
	switch whole := resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusPartialContent; {
	case whole && resp.ContentLength >= 0 && len(resp.TransferEncoding) == 0:
		body.left, body.reusable = resp.ContentLength, !resp.Close
	default: // an error, or of unknown length: small, or rare
		body.plain = resp.Body
	}
	resp.Body = body
	return resp, nil
}

// max1xx bounds the interim answers before the answer.
const max1xx = 5

func (c *spliceConn) ask(req *http.Request) (*http.Response, error) {
	if err := c.tcp.SetDeadline(time.Now().Add(headerTimeout)); err != nil {
		return nil, err
	}
	if err := req.Context().Err(); err != nil {
		return nil, err // it ended before the deadline was set, and would be forgotten
	}
	if err := req.Write(c.tcp); err != nil {
		return nil, err
	}
	c.head.left, c.head.heard = maxResponseHeader, false
	for range max1xx {
		resp, err := http.ReadResponse(c.reader, req)
		if err != nil {
			return nil, err
		}
		if resp.StatusCode/100 != 1 {
			c.head.left = -1
			if req.Context().Err() == nil {
				err = c.tcp.SetDeadline(time.Time{})
			}
			return resp, err
		}
	}
	return nil, fmt.Errorf("more than %d interim answers", max1xx)
}

// splicedBody is a body that is still in its connection.
type splicedBody struct {
	transport *spliceTransport
	conn      *spliceConn
	stop      func() bool // ends the watch over the request's context; false when that ended first
	plain     io.Reader   // set instead of left for what is not spliced
	left      int64
	reusable  bool
	once      sync.Once
}

func (b *splicedBody) Read(p []byte) (int, error) {
	if b.plain != nil {
		return b.plain.Read(p)
	}
	if b.left == 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.conn.reader.Read(p)
	b.left -= int64(n)
	if errors.Is(err, io.EOF) && b.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// WriteTo copies what is buffered, and gives the rest to w as the connection itself.
func (b *splicedBody) WriteTo(w io.Writer) (int64, error) {
	if b.plain != nil {
		return io.Copy(w, b.plain)
	}
	written, err := io.CopyN(w, b.conn.reader, min(int64(b.conn.reader.Buffered()), b.left))
	b.left -= written
	if err != nil {
		return written, err
	}
	rest := &io.LimitedReader{R: b.conn.tcp, N: b.left}
	n, err := io.Copy(w, rest)
	b.left = rest.N
	if err == nil && b.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	return written + n, err
}

// Close keeps the connection when the body was read to its end, and ends it otherwise.
func (b *splicedBody) Close() error {
	b.once.Do(func() {
		if b.stop() && b.reusable && b.left == 0 && b.conn.reader.Buffered() == 0 {
			b.transport.put(b.conn)
			return
		}
		b.conn.tcp.Close()
	})
	return nil
}
