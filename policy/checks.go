package policy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
)

// check is one check of an image: what it looks at, what becomes of what it finds, and how that is put.
type check struct {
	name   Check
	code   Code
	needs  ImageNeeds
	action func(*ImageDocument) *string // where a document says what becomes of it; nil where it does not
	fix    string

	// Most checks are of findings that were made while the image was read. holds, one and many word them.
	holds, one, many string

	// The others judge facts: why says what is wrong, empty when nothing is.
	why func(*Rule, Image, time.Time) string
}

var (
	ofConfig  = ImageNeeds{Config: true}
	ofLayers  = ImageNeeds{Layers: true}
	ofBoth    = ImageNeeds{Config: true, Layers: true}
	ofAccount = ImageNeeds{Account: true}
	ofGroup   = ImageNeeds{Group: true}
)

// checks are all of them, in the order in which a person should read what they found.
var checks = []check{
	{
		name: CheckSecrets, code: HoldsSecrets, needs: ofBoth, action: func(d *ImageDocument) *string { return &d.Secrets },
		holds: "it holds", one: "a secret", many: "secrets",
		fix: "revoke it, and build without it: a mounted secret (RUN --mount=type=secret) leaves nothing behind, deleting it in a later layer does",
	}, {
		name: CheckNonRoot, code: RunsAsRoot, needs: ofAccount, action: func(d *ImageDocument) *string { return &d.NonRoot },
		why: func(_ *Rule, image Image, _ time.Time) string { return whyRoot(image) },
		fix: "set a numeric user in the Dockerfile, such as USER 65532",
	}, {
		name: CheckRootGroup, code: RunsInRootGroup, needs: ofGroup, action: func(d *ImageDocument) *string { return &d.RootGroup },
		why: func(_ *Rule, image Image, _ time.Time) string { return whyRootGroup(image) },
		fix: "set user and group as numbers in the Dockerfile, such as USER 65532:65532",
	}, {
		name: CheckBase, code: UnapprovedBase, needs: ofLayers,
		action: func(d *ImageDocument) *string {
			if d.Base == nil {
				return nil
			}
			return &d.Base.OnMiss
		},
		why: (*Rule).whyBase,
		fix: "build FROM an approved base image, or have this one approved: crane config BASE | jq .rootfs.diff_ids",
	}, {
		name: CheckEndOfLife, code: EndOfLife, needs: ofLayers, action: func(d *ImageDocument) *string { return &d.EndOfLife },
		why: func(_ *Rule, image Image, at time.Time) string { return whyEnded(image.Content.System, at) },
		fix: "build FROM a release that still gets security fixes",
	}, {
		name: CheckCapabilities, code: FileCapabilities, needs: ofLayers, action: func(d *ImageDocument) *string { return &d.Capabilities },
		holds: "it has", one: "a file with capabilities", many: "files with capabilities",
		fix: "take them off in the same RUN step that installs the file: setcap -r FILE",
	}, {
		name: CheckSetuid, code: Setuid, needs: ofLayers, action: func(d *ImageDocument) *string { return &d.Setuid },
		holds: "it has", one: "a setuid or setgid file", many: "setuid or setgid files",
		fix: "take the bits off: RUN chmod ug-s FILE, or leave the package out",
	}, {
		name: CheckDevices, code: DeviceFiles, needs: ofLayers, action: func(d *ImageDocument) *string { return &d.Devices },
		holds: "it has", one: "a device file", many: "device files",
		fix: "leave /dev out of the image: the runtime fills it",
	}, {
		name: CheckPaths, code: OddPaths, needs: ofLayers, action: func(d *ImageDocument) *string { return &d.Paths },
		holds: "it has", one: "an odd name", many: "odd names",
		fix: "build the layer with a tool that writes relative names, each once",
	}, {
		name: CheckWorldWritable, code: WorldWritable, needs: ofLayers, action: func(d *ImageDocument) *string { return &d.WorldWritable },
		holds: "everybody may change", one: "a file", many: "files",
		fix: "take the right away: RUN chmod -R o-w PATH; a shared directory needs the sticky bit (chmod +t)",
	}, {
		name: CheckMinimal, code: NotMinimal, needs: ofLayers, action: func(d *ImageDocument) *string { return &d.Minimal },
		holds: "it has", one: "a shell or package manager", many: "shells and package managers",
		fix: "copy the program into an image without them in the last stage, such as FROM scratch or a distroless base",
	}, {
		name: CheckCaches, code: PackageCaches, needs: ofLayers, action: func(d *ImageDocument) *string { return &d.Caches },
		holds: "it carries", one: "a leftover of a package manager", many: "leftovers of package managers",
		fix: "remove them in the RUN step that makes them, or mount them: RUN --mount=type=cache",
	}, {
		name: CheckPorts, code: SensitivePorts, needs: ofConfig, action: func(d *ImageDocument) *string { return &d.Ports },
		holds: "it exposes", one: "a port of remote administration", many: "ports of remote administration",
		fix: "remove EXPOSE, and the daemon behind it",
	}, {
		name: CheckVolumes, code: SensitiveVolumes, needs: ofConfig, action: func(d *ImageDocument) *string { return &d.Volumes },
		holds: "it declares", one: "a volume over the system", many: "volumes over the system",
		fix: "remove VOLUME, or give it a directory of its own",
	}, {
		name: CheckLabels, code: MissingLabels, needs: ofConfig,
		action: func(d *ImageDocument) *string {
			if d.Labels == nil {
				return nil
			}
			return &d.Labels.OnMiss
		},
		why: (*Rule).whyLabels,
		fix: "set them in the Dockerfile: LABEL name=value",
	}, {
		name: CheckFuture, code: FromTheFuture, needs: ofConfig, action: func(d *ImageDocument) *string { return &d.Future },
		why: func(_ *Rule, image Image, at time.Time) string { return whyFuture(image.Config.Created, at) },
		fix: "set the clock of the machine that builds, or SOURCE_DATE_EPOCH",
	}, {
		name: CheckPlatform, code: AnotherPlatform, needs: ofBoth, action: func(d *ImageDocument) *string { return &d.Platform },
		why: func(_ *Rule, image Image, _ time.Time) string { return whyPlatform(image) },
		fix: "build it for the platform that it names: docker build --platform",
	}, {
		name: CheckHistory, code: AnotherHistory, needs: ofConfig, action: func(d *ImageDocument) *string { return &d.History },
		why: func(_ *Rule, image Image, _ time.Time) string { return whyHistory(image) },
		fix: "build it again with a tool that writes one entry of history for each layer, or none at all",
	},
}

