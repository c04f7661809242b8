package policy

import (
	"fmt"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
)

// Base is a base image that a list approves, of one platform. Of an image that was rebuilt since, there are several.
type Base struct {
	Name    string
	DiffIDs []digest.Digest // of all its layers, the lowest first
	Until   string          // the last day on which it counts, such as 2027-01-31; empty: no end

	// Refreshed is the day on which it was approved, or found to be still what its name means, such as 2026-11-20. Empty where
	// the list does not say.
	Refreshed string

	// What others may call it: the name that it was found by, the manifest's digest and those of the indexes that list it.
	Image   string
	Digests []digest.Digest
}

// Under reports that layers, by their diff ids, begin with those of the base image. A base without layers is under nothing:
// it would be under everything.
func (b Base) Under(layers []digest.Digest) bool {
	n := len(b.DiffIDs)
	return n > 0 && n <= len(layers) && slices.Equal(b.DiffIDs, layers[:n])
}

// emptyLayers are the diff ids of tars without a file in them, as tools write them: with the two blocks that end a tar, with a
// whole record, and with nothing at all.
var emptyLayers = []digest.Digest{digest.FromBytes(make([]byte, 1024)), digest.FromBytes(make([]byte, 10240)), digest.FromBytes(nil)}

// HoldsNothing reports a base image of empty layers alone: anybody can begin an image with those.
func (b Base) HoldsNothing() bool {
	return !slices.ContainsFunc(b.DiffIDs, func(d digest.Digest) bool { return !slices.Contains(emptyLayers, d) })
}

// LargestUnder is the base image of the list with the most layers that these begin with, nil where there is none.
func LargestUnder(layers []digest.Digest, list []Base) (largest *Base) {
	for i := range list {
		if b := &list[i]; b.Under(layers) && (largest == nil || len(b.DiffIDs) > len(largest.DiffIDs)) {
			largest = b
		}
	}
	return largest
}

// base is an approved base image, compiled.
type base struct {
	Base
	until    time.Time // when it ends; zero for never
	approved time.Time // zero where the list does not say
}

func (r *Rule) compileBase(doc *BaseDocument, known Known, fault func(path, format string, args ...any)) {
	const path = ".push.image.base"
	switch {
	case doc.MaxAge < 0:
		fault(path+".max_age", "is negative")
	case doc.MaxAge > 0 && doc.Approved == "":
		fault(path+".max_age", "means nothing without approved; leave it out")
	case doc.MaxAge > 0 && doc.MaxAge < 24*time.Hour:
		fault(path+".max_age", "is less than 24h, and lists count in days")
	}
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
		r.bases = append(r.bases, compileApproved(approved, known, func(format string, args ...any) {
			fault(path+".approved", "%s%w", Printable(approved.Name), fmt.Errorf(format, args...))
		}))
		if doc.MaxAge > 0 && approved.Refreshed == "" {
			fault(path+".max_age", "%s has no day from which that counts; write refreshed beside its diff_ids, or name its image and run: sealgate bases refresh",
				Printable(approved.Name))
		}
	}
}

func compileApproved(approved Base, known Known, fault func(format string, args ...any)) base {
	b := base{Base: approved}
	b.DiffIDs, b.Digests = slices.Clone(approved.DiffIDs), slices.Clone(approved.Digests)
	if len(b.DiffIDs) == 0 {
		fault(" has no diff_ids, and would approve everything")
	} else if b.HoldsNothing() {
		fault(" has nothing but empty layers, and anybody can begin an image with those")
	}
	if slices.ContainsFunc(b.DiffIDs, func(d digest.Digest) bool { return d.Validate() != nil }) {
		fault(" has diff_ids that are no digests")
	}
	if approved.Until != "" {
		until, err := endOf(approved.Until)
		if err != nil {
			fault(": until %w", err)
		}
		b.until = until
	}
	if approved.Refreshed != "" {
		end, err := endOf(approved.Refreshed)
		if err != nil {
			fault(": refreshed %w", err)
			return b
		}
		b.approved = end.AddDate(0, 0, -1)
		if !known.Now.IsZero() && b.approved.After(known.Now.Add(24*time.Hour)) { // somewhere it may be tomorrow
			fault(": refreshed %s is yet to come, and would make it last too long", approved.Refreshed)
		}
	}
	return b
}

// whyBase holds the layers' digests against the approved ones. Annotations and names do not count: anybody can write them.
func (r *Rule) whyBase(image Image, at time.Time) string {
	var latest *base // of those that do not count any more
	for i := range r.bases {
		b := &r.bases[i]
		if !b.Under(image.Content.DiffIDs) {
			continue
		}
		if b.ended(r.push.Image.Base.MaxAge, at) == "" {
			return ""
		}
		if latest == nil || !b.approved.Before(latest.approved) {
			latest = b
		}
	}
	if r.push.Image.Base.Scratch && fromScratch(image.Content) {
		return ""
	}
	if latest != nil {
		return "its base image " + latest.ended(r.push.Image.Base.MaxAge, at)
	}
	return "it stands on no approved base image"
}

// ended says why a base image does not count any more, empty while it does. It is for the list to say when it was approved:
// what the image says of itself is not asked.
func (b *base) ended(maxAge time.Duration, at time.Time) string {
	switch age := at.Sub(b.approved); { // since year 1 for a list that should not have compiled
	case !b.until.IsZero() && !at.Before(b.until):
		return Printable(b.Name) + " is not approved any more"
	case maxAge > 0 && age > maxAge:
		return fmt.Sprintf("%s was approved %s ago, at most %s are allowed", Printable(b.Name), spanBeyond(age, maxAge), span(maxAge))
	}
	return ""
}

// fromScratch reports that nothing of an operating system is in an image. That a Dockerfile begins with FROM scratch cannot
// be told from its layers, this can.
func fromScratch(content *Content) bool {
	return content.System == System{} && content.Omitted[CheckMinimal] == 0 &&
		!slices.ContainsFunc(content.Findings, func(f ImageFinding) bool { return f.Check == CheckMinimal })
}
