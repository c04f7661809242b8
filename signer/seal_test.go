package signer

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/quick"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/policy"
)

func TestSealFollowsWhatOthersAttached(t *testing.T) {
	stranger := newKey(t)
	signs := func(formats ...Format) func(*testing.T, *memory, policy.Subject) {
		return func(t *testing.T, m *memory, s policy.Subject) { mustSeal(t, NewSealer(stranger, m, formats), s) }
	}
	refers := func(mediaType string, content []byte) func(*testing.T, *memory, policy.Subject) {
		return func(t *testing.T, m *memory, s policy.Subject) { refer(t, m, s, mediaType, content) }
	}
	for name, c := range map[string]struct {
		attach      func(*testing.T, *memory, policy.Subject)
		tag, bundle int
	}{
		"nothing":                      {func(*testing.T, *memory, policy.Subject) {}, 1, 1},
		"a .sig":                       {signs(Tag), 1, 0},
		"a bundle":                     {signs(Bundle), 0, 1},
		"a .sig and a bundle":          {signs(Tag, Bundle), 0, 1},
		"a referrer that is no bundle": {refers("application/x-notes", []byte("hello")), 1, 1},
		"a bundle that nobody reads":   {refers(bundleType, []byte("{}")), 1, 1},
		"a bundle larger than ours":    {refers(bundleType, make([]byte, maxEnvelope+1)), 0, 1},
		"an attestation in a bundle": {func(t *testing.T, m *memory, s policy.Subject) {
			attest(t, m, s, stranger, "https://spdx.dev/Document")
		}, 0, 1},
		"a .att": {func(t *testing.T, m *memory, s policy.Subject) {
			tag := strings.TrimSuffix(sigTag(s), ".sig") + ".att"
			m.put(s.Repo, tag, ocispec.MediaTypeImageManifest, []byte("{}"))
		}, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			store, key := newMemory(), newKey(t)
			subject := push(t, store, "prod/app", name)
			c.attach(t, store, subject)
			theirs := count(t, store, subject, stranger)

			sealed := mustSeal(t, NewSealer(key, store, nil), subject)
			wantCount(t, store, subject, key, c.tag, c.bundle)
			if len(sealed) != c.tag+c.bundle {
				t.Errorf("returned %d digests, want %d", len(sealed), c.tag+c.bundle)
			}
			if after := count(t, store, subject, stranger); !maps.Equal(theirs, after) {
				t.Errorf("the stranger's signatures were %v and are %v", theirs, after)
			}

			before := store.names()
			if again := mustSeal(t, NewSealer(key, store, nil), subject); !slices.Equal(sealed, again) {
				t.Errorf("sealing again gives %v, was %v", again, sealed)
			}
			if after := store.names(); !slices.Equal(before, after) {
				t.Errorf("sealing again changed what is stored:\n%v\n%v", before, after)
			}
		})
	}
}

func TestSealWritesTheFormatsItIsTold(t *testing.T) {
	for _, c := range []struct {
		formats     []Format
		tag, bundle int
	}{{[]Format{Tag}, 1, 0}, {[]Format{Bundle}, 0, 1}, {[]Format{Tag, Bundle}, 1, 1}, {[]Format{Bundle, Tag}, 1, 1}} {
		store, key := newMemory(), newKey(t)
		subject := push(t, store, "prod/app", "x")
		mustSeal(t, NewSealer(newKey(t), store, nil), subject)
		mustSeal(t, NewSealer(key, store, c.formats), subject)
		wantCount(t, store, subject, key, c.tag, c.bundle)
	}
}

func TestSealOfOwnDoesNotCountAsForeign(t *testing.T) {
	store, key := newMemory(), newKey(t)
	subject := push(t, store, "prod/app", "x")
	mustSeal(t, NewSealer(key, store, []Format{Tag}), subject)
	attest(t, store, subject, key, "https://spdx.dev/Document")
	mustSeal(t, NewSealer(key, store, nil), subject)
	wantCount(t, store, subject, key, 1, 1)
}

