package gateway_test

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/policy/manifest"
)

// everyList runs a test before a registry that lists referrers itself and before one that leaves it to a tag.
func everyList(t *testing.T, test func(t *testing.T, r *rig)) {
	t.Run("a registry with the referrers API", func(t *testing.T) {
		test(t, newRigBefore(t, registryAt(t, "other", "", newRegistryWithReferrers())))
	})
	t.Run("a registry without", func(t *testing.T) { test(t, newRig(t)) })
}

// gathering is a registry that tells nobody what is attached before so many have asked.
type gathering struct {
	http.Handler
	all     int
	arrived chan struct{}

	mu    sync.Mutex // guards what follows
	begun bool
	asked int
}

// begin is when those who ask begin to count.
func (g *gathering) begin() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.begun = true
}

func (g *gathering) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	wait := g.begun && strings.Contains(r.URL.Path, "/referrers/") && g.asked < g.all
	if wait {
		if g.asked++; g.asked == g.all {
			close(g.arrived)
		}
	}
	g.mu.Unlock()
	if wait {
		<-g.arrived
	}
	g.Handler.ServeHTTP(w, r)
}

func TestThreat052_ReferrersThatComeAtOnceAreCountedTogether(t *testing.T) {
	const all = 80
	g := &gathering{Handler: newRegistryWithReferrers(), all: all, arrived: make(chan struct{})}
	r := newRigBefore(t, registryAt(t, "other", "", g))
	im := newImage("65532", "x")
	r.push("a", "v1", im)
	var referrers []image
	for i := range all {
		referrer := r.artifact(im, fmt.Sprint("referrer ", i))
		r.pushBlobs("a", referrer)
		referrers = append(referrers, referrer)
	}

	g.begin()
	var group sync.WaitGroup
	for _, referrer := range referrers {
		group.Go(func() { r.putManifest("a", referrer.digest.String(), referrer) })
	}
	group.Wait()
	if n := r.referrers("a", im.digest); n > 64 {
		t.Errorf("%d referrers were taken at once, more than are taken one after the other", n)
	}

	// Who comes when they are done is not counted with them.
	other := newImage("65532", "y")
	r.push("a", "v2", other)
	for i := range 3 {
		referrer := r.artifact(other, fmt.Sprint("referrer ", i))
		if a := r.push("a", referrer.digest.String(), referrer); a.status != http.StatusCreated {
			t.Errorf("got %d %s", a.status, a.body)
		}
	}
}

func TestThreat052_AnEvidenceTagIsNoSecondWayToRefer(t *testing.T) {
	everyList(t, func(t *testing.T, r *rig) {
		im := newImage("65532", "x")
		r.push("a", "v1", im)
		before := r.referrers("a", im.digest)
		payload := []byte(`{"critical":{}}`)
		for tag, layers := range map[string]any{".sig": manifest.SimpleSigning, ".att": manifest.DSSE, "": nil} {
			doc := map[string]any{
				"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageManifest, "subject": describe(ocispec.MediaTypeImageManifest, im.manifest),
			}
			if layers == nil {
				doc["mediaType"], doc["manifests"] = ocispec.MediaTypeImageIndex, []any{}
			} else {
				doc["config"], doc["layers"] = describe(ocispec.MediaTypeEmptyJSON, []byte("{}")), []any{describe(layers.(string), payload)}
			}
			raw, err := json.Marshal(doc)
			if err != nil {
				t.Fatal(err)
			}
			one := image{raw, [][]byte{[]byte("{}"), payload}, digest.FromBytes(raw)}
			a := r.push("a", "sha256-"+digest.FromString("another image").Encoded()+tag, one)
			if a.status != http.StatusForbidden || !strings.Contains(a.message(), "refers to an image by itself") {
				t.Errorf("%q: got %d %s", tag, a.status, a.body)
			}
		}
		if n := r.referrers("a", im.digest); n != before {
			t.Errorf("%d referrers were added by the tags of another image", n-before)
		}
	})
}

// listOf is a list of referrers, of what a fallback tag holds and more.
func (r *rig) listOf(repo string, subject digest.Digest, more ...image) (tag string, raw []byte) {
	r.t.Helper()
	tag = "sha256-" + subject.Encoded()
	var list struct{ Manifests []any }
	if a := r.send("GET", "/v2/"+repo+"/manifests/"+tag, nil); a.status == http.StatusOK {
		if err := json.Unmarshal(a.body, &list); err != nil {
			r.t.Fatal(err)
		}
	}
	for _, im := range more {
		list.Manifests = append(list.Manifests, describe(mediaTypeOf(im.manifest), im.manifest))
	}
	raw, err := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageIndex, "manifests": list.Manifests})
	if err != nil {
		r.t.Fatal(err)
	}
	return tag, raw
}

