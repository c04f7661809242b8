package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

func (r *Rule) whyLabels(image Image, _ time.Time) string {
	var missing []string
	for _, label := range r.push.Image.Labels.Required {
		if strings.TrimSpace(image.Config.Labels[label]) == "" {
			missing = append(missing, label)
		}
	}
	switch len(missing) {
	case 0:
		return ""
	case 1:
		return "it lacks the label " + missing[0]
	}
	return "it lacks the labels " + strings.Join(missing, ", ")
}

// clockSkew is how far the clock of a machine that builds may be ahead of ours.
const clockSkew = 10 * time.Minute

func whyFuture(created, at time.Time) string {
	if created.IsZero() || !created.After(at.Add(clockSkew)) {
		return ""
	}
	return "it says that it was made at " + created.UTC().Format(time.RFC3339) + ", which is yet to come"
}

// whyPlatform holds what an image says that it runs on against what it has to run.
func whyPlatform(image Image) string {
	says := Printable(image.Config.OS + "/" + image.Config.Architecture)
	switch programs := image.Content.Programs; {
	case len(programs) == 0:
		return "" // scripts and data run anywhere
	case image.Config.OS != "linux":
		return "it says that it is for " + says + ", and has programs for linux"
	case image.Content.Program != "" && image.Content.Program != image.Config.Architecture:
		return "it says that it is for " + says + ", and starts a program for " + image.Content.Program
	case image.Content.Program == "" && !slices.Contains(programs, image.Config.Architecture):
		return "it says that it is for " + says + ", and its programs are for " + strings.Join(programs, ", ")
	}
	return ""
}

// whyHistory holds an image's history against its layers. A history is a claim, but one that people go by.
func whyHistory(image Image) string {
	if told := image.Config.HistoryLayers; told >= 0 && told != image.Layers {
		return fmt.Sprintf("its history tells of %d layers, and it has %d", told, image.Layers)
	}
	return ""
}

// firstDates is when images may begin to say that they were made. Tools that build the same bytes twice write 1970, or 1980
// where an archive knows no earlier year.
var firstDates = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// whyOld holds the date that an image gives itself against the rule. It is a claim: whoever builds can write another one.
func (r *Rule) whyOld(image Image, at time.Time) string {
	most := r.push.Image.Age.Max
	switch made := image.Config.Created; {
	case made.Before(firstDates): // the zero time among them
		return "it does not say when it was made"
	case at.Sub(made) > most:
		return fmt.Sprintf("it says that it was made %s ago, at most %s are allowed", spanBeyond(at.Sub(made), most), span(most))
	}
	return ""
}
