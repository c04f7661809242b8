package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/policy/manifest"
)

// localImage is an image on disk: an OCI layout, as a directory or in a tar, or a tar of docker save, which is read as the
// layout that it could be. It is a [scan.Blobs].
type localImage struct {
	open  func(name string) (io.ReadCloser, error) // a file of the layout
	close func() error
}

// Bounds of a tar. An image has some two files for each layer.
const (
	maxArchive = 16 << 30 // bytes without compression
	maxMembers = 10_000
)

// openLocal opens what is on disk, and nothing where what was typed is the name of an image behind the gateway. "-" is a tar
// on standard input. The scratch directory takes what is not a file yet.
func openLocal(typed, scratch string) (*localImage, error) {
	if typed == "-" {
		return openArchive(typed, os.Stdin, scratch)
	}
	meant := typed == "." || typed == ".." || strings.HasPrefix(typed, "./") || strings.HasPrefix(typed, "../") || filepath.IsAbs(typed) ||
		strings.HasSuffix(typed, "/") || strings.HasSuffix(typed, ".tar") || strings.HasSuffix(typed, ".tgz") || strings.HasSuffix(typed, ".tar.gz")
	stat, err := os.Stat(typed)
	switch {
	case err != nil && meant:
		return nil, usage("there is no %s; scan takes an image of a registry, an OCI layout, or a tar of docker save", policy.Printable(typed))
	case err != nil:
		return nil, nil
	case !stat.IsDir():
		f, err := os.Open(typed)
		if err != nil {
			return nil, err
		}
		if !meant && !looksLikeArchive(f) {
			return nil, f.Close()
		}
		return openArchive(typed, f, scratch)
	}
	if index, err := os.Stat(filepath.Join(typed, ocispec.ImageIndexFile)); err == nil && index.Mode().IsRegular() {
		return &localImage{
			open: func(name string) (io.ReadCloser, error) {
				return os.Open(filepath.Join(typed, filepath.FromSlash(name)))
			},
			close: func() error { return nil },
		}, nil
	}
	if meant {
		return nil, usage("%s is no OCI layout, as it has no index.json; images are scanned, not folders of sources: build one, and scan that", policy.Printable(typed))
	}
	return nil, nil
}

// looksLikeArchive reports that a file begins as a tar does, or as what gzip made.
func looksLikeArchive(f io.ReaderAt) bool {
	head := make([]byte, 512)
	n, _ := f.ReadAt(head, 0)
	head = head[:n]
	return bytes.HasPrefix(head, []byte{0x1f, 0x8b}) || len(head) == 512 && string(head[257:262]) == "ustar"
}

// openArchive opens a tar, compressed or not. It is read where it lies, unless it comes from a pipe or is compressed.
func openArchive(typed string, f *os.File, scratch string) (image *localImage, err error) {
	fail := func(err error) (*localImage, error) {
		return nil, errors.Join(usage("%s is no tar of an image: %v", policy.Printable(typed), err), f.Close())
	}
	if stat, err := f.Stat(); err != nil || !stat.Mode().IsRegular() {
		if f, err = spooled(f, scratch); err != nil {
			return nil, err
		}
	}
	magic := make([]byte, 2)
	if _, err := f.ReadAt(magic, 0); err != nil {
		return fail(errors.New("it is too short"))
	}
	if magic[0] == 0x1f && magic[1] == 0x8b {
		plain, err := gzip.NewReader(f)
		if err != nil {
			return fail(err)
		}
		unpacked, err := spooled(plain, scratch)
		if err != nil {
			return fail(err)
		}
		_ = f.Close() // it was read to its end
		f = unpacked
	}
	members, err := membersOf(f)
	if err != nil {
		return fail(err)
	}
	open := func(name string) (io.ReadCloser, error) {
		section := members[name]
		if section == nil {
			return nil, fmt.Errorf("%s: %w", policy.Printable(name), os.ErrNotExist)
		}
		return io.NopCloser(io.NewSectionReader(section, 0, section.Size())), nil
	}
	if members[ocispec.ImageIndexFile] == nil { // what docker saves since version 25 has both
		if members, err = layoutOf(members); err != nil {
			return fail(err)
		}
	}
	return &localImage{open, f.Close}, nil
}

// spooled is a stream as a file that nobody else sees.
func spooled(from io.Reader, scratch string) (*os.File, error) {
	f, err := os.CreateTemp(scratch, "archive-*.tar")
	if err != nil {
		return nil, err
	}
	n, err := io.Copy(f, io.LimitReader(from, maxArchive+1))
	if err == nil && n > maxArchive {
		err = fmt.Errorf("it has more than %d GiB", int64(maxArchive)>>30)
	}
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// membersOf says where the files of a tar are. A link is what it leads to: docker saves a layer once that is there twice.
func membersOf(f *os.File) (map[string]*io.SectionReader, error) {
	members, links := map[string]*io.SectionReader{}, map[string]string{}
	for r := tar.NewReader(f); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if len(members)+len(links) >= maxMembers {
			return nil, fmt.Errorf("it has more than %d files", maxMembers)
		}
		name := path.Clean(header.Name)
		switch header.Typeflag {
		case tar.TypeReg:
			at, err := f.Seek(0, io.SeekCurrent) // a tar's reader reads no further than it has to
			if err != nil {
				return nil, err
			}
			members[name] = io.NewSectionReader(f, at, header.Size)
		case tar.TypeSymlink:
			links[name] = path.Join(path.Dir(name), header.Linkname)
		case tar.TypeLink:
			links[name] = path.Clean(header.Linkname)
		}
	}
	for name, to := range links {
		if section := members[to]; section != nil && members[name] == nil {
			members[name] = section
		}
	}
	return members, nil
}

