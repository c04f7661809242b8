package gateway_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/policy/manifest"
	"github.com/sealgate/sealgate/signer"
)

// attester signs and attests images in a registry, as a pipeline beside the gateway does.
type attester struct {
	private *ecdsa.PrivateKey
	key     *signer.Key
}

func newAttester(t testing.TB) attester {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := signer.NewKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return attester{private, key}
}

func (a attester) sign(r *rig, repo string, im image) {
	r.t.Helper()
	s := policy.Subject{Repo: repo, Digest: im.digest}
	if _, err := signer.NewSealer(a.key, r.registries, nil).Seal(context.Background(), s, repo, nil); err != nil {
		r.t.Fatal(err)
	}
	r.enforce(a.key)
}

// scan attests a scan that found severities, in cosign v2's format, and returns the manifest that carries it.
func (a attester) scan(r *rig, repo string, im image, severities ...string) digest.Digest {
	r.t.Helper()
	found := []string{}
	for i, severity := range severities {
		found = append(found, fmt.Sprintf(`{"VulnerabilityID":"CVE-%d","PkgName":"zlib","FixedVersion":"2","Severity":%q}`, i, severity))
	}
	payload := fmt.Appendf(nil, `{"_type":"https://in-toto.io/Statement/v0.1","predicateType":%q,"subject":[{"digest":{"sha256":%q}}],"predicate":
		{"scanner":{"uri":"trivy","result":{"SchemaVersion":2,"Results":[{"Packages":[{}],"Vulnerabilities":[%s]}]}},"metadata":{"scanFinishedOn":"2026-01-01T00:00:00Z"}}}`,
		policy.ScanByCosign, im.digest.Encoded(), strings.Join(found, ","))
	signed := sha256.Sum256(fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(manifest.InToto), manifest.InToto, len(payload), payload))
	sig, err := ecdsa.SignASN1(rand.Reader, a.private, signed[:])
	if err != nil {
		r.t.Fatal(err)
	}
	envelope, _ := json.Marshal(map[string]any{"payloadType": manifest.InToto, "payload": payload, "signatures": []any{map[string]any{"sig": sig}}})
	raw, _ := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageManifest,
		"config": describe(ocispec.MediaTypeImageConfig, []byte("{}")), "layers": []any{describe(manifest.DSSE, envelope)},
	})
	attached := image{raw, [][]byte{[]byte("{}"), envelope}, digest.FromBytes(raw)}
	r.bypass(repo, "sha256-"+im.digest.Encoded()+".att", attached)
	r.enforce(a.key) // nothing is remembered of the time before
	return attached.digest
}

// attesting is a policy that demands scans without what is severe.
func attesting(signed, perPlatform bool) policy.Document {
	doc := sealing()
	by := &policy.SignedBy{Any: []string{"gateway"}}
	doc.Pull = &policy.PullDocument{Attested: []policy.AttestedDocument{{Predicate: "vuln", By: by, Deny: "finding.severity >= HIGH", PerPlatform: perPlatform}}}
	if signed {
		doc.Pull.SignedBy = by
	}
	return doc
}

func TestAnImageIsPulledByWhatIsAttestedOfIt(t *testing.T) {
	r, ci := newRig(t, attesting(false, false)), newAttester(t)
	im := newImage("65532", "x")
	r.bypass("a", "v1", im)
	if a := r.want(http.StatusForbidden, "GET", "/v2/a/manifests/v1", nil); !strings.Contains(a.message(), "no vuln attestation by gateway (found none)") {
		t.Errorf("got %s", a.message())
	}
	ci.scan(r, "a", im, "LOW", "CRITICAL")
	if a := r.want(http.StatusForbidden, "GET", "/v2/a/manifests/v1", nil); !strings.Contains(a.message(), "vuln by gateway found CVE-1 in zlib, CRITICAL, fixed in 2") {
		t.Errorf("got %s", a.message())
	}
	newAttester(t).scan(r, "a", im) // by nobody we know
	r.enforce(ci.key)
	r.want(http.StatusForbidden, "GET", "/v2/a/manifests/v1", nil)

	carrier := ci.scan(r, "a", im, "LOW")
	r.want(http.StatusOK, "GET", "/v2/a/manifests/v1", nil)
	decisions := r.recorded()
	if last := decisions[len(decisions)-1]; !slices.Equal(last.Evidence, []digest.Digest{carrier}) {
		t.Errorf("the decision rests on %v, want %s", last.Evidence, carrier)
	}
}

func TestThreat018_APlatformHasTheIndexsAttestationsOrNeedsItsOwn(t *testing.T) {
	for _, perPlatform := range []bool{false, true} {
		r, ci := newRig(t, attesting(true, perPlatform)), newAttester(t)
		one, two := newImage("65532", "one"), newImage("65532", "two")
		index := newIndex(one, two)
		r.bypass("a", one.digest.String(), one)
		r.bypass("a", two.digest.String(), two)
		r.bypass("a", "v1", index)
		ci.sign(r, "a", index)
		if perPlatform {
			ci.scan(r, "a", one, "LOW")
			ci.scan(r, "a", two, "CRITICAL")
		} else {
			r.want(http.StatusForbidden, "GET", "/v2/a/manifests/v1", nil) // the index needs it, too
			ci.scan(r, "a", index, "LOW")
		}

		r.want(http.StatusOK, "GET", "/v2/a/manifests/v1", nil)
		r.want(http.StatusOK, "GET", "/v2/a/manifests/"+one.digest.String(), nil)
		status := http.StatusOK
		if perPlatform {
			status = http.StatusForbidden
		}
		r.want(status, "GET", "/v2/a/manifests/"+two.digest.String(), nil)
		if perPlatform {
			continue
		}
		// What is found on the platform itself counts beside what the index says: neither has a time, so both must be in order.
		ci.scan(r, "a", one, "CRITICAL")
		r.want(http.StatusForbidden, "GET", "/v2/a/manifests/"+one.digest.String(), nil)
	}
}

// BenchmarkPullWarmAttested is what BenchmarkPullWarm is, under a rule with an expression over a hundred findings.
func BenchmarkPullWarmAttested(b *testing.B) {
	r, ci := newRig(b, attesting(false, false)), newAttester(b)
	im := newImage("65532", "x")
	r.bypass("a", "v1", im)
	ci.scan(r, "a", im, slices.Repeat([]string{"LOW"}, 100)...)
	request := httptest.NewRequest("GET", "/v2/a/manifests/"+im.digest.String(), nil)
	b.ReportAllocs()
	for b.Loop() {
		w := &nowhere{header: http.Header{}}
		if r.gateway.ServeHTTP(w, request); w.status != http.StatusOK {
			b.Fatalf("status %d", w.status)
		}
	}
}
