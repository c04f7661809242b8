package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Judge says whether a subject may be pulled, from what was proven about it at a time. It is a pure function, and taking
// evidence away never turns a refusal into an admit.
func (r *Rule) Judge(s Subject, ev Evidence, at time.Time) Verdict {
	if r == nil {
		return verdict([]Reason{noPolicy(s)}, nil)
	}
	if r.pull == nil || r.pull.SignedBy == nil && !r.pull.AdmitUnverified {
		return verdict([]Reason{{
			Code: PullClosed, Requirement: "pull", Subject: s.Digest.String(),
			Why: "the policy allows no pull",
			Fix: "ask whoever keeps the policy to add a pull section",
		}}, nil)
	}

	var reasons []Reason
	if by := r.pull.SignedBy; by != nil {
		if reason := r.signedBy(s, ev); reason != nil {
			reasons = append(reasons, *reason)
		}
	}
	if r.pull.DigestOnly && !ev.Pinned {
		reasons = append(reasons, Reason{
			Code: Unpinned, Requirement: "digest_only", Subject: s.Digest.String(),
			Why: "a tag can move, only digests are served here",
			Fix: "pin it: {pinned}",
		})
	}
	return verdict(reasons, nil)
}

func noPolicy(s Subject) Reason {
	return Reason{
		Code: NoPolicy, Requirement: "a policy that names the repository", Subject: s.Digest.String(),
		Why: "no policy names this repository",
		Fix: "ask whoever keeps the policies to add it under repositories",
	}
}

// signedBy returns nil when enough distinct authorities signed.
func (r *Rule) signedBy(s Subject, ev Evidence) *Reason {
	by := r.pull.SignedBy
	names, need, words := by.wants()
	var missing []string
	for _, name := range names {
		if !ev.signedBy(name) {
			missing = append(missing, name)
		}
	}
	// An empty list is met by nobody: need is at least one.
	if have := len(names) - len(missing); need >= 1 && have >= need {
		return nil
	}

	reason := Reason{
		Code: UntrustedSign, Requirement: "signed_by " + words, Subject: s.Digest.String(),
		Fix: "have it signed by " + strings.Join(missing, or(need, names)) + ": cosign sign {pinned}",
	}
	if r.seals {
		reason.Fix = "push it through the gateway, or have it signed: cosign sign {pinned}"
	}
	found := len(ev.Signatures) + len(ev.Rejected)
	switch {
	case found == 0:
		reason.Code = Unsigned
		reason.Why = fmt.Sprintf("no signature by %s (found none)", strings.Join(missing, or(need, names)))
	case len(ev.Signatures) == 0:
		reason.Why = fmt.Sprintf("no signature by %s (found %d that do not count: %s)",
			strings.Join(missing, or(need, names)), found, ev.Rejected[0].Why)
	default:
		reason.Why = fmt.Sprintf("no signature by %s (found %d by %s)",
			strings.Join(missing, or(need, names)), len(ev.Signatures), strings.Join(ev.signers(), ", "))
	}
	return &reason
}

// wants is the requirement in one form: how many of which names, and how the policy words it.
func (by *SignedBy) wants() (names []string, need int, words string) {
	switch {
	case by.Any != nil:
		return by.Any, 1, "any of " + strings.Join(by.Any, ", ")
	case by.All != nil:
		return by.All, len(by.All), "all of " + strings.Join(by.All, ", ")
	default:
		return by.Of, by.AtLeast, fmt.Sprintf("at least %d of %s", by.AtLeast, strings.Join(by.Of, ", "))
	}
}

func or(need int, names []string) string {
	if need == len(names) {
		return " and "
	}
	return " or "
}

func (ev Evidence) signedBy(authority string) bool {
	return slices.ContainsFunc(ev.Signatures, func(sig Signature) bool { return sig.Authority == authority })
}

func (ev Evidence) signers() []string {
	var names []string
	for _, sig := range ev.Signatures {
		if !slices.Contains(names, sig.Authority) {
			names = append(names, sig.Authority)
		}
	}
	return names
}

// JudgePush says whether an image may be stored and sealed at a time, from what was read from the image itself. It is a
// pure function, and what was not read does not speak for an image: see [Rule.Needs].
func (r *Rule) JudgePush(s Subject, image Image, at time.Time) Verdict {
	if r == nil {
		return verdict([]Reason{noPolicy(s)}, nil)
	}
	if r.push == nil || r.push.Seal == nil && !r.push.AcceptUnsealed {
		return verdict([]Reason{{
			Code: PushClosed, Requirement: "push", Subject: s.Digest.String(),
			Why: "the policy allows no push",
			Fix: "push to a repository that is meant for it, or ask whoever keeps the policy to add a push section",
		}}, nil)
	}

	reasons, warnings := r.judgeImage(s, image, at)
	limits := r.push.Image
	if image.Layers > limits.MaxLayers {
		reasons = append(reasons, Reason{
			Code: TooManyLayers, Requirement: fmt.Sprintf("image max_layers %d", limits.MaxLayers), Subject: s.Digest.String(),
			Why: fmt.Sprintf("it has %d layers, %d are allowed", image.Layers, limits.MaxLayers),
			Fix: "join RUN steps, or squash the image",
		})
	}
	if limits.MaxBytes > 0 && image.Bytes > limits.MaxBytes {
		reasons = append(reasons, Reason{
			Code: TooLarge, Requirement: fmt.Sprintf("image max_bytes %d", limits.MaxBytes), Subject: s.Digest.String(),
			Why: fmt.Sprintf("it has %d bytes compressed, %d are allowed", image.Bytes, limits.MaxBytes),
			Fix: "use a smaller base image and a multi-stage build",
		})
	}
	return verdict(reasons, warnings)
}
