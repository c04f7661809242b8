package upstream

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/policy/manifest"
)

func registry(t *testing.T, name, prefix string) *Registry {
	t.Helper()
	r, err := New(Options{Name: name, Prefix: prefix, URL: &url.URL{Scheme: "https", Host: "acme.dev"}})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestFindChoosesTheLongestPrefix(t *testing.T) {
	s, err := NewRegistries(registry(t, "local", ""), registry(t, "hub", "docker.io/"), registry(t, "acme", "docker.io/acme/"))
	if err != nil {
		t.Fatal(err)
	}
	for repo, want := range map[string]string{
		"app": "local app", "docker.io/library/nginx": "hub library/nginx", "docker.io/acme/app": "acme app",
		"docker.io/acme": "hub acme", "docker.io/acmetoo/app": "hub acmetoo/app", "docker.io": "local docker.io", "docker.iox/app": "local docker.iox/app",
		"docker.io/": "local docker.io/", "": "none",
	} {
		got := "none"
		if r, name, ok := s.Find(repo); ok {
			got = r.Name() + " " + name
		}
		if got != want {
			t.Errorf("%q: got %s, want %s", repo, got, want)
		}
	}
	if s.ByName("hub").Prefix() != "docker.io/" || s.ByName("none") != nil {
		t.Error("ByName finds others")
	}
	if all := s.All(); len(all) != 3 || all[0].Name() != "acme" || all[2].Name() != "local" {
		t.Errorf("All is %v", all)
	}

	_, err = NewRegistries(registry(t, "a", ""), registry(t, "a", "b/"))
	mustFail(t, err, "registry a is there twice")
	_, err = NewRegistries(registry(t, "a", "x/"), registry(t, "b", "x/"))
	mustFail(t, err, `registries a and b have the same prefix "x/"`)
}

func TestWhatNoRegistryHasThePrefixOfIsAnErrorAndNotAbsent(t *testing.T) {
	s, err := NewRegistries(registry(t, "hub", "docker.io/"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, subject := t.Context(), policy.Subject{Repo: "app", Digest: someDigest}
	errs := []error{
		s.PutManifest(ctx, "app", "v1", "x/y", nil), s.DeleteManifest(ctx, "app", "v1"), s.PutBlob(ctx, "app", ocispec.Descriptor{}, nil),
		s.Attach(ctx, subject, ocispec.Descriptor{}), s.Detach(ctx, subject, someDigest),
	}
	_, _, err = s.Manifest(ctx, "app", "v1")
	errs = append(errs, err)
	_, err = s.Blob(ctx, "app", someDigest, 1)
	errs = append(errs, err)
	_, _, err = s.OpenBlob(ctx, "app", someDigest)
	errs = append(errs, err)
	_, err = s.Listed(ctx, subject)
	for _, err := range append(errs, err) {
		mustFail(t, err, "no registry has the prefix of")
		if isNotFound(err) {
			t.Errorf("%v reads as absence", err)
		}
	}
	s.Lock(subject)()
}

// places are the registries that a referrer can be attached at.
func places(t *testing.T) map[string]*Registry {
	with, _ := genuine(t, true)
	without, _ := genuine(t, false)
	return map[string]*Registry{"embedded": embedded(t), "with the API": with, "without": without}
}

func alone(t testing.TB, r *Registry) *Registries {
	t.Helper()
	s, err := NewRegistries(r)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func listed(t *testing.T, s *Registries, subject policy.Subject) []digest.Digest {
	t.Helper()
	list, err := s.Listed(t.Context(), subject)
	if err != nil {
		t.Fatal(err)
	}
	var all []digest.Digest
	for _, d := range list {
		all = append(all, d.Digest)
	}
	return all
}

func TestWhatIsAttachedIsListedUntilItIsDetached(t *testing.T) {
	for name, r := range places(t) {
		t.Run(name, func(t *testing.T) {
			s, repo := alone(t, r), r.Prefix()+"team/app"
			image := push(t, r, "team/app", "subject", nil)
			subject := policy.Subject{Repo: repo, Digest: image.Digest}
			if got := listed(t, s, subject); got != nil {
				t.Errorf("nothing attached: %v", got)
			}

			one, two := push(t, r, "team/app", "one", &image), push(t, r, "team/app", "two", &image)
			for _, d := range []ocispec.Descriptor{one, two, one} {
				unlock := s.Lock(subject)
				if err := s.Attach(t.Context(), subject, d); err != nil {
					t.Fatal(err)
				}
				unlock()
			}
			if got := listed(t, s, subject); len(got) != 2 {
				t.Errorf("two attached: %v", got)
			}

			if err := s.DeleteManifest(t.Context(), repo, one.Digest.String()); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if err := s.Detach(t.Context(), subject, one.Digest); err != nil {
					t.Fatal(err)
				}
			}
			if got := listed(t, s, subject); len(got) != 1 || got[0] != two.Digest {
				t.Errorf("one left: %v", got)
			}
			if err := s.DeleteManifest(t.Context(), repo, two.Digest.String()); err != nil {
				t.Fatal(err)
			}
			if err := s.Detach(t.Context(), subject, two.Digest); err != nil {
				t.Fatal(err)
			}
			if got := listed(t, s, subject); got != nil {
				t.Errorf("none left: %v", got)
			}
		})
	}
}

func TestThreat053_FiftyAppendsAtOnceLoseNothing(t *testing.T) {
	for name, r := range places(t) {
		t.Run(name, func(t *testing.T) {
			s := alone(t, r)
			image := push(t, r, "app", "subject", nil)
			subject := policy.Subject{Repo: r.Prefix() + "app", Digest: image.Digest}
			const many = 50
			var all sync.WaitGroup
			for i := range many {
				all.Go(func() {
					d := push(t, r, "app", fmt.Sprint("referrer ", i), &image)
					defer s.Lock(subject)()
					if err := s.Attach(t.Context(), subject, d); err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
			if got := listed(t, s, subject); len(got) != many {
				t.Errorf("%d are listed, want %d", len(got), many)
			}
		})
	}
}

// rewritten is a registry whose fallback tag somebody else rewrites behind each of our writes, so many times.
func rewritten(t *testing.T, times int) (*Registry, *int) {
	writes := 0
	inner := lax(t)
	return behind(t, func(w http.ResponseWriter, r *http.Request) {
		resp, err := inner.reads.RoundTrip(forwarded(r, inner))
		if err != nil {
			t.Error(err)
			return
		}
		defer resp.Body.Close()
		for name, values := range resp.Header {
			w.Header()[name] = values
		}
		w.WriteHeader(resp.StatusCode)
		io.Copy(w, resp.Body)
		if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/sha256-") {
			if writes++; writes <= times {
				if err := inner.PutManifest(context.Background(), "app", fallbackTag(someDigest), ocispec.MediaTypeImageIndex, indexOf(writes, 1)); err != nil {
					t.Error(err)
				}
			}
		}
	}), &writes
}

func forwarded(r *http.Request, to *Registry) *http.Request {
	out := r.Clone(r.Context())
	out.URL.Scheme, out.URL.Host, out.Host, out.RequestURI = "http", to.origin.Host, "", ""
	return out
}

func TestThreat053_AWriteThatWasLostIsRepeatedWithinBounds(t *testing.T) {
	for lost, wantErr := range map[int]bool{0: false, 2: false, attachTries: true} {
		r, writes := rewritten(t, lost)
		d := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: emptyDigest, Size: 3}
		err := r.attach(t.Context(), "app", someDigest, d)
		if (err != nil) != wantErr {
			t.Errorf("lost %d times: %v", lost, err)
		}
		if want := min(lost+1, attachTries); *writes != want {
			t.Errorf("lost %d times: %d writes, want %d", lost, *writes, want)
		}
		f, err := r.readFallback(t.Context(), "app", someDigest)
		if err != nil {
			t.Fatal(err)
		}
		if f.lists(emptyDigest) == wantErr {
			t.Errorf("lost %d times: listed %v", lost, f.listed)
		}
		if want := 2; lost == 2 && len(f.listed) != want { // what the other wrote last, and ours
			t.Errorf("got %d entries, want %d", len(f.listed), want)
		}
	}
}

func TestAttachKeepsWhatOthersWrote(t *testing.T) {
	r := lax(t)
	others := `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","annotations":{"a":"<b>"},"x-own":{"deep":[1.50]},"manifests":[` +
		`{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"` + someDigest.String() + `","size":7,"artifactType":"x/y","x-unknown":12345678901234567890,"annotations":{"k":"v"}}]}`
	tag := fallbackTag(emptyDigest)
	if err := r.PutManifest(t.Context(), "app", tag, ocispec.MediaTypeImageIndex, []byte(others)); err != nil {
		t.Fatal(err)
	}
	ours := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString("ours"), Size: 3, ArtifactType: "z/z"}
	if err := r.attach(t.Context(), "app", emptyDigest, ours); err != nil {
		t.Fatal(err)
	}
	raw, mediaType, err := r.Manifest(t.Context(), "app", tag)
	if err != nil || mediaType != ocispec.MediaTypeImageIndex {
		t.Fatal(mediaType, err)
	}
	for _, kept := range []string{`"annotations":{"a":"<b>"}`, `"x-own":{"deep":[1.50]}`, `"x-unknown":12345678901234567890`, `"artifactType":"x/y"`, `"artifactType":"z/z"`} {
		if !bytes.Contains(raw, []byte(kept)) {
			t.Errorf("%s is lost in %s", kept, raw)
		}
	}
}

func TestAttachDropsEntriesWhoseManifestIsGone(t *testing.T) {
	r := embedded(t) // it refuses an index that lists what is not there
	image := push(t, r, "app", "subject", nil)
	gone, kept, added := push(t, r, "app", "gone", &image), push(t, r, "app", "kept", &image), push(t, r, "app", "added", &image)
	for _, d := range []ocispec.Descriptor{gone, kept} {
		if err := r.attach(t.Context(), "app", image.Digest, d); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.DeleteManifest(t.Context(), "app", gone.Digest.String()); err != nil {
		t.Fatal(err)
	}
	if err := r.attach(t.Context(), "app", image.Digest, added); err != nil {
		t.Fatal(err)
	}
	f, err := r.readFallback(t.Context(), "app", image.Digest)
	if err != nil || f.lists(gone.Digest) || !f.lists(kept.Digest) || !f.lists(added.Digest) {
		t.Errorf("listed %v, %v", f.listed, err)
	}
}

func TestAttachRefusesAListThatNobodyCouldRead(t *testing.T) {
	r := lax(t)
	full := indexOf(0, manifest.MaxDescriptors)
	if err := r.PutManifest(t.Context(), "app", fallbackTag(someDigest), ocispec.MediaTypeImageIndex, full); err != nil {
		t.Fatal(err)
	}
	d := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: emptyDigest, Size: 3}
	mustFail(t, r.attach(t.Context(), "app", someDigest, d), "manifests has 1001 entries")
	if raw, _, err := r.Manifest(t.Context(), "app", fallbackTag(someDigest)); err != nil || !bytes.Equal(raw, full) {
		t.Errorf("the list is %d bytes now, %v, want the %d that were there", len(raw), err, len(full))
	}
}

func TestAttachRefusesAReferrerThatIsNotThere(t *testing.T) {
	r := embedded(t)
	image := push(t, r, "app", "subject", nil)
	d := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: emptyDigest, Size: 3}
	err := r.attach(t.Context(), "app", image.Digest, d)
	if status := new(StatusError); !errors.As(err, &status) {
		t.Errorf("got %v, want the registry's own refusal", err)
	}
}

func TestListedLooksEverywhereAndShowsEachOnce(t *testing.T) {
	r := behind(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.Contains(r.URL.Path, "/referrers/"):
			index(w, indexOf(0, 3))
		case strings.HasSuffix(r.URL.Path, "/manifests/"+fallbackTag(someDigest)):
			index(w, indexOf(2, 3))
		default:
			t.Errorf("asked for %s", r.URL)
		}
	})
	if got := listed(t, alone(t, r), policy.Subject{Repo: "remote/app", Digest: someDigest}); len(got) != 5 {
		t.Errorf("%d entries, want 5", len(got))
	}
}

