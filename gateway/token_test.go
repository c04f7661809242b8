package gateway_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/sealgate/sealgate/gateway"
	"github.com/sealgate/sealgate/gateway/clients"
	"github.com/sealgate/sealgate/policy"
)

func TestTheTokenFlow(t *testing.T) {
	g := newGuarded(t, false, people, nil, public("all", "**"))
	im := newImage("65532", "x")
	g.bypass("team/a", "v1", im)

	a := g.want(http.StatusUnauthorized, "GET", "/v2/", nil)
	host := strings.TrimPrefix(g.url, "http://")
	if got, want := a.header.Get("Www-Authenticate"), `Bearer realm="http://`+host+`/token",service="sealgate"`; got != want {
		t.Errorf("ping: got %s, want %s", got, want)
	}
	for method, want := range map[string]string{"GET": "pull", "HEAD": "pull", "PUT": "pull,push", "DELETE": "delete"} {
		a := g.want(http.StatusUnauthorized, method, "/v2/team/a/manifests/v1", nil)
		if got := a.header.Get("Www-Authenticate"); !strings.HasSuffix(got, `,scope="repository:team/a:`+want+`"`) {
			t.Errorf("%s: got %s, want %s", method, got, want)
		}
	}
	a = g.want(http.StatusUnauthorized, "POST", "/v2/b/blobs/uploads/?mount="+im.digest.String()+"&from=team/a", nil)
	if got := a.header.Get("Www-Authenticate"); !strings.HasSuffix(got, `,scope="repository:b:pull,push repository:team/a:pull"`) {
		t.Errorf("a mount: got %s", got)
	}

	g.want(http.StatusUnauthorized, "GET", "/token?service=sealgate", nil)
	bearer := g.token("alice", "repository:team/a:pull")
	g.want(http.StatusOK, "GET", "/v2/", nil, bearer...)
	g.want(http.StatusOK, "GET", "/v2/team/a/manifests/v1", nil, bearer...)
	g.want(http.StatusOK, "GET", "/v2/team/a/manifests/v1", nil, g.as("bob")...)
	g.want(http.StatusOK, "GET", "/v2/", nil, g.token("alice")...) // what docker login asks for
	for i, want := range []string{"alice", "bob"} {
		if d := g.recorded(); d[i].Identity != want {
			t.Errorf("decision %d is of %q, want %s", i, d[i].Identity, want)
		}
	}

	// docker login with what it stores for later, and containerd's way.
	got := g.tokens(g.want(http.StatusOK, "GET", "/token?account=alice&client_id=docker&offline_token=true&service=sealgate", nil, g.as("alice")...))
	if got.RefreshToken == "" || got.ExpiresIn != 300 {
		t.Errorf("got %+v", got)
	}
	fresh := g.tokens(g.post(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {got.RefreshToken}, "service": {"sealgate"}, "scope": {"repository:team/a:pull"}}))
	if fresh.RefreshToken != "" {
		t.Error("a refresh token begets another: it would live for ever")
	}
	g.want(http.StatusOK, "GET", "/v2/team/a/manifests/v1", nil, "Authorization", "Bearer "+fresh.Token)
	byForm := g.tokens(g.post(url.Values{
		"grant_type": {"password"}, "username": {"alice"}, "password": {people["alice"]}, "client_id": {"containerd-client"},
		"service": {"sealgate"}, "access_type": {"offline"}, "scope": {"repository:team/a:pull repository:b:pull,push"},
	}))
	if byForm.RefreshToken == "" {
		t.Error("no refresh token")
	}
	g.want(http.StatusAccepted, "POST", "/v2/b/blobs/uploads/", nil, "Authorization", "Bearer "+byForm.Token)

	for name, form := range map[string]url.Values{
		"a wrong password":        {"grant_type": {"password"}, "username": {"alice"}, "password": {"wrong"}},
		"a token as refresh":      {"grant_type": {"refresh_token"}, "refresh_token": {fresh.Token}},
		"no refresh token":        {"grant_type": {"refresh_token"}},
		"nothing":                 {},
		"a password and no grant": {"username": {"alice"}, "password": {people["alice"]}},
	} {
		if a := g.post(form); a.status != http.StatusUnauthorized || a.header.Get("Www-Authenticate") == "" {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	for name, form := range map[string]url.Values{
		"another service": {"service": {"elsewhere"}}, "another grant": {"grant_type": {"implicit"}},
		"a scope that is none": {"scope": {"a"}}, "two passwords": {"password": {"a", "b"}},
	} {
		if a := g.post(form); a.status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	if a := g.send("POST", "/token", bytes.Repeat([]byte("a"), 1<<20)); a.status != http.StatusRequestEntityTooLarge {
		t.Errorf("a long form: %d", a.status)
	}
	g.want(http.StatusUnauthorized, "GET", "/token?grant_type=password&username=alice&password="+people["alice"], nil) // never in a URL
	g.want(http.StatusMethodNotAllowed, "PUT", "/token", nil)
}

func TestTheRealmIsWhereClientsReachUs(t *testing.T) {
	r := newRig(t)
	g := gateway.New(gateway.Options{
		Ledger: r.ledger, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(), ExternalURL: "https://registry.acme.dev/",
	})
	desk, err := clients.OpenDesk(filepath.Join(t.TempDir(), "keys"))
	if err != nil {
		t.Fatal(err)
	}
	r.swap(func(re *gateway.Regime) {
		re.Clients = desk.Directory(&clients.Users{}, nil, false)
		g.Enforce(re)
	})
	for host, want := range map[string]string{"127.0.0.1": "https://registry.acme.dev/token", "evil.example": "https://registry.acme.dev/token"} {
		w := httptest.NewRecorder()
		q := httptest.NewRequest("GET", "/v2/", nil)
		q.Host = host
		g.ServeHTTP(w, q)
		if got := w.Header().Get("Www-Authenticate"); !strings.HasPrefix(got, `Bearer realm="`+want+`"`) {
			t.Errorf("%s: got %s", host, got)
		}
	}
	for host, realm := range map[string]string{"a.example:5000": `"https://a.example:5000/token"`, `a",realm="https://evil`: `"https:///token"`} {
		w := httptest.NewRecorder()
		q := httptest.NewRequest("GET", "https://x/v2/", nil)
		q.URL.Scheme, q.URL.Host, q.Host = "", "", host
		r.gateway.ServeHTTP(w, q)
		if got := w.Header().Get("Www-Authenticate"); !strings.HasPrefix(got, `Bearer realm=`+realm+`,`) {
			t.Errorf("%s: got %s", host, got)
		}
	}
}

func TestThreat117_ATokenIsForWhatItNames(t *testing.T) {
	g := newGuarded(t, true, people, nil, public("all", "**", allow("*", "pull", "push", "delete")))
	im := newImage("65532", "x")
	for _, repo := range []string{"a", "b", "a/b"} {
		g.bypass(repo, "v1", im)
	}
	pull := g.token("alice", "repository:a:pull")
	g.want(http.StatusOK, "GET", "/v2/a/manifests/v1", nil, pull...)
	g.want(http.StatusOK, "GET", "/v2/a/tags/list", nil, pull...)
	for _, c := range []struct{ method, path string }{
		{"GET", "/v2/b/manifests/v1"}, {"GET", "/v2/a/b/manifests/v1"}, {"GET", "/v2/b/tags/list"},
		{"GET", "/v2/b/blobs/" + digest.FromBytes(im.blobs[1]).String()}, {"GET", "/v2/b/referrers/" + im.digest.String()},
		{"PUT", "/v2/a/manifests/v1"}, {"POST", "/v2/a/blobs/uploads/"}, {"DELETE", "/v2/a/manifests/v1"}, {"GET", "/v2/_catalog"},
	} {
		a := g.want(http.StatusUnauthorized, c.method, c.path, nil, pull...)
		if got := a.header.Get("Www-Authenticate"); !strings.HasSuffix(got, `,error="insufficient_scope"`) || !strings.Contains(got, ",scope=") {
			t.Errorf("%s %s: got %s", c.method, c.path, got)
		}
	}
	for _, scopes := range [][]string{{"repository:*:pull"}, {"repository:a*:pull"}, {"repository:b:pull", "registry:catalog:*"}, {"repository:A:pull"}, nil} {
		g.want(http.StatusUnauthorized, "GET", "/v2/a/manifests/v1", nil, g.token("alice", scopes...)...)
	}
	g.want(http.StatusOK, "GET", "/v2/a/manifests/v1", nil, g.token("alice", "repository:a:*")...)
	g.want(http.StatusOK, "GET", "/v2/a/manifests/v1", nil, g.token("alice", "repository:b:pull", "repository:a:pull")...)
	g.want(http.StatusOK, "GET", "/v2/_catalog", nil, g.token("alice", "registry:catalog:*")...)

	// A token for everything is worth what its holder may.
	g.policies = []policy.Document{public("all", "**", allow("bob", "pull", "push"))}
	g.enforce(g.key)
	g.want(http.StatusForbidden, "GET", "/v2/a/manifests/v1", nil, g.token("alice", "repository:a:*")...)
	g.want(http.StatusUnauthorized, "GET", "/v2/a/manifests/v1", nil, g.token("", "repository:a:*")...)
}

func TestThreat118_AForgedTokenIsAsGoodAsNone(t *testing.T) {
	g := newGuarded(t, true, people, nil, public("all", "**"))
	g.bypass("a", "v1", newImage("65532", "x"))
	good := strings.TrimPrefix(g.token("alice", "repository:a:pull")[1], "Bearer ")
	parts := strings.Split(good, ".")
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`))
	other := newGuarded(t, true, people, nil, public("all", "**")).token("alice", "repository:a:pull")[1]
	for name, value := range map[string]string{
		"alg none": "Bearer " + none + "." + parts[1] + ".", "no signature": "Bearer " + parts[0] + "." + parts[1] + ".",
		"of another gateway": other, "a megabyte of dots": "Bearer " + strings.Repeat(".", 48<<10),
	} {
		// Though the anonymous may pull: who shows credentials means them.
		if a := g.send("GET", "/v2/a/manifests/v1", nil, "Authorization", value); a.status != http.StatusUnauthorized {
			t.Errorf("%s: got %d", name, a.status)
		}
	}
	g.want(http.StatusOK, "GET", "/v2/a/manifests/v1", nil)
}

func TestAPushIsAskedAboutByAToken(t *testing.T) {
	doc := sealing()
	g := newGuarded(t, false, people, nil, doc)
	im := newImage("65532", "x")
	g.bypass("a", "v1", im) // unsealed: nobody may pull it
	accept := []string{"Accept", "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json", "User-Agent", "containerd/1.6.20"}
	push, pull := g.token("alice", "repository:a:pull,push"), g.token("alice", "repository:a:pull")
	for _, reference := range []string{"v1", im.digest.String()} {
		g.want(http.StatusNotFound, "HEAD", "/v2/a/manifests/"+reference, nil, append(push, accept...)...)
		g.want(http.StatusForbidden, "GET", "/v2/a/manifests/"+reference, nil, append(push, accept...)...)
	}
	g.want(http.StatusForbidden, "HEAD", "/v2/a/manifests/"+im.digest.String(), nil, append(pull, accept...)...)
}

func TestThreat119_WhoIsRemovedIsAStrangerAtTheNextRequest(t *testing.T) {
	groups := []clients.Group{{Name: "builders", Members: []string{"alice"}}}
	g := newGuarded(t, false, people, groups, public("all", "**", allow("bob", "pull", "push"), policy.AllowDocument{Groups: []string{"builders"}, May: []string{"push", "pull"}}))
	blob := []byte("a layer")
	token := g.token("alice", "repository:a:pull,push")
	begin := func() string {
		return g.want(http.StatusAccepted, "POST", "/v2/a/blobs/uploads/", nil, token...).header.Get("Location")
	}
	chunk := func(want int, at string) answer {
		t.Helper()
		return g.want(want, "PATCH", at, blob, append(token, "Content-Type", "application/octet-stream")...)
	}

	// From her group: the token is good, and she may not any more.
	at := begin()
	g.groups = []clients.Group{{Name: "builders", Members: []string{"carol"}}}
	g.know(people)
	token = g.token("alice", "repository:a:pull,push")
	a := g.want(http.StatusForbidden, "PATCH", at, blob, append(token, "Content-Type", "application/octet-stream")...)
	if !strings.HasPrefix(a.message(), "DENIED: sealgate: a@") && !strings.Contains(a.message(), "alice may not push here") {
		t.Errorf("got %s", a.body)
	}

	// Altogether, or by another password.
	for name, change := range map[string]map[string]string{
		"removed": {"bob": people["bob"]}, "another password": {"alice": "new", "bob": people["bob"]},
	} {
		g.groups = groups
		g.know(people)
		token = g.token("alice", "repository:a:pull,push")
		refresh := g.tokens(g.want(http.StatusOK, "GET", "/token?offline_token=true", nil, g.as("alice")...)).RefreshToken
		at := begin()
		at = chunk(http.StatusAccepted, at).header.Get("Location")
		g.know(change)
		chunk(http.StatusUnauthorized, at)
		g.want(http.StatusUnauthorized, "PUT", at+"?digest="+digest.FromBytes(blob).String(), nil, token...)
		g.want(http.StatusUnauthorized, "GET", "/v2/", nil, token...)
		g.want(http.StatusUnauthorized, "GET", "/v2/", nil, g.as("alice")...)
		if a := g.post(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh}}); a.status != http.StatusUnauthorized {
			t.Errorf("%s: her refresh token gives %d %s", name, a.status, a.body)
		}
	}
}

func TestThreat174_PasswordsAndTokensAreInNoLogRecordOrAnswer(t *testing.T) {
	g := newGuarded(t, true, map[string]string{"alice": canary}, nil, public("all", "**", allow("alice", "pull")))
	g.bypass("a", "v1", newImage("65532", "x"))
	token := strings.TrimPrefix(g.token("alice", "repository:a:pull")[1], "Bearer ")
	refresh := g.tokens(g.want(http.StatusOK, "GET", "/token?offline_token=true", nil, g.as("alice")...)).RefreshToken

	var log bytes.Buffer
	metrics := prometheus.NewRegistry()
	gw := gateway.New(gateway.Options{Ledger: g.ledger, Log: slog.New(slog.NewTextHandler(&log, nil)), Metrics: metrics})
	gw.Enforce(g.regime)
	var answers strings.Builder
	ask := func(q *http.Request) {
		w := httptest.NewRecorder()
		gw.ServeHTTP(w, q)
		fmt.Fprintln(&answers, w.Code, w.Header(), w.Body)
	}
	for _, value := range []string{basic("alice", canary), basic("alice", canary+"x"), basic(canary, "alice"), "Bearer " + token, "Bearer " + token + "x", "Bearer " + canary, "Basic " + canary, canary} {
		for _, target := range []string{"/v2/", "/v2/a/manifests/v1", "/v2/a/manifests/absent", "/v2/b/tags/list"} {
			q := httptest.NewRequest("GET", target, nil)
			q.Header.Set("Authorization", value)
			ask(q)
		}
	}
	for _, form := range []url.Values{
		{"grant_type": {"password"}, "username": {"alice"}, "password": {canary + "x"}}, {"grant_type": {"password"}, "username": {canary}, "password": {"x"}},
		{"grant_type": {"refresh_token"}, "refresh_token": {refresh + "x"}}, {"grant_type": {canary}}, {"scope": {canary}}, {"service": {canary}},
	} {
		ask(httptest.NewRequest("POST", "/token", strings.NewReader(form.Encode())))
	}
	records, err := os.ReadFile(g.decisions)
	if err != nil {
		t.Fatal(err)
	}
	families, err := metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := log.String() + string(records) + answers.String() + fmt.Sprint(families)
	if !strings.Contains(string(records), `"identity":"alice"`) || !strings.Contains(log.String(), "identity=alice") || !strings.Contains(log.String(), "login refused") {
		t.Errorf("who asked is not there:\n%s\n%s", &log, records)
	}
	for _, secret := range []string{canary, token, refresh, base64.StdEncoding.EncodeToString([]byte("alice:" + canary))[:20]} {
		if at := strings.Index(all, secret); at >= 0 {
			t.Errorf("%.20s… is in: …%s", secret, all[max(0, at-200):at])
		}
	}
}
