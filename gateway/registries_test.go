package gateway_test

import (
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/opencontainers/go-digest"
	"github.com/sealgate/sealgate/gateway/upstream"
)

func registryAt(t *testing.T, name, prefix string, h http.Handler) *upstream.Registry {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	origin, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	r, err := upstream.New(upstream.Options{Name: name, Prefix: prefix, URL: origin})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// newRegistryWithReferrers is a registry of somebody else's that has the referrers API.
func newRegistryWithReferrers() http.Handler {
	return registry.New(registry.WithReferrersSupport(true), registry.Logger(log.New(io.Discard, "", 0)))
}

func TestARegistryWithTheReferrersAPIKeepsTheSealInItsOwnList(t *testing.T) {
	h := newRegistryWithReferrers()
	r := newRigBefore(t, registryAt(t, "other", "", h))
	im := newImage("65532", "x")
	if a := r.push("acme/app", "v1", im); a.status != http.StatusCreated {
		t.Fatalf("push: %d %s", a.status, a.body)
	}
	r.want(http.StatusOK, "GET", "/v2/acme/app/manifests/v1", nil)
	if got := r.referrers("acme/app", im.digest); got != 1 {
		t.Errorf("got %d referrers, want the seal", got)
	}
	own := httptest.NewRecorder()
	h.ServeHTTP(own, httptest.NewRequest("GET", "/v2/acme/app/referrers/"+im.digest.String(), nil))
	if own.Code != http.StatusOK || !strings.Contains(own.Body.String(), "sigstore.bundle") {
		t.Errorf("the registry's own list: %d %s", own.Code, own.Body)
	}
	fallback := httptest.NewRecorder()
	h.ServeHTTP(fallback, httptest.NewRequest("GET", "/v2/acme/app/manifests/sha256-"+im.digest.Encoded(), nil))
	if fallback.Code != http.StatusNotFound {
		t.Errorf("a fallback tag was written where nobody needs it: %d", fallback.Code)
	}
}

// newRigOfTwo has an embedded registry without a prefix, and another behind other/.
func newRigOfTwo(t *testing.T) *rig {
	t.Helper()
	local, err := upstream.NewEmbedded("local", "", filepath.Join(t.TempDir(), "registry"))
	if err != nil {
		t.Fatal(err)
	}
	r := newRigBefore(t, local)
	all, err := upstream.NewRegistries(local, registryAt(t, "other.test", "other/", newRegistryWithReferrers()))
	if err != nil {
		t.Fatal(err)
	}
	r.registries = all
	r.enforce(r.key)
	return r
}

func TestTheLongestPrefixChoosesTheRegistry(t *testing.T) {
	r := newRigOfTwo(t)
	here, there := newImage("65532", "here"), newImage("65532", "there")
	for repo, im := range map[string]image{"app": here, "other/app": there} {
		if a := r.push(repo, "v1", im); a.status != http.StatusCreated {
			t.Fatalf("push %s: %d %s", repo, a.status, a.body)
		}
	}
	for path, want := range map[string]digest.Digest{
		"/v2/app/manifests/v1": here.digest, "/v2/other/app/manifests/v1": there.digest,
		"/v2/app/manifests/v1?ns=other.test": there.digest, "/v2/app/manifests/v1?ns=local": here.digest,
	} {
		if a := r.want(http.StatusOK, "GET", path, nil); a.header.Get("Docker-Content-Digest") != want.String() {
			t.Errorf("%s: got %s, want %s", path, a.header.Get("Docker-Content-Digest"), want)
		}
	}
	r.want(http.StatusNotFound, "GET", "/v2/app/manifests/"+there.digest.String(), nil)

	// Whoever uploads by ns is sent on by ns.
	to := r.want(http.StatusAccepted, "POST", "/v2/app/blobs/uploads/?ns=other.test", nil).header.Get("Location")
	d := digest.FromString("by ns").String()
	r.want(http.StatusCreated, "PUT", to+"&digest="+d, []byte("by ns"))
	r.want(http.StatusOK, "GET", "/v2/other/app/blobs/"+d, nil)
}

func TestTheCatalogAndTheTagsArePagedAcrossRegistries(t *testing.T) {
	r := newRigOfTwo(t)
	im := newImage("65532", "x")
	var want []string
	for _, repo := range []string{"a", "b/c", "other/b", "other/z", "zz"} {
		r.bypass(repo, "v1", im)
		want = append(want, repo)
	}
	for _, tag := range []string{"v2", "v3", "v4"} {
		r.bypass("a", tag, im)
	}

	repositories := func(a answer) (page []string) {
		var list struct{ Repositories []string }
		if err := json.Unmarshal(a.body, &list); err != nil {
			t.Fatal(err)
		}
		return list.Repositories
	}
	if got := r.follow("/v2/_catalog?n=2", repositories); !slices.Equal(got, want) {
		t.Errorf("catalog: got %v, want %v", got, want)
	}
	tags := func(a answer) (page []string) {
		var list tagList
		if err := json.Unmarshal(a.body, &list); err != nil || list.Name != "a" {
			t.Fatalf("%s, %v", a.body, err)
		}
		return list.Tags
	}
	if got := r.follow("/v2/a/tags/list?n=3", tags); !slices.Equal(got, []string{"v1", "v2", "v3", "v4"}) {
		t.Errorf("tags: got %v", got)
	}
	r.want(http.StatusNotFound, "GET", "/v2/absent/tags/list", nil)
	if a := r.want(http.StatusOK, "GET", "/v2/other/b/tags/list", nil); !strings.Contains(string(a.body), `"name":"other/b"`) {
		t.Errorf("another name than the client's: %s", a.body)
	}
}

type tagList struct {
	Name string
	Tags []string
}

// follow reads a list to its end by the links that it gives.
func (r *rig) follow(path string, entries func(answer) []string) (all []string) {
	r.t.Helper()
	for range 20 {
		a := r.want(http.StatusOK, "GET", path, nil)
		all = append(all, entries(a)...)
		link := a.header.Get("Link")
		if link == "" {
			return all
		}
		target, _, ok := strings.Cut(strings.TrimPrefix(link, "<"), ">")
		if !ok || !strings.HasPrefix(target, "/v2/") {
			r.t.Fatalf("Link: %s", link)
		}
		path = target
	}
	r.t.Fatalf("the list has no end: %v, then %s", all, path)
	return nil
}

// The same name at two registries is two repositories, with rules of their own.
func TestThreat147_AMountFromAnotherRegistryIsNotOneFromANamesakeHere(t *testing.T) {
	r := newRigOfTwo(t)
	im := newImage("65532", "here")
	r.bypass("app", "v1", im)
	mount := "/v2/dest/blobs/uploads/?mount=" + layerOf(im) + "&from="
	r.want(http.StatusAccepted, "POST", mount+"other/app", nil)
	r.want(http.StatusCreated, "POST", mount+"app", nil)
}
