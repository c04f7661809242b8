package inspect

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/policy/manifest"
)

// compression is how a layer's tar is packed.
type compression int

const (
	plain compression = iota
	gzipped
	zstandard
)

// layerTypes are the types that are read. Any other is a flaw: a layer that nobody here can read may still be one that some
// runtime unpacks.
var layerTypes = map[string]compression{
	ocispec.MediaTypeImageLayer:     plain,
	ocispec.MediaTypeImageLayerGzip: gzipped,
	ocispec.MediaTypeImageLayerZstd: zstandard,

	"application/vnd.docker.image.rootfs.diff.tar":      plain,
	"application/vnd.docker.image.rootfs.diff.tar.gzip": gzipped,
	"application/vnd.docker.image.rootfs.diff.tar.zstd": zstandard,
}

// Annotations by which runtimes read a layer otherwise than from its beginning to its end.
const (
	tocDigest   = "containerd.io/snapshot/stargz/toc.digest"
	lazyPrefix  = "containerd.io/snapshot/"
	zstdChunked = "io.github.containers.zstd-chunked."
)

// flaw is something about a layer because of which nobody can say what is in it.
type flaw string

func (f flaw) Error() string { return string(f) }

// Is makes a flaw the image's own fault for those outside of this package.
func (f flaw) Is(target error) bool { return target == ErrInvalid || target == manifest.ErrInvalid }

func flawf(format string, args ...any) error { return flaw(fmt.Sprintf(format, args...)) }

// checkDescriptor finds what needs no reading.
func checkDescriptor(d ocispec.Descriptor) error {
	if _, ok := layerTypes[d.MediaType]; !ok {
		switch lower := strings.ToLower(d.MediaType); {
		case strings.Contains(lower, "encrypted"):
			return flaw("it is encrypted")
		case strings.Contains(lower, "nondistributable") || strings.Contains(lower, "foreign"):
			return flaw("it is kept elsewhere (a foreign layer)")
		}
		return flawf("its type %.80q is unknown", d.MediaType)
	}
	for key := range d.Annotations {
		switch {
		case strings.HasPrefix(key, zstdChunked):
			return flaw("it has a table of contents (zstd:chunked) that is not checked here")
		case strings.HasPrefix(key, lazyPrefix) && key != tocDigest:
			return flaw("it is annotated for a snapshotter that reads it in a way of its own")
		}
	}
	return nil
}

// readLayer reads a layer from its first byte to its last, and returns what is in it. An error that is a [flaw] is the
// layer's own, and only one whose bytes are those that the descriptor names has any. Any other says that it could not be
// read.
func readLayer(ctx context.Context, blobs Blobs, repo string, d ocispec.Descriptor, s *scanner, names hasher) (*layer, error) {
	body, size, err := blobs.OpenBlob(ctx, repo, d.Digest)
	if err != nil {
		return nil, fmt.Errorf("open layer %s: %w", d.Digest, err)
	}
	defer body.Close()
	if size >= 0 && size != d.Size {
		return nil, flawf("it has %d bytes, the manifest says %d", size, d.Size)
	}

	var l *layer
	diffID, err := readTar(body, d, func(content *content) (err error) {
		l, err = walk(content, s, names, d.Annotations[tocDigest])
		return err
	})
	if err != nil {
		return nil, err
	}
	l.diffID = diffID
	return l, nil
}

// ReadLayer reads a layer, which a descriptor names, from its first byte to its last, and gives its tar to read: bounded,
// and to be read to its end. It returns the digest of the tar. body ends in io.EOF only when its bytes are those that the
// descriptor names. An error with [ErrInvalid] says that the layer is not what can be read in one way only.
func ReadLayer(body io.Reader, d ocispec.Descriptor, read func(tar io.Reader) error) (digest.Digest, error) {
	if err := checkDescriptor(d); err != nil {
		return "", err
	}
	return readTar(body, d, func(content *content) error { return read(flawed{content}) })
}

// flawed makes flaws of what a decompression says. A failed source is seen by readTar.
type flawed struct{ from io.Reader }

func (f flawed) Read(p []byte) (int, error) {
	n, err := f.from.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = asFlaw(err)
	}
	return n, err
}

