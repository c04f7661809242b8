package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/verifier"
)

// attached is all that is attached to one manifest. Its JSON is a promise: see docs/inspect.md.
type attached struct {
	Signatures   []exhibit `json:"signatures"`
	Attestations []exhibit `json:"attestations"`
	Others       []exhibit `json:"others"`            // what is neither, or cannot be read
	Unknown      string    `json:"unknown,omitempty"` // why it could not be found out what is there
}

// exhibit is one piece of what is attached. Only what stands beside Verified is proven.
type exhibit struct {
	Verified bool  `json:"verified"`         // an authority is proven to have made it
	Counts   *bool `json:"counts,omitempty"` // the policy asks for it (of verify)

	Authorities []string   `json:"authorities,omitempty"` // whose it is
	Signer      string     `json:"signer,omitempty"`      // a key's fingerprint, or subject and issuer of a certificate
	Time        *time.Time `json:"time,omitempty"`        // when it existed at the latest
	Clock       string     `json:"clock,omitempty"`       // who vouches for the time
	Claimed     *time.Time `json:"claimed,omitempty"`     // the time that a signature gives itself
	Log         string     `json:"log,omitempty"`         // the transparency log that it has to be in, and is
	LogIndex    *int64     `json:"log_index,omitempty"`

	Format        policy.Format `json:"format"`
	Manifest      digest.Digest `json:"manifest"` // that carries it
	PredicateType string        `json:"predicate_type,omitempty"`
	ArtifactType  string        `json:"artifact_type,omitempty"` // as the list of referrers has it: a claim
	Claims        string        `json:"claims,omitempty"`        // who it says to be by, where it is not verified
	Summary       *summary      `json:"summary,omitempty"`       // of what is attested

	Code string `json:"code,omitempty"` // why it does not count
	Why  string `json:"why,omitempty"`

	sources []int // in the evidence, of what is proven
}

// newAttached sorts evidence. A signature that two authorities accept is one exhibit.
func newAttached(ev policy.Evidence) attached {
	a := attached{Signatures: []exhibit{}, Attestations: []exhibit{}, Others: []exhibit{}}
	for i, sig := range ev.Signatures {
		e := exhibit{sources: []int{i}, Signer: plain(sig.Signer), Format: sig.Format, Manifest: sig.Evidence}
		if sig.Format != policy.FormatSignatureTag {
			e.PredicateType = verifier.SignaturePredicate
		}
		e.prove(sig.Authority, sig.Time, sig.Witness)
		e.Claimed = told(sig.Claimed)
		a.Signatures = addProven(a.Signatures, e)
	}
	for i := range ev.Attestations {
		at := &ev.Attestations[i]
		e := exhibit{
			sources: []int{i}, Signer: plain(at.Signer), Format: at.Format, Manifest: at.Evidence, PredicateType: plain(at.PredicateType), Summary: summarise(at),
		}
		e.prove(at.Authority, at.Vouched, at.Witness)
		a.Attestations = addProven(a.Attestations, e)
	}
	for _, r := range ev.Rejected {
		e := exhibit{
			Format: r.Format, Manifest: r.Evidence, PredicateType: plain(r.PredicateType), Claims: plain(r.Claims), Code: r.Code, Why: plain(r.Why),
		}
		switch {
		case r.Format == policy.FormatSignatureTag || r.PredicateType == verifier.SignaturePredicate:
			a.Signatures = append(a.Signatures, e)
		case r.Format == policy.FormatAttestationTag || r.PredicateType != "":
			a.Attestations = append(a.Attestations, e)
		default:
			a.Others = append(a.Others, e)
		}
	}
	return a
}

func (e *exhibit) prove(authority string, at time.Time, w policy.Witness) {
	e.Verified, e.Authorities = true, []string{authority}
	if !at.IsZero() {
		at = at.UTC()
		e.Time, e.Clock = &at, plain(w.Clock)
	}
	if w.Log != "" {
		e.Log, e.LogIndex = plain(w.Log), &w.LogIndex
	}
}

// addProven adds an exhibit, or its authority to the exhibit that is the same thing. Several attestations may be in one
// manifest and alike in all that is told here; then they are told once.
func addProven(all []exhibit, e exhibit) []exhibit {
	for i := range all {
		same := &all[i]
		if same.Manifest == e.Manifest && same.Signer == e.Signer && same.PredicateType == e.PredicateType &&
			!slices.Contains(same.Authorities, e.Authorities[0]) {
			same.Authorities, same.sources = append(same.Authorities, e.Authorities...), append(same.sources, e.sources...)
			return all
		}
	}
	return append(all, e)
}

// addOthers adds what refers to the manifest and was not taken for evidence.
func (a *attached) addOthers(listed []ocispec.Descriptor) {
	for _, d := range listed {
		seen := func(e exhibit) bool { return e.Manifest == d.Digest }
		if !slices.ContainsFunc(slices.Concat(a.Signatures, a.Attestations, a.Others), seen) {
			a.Others = append(a.Others, exhibit{
				Format: policy.FormatReferrer, Manifest: d.Digest, ArtifactType: plain(cmp.Or(d.ArtifactType, d.MediaType)),
				Why: "neither a signature nor an attestation that is read here",
			})
		}
	}
}

