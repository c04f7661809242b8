package inventory

import (
	"errors"
	"io"
	"io/fs"
	"path"
	"slices"
	"time"
)

// The tree is a file system to extractors. Links are followed inside of it, and nothing of it is on a disk.

// errHoles stands in the way of reading a sparse file: its content is not in one piece.
var errHoles = errors.New("it is a sparse file")

func (t *tree) lookup(op, name string) (*node, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	n, err := t.find(name, true, noCreate)
	if err != nil {
		return nil, &fs.PathError{Op: op, Path: name, Err: err}
	}
	return n, nil
}

// Open opens a file or directory.
func (t *tree) Open(name string) (fs.File, error) {
	n, err := t.lookup("open", name)
	if err != nil {
		return nil, err
	}
	if n.holes {
		return nil, &fs.PathError{Op: "open", Path: name, Err: errHoles}
	}
	return &opened{io.NewSectionReader(t.spool, n.offset, n.size), n.info(path.Base(name))}, nil
}

// Stat describes what is at a path.
func (t *tree) Stat(name string) (fs.FileInfo, error) {
	n, err := t.lookup("stat", name)
	if err != nil {
		return nil, err
	}
	return n.info(path.Base(name)), nil
}

// ReadDir lists a directory by name.
func (t *tree) ReadDir(name string) ([]fs.DirEntry, error) {
	n, err := t.lookup("readdir", name)
	if err != nil {
		return nil, err
	}
	if !n.mode.IsDir() {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: errors.New("it is no directory")}
	}
	var entries []fs.DirEntry
	for _, base := range n.list() {
		entries = append(entries, fs.FileInfoToDirEntry(n.children[base].info(base)))
	}
	return entries, nil
}

func (n *node) list() []string {
	names := make([]string, 0, len(n.children))
	for base := range n.children {
		names = append(names, base)
	}
	slices.Sort(names)
	return names
}

// each calls visit for every file, by path.
func (t *tree) each(visit func(name string, n *node) error) error { return each(t.root, "", visit) }

func each(n *node, name string, visit func(string, *node) error) error {
	for _, base := range n.list() {
		child := n.children[base]
		below := path.Join(name, base)
		switch {
		case child.mode.IsDir():
			if err := each(child, below, visit); err != nil {
				return err
			}
		case child.mode.IsRegular():
			if err := visit(below, child); err != nil {
				return err
			}
		}
	}
	return nil
}

// opened is an open file. It reads at offsets too, as extractors want.
type opened struct {
	*io.SectionReader
	about info
}

func (f *opened) Stat() (fs.FileInfo, error) { return f.about, nil }
func (f *opened) Close() error               { return nil }

func (n *node) info(base string) info { return info{base, n.size, n.mode} }

// info describes a file. Extractors ask for no times.
type info struct {
	name string
	size int64
	mode fs.FileMode
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.size }
func (i info) Mode() fs.FileMode  { return i.mode }
func (i info) ModTime() time.Time { return time.Time{} }
func (i info) IsDir() bool        { return i.mode.IsDir() }
func (i info) Sys() any           { return nil }