// readTar reads a layer to its end, whatever is in it, for what is said of a layer is said of all its bytes.
func readTar(body io.Reader, d ocispec.Descriptor, read func(*content) error) (digest.Digest, error) {
	source := &source{from: body, left: d.Size}
	diffID, err := unpack(source, d, read)
	if _, drained := io.Copy(io.Discard, source); drained != nil {
		return "", fmt.Errorf("read layer %s: %w", d.Digest, drained)
	}
	if source.beyond {
		return "", flawf("it has more than the %d bytes that the manifest says", d.Size)
	}
	if err == nil && source.left != 0 {
		err = flawf("it has %d bytes, the manifest says %d", d.Size-source.left, d.Size)
	}
	return diffID, err
}

// unpack undoes a layer's compression. Its errors are flaws, or the source has failed, or they are those of read.
func unpack(source *source, d ocispec.Descriptor, read func(*content) error) (digest.Digest, error) {
	packed := bufio.NewReaderSize(source, 64<<10)
	tar, end, err := decompress(packed, layerTypes[d.MediaType])
	if err != nil {
		return "", flawf("it cannot be decompressed: %v", err)
	}
	defer end()

	content := &content{from: tar, source: source, hash: sha256.New()}
	if err := read(content); err != nil {
		return "", err
	}
	if _, err := packed.ReadByte(); err == nil {
		return "", flaw("something follows its end")
	}
	return digest.NewDigest(digest.SHA256, content.hash), nil
}

// decompress undoes a compression, if it is the one that the type says. Docker and containerd go by the first bytes
// instead, so both have to agree.
func decompress(packed *bufio.Reader, as compression) (io.Reader, func(), error) {
	head, err := packed.Peek(6)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, err
	}
	if found := compressionOf(head); found != as {
		return nil, nil, flaw("its type says another compression than its first bytes")
	}
	switch as {
	case gzipped:
		// Members follow each other, as in eStargz; they are one stream to us as to every runtime.
		r, err := gzip.NewReader(packed)
		if err != nil {
			return nil, nil, err
		}
		return r, func() { _ = r.Close() }, nil
	case zstandard:
		r, err := zstd.NewReader(packed, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, nil, err
		}
		return r, r.Close, nil
	}
	return packed, func() {}, nil
}

// compressionOf tells a compression by its first bytes; those that we do not read are none of ours.
func compressionOf(head []byte) compression {
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		return gzipped
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		return zstandard
	case len(head) >= 4 && head[0]&0xf0 == 0x50 && bytes.Equal(head[1:4], []byte{0x2a, 0x4d, 0x18}): // a skippable frame
		return zstandard
	case bytes.HasPrefix(head, []byte("BZh")), bytes.HasPrefix(head, []byte{0xfd, '7', 'z', 'X', 'Z', 0}):
		return -1
	}
	return plain
}

// source is a layer's compressed bytes. It keeps the error of whatever they come from, so that an outage is never taken for
// a flaw, and ends where the manifest says that the layer does.
type source struct {
	from   io.Reader
	left   int64 // bytes that may come
	read   int64
	err    error // what the blob failed with
	beyond bool  // it goes on where it should have ended
}

func (s *source) Read(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	if s.beyond {
		return 0, io.EOF
	}
	n, err := s.from.Read(p)
	if int64(n) > s.left {
		n, s.beyond = int(s.left), true
	}
	s.left, s.read = s.left-int64(n), s.read+int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}

// content is a layer without its compression: counted, bounded and hashed on the way.
type content struct {
	from   io.Reader
	source *source
	hash   hash.Hash
	read   int64
}

func (c *content) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	c.hash.Write(p[:n])
	c.read += int64(n)
	if bomb := bounded(c.read, c.source.read); bomb != nil {
		return n, bomb
	}
	return n, err
}

// announced holds the sizes that a tar's headers announce against the bounds. What they announce is still to come, from a
// layer whose whole size is known.
func (c *content) announced(size int64) error { return bounded(size, c.source.read+c.source.left) }

// bounded holds a number of bytes, which so many compressed ones become, against the bounds.
func bounded(size, compressed int64) error {
	switch {
	case size > MaxImageBytes:
		return flawf("it unpacks to more than %d GiB", MaxImageBytes>>30)
	case size > freeBytes && size > MaxRatio*max(compressed, 1):
		return flawf("it unpacks to more than %d times its size", MaxRatio)
	}
	return nil
}
