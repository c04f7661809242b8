package inspect

import (
	"archive/tar"
	"bufio"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/sealgate/sealgate/policy"
)

// walker reads the entries of one layer. What it says of names holds for all readers; where readers differ, it says so.
type walker struct {
	*layer
	content *content
	tar     *tar.Reader
	secrets *scanner
	hash    hasher
	toc     *toc // nil without a table of contents

	removed, covered, directories, opaque, linked, above nameSet

	dir    string // of the last entry, whose parents are known
	counts map[policy.Check]int
	setuid map[string]bool
	caches map[string]int
	bytes  int64 // of all files, sparse ones at their full size
}

// walk reads a layer's tar to its end. Its errors are flaws, or the layer's source has failed.
func walk(content *content, secrets *scanner, hash hasher, tocDigest string) (*layer, error) {
	buffered := bufio.NewReaderSize(content, 128<<10)
	w := &walker{
		layer:   &layer{omitted: map[policy.Check]int{}, files: map[string][]byte{}, machines: map[uint64]elf.Machine{}},
		content: content, tar: tar.NewReader(buffered), secrets: secrets, hash: hash, dir: ".",
		removed: nameSet{}, covered: nameSet{}, directories: nameSet{}, opaque: nameSet{}, linked: nameSet{}, above: nameSet{},
		counts: map[policy.Check]int{}, setuid: map[string]bool{}, caches: map[string]int{},
	}
	if tocDigest != "" {
		w.toc = newTOC(tocDigest)
	}
	for {
		header, err := w.tar.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, asFlaw(err)
		}
		if w.entries++; w.entries > MaxEntries {
			return nil, flawf("it has more than %d entries", MaxEntries)
		}
		if err := w.entry(header); err != nil {
			return nil, asFlaw(err)
		}
	}
	if err := endsHere(buffered); err != nil {
		return nil, asFlaw(err)
	}
	if err := w.toc.compare(); err != nil {
		return nil, err
	}
	w.finish()
	return w.layer, nil
}