func TestThreat054_ListedIsUnknownWhenEitherPlaceIs(t *testing.T) {
	bad := map[string]http.HandlerFunc{
		"throttled": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTooManyRequests) },
		"failing":   func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		"forbidden": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) },
		"malformed": func(w http.ResponseWriter, _ *http.Request) { index(w, []byte(`{"schemaVersion":2,"manifests":[{}]}`)) },
		"an image":  serving(emptyImage, ocispec.MediaTypeImageManifest, ""),
		"a page":    serving("<html>", "text/html", ""),
		"too large": serving(strings.Repeat(" ", maxManifest+1), ocispec.MediaTypeImageIndex, ""),
	}
	good := map[string]http.HandlerFunc{
		"absent": http.NotFound,
		"found":  func(w http.ResponseWriter, _ *http.Request) { index(w, indexOf(0, 1)) },
	}
	for badly, b := range bad {
		for well, g := range good {
			for i, pair := range [][2]http.HandlerFunc{{b, g}, {g, b}} {
				r := behind(t, func(w http.ResponseWriter, r *http.Request) {
					if strings.Contains(r.URL.Path, "/referrers/") {
						pair[0](w, r)
					} else {
						pair[1](w, r)
					}
				})
				list, err := alone(t, r).Listed(t.Context(), policy.Subject{Repo: "remote/app", Digest: someDigest})
				if err == nil || list != nil || isNotFound(err) || errors.Is(err, ErrNotFound) {
					t.Errorf("one %s, the other %s (%d): got %d entries, %v, want an error that is no absence", badly, well, i, len(list), err)
				}
			}
		}
	}
}

