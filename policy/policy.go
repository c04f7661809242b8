// Package policy says, from facts alone, whether a subject is admitted.
//
// It is pure: no I/O, no clock and no goroutine of its own, and it imports nothing of Sealgate's but the manifest types.
// Whatever can be wrong with a policy is found by [Compile]; what compiled cannot fail later. Everything is closed by
// default: a repository that no rule names is denied, a rule without a pull section admits no pull, a requirement over an
// empty set is never met, and the zero [Verdict] denies.
package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Known is what a policy may refer to by name, each with a fingerprint of what stands behind the name. The fingerprints
// enter [Policy.Version], so that a verdict under yesterday's key is not taken for one under today's.
type Known struct {
	Authorities map[string]string
	Signers     map[string]string
	Scanners    map[string]string

	// Bases are the lists of approved base images, by the file that a policy names.
	Bases map[string][]Base
	// Groups of clients. Who belongs to them is a fact about a client, no part of the policy.
	Groups []string `json:"-"`

	// Now is when the policy is loaded, from where exceptions may reach. Zero: as far as they like.
	Now time.Time `json:"-"`
}

// same reports that two names stand for one authority.
func (k Known) same(a, b string) bool {
	return a == b || k.Authorities[a] != "" && k.Authorities[a] == k.Authorities[b]
}

// Policy is an ordered list of rules, compiled. It is immutable and safe for concurrent use.
type Policy struct {
	rules  []*Rule
	digest string
}

// Rule covers repositories and says what a pull demands and what happens to a push.
type Rule struct {
	name         string
	repositories []glob
	audit        bool
	allow        []AllowDocument // nil: everybody
	pull         *PullDocument   // never both SignedBy and AdmitUnverified
	attested     []*requirement  // what pull.Attested demands
	push         *PushDocument   // never both Seal and AcceptUnsealed
	sealer       string          // the authority that a pull asks for and whose key seals a push, empty for none
	immutable    []glob          // tags
	exceptions   []exception
	scan         *scanRule // nil where nothing is scanned
	bases        []base
}

// A Fault is something wrong with a document, at a place in it such as "[0].pull.signed_by.any[1]".
type Fault struct {
	Path string
	Err  error
}

func (f *Fault) Error() string { return f.Path + ": " + f.Err.Error() }
func (f *Fault) Unwrap() error { return f.Err }

// Compile turns documents into a policy. The error joins one [Fault] for each thing that is wrong.
func Compile(docs []Document, known Known) (*Policy, error) {
	var faults []error
	fault := func(path, format string, args ...any) {
		faults = append(faults, &Fault{Path: path, Err: fmt.Errorf(format, args...)})
	}
	if len(docs) == 0 {
		fault("", "no policy: everything would be denied; write at least one")
	}

	p := &Policy{digest: fingerprint(docs, known)}
	names := map[string]bool{}
	for i, doc := range docs {
		here := func(path, format string, args ...any) { fault(fmt.Sprintf("[%d]%s", i, path), format, args...) }
		if err := checkName(doc.Name); err != nil {
			here(".name", "%w", err)
		} else if names[doc.Name] {
			here(".name", "a second policy named %q", doc.Name)
		}
		names[doc.Name] = true
		r := compileRule(doc, known, here)
		p.findUnreachable(r, here)
		p.rules = append(p.rules, r)
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	return p, nil
}

// maxName bounds a policy's name, in bytes: it stands in the one line that refused people read.
const maxName = 64

func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("a policy needs a name")
	case len(name) > maxName:
		return fmt.Errorf("the name is longer than %d bytes", maxName)
	case strings.ContainsFunc(name, func(c rune) bool { return c < ' ' || c > '~' || c == '"' || c == '\\' }):
		return fmt.Errorf("the name %q holds more than visible ASCII without quotes", name)
	}
	return nil
}

// findUnreachable finds patterns that earlier rules cover: whoever wrote them believes in a rule that never applies.
func (p *Policy) findUnreachable(r *Rule, fault func(path, format string, args ...any)) {
	for i, g := range r.repositories {
		for _, earlier := range p.rules {
			at := slices.IndexFunc(earlier.repositories, func(other glob) bool { return g.pattern != "" && other.covers(g) })
			if at >= 0 {
				fault(fmt.Sprintf(".repositories[%d]", i), "is never reached: policy %q covers %s with %s, and the first match decides",
					earlier.name, g.pattern, earlier.repositories[at].pattern)
				break
			}
		}
	}
}

