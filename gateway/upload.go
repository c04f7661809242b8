package gateway

import (
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/sealgate/sealgate/gateway/ledger"
	"github.com/sealgate/sealgate/gateway/upstream"
	"github.com/sealgate/sealgate/policy"
)

// Uploads pass through as they are, in chunks or in one piece; what they become part of is judged when the manifest comes.
// The upstream's location of an upload reaches the client as a sealed ticket (ticket.go).

// startUpload answers POST: an upload, a whole blob in one request, or a mount from another repository.
func (g *Gateway) startUpload(x *exchange) error {
	if err := g.mayUpload(x); err != nil {
		return err
	}
	query := url.Values{}
	header := http.Header{}
	var body io.Reader
	var length int64
	switch {
	case x.t.Digest != "":
		query.Set("digest", x.t.Digest.String())
		body, length = newDigestReader(g.body(x), x.t.Digest), x.r.ContentLength
		header.Set("Content-Type", "application/octet-stream")
	case x.t.Mount != "":
		if from, ok := g.mountSource(x); ok {
			query.Set("mount", x.t.Mount.String())
			query.Set("from", from)
		}
	}
	resp, err := x.registry.Do(x.r.Context(), upstream.Request{
		Method: http.MethodPost, Path: "/v2/" + x.name + "/blobs/uploads/", RawQuery: query.Encode(),
		Header: header, Body: body, Length: length,
	})
	if err != nil {
		return uploadError(err)
	}
	defer resp.Body.Close()

	if resp.StatusCode == http.StatusCreated {
		d := x.t.Digest // what was sent, whatever was to be mounted beside
		if d == "" {
			d = x.t.Mount
		}
		return g.blobCreated(x, d)
	}
	return g.uploadGoesOn(x, resp, x.t.Digest == "")
}

// mountSource names the repository that a blob is mounted from, at the upstream. Without the right to pull there, or from
// another registry, the mount is not tried and the client uploads.
func (g *Gateway) mountSource(x *exchange) (string, bool) {
	if x.t.From == "" || !x.re.Policy.Rule(x.t.From).AllowsPull() || !x.mayPull(x.t.From) || !g.mayMount(x, x.t.From, x.t.Mount) {
		return "", false
	}
	registry, name, ok := x.re.Registries.Find(x.t.From)
	return name, ok && registry == x.registry
}

// continueUpload answers the requests for an upload under way: its status, a chunk, its end, its cancellation.
func (g *Gateway) continueUpload(x *exchange) error {
	if err := g.mayUpload(x); err != nil {
		return err
	}
	t, err := g.uploads.open(x.t.Upload, x.t.Repo, x.caller.Name)
	if err != nil {
		return err
	}
	if t.Registry != x.registry.Name() {
		return &requestError{http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN", "no such upload; begin again"}
	}

	request := upstream.Request{Method: x.r.Method, Repo: x.name, Path: t.Path, RawQuery: t.Query, Header: http.Header{}}
	switch x.t.Kind {
	case UploadChunk:
		request.Body, request.Length = g.body(x), x.r.ContentLength
		opaque(request.Header, x.r.Header)
	case FinishUpload:
		if x.t.Digest == "" {
			return badRequest("DIGEST_INVALID", "the end of an upload names its digest: ?digest=sha256:…")
		}
		request.RawQuery = withDigest(t.Query, x.t.Digest)
		request.Body, request.Length = g.body(x), x.r.ContentLength
		if t.Fresh && x.r.ContentLength != 0 {
			request.Body = newDigestReader(g.body(x), x.t.Digest)
		}
		opaque(request.Header, x.r.Header)
	}

	resp, err := x.registry.Do(x.r.Context(), request)
	if err != nil {
		return uploadError(err)
	}
	defer resp.Body.Close()
	switch x.t.Kind {
	case FinishUpload:
		return g.blobCreated(x, x.t.Digest)
	case CancelUpload:
		x.w.WriteHeader(http.StatusNoContent)
		return nil
	}
	return g.uploadGoesOn(x, resp, t.Fresh && x.t.Kind == UploadStatus)
}

// mayUpload refuses bodies where nothing may be pushed, before they are sent, and encodings that nobody would undo.
func (g *Gateway) mayUpload(x *exchange) error {
	if encoding := x.r.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		return &requestError{http.StatusUnsupportedMediaType, "UNSUPPORTED", "a blob is pushed as it is, without a Content-Encoding"}
	}
	if x.rule.AllowsPush() || x.signs {
		return nil
	}
	return g.enforce(x, ledger.Push, x.t.Digest, judgement{verdict: x.rule.JudgePush(policy.Subject{Repo: x.t.Repo, Digest: x.t.Digest}, policy.Image{}, g.clock.now())})
}

