package gateway_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/sealgate/sealgate/gateway/ledger"
	"github.com/sealgate/sealgate/policy"
)

func TestWithoutClientsNobodyIsAsked(t *testing.T) {
	r := newRig(t, public("all", "**"))
	r.bypass("a", "v1", newImage("65532", "x"))
	r.want(http.StatusOK, "GET", "/v2/", nil)
	r.want(http.StatusOK, "GET", "/v2/", nil, "Authorization", "Bearer whatever")
	r.want(http.StatusOK, "GET", "/v2/a/manifests/v1", nil, "Authorization", basic("who", "ever"))
	r.want(http.StatusNotFound, "GET", "/token", nil)
	if d := r.recorded(); d[len(d)-1].Identity != "" {
		t.Errorf("the record names %q", d[len(d)-1].Identity)
	}
}

func TestThreat116_MalformedCredentialsAreAllAlike(t *testing.T) {
	g := newGuarded(t, false, people, nil, public("all", "**"))
	g.bypass("a", "v1", newImage("65532", "x"))
	want := g.want(http.StatusUnauthorized, "GET", "/v2/a/manifests/v1", nil)
	if got := want.message(); !strings.HasPrefix(got, "UNAUTHORIZED: sealgate: log in") {
		t.Errorf("got %s", want.body)
	}
	for name, value := range map[string]string{
		"a wrong password":      basic("alice", "wrong"),
		"an empty password":     basic("alice", ""),
		"an unknown name":       basic("mallory", "wrong"),
		"no name":               basic("", people["alice"]),
		"another's password":    basic("alice", people["bob"]),
		"no colon":              "Basic " + base64.StdEncoding.EncodeToString([]byte("alice")),
		"no base64":             "Basic alice:" + people["alice"],
		"base64 and more":       basic("alice", people["alice"]) + "=",
		"Basic alone":           "Basic",
		"Bearer alone":          "Bearer",
		"an unknown scheme":     "Digest username=alice",
		"a password as token":   "Bearer " + people["alice"],
		"nothing":               "",
		"a token and a comma":   g.token("alice", "repository:a:pull")[1] + ", " + basic("alice", people["alice"]),
		"a password and spaces": "Basic  " + strings.TrimPrefix(basic("alice", people["alice"]), "Basic "),
	} {
		a := g.send("GET", "/v2/a/manifests/v1", nil, "Authorization", value)
		if a.status != http.StatusUnauthorized || !bytes.Equal(a.body, want.body) || a.header.Get("Www-Authenticate") == "" {
			t.Errorf("%s: got %d %s", name, a.status, a.body)
		}
	}
	password, token := basic("alice", people["alice"]), g.token("alice", "repository:a:pull")[1]
	for _, two := range [][]string{{password, password}, {token, token}, {token, "Bearer x"}, {password, token}, {token, password}} {
		for _, path := range []string{"/v2/a/manifests/v1", "/token?scope=repository:a:pull"} {
			q, err := http.NewRequest("GET", g.url+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			q.Header["Authorization"] = two
			resp, err := http.DefaultTransport.RoundTrip(q)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusUnauthorized {
				t.Errorf("two headers at %s: got %d", path, resp.StatusCode)
			}
		}
	}
	if n := len(g.recorded()); n != 0 {
		t.Errorf("%d decisions about nobody", n)
	}
}

func TestThreat117_AMountNeedsPullOnItsSource(t *testing.T) {
	g := newGuarded(t, false, people, nil, public("secret", "secret/**", allow("bob", "pull", "push")), public("all", "**"))
	im := newImage("65532", "x")
	g.bypass("secret/a", "v1", im)
	g.bypass("open", "v1", im)
	blob := digest.FromBytes(im.blobs[1]).String()
	mount := "/blobs/uploads/?mount=" + blob + "&from="
	for _, c := range []struct {
		name, from string
		header     []string
		want       int
	}{
		{"who may pull there", "secret/a", g.as("bob"), http.StatusCreated},
		{"who may not", "secret/a", g.as("alice"), http.StatusAccepted},
		{"whose token is not for it", "open", g.token("alice", "repository:b3:pull,push"), http.StatusAccepted},
		{"whose token is for it", "open", g.token("alice", "repository:b4:pull,push", "repository:open:pull"), http.StatusCreated},
		{"whose token is for it and who may not", "secret/a", g.token("alice", "repository:b5:pull,push", "repository:secret/a:pull"), http.StatusAccepted},
	} {
		to := fmt.Sprint("b", slices.Index([]string{"", "who may pull there", "who may not", "whose token is not for it", "whose token is for it", "whose token is for it and who may not"}, c.name))
		if a := g.send("POST", "/v2/"+to+mount+c.from, nil, c.header...); a.status != c.want {
			t.Errorf("%s: got %d %s, want %d", c.name, a.status, a.body, c.want)
		}
	}
}

func TestThreat119_AnUploadIsItsBeginners(t *testing.T) {
	g := newGuarded(t, true, people, nil, public("all", "**"))
	at := g.want(http.StatusAccepted, "POST", "/v2/a/blobs/uploads/", nil, g.as("alice")...).header.Get("Location")
	for _, header := range [][]string{g.as("bob"), g.token("bob", "repository:a:pull,push"), nil, g.token("", "repository:a:pull,push")} {
		for _, method := range []string{"GET", "PATCH", "PUT", "DELETE"} {
			path := at
			if method == "PUT" {
				path += "?digest=" + digest.FromString("x").String()
			}
			if a := g.want(http.StatusNotFound, method, path, []byte("x"), header...); !strings.HasPrefix(a.message(), "BLOB_UPLOAD_UNKNOWN") {
				t.Errorf("%s: got %s", method, a.body)
			}
		}
	}
	// By whatever means she shows who she is.
	g.want(http.StatusCreated, "PUT", at+"?digest="+digest.FromString("x").String(), []byte("x"), g.token("alice", "repository:a:push")...)
}

func TestThreat120_ListsShowWhatTheCallerMayPull(t *testing.T) {
	g := newGuarded(t, true, people, nil,
		public("alices", "alice/**", allow("alice", "pull", "push")), public("bobs", "bob/**", allow("bob", "pull", "push")),
		public("drop", "drop/**", allow("*", "push"), allow("bob", "pull")), public("open", "open/**"))
	im := newImage("65532", "x")
	for i := range 12 {
		g.bypass(fmt.Sprintf("alice/%02d", i), "v1", im)
		g.bypass(fmt.Sprintf("bob/%02d", i), "v1", im)
	}
	g.bypass("drop/a", "v1", im)
	g.bypass("open/a", "v1", im)
	g.bypass("unnamed", "v1", im)
	names := func(query string, header []string) (list []string, link string) {
		t.Helper()
		a := g.want(http.StatusOK, "GET", "/v2/_catalog"+query, nil, header...)
		var got struct{ Repositories []string }
		if err := json.Unmarshal(a.body, &got); err != nil {
			t.Fatal(err)
		}
		return got.Repositories, a.header.Get("Link")
	}
	count := func(list []string, prefix string) (n int) {
		for _, name := range list {
			if strings.HasPrefix(name, prefix) {
				n++
			}
		}
		return n
	}
	for who, want := range map[string][5]int{"": {0, 0, 0, 1, 0}, "alice": {12, 0, 0, 1, 0}, "bob": {0, 12, 1, 1, 0}} {
		list, _ := names("", g.as(who))
		for i, prefix := range []string{"alice/", "bob/", "drop/", "open/", "unnamed"} {
			if got := count(list, prefix); got != want[i] {
				t.Errorf("%q sees %d of %s, want %d", who, got, prefix, want[i])
			}
		}
	}

	// Pages, with a link that names nothing else, though others' repositories lie between; and from anywhere.
	bob := g.token("bob", "registry:catalog:*")
	var all []string
	for query := "?n=3"; query != ""; {
		list, link := names(query, bob)
		if len(list) > 3 || strings.Contains(link, "alice") {
			t.Fatalf("%s: got %v, %s", query, list, link)
		}
		all = append(all, list...)
		_, query, _ = strings.Cut(strings.TrimSuffix(link, `>; rel="next"`), "_catalog")
	}
	if len(all) != 14 || count(all, "alice") != 0 {
		t.Errorf("bob sees %v", all)
	}
	for _, query := range []string{"?last=alice/03", "?n=1000&last=alice/", "?n=0", "?n=10000", "?last=a&n=2"} {
		if list, link := names(query, bob); count(list, "alice") != 0 || strings.Contains(link, "alice") {
			t.Errorf("%s: got %v, %s", query, list, link)
		}
	}
	for _, path := range []string{"/v2/alice/00/tags/list", "/v2/alice/00/referrers/" + im.digest.String(), "/v2/drop/a/tags/list"} {
		if strings.Contains(path, "alice") {
			g.want(http.StatusForbidden, "GET", path, nil, g.as("bob")...)
		} else {
			g.want(http.StatusForbidden, "GET", path, nil, g.as("alice")...)
		}
		g.want(http.StatusUnauthorized, "GET", path, nil)
	}
}

func TestThreat121_ForbiddenAndAbsentLookAlike(t *testing.T) {
	g := newGuarded(t, true, people, nil, public("secret", "secret/**", allow("bob", "pull", "push")), public("open", "open/**"))
	im := newImage("65532", "x")
	g.bypass("secret/is", "v1", im)
	g.bypass("unnamed/is", "v1", im)
	blob := digest.FromBytes(im.blobs[1]).String()
	// What an answer says without what the request itself names, and without the decision's number.
	said := func(a answer, repo string) string {
		text := strings.ReplaceAll(fmt.Sprintf("%d %s %v", a.status, a.body, a.header["Www-Authenticate"]), repo, "REPO")
		for _, d := range g.recorded() {
			text = strings.ReplaceAll(text, d.ID, "ID")
		}
		return text
	}
	for _, c := range []struct{ method, path string }{
		{"GET", "manifests/v1"}, {"HEAD", "manifests/v1"}, {"GET", "manifests/" + im.digest.String()}, {"GET", "blobs/" + blob}, {"HEAD", "blobs/" + blob},
		{"GET", "tags/list"}, {"GET", "referrers/" + im.digest.String()}, {"POST", "blobs/uploads/"}, {"PUT", "manifests/v1"},
		{"DELETE", "manifests/v1"}, {"DELETE", "blobs/" + blob}, {"PATCH", "blobs/uploads/x"},
	} {
		for _, who := range []string{"alice", ""} {
			for _, prefix := range []string{"secret/", "unnamed/"} {
				is, not := g.send(c.method, "/v2/"+prefix+"is/"+c.path, nil, g.as(who)...), g.send(c.method, "/v2/"+prefix+"not/"+c.path, nil, g.as(who)...)
				if a, b := said(is, prefix+"is"), said(not, prefix+"not"); a != b {
					t.Errorf("%s %s as %q\nis there:     %s\nis not there: %s", c.method, prefix+c.path, who, a, b)
				}
				want := http.StatusForbidden
				if who == "" && prefix == "secret/" {
					want = http.StatusUnauthorized
				}
				if is.status != want {
					t.Errorf("%s %s as %q: got %d, want %d", c.method, prefix+c.path, who, is.status, want)
				}
			}
		}
	}
	a := g.want(http.StatusForbidden, "GET", "/v2/secret/is/manifests/v1", nil, g.as("alice")...)
	if got := a.message(); !strings.HasPrefix(got, `DENIED: sealgate: secret/is:v1 is refused by policy "secret": alice may not pull here`) {
		t.Errorf("got %s", a.body)
	}
	d := g.recorded()
	last := d[len(d)-1]
	if last.Identity != "alice" || last.Outcome != ledger.Deny || last.Reasons[0].Code != policy.Forbidden || last.Digest != "" {
		t.Errorf("the record: %+v", last)
	}
	g.want(http.StatusOK, "GET", "/v2/secret/is/manifests/v1", nil, g.as("bob")...)
	g.want(http.StatusNotFound, "GET", "/v2/secret/not/manifests/v1", nil, g.as("bob")...)
}

func TestThreat121_AuditModeLetsNobodyInWhoMayNot(t *testing.T) {
	doc := public("secret", "secret/**", allow("bob", "pull", "push"))
	doc.Mode = "audit"
	g := newGuarded(t, false, people, nil, doc)
	g.bypass("secret/a", "v1", newImage("65532", "x"))
	g.want(http.StatusForbidden, "GET", "/v2/secret/a/manifests/v1", nil, g.as("alice")...)
	g.want(http.StatusForbidden, "POST", "/v2/secret/a/blobs/uploads/", nil, g.as("alice")...)
	if d := g.recorded(); d[0].Audit {
		t.Errorf("the record says that it was served: %+v", d[0])
	}
}

func TestThreat122_WhatOneTenantMayHaveIsNotAnothers(t *testing.T) {
	strict := sealing()
	strict.Name, strict.Repositories, strict.Allow = "strict", []string{"strict/**"}, []policy.AllowDocument{allow("bob", "pull")}
	g := newGuarded(t, false, people, nil, strict, public("loose", "loose/**", allow("alice", "pull")))
	im := newImage("65532", "x")
	g.bypass("strict/a", "v1", im)
	g.bypass("loose/a", "v1", im)
	for range 2 { // from memory too
		g.want(http.StatusOK, "GET", "/v2/loose/a/manifests/"+im.digest.String(), nil, g.as("alice")...)
		a := g.want(http.StatusForbidden, "GET", "/v2/strict/a/manifests/"+im.digest.String(), nil, g.as("bob")...)
		if !strings.Contains(a.message(), "found none") {
			t.Errorf("got %s", a.body)
		}
		g.want(http.StatusForbidden, "GET", "/v2/strict/a/manifests/"+im.digest.String(), nil, g.as("alice")...)
		g.want(http.StatusForbidden, "GET", "/v2/loose/a/manifests/"+im.digest.String(), nil, g.as("bob")...)
	}
	g.sealAround("strict/a", im)
	for range 2 {
		g.want(http.StatusOK, "GET", "/v2/strict/a/manifests/"+im.digest.String(), nil, g.as("bob")...)
		g.want(http.StatusForbidden, "GET", "/v2/strict/a/manifests/"+im.digest.String(), nil, g.as("alice")...)
	}
}

func TestThreat123_GuessingPasswordsIsSlow(t *testing.T) {
	g := newGuarded(t, false, people, nil, public("all", "**"))
	for i := range 11 {
		a := g.send("GET", "/token", nil, "Authorization", basic("alice", fmt.Sprint("guess", i)))
		if want := http.StatusUnauthorized; i < 10 && a.status != want {
			t.Fatalf("guess %d: got %d %s", i, a.status, a.body)
		} else if i == 10 && (a.status != http.StatusTooManyRequests || a.header.Get("Retry-After") == "" || !strings.HasPrefix(a.message(), "TOOMANYREQUESTS")) {
			t.Fatalf("guess %d: got %d %s", i, a.status, a.body)
		}
	}
	// At every door alike, and the right password is not told from a wrong one.
	g.want(http.StatusTooManyRequests, "GET", "/v2/", nil, g.as("alice")...)
	if a := g.post(url.Values{"grant_type": {"password"}, "username": {"alice"}, "password": {people["alice"]}}); a.status != http.StatusTooManyRequests {
		t.Errorf("by form: %d", a.status)
	}
	g.want(http.StatusOK, "GET", "/v2/", nil, g.as("bob")...)
}

func TestWhoMayOnlyPushIsNotStoppedByAHead(t *testing.T) {
	g := newGuarded(t, false, people, nil, public("drop", "drop/**", allow("alice", "push"), allow("bob", "pull")))
	im := newImage("65532", "x")
	g.bypass("drop/a", "v1", im)
	for _, header := range [][]string{g.as("alice"), g.token("alice", "repository:drop/a:pull,push", "repository:drop/absent:pull,push")} {
		for _, repo := range []string{"drop/a", "drop/absent"} {
			g.want(http.StatusNotFound, "HEAD", "/v2/"+repo+"/manifests/v1", nil, header...)
			g.want(http.StatusNotFound, "HEAD", "/v2/"+repo+"/blobs/"+digest.FromBytes(im.blobs[1]).String(), nil, append([]string{}, g.as("alice")...)...)
		}
		g.want(http.StatusForbidden, "GET", "/v2/drop/a/manifests/v1", nil, header...)
		g.want(http.StatusCreated, "PUT", "/v2/drop/a/manifests/v2", im.manifest, append(header, "Content-Type", mediaTypeOf(im.manifest))...)
	}
	g.want(http.StatusForbidden, "PUT", "/v2/drop/a/manifests/v2", im.manifest, append(g.as("bob"), "Content-Type", mediaTypeOf(im.manifest))...)
}

func TestDeletingNeedsItsOwnRight(t *testing.T) {
	g := newGuarded(t, false, people, nil, public("some", "some/**", allow("alice", "pull", "push"), allow("bob", "delete")), public("all", "**"))
	for _, repo := range []string{"some/a", "any/a"} {
		g.bypass(repo, "v1", newImage("65532", "x"))
	}
	g.want(http.StatusForbidden, "DELETE", "/v2/some/a/manifests/v1", nil, g.as("alice")...)
	g.want(http.StatusUnauthorized, "DELETE", "/v2/some/a/manifests/v1", nil, g.token("bob", "repository:some/a:pull,push")...)
	g.want(http.StatusAccepted, "DELETE", "/v2/some/a/manifests/v1", nil, g.token("bob", "repository:some/a:delete")...)
	g.want(http.StatusAccepted, "DELETE", "/v2/any/a/manifests/v1", nil, g.as("alice")...)
}

func TestAnonymousClientsCanBeGivenRightsWithoutAnyLogin(t *testing.T) {
	r := newRig(t, public("read", "read/**", allow("anonymous", "pull")), public("all", "**"))
	im := newImage("65532", "x")
	r.bypass("read/a", "v1", im)
	r.want(http.StatusOK, "GET", "/v2/read/a/manifests/v1", nil)
	r.want(http.StatusForbidden, "POST", "/v2/read/a/blobs/uploads/", nil)
	r.want(http.StatusAccepted, "POST", "/v2/a/blobs/uploads/", nil)
}

// Whoever shows something and makes a mess of it is not taken for somebody who shows nothing.
func TestThreat116_MalformedCredentialsAreNotThoseOfAnAnonymousClient(t *testing.T) {
	g := newGuarded(t, true, people, nil, public("all", "**"))
	g.want(http.StatusOK, "GET", "/token?scope=repository:a:pull", nil)
	for name, shown := range map[string][]string{
		"two": {basic("alice", people["alice"]), basic("alice", people["alice"])}, "nothing": {""}, "an unknown scheme": {"Digest x"},
		"a token": g.token("alice", "repository:a:pull")[1:], "a wrong password": {basic("alice", "wrong")},
	} {
		q, err := http.NewRequest("GET", g.url+"/token?scope=repository:a:pull", nil)
		if err != nil {
			t.Fatal(err)
		}
		q.Header["Authorization"] = shown
		resp, err := http.DefaultTransport.RoundTrip(q)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: got %d", name, resp.StatusCode)
		}
	}
}
