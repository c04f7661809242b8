package gateway

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sealgate/sealgate/gateway/ledger"
	"github.com/sealgate/sealgate/gateway/upstream"
	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/policy/manifest"
)

// pullBlob answers GET and HEAD of a blob: streamed as it comes, never kept. Blobs are named by manifests that were judged,
// and every client checks their digest. What is small enough to be a manifest is looked at first: a manifest gets the
// manifest's verdict, whichever door it is asked for at.
func (g *Gateway) pullBlob(x *exchange) error {
	if err := g.mayRead(x); err != nil {
		return err
	}
	if x.signsOnly && !x.t.Head { // whether a blob is there is what an upload begins with
		return g.pullEvidenceBlob(x)
	}
	if err := g.mayReadBlob(x); err != nil {
		return err
	}
	header := http.Header{}
	if ranges := x.r.Header.Get("Range"); ranges != "" && !x.t.Head {
		if len(ranges) > maxRange || strings.Contains(ranges, ",") {
			return &requestError{http.StatusRequestedRangeNotSatisfiable, "UNSUPPORTED", "one range at a time"}
		}
		header.Set("Range", ranges)
	}
	if served, err := g.serveFile(x); served || err != nil {
		return err
	}
	resp, err := x.registry.Do(x.r.Context(), upstream.Request{Method: x.r.Method, Path: blobPath(x), Header: header})
	if err != nil {
		return err
	}
	defer resp.Body.Close()

	if resp.StatusCode == http.StatusPartialContent {
		if total := totalSize(resp); total >= 0 && total <= manifest.MaxBytes {
			return g.pullSmallRange(x)
		}
		return stream(x, resp, resp.Body)
	}
	if x.t.Head || resp.ContentLength > manifest.MaxBytes {
		return stream(x, resp, resp.Body)
	}
	body := bufio.NewReaderSize(resp.Body, 512)
	if first, _ := body.Peek(1); len(first) == 1 && first[0] != '{' && !isSpace(first[0]) {
		return stream(x, resp, body)
	}
	small, err := io.ReadAll(io.LimitReader(body, manifest.MaxBytes+1))
	if err != nil {
		return fmt.Errorf("read blob %s: %w", x.t.Digest, err)
	}
	if len(small) > manifest.MaxBytes { // of unknown length, and too long for a manifest
		return stream(x, resp, io.MultiReader(bytes.NewReader(small), body))
	}
	return g.serveSmall(x, small)
}

// serveFile sends a blob that is a file of the embedded registry and too large for a manifest: the kernel copies it to the
// connection. It reports whether it did.
func (g *Gateway) serveFile(x *exchange) (served bool, err error) {
	file, err := x.registry.File(x.name, x.t.Digest)
	if file == nil || err != nil {
		return false, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return false, fmt.Errorf("size of blob %s: %w", x.t.Digest, err)
	}
	if info.Size() <= manifest.MaxBytes {
		return false, nil
	}
	x.describeBlob()
	http.ServeContent(x.w, x.r, "", time.Time{}, file)
	return true, nil
}

// describeBlob sets the headers that every answer with a blob has.
func (x *exchange) describeBlob() {
	h := x.w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Docker-Content-Digest", x.t.Digest.String())
	h.Set("Etag", `"`+x.t.Digest.String()+`"`)
}

// maxRange bounds the Range header, in bytes.
const maxRange = 128

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

// mayRead refuses blobs and lists where nothing may be pulled at all.
func (g *Gateway) mayRead(x *exchange) error {
	if x.rule.AllowsPull() || x.signsOnly {
		return nil
	}
	return g.enforce(x, ledger.Pull, x.t.Digest, judgement{verdict: x.rule.Judge(policy.Subject{Repo: x.t.Repo, Digest: x.t.Digest}, policy.Evidence{Pinned: true}, g.clock.now())})
}

// pullSmallRange serves a range of a blob that could be a manifest: from the whole of it, which can be judged.
func (g *Gateway) pullSmallRange(x *exchange) error {
	whole, err := x.registry.Blob(x.r.Context(), x.name, x.t.Digest, manifest.MaxBytes)
	if err != nil {
		return err
	}
	return g.serveSmall(x, whole)
}

// serveSmall serves a small blob that is here as a whole, after it was hashed, and judged when it reads as a manifest.
func (g *Gateway) serveSmall(x *exchange, raw []byte) error {
	if x.t.Digest.Algorithm().FromBytes(raw) != x.t.Digest {
		g.metrics.corrupt.Inc()
		return fmt.Errorf("blob %s: %w", x.t.Digest, upstream.ErrDigest)
	}
	if mediaType := manifestType(raw); mediaType != "" {
		m, err := manifest.Parse(raw, mediaType)
		if err != nil { // neither a plain blob nor a manifest that could be judged
			return &requestError{http.StatusNotFound, "BLOB_UNKNOWN", "the blob reads as a manifest and is not a valid one"}
		}
		if err := g.enforce(x, ledger.Pull, m.Digest, g.judge(x.r.Context(), x.re, x.t.Repo, true, m)); err != nil {
			return err
		}
	}
	x.describeBlob()
	http.ServeContent(x.w, x.r, "", time.Time{}, bytes.NewReader(raw))
	return nil
}

