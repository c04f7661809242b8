package policy

import (
	"slices"
	"time"
)

// The document: what an administrator writes, before anything of it is believed. The field tags are the keys of the
// configuration file.

// Document is one rule as written.
type Document struct {
	// Name of the policy; it is what a refused person reads.
	Name string `mapstructure:"name"`

	// Repositories that the rule covers, by glob: * stands for a part of one path component, ** for one or more whole
	// components. The first policy that matches a repository decides; what none names is denied.
	Repositories []string `mapstructure:"repositories"`

	// Mode is enforce (the default) or audit: judge, record, warn and serve.
	Mode string `mapstructure:"mode"`

	// Allow says who may do what here. Without it everybody may pull and push who is let in by the clients section.
	Allow []AllowDocument `mapstructure:"allow"`

	// Pull is what a pull demands. Without it nothing may be pulled.
	Pull *PullDocument `mapstructure:"pull"`

	// Push is what happens to a push. Without it nothing may be pushed.
	Push *PushDocument `mapstructure:"push"`
}

// AllowDocument gives clients rights. What no entry gives is refused, in audit mode too.
type AllowDocument struct {
	// Clients are names of clients, * for everybody who logged in, or anonymous for everybody, logged in or not.
	Clients []string `mapstructure:"clients"`

	// Groups are names of groups in the clients section.
	Groups []string `mapstructure:"groups"`

	// May lists pull, push, delete and sign. Sign attaches signatures and attestations, and reads the manifests that they are
	// about, refused or not; nobody has it who was not given it.
	May []string `mapstructure:"may"`
}

// PullDocument is what a pull demands.
type PullDocument struct {
	// DigestOnly refuses tags and tells which digest to pin.
	DigestOnly bool `mapstructure:"digest_only"`

	// SignedBy names who must have signed.
	SignedBy *SignedBy `mapstructure:"signed_by"`

	// Attested lists what must have been attested: scans, SBOMs, provenance.
	Attested []AttestedDocument `mapstructure:"attested"`

	// Remap lists the names elsewhere for which signatures were made that count here too: for mirrors. Default none: a
	// signature counts for the repository that it names.
	Remap []Remap `mapstructure:"remap"`

	// AdmitUnverified lets images pass that nobody vouches for. It stands alone: it cannot be combined with SignedBy and
	// Attested.
	AdmitUnverified bool `mapstructure:"admit_unverified"`

	// Blobs is open, or referenced: then a blob is served only where a manifest of the repository names it that was pulled or
	// pushed before and would be admitted now. Open lets whoever knows a digest have the blob of an image that is refused.
	// Default open.
	Blobs string `mapstructure:"blobs"`
}

// Remap says that what was signed for a repository elsewhere counts for the one here that is its mirror. Both sides are one
// repository, or both end with a slash and mean all repositories below, each with the one of the same name.
type Remap struct {
	// From is the name in signatures, with its host, such as ghcr.io/acme/ or docker.io/library/nginx.
	From string `mapstructure:"from"`

	// To is the name here, such as mirror/acme/.
	To string `mapstructure:"to"`
}

