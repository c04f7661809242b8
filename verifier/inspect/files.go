package inspect

import (
	"archive/tar"
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
	shells          = []string{"ash", "bash", "busybox", "csh", "dash", "fish", "ksh", "mksh", "pwsh", "rbash", "sh", "tcsh", "toybox", "zsh"}
	packageManagers = []string{"apk", "apt", "apt-get", "dnf", "dnf5", "dpkg", "microdnf", "opkg", "pacman", "rpm", "tdnf", "yum", "zypper"}

	programDirs = map[string]bool{".": true, "bin": true, "sbin": true, "busybox": true}
)

// program notes shells and package managers.
func (w *walker) program(name string) {
	if !programDirs[path.Base(path.Dir(name))] {
		return
	}
	switch base := path.Base(name); {
	case slices.Contains(shells, base):
		w.found(policy.CheckMinimal, name, string(policy.Shell), true)
	case slices.Contains(packageManagers, base):
		w.found(policy.CheckMinimal, name, string(policy.PackageManager), true)
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