func compileRule(doc Document, known Known, fault func(path, format string, args ...any)) *Rule {
	r := &Rule{name: doc.Name, audit: doc.Mode == "audit"}
	if doc.Mode != "" && doc.Mode != "audit" && doc.Mode != "enforce" {
		fault(".mode", "mode %q is neither enforce nor audit", doc.Mode)
	}

	if len(doc.Repositories) == 0 {
		fault(".repositories", "names no repository; for all of them write [\"**\"]")
	}
	for i, pattern := range doc.Repositories {
		g, err := compileGlob(pattern)
		if err != nil {
			fault(fmt.Sprintf(".repositories[%d]", i), "%w", err)
		}
		r.repositories = append(r.repositories, g)
	}

	compileAllow(doc.Allow, known, fault)
	r.allow = cloneAllow(doc.Allow)
	if doc.Pull == nil && doc.Push == nil {
		fault("", "has neither pull nor push: it would refuse everything; write what is allowed, or leave the policy out")
	}
	if doc.Pull != nil {
		r.pull = doc.Pull.clone()
		compilePull(*r.pull, known, fault)
		r.attested = compileAttested(r.pull, known, fault)
	}
	if doc.Push != nil {
		r.push = doc.Push.clone()
		r.compilePush(known, fault)
	}
	if r.pull != nil {
		r.sealer = r.sealerAmong(r.pull.SignedBy, known)
	}
	for _, q := range r.attested {
		q.sealed = r.sealerAmong(q.By, known) != "" && (slices.ContainsFunc(q.types, r.Attests) || q.kind == KindSummary && r.Summarizes())
	}
	return r
}

// sealerAmong finds the authority among those that are wanted whose key seals what is pushed, empty for none.
func (r *Rule) sealerAmong(by *SignedBy, known Known) string {
	if !r.Seals() || by == nil {
		return ""
	}
	names, _, _ := by.wants()
	for _, name := range names {
		for _, signer := range r.Signers() {
			if known.Authorities[name] == known.Signers[signer] {
				return name
			}
		}
	}
	return ""
}

// What pull.blobs may be.
const (
	openBlobs  = "open"
	referenced = "referenced"
)

func compilePull(pull PullDocument, known Known, fault func(path, format string, args ...any)) {
	compileRemaps(pull.Remap, fault)
	if pull.Blobs != "" && pull.Blobs != openBlobs && pull.Blobs != referenced {
		fault(".pull.blobs", "is neither %s nor %s", openBlobs, referenced)
	}
	switch by := pull.SignedBy; {
	case by == nil && len(pull.Attested) == 0 && !pull.AdmitUnverified:
		fault(".pull", "demands no signature; name who must have signed in signed_by, or say admit_unverified: true")
	case by != nil && pull.AdmitUnverified:
		fault(".pull.admit_unverified", "contradicts signed_by; leave one of them out")
	case len(pull.Attested) > 0 && pull.AdmitUnverified:
		fault(".pull.admit_unverified", "contradicts attested; leave one of them out")
	case by != nil:
		compileSignedBy(".pull.signed_by", *by, known, fault)
		by.compileAge(".pull.signed_by", fault)
	}
}