// manifestType is the type that a document would be served as if it were a manifest, empty for what is none. It errs on
// the side of a manifest: a configuration has neither layers nor manifests.
func manifestType(raw []byte) string {
	var probe struct {
		MediaType string          `json:"mediaType"`
		Layers    json.RawMessage `json:"layers"`
		FSLayers  json.RawMessage `json:"fsLayers"`
		Manifests json.RawMessage `json:"manifests"`
	}
	if json.Unmarshal(raw, &probe) != nil {
		return ""
	}
	switch {
	case probe.Layers == nil && probe.Manifests == nil && probe.FSLayers == nil:
		return ""
	case probe.MediaType != "":
		return probe.MediaType
	case probe.Manifests != nil:
		return "application/vnd.oci.image.index.v1+json"
	}
	return "application/vnd.oci.image.manifest.v1+json"
}

// totalSize reads the size of the whole from a 206, -1 when it does not say.
func totalSize(resp *http.Response) int64 {
	_, total, _ := strings.Cut(resp.Header.Get("Content-Range"), "/")
	n, err := strconv.ParseInt(total, 10, 64)
	if err != nil {
		return -1
	}
	return n
}

// stream copies a blob to the client. A copy that stops early ends the connection, never the body: a client must not take
// a part for the whole.
func stream(x *exchange, resp *http.Response, body io.Reader) error {
	h := x.w.Header()
	for _, name := range []string{"Content-Length", "Content-Range", "Accept-Ranges"} {
		if value := resp.Header.Get(name); value != "" {
			h.Set(name, value)
		}
	}
	x.describeBlob()
	x.w.WriteHeader(resp.StatusCode)
	if x.t.Head {
		return nil
	}

	n, err := transfer(x.w, body)
	if err == nil && resp.ContentLength >= 0 && n != resp.ContentLength {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	return nil
}

// transfer copies a body by the cheapest way that the connections allow: a body that knows one itself, which from plain HTTP
// to plain HTTP is the kernel's, or else a large buffer.
func transfer(w io.Writer, body io.Reader) (int64, error) {
	if direct, ok := body.(io.WriterTo); ok {
		return direct.WriteTo(w)
	}
	buffer := buffers.Get().(*[]byte)
	defer buffers.Put(buffer)
	return io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{body}, *buffer)
}

// buffers for streams: 256 KiB make a third fewer system calls' worth of work than net/http's 32.
var buffers = sync.Pool{New: func() any {
	b := make([]byte, 256<<10)
	return &b
}}

// deleteBlob removes a blob, where deleting is allowed and the blob is no part of a signature.
func (g *Gateway) deleteBlob(x *exchange) error {
	if err := g.mayDelete(x); err != nil {
		return err
	}
	raw, err := x.registry.Blob(x.r.Context(), x.name, x.t.Digest, manifest.MaxBytes)
	evidence := err == nil && isEvidencePayload(raw)
	if errors.Is(err, upstream.ErrTooLarge) {
		evidence, err = x.isLargeText()
	}
	switch {
	case err != nil:
		return err
	case evidence:
		return g.protect(x, "it is part of a signature or attestation")
	}
	resp, err := x.registry.Do(x.r.Context(), upstream.Request{Method: http.MethodDelete, Path: blobPath(x)})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	x.w.WriteHeader(http.StatusAccepted)
	return nil
}

// isLargeText reports that a blob that is too large to be read whole begins as attestations do, and layers do not.
func (x *exchange) isLargeText() (bool, error) {
	body, _, err := x.registry.OpenBlob(x.r.Context(), x.name, x.t.Digest)
	if err != nil {
		return false, err
	}
	defer body.Close()
	head := make([]byte, manifest.TextHead)
	if _, err := io.ReadFull(body, head); err != nil {
		return false, fmt.Errorf("read blob %s: %w", x.t.Digest, err)
	}
	return manifest.CheckText(head) == nil, nil
}

// isEvidencePayload recognises what the layers of Sigstore's manifests hold: a simple signing payload, a DSSE envelope or
// a bundle.
func isEvidencePayload(raw []byte) bool {
	var probe struct {
		Critical    json.RawMessage `json:"critical"`
		PayloadType string          `json:"payloadType"`
		MediaType   string          `json:"mediaType"`
	}
	return json.Unmarshal(raw, &probe) == nil &&
		(probe.Critical != nil || probe.PayloadType != "" || manifest.IsBundleType(probe.MediaType))
}

func blobPath(x *exchange) string { return "/v2/" + x.name + "/blobs/" + x.t.Digest.String() }
