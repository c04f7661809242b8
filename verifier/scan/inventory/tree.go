package inventory

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/verifier/inspect"
)

// tree is an image's final file system: its layers laid over each other, the lowest first, as containerd does it. It holds
// no content, only where in the spool the content is.
//
// https://github.com/opencontainers/image-spec/blob/v1.1.1/layer.md
type tree struct {
	root  *node
	spool io.ReaderAt

	entries int // of all layers' tars
	nodes   int // that were ever made, with the directories that no entry names
	names   int // bytes of the nodes' names and links
}

// node is a file, directory or link.
type node struct {
	mode   fs.FileMode
	layer  int // that it is from, the lowest is 0
	size   int64
	offset int64 // of its content in the spool
	holes  bool  // it is a sparse file, whose content is not in one piece
	link   string

	parent   *node
	children map[string]*node // of a directory
}

// Bounds of a tree. Names compress well, so a million long ones fit into a small layer.
const (
	maxNodes = 2 * inspect.MaxEntries
	maxNames = 256 << 20
	maxLinks = 40      // followed on one path, as in Linux
	maxParts = 8 << 10 // of one path, with the links in it
)

func newTree(spool io.ReaderAt) *tree {
	root := &node{mode: fs.ModeDir | 0o755, layer: -1, children: map[string]*node{}}
	root.parent = root
	return &tree{root: root, spool: spool}
}

// add lays a layer over the tree. Its tar is the part of the spool that starts at offset and has size bytes.
func (t *tree) add(layer int, offset, size int64) error {
	section := io.NewSectionReader(t.spool, offset, size)
	reader := tar.NewReader(section)
	for {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return endsHere(section)
		}
		if err != nil {
			return fmt.Errorf("%w: its tar cannot be read: %s", inspect.ErrInvalid, policy.Printable(err.Error()))
		}
		if t.entries++; t.entries > inspect.MaxEntries {
			return fmt.Errorf("%w: it has more than %d entries", inspect.ErrInvalid, inspect.MaxEntries)
		}
		at, err := section.Seek(0, io.SeekCurrent) // a tar's reader reads no further than the header
		if err != nil {
			return err
		}
		if !isSparse(header) && header.Size > size-at { // or it would have what another layer has there
			return fmt.Errorf("%w: its tar ends within %s", inspect.ErrInvalid, policy.Printable(header.Name))
		}
		if err := t.entry(header, layer, offset+at); err != nil {
			return err
		}
	}
}

