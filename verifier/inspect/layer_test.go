package inspect

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/policy"
)

func TestEveryFormatOfALayerIsRead(t *testing.T) {
	raw := tarOf(t, mode("usr/bin/su", 0o4755))
	id := digest.FromBytes(raw)
	half := len(raw) / 2 / 512 * 512
	for name, b := range map[string]blob{
		"OCI tar":                {raw, ocispec.MediaTypeImageLayer, id, nil},
		"OCI gzip":               {zip(t, raw), ocispec.MediaTypeImageLayerGzip, id, nil},
		"OCI zstd":               {zstded(t, raw), ocispec.MediaTypeImageLayerZstd, id, nil},
		"Docker tar":             {raw, "application/vnd.docker.image.rootfs.diff.tar", id, nil},
		"Docker gzip":            {zip(t, raw), "application/vnd.docker.image.rootfs.diff.tar.gzip", id, nil},
		"Docker zstd":            {zstded(t, raw), "application/vnd.docker.image.rootfs.diff.tar.zstd", id, nil},
		"gzip in several pieces": {slices.Concat(zip(t, raw[:half]), zip(t, raw[half:]), zip(t, nil)), ocispec.MediaTypeImageLayerGzip, id, nil},
		"zstd in several frames": {slices.Concat(zstded(t, raw[:half]), zstded(t, raw[half:])), ocispec.MediaTypeImageLayerZstd, id, nil},
		"a skippable zstd frame": {slices.Concat([]byte{0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 'x'}, zstded(t, raw)), ocispec.MediaTypeImageLayerZstd, id, nil},
	} {
		if got := findingsOf(t, policy.CheckSetuid, b); !slices.Equal(got, []string{"usr/bin/su: setuid, user 0"}) {
			t.Errorf("%s: got %q", name, got)
		}
	}
}

func TestThreat153_LayersAreWhatTheConfigurationSays(t *testing.T) {
	one, other := plainly(t, file("a", "1")), plainly(t, file("b", "2"))
	lying := one
	lying.diffID = other.diffID
	packed := blob{zip(t, one.raw), ocispec.MediaTypeImageLayerGzip, digest.FromBytes(zip(t, one.raw)), nil}
	for name, c := range map[string]struct {
		layers []blob
		want   string
	}{
		"another diff id":           {[]blob{lying}, "it unpacks to sha256:"},
		"two that change places":    {[]blob{{one.raw, one.mediaType, other.diffID, nil}, {other.raw, other.mediaType, one.diffID, nil}}, "it unpacks to sha256:"},
		"the compressed layer's id": {[]blob{packed}, "it unpacks to sha256:"},
		"no diff id":                {[]blob{{one.raw, one.mediaType, "", nil}}, "it unpacks to sha256:"},
	} {
		if got := flawOf(t, c.layers...); !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}

	s := store{}
	m := build(t, s, "", one, other)
	fewer := *m
	fewer.Layers = m.Layers[:1]
	if got := inspectAll(t, s, &fewer).Content.Flaws; len(got) != 1 || got[0].Why != "it has 1 layers, and its configuration names 2" {
		t.Errorf("a layer less: got %+v", got)
	}
}

func TestThreat146_BlobsThatAreMissingOrReplacedAreNoFlaw(t *testing.T) {
	layer := plainly(t, mode("bin/su", 0o4755))
	d := digest.FromBytes(layer.raw)
	for name, spoil := range map[string]func(store){
		"missing":                             func(s store) { delete(s, d) },
		"replaced":                            func(s store) { s[d] = tarOf(t, mode("bin/ls", 0o755)) },
		"replaced by what is no tar":          func(s store) { s[d] = bytes.Repeat([]byte{1}, len(layer.raw)) },
		"replaced by a bomb of the same size": func(s store) { s[d] = zip(t, make([]byte, 40<<20))[:len(layer.raw)] },
	} {
		s := store{}
		m := build(t, s, "", layer)
		spoil(s)
		memory := NewLayers(1 << 20)
		image, err := Inspector{Blobs: s, Layers: memory}.Inspect(t.Context(), "prod/app", m, everything)
		if err == nil || errors.Is(err, ErrInvalid) {
			t.Errorf("%s: got %+v, %v, want an error that does not blame the image", name, image, err)
		}
		s[d] = layer.raw // and nothing of it is remembered
		image, err = Inspector{Blobs: s, Layers: memory}.Inspect(t.Context(), "prod/app", m, everything)
		if err != nil || len(image.Content.Flaws) > 0 || len(image.Content.Findings) == 0 {
			t.Errorf("%s, then back: got %+v, %v", name, image.Content, err)
		}
		memory.Close()
	}
}

