package inspect

import (
	"archive/tar"
	"path"
	"slices"
	"strings"

	"github.com/sealgate/sealgate/policy"
)

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
