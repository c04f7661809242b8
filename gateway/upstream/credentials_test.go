package upstream

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
)

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
