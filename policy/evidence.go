package policy

import (
	"time"

	"github.com/opencontainers/go-digest"
)

// Subject is the one manifest that a decision is about: a repository, as clients of the gateway name it, and a digest.
// Never a tag.
type Subject struct {
	Repo   string
	Digest digest.Digest
}

func (s Subject) String() string { return s.Repo + "@" + s.Digest.String() }

// Evidence is what was proven about a subject, never what was merely claimed. The zero value proves nothing.
type Evidence struct {
	// Pinned says that the client named the digest itself instead of a tag.
	Pinned bool

	// Index says that the subject lists platforms, each with a manifest of its own that is judged when it is pulled.
	Index bool

	// Attestations that verified, of the types that the rule needs: one entry for each envelope and authority. The list is
	// complete: what could not be fetched is an error of whoever looked, and what was not opened is among Unread.
	Attestations []Attestation

	// Unread is what may be an attestation and was not opened, because it exceeds a bound. Nobody knows then which one is
	// the newest.
	Unread []Rejection

	// Signatures that verified, one entry for each signature and authority.
	Signatures []Signature

	// Proven is when it was proven. Evidence of one subject that was proven at one time is the same. Zero where nobody says.
	Proven time.Time

	// Remembered is set where the registry could not be asked what is attached: what is here was attached at that time.
	Remembered time.Time

	// Until is when it is no longer proven, because a certificate expires or a memory is too old. Zero is never.
	Until time.Time

	// Rejected is what was found and does not count. It explains a refusal; it never changes one.
	Rejected []Rejection
}

// Signature is a signature that an authority is proven to have made.
type Signature struct {
	// Authority is the configured name of who signed.
	Authority string

	// Signer is who signed: a key's fingerprint, or the subject and issuer of a certificate. Several authorities may accept
	// one signer, who is one all the same. Empty where an authority has but one.
	Signer string

	// Time is when the signature existed at the latest, as a trusted log or timestamp authority says. Zero where nobody says.
	Time time.Time

	// Witness is who vouches for Time, and the log that has the signature.
	Witness Witness

	// Claimed is the time that the signature gives itself, zero where it gives none. Only a rule can make a time of it: see
	// [SignedBy.TrustStatementTime].
	Claimed time.Time

	// Signed is the manifest that the signature names: the subject itself, or an admitted index of the same repository
	// that lists the subject.
	Signed digest.Digest

	// Evidence is the manifest that carries the signature, for the decision record, and Format how it does.
	Evidence digest.Digest
	Format   Format
}

// Rejection is a piece of evidence that was found but does not count.
type Rejection struct {
	Evidence digest.Digest // the manifest that carries it
	Format   Format        // how it does
	Code     string        // for programs, why; empty where it is not known so exactly
	Why      string        // for a person, one line

	// What it says of itself, each one line. Nothing of it is proven.
	PredicateType string // of a statement that could be read
	Claims        string // who signed, by its certificate or the name that it gives its key
}

// Format is how evidence is attached to a subject. It is told to people and decides nothing.
type Format string

// The formats.
const (
	FormatSignatureTag   Format = "sig"      // cosign v2's signature, under the tag sha256-<hex>.sig
	FormatAttestationTag Format = "att"      // cosign v2's attestation, under the tag sha256-<hex>.att
	FormatBundle         Format = "bundle"   // a Sigstore bundle in a manifest that refers to the subject
	FormatReferrer       Format = "referrer" // a manifest that refers to the subject, and was not opened
)

// Witness says who beside the signer knows of a signature, and is trusted. It is told to people and decides nothing. The zero
// value is nobody.
type Witness struct {
	Clock    string // who vouches for the time: the URL or name of a transparency log or a timestamp authority
	Log      string // the transparency log that the signature is in; empty where none was asked for
	LogIndex int64  // where in Log
}