func compileSignedBy(path string, by SignedBy, known Known, fault func(path, format string, args ...any)) {
	forms := 0
	for _, list := range []struct {
		key   string
		names []string
	}{{"any", by.Any}, {"all", by.All}, {"of", by.Of}} {
		if list.names == nil {
			continue
		}
		forms++
		if len(list.names) == 0 {
			fault(path+"."+list.key, "names nobody")
		}
		for i, name := range list.names {
			here := fmt.Sprintf("%s.%s[%d]", path, list.key, i)
			if _, ok := known.Authorities[name]; !ok {
				fault(here, "unknown authority %q; authorities has %s", name, enumerate(known.Authorities))
			}
			switch before := slices.IndexFunc(list.names, func(n string) bool { return known.same(n, name) }); {
			case slices.Index(list.names, name) < i:
				fault(here, "names %q twice", name)
			case before < i && list.key != "any": // one signature would count as two
				fault(here, "%q is the same key as %q", name, list.names[before])
			}
		}
	}
	if forms != 1 {
		fault(path, "write exactly one of any, all, and of with at_least")
	}
	if by.Of != nil && (by.AtLeast < 1 || by.AtLeast > len(by.Of)) {
		fault(path+".at_least", "at_least must be between 1 and %d", len(by.Of))
	}
	if by.Of == nil && by.AtLeast != 0 {
		fault(path+".at_least", "at_least goes with of")
	}
}

func (r *Rule) compilePush(known Known, fault func(path, format string, args ...any)) {
	push := r.push
	switch {
	case push.Seal == nil && !push.AcceptUnsealed:
		fault(".push", "does not seal; name the signer in seal, or say accept_unsealed: true")
	case push.Seal != nil && push.AcceptUnsealed:
		fault(".push.accept_unsealed", "contradicts seal; leave one of them out")
	case push.Seal != nil:
		compileSeal(*push.Seal, known, fault)
	}

	switch seal := push.Seal; {
	case push.Scan != nil:
		r.compileScan(*push.Scan, known, fault)
	case seal != nil && seal.Scan:
		fault(".push.seal.scan", "nothing is scanned; write push.scan, or leave it out")
	case seal != nil && seal.SBOM:
		fault(".push.seal.sbom", "nothing is scanned, so there is no bill of materials; write push.scan, or leave it out")
	}
	for i, pattern := range push.ImmutableTags {
		g, err := compilePattern(pattern, tagCharacters, "tag")
		if err != nil {
			fault(fmt.Sprintf(".push.immutable_tags[%d]", i), "%w", err)
		}
		r.immutable = append(r.immutable, g)
	}
	image := &push.Image
	r.compileImage(image, known, fault)
	if image.MaxBytes < 0 {
		fault(".push.image.max_bytes", "is negative")
	}
	if image.MaxFiles < 0 {
		fault(".push.image.max_files", "is negative")
	}
	switch {
	case image.MaxLayers == 0:
		image.MaxLayers = DefaultMaxLayers
	case image.MaxLayers < 0:
		fault(".push.image.max_layers", "is negative")
	}
}

func compileSeal(seal SealDocument, known Known, fault func(path, format string, args ...any)) {
	check := func(path, name string) {
		if _, ok := known.Signers[name]; !ok {
			fault(path, "unknown signer %q; signers has %s", name, enumerate(known.Signers))
		}
	}
	switch {
	case seal.Signers == nil:
		check(".push.seal.signer", seal.Signer)
	case seal.Signer != "":
		fault(".push.seal.signers", "contradicts signer; leave one of them out")
	case len(seal.Signers) == 0:
		fault(".push.seal.signers", "names nobody")
	}
	for i, name := range seal.Signers {
		at := fmt.Sprintf(".push.seal.signers[%d]", i)
		check(at, name)
		for _, before := range seal.Signers[:i] {
			if before == name || known.Signers[name] != "" && known.Signers[name] == known.Signers[before] {
				fault(at, "%q signs already as %q", name, before)
			}
		}
	}
}

// tagCharacters are those of a pattern for tags.
const tagCharacters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-*"

// DefaultMaxLayers is what overlay file systems can stack.
const DefaultMaxLayers = 127

// What a check of an image does when it finds something.
const (
	allow = "allow"
	warn  = "warn"
	deny  = "deny"
)

// fingerprint hashes everything that a verdict depends on besides the evidence.
func fingerprint(docs []Document, known Known) string {
	all, err := json.Marshal(struct {
		Docs  []Document
		Known Known
	}{docs, known})
	if err != nil {
		panic("policy: plain structs always marshal: " + err.Error())
	}
	sum := sha256.Sum256(all)
	return hex.EncodeToString(sum[:])
}

// Digest names this policy together with the keys behind its names: a SHA-256 in hexadecimal that changes when it does.
func (p *Policy) Digest() string { return p.digest }

