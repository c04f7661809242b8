package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
)

// An outage admits nothing, says that it is an outage and not a verdict, and is over when it is over.

func TestOutages(t *testing.T) {
	up, kit := startRegistry(t), need(t, suite.images)
	faulty := startFaultyRegistry(t, up)
	gw := startGateway(t, fmt.Sprintf(pullConfig, faulty.server.URL))
	digest := put(t, up.ref("app:v1"), kit.image(t, nonroot, "outage"))
	cosign2.signs(t, "release", up.ref("app")+"@"+digest).ok(t)
	image := gw.ref("up/app:v1")

	faulty.hidesSignatures.Store(true)
	outage(t, "nobody can tell whether it is signed", "undecided", image)
	if status := gw.status(t, http.MethodGet, "up/app", "v1"); status != http.StatusServiceUnavailable {
		t.Errorf("the gateway answers %d when it cannot read signatures, want 503", status)
	}
	faulty.hidesSignatures.Store(false)
	forEachClient(t, "the signature can be read again", func(t *testing.T, c client) { c.fresh(t, image).ok(t) })

	up.process.kill()
	outage(t, "the registry behind the gateway is down", "upstream-down", image)
	if status := gw.status(t, http.MethodGet, "up/app", "v1"); status != http.StatusBadGateway {
		t.Errorf("the gateway answers %d when its upstream is down, want 502", status)
	}
	up.start(t)
	eventually(t, "the gateway asks the registry again", func() (bool, string) { // which it left alone for a moment
		status := gw.status(t, http.MethodGet, "up/app", "v1")
		return status == http.StatusOK, fmt.Sprint(status)
	})
	forEachClient(t, "the registry is back", func(t *testing.T, c client) { c.fresh(t, image).ok(t) })

	if code := gw.process.stop(); code != 0 {
		t.Errorf("the gateway ended with exit code %d, want 0", code)
	}
	outage(t, "the gateway is down", "gateway-down", image)
}

// outage demands that no client gets the image, and keeps what each says.
func outage(t *testing.T, name, story, image string) {
	t.Helper()
	forEachClient(t, name, func(t *testing.T, c client) {
		golden(t, c.name, story, c.fresh(t, image).fails(t).output)
	})
}

// faultyRegistry stands between a gateway and a registry and fails on demand.
type faultyRegistry struct {
	server          *httptest.Server
	hidesSignatures atomic.Bool // whatever is attached to an image answers 500
}

func startFaultyRegistry(t *testing.T, behind *registry) *faultyRegistry {
	t.Helper()
	f := newFaultyRegistry(t, behind)
	f.server.Start()
	return f
}

func newFaultyRegistry(t *testing.T, behind *registry) *faultyRegistry {
	t.Helper()
	target, err := url.Parse(behind.url())
	if err != nil {
		t.Fatal(err)
	}
	f := &faultyRegistry{}
	forward := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) },
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) {
			panic(http.ErrAbortHandler) // as if the registry itself hung up
		},
	}
	f.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f.hidesSignatures.Load() && (strings.Contains(r.URL.Path, "/manifests/sha256-") || strings.Contains(r.URL.Path, "/referrers/")) {
			http.Error(w, "internal: db-7.internal is on fire", http.StatusInternalServerError)
			return
		}
		forward.ServeHTTP(w, r)
	}))
	t.Cleanup(f.server.Close)
	return f
}
