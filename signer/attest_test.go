package signer

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/policy/manifest"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"
)

const (
	scanned    = "https://in-toto.io/attestation/vulns/v0.2"
	summarized = "https://slsa.dev/verification_summary/v1"
)

// says is a statement that was found out at minute n.
func says(predicateType string, n int) Statement {
	return Statement{
		PredicateType: predicateType, Predicate: fmt.Appendf(nil, `{"n":%d}`, n),
		Time: time.Date(2026, 11, 24, 12, n, 0, 0, time.UTC),
	}
}

func mustAttest(t testing.TB, s *Sealer, subject policy.Subject, statements ...Statement) []digest.Digest {
	t.Helper()
	sealed, err := s.Seal(t.Context(), subject, host+subject.Repo, statements)
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}

// attested lists the predicates that a key is proven to have attested in each format, read and verified independently of
// what wrote them.
func attested(t testing.TB, store *memory, subject policy.Subject, key *Key) map[Format][]string {
	t.Helper()
	found := map[Format][]string{}
	take := func(format Format, e dsse.Envelope) {
		payload := must(e.DecodeB64Payload())
		sig := must(base64.StdEncoding.DecodeString(e.Signatures[0].Sig))
		hash := digest.FromBytes(dsse.PAE(e.PayloadType, payload))
		if !key.signed(unhex(hash), sig) {
			return
		}
		var st struct {
			Type          string `json:"_type"`
			Subject       []struct{ Digest map[string]string }
			PredicateType string
			Predicate     json.RawMessage
		}
		if err := json.Unmarshal(payload, &st); err != nil {
			t.Fatal(err)
		}
		if st.Type != "https://in-toto.io/Statement/v1" || st.Subject[0].Digest["sha256"] != subject.Digest.Encoded() {
			t.Errorf("the statement is %s", payload)
		}
		if st.PredicateType != signPredicate {
			found[format] = append(found[format], st.PredicateType[strings.LastIndex(st.PredicateType, "attestation")+1:]+string(st.Predicate))
		}
	}

	tag := strings.Replace(subject.Digest.String(), ":", "-", 1) + ".att"
	if raw, mediaType, err := store.Manifest(t.Context(), subject.Repo, tag); err == nil {
		m := must(manifest.Parse(raw, mediaType))
		must(store.Blob(t.Context(), subject.Repo, m.Config.Digest, 1<<20))
		for _, layer := range m.Layers {
			var e dsse.Envelope
			if json.Unmarshal(must(store.Blob(t.Context(), subject.Repo, layer.Digest, 1<<30)), &e) == nil {
				take(Tag, e)
			}
		}
	}
	for _, d := range must(store.Listed(t.Context(), subject)) {
		raw, mediaType, err := store.Manifest(t.Context(), subject.Repo, d.Digest.String())
		if err != nil {
			t.Fatalf("listed, but not there: %v", err)
		}
		m := must(manifest.Parse(raw, mediaType))
		var b struct {
			Envelope dsse.Envelope `json:"dsseEnvelope"`
		}
		if err := json.Unmarshal(must(store.Blob(t.Context(), subject.Repo, m.Layers[0].Digest, 1<<30)), &b); err != nil {
			t.Fatal(err)
		}
		take(Bundle, b.Envelope)
	}
	for format := range found {
		slices.Sort(found[format])
	}
	return found
}

func wantAttested(t testing.TB, store *memory, subject policy.Subject, key *Key, want ...string) {
	t.Helper()
	found := attested(t, store, subject, key)
	slices.Sort(want)
	for _, format := range []Format{Tag, Bundle} {
		if !slices.Equal(found[format], want) {
			t.Errorf("%s: attested %v, want %v", format, found[format], want)
		}
	}
}

func named(predicateType string, n int) string {
	return fmt.Sprintf(`%s{"n":%d}`, predicateType[strings.LastIndex(predicateType, "attestation")+1:], n)
}

