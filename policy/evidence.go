package policy

import "github.com/opencontainers/go-digest"

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

	// Signatures that verified, one entry for each signature and authority.
	Signatures []Signature

	// Rejected is what was found and does not count. It explains a refusal; it never changes one.
	Rejected []Rejection
}

// Signature is a signature that an authority is proven to have made.
type Signature struct {
	// Authority is the configured name of who signed.
	Authority string

	// Signed is the manifest that the signature names: the subject itself, or an admitted index of the same repository
	// that lists the subject.
	Signed digest.Digest

	// Evidence is the manifest that carries the signature, for the decision record.
	Evidence digest.Digest
}

// Rejection is a piece of evidence that was found but does not count.
type Rejection struct {
	Evidence digest.Digest // the manifest that carries it
	Why      string        // for a person, one line
}
