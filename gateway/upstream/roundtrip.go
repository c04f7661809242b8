package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"
)

// handlerTransport sends requests to a handler in this process as if there were a connection between: both bodies stream,
// a cancelled request cancels the handler, an answer shorter than its Content-Length ends in an error, and a panic is an
// error.
type handlerTransport struct {
	handler http.Handler
	running sync.WaitGroup // handlers

	mu     sync.Mutex // guards closed, and keeps a start out of the end
	closed bool
}

var errClosed = errors.New("the embedded registry is closed")

// RoundTrip returns when the handler has written the first byte of its body, or is done: a server, too, holds an answer
// without a body back until its handler returned. Distribution tidies up behind its answers, and the next request of an
// upload must not come in between. A handler with a body runs on until that is read or closed.
func (t *handlerTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(req.Context())
	body := &requestBody{from: req.Body, left: req.ContentLength}
	if req.Body == nil {
		body.from, body.left = http.NoBody, 0
	}
	answer := newAnswer(req.Method)
	started := t.start(func() {
		defer cancel()
		defer body.Close()
		err := t.call(answer, received(ctx, req, body))
		if err == nil {
			err = context.Cause(req.Context()) // a handler that stopped because it had to did not finish
		}
		answer.finish(err)
	})
	if !started {
		cancel()
		return nil, errors.Join(errClosed, body.Close())
	}

	select {
	case <-answer.begun:
	case <-ctx.Done():
		answer.abort(context.Cause(ctx))
		<-answer.begun
	}
	if err := answer.failure(); err != nil {
		cancel()
		return nil, err
	}
	if err := body.failure(); err != nil && answer.status >= 400 {
		answer.abort(err)
		cancel()
		return nil, err // the handler's complaint about a body that we could not read is our own error
	}
	stop := context.AfterFunc(req.Context(), func() { answer.abort(context.Cause(req.Context())) })
	return &http.Response{
		Status: strconv.Itoa(answer.status) + " " + http.StatusText(answer.status), StatusCode: answer.status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: answer.sent, ContentLength: answer.length, Request: req,
		Body: &answerBody{answer.reader, func() { stop(); cancel() }},
	}, nil
}

// start runs a handler, unless none may begin any more.
func (t *handlerTransport) start(handler func()) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return false
	}
	t.running.Go(handler)
	return true
}

// wait lets no handler begin any more. It returns when none runs any more, or with an error after at most that long.
func (t *handlerTransport) wait(most time.Duration) error {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()

	done := make(chan struct{})
	go func() {
		t.running.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-time.After(most):
		return errors.New("requests are still under way")
	}
}

func (t *handlerTransport) call(w http.ResponseWriter, r *http.Request) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("embedded registry panicked: %v\n%s", p, debug.Stack())
		}
	}()
	t.handler.ServeHTTP(w, r)
	return nil
}

// received is the request as a server would have read it from a connection.
func received(ctx context.Context, req *http.Request, body io.ReadCloser) *http.Request {
	in := req.Clone(ctx)
	in.URL = &url.URL{Path: req.URL.Path, RawPath: req.URL.RawPath, RawQuery: req.URL.RawQuery}
	in.RequestURI = in.URL.RequestURI()
	in.Host, in.RemoteAddr = req.URL.Host, "in-process"
	in.Proto, in.ProtoMajor, in.ProtoMinor = "HTTP/1.1", 1, 1
	in.Body = body
	in.GetBody = nil
	if req.ContentLength > 0 {
		in.Header.Set("Content-Length", strconv.FormatInt(req.ContentLength, 10))
	}
	// A handler that looks for form values would read these bodies into memory and files.
	if kind := strings.ToLower(in.Header.Get("Content-Type")); strings.Contains(kind, "form") {
		in.Header.Set("Content-Type", "application/octet-stream")
	}
	return in
}

