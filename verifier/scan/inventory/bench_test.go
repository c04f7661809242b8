package inventory

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/policy/manifest"
	"github.com/sealgate/sealgate/verifier/inspect"
)

// BenchmarkTake takes the inventory of an image of programs, sources and packages, beside the inspection of the same image
// with every check on. Rates are of bytes without compression. start is a child that has nothing to do.
func BenchmarkTake(b *testing.B) {
	executable, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		b.Fatal(err)
	}
	system := layer{file("etc/os-release", debian12)}
	var status strings.Builder
	for i := range 300 {
		status.WriteString(deb(fmt.Sprintf("package%d", i), "1.0-1", ""))
	}
	system = append(system, file("var/lib/dpkg/status", status.String()), program("usr/bin/app", executable))
	for i := range 3000 { // pieces of the same program, as data
		at := i * 8 << 10 % (len(executable) - 8<<10)
		system = append(system, file(fmt.Sprintf("usr/share/data%d/file%d", i/100, i), string(executable[at:at+8<<10])))
	}
	apps := layer{}
	for i := range 500 {
		apps = append(apps, file(fmt.Sprintf("app/node_modules/p%d/package.json", i), fmt.Sprintf(`{"name": "p%d", "version": "1.0.0"}`, i)))
	}
	size := int64(len(tarOf(b, system)) + len(tarOf(b, apps)))
	i := image(b, system, apps)

	b.Run("start", func(b *testing.B) {
		empty := image(b, layer{file("a", "")})
		for b.Loop() {
			if _, err := (Taker{Directory: b.TempDir()}).Take(b.Context(), empty); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("inventory", func(b *testing.B) {
		b.SetBytes(size)
		for b.Loop() {
			taken, err := (Taker{Directory: b.TempDir()}).Take(b.Context(), i)
			if err != nil || len(taken.Packages) < 800 {
				b.Fatal(len(taken.Packages), err)
			}
		}
	})
	b.Run("inspection", func(b *testing.B) {
		raw, err := os.ReadFile(filepath.Join(i.Layout, blob(i.Manifest)))
		if err != nil {
			b.Fatal(err)
		}
		m, err := manifest.Parse(raw, ocispec.MediaTypeImageManifest)
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(size)
		for b.Loop() {
			read, err := inspect.Inspector{Blobs: blobs{i}}.Inspect(b.Context(), "prod/app", m, policy.ImageNeeds{Config: true, Layers: true})
			if err != nil || len(read.Content.Flaws) > 0 {
				b.Fatal(read.Content, err)
			}
		}
	})
}

// blobs are those of a layout.
type blobs struct{ Image }

func (b blobs) Blob(_ context.Context, _ string, d digest.Digest, _ int64) ([]byte, error) {
	return os.ReadFile(filepath.Join(b.Layout, blob(d)))
}

func (b blobs) OpenBlob(_ context.Context, _ string, d digest.Digest) (io.ReadCloser, int64, error) {
	f, err := os.Open(filepath.Join(b.Layout, blob(d)))
	if err != nil {
		return nil, 0, err
	}
	return struct {
		io.Reader
		io.Closer
	}{&checked{f, d.Verifier()}, f}, -1, nil
}
