package policy

import (
	"strings"
	"testing"
)

func TestThreat044_ASignatureCountsElsewhereOnlyWhereARemapSaysSo(t *testing.T) {
	p, err := Compile([]Document{{
		Name: "p", Repositories: []string{"**"}, Push: &PushDocument{AcceptUnsealed: true},
		Pull: &PullDocument{SignedBy: &SignedBy{Any: []string{"a"}}, Remap: []Remap{
			{From: "ghcr.io/acme/", To: "mirror/acme/"}, {From: "docker.io/library/nginx", To: "base/nginx"}, {From: "localhost:5000/x", To: "y"},
		}},
	}}, Known{Authorities: map[string]string{"a": "1"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		repo, signedFor string
		want            bool
	}{
		{"mirror/acme/app", "ghcr.io/acme/app", true},
		{"mirror/acme/team/app", "ghcr.io/acme/team/app", true},
		{"base/nginx", "docker.io/library/nginx", true},
		{"y", "localhost:5000/x", true},
		{"mirror/acme/app", "ghcr.io/acme/other", false},
		{"mirror/acme/app", "ghcr.io/acme-evil/app", false},
		{"mirror/acme/app", "evil.io/acme/app", false},
		{"mirror/acme/", "ghcr.io/acme/", false},
		{"mirror/acme/app", "ghcr.io/acme/x/../app", false},
		{"prod/app", "ghcr.io/acme/app", false},
		{"base/nginx", "docker.io/library/nginx-evil", false},
		{"base/nginx2", "docker.io/library/nginx", false},
		{"", "", false},
	} {
		if got := p.Rule("x").Remaps(c.repo, c.signedFor); got != c.want {
			t.Errorf("%s signed for %s: got %v", c.repo, c.signedFor, got)
		}
	}
	if (*Rule)(nil).Remaps("mirror/acme/app", "ghcr.io/acme/app") {
		t.Error("no rule remaps")
	}
}

func TestARemapThatMeansMoreThanItSaysIsRefused(t *testing.T) {
	for _, c := range []struct{ from, to, want string }{
		{"", "x", "needs from and to"},
		{"ghcr.io/acme/", "", "needs from and to"},
		{"ghcr.io/acme/", "mirror", "one side ends with a slash"},
		{"ghcr.io/acme", "mirror/", "one side ends with a slash"},
		{"acme/", "mirror/", "is not a registry's host"},
		{"ghcr.io/", "mirror/", "is not a registry's host"},
		{"ghcr.io/*/", "mirror/", "patterns are not taken"},
		{"ghcr.io/Acme/", "mirror/", "lower case"},
		{"ghcr.io/acme/", "Mirror/", "lower case"},
		{"ghcr.io/acme/", "**/", "patterns are not taken"},
		{"ghcr.io//", "mirror/", "no name"},
		{"index.docker.io/library/nginx", "nginx", "write docker.io"},
		{"docker.io/nginx", "nginx", "docker.io/library/nginx"},
		{"ghcr.io/acme@sha256", "mirror", "patterns are not taken"},
	} {
		_, err := Compile([]Document{{
			Name: "p", Repositories: []string{"**"}, Pull: &PullDocument{SignedBy: &SignedBy{Any: []string{"a"}}, Remap: []Remap{{From: c.from, To: c.to}}},
		}}, Known{Authorities: map[string]string{"a": "1"}})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q to %q: got %v, want %q", c.from, c.to, err, c.want)
		}
	}
}