func TestThreat152_LayersWithTwoReadingsAreFlaws(t *testing.T) {
	good := tarOf(t, file("a", "1"))
	id := digest.FromBytes(good)
	gz := func(raw []byte) blob {
		return blob{zip(t, raw), ocispec.MediaTypeImageLayerGzip, digest.FromBytes(raw), nil}
	}
	typed := func(mediaType string) blob { return blob{good, mediaType, id, nil} }
	annotated := func(key string) blob {
		return blob{good, ocispec.MediaTypeImageLayer, id, map[string]string{key: "x"}}
	}
	raw := func(b []byte) blob { return blob{b, ocispec.MediaTypeImageLayer, digest.FromBytes(b), nil} }
	twoTars := slices.Concat(good, tarOf(t, mode("bin/su", 0o4755)))
	unknownType := bytes.Clone(good)
	unknownType[156] = 'Z'
	fixChecksum(unknownType)
	pax := tarOf(t, file("a", fmt.Sprintf("%d ACME.x=%s\n", 2<<20, strings.Repeat("x", 2<<20-16))))
	pax[156] = tar.TypeXHeader
	fixChecksum(pax)
	slash := bytes.Clone(good)
	copy(slash, "a/")
	fixChecksum(slash)

	for name, c := range map[string]struct {
		layer blob
		want  string
	}{
		"nothing":                          {raw([]byte{}), ""}, // an empty tar is what it is
		"an unknown type":                  {typed("application/vnd.acme.layer"), `its type "application/vnd.acme.layer" is unknown`},
		"a type in another case":           {typed(strings.ToUpper(ocispec.MediaTypeImageLayer)), "its type "},
		"a type with parameters":           {typed(ocispec.MediaTypeImageLayer + ";a=b"), "its type "},
		"an encrypted layer":               {typed(ocispec.MediaTypeImageLayer + "+encrypted"), "it is encrypted"},
		"an encrypted gzip layer":          {typed(ocispec.MediaTypeImageLayerGzip + "+encrypted"), "it is encrypted"},
		"a foreign layer":                  {typed("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"), "it is kept elsewhere"},
		"a nondistributable layer":         {typed("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"), "it is kept elsewhere"},
		"gzip called tar":                  {blob{zip(t, good), ocispec.MediaTypeImageLayer, digest.FromBytes(zip(t, good)), nil}, "it cannot be decompressed: its type says another"},
		"tar called gzip":                  {typed(ocispec.MediaTypeImageLayerGzip), "it cannot be decompressed: its type says another"},
		"zstd called gzip":                 {blob{zstded(t, good), ocispec.MediaTypeImageLayerGzip, id, nil}, "it cannot be decompressed: its type says another"},
		"bzip2 called tar":                 {raw([]byte("BZh91AY&SY")), "it cannot be decompressed: its type says another"},
		"xz called tar":                    {raw([]byte("\xfd7zXZ\x00rest")), "it cannot be decompressed: its type says another"},
		"garbage":                          {raw(bytes.Repeat([]byte{7}, 2048)), "its tar cannot be read"},
		"half of a tar":                    {raw(good[:512]), "its tar cannot be read"},
		"half of a gzip":                   {blob{zip(t, good)[:40], ocispec.MediaTypeImageLayerGzip, id, nil}, "its tar cannot be read"},
		"half of a zstd":                   {blob{zstded(t, good)[:30], ocispec.MediaTypeImageLayerZstd, id, nil}, "its tar cannot be read"},
		"garbage behind a gzip":            {blob{append(zip(t, good), "rest"...), ocispec.MediaTypeImageLayerGzip, id, nil}, "its tar cannot be read"},
		"zeros behind a gzip":              {blob{append(zip(t, good), 0, 0, 0), ocispec.MediaTypeImageLayerGzip, id, nil}, "its tar cannot be read"},
		"garbage behind a zstd":            {blob{append(zstded(t, good), "rest!"...), ocispec.MediaTypeImageLayerZstd, id, nil}, "its tar cannot be read"},
		"a tar behind the tar":             {raw(twoTars), "something follows the end of its tar"},
		"a tar in a trailing gzip member":  {blob{slices.Concat(zip(t, good), zip(t, twoTars[len(good):])), ocispec.MediaTypeImageLayerGzip, digest.FromBytes(twoTars), nil}, "something follows the end of its tar"},
		"more zeros behind the tar":        {raw(append(bytes.Clone(good), make([]byte, 8192)...)), ""},
		"a zip bomb":                       {gz(make([]byte, 40<<20)), "it unpacks to more than 200 times its size"},
		"a zip bomb in a file":             {gz(tarOf(t, file("zeros", strings.Repeat("\x00", 40<<20)))), "it unpacks to more than 200 times its size"},
		"a zstd bomb":                      {blob{zstded(t, make([]byte, 40<<20)), ocispec.MediaTypeImageLayerZstd, id, nil}, "it unpacks to more than 200 times its size"},
		"a zstd window of a gigabyte":      {blob{hugeWindow(), ocispec.MediaTypeImageLayerZstd, id, nil}, "its tar cannot be read"},
		"a sparse file":                    {raw(sparse(t, 1<<62)), "it unpacks to more than 8 GiB"},
		"a sparse file of a terabyte":      {raw(sparse(t, 1<<40)), "it unpacks to more than 8 GiB"},
		"a sparse file that is small":      {raw(sparse(t, 64<<10)), ""},
		"a sparse file 300 times its size": {gz(sparse(t, 1<<30)), "it unpacks to more than 200 times its size"},
		"a file that says to be huge":      {raw(tarHeaderOnly(t, 1<<50)), "it unpacks to more than 8 GiB"},
		"a name with ..":                   {plainly(t, file("../etc/passwd", "")), "../etc/passwd leads out of the image"},
		"a name with .. inside":            {plainly(t, file("a/../../b", "")), "a/../../b leads out of the image"},
		"a name with .. that stays":        {plainly(t, file("a/../b", "")), "a/../b leads out of the image"},
		"the parent directory":             {plainly(t, file("../", "")), "../ leads out of the image"},
		"a name of 5 KiB":                  {plainly(t, file(strings.Repeat("n/", 2500), "")), "it has a name of more than 4096 bytes"},
		"a link to 5 KiB":                  {plainly(t, link("a", strings.Repeat("n/", 2500))), "it has a name of more than 4096 bytes"},
		"a name of 4 KiB":                  {plainly(t, file(strings.Repeat("n/", 2047)+"nn", "")), ""},
		"a hard link out":                  {plainly(t, with("a", "", func(h *tar.Header) { h.Typeflag, h.Linkname = tar.TypeLink, "../../etc/shadow" })), "the hard link a leads out of the image"},
		"a hard link to itself":            {plainly(t, with("a", "", func(h *tar.Header) { h.Typeflag, h.Linkname = tar.TypeLink, "./a" })), "the hard link a leads nowhere"},
		"a hard link to the root":          {plainly(t, with("a", "", func(h *tar.Header) { h.Typeflag, h.Linkname = tar.TypeLink, "/" })), "the hard link a leads nowhere"},
		"a root that is a file":            {plainly(t, file("./", ""), file(".", "x")), "its root is no directory"},
		"a file with a slash":              {raw(slash), "a/ is a file to some and a directory to others"},
		"an entry of an unknown type":      {raw(unknownType), `it has an entry of the unknown type 'Z'`},
		"a global header with a path": {plainly(t, with("", "", func(h *tar.Header) {
			h.Typeflag, h.PAXRecords = tar.TypeXGlobalHeader, map[string]string{"path": "evil"}
		})), `it has a global header with "path"`},
		"a global header with a size": {plainly(t, with("", "", func(h *tar.Header) {
			h.Typeflag, h.PAXRecords = tar.TypeXGlobalHeader, map[string]string{"ACME.size": "1"}
		})), `it has a global header with "ACME.size"`},
		"a global header with a comment": {plainly(t, with("", "", func(h *tar.Header) {
			h.Typeflag, h.PAXRecords = tar.TypeXGlobalHeader, map[string]string{"comment": "git"}
		})), ""},
		"a PAX header of 2 MiB":             {raw(pax), "its tar cannot be read"},
		"a whiteout of nothing":             {plainly(t, file("a/.wh.", "")), "it removes what has no name"},
		"a whiteout of the parent":          {plainly(t, file("a/.wh...", "")), "it removes what has no name"},
		"a file in a whiteout":              {plainly(t, file(".wh.a/b", "")), ".wh.a/b lies in what some take for a removed directory"},
		"a file in a whiteout below":        {plainly(t, file("c/.wh.a/b", "")), "c/.wh.a/b lies in what some take for a removed directory"},
		"a table of contents nobody pinned": {plainly(t, file(tocName, "{}")), "it has a table of contents (eStargz) that its descriptor does not pin"},
		"a table of contents that is not":   {annotated(tocDigest), "it lacks the table of contents that its descriptor pins"},
		"zstd:chunked":                      {annotated("io.github.containers.zstd-chunked.manifest-checksum"), "it has a table of contents (zstd:chunked)"},
		"nydus":                             {annotated("containerd.io/snapshot/nydus-blob"), "it is annotated for a snapshotter"},
		"overlaybd":                         {annotated("containerd.io/snapshot/overlaybd/blob-digest"), "it is annotated for a snapshotter"},
		"a harmless annotation":             {annotated("org.opencontainers.image.title"), ""},
	} {
		got := flawOf(t, c.layer)
		if c.want == "" && got != "" || !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
		if len(got) > 200 || strings.ContainsFunc(got, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("%s: %q is no line for a person", name, got)
		}
	}
}

