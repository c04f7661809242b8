package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
)

// office issues tokens for what it is asked for, and checks them.
type office struct {
	mu     sync.Mutex
	asked  []string // the scopes of each token
	issued map[string][]string
	realm  string // as the registry names it; its own /token when empty
	expire bool   // all tokens at once
}

// ServeHTTP is the token service: it wants the canary's password, or its refresh token.
func (o *office) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	_, password, _ := r.BasicAuth()
	scopes := r.Form["scope"]
	if r.Method == http.MethodPost {
		password = r.PostForm.Get("refresh_token")
		scopes = strings.Fields(r.PostForm.Get("scope"))
	}
	if password != canaryPassword || r.Form.Get("service") != "the registry" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	token := fmt.Sprintf("token-%d", len(o.asked))
	o.asked, o.issued[token] = append(o.asked, strings.Join(scopes, " ")), scopes
	fmt.Fprintf(w, `{"access_token":%q,"expires_in":300}`, token)
}

// registry is a registry that wants those tokens, with what scope a request needs.
func (o *office) registry(seen *counter) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/token" {
			o.ServeHTTP(w, r)
			return
		}
		seen.add(r.Method + " " + r.URL.Path)
		o.mu.Lock()
		defer o.mu.Unlock()
		token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if need := scopes(Request{Method: r.Method, Path: r.URL.Path, Repo: repositoryOf(r.URL.Path)}); !o.expire && len(need) > 0 && slices.Contains(o.issued[token], need[0]) {
			_, _ = io.Copy(io.Discard, r.Body)
			fmt.Fprint(w, "served")
			return
		}
		o.expire = false
		realm := o.realm
		if realm == "" {
			realm = "http://" + r.Host + "/token"
		}
		w.Header().Set("Www-Authenticate", `Bearer realm="`+realm+`",service="the registry",scope="repository:evil:*"`)
		w.WriteHeader(http.StatusUnauthorized)
	}
}

func newOffice() (*office, *counter) { return &office{issued: map[string][]string{}}, &counter{} }

func TestATokenIsAskedForOnceForEachRepositoryAndKindOfAccess(t *testing.T) {
	o, seen := newOffice()
	r := behind(t, o.registry(seen), withCanary)
	for range 3 {
		for _, q := range []Request{
			get("/v2/a/manifests/v1"), get("/v2/b/manifests/v1"), get("/v2/a/tags/list"),
			{Method: http.MethodPut, Path: "/v2/a/manifests/v1", Body: strings.NewReader("{}"), Length: 2},
		} {
			if got, err := read(t, r, q); err != nil || got != "served" {
				t.Fatalf("%s %s: %q, %v", q.Method, q.Path, got, err)
			}
			q.Body = strings.NewReader("{}")
		}
	}
	want := []string{"repository:a:pull", "repository:b:pull", "repository:a:pull,push"}
	if !reflect.DeepEqual(o.asked, want) {
		t.Errorf("asked for %q, want %q", o.asked, want)
	}
	if got := len(seen.list()); got != 13 { // one is challenged, then all are right at once
		t.Errorf("%d requests for 12, want 13", got)
	}
}

func TestAnExpiredTokenIsReplacedOnce(t *testing.T) {
	o, seen := newOffice()
	r := behind(t, o.registry(seen), withCanary)
	for range 2 {
		if got, err := read(t, r, get("/v2/a/tags/list")); err != nil || got != "served" {
			t.Fatal(got, err)
		}
		o.mu.Lock()
		o.expire = true
		o.mu.Unlock()
	}
	if len(o.asked) != 2 {
		t.Errorf("%d tokens, want 2", len(o.asked))
	}
}

func TestAStreamedBodyIsSentWithATokenAtOnceAndNeverTwice(t *testing.T) {
	o, seen := newOffice()
	r := behind(t, o.registry(seen), withCanary)
	upload := func() error {
		_, err := read(t, r, Request{
			Method: http.MethodPatch, Path: "/v2/a/blobs/uploads/id", Body: io.MultiReader(strings.NewReader("once")), Length: -1,
		})
		return err
	}
	if err := upload(); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(seen.list()); got != "[GET /v2/ PATCH /v2/a/blobs/uploads/id]" {
		t.Errorf("sent %s, want one ping and the upload", got)
	}

	o.mu.Lock()
	o.expire = true
	o.mu.Unlock()
	mustFail(t, upload(), "status 401")
	if err := upload(); err != nil {
		t.Error("with the token that the 401 led to:", err)
	}
}

