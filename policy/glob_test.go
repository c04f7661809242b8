package policy

import (
	"strings"
	"testing"
)

func TestThreat088_PatternsMatchComponentByComponent(t *testing.T) {
	for pattern, names := range map[string]struct{ match, other string }{ // space-separated
		"team-a":       {"team-a", "team-ab team-abc team team-a/app app/team-a team-b TEAM-A"},
		"team-a/*":     {"team-a/app team-a/x.y_z", "team-a team-a/ team-a/app/web team-abc/app team-a/app/ xteam-a/app"},
		"team-a/**":    {"team-a/app team-a/app/web team-a/a/b/c/d", "team-a team-a/ team-abc team-abc/app a/team-a/app team-a//app team-a/app/"},
		"team-*":       {"team-a team-abc team-", "team team-a/app xteam-a"},
		"team-*/app":   {"team-a/app team-abc/app", "team-a/app/web team-a team/app team-a/b/app"},
		"*":            {"app a", "team-a/app /"},
		"**":           {"app team-a/app a/b/c/d/e", "/ a/ /a a//b"},
		"**/app":       {"team-a/app a/b/app", "app team-a/app/web team-a/xapp /app"},
		"**/app/**":    {"a/app/b a/b/app/c/d a/app/app/b app/app/app", "app/b a/app app a/app/"},
		"a/**/b":       {"a/x/b a/x/y/b a/b/b", "a/b a/x/c b/x/b a//b"},
		"**/**":        {"a/b a/b/c", "a"},
		"*/*":          {"a/b team-a/app", "a a/b/c a/"},
		"*-*":          {"a-b - a--b", "ab a/-"},
		"a*b*c":        {"abc axbxc abbc aabbcc abcc abcbc", "ab ac abx xabc acb"},
		"a*a":          {"aa aba", "a ab"},
		"*aa*aa*":      {"aaaa xaayaaz aabaa", "aa aaa xaaya"},
		"a.b":          {"a.b", "axb ab"},
		"v1.0_x/y--z":  {"v1.0_x/y--z", "v1x0_x/y--z"},
		"*.*":          {"a.b a. .", "ab"},
		"prod/*/*-svc": {"prod/a/b-svc prod/a/-svc", "prod/a/svc prod/b-svc prod/a/b/c-svc"},
	} {
		g, err := compileGlob(pattern)
		if err != nil {
			t.Errorf("%s: %v", pattern, err)
			continue
		}
		for _, name := range strings.Fields(names.match) {
			if !g.match(name) {
				t.Errorf("%s does not match %s", pattern, name)
			}
		}
		for _, name := range append(strings.Fields(names.other), "") {
			if g.match(name) {
				t.Errorf("%s matches %q", pattern, name)
			}
		}
	}
}

func TestThreat088_PatternsWithTwoReadingsAreRefused(t *testing.T) {
	for _, pattern := range []string{
		"", "/", "/app", "app/", "a//b", "[a]", "[!a]", "[^a]", "team-[ab]/*", "{a,b}", "a?", "!a", "^a$", "a|b", `a\*`, "a b", "Team-A", "ä", "a:v1",
		"a@sha256", "a***b", "***", "****", "a**", "**a", "team-a/**b", "a/**c**/b", "**/**/**", "a/**/b/**/c/**", "a%2fb", "a\n", "a\x00", " a", "${x}",
		"docker.io:443/a", "a,b", strings.Repeat("a", maxPattern+1),
	} {
		if g, err := compileGlob(pattern); err == nil {
			t.Errorf("%q is accepted as %+v", pattern, g)
		}
	}
	if _, err := compileGlob(strings.Repeat("a", maxPattern)); err != nil {
		t.Error(err)
	}
}

func TestThreat088_TheFirstPolicyThatMatchesDecides(t *testing.T) {
	p := mustCompile(t,
		named("closed", "prod/secret", "prod/*/secret"), named("prod", "prod/**"), named("team", "team-a", "team-a/**"), named("rest", "*/**"),
	)
	for repo, want := range map[string]string{
		"prod/secret": "closed", "prod/x/secret": "closed", "prod/secret/x": "prod", "prod/x/y/secret": "prod", "prod/secrets": "prod",
		"team-a": "team", "team-a/app": "team", "team-abc/app": "rest", "prod/": "", "prod": "", "team-abc": "", "": "", "team-a/": "", "/prod/x": "",
		"PROD/x": "rest", // never comes: names are checked before they are looked up
	} {
		if got := p.Rule(repo).Name(); got != want {
			t.Errorf("%q: got %q, want %q", repo, got, want)
		}
	}
}

// FuzzGlob holds a pattern that covers another against what both match.
func FuzzGlob(f *testing.F) {
	f.Add("prod/**", "prod/*/a", "prod/x/a")
	f.Add("**/a*", "**/ab", "x/y/ab")
	f.Add("*/**", "**", "a")
	f.Add("*", "a*b*c", "abxc")
	f.Fuzz(func(t *testing.T, pattern, other, name string) {
		a, err := compileGlob(pattern)
		if err != nil {
			return
		}
		b, err := compileGlob(other)
		if err != nil || strings.Contains(name, "*") {
			return
		}
		if a.covers(b) && b.match(name) && !a.match(name) {
			t.Errorf("%s covers %s, which matches %s, but does not match it", pattern, other, name)
		}
		if !a.covers(a) {
			t.Errorf("%s does not cover itself", pattern)
		}
		if !strings.Contains(pattern, "*") && a.match(name) != (pattern == name) {
			t.Errorf("%s has no star and matches %q: %v", pattern, name, a.match(name))
		}
	})
}

func BenchmarkRule(b *testing.B) {
	p := mustCompile(b, named("one", "prod/*/secret"), named("two", "prod/**/web", "prod/**/api"), named("three", "team-*/**"), named("rest", "**"))
	b.ReportAllocs()
	for b.Loop() {
		if p.Rule("library/nginx/stable").Name() != "rest" {
			b.Fatal("another rule")
		}
	}
}

// The most that a pattern can make of the longest name.
func BenchmarkHostileGlob(b *testing.B) {
	g, err := compileGlob("**/" + strings.Repeat("*a", 60) + "/**")
	if err != nil {
		b.Fatal(err)
	}
	name := strings.Repeat("a/", 100) + strings.Repeat("a", 54)
	for b.Loop() {
		if g.match(name) {
			b.Fatal("matches")
		}
	}
}
