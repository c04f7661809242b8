package gateway_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/sealgate/sealgate/gateway"
	"github.com/sealgate/sealgate/gateway/clients"
	"github.com/sealgate/sealgate/gateway/ledger"
	"github.com/sealgate/sealgate/gateway/upstream"
	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/signer"
	"github.com/sealgate/sealgate/verifier"
	"github.com/sealgate/sealgate/verifier/inspect"
)

// rig is a gateway of real parts: the embedded registry, a real key, the real verifier and sealer, over real HTTP.
type rig struct {
	t          testing.TB
	url        string
	gateway    *gateway.Gateway
	registries *upstream.Registries
	key        *signer.Key
	policies   []policy.Document
	clients    *clients.Directory // nil: nobody is asked
	groups     []clients.Group
	regime     *gateway.Regime
	ledger     *ledger.Ledger
	layers     *inspect.Layers
	bridge     time.Duration // how long outages are bridged; 0: not at all
	decisions  string        // the file
	hangUp     func()        // ends all connections of clients
}

// sealing is the policy of a gateway without a file: only what is sealed is pulled, what passes is sealed.
func sealing() policy.Document {
	return policy.Document{
		Name: "default", Repositories: []string{"**"},
		Pull: &policy.PullDocument{SignedBy: &policy.SignedBy{Any: []string{"gateway"}}},
		Push: &policy.PushDocument{Image: policy.ImageDocument{NonRoot: "deny"}, Seal: &policy.SealDocument{Signer: "gateway"}},
	}
}

func newRig(t testing.TB, docs ...policy.Document) *rig {
	t.Helper()
	embedded, err := upstream.NewEmbedded("local", "", filepath.Join(t.TempDir(), "registry"))
	if err != nil {
		t.Fatal(err)
	}
	return newRigBefore(t, embedded, docs...)
}

func newRigBefore(t testing.TB, registry *upstream.Registry, docs ...policy.Document) *rig {
	t.Helper()
	t.Cleanup(func() { registry.Close() })
	registries, err := upstream.NewRegistries(registry)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	l, err := ledger.Open(dir, ledger.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })

	r := &rig{
		t: t, registries: registries, key: newKey(t), policies: docs, ledger: l, layers: inspect.NewLayers(1 << 20),
		decisions: filepath.Join(dir, "decisions.jsonl"),
		gateway: gateway.New(gateway.Options{
			Ledger: l, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(), AllowDelete: true,
		}),
	}
	t.Cleanup(func() { r.layers.Close() })
	if len(docs) == 0 {
		r.policies = []policy.Document{sealing()}
	}
	r.enforce(r.key)
	server := httptest.NewServer(r.gateway)
	t.Cleanup(server.Close)
	r.url, r.hangUp = server.URL, server.CloseClientConnections
	return r
}