func TestARegistryWithoutAuthenticationCostsNoRequestMore(t *testing.T) {
	seen := &counter{}
	r := behind(t, func(w http.ResponseWriter, r *http.Request) {
		seen.add(r.Method + " " + r.URL.Path)
		if r.Header.Get("Authorization") != "" {
			t.Error("a credential was sent that nobody asked for")
		}
	}, withCanary)
	for range 3 {
		for _, q := range []Request{get("/v2/a/tags/list"), {Method: http.MethodPatch, Path: "/v2/a/blobs/uploads/id", Body: io.MultiReader(strings.NewReader("x")), Length: 1}} {
			if _, err := read(t, r, q); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := seen.count("GET /v2/a/"); n != 3 {
		t.Errorf("%d lists, want 3", n)
	}
	if n := len(seen.list()); n != 7 {
		t.Errorf("%d requests for 6, want one ping more: %q", n, seen.list())
	}
}

func TestBasicAuthenticationAndItsAbsence(t *testing.T) {
	var wrong atomic.Int32
	handler := func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != canaryUser || password != canaryPassword {
			wrong.Add(1)
			w.Header().Add("Www-Authenticate", `Negotiate abc==`)
			w.Header().Add("Www-Authenticate", `Basic realm="x, Bearer realm=y"`)
			w.WriteHeader(http.StatusUnauthorized)
		}
	}
	r := behind(t, handler, withCanary)
	for range 3 {
		if _, err := read(t, r, get("/v2/a/tags/list")); err != nil {
			t.Fatal(err)
		}
	}
	if wrong.Load() != 1 {
		t.Errorf("%d requests without the password, want the first alone", wrong.Load())
	}

	for name, keychain := range map[string]authn.Keychain{"anonymous": nil, "a wrong password": StaticCredentials(canaryUser, "wrong")} {
		wrong.Store(0)
		r := behind(t, handler, func(o *Options) { o.Credentials = keychain })
		_, err := read(t, r, get("/v2/a/tags/list"))
		mustFail(t, err, "status 401")
		if wrong.Load() > 2 {
			t.Errorf("%s: %d requests, want at most 2", name, wrong.Load())
		}
	}
}

func TestAnIdentityTokenIsExchangedByOAuth(t *testing.T) {
	o, seen := newOffice()
	r := behind(t, o.registry(seen), func(opts *Options) {
		opts.Credentials = staticKeychain{authn.FromConfig(authn.AuthConfig{IdentityToken: canaryPassword})}
	})
	if got, err := read(t, r, get("/v2/a/tags/list")); err != nil || got != "served" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestThreat110_ATokenRealmElsewhereGetsNothing(t *testing.T) {
	evil, visits := stranger(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"token":"x"}`) })
	for name, realm := range map[string]string{
		"another port":          evil.URL + "/token",
		"another host":          strings.Replace(evil.URL, "127.0.0.1", "localhost", 1),
		"another scheme":        "https://REGISTRY/token",
		"a password in the URL": "http://a:b@REGISTRY/token",
		"a host for a user":     "http://REGISTRY@" + strings.TrimPrefix(evil.URL, "http://"),
		"no host":               "/token",
		"a file":                "file:///etc/passwd",
		"the metadata service":  "http://169.254.169.254/",
		"a malformed URL":       "http://[",
	} {
		t.Run(name, func(t *testing.T) {
			o, seen := newOffice()
			server := serve(t, o.registry(seen))
			o.realm = strings.Replace(realm, "REGISTRY", strings.TrimPrefix(server.URL, "http://"), 1)
			r := at(t, server, withCanary)
			_, err := read(t, r, get("/v2/a/tags/list"))
			mustFail(t, err, "token realm")
			if status := new(StatusError); errors.As(err, &status) {
				t.Error("the error reads as the registry's own answer")
			}
			_, err = read(t, r, Request{Method: http.MethodPatch, Path: "/v2/a/blobs/uploads/id", Body: io.MultiReader(strings.NewReader("x")), Length: 1})
			mustFail(t, err, "token realm")
		})
	}
	if n := len(visits.list()); n != 0 {
		t.Errorf("the stranger was visited %d times", n)
	}
}

func TestThreat110_AnAllowedTokenHostIsAskedByHTTPSAlone(t *testing.T) {
	o, seen := newOffice()
	tokens := serveTLS(t, o)
	r := at(t, serveTLS(t, o.registry(seen)), withCanary, func(opts *Options) { opts.TokenHosts = []string{strings.TrimPrefix(tokens.URL, "https://")} })
	o.realm = tokens.URL + "/token?fixed=1"
	if got, err := read(t, r, get("/v2/a/tags/list")); err != nil || got != "served" {
		t.Errorf("got %q, %v", got, err)
	}

	plain, visits := stranger(t, func(http.ResponseWriter, *http.Request) {})
	o, seen = newOffice()
	r = at(t, serveTLS(t, o.registry(seen)), withCanary, func(opts *Options) { opts.TokenHosts = []string{strings.TrimPrefix(plain.URL, "http://")} })
	o.realm = plain.URL
	_, err := read(t, r, get("/v2/a/tags/list"))
	mustFail(t, err, "token realm")
	if n := len(visits.list()); n != 0 {
		t.Errorf("the plain host was visited %d times", n)
	}
}

func TestThreat110_ATokenServicesRedirectIsNotFollowed(t *testing.T) {
	evil, visits := stranger(t, func(http.ResponseWriter, *http.Request) {})
	r := behind(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/token" {
			http.Redirect(w, r, evil.URL, http.StatusTemporaryRedirect)
			return
		}
		w.Header().Set("Www-Authenticate", `Bearer realm="http://`+r.Host+`/token"`)
		w.WriteHeader(http.StatusUnauthorized)
	}, withCanary)
	_, err := read(t, r, get("/v2/a/tags/list"))
	mustFail(t, err, "for a token: status 307")
	if n := len(visits.list()); n != 0 {
		t.Errorf("the target was visited %d times", n)
	}
}

func TestATokenServicesAnswerThatIsNoToken(t *testing.T) {
	for name, tt := range map[string]struct {
		status       int
		answer, part string
	}{
		"unknown":           {404, "", "status 404"},
		"not JSON":          {200, "<html>", "is no token"},
		"endless":           {200, `{"token":"` + strings.Repeat("x", maxTokenBody) + `"}`, "is no token"},
		"empty":             {200, `{}`, "no usable token"},
		"a second header":   {200, `{"token":"x\r\nX-Evil: y"}`, "no usable token"},
		"longer than token": {200, `{"token":"` + strings.Repeat("x", maxTokenLength+1) + `"}`, "no usable token"},
	} {
		t.Run(name, func(t *testing.T) {
			r := behind(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/token" {
					w.WriteHeader(tt.status)
					fmt.Fprint(w, tt.answer)
					return
				}
				w.Header().Set("Www-Authenticate", `Bearer realm="http://`+r.Host+`/token"`)
				w.WriteHeader(http.StatusUnauthorized)
			})
			_, _, err := r.Manifest(t.Context(), "a", "v1")
			mustFail(t, err, tt.part)
			if isNotFound(err) || errors.Is(err, ErrNotFound) {
				t.Error("the token service's answer reads as absence")
			}
			if strings.Contains(err.Error(), "xxx") || strings.Contains(err.Error(), "Evil") {
				t.Errorf("the error holds the answer: %v", err)
			}
		})
	}
}

func TestTokensLiveAsLongAsTheySayWithinBounds(t *testing.T) {
	for answer, want := range map[string]time.Duration{
		`{"token":"x"}`:                                      50 * time.Second,
		`{"token":"x","expires_in":300}`:                     290 * time.Second,
		`{"token":"x","expires_in":4}`:                       2 * time.Second,
		`{"token":"x","expires_in":-1}`:                      50 * time.Second,
		`{"token":"x","expires_in":9223372036854775807}`:     maxTokenTime - 10*time.Second,
		`{"token":"","access_token":"x","expires_in":86400}`: maxTokenTime - 10*time.Second,
	} {
		s, err := readToken(strings.NewReader(answer))
		if err != nil || s.header != "Bearer x" {
			t.Errorf("%s: got %v, %v", answer, s, err)
			continue
		}
		if got := time.Until(s.until); got > want || got < want-time.Second {
			t.Errorf("%s: lives %v, want %v", answer, got, want)
		}
	}
}

func TestThreat113_AChallengeThatNothingSatisfiesEnds(t *testing.T) {
	var requests atomic.Int32
	r := behind(t, func(w http.ResponseWriter, r *http.Request) {
		if requests.Add(1); r.URL.Path == "/token" {
			fmt.Fprintf(w, `{"token":"t%d"}`, requests.Load())
			return
		}
		w.Header().Set("Www-Authenticate", `Bearer realm="http://`+r.Host+`/token"`)
		w.WriteHeader(http.StatusUnauthorized)
	}, withCanary)
	_, err := read(t, r, get("/v2/a/tags/list"))
	mustFail(t, err, "status 401")
	if requests.Load() != 3 {
		t.Errorf("%d requests, want 3: without, for a token, with it", requests.Load())
	}
}

func TestThreat111_RegistriesShareNothing(t *testing.T) {
	o, seen := newOffice()
	one := behind(t, o.registry(seen), withCanary)
	if _, err := read(t, one, get("/v2/a/tags/list")); err != nil {
		t.Fatal(err)
	}
	stolen := ""
	other := behind(t, func(w http.ResponseWriter, r *http.Request) {
		stolen += r.Header.Get("Authorization")
		w.Header().Set("Www-Authenticate", `Basic realm="x"`)
		w.WriteHeader(http.StatusUnauthorized)
	})
	_, err := read(t, other, get("/v2/a/tags/list"))
	mustFail(t, err, "status 401")
	if stolen != "" {
		t.Errorf("the other registry was sent %q", stolen)
	}
}

func TestThreat112_ACertificateThatIsNotTrustedIsAnError(t *testing.T) {
	server := serveTLS(t, http.NotFoundHandler())
	for name, host := range map[string]string{
		"of nobody we know": server.Listener.Addr().String(),
		"of another host":   strings.Replace(server.Listener.Addr().String(), "127.0.0.1", "localhost", 1),
	} {
		r, err := New(Options{Name: "remote", URL: &url.URL{Scheme: "https", Host: host}})
		if err != nil {
			t.Fatal(err)
		}
		_, err = r.Do(t.Context(), get("/v2/"))
		if err == nil || !strings.Contains(err.Error(), "certificate") {
			t.Errorf("%s: got %v, want an error about the certificate", name, err)
		}
		r.Close()
	}
}

func TestDockerHubIsKnownByItsOtherNames(t *testing.T) {
	asked := ""
	r, err := New(Options{Name: "docker.io", URL: &url.URL{Scheme: "https", Host: dockerHub}, Credentials: keychainFunc(func(target authn.Resource) {
		asked = target.RegistryStr()
	})})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.credentials.account(t.Context()); err != nil || asked != dockerHubName {
		t.Errorf("the keychain was asked for %q, %v, want %q", asked, err, dockerHubName)
	}
	for realm, allowed := range map[string]bool{
		"https://auth.docker.io/token": true, "https://auth.docker.io:443/token": true, "http://auth.docker.io/token": false,
		"https://auth.docker.io.evil/": false, "https://registry-1.docker.io/token": true, "https://auth.docker.io:444/": false,
	} {
		if err := r.credentials.checkRealm(realm); (err == nil) != allowed {
			t.Errorf("%s: %v, allowed should be %v", realm, err, allowed)
		}
	}
}

type keychainFunc func(authn.Resource)

func (f keychainFunc) Resolve(target authn.Resource) (authn.Authenticator, error) {
	f(target)
	return authn.Anonymous, nil
}

func TestManyWhoMissATokenWaitForOne(t *testing.T) {
	o, seen := newOffice()
	r := behind(t, o.registry(seen), withCanary)
	if _, err := read(t, r, get("/v2/first/tags/list")); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if _, err := read(t, r, get("/v2/a/tags/list")); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if len(o.asked) > 10 { // one, but for those that came between two flights
		t.Errorf("%d tokens for 50 requests", len(o.asked))
	}
}

func TestTokensAndChallengesAreBounded(t *testing.T) {
	c := newCredentials(nil, "acme.dev", &url.URL{Scheme: "https", Host: "acme.dev"}, nil, nil, nil)
	for i := range maxTokens + 10 {
		made := &secret{"Bearer x", time.Now().Add(time.Hour)}
		if _, err := c.remembered(t.Context(), fmt.Sprint(i), func(context.Context) (*secret, error) { return made, nil }); err != nil {
			t.Fatal(err)
		}
	}
	if n := c.secrets.Len(); n != maxTokens {
		t.Errorf("%d tokens are remembered, want %d", n, maxTokens)
	}

	lines := slices.Repeat([]string{"Negotiate"}, maxChallenges-1)
	if _, ok := pickChallenge(append(lines, `Basic realm="x"`)); !ok {
		t.Error("the last line that counts is not read")
	}
	if c, ok := pickChallenge(append(lines, "Negotiate", `Basic realm="x"`)); ok {
		t.Errorf("a line too many is read: %v", c)
	}
	if n := len(parseChallenges(strings.Repeat("x ", maxChallenge/2))); n > maxChallenges*maxChallengePart {
		t.Errorf("%d challenges of one line", n)
	}
}

func TestParseChallenges(t *testing.T) {
	for line, want := range map[string][]challenge{
		`Bearer realm="https://a/token",service="s",scope="x"`: {{"bearer", "https://a/token", "s"}},
		`bearer Realm=x , SERVICE = "a \"b\" c"`:               {{"bearer", "x", `a "b" c`}},
		`Basic realm="x, Bearer realm=y"`:                      {{"basic", "x, Bearer realm=y", ""}},
		`Negotiate, Basic realm="x"`:                           {{"negotiate", "", ""}, {"basic", "x", ""}},
		`Basic realm="x", Bearer realm="y"`:                    {{"basic", "x", ""}, {"bearer", "y", ""}},
		`realm="x"`:                                            nil,
		``:                                                     nil,
		`Bearer realm="no end`:                                 {{"bearer", "", ""}, {"realm", "", ""}},
		strings.Repeat("x", maxChallenge+1):                    nil,
	} {
		if got := parseChallenges(line); !reflect.DeepEqual(got, want) {
			t.Errorf("%.80q: got %v, want %v", line, got, want)
		}
	}
}

func FuzzPickChallenge(f *testing.F) {
	f.Add(`Bearer realm="https://a/token",service="s",scope="repository:a:pull"`)
	f.Add(`Negotiate abc==, Basic realm="x"`)
	f.Add(`Bearer realm="\`)
	f.Fuzz(func(t *testing.T, line string) {
		c, ok := pickChallenge([]string{line, line})
		if ok && c.scheme != schemeBearer && c.scheme != schemeBasic {
			t.Errorf("%q chose %v", line, c)
		}
		one := &credentials{origin: &url.URL{Scheme: "https", Host: "acme.dev"}}
		if ok && c.scheme == schemeBearer && one.checkRealm(c.realm) == nil {
			if u, err := url.Parse(c.realm); err != nil || hostPort(u) != "acme.dev:443" || u.Scheme != "https" {
				t.Errorf("%q leads to %s", line, c.realm)
			}
		}
	})
}

func FuzzReadToken(f *testing.F) {
	f.Add(`{"token":"x","expires_in":60}`)
	f.Fuzz(func(t *testing.T, answer string) {
		s, err := readToken(strings.NewReader(answer))
		if err != nil {
			return
		}
		h := http.Header{"Authorization": {s.header}}
		if err := h.Write(io.Discard); err != nil || strings.ContainsAny(s.header, "\r\n") || time.Until(s.until) > maxTokenTime {
			t.Errorf("%q became %v", answer, s)
		}
	})
}
