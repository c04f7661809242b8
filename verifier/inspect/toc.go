package inspect

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"hash"
	"io"
	"path"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/sealgate/sealgate/policy"
)

// toc holds an eStargz layer's table of contents against its tar. A runtime that pulls lazily reads the files by the table,
// the others by the tar; both must find the same.
//
// The format: https://github.com/containerd/stargz-snapshotter/blob/v0.18.1/docs/estargz.md
type toc struct {
	want    digest.Digest // of the table, as the layer's descriptor pins it
	raw     []byte
	entries map[string]tocEntry // as the tar has them, by name
	size    int                 // of the names in entries

	name   string    // of the file that is being read
	file   hash.Hash // of the whole of it
	block  hash.Hash // and of what was read of its last block
	filled int       // bytes of that block
	blocks map[string][]digest.Digest
}

// blockSize is the size of the parts that runtimes fetch and check, in bytes: the default of those who write such layers.
const blockSize = 4 << 20

// tocName is the name of the table, the last file of the tar. The landmarks tell how much to fetch at first.
const tocName = "stargz.index.json"

var landmarks = map[string]bool{".prefetch.landmark": true, ".no.prefetch.landmark": true}

// tocEntry is what a runtime would act upon.
type tocEntry struct {
	kind     string
	size     int64
	mode     int64
	uid, gid int
	link     string
	major    int64
	minor    int64
	caps     string
	digest   digest.Digest
}

func newTOC(want string) *toc {
	return &toc{want: digest.Digest(want), entries: map[string]tocEntry{}, blocks: map[string][]digest.Digest{}}
}

var tocKinds = map[byte]string{
	tar.TypeReg: "reg", tar.TypeDir: "dir", tar.TypeSymlink: "symlink", tar.TypeLink: "hardlink",
	tar.TypeChar: "char", tar.TypeBlock: "block", tar.TypeFifo: "fifo",
}

// entry notes an entry of the tar.
func (t *toc) entry(h *tar.Header, name string) error {
	if t == nil {
		if name == tocName {
			return flaw("it has a table of contents (eStargz) that its descriptor does not pin")
		}
		return nil
	}
	t.settle()
	if t.raw != nil {
		return flaw("something follows its table of contents")
	}
	if name == tocName || name == "." {
		return nil
	}
	kind := tocKinds[h.Typeflag]
	if _, twice := t.entries[name]; twice || kind == "" {
		return flawf("its table of contents cannot tell %s", policy.Printable(name))
	}
	if t.size += len(name) + len(h.Linkname); t.size > maxTOC {
		return flaw("its table of contents is too large")
	}
	e := tocEntry{kind: kind, size: h.Size, mode: h.Mode & 0o7777, uid: h.Uid, gid: h.Gid, caps: h.PAXRecords["SCHILY.xattr.security.capability"]}
	switch h.Typeflag {
	case tar.TypeSymlink:
		e.link, e.mode = h.Linkname, 0
	case tar.TypeLink: // it is the file that it leads to
		e = tocEntry{kind: kind, link: path.Clean("/" + h.Linkname)}
	case tar.TypeChar, tar.TypeBlock:
		e.major, e.minor = h.Devmajor, h.Devminor
	}
	t.entries[name] = e
	return nil
}

// content hashes a file's content on its way, and keeps the table.
func (t *toc) content(h *tar.Header, name string, file io.Reader) io.Reader {
	if name == tocName {
		t.raw = []byte{}
		return io.TeeReader(io.LimitReader(file, maxTOC), (*tocWriter)(t))
	}
	if h.Typeflag != tar.TypeReg {
		return file
	}
	t.name, t.file, t.block, t.filled = name, sha256.New(), sha256.New(), 0
	return io.TeeReader(file, (*blockWriter)(t))
}

type blockWriter toc

func (w *blockWriter) Write(p []byte) (int, error) {
	w.file.Write(p)
	for rest := p; len(rest) > 0; {
		n := min(len(rest), blockSize-w.filled)
		w.block.Write(rest[:n])
		rest = rest[n:]
		if w.filled += n; w.filled == blockSize {
			(*toc)(w).endBlock()
		}
	}
	return len(p), nil
}

func (t *toc) endBlock() {
	t.blocks[t.name] = append(t.blocks[t.name], digest.NewDigest(digest.SHA256, t.block))
	t.block.Reset()
	t.filled = 0
}

type tocWriter toc

func (w *tocWriter) Write(p []byte) (int, error) {
	w.raw = append(w.raw, p...)
	return len(p), nil
}