// fixChecksum makes the first header of a tar valid again.
func fixChecksum(raw []byte) {
	copy(raw[148:156], "        ")
	sum := 0
	for _, b := range raw[:512] {
		sum += int(b)
	}
	copy(raw[148:156], fmt.Sprintf("%06o\x00 ", sum))
}

// sparse is a tar with a file in PAX's sparse format 1.0 that is nothing but a hole.
func sparse(t testing.TB, size int64) []byte {
	t.Helper()
	table := []byte("1\n" + fmt.Sprint(size) + "\n0\n")
	table = append(table, make([]byte, 512-len(table))...)
	raw := tarOf(t, with("hole", string(table), func(h *tar.Header) {
		h.PAXRecords = map[string]string{"XXX.sparse.major": "1", "XXX.sparse.minor": "0", "XXX.sparse.name": "hole", "XXX.sparse.realsize": fmt.Sprint(size)}
	}))
	return bytes.ReplaceAll(raw, []byte("XXX.sparse."), []byte("GNU.sparse."))
}

// tarHeaderOnly is a tar that ends after the header of a large file.
func tarHeaderOnly(t testing.TB, size int64) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := tar.NewWriter(&b).WriteHeader(&tar.Header{Name: "huge", Size: size, Mode: 0o644}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// hugeWindow is the beginning of a zstd frame that asks for a gigabyte of memory.
func hugeWindow() []byte { return []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 20 << 3, 1, 0, 0} }

