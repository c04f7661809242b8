package policy

import (
	"testing"

	"github.com/opencontainers/go-digest"
)

func TestSignaturesAreEnoughWhereTheRuleWantsNoMore(t *testing.T) {
	s := Subject{Repo: "prod/app", Digest: digest.FromString("an image")}
	by := func(names ...string) (all []Signature) {
		for _, name := range names {
			all = append(all, Signature{Authority: name, Signer: name, Signed: s.Digest})
		}
		return all
	}
	for name, c := range map[string]struct {
		pull   *PullDocument
		signed []Signature
		want   bool
	}{
		"any, by one":         {&PullDocument{SignedBy: &SignedBy{Any: []string{"a", "b"}}}, by("b"), true},
		"any, by none":        {&PullDocument{SignedBy: &SignedBy{Any: []string{"a", "b"}}}, nil, false},
		"any, by a stranger":  {&PullDocument{SignedBy: &SignedBy{Any: []string{"a"}}}, by("b"), false},
		"any, that ages":      {&PullDocument{SignedBy: &SignedBy{Any: []string{"b"}, MaxAge: 1 << 40}}, []Signature{{Authority: "b", Signer: "b", Time: now}}, false},
		"all, by one":         {&PullDocument{SignedBy: &SignedBy{All: []string{"a", "b"}}}, by("a"), false},
		"all, by both":        {&PullDocument{SignedBy: &SignedBy{All: []string{"a", "b"}}}, by("a", "b"), true},
		"all, of one signer":  {&PullDocument{SignedBy: &SignedBy{All: []string{"a", "b"}}}, []Signature{{Authority: "a", Signer: "x"}, {Authority: "b", Signer: "x"}}, false},
		"with an attestation": {&PullDocument{SignedBy: &SignedBy{Any: []string{"a"}}, Attested: []AttestedDocument{{Predicate: "vuln", By: &SignedBy{Any: []string{"a"}}}}}, by("a"), false},
		"nothing is wanted":   {&PullDocument{AdmitUnverified: true}, by("a"), false},
		"no pull":             {nil, by("a"), false},
	} {
		p, err := Compile([]Document{{Name: "p", Repositories: []string{"**"}, Pull: c.pull, Push: &PushDocument{AcceptUnsealed: true}}},
			Known{Authorities: map[string]string{"a": "1", "b": "2"}})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := p.Rule(s.Repo).Enough(s, c.signed); got != c.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
	if (*Rule)(nil).Enough(s, by("a")) {
		t.Error("no rule is content with something")
	}
}
