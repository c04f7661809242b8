package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// fuse is a registry that kills the gateway in front of it: at its n-th write, before it has any effect.
type fuse struct {
	url   string
	mu    sync.Mutex
	left  int // writes until it blows; negative: never
	blown func()
}

func startFuse(t *testing.T, up *registry) *fuse {
	t.Helper()
	to, err := url.Parse(up.url())
	if err != nil {
		t.Fatal(err)
	}
	f := &fuse{left: -1}
	forward := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(to)
		r.Out.Host = r.In.Host // where the registry's Locations lead
	}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead && f.blows() {
			f.blown()
			panic(http.ErrAbortHandler)
		}
		forward.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	f.url = server.URL
	return f
}

func (f *fuse) set(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.left = n
}

func (f *fuse) blows() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.left < 0 {
		return false
	}
	f.left--
	return f.left < 0
}

const killConfig = `
registries:
  - {name: up, url: %q, prefix: ""}
policies:
  - name: attested
    repositories: ["attested/**"]
    pull: {attested: [{predicate: vsa, by: {any: [gateway]}}]}
    push: {seal: {signer: gateway, summary: true}}
  - name: signed
    repositories: ["**"]
    pull: {signed_by: {any: [gateway]}}
    push: {seal: {signer: gateway, summary: true}}
`

