package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// Request is one request of the data path, in the registry's own terms.
type Request struct {
	Method string

	// Repo is the repository that the request needs a token for. Empty: the one that Path names. It has to be there for
	// the location of an upload at a registry whose locations do not name the repository.
	Repo string

	// Path is the escaped path, such as /v2/library/nginx/manifests/latest, or what [Registry.Location] gave.
	Path string

	// RawQuery is the encoded query, empty for none. It is sent as it is.
	RawQuery string

	// Header is what the registry is told beside: Accept, Content-Range, Content-Type, If-None-Match, If-Range and Range
	// are sent, everything else stays here.
	Header http.Header

	// Body streams. Length is its length in bytes, -1 when that is not known; with 0 there is no body. A body that can
	// be read once only is sent once only: such a request is never repeated.
	Body   io.Reader
	Length int64
}

var (
	requestHeaders  = []string{"Accept", "Content-Range", "Content-Type", "If-None-Match", "If-Range", "Range"}
	responseHeaders = []string{
		"Accept-Ranges", "Content-Length", "Content-Range", "Content-Type", "Docker-Content-Digest", "Docker-Upload-Uuid",
		"Etag", "Link", "Location", "Oci-Chunk-Max-Length", "Oci-Chunk-Min-Length", "Oci-Filters-Applied", "Oci-Subject", "Range",
	}
)

// Do sends one raw request with the gateway's credentials and returns the answer when it is a success (2xx), or the 304
// that was asked for; the caller closes its body. Headers that no OCI client has a use for are gone.
//
// Redirects of blobs are followed without credentials, as far as redirect.go allows; any other redirect is an error. Every
// other answer is a [*StatusError]. A body that ends before its Content-Length ends in an error, never in io.EOF.
func (r *Registry) Do(ctx context.Context, q Request) (*http.Response, error) {
	ctx, shown := watch(ctx)
	resp, err := r.do(ctx, q)
	if err != nil {
		return nil, fmt.Errorf("%s: %s %s: %w", r.name, q.Method, clean(q.Path), shown.redact(err))
	}
	shown.scrub(resp.Header)
	return resp, nil
}

func (r *Registry) do(ctx context.Context, q Request) (*http.Response, error) {
	if q.Repo == "" {
		q.Repo = repositoryOf(q.Path)
	}
	req, err := r.newRequest(ctx, q)
	if err != nil {
		return nil, err
	}
	resp, err := r.authorized(req, scopes(q))
	if err != nil {
		return nil, err
	}
	atRegistry := true
	if isRedirect(resp.StatusCode) {
		if !readsBlob(q) {
			discard(resp)
			return nil, fmt.Errorf("status %d: redirects are followed for blobs alone", resp.StatusCode)
		}
		if resp, atRegistry, err = r.follow(req, resp, scopes(q)); err != nil {
			return nil, err
		}
	}
	return r.checked(q, resp, atRegistry)
}

// newRequest makes the request of q, without credentials.
func (r *Registry) newRequest(ctx context.Context, q Request) (*http.Request, error) {
	u, err := r.resolve(q.Path, q.RawQuery)
	if err != nil {
		return nil, err
	}
	body := q.Body
	if q.Length == 0 {
		body = nil
	}
	req, err := http.NewRequestWithContext(ctx, q.Method, r.origin.String(), body)
	if err != nil {
		return nil, err
	}
	req.URL = u
	if body == nil {
		req.Body = http.NoBody
	} else {
		req.ContentLength = q.Length
	}
	for _, name := range requestHeaders {
		if values := q.Header.Values(name); len(values) > 0 {
			req.Header[name] = values
		}
	}
	req.Header.Set("Accept-Encoding", "identity")
	req.Header.Set("User-Agent", "sealgate")
	return req, nil
}

// resolve makes a URL of the registry from a path and a query, with no other reading than that.
func (r *Registry) resolve(path, rawQuery string) (*url.URL, error) {
	if !strings.HasPrefix(path, "/") || len(path)+len(rawQuery) > maxLocation ||
		strings.ContainsAny(path, "?#\\") || strings.Contains(rawQuery, "#") || strings.ContainsFunc(path+rawQuery, notInURL) {
		return nil, fmt.Errorf("path %.100q with query of %d bytes is malformed", path, len(rawQuery))
	}
	plain, err := url.PathUnescape(path)
	if err != nil {
		return nil, err
	}
	return &url.URL{Scheme: r.origin.Scheme, Host: r.origin.Host, Path: plain, RawPath: path, RawQuery: rawQuery}, nil
}

func notInURL(c rune) bool { return c <= ' ' || c >= 0x7f }

// authorized sends req with what credentials there are for scopes. When the registry asks for other ones it is sent once
// more, unless its body is gone by then.
func (r *Registry) authorized(req *http.Request, scopes []string) (*http.Response, error) {
	if r.credentials == nil {
		return r.roundTrip(req, "")
	}
	ctx := req.Context()
	repeatable := req.Body == http.NoBody || req.GetBody != nil
	if !repeatable {
		r.credentials.learn(ctx)
	}
	secret, err := r.credentials.authorization(ctx, scopes)
	if err != nil {
		return nil, err
	}
	resp, err := r.roundTrip(req, secret)
	if err != nil || resp.StatusCode != http.StatusUnauthorized {
		return resp, err
	}

	better, err := r.credentials.challenged(ctx, resp.Header, scopes, secret)
	if err != nil {
		discard(resp)
		return nil, err
	}
	if better == "" || !repeatable {
		return resp, nil
	}
	discard(resp)
	if req.GetBody != nil {
		if req.Body, err = req.GetBody(); err != nil {
			return nil, err
		}
	}
	return r.roundTrip(req, better)
}