func checkNamed(name Check) *check {
	for i := range checks {
		if checks[i].name == name {
			return &checks[i]
		}
	}
	return nil
}

// does is what becomes of what a check finds.
func (c *check) does(d *ImageDocument) string {
	if action := c.action(d); action != nil && *action != "" {
		return *action
	}
	return allow
}

// ImageNeeds is how far the judgement of a push under this rule looks into an image.
func (r *Rule) ImageNeeds() ImageNeeds {
	var all ImageNeeds
	if r == nil || r.push == nil {
		return all
	}
	all.Sizes = r.push.Image.MaxBytes > 0
	all.Layers = r.scan != nil // what cannot be read in one way cannot be scanned
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

// base is an approved base image, compiled.
type base struct {
	Base
	until time.Time // when it ends; zero for never
}

// exception is a permission to differ, compiled.
type exception struct {
	check Check
	path  *glob // nil for everything
	until time.Time
}

// excepted reports that a permission covers a finding.
func (r *Rule) excepted(f ImageFinding, at time.Time) bool {
	for _, e := range r.exceptions {
		if e.check == f.Check && at.Before(e.until) && (e.path == nil || f.Path != "" && e.path.match(f.Path)) {
			return true
		}
	}
	return false
}

// compileImage checks what is written about images, and fills in the defaults.
func (r *Rule) compileImage(image *ImageDocument, known Known, fault func(path, format string, args ...any)) {
	const path = ".push.image"
	for i := range checks {
		c := &checks[i]
		action := c.action(image)
		if action == nil {
			continue
		}
		key, standard := path+"."+string(c.name), allow
		if c.name == CheckBase || c.name == CheckLabels {
			key, standard = key+".on_miss", deny
		}
		switch *action {
		case "":
			*action = standard
		case allow, warn, deny:
		default:
			fault(key, "%q is none of allow, warn, deny", *action)
		}
	}

	if labels := image.Labels; labels != nil {
		if len(labels.Required) == 0 {
			fault(path+".labels.required", "names no label")
		}
		if i := slices.Index(labels.Required, ""); i >= 0 {
			fault(fmt.Sprintf("%s.labels.required[%d]", path, i), "is empty")
		}
	}
	if image.Base != nil {
		r.compileBase(image.Base, known, fault)
	}
	for i, e := range image.Exceptions {
		r.compileException(e, known, func(key, format string, args ...any) {
			fault(fmt.Sprintf("%s.exceptions[%d]%s", path, i, key), format, args...)
		})
	}
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

func (r *Rule) compileException(doc ExceptionDocument, known Known, fault func(key, format string, args ...any)) {
	e := exception{check: Check(doc.Check)}
	c := checkNamed(e.check)
	if c == nil {
		fault(".check", "unknown check %q; checks are %s", doc.Check, checkNames())
	}
	if doc.Path != "" {
		path, err := compilePattern(doc.Path, "", "path")
		if err != nil {
			fault(".path", "%w", err)
		}
		if c != nil && c.why != nil {
			fault(".path", "%s finds no paths; leave it out", doc.Check)
		}
		e.path = &path
	}
	until, err := known.exceptedUntil(doc.Until)
	if err != nil {
		fault(".until", "%w", err)
	}
	e.until = until
	if strings.TrimSpace(doc.Reason) == "" {
		fault(".reason", "is missing; say why, for whoever reviews it")
	}
	r.exceptions = append(r.exceptions, e)
}

// maxException is how long an exception may go on before somebody looks at it again.
const maxException = 90 * 24 * time.Hour

// exceptedUntil is when an exception ends.
func (k Known) exceptedUntil(day string) (time.Time, error) {
	until, err := endOf(day)
	if err != nil {
		return time.Time{}, err
	}
	if latest := k.Now.Add(maxException).UTC(); !k.Now.IsZero() && until.AddDate(0, 0, -1).After(latest) {
		return time.Time{}, fmt.Errorf("%s is more than 90 days ahead; somebody should look at it again by %s", day, latest.Format(time.DateOnly))
	}
	return until, nil
}

// endOf is when a day ends, in UTC.
func endOf(day string) (time.Time, error) {
	t, err := time.Parse(time.DateOnly, day)
	if err != nil {
		return time.Time{}, fmt.Errorf("%.40q is no day; write it like \"2027-01-31\"", day)
	}
	return t.AddDate(0, 0, 1), nil
}

func checkNames() string {
	var names []string
	for _, c := range checks {
		names = append(names, string(c.name))
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}