// Version is the beginning of the digest, 16 digits, for people and records.
func (p *Policy) Version() string { return p.digest[:16] }

// Rule returns the first rule that covers a repository, nil when none does. A nil rule denies.
func (p *Policy) Rule(repo string) *Rule {
	parts := strings.Split(repo, "/")
	for _, r := range p.rules {
		for _, g := range r.repositories {
			if matchParts(g.parts, parts) {
				return r
			}
		}
	}
	return nil
}

// Name is the policy's name, empty for no rule.
func (r *Rule) Name() string {
	if r == nil {
		return ""
	}
	return r.name
}

// Audit reports that refusals under this rule are recorded and warned about, not enforced.
func (r *Rule) Audit() bool { return r != nil && r.audit }

// Signers names who seals what this rule admits, nobody when nothing is sealed.
func (r *Rule) Signers() []string {
	switch {
	case r == nil || r.push == nil || r.push.Seal == nil:
		return nil
	case r.push.Seal.Signers != nil:
		return slices.Clone(r.push.Seal.Signers)
	}
	return []string{r.push.Seal.Signer}
}

// Seals reports that what this rule admits is sealed.
func (r *Rule) Seals() bool { return r != nil && r.push != nil && r.push.Seal != nil }

// Attests reports that the seal says what a scanner found, by the type of a statement about it.
func (r *Rule) Attests(predicateType string) bool {
	if !r.Seals() {
		return false
	}
	switch KindOf(predicateType) {
	case KindScan:
		return r.push.Seal.Scan
	case KindSBOM:
		return r.push.Seal.SBOM
	}
	return false
}

// Summarizes reports that the seal says why the image was admitted.
func (r *Rule) Summarizes() bool { return r.Seals() && r.push.Seal.Summary }

// AllowsPull reports that some pulls can be admitted under this rule.
func (r *Rule) AllowsPull() bool { return r != nil && (r.audit || r.pull != nil) }

// AllowsPush reports that some pushes can be admitted under this rule.
func (r *Rule) AllowsPush() bool { return r != nil && (r.audit || r.push != nil) }

// IsImmutable reports that what a tag names is not replaced.
func (r *Rule) IsImmutable(tag string) bool {
	return r != nil && tag != "" && slices.ContainsFunc(r.immutable, func(g glob) bool { return g.match(tag) })
}

// HasImmutableTags reports that there are such tags.
func (r *Rule) HasImmutableTags() bool { return r != nil && len(r.immutable) > 0 }

// WantsReferencedBlobs reports that a blob is served only where an admitted manifest names it.
func (r *Rule) WantsReferencedBlobs() bool {
	return r != nil && r.pull != nil && r.pull.Blobs == referenced
}

// NeedsEvidence reports whether a pull under this rule depends on what is attached to the subject.
func (r *Rule) NeedsEvidence() bool {
	return r != nil && r.pull != nil && (r.pull.SignedBy != nil || len(r.pull.Attested) > 0)
}

// Enough reports that a pull under this rule depends on signatures alone, and that these are all that it wants, at any time.
// Others beside them change nothing. Where signatures age, a newer one beside them may be what counts tomorrow.
func (r *Rule) Enough(s Subject, signatures []Signature) bool {
	return r != nil && r.pull != nil && len(r.pull.Attested) == 0 && r.pull.SignedBy != nil && r.pull.SignedBy.MaxAge == 0 &&
		r.signedBy(s, Evidence{Signatures: signatures}, time.Time{}) == nil
}

// Needs lists the attestations that a pull under this rule depends on.
func (r *Rule) Needs() Needs {
	if r == nil {
		return Needs{}
	}
	var all []string
	for _, q := range r.attested {
		all = append(all, q.types...)
		if q.VEX != nil {
			all = append(all, PredicateTypes(string(KindVEX))...)
		}
	}
	return NeedsOf(all...)
}

func enumerate(names map[string]string) string {
	if len(names) == 0 {
		return "none"
	}
	sorted := make([]string, 0, len(names))
	for name := range names {
		sorted = append(sorted, name)
	}
	slices.Sort(sorted)
	return strings.Join(sorted, ", ")
}