// endsHere reads what follows a tar's end. There may be zeros, for tars come in blocks; anything else is another tar to
// those who read on.
func endsHere(rest io.Reader) error {
	buffer := make([]byte, 32<<10)
	for {
		n, err := rest.Read(buffer)
		if slices.ContainsFunc(buffer[:n], func(b byte) bool { return b != 0 }) {
			return flaw("something follows the end of its tar")
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// asFlaw makes a flaw of what the tar reader or the decompression says. A failed source is seen by the caller.
func asFlaw(err error) error {
	if f := flaw(""); errors.As(err, &f) {
		return f
	}
	return flawf("its tar cannot be read: %s", policy.Printable(err.Error()))
}

// entry looks at one entry and at its content.
func (w *walker) entry(h *tar.Header) error {
	if h.Typeflag == tar.TypeXGlobalHeader { // some readers apply it to what follows; Docker's and containerd's do not
		for key := range h.PAXRecords {
			if key != "comment" {
				return flawf("it has a global header with %.40q, which not all readers heed", key)
			}
		}
		return nil
	}
	name, err := w.name(h)
	if err != nil {
		return err
	}
	if w.bytes += h.Size; h.Size < 0 || w.bytes < 0 {
		return flaw("its files have sizes that are no sizes")
	}
	if err := w.content.announced(w.bytes); err != nil { // a sparse file is as large as it says
		return err
	}
	if err := w.toc.entry(h, name); err != nil {
		return err
	}

	if hidden, ok := strings.CutPrefix(path.Base(name), ".wh."); ok {
		if err := w.whiteout(path.Dir(name), hidden); err != nil {
			return err
		}
		return w.read(h, name)
	}
	if name == "." {
		return nil // the root
	}
	w.place(h, name)
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse, tar.TypeCont:
		w.file(h, name)
		return w.read(h, name)
	case tar.TypeDir:
		w.worldWritable(h, name)
		return nil
	case tar.TypeSymlink:
		return w.symlink(h, name)
	case tar.TypeLink:
		return w.hardlink(h, name)
	case tar.TypeChar, tar.TypeBlock:
		w.found(policy.CheckDevices, name, fmt.Sprintf("%d, %d", h.Devmajor, h.Devminor), true)
		return nil
	case tar.TypeFifo:
		return nil
	}
	return flawf("it has an entry of the unknown type %q", h.Typeflag)
}

// whiteout notes what an entry removes from the layers below, by the rules of
// https://github.com/opencontainers/image-spec/blob/v1.1.1/layer.md#whiteouts
func (w *walker) whiteout(dir, hidden string) error {
	switch {
	case hidden == ".wh..opq":
		w.opaque[w.hash(dir)] = struct{}{}
	case strings.HasPrefix(hidden, ".wh."): // an old storage driver's own files, which runtimes skip
	case hidden == "" || hidden == "." || hidden == "..":
		return flaw("it removes what has no name")
	default:
		w.removed[w.hash(path.Join(dir, hidden))] = struct{}{}
	}
	return nil
}

// place notes where an entry is.
func (w *walker) place(h *tar.Header, name string) {
	here := w.hash(name)
	w.placeParents(name)
	if h.Typeflag == tar.TypeDir {
		w.directories[here] = struct{}{}
		return
	}

	if _, again := w.covered[here]; again {
		w.found(policy.CheckPaths, name, "there twice", false)
		w.oddAccounts = w.oddAccounts || isAccounts(name)
	}
	w.covered[here] = struct{}{}
	if _, below := w.above[here]; below {
		w.found(policy.CheckPaths, name, "a file with files below it", false)
		w.tangled = true
	}
	if h.Typeflag == tar.TypeSymlink {
		w.linked[here] = struct{}{}
	}
	if base := path.Base(name); base == "passwd" || base == "group" {
		if len(w.named) < maxNamed {
			w.named = append(w.named, name)
		} else {
			w.oddAccounts = true
		}
	}
	if isAccounts(name) && h.Typeflag != tar.TypeReg {
		w.oddAccounts = true
	}
}

// placeParents notes the directories around a name. Entries of a directory follow each other in most tars.
func (w *walker) placeParents(name string) {
	dir := path.Dir(name)
	if dir == w.dir {
		return
	}
	w.dir = dir
	for ; dir != "."; dir = path.Dir(dir) {
		above := w.hash(dir)
		if _, known := w.above[above]; known {
			return
		}
		w.above[above] = struct{}{}
		if _, file := w.covered[above]; file {
			w.found(policy.CheckPaths, name, "below a link or file of the same layer", false)
			w.tangled = true
		}
	}
}

func (w *walker) symlink(h *tar.Header, name string) error {
	w.program(name)
	if !strings.HasPrefix(h.Linkname, "/") {
		if to := path.Join(path.Dir(name), h.Linkname); to == ".." || strings.HasPrefix(to, "../") {
			w.found(policy.CheckPaths, name, "a link that leads above the root", false)
		}
	}
	return nil
}

func (w *walker) hardlink(h *tar.Header, name string) error {
	w.program(name)
	target := strings.TrimPrefix(path.Clean("/"+h.Linkname), "/")
	if target == "" || target == name {
		return flawf("the hard link %s leads nowhere", policy.Printable(name))
	}
	if isSetuid(h) || w.setuid[target] {
		w.foundSetuid(&tar.Header{Mode: h.Mode | 0o4000, Uid: h.Uid}, name)
	}
	for dir := path.Dir(target); dir != "."; dir = path.Dir(dir) {
		if _, link := w.linked[w.hash(dir)]; link {
			w.found(policy.CheckPaths, name, "a hard link through a link", false)
			w.tangled = true
		}
	}
	return nil
}

// found keeps a finding, unless there are too many of its kind: then they are counted.
func (w *walker) found(check policy.Check, name, what string, final bool) bool {
	if w.counts[check]++; w.counts[check] > maxFindings {
		w.omitted[check]++
		return false
	}
	w.findings = append(w.findings, finding{check, strings.Clone(name), what, final})
	return true
}

// finish makes sorted lists of what was where.
func (w *walker) finish() {
	w.size = w.content.read
	w.links, w.parents = w.linked.sorted(), w.above.sorted()
	w.dirs, w.emptied = w.directories.sorted(), w.opaque.sorted()
	for name := range w.removed {
		w.covered[name] = struct{}{}
	}
	w.covers = w.covered.sorted()
}
