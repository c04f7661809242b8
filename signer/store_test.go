package signer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/policy"
)

// gone is a definite "there is no such thing".
type gone struct{ what string }

func (g gone) Error() string { return g.what + ": 404" }
func (gone) NotFound() bool  { return true }

type stored struct {
	mediaType string
	raw       []byte
}

// memory is a Store with one repository per map key. It refuses manifests whose blobs are missing, as registries do.
type memory struct {
	mu        sync.Mutex
	manifests map[string]stored // repo@digest and repo:tag
	blobs     map[string][]byte // repo@digest
	listed    map[policy.Subject][]ocispec.Descriptor
	locks     map[policy.Subject]*sync.Mutex

	// fail, when set, is asked before each operation; what it returns is the operation's error. It may change the
	// store.
	fail func(operation, what string) error
}

func newMemory() *memory {
	return &memory{
		manifests: map[string]stored{}, blobs: map[string][]byte{},
		listed: map[policy.Subject][]ocispec.Descriptor{}, locks: map[policy.Subject]*sync.Mutex{},
	}
}

func (m *memory) begin(operation, what string) (end func(), err error) {
	m.mu.Lock()
	if m.fail != nil {
		if err := m.fail(operation, what); err != nil {
			m.mu.Unlock()
			return nil, err
		}
	}
	return m.mu.Unlock, nil
}

func at(repo, reference string) string {
	if strings.Contains(reference, ":") {
		return repo + "@" + reference
	}
	return repo + ":" + reference
}

func (m *memory) Manifest(_ context.Context, repo, reference string) ([]byte, string, error) {
	end, err := m.begin("Manifest", reference)
	if err != nil {
		return nil, "", err
	}
	defer end()
	s, ok := m.manifests[at(repo, reference)]
	if !ok {
		return nil, "", fmt.Errorf("get: %w", gone{at(repo, reference)})
	}
	return slices.Clone(s.raw), s.mediaType, nil
}

func (m *memory) Blob(_ context.Context, repo string, d digest.Digest, limit int64) ([]byte, error) {
	end, err := m.begin("Blob", d.String())
	if err != nil {
		return nil, err
	}
	defer end()
	raw, ok := m.blobs[at(repo, d.String())]
	if !ok {
		return nil, fmt.Errorf("get: %w", gone{at(repo, d.String())})
	}
	if int64(len(raw)) > limit {
		return nil, errors.New("too large")
	}
	return slices.Clone(raw), nil
}

func (m *memory) PutManifest(_ context.Context, repo, reference, mediaType string, raw []byte) error {
	end, err := m.begin("PutManifest", reference)
	if err != nil {
		return err
	}
	defer end()
	var parts ocispec.Manifest
	if err := json.Unmarshal(raw, &parts); err != nil {
		return err
	}
	for _, d := range append(parts.Layers, parts.Config) {
		if _, ok := m.blobs[at(repo, d.Digest.String())]; !ok && d.Digest != "" {
			return fmt.Errorf("put %s: blob %s is unknown", reference, d.Digest)
		}
	}
	m.put(repo, reference, mediaType, raw)
	return nil
}

// put stores a manifest unchecked.
func (m *memory) put(repo, reference, mediaType string, raw []byte) {
	s := stored{mediaType, slices.Clone(raw)}
	m.manifests[at(repo, digest.FromBytes(raw).String())] = s
	m.manifests[at(repo, reference)] = s
}

func (m *memory) PutBlob(_ context.Context, repo string, d ocispec.Descriptor, raw []byte) error {
	end, err := m.begin("PutBlob", d.Digest.String())
	if err != nil {
		return err
	}
	defer end()
	if digest.FromBytes(raw) != d.Digest || int64(len(raw)) != d.Size {
		return errors.New("digest invalid")
	}
	m.blobs[at(repo, d.Digest.String())] = slices.Clone(raw)
	return nil
}

func (m *memory) Listed(_ context.Context, s policy.Subject) ([]ocispec.Descriptor, error) {
	end, err := m.begin("Listed", s.Digest.String())
	if err != nil {
		return nil, err
	}
	defer end()
	return slices.Clone(m.listed[s]), nil
}

func (m *memory) Attach(_ context.Context, s policy.Subject, referrer ocispec.Descriptor) error {
	end, err := m.begin("Attach", referrer.Digest.String())
	if err != nil {
		return err
	}
	defer end()
	if !slices.ContainsFunc(m.listed[s], func(d ocispec.Descriptor) bool { return d.Digest == referrer.Digest }) {
		m.listed[s] = append(m.listed[s], referrer)
	}
	return nil
}

func (m *memory) Detach(_ context.Context, s policy.Subject, referrer digest.Digest) error {
	end, err := m.begin("Detach", referrer.String())
	if err != nil {
		return err
	}
	defer end()
	m.listed[s] = slices.DeleteFunc(m.listed[s], func(d ocispec.Descriptor) bool { return d.Digest == referrer })
	return nil
}

func (m *memory) DeleteManifest(_ context.Context, repo, reference string) error {
	end, err := m.begin("DeleteManifest", reference)
	if err != nil {
		return err
	}
	defer end()
	delete(m.manifests, at(repo, reference))
	return nil
}

