package ledger

import (
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/sealgate/sealgate/policy"
)

// Outcome is what became of a request.
type Outcome string

// The outcomes. Undecided is an outage, a timeout or a failed listing: it is answered like neither of the others.
const (
	Admit     Outcome = "admit"
	Deny      Outcome = "deny"
	Undecided Outcome = "undecided"
)

// Action is what was asked for.
type Action string

// The actions. Sign is to read a manifest, or to attach evidence, by a right to sign where pull or push would not do.
const (
	Pull   Action = "pull"
	Push   Action = "push"
	Delete Action = "delete"
	Sign   Action = "sign"
)

// Decision is a verdict given for one request. It holds what is needed to explain it later: who asked for what, under
// which policy, on which evidence.
type Decision struct {
	ID      string    `json:"id"` // a ULID: it sorts by time
	Time    time.Time `json:"time"`
	Action  Action    `json:"action"`
	Outcome Outcome   `json:"outcome"`

	// Audit says that the policy is in audit mode: whatever the outcome, the request was served.
	Audit bool `json:"audit,omitempty"`

	Client    string `json:"client"`             // the address that asked
	Identity  string `json:"identity,omitempty"` // who asked; anonymous who did not say; empty where nobody is asked
	UserAgent string `json:"user_agent,omitempty"`
	Method    string `json:"method"`

	// Who vouches for the client and what it calls it, where it showed an id-token or a certificate.
	IdentityIssuer  string `json:"identity_issuer,omitempty"`
	IdentitySubject string `json:"identity_subject,omitempty"`

	Repo      string        `json:"repo"`
	Reference string        `json:"reference"` // the tag or digest as asked for
	Digest    digest.Digest `json:"digest,omitempty"`

	Policy        string `json:"policy,omitempty"`
	PolicyVersion string `json:"policy_version"`

	Reasons  []policy.Reason `json:"reasons,omitempty"`
	Warnings []policy.Reason `json:"warnings,omitempty"`

	// Evidence lists the manifests that carry what the verdict rests on, and for a push the seal.
	Evidence []digest.Digest `json:"evidence,omitempty"`

	// Remembered is set where the registry could not be asked what is attached: the verdict rests on what was attached at
	// that time.
	Remembered time.Time `json:"remembered,omitzero"`

	// Cause is why an undecided request could not be decided. It is for the log alone: clients never see it.
	Cause string `json:"cause,omitempty"`
}