func newKey(t testing.TB) *signer.Key {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := signer.NewKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// enforce makes the gateway trust and use a key under the rig's policies.
func (r *rig) enforce(trusted *signer.Key) {
	r.t.Helper()
	compiled, err := policy.Compile(r.policies, policy.Known{
		Authorities: map[string]string{"gateway": trusted.Fingerprint()}, Signers: map[string]string{"gateway": r.key.Fingerprint()}, Scanners: map[string]string{"a": "1", "b": "2"},
		Groups: r.groupNames(),
	})
	if err != nil {
		r.t.Fatal(err)
	}
	authority, err := verifier.NewKeyAuthority("gateway", trusted.Public())
	if err != nil {
		r.t.Fatal(err)
	}
	plain, err := verifier.New(r.registries, []verifier.Authority{authority})
	if err != nil {
		r.t.Fatal(err)
	}
	if r.bridge > 0 {
		plain = plain.WithMemory(r.ledger.Evidence([]byte("the tests' secret")), r.bridge)
	}
	needs := func(repo string) policy.Needs { return compiled.Rule(repo).Needs() }
	r.regime = &gateway.Regime{
		Policy: compiled, Registries: r.registries, Clients: r.clients, Verifier: verifier.NewCache(plain.WithNeeds(needs), verifier.CacheOptions{}),
		Inspector: inspect.Inspector{Blobs: r.registries, Layers: r.layers},
		Sealers:   r.sealers(signer.NewSealer(r.key, r.registries, nil)),
	}
	r.gateway.Enforce(r.regime)
}

// sealers lets one seal under every policy.
func (r *rig) sealers(one gateway.Sealer) map[string]gateway.Sealer {
	all := map[string]gateway.Sealer{}
	for _, p := range r.policies {
		all[p.Name] = one
	}
	return all
}

// answer is what a client got, with the body read.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// message is the text of the answer's first OCI error.
func (a answer) message() string {
	var e struct {
		Errors []struct{ Code, Message string }
	}
	if json.Unmarshal(a.body, &e) != nil || len(e.Errors) == 0 {
		return ""
	}
	return e.Errors[0].Code + ": " + e.Errors[0].Message
}

// send makes one request. header is name, value, name, value.
func (r *rig) send(method, path string, body []byte, header ...string) answer {
	r.t.Helper()
	request, err := http.NewRequest(method, r.url+path, bytes.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		r.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		r.t.Fatalf("%s %s: %v", method, path, err)
	}
	return answer{response.StatusCode, response.Header, raw}
}

// want sends a request and fails the test when the answer has another status.
func (r *rig) want(status int, method, path string, body []byte, header ...string) answer {
	r.t.Helper()
	a := r.send(method, path, body, header...)
	if a.status != status {
		r.t.Fatalf("%s %s: got %d %s, want %d", method, path, a.status, a.body, status)
	}
	return a
}

// image is a manifest with its blobs.
type image struct {
	manifest []byte
	blobs    [][]byte
	digest   digest.Digest
}

// newImage makes an image that runs as user; content makes it differ from others.
func newImage(user, content string) image {
	config, _ := json.Marshal(map[string]any{
		"architecture": "amd64", "os": "linux", "config": map[string]any{"User": user},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{digest.FromString(content).String()}},
	})
	layer := []byte(content)
	raw, _ := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageManifest,
		"config": describe(ocispec.MediaTypeImageConfig, config),
		"layers": []any{describe(ocispec.MediaTypeImageLayer, layer)},
	})
	return image{raw, [][]byte{config, layer}, digest.FromBytes(raw)}
}

func describe(mediaType string, raw []byte) map[string]any {
	return map[string]any{"mediaType": mediaType, "digest": digest.FromBytes(raw).String(), "size": len(raw)}
}

func newIndex(images ...image) image {
	var list []any
	for i, im := range images {
		d := describe(ocispec.MediaTypeImageManifest, im.manifest)
		d["platform"] = map[string]any{"os": "linux", "architecture": []string{"amd64", "arm64", "s390x"}[i]}
		list = append(list, d)
	}
	raw, _ := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageIndex, "manifests": list})
	return image{manifest: raw, digest: digest.FromBytes(raw)}
}

// pushBlobs uploads an image's blobs through the gateway.
func (r *rig) pushBlobs(repo string, im image) {
	r.t.Helper()
	for _, blob := range im.blobs {
		started := r.want(http.StatusAccepted, "POST", "/v2/"+repo+"/blobs/uploads/", nil)
		to := started.header.Get("Location")
		separator := "?"
		if strings.Contains(to, "?") {
			separator = "&"
		}
		r.want(http.StatusCreated, "PUT", to+separator+"digest="+digest.FromBytes(blob).String(), blob, "Content-Type", "application/octet-stream")
	}
}

// push pushes an image through the gateway and returns the answer to its manifest.
func (r *rig) push(repo, reference string, im image) answer {
	r.t.Helper()
	r.pushBlobs(repo, im)
	return r.putManifest(repo, reference, im)
}

func (r *rig) putManifest(repo, reference string, im image) answer {
	r.t.Helper()
	return r.send("PUT", "/v2/"+repo+"/manifests/"+reference, im.manifest, "Content-Type", mediaTypeOf(im.manifest))
}

// bypass stores an image around the gateway, as somebody with access to the registry could.
func (r *rig) bypass(repo, reference string, im image) {
	r.t.Helper()
	ctx := context.Background()
	for _, blob := range im.blobs {
		d := ocispec.Descriptor{MediaType: "application/octet-stream", Digest: digest.FromBytes(blob), Size: int64(len(blob))}
		if err := r.registries.PutBlob(ctx, repo, d, blob); err != nil {
			r.t.Fatal(err)
		}
	}
	if err := r.registries.PutManifest(ctx, repo, reference, mediaTypeOf(im.manifest), im.manifest); err != nil {
		r.t.Fatal(err)
	}
}

