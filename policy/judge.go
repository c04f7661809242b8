package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Judge says whether a subject may be pulled, from what was proven about it at a time. It is a pure function, and taking
// evidence that speaks for an image away never turns a refusal into an admit. An attestation that speaks against it can be
// hidden only by whoever can hide it from the one who looked: see [Evidence.Attestations].
func (r *Rule) Judge(s Subject, ev Evidence, at time.Time) Verdict {
	if r == nil {
		return verdict([]Reason{noPolicy(s)}, nil)
	}
	if r.pull == nil || r.demandsNothing() {
		return verdict([]Reason{{
			Code: PullClosed, Requirement: "pull", Subject: s.Digest.String(),
			Why: "the policy allows no pull",
			Fix: "ask whoever keeps the policy to add a pull section",
		}}, nil)
	}

	var reasons, warnings []Reason
	if by := r.pull.SignedBy; by != nil {
		if reason := r.signedBy(s, ev, at); reason != nil {
			reasons = append(reasons, *reason)
		}
	}
	for _, q := range r.attested {
		reason, passed := q.judge(s, ev, at)
		if reason != nil {
			reasons = append(reasons, *reason)
		}
		warnings = append(warnings, passed...)
	}
	if r.pull.DigestOnly && !ev.Pinned {
		reasons = append(reasons, Reason{
			Code: Unpinned, Requirement: "digest_only", Subject: s.Digest.String(),
			Why: "a tag can move, only digests are served here",
			Fix: "pin it: {pinned}",
		})
	}
	return verdict(reasons, warnings)
}

// demandsNothing reports a pull section that nothing could fail, and that does not say so.
func (r *Rule) demandsNothing() bool {
	if len(r.attested) != len(r.pull.Attested) {
		return true // not compiled
	}
	return r.pull.SignedBy == nil && len(r.attested) == 0 && !r.pull.AdmitUnverified
}

func noPolicy(s Subject) Reason {
	return Reason{
		Code: NoPolicy, Requirement: "a policy that names the repository", Subject: s.Digest.String(),
		Why: "no policy names this repository",
		Fix: "ask whoever keeps the policies to add it under repositories",
	}
}

// signedBy returns nil when enough distinct authorities signed, and not too long ago.
func (r *Rule) signedBy(s Subject, ev Evidence, at time.Time) *Reason {
	by, all := r.pull.SignedBy, ev.Signatures
	ev.Signatures = by.timely(all, at)
	names, need, words := by.wants()
	var missing []string
	for _, name := range names {
		if !ev.signedBy(name) {
			missing = append(missing, name)
		}
	}
	// An empty list is met by nobody: need is at least one.
	have := len(names) - len(missing)
	if need >= 1 && have >= need && (need == 1 || ev.distinct(names) >= need) {
		return nil
	}

	reason := Reason{
		Code: Untrusted, Requirement: "signed_by " + words, Subject: s.Digest.String(),
	}
	reason.Causes = ev.causes()
	found := len(ev.Signatures) + len(ev.Rejected)
	reason.Fix = r.signingFix(missing, need-have, found > 0, s)
	switch {
	case need >= 1 && have >= need:
		reason.Why = fmt.Sprintf("%d signers are wanted, and %s accept the same one", need, strings.Join(ev.signers(), " and "))
		reason.Fix = fmt.Sprintf("have somebody else sign it too, in the registry behind the gateway: cosign sign …@%s", s.Digest)
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
	if by.MaxAge > 0 {
		by.sayAge(&reason, missing, or(need, names), all, at)
	}
	return &reason
}

// signingFix says how a subject gets the signatures that it lacks. A push through the gateway brings the seal, and so does
// sealing what is there, as somebody signed: perhaps we, with a key that counts no more. The others sign where the image is
// kept, because the gateway does not show it to them before they did.
func (r *Rule) signingFix(missing []string, lacking int, signed bool, s Subject) string {
	others := slices.DeleteFunc(slices.Clone(missing), func(name string) bool { return name == r.sealer })
	sealable := len(others) < len(missing)
	sign := fmt.Sprintf("have it signed in the registry behind the gateway: cosign sign …@%s", s.Digest)
	switch {
	case sealable && lacking == 1 && signed:
		return sealAgain(s)
	case sealable && lacking == 1:
		return "push it through the gateway"
	case sealable:
		return "push it through the gateway, and have it signed by " + strings.Join(others, ", ")
	}
	return sign
}

// sealAgain says how a subject gets a seal of now.
func sealAgain(s Subject) string {
	return shown(maxFix, "push it through the gateway again, or seal what is there: sealgate seal %s", s)
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

// distinct is the most of the named authorities that can each be given a signer of its own: a signature that two of them
// accept is one signature.
func (ev Evidence) distinct(names []string) int {
	of := map[string][]string{} // signers by authority
	for _, sig := range ev.Signatures {
		signer := sig.Signer
		if signer == "" {
			signer = "\x00" + sig.Authority // the authority has but one
		}
		if slices.Contains(names, sig.Authority) && !slices.Contains(of[sig.Authority], signer) {
			of[sig.Authority] = append(of[sig.Authority], signer)
		}
	}

	// The augmenting paths of bipartite matching: an authority may take a signer whose holder finds another one.
	holder := map[string]string{} // authority by signer
	var place func(name string, asked map[string]bool) bool
	place = func(name string, asked map[string]bool) bool {
		for _, signer := range of[name] {
			if asked[signer] {
				continue
			}
			asked[signer] = true
			if by, taken := holder[signer]; !taken || place(by, asked) {
				holder[signer] = name
				return true
			}
		}
		return false
	}
	count := 0
	for _, name := range names {
		if place(name, map[string]bool{}) {
			count++
		}
	}
	return count
}

func (ev Evidence) causes() []string {
	const most = 8
	var codes []string
	for _, r := range ev.Rejected {
		if r.Code != "" && len(codes) < most && !slices.Contains(codes, r.Code) {
			codes = append(codes, r.Code)
		}
	}
	return codes
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

// JudgePush says whether an image may be stored and sealed at a time, from what was read from the image itself and what
// scanners found in it. It is a pure function, and what was not read does not speak for an image: see [Rule.ImageNeeds] and
// [Rule.Scanners].
func (r *Rule) JudgePush(s Subject, image Image, at time.Time) Verdict {
	before := r.JudgeImage(s, image, at)
	if r == nil || r.push == nil || r.scan == nil {
		return before
	}
	reasons, warnings := r.judgeScans(s, image, at)
	return verdict(append(slices.Clip(before.reasons), reasons...), append(slices.Clip(before.warnings), warnings...))
}

// JudgeImage is the part of [Rule.JudgePush] that needs no scan. It admits what the scans have yet to be held against: only
// its refusals are final.
func (r *Rule) JudgeImage(s Subject, image Image, at time.Time) Verdict {
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
	if content := image.Content; limits.MaxFiles > 0 && content != nil && content.Entries > limits.MaxFiles {
		reasons = append(reasons, Reason{
			Code: TooManyFiles, Requirement: fmt.Sprintf("image max_files %d", limits.MaxFiles), Subject: s.Digest.String(),
			Why: fmt.Sprintf("it has %d files, directories and links, %d are allowed", content.Entries, limits.MaxFiles),
			Fix: "use a smaller base image and a multi-stage build",
		})
	}
	return verdict(reasons, warnings)
}
