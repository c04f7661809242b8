package inventory

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/google/osv-scalibr/binary/proto/config_go_proto"
	"github.com/google/osv-scalibr/extractor"
	"github.com/google/osv-scalibr/extractor/filesystem"
	"github.com/google/osv-scalibr/extractor/filesystem/language/dotnet/depsjson"
	"github.com/google/osv-scalibr/extractor/filesystem/language/java/archive"
	"github.com/google/osv-scalibr/extractor/filesystem/language/javascript/packagejson"
	"github.com/google/osv-scalibr/extractor/filesystem/language/python/wheelegg"
	"github.com/google/osv-scalibr/extractor/filesystem/language/ruby/gemspec"
	"github.com/google/osv-scalibr/extractor/filesystem/language/rust/cargoauditable"
	"github.com/google/osv-scalibr/extractor/filesystem/os/apk"
	"github.com/google/osv-scalibr/extractor/filesystem/os/dpkg"
	"github.com/google/osv-scalibr/extractor/filesystem/os/rpm"
	"github.com/google/osv-scalibr/log"
	"github.com/opencontainers/go-digest"
	"github.com/sealgate/sealgate/policy"
)

// Bounds of what is extracted.
const (
	maxFile     = 512 << 20 // bytes of a file that an extractor reads; a larger one is a gap
	maxPackages = 200_000
	maxGaps     = 1000     // that are kept
	maxText     = 4 << 10  // bytes of any text in an inventory
	maxPaths    = 32       // locations and licences that are kept of one package
	maxRelease  = 64 << 10 // bytes of os-release
)

