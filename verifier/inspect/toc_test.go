package inspect

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func TestThreat152_TablesOfContentsAreHeldAgainstTheTar(t *testing.T) {
	noise := make([]byte, 5<<20)
	if _, err := rand.NewChaCha8([32]byte{}).Read(noise); err != nil {
		t.Fatal(err)
	}
	big := string(noise) // more than one part
	files := []entry{
		file("bin/", ""), mode("bin/app", 0o755), file("bin/big", big), file("empty", ""), link("bin/sh", "app"),
		with("bin/same", "", func(h *tar.Header) { h.Typeflag, h.Linkname = tar.TypeLink, "bin/app" }), file(".prefetch.landmark", "\x0f"),
	}
	for name, c := range map[string]struct {
		change func(*listed)
		want   string
	}{
		"as it is":             {func(*listed) {}, ""},
		"another mode":         {func(e *listed) { e.Mode |= 0o4000 }, "its table of contents describes another bin/app"},
		"another owner":        {func(e *listed) { e.UID = 7 }, "its table of contents describes another bin/app"},
		"another size":         {func(e *listed) { e.Size++ }, "its table of contents describes another bin/app"},
		"another content":      {func(e *listed) { e.Digest = digest.FromString("y") }, "its table of contents describes another bin/app"},
		"another part":         {func(e *listed) { e.ChunkDigest = digest.FromString("y") }, "its table of contents describes another bin/app"},
		"another type":         {func(e *listed) { *e = listed{Name: e.Name, Type: "symlink", LinkName: "/etc/shadow"} }, "its table of contents describes another bin/app"},
		"capabilities":         {func(e *listed) { e.Xattrs = map[string][]byte{"security.capability": {1}} }, "its table of contents describes another bin/app"},
		"a file more":          {func(e *listed) { e.Name = "bin/su" }, "its table of contents has bin/su, its tar has not"},
		"a part in its place":  {func(e *listed) { e.Type = "chunk" }, "its table of contents lacks bin/app"},
		"a part that is later": {func(e *listed) { e.ChunkOffset = 1 }, "its table of contents describes another bin/app"},
	} {
		if got := flawOf(t, stargz(t, files, c.change)); c.want == "" && got != "" || !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
	other := stargz(t, files, func(*listed) {})
	other.annotations = map[string]string{tocDigest: digest.FromString("another").String()}
	if got := flawOf(t, other); !strings.HasPrefix(got, "its table of contents is not the one") {
		t.Errorf("another table: got %q", got)
	}
}

// stargz makes an eStargz layer, with a table of contents in which bin/app is changed.
func stargz(t *testing.T, files []entry, change func(*listed)) blob {
	t.Helper()
	var table struct {
		Version int      `json:"version"`
		Entries []listed `json:"entries"`
	}
	table.Version = 1
	for r := tar.NewReader(bytes.NewReader(tarOf(t, files...))); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		e := listed{Name: h.Name, Type: tocKinds[h.Typeflag], Size: h.Size, LinkName: h.Linkname, Mode: h.Mode, UID: h.Uid, GID: h.Gid}
		if h.Size > 0 {
			e.Digest = digest.FromBytes(raw)
		}
		for at := 0; ; at += blockSize {
			part := raw[at:min(at+blockSize, len(raw))]
			e.ChunkOffset, e.ChunkSize, e.ChunkDigest = int64(at), 0, digest.FromBytes(part)
			more := at+blockSize < len(raw)
			if more {
				e.ChunkSize = blockSize
			}
			if h.Name == "bin/app" {
				change(&e)
			}
			table.Entries = append(table.Entries, e)
			if !more {
				break
			}
			e = listed{Name: h.Name, Type: "chunk"}
		}
	}
	raw, err := json.Marshal(table)
	if err != nil {
		t.Fatal(err)
	}
	all := tarOf(t, append(slices.Clone(files), file(tocName, string(raw)))...)
	return blob{zip(t, all), ocispec.MediaTypeImageLayerGzip, digest.FromBytes(all), map[string]string{tocDigest: digest.FromBytes(raw).String()}}
}