func TestSealSaysWhatItIsTold(t *testing.T) {
	store, key := newMemory(), newKey(t)
	subject := push(t, store, "prod/app", "x")
	sealer := NewSealer(key, store, nil)
	first := mustAttest(t, sealer, subject, says(scanned, 1), says(summarized, 1))
	wantCount(t, store, subject, key, 1, 1)
	wantAttested(t, store, subject, key, named(scanned, 1), named(summarized, 1))

	before := store.names()
	again := mustAttest(t, sealer, subject, says(scanned, 1), says(summarized, 1))
	if !slices.Equal(first, again) || !slices.Equal(before, store.names()) {
		t.Errorf("saying it again changed something: %v, then %v", first, again)
	}
	mustAttest(t, sealer, subject)
	wantAttested(t, store, subject, key, named(scanned, 1), named(summarized, 1))
}

func TestAStatementIsThereWhenItsAuthorTakesItForTheSame(t *testing.T) {
	store, key := newMemory(), newKey(t)
	subject := push(t, store, "prod/app", "x")
	sealer := NewSealer(key, store, nil)
	mustAttest(t, sealer, subject, says(summarized, 1))
	next := says(summarized, 2)
	var asked []string
	next.Same = func(attached []byte) bool { asked = append(asked, string(attached)); return true }
	mustAttest(t, sealer, subject, next)
	wantAttested(t, store, subject, key, named(summarized, 1))
	if fmt.Sprint(asked) != `[{"n":1} {"n":1}]` {
		t.Errorf("was asked about %v", asked)
	}
	next.Same = func([]byte) bool { return false }
	mustAttest(t, sealer, subject, next)
	wantAttested(t, store, subject, key, named(summarized, 1), named(summarized, 2))
}

func TestNewerAttestationsSupersedeAndOlderOnesAreKeptToABound(t *testing.T) {
	stranger := newKey(t)
	store, key := newMemory(), newKey(t)
	subject := push(t, store, "prod/app", "x")
	mustAttest(t, NewSealer(stranger, store, []Format{Tag, Bundle}), subject, says(scanned, 0))
	sealer := NewSealer(key, store, []Format{Tag, Bundle})
	mustAttest(t, sealer, subject, says(summarized, 0))
	for n := range maxKept + 2 {
		mustAttest(t, sealer, subject, says(scanned, n))
	}
	want := []string{named(summarized, 0)}
	for n := 2; n < maxKept+2; n++ {
		want = append(want, named(scanned, n))
	}
	wantAttested(t, store, subject, key, want...)
	wantAttested(t, store, subject, stranger, named(scanned, 0))
	wantCount(t, store, subject, key, 1, 1)
	wantCount(t, store, subject, stranger, 1, 1)
}

func TestARegistryThatDeletesNothingKeepsOlderAttestations(t *testing.T) {
	store, key := newMemory(), newKey(t)
	subject := push(t, store, "prod/app", "x")
	store.fail = func(operation, _ string) error {
		if operation == "Detach" || operation == "DeleteManifest" {
			return errors.New("405")
		}
		return nil
	}
	for n := range maxKept + 2 {
		mustAttest(t, NewSealer(key, store, []Format{Bundle}), subject, says(scanned, n))
	}
	if found := attested(t, store, subject, key)[Bundle]; len(found) != maxKept+2 {
		t.Errorf("found %v", found)
	}
}

func TestThreat051_NothingIsRemovedThatIsNotVerifiedToBeOurs(t *testing.T) {
	store, key, stranger := newMemory(), newKey(t), newKey(t)
	subject := push(t, store, "prod/app", "x")
	for n := range 2 * maxKept { // with our annotations and older than all of ours, but not signed by us
		mustAttest(t, NewSealer(stranger, store, []Format{Tag, Bundle}), subject, says(scanned, 0), says(summarized, n%maxKept))
		mustAttest(t, NewSealer(key, store, []Format{Tag, Bundle}), subject, says(scanned, 10+n))
	}
	wantAttested(t, store, subject, stranger, named(scanned, 0), named(summarized, 0), named(summarized, 1), named(summarized, 2))
}

func TestAttestationsFollowWhatTheImageCarries(t *testing.T) {
	for _, c := range []struct{ there, want Format }{{Tag, Tag}, {Bundle, Bundle}} {
		store, key := newMemory(), newKey(t)
		subject := push(t, store, "prod/app", "x")
		mustSeal(t, NewSealer(newKey(t), store, []Format{c.there}), subject)
		mustAttest(t, NewSealer(key, store, nil), subject, says(scanned, 1))
		found := attested(t, store, subject, key)
		if len(found) != 1 || len(found[c.want]) != 1 {
			t.Errorf("on an image with a %s: attested %v", c.there, found)
		}
	}
}

