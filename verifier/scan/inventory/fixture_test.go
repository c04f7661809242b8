package inventory

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Children are this very test program.
func TestMain(m *testing.M) {
	serveChild(probe)
	os.Exit(m.Run())
}

// entry is one entry of a layer.
type entry struct {
	tar.Header
	content string
}

func file(name, content string) entry {
	return entry{tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644}, content}
}

func program(name string, content []byte) entry {
	return entry{tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o755}, string(content)}
}

func dir(name string) entry {
	return entry{Header: tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755}}
}

func symlink(name, to string) entry {
	return entry{Header: tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to, Mode: 0o777}}
}

func hardlink(name, to string) entry {
	return entry{Header: tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: to}}
}

func removed(name string) entry {
	return file(filepath.Join(filepath.Dir(name), ".wh."+filepath.Base(name)), "")
}

type layer []entry

func tarOf(t testing.TB, entries layer) []byte {
	t.Helper()
	var raw bytes.Buffer
	w := tar.NewWriter(&raw)
	for _, e := range entries {
		e.Size = int64(len(e.content))
		if err := w.WriteHeader(&e.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(e.content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return raw.Bytes()
}

// image lays an image of these layers down as an OCI layout.
func image(t testing.TB, layers ...layer) Image {
	t.Helper()
	var tars [][]byte
	for _, l := range layers {
		tars = append(tars, tarOf(t, l))
	}
	return imageOf(t, tars...)
}

// imageOf is image, of tars.
func imageOf(t testing.TB, tars ...[]byte) Image {
	t.Helper()
	l := layout{t, t.TempDir()}
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
	c := ocispec.Image{Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"}, RootFS: ocispec.RootFS{Type: "layers"}}
	for _, raw := range tars {
		var packed bytes.Buffer
		w := gzip.NewWriter(&packed)
		if _, err := w.Write(raw); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		m.Layers = append(m.Layers, l.blob(ocispec.MediaTypeImageLayerGzip, packed.Bytes()))
		c.RootFS.DiffIDs = append(c.RootFS.DiffIDs, digest.FromBytes(raw))
	}
	m.Config = l.blob(ocispec.MediaTypeImageConfig, marshal(t, c))
	return Image{Layout: l.dir, Manifest: l.blob(m.MediaType, marshal(t, m)).Digest}
}

type layout struct {
	t   testing.TB
	dir string
}

func (l layout) blob(mediaType string, raw []byte) ocispec.Descriptor {
	l.t.Helper()
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
	at := filepath.Join(l.dir, blob(d.Digest))
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		l.t.Fatal(err)
	}
	if err := os.WriteFile(at, raw, 0o644); err != nil {
		l.t.Fatal(err)
	}
	return d
}

func marshal(t testing.TB, v any) []byte {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// take takes an inventory that has to succeed, and makes sure that nothing is left behind.
func take(t *testing.T, i Image) *Inventory {
	t.Helper()
	taken, err := taker(t).Take(t.Context(), i)
	if err != nil {
		t.Fatal(err)
	}
	return taken
}

// taker works in a directory that has to be empty in the end.
func taker(t *testing.T) Taker {
	directory := t.TempDir()
	t.Cleanup(func() {
		left, err := os.ReadDir(directory)
		if err != nil || len(left) > 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
	})
	return Taker{Directory: directory}
}

// names lists the packages as ecosystem/name@version.
func names(i *Inventory) []string {
	all := []string{}
	for _, p := range i.Packages {
		all = append(all, p.Ecosystem+"/"+p.Name+"@"+p.Version)
	}
	return all
}

const debian12 = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\nVERSION_ID=\"12\"\n"

func stanza(lines ...string) string { return strings.Join(lines, "\n") + "\n\n" }

func deb(name, version, source string) string {
	lines := []string{"Package: " + name, "Status: install ok installed", "Architecture: amd64", "Version: " + version}
	if source != "" {
		lines = append(lines, "Source: "+source)
	}
	return stanza(lines...)
}