func TestThreat152_AMillionEntriesAreEnough(t *testing.T) {
	header := tarOf(t, file("a", ""))[:512]
	many := func(n int) io.Reader { return io.LimitReader(&repeated{block: header}, int64(n)*512) }
	for n, want := range map[int]string{MaxEntries: "", MaxEntries + 1: "it has more than 1000000 entries"} {
		c := &content{from: many(n), source: &source{read: 1 << 40}, hash: nothing{}}
		_, err := walk(c, newScanner(), func(string) uint64 { return 0 }, "")
		if fmt.Sprint(err) != want && (want != "" || err != nil) {
			t.Errorf("%d entries: got %v, want %q", n, err, want)
		}
	}
}

type repeated struct {
	block []byte
	at    int
}

func (r *repeated) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		c := copy(p[n:], r.block[r.at:])
		n, r.at = n+c, (r.at+c)%len(r.block)
	}
	return n, nil
}

type nothing struct{}

func (nothing) Write(p []byte) (int, error) { return len(p), nil }

func (nothing) Sum(b []byte) []byte { return b }

func (nothing) Reset() {}

func (nothing) Size() int { return 0 }

func (nothing) BlockSize() int { return 1 }

func TestThreat152_AnImageHasNoMoreThanItsLayersMay(t *testing.T) {
	s := store{}
	layers := slices.Repeat([]blob{plainly(t, file("a", "1"))}, MaxLayers+1)
	if got := inspectAll(t, s, build(t, s, "", layers[:MaxLayers]...)).Content.Flaws; len(got) > 0 {
		t.Errorf("%d layers: got %+v", MaxLayers, got)
	}
	got := inspectAll(t, s, build(t, s, "", layers...)).Content.Flaws
	if len(got) != 1 || got[0].Why != "it has 128 layers, 127 are read" {
		t.Errorf("%d layers: got %+v", MaxLayers+1, got)
	}
}

