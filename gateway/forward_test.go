package gateway_test

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/sealgate/sealgate/gateway"
	"github.com/sealgate/sealgate/gateway/upstream"
)

const alicesPassword, bobsPassword = "canary-alice-7f3a", "canary-bob-91cc"

// keeper is a registry with users: alice may read and write acme/, bob may not.
type keeper struct {
	registry http.Handler
	open     atomic.Bool // asks nobody; for setting the stage
	down     atomic.Bool

	mu    sync.Mutex
	asked []string // "METHOD path user"
	meets func(asked string)
}

func (g *keeper) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	user, password, _ := r.BasicAuth()
	g.mu.Lock()
	g.asked = append(g.asked, r.Method+" "+r.URL.Path+" "+user)
	meets := g.meets
	g.mu.Unlock()
	if meets != nil {
		meets(r.Method + " " + r.URL.Path + " " + user)
	}
	known := user == "alice" && password == alicesPassword || user == "bob" && password == bobsPassword
	switch {
	case g.down.Load():
		panic(http.ErrAbortHandler)
	case g.open.Load():
	case !known:
		w.Header().Set("Www-Authenticate", `Basic realm="upstream"`)
		w.WriteHeader(http.StatusUnauthorized)
		return
	case user != "alice" && strings.HasPrefix(r.URL.Path, "/v2/acme/"):
		w.WriteHeader(http.StatusForbidden)
		return
	}
	g.registry.ServeHTTP(w, r)
}

// since returns what was asked after the first n requests.
func (g *keeper) since(n int) []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]string{}, g.asked[n:]...)
}

// newForwardingRig has a guarded registry to which callers' credentials go, behind a gateway that knows no clients, and a
// second registry behind other/ that must never see them.
func newForwardingRig(t *testing.T) (r *rig, g *keeper, log *bytes.Buffer, strangers *atomic.Int32) {
	t.Helper()
	g = &keeper{registry: newRegistryWithReferrers()}
	server := httptest.NewServer(g)
	t.Cleanup(server.Close)
	origin, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	forwarding, err := upstream.New(upstream.Options{Name: "guarded.test", URL: origin, ForwardCallers: true})
	if err != nil {
		t.Fatal(err)
	}
	strangers = new(atomic.Int32)
	elsewhere := newRegistryWithReferrers()
	other := registryAt(t, "other.test", "other/", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			strangers.Add(1)
		}
		elsewhere.ServeHTTP(w, r)
	}))
	r = newRigBefore(t, forwarding)
	if r.registries, err = upstream.NewRegistries(forwarding, other); err != nil {
		t.Fatal(err)
	}
	log = new(bytes.Buffer)
	r.gateway = gateway.New(gateway.Options{Ledger: r.ledger, Log: slog.New(slog.NewTextHandler(log, nil)), Metrics: prometheus.NewRegistry()})
	front := httptest.NewServer(r.gateway)
	t.Cleanup(front.Close)
	r.url = front.URL
	r.enforce(r.key)
	return r, g, log, strangers
}

func TestThreat109_122_WhatIsHereForOneCallerIsNotForAnother(t *testing.T) {
	r, g, log, _ := newForwardingRig(t)
	im := newImage("65532", "alice's")
	g.open.Store(true)
	r.bypass("acme/app", "v1", im)
	r.sealAround("acme/app", im)
	g.open.Store(false)
	alice, bob := basic("alice", alicesPassword), basic("bob", bobsPassword)
	byTag, byDigest := "/v2/acme/app/manifests/v1", "/v2/acme/app/manifests/"+im.digest.String()
	blob := "/v2/acme/app/blobs/" + digest.FromBytes(im.blobs[1]).String()

	for _, path := range []string{byTag, byDigest, blob} {
		r.want(http.StatusOK, "GET", path, nil, "Authorization", alice) // and now it is here, judged
	}
	for _, method := range []string{"GET", "HEAD"} {
		for _, path := range []string{byTag, byDigest, blob} {
			for name, header := range map[string][]string{
				"without credentials": nil, "bob": {"Authorization", bob}, "with a wrong password": {"Authorization", basic("alice", "x")},
				"with a token": {"Authorization", "Bearer x"}, "with nonsense": {"Authorization", "Basic !"},
			} {
				a := r.send(method, path, nil, header...)
				if a.status != http.StatusUnauthorized || !strings.HasPrefix(a.header.Get("Www-Authenticate"), "Basic ") || bytes.Contains(a.body, im.blobs[1]) {
					t.Errorf("%s %s %s: got %d %s, want 401 and a challenge", method, path, name, a.status, a.body)
				}
			}
		}
	}

	// What is here is asked for in one HEAD, with the credentials of who wants it.
	before := len(g.since(0))
	r.want(http.StatusOK, "GET", byDigest, nil, "Authorization", alice)
	if asked := g.since(before); len(asked) != 1 || asked[0] != "HEAD "+byDigest+" alice" {
		t.Errorf("a manifest that is here made the requests %q, want one HEAD by alice", asked)
	}
	g.down.Store(true)
	if a := r.send("GET", byDigest, nil, "Authorization", alice); a.status != http.StatusBadGateway {
		t.Errorf("while the registry cannot say who may: got %d, want 502", a.status)
	}
	g.down.Store(false)

	for _, secret := range []string{alicesPassword, bobsPassword, strings.TrimPrefix(alice, "Basic ")} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("the log holds a password:\n%s", log)
		}
	}
}

