package gateway_test

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/sealgate/sealgate/gateway"
	"github.com/sealgate/sealgate/policy"
)

// listening is a verifier that tells what it is asked.
type listening struct {
	gateway.Verifier
	asked func(s policy.Subject)
}

func (l listening) Verify(ctx context.Context, s policy.Subject) (policy.Evidence, error) {
	l.asked(s)
	return l.Verifier.Verify(ctx, s)
}

func (r *rig) listen(asked func(policy.Subject)) {
	r.swap(func(re *gateway.Regime) { re.Verifier = listening{re.Verifier, asked} })
}

// The registry gives the manifest only once the verifier was asked: who did the one after the other would wait in vain.
func TestEvidenceIsLookedForWhileTheManifestIsUnderWay(t *testing.T) {
	im := newImage("65532", "an image")
	asked := make(chan struct{})
	r := newRigBeforeHandler(t, func(w http.ResponseWriter, q *http.Request) {
		if !strings.HasSuffix(q.URL.Path, "/manifests/"+im.digest.String()) {
			http.NotFound(w, q)
			return
		}
		select {
		case <-asked:
		case <-q.Context().Done():
		}
		serveManifest(w, im.manifest)
	}, sealing())
	once := sync.OnceFunc(func() { close(asked) })
	r.listen(func(policy.Subject) { once() })

	a := r.want(http.StatusForbidden, "GET", "/v2/prod/app/manifests/"+im.digest.String(), nil)
	if !strings.Contains(a.message(), "no signature") {
		t.Errorf("got %s", a.message())
	}
}

// What does not exist costs the registry more than its manifest only for so many at a time.
func TestWhatIsVerifiedAheadIsBounded(t *testing.T) {
	const most = 16
	r := newRigBeforeHandler(t, http.NotFound, sealing())
	var asked atomic.Int32
	full, end := make(chan struct{}), make(chan struct{})
	r.listen(func(policy.Subject) {
		if asked.Add(1) == most {
			close(full)
		}
		<-end
	})
	get := func(i int) {
		r.want(http.StatusNotFound, "GET", "/v2/prod/app/manifests/"+digest.FromString(strings.Repeat("x", i)).String(), nil)
	}
	for i := range most {
		get(i)
	}
	<-full
	for i := range 4 {
		get(most + i)
	}
	if got := asked.Load(); got != most {
		t.Errorf("%d are verified ahead, want %d", got, most)
	}
	close(end)
}

func TestWhatWasSealedIsVerifiedBeforeAnybodyPullsIt(t *testing.T) {
	r := newRig(t, sealing())
	im := newImage("65532", "an image")
	asked := make(chan policy.Subject, 8)
	r.listen(func(s policy.Subject) { asked <- s })
	if a := r.push("prod/app", "v1", im); a.status != http.StatusCreated {
		t.Fatalf("push: %d %s", a.status, a.body)
	}
	if s := <-asked; s != (policy.Subject{Repo: "prod/app", Digest: im.digest}) {
		t.Errorf("verified %s", s)
	}
	r.want(http.StatusOK, "GET", "/v2/prod/app/manifests/v1", nil)
}

// A panic of the verifier that nobody waits for must not end the process.
func TestThreat090_APanicAheadEndsNothing(t *testing.T) {
	im := newImage("65532", "an image")
	r := newRig(t, sealing())
	r.bypass("prod/app", "v1", im)
	r.panicking()
	for range 3 {
		r.want(http.StatusInternalServerError, "GET", "/v2/prod/app/manifests/"+im.digest.String(), nil)
	}
}

// A signature outlives its image: that it is there says nothing about whether the image is.
func TestCosign542_AnImageThatIsGoneIsNotFoundThoughItsSignatureIsThere(t *testing.T) {
	r := newRig(t, sealing())
	im := newImage("65532", "an image")
	r.bypass("prod/app", "v1", im)
	r.sealAround("prod/app", im)
	if err := r.registries.DeleteManifest(t.Context(), "prod/app", im.digest.String()); err != nil {
		t.Fatal(err)
	}
	r.want(http.StatusNotFound, "GET", "/v2/prod/app/manifests/"+im.digest.String(), nil)
	r.want(http.StatusNotFound, "HEAD", "/v2/prod/app/manifests/"+im.digest.String(), nil)
}
