package verifier

import (
	"crypto/x509"

	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/fulcio/certificate"
)

// Who a signature that does not count says to be by, for whoever looks for the key or the identity that is missing. All of it
// was written by whoever attached the signature.

// claimedByTag reads what stands beside a signature under a .sig or .att tag.
func claimedByTag(annotations map[string]string) string {
	text := annotations[certificateAnnotation]
	if text == "" {
		return ""
	}
	leaf, err := parseCertificates([]byte(text), 1)
	if err != nil {
		return ""
	}
	return claimedByCertificate(leaf[0])
}

// claimedByBundle reads the certificate of a bundle, or its hint at a key: with cosign, the SHA-256 of the key in base64.
func claimedByBundle(b *bundle.Bundle) string {
	if content, err := b.VerificationContent(); err == nil && content.Certificate() != nil {
		return claimedByCertificate(content.Certificate())
	}
	if hint := b.GetVerificationMaterial().GetPublicKey().GetHint(); hint != "" {
		return "key " + hint
	}
	return ""
}

func claimedByCertificate(leaf *x509.Certificate) string {
	summary, err := certificate.SummarizeCertificate(leaf)
	if err != nil {
		return ""
	}
	return signerName(summary)
}
