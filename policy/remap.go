package policy

import (
	"fmt"
	"strings"
)

// compileRemaps refuses what would let signatures count for more than one repository each.
func compileRemaps(all []Remap, fault func(path, format string, args ...any)) {
	for i, m := range all {
		at := fmt.Sprintf(".pull.remap[%d]", i)
		host, path, _ := strings.Cut(m.From, "/")
		switch {
		case m.From == "" || m.To == "":
			fault(at, "needs from and to")
		case strings.HasSuffix(m.From, "/") != strings.HasSuffix(m.To, "/"):
			fault(at, "one side ends with a slash and means many repositories, and the other means one")
		case path == "" || !strings.ContainsAny(host, ".:") && host != "localhost":
			fault(at+".from", "is not a registry's host with a path, like ghcr.io/acme/")
		case host == "index.docker.io" || host == "registry-1.docker.io":
			fault(at+".from", "is docker.io by its full name; write docker.io")
		case host == "docker.io" && strings.Count(strings.TrimSuffix(path, "/"), "/") == 0 && !strings.HasSuffix(path, "/"):
			fault(at+".from", "is docker.io/library/%s by its full name", path)
		case strings.ToLower(m.From) != m.From || strings.ContainsAny(m.From, "*@ ") || strings.Contains(m.From, "//"):
			fault(at+".from", "is no name of a repository in lower case; patterns are not taken here")
		case strings.ToLower(m.To) != m.To || strings.ContainsAny(m.To, "*@: ") || strings.Contains(m.To, "//") || strings.HasPrefix(m.To, "/"):
			fault(at+".to", "is no name of a repository in lower case; patterns are not taken here")
		}
		for _, before := range all[:i] {
			if before == m {
				fault(at, "is there twice")
			}
		}
	}
}

// Remaps reports whether what was signed for a repository elsewhere, host and path, counts for one here.
func (r *Rule) Remaps(repo, signedFor string) bool {
	if r == nil || r.pull == nil || repo == "" {
		return false
	}
	for _, m := range r.pull.Remap {
		if !strings.HasSuffix(m.From, "/") {
			if m.From == signedFor && m.To == repo {
				return true
			}
			continue
		}
		if name, ok := strings.CutPrefix(signedFor, m.From); ok && name != "" && m.To+name == repo {
			return true
		}
	}
	return false
}
