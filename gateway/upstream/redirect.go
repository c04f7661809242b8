package upstream

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
)

func isRedirect(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

// follow goes where a registry redirects the read of a blob to: usually its storage, by a URL that carries its own
// permission. The registry's credentials go along only as long as every hop stays at the registry's own origin. The last
// answer is returned; atRegistry says whether it is the registry's own.
func (r *Registry) follow(req *http.Request, resp *http.Response, scopes []string) (last *http.Response, atRegistry bool, err error) {
	atRegistry = true
	for hop := 1; isRedirect(resp.StatusCode); hop++ {
		location := resp.Header.Get("Location")
		discard(resp)
		if hop > maxHops {
			return nil, false, fmt.Errorf("more than %d redirects", maxHops)
		}
		next, err := nextHop(req.URL, location)
		if err != nil {
			return nil, false, fmt.Errorf("redirect: %w", err)
		}
		req = req.Clone(req.Context())
		req.URL, req.Host = next, ""

		atRegistry = atRegistry && sameOrigin(next, r.origin)
		if atRegistry {
			resp, err = r.authorized(req, scopes)
		} else {
			resp, err = send(r.storage, req, "")
		}
		if err != nil {
			return nil, false, fmt.Errorf("redirect to %s: %w", next.Host, err)
		}
	}
	return resp, atRegistry, nil
}

func nextHop(from *url.URL, location string) (*url.URL, error) {
	if location == "" || len(location) > maxLocation {
		return nil, fmt.Errorf("a Location of %d bytes", len(location))
	}
	next, err := from.Parse(location)
	switch {
	case err != nil:
		return nil, errors.New("the Location is no URL")
	case next.Scheme != "https" && next.Scheme != "http" || next.Hostname() == "" || next.Opaque != "":
		return nil, fmt.Errorf("the Location has the scheme %q", clean(next.Scheme))
	case next.User != nil:
		return nil, errors.New("the Location carries credentials")
	case from.Scheme == "https" && next.Scheme != "https":
		return nil, errors.New("the Location leaves https")
	}
	next.Fragment = ""
	return next, nil
}
