package verifier

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sigstore/sigstore-go/pkg/verify"
)

// FailureCode names for programs why a signature is not proven. Codes are a promise: they are listed in docs/verify-bundle.md
// and never change meaning.
type FailureCode string

// The codes, in the order in which things are checked: the further down, the more held.
const (
	BundleMalformed      FailureCode = "BUNDLE_MALFORMED"      // it cannot be read, or is of a version that is not known
	CertificateMissing   FailureCode = "CERTIFICATE_MISSING"   // signed with a bare key where an identity is wanted
	KeyMismatch          FailureCode = "KEY_MISMATCH"          // signed with a certificate where a key is wanted
	IdentityMismatch     FailureCode = "IDENTITY_MISMATCH"     // the certificate is somebody else's
	KeyRevoked           FailureCode = "KEY_REVOKED"           // the key is marked as revoked
	NotLogged            FailureCode = "NOT_LOGGED"            // in no transparency log that is trusted
	LogEntryInvalid      FailureCode = "LOG_ENTRY_INVALID"     // the log entry is forged, or another signature's
	TimestampMissing     FailureCode = "TIMESTAMP_MISSING"     // nobody trusted says when it was signed
	TimestampInvalid     FailureCode = "TIMESTAMP_INVALID"     // a timestamp is forged, another signature's or a stranger's
	CertificateUntrusted FailureCode = "CERTIFICATE_UNTRUSTED" // the certificate leads to no trusted authority
	CertificateExpired   FailureCode = "CERTIFICATE_EXPIRED"   // the certificate was not valid when it was signed
	SCTMissing           FailureCode = "SCT_MISSING"           // the certificate is in no certificate log that is trusted
	KeyOutsideValidity   FailureCode = "KEY_OUTSIDE_VALIDITY"  // the key was not valid when it was signed
	SignatureInvalid     FailureCode = "SIGNATURE_INVALID"     // the signature is not over this, or not by this key
	StatementInvalid     FailureCode = "STATEMENT_INVALID"     // what is signed is no in-toto statement
	ArtifactMismatch     FailureCode = "ARTIFACT_MISMATCH"     // it is for another artifact
	RepositoryMismatch   FailureCode = "REPOSITORY_MISMATCH"   // it is for another repository (of a gateway)
	NotASignature        FailureCode = "NOT_A_SIGNATURE"       // an attestation that is announced as a signature (of a gateway)
	TrustRootStale       FailureCode = "TRUST_ROOT_STALE"      // the trusted root is older than it may be (of a gateway)
	NotVerified          FailureCode = "NOT_VERIFIED"          // anything else
)

// FailureCodes lists all codes, in the order in which things are checked.
func FailureCodes() []FailureCode { return slices.Clone(failureOrder[:]) }

var failureOrder = [...]FailureCode{
	BundleMalformed, CertificateMissing, KeyMismatch, IdentityMismatch, KeyRevoked, NotLogged, LogEntryInvalid, TimestampMissing,
	TimestampInvalid, CertificateUntrusted, CertificateExpired, SCTMissing, KeyOutsideValidity, SignatureInvalid,
	StatementInvalid, ArtifactMismatch, RepositoryMismatch, NotASignature, TrustRootStale, NotVerified,
}

// Failure says why a signature is not proven. Why continues the sentence "a signature that ...".
type Failure struct {
	Code FailureCode
	Why  string // for a person, one line

	signed bool // the authority made the signature, which does not count for another reason
}

func (f *Failure) Error() string { return f.Why }

func failure(code FailureCode, format string, args ...any) *Failure {
	return &Failure{Code: code, Why: oneLine(fmt.Sprintf(format, args...))}
}

// asFailure is err as a failure.
func asFailure(err error) *Failure {
	if f, ok := errors.AsType[*Failure](err); ok {
		return f
	}
	return failure(NotVerified, "does not verify: %v", err)
}

// further reports whether more held before f than before other. What one authority says of a signature that it made tells more
// than what another says that did not make it.
func (f *Failure) further(other *Failure) bool {
	if other != nil && f.signed != other.signed {
		return f.signed
	}
	return other == nil || slices.Index(failureOrder[:], f.Code) > slices.Index(failureOrder[:], other.Code)
}

