package verifier

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/policy"
)

// memory is a registry in memory, as far as a verifier sees it. It counts what it is asked, and before may fail or delay a
// request.
type memory struct {
	mu        sync.Mutex
	manifests map[string]stored // by repo + " " + tag or digest
	blobs     map[string][]byte // by repo + " " + digest
	listed    map[policy.Subject][]ocispec.Descriptor
	requests  []string

	forgetful bool // does not count, for benchmarks

	before func(ctx context.Context, request string) error
}

type stored struct {
	raw       []byte
	mediaType string
}

func newMemory() *memory {
	return &memory{
		manifests: map[string]stored{}, blobs: map[string][]byte{}, listed: map[policy.Subject][]ocispec.Descriptor{},
	}
}

type notFoundError struct{ what string }

func (e *notFoundError) Error() string  { return e.what + ": 404" }
func (e *notFoundError) NotFound() bool { return true }

func (m *memory) ask(ctx context.Context, request string) error {
	m.mu.Lock()
	if !m.forgetful {
		m.requests = append(m.requests, request)
	}
	m.mu.Unlock()
	if m.before != nil {
		return m.before(ctx, request)
	}
	return ctx.Err()
}

func (m *memory) Listed(ctx context.Context, s policy.Subject) ([]ocispec.Descriptor, error) {
	if err := m.ask(ctx, "list "+s.String()); err != nil {
		return nil, err
	}
	return m.listed[s], nil
}

func (m *memory) Manifest(ctx context.Context, repo, reference string) ([]byte, string, error) {
	if err := m.ask(ctx, "manifest "+reference); err != nil {
		return nil, "", err
	}
	got, ok := m.manifests[repo+" "+reference]
	if !ok {
		return nil, "", fmt.Errorf("get manifest: %w", &notFoundError{reference})
	}
	return got.raw, got.mediaType, nil
}

func (m *memory) Blob(ctx context.Context, repo string, d digest.Digest, limit int64) ([]byte, error) {
	if err := m.ask(ctx, "blob "+d.String()); err != nil {
		return nil, err
	}
	raw, ok := m.blobs[repo+" "+d.String()]
	if !ok {
		return nil, &notFoundError{d.String()}
	}
	if int64(len(raw)) > limit {
		return nil, fmt.Errorf("blob %s: larger than %d bytes", d, limit)
	}
	return raw, nil
}

// putBlob stores a blob and describes it.
func (m *memory) putBlob(repo, mediaType string, raw []byte) ocispec.Descriptor {
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
	m.blobs[repo+" "+d.Digest.String()] = raw
	return d
}

// putManifest stores a manifest, under its digest and as many tags as are given, and describes it.
func (m *memory) putManifest(t testing.TB, repo string, doc any, tags ...string) ocispec.Descriptor {
	t.Helper()
	mediaType := ocispec.MediaTypeImageManifest
	if _, ok := doc.(ocispec.Index); ok {
		mediaType = ocispec.MediaTypeImageIndex
	}
	raw, ok := doc.([]byte)
	if !ok {
		var err error
		if raw, err = json.Marshal(doc); err != nil {
			t.Fatal(err)
		}
	}
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
	for _, reference := range append(tags, d.Digest.String()) {
		m.manifests[repo+" "+reference] = stored{raw, mediaType}
	}
	return d
}

// image is a manifest of layers, with an empty configuration.
func image(layers ...ocispec.Descriptor) ocispec.Manifest {
	return ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: ocispec.DescriptorEmptyJSON, Layers: append([]ocispec.Descriptor{}, layers...),
	}
}

// aSubject is an image that the tests attach things to.
func aSubject() policy.Subject {
	return policy.Subject{Repo: "prod/app", Digest: digest.FromString("the image")}
}

func TestAbsenceIsOnlyWhatWasSaidToBeAbsent(t *testing.T) {
	missing := &notFoundError{"x"}
	for name, c := range map[string]struct {
		err  error
		want bool
	}{
		"nothing wrong":                   {nil, false},
		"not found":                       {missing, true},
		"not found, wrapped":              {fmt.Errorf("a: %w", fmt.Errorf("b: %w", missing)), true},
		"another error":                   {errors.New("404 not found"), false},
		"not found and something else":    {errors.Join(missing, errors.New("timeout")), false},
		"not found beside a timeout":      {fmt.Errorf("%w: %w", context.DeadlineExceeded, missing), false},
		"an error that says it is not":    {found{}, false},
		"one that is not, over one it is": {fmt.Errorf("%w", found{missing}), false},
	} {
		if got := absent(c.err); got != c.want {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
}

type found struct{ error }

func (found) Error() string  { return "found" }
func (found) NotFound() bool { return false }

// verified verifies and fails the test on an error.
func verified(t testing.TB, v prover, s policy.Subject) policy.Evidence {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ev, err := v.Verify(ctx, s)
	if err != nil {
		t.Fatalf("verify %s: %v", s, err)
	}
	return ev
}
