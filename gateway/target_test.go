package gateway

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

const someDigest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func TestParseReadsEveryEndpoint(t *testing.T) {
	for _, c := range []struct {
		request string
		want    Target
	}{
		{"GET /v2/", Target{Kind: Ping}},
		{"GET /v2/_catalog?n=5&last=a", Target{Kind: ListCatalog, N: 5, Last: "a"}},
		{"GET /v2/acme/app/tags/list", Target{Kind: ListTags, Repo: "acme/app"}},
		{"GET /v2/a/manifests/v1", Target{Kind: PullManifest, Repo: "a", Tag: "v1"}},
		{"HEAD /v2/a/manifests/" + someDigest, Target{Kind: PullManifest, Head: true, Repo: "a", Digest: someDigest}},
		{"PUT /v2/a/manifests/v1", Target{Kind: PushManifest, Repo: "a", Tag: "v1"}},
		{"DELETE /v2/a/manifests/v1", Target{Kind: DeleteManifest, Repo: "a", Tag: "v1"}},
		{"GET /v2/a/blobs/" + someDigest, Target{Kind: PullBlob, Repo: "a", Digest: someDigest}},
		{"DELETE /v2/a/blobs/" + someDigest, Target{Kind: DeleteBlob, Repo: "a", Digest: someDigest}},
		{"POST /v2/a/blobs/uploads/", Target{Kind: StartUpload, Repo: "a"}},
		{"POST /v2/a/blobs/uploads/?mount=" + someDigest + "&from=b/c", Target{Kind: StartUpload, Repo: "a", Mount: someDigest, From: "b/c"}},
		{"GET /v2/a/blobs/uploads/T-1_x", Target{Kind: UploadStatus, Repo: "a", Upload: "T-1_x"}},
		{"PATCH /v2/a/blobs/uploads/T", Target{Kind: UploadChunk, Repo: "a", Upload: "T"}},
		{"PUT /v2/a/blobs/uploads/T?digest=" + someDigest, Target{Kind: FinishUpload, Repo: "a", Upload: "T", Digest: someDigest}},
		{"DELETE /v2/a/blobs/uploads/T", Target{Kind: CancelUpload, Repo: "a", Upload: "T"}},
		{"GET /v2/a/referrers/" + someDigest + "?artifactType=application/x%2By", Target{Kind: ListReferrers, Repo: "a", Digest: someDigest, ArtifactType: "application/x+y"}},
		{"GET /v2/library/nginx/manifests/v1?ns=docker.io", Target{Kind: PullManifest, Repo: "library/nginx", Tag: "v1", Namespace: "docker.io"}},
	} {
		method, target, _ := strings.Cut(c.request, " ")
		if !strings.Contains(target, "n=") || strings.Contains(target, "ns=") {
			c.want.N = -1
		}
		if c.want.ArtifactType != "" {
			c.want.N = -1
		}
		got, err := parse(httptest.NewRequest(method, target, nil))
		if err != nil || got != c.want {
			t.Errorf("%s\n got %+v, %v\nwant %+v", c.request, got, err, c.want)
		}
	}
}

func TestThreat092_EncodedAndDottedPathsAreRefused(t *testing.T) {
	for _, path := range []string{
		"/v2/a%2Fb/manifests/v1", "/v2/a%2fb/manifests/v1", "/v2/a%252Fb/manifests/v1", "/v2/%2e%2e/manifests/v1",
		"/v2/a/../b/manifests/v1", "/v2/a/./manifests/v1", "/v2//a/manifests/v1", "/v2/a//manifests/v1",
		"/v2/a;x/manifests/v1", "/v2/a/manifests/v1%00", "/v2/a/manifests/%76%31", "/v2/\uff0e\uff0e/manifests/v1",
		"/v2/a/manifests/v1%c0%ae", "//v2/a/manifests/v1", "/v2/a\\b/manifests/v1",
	} {
		u, err := url.ParseRequestURI(path)
		if err != nil {
			continue // net/http refuses it before us
		}
		if target, err := parse(&http.Request{Method: "GET", URL: u}); err == nil {
			t.Errorf("%s was read as %+v", path, target)
		}
	}
}

