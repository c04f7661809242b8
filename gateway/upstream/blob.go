package upstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/url"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/policy/manifest"
)

// Blob reads a blob as a whole, at most limit bytes, and hashes it. Errors: [ErrNotFound], [ErrDigest], [ErrTooLarge],
// [*StatusError].
func (r *Registry) Blob(ctx context.Context, repo string, d digest.Digest, limit int64) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	resp, err := r.getBlob(ctx, http.MethodGet, repo, d)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	raw, err := readWhole(resp, limit)
	if err == nil {
		err = checkDigest(raw, d)
	}
	if err != nil {
		return nil, fmt.Errorf("read blob %s of %s: %w", d, repo, err)
	}
	return raw, nil
}

// OpenBlob streams a blob; size is its length in bytes, -1 when the registry did not say. The stream ends in io.EOF when
// its bytes hash to d, and in an error otherwise; the caller bounds how much of it is read, by when, and closes it.
func (r *Registry) OpenBlob(ctx context.Context, repo string, d digest.Digest) (body io.ReadCloser, size int64, err error) {
	resp, err := r.getBlob(ctx, http.MethodGet, repo, d)
	if err != nil {
		return nil, 0, err
	}
	if resp.StatusCode != http.StatusOK {
		discard(resp)
		return nil, 0, fmt.Errorf("open blob %s of %s: status %d for the whole of it", d, repo, resp.StatusCode)
	}
	return &hashedBody{ReadCloser: resp.Body, want: d, hash: d.Algorithm().Hash()}, resp.ContentLength, nil
}

func (r *Registry) getBlob(ctx context.Context, method, repo string, d digest.Digest) (*http.Response, error) {
	if err := checkRepository(repo); err != nil {
		return nil, err
	}
	if err := manifest.CheckDigest(d); err != nil {
		return nil, err
	}
	return r.Do(ctx, Request{Method: method, Repo: repo, Path: "/v2/" + repo + "/blobs/" + d.String()})
}

// hashedBody ends well only when all that was read hashes to the digest.
type hashedBody struct {
	io.ReadCloser
	want digest.Digest
	hash hash.Hash
}

func (b *hashedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.hash.Write(p[:n])
	if errors.Is(err, io.EOF) {
		if got := digest.NewDigest(b.want.Algorithm(), b.hash); got != b.want {
			return n, fmt.Errorf("%w: got %s, want %s", ErrDigest, got, b.want)
		}
	}
	return n, err
}

// PutBlob makes sure that the repository has the blob d, whose bytes are raw: nothing is sent when it is there.
func (r *Registry) PutBlob(ctx context.Context, repo string, d ocispec.Descriptor, raw []byte) error {
	if err := manifest.CheckDigest(d.Digest); err != nil {
		return err
	}
	if err := checkDigest(raw, d.Digest); err != nil {
		return fmt.Errorf("write blob: %w", err)
	}
	there, err := r.getBlob(ctx, http.MethodHead, repo, d.Digest)
	if err == nil {
		discard(there)
		return nil
	}
	if !errors.Is(err, ErrNotFound) {
		return err
	}

	begun, err := r.Do(ctx, Request{Method: http.MethodPost, Repo: repo, Path: "/v2/" + repo + "/blobs/uploads/"})
	if err != nil {
		return err
	}
	discard(begun)
	path, query, err := r.Location(begun)
	if err != nil {
		return fmt.Errorf("upload blob %s to %s: %w", d.Digest, repo, err)
	}
	if query != "" {
		query += "&"
	}
	done, err := r.Do(ctx, Request{
		Method: http.MethodPut, Repo: repo, Path: path, RawQuery: query + "digest=" + url.QueryEscape(d.Digest.String()),
		Header: http.Header{"Content-Type": {"application/octet-stream"}},
		Body:   bytes.NewReader(raw), Length: int64(len(raw)),
	})
	if err != nil {
		return err
	}
	discard(done)
	return nil
}
