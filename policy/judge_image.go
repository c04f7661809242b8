package policy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ImageNeeds is how far the judgement of a push under this rule looks into an image.
func (r *Rule) ImageNeeds() ImageNeeds {
	var all ImageNeeds
	if r == nil || r.push == nil {
		return all
	}
	all.Sizes = r.push.Image.MaxBytes > 0
	all.Layers = r.scan != nil || r.push.Image.MaxFiles > 0 // what cannot be read in one way cannot be scanned
	for i := range checks {
		if c := &checks[i]; c.does(&r.push.Image) != allow {
			all.Account = all.Account || c.needs.Account
			all.Group = all.Group || c.needs.Group
			all.Config = all.Config || c.needs.Config
			all.Layers = all.Layers || c.needs.Layers
		}
	}
	return all
}

// judgeImage holds what was read from an image against the rule's checks.
func (r *Rule) judgeImage(s Subject, image Image, at time.Time) (reasons, warnings []Reason) {
	if !image.Runnable {
		return nil, nil
	}
	if reason := r.uninspectable(s, image); reason != nil {
		return []Reason{*reason}, nil // what was found in one half says nothing about the other
	}

	for i := range checks {
		c := &checks[i]
		action := c.does(&r.push.Image)
		if action == allow {
			continue
		}
		why, excepted := r.whyNot(c, image, at)
		if excepted != "" { // what an exception lets pass is in the decision all the same
			warnings = append(warnings, Reason{
				Code: CheckExcepted, Requirement: "image " + string(c.name), Subject: s.Digest.String(), Why: shortened("excepted: "+excepted, maxReason), Fix: c.fix,
			})
		}
		if why == "" {
			continue
		}
		reason := Reason{Code: c.code, Requirement: "image " + string(c.name), Subject: s.Digest.String(), Why: shortened(why, maxReason), Fix: c.fix}
		if action == warn {
			warnings = append(warnings, reason)
		} else {
			reasons = append(reasons, reason)
		}
	}
	return reasons, warnings
}

// maxReason bounds what a reason says, in bytes. It is one line.
const maxReason = 190

// uninspectable returns nil when everything that the rule asks for was read, and is what it seems to be.
func (r *Rule) uninspectable(s Subject, image Image) *Reason {
	reason := &Reason{
		Code: Uninspectable, Requirement: "image that can be inspected", Subject: s.Digest.String(),
		Fix: "build it again with a current tool, as plain, gzip or zstd layers",
	}
	needs := r.ImageNeeds()
	switch {
	case needs.Config && image.Config == nil || needs.Layers && image.Content == nil:
		reason.Why = "it was not inspected" // a fault of ours, and no reason to let it pass
		return reason
	case image.Content == nil || len(image.Content.Flaws) == 0:
		return nil
	}
	flaw := image.Content.Flaws[0]
	reason.Why = "it cannot be inspected: " + flaw.Why
	if flaw.Layer != "" {
		reason.Why = fmt.Sprintf("layer %.19s cannot be inspected: %s", flaw.Layer, flaw.Why)
	}
	reason.Why = shortened(reason.Why, maxReason)
	return reason
}

// whyNot says why a check fails, and what of it exceptions cover. Both are empty when it does not.
func (r *Rule) whyNot(c *check, image Image, at time.Time) (why, excepted string) {
	all := r.excepted(ImageFinding{Check: c.name}, at)
	if c.why != nil {
		why = c.why(r, image, at)
		if all {
			return "", why
		}
		return why, ""
	}

	var findings, left, covered []ImageFinding
	omitted := 0
	if image.Config != nil {
		findings = image.Config.Findings
	}
	if image.Content != nil {
		findings = slices.Concat(findings, image.Content.Findings)
		omitted = image.Content.Omitted[c.name]
	}
	for _, f := range findings {
		switch {
		case f.Check != c.name:
		case r.excepted(f, at):
			covered = append(covered, f)
		default:
			left = append(left, f)
		}
	}
	if all {
		return c.list(left, 0), c.list(covered, omitted)
	}
	return c.list(left, omitted), c.list(covered, 0)
}

// list words findings: the first of them, and how many more there are.
func (c *check) list(findings []ImageFinding, omitted int) string {
	total := len(findings) + omitted
	if total == 0 {
		return ""
	}
	text := fmt.Sprintf("%s %d %s", c.holds, total, c.many)
	if total == 1 {
		text = c.holds + " " + c.one
	}
	const more = ", and 1000000 more"
	for i, f := range findings {
		next := Printable(f.Path)
		if f.What != "" {
			next += " (" + f.What + ")"
		}
		if i > 0 && len(text)+len(next)+len(more) > maxReason {
			return text + fmt.Sprintf(", and %d more", total-i)
		}
		if i == 0 {
			text += ": " + next
		} else {
			text += ", " + next
		}
	}
	if omitted > 0 {
		text += fmt.Sprintf(", and %d more", omitted)
	}
	return text
}

// maxShown is how much of a name from an image a person is shown, in bytes.
const maxShown = 80

// Printable is a name from an image in a form for people: one line of visible ASCII, with its end when it is long.
func Printable(name string) string {
	if strings.ContainsFunc(name, func(c rune) bool { return c < ' ' || c > '~' }) {
		quoted := strconv.QuoteToASCII(name)
		name = quoted[1 : len(quoted)-1]
	}
	if len(name) > maxShown {
		name = "..." + name[len(name)-maxShown+3:]
	}
	return name
}

func shortened(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most-3], "") + "..."
}
