package verifier

import (
	"strings"

	"github.com/distribution/reference"
)

// SameRepository reports whether a docker-reference, as signers write it into a simple signing payload, names the repository
// repo, as clients of the gateway name it. Tag and digest do not matter. Nor does the registry's host, because one
// repository has many: the gateway's own, an alias, a mirror's; the path must be equal, or equal behind the host, so that
// docker.io/library/nginx at the gateway is index.docker.io/library/nginx.
//
// A signature is so bound to its repository: what was signed as dev/app is not signed as prod/app.
func SameRepository(repo, ref string) bool {
	if repo == "" {
		return false
	}
	if ref == repo {
		return true // the parser would take app for library/app
	}
	host, path, ok := SplitReference(ref)
	return ok && (path == repo || host+"/"+path == repo)
}

// SplitReference is the host and the repository that a docker-reference names, each by one name however it is written. Tag and
// digest do not matter.
func SplitReference(ref string) (host, path string, ok bool) {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return "", "", false
	}
	host, path = strings.ToLower(reference.Domain(named)), reference.Path(named)
	if host == "registry-1.docker.io" { // what index.docker.io, which the parser knows, is called by its own address
		host = "docker.io"
	}
	return host, path, true
}
