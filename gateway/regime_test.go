package gateway_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/sealgate/sealgate/gateway"
	"github.com/sealgate/sealgate/gateway/ledger"
	"github.com/sealgate/sealgate/policy"
)

// waitingVerifier proves nothing, and only when it is let.
type waitingVerifier struct{ begun, let chan struct{} }

func (v waitingVerifier) Verify(context.Context, policy.Subject) (policy.Evidence, error) {
	v.begun <- struct{}{}
	<-v.let
	return policy.Evidence{}, nil
}
func (waitingVerifier) Forget(policy.Subject) {}

func TestThreat091_ARequestEndsUnderThePolicyThatItBeganWith(t *testing.T) {
	r := newRig(t)
	r.bypass("a", "v1", newImage("65532", "x"))
	before := r.regime.Policy.Version()
	v := waitingVerifier{make(chan struct{}), make(chan struct{})}
	r.swap(func(re *gateway.Regime) { re.Verifier = v })

	answered := make(chan answer)
	go func() { answered <- r.send("GET", "/v2/a/manifests/v1", nil) }()
	<-v.begun
	r.policies = []policy.Document{open()}
	r.enforce(r.key) // admits everything, from now on
	close(v.let)

	if a := <-answered; a.status != http.StatusForbidden {
		t.Errorf("got %d, want what the policy of its beginning says, 403", a.status)
	}
	d := r.recorded()
	if got := d[len(d)-1]; got.PolicyVersion != before || got.Outcome != ledger.Deny {
		t.Errorf("the record: %+v, want version %s", got, before)
	}
	r.want(http.StatusOK, "GET", "/v2/a/manifests/v1", nil)
}

func TestThreat134_AnUpstreamThatIsDownAdmitsOnlyWhatWasProven(t *testing.T) {
	inner := newRig(t) // a registry with sealed images, by HTTP
	known, unknown := newImage("65532", "known"), newImage("65532", "unknown")
	inner.push("a", "known", known)
	inner.push("a", "unknown", unknown)
	var down atomic.Bool
	r := newRigBeforeHandler(t, func(w http.ResponseWriter, q *http.Request) {
		if down.Load() {
			panic(http.ErrAbortHandler)
		}
		inner.gateway.ServeHTTP(w, q)
	}, sealing())
	r.enforce(inner.key)
	r.want(http.StatusOK, "GET", "/v2/a/manifests/"+known.digest.String(), nil)

	down.Store(true)
	r.want(http.StatusOK, "GET", "/v2/a/manifests/"+known.digest.String(), nil)
	r.want(http.StatusBadGateway, "GET", "/v2/a/manifests/known", nil) // where the tag points now, nobody knows
	r.want(http.StatusBadGateway, "GET", "/v2/a/manifests/"+unknown.digest.String(), nil)
	r.enforce(inner.key) // nothing is proven under a new regime
	r.want(http.StatusServiceUnavailable, "GET", "/v2/a/manifests/"+known.digest.String(), nil)
}

func TestThreat146_AManifestWhoseBlobsAreMissingIsRefused(t *testing.T) {
	r := newRig(t)
	im := newImage("65532", "x")
	if a := r.putManifest("a", "v1", im); a.status != http.StatusNotFound || !strings.HasPrefix(a.message(), "MANIFEST_BLOB_UNKNOWN") {
		t.Errorf("without any blob: %d %s", a.status, a.body)
	}
	r.pushBlobs("a", image{blobs: im.blobs[:1]}) // the configuration alone
	if a := r.putManifest("a", "v1", im); a.status/100 != 4 || !strings.HasPrefix(a.message(), "MANIFEST_BLOB_UNKNOWN") {
		t.Errorf("without its layer: %d %s", a.status, a.body)
	}
	r.want(http.StatusNotFound, "GET", "/v2/a/manifests/v1", nil)
	r.want(http.StatusNotFound, "GET", "/v2/a/manifests/"+im.digest.String(), nil)
}

func TestThreat173_MetricsDoNotGrowWithWhatClientsAsk(t *testing.T) {
	metrics := prometheus.NewRegistry()
	r := newRig(t)
	g := gateway.New(gateway.Options{Ledger: r.ledger, Log: slog.New(slog.DiscardHandler), Metrics: metrics})
	g.Enforce(r.regime)
	for i := range 500 {
		for _, path := range []string{"/v2/repo%d/manifests/tag%d", "/v2/repo%d/blobs/sha256:%064d", "/nowhere%d/%d"} {
			g.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", fmt.Sprintf(path, i, i), nil))
		}
	}
	families, err := metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	series := 0
	for _, family := range families {
		series += len(family.GetMetric())
	}
	if series > 20 {
		t.Errorf("got %d series after 1,500 different requests", series)
	}
}

func TestThreat174_CredentialsAreInNoLogAndNoRecord(t *testing.T) {
	var log bytes.Buffer
	r := newRig(t)
	g := gateway.New(gateway.Options{Ledger: r.ledger, Log: slog.New(slog.NewTextHandler(&log, nil)), Metrics: prometheus.NewRegistry()})
	g.Enforce(r.regime)
	im := newImage("65532", "x")
	r.bypass("a", "v1", im)
	for _, target := range []string{"/v2/a/manifests/v1", "/v2/a/manifests/absent", "/v2/a/blobs/" + digest.FromString("x").String(), "/v2/a/tags/list?n=" + canary[:8]} {
		q := httptest.NewRequest("GET", target, nil)
		q.Header.Set("Authorization", "Bearer "+canary)
		q.Header.Set("Cookie", canary)
		g.ServeHTTP(httptest.NewRecorder(), q)
	}
	records, err := os.ReadFile(r.decisions)
	if err != nil {
		t.Fatal(err)
	}
	if log.Len() == 0 || len(records) == 0 {
		t.Fatal("nothing was logged")
	}
	if strings.Contains(log.String()+string(records), "s3cret") {
		t.Errorf("a credential was logged:\n%s\n%s", &log, records)
	}
}
