package inventory

import (
	"debug/buildinfo"
	"debug/elf"
	"fmt"
	"io"
	"runtime/debug"
	"strings"

	"github.com/package-url/packageurl-go"
	"github.com/sealgate/sealgate/policy"
)

// goName is what programs are listed as that Go built.
const goName = "go/binary"

// program reads the modules that a Go program was built from, with the standard library's own reader.
//
// A module that is replaced by another counts as that one, and one that is replaced by a directory as itself, in the version
// that it stands in for. Code that nobody gave a version to is the program's own: see [Package.Own].
func (x *extraction) program(name string, n *node) error {
	magic := make([]byte, 4)
	if n.size < int64(len(magic)) || n.holes {
		return nil
	}
	if _, err := x.tree.spool.ReadAt(magic, n.offset); err != nil {
		return fmt.Errorf("read %s: %w", policy.Printable(name), err)
	}
	if string(magic) != elf.ELFMAG {
		return nil
	}
	x.result.Programs++
	if x.seen[visit{n, goName}] {
		return nil
	}
	x.seen[visit{n, goName}] = true
	if err := x.ctx.Err(); err != nil {
		return fmt.Errorf("read %s: %w", policy.Printable(name), err)
	}

	content := io.NewSectionReader(x.tree.spool, n.offset, n.size)
	built, err := readBuild(content)
	if err != nil {
		if looksLikeGo(content) {
			x.gap(name, goName, "it is a Go program that does not tell its modules: "+err.Error())
		}
		return nil
	}
	version, _, _ := strings.Cut(strings.TrimPrefix(built.GoVersion, "go"), " ")
	if err := x.module(name, "stdlib", version, false); err != nil {
		return err
	}
	if built.Main.Path != "" {
		if err := x.module(name, built.Main.Path, built.Main.Version, true); err != nil {
			return err
		}
	}
	for _, module := range built.Deps {
		own := false
		if r := module.Replace; r != nil && r.Version != "" && r.Version != "(devel)" {
			module = r
		} else if r != nil {
			own = true
		}
		if err := x.module(name, module.Path, module.Version, own); err != nil {
			return err
		}
	}
	return nil
}

// readBuild reads a program's build information. It comes from whoever wrote the program, and so may a panic.
func readBuild(r io.ReaderAt) (built *debug.BuildInfo, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return buildinfo.Read(r)
}

// looksLikeGo reports that a program has the sections that Go's linker makes.
func looksLikeGo(r io.ReaderAt) (is bool) {
	defer func() { _ = recover() }()
	f, err := elf.NewFile(r)
	if err != nil {
		return false
	}
	for _, section := range f.Sections {
		if section.Name == ".gopclntab" || section.Name == ".note.go.buildid" || section.Name == ".go.buildinfo" {
			return true
		}
	}
	return false
}

// module keeps a Go module. Versions are without the "v" as in databases of vulnerabilities, but with it in the purl.
func (x *extraction) module(name, module, version string, own bool) error {
	if len(module) > maxText || len(version) > maxText {
		x.gap(name, goName, fmt.Sprintf("it has a module whose name or version has more than %d bytes", maxText))
		return nil
	}
	if version == "(devel)" || own && version == "v0.0.0" { // which is written where there is none
		version = ""
	}
	if version == "" && !own {
		x.gap(name, goName, policy.Printable(module)+" has no version")
	}
	namespace, base := "", module
	if i := strings.LastIndexByte(module, '/'); i >= 0 {
		namespace, base = module[:i], module[i+1:]
	}
	u := packageurl.NewPackageURL("golang", namespace, base, version, nil, "").ToString()
	return x.keep(Package{
		Name: module, Version: strings.TrimPrefix(version, "v"), PURL: u, Ecosystem: "Go", Own: own && version == "", Locations: []string{name},
	})
}
