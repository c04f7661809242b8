package upstream

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func locating(t testing.TB, header, value string) (*Registry, *http.Response) {
	t.Helper()
	r, err := New(Options{Name: "acme", URL: &url.URL{Scheme: "https", Host: "acme.dev"}})
	if err != nil {
		t.Fatal(err)
	}
	return r, &http.Response{
		Header:  http.Header{header: {value}},
		Request: &http.Request{URL: &url.URL{Scheme: "https", Host: "acme.dev", Path: "/v2/app/blobs/uploads/"}},
	}
}

func TestThreat108_AnUploadGoesOnAtTheRegistryOrNowhere(t *testing.T) {
	for location, want := range map[string]string{
		"/v2/app/blobs/uploads/id?_state=a%3D%3D": "/v2/app/blobs/uploads/id?_state=a%3D%3D",
		"id": "/v2/app/blobs/uploads/id?",
		"https://acme.dev/v2/app/blobs/uploads/id": "/v2/app/blobs/uploads/id?",
		"https://acme.dev:443/x?y":                 "/x?y",
		"HTTPS://ACME.dev/x":                       "/x?",
		"/a%2Fb?c=d;e":                             "/a%2Fb?c=d;e",
		"https://acme.dev/x#fragment":              "/x?",

		"":                             "did not say where",
		"https://evil.example/x":       "another origin",
		"https://acme.dev.evil/x":      "another origin",
		"https://acme.dev:444/x":       "another origin",
		"//evil.example/x":             "another origin",
		"http://acme.dev/x":            "leaves https",
		"https://acme.dev@evil/x":      "credentials",
		"https://me:you@acme.dev/x":    "credentials",
		"file:///etc/passwd":           "scheme",
		"https:x":                      "scheme",
		"https://acme.dev":             "malformed",
		"/x y":                         "",
		"/" + strings.Repeat("x", 1e5): "bytes",
	} {
		r, resp := locating(t, "Location", location)
		path, query, err := r.Location(resp)
		if strings.HasPrefix(want, "/") {
			if err != nil || path+"?"+query != want {
				t.Errorf("%q: got %s?%s, %v, want %s", location, path, query, err, want)
			}
			continue
		}
		if want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: got %s?%s, %v, want an error about %q", location, path, query, err, want)
		}
		if err == nil && strings.ContainsAny(path+query, " #\r\n") {
			t.Errorf("%q: got %q?%q", location, path, query)
		}
	}
}

func TestThreat114_ALocationHoldsNoSecondHeader(t *testing.T) {
	for _, location := range []string{"/x\r\nX-Evil: y", "/x?\r\nX-Evil: y", "/x\ny", "/x?a\x00", "/x?a\x7f", "/x?a b", "/x?\u2028"} {
		r, resp := locating(t, "Location", location)
		path, query, err := r.Location(resp)
		if err == nil && strings.ContainsFunc(path+query, notInURL) {
			t.Errorf("%q: got %q?%q", location, path, query)
		}
	}
}

func TestThreat055_AListGoesOnAtTheRegistryOrNowhere(t *testing.T) {
	for link, want := range map[string]string{
		"": "?",
		`</v2/app/tags/list?n=2&last=b>; rel="next"`: "/v2/app/tags/list?n=2&last=b",
		`</x>; rel=next`:                                "/x?",
		`</x>; rel="prev", </y>; rel="next"`:            "/y?",
		`<https://acme.dev/x>;rel="next"`:               "/x?",
		`<https://evil.example/x>; rel="next"`:          "another origin",
		`<http://acme.dev/x>; rel="next"`:               "leaves https",
		`</x>; rel="prev"`:                              "no next page",
		`nonsense`:                                      "no next page",
		`<>; rel="next"`:                                "did not say",
		`</` + strings.Repeat("x", 1e5) + `>; rel=next`: "a Link of",
	} {
		r, resp := locating(t, "Link", link)
		path, query, err := r.Next(resp)
		if err == nil && path+"?"+query != want || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%.80q: got %s?%s, %v, want %s", link, path, query, err, want)
		}
	}
}

func FuzzLocation(f *testing.F) {
	for _, seed := range []string{"/v2/x?y", "https://acme.dev/x", "//evil/x", `\\evil\x`, "/%2e%2e/x", "https://acme.dev\t.evil/", "/x?\u2028"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, location string) {
		r, resp := locating(t, "Location", location)
		path, query, err := r.Location(resp)
		if err != nil {
			return
		}
		u, err := r.resolve(path, query)
		if err != nil || u.Host != "acme.dev" || u.Scheme != "https" || u.EscapedPath() != path || u.RawQuery != query {
			t.Errorf("%q became %s?%s and then %v, %v", location, path, query, u, err)
		}
		again, err := url.Parse(u.String())
		if err != nil || again.Host != "acme.dev" || again.User != nil {
			t.Errorf("%q became %s", location, u)
		}
	})
}