// settle takes the hash of the file that was read.
func (t *toc) settle() {
	if t.file == nil {
		return
	}
	if t.filled > 0 {
		t.endBlock()
	}
	e := t.entries[t.name]
	e.digest = digest.NewDigest(digest.SHA256, t.file)
	t.entries[t.name] = e
	t.file = nil
}

// listed is an entry of the table.
type listed struct {
	Name     string            `json:"name"`
	Type     string            `json:"type"`
	Size     int64             `json:"size"`
	LinkName string            `json:"linkName"`
	Mode     int64             `json:"mode"`
	UID      int               `json:"uid"`
	GID      int               `json:"gid"`
	DevMajor int64             `json:"devMajor"`
	DevMinor int64             `json:"devMinor"`
	Xattrs   map[string][]byte `json:"xattrs"`
	Digest   digest.Digest     `json:"digest"`

	ChunkOffset int64         `json:"chunkOffset"`
	ChunkSize   int64         `json:"chunkSize"`
	ChunkDigest digest.Digest `json:"chunkDigest"`
}

// compare holds the whole table against the whole tar.
func (t *toc) compare() error {
	if t == nil {
		return nil
	}
	t.settle()
	if t.raw == nil {
		return flaw("it lacks the table of contents that its descriptor pins")
	}
	if len(t.raw) >= maxTOC || digest.FromBytes(t.raw) != t.want {
		return flaw("its table of contents is not the one that its descriptor pins")
	}
	d := json.NewDecoder(strings.NewReader(string(t.raw)))
	if err := enterEntries(d); err != nil {
		return flaw("its table of contents cannot be read")
	}
	for d.More() {
		var e listed
		if err := d.Decode(&e); err != nil {
			return flaw("its table of contents cannot be read")
		}
		if err := t.compareOne(e); err != nil {
			return err
		}
	}
	for name, e := range t.entries {
		if e.kind != "dir" && !landmarks[name] {
			return flawf("its table of contents lacks %s", policy.Printable(name))
		}
	}
	for name, blocks := range t.blocks {
		if len(blocks) > 0 && !landmarks[name] {
			return flawf("its table of contents lacks a part of %s", policy.Printable(name))
		}
	}
	return nil
}

var errNoTOC = errors.New("no table of contents")

// enterEntries reads up to the first of {"version": 1, "entries": [...]}.
func enterEntries(d *json.Decoder) error {
	for {
		token, err := d.Token()
		if err != nil {
			return err
		}
		switch token {
		case json.Delim('{'), "version":
		case "entries":
			token, err := d.Token()
			if err == nil && token != json.Delim('[') {
				err = errNoTOC
			}
			return err
		default:
			if _, number := token.(float64); !number {
				return errNoTOC
			}
		}
	}
}

func (t *toc) compareOne(e listed) error {
	name := strings.TrimPrefix(path.Clean("/"+e.Name), "/")
	if e.Type == "chunk" {
		return t.comparePart(e, name)
	}
	if name == "" {
		return nil // the root
	}
	have, ok := t.entries[name]
	if !ok {
		return flawf("its table of contents has %s, its tar has not", policy.Printable(name))
	}
	want := tocEntry{kind: e.Type, size: e.Size, mode: e.Mode & 0o7777, uid: e.UID, gid: e.GID, caps: string(e.Xattrs["security.capability"])}
	switch e.Type {
	case "reg":
		want.digest = e.Digest
		if e.Size == 0 {
			want.digest = have.digest // there is nothing to read
		} else if err := t.comparePart(e, name); err != nil {
			return err
		}
	case "symlink":
		want.link, want.mode = e.LinkName, 0
	case "hardlink":
		want = tocEntry{kind: e.Type, link: path.Clean("/" + e.LinkName)}
	case "char", "block":
		want.major, want.minor = e.DevMajor, e.DevMinor
	}
	if have != want {
		return flawf("its table of contents describes another %s than its tar", policy.Printable(name))
	}
	delete(t.entries, name)
	return nil
}

// comparePart holds one part of a file against the same part of the tar's. The parts come in order.
func (t *toc) comparePart(e listed, name string) error {
	blocks := t.blocks[name]
	switch {
	case len(blocks) == 0 || e.ChunkDigest != blocks[0] || e.ChunkOffset%blockSize != 0:
		return flawf("its table of contents describes another %s than its tar, or in parts of another size than 4 MiB", policy.Printable(name))
	case e.ChunkSize != blockSize && len(blocks) > 1:
		return flawf("its table of contents has %s in parts of another size than 4 MiB", policy.Printable(name))
	}
	t.blocks[name] = blocks[1:]
	return nil
}