// AttestedDocument demands an attestation, and says what has to be true of the newest one.
type AttestedDocument struct {
	// Predicate is what it is about: vuln, spdx, cyclonedx, sbom, slsa-provenance, openvex, vsa, test-result, or the URI of
	// any other predicate type.
	Predicate string `mapstructure:"predicate"`

	// By names who must have attested it. Of several attestations the newest counts.
	By *SignedBy `mapstructure:"by"`

	// MaxAge is the longest time ago that it was attested, and for a scan, that the scan ended. Default 0: no limit.
	MaxAge time.Duration `mapstructure:"max_age"`

	// MaxDatabaseAge is the longest time ago that the scanner's database of vulnerabilities was updated. Default 0: no limit.
	MaxDatabaseAge time.Duration `mapstructure:"max_database_age"`

	// TrustStatementTime believes the time that an attestation gives itself, where neither a log nor a timestamp authority
	// vouches for one: whoever holds the key can then make it as new as he likes. Default false.
	TrustStatementTime bool `mapstructure:"trust_statement_time"`

	// AdmitUncounted takes a scan that found nothing for clean although it does not tell how many packages it looked at.
	// Default false: a scanner that saw nothing finds nothing.
	AdmitUncounted bool `mapstructure:"admit_uncounted"`

	// Deny is an expression in CEL over each finding of a scan, or over any other attestation as a whole: where it is true,
	// the image is refused.
	Deny string `mapstructure:"deny"`

	// Where is an expression in CEL that must be true of the attestation.
	Where string `mapstructure:"where"`

	// VEX says whose OpenVEX attestations take findings from deny.
	VEX *VEXDocument `mapstructure:"vex"`

	// Grace lets what deny refuses pass for a while after it became public.
	Grace *GraceDocument `mapstructure:"grace"`

	// Builder lists builders of which one must have made the provenance, by their exact identifiers.
	Builder []string `mapstructure:"builder"`

	// SourceRepository lists repositories of which one must be the source, such as https://github.com/acme/app. Exact.
	SourceRepository []string `mapstructure:"source_repository"`

	// Ref lists refs of which one must have been built, such as refs/heads/main. In refs/heads/release-* the star is a part
	// of one path component, ** is one or more whole components.
	Ref []string `mapstructure:"ref"`

	// Workflow lists workflows or entry points of which one must have been run, such as .github/workflows/release.yml. Exact.
	Workflow []string `mapstructure:"workflow"`

	// Trigger lists events of which one must have started the build, such as push. Exact.
	Trigger []string `mapstructure:"trigger"`

	// PerPlatform demands it on the manifest of each platform itself, where otherwise that of an index which lists it will
	// do. The index itself then needs none. Default false.
	PerPlatform bool `mapstructure:"per_platform"`
}

// VEXDocument says whose word takes a finding from deny.
type VEXDocument struct {
	// By names authorities, each of whose word counts. What any of them said last decides.
	By []string `mapstructure:"by"`

	// MaxAge is the longest time ago that a finding was said not to matter. Default 2160h, 90 days.
	MaxAge time.Duration `mapstructure:"max_age"`

	// TrustStatementTime is as in [AttestedDocument], for VEX attestations. Default false.
	TrustStatementTime bool `mapstructure:"trust_statement_time"`
}

// GraceDocument says how long a finding is let pass after its vulnerability was published, with a warning. A finding of
// which the scan does not tell when that was has no grace.
type GraceDocument struct {
	// NewFindings is for findings that are not known to be exploited, at most 2160h. Default 0: none.
	NewFindings time.Duration `mapstructure:"new_findings"`

	// KnownExploited is for the others. Default 0: none.
	KnownExploited time.Duration `mapstructure:"known_exploited"`
}

// SignedBy names authorities, and how old their signatures may be. Exactly one of Any, All and Of is set.
type SignedBy struct {
	Any []string `mapstructure:"any"` // one of these
	All []string `mapstructure:"all"` // each of these

	Of      []string `mapstructure:"of"`       // AtLeast distinct ones of these
	AtLeast int      `mapstructure:"at_least"` // between 1 and the number of names in Of

	// MaxAge is the longest time since a signature was made, as a log or a timestamp authority says: then an image has to be
	// built and signed again. For signed_by of a pull alone. Default 0: no limit.
	MaxAge time.Duration `mapstructure:"max_age"`

	// TrustStatementTime believes the time that a signature gives itself, as podman's do, where neither a log nor a timestamp
	// authority vouches for one: whoever holds the key can then make it as new as he likes. It goes with MaxAge. Default false.
	TrustStatementTime bool `mapstructure:"trust_statement_time"`
}

