package inventory

import (
	"archive/tar"
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/verifier/inspect"
)

// npm is a package whose version says which of several files is the one that counts.
func npm(path, version string) entry {
	return file(path, `{"name": "p", "version": "`+version+`"}`)
}

// Which files an image has in the end, when its layers remove, replace and link. What a container sees is what is read.
func TestThreat152_TheFinalFileSystem(t *testing.T) {
	status := deb("bash", "5.2", "")
	for name, c := range map[string]struct {
		layers []layer
		want   []string
	}{
		"a file is removed":                         {[]layer{{npm("a/package.json", "1")}, {removed("a/package.json")}}, nil},
		"a directory is removed":                    {[]layer{{npm("a/b/package.json", "1")}, {removed("a")}}, nil},
		"a directory is emptied and filled again":   {[]layer{{npm("a/b/package.json", "1")}, {npm("a/c/package.json", "2"), file("a/.wh..wh..opq", "")}}, []string{"npm/p@2"}},
		"removed and there again, in any order":     {[]layer{{npm("a/package.json", "1")}, {npm("a/package.json", "2"), removed("a/package.json")}}, []string{"npm/p@2"}},
		"removed before it is there":                {[]layer{{removed("a/package.json")}, {npm("a/package.json", "1")}}, []string{"npm/p@1"}},
		"removed in its own layer":                  {[]layer{{npm("a/package.json", "1"), removed("a/package.json")}}, []string{"npm/p@1"}},
		"replaced":                                  {[]layer{{npm("a/package.json", "1")}, {npm("a/package.json", "2")}}, []string{"npm/p@2"}},
		"twice in a layer":                          {[]layer{{npm("a/package.json", "1"), npm("a/package.json", "2")}}, []string{"npm/p@2"}},
		"a directory over a directory":              {[]layer{{npm("a/package.json", "1")}, {dir("a")}}, []string{"npm/p@1"}},
		"a file over a directory":                   {[]layer{{npm("a/b/package.json", "1")}, {file("a/b", "")}}, nil},
		"a directory over a file":                   {[]layer{{file("a", "")}, {npm("a/package.json", "1")}}, []string{"npm/p@1"}},
		"a hard link keeps what is removed":         {[]layer{{npm("a/package.json", "1")}, {hardlink("b/package.json", "a/package.json"), removed("a")}}, []string{"npm/p@1"}},
		"absolute and dotted names":                 {[]layer{{npm("/a/package.json", "1"), npm("./b/package.json", "2")}}, []string{"npm/p@1", "npm/p@2"}},
		"a database behind a link":                  {[]layer{{file("etc/os-release", debian12), symlink("var/lib/dpkg", "/usr/share/dpkg"), file("usr/share/dpkg/status", status)}}, []string{"Debian:12/bash@5.2"}},
		"a database behind a relative link":         {[]layer{{file("etc/os-release", debian12), symlink("var/lib/dpkg", "../../usr/share/dpkg"), file("usr/share/dpkg/status", status)}}, []string{"Debian:12/bash@5.2"}},
		"a database that is a link":                 {[]layer{{file("etc/os-release", debian12), file("x", status), symlink("var/lib/dpkg/status", "../../../x")}}, []string{"Debian:12/bash@5.2"}},
		"links in a directory of databases":         {[]layer{{file("etc/os-release", debian12), file("x", status), symlink("var/lib/dpkg/status.d/bash", "/x")}}, []string{"Debian:12/bash@5.2"}},
		"a link that leads above the root stays in": {[]layer{{file("etc/os-release", debian12), symlink("var/lib/dpkg", "../../../../../../../x"), file("x/status", status)}}, []string{"Debian:12/bash@5.2"}},
		"a link to the machine's own files":         {[]layer{{symlink("etc/os-release", "/etc/passwd"), symlink("var/lib/dpkg", "/var/lib/dpkg/../dpkg")}}, nil},
		"links in a circle":                         {[]layer{{symlink("a", "b"), symlink("b", "a"), symlink("var/lib/dpkg/status", "status"), npm("c/package.json", "1")}}, []string{"npm/p@1"}},
		"a layer that writes through a link":        {[]layer{{dir("usr/lib"), symlink("lib", "usr/lib")}, {npm("lib/x/package.json", "1")}}, []string{"npm/p@1"}},
		"a layer that writes through a dead link":   {[]layer{{symlink("lib", "usr/lib")}, {npm("lib/x/package.json", "1")}}, []string{"npm/p@1"}},
		"a layer that removes through a link":       {[]layer{{npm("usr/lib/x/package.json", "1"), symlink("lib", "usr/lib")}, {removed("lib/x")}}, nil},
		"devices and pipes": {[]layer{{
			{Header: tar.Header{Typeflag: tar.TypeChar, Name: "a/package.json"}}, {Header: tar.Header{Typeflag: tar.TypeFifo, Name: "b/package.json"}}, npm("c/package.json", "1"),
		}}, []string{"npm/p@1"}},
		"an old storage driver's files": {[]layer{{npm("a/package.json", "1")}, {file(".wh..wh.plnk", ""), file(".wh..wh.aufs", "")}}, []string{"npm/p@1"}},
	} {
		t.Run(name, func(t *testing.T) {
			taken := take(t, image(t, c.layers...))
			if got := names(taken); !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// What could be read in two ways, or not at all, is the image's fault and no inventory.
func TestThreat152_AnImageThatIsNoImage(t *testing.T) {
	long := strings.Repeat("x", inspect.MaxName)
	circle := layer{symlink("a", "b"), symlink("b", "a"), npm("a/package.json", "1")}
	for name, c := range map[string]struct {
		layers []layer
		want   string
	}{
		"a name that leads out":            {[]layer{{file("../etc/passwd", "")}}, "leads out of the image"},
		"a hard link that leads out":       {[]layer{{hardlink("a", "../../etc/passwd")}}, "leads out of the image"},
		"a hard link to nothing":           {[]layer{{hardlink("a", "b")}}, "leads nowhere"},
		"a hard link to a directory":       {[]layer{{dir("b"), hardlink("a", "b")}}, "leads nowhere"},
		"a hard link to itself":            {[]layer{{hardlink("a", "a")}}, "leads nowhere"},
		"a name that is too long":          {[]layer{{file(long+"x", "")}}, "a name of more than 4096 bytes"},
		"a layer that writes into circles": {[]layer{circle}, "too many links"},
		"a removal of nothing":             {[]layer{{file("a/.wh.", "")}}, "it removes what has no name"},
		"a file in what is removed":        {[]layer{{file(".wh.a/b", "")}}, "a removed directory"},
		"an unknown type":                  {[]layer{{{Header: tar.Header{Typeflag: 'Z', Name: "a"}}}}, "unknown type"},
	} {
		t.Run(name, func(t *testing.T) {
			taken, err := taker(t).Take(t.Context(), image(t, c.layers...))
			if taken != nil || !errors.Is(err, inspect.ErrInvalid) || errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %+v, %v, want %q in an error that is the image's fault", taken, err, c.want)
			}
		})
	}
	if taken := take(t, image(t, layer{file(long, "")})); taken.Files != 1 {
		t.Errorf("the longest name that is allowed: %+v", taken)
	}
}

// Layers are what manifest and configuration say, to the last byte.
func TestThreat153_LayersAreWhatTheirDigestsSay(t *testing.T) {
	good := func() (Image, ocispec.Manifest, ocispec.Image) {
		raw := tarOf(t, layer{npm("a/package.json", "1")})
		i := imageOf(t, raw)
		return i, ocispec.Manifest{}, ocispec.Image{RootFS: ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromBytes(raw)}}}
	}
	_, _, config := good()
	build := func(raw []byte, mediaType string, diffIDs ...digest.Digest) (Image, ocispec.Descriptor) {
		l := layout{t, t.TempDir()}
		config.RootFS.DiffIDs = diffIDs
		d := l.blob(mediaType, raw)
		m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, Config: l.blob(ocispec.MediaTypeImageConfig, marshal(t, config)), Layers: []ocispec.Descriptor{d}}
		return Image{l.dir, l.blob(ocispec.MediaTypeImageManifest, marshal(t, m)).Digest}, d
	}
	raw := tarOf(t, layer{npm("a/package.json", "1")})
	id := digest.FromBytes(raw)

	for name, c := range map[string]struct {
		raw       []byte
		mediaType string
		diffIDs   []digest.Digest
		fault     bool
		want      string
	}{
		"as it should be":         {raw, ocispec.MediaTypeImageLayer, []digest.Digest{id}, false, ""},
		"another diff id":         {raw, ocispec.MediaTypeImageLayer, []digest.Digest{digest.FromString("x")}, true, "its configuration says"},
		"too few diff ids":        {raw, ocispec.MediaTypeImageLayer, nil, true, "its configuration names 0"},
		"more than one tar":       {append(slices.Clone(raw), raw...), ocispec.MediaTypeImageLayer, []digest.Digest{digest.FromBytes(append(slices.Clone(raw), raw...))}, true, "something follows"},
		"half a tar":              {raw[:530], ocispec.MediaTypeImageLayer, []digest.Digest{digest.FromBytes(raw[:530])}, true, "its tar ends within"},
		"half a header":           {raw[:300], ocispec.MediaTypeImageLayer, []digest.Digest{digest.FromBytes(raw[:300])}, true, "cannot be read"},
		"another compression":     {raw, ocispec.MediaTypeImageLayerGzip, []digest.Digest{id}, true, "another compression"},
		"a broken compression":    {append([]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0}, raw...), ocispec.MediaTypeImageLayerGzip, []digest.Digest{id}, true, "cannot be read"},
		"an encrypted layer":      {raw, ocispec.MediaTypeImageLayer + "+encrypted", []digest.Digest{id}, true, "encrypted"},
		"a layer of another kind": {raw, "application/x-squashfs", []digest.Digest{id}, true, "unknown"},
	} {
		t.Run(name, func(t *testing.T) {
			i, _ := build(c.raw, c.mediaType, c.diffIDs...)
			taken, err := taker(t).Take(t.Context(), i)
			if c.want == "" {
				if err != nil || len(taken.Packages) != 1 {
					t.Errorf("got %+v, %v", taken, err)
				}
				return
			}
			if taken != nil || err == nil || errors.Is(err, inspect.ErrInvalid) != c.fault || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %+v, %v, want %q", taken, err, c.want)
			}
		})
	}

	t.Run("other bytes than the digest says", func(t *testing.T) {
		i, d := build(raw, ocispec.MediaTypeImageLayer, id)
		other := tarOf(t, layer{npm("a/package.json", "2")})
		if err := os.WriteFile(filepath.Join(i.Layout, blob(d.Digest)), other, 0o644); err != nil {
			t.Fatal(err)
		}
		if taken, err := taker(t).Take(t.Context(), i); taken != nil || !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), "other bytes") {
			t.Errorf("got %+v, %v", taken, err)
		}
	})
	// A scanner that was taken over may read the same layout.
	for name, replace := range map[string]func(at string) error{
		"a pipe":            func(at string) error { return syscall.Mkfifo(at, 0o600) },
		"a link":            func(at string) error { return os.Symlink("/dev/zero", at) },
		"a directory":       func(at string) error { return os.Mkdir(at, 0o700) },
		"nothing, any more": func(string) error { return nil },
	} {
		t.Run("a layer that is "+name, func(t *testing.T) {
			i, d := build(raw, ocispec.MediaTypeImageLayer, id)
			at := filepath.Join(i.Layout, blob(d.Digest))
			if err := errors.Join(os.Remove(at), replace(at)); err != nil {
				t.Fatal(err)
			}
			if taken, err := taker(t).Take(t.Context(), i); taken != nil || !errors.Is(err, ErrUnknown) {
				t.Errorf("got %+v, %v", taken, err)
			}
		})
	}
	t.Run("layers that lie outside of the layout", func(t *testing.T) {
		i, _ := build(raw, ocispec.MediaTypeImageLayer, id)
		blobs, elsewhere := filepath.Join(i.Layout, ocispec.ImageBlobsDir), t.TempDir()
		if err := errors.Join(os.Rename(blobs, filepath.Join(elsewhere, "b")), os.Symlink(filepath.Join(elsewhere, "b"), blobs)); err != nil {
			t.Fatal(err)
		}
		if taken, err := taker(t).Take(t.Context(), i); taken != nil || !errors.Is(err, ErrUnknown) {
			t.Errorf("got %+v, %v", taken, err)
		}
	})
	t.Run("an image that is not there", func(t *testing.T) {
		if taken, err := taker(t).Take(t.Context(), Image{t.TempDir(), id}); taken != nil || !errors.Is(err, ErrUnknown) {
			t.Errorf("got %+v, %v", taken, err)
		}
	})
	t.Run("a digest that leads elsewhere", func(t *testing.T) {
		if taken, err := taker(t).Take(t.Context(), Image{t.TempDir(), "sha256:../../x"}); taken != nil || !errors.Is(err, ErrUnknown) {
			t.Errorf("got %+v, %v", taken, err)
		}
	})
}