// roundTrip sends req to the registry, and sends it again where that is worth it. The request that the answer remembers
// is the one without the secret.
func (r *Registry) roundTrip(req *http.Request, secret string) (*http.Response, error) {
	if r.breaker == nil { // embedded
		return r.once(req, secret)
	}
	r.retries.earn()
	for attempt := 0; ; attempt++ {
		if err := r.breaker.enter(); err != nil {
			return nil, err
		}
		resp, err := r.once(req, secret)
		r.breaker.leave(outcomeOf(req, resp, err))
		if resting, _ := r.breaker.state(); resting {
			return resp, err // and not the news of that, which says less
		}
		wait, again := r.retries.again(req, attempt, resp, err)
		if !again {
			return resp, err
		}
		if err == nil {
			discard(resp)
		}
		if err := pause(req.Context(), wait); err != nil {
			return nil, err
		}
	}
}

func (r *Registry) once(req *http.Request, secret string) (*http.Response, error) {
	transport := r.reads
	switch {
	case req.Method == http.MethodGet && r.blobs != nil && readsBlob(Request{Method: req.Method, Repo: repositoryOf(req.URL.Path), Path: req.URL.Path}):
		transport = r.blobs
	case req.Method != http.MethodGet && req.Method != http.MethodHead:
		transport = r.writes
	}
	return send(transport, req, secret)
}

func send(transport http.RoundTripper, req *http.Request, secret string) (*http.Response, error) {
	sent := req.WithContext(req.Context()) // RoundTrip may keep what it is given
	if secret != "" {
		sent.Header = req.Header.Clone()
		sent.Header.Set("Authorization", secret)
		show(req.Context(), secret)
	}
	resp, err := transport.RoundTrip(sent)
	if err != nil {
		return nil, &wireError{err}
	}
	resp.Request = req
	return resp, nil
}

// checked lets success pass and makes everything else an error.
func (r *Registry) checked(q Request, resp *http.Response, atRegistry bool) (*http.Response, error) {
	whole, fresh := q.Header.Get("Range") == "", q.Header.Get("If-None-Match") == ""
	switch {
	case resp.StatusCode == http.StatusPartialContent && whole:
		resp.Body.Close()
		return nil, errors.New("a part came where the whole was asked for")
	case resp.StatusCode/100 == 2:
	case resp.StatusCode == http.StatusNotModified && !fresh:
	case resp.StatusCode < 400:
		discard(resp)
		return nil, fmt.Errorf("status %d, which nothing asked for", resp.StatusCode)
	case resp.StatusCode == http.StatusNotFound && !atRegistry:
		discard(resp) // the registry has the blob; that its storage does not is no answer
		return nil, errors.New("the registry's storage answers status 404 for what the registry has")
	default:
		refused := statusError(resp)
		if r.credentials != nil && atRegistry {
			return nil, r.credentials.refusal(refused.Status, refused)
		}
		return nil, refused
	}
	if encoding := resp.Header.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		discard(resp)
		return nil, fmt.Errorf("answer has the Content-Encoding %s, which was not asked for", clean(encoding))
	}

	kept := make(http.Header, len(responseHeaders))
	for _, name := range responseHeaders {
		if values := resp.Header[name]; len(values) > 0 {
			kept[name] = values[:1]
		}
	}
	if resp.StatusCode == http.StatusOK {
		delete(kept, "Location")
	}
	answer := *resp // the transport writes trailers into its own
	answer.Header, answer.Trailer = kept, nil
	return &answer, nil
}

// scopes are the token scopes that a request needs: as little as it can do with.
func scopes(q Request) []string {
	if q.Repo == "" {
		if q.Path == "/v2/_catalog" {
			return []string{"registry:catalog:*"}
		}
		return nil
	}
	rest := strings.TrimPrefix(q.Path, "/v2/"+q.Repo+"/")
	upload := rest == q.Path || strings.HasPrefix(rest, "blobs/upload")
	actions := "pull,push"
	switch {
	case (q.Method == http.MethodGet || q.Method == http.MethodHead) && !upload:
		actions = "pull"
	case q.Method == http.MethodDelete && !upload:
		actions = "pull,push,delete"
	}
	list := []string{"repository:" + q.Repo + ":" + actions}
	if q.Method == http.MethodPost && strings.Contains(q.RawQuery, "from=") {
		query, err := url.ParseQuery(q.RawQuery)
		if from := query.Get("from"); err == nil && from != q.Repo && checkRepository(from) == nil {
			list = append(list, "repository:"+from+":pull")
		}
	}
	return list
}

// repositoryOf reads the repository's name from a path of the distribution API, from its end, where every endpoint has a
// fixed shape. Empty for what names none.
func repositoryOf(path string) string {
	rest, ok := strings.CutPrefix(path, "/v2/")
	if !ok {
		return ""
	}
	if name, ok := strings.CutSuffix(rest, "/tags/list"); ok {
		return named(name)
	}
	for _, part := range []string{"/manifests/", "/blobs/", "/referrers/", "/blobs/uploads/"} {
		if i := strings.LastIndex(rest, part); i > 0 && !strings.Contains(rest[i+len(part):], "/") {
			return named(rest[:i])
		}
	}
	return ""
}

func named(repo string) string {
	if checkRepository(repo) != nil {
		return ""
	}
	return repo
}

func readsBlob(q Request) bool {
	name, ok := strings.CutPrefix(q.Path, "/v2/"+q.Repo+"/blobs/")
	return ok && q.Repo != "" && (q.Method == http.MethodGet || q.Method == http.MethodHead) && strings.Contains(name, ":")
}