// TestThreat155 kills the sealer before each operation. Whoever sees a signature of ours sees all that was said with it.
func TestThreat155_ASignatureIsNeverThereWithoutItsAttestations(t *testing.T) {
	key := newKey(t)
	for survived := 0; ; survived++ {
		store := newMemory()
		subject := push(t, store, "prod/app", "x")
		operations := 0
		store.fail = func(string, string) error {
			if operations++; operations > survived {
				return errKilled
			}
			return nil
		}
		_, err := NewSealer(key, store, nil).Seal(t.Context(), subject, host+subject.Repo, []Statement{says(scanned, 1), says(summarized, 1)})
		store.fail = nil
		signatures := count(t, store, subject, key)
		if signatures[Tag]+signatures[Bundle] > 0 {
			wantAttested(t, store, subject, key, named(scanned, 1), named(summarized, 1))
		}
		found := attested(t, store, subject, key)
		for format, all := range found {
			if slices.Contains(all, named(summarized, 1)) && !slices.Contains(all, named(scanned, 1)) {
				t.Errorf("killed before operation %d: %s has the summary without what it rests on", survived, format)
			}
		}
		mustAttest(t, NewSealer(key, store, nil), subject, says(scanned, 1), says(summarized, 1))
		wantCount(t, store, subject, key, 1, 1)
		wantAttested(t, store, subject, key, named(scanned, 1), named(summarized, 1))
		if err == nil {
			break
		}
	}
}

