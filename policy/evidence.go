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

	// Signed is the manifest that the signature names: the subject itself, or an admitted index of the same repository
	// that lists the subject.
	Signed digest.Digest

	// Evidence is the manifest that carries the signature, for the decision record.
	Evidence digest.Digest
}

// Rejection is a piece of evidence that was found but does not count.
type Rejection struct {
	Evidence digest.Digest // the manifest that carries it
	Code     string        // for programs, why; empty where it is not known so exactly
	Why      string        // for a person, one line
}