// requestBody is exactly as long as was declared, or fails; how it failed is remembered.
type requestBody struct {
	from io.ReadCloser
	left int64 // -1: unknown

	mu  sync.Mutex // guards all below
	err error
}

func (b *requestBody) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, io.EOF
	}
	if b.left > 0 && int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.from.Read(p)
	if b.left > 0 {
		b.left -= int64(n)
		if b.left == 0 && err == nil {
			// The last bytes are here, but the source may still have something to say about the whole.
			err = b.end()
		} else if errors.Is(err, io.EOF) && b.left > 0 {
			err = io.ErrUnexpectedEOF
		}
	}
	if err != nil && !errors.Is(err, io.EOF) {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.err == nil {
			b.err = err
		}
	}
	return n, err
}

// end asks the source for its end, and fails when it goes on instead.
func (b *requestBody) end() error {
	var one [1]byte
	n, err := io.ReadFull(b.from, one[:])
	if n > 0 {
		return errors.New("the body is longer than declared")
	}
	return err
}

func (b *requestBody) Close() error { return b.from.Close() }

func (b *requestBody) failure() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

// answer is the handler's http.ResponseWriter. What the handler says is written by the handler alone before begun is
// closed, and read by others only behind it and where err is nil.
type answer struct {
	method string
	header http.Header

	status  int // 0 until the handler said it
	sent    http.Header
	length  int64 // declared by the handler, -1 when not
	written int64

	begun chan struct{}
	once  sync.Once // closes begun
	err   error     // instead of an answer

	reader *io.PipeReader
	writer *io.PipeWriter
}

func newAnswer(method string) *answer {
	a := &answer{method: method, header: http.Header{}, begun: make(chan struct{}), length: -1}
	a.reader, a.writer = io.Pipe()
	return a
}

func (a *answer) Header() http.Header { return a.header }

// WriteHeader settles what the answer begins with. Informational answers are not sent on.
func (a *answer) WriteHeader(status int) {
	if status < 200 || a.status != 0 {
		return
	}
	a.status, a.sent = status, a.header.Clone()
	if n, err := strconv.ParseInt(a.sent.Get("Content-Length"), 10, 64); err == nil && n >= 0 {
		a.length = n
	}
}

// begin sends what WriteHeader settled.
func (a *answer) begin() { a.once.Do(func() { close(a.begun) }) }

func (a *answer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	switch {
	case a.failure() != nil:
		return 0, a.failure()
	case a.status == http.StatusNoContent || a.status == http.StatusNotModified:
		return 0, http.ErrBodyNotAllowed
	case a.method == http.MethodHead:
		return len(p), nil
	case a.length >= 0 && a.written+int64(len(p)) > a.length:
		return 0, http.ErrContentLength
	}
	a.begin()
	n, err := a.writer.Write(p)
	a.written += int64(n)
	return n, err
}

// finish ends the answer when the handler returned, with the panic that it ended in.
func (a *answer) finish(err error) {
	if err != nil {
		a.abort(err)
		return
	}
	a.WriteHeader(http.StatusOK)
	defer a.begin()
	bodiless := a.method == http.MethodHead || a.status == http.StatusNoContent || a.status == http.StatusNotModified
	if a.length >= 0 && a.written != a.length && !bodiless {
		a.writer.CloseWithError(io.ErrUnexpectedEOF)
		return
	}
	a.writer.Close()
}

// abort ends the answer with an error: instead of it, or in the middle of its body.
func (a *answer) abort(err error) {
	a.once.Do(func() {
		a.err = err
		close(a.begun)
	})
	a.writer.CloseWithError(err)
}

// failure is the error instead of an answer, once begun is closed.
func (a *answer) failure() error {
	select {
	case <-a.begun:
		return a.err
	default:
		return nil
	}
}

// answerBody ends the handler when it is closed.
type answerBody struct {
	*io.PipeReader
	end func()
}

func (b *answerBody) Close() error {
	b.end()
	return b.PipeReader.Close()
}
