package e2e

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"
)

// Fixture images: from scratch, one static program that says its word and ends.

// greeting is what the program prints, so that a test sees that an image runs.
const greeting = "hello from the image"

const helloProgram = `package main

func main() { println("` + greeting + `") }
`

// imageKit has the program for each platform.
type imageKit struct{ programs map[string][]byte }

func newImageKit() (*imageKit, error) {
	dir := filepath.Join(suite.dir, "hello")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	source := filepath.Join(dir, "hello.go")
	if err := os.WriteFile(source, []byte(helloProgram), 0o644); err != nil {
		return nil, err
	}
	kit := &imageKit{map[string][]byte{}}
	for _, arch := range []string{"amd64", "arm64"} {
		out := filepath.Join(dir, arch)
		build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", out, source)
		build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
		if printed, err := build.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("build the images' program: %w\n%s", err, printed)
		}
		program, err := os.ReadFile(out)
		if err != nil {
			return nil, err
		}
		kit.programs[arch] = program
	}
	return kit, nil
}

// Who an image runs as.
const (
	nonroot = "65532"
	asRoot  = ""
)

// image makes an image for linux/amd64. The word makes its digest differ from that of other images.
func (kit *imageKit) image(t *testing.T, user, word string) v1.Image {
	t.Helper()
	return kit.platform(t, "amd64", user, word)
}

func (kit *imageKit) platform(t *testing.T, arch, user, word string) v1.Image {
	t.Helper()
	layer := files(t, map[string][]byte{"hello": kit.programs[arch], "word": []byte(word)})
	return assemble(t, arch, user, layer)
}

func assemble(t *testing.T, arch, user string, layers ...v1.Layer) v1.Image {
	t.Helper()
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err := mutate.ConfigFile(img, &v1.ConfigFile{
		OS: "linux", Architecture: arch,
		Config: v1.Config{User: user, Entrypoint: []string{"/hello"}},
	})
	if err == nil {
		img, err = mutate.AppendLayers(img, layers...)
	}
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// index makes a multi-arch image.
func (kit *imageKit) index(t *testing.T, user, word string) v1.ImageIndex {
	t.Helper()
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, arch := range []string{"amd64", "arm64"} {
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add:        kit.platform(t, arch, user, word),
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}},
		})
	}
	return index
}

// files makes a layer.
func files(t *testing.T, contents map[string][]byte) v1.Layer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, path := range slices.Sorted(maps.Keys(contents)) { // the same bytes whenever it is made
		content := contents[path]
		header := &tar.Header{Name: path, Mode: 0o755, Size: int64(len(content)), Typeflag: tar.TypeReg}
		if err := w.WriteHeader(header); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	layer, err := tarball.LayerFromOpener(
		func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil },
		tarball.WithMediaType(types.OCILayer))
	if err != nil {
		t.Fatal(err)
	}
	return layer
}

// put pushes an image or index, to a gateway or around it, and returns its digest.
func put(t *testing.T, ref string, content remote.Taggable) string {
	t.Helper()
	parsed, err := name.ParseReference(ref)
	if err != nil {
		t.Fatal(err)
	}
	switch content := content.(type) {
	case v1.ImageIndex:
		err = remote.WriteIndex(parsed, content)
	case v1.Image:
		err = remote.Write(parsed, content)
	default:
		err = remote.Put(parsed, content)
	}
	if err != nil {
		t.Fatalf("put %s: %v", ref, err)
	}
	raw, err := content.RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	return digest.FromBytes(raw).String()
}

// source is an image to push, in the forms that clients begin with.
type source struct {
	dir    string // of the files below
	digest string // of what oci holds
}

// The files of a source.
func (s source) context() string { return filepath.Join(s.dir, "context") }   // for build commands: Dockerfile, hello, word
func (s source) oci() string     { return filepath.Join(s.dir, "oci") }       // an OCI layout, tagged image
func (s source) archive() string { return filepath.Join(s.dir, "image.tar") } // the layout as a tar

// source writes an image for each of the clients.
func (kit *imageKit) source(t *testing.T, user, word string) source {
	t.Helper()
	return kit.sourceWith(t, user, word, nil)
}

// sourceWith is an image with more files.
func (kit *imageKit) sourceWith(t *testing.T, user, word string, more map[string]string) source {
	t.Helper()
	contents := map[string][]byte{"hello": kit.programs["amd64"], "word": []byte(word)}
	for path, content := range more {
		contents[path] = []byte(content)
	}
	s := kit.sourceOf(t, assemble(t, "amd64", user, files(t, contents)))
	kit.writeContext(t, s.context(), user, word)
	if more == nil {
		return s
	}
	for path, content := range more {
		writeFile(t, filepath.Join(s.context(), "more", path), []byte(content), 0o644)
	}
	dockerfile := fmt.Sprintf("FROM scratch\nCOPY hello word /\nCOPY more /\nENTRYPOINT [\"/hello\"]\nUSER %s\n", user)
	writeFile(t, filepath.Join(s.context(), "Dockerfile"), []byte(dockerfile), 0o644)
	return s
}

// sourceOf is an image for those clients that push what lies on a disk.
func (kit *imageKit) sourceOf(t *testing.T, img v1.Image) source {
	t.Helper()
	s := source{dir: tempDir(t)}
	d, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	s.digest = d.String()
	writeLayout(t, s.oci(), img)
	return s
}

// indexSource is the same for a multi-arch image.
func (kit *imageKit) indexSource(t *testing.T, user, word string) source {
	t.Helper()
	s := source{dir: tempDir(t)}
	index := kit.index(t, user, word)
	d, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	s.digest = d.String()
	writeLayout(t, s.oci(), index)
	kit.writeContext(t, s.context(), user, word)
	return s
}

// writeContext writes what build commands take.
func (kit *imageKit) writeContext(t *testing.T, dir, user, word string) {
	t.Helper()
	dockerfile := "FROM scratch\nCOPY hello word /\nENTRYPOINT [\"/hello\"]\n"
	if user != asRoot {
		dockerfile += "USER " + user + "\n"
	}
	writeFile(t, filepath.Join(dir, "Dockerfile"), []byte(dockerfile), 0o644)
	writeFile(t, filepath.Join(dir, "hello"), kit.programs["amd64"], 0o755)
	writeFile(t, filepath.Join(dir, "word"), []byte(word), 0o644)
}

func writeLayout(t *testing.T, dir string, content mutate.Appendable) {
	t.Helper()
	path, err := layout.Write(dir, empty.Index)
	tag := layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": "image"})
	if err == nil {
		switch content := content.(type) {
		case v1.Image:
			err = path.AppendImage(content, tag)
		case v1.ImageIndex:
			err = path.AppendIndex(content, tag)
		}
	}
	if err == nil {
		err = archiveDir(dir, filepath.Join(filepath.Dir(dir), "image.tar"))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func archiveDir(dir, to string) error {
	f, err := os.Create(to)
	if err != nil {
		return err
	}
	w := tar.NewWriter(f)
	if err := w.AddFS(os.DirFS(dir)); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return f.Close()
}

func writeFile(t *testing.T, path string, content []byte, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, mode); err != nil {
		t.Fatal(err)
	}
}