// PushDocument is what happens to a push: the image is checked, then sealed.
type PushDocument struct {
	// Image lists the checks of the image itself.
	Image ImageDocument `mapstructure:"image"`

	// Scan has the image scanned for vulnerabilities.
	Scan *ScanDocument `mapstructure:"scan"`

	// Seal signs what passed.
	Seal *SealDocument `mapstructure:"seal"`

	// AcceptUnsealed stores what passed without signing it. It stands alone: it cannot be combined with Seal.
	AcceptUnsealed bool `mapstructure:"accept_unsealed"`

	// ImmutableTags are tags that are written once, by glob, such as v*: what they name is neither replaced nor deleted through
	// the gateway, in audit mode either. Default none.
	ImmutableTags []string `mapstructure:"immutable_tags"`
}

// ImageDocument lists the checks of an image. Each is allow, warn or deny where it names an action, and allow by default.
type ImageDocument struct {
	// NonRoot wants a user other than 0: a number, or a name that the image's own /etc/passwd gives a number. Default
	// allow.
	NonRoot string `mapstructure:"nonroot"`

	// RootGroup finds images that run in group 0. Default allow.
	RootGroup string `mapstructure:"root_group"`

	// Secrets finds keys, tokens and passwords in every layer, later deleted or not, and in the configuration. Default
	// allow.
	Secrets string `mapstructure:"secrets"`

	// Setuid finds files that run as their owner or group, whoever starts them. Default allow.
	Setuid string `mapstructure:"setuid"`

	// Capabilities finds files that carry capabilities. Default allow.
	Capabilities string `mapstructure:"capabilities"`

	// Devices finds device files. Default allow.
	Devices string `mapstructure:"devices"`

	// Paths finds names that unpackers treat differently: absolute ones, files that a layer has twice, links that lead
	// above the root. Default allow.
	Paths string `mapstructure:"paths"`

	// WorldWritable finds files and directories that everybody may change. Default allow.
	WorldWritable string `mapstructure:"world_writable"`

	// Minimal finds shells and package managers. Default allow.
	Minimal string `mapstructure:"minimal"`

	// Caches finds what package managers left behind. Default allow.
	Caches string `mapstructure:"caches"`

	// EndOfLife finds operating systems without support. Default allow.
	EndOfLife string `mapstructure:"end_of_life"`

	// Ports finds exposed ports of remote administration. Default allow.
	Ports string `mapstructure:"ports"`

	// Volumes finds volumes over parts of the system. Default allow.
	Volumes string `mapstructure:"volumes"`

	// Future finds images that say to be from the future. Default allow.
	Future string `mapstructure:"future"`

	// Platform finds images whose programs are for another machine than they say. Default allow.
	Platform string `mapstructure:"platform"`

	// History finds images whose history tells of other layers than they have. Default allow.
	History string `mapstructure:"history"`

	// Labels are what an image must say about itself.
	Labels *LabelsDocument `mapstructure:"labels"`

	// Profile wants a kind of small image.
	Profile *ProfileDocument `mapstructure:"profile"`

	// Base wants an approved base image.
	Base *BaseDocument `mapstructure:"base"`

	// BaseClaim finds images that say to stand on a base image of the list in Base, and do not. Default allow.
	BaseClaim string `mapstructure:"base_claim"`

	// Age finds images that say to have been made long ago.
	Age *AgeDocument `mapstructure:"age"`

	// Exceptions are reviewed and dated permissions to differ from a check.
	Exceptions []ExceptionDocument `mapstructure:"exceptions"`

	// MaxBytes bounds the sum of the compressed sizes, in bytes. Default 0, no bound.
	MaxBytes int64 `mapstructure:"max_bytes"`

	// MaxLayers bounds the number of layers. Default 127, which is what storage drivers can stack.
	MaxLayers int `mapstructure:"max_layers"`

	// MaxFiles bounds the number of files, directories and links in all layers together. Default 0, no bound but the million
	// that are read.
	MaxFiles int64 `mapstructure:"max_files"`
}

// LabelsDocument names labels.
type LabelsDocument struct {
	// Required are labels of the image's configuration that must be there and not empty.
	Required []string `mapstructure:"required"`

	// OnMiss is allow, warn or deny. Default deny.
	OnMiss string `mapstructure:"on_miss"`
}

