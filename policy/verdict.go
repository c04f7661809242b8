package policy

import "strings"

// Verdict is the judgement of one subject under one rule. The zero value denies.
type Verdict struct {
	admitted bool
	reasons  []Reason
	warnings []Reason
}

// Admitted reports whether the subject may pass. Nothing but a rule that found all its requirements met sets it.
func (v Verdict) Admitted() bool { return v.admitted }

// Reasons says why the verdict is not an admit, the most important first. It is empty for an admit.
func (v Verdict) Reasons() []Reason { return v.reasons }

// Warnings are findings that the rule reports without refusing.
func (v Verdict) Warnings() []Reason { return v.warnings }

// verdict admits only what has no reason against it.
func verdict(reasons, warnings []Reason) Verdict {
	return Verdict{admitted: len(reasons) == 0, reasons: reasons, warnings: warnings}
}

// AdmitEvidence is the verdict on Sigstore's own material: signatures and attestations protect images and run nowhere, so
// they pass wherever a rule names the repository. The caller vouches that it looked at the content.
func AdmitEvidence() Verdict { return verdict(nil, nil) }

// AdmitToSign is the verdict on a manifest that somebody reads who may sign it. What a pull would be refused for stays with it
// as warnings.
func AdmitToSign(pull Verdict) Verdict { return verdict(nil, pull.reasons) }

// Code names a reason for programs. Codes are a promise: they are listed in docs/policy.md and never change meaning.
type Code string

// The reasons that a policy gives.
const (
	NoPolicy      Code = "NO_POLICY"       // no rule names the repository
	Forbidden     Code = "FORBIDDEN"       // the client has no right to do this here
	PullClosed    Code = "PULL_CLOSED"     // the rule has no pull section
	PushClosed    Code = "PUSH_CLOSED"     // the rule has no push section
	Unpinned      Code = "UNPINNED"        // a tag was asked for where only digests are served
	Unsigned      Code = "UNSIGNED"        // no signature at all
	Untrusted     Code = "UNTRUSTED"       // signatures, but too few by the authorities that the rule wants
	RunsAsRoot    Code = "RUNS_AS_ROOT"    // the container would run as root, or nobody can tell
	TooLarge      Code = "IMAGE_TOO_LARGE" // more bytes than the rule allows
	TooManyLayers Code = "TOO_MANY_LAYERS" // more layers than the rule allows
	TooManyFiles  Code = "TOO_MANY_FILES"  // more files than the rule allows
)

// The reasons that come from looking into an image.
const (
	Uninspectable    Code = "UNINSPECTABLE"     // nobody can say what is in it
	HoldsSecrets     Code = "SECRETS"           // keys, tokens or passwords
	RunsInRootGroup  Code = "ROOT_GROUP"        // the container would run in group 0, or nobody can tell
	UnapprovedBase   Code = "UNAPPROVED_BASE"   // it stands on none of the base images that the rule wants
	FalseBaseClaim   Code = "FALSE_BASE_CLAIM"  // it says to stand on a base image whose layers it does not have
	TooOld           Code = "IMAGE_TOO_OLD"     // it was made longer ago than the rule allows by its own word, or does not say when
	EndOfLife        Code = "END_OF_LIFE"       // its operating system gets no security fixes any more
	Setuid           Code = "SETUID"            // files that run as their owner or group
	FileCapabilities Code = "FILE_CAPABILITIES" // files with capabilities
	DeviceFiles      Code = "DEVICE_FILES"      // device files
	OddPaths         Code = "ODD_PATHS"         // names that unpackers treat differently
	WorldWritable    Code = "WORLD_WRITABLE"    // files that everybody may change
	NotMinimal       Code = "NOT_MINIMAL"       // a shell or a package manager
	AnotherProfile   Code = "ANOTHER_PROFILE"   // it is none of the kinds of small images that the rule wants
	PackageCaches    Code = "PACKAGE_CACHES"    // what package managers left behind
	SensitivePorts   Code = "SENSITIVE_PORTS"   // a port of remote administration
	SensitiveVolumes Code = "SENSITIVE_VOLUMES" // a volume over a part of the system
	MissingLabels    Code = "MISSING_LABELS"    // labels that the rule wants
	FromTheFuture    Code = "FROM_THE_FUTURE"   // it was made later than now
	AnotherPlatform  Code = "ANOTHER_PLATFORM"  // its programs are for another machine than it says
	AnotherHistory   Code = "ANOTHER_HISTORY"   // its history tells of other layers
	CheckExcepted    Code = "CHECK_EXCEPTED"    // a warning: an exception covers what a check found
	NotScanned       Code = "NOT_SCANNED"       // a scanner that the rule names did not scan it
	ForbiddenPackage Code = "FORBIDDEN_PACKAGE" // a package that the rule denies
	FindingsExcepted Code = "FINDINGS_EXCEPTED" // an exception covers what a scanner found
)