// endsHere reads what follows a tar's end, which may be zeros alone: anything else is another tar to those who read on.
func endsHere(rest io.Reader) error {
	buffer := make([]byte, 32<<10)
	for {
		n, err := rest.Read(buffer)
		if slices.ContainsFunc(buffer[:n], func(b byte) bool { return b != 0 }) {
			return fmt.Errorf("%w: something follows the end of its tar", inspect.ErrInvalid)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (t *tree) entry(h *tar.Header, layer int, offset int64) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	name, err := inspect.EntryName(h)
	if err != nil {
		return err
	}
	if name == "." {
		return nil
	}
	dir, err := t.find(path.Dir(name), true, layer)
	if err != nil {
		return err
	}
	base := path.Base(name)
	if hidden, ok := strings.CutPrefix(base, ".wh."); ok {
		return whiteout(dir, hidden, layer)
	}

	n := &node{mode: h.FileInfo().Mode(), layer: layer, link: h.Linkname, size: h.Size, offset: offset}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse, tar.TypeCont:
		n.mode &= fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid
		n.link, n.holes = "", isSparse(h)
	case tar.TypeDir:
		n.mode |= fs.ModeDir
		n.size, n.link = 0, ""
	case tar.TypeSymlink:
		n.mode |= fs.ModeSymlink
		n.size = int64(len(h.Linkname))
	case tar.TypeLink:
		target, err := t.find(path.Clean("/"+h.Linkname), false, noCreate)
		if err != nil || target.mode.IsDir() {
			return fmt.Errorf("%w: the hard link %s leads nowhere", inspect.ErrInvalid, policy.Printable(name))
		}
		same := *target
		same.layer = layer
		n = &same
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		n.mode |= fs.ModeDevice
		n.size, n.link = 0, ""
	default:
		return fmt.Errorf("%w: it has an entry of the unknown type %q", inspect.ErrInvalid, h.Typeflag)
	}
	return t.put(dir, base, n)
}

// isSparse reports that a file's content has holes which its tar does not store.
func isSparse(h *tar.Header) bool {
	if h.Typeflag == tar.TypeGNUSparse {
		return true
	}
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return false
}

// put places a node. The last of that name is the one that stays, and a directory over a directory has both's children.
func (t *tree) put(dir *node, base string, n *node) error {
	if t.nodes++; t.nodes > maxNodes {
		return fmt.Errorf("%w: it has more than %d files and directories", inspect.ErrInvalid, maxNodes)
	}
	if t.names += len(base) + len(n.link); t.names > maxNames {
		return fmt.Errorf("%w: its names have more than %d MiB", inspect.ErrInvalid, maxNames>>20)
	}
	n.parent = dir
	if n.mode.IsDir() {
		if was := dir.children[base]; was != nil && was.mode.IsDir() {
			was.mode, was.layer = n.mode, n.layer
			return nil
		}
		n.children = map[string]*node{}
	}
	dir.children[base] = n
	return nil
}

// whiteout removes what the layers below have at a name, or all that they have in a directory. What its own layer has stays,
// wherever in the tar it comes.
func whiteout(dir *node, hidden string, layer int) error {
	switch {
	case hidden == ".wh..opq":
		for base, child := range dir.children {
			if removeLower(child, layer) {
				delete(dir.children, base)
			}
		}
	case strings.HasPrefix(hidden, ".wh."): // an old storage driver's own files, which runtimes skip
	case hidden == "" || hidden == "." || hidden == "..":
		return fmt.Errorf("%w: it removes what has no name", inspect.ErrInvalid)
	default:
		if child := dir.children[hidden]; child != nil && removeLower(child, layer) {
			delete(dir.children, hidden)
		}
	}
	return nil
}

// removeLower removes what is from lower layers, and reports whether nothing is left.
func removeLower(n *node, layer int) bool {
	for base, child := range n.children {
		if removeLower(child, layer) {
			delete(n.children, base)
		}
	}
	return n.layer < layer && len(n.children) == 0
}

const noCreate = -1

// find walks to a path, following links inside of the root alone: ".." at the root is the root. follow says whether a link
// at the path's end is followed too. As a layer's unpacker does, it makes the directories that are missing, unless layer is
// noCreate: then they are [fs.ErrNotExist].
func (t *tree) find(name string, follow bool, layer int) (*node, error) {
	parts := strings.Split(name, "/")
	slices.Reverse(parts)
	at, links := t.root, 0
	for len(parts) > 0 {
		part := parts[len(parts)-1]
		parts = parts[:len(parts)-1]
		switch part {
		case "", ".":
			continue
		case "..":
			at = at.parent
			continue
		}
		if !at.mode.IsDir() {
			return nil, fs.ErrNotExist
		}
		next := at.children[part]
		if next != nil && next.mode&fs.ModeSymlink != 0 && (follow || len(parts) > 0) {
			more := strings.Split(next.link, "/")
			if links++; links > maxLinks || len(parts)+len(more) > maxParts {
				return nil, fmt.Errorf("%w: %s leads through too many links", inspect.ErrInvalid, policy.Printable(name))
			}
			if path.IsAbs(next.link) {
				at = t.root
			}
			slices.Reverse(more)
			parts = append(parts, more...)
			continue
		}
		if layer != noCreate && (next == nil || !next.mode.IsDir()) {
			made := &node{mode: fs.ModeDir | 0o755, layer: layer}
			if err := t.put(at, part, made); err != nil {
				return nil, err
			}
			next = made
		}
		if next == nil {
			return nil, fs.ErrNotExist
		}
		at = next
	}
	return at, nil
}
