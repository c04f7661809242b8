package verifier

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/policy/manifest"
)

const (
	reviewType = "https://acme.dev/review/v1"
	aReview    = `{"approved":true}`
	aScan      = `{"scanner":{"uri":"x","result":{"SchemaVersion":2,"Results":[{"Packages":[{}]}]}},"metadata":{"scanFinishedOn":"2026-11-20T08:00:00Z"}}`
)

// attest is a statement about a digest.
func attest(d digest.Digest, predicateType, predicate string) []byte {
	return fmt.Appendf(nil, `{"_type":"https://in-toto.io/Statement/v0.1","predicate":%s,"predicateType":%q,"subject":[{"name":"x","digest":{"sha256":%q}}]}`,
		predicate, predicateType, d.Encoded())
}

// enveloped is an envelope as cosign v2 attaches it, signed by each.
func enveloped(t testing.TB, payloadType string, payload []byte, by ...signer) []byte {
	t.Helper()
	var signatures []map[string]any
	for _, one := range by {
		signatures = append(signatures, map[string]any{"keyid": "", "sig": one.sign(t, pae(payloadType, payload))})
	}
	raw, err := json.Marshal(map[string]any{"payloadType": payloadType, "payload": payload, "signatures": signatures})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// attachTag attaches envelopes under the .att tag, with an annotation that lies.
func (m *memory) attachTag(t testing.TB, s policy.Subject, envelopes ...[]byte) {
	t.Helper()
	var layers []ocispec.Descriptor
	for _, raw := range envelopes {
		layer := m.putBlob(s.Repo, manifest.DSSE, raw)
		layer.Annotations = map[string]string{"predicateType": "https://lies.example", "dev.cosignproject.cosign/signature": ""}
		layers = append(layers, layer)
	}
	m.putManifest(t, s.Repo, image(layers...), attestationTag(s))
}

// places are the two ways to attach a statement.
func places(t testing.TB, s policy.Subject) map[string]func(m *memory, payload []byte, by signer) {
	return map[string]func(m *memory, payload []byte, by signer){
		"under the tag": func(m *memory, payload []byte, by signer) {
			m.attachTag(t, s, enveloped(t, inTotoPayload, payload, by))
		},
		"in a bundle": func(m *memory, payload []byte, by signer) {
			m.refer(t, s, newBundle(t, by, payload).json(t), func(doc *ocispec.Manifest) {
				doc.Annotations = map[string]string{predicateAnnotation: SignaturePredicate}
			})
		},
	}
}

func needing(types ...string) func(string) policy.Needs {
	return func(string) policy.Needs { return policy.NeedsOf(types...) }
}

// attestations words what is proven: "authority type" of each.
func attestations(ev policy.Evidence) string {
	var all []string
	for _, a := range ev.Attestations {
		words := a.Authority + " " + a.PredicateType
		if a.Malformed != "" {
			words += " malformed"
		}
		all = append(all, words)
	}
	return strings.Join(all, ", ")
}

func TestWhatAnAuthorityAttestedIsProvenInBothPlaces(t *testing.T) {
	s, ci, stranger := aSubject(), newSigner(t), newSigner(t)
	other := digest.FromString("another image")
	for place, attach := range places(t, s) {
		for name, c := range map[string]struct {
			payload  []byte
			by       signer
			want     string
			rejected string
			unread   bool
		}{
			"a review":                         {attest(s.Digest, reviewType, aReview), ci, "ci " + reviewType, "", false},
			"a scan":                           {attest(s.Digest, policy.ScanByCosign, aScan), ci, "ci " + policy.ScanByCosign, "", false},
			"a scan that lacks its result":     {attest(s.Digest, policy.ScanByCosign, `{"scanner":{}}`), ci, "ci " + policy.ScanByCosign + " malformed", "", false},
			"a review that is deep":            {attest(s.Digest, reviewType, `{"a":`+strings.Repeat("[", 40)+strings.Repeat("]", 40)+`}`), ci, "ci " + reviewType + " malformed", "", false},
			"a review that is null":            {attest(s.Digest, reviewType, `null`), ci, "", "cannot be read", true},
			"a type that is not needed":        {attest(s.Digest, "https://spdx.dev/Document", `{}`), ci, "", "", false},
			"a type with a tail":               {attest(s.Digest, reviewType+"evil", aReview), ci, "", "", false},
			"a signature":                      {statementFor(s.Digest, SignaturePredicate), ci, "", "", false},
			"by a stranger":                    {attest(s.Digest, reviewType, aReview), stranger, "", "an attestation by an unknown key", false},
			"for another image":                {attest(other, reviewType, aReview), ci, "", "an attestation that is for another image", false},
			"for an image by sha512 too":       {[]byte(strings.Replace(string(attest(s.Digest, reviewType, aReview)), `"sha256":`, `"sha512":"aa","sha256":`, 1)), ci, "", "names the image by sha512 too", false},
			"of another statement":             {[]byte(strings.Replace(string(attest(s.Digest, reviewType, aReview)), `v0.1`, `v0.2`, 1)), ci, "", "a statement of type", place == "under the tag"},
			"no statement, by a stranger":      {[]byte(`{"a":1}`), stranger, "", "", false},
			"a type that is there twice":       {[]byte(strings.Replace(string(attest(s.Digest, reviewType, aReview)), `"predicateType":`, `"predicateType":"x","predicateType":`, 1)), ci, "", "", true},
			"another image beside, the second": {[]byte(strings.Replace(string(attest(s.Digest, reviewType, aReview)), `"subject":[`, `"subject":[{"digest":{"sha256":"00"}},`, 1)), ci, "ci " + reviewType, "", false},
		} {
			m := newMemory()
			attach(m, c.payload, c.by)
			ev := verified(t, newVerifier(t, m, ci.authority(t, "ci")).WithNeeds(needing(reviewType, policy.ScanByCosign)), s)
			if got := attestations(ev); got != c.want {
				t.Errorf("%s, %s: got %q, want %q; rejected %v", name, place, got, c.want, ev.Rejected)
			}
			if c.rejected != "" && (len(ev.Rejected) != 1 || !strings.Contains(ev.Rejected[0].Why, c.rejected)) {
				t.Errorf("%s, %s: rejected %v, want %q", name, place, ev.Rejected, c.rejected)
			}
			if c.unread && len(ev.Unread) == 0 {
				t.Errorf("%s, %s: nothing is unread, rejected %v", name, place, ev.Rejected)
			}
			if !c.unread && len(ev.Unread) != 0 {
				t.Errorf("%s, %s: unread %v", name, place, ev.Unread)
			}
			for _, a := range ev.Attestations {
				if a.Signed != s.Digest || a.Evidence == "" || !a.Vouched.IsZero() {
					t.Errorf("%s, %s: %+v", name, place, a)
				}
			}
		}
	}
}

func TestFactsAreOfTheVerifiedBytes(t *testing.T) {
	s, ci, gateway := aSubject(), newSigner(t), newSigner(t)
	m := newMemory()
	m.attachTag(t, s, enveloped(t, inTotoPayload, attest(s.Digest, policy.ScanByCosign, aScan), ci, gateway))
	ev := verified(t, newVerifier(t, m, ci.authority(t, "ci"), gateway.authority(t, "gateway")).WithNeeds(needing(policy.ScanByCosign)), s)
	if attestations(ev) != "ci "+policy.ScanByCosign+", gateway "+policy.ScanByCosign {
		t.Fatalf("got %s", attestations(ev))
	}
	want := &policy.Scan{Scanner: "x", Finished: time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC), Packages: 1, Counted: true}
	if got := ev.Attestations[0].Facts.Scan; !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if ev.Attestations[0].Evidence != digest.FromBytes(m.manifests[s.Repo+" "+attestationTag(s)].raw) {
		t.Errorf("the evidence is %s", ev.Attestations[0].Evidence)
	}
}

