package policy

import (
	"fmt"
	"strings"
)

// A glob matches names of repositories and refs, component by component. The grammar is small on purpose, because two readings of one
// pattern are a hole: * stands for any run of characters inside a component, ** for one or more whole components, and
// everything else for itself. There are no classes, no alternatives and no negation.
type glob struct {
	pattern string
	parts   []component
}

// component is one component of a pattern: ** or the literals between its stars, of which there is one more than stars.
type component struct {
	many     bool
	literals []string
}

const (
	// maxDoubleStars keeps matching linear in practice: each ** tries every length.
	maxDoubleStars = 2

	// maxPattern is the length of the longest repository name, in bytes. A longer pattern is a mistake.
	maxPattern = 255
)

// compileGlob compiles a pattern of repository names.
func compileGlob(pattern string) (glob, error) {
	return compilePattern(pattern, "abcdefghijklmnopqrstuvwxyz0123456789._-*", "repository name")
}

// compilePattern compiles a pattern for names of which each component is made of these characters, of any where there are none.
func compilePattern(pattern, characters, of string) (glob, error) {
	switch {
	case pattern == "":
		return glob{}, fmt.Errorf("empty pattern")
	case len(pattern) > maxPattern:
		return glob{}, fmt.Errorf("pattern %.40q... is longer than %d bytes", pattern, maxPattern)
	case strings.Count(pattern, "**") > maxDoubleStars:
		return glob{}, fmt.Errorf("pattern %q has more than %d times **", pattern, maxDoubleStars)
	}

	g := glob{pattern: pattern}
	for _, part := range strings.Split(pattern, "/") {
		switch {
		case part == "":
			return glob{}, fmt.Errorf("pattern %q has an empty component", pattern)
		case part != "**" && strings.Contains(part, "**"):
			return glob{}, fmt.Errorf("pattern %q: ** stands for whole components, as in prod/**", pattern)
		}
		for _, c := range part {
			if characters != "" && !strings.ContainsRune(characters, c) {
				return glob{}, fmt.Errorf("pattern %q: %q cannot be in a %s", pattern, c, of)
			}
		}
		g.parts = append(g.parts, component{many: part == "**", literals: strings.Split(part, "*")})
	}
	return g, nil
}

// Pattern is a glob for names of any characters whose components are separated by slashes, such as refs and URIs without
// their scheme. It stands for whole names. The zero value matches nothing.
type Pattern struct{ glob glob }

// CompilePattern compiles a [Pattern].
func CompilePattern(pattern string) (Pattern, error) {
	g, err := compilePattern(pattern, "", "")
	return Pattern{g}, err
}

// CompileRef compiles a [Pattern] for git refs, such as refs/tags/v*.
func CompileRef(pattern string) (Pattern, error) {
	g, err := compilePattern(pattern, refCharacters, "ref")
	return Pattern{g}, err
}

// Match reports that the pattern stands for the whole name.
func (p Pattern) Match(name string) bool { return len(p.glob.parts) > 0 && p.glob.match(name) }

func (g glob) match(repo string) bool { return matchParts(g.parts, strings.Split(repo, "/")) }

// covers reports that g matches every name that the other pattern matches. It may miss some: it reads the other pattern as
// a name in which a star is a character, so that only stars of g can match it.
func (g glob) covers(other glob) bool { return g.match(other.pattern) }

func matchParts(pattern []component, parts []string) bool {
	for i, want := range pattern {
		if want.many {
			for n := i + 1; n <= len(parts) && parts[n-1] != ""; n++ { // ** takes parts[i:n]
				if matchParts(pattern[i+1:], parts[n:]) {
					return true
				}
			}
			return false
		}
		if i >= len(parts) || !want.match(parts[i]) {
			return false
		}
	}
	return len(pattern) == len(parts)
}

// match finds each literal as early as possible, the last one at the end.
func (c component) match(part string) bool {
	first, rest := c.literals[0], c.literals[1:]
	switch {
	case part == "" || part == "**": // no component, or many: see covers
		return false
	case len(rest) == 0:
		return part == first
	}
	last := rest[len(rest)-1]
	if len(part) < len(first)+len(last) || !strings.HasPrefix(part, first) || !strings.HasSuffix(part, last) {
		return false
	}
	middle := part[len(first) : len(part)-len(last)]
	for _, literal := range rest[:len(rest)-1] {
		at := strings.Index(middle, literal)
		if at < 0 {
			return false
		}
		middle = middle[at+len(literal):]
	}
	return true
}