func TestFallbackTagOfDigests(t *testing.T) {
	for d, want := range map[digest.Digest]string{
		someDigest:                       "sha256-" + someDigest.Encoded(),
		digest.SHA512.FromString("some"): "sha512-" + digest.SHA512.FromString("some").Encoded()[:64],
	} {
		if got := fallbackTag(d); got != want || !tagPattern.MatchString(got) {
			t.Errorf("%s: got %s, want %s", d, got, want)
		}
	}
}

func TestLockLetsOneInAtATimeAndForgets(t *testing.T) {
	r := registry(t, "a", "")
	s := alone(t, r)
	one, other := policy.Subject{Repo: "app", Digest: someDigest}, policy.Subject{Repo: "app", Digest: emptyDigest}
	inside := 0
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			unlock := s.Lock(one)
			inside++ // the race detector watches
			if inside != 1 {
				t.Error("two are inside")
			}
			inside--
			unlock()
			unlock() // harmless
		})
	}
	all.Wait()
	unlock := s.Lock(one)
	s.Lock(other)() // waits for nobody
	unlock()
	if n := len(r.locks.held); n != 0 {
		t.Errorf("%d locks are remembered", n)
	}
}

func FuzzFallback(f *testing.F) {
	f.Add(indexOf(0, 2))
	f.Add([]byte(`{"schemaVersion":2,"manifests":[]}`))
	f.Add([]byte(`{"schemaVersion":2,"annotations":{"<":"&"},"manifests":[{"mediaType":"x","digest":"` + someDigest + `","size":1,"y":[{}]}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := manifest.Parse(raw, ocispec.MediaTypeImageIndex)
		if err != nil {
			return
		}
		fall := &fallback{mediaType: m.MediaType, listed: m.Manifests}
		if err := errors.Join(json.Unmarshal(raw, &fall.fields), json.Unmarshal(fall.fields["manifests"], &fall.entries)); err != nil {
			t.Fatal(err)
		}
		ours := ocispec.Descriptor{MediaType: "x/y", Digest: digest.FromString("ours"), Size: 1}
		if fall.lists(ours.Digest) || len(m.Manifests) >= manifest.MaxDescriptors {
			return
		}
		if err := fall.with(ours); err != nil {
			t.Fatal(err)
		}
		written, err := fall.document()
		if err != nil {
			if len(raw) > maxManifest/8 {
				return
			}
			t.Fatalf("%s cannot be written again: %v", raw, err)
		}
		again, err := manifest.Parse(written, m.MediaType)
		if err != nil || len(again.Manifests) != len(m.Manifests)+1 {
			t.Fatalf("%s became %s: %v", raw, written, err)
		}
		for i, d := range m.Manifests {
			if again.Manifests[i].Digest != d.Digest || again.Manifests[i].MediaType != d.MediaType || again.Manifests[i].Size != d.Size {
				t.Errorf("entry %d of %s became %v", i, raw, again.Manifests[i])
			}
		}
	})
}
