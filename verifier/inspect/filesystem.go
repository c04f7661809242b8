package inspect

import (
	"debug/elf"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/sealgate/sealgate/policy"
)

// layer is what is in a layer, as far as anybody asks.
type layer struct {
	diffID   digest.Digest
	size     int64 // bytes without compression
	bytes    int64 // of its files
	entries  int
	findings []finding
	omitted  map[policy.Check]int
	files    map[string][]byte // those whose content matters, by name

	// What is where, by the hashes of names, each sorted. Keeping the names of a million files would be a bomb.
	covers  []uint64 // files, links and what is removed: they hide what is at and below them
	dirs    []uint64 // directories: they hide a file of that name
	emptied []uint64 // directories of which everything below is hidden
	links   []uint64 // symbolic links
	parents []uint64 // whatever has something below it

	machines map[uint64]elf.Machine // of executable files that are ELF, by the hashes of names

	named       []string // files that are called like those with the accounts, wherever they are
	oddAccounts bool     // too many of them, or the accounts are there twice or no plain files
	tangled     bool     // something lies below a link or file of this layer
}

// finding is what a check found, before anybody knows which layer it is in.
type finding struct {
	check policy.Check
	path  string
	what  string
	final bool // it matters in the final file system alone
}

// weight is about how much memory a layer's facts take, in bytes.
func (l *layer) weight() int {
	n := 512 + 24*len(l.machines) + 8*(len(l.covers)+len(l.dirs)+len(l.emptied)+len(l.links)+len(l.parents))
	for _, f := range l.findings {
		n += 64 + len(f.path) + len(f.what)
	}
	for _, raw := range l.files {
		n += 64 + len(raw)
	}
	for _, name := range l.named {
		n += 16 + len(name)
	}
	return n
}

// hasher makes numbers of names that nobody outside can make meet.
type hasher func(name string) uint64

type nameSet map[uint64]struct{}

func (s nameSet) sorted() []uint64 { return slices.Sorted(maps.Keys(s)) }

func has(sorted []uint64, name uint64) bool {
	_, ok := slices.BinarySearch(sorted, name)
	return ok
}

// filesystem is an image's layers on top of each other, the lowest first.
type filesystem struct {
	layers  []*layer
	digests []digest.Digest
	flaws   []policy.Flaw
	hash    hasher
}

// content is what the policy is told.
func (fs *filesystem) content() *policy.Content {
	c := &policy.Content{Flaws: fs.flaws, Omitted: map[policy.Check]int{}}
	if len(fs.flaws) > 0 {
		return c
	}
	tangled := fs.tangled()
	for i, l := range fs.layers {
		c.DiffIDs = append(c.DiffIDs, l.diffID)
		c.Entries += int64(l.entries)
		for _, f := range l.findings {
			gone := fs.hidden(i, f.path)
			if f.final && gone && !tangled {
				continue
			}
			what := f.what
			if len(fs.layers) > 1 {
				what = strings.TrimPrefix(fmt.Sprintf("%s, layer %d", what, i+1), ", ")
			}
			if gone && !f.final {
				what += ", deleted later and still there"
			}
			found := policy.ImageFinding{Check: f.check, Path: f.path, Layer: fs.digests[i], What: what}
			if f.check == policy.CheckMinimal {
				found.Kind = policy.ProgramKind(f.what)
			}
			c.Findings = append(c.Findings, found)
		}
		for check, n := range l.omitted {
			c.Omitted[check] += n
		}
	}
	c.System = readRelease(fs.file(releaseFile, releaseFile2))
	c.Programs = fs.machines()
	return c
}

// hidden reports that a later layer removes or replaces what a layer has at a path.
func (fs *filesystem) hidden(in int, name string) bool {
	for _, l := range fs.layers[in+1:] {
		if here := fs.hash(name); has(l.covers, here) || has(l.dirs, here) {
			return true
		}
		for dir := path.Dir(name); ; dir = path.Dir(dir) {
			above := fs.hash(dir)
			if has(l.covers, above) || has(l.emptied, above) {
				return true
			}
			if dir == "." {
				break
			}
		}
	}
	return false
}

// machines lists the architectures of the programs in all layers.
func (fs *filesystem) machines() []string {
	var all []string
	for _, l := range fs.layers {
		for _, machine := range l.machines {
			if name := architectureOf(machine); !slices.Contains(all, name) {
				all = append(all, name)
			}
		}
	}
	slices.Sort(all)
	return all
}

// machine is the architecture of the first of these files that is in the final file system, if it is a program.
func (fs *filesystem) machine(paths []string) string {
	for _, name := range paths {
		name = strings.TrimPrefix(name, "/")
		for i, l := range slices.Backward(fs.layers) {
			machine, ok := l.machines[fs.hash(name)]
			if ok && !fs.hidden(i, name) {
				return architectureOf(machine)
			}
			if has(l.covers, fs.hash(name)) {
				return "" // a script, or a link to who knows what
			}
		}
	}
	return ""
}

// architectures are ELF's machines in the words of configurations, which are those of Go.
var architectures = map[elf.Machine]string{
	elf.EM_X86_64: "amd64", elf.EM_386: "386", elf.EM_AARCH64: "arm64", elf.EM_ARM: "arm", elf.EM_RISCV: "riscv64",
	elf.EM_PPC64: "ppc64le", elf.EM_S390: "s390x", elf.EM_LOONGARCH: "loong64", elf.EM_MIPS: "mips64le",
}

func architectureOf(machine elf.Machine) string {
	if name := architectures[machine]; name != "" {
		return name
	}
	return fmt.Sprintf("ELF machine %d", uint16(machine))
}

// tangled reports that a name may lead through a link, so that nobody can say by names alone what is hidden: containerd
// follows links of lower layers, Docker does not.
func (fs *filesystem) tangled() bool {
	for i, upper := range fs.layers {
		if upper.tangled {
			return true
		}
		for _, lower := range fs.layers[:i] {
			if slices.ContainsFunc(lower.links, func(link uint64) bool { return has(upper.parents, link) }) {
				return true
			}
		}
	}
	return false
}

// file returns the first of these files that is in the final file system, nil when none is.
func (fs *filesystem) file(names ...string) []byte {
	for _, name := range names {
		for i := len(fs.layers) - 1; i >= 0; i-- {
			if raw, ok := fs.layers[i].files[name]; ok {
				if fs.hidden(i, name) {
					break
				}
				return raw
			}
		}
	}
	return nil
}

// oddAccounts says why nobody can tell which file the accounts are in, empty when somebody can.
func (fs *filesystem) oddAccounts() string {
	for i, l := range fs.layers {
		if l.oddAccounts {
			return "its /etc/passwd or /etc/group is no plain file, or there twice"
		}
		for _, name := range l.named {
			for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
				link := fs.hash(dir)
				if slices.ContainsFunc(fs.layers[:i+1], func(lower *layer) bool { return has(lower.links, link) }) {
					return "its /etc/passwd or /etc/group may be written through a link"
				}
			}
		}
	}
	return ""
}

// readRelease reads the name of a system: https://www.freedesktop.org/software/systemd/man/latest/os-release.html
func readRelease(raw []byte) policy.System {
	var system policy.System
	for line := range strings.Lines(string(raw)) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if !ok || strings.HasPrefix(key, "#") {
			continue
		}
		value = strings.Trim(value, `"'`)
		switch key {
		case "ID":
			system.ID = value
		case "VERSION_ID":
			system.Version = value
		case "SUPPORT_END":
			if end, err := time.Parse(time.DateOnly, value); err == nil {
				system.SupportEnd = end
			}
		}
	}
	return system
}