// The tree is bounded in entries, nodes and names, at the limit and one past it.
func TestThreat152_BoundsOfTheTree(t *testing.T) {
	add := func(prepare func(*tree), entries ...entry) error {
		raw := tarOf(t, entries)
		tree := newTree(strings.NewReader(string(raw)))
		prepare(tree)
		return tree.add(0, 0, int64(len(raw)))
	}
	for name, c := range map[string]struct {
		prepare func(t *tree, past int)
		entry   entry
		want    string
	}{
		"entries":     {func(t *tree, past int) { t.entries = inspect.MaxEntries - 1 + past }, file("a", ""), "more than 1000000 entries"},
		"nodes":       {func(t *tree, past int) { t.nodes = maxNodes - 2 + past }, file("a/b", ""), "more than 2000000 files"},
		"names":       {func(t *tree, past int) { t.names = maxNames - 2 + past }, file("a/b", ""), "names have more than 256 MiB"},
		"link's name": {func(t *tree, past int) { t.names = maxNames - 3 + past }, symlink("a", "bb"), "names have more than 256 MiB"},
	} {
		if err := add(func(t *tree) { c.prepare(t, 0) }, c.entry); err != nil {
			t.Errorf("%s at the limit: %v", name, err)
		}
		if err := add(func(t *tree) { c.prepare(t, 1) }, c.entry); !errors.Is(err, inspect.ErrInvalid) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s past the limit: %v", name, err)
		}
	}
}