// carries reports that some of the manifests are attached here.
func (a attached) carries(manifests []digest.Digest) bool {
	return slices.ContainsFunc(slices.Concat(a.Signatures, a.Attestations), func(e exhibit) bool { return slices.Contains(manifests, e.Manifest) })
}

func (a attached) empty() bool {
	return len(a.Signatures)+len(a.Attestations)+len(a.Others) == 0 && a.Unknown == ""
}

// hold marks what a rule looks at at a time, and says why it does not look at the rest. ev is what the exhibits were made of.
func (a *attached) hold(r *policy.Rule, s policy.Subject, ev policy.Evidence, at time.Time) {
	standings := r.StandingOfAttestations(s, ev)
	for i := range a.Signatures {
		a.Signatures[i].hold("signature", func(source int) (policy.Standing, string) { return r.StandingOfSignature(ev.Signatures[source], at) })
	}
	for i := range a.Attestations {
		a.Attestations[i].hold("attestation of this type", func(source int) (policy.Standing, string) { return standings[source], "" })
	}
}

func (e *exhibit) hold(what string, standing func(source int) (policy.Standing, string)) {
	best, late := policy.Unasked, ""
	for _, source := range e.sources {
		one, why := standing(source)
		best, late = max(best, one), cmp.Or(late, why)
	}
	switch {
	case !e.Verified: // that says enough
	case best == policy.Outdated:
		e.Why = "a newer one decides"
	case best == policy.Late:
		e.Why = "it " + late
	case best == policy.Unasked:
		e.Why = fmt.Sprintf("the policy asks for no %s by %s", what, strings.Join(e.Authorities, " or "))
	}
	counts := best == policy.Decides
	e.Counts = &counts
}

// draw puts what is attached below a tree.
func (a attached) draw(t *tree, p painter) {
	if a.Unknown != "" {
		t.row("attached", p.paint(yellow, "cannot be found out")+": "+a.Unknown)
	}
	for _, group := range []struct {
		name string
		all  []exhibit
	}{{"signatures", a.Signatures}, {"attestations", a.Attestations}, {"also attached", a.Others}} {
		if len(group.all) == 0 {
			continue
		}
		below := t.add(group.name)
		for _, e := range group.all {
			e.draw(below, p)
		}
	}
}

func (e exhibit) draw(t *tree, p painter) {
	mark := p.paint(red, "✗")
	switch {
	case e.Verified && (e.Counts == nil || *e.Counts):
		mark = p.paint(green, "✓")
	case e.Verified:
		mark = "·"
	case e.ArtifactType != "":
		mark = "·"
	}
	var words []string
	if e.PredicateType != verifier.SignaturePredicate {
		words = append(words, predicateName(e.PredicateType))
	}
	words = append(words, e.ArtifactType)
	if len(e.Authorities) > 0 {
		words = append(words, "by "+p.paint(bold, strings.Join(e.Authorities, " and by "))+",")
	}
	words = append(words, e.where())
	below := t.add(mark + " " + strings.Join(slices.DeleteFunc(words, func(w string) bool { return w == "" }), " "))
	if !e.Verified || e.Why != "" {
		below.row("why", strings.TrimSpace(e.Why+" "+inParentheses(e.Code)))
	}
	if e.Claims != "" {
		below.row("claims", "to be by "+e.Claims)
	}
	below.row("signer", e.who())
	if e.Time != nil {
		below.row("time", e.Time.Format(time.RFC3339)+", as "+cmp.Or(e.Clock, "somebody trusted")+" says")
	} else if claimed := e.claimed(); claimed != nil {
		below.row("time", claimed.Format(time.RFC3339)+", it says, and nobody vouches for it")
	}
	if e.LogIndex != nil {
		below.row("log", fmt.Sprintf("entry %d of %s", *e.LogIndex, e.Log))
	}
	for _, row := range e.Summary.rows(p) {
		below.row(row[0], row[1])
	}
}

// claimed is the time that an exhibit gives itself, nil where it gives none.
func (e exhibit) claimed() *time.Time {
	if e.Claimed == nil && e.Summary != nil {
		return e.Summary.Claimed
	}
	return e.Claimed
}

func inParentheses(code string) string {
	if code == "" {
		return ""
	}
	return "(" + code + ")"
}

// where says how an exhibit is attached.
func (e exhibit) where() string {
	words := map[policy.Format]string{
		policy.FormatSignatureTag: ".sig tag", policy.FormatAttestationTag: ".att tag", policy.FormatBundle: "bundle", policy.FormatReferrer: "referrer",
		formatSBOMTag: ".sbom tag",
	}
	return words[e.Format] + " " + short(e.Manifest)
}

// who is a key by the beginning of its fingerprint, or an identity.
func (e exhibit) who() string {
	if len(e.Signer) == 64 && !strings.ContainsAny(e.Signer, ":/@. ") {
		return "key " + e.Signer[:16] + "…"
	}
	return e.Signer
}

// short is as much of a digest as people compare.
func short(d digest.Digest) string {
	if text := d.String(); len(text) > 19 {
		return text[:19] + "…"
	}
	return d.String()
}
