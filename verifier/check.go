package verifier

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/sealgate/sealgate/policy"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/sigstore-go/pkg/fulcio/certificate"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
)

// Proof is what an authority proved beside the fact that it signed.
type Proof struct {
	// Signer is who it was: the fingerprint of a key, or the subject and issuer of a certificate. Two authorities may prove
	// one signer; it still is one.
	Signer string

	// Time is the earliest time at which the signature existed, as a trusted log or timestamp authority says. Zero where
	// nobody says it.
	Time time.Time

	// Until is when it is no longer proven: a path of certificates that must be valid now ends then. Zero is never.
	Until time.Time

	// Witness is who says the time, and the log that has the signature where it needs to be in one.
	Witness policy.Witness
}

// needs is what a signature must have beside being good.
type needs struct {
	log        bool // an entry in a trusted transparency log
	sct        bool // the certificate in a trusted certificate log
	time       bool // a trusted time, from a log's promise or a timestamp
	integrated bool // a log's promise of a time, and it verifies
	timestamp  bool // a timestamp, and it verifies
	now        bool // everything is valid now

	logs, stamps int // of how many different logs and timestamp authorities; less than one is one
}

func (n needs) options() []verify.VerifierOption {
	options := []verify.VerifierOption{verify.WithoutStatementPredicate()}
	with := func(wanted bool, o verify.VerifierOption) {
		if wanted {
			options = append(options, o)
		}
	}
	with(n.log, verify.WithTransparencyLog(max(n.logs, 1)))
	with(n.sct, verify.WithSignedCertificateTimestamps(1))
	with(n.time, verify.WithObserverTimestamps(1))
	with(n.integrated, verify.WithIntegratedTimestamps(1))
	with(n.timestamp, verify.WithSignedTimestamps(max(n.stamps, 1)))
	with(n.now, verify.WithCurrentTime())
	with(!n.time && !n.integrated && !n.timestamp && !n.now, verify.WithNoObserverTimestamps())
	return options
}

// check is one way to prove a signature. The library decides; nothing that it refuses is accepted here. It is built once
// and safe for concurrent use.
type check struct {
	material root.TrustedMaterial
	needs    needs
	keyed    bool      // by a key, not by a certificate
	identity *identity // of the certificate; nil with a key
	verifier *verify.Verifier
	root     *TrustRoot // whose age matters; nil for none
}

func newCheck(material root.TrustedMaterial, n needs, identity *identity) (*check, error) {
	v, err := verify.NewVerifier(material, n.options()...)
	if err != nil {
		return nil, err
	}
	return &check{material: material, needs: n, keyed: identity == nil, identity: identity, verifier: v}, nil
}

// under is the check for as long as the root is not too old.
func (c *check) under(r *TrustRoot) *check {
	c.root = r
	return c
}

// checks are several ways to prove a signature, of which any will do.
type checks []*check

// timed are the ways to prove a signature at a time that a root's logs or timestamp authorities say.
func timed(material root.TrustedMaterial, r *TrustRoot, logged bool, id *identity) (checks, error) {
	var all checks
	add := func(wanted bool, n needs) error {
		if !wanted {
			return nil
		}
		c, err := newCheck(material, n, id)
		if err == nil {
			all = append(all, c.under(r))
		}
		return err
	}
	err := errors.Join(
		add(r.hasLogs(), needs{log: true, time: true}),
		add(r.hasTimestamps() && !logged, needs{timestamp: true}),
	)
	if len(all) == 0 {
		err = errors.New("a trusted root without anybody who says the time: neither a log that counts nor a timestamp authority")
	}
	return all, err
}

// verify returns the first proof, or the failure before which the most held. All errors are a [Failure].
func (all checks) verify(entity verify.SignedEntity, a artifact) (Proof, error) {
	var why *Failure
	for _, c := range all {
		proof, err := c.verify(entity, a)
		if err == nil {
			return proof, nil
		}
		if f := asFailure(err); f.further(why) {
			why = f
		}
	}
	if why == nil {
		why = failure(NotVerified, "nothing can prove")
	}
	return Proof{}, why
}

