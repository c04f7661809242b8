package upstream

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"

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

type keychainFunc func(authn.Resource)

func (f keychainFunc) Resolve(target authn.Resource) (authn.Authenticator, error) {
	f(target)
	return authn.Anonymous, nil
}
