package upstream

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
)

// Location is where an upload goes on, from the Location of an answer of [Registry.Do]: an escaped path and an encoded
// query of the registry itself, for a [Request]. The query is opaque and can be signed; it must be sent as it is. A
// location at another origin, or none, is an error.
func (r *Registry) Location(resp *http.Response) (path, rawQuery string, err error) {
	return r.own(resp, resp.Header.Get("Location"))
}

// own resolves a reference that the registry gave against the request it answered, and holds it to the registry's origin.
func (r *Registry) own(resp *http.Response, reference string) (path, rawQuery string, err error) {
	if reference == "" {
		return "", "", errors.New("the registry did not say where to go on")
	}
	next, err := nextHop(resp.Request.URL, reference)
	if err != nil {
		return "", "", err
	}
	if !sameOrigin(next, r.origin) {
		return "", "", redacted(resp, fmt.Errorf("the Location is at another origin: %s", clean(next.Host)))
	}
	path, rawQuery = next.EscapedPath(), next.RawQuery
	if _, err := r.resolve(path, rawQuery); err != nil {
		return "", "", err
	}
	return path, rawQuery, nil
}

var nextLink = regexp.MustCompile(`<([^<>]*)>\s*;\s*rel="?next"?`)

// Next is where a list goes on, from the Link of an answer, held to the registry's origin like [Registry.Location]. An
// empty path says that the list ends here.
func (r *Registry) Next(resp *http.Response) (path, rawQuery string, err error) {
	link := resp.Header.Get("Link")
	if link == "" {
		return "", "", nil
	}
	if len(link) > maxLocation {
		return "", "", fmt.Errorf("a Link of %d bytes", len(link))
	}
	found := nextLink.FindStringSubmatch(link)
	if found == nil {
		return "", "", errors.New("a Link that leads to no next page")
	}
	return r.own(resp, found[1])
}
