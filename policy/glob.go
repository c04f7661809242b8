package policy

import (
	"fmt"
	"strings"
)

// A glob matches repository names, component by component. The grammar is small on purpose, because two readings of one
// pattern are a hole: * stands for any run of characters inside a component, ** for one or more whole components, and
// everything else for itself. There are no classes, no alternatives and no negation.
type glob []string

// maxDoubleStars keeps matching linear in practice: each ** tries every length.
const maxDoubleStars = 2

func compileGlob(pattern string) (glob, error) {
	if pattern == "" {
		return nil, fmt.Errorf("empty pattern")
	}
	parts := strings.Split(pattern, "/")
	if strings.Count(pattern, "**") > maxDoubleStars {
		return nil, fmt.Errorf("pattern %q has more than %d times **", pattern, maxDoubleStars)
	}
	for _, part := range parts {
		switch {
		case part == "":
			return nil, fmt.Errorf("pattern %q has an empty component", pattern)
		case part != "**" && strings.Contains(part, "**"):
			return nil, fmt.Errorf("pattern %q: ** stands for whole components, as in prod/**", pattern)
		}
		for _, c := range part {
			if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789._-*", c) {
				return nil, fmt.Errorf("pattern %q: %q cannot be in a repository name", pattern, c)
			}
		}
	}
	return parts, nil
}

func (g glob) match(repo string) bool { return matchParts(g, strings.Split(repo, "/")) }

func matchParts(g glob, parts []string) bool {
	for i, want := range g {
		if want == "**" {
			for n := i + 1; n <= len(parts); n++ { // ** takes parts[i:n]
				if matchParts(g[i+1:], parts[n:]) {
					return true
				}
			}
			return false
		}
		if i >= len(parts) || !matchPart(want, parts[i]) {
			return false
		}
	}
	return len(g) == len(parts)
}

// matchPart matches one component against literals separated by stars, each found as early as possible.
func matchPart(want, part string) bool {
	literals := strings.Split(want, "*")
	first, last := literals[0], literals[len(literals)-1]
	if len(literals) == 1 {
		return part == want
	}
	if len(part) < len(first)+len(last) || !strings.HasPrefix(part, first) || !strings.HasSuffix(part, last) {
		return false
	}
	middle := part[len(first) : len(part)-len(last)]
	for _, literal := range literals[1 : len(literals)-1] {
		at := strings.Index(middle, literal)
		if at < 0 {
			return false
		}
		middle = middle[at+len(literal):]
	}
	return true
}