// The reasons that a policy gives about attestations.
const (
	NotAttested        Code = "NOT_ATTESTED"          // no attestation of the type by enough of the authorities that the rule wants
	EvidenceUnread     Code = "EVIDENCE_UNREAD"       // something that may be an attestation is too large or too much to be read
	Malformed          Code = "ATTESTATION_MALFORMED" // the newest one lacks what its type has to have
	Untimed            Code = "UNTIMED"               // the rule has a time limit, and nobody vouches for a time
	Stale              Code = "STALE"                 // older than the rule allows
	StaleDatabase      Code = "STALE_DATABASE"        // the scanner's database is older than the rule allows, or of unknown age
	FutureDated        Code = "FUTURE_DATED"          // from the future
	IncompleteScan     Code = "INCOMPLETE_SCAN"       // nothing found, and not shown that anything was looked at
	ForbiddenFinding   Code = "FORBIDDEN_FINDING"     // a finding that the rule denies
	ForbiddenContent   Code = "FORBIDDEN_CONTENT"     // what is attested meets deny, or does not meet where
	ProvenanceMismatch Code = "PROVENANCE_MISMATCH"   // another builder, source, ref, workflow or trigger than the rule names
	ExpressionFailed   Code = "EXPRESSION_FAILED"     // an expression asks for what the attestation does not tell
	FindingsCleared    Code = "FINDINGS_CLEARED"      // a warning: findings that the rule denies, and somebody's word is that they do not matter
	FindingsInGrace    Code = "FINDINGS_IN_GRACE"     // a warning: findings that the rule denies, and that are too new to
)

// The reasons that the gateway gives to protect evidence, whatever a rule says.
const (
	EvidenceProtected Code = "EVIDENCE_PROTECTED" // it would remove or replace what protects an image
	EvidenceMisplaced Code = "EVIDENCE_MISPLACED" // a tag that is kept for evidence would name something else
	EvidenceTooMuch   Code = "EVIDENCE_TOO_MUCH"  // more referrers, or larger ones, than a verifier would read
)

// The reasons that the gateway gives for what a rule says of tags and blobs.
const (
	TagImmutable     Code = "TAG_IMMUTABLE"     // the tag names something else, and is written once
	BlobUnreferenced Code = "BLOB_UNREFERENCED" // no manifest that is known here and admitted names the blob
)

// Refuse is the verdict of the gateway itself, where no rule is asked.
func Refuse(reason Reason) Verdict { return verdict([]Reason{reason}, nil) }

// Reason is one requirement that is not met.
type Reason struct {
	Code        Code   `json:"code"`
	Requirement string `json:"requirement"` // the rule's words, such as "signed_by any of gateway, ci"
	Subject     string `json:"subject"`     // the digest that it is about

	// Why says what is wrong and Fix what to do about it, each one line for a person. A Fix may hold the placeholders
	// {image} and {pinned}, which the gateway knows and the policy does not: see [Reason.FixFor].
	Why string `json:"why"`
	Fix string `json:"fix,omitempty"`

	// Findings are vulnerabilities, one line each for a person, the worst first.
	Findings []string `json:"findings,omitempty"`

	// Causes are the codes of the evidence that was found and does not count, each once, at most eight.
	Causes []string `json:"causes,omitempty"`
}

// FixFor is the fix with the image's names filled in: image as the person asked for it, pinned with its digest.
func (r Reason) FixFor(image, pinned string) string {
	return strings.NewReplacer("{image}", image, "{pinned}", pinned).Replace(r.Fix)
}