// verify proves that the entity is a signature over the artifact. The error is a [Failure].
func (c *check) verify(entity verify.SignedEntity, a artifact) (Proof, error) {
	c, err := c.around(entity)
	if err != nil {
		return Proof{}, err
	}
	result, err := c.decide(entity, a)
	if f, ok := errors.AsType[*Failure](err); ok {
		return Proof{}, f
	}
	if err != nil {
		return Proof{}, c.explain(entity, a, err)
	}
	if stale := c.root.stale(time.Now()); stale != nil {
		return Proof{}, stale
	}
	proof := Proof{Until: c.root.until()}
	if s := result.Signature.Certificate; s != nil {
		proof.Signer = signerName(*s)
	}
	for _, at := range result.VerifiedTimestamps {
		if at.Type != "CurrentTime" && (proof.Time.IsZero() || at.Timestamp.Before(proof.Time)) {
			proof.Time, proof.Witness.Clock = at.Timestamp, oneLine(at.URI)
		}
	}
	if c.needs.log {
		c.findInLog(entity, &proof.Witness)
	}
	if c.needs.now {
		return c.untilExpiry(entity, proof)
	}
	return proof, nil
}

// untilExpiry says when the path ends by which a signature is valid now.
func (c *check) untilExpiry(entity verify.SignedEntity, proof Proof) (Proof, error) {
	content, err := entity.VerificationContent()
	if err != nil || content.Certificate() == nil {
		return Proof{}, failure(NotVerified, "has no certificate")
	}
	chains, err := chainsOf(time.Now(), content, c.material)
	if err != nil || len(chains) == 0 {
		return Proof{}, failure(NotVerified, "has no path to a trusted authority")
	}
	for _, certificate := range chains[0] {
		proof.Until = earliest(proof.Until, certificate.NotAfter)
	}
	return proof, nil
}

// findInLog tells where in a trusted log a signature is that was proven to be in one. Entries of logs that nobody trusts may
// stand beside; the library passes over them too.
func (c *check) findInLog(entity verify.SignedEntity, w *policy.Witness) {
	for _, entry := range placesInLogs(entity) {
		if log, known := c.material.RekorLogs()[hex.EncodeToString(entry.GetLogId().GetKeyId())]; known {
			w.Log, w.LogIndex = oneLine(log.BaseURL), entry.GetLogIndex()
			return
		}
	}
}

// placesInLogs are an entity's log entries as they came: a bundle's own method would parse what is in them again.
func placesInLogs(entity verify.SignedEntity) (all []*protorekor.TransparencyLogEntry) {
	if b, ok := entity.(interface {
		GetVerificationMaterial() *protobundle.VerificationMaterial
	}); ok {
		return b.GetVerificationMaterial().GetTlogEntries()
	}
	entries, _ := entity.TlogEntries() // they were read before
	for _, entry := range entries {
		all = append(all, entry.TransparencyLogEntry())
	}
	return all
}

func (c *check) decide(entity verify.SignedEntity, a artifact) (*verify.VerificationResult, error) {
	who := verify.WithKey()
	if c.identity != nil {
		who = verify.WithoutIdentitiesUnsafe() // the identity is checked below, with the library's own summary of it
		content, err := entity.VerificationContent()
		if err != nil {
			return nil, err
		}
		if content.Certificate() == nil {
			return nil, errors.New("not signed with a certificate")
		}
		if err := checkLeaf(content.Certificate()); err != nil {
			return nil, err
		}
		// What a certificate claims to be decides nothing but this: it is not worth verifying. Strangers' signatures, which
		// anybody can attach, cost next to nothing.
		if mismatch := c.identityMismatch(content.Certificate()); mismatch != nil {
			return nil, mismatch
		}
	}
	result, err := c.verifier.Verify(entity, verify.NewPolicy(a.option(), who))
	if err != nil {
		return nil, err
	}
	if c.identity != nil {
		summary := result.Signature.Certificate
		if summary == nil {
			return nil, errors.New("not signed with a certificate")
		}
		if err := c.identity.match(*summary); err != nil {
			return nil, err
		}
	}
	return result, nil
}

func (c *check) identityMismatch(leaf *x509.Certificate) *Failure {
	if c.identity == nil || leaf == nil {
		return nil
	}
	summary, err := certificate.SummarizeCertificate(leaf)
	if err == nil {
		err = c.identity.match(summary)
	}
	if err != nil {
		return failure(IdentityMismatch, "is for another identity: %v", err)
	}
	return nil
}

// signerName names whom a certificate was issued to.
func signerName(s certificate.Summary) string {
	if s.Issuer == "" {
		return s.SubjectAlternativeName
	}
	return s.SubjectAlternativeName + " (" + s.Issuer + ")"
}

// checkLeaf refuses certificates that path validation alone would take: crypto/x509 lets a certificate without any extended
// key usage be used for everything, and an authority's own certificate is nobody's signature.
func checkLeaf(leaf *x509.Certificate) error {
	switch {
	case leaf.IsCA:
		return errors.New("an authority's own certificate")
	case !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageCodeSigning):
		return errors.New("a certificate that is not for code signing")
	case leaf.KeyUsage != 0 && leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return errors.New("a certificate that is not for signatures")
	}
	return nil
}

