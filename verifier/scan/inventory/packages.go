package inventory

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/google/osv-scalibr/extractor"
	"github.com/google/osv-scalibr/extractor/filesystem"
	apkmeta "github.com/google/osv-scalibr/extractor/filesystem/os/apk/metadata"
	dpkgmeta "github.com/google/osv-scalibr/extractor/filesystem/os/dpkg/metadata"
	rpmmeta "github.com/google/osv-scalibr/extractor/filesystem/os/rpm/metadata"
	"github.com/package-url/packageurl-go"
	"github.com/sealgate/sealgate/policy"
)

// add takes what an extractor found. Packages of the system get their names from the image's os-release as we read it.
func (x *extraction) add(e filesystem.Extractor, name string, found *extractor.Package) error {
	if found.Name == "" {
		x.gap(name, e.Name(), "it has a package without a name")
		return nil
	}
	p := Package{Name: found.Name, Version: found.Version, Ecosystem: found.Ecosystem().String(), Locations: []string{name}}
	for _, l := range found.Licenses {
		if l != "" && len(p.Licenses) < maxPaths {
			p.Licenses = append(p.Licenses, l)
		}
	}
	switch m := found.Metadata.(type) {
	case *dpkgmeta.Metadata:
		p.Architecture = m.Architecture
		p.Source, p.SourceVersion = m.SourceName, m.SourceVersion
		p.Ecosystem = x.os.ecosystem()
		p.PURL = x.os.purl("deb", p, "upstream", upstream(p))
	case *apkmeta.Metadata:
		p.Architecture = m.Architecture
		if m.OriginName != m.PackageName {
			p.Source = m.OriginName
		}
		p.Ecosystem = x.os.ecosystem()
		p.PURL = x.os.purl("apk", p, "upstream", p.Source)
	case *rpmmeta.Metadata:
		p.Architecture = m.Architecture
		if m.Epoch > 0 {
			p.Version = strconv.Itoa(m.Epoch) + ":" + p.Version
		}
		p.Source = sourceOf(m.SourceRPM)
		p.Ecosystem = x.os.ecosystem()
		p.PURL = x.os.purl("rpm", p, "upstream", m.SourceRPM)
	default:
		if u := found.PURL(); u != nil {
			u.Qualifiers = nil // nothing of it is in advisories
			p.PURL = u.String()
		}
	}
	if len(p.Name) > maxText || len(p.Version) > maxText || len(p.PURL) > maxText || len(p.Source) > maxText || len(p.SourceVersion) > maxText {
		x.gap(name, e.Name(), fmt.Sprintf("it has a package whose name or version has more than %d bytes", maxText))
		return nil
	}
	if p.Version == "" {
		x.gap(name, e.Name(), "it has "+policy.Printable(p.Name)+" without a version")
	}
	for i, l := range p.Licenses {
		p.Licenses[i] = cut(l)
	}
	return x.keep(p)
}

// upstream is what a Debian package was built from, in the words of its purl.
func upstream(p Package) string {
	if p.Source != "" && p.SourceVersion != "" {
		return p.Source + "@" + p.SourceVersion
	}
	return p.Source
}

// sourceOf is the name in a source package's file name, such as openssl-3.0.7-24.el9.src.rpm.
func sourceOf(file string) string {
	name, ok := strings.CutSuffix(file, ".src.rpm")
	for range 2 {
		i := strings.LastIndexByte(name, '-')
		if !ok || i < 0 {
			return ""
		}
		name = name[:i]
	}
	return name
}

// purl is a package's name by https://github.com/package-url/purl-spec. An rpm's epoch is a qualifier there.
func (o OS) purl(kind string, p Package, key, value string) string {
	namespace := o.ID
	if namespace == "" {
		namespace = map[string]string{"deb": "debian", "apk": "alpine", "rpm": "linux"}[kind]
	}
	version := p.Version
	qualifiers := map[string]string{}
	if kind == "rpm" {
		if epoch, rest, ok := strings.Cut(version, ":"); ok {
			qualifiers["epoch"], version = epoch, rest
		}
	}
	if p.Architecture != "" {
		qualifiers["arch"] = p.Architecture
	}
	if value != "" {
		qualifiers[key] = value
	}
	if o.ID != "" && o.Version != "" {
		qualifiers["distro"] = o.ID + "-" + o.Version
	}
	return packageurl.NewPackageURL(kind, namespace, p.Name, version, packageurl.QualifiersFromMap(qualifiers), "").ToString()
}

// ecosystem names a distribution as databases of vulnerabilities do.
func (o OS) ecosystem() string {
	major, _, _ := strings.Cut(o.Version, ".")
	numbered := func(name, suffix string) string {
		if suffix == "" {
			return name
		}
		return name + ":" + suffix
	}
	switch o.ID {
	case "debian":
		return numbered("Debian", major)
	case "ubuntu":
		if year, ok := strings.CutSuffix(o.Version, ".04"); ok && len(year) == 2 && (year[1]-'0')%2 == 0 {
			return "Ubuntu:" + o.Version + ":LTS"
		}
		return numbered("Ubuntu", o.Version)
	case "alpine":
		if parts := strings.Split(o.Version, "."); len(parts) >= 2 {
			return "Alpine:v" + parts[0] + "." + parts[1]
		}
		return "Alpine"
	case "wolfi":
		return "Wolfi"
	case "chainguard":
		return "Chainguard"
	case "minimos":
		return "MinimOS"
	case "rocky":
		return numbered("Rocky Linux", major)
	case "almalinux":
		return numbered("AlmaLinux", major)
	case "rhel":
		return numbered("Red Hat", o.Version)
	case "opensuse-leap":
		return numbered("openSUSE", strings.TrimSpace("Leap "+o.Version))
	case "sles":
		return numbered("SUSE", o.Version)
	case "openEuler":
		return numbered("openEuler", o.Version)
	case "mageia":
		return numbered("Mageia", o.Version)
	case "azurelinux", "mariner":
		return numbered("Azure Linux", major)
	}
	return o.ID // nobody's, which is no database's either
}

// release reads what an image says it is: https://www.freedesktop.org/software/systemd/man/latest/os-release.html
func release(t *tree) OS {
	var o OS
	for _, name := range []string{"etc/os-release", "usr/lib/os-release"} {
		f, err := t.Open(name)
		if err != nil {
			continue
		}
		raw, err := io.ReadAll(io.LimitReader(f, maxRelease))
		if err != nil {
			return OS{}
		}
		for line := range strings.Lines(string(raw)) {
			key, value, ok := strings.Cut(strings.TrimSpace(line), "=")
			if !ok || strings.HasPrefix(key, "#") {
				continue
			}
			value = strings.Trim(value, `"'`)
			switch key {
			case "ID":
				o.ID = cut(value)
			case "VERSION_ID":
				o.Version = cut(value)
			case "PRETTY_NAME":
				o.Name = cut(value)
			}
		}
		break
	}
	return o
}

// Recognised reports whether anything is known of the image.
func (i *Inventory) Recognised() bool { return len(i.Packages) > 0 }

// Ecosystems lists those of the packages, each once.
func (i *Inventory) Ecosystems() []string {
	var all []string
	for _, p := range i.Packages {
		if !slices.Contains(all, p.Ecosystem) {
			all = append(all, p.Ecosystem)
		}
	}
	slices.Sort(all)
	return all
}