// explain finds out at which step of the library's verification an entity failed. The decision was made before: what
// cannot be explained has failed all the same.
func (c *check) explain(entity verify.SignedEntity, a artifact, err error) *Failure {
	content, contentErr := entity.VerificationContent()
	sig, sigErr := entity.SignatureContent()
	if contentErr != nil || sigErr != nil {
		return failure(BundleMalformed, "cannot be read: %v", errors.Join(contentErr, sigErr))
	}
	if (content.Certificate() == nil) != c.keyed {
		if c.keyed {
			return failure(KeyMismatch, "was made with a certificate, not with the key")
		}
		return failure(CertificateMissing, "was made with a key, not by an identity with a certificate")
	}

	if mismatch := c.identityMismatch(content.Certificate()); mismatch != nil {
		return mismatch
	}

	var times []time.Time
	if c.needs.log {
		logged, logErr := verify.VerifyTlogEntry(entity, c.material, max(c.needs.logs, 1), true)
		if logErr != nil {
			return c.explainLog(entity, logErr)
		}
		for _, at := range logged {
			times = append(times, at.Time)
		}
		if c.needs.integrated && len(logged) == 0 {
			return failure(LogEntryInvalid, "has a log entry whose promise does not verify")
		}
	}
	if c.needs.time || c.needs.timestamp {
		stamps, bad, stampErr := verify.VerifySignedTimestamp(entity, c.material)
		if stampErr != nil {
			return failure(TimestampInvalid, "has timestamps that cannot be read: %v", stampErr)
		}
		for _, at := range stamps {
			times = append(times, at.Time)
		}
		missing := len(times) == 0 || c.needs.timestamp && len(stamps) < max(c.needs.stamps, 1)
		switch {
		case missing && len(bad) > 0:
			return failure(TimestampInvalid, "has a timestamp that does not verify: %v", errors.Join(bad...))
		case missing:
			return failure(TimestampMissing, "nobody trusted says the time of")
		}
	}
	if c.needs.now {
		times = append(times, time.Now())
	}
	if c.keyed {
		for _, at := range times {
			if !content.ValidAtTime(at, c.material) {
				return failure(KeyOutsideValidity, "was made at %s, outside of the key's validity", at.UTC().Format(time.RFC3339))
			}
		}
	} else if f := c.explainCertificate(content, times); f != nil {
		return f
	}

	if verify.VerifySignature(sig, content, c.material) != nil && sig.EnvelopeContent() != nil {
		return failure(SignatureInvalid, "does not verify: %v", err)
	}
	if message := sig.MessageSignatureContent(); message != nil {
		if sum, known := a.sum(message.DigestAlgorithm()); known && !bytes.Equal(sum, message.Digest()) {
			return failure(ArtifactMismatch, "is for another artifact")
		}
		if verify.VerifySignatureWithArtifactDigests(sig, content, c.material, []verify.ArtifactDigest{{Digest: message.Digest()}}) != nil {
			return failure(SignatureInvalid, "does not verify: %v", err)
		}
	} else if ok, err := a.matches(sig.EnvelopeContent().RawEnvelope()); err != nil {
		return failure(StatementInvalid, "is over %v", err)
	} else if !ok {
		return failure(ArtifactMismatch, "is for another artifact")
	}
	return failure(NotVerified, "does not verify: %v", err)
}

func (c *check) explainLog(entity verify.SignedEntity, err error) *Failure {
	entries, readErr := entity.TlogEntries()
	if readErr != nil {
		return failure(BundleMalformed, "has log entries that cannot be read: %v", readErr)
	}
	if len(entries) == 0 {
		return failure(NotLogged, "is in no transparency log")
	}
	for _, entry := range entries {
		if _, known := c.material.RekorLogs()[fmt.Sprintf("%x", entry.LogKeyID())]; known {
			return failure(LogEntryInvalid, "has a log entry that does not verify: %v", err)
		}
	}
	return failure(NotLogged, "is in no transparency log that is trusted")
}

func (c *check) explainCertificate(content verify.VerificationContent, times []time.Time) *Failure {
	leaf := content.Certificate()
	if err := checkLeaf(leaf); err != nil {
		return failure(CertificateUntrusted, "was made with %v", err)
	}
	for _, at := range times {
		chains, err := chainsOf(at, content, c.material)
		if err == nil {
			if c.needs.sct && verify.VerifySignedCertificateTimestamp(chains, 1, c.material) != nil {
				return failure(SCTMissing, "was made with a certificate that is in no certificate log that is trusted")
			}
			continue
		}
		if at.Before(leaf.NotBefore) || at.After(leaf.NotAfter) {
			return failure(CertificateExpired, "was made at %s, when the certificate was not valid", at.UTC().Format(time.RFC3339))
		}
		return failure(CertificateUntrusted, "was made with a certificate that leads to no trusted authority at %s",
			at.UTC().Format(time.RFC3339))
	}
	return nil
}
