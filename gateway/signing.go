package gateway

import (
	"errors"
	"fmt"

	"github.com/sealgate/sealgate/gateway/ledger"
	"github.com/sealgate/sealgate/gateway/upstream"
	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/policy/manifest"
)

// Who signs reads what it signs: cosign GETs the manifest, which the policy refuses for want of the very signature. A right to
// sign admits that, as an action of its own that is no pull: it gives manifests and evidence and no layer, it does not make an
// index one that was pulled, and nobody has it who was not given it by name.

// forSigning turns the refusal of a manifest into an admit for who may sign. An outage stays one: it is not known then what
// the signer would be shown.
func (x *exchange) forSigning(j judgement) (ledger.Action, judgement) {
	refused := j.err == nil && !j.verdict.Admitted()
	switch {
	case x.signsOnly && j.err == nil:
	case x.signs && refused && !x.rule.Audit() && !x.headsForPush():
	default:
		return ledger.Pull, j
	}
	return ledger.Sign, judgement{verdict: policy.AdmitToSign(j.verdict), evidence: j.evidence}
}

// headsForPush reports the HEAD of who both pushes and signs that is about a push: cosign asks by HEAD as well for what it
// signs, and its token is then for pulling.
func (x *exchange) headsForPush() bool {
	if x.byToken {
		return x.t.Head && x.mayPushByToken()
	}
	return x.asksBeforePush()
}

// attaching is what attaching evidence is for the record.
func (x *exchange) attaching() ledger.Action {
	if x.signsOnly {
		return ledger.Sign
	}
	return ledger.Push
}

// refuseBeyondSigning refuses what a right to sign is not enough for.
func (g *Gateway) refuseBeyondSigning(x *exchange, right policy.Right) error {
	verdict := x.rule.Authorize(policy.Subject{Repo: x.t.Repo, Digest: x.t.Digest}, x.Client, right)
	return g.enforce(x, ledger.Action(right), x.t.Digest, judgement{verdict: verdict, strict: true})
}

// pullEvidenceBlob serves a blob to who may sign and not pull: what holds a signature or attestation, and nothing that runs.
func (g *Gateway) pullEvidenceBlob(x *exchange) error {
	raw, err := x.registry.Blob(x.r.Context(), x.name, x.t.Digest, manifest.MaxBytes)
	switch {
	case errors.Is(err, upstream.ErrTooLarge) || err == nil && !isEvidencePayload(raw):
		return g.refuseBeyondSigning(x, policy.Pull)
	case err != nil:
		return fmt.Errorf("read blob %s: %w", x.t.Digest, err)
	}
	return g.serveSmall(x, raw)
}