// ProfileDocument names kinds of small images.
type ProfileDocument struct {
	// Any lists profiles of which the image has to be one: scratch, distroless, wolfi, alpine, no_shell, no_package_manager.
	Any []string `mapstructure:"any"`

	// OnMiss is allow, warn or deny. Default deny.
	OnMiss string `mapstructure:"on_miss"`
}

// BaseDocument says what an image may stand on.
type BaseDocument struct {
	// Approved is a file that lists approved base images by their diff ids.
	Approved string `mapstructure:"approved"`

	// MaxAge is the longest time since the day on which a base image was approved or refreshed, by the list's own word, from the
	// beginning of that day in UTC. At least 24h. Default 0: no limit.
	MaxAge time.Duration `mapstructure:"max_age"`

	// Scratch approves of images that stand on nothing: without os-release, shell and package manager. Default false.
	Scratch bool `mapstructure:"scratch"`

	// OnMiss is allow, warn or deny. Default deny.
	OnMiss string `mapstructure:"on_miss"`
}

// AgeDocument says how old an image may be by its own word: the configuration's date of creation, which is a claim. What does not
// say when it was made, or says a time before 2000 as reproducible builds do, is a miss as well.
type AgeDocument struct {
	// Max is the longest time since an image was made, such as 2160h.
	Max time.Duration `mapstructure:"max"`

	// OnMiss is allow, warn or deny. Default deny.
	OnMiss string `mapstructure:"on_miss"`
}

// ExceptionDocument is a permission to differ from a check.
type ExceptionDocument struct {
	// Check is the check's key under image, such as setuid.
	Check string `mapstructure:"check"`

	// Path is what it covers, by glob: a file such as usr/bin/su, or a part of the configuration. * is a part of one path
	// component, ** one or more whole components. Default empty: everything that the check finds.
	Path string `mapstructure:"path"`

	// Until is the last day of the exception in UTC, such as "2027-01-31".
	Until string `mapstructure:"until"`

	// Reason says why, for whoever reviews the policy.
	Reason string `mapstructure:"reason"`
}

// ScanDocument says who scans an image, and which findings stop it. Without a word about findings it refuses those of
// critical severity, of high severity where there is a fix, and those that are being exploited.
type ScanDocument struct {
	// Scanner is the name of the configured scanner.
	Scanner string `mapstructure:"scanner"`

	// Scanners are several, each of which has to find the image in order. It contradicts Scanner.
	Scanners []string `mapstructure:"scanners"`

	// Fixable refuses findings with a fix from a severity on: low, medium, high, critical or never. What nobody could rate
	// counts as above critical. Default high, and never where Deny is written.
	Fixable string `mapstructure:"fixable"`

	// Unfixable refuses findings without a fix from a severity on. Default critical, and never where Deny is written.
	Unfixable string `mapstructure:"unfixable"`

	// KnownExploited is deny or allow: what becomes of findings that the scanner knows to be exploited. Default deny.
	KnownExploited string `mapstructure:"known_exploited"`

	// Deny is an expression in CEL over each finding: where it is true, the image is refused.
	Deny string `mapstructure:"deny"`

	// Warn is an expression in CEL over each finding: where it is true, the client is warned.
	Warn string `mapstructure:"warn"`

	// DenyPackages is an expression in CEL over each package of the image, vulnerable or not: where it is true, the image is
	// refused. It needs a scanner that is embedded or a program.
	DenyPackages string `mapstructure:"deny_packages"`

	// MaxDatabaseAge is the longest time ago that the scanner's database was updated. Default 120h.
	MaxDatabaseAge time.Duration `mapstructure:"max_database_age"`

	// AdmitUndatedDatabase takes scans although the scanner does not tell how old its database is. Default false.
	AdmitUndatedDatabase bool `mapstructure:"admit_undated_database"`

	// OnIncomplete is warn or deny: what becomes of a scan that found nothing and recognised no package, or does not tell
	// how many. Default deny.
	OnIncomplete string `mapstructure:"on_incomplete"`

	// Exceptions are reviewed and dated permissions to carry a finding.
	Exceptions []FindingExceptionDocument `mapstructure:"exceptions"`
}

