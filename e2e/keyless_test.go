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

const keylessConfig = `
registries:
  - {name: up, url: %q, prefix: ""}
signers:
  - name: workload
    keyless:
      fulcio: %q
      identity_token_file: identity.token
      identity: {issuer: %q, subject: %s}
      timestamp: [%q]
      rekor: %q
      trusted_root: %s
authorities:
  - {name: workload, signer: workload}
policies:
  - name: all
    repositories: ["**"]
    pull: {signed_by: {any: [workload]}}
    push: {seal: {signer: workload, summary: true}}
`

// front is in front of a service, and can be away.
type front struct {
	*httptest.Server
	away atomic.Bool
}

func startFront(t *testing.T, service string) *front {
	t.Helper()
	to, err := url.Parse(service)
	if err != nil {
		t.Fatal(err)
	}
	f, proxy := new(front), httputil.NewSingleHostReverseProxy(to)
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f.away.Load() {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(f.Close)
	return f
}

// TestThreat155_ASealWithoutAKey has a real Fulcio, timestamp authority and Rekor v2 behind the seal of a push: it is pulled, stock
// cosign accepts it, another push adds nothing, and while one of them is away nothing is attached.
func TestThreat155_ASealWithoutAKey(t *testing.T) {
	s, up, kit := need(t, suite.sigstore), startRegistry(t), need(t, suite.images)
	fulcio, timestamp, rekor := startFront(t, s.fulcio), startFront(t, s.timestamp), startFront(t, s.rekor)
	gw := newGateway(t, fmt.Sprintf(keylessConfig, up.url(), fulcio.URL, s.issuer.url, builder, timestamp.URL+"/api/v1/timestamp", rekor.URL, s.roots[wholeRoot]))
	be := func(who string) {
		token, err := s.issuer.token(who)
		if err != nil {
			t.Fatal(err)
		}
		writeFile(t, gw.path("identity.token"), []byte(token), 0o600)
	}
	be(builder)
	gw.start(t)

	image := kit.source(t, nonroot, "sealed without a key")
	cranePush(t, image, gw.ref("app:v1")).ok(t)
	cranePull(t, gw.ref("app:v1")).ok(t)
	pinned := up.ref("app") + "@" + gw.digest(t, "app", "v1")
	cosign3.run(t, "verify", "--certificate-identity", builder, "--certificate-oidc-issuer", s.issuer.url, "--trusted-root", s.roots[wholeRoot],
		"--insecure-ignore-sct", "--use-signed-timestamps", pinned).ok(t)
	cosign3.run(t, "verify", "--certificate-identity", anybodyElse, "--certificate-oidc-issuer", s.issuer.url, "--trusted-root", s.roots[wholeRoot],
		"--insecure-ignore-sct", "--use-signed-timestamps", pinned).fails(t)

	attached := func(tag string) int { return len(gw.referrers(t, "app", gw.digest(t, "app", tag))) }
	first := attached("v1")
	if first != 2 { // the signature and the summary
		t.Errorf("%d are attached, want 2", first)
	}
	cranePush(t, image, gw.ref("app:v2")).ok(t)
	if again := attached("v2"); again != first {
		t.Errorf("%d are attached after another push, %d before", again, first)
	}

	for why, meddle := range map[string]struct {
		on, off func()
		cause   string
	}{
		"fulcio-is-away":        {func() { fulcio.away.Store(true) }, func() { fulcio.away.Store(false) }, "502"},
		"timestamps-are-away":   {func() { timestamp.away.Store(true) }, func() { timestamp.away.Store(false) }, "502"},
		"the-log-is-away":       {func() { rekor.away.Store(true) }, func() { rekor.away.Store(false) }, "502"},
		"the-token-is-anothers": {func() { be(anybodyElse) }, func() { be(builder) }, "not one of the identity that is configured"},
		"there-is-no-token":     {func() { writeFile(t, gw.path("identity.token"), nil, 0o600) }, func() { be(builder) }, "IDToken"},
	} {
		other := kit.source(t, nonroot, "sealed when it is over: "+why)
		meddle.on()
		cranePush(t, other, gw.ref(why+":v1")).fails(t).has(t, "UNAVAILABLE")
		gw.nothingHalfSealed(t, why, meddle.cause)
		meddle.off()
		cranePush(t, other, gw.ref(why+":v1")).ok(t)
		cranePull(t, gw.ref(why+":v1")).ok(t)
		if n := len(gw.referrers(t, why, gw.digest(t, why, "v1"))); n != first {
			t.Errorf("%s: %d are attached, want %d", why, n, first)
		}
	}
}

// TestASealWithoutAKeyAges has a real timestamp authority say when the gateway signed: a policy that lets signatures age goes by
// that, and says so to whoever pulls and in what verify prints.
func TestASealWithoutAKeyAges(t *testing.T) {
	s, up, kit := need(t, suite.sigstore), startRegistry(t), need(t, suite.images)
	token, err := s.issuer.token(builder)
	if err != nil {
		t.Fatal(err)
	}
	config := func(age string) string {
		whole := fmt.Sprintf(keylessConfig, up.url(), s.fulcio, s.issuer.url, builder, s.timestamp+"/api/v1/timestamp", s.rekor, s.roots[wholeRoot])
		return strings.Replace(whole, "{any: [workload]}", "{any: [workload], max_age: "+age+"}", 1)
	}
	gw := newGateway(t, config("24h"))
	writeFile(t, gw.path("identity.token"), []byte(token), 0o600)
	gw.start(t)
	cranePush(t, kit.source(t, nonroot, "sealed for a day"), gw.ref("app:v1")).ok(t)
	cranePull(t, gw.ref("app:v1")).ok(t)

	gw.configure(t, config("1s"))
	gw.reload(t)
	eventually(t, "the signature is too old", func() (bool, string) {
		status := gw.status(t, http.MethodGet, "app", "v1")
		return status == http.StatusForbidden, fmt.Sprintf("GET answers %d", status)
	})
	cranePull(t, gw.ref("app:v1")).fails(t).has(t, "the signature by workload is ", " old, at most ", "build the image again, and have it signed by workload")
	r := gw.run(t, "verify", "app:v1")
	r.fails(t).has(t, "(STALE)", "· by workload, bundle", "it is ", " old, at most ")
}
