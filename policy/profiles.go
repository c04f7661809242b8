package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// ProgramKind says what a program is for that a minimal image does without.
type ProgramKind string

// The kinds.
const (
	Shell          ProgramKind = "shell"
	PackageManager ProgramKind = "package manager"
)

// profile is a kind of small image, told by what is in it.
type profile struct {
	name string
	fits func(contained) bool
}

// contained is what the profiles look at. Where findings were too many to be kept, nobody knows what is among them, and both
// kinds of programs count as being there; as they do of a program of which nobody says what it is for.
type contained struct {
	system                System
	shell, packageManager string // the first of each, empty for none
}

// profiles are all of them, the strictest first.
var profiles = []profile{
	{"scratch", func(c contained) bool { return c.system == System{} && c.shell == "" && c.packageManager == "" }},
	{"distroless", func(c contained) bool { return c.system != System{} && c.shell == "" && c.packageManager == "" }},
	{"wolfi", func(c contained) bool { return c.system.ID == "wolfi" || c.system.ID == "chainguard" }},
	{"alpine", func(c contained) bool { return c.system.ID == "alpine" }},
	{"no_shell", func(c contained) bool { return c.shell == "" }},
	{"no_package_manager", func(c contained) bool { return c.packageManager == "" }},
}

func profileNamed(name string) *profile {
	for i := range profiles {
		if profiles[i].name == name {
			return &profiles[i]
		}
	}
	return nil
}

func profileNames() string {
	var names []string
	for _, p := range profiles {
		names = append(names, p.name)
	}
	return strings.Join(names, ", ")
}

// contained sums up the final file system.
func (c *Content) contained() contained {
	sum := contained{system: c.System}
	for _, f := range c.Findings {
		if f.Check != CheckMinimal {
			continue
		}
		if f.Kind != PackageManager {
			sum.shell = cmp.Or(sum.shell, f.Path)
		}
		if f.Kind != Shell {
			sum.packageManager = cmp.Or(sum.packageManager, f.Path)
		}
	}
	if c.Omitted[CheckMinimal] > 0 {
		const many = "one of many"
		sum.shell, sum.packageManager = cmp.Or(sum.shell, many), cmp.Or(sum.packageManager, many)
	}
	return sum
}

// whyProfile says why an image is of none of the kinds that the rule wants.
func (r *Rule) whyProfile(image Image, _ time.Time) string {
	wanted, has := r.push.Image.Profile.Any, image.Content.contained()
	if slices.ContainsFunc(wanted, func(name string) bool { return profileNamed(name).fits(has) }) {
		return ""
	}
	what := "without an os-release"
	if has.system.ID != "" {
		what = Printable(has.system.ID)
	}
	if has.shell != "" {
		what += ", with a shell (" + Printable(has.shell) + ")"
	}
	if has.packageManager != "" {
		what += ", with a package manager (" + Printable(has.packageManager) + ")"
	}
	if len(wanted) == 1 {
		return fmt.Sprintf("it is not %s: %s", wanted[0], what)
	}
	return fmt.Sprintf("it is none of %s: %s", strings.Join(wanted, ", "), what)
}

func compileProfile(doc *ProfileDocument, fault func(path, format string, args ...any)) {
	const path = ".push.image.profile.any"
	if len(doc.Any) == 0 {
		fault(path, "names no profile; there are %s", profileNames())
	}
	for i, name := range doc.Any {
		if profileNamed(name) == nil {
			fault(fmt.Sprintf("%s[%d]", path, i), "unknown profile %q; there are %s", name, profileNames())
		}
	}
}
