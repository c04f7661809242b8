package gateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/gateway/upstream"
	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/policy/manifest"
	"golang.org/x/sync/errgroup"
)

// maxListBytes bounds a list that an upstream sends, and is about 400,000 tags.
const maxListBytes = 32 << 20

// listTags answers GET of a repository's tags, with the name that the client knows it by.
func (g *Gateway) listTags(x *exchange) error {
	if err := g.mayRead(x); err != nil {
		return err
	}
	var list struct {
		Name string   `json:"name"`
		Tags []string `json:"tags"`
	}
	more, err := x.page("/v2/"+x.name+"/tags/list", &list)
	if err != nil {
		return err
	}
	list.Name = x.t.Repo
	if list.Tags == nil {
		list.Tags = []string{} // "tags": null trips clients
	}
	if n := len(list.Tags); more && n > 0 && list.Tags[n-1] != x.t.Last { // else the registry goes in circles
		x.continueBehind(location(x, "tags", "list"), list.Tags[n-1])
	}
	return x.json(list)
}

// page reads one page of a list from the registry and reports whether there are more.
func (x *exchange) page(path string, list any) (more bool, err error) {
	query := url.Values{}
	if x.t.N >= 0 {
		query.Set("n", strconv.Itoa(x.t.N))
	}
	if x.t.Last != "" {
		query.Set("last", x.t.Last)
	}
	return readPage(x.r, x.registry, path, query, list)
}

func readPage(r *http.Request, registry *upstream.Registry, path string, query url.Values, list any) (more bool, err error) {
	resp, err := registry.Do(r.Context(), upstream.Request{Method: http.MethodGet, Path: path, RawQuery: query.Encode()})
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxListBytes+1))
	if err == nil && len(raw) > maxListBytes {
		err = fmt.Errorf("more than %d bytes", maxListBytes)
	}
	if err == nil {
		err = json.Unmarshal(raw, list)
	}
	if err != nil {
		return false, fmt.Errorf("read list %s: %w", path, err)
	}
	return strings.Contains(resp.Header.Get("Link"), `rel="next"`), nil
}

// continueBehind tells the client where the list goes on: at this gateway, whatever the upstream's link said.
func (x *exchange) continueBehind(path, last string) {
	separator := "?"
	if strings.Contains(path, "?") {
		separator = "&"
	}
	next := path + separator + "last=" + url.QueryEscape(last)
	if x.t.N >= 0 {
		next += "&n=" + strconv.Itoa(x.t.N)
	}
	x.w.Header().Set("Link", "<"+next+`>; rel="next"`)
}

func (x *exchange) json(v any) error { return x.document(v, "application/json") }

func (x *exchange) document(v any, mediaType string) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("word the answer: %w", err)
	}
	x.w.Header().Set("Content-Type", mediaType)
	x.w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_, err = x.w.Write(body)
	return err
}

// defaultPage is how many repositories a catalog shows when the client does not say.
const defaultPage = 100

// listCatalog answers GET of the repositories: of every registry behind the gateway that tells, under the names that
// clients use, in one order.
func (g *Gateway) listCatalog(x *exchange) error {
	n := x.t.N
	if n < 0 {
		n = defaultPage
	}
	var names []string
	more := false
	for _, registry := range x.re.Registries.All() {
		if x.t.Namespace != "" && registry.Name() != x.t.Namespace {
			continue
		}
		page, rest, err := catalogPage(x, registry, n)
		if status := new(upstream.StatusError); errors.As(err, &status) && status.Status < 500 {
			continue // this registry keeps no catalog, or not for us
		}
		if err != nil {
			return fmt.Errorf("catalog of %s: %w", registry.Name(), err)
		}
		names, more = append(names, page...), more || rest
	}

	slices.Sort(names)
	if len(names) > n {
		names, more = names[:n], true
	}
	if more && len(names) > 0 {
		x.continueBehind("/v2/_catalog", names[len(names)-1])
	}
	if names == nil {
		names = []string{}
	}
	return x.json(struct {
		Repositories []string `json:"repositories"`
	}{names})
}

// Bounds of one look at a registry's catalog: repositories that the client may not see take no place in what it gets, so one
// page for it can be several of the registry's.
const (
	maxCatalogPages = 100
	minCatalogPage  = 100
	maxCatalogPage  = 1000 // what distribution gives at most
)

// catalogPage reads at least n repositories of one registry that come behind the client's last one, where there are as many
// that the client may see.
func catalogPage(x *exchange, registry *upstream.Registry, n int) (names []string, more bool, err error) {
	prefix := registry.Prefix()
	last := ""
	switch from := x.t.Last; {
	case n == 0:
		return nil, false, nil
	case strings.HasPrefix(from, prefix):
		last = from[len(prefix):]
	case prefix < from:
		return nil, false, nil // all of this registry's names come before
	}
	seen := map[string]bool{}
	more = true
	for page := 0; more && len(names) < n && page < maxCatalogPages; page++ {
		query := url.Values{"n": {strconv.Itoa(min(max(n, minCatalogPage), maxCatalogPage))}}
		if last != "" {
			query.Set("last", last)
		}
		var list struct {
			Repositories []string `json:"repositories"`
		}
		more, err = readPage(x.r, registry, "/v2/_catalog", query, &list)
		if err != nil {
			return nil, false, err
		}
		progress := false
		for _, name := range list.Repositories {
			if seen[name] || prefix+name <= x.t.Last {
				continue // a registry that does not know last begins again
			}
			seen[name], last, progress = true, name, true
			if x.mayPull(prefix+name) && checkRepository(prefix+name) == nil {
				names = append(names, prefix+name)
			}
		}
		more = more && progress
	}
	return names, more, nil
}

// listReferrers answers GET of what refers to a digest, from every place where a registry keeps it. Entries show what the
// manifests say of themselves: lists are known to lie about artifact types.
func (g *Gateway) listReferrers(x *exchange) error {
	if err := g.mayRead(x); err != nil {
		return err
	}
	listed, err := x.re.Registries.Listed(x.r.Context(), policy.Subject{Repo: x.t.Repo, Digest: x.t.Digest})
	if err != nil {
		return fmt.Errorf("list referrers: %w", err)
	}
	found := make([]*ocispec.Descriptor, len(listed))
	entries, ctx := errgroup.WithContext(x.r.Context())
	entries.SetLimit(8)
	for i, d := range listed {
		entries.Go(func() error {
			m, err := g.fetch(ctx, x.re, Target{Repo: x.t.Repo, Digest: d.Digest})
			switch {
			case errors.Is(err, upstream.ErrNotFound) || errors.Is(err, manifest.ErrInvalid):
				return nil // listed, and not there or nothing that can be read
			case err != nil:
				return fmt.Errorf("read referrer %s: %w", d.Digest, err)
			case m.Subject == nil || m.Subject.Digest != x.t.Digest:
				return nil // the list lies
			}
			entry := descriptor(m)
			found[i] = &entry
			return nil
		})
	}
	if err := entries.Wait(); err != nil {
		return err
	}

	index := ocispec.Index{MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{}}
	index.SchemaVersion = 2
	for _, d := range found {
		if d != nil && (x.t.ArtifactType == "" || d.ArtifactType == x.t.ArtifactType) {
			index.Manifests = append(index.Manifests, *d)
		}
	}
	if x.t.ArtifactType != "" {
		x.w.Header().Set("Oci-Filters-Applied", "artifactType")
	}
	return x.document(index, ocispec.MediaTypeImageIndex)
}