// installed lists the extractors of what is installed. What a lock file wishes for is not there yet, so none reads those.
func installed() ([]filesystem.Extractor, error) {
	var all []filesystem.Extractor
	for _, build := range []func(*config_go_proto.PluginConfig) (filesystem.Extractor, error){
		dpkg.New, apk.New, rpm.New, packagejson.New, wheelegg.New, archive.New, cargoauditable.New, gemspec.New, depsjson.New,
	} {
		e, err := build(&config_go_proto.PluginConfig{MaxFileSizeBytes: maxFile})
		if err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	return all, nil
}

// databases are where package managers keep what is installed. They are looked for by these names too when a link leads to
// them: extractors know them by name alone.
var databases = []string{
	"var/lib/dpkg/status", "var/lib/dpkg/status.d", "usr/lib/opkg/status",
	"lib/apk/db/installed", "var/lib/apk/db/installed", "usr/lib/apk/db/installed",
	"var/lib/rpm/Packages", "var/lib/rpm/Packages.db", "var/lib/rpm/rpmdb.sqlite",
	"usr/lib/sysimage/rpm/Packages", "usr/lib/sysimage/rpm/Packages.db", "usr/lib/sysimage/rpm/rpmdb.sqlite",
	"usr/share/rpm/Packages", "usr/share/rpm/Packages.db", "usr/share/rpm/rpmdb.sqlite",
}

// extraction is one image being read.
type extraction struct {
	ctx        context.Context
	tree       *tree
	extractors []filesystem.Extractor
	os         OS
	result     *Inventory
	packages   map[string]*Package // by what makes them one
	seen       map[visit]bool
	omitted    int
}

// visit is an extractor that has read a file.
type visit struct {
	file *node
	by   string
}

// extract reads the packages of a file system.
func extract(ctx context.Context, t *tree, image digest.Digest) (*Inventory, error) {
	all, err := installed()
	if err != nil {
		return nil, err
	}
	x := &extraction{
		ctx: ctx, tree: t, extractors: all, result: &Inventory{Image: image, Packages: []Package{}, Gaps: []Gap{}},
		packages: map[string]*Package{}, seen: map[visit]bool{},
	}
	x.os = release(t)
	x.result.OS = x.os
	log.SetLogger(silent{})

	for _, name := range databases {
		if err := x.database(name); err != nil {
			return nil, err
		}
	}
	if err := t.each(x.file); err != nil {
		return nil, err
	}
	return x.finish(), nil
}

// database reads a package manager's file, or the files of its directory, wherever links lead to.
func (x *extraction) database(name string) error {
	n, err := x.tree.find(name, true, noCreate)
	if err != nil {
		return nil // it is not there, or leads nowhere
	}
	if !n.mode.IsDir() {
		return x.installedBy(name, n)
	}
	for _, base := range n.list() {
		below, err := x.tree.find(path.Join(name, base), true, noCreate)
		if err != nil || !below.mode.IsRegular() {
			continue
		}
		if err := x.installedBy(path.Join(name, base), below); err != nil {
			return err
		}
	}
	return nil
}

func (x *extraction) file(name string, n *node) error {
	x.result.Files++
	if err := x.program(name, n); err != nil {
		return err
	}
	return x.installedBy(name, n)
}

// installedBy has every extractor that knows a file read it.
func (x *extraction) installedBy(name string, n *node) error {
	for _, e := range x.extractors {
		// Extractors pass over in silence what is too large for them. So they are not told.
		if !e.FileRequired(asked{name, info{path.Base(name), min(n.size, 1<<20), n.mode}}) {
			continue
		}
		if x.seen[visit{n, e.Name()}] {
			continue
		}
		x.seen[visit{n, e.Name()}] = true
		if err := x.run(e, name, n); err != nil {
			return err
		}
	}
	return nil
}

// asked is a file that an extractor is asked about.
type asked struct {
	path string
	info info
}

func (a asked) Path() string               { return a.path }
func (a asked) Stat() (fs.FileInfo, error) { return a.info, nil }

// run has one extractor read one file. What the extractor cannot read is a gap.
func (x *extraction) run(e filesystem.Extractor, name string, n *node) error {
	if err := x.ctx.Err(); err != nil {
		return fmt.Errorf("read %s: %w", policy.Printable(name), err)
	}
	if n.size > maxFile {
		x.gap(name, e.Name(), fmt.Sprintf("it has more than %d MiB", maxFile>>20))
		return nil
	}
	f, err := x.tree.Open(name)
	if err != nil {
		x.gap(name, e.Name(), err.Error())
		return nil
	}
	defer f.Close()

	found, err := x.guarded(e, &filesystem.ScanInput{FS: x.tree, Path: name, Info: n.info(path.Base(name)), Reader: f})
	if err != nil && isInstalled(e, name, n) {
		x.gap(name, e.Name(), err.Error())
	}
	for _, p := range found {
		if err := x.add(e, name, p); err != nil {
			return err
		}
	}
	return nil
}

// isInstalled reports that a package may be in a file that could not be read. Test data that is broken on purpose comes along
// in many packages, and other files have the endings of archives.
func isInstalled(e filesystem.Extractor, name string, n *node) bool {
	switch dir := path.Dir(name); e.Name() {
	case packagejson.Name: // node_modules/NAME/package.json, or node_modules/@SCOPE/NAME/package.json
		if above := path.Dir(dir); strings.HasPrefix(path.Base(above), "@") {
			dir = above
		}
		return path.Base(path.Dir(dir)) == "node_modules"
	case gemspec.Name: // what is elsewhere is a gem's source
		return path.Base(dir) == "specifications" || path.Base(path.Dir(dir)) == "specifications"
	case archive.Name:
		ending := path.Ext(name)
		return n.size > 0 && (ending == ".jar" || ending == ".war" || ending == ".ear")
	}
	return true
}

// guarded runs an extractor. One that panics has met something that nobody thought of, which is a gap like any other. What
// the extractors of package managers only log, they have left out.
func (x *extraction) guarded(e filesystem.Extractor, input *filesystem.ScanInput) (found []*extractor.Package, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	complaints := &complaints{}
	if strings.HasPrefix(e.Name(), "os/") {
		log.SetLogger(complaints)
		defer log.SetLogger(silent{})
	}
	if e.Name() == rpm.Name {
		close, err := onDisk(input)
		if err != nil {
			return nil, err
		}
		defer close()
	}
	result, err := e.Extract(x.ctx, input)
	if err == nil && len(complaints.lines) > 0 {
		err = fmt.Errorf("%s", strings.Join(complaints.lines, "; "))
	}
	if err == nil && len(result.Packages) == 0 && input.Info.Size() > 0 && strings.HasPrefix(e.Name(), "os/") {
		err = fmt.Errorf("no package was found in it")
	}
	return result.Packages, err
}

// complaints keeps what an extractor logs.
type complaints struct {
	silent
	lines []string
}

func (c *complaints) Errorf(format string, args ...any) {
	if len(c.lines) < 4 {
		c.lines = append(c.lines, fmt.Sprintf(format, args...))
	}
}
func (c *complaints) Warnf(format string, args ...any) { c.Errorf(format, args...) }
func (c *complaints) Error(args ...any)                { c.Errorf("%s", fmt.Sprint(args...)) }
func (c *complaints) Warn(args ...any)                 { c.Errorf("%s", fmt.Sprint(args...)) }

// silent logs nothing.
type silent struct{}

func (silent) Errorf(string, ...any) {}
func (silent) Error(...any)          {}
func (silent) Warnf(string, ...any)  {}
func (silent) Warn(...any)           {}
func (silent) Infof(string, ...any)  {}
func (silent) Info(...any)           {}
func (silent) Debugf(string, ...any) {}
func (silent) Debug(...any)          {}

// gap notes what was not understood.
func (x *extraction) gap(name, by, why string) {
	if len(x.result.Gaps) >= maxGaps {
		x.omitted++
		return
	}
	x.result.Gaps = append(x.result.Gaps, Gap{Path: cut(name), By: by, Why: cut(policy.Printable(why))})
}

// keep adds a package, or its place to the package that is known already.
func (x *extraction) keep(p Package) error {
	for i, place := range p.Locations {
		p.Locations[i] = cut(place)
	}
	key := p.PURL + "\x00" + p.Ecosystem + "\x00" + p.Name + "\x00" + p.Version
	if known := x.packages[key]; known != nil {
		for _, place := range p.Locations {
			if len(known.Locations) < maxPaths && !slices.Contains(known.Locations, place) {
				known.Locations = append(known.Locations, place)
			}
		}
		return nil
	}
	if len(x.packages) >= maxPackages {
		return fmt.Errorf("it has more than %d packages", maxPackages)
	}
	x.packages[key] = &p
	return nil
}

func (x *extraction) finish() *Inventory {
	for _, p := range x.packages {
		slices.Sort(p.Locations)
		x.result.Packages = append(x.result.Packages, *p)
	}
	slices.SortFunc(x.result.Packages, func(a, b Package) int {
		return cmp.Or(cmp.Compare(a.PURL, b.PURL), cmp.Compare(a.Ecosystem, b.Ecosystem), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Version, b.Version))
	})
	if x.omitted > 0 {
		x.result.Gaps = append(x.result.Gaps, Gap{By: "inventory", Why: fmt.Sprintf("%d more files were not understood", x.omitted)})
	}
	return x.result
}

// cut shortens a text to what an inventory holds.
func cut(s string) string {
	if len(s) <= maxText {
		return s
	}
	return strings.ToValidUTF8(s[:maxText-3], "") + "..."
}