func mediaTypeOf(raw []byte) string {
	var m struct{ MediaType string }
	_ = json.Unmarshal(raw, &m)
	return m.MediaType
}

// recorded reads the decisions so far.
func (r *rig) recorded() []ledger.Decision {
	r.t.Helper()
	raw, err := os.ReadFile(r.decisions)
	if err != nil {
		r.t.Fatal(err)
	}
	var all []ledger.Decision
	for line := range strings.Lines(string(raw)) {
		var d ledger.Decision
		if err := json.Unmarshal([]byte(line), &d); err != nil {
			r.t.Fatal(err)
		}
		all = append(all, d)
	}
	return all
}

// sealAround signs an image in the registry, as its owner could, without the gateway learning of it.
func (r *rig) sealAround(repo string, im image) {
	r.t.Helper()
	s := policy.Subject{Repo: repo, Digest: im.digest}
	if _, err := signer.NewSealer(r.key, r.registries, nil).Seal(context.Background(), s, repo, nil); err != nil {
		r.t.Fatal(err)
	}
	r.enforce(r.key) // nothing is remembered of the time before
}

// panicking makes every verification panic.
func (r *rig) panicking() { r.swap(func(re *gateway.Regime) { re.Verifier = panickingVerifier{} }) }

type panickingVerifier struct{}

func (panickingVerifier) Verify(context.Context, policy.Subject) (policy.Evidence, error) {
	panic("a bug in a parser")
}
func (panickingVerifier) Forget(policy.Subject) {}

// swap enforces the present regime with a change.
func (r *rig) swap(change func(*gateway.Regime)) {
	re := *r.regime
	change(&re)
	r.gateway.Enforce(&re)
}

// loseLedger makes every record fail, by putting a file in the place of the ledger's directory.
func (r *rig) loseLedger() {
	r.t.Helper()
	dir := filepath.Dir(r.decisions)
	if err := r.ledger.Close(); err != nil { // the next record opens the file again
		r.t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// restart begins again with what the storage remembers and nothing else: a new ledger and a new gateway.
func (r *rig) restart() {
	r.t.Helper()
	if err := r.ledger.Close(); err != nil {
		r.t.Fatal(err)
	}
	l, err := ledger.Open(filepath.Dir(r.decisions), ledger.Options{})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { l.Close() })
	r.ledger = l
	r.gateway = gateway.New(gateway.Options{Ledger: l, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(), AllowDelete: true})
	r.enforce(r.key)
	server := httptest.NewServer(r.gateway)
	r.t.Cleanup(server.Close)
	r.url, r.hangUp = server.URL, server.CloseClientConnections
}

// notBefore is the same with a gateway that knows the clock to be wrong before a time.
func (r *rig) notBefore(floor time.Time) {
	r.t.Helper()
	r.gateway = gateway.New(gateway.Options{Ledger: r.ledger, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(), NotBefore: floor})
	r.enforce(r.key)
	server := httptest.NewServer(r.gateway)
	r.t.Cleanup(server.Close)
	r.url, r.hangUp = server.URL, server.CloseClientConnections
}

// withoutDelete is a second gateway before the same registry, where deleting is off.
func (r *rig) withoutDelete() *rig {
	r.t.Helper()
	second := *r
	second.gateway = gateway.New(gateway.Options{Ledger: r.ledger, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()})
	second.gateway.Enforce(r.regime)
	server := httptest.NewServer(second.gateway)
	r.t.Cleanup(server.Close)
	second.url = server.URL
	return &second
}

// withoutSigner makes every seal fail, as a key service that is down would.
func (r *rig) withoutSigner() {
	r.swap(func(re *gateway.Regime) { re.Sealers = r.sealers(failingSealer{}) })
}

type failingSealer struct{}

func (failingSealer) Seal(context.Context, policy.Subject, string, []policy.Statement) ([]digest.Digest, error) {
	return nil, errors.New("the key service does not answer")
}
