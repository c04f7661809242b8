package policy

import (
	"fmt"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
)

// Base is a base image that a list approves.
type Base struct {
	Name    string
	DiffIDs []digest.Digest // of all its layers, the lowest first
	Until   string          // the last day on which it counts, such as 2027-01-31; empty: no end
}

// base is an approved base image, compiled.
type base struct {
	Base
	until time.Time // when it ends; zero for never
}

func (r *Rule) compileBase(doc *BaseDocument, known Known, fault func(path, format string, args ...any)) {
	const path = ".push.image.base"
	if doc.Approved == "" {
		if !doc.Scratch {
			fault(path, "approves nothing; name a list in approved, or say scratch: true")
		}
		return
	}
	list, ok := known.Bases[doc.Approved]
	if !ok {
		fault(path+".approved", "the list was not read")
	} else if len(list) == 0 {
		fault(path+".approved", "the list is empty")
	}
	for _, approved := range list {
		b := base{Base: approved}
		b.DiffIDs = slices.Clone(approved.DiffIDs)
		if len(b.DiffIDs) == 0 {
			fault(path+".approved", "%s has no diff_ids, and would approve everything", approved.Name)
		}
		if slices.ContainsFunc(b.DiffIDs, func(d digest.Digest) bool { return d.Validate() != nil }) {
			fault(path+".approved", "%s has diff_ids that are no digests", approved.Name)
		}
		if approved.Until != "" {
			until, err := endOf(approved.Until)
			if err != nil {
				fault(path+".approved", "%s: until %w", approved.Name, err)
			}
			b.until = until
		}
		r.bases = append(r.bases, b)
	}
}

// whyBase holds the layers' digests against the approved ones. Annotations and names do not count: anybody can write them.
func (r *Rule) whyBase(image Image, at time.Time) string {
	expired := ""
	for _, base := range r.bases {
		if n := len(base.DiffIDs); n == 0 || n > len(image.Content.DiffIDs) || !slices.Equal(base.DiffIDs, image.Content.DiffIDs[:n]) {
			continue
		}
		if base.until.IsZero() || at.Before(base.until) {
			return ""
		}
		expired = base.Name
	}
	if r.push.Image.Base.Scratch && fromScratch(image.Content) {
		return ""
	}
	if expired != "" {
		return fmt.Sprintf("its base image %s is not approved any more", Printable(expired))
	}
	return "it stands on no approved base image"
}

// fromScratch reports that nothing of an operating system is in an image. That a Dockerfile begins with FROM scratch cannot
// be told from its layers, this can.
func fromScratch(content *Content) bool {
	return content.System == System{} && content.Omitted[CheckMinimal] == 0 &&
		!slices.ContainsFunc(content.Findings, func(f ImageFinding) bool { return f.Check == CheckMinimal })
}