// FindingExceptionDocument is a permission to carry a finding that the rule would refuse.
type FindingExceptionDocument struct {
	// ID is a name of the vulnerability, such as CVE-2026-1000. Default: any.
	ID string `mapstructure:"id"`

	// Package is the name of the package, exactly. Default: any. One of id and package is required.
	Package string `mapstructure:"package"`

	// Until is the last day of the exception in UTC, such as "2027-01-31".
	Until string `mapstructure:"until"`

	// Reason says why, for whoever reviews the policy.
	Reason string `mapstructure:"reason"`
}

// SealDocument says how an admitted image is sealed.
type SealDocument struct {
	// Signer is the configured name of the signer.
	Signer string `mapstructure:"signer"`

	// Signers are several, who all sign, or none does. Instead of Signer.
	Signers []string `mapstructure:"signers"`

	// Scan attests what the scanners found. It needs push.scan. Default false.
	Scan bool `mapstructure:"scan"`

	// SBOM attests the bill of materials, in CycloneDX and SPDX. It needs push.scan. Default false.
	SBOM bool `mapstructure:"sbom"`

	// Summary attests the verdict as well: SLSA's verification summary, which says under which policy, when, on what grounds
	// and for whom the image was admitted. Default false.
	Summary bool `mapstructure:"summary"`
}

// clone copies all that a rule keeps, so that nobody changes it afterwards.
func (d *PullDocument) clone() *PullDocument {
	c := *d
	c.SignedBy = d.SignedBy.clone()
	c.Remap = slices.Clone(d.Remap)
	c.Attested = slices.Clone(d.Attested)
	for i := range c.Attested {
		a := &c.Attested[i]
		a.By = a.By.clone()
		if a.VEX != nil {
			vex := *a.VEX
			vex.By = slices.Clone(vex.By)
			a.VEX = &vex
		}
		if a.Grace != nil {
			grace := *a.Grace
			a.Grace = &grace
		}
		a.Builder, a.SourceRepository, a.Ref = slices.Clone(a.Builder), slices.Clone(a.SourceRepository), slices.Clone(a.Ref)
		a.Workflow, a.Trigger = slices.Clone(a.Workflow), slices.Clone(a.Trigger)
	}
	return &c
}

func (by *SignedBy) clone() *SignedBy {
	if by == nil {
		return nil
	}
	c := *by
	c.Any, c.All, c.Of = slices.Clone(by.Any), slices.Clone(by.All), slices.Clone(by.Of)
	return &c
}

func (d *PushDocument) clone() *PushDocument {
	c := *d
	c.Image, c.ImmutableTags = d.Image.clone(), slices.Clone(d.ImmutableTags)
	if d.Scan != nil {
		scan := *d.Scan
		scan.Scanners, scan.Exceptions = slices.Clone(scan.Scanners), slices.Clone(scan.Exceptions)
		c.Scan = &scan
	}
	if d.Seal != nil {
		seal := *d.Seal
		seal.Signers = slices.Clone(d.Seal.Signers)
		c.Seal = &seal
	}
	return &c
}

func (d ImageDocument) clone() ImageDocument {
	if d.Labels != nil {
		labels := *d.Labels
		labels.Required = slices.Clone(labels.Required)
		d.Labels = &labels
	}
	if d.Profile != nil {
		profile := *d.Profile
		profile.Any = slices.Clone(profile.Any)
		d.Profile = &profile
	}
	if d.Base != nil {
		base := *d.Base
		d.Base = &base
	}
	if d.Age != nil {
		age := *d.Age
		d.Age = &age
	}
	d.Exceptions = slices.Clone(d.Exceptions)
	return d
}
