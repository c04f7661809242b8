package upstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/policy/manifest"
)

// accept is the same for every request: a registry that chooses by Accept must choose the same for everybody.
var accept = strings.Join([]string{
	ocispec.MediaTypeImageIndex, ocispec.MediaTypeImageManifest, manifest.DockerIndex, manifest.DockerManifest,
}, ", ")

var tagPattern = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)

// Manifest reads a manifest by tag or digest: the very bytes, at most [manifest.MaxBytes] of them, and the Content-Type
// they came with. By digest they hash to it. Errors: [ErrNotFound], [ErrDigest], [ErrTooLarge], [*StatusError].
func (r *Registry) Manifest(ctx context.Context, repo, reference string) (raw []byte, mediaType string, err error) {
	path, err := manifestPath(repo, reference)
	if err != nil {
		return nil, "", err
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	resp, err := r.Do(ctx, Request{Method: http.MethodGet, Repo: repo, Path: path, Header: http.Header{"Accept": {accept}}})
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()

	raw, err = readWhole(resp, maxManifest)
	if err == nil {
		err = checkClaim(resp, raw)
	}
	if err == nil && strings.Contains(reference, ":") {
		err = checkDigest(raw, digest.Digest(reference))
	}
	if err != nil {
		return nil, "", fmt.Errorf("read manifest %s of %s: %w", reference, repo, err)
	}
	return raw, resp.Header.Get("Content-Type"), nil
}

// PutManifest writes a manifest under a tag or its digest.
func (r *Registry) PutManifest(ctx context.Context, repo, reference, mediaType string, raw []byte) error {
	path, err := manifestPath(repo, reference)
	if err != nil {
		return err
	}
	if strings.Contains(reference, ":") {
		if err := checkDigest(raw, digest.Digest(reference)); err != nil {
			return fmt.Errorf("write manifest: %w", err)
		}
	}
	resp, err := r.Do(ctx, Request{
		Method: http.MethodPut, Repo: repo, Path: path, Header: http.Header{"Content-Type": {mediaType}},
		Body: bytes.NewReader(raw), Length: int64(len(raw)),
	})
	if err != nil {
		return err
	}
	defer discard(resp)
	if err := checkClaim(resp, raw); err != nil {
		return fmt.Errorf("write manifest %s of %s: %w", reference, repo, err)
	}
	return nil
}

// DeleteManifest deletes a manifest by digest, or a tag where the registry can.
func (r *Registry) DeleteManifest(ctx context.Context, repo, reference string) error {
	path, err := manifestPath(repo, reference)
	if err != nil {
		return err
	}
	resp, err := r.Do(ctx, Request{Method: http.MethodDelete, Repo: repo, Path: path})
	if err != nil {
		return err
	}
	discard(resp)
	return nil
}

func manifestPath(repo, reference string) (string, error) {
	if err := checkRepository(repo); err != nil {
		return "", err
	}
	if strings.Contains(reference, ":") {
		if err := manifest.CheckDigest(digest.Digest(reference)); err != nil {
			return "", err
		}
	} else if !tagPattern.MatchString(reference) {
		return "", fmt.Errorf("%.150q is neither a tag nor a digest", reference)
	}
	return "/v2/" + repo + "/manifests/" + reference, nil
}

// readWhole reads the body of a 200, at most limit bytes of it, and all that its Content-Length promised.
func readWhole(resp *http.Response, limit int64) ([]byte, error) {
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %d for a whole document", resp.StatusCode)
	}
	if resp.ContentLength > limit {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, resp.ContentLength, limit)
	}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	switch {
	case err != nil:
		return nil, &wireError{err}
	case int64(len(raw)) > limit:
		return nil, fmt.Errorf("%w: more than %d bytes", ErrTooLarge, limit)
	case resp.ContentLength >= 0 && int64(len(raw)) != resp.ContentLength:
		return nil, fmt.Errorf("%d bytes came, %d were promised", len(raw), resp.ContentLength)
	}
	return raw, nil
}

// checkClaim holds raw against the Docker-Content-Digest of an answer, where it has one of an algorithm that we know.
func checkClaim(resp *http.Response, raw []byte) error {
	claim := digest.Digest(resp.Header.Get("Docker-Content-Digest"))
	if manifest.CheckDigest(claim) != nil {
		return nil
	}
	if err := checkDigest(raw, claim); err != nil {
		return errors.Join(err, errors.New("the registry's own Docker-Content-Digest differs from the bytes"))
	}
	return nil
}

func checkDigest(raw []byte, d digest.Digest) error {
	if got := d.Algorithm().FromBytes(raw); got != d {
		return fmt.Errorf("%w: got %s, want %s", ErrDigest, got, d)
	}
	return nil
}