func TestThreat109_ACallersCredentialsGoToTheRegistryOfTheRequestAlone(t *testing.T) {
	r, g, _, strangers := newForwardingRig(t)
	im := newImage("65532", "for all")
	g.open.Store(true)
	r.bypass("acme/app", "v1", im)
	r.bypass("other/app", "v1", im)
	r.sealAround("other/app", im)
	alice := basic("alice", alicesPassword)
	before := len(g.since(0))
	r.want(http.StatusOK, "GET", "/v2/other/app/manifests/v1", nil, "Authorization", alice)
	r.send("GET", "/v2/app/manifests/v1?ns=other.test", nil, "Authorization", alice)
	r.send("GET", "/v2/_catalog", nil, "Authorization", alice)
	if strangers.Load() != 0 {
		t.Errorf("%d requests with credentials reached a registry that they are not for", strangers.Load())
	}
	for _, asked := range g.since(before) {
		if strings.HasSuffix(asked, " alice") {
			t.Errorf("the credentials were used for a request of no repository there: %s", asked)
		}
	}
}

func TestAPingIsChallengedWhereCallersCredentialsAreForwarded(t *testing.T) {
	r, _, _, _ := newForwardingRig(t)
	a := r.want(http.StatusUnauthorized, "GET", "/v2/", nil)
	if !strings.HasPrefix(a.header.Get("Www-Authenticate"), "Basic ") {
		t.Errorf("the challenge is %q", a.header.Get("Www-Authenticate"))
	}
	r.want(http.StatusOK, "GET", "/v2/", nil, "Authorization", basic("alice", alicesPassword))
}

func TestACallerPushesAndSealsWithHisOwnCredentials(t *testing.T) {
	r, g, _, _ := newForwardingRig(t)
	im := newImage("65532", "pushed")
	alice, bob := []string{"Authorization", basic("alice", alicesPassword)}, []string{"Authorization", basic("bob", bobsPassword)}
	r.want(http.StatusUnauthorized, "POST", "/v2/acme/app/blobs/uploads/", nil, bob...)
	for _, content := range im.blobs {
		to := r.want(http.StatusAccepted, "POST", "/v2/acme/app/blobs/uploads/", nil, alice...).header.Get("Location")
		r.want(http.StatusCreated, "PUT", to+"?digest="+digest.FromBytes(content).String(), content, alice...)
	}
	r.want(http.StatusCreated, "PUT", "/v2/acme/app/manifests/v1", im.manifest, append(alice, "Content-Type", mediaTypeOf(im.manifest))...)
	r.want(http.StatusOK, "GET", "/v2/acme/app/manifests/v1", nil, alice...)
	if g.open.Load() {
		t.Error("the registry asked nobody")
	}
}

// A registry may say of evidence that it is not there to whoever may not read it. That is nobody's answer but his own.
func TestThreat122_WhoMayNotReadAnImageDoesNotSayWhatIsAttachedToIt(t *testing.T) {
	r, g, _, _ := newForwardingRig(t)
	im := newImage("65532", "alice's")
	g.open.Store(true)
	r.bypass("acme/app", "v1", im)
	r.sealAround("acme/app", im)
	g.open.Store(false)
	byDigest := "/v2/acme/app/manifests/" + im.digest.String()
	for name, who := range map[string][]string{"bob": {"Authorization", basic("bob", bobsPassword)}, "nobody": nil} {
		before := len(g.since(0))
		r.want(http.StatusUnauthorized, "GET", byDigest, nil, who...)
		r.want(http.StatusOK, "GET", byDigest, nil, "Authorization", basic("alice", alicesPassword)) // after what the other began
		for _, asked := range g.since(before) {
			if !strings.HasSuffix(asked, " alice") && (strings.Contains(asked, "/referrers/") || strings.Contains(asked, "/manifests/sha256-")) {
				t.Errorf("%s looked for what is attached: %s", name, asked)
			}
		}
		r.enforce(r.key)
		r.gateway = gateway.New(gateway.Options{Ledger: r.ledger, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()})
		r.gateway.Enforce(r.regime)
		front := httptest.NewServer(r.gateway)
		t.Cleanup(front.Close)
		r.url = front.URL
	}
}

// What is on its way for one caller is not what another one waits for.
func TestThreat109_122_NobodyTakesPartInAnothersPull(t *testing.T) {
	r, g, _, _ := newForwardingRig(t)
	im := newImage("65532", "alice's")
	g.open.Store(true)
	r.bypass("acme/app", "v1", im)
	r.sealAround("acme/app", im)
	g.open.Store(false)
	byDigest := "/v2/acme/app/manifests/" + im.digest.String()
	aliceAsks, bobAsked := make(chan struct{}), make(chan struct{})
	begin, seen := sync.OnceFunc(func() { close(aliceAsks) }), sync.OnceFunc(func() { close(bobAsked) })
	g.mu.Lock()
	g.meets = func(asked string) {
		switch asked {
		case "GET " + byDigest + " alice":
			begin()
			<-bobAsked
		case "GET " + byDigest + " bob":
			seen()
		}
	}
	g.mu.Unlock()

	alices := make(chan answer)
	go func() { alices <- r.send("GET", byDigest, nil, "Authorization", basic("alice", alicesPassword)) }()
	<-aliceAsks
	if a := r.send("GET", byDigest, nil, "Authorization", basic("bob", bobsPassword)); a.status != http.StatusUnauthorized {
		t.Errorf("bob got %d %s", a.status, a.body)
	}
	seen() // where he waited for alice instead
	if a := <-alices; a.status != http.StatusOK {
		t.Errorf("alice got %d %s", a.status, a.body)
	}
}
