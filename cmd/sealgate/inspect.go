package main

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/policy/manifest"
	"github.com/spf13/cobra"
)

func newInspect() *cobra.Command {
	var form format
	var source configSource
	var layers bool
	cmd := &cobra.Command{
		Use:   "inspect REF",
		Short: "Show what an image is, what is attached to it and what of that is proven",
		Long: `Show what an image is and what is attached to it: platforms, signatures, attestations with what they say, user, labels,
base image and the attestations that BuildKit put into an index. No policy is asked: what is verified is proven to be by one
of the configured authorities, whatever a policy wants; the rest are claims, and called so.

With --layers all layers are read as well, for the operating system, who the user is, an approved base image, and what the
checks of a push find.

REF is the image as it is typed at the gateway: [host/]repo[:tag][@digest]. The host is left aside.

Exit codes: 0 shown, 1 our fault, 2 usage or configuration, 4 not found, 5 upstream or credentials, 6 it could not be found
out what is attached, or what is in the image; the rest is shown.`,
		Example: `  sealgate inspect app:v1
  sealgate inspect --layers registry.acme.dev/prod/app:v1
  sealgate inspect --config sealgate.yaml -o json prod/app:v1`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("inspect takes one image, like: sealgate inspect app:v1")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			result, err := inspectImage(cmd.Context(), &source, args[0], layers)
			if err != nil {
				return err
			}
			if err := form.draw(cmd.OutOrStdout(), result, result.tree); err != nil {
				return err
			}
			return result.exit()
		},
	}
	cmd.Flags().BoolVar(&layers, "layers", false, "read all layers as well")
	source.flags(cmd)
	form.flag(cmd)
	return cmd
}

// inspection is the result of inspect; its JSON is a promise.
type inspection struct {
	Image     string `json:"image"` // as typed
	Repo      string `json:"repo"`
	Reference string `json:"reference"` // the tag or digest that was looked up

	looked
	Platforms []platformLooked `json:"platforms,omitempty"` // of an index
	Omitted   int              `json:"platforms_omitted,omitempty"`
	Claims    []claim          `json:"claims,omitempty"` // BuildKit's attestations: nobody signed them
}

// looked is what is known of one manifest.
type looked struct {
	Digest       digest.Digest `json:"digest"`
	MediaType    string        `json:"media_type"`
	Kind         string        `json:"kind"` // image, index or artifact
	ArtifactType string        `json:"artifact_type,omitempty"`
	Bytes        int64         `json:"bytes,omitempty"` // of configuration and layers, compressed
	Layers       int           `json:"layers,omitempty"`

	User    *string           `json:"user,omitempty"` // of an image; empty is root
	UID     *uint32           `json:"uid,omitempty"`  // who that is, with --layers
	Created *time.Time        `json:"created,omitempty"`
	Labels  map[string]string `json:"labels,omitempty"`
	Ports   []string          `json:"ports,omitempty"`
	Volumes []string          `json:"volumes,omitempty"`
	System  string            `json:"system,omitempty"` // the operating system, with --layers
	Base    *baseImage        `json:"base,omitempty"`

	Findings map[string]int `json:"findings,omitempty"` // of the checks of a push, by check
	Flaws    []string       `json:"flaws,omitempty"`    // why its layers cannot be inspected

	PartOf   []digest.Digest `json:"part_of,omitempty"` // admitted indexes that list it, as the gateway remembers and they say
	Attached attached        `json:"attached"`
	Unread   string          `json:"unread,omitempty"` // why configuration or layers could not be read
}

// platformLooked is a manifest that an index lists.
type platformLooked struct {
	Platform string `json:"platform"`
	looked
}

// baseImage is what an image stands on.
type baseImage struct {
	Name     string `json:"name,omitempty"`     // as an annotation or a label claims
	Digest   string `json:"digest,omitempty"`   // as well
	Approved string `json:"approved,omitempty"` // the one of the configured lists that its layers begin with, with --layers

	Refreshed  string `json:"refreshed,omitempty"`   // when that was approved last, as the list says
	FalseClaim string `json:"false_claim,omitempty"` // why what is claimed cannot be, by such a list and the layers
}

// claim is an attestation of BuildKit's, which stands in an index unsigned.
type claim struct {
	About      digest.Digest `json:"about"`
	Manifest   digest.Digest `json:"manifest"`
	Predicates []string      `json:"predicates"`
	Error      string        `json:"error,omitempty"`
}