func TestThreat093_NamesHaveOneReading(t *testing.T) {
	long := strings.Repeat("a", maxRepository+1)
	for path, want := range map[string]string{
		"/v2/a/manifests/b/manifests/c":                 "a/manifests/b",
		"/v2/manifests/manifests/v1":                    "manifests",
		"/v2/blobs/uploads/manifests/v1":                "blobs/uploads",
		"/v2/A/manifests/v1":                            "",
		"/v2/a/manifests/" + long[:129]:                 "",
		"/v2/" + long + "/manifests/v1":                 "",
		"/v2/a/manifests/.v1":                           "",
		"/v2/-a/manifests/v1":                           "",
		"/v2/a__b/manifests/v1":                         "a__b",
		"/v2/a___b/manifests/v1":                        "",
		"/v2/" + long[:maxRepository] + "/manifests/v1": long[:maxRepository],
	} {
		target, err := parse(httptest.NewRequest("GET", path, nil))
		if got := target.Repo; (err == nil) != (want != "") || err == nil && got != want {
			t.Errorf("%.80s: got %.80q, %v, want %.80q", path, got, err, want)
		}
	}
}

func TestThreat094_UnknownEndpointsAreNotFound(t *testing.T) {
	for _, path := range []string{"/", "/v2", "/V2/", "/v1/", "/v1/_ping", "/_ping", "/v2/_catalog/", "/token/", "/v2/token", "/v2/x/_foo", "/v2/a/tags", "/v2/a/tags/list/", "/metrics", "/debug/pprof/"} {
		_, err := parse(httptest.NewRequest("GET", path, nil))
		var request *requestError
		if !errors.As(err, &request) || request.status != http.StatusNotFound {
			t.Errorf("%s: got %v, want 404", path, err)
		}
	}
}

func TestThreat097_OtherMethodsAreNotAllowed(t *testing.T) {
	for _, method := range []string{"CONNECT", "TRACE", "OPTIONS", "PROPFIND", "get", "POST"} {
		r := httptest.NewRequest("GET", "/v2/a/manifests/v1", nil)
		r.Method = method
		_, err := parse(r)
		var request *requestError
		if !errors.As(err, &request) || request.status != http.StatusMethodNotAllowed {
			t.Errorf("%s: got %v, want 405", method, err)
		}
	}
}

func TestThreat030_OnlyWholeLowerCaseDigestsAreDigests(t *testing.T) {
	for _, d := range []string{
		"md5:d41d8cd98f00b204e9800998ecf8427e", strings.ToUpper(someDigest), someDigest[:70], someDigest + "0",
		"sha256:" + strings.Repeat("g", 64), "sha256+b64:abc", "sha256:", ":", "sha512:" + someDigest[7:],
	} {
		if target, err := parse(httptest.NewRequest("GET", "/v2/a/manifests/"+d, nil)); err == nil {
			t.Errorf("%s was read as %+v", d, target)
		}
	}
}

func TestQueriesThatTwoReadersReadDifferentlyAreRefused(t *testing.T) {
	for _, query := range []string{
		"n=1&n=2", "unknown=1", "ns=a&ns=b", "n=-1", "n=+1", "n=1e3", "n=%31%", "last=a%00", "=1", "n=1;last=2",
		strings.Repeat("a=1&", 20_000) + "n=1", "last=" + strings.Repeat("a", maxQuery),
	} {
		r := httptest.NewRequest("GET", "/v2/a/tags/list", nil)
		r.URL.RawQuery = query
		if target, err := parse(r); err == nil {
			t.Errorf("?%.60s was read as %+v", query, target)
		}
	}
}

// FuzzParse holds the property that parsing once is worth: what was accepted and is written again is read the same.
func FuzzParse(f *testing.F) {
	for _, path := range []string{"/v2/", "/v2/a/manifests/v1", "/v2/a/b/blobs/" + someDigest, "/v2/a/blobs/uploads/x?digest=" + someDigest, "/v2/_catalog?n=1"} {
		f.Add("GET", path)
	}
	f.Fuzz(func(t *testing.T, method, target string) {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			return
		}
		got, err := parse(&http.Request{Method: method, URL: u})
		if err != nil {
			return
		}
		if strings.Contains(u.EscapedPath(), "%") || strings.Contains(u.Path, "..") || strings.Contains(u.Path, "//") {
			t.Fatalf("%q was accepted", target)
		}
		if got.Kind == PullManifest {
			again, err := url.ParseRequestURI("/v2/" + got.Repo + "/manifests/" + got.Reference())
			if err != nil || again.Path != u.Path {
				t.Fatalf("%q was read as %+v, which is %v", target, got, again)
			}
		}
	})
}

func BenchmarkParse(b *testing.B) {
	r := httptest.NewRequest("GET", "/v2/acme/team/app/manifests/"+someDigest, nil)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := parse(r); err != nil {
			b.Fatal(err)
		}
	}
}
