// Package inventory says which packages an image has.
//
// What it reads was pushed by somebody, and the extractors that read it know dozens of formats. So extraction happens in a
// child: this very program, started anew as a process that has no key, no environment, no network and no file but the
// image's layers, and that is bounded in memory, time and output. What the child says is data to judge too. A child that
// hangs, dies or says half a word is an error, never an image without packages.
//
// What is read is the image's final file system, with all its layers laid over each other. Nothing of it is unpacked: the
// layers' tars lie in one file without a name, and where in it each file is, is known (tree.go).
//
// An inventory is honest about what it did not understand: see [Inventory.Gaps]. An image in which nothing is recognised is
// not an image without vulnerabilities.
package inventory

import (
	"errors"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// ErrUnknown is in every error that says: nobody can tell what is in the image. Any error that is not the image's own fault,
// which is an [inspect.ErrInvalid], has it.
var ErrUnknown = errors.New("the image's packages are not known")

// Image is an image in an OCI layout directory.
//
// https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md
type Image struct {
	Layout   string        // the directory
	Manifest digest.Digest // of one image, never of an index
}

// blob is where a blob lies in the layout.
func blob(d digest.Digest) string {
	return filepath.Join(ocispec.ImageBlobsDir, d.Algorithm().String(), d.Encoded())
}

// Inventory is what is in an image. It is in a fixed order: the same image has the same inventory.
type Inventory struct {
	Image    digest.Digest `json:"image"` // its manifest
	OS       OS            `json:"os"`
	Packages []Package     `json:"packages"`

	// Gaps is what was not understood. A package may hide behind each.
	Gaps []Gap `json:"gaps"`

	Files    int `json:"files"`    // in the final file system
	Programs int `json:"programs"` // ELF files among them
}

// OS is what the image says it is, in its os-release. All is empty where it does not say.
type OS struct {
	ID      string `json:"id"`      // such as debian
	Version string `json:"version"` // such as 12
	Name    string `json:"name"`    // for a person
}

// Package is one package of an image.
type Package struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	PURL    string `json:"purl"`

	// Source is the package of the distribution that it was built from, with its version, where it has one of another name
	// or version. Vulnerabilities are known by it.
	Source        string `json:"source,omitempty"`
	SourceVersion string `json:"source_version,omitempty"`

	// Ecosystem is the one of https://ossf.github.io/osv-schema/#defined-ecosystems, with its suffix, such as Debian:12. It
	// is empty where there is none.
	Ecosystem string `json:"ecosystem,omitempty"`

	// Own says that it is the image's own code, which has no version: no advisory can be about it.
	Own bool `json:"own,omitempty"`

	Architecture string   `json:"architecture,omitempty"`
	Licenses     []string `json:"licenses,omitempty"`  // as the package says it
	Locations    []string `json:"locations,omitempty"` // files of the image that tell of it
}

// Gap is something that was not understood.
type Gap struct {
	Path string `json:"path"` // in the image, empty for all of it
	By   string `json:"by"`   // the extractor
	Why  string `json:"why"`
}
