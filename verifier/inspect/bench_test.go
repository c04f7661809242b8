package inspect

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// BenchmarkInspect is goal G17: a layer of programs and sources with every check on, one core, in bytes without compression.
// inflate is the bound: decompression alone.
func BenchmarkInspect(b *testing.B) {
	var entries []entry
	binary, text := program(b), prose(24<<20)
	for at := 0; at < len(binary); at += 1 << 20 {
		entries = append(entries, mode(fmt.Sprintf("usr/bin/program%d", at), 0o755))
		entries[len(entries)-1].content = string(binary[at:min(at+1<<20, len(binary))])
	}
	for at := 0; at < len(text); at += 8 << 10 {
		entries = append(entries, file(fmt.Sprintf("usr/lib/source/package%d/file%d.go", at>>20, at), string(text[at:at+8<<10])))
	}
	raw := tarOf(b, entries...)
	var packed bytes.Buffer
	w, err := gzip.NewWriterLevel(&packed, gzip.BestSpeed)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := w.Write(raw); err != nil {
		b.Fatal(err)
	}
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}

	for _, c := range []struct {
		name string
		blob blob
	}{
		{"tar", blob{raw: raw, mediaType: ocispec.MediaTypeImageLayer}},
		{"gzip", blob{raw: packed.Bytes(), mediaType: ocispec.MediaTypeImageLayerGzip}},
		{"zstd", blob{raw: zstded(b, raw, zstd.WithEncoderLevel(zstd.SpeedDefault)), mediaType: ocispec.MediaTypeImageLayerZstd}},
	} {
		d := ocispec.Descriptor{MediaType: c.blob.mediaType, Digest: digest.FromBytes(c.blob.raw), Size: int64(len(c.blob.raw))}
		memory := NewLayers(0)
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(len(raw)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := readLayer(b.Context(), store{d.Digest: c.blob.raw}, "prod/app", d, newScanner(), memory.hash); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// Whatever a layer holds, it is read to the same end twice, within the bounds, and nobody panics.
func FuzzLayer(f *testing.F) {
	good := tarOf(f, file("a/", ""), mode("a/su", 0o4755), link("b", "a"), file(".wh.c", ""), file("etc/passwd", "app:x:1:1::/:\n"))
	f.Add(good, uint8(0))
	f.Add(zip(f, good), uint8(1))
	f.Add(zstded(f, good), uint8(2))
	f.Add(sparse(f, 1<<40), uint8(0))
	types := []string{ocispec.MediaTypeImageLayer, ocispec.MediaTypeImageLayerGzip, ocispec.MediaTypeImageLayerZstd}
	memory := NewLayers(0)
	f.Fuzz(func(t *testing.T, raw []byte, kind uint8) {
		d := ocispec.Descriptor{MediaType: types[int(kind)%len(types)], Digest: digest.FromBytes(raw), Size: int64(len(raw))}
		blobs := store{d.Digest: append([]byte{}, raw...)}
		one, err := readLayer(t.Context(), blobs, "prod/app", d, newScanner(), memory.hash)
		two, again := readLayer(t.Context(), blobs, "prod/app", d, newScanner(), memory.hash)
		if fmt.Sprint(err) != fmt.Sprint(again) || fmt.Sprintf("%+v", one) != fmt.Sprintf("%+v", two) {
			t.Fatalf("%v and %v, %+v and %+v", err, again, one, two)
		}
		if err != nil {
			if _, ok := err.(flaw); !ok {
				t.Fatalf("%v is no flaw, and the bytes came", err)
			}
			return
		}
		for _, finding := range one.findings {
			if hasDots(finding.path) || finding.path == "" || finding.path[0] == '/' {
				t.Errorf("a finding outside of the image: %q", finding.path)
			}
		}
		if one.size > MaxImageBytes || one.size > freeBytes && one.size > MaxRatio*d.Size {
			t.Errorf("%d bytes of %d", one.size, d.Size)
		}
	})
}