// uploadGoesOn tells the client where its upload continues.
func (g *Gateway) uploadGoesOn(x *exchange, resp *http.Response, fresh bool) error {
	path, query, err := x.registry.Location(resp)
	if err != nil {
		return fmt.Errorf("where the upload continues: %w", err)
	}
	id := g.uploads.seal(ticket{Registry: x.registry.Name(), Repo: x.t.Repo, Client: x.caller.Name, Path: path, Query: query, Fresh: fresh})
	h := x.w.Header()
	h.Set("Location", location(x, "blobs", "uploads", id))
	h.Set("Content-Length", "0")
	copyHeader(h, resp.Header, "Range", "Docker-Upload-Uuid", "Oci-Chunk-Min-Length", "Oci-Chunk-Max-Length")
	x.w.WriteHeader(resp.StatusCode)
	return nil
}

func (g *Gateway) blobCreated(x *exchange, d digest.Digest) error {
	g.fresh.add(x, d)
	h := x.w.Header()
	h.Set("Location", location(x, "blobs", d.String()))
	h.Set("Docker-Content-Digest", d.String())
	h.Set("Content-Length", "0")
	x.w.WriteHeader(http.StatusCreated)
	return nil
}

// withDigest adds the digest to the query that the upstream gave, which stays as it is: it can be signed.
func withDigest(query string, d digest.Digest) string {
	digestQuery := "digest=" + url.QueryEscape(d.String())
	if query == "" {
		return digestQuery
	}
	return query + "&" + digestQuery
}

// opaque says that what follows is bytes, whatever the client calls them: a registry that reads forms would take a digest, or
// the upload's state, from the body.
func opaque(to, from http.Header) {
	copyHeader(to, from, "Content-Range")
	to.Set("Content-Type", "application/octet-stream")
}

func copyHeader(to, from http.Header, names ...string) {
	for _, name := range names {
		if value := from.Get(name); value != "" {
			to.Set(name, value)
		}
	}
}

// uploadError finds the client's own mistakes in what the way to the upstream reports.
func uploadError(err error) error {
	if errors.Is(err, errDigestMismatch) {
		return badRequest("DIGEST_INVALID", "the bytes are not those of the digest")
	}
	return err
}

var errDigestMismatch = errors.New("the bytes are not those of the digest")

// digestReader hashes a body on its way. Where it ends with other bytes than the digest's it fails instead of ending, so
// that the upstream never sees a whole upload.
type digestReader struct {
	body io.Reader
	want digest.Digest
	hash hash.Hash
}

func newDigestReader(body io.Reader, want digest.Digest) *digestReader {
	return &digestReader{body, want, want.Algorithm().Hash()}
}

func (d *digestReader) Read(p []byte) (int, error) {
	n, err := d.body.Read(p)
	d.hash.Write(p[:n])
	if errors.Is(err, io.EOF) && digest.NewDigest(d.want.Algorithm(), d.hash) != d.want {
		return n, errDigestMismatch
	}
	return n, err
}

// body is the request's, of a client that has to go on sending.
func (g *Gateway) body(x *exchange) io.Reader {
	return &patientReader{x.r.Body, http.NewResponseController(x.w), g.patience}
}

// patientReader ends the body of a client that sends nothing for too long: it would hold a connection to the upstream, and an
// upload there.
type patientReader struct {
	body       io.Reader
	connection *http.ResponseController
	patience   time.Duration
}

func (p *patientReader) Read(b []byte) (int, error) {
	_ = p.connection.SetReadDeadline(time.Now().Add(p.patience)) // not every writer has one, and then nothing drips
	n, err := p.body.Read(b)
	if errors.Is(err, io.EOF) {
		_ = p.connection.SetReadDeadline(time.Time{}) // the registry may take its time, and the connection goes on
	}
	return n, err // after an error the deadline stays: the server waits for the rest before it answers
}
