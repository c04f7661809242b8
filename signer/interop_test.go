package signer

import (
	"context"
	"crypto"
	"io"
	"log"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	"github.com/sigstore/cosign/v2/pkg/cosign"
	"github.com/sigstore/sigstore/pkg/signature"
)

// TestCosignAcceptsTheSeal verifies with cosign's own library what was written to a real registry over HTTP.
func TestCosignAcceptsTheSeal(t *testing.T) {
	for label, referrers := range map[string]bool{"with referrers API": true, "with the fallback tag": false} {
		t.Run(label, func(t *testing.T) {
			server := httptest.NewServer(ggcr.New(
				ggcr.WithReferrersSupport(referrers), ggcr.Logger(log.New(io.Discard, "", 0))))
			defer server.Close()
			store := &registry{url: server.URL, fallback: !referrers}
			address := strings.TrimPrefix(server.URL, "http://")
			key, stranger := newKey(t), newKey(t)
			subject := push(t, store, "prod/app", "x")
			ref := must(name.NewDigest(address + "/prod/app@" + subject.Digest.String()))

			for range 2 { // the second changes nothing
				sealed, err := NewSealer(key, store, nil).Seal(t.Context(), subject, address+"/prod/app", nil)
				if err != nil {
					t.Fatal(err)
				}
				if len(sealed) != 2 {
					t.Fatalf("sealed %v, want both formats", sealed)
				}
			}
			for who, want := range map[*Key]bool{key: true, stranger: false} {
				check := &cosign.CheckOpts{
					SigVerifier: must(signature.LoadVerifier(who.Public(), crypto.SHA256)),
					IgnoreTlog:  true, Offline: true,
					ClaimVerifier: cosign.SimpleClaimVerifier,
				}
				found, _, err := cosign.VerifyImageSignatures(context.Background(), ref, check)
				if (err == nil) != want || want && len(found) != 1 {
					t.Errorf("the .sig: %d signatures and error %v, want accepted: %v", len(found), err, want)
				}

				check.NewBundleFormat, check.TrustedMaterial = true, must(trust(who))
				check.ClaimVerifier = cosign.IntotoSubjectClaimVerifier
				found, _, err = cosign.VerifyImageAttestations(context.Background(), ref, check)
				if (err == nil) != want || want && len(found) != 1 {
					t.Errorf("the bundle: %d signatures and error %v, want accepted: %v", len(found), err, want)
				}
			}
		})
	}
}
