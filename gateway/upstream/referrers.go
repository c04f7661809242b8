package upstream

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/policy/manifest"
)

// referrersMemory is what is known about a registry's referrers API, for [referrersTime].
type referrersMemory struct {
	never bool         // known from construction
	until atomic.Int64 // in Unix nanoseconds: up to then it is believed to have none
}

func (m *referrersMemory) lacking() bool { return m.never || time.Now().UnixNano() < m.until.Load() }

func (m *referrersMemory) note(supported bool) {
	until := int64(0)
	if !supported {
		until = time.Now().Add(referrersTime).UnixNano()
	}
	m.until.Store(until)
}

// Referrers lists what the registry's referrers API knows to refer to a subject, unfiltered. supported is false for a
// registry that has no such API; that is remembered for some minutes. Anything but a whole, well-formed list or a 404 is
// an error: "could not find out" is never "none".
func (r *Registry) Referrers(ctx context.Context, repo string, subject digest.Digest) (list []ocispec.Descriptor, supported bool, err error) {
	if err := errors.Join(checkRepository(repo), manifest.CheckDigest(subject)); err != nil {
		return nil, false, err
	}
	if r.referrers.lacking() {
		return nil, false, nil
	}
	list, err = r.listReferrers(ctx, repo, "/v2/"+repo+"/referrers/"+subject.String())
	if status := new(StatusError); errors.As(err, &status) && status.NotFound() {
		// "A 404 Not Found response MUST be interpreted as the registry not supporting the referrers API". Unless it
		// says that it is the repository which is unknown, that holds for the next one too.
		if status.Code != "NAME_UNKNOWN" && status.Code != "MANIFEST_UNKNOWN" {
			r.referrers.note(false)
		}
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("list referrers of %s@%s: %w", repo, subject, err)
	}
	r.referrers.note(true)
	return list, true, nil
}

// listReferrers reads all pages. A 404 behind the first page is no missing API, and not a [*StatusError].
func (r *Registry) listReferrers(ctx context.Context, repo, path string) ([]ocispec.Descriptor, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	var (
		list  []ocispec.Descriptor
		seen  = map[string]bool{}
		query string
		bytes int
	)
	for page := 1; ; page++ {
		if page > maxReferrerPages {
			return nil, fmt.Errorf("more than %d pages", maxReferrerPages)
		}
		if seen[path+"?"+query] {
			return nil, fmt.Errorf("page %d leads back to an earlier one", page-1)
		}
		seen[path+"?"+query] = true

		m, resp, err := r.referrersPage(ctx, Request{Method: http.MethodGet, Repo: repo, Path: path, RawQuery: query,
			Header: http.Header{"Accept": {ocispec.MediaTypeImageIndex}}})
		if err != nil && page > 1 {
			return nil, fmt.Errorf("page %d: %s", page, err.Error())
		}
		if err != nil {
			return nil, err
		}
		list, bytes = append(list, m.Manifests...), bytes+len(m.Raw)
		if len(list) > maxReferrers || bytes > maxReferrerBytes {
			return nil, fmt.Errorf("%w: more than %d referrers or %d bytes", ErrTooLarge, maxReferrers, maxReferrerBytes)
		}
		next, nextQuery, err := r.Next(resp)
		if err != nil {
			return nil, fmt.Errorf("page %d: %w", page, err)
		}
		if next == "" {
			return list, nil
		}
		if len(m.Manifests) == 0 {
			return nil, fmt.Errorf("page %d is empty and leads on", page)
		}
		path, query = next, nextQuery
	}
}

// referrersPage reads one page: "the response MUST be a JSON body with an OCI image index" of that Content-Type.
func (r *Registry) referrersPage(ctx context.Context, q Request) (*manifest.Manifest, *http.Response, error) {
	resp, err := r.Do(ctx, q)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	raw, err := readWhole(resp, maxManifest)
	if err != nil {
		return nil, nil, err
	}
	m, err := manifest.Parse(raw, resp.Header.Get("Content-Type"))
	if err != nil {
		return nil, nil, err
	}
	if !m.IsIndex() {
		return nil, nil, fmt.Errorf("a list of type %s", m.MediaType)
	}
	return m, resp, nil
}