func TestThreat059_EnvelopesOfAnotherFormProveNothing(t *testing.T) {
	s, ci := aSubject(), newSigner(t)
	statement := attest(s.Digest, reviewType, aReview)
	good := string(enveloped(t, inTotoPayload, statement, ci))
	simple := payloadFor(s, "registry.example/"+s.Repo)
	with := func(old, new string) []byte {
		if !strings.Contains(good, old) {
			t.Fatalf("%q is not there", old)
		}
		return []byte(strings.Replace(good, old, new, 1))
	}
	many := make([]signer, 9)
	for i := range many {
		many[i] = ci
	}
	for name, raw := range map[string][]byte{
		"signed without the type":        []byte(fmt.Sprintf(`{"payloadType":%q,"payload":%s,"signatures":[{"sig":%s}]}`, inTotoPayload, quoted(statement), quoted(ci.sign(t, statement)))),
		"of another type":                enveloped(t, "application/json", statement, ci),
		"of another type, renamed":       []byte(strings.Replace(string(enveloped(t, "application/json", statement, ci)), "application/json", inTotoPayload, 1)),
		"a simple signing payload":       enveloped(t, inTotoPayload, simple, newSigner(t)),
		"no signature":                   enveloped(t, inTotoPayload, statement),
		"too many signatures":            enveloped(t, inTotoPayload, statement, many...),
		"a signature that is null":       with(`"sig":"`, `"sig":null,"x":"`),
		"two payloads":                   with(`"payload":`, `"payload":"","payload":`),
		"a payload with escapes":         with(`"payload":"`, `"payload":"\u0065`),
		"a payload that is no base64":    with(`"payload":"`, `"payload":"!`),
		"another payload":                with(`"payload":"ey`, `"payload":"fy`),
		"something behind it":            append([]byte(good), '{', '}'),
		"half of it":                     []byte(good[:len(good)/2]),
		"nothing":                        {},
		"a list of signatures by nobody": with(`"signatures":[`, `"signatures":[],"x":[`),
	} {
		m := newMemory()
		m.attachTag(t, s, raw)
		ev := verified(t, newVerifier(t, m, ci.authority(t, "ci")).WithNeeds(needing(reviewType)), s)
		if len(ev.Attestations) != 0 || len(ev.Rejected) != 1 {
			t.Errorf("%s: proves %s, rejected %v", name, attestations(ev), ev.Rejected)
		}
	}

	// Nor is an envelope a signature, wherever it stands, nor a signature an attestation.
	m := newMemory()
	layer := m.putBlob(s.Repo, manifest.SimpleSigning, statement)
	layer.Annotations = map[string]string{signatureAnnotation: string(quoted(ci.sign(t, pae(inTotoPayload, statement))))}
	m.putManifest(t, s.Repo, image(layer), signatureTag(s))
	m.putManifest(t, s.Repo, image(m.layer(s.Repo, simple, ci.sign(t, simple))), attestationTag(s))
	ev := verified(t, newVerifier(t, m, ci.authority(t, "ci")).WithNeeds(needing(reviewType)), s)
	if len(ev.Signatures)+len(ev.Attestations) != 0 {
		t.Errorf("proves %+v", ev)
	}
}