// TestThreat133_KilledAtEveryWriteOfAPush kills the gateway with SIGKILL at the first, the second, ... write that a push makes
// behind it, until one push comes through: stage, each write of the seal, publish. After each, the tag names nothing that is
// not sealed, nothing has half a seal, and the same push succeeds.
func TestThreat133_KilledAtEveryWriteOfAPush(t *testing.T) {
	up, kit := startRegistry(t), need(t, suite.images)
	f := startFuse(t, up)
	gw := startGateway(t, fmt.Sprintf(killConfig, f.url))
	f.blown = func() { gw.process.kill() }

	whole := []string(nil) // what a push leaves that nobody disturbs
	for n := 0; ; n++ {
		if n > 100 {
			t.Fatal("a push with more than a hundred writes")
		}
		repo := fmt.Sprintf("kill/n%d", n)
		image := kit.image(t, nonroot, "killed")
		putBlobs(t, up.ref(repo), image)

		f.set(n)
		status := putManifest(t, gw, repo, "v1", image)
		f.set(-1)
		if status == http.StatusCreated {
			whole = layersAttached(t, up, repo, image)
			if n < 10 {
				t.Errorf("only %d writes: is anything sealed?", n)
			}
			break
		}
		<-gw.process.done
		gw.start(t)
		holdsNoHalfSeal(t, gw, up, repo, image, n)
		if status := putManifest(t, gw, repo, "v1", image); status != http.StatusCreated {
			t.Fatalf("killed at write %d: the retry answers %d", n, status)
		}
		if status := gw.status(t, http.MethodGet, repo, "v1"); status != http.StatusOK {
			t.Errorf("killed at write %d: after the retry the tag answers %d", n, status)
		}
		if attached := layersAttached(t, up, repo, image); len(attached) != 4 {
			t.Errorf("killed at write %d: after the retry, attached is %v", n, attached)
		}
	}
	if len(whole) != 4 { // a signature and a summary, each in both formats
		t.Errorf("attached is %v", whole)
	}

	// What a killed gateway leaves on its own disk is what a running one has.
	allowed := []string{"gateway.key", "gateway.password", "ledger", "lock", "registry", "scan", "token-keys.json"}
	entries, err := os.ReadDir(gw.storage(""))
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if !slices.Contains(allowed, entry.Name()) {
			t.Errorf("%s was left in the storage", entry.Name())
		}
	}
	if left, _ := filepath.Glob(filepath.Join(suite.dir, "tmp", "sealgate*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// holdsNoHalfSeal looks at an image after a crash, through the gateway and around it.
func holdsNoHalfSeal(t *testing.T, gw *gateway, up *registry, repo string, image v1.Image, n int) {
	t.Helper()
	digest, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	attached := layersAttached(t, up, repo, image)
	signed := slices.ContainsFunc(attached, func(a string) bool { return strings.HasPrefix(a, "signature") })
	summaries := slices.DeleteFunc(slices.Clone(attached), func(a string) bool { return !strings.HasPrefix(a, "attestation") })
	if signed && len(summaries) != 2 {
		t.Errorf("killed at write %d: it is signed, and only %v of what was to be attested is there", n, summaries)
	}
	want := http.StatusForbidden
	if signed {
		want = http.StatusOK
	}
	if status := gw.status(t, http.MethodGet, repo, digest.String()); status != want && !(n == 0 && status == http.StatusNotFound) {
		t.Errorf("killed at write %d with %v attached: the digest answers %d, want %d", n, attached, status, want)
	}
	named, err := remote.Head(must(name.ParseReference(up.ref(repo + ":v1"))))
	if err == nil && (named.Digest != digest || !signed) {
		t.Errorf("killed at write %d: the tag names %s, of which is attached: %v", n, named.Digest, attached)
	}
}

// layersAttached lists what is attached to an image in a registry, seen around the gateway, by its kind and format.
func layersAttached(t *testing.T, up *registry, repo string, image v1.Image) (all []string) {
	t.Helper()
	digest, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	tag := strings.Replace(digest.String(), ":", "-", 1)
	for suffix, kind := range map[string]string{".sig": "signature", ".att": "attestation"} {
		under, err := remote.Image(must(name.ParseReference(up.ref(repo + ":" + tag + suffix))))
		if err != nil {
			continue
		}
		manifest, err := under.Manifest()
		if err != nil {
			t.Fatal(err)
		}
		for range manifest.Layers {
			all = append(all, kind+" under the tag")
		}
	}
	list, err := remote.Index(must(name.ParseReference(up.ref(repo + ":" + tag))))
	if err == nil {
		index, err := list.IndexManifest()
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range index.Manifests {
			kind := "attestation"
			if d.Annotations["dev.sigstore.bundle.predicateType"] == "https://sigstore.dev/cosign/sign/v1" {
				kind = "signature"
			}
			all = append(all, kind+" in a bundle")
		}
	}
	slices.Sort(all)
	return all
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// putBlobs uploads what an image is made of, and not its manifest.
func putBlobs(t *testing.T, repo string, image v1.Image) {
	t.Helper()
	to := must(name.NewRepository(repo))
	layers := must(image.Layers())
	for _, layer := range append(layers, must(partial.ConfigLayer(image))) {
		if err := remote.WriteLayer(to, layer); err != nil {
			t.Fatal(err)
		}
	}
}

// putManifest pushes the manifest through a gateway, once. It returns 0 when no answer came.
func putManifest(t *testing.T, gw *gateway, repo, tag string, image v1.Image) int {
	t.Helper()
	r := must(http.NewRequestWithContext(t.Context(), http.MethodPut, "http://"+gw.address+"/v2/"+repo+"/manifests/"+tag,
		bytes.NewReader(must(image.RawManifest()))))
	r.Header.Set("Content-Type", string(must(image.MediaType())))
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

// TestThreat154_TwoHundredPushesAtOnce pushes 150 images to tags of their own and 50 to one tag, all at once. A push that is
// told to come back later comes back.
func TestThreat154_TwoHundredPushesAtOnce(t *testing.T) {
	up, kit := startRegistry(t), need(t, suite.images)
	gw := startGateway(t, fmt.Sprintf(killConfig, up.url()))
	const all, oneTag = 200, 50
	var group sync.WaitGroup
	images, tags := make([]v1.Image, all), make([]string, all)
	for i := range all {
		images[i], tags[i] = kit.image(t, nonroot, fmt.Sprint("at once ", i)), fmt.Sprint("t", i)
		if i < oneTag {
			tags[i] = "latest"
		}
		putBlobs(t, up.ref("many"), images[i])
	}
	for i := range all {
		group.Go(func() {
			status := 0
			for range 20 {
				if status = putManifest(t, gw, "many", tags[i], images[i]); status != http.StatusServiceUnavailable {
					break
				}
			}
			if status != http.StatusCreated {
				t.Errorf("push %d answers %d", i, status)
			}
		})
	}
	group.Wait()

	pushed := map[string]bool{}
	for i := range all {
		digest := must(images[i].Digest()).String()
		if i < oneTag {
			pushed[digest] = true
		}
		if status := gw.status(t, http.MethodGet, "many", digest); status != http.StatusOK {
			t.Errorf("image %d answers %d", i, status)
		}
		if attached := layersAttached(t, up, "many", images[i]); len(attached) != 4 {
			t.Errorf("image %d has %v attached", i, attached)
		}
	}
	if latest := gw.digest(t, "many", "latest"); !pushed[latest] {
		t.Errorf("the tag names %q, which nobody pushed to it", latest)
	}
}