func TestThreat052_AListNamesWhatIsThereAndRefersToItsSubject(t *testing.T) {
	everyList(t, func(t *testing.T, r *rig) {
		im, other := newImage("65532", "x"), newImage("65532", "another image")
		r.push("a", "v1", im)
		r.push("a", other.digest.String(), other)
		elsewhere, absent, here := r.artifact(other, "refers to another image"), r.artifact(im, "was never pushed"), r.artifact(im, "refers to it")
		r.push("a", elsewhere.digest.String(), elsewhere)
		r.bypass("a", here.digest.String(), here)
		// Whoever lists what he then deletes leaves an image of which nobody can tell what is attached to it.
		for what, listed := range map[string]image{"refers to nothing": other, "refers to something else": elsewhere, "is not there": absent} {
			tag, raw := r.listOf("a", im.digest, listed)
			a := r.send("PUT", "/v2/a/manifests/"+tag, raw, "Content-Type", ocispec.MediaTypeImageIndex)
			if a.status != http.StatusForbidden || !strings.Contains(a.message(), listed.digest.String()) {
				t.Errorf("%s: got %d %s", what, a.status, a.body)
			}
		}
		tag, raw := r.listOf("a", im.digest, here)
		for range 2 {
			r.want(http.StatusCreated, "PUT", "/v2/a/manifests/"+tag, raw, "Content-Type", ocispec.MediaTypeImageIndex)
		}
		r.want(http.StatusAccepted, "DELETE", "/v2/a/manifests/"+here.digest.String(), nil)
		r.enforce(r.key)
		r.want(http.StatusOK, "GET", "/v2/a/manifests/v1", nil)
	})
}

// A crash between the two would leave a list that names what is not there, and the image undecided until somebody mends it.
func TestAReferrerIsTakenOffTheListBeforeItIsDeleted(t *testing.T) {
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	var watched atomic.Value // the path of the list
	watched.Store("")
	r := newRigBefore(t, registryAt(t, "other", "", http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if path := watched.Load().(string); path != "" && q.Method == http.MethodDelete {
			list := httptest.NewRecorder()
			inner.ServeHTTP(list, httptest.NewRequest("GET", path, nil))
			if strings.Contains(list.Body.String(), q.URL.Path[strings.LastIndex(q.URL.Path, "/")+1:]) {
				t.Errorf("%s is deleted while it is listed: %s", q.URL.Path, list.Body)
			}
		}
		inner.ServeHTTP(w, q)
	})))
	im := newImage("65532", "x")
	r.push("a", "v1", im)
	referrer := r.artifact(im, "refers to it")
	if a := r.push("a", referrer.digest.String(), referrer); a.status != http.StatusCreated {
		t.Fatal(a.status, string(a.body))
	}
	watched.Store("/v2/a/manifests/sha256-" + im.digest.Encoded())
	if n := r.referrers("a", im.digest); n != 2 {
		t.Fatalf("%d referrers, want the seal and one", n)
	}
	r.want(http.StatusAccepted, "DELETE", "/v2/a/manifests/"+referrer.digest.String(), nil)
	if n := r.referrers("a", im.digest); n != 1 {
		t.Errorf("%d referrers, want the seal", n)
	}
}

// A list with an image in it is no list of evidence any more, and takes what it lists with it all the same.
func TestThreat051_AListIsNotDeletedWhateverElseIsInIt(t *testing.T) {
	r := newRigBefore(t, registryAt(t, "other", "", registry.New(registry.Logger(log.New(io.Discard, "", 0)))))
	im, other := newImage("65532", "x"), newImage("65532", "another")
	r.push("a", "v1", im)
	r.push("a", other.digest.String(), other)
	tag, raw := r.listOf("a", im.digest, other)
	list := image{manifest: raw, digest: digest.FromBytes(raw)}
	r.bypass("a", tag, list)
	before := r.referrers("a", im.digest)
	for _, reference := range []string{tag, list.digest.String(), digest.SHA512.FromBytes(raw).String()} {
		if a := r.send("DELETE", "/v2/a/manifests/"+reference, nil); a.status != http.StatusForbidden && a.status != http.StatusNotFound {
			t.Errorf("%.20s: got %d %s", reference, a.status, a.body)
		}
	}
	if n := r.referrers("a", im.digest); n != before || n == 0 {
		t.Errorf("%d referrers are left of %d", n, before)
	}

	index := newIndex(im, other) // that lists nothing that refers to anything
	if a := r.putManifest("a", "all", index); a.status != http.StatusCreated {
		t.Fatal(a.status, string(a.body))
	}
	r.want(http.StatusAccepted, "DELETE", "/v2/a/manifests/"+index.digest.String(), nil)
}

func TestThreat056_AListShowsNothingThatRefersToSomethingElse(t *testing.T) {
	r := newRig(t)
	im, other := newImage("65532", "x"), newImage("65532", "another image")
	r.push("a", "v1", im)
	r.push("a", other.digest.String(), other)
	elsewhere := r.artifact(other, "refers to another image")
	r.push("a", elsewhere.digest.String(), elsewhere)
	before := r.referrers("a", im.digest)
	tag, raw := r.listOf("a", im.digest, elsewhere, other)
	r.bypass("a", tag, image{manifest: raw})
	if n := r.referrers("a", im.digest); n != before || n == 0 {
		t.Errorf("%d are shown, of which %d refer to it", n, before)
	}
}