func quoted(raw []byte) []byte {
	text, err := json.Marshal(raw)
	if err != nil {
		panic(err)
	}
	return text
}

func TestAttestationsAreLookedForWhereTheRuleNeedsThem(t *testing.T) {
	s, ci := aSubject(), newSigner(t)
	m := newMemory()
	m.signTag(t, s, ci)
	m.attachTag(t, s, enveloped(t, inTotoPayload, attest(s.Digest, reviewType, aReview), ci))
	needs := func(repo string) policy.Needs {
		if repo == s.Repo {
			return policy.NeedsOf(reviewType)
		}
		return policy.Needs{}
	}
	plain := newVerifier(t, m, ci.authority(t, "ci"))
	for name, v := range map[string]*Verifier{
		"nobody said what is needed": plain, "nothing is needed": plain.WithNeeds(needing()),
		"something is needed elsewhere": plain.WithNeeds(func(repo string) policy.Needs { return needs("x" + repo) }),
	} {
		m.requests = nil
		ev := verified(t, v, s)
		if len(ev.Attestations) != 0 || len(ev.Signatures) != 1 || strings.Contains(strings.Join(m.requests, " "), ".att") {
			t.Errorf("%s: got %+v after %v", name, ev, m.requests)
		}
	}
	if ev := verified(t, plain.WithNeeds(needs), s); len(ev.Attestations) != 1 || len(ev.Signatures) != 1 {
		t.Errorf("got %+v", ev)
	}
}

func TestAnAttestationThatCannotBeFetchedMakesTheAnswerUnknown(t *testing.T) {
	s, ci := aSubject(), newSigner(t)
	statement := attest(s.Digest, reviewType, aReview)
	for place, attach := range places(t, s) {
		m := newMemory()
		m.signTag(t, s, ci)
		attach(m, statement, ci)
		v := newVerifier(t, m, ci.authority(t, "ci")).WithNeeds(needing(reviewType))
		verified(t, v, s)
		asked := m.requests
		for _, request := range asked {
			m.before = func(_ context.Context, now string) error {
				if now == request {
					return errors.New("503")
				}
				return nil
			}
			if ev, err := v.Verify(t.Context(), s); err == nil {
				t.Errorf("%s, without %s: got %+v", place, request, ev)
			}
		}
	}
	// What is listed and not there is not absent either.
	m := newMemory()
	m.attachTag(t, s, enveloped(t, inTotoPayload, statement, ci))
	m.blobs = map[string][]byte{}
	if ev, err := newVerifier(t, m, ci.authority(t, "ci")).WithNeeds(needing(reviewType)).Verify(t.Context(), s); err == nil {
		t.Errorf("got %+v", ev)
	}
}