func TestThreat053_FiftyKeysAtOnceLoseNoAttestation(t *testing.T) {
	store := newMemory()
	subject := push(t, store, "prod/app", "x")
	keys := make([]*Key, 50)
	var group sync.WaitGroup
	for i := range keys {
		keys[i] = newKey(t)
		group.Go(func() {
			_, err := NewSealer(keys[i], store, []Format{Tag}).Seal(t.Context(), subject, host+subject.Repo, []Statement{says(scanned, 1)})
			if err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	for _, key := range keys {
		if found := attested(t, store, subject, key)[Tag]; len(found) != 1 {
			t.Errorf("attested %v", found)
		}
	}
}

func TestOnlyJSONObjectsOfABoundedSizeAreAttested(t *testing.T) {
	key := newKey(t)
	large := func(n int) []byte {
		return slices.Concat([]byte(`{"a":"`), bytes.Repeat([]byte("x"), n-8), []byte(`"}`))
	}
	for name, c := range map[string]struct {
		statement Statement
		fails     bool
	}{
		"an object":               {Statement{PredicateType: scanned, Predicate: []byte(` {"a":"<&>"} `)}, false},
		"as large as is allowed":  {Statement{PredicateType: scanned, Predicate: large(policy.MaxPredicate)}, false},
		"larger than that":        {Statement{PredicateType: scanned, Predicate: large(policy.MaxPredicate + 1)}, true},
		"nothing":                 {Statement{PredicateType: scanned}, true},
		"a list":                  {Statement{PredicateType: scanned, Predicate: []byte(`[]`)}, true},
		"half an object":          {Statement{PredicateType: scanned, Predicate: []byte(`{"a":`)}, true},
		"two objects":             {Statement{PredicateType: scanned, Predicate: []byte(`{}{}`)}, true},
		"no type":                 {Statement{Predicate: []byte(`{}`)}, true},
		"a type that is no URI":   {Statement{PredicateType: "scan", Predicate: []byte(`{}`)}, true},
		"a type with a line end":  {Statement{PredicateType: "https://a\nb", Predicate: []byte(`{}`)}, true},
		"what poses as signature": {Statement{PredicateType: signPredicate, Predicate: []byte(`{}`)}, true},
	} {
		store := newMemory()
		subject := push(t, store, "prod/app", "x")
		_, err := NewSealer(key, store, []Format{Bundle}).Seal(t.Context(), subject, host+subject.Repo, []Statement{c.statement})
		if (err != nil) != c.fails {
			t.Errorf("%s: got %.200v", name, err)
		}
		if c.fails && len(store.listed[subject]) > 0 {
			t.Errorf("%s: something was written", name)
		}
	}
}

func TestAnAttestationOfAnotherImageUnderTheTagIsNotOurs(t *testing.T) {
	store, key := newMemory(), newKey(t)
	old, subject := push(t, store, "prod/app", "old"), push(t, store, "prod/app", "new")
	mustAttest(t, NewSealer(key, store, []Format{Tag}), old, says(scanned, 1))
	tagOf := func(s policy.Subject) string { return strings.TrimSuffix(sigTag(s), ".sig") + ".att" }
	moved := store.manifests["prod/app:"+tagOf(old)]
	store.put("prod/app", tagOf(subject), moved.mediaType, moved.raw)

	mustAttest(t, NewSealer(key, store, []Format{Tag}), subject, says(scanned, 1))
	m := must(manifest.Parse(store.manifests["prod/app:"+tagOf(subject)].raw, ocispec.MediaTypeImageManifest))
	if len(m.Layers) != 2 {
		t.Errorf("%d layers, want the one that was moved there and ours", len(m.Layers))
	}
}

// Signatures of one subject differ where a key signs one thing twice in different ways. However many there are, each may be the
// one that somebody pinned.
func TestThreat051_ASignatureIsNeverSuperseded(t *testing.T) {
	key := newKey(t)
	var all []said
	for n := range 3 * maxKept {
		s := said{by: key, created: fmt.Sprint(n)}
		s.statement.PredicateType = signPredicate
		all = append(all, s)
	}
	if old := superseded(all); len(old) > 0 {
		t.Errorf("%d of %d signatures are superseded", len(old), len(all))
	}
}

func TestThreat062_AStatementAboutMoreThanTheSubjectIsNotOurSeal(t *testing.T) {
	key := newKey(t)
	one, other := digest.FromString("one"), digest.FromString("other")
	subject := func(d digest.Digest) string { return `{"digest":{"sha256":"` + d.Encoded() + `"}}` }
	for subjects, want := range map[string]bool{
		subject(one): true, subject(other): false, subject(one) + "," + subject(other): false, subject(other) + "," + subject(one): false, "": false,
	} {
		payload := []byte(`{"_type":"` + statementType + `","predicateType":"x","subject":[` + subjects + `]}`)
		if s := read(key, payload, one); (s != nil) != want {
			t.Errorf("about [%s]: %v, want %v", subjects, s != nil, want)
		}
	}
}

// What cannot be added to is found out before anything is written.
func TestThreat049_ATagThatCannotBeAddedToLeavesNoTrace(t *testing.T) {
	content := []byte("{}")
	full := ocispec.Manifest{Config: describe(ocispec.MediaTypeImageConfig, content)}
	full.SchemaVersion, full.MediaType = 2, ocispec.MediaTypeImageManifest
	for range maxSignatures + 1 {
		full.Layers = append(full.Layers, describe(manifest.SimpleSigning, content))
	}
	index := ocispec.Index{MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{}}
	index.SchemaVersion = 2
	for name, c := range map[string]struct {
		document any
		why      string
	}{"one signature too many": {full, "layers"}, "an index": {index, "is an index"}, "nothing": {map[string]any{}, "is to be removed"}} {
		t.Run(name, func(t *testing.T) {
			store, key := newMemory(), newKey(t)
			subject := push(t, store, "prod/app", "x")
			if err := store.PutBlob(t.Context(), subject.Repo, full.Config, content); err != nil {
				t.Fatal(err)
			}
			raw, err := json.Marshal(c.document)
			if err != nil {
				t.Fatal(err)
			}
			mediaType := ocispec.MediaTypeImageManifest
			if _, ok := c.document.(ocispec.Index); ok {
				mediaType = ocispec.MediaTypeImageIndex
			}
			if err := store.PutManifest(t.Context(), subject.Repo, "sha256-"+subject.Digest.Encoded()+".sig", mediaType, raw); err != nil {
				t.Fatal(err)
			}
			var written []string
			store.fail = func(operation, what string) error {
				if strings.HasPrefix(operation, "Put") || operation == "Attach" {
					written = append(written, operation+" "+what)
				}
				return nil
			}
			_, err = NewSealer(key, store, []Format{Tag, Bundle}).Seal(t.Context(), subject, host+subject.Repo, []Statement{says(scanned, 0)})
			if err == nil || !strings.Contains(err.Error(), c.why) || len(written) > 0 {
				t.Errorf("got %v, and %q was written", err, written)
			}
		})
	}
}
