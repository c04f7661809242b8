package gateway

import (
	"regexp"
	"testing"
)

var (
	specifiedRepository = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
	specifiedTag        = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
)

// FuzzNames holds what is read by hand against the specification's own expressions.
func FuzzNames(f *testing.F) {
	for _, name := range []string{
		"", "a", "a/b", "a//b", "/a", "a/", "a.b", "a..b", "a_b", "a__b", "a___b", "a---b", "a-", "-a", "a._b", "a_.b", "a/-b",
		"a-/b", "A", "a b", "ä", "v1.0", ".v1", "-v1", "_v1", "a\n", "\na", "a\x00",
	} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		// Go's $ is the end of the text, without a line break before it.
		if got, want := isRepository(name), specifiedRepository.MatchString(name); got != want {
			t.Errorf("isRepository(%q) = %v, the specification says %v", name, got, want)
		}
		if got, want := isTag(name), specifiedTag.MatchString(name); got != want {
			t.Errorf("isTag(%q) = %v, the specification says %v", name, got, want)
		}
	})
}