func TestThreat070_AttestationsAreBounded(t *testing.T) {
	s, ci := aSubject(), newSigner(t)
	raw := enveloped(t, inTotoPayload, attest(s.Digest, reviewType, aReview), ci)
	sized := func(size int64) func(*memory) {
		return func(m *memory) {
			layer := m.putBlob(s.Repo, manifest.DSSE, raw)
			layer.Size = size
			m.putManifest(t, s.Repo, image(layer), attestationTag(s))
		}
	}
	bundled := func(size int64) func(*memory) {
		return func(m *memory) {
			m.refer(t, s, newBundle(t, ci, attest(s.Digest, reviewType, aReview)).json(t), func(doc *ocispec.Manifest) { doc.Layers[0].Size = size })
		}
	}
	layers := func(n int) func(*memory) {
		return func(m *memory) {
			var all [][]byte
			for range n {
				all = append(all, raw)
			}
			m.attachTag(t, s, all...)
		}
	}
	padded := func(size int) func(*memory) {
		return func(m *memory) {
			all := append([]byte(strings.Repeat(" ", size-len(raw))), raw...)
			m.putManifest(t, s.Repo, image(m.putBlob(s.Repo, manifest.DSSE, all)), attestationTag(s))
		}
	}
	for name, c := range map[string]struct {
		attach func(*memory)
		found  int
		unread bool
	}{
		"as large as is read":       {padded(MaxAttestation), 1, false},
		"larger, it says":           {sized(MaxAttestation + 1), 0, true},
		"a bundle, larger, it says": {bundled(MaxAttestation + 1), 0, true},
		"as many as are read":       {layers(MaxAttestations), MaxAttestations, false},
		"more":                      {layers(MaxAttestations + 1), 0, true},
		"another size than it has":  {sized(7), 0, false},
		"no manifest under the tag": {func(m *memory) { m.putManifest(t, s.Repo, []byte("junk"), attestationTag(s)) }, 0, true},
		"an index under the tag":    {func(m *memory) { m.putManifest(t, s.Repo, ocispec.Index{}, attestationTag(s)) }, 0, true},
		"something else under the tag": {func(m *memory) {
			m.putManifest(t, s.Repo, image(m.putBlob(s.Repo, "text/plain", raw)), attestationTag(s))
		}, 0, false},
		"more referrers than are read": {func(m *memory) {
			for i := range MaxReferrers + 1 {
				m.refer(t, s, fmt.Appendf(nil, "junk %d", i), nil)
			}
		}, 0, true},
	} {
		m := newMemory()
		c.attach(m)
		ev := verified(t, newVerifier(t, m, ci.authority(t, "ci")).WithNeeds(needing(reviewType)), s)
		if len(ev.Attestations) != c.found || (len(ev.Unread) > 0) != c.unread || c.found == 0 && len(ev.Rejected) == 0 {
			t.Errorf("%s: %d attestations, unread %v, rejected %v", name, len(ev.Attestations), ev.Unread, ev.Rejected)
		}
		if ev := verified(t, newVerifier(t, m, ci.authority(t, "ci")), s); len(ev.Unread) != 0 {
			t.Errorf("%s, where nothing is needed: unread %v", name, ev.Unread)
		}
	}
}

func TestRoundTripsOfAttestations(t *testing.T) {
	const latency = 20 * time.Millisecond
	s, ci := aSubject(), newSigner(t)
	statement := attest(s.Digest, reviewType, aReview)
	for place, c := range map[string]struct{ requests, trips int }{"under the tag": {4, 2}, "in a bundle": {5, 3}} {
		t.Run(place, func(t *testing.T) {
			m := newMemory()
			places(t, s)[place](m, statement, ci)
			v := newVerifier(t, m, ci.authority(t, "ci")).WithNeeds(needing(reviewType))
			synctest.Test(t, func(t *testing.T) {
				m.before = func(context.Context, string) error {
					time.Sleep(latency)
					return nil
				}
				began := time.Now()
				verified(t, v, s)
				if trips := int(time.Since(began) / latency); trips != c.trips || len(m.requests) != c.requests {
					t.Errorf("%d round trips and %d requests, want %d and %d: %v", trips, len(m.requests), c.trips, c.requests, m.requests)
				}
			})
		})
	}
}