// chainsOf validates a certificate's whole path at a time, as the library does.
func chainsOf(at time.Time, content verify.VerificationContent, material root.TrustedMaterial) ([][]*x509.Certificate, error) {
	leaf := *content.Certificate()
	leaf.UnhandledCriticalExtensions = slices.DeleteFunc(slices.Clone(leaf.UnhandledCriticalExtensions),
		func(id asn1.ObjectIdentifier) bool { return id.Equal(cryptoutils.SANOID) }) // an OtherName, which Go does not know
	for _, ca := range material.FulcioCertificateAuthorities() {
		if f, ok := ca.(*root.FulcioCertificateAuthority); ok {
			with := *f
			with.Intermediates = slices.Concat(f.Intermediates, content.Intermediates())
			ca = &with
		}
		if chains, err := ca.Verify(&leaf, at); err == nil {
			return chains, nil
		}
	}
	return nil, errors.New("no path to a trusted authority")
}

// artifact is what a signature is expected to be over: content with its digests, or one digest alone.
type artifact struct {
	content func() io.Reader  // nil when only a digest is known
	digests map[string][]byte // by algorithm, as in-toto calls it
}

// hashes are the digests that are known of content.
var hashes = map[string]crypto.Hash{"sha256": crypto.SHA256, "sha384": crypto.SHA384, "sha512": crypto.SHA512}

// contentArtifact reads content once, for its digests.
func contentArtifact(content func() io.Reader) (artifact, error) {
	a := artifact{content: content, digests: map[string][]byte{}}
	sums := map[string]hash.Hash{}
	var all []io.Writer
	for name, h := range hashes {
		sums[name] = h.New()
		all = append(all, sums[name])
	}
	if _, err := io.Copy(io.MultiWriter(all...), content()); err != nil {
		return artifact{}, err
	}
	for name, sum := range sums {
		a.digests[name] = sum.Sum(nil)
	}
	return a, nil
}

// bytesArtifact is content whose digests nobody asks for.
func bytesArtifact(raw []byte) artifact {
	sum := crypto.SHA256.New()
	sum.Write(raw)
	return artifact{content: func() io.Reader { return bytes.NewReader(raw) }, digests: map[string][]byte{"sha256": sum.Sum(nil)}}
}

// digestArtifact is something of which one digest is known.
func digestArtifact(algorithm string, sum []byte) artifact {
	return artifact{digests: map[string][]byte{algorithm: sum}}
}

func (a artifact) option() verify.ArtifactPolicyOption {
	if a.content != nil {
		return verify.WithArtifact(a.content())
	}
	for algorithm, sum := range a.digests {
		return verify.WithArtifactDigest(algorithm, sum)
	}
	return func(*verify.PolicyConfig) error { return errors.New("no artifact") }
}

// sum is the artifact's digest by the algorithm that a message signature names, such as SHA2_256.
func (a artifact) sum(algorithm string) ([]byte, bool) {
	sum, ok := a.digests[strings.ToLower(strings.Replace(algorithm, "SHA2_", "sha", 1))]
	return sum, ok
}

// matches reports whether the artifact is a subject of the statement in an envelope.
func (a artifact) matches(envelope *dsse.Envelope) (bool, error) {
	if envelope.PayloadType != inTotoPayload {
		return false, fmt.Errorf("a payload of type %.80q, not an in-toto statement", envelope.PayloadType)
	}
	payload, err := envelope.DecodeB64Payload()
	if err != nil {
		return false, err
	}
	st, err := readStatement(payload)
	if err != nil {
		return false, fmt.Errorf("a statement that cannot be read: %w", err)
	}
	return st.names(a), nil
}

// names reports whether one of the subjects is the artifact: it has a digest that is known, and none that differs.
func (st statement) names(a artifact) bool {
	for _, subject := range st.Subject {
		same, other := 0, 0
		for algorithm, sum := range a.digests {
			named, ok := subject.Digest[algorithm]
			switch {
			case !ok:
			case named == hex.EncodeToString(sum):
				same++
			default:
				other++
			}
		}
		if same > 0 && other == 0 {
			return true
		}
	}
	return false
}

// checkForm refuses statements that do not say what they are.
func (st statement) checkForm() error {
	if !slices.Contains(statementTypes[:], st.Type) || st.PredicateType == "" {
		return fmt.Errorf("a statement of type %.80q and predicate type %.80q", st.Type, st.PredicateType)
	}
	return nil
}