func inspectImage(ctx context.Context, source *configSource, typed string, layers bool) (result inspection, err error) {
	s, err := openStudy(source, typed)
	if err != nil {
		return inspection{}, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	m, err := s.manifest(ctx, s.ref.asked())
	if err != nil {
		return inspection{}, upstreamError(err)
	}

	result = inspection{Image: s.ref.typed, Repo: s.ref.repo, Reference: s.ref.asked(), looked: s.look(ctx, m, layers)}
	platforms, omitted := platformsOf(m)
	result.Platforms, result.Omitted = make([]platformLooked, len(platforms)), omitted
	inParallel(len(platforms), func(i int) {
		d := platforms[i]
		result.Platforms[i] = platformLooked{Platform: platformName(d.Platform), looked: s.lookAt(ctx, d, layers)}
	})
	claims, about := buildkitClaims(m)
	result.Claims = make([]claim, len(claims))
	inParallel(len(claims), func(i int) { result.Claims[i] = s.readClaim(ctx, claims[i].Digest, about[i]) })
	return result, nil
}

func (s *study) lookAt(ctx context.Context, d ocispec.Descriptor, layers bool) looked {
	m, err := s.manifest(ctx, d.Digest.String())
	if err != nil {
		return looked{Digest: d.Digest, MediaType: plain(d.MediaType), Kind: "unknown", Attached: newAttached(policy.Evidence{}), Unread: plain(err.Error())}
	}
	return s.look(ctx, m, layers)
}

func (s *study) look(ctx context.Context, m *manifest.Manifest, layers bool) looked {
	l := looked{Digest: m.Digest, MediaType: m.MediaType, Kind: "artifact", ArtifactType: plain(m.ArtifactType), Layers: len(m.Layers)}
	l.Attached, _ = s.survey(ctx, m.Digest)
	l.PartOf = s.partOf(ctx, m.Digest)
	switch {
	case m.IsIndex():
		l.Kind = "index"
	case m.IsRunnable():
		l.Kind = "image"
	}
	image, err := s.made.Regime.Inspector.Inspect(ctx, s.ref.repo, m, policy.ImageNeeds{Config: true, Layers: layers, Account: layers})
	if err != nil {
		l.Unread = plain(err.Error())
		return l
	}
	l.Bytes = image.Bytes
	if image.Runnable {
		l.describe(image, s.made.Bases)
	}
	return l
}

// partOf lists the indexes that were admitted once and list a manifest. The gateway remembers them; each is asked.
func (s *study) partOf(ctx context.Context, d digest.Digest) (indexes []digest.Digest) {
	for _, whole := range s.memory.Wholes(s.ref.repo, d) {
		m, err := s.manifest(ctx, whole.String())
		if err == nil && slices.ContainsFunc(m.Manifests, func(part ocispec.Descriptor) bool { return part.Digest == d }) {
			indexes = append(indexes, whole)
		}
	}
	return indexes
}

// describe takes over what was read from an image.
func (l *looked) describe(image policy.Image, approved map[string][]policy.Base) {
	user := plain(image.User)
	l.User = &user
	if a := image.Account; a != nil && a.UserUnknown == "" {
		l.UID = &a.UID
	}
	base := baseImage{Name: plain(image.BaseClaim.Name), Digest: plain(image.BaseClaim.Digest)}
	findings := map[string]int{}
	if c := image.Config; c != nil {
		l.Created, l.Labels = told(c.Created), map[string]string{}
		for name, value := range c.Labels {
			if len(l.Labels) < maxLabels {
				l.Labels[plain(name)] = plain(value)
			}
		}
		for _, port := range c.Ports {
			l.Ports = append(l.Ports, plain(port))
		}
		for _, volume := range c.Volumes {
			l.Volumes = append(l.Volumes, plain(volume))
		}
		label := policy.BaseClaimOf(c.Labels)
		base.Name, base.Digest = cmp.Or(base.Name, plain(label.Name)), cmp.Or(base.Digest, plain(label.Digest))
		count(findings, c.Findings)
	}
	if c := image.Content; c != nil {
		l.System = plain(strings.TrimSpace(c.System.ID + " " + c.System.Version))
		base.hold(image, approved)
		count(findings, c.Findings)
		for check, n := range c.Omitted {
			findings[string(check)] += n
		}
		for _, flaw := range c.Flaws {
			l.Flaws = append(l.Flaws, plain(strings.TrimSpace(string(flaw.Layer)+" "+flaw.Why)))
		}
	}
	if base != (baseImage{}) {
		l.Base = &base
	}
	l.Findings = findings
}

const maxLabels = 100 // that are shown

func count(counts map[string]int, findings []policy.ImageFinding) {
	for _, f := range findings {
		counts[string(f.Check)]++
	}
}

// hold looks an image up in the lists of approved base images.
func (b *baseImage) hold(image policy.Image, lists map[string][]policy.Base) {
	most := 0
	for _, file := range sortedKeys(lists) {
		if one := policy.LargestUnder(image.Content.DiffIDs, lists[file]); one != nil && len(one.DiffIDs) > most {
			b.Approved, b.Refreshed, most = plain(one.Name), plain(one.Refreshed), len(one.DiffIDs)
		}
		b.FalseClaim = cmp.Or(b.FalseClaim, plain(policy.FalseClaim(image, lists[file])))
	}
}

// readClaim lists what BuildKit attested. Nobody signed it, so that what it says is not even read.
func (s *study) readClaim(ctx context.Context, d, about digest.Digest) claim {
	c := claim{About: about, Manifest: d, Predicates: []string{}}
	m, err := s.manifest(ctx, d.String())
	if err != nil {
		c.Error = plain(err.Error())
		return c
	}
	for _, layer := range m.Layers[:min(len(m.Layers), mostListed)] {
		c.Predicates = append(c.Predicates, plain(layer.Annotations["in-toto.io/predicate-type"]))
	}
	return c
}

// exit says whether all could be found out.
func (i inspection) exit() error {
	unknown := i.Unread != "" || i.Attached.Unknown != ""
	for _, one := range i.Platforms {
		unknown = unknown || one.Unread != "" || one.Attached.Unknown != ""
	}
	if unknown {
		return &exitError{code: exitUndecided}
	}
	return nil
}