func TestAttestationsAreRememberedAndWeighed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ev := policy.Evidence{Attestations: []policy.Attestation{{Authority: "ci", Facts: policy.Facts{Scan: &policy.Scan{Findings: make([]policy.Finding, 10_000)}}}}}
		asked := always(ev, nil)
		c := NewCache(asked, CacheOptions{})
		verified(t, c, aSubject())
		time.Sleep(30 * time.Second) // longer than an absence is remembered
		got := verified(t, c, aSubject())
		got.Proven = ev.Proven // when that was, which a cache notes
		if !reflect.DeepEqual(got, ev) {
			t.Errorf("got %+v", got)
		}
		if c.bytes < 10_000*100 {
			t.Errorf("ten thousand findings weigh %d bytes", c.bytes)
		}
		document := policy.Evidence{Attestations: []policy.Attestation{{Facts: policy.Facts{Document: map[string]any{"a": []any{strings.Repeat("x", 100_000)}}}}}}
		if n := weigh(aSubject(), document); n < 100_000 {
			t.Errorf("a document of a hundred kilobytes weighs %d", n)
		}
	})
}

// largeSBOM is an SBOM of about so many bytes.
func largeSBOM(size int) string {
	var b strings.Builder
	b.WriteString(`{"spdxVersion":"SPDX-2.3","name":"app","packages":[{"name":"first"}`)
	for i := 0; b.Len() < size; i++ {
		fmt.Fprintf(&b, `,{"name":"p%d","SPDXID":"SPDXRef-%d","versionInfo":"1.0","licenseConcluded":"NOASSERTION","externalRefs":[{"referenceCategory":"PACKAGE-MANAGER","referenceType":"purl","referenceLocator":"pkg:deb/debian/p%d@1.0"}]}`, i, i, i)
	}
	return b.String() + "]}"
}

// G10: 5 MB.
func TestALargeSBOMTakesAFewTimesItsSize(t *testing.T) {
	s, ci := aSubject(), newSigner(t)
	statement := attest(s.Digest, "https://spdx.dev/Document", largeSBOM(5<<20))
	for place, attach := range places(t, s) {
		m := newMemory()
		attach(m, statement, ci)
		v := newVerifier(t, m, ci.authority(t, "ci")).WithNeeds(needing("https://spdx.dev/Document"))
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		ev := verified(t, v, s)
		runtime.ReadMemStats(&after)
		if len(ev.Attestations) != 1 || ev.Attestations[0].Facts.SBOM.Packages < 10_000 {
			t.Fatalf("%s: got %+v", place, ev)
		}
		// All that is allocated on the way, of which little is alive at once.
		if times := float64(after.TotalAlloc-before.TotalAlloc) / float64(len(statement)); times > 15 {
			t.Errorf("%s: %.1f times its size", place, times)
		}
	}
}

func BenchmarkLargeSBOM(b *testing.B) {
	s, ci := aSubject(), newSigner(b)
	statement := attest(s.Digest, "https://spdx.dev/Document", largeSBOM(5<<20))
	for place, attach := range places(b, s) {
		b.Run(place, func(b *testing.B) {
			m := newMemory()
			m.forgetful = true
			attach(m, statement, ci)
			v := newVerifier(b, m, ci.authority(b, "ci")).WithNeeds(needing("https://spdx.dev/Document"))
			b.ReportAllocs()
			for b.Loop() {
				if ev := verified(b, v, s); len(ev.Attestations) != 1 {
					b.Fatal(ev)
				}
			}
		})
	}
}

// Whatever stands under an .att tag, only the very statement that was signed is an attestation.
func FuzzEnvelope(f *testing.F) {
	s, ci := aSubject(), newSigner(f)
	statement := attest(s.Digest, reviewType, aReview)
	f.Add(enveloped(f, inTotoPayload, statement, ci))
	f.Add([]byte(`{"payloadType":"x","payload":"","signatures":[{"sig":""}]}`))
	authority := ci.authority(f, "ci")
	f.Fuzz(func(t *testing.T, raw []byte) {
		m := newMemory()
		m.attachTag(t, s, raw)
		ev := verified(t, newVerifier(t, m, authority).WithNeeds(needing(reviewType)), s)
		if len(ev.Attestations) == 0 {
			return
		}
		var plain struct{ Payload []byte }
		if err := json.Unmarshal(raw, &plain); err != nil || string(plain.Payload) != string(statement) {
			t.Errorf("%q proves %+v", raw, ev.Attestations)
		}
	})
}
