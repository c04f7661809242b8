package gateway_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/sealgate/sealgate/gateway"
	"github.com/sealgate/sealgate/gateway/clients"
	"github.com/sealgate/sealgate/gateway/ledger"
	"github.com/sealgate/sealgate/policy"
	"golang.org/x/crypto/bcrypt"
)

// guarded is a rig that knows clients: each name with its password.
type guarded struct {
	*rig
	desk      *clients.Desk
	passwords map[string]string
	anonymous bool
}

func newGuarded(t testing.TB, anonymous bool, passwords map[string]string, groups []clients.Group, docs ...policy.Document) *guarded {
	t.Helper()
	desk, err := clients.OpenDesk(filepath.Join(t.TempDir(), "token-keys.json"))
	if err != nil {
		t.Fatal(err)
	}
	g := &guarded{rig: newRig(t), desk: desk, passwords: passwords, anonymous: anonymous}
	g.policies, g.groups = docs, groups
	g.know(passwords)
	return g
}

// know puts a directory of these users in force.
func (g *guarded) know(passwords map[string]string) {
	g.t.Helper()
	var file strings.Builder
	for name, password := range passwords {
		hash, err := bcrypt.GenerateFromPassword([]byte(password), 5)
		if err != nil {
			g.t.Fatal(err)
		}
		fmt.Fprintf(&file, "%s:%s\n", name, hash)
	}
	users, err := clients.ParseUsers([]byte(file.String()))
	if err != nil {
		g.t.Fatal(err)
	}
	g.clients = g.desk.Directory(users, g.groups, g.anonymous)
	g.enforce(g.key)
}

func (r *rig) groupNames() []string {
	var names []string
	for _, group := range r.groups {
		names = append(names, group.Name)
	}
	return names
}

func basic(name, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(name+":"+password))
}

// as is an Authorization header of a known client, by password.
func (g *guarded) as(name string) []string {
	if name == "" {
		return nil
	}
	return []string{"Authorization", basic(name, g.passwords[name])}
}

// tokens is what the token endpoint gave.
type tokens struct {
	Token        string `json:"token"`
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token"`
	ExpiresIn    int    `json:"expires_in"`
}

func (g *guarded) tokens(a answer) tokens {
	g.t.Helper()
	var got tokens
	if err := json.Unmarshal(a.body, &got); err != nil || got.Token == "" || got.Token != got.AccessToken {
		g.t.Fatalf("no token: %d %s %v", a.status, a.body, err)
	}
	return got
}

// token is an Authorization header with a token for scopes.
func (g *guarded) token(name string, scopes ...string) []string {
	g.t.Helper()
	query := url.Values{"service": {"sealgate"}, "scope": scopes}
	a := g.want(http.StatusOK, "GET", "/token?"+query.Encode(), nil, g.as(name)...)
	return []string{"Authorization", "Bearer " + g.tokens(a).Token}
}

func (g *guarded) post(form url.Values) answer {
	g.t.Helper()
	return g.send("POST", "/token", []byte(form.Encode()), "Content-Type", "application/x-www-form-urlencoded")
}

// public is a policy without demands on images, so that a test sees rights alone.
func public(name, pattern string, allow ...policy.AllowDocument) policy.Document {
	return policy.Document{
		Name: name, Repositories: []string{pattern}, Allow: allow,
		Pull: &policy.PullDocument{AdmitUnverified: true}, Push: &policy.PushDocument{AcceptUnsealed: true},
	}
}

func allow(who string, may ...string) policy.AllowDocument {
	return policy.AllowDocument{Clients: []string{who}, May: may}
}

var people = map[string]string{"alice": "alice-s3cret", "bob": "bob-s3cret"}

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
	q, err := http.NewRequest("GET", g.url+"/v2/a/manifests/v1", nil)
	if err != nil {
		t.Fatal(err)
	}
	q.Header["Authorization"] = []string{basic("alice", people["alice"]), basic("alice", people["alice"])}
	resp, err := http.DefaultTransport.RoundTrip(q)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("two headers: got %d", resp.StatusCode)
	}
	if n := len(g.recorded()); n != 0 {
		t.Errorf("%d decisions about nobody", n)
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
