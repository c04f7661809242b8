package gateway

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/policy/manifest"
)

// annotated is a manifest of many short annotations, which take more to hold than to write.
func annotated(t *testing.T, name string, layers, annotations int) *manifest.Manifest {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, `{"schemaVersion":2,"config":{"mediaType":"a/b","digest":"%s","size":1},"annotations":{"name":%q},"layers":[`, digest.FromString("c"), name)
	for i := range layers {
		fmt.Fprintf(&b, `%.*s{"mediaType":"a/b","digest":"sha256:%064x","size":1,"annotations":{`, min(i, 1), ",", i)
		for j := range annotations {
			fmt.Fprintf(&b, `%.*s"%x":""`, min(j, 1), ",", j)
		}
		b.WriteString("}}")
	}
	b.WriteString("]}")
	m, err := manifest.Parse([]byte(b.String()), ocispec.MediaTypeImageManifest)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestThreat027_ManifestsInMemoryAreBoundedByWhatTheyTake(t *testing.T) {
	held := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := held()
	c := newManifestCache()
	for i := range 24 {
		m := annotated(t, fmt.Sprint(i), 32, 4000)
		c.add(manifestKey{"r", "a", m.Digest}, m)
	}
	if took := held() - before; took > 3*maxManifestBytes/2 {
		t.Errorf("%d manifests take %d MiB, about %d are meant", c.lru.Len(), took>>20, maxManifestBytes>>20)
	}
	for c.lru.Len() > 0 {
		c.lru.RemoveOldest()
	}
	if c.bytes != 0 {
		t.Errorf("nothing is kept, and it is counted as %d bytes", c.bytes)
	}
	runtime.KeepAlive(c)
}
