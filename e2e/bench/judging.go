package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/verifier"
	"github.com/sealgate/sealgate/verifier/predicate"
)

const (
	spdxType   = "https://spdx.dev/Document"
	statements = "application/vnd.in-toto+json"
	bundleType = "application/vnd.dev.sigstore.bundle.v0.3+json"
)

// largeAttestation measures G10: an attestation with an SBOM of 5 MB, from the registry's bytes to facts, in both formats.
func largeAttestation(ctx context.Context, b *bench) ([]finding, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	subject := policy.Subject{Repo: "bench/app", Digest: digest.FromString("an image")}
	envelope, size, err := attestedSBOM(key, subject, 5<<20)
	if err != nil {
		return nil, err
	}
	authority, err := verifier.NewKeyAuthority("ci", key.Public())
	if err != nil {
		return nil, err
	}

	var found []finding
	for _, format := range []string{".att", "bundle"} {
		store, err := newEvidence(subject, envelope, format == "bundle")
		if err != nil {
			return nil, err
		}
		v, err := verifier.New(store, []verifier.Authority{authority})
		if err != nil {
			return nil, err
		}
		v = v.WithNeeds(func(string) policy.Needs { return policy.NeedsOf(spdxType) })
		verify := func(ctx context.Context) error {
			ev, err := v.Verify(ctx, subject)
			if err == nil && (len(ev.Attestations) != 1 || ev.Attestations[0].Facts.SBOM == nil) {
				err = fmt.Errorf("no SBOM: %+v", ev)
			}
			return err
		}
		cpu, allocated, err := sequential(ctx, b.rounds, verify)
		if err != nil {
			return nil, err
		}
		times := float64(allocated) / float64(size)
		found = append(found, finding{
			"G10", "an attestation with an SBOM of 5 MB: " + format,
			fmt.Sprintf("%.0f ms, %.1fx its size is allocated", milliseconds(cpu), times), "<= 160 ms, <= 6x",
			cpu <= 160*time.Millisecond && times <= 6,
		})
	}
	return found, nil
}