func TestThreat154_FiftySealsAtOnceAreOneSignaturePerFormat(t *testing.T) {
	store, key := newMemory(), newKey(t)
	subject := push(t, store, "prod/app", "x")
	var group sync.WaitGroup
	for range 50 {
		group.Go(func() {
			if _, err := NewSealer(key, store, nil).Seal(context.Background(), subject, host+subject.Repo, nil); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	wantCount(t, store, subject, key, 1, 1)
}

func TestThreat053_FiftyKeysAtOnceLoseNoSignature(t *testing.T) {
	store := newMemory()
	subject := push(t, store, "prod/app", "x")
	keys := make([]*Key, 50)
	var group sync.WaitGroup
	for i := range keys {
		keys[i] = newKey(t)
		group.Go(func() {
			_, err := NewSealer(keys[i], store, []Format{Tag, Bundle}).Seal(context.Background(), subject, host+subject.Repo, nil)
			if err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	for _, key := range keys {
		wantCount(t, store, subject, key, 1, 1)
	}
}

func TestThreat158_TheNewKeySignsBesideTheOld(t *testing.T) {
	store, old, next := newMemory(), newKey(t), newKey(t)
	subject := push(t, store, "prod/app", "x")
	mustSeal(t, NewSealer(old, store, []Format{Tag, Bundle}), subject)
	mustSeal(t, NewSealer(next, store, []Format{Tag, Bundle}), subject)
	mustSeal(t, NewSealer(old, store, []Format{Tag, Bundle}), subject)
	wantCount(t, store, subject, old, 1, 1)
	wantCount(t, store, subject, next, 1, 1)
}

func TestTwoGatewaysWithOneKeyWriteTheSameSeal(t *testing.T) {
	private := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	var sealed [][]digest.Digest
	for range 2 {
		store := newMemory()
		subject := push(t, store, "prod/app", "x")
		sealed = append(sealed, mustSeal(t, NewSealer(must(NewKey(private)), store, nil), subject))
	}
	if !slices.Equal(sealed[0], sealed[1]) {
		t.Errorf("one wrote %v, the other %v", sealed[0], sealed[1])
	}
}

func TestThreat156_NothingButAnImageOfTheRepositoryIsSigned(t *testing.T) {
	store, key := newMemory(), newKey(t)
	good := push(t, store, "prod/app", "x")
	other := push(t, store, "test/app", "other")
	mustSeal(t, NewSealer(newKey(t), store, nil), good)
	blob := []byte("any bytes")
	if err := store.PutBlob(t.Context(), "prod/app", describe("application/octet-stream", blob), blob); err != nil {
		t.Fatal(err)
	}
	put := func(mediaType, raw string) digest.Digest {
		store.put("prod/app", digest.FromString(raw).String(), mediaType, []byte(raw))
		return digest.FromString(raw)
	}
	swapped := digest.FromString("what was asked for")
	store.manifests[at("prod/app", swapped.String())] = store.manifests[at("prod/app", good.Digest.String())]

	for name, d := range map[string]digest.Digest{
		"a blob":                         digest.FromBytes(blob),
		"an image of another repository": other.Digest,
		"a signature":                    digest.FromBytes(store.manifests["prod/app:"+sigTag(good)].raw),
		"a bundle":                       store.listed[good][0].Digest,
		"a schema 1 manifest":            put("application/vnd.docker.distribution.manifest.v1+json", `{"schemaVersion":1}`),
		"a manifest with two readings":   put(ocispec.MediaTypeImageIndex, `{"schemaVersion":2,"manifests":[],"manifests":[]}`),
		"a manifest with other bytes":    swapped,
		"a tag":                          "latest",
		"no digest":                      "",
		"a digest of another algorithm":  digest.SHA512.FromString("x"),
		"half a digest":                  good.Digest[:20],
		"an upper-case digest":           digest.Digest("sha256:" + strings.ToUpper(good.Digest.Encoded())),
	} {
		subject := policy.Subject{Repo: "prod/app", Digest: d}
		before := store.names()
		sealed, err := NewSealer(key, store, nil).Seal(t.Context(), subject, host+"prod/app", nil)
		if err == nil {
			t.Errorf("%s was signed: %v", name, sealed)
		}
		if !slices.Equal(before, store.names()) {
			t.Errorf("%s: something was written", name)
		}
	}
}

func TestThreat044_ASignatureNamesTheRepositoryItIsFor(t *testing.T) {
	store := newMemory()
	subject := push(t, store, "prod/app", "x")
	sealer := NewSealer(newKey(t), store, nil)
	for _, reference := range []string{
		"prod/app", "acme.dev/prod/app", "127.0.0.1:5000/prod/app", "[::1]:5000/prod/app", "LOCALHOST/prod/app",
	} {
		if _, err := sealer.Seal(t.Context(), subject, reference, nil); err != nil {
			t.Errorf("%q: %v", reference, err)
		}
	}
	for _, reference := range []string{
		"", "/prod/app", "app", "acme.dev/test/app", "acme.dev/prod/app:v1", "acme.dev/prod/app@" + subject.Digest.String(),
		"https://acme.dev/prod/app", "acme.dev/x/prod/app", "acme dev/prod/app", "acme.dev\"/prod/app", "acme.devprod/app",
	} {
		if _, err := sealer.Seal(t.Context(), subject, reference, nil); err == nil {
			t.Errorf("%q was accepted", reference)
		}
	}
	if _, err := sealer.Seal(t.Context(), policy.Subject{Digest: subject.Digest}, "", nil); err == nil {
		t.Error("no repository was accepted")
	}
}

func TestThreat145_OnlyTheGivenDigestIsSigned(t *testing.T) {
	// Whatever tags say, and whatever else is in the repository: each thing that the key signs names the given digest.
	base := newMemory()
	var images []policy.Subject
	for i := range 8 {
		images = append(images, push(t, base, "prod/app", fmt.Sprint(i)))
	}
	property := func(pick, tagged uint8) bool {
		subject, other := images[int(pick)%len(images)], images[int(tagged)%len(images)]
		latest := base.manifests[at("prod/app", other.Digest.String())]
		store := newMemory()
		store.manifests, store.blobs = maps.Clone(base.manifests), maps.Clone(base.blobs)
		store.put("prod/app", "latest", latest.mediaType, latest.raw)

		key, signatures := newKey(t), 0
		inner := key.signHash
		key.signHash = func(ctx context.Context, hash []byte) ([]byte, error) { signatures++; return inner(ctx, hash) }
		mustSeal(t, NewSealer(key, store, nil), subject)

		named := 0
		for name, raw := range store.blobs {
			if _, old := base.blobs[name]; old {
				continue
			}
			var b struct {
				Envelope struct{ Payload []byte } `json:"dsseEnvelope"`
			}
			if json.Unmarshal(raw, &b) == nil && b.Envelope.Payload != nil {
				raw = b.Envelope.Payload
			}
			for _, image := range images {
				if bytes.Contains(raw, []byte(image.Digest.Encoded())) {
					if image != subject {
						return false
					}
					named++
				}
			}
		}
		return named == 2 && signatures == 2
	}
	if err := quick.Check(property, &quick.Config{MaxCount: 40}); err != nil {
		t.Error(err)
	}
}

func TestAnIndexIsSealedAsAnImageIs(t *testing.T) {
	store, key := newMemory(), newKey(t)
	child := push(t, store, "prod/app", "x")
	raw := must(json.Marshal(ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex,
		Manifests: []ocispec.Descriptor{{MediaType: ocispec.MediaTypeImageManifest, Digest: child.Digest, Size: 1}},
	}))
	store.put("prod/app", "v1", ocispec.MediaTypeImageIndex, raw)
	index := policy.Subject{Repo: "prod/app", Digest: digest.FromBytes(raw)}
	mustSeal(t, NewSealer(key, store, nil), index)
	wantCount(t, store, index, key, 1, 1)
	wantCount(t, store, child, key, 0, 0)
}

func TestFormatsAreParsedStrictly(t *testing.T) {
	for _, c := range []struct {
		words string
		want  []Format
		fails bool
	}{
		{"", nil, false}, {"auto", nil, false}, {"tag", []Format{Tag}, false}, {"bundle tag", []Format{Bundle, Tag}, false},
		{"auto tag", nil, true}, {"tag tag", nil, true}, {"Tag", nil, true}, {"sig", nil, true}, {"auto auto", nil, true},
	} {
		got, err := ParseFormats(strings.Fields(c.words))
		if !slices.Equal(got, c.want) || (err != nil) != c.fails {
			t.Errorf("%q: got %v, %v", c.words, got, err)
		}
	}
}

func BenchmarkSeal(b *testing.B) {
	for _, c := range []struct {
		name    string
		formats []Format
	}{{"auto", nil}, {"tag", []Format{Tag}}, {"bundle", []Format{Bundle}}} {
		b.Run(c.name, func(b *testing.B) {
			store := newMemory()
			subject := push(b, store, "prod/app", "x")
			key := newKey(b)
			manifests, blobs := maps.Clone(store.manifests), maps.Clone(store.blobs)
			for b.Loop() {
				store.manifests, store.blobs = maps.Clone(manifests), maps.Clone(blobs)
				clear(store.listed)
				mustSeal(b, NewSealer(key, store, c.formats), subject)
			}
		})
	}
}