// A layer may fill the spool to its limit and not one byte more.
func TestThreat152_TheSpoolIsBounded(t *testing.T) {
	raw := tarOf(t, layer{npm("a/package.json", "1")})
	i := imageOf(t, raw)
	limited := taker(t)
	limited.Limits.Spool = int64(len(raw))
	if taken, err := limited.Take(t.Context(), i); err != nil || len(taken.Packages) != 1 {
		t.Errorf("at the limit: %+v, %v", taken, err)
	}
	limited.Limits.Spool--
	if taken, err := limited.Take(t.Context(), i); taken != nil || !errors.Is(err, inspect.ErrInvalid) {
		t.Errorf("past the limit: %+v, %v", taken, err)
	}
}

// A bomb is refused when it begins to be one.
func TestThreat152_ABomb(t *testing.T) {
	bomb := imageOf(t, tarOf(t, layer{file("zeros", strings.Repeat("\x00", 64<<20))}))
	if taken, err := taker(t).Take(t.Context(), bomb); taken != nil || !errors.Is(err, inspect.ErrInvalid) || !strings.Contains(err.Error(), "200 times") {
		t.Errorf("got %+v, %v", taken, err)
	}
}

// A sparse file's content is not in one piece. Where a package manager's database is one, that is told, and what lies behind
// its map in the tar is not taken for it.
func TestThreat152_ASparseFileIsToldOf(t *testing.T) {
	table := []byte("1\n0\n2000\n")
	content := string(append(table, make([]byte, 512-len(table))...)) + strings.Repeat(deb("bash", "5", ""), 30)[:2000]
	hole := file("var/lib/dpkg/status", content)
	hole.PAXRecords = map[string]string{"XXX.sparse.major": "1", "XXX.sparse.minor": "0", "XXX.sparse.name": "var/lib/dpkg/status", "XXX.sparse.realsize": "2000"}
	raw := bytes.ReplaceAll(tarOf(t, layer{file("etc/os-release", debian12), hole}), []byte("XXX.sparse."), []byte("GNU.sparse."))
	taken := take(t, imageOf(t, raw))
	if taken.Recognised() || len(taken.Gaps) != 1 || !strings.Contains(taken.Gaps[0].Why, "sparse") {
		t.Errorf("got %+v", taken)
	}
}