// largeScan measures G11: a report of 20 MB into a summary.
func largeScan(ctx context.Context, b *bench) ([]finding, error) {
	report := trivyReport(20 << 20)
	cpu, allocated, err := sequential(ctx, b.rounds, func(context.Context) error {
		scan, err := predicate.ReadReport(bytes.NewReader(report))
		if err == nil && len(scan.Findings) == 0 {
			err = fmt.Errorf("no findings in the report")
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return []finding{{
		"G11", fmt.Sprintf("a scan report of %d MB into a summary", len(report)>>20),
		fmt.Sprintf("%.0f ms, %.1f MB allocated", milliseconds(cpu), float64(allocated)/1e6), "<= 40 ms, <= 1 MB",
		cpu <= 40*time.Millisecond && allocated <= 1<<20,
	}}, nil
}

// coldJudgement measures G14: twenty demands with an expression each.
func coldJudgement(ctx context.Context, b *bench) ([]finding, error) {
	doc := policy.Document{Name: "bench", Repositories: []string{"**"}, Pull: &policy.PullDocument{}}
	for range 10 {
		by := &policy.SignedBy{Any: []string{"ci"}}
		doc.Pull.Attested = append(doc.Pull.Attested,
			policy.AttestedDocument{Predicate: "vuln", By: by, MaxAge: time.Hour, Deny: "finding.severity >= HIGH && finding.fixed"},
			policy.AttestedDocument{Predicate: "slsa-provenance", By: by, Where: `provenance.builder.startsWith("https://github.com/acme/")`})
	}
	compiled, err := policy.Compile([]policy.Document{doc}, policy.Known{Authorities: map[string]string{"ci": "1"}})
	if err != nil {
		return nil, err
	}
	now, subject := time.Now(), policy.Subject{Repo: "bench/app", Digest: digest.FromString("an image")}
	ev := policy.Evidence{Attestations: []policy.Attestation{
		{PredicateType: policy.ScanByCosign, Authority: "ci", Signed: subject.Digest, Vouched: now, Facts: policy.Facts{Scan: &policy.Scan{
			Finished: now, Packages: 3, Counted: true, Findings: []policy.Finding{{ID: "CVE-1", Severity: policy.Medium, Fix: policy.FixNone}},
		}}},
		{PredicateType: policy.Provenance1, Authority: "ci", Signed: subject.Digest, Vouched: now, Facts: policy.Facts{Provenance: &policy.Provenance{Builder: "https://github.com/acme/ci"}}},
	}}
	const times = 1000
	cpu, _, err := sequential(ctx, b.rounds, func(context.Context) error {
		for range times {
			if v := compiled.Rule(subject.Repo).Judge(subject, ev, now); !v.Admitted() {
				return fmt.Errorf("refused: %+v", v.Reasons())
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	cpu /= times
	return []finding{{
		"G14", fmt.Sprintf("judging %d demands with expressions", len(doc.Pull.Attested)),
		fmt.Sprintf("%.0f µs", float64(cpu)/float64(time.Microsecond)), "<= 100 µs", cpu <= 100*time.Microsecond,
	}}, nil
}

// sequential is the processor time and the memory that one call takes, the medians of several that run one by one.
func sequential(ctx context.Context, rounds int, call func(context.Context) error) (cpu time.Duration, allocated uint64, err error) {
	var times, sizes []time.Duration
	for round := range rounds + 1 {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		start, err := ownCPU()
		if err != nil {
			return 0, 0, err
		}
		if err := call(ctx); err != nil {
			return 0, 0, err
		}
		end, err := ownCPU()
		if err != nil {
			return 0, 0, err
		}
		runtime.ReadMemStats(&after)
		if round > 0 { // the first one warms up
			times, sizes = append(times, end-start), append(sizes, time.Duration(after.TotalAlloc-before.TotalAlloc))
		}
	}
	return median(times), uint64(median(sizes)), nil
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// attestedSBOM signs an SBOM of about so many bytes for a subject. size is the statement's.
func attestedSBOM(key *ecdsa.PrivateKey, s policy.Subject, about int) (envelope map[string]any, size int, err error) {
	var sbom strings.Builder
	sbom.WriteString(`{"spdxVersion":"SPDX-2.3","name":"app","packages":[{"name":"first"}`)
	for i := 0; sbom.Len() < about; i++ {
		fmt.Fprintf(&sbom, `,{"name":"p%d","SPDXID":"SPDXRef-%d","versionInfo":"1.0","externalRefs":[{"referenceType":"purl","referenceLocator":"pkg:deb/debian/p%d@1.0"}]}`, i, i, i)
	}
	sbom.WriteString("]}")
	statement := fmt.Appendf(nil, `{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"app","digest":{"sha256":%q}}],"predicateType":%q,"predicate":%s}`,
		s.Digest.Encoded(), spdxType, sbom.String())
	sum := sha256.Sum256(append(fmt.Appendf(nil, "DSSEv1 %d %s %d ", len(statements), statements, len(statement)), statement...))
	signature, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
	return map[string]any{
		"payloadType": statements, "payload": statement, "signatures": []any{map[string]any{"sig": signature}},
	}, len(statement), err
}

// evidence is a registry that holds one attestation.
type evidence struct {
	blobs     memory
	manifests map[string][]byte // by tag and digest
	listed    []ocispec.Descriptor
}

func newEvidence(s policy.Subject, envelope map[string]any, bundle bool) (*evidence, error) {
	store := &evidence{blobs: memory{}, manifests: map[string][]byte{}}
	mediaType, content := "application/vnd.dsse.envelope.v1+json", any(envelope)
	doc := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
	if bundle {
		mediaType, doc.ArtifactType = bundleType, bundleType
		doc.Subject = &ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: s.Digest, Size: 2}
		content = map[string]any{
			"mediaType": bundleType, "verificationMaterial": map[string]any{"publicKey": map[string]any{"hint": ""}}, "dsseEnvelope": envelope,
		}
	}
	raw, err := json.Marshal(content)
	if err != nil {
		return nil, err
	}
	doc.Config = store.blobs.add(ocispec.MediaTypeEmptyJSON, []byte("{}"))
	doc.Layers = []ocispec.Descriptor{store.blobs.add(mediaType, raw)}
	if raw, err = json.Marshal(doc); err != nil {
		return nil, err
	}
	d := ocispec.Descriptor{MediaType: doc.MediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
	store.manifests[d.Digest.String()] = raw
	if bundle {
		store.listed = []ocispec.Descriptor{d}
	} else {
		store.manifests["sha256-"+s.Digest.Encoded()+".att"] = raw
	}
	return store, nil
}

func (e *evidence) Listed(context.Context, policy.Subject) ([]ocispec.Descriptor, error) {
	return e.listed, nil
}

func (e *evidence) Manifest(_ context.Context, _, reference string) ([]byte, string, error) {
	if raw, ok := e.manifests[reference]; ok {
		return raw, ocispec.MediaTypeImageManifest, nil
	}
	return nil, "", notThere{}
}

func (e *evidence) Blob(ctx context.Context, repo string, d digest.Digest, limit int64) ([]byte, error) {
	return e.blobs.Blob(ctx, repo, d, limit)
}

type notThere struct{}

func (notThere) Error() string  { return "not there" }
func (notThere) NotFound() bool { return true }

// trivyReport is a report of about so many bytes.
func trivyReport(size int) []byte {
	var b bytes.Buffer
	b.WriteString(`{"SchemaVersion":2,"Results":[{"Target":"app","Packages":[{"Name":"first"}`)
	for i := 0; b.Len() < size/3; i++ {
		fmt.Fprintf(&b, `,{"ID":"p%d@1.0","Name":"p%d","Version":"1.0","Identifier":{"PURL":"pkg:deb/debian/p%d@1.0?arch=amd64"},"InstalledFiles":["/usr/share/doc/p%d/copyright"]}`, i, i, i, i)
	}
	b.WriteString(`],"Vulnerabilities":[`)
	comma := ""
	for i := 0; b.Len() < size; i++ {
		fmt.Fprintf(&b, `%s{"VulnerabilityID":"CVE-2026-%04d","PkgName":"p%d","InstalledVersion":"1.0","Severity":"LOW","CVSS":{"nvd":{"V3Score":3.1}},"Description":"%s"}`,
			comma, i, i, strings.Repeat("A flaw was found in the parser of things that come. ", 60))
		comma = ","
	}
	b.WriteString(`]}]}`)
	return b.Bytes()
}
