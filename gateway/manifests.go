package gateway

import (
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/policy/manifest"
)

// Bounds of the manifests that are kept in memory.
const (
	maxManifests     = 16_384
	maxManifestBytes = 128 << 20       // about what they take
	manifestTime     = 5 * time.Minute // after which the registry is asked whether it still has one
)

// manifestCache keeps manifests by digest. Their bytes never change; that the registry still has them is believed for
// [manifestTime].
type manifestCache struct {
	mu    sync.Mutex // guards all below
	lru   *simplelru.LRU[manifestKey, keptManifest]
	bytes int
}

type manifestKey struct {
	registry, repo string
	digest         digest.Digest
}

type keptManifest struct {
	manifest *manifest.Manifest
	until    time.Time
	bytes    int // about what it takes
}

func newManifestCache() *manifestCache {
	c := &manifestCache{}
	lru, err := simplelru.NewLRU(maxManifests, func(_ manifestKey, gone keptManifest) { c.bytes -= gone.bytes })
	if err != nil {
		panic("gateway: the size of the manifest cache is a positive constant: " + err.Error())
	}
	c.lru = lru
	return c
}

func (c *manifestCache) get(key manifestKey) *manifest.Manifest {
	c.mu.Lock()
	defer c.mu.Unlock()
	kept, ok := c.lru.Get(key)
	if !ok {
		return nil
	}
	if time.Now().After(kept.until) {
		c.lru.Remove(key)
		return nil
	}
	return kept.manifest
}

func (c *manifestCache) add(key manifestKey, m *manifest.Manifest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lru.Remove(key) // so that its bytes are counted once
	kept := keptManifest{m, time.Now().Add(manifestTime), weigh(m)}
	c.lru.Add(key, kept)
	c.bytes += kept.bytes
	for c.bytes > maxManifestBytes {
		c.lru.RemoveOldest()
	}
}

func (c *manifestCache) remove(key manifestKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lru.Remove(key)
}

// weigh estimates the memory that a manifest takes: the document, the texts that were read from it, and what holds them, which
// for short annotations is many times what they are written with.
func weigh(m *manifest.Manifest) int {
	const perManifest, perDescriptor, perAnnotation = 512, 256, 64
	n := perManifest + 2*len(m.Raw) + perAnnotation*len(m.Annotations)
	for _, list := range [][]ocispec.Descriptor{m.Layers, m.Manifests} {
		for i := range list {
			n += perDescriptor + perAnnotation*len(list[i].Annotations)
		}
	}
	return n
}
