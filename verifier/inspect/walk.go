package inspect

import (
	"archive/tar"
	"bufio"
	"bytes"
	"debug/elf"
	"encoding/binary"
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

// name is an entry's name, as [EntryName] has it.
func (w *walker) name(h *tar.Header) (string, error) {
	name, err := EntryName(h)
	if err == nil && name != "." && strings.HasPrefix(h.Name, "/") {
		w.found(policy.CheckPaths, name, "absolute", false)
	}
	return name, err
}

// EntryName is the name of an entry of a layer without a slash in front, "." for the root. A name that unpackers read
// differently is an error with [ErrInvalid].
func EntryName(h *tar.Header) (string, error) {
	switch {
	case len(h.Name) > MaxName || len(h.Linkname) > MaxName:
		return "", flawf("it has a name of more than %d bytes", MaxName)
	case strings.Contains(h.Name, "\x00") || strings.Contains(h.Linkname, "\x00"):
		return "", flaw("it has a name with a NUL in it")
	case hasDots(h.Name):
		return "", flawf("%s leads out of the image", policy.Printable(h.Name))
	case h.Typeflag == tar.TypeLink && hasDots(h.Linkname):
		return "", flawf("the hard link %s leads out of the image", policy.Printable(h.Name))
	}
	name := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
	isDir := h.Typeflag == tar.TypeDir
	if name == "" {
		if !isDir {
			return "", flaw("its root is no directory")
		}
		return ".", nil
	}
	if !isDir && strings.HasSuffix(h.Name, "/") {
		return "", flawf("%s is a file to some and a directory to others", policy.Printable(h.Name))
	}
	if strings.HasPrefix(path.Dir(name), ".wh.") || strings.Contains(path.Dir(name), "/.wh.") {
		return "", flawf("%s lies in what some take for a removed directory", policy.Printable(name))
	}
	return name, nil
}

// hasDots reports a component "..", wherever it leads: unpackers clean names, refuse them or follow them.
func hasDots(name string) bool {
	return strings.Contains(name, "..") && slices.Contains(strings.Split(name, "/"), "..")
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

// file looks at a file's header.
func (w *walker) file(h *tar.Header, name string) {
	if isSetuid(h) {
		w.foundSetuid(h, name)
	}
	if h.PAXRecords["SCHILY.xattr.security.capability"] != "" || h.PAXRecords["LIBARCHIVE.xattr.security.capability"] != "" {
		w.found(policy.CheckCapabilities, name, "", true)
	}
	w.worldWritable(h, name)
	if h.Mode&0o111 != 0 {
		w.program(name)
	}
	if prefix := cacheOf(name); prefix != "" && h.Size > 0 {
		if w.caches[prefix]++; w.caches[prefix] <= 3 { // there are thousands, and a few say it all
			w.found(policy.CheckCaches, name, "", true)
		}
	}
}

// isSetuid reports that a file runs as its owner or group. Setgid without the right to execute is an old kind of lock.
func isSetuid(h *tar.Header) bool { return h.Mode&0o4000 != 0 || h.Mode&0o2010 == 0o2010 }

func (w *walker) foundSetuid(h *tar.Header, name string) {
	what := fmt.Sprintf("setuid, user %d", h.Uid)
	if h.Mode&0o4000 == 0 {
		what = fmt.Sprintf("setgid, group %d", h.Gid)
	}
	if w.found(policy.CheckSetuid, name, what, true) {
		w.setuid[name] = true
	}
}

func (w *walker) worldWritable(h *tar.Header, name string) {
	if h.Mode&0o002 != 0 && (h.Typeflag != tar.TypeDir || h.Mode&0o1000 == 0) {
		w.found(policy.CheckWorldWritable, name, "", true)
	}
}

var (
	programs = map[string]policy.ProgramKind{
		"ash": policy.Shell, "bash": policy.Shell, "busybox": policy.Shell, "csh": policy.Shell, "dash": policy.Shell, "fish": policy.Shell, "ksh": policy.Shell, "mksh": policy.Shell,
		"rbash": policy.Shell, "sh": policy.Shell, "tcsh": policy.Shell, "zsh": policy.Shell, "pwsh": policy.Shell, "toybox": policy.Shell,
		"apk": policy.PackageManager, "apt": policy.PackageManager, "apt-get": policy.PackageManager, "dnf": policy.PackageManager, "dnf5": policy.PackageManager,
		"dpkg": policy.PackageManager, "microdnf": policy.PackageManager, "opkg": policy.PackageManager, "pacman": policy.PackageManager,
		"rpm": policy.PackageManager, "tdnf": policy.PackageManager, "yum": policy.PackageManager, "zypper": policy.PackageManager,
	}
	programDirs = map[string]bool{".": true, "bin": true, "sbin": true, "busybox": true}
)

// program notes shells and package managers.
func (w *walker) program(name string) {
	if kind := programs[path.Base(name)]; kind != "" && programDirs[path.Base(path.Dir(name))] {
		w.found(policy.CheckMinimal, name, string(kind), true)
	}
}

// cachePrefixes are where package managers keep what nobody needs at run time.
var cachePrefixes = []string{
	"var/lib/apt/lists/", "var/cache/apt/", "var/cache/apk/", "var/cache/dnf/", "var/cache/yum/", "var/cache/zypp/",
	"var/cache/libdnf5/", "root/.cache/pip/", "root/.npm/_cacache/", "root/.cache/go-build/", "usr/local/share/.cache/yarn/",
}

func cacheOf(name string) string {
	i := slices.IndexFunc(cachePrefixes, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
	if base := path.Base(name); i < 0 || base == "lock" || base == "auxfiles" {
		return ""
	}
	return cachePrefixes[i]
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

// read reads a file to its end: for secrets, and to keep the few that matter.
func (w *walker) read(h *tar.Header, name string) error {
	if h.Size == 0 && !isKept(name) {
		return nil
	}
	var file io.Reader = w.tar
	if w.toc != nil {
		file = w.toc.content(h, name, file)
	}
	if h.Mode&0o111 != 0 {
		head := make([]byte, elfHead)
		n, err := io.ReadFull(file, head)
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return err
		}
		w.machine(name, head[:n])
		file = io.MultiReader(bytes.NewReader(head[:n]), file)
	}
	kept := new(bytes.Buffer)
	if isKept(name) {
		file = io.TeeReader(file, &limited{kept, keepAtMost(name)})
	}
	lines := 0
	err := w.secrets.scan(name, file, func(rule string, line int) {
		if lines++; lines <= 8 { // of one file
			w.found(policy.CheckSecrets, name, fmt.Sprintf("%s in line %d", rule, line), false)
		}
	})
	if err != nil {
		return err
	}
	if isKept(name) {
		w.files[name] = kept.Bytes()
		w.oddAccounts = w.oddAccounts || isAccounts(name) && h.Size > maxAccounts
	}
	return nil
}

// elfHead is as much of an ELF file as says which machine it is for.
const elfHead = 20

// machine notes which machine a program is for. A hard link to it is another name, of which it is not said.
func (w *walker) machine(name string, head []byte) {
	delete(w.machines, w.hash(name)) // of a file that was there before
	if len(head) < elfHead || string(head[:4]) != elf.ELFMAG {
		return
	}
	var order binary.ByteOrder = binary.LittleEndian
	if elf.Data(head[elf.EI_DATA]) == elf.ELFDATA2MSB {
		order = binary.BigEndian
	}
	w.machines[w.hash(name)] = elf.Machine(order.Uint16(head[18:]))
}

// The files whose content is kept.
const (
	passwdFile   = "etc/passwd"
	groupFile    = "etc/group"
	releaseFile  = "etc/os-release"
	releaseFile2 = "usr/lib/os-release"
)

func isAccounts(name string) bool { return name == passwdFile || name == groupFile }

func isKept(name string) bool {
	return isAccounts(name) || name == releaseFile || name == releaseFile2
}

func keepAtMost(name string) int {
	if isAccounts(name) {
		return maxAccounts
	}
	return maxRelease
}

// limited takes only the beginning of what is written.
type limited struct {
	to   *bytes.Buffer
	left int
}

func (l *limited) Write(p []byte) (int, error) {
	n := min(len(p), l.left)
	l.left -= n
	l.to.Write(p[:n])
	return len(p), nil
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
