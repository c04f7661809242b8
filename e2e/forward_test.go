package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"
)

// Callers' own credentials, with real clients: the registry behind the gateway knows people and the gateway none. What the one
// pulled is not for another, and no longer for himself when the registry says so.

const forwardConfig = `
registries:
  - {name: up, url: %q, credentials: caller}
authorities:
  - {name: release, key: {file: release.pub}}
policies:
  - name: released
    repositories: ["**"]
    pull: {signed_by: {any: [release]}}
`

// guardedRegistry lets alice in, until she is revoked, and nobody else.
type guardedRegistry struct {
	server  *httptest.Server
	revoked atomic.Bool
}

func startGuardedRegistry(t *testing.T, behind *registry) *guardedRegistry {
	t.Helper()
	target, err := url.Parse(behind.url())
	if err != nil {
		t.Fatal(err)
	}
	g := &guardedRegistry{}
	forward := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}
	g.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, password, _ := r.BasicAuth()
		if name != "alice" || password != passwordOf("alice") || g.revoked.Load() {
			w.Header().Set("Www-Authenticate", `Basic realm="people"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		forward.ServeHTTP(w, r)
	}))
	t.Cleanup(g.server.Close)
	return g
}

func TestCallersPullWithTheirOwnCredentials(t *testing.T) {
	up, kit := startRegistry(t), need(t, suite.images)
	guard := startGuardedRegistry(t, up)
	gw := startGateway(t, fmt.Sprintf(forwardConfig, guard.server.URL))
	digest := put(t, up.ref("app:v1"), kit.image(t, nonroot, "forwarded"))
	cosign2.signs(t, "release", up.ref("app")+"@"+digest).ok(t)
	put(t, up.ref("unsigned:v1"), kit.image(t, nonroot, "forwarded, unsigned"))

	pull := func(t *testing.T, v visitor, who, repo string) result {
		t.Helper()
		if v.clear != nil {
			v.clear(t)
		}
		return v.pullAs(t, who+":"+passwordOf(who), gw.ref(repo+":v1"))
	}
	forEachVisitor(t, "who may at the registry pulls", func(t *testing.T, v visitor) { pull(t, v, "alice", "app").ok(t) })
	forEachVisitor(t, "who may there is still held to the policy", func(t *testing.T, v visitor) { pull(t, v, "alice", "unsigned").fails(t) })
	forEachVisitor(t, "who may not there gets nothing that is here", func(t *testing.T, v visitor) { pull(t, v, "bob", "app").fails(t) })
	guard.revoked.Store(true)
	forEachVisitor(t, "who may no longer gets nothing that is here", func(t *testing.T, v visitor) { pull(t, v, "alice", "app").fails(t) })

	log, err := os.ReadFile(gw.process.log)
	if err != nil {
		t.Fatal(err)
	}
	for _, who := range []string{"alice", "bob"} {
		if strings.Contains(string(log), passwordOf(who)) {
			t.Errorf("the log has the password of %s", who)
		}
	}
}