// layoutOf makes an OCI layout of what docker save writes (https://github.com/moby/docker-image-spec): a list of images, each
// with its configuration and layers by name. Nobody kept the manifest, so it is made anew and has a digest of its own.
func layoutOf(members map[string]*io.SectionReader) (map[string]*io.SectionReader, error) {
	raw, err := small(members, "manifest.json")
	if err != nil {
		return nil, errors.New("it has neither an index.json nor a manifest.json")
	}
	var images []struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	if err := json.Unmarshal(raw, &images); err != nil {
		return nil, fmt.Errorf("manifest.json: %w", err)
	}
	if len(images) != 1 {
		var tags []string
		for _, image := range images {
			tags = append(tags, image.RepoTags...)
		}
		return nil, fmt.Errorf("it has %d images (%.200s); save the one to scan", len(images), strings.Join(tags, ", "))
	}

	layout := map[string]*io.SectionReader{}
	add := func(section *io.SectionReader, mediaType string) (ocispec.Descriptor, error) {
		d, err := digest.FromReader(io.NewSectionReader(section, 0, section.Size()))
		layout[blobPath(d)] = section
		return ocispec.Descriptor{MediaType: mediaType, Digest: d, Size: section.Size()}, err
	}
	addRaw := func(value any, mediaType string) (ocispec.Descriptor, error) {
		raw, err := json.Marshal(value)
		if err != nil {
			return ocispec.Descriptor{}, err
		}
		return add(io.NewSectionReader(bytes.NewReader(raw), 0, int64(len(raw))), mediaType)
	}
	made := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Layers: []ocispec.Descriptor{}}
	config := members[path.Clean(images[0].Config)]
	if config == nil {
		return nil, fmt.Errorf("its configuration %.100q is not in it", images[0].Config)
	}
	if made.Config, err = add(config, ocispec.MediaTypeImageConfig); err != nil {
		return nil, err
	}
	for _, name := range images[0].Layers {
		section := members[path.Clean(name)]
		if section == nil {
			return nil, fmt.Errorf("its layer %.100q is not in it", name)
		}
		mediaType := ocispec.MediaTypeImageLayer
		magic := make([]byte, 2)
		if _, err := section.ReadAt(magic, 0); err == nil && magic[0] == 0x1f && magic[1] == 0x8b {
			mediaType = ocispec.MediaTypeImageLayerGzip
		}
		layer, err := add(section, mediaType)
		if err != nil {
			return nil, err
		}
		made.Layers = append(made.Layers, layer)
	}
	image, err := addRaw(made, ocispec.MediaTypeImageManifest)
	if err != nil {
		return nil, err
	}
	index, err := json.Marshal(ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{image}})
	layout[ocispec.ImageIndexFile] = io.NewSectionReader(bytes.NewReader(index), 0, int64(len(index)))
	return layout, err
}

// small reads a small member whole.
func small(members map[string]*io.SectionReader, name string) ([]byte, error) {
	section := members[name]
	if section == nil || section.Size() > manifest.MaxBytes {
		return nil, os.ErrNotExist
	}
	return io.ReadAll(io.NewSectionReader(section, 0, section.Size()))
}

func blobPath(d digest.Digest) string {
	return path.Join(ocispec.ImageBlobsDir, d.Algorithm().String(), d.Encoded())
}

// read reads a manifest, or the index of the layout where no digest is given.
func (l *localImage) read(d digest.Digest, mediaType string) ([]byte, string, error) {
	name := ocispec.ImageIndexFile
	if d == "" {
		mediaType = ocispec.MediaTypeImageIndex
	} else if err := manifest.CheckDigest(d); err != nil {
		return nil, "", err
	} else {
		name = blobPath(d)
	}
	f, err := l.open(name)
	if err != nil {
		return nil, "", err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, manifest.MaxBytes+1))
	if err == nil && len(raw) > manifest.MaxBytes {
		err = fmt.Errorf("%s has more than %d bytes", name, manifest.MaxBytes)
	}
	return raw, mediaType, err
}

// OpenBlob implements [scan.Blobs].
func (l *localImage) OpenBlob(_ context.Context, _ string, d digest.Digest) (io.ReadCloser, int64, error) {
	if err := manifest.CheckDigest(d); err != nil {
		return nil, 0, err
	}
	f, err := l.open(blobPath(d))
	if err != nil {
		return nil, 0, err
	}
	return &checkedBlob{f, d, d.Verifier()}, -1, nil
}

// checkedBlob ends in io.EOF only when its bytes were those that the digest names.
type checkedBlob struct {
	io.ReadCloser
	want     digest.Digest
	verifier digest.Verifier
}

func (c *checkedBlob) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	_, _ = c.verifier.Write(p[:n])
	if errors.Is(err, io.EOF) && !c.verifier.Verified() {
		return n, fmt.Errorf("%s: other bytes came than the digest says", c.want)
	}
	return n, err
}