func TestThreat152_ALayersSizeIsTheManifests(t *testing.T) {
	layer := plainly(t, file("a", "1"))
	for _, by := range []int64{-512, -1, 1, 1 << 40} {
		for _, silent := range []bool{false, true} {
			s := store{}
			m := build(t, s, "", layer)
			changed := *m
			changed.Layers = slices.Clone(m.Layers)
			changed.Layers[0].Size += by
			image, err := Inspector{Blobs: quiet{s, silent}}.Inspect(t.Context(), "prod/app", &changed, everything)
			if err != nil || len(image.Content.Flaws) != 1 || !strings.Contains(image.Content.Flaws[0].Why, "the manifest says") {
				t.Errorf("size off by %d: got %+v, %v", by, image.Content, err)
			}
		}
	}
}

// quiet may keep the size of blobs to itself.
type quiet struct {
	store
	silent bool
}

func (q quiet) OpenBlob(ctx context.Context, repo string, d digest.Digest) (io.ReadCloser, int64, error) {
	body, size, err := q.store.OpenBlob(ctx, repo, d)
	if q.silent {
		size = -1
	}
	return body, size, err
}

// A large file at the beginning of a layer is none that the layer's first bytes have to account for.
func TestALargeProgramIsNoBomb(t *testing.T) {
	random := make([]byte, 32<<20)
	if _, err := rand.NewChaCha8([32]byte{}).Read(random); err != nil {
		t.Fatal(err)
	}
	raw := tarOf(t, with("usr/bin/app", string(random), func(h *tar.Header) { h.Mode = 0o755 }))
	for name, l := range map[string]blob{
		"plain": {raw: raw, mediaType: ocispec.MediaTypeImageLayer, diffID: digest.FromBytes(raw)},
		"gzip":  {raw: zip(t, raw), mediaType: ocispec.MediaTypeImageLayerGzip, diffID: digest.FromBytes(raw)},
		"zstd":  {raw: zstded(t, raw), mediaType: ocispec.MediaTypeImageLayerZstd, diffID: digest.FromBytes(raw)},
	} {
		if flaw := flawOf(t, l); flaw != "" {
			t.Errorf("%s: %s", name, flaw)
		}
	}
}
