package gateway_test

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sealgate/sealgate/gateway/ledger"
	"github.com/sealgate/sealgate/gateway/upstream"
	"github.com/sealgate/sealgate/policy"
)

// newRigWithOutages is a gateway before a registry whose evidence cannot be read while out is true: another rig's, which admits
// everything.
func newRigWithOutages(t *testing.T, bridge time.Duration) (r *rig, out *atomic.Bool) {
	t.Helper()
	behind := newRig(t, open())
	target, err := url.Parse(behind.url)
	if err != nil {
		t.Fatal(err)
	}
	out = &atomic.Bool{}
	forward := httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(target) }}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if out.Load() && (strings.Contains(q.URL.Path, "/manifests/sha256-") || strings.Contains(q.URL.Path, "/referrers/")) {
			http.Error(w, "on fire", http.StatusServiceUnavailable)
			return
		}
		forward.ServeHTTP(w, q)
	}))
	t.Cleanup(server.Close)
	origin, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	registry, err := upstream.New(upstream.Options{Name: "up", URL: origin})
	if err != nil {
		t.Fatal(err)
	}
	r = newRigBefore(t, registry)
	r.bridge = bridge
	r.enforce(r.key)
	return r, out
}

func (r *rig) last() ledger.Decision {
	r.t.Helper()
	all := r.recorded()
	return all[len(all)-1]
}

func TestThreat134_WhatWasProvenIsServedInAnOutageAlsoAfterARestart(t *testing.T) {
	r, out := newRigWithOutages(t, time.Hour)
	im := newImage("65532", "x")
	if a := r.push("a", "v1", im); a.status != http.StatusCreated {
		t.Fatal(a.status, string(a.body))
	}
	began := time.Now()
	r.want(http.StatusOK, "GET", "/v2/a/manifests/v1", nil)
	if d := r.last(); !d.Remembered.IsZero() {
		t.Errorf("remembered %v without an outage", d.Remembered)
	}

	out.Store(true)
	for _, restart := range []func(){func() { r.enforce(r.key) }, r.restart} {
		restart()
		a := r.want(http.StatusOK, "GET", "/v2/a/manifests/v1", nil)
		if warning := a.header.Get("Warning"); !strings.HasPrefix(warning, `299 - "sealgate: judged by what was attached at `) {
			t.Errorf("the warning is %q", warning)
		}
		if d := r.last(); d.Outcome != ledger.Admit || d.Remembered.Before(began.Add(-time.Second)) || d.Remembered.After(time.Now()) {
			t.Errorf("recorded %+v", d)
		}
	}

	// Who is trusted is decided now, whatever was remembered: nothing that counts is no absence.
	other := newKey(t)
	r.enforce(other)
	r.want(http.StatusServiceUnavailable, "GET", "/v2/a/manifests/v1", nil)
	if d := r.last(); d.Outcome != ledger.Undecided || d.Cause == "" {
		t.Errorf("recorded %+v", d)
	}
	r.enforce(r.key)
	r.want(http.StatusOK, "GET", "/v2/a/manifests/v1", nil)

	// A requirement that what is remembered does not meet may be met by now: nobody can tell.
	stricter := sealing()
	stricter.Pull.Attested = []policy.AttestedDocument{{Predicate: "vuln", By: &policy.SignedBy{Any: []string{"gateway"}}}}
	r.policies = []policy.Document{stricter}
	r.enforce(r.key)
	r.want(http.StatusServiceUnavailable, "GET", "/v2/a/manifests/v1", nil)

	r.policies = []policy.Document{sealing()}
	out.Store(false)
	r.enforce(r.key)
	if a := r.want(http.StatusOK, "GET", "/v2/a/manifests/v1", nil); a.header.Get("Warning") != "" {
		t.Errorf("after the outage the warning is %q", a.header.Get("Warning"))
	}
}

func TestNothingIsBridgedWhereThatIsOff(t *testing.T) {
	r, out := newRigWithOutages(t, 0)
	if a := r.push("a", "v1", newImage("65532", "x")); a.status != http.StatusCreated {
		t.Fatal(a.status, string(a.body))
	}
	r.want(http.StatusOK, "GET", "/v2/a/manifests/v1", nil)
	out.Store(true)
	r.enforce(r.key)
	r.want(http.StatusServiceUnavailable, "GET", "/v2/a/manifests/v1", nil)
}

func TestThreat081_AKeyThatIsRevokedEndsWhatIsRemembered(t *testing.T) {
	r, out := newRigWithOutages(t, time.Hour)
	im := newImage("65532", "x")
	r.push("a", "v1", im)
	r.want(http.StatusOK, "GET", "/v2/a/manifests/v1", nil)
	out.Store(true)
	revoked := newKey(t)
	r.enforce(revoked) // the old key stands behind no name any more
	for range 2 {
		r.want(http.StatusServiceUnavailable, "GET", "/v2/a/manifests/"+im.digest.String(), nil)
	}
}
