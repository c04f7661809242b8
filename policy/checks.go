package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"
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
		name: CheckBaseClaim, code: FalseBaseClaim, needs: ofBoth, action: func(d *ImageDocument) *string { return &d.BaseClaim },
		why: (*Rule).whyBaseClaim,
		fix: "have the build say what it stands on, or nothing: the annotations and labels org.opencontainers.image.base.name and .digest",
	}, {
		name: CheckAge, code: TooOld, needs: ofConfig,
		action: func(d *ImageDocument) *string {
			if d.Age == nil {
				return nil
			}
			return &d.Age.OnMiss
		},
		why: (*Rule).whyOld,
		fix: "build it again, and let it say when: the tool's own clock, or SOURCE_DATE_EPOCH",
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
		name: CheckProfile, code: AnotherProfile, needs: ofLayers,
		action: func(d *ImageDocument) *string {
			if d.Profile == nil {
				return nil
			}
			return &d.Profile.OnMiss
		},
		why: (*Rule).whyProfile,
		fix: "copy the program into an image of such a kind in the last stage, such as FROM scratch or a distroless base",
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

func checkNames() string {
	var names []string
	for _, c := range checks {
		names = append(names, string(c.name))
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
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
		if slices.Contains([]Check{CheckBase, CheckLabels, CheckAge, CheckProfile}, c.name) {
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
	if image.Profile != nil {
		compileProfile(image.Profile, fault)
	}
	if image.Base != nil {
		r.compileBase(image.Base, known, fault)
	}
	if claim := image.BaseClaim; (claim == warn || claim == deny) && (image.Base == nil || image.Base.Approved == "") {
		fault(path+".base_claim", "has no list to hold claims against; name one in base.approved (with on_miss: allow it asks nothing else)")
	}
	if age := image.Age; age != nil && age.Max <= 0 {
		fault(path+".age.max", "is not how old an image may be; write it like 2160h")
	}
	for i, e := range image.Exceptions {
		r.compileException(e, known, func(key, format string, args ...any) {
			fault(fmt.Sprintf("%s.exceptions[%d]%s", path, i, key), format, args...)
		})
	}
}
