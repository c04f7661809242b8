package verifier

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/sealgate/sealgate/policy"
)

// byAll is enough when each authority signed.
func byAll(names ...string) func(policy.Subject, []policy.Signature) bool {
	return func(_ policy.Subject, found []policy.Signature) bool {
		for _, name := range names {
			if !slices.ContainsFunc(found, func(s policy.Signature) bool { return s.Authority == name }) {
				return false
			}
		}
		return true
	}
}

// kinds counts what a registry was asked: lists, tags, manifests by digest, blobs.
func kinds(m *memory) (counted string) {
	var all []string
	for _, request := range m.requests {
		what, of, _ := strings.Cut(request, " ")
		switch {
		case strings.HasSuffix(of, ".sig"):
			what = "sig"
		case strings.HasSuffix(of, ".att"):
			what = "att"
		}
		all = append(all, what)
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

func TestWhatIsEnoughEndsTheSearch(t *testing.T) {
	s, ci, release, stranger := aSubject(), newSigner(t), newSigner(t), newSigner(t)
	bundle := func(m *memory, by signer) {
		m.refer(t, s, newBundle(t, by, statementFor(s.Digest, SignaturePredicate)).json(t), nil)
	}
	for name, c := range map[string]struct {
		attach func(*memory)
		enough []string
		asked  string
		signed string
	}{
		"one bundle":                      {func(m *memory) { bundle(m, ci) }, []string{"ci"}, "blob list manifest", "ci"},
		"a bundle beside the tag":         {func(m *memory) { bundle(m, ci); m.signTag(t, s, release) }, []string{"ci"}, "blob list manifest", "ci"},
		"the tag":                         {func(m *memory) { m.signTag(t, s, ci) }, []string{"ci"}, "blob list sig", "ci"},
		"nothing":                         {func(*memory) {}, []string{"ci"}, "list sig", ""},
		"a stranger's bundle and the tag": {func(m *memory) { bundle(m, stranger); m.signTag(t, s, ci) }, []string{"ci"}, "blob blob list manifest sig", "ci"},
		"two are wanted, one in each":     {func(m *memory) { bundle(m, ci); m.signTag(t, s, release) }, []string{"ci", "release"}, "blob blob list manifest sig", "ci release"},
		"two are wanted, one is there":    {func(m *memory) { bundle(m, ci) }, []string{"ci", "release"}, "blob list manifest sig", "ci"},
		"several bundles, and the tag":    {func(m *memory) { bundle(m, ci); bundle(m, stranger); m.signTag(t, s, release) }, []string{"ci"}, "blob blob blob list manifest manifest sig", "ci release"},
	} {
		m := newMemory()
		c.attach(m)
		v := newVerifier(t, m, ci.authority(t, "ci"), release.authority(t, "release")).WithEnough(byAll(c.enough...))
		ev := verified(t, v, s)
		got := strings.Fields(signers(ev))
		slices.Sort(got)
		if strings.Join(got, " ") != c.signed || kinds(m) != c.asked {
			t.Errorf("%s: signed by %v, asked for %q; want %q, and %q", name, got, kinds(m), c.signed, c.asked)
		}
	}
}

// A refusal rests on all that there is: where nothing is enough, the evidence is what it is without.
func TestWhatIsNotEnoughIsLookedForEverywhere(t *testing.T) {
	s, ci, stranger := aSubject(), newSigner(t), newSigner(t)
	for name, attach := range map[string]func(*memory){
		"nothing":       func(*memory) {},
		"in each place": func(m *memory) { attachBundle(t, m, s, ci); m.signTag(t, s, stranger, ci) },
		"two bundles":   func(m *memory) { attachBundle(t, m, s, ci); attachBundle(t, m, s, stranger) },
		"junk":          func(m *memory) { m.refer(t, s, []byte("junk"), nil); m.signTag(t, s, ci) },
		"for another": func(m *memory) {
			m.refer(t, s, newBundle(t, ci, statementFor(digest.FromString("x"), SignaturePredicate)).json(t), nil)
		},
	} {
		m := newMemory()
		attach(m)
		plain := newVerifier(t, m, ci.authority(t, "ci"))
		want := verified(t, plain, s)
		got := verified(t, plain.WithEnough(func(policy.Subject, []policy.Signature) bool { return false }), s)
		if signers(got) != signers(want) || len(got.Rejected) != len(want.Rejected) {
			t.Errorf("%s: got %+v, want %+v", name, got, want)
		}
	}
}

func attachBundle(t testing.TB, m *memory, s policy.Subject, by signer) {
	m.refer(t, s, newBundle(t, by, statementFor(s.Digest, SignaturePredicate)).json(t), nil)
}

func TestThreat068_WhereAttestationsAreNeededNothingIsEnough(t *testing.T) {
	s, ci := aSubject(), newSigner(t)
	m := newMemory()
	attachBundle(t, m, s, ci)
	m.attachTag(t, s, enveloped(t, inTotoPayload, attest(s.Digest, reviewType, aReview), ci))
	v := newVerifier(t, m, ci.authority(t, "ci")).WithNeeds(needing(reviewType)).WithEnough(func(policy.Subject, []policy.Signature) bool {
		t.Error("it was asked whether signatures are enough")
		return true
	})
	if ev := verified(t, v, s); len(ev.Attestations) != 1 || len(ev.Signatures) != 1 {
		t.Errorf("got %+v", ev)
	}
}

// What cannot be read is unknown, also on the way to what would have been enough.
func TestThreat054_AFailureBeforeItIsEnoughIsUndecided(t *testing.T) {
	s, ci := aSubject(), newSigner(t)
	for name, c := range map[string]struct {
		fails string
		fatal bool
	}{
		"the list":                 {"list", true},
		"the referrer's manifest":  {"manifest sha256:", true},
		"the bundle":               {"blob", true},
		"the tag, behind a bundle": {"manifest sha256-", false},
		"nothing":                  {"nothing", false},
	} {
		m := newMemory()
		attachBundle(t, m, s, ci)
		m.signTag(t, s, ci)
		m.before = func(_ context.Context, request string) error {
			if strings.HasPrefix(request, c.fails) {
				return errors.New("throttled")
			}
			return nil
		}
		ev, err := newVerifier(t, m, ci.authority(t, "ci")).WithEnough(byAll("ci")).Verify(t.Context(), s)
		if c.fatal != (err != nil) || err == nil && signers(ev) != "ci" {
			t.Errorf("%s fails: got %+v, %v", name, ev, err)
		}
	}
}
