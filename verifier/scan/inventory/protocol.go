package inventory

import (
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/policy/strictjson"
	"github.com/sealgate/sealgate/verifier/inspect"
)

// The child reads one request from its standard input and writes one answer to its standard output, each a JSON document.
// The standard input stays open for as long as somebody waits for the answer: the child ends with it.
//
// The files that the child works with are open in it already: the spool, then the layers in the manifest's order.

// childName is what the child is started as.
const childName = "sealgate-inventory"

const (
	spoolFD      = 3
	firstLayerFD = 4
)

type request struct {
	Image  digest.Digest        `json:"image"`
	Config []byte               `json:"config"`
	Layers []ocispec.Descriptor `json:"layers"`
	Limits Limits               `json:"limits"`
}

type answer struct {
	Image     digest.Digest `json:"image"`               // that the answer is about
	Inventory *Inventory    `json:"inventory,omitempty"` // unless one of these is there
	Flaw      string        `json:"flaw,omitempty"`      // the image's own fault
	Failure   string        `json:"failure,omitempty"`   // anything else
}

// read judges what a child said about an image. The child has read hostile input, so it may say anything.
func readAnswer(raw []byte, image digest.Digest) (*Inventory, error) {
	var a answer
	if err := strictjson.DecodeExact(raw, &a); err != nil {
		return nil, fmt.Errorf("%w: its answer: %w", ErrUnknown, err)
	}
	switch {
	case a.Image != image:
		return nil, fmt.Errorf("%w: the answer is about another image", ErrUnknown)
	case a.Flaw != "" && a.Failure == "" && a.Inventory == nil:
		return nil, fmt.Errorf("%w: %s", inspect.ErrInvalid, line(a.Flaw))
	case a.Failure != "" && a.Flaw == "" && a.Inventory == nil:
		return nil, fmt.Errorf("%w: %s", ErrUnknown, line(a.Failure))
	case a.Inventory == nil || a.Flaw != "" || a.Failure != "":
		return nil, fmt.Errorf("%w: the answer says nothing, or two things", ErrUnknown)
	}
	if err := a.Inventory.check(image); err != nil {
		return nil, fmt.Errorf("%w: its answer: %w", ErrUnknown, err)
	}
	return a.Inventory, nil
}

// check holds an inventory to its bounds.
func (i *Inventory) check(image digest.Digest) error {
	if i.Image != image {
		return errors.New("the inventory is of another image")
	}
	if i.Packages == nil || i.Gaps == nil || i.Files < 0 || i.Programs < 0 {
		return errors.New("the inventory is not whole")
	}
	if len(i.Packages) > maxPackages || len(i.Gaps) > maxGaps+1 {
		return errors.New("the inventory is too long")
	}
	texts := []string{i.OS.ID, i.OS.Version, i.OS.Name}
	for _, p := range i.Packages {
		if p.Name == "" || len(p.Licenses) > maxPaths || len(p.Locations) > maxPaths || len(p.Locations) == 0 {
			return errors.New("a package is without a name or place, or too long")
		}
		texts = append(texts, p.Name, p.Version, p.PURL, p.Source, p.SourceVersion, p.Ecosystem, p.Architecture)
		texts = append(append(texts, p.Licenses...), p.Locations...)
	}
	for _, g := range i.Gaps {
		texts = append(texts, g.Path, g.By, g.Why)
	}
	for _, text := range texts {
		if len(text) > maxText || !utf8.ValidString(text) {
			return errors.New("a text is too long, or no text")
		}
	}
	return nil
}