func (m *memory) Lock(s policy.Subject) func() {
	m.mu.Lock()
	lock := m.locks[s]
	if lock == nil {
		lock = new(sync.Mutex)
		m.locks[s] = lock
	}
	m.mu.Unlock()
	lock.Lock()
	return lock.Unlock
}

// names are the keys of all manifests, sorted.
func (m *memory) names() []string { return slices.Sorted(maps.Keys(m.manifests)) }

// push stores an image that differs by its label, and returns it as a subject.
func push(t testing.TB, store Store, repo, label string) policy.Subject {
	t.Helper()
	ctx := context.Background()
	config := []byte(`{"architecture":"amd64","os":"linux","config":{"Labels":{"name":"` + label + `"}},` +
		`"rootfs":{"type":"layers","diff_ids":[]}}`)
	configured := describe(ocispec.MediaTypeImageConfig, config)
	raw := must(json.Marshal(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: configured, Layers: []ocispec.Descriptor{},
	}))
	subject := policy.Subject{Repo: repo, Digest: digest.FromBytes(raw)}
	if err := errors.Join(
		store.PutBlob(ctx, repo, configured, config),
		store.PutManifest(ctx, repo, subject.Digest.String(), ocispec.MediaTypeImageManifest, raw),
	); err != nil {
		t.Fatal(err)
	}
	return subject
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// registry is a Store over a registry at a URL, by the distribution API; without referrers API, it keeps the fallback
// tag.
type registry struct {
	url      string
	fallback bool
	lock     sync.Mutex
}

func (r *registry) Lock(policy.Subject) func() {
	r.lock.Lock()
	return r.lock.Unlock
}

func (r *registry) do(ctx context.Context, method, path, mediaType string, body []byte) (*http.Response, []byte, error) {
	target := path
	if !strings.HasPrefix(path, "http") {
		target = r.url + path
	}
	request, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	request.Header.Set("Content-Type", mediaType)
	request.Header.Set("Accept", ocispec.MediaTypeImageManifest+", "+ocispec.MediaTypeImageIndex)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, nil, err
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	switch {
	case err != nil:
		return nil, nil, err
	case response.StatusCode == http.StatusNotFound:
		return nil, nil, gone{path}
	case response.StatusCode >= 300:
		return nil, nil, fmt.Errorf("%s %s: %s: %s", method, path, response.Status, raw)
	}
	return response, raw, nil
}

func (r *registry) Manifest(ctx context.Context, repo, reference string) ([]byte, string, error) {
	response, raw, err := r.do(ctx, "GET", "/v2/"+repo+"/manifests/"+reference, "", nil)
	if err != nil {
		return nil, "", err
	}
	return raw, response.Header.Get("Content-Type"), nil
}

func (r *registry) Blob(ctx context.Context, repo string, d digest.Digest, _ int64) ([]byte, error) {
	_, raw, err := r.do(ctx, "GET", "/v2/"+repo+"/blobs/"+d.String(), "", nil)
	return raw, err
}

func (r *registry) PutManifest(ctx context.Context, repo, reference, mediaType string, raw []byte) error {
	_, _, err := r.do(ctx, "PUT", "/v2/"+repo+"/manifests/"+reference, mediaType, raw)
	return err
}

func (r *registry) PutBlob(ctx context.Context, repo string, d ocispec.Descriptor, raw []byte) error {
	response, _, err := r.do(ctx, "POST", "/v2/"+repo+"/blobs/uploads/", "", nil)
	if err != nil {
		return err
	}
	where := response.Header.Get("Location")
	if strings.Contains(where, "?") {
		where += "&digest=" + d.Digest.String()
	} else {
		where += "?digest=" + d.Digest.String()
	}
	_, _, err = r.do(ctx, "PUT", where, "application/octet-stream", raw)
	return err
}

func (r *registry) Listed(ctx context.Context, s policy.Subject) ([]ocispec.Descriptor, error) {
	path := "/v2/" + s.Repo + "/referrers/" + s.Digest.String()
	if r.fallback {
		path = "/v2/" + s.Repo + "/manifests/" + strings.Replace(s.Digest.String(), ":", "-", 1)
	}
	_, raw, err := r.do(ctx, "GET", path, "", nil)
	if absent(err) && r.fallback {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var index ocispec.Index
	err = json.Unmarshal(raw, &index)
	return index.Manifests, err
}

func (r *registry) Detach(context.Context, policy.Subject, digest.Digest) error {
	return errors.New("nothing is detached here")
}

func (r *registry) DeleteManifest(ctx context.Context, repo, reference string) error {
	_, _, err := r.do(ctx, "DELETE", "/v2/"+repo+"/manifests/"+reference, "", nil)
	return err
}

func (r *registry) Attach(ctx context.Context, s policy.Subject, referrer ocispec.Descriptor) error {
	if !r.fallback {
		return nil
	}
	listed, err := r.Listed(ctx, s)
	if err != nil {
		return err
	}
	raw, err := json.Marshal(ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex,
		Manifests: append(listed, referrer),
	})
	if err != nil {
		return err
	}
	return r.PutManifest(ctx, s.Repo, strings.Replace(s.Digest.String(), ":", "-", 1), ocispec.MediaTypeImageIndex, raw)
}
