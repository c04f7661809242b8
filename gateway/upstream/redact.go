package upstream

import (
	"context"
	"encoding/base64"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// A registry knows the credentials that it is shown, and can say them back: in an error's words, as the host of a Location,
// in a header that does not parse. Our errors hold such text and end in our log, which others read than those who may know
// the credentials. So what a request was sent with is taken out of what is said about it.

// shown are the Authorization headers that one request of the data path was sent with, redirects and repeats included.
type shown struct {
	mu      sync.Mutex // guards headers
	headers []string
}

type shownKey struct{}

// watch makes a context that remembers what is shown under it.
func watch(ctx context.Context) (context.Context, *shown) {
	s := new(shown)
	return context.WithValue(ctx, shownKey{}, s), s
}

// show remembers a header in the context, where that is watched.
func show(ctx context.Context, header string) {
	s, _ := ctx.Value(shownKey{}).(*shown)
	if s == nil || header == "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.headers = append(s.headers, header)
}

// secrets are what must not come back.
func (s *shown) secrets() (list []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, header := range s.headers {
		list = append(list, secretsOf(header)...)
	}
	return list
}

// scrub takes out the headers of an answer that hold what was shown: nobody has a use for them.
func (s *shown) scrub(h http.Header) {
	for _, secret := range s.secrets() {
		for name, values := range h {
			if slices.ContainsFunc(values, func(v string) bool { return strings.Contains(v, secret) }) {
				delete(h, name)
			}
		}
	}
}

// redacted takes out of an error about an answer what its request was sent with.
func redacted(resp *http.Response, err error) error {
	if s, ok := resp.Request.Context().Value(shownKey{}).(*shown); ok {
		return s.redact(err)
	}
	return err
}

// redact takes out of an error what was shown. What it wraps stays to be asked for.
func (s *shown) redact(err error) error {
	text := err.Error()
	clean := text
	for _, secret := range s.secrets() {
		clean = strings.ReplaceAll(clean, secret, "[redacted]")
	}
	if clean == text {
		return err
	}
	return &redactedError{text: clean, err: err}
}

// secretsOf are the forms in which a header's secret could come back. What is too short to be one would tear up every text.
func secretsOf(header string) []string {
	scheme, value, _ := strings.Cut(header, " ")
	list := []string{strings.TrimRight(value, "=")} // which a host name could not hold
	if strings.EqualFold(scheme, schemeBasic) {
		if plain, err := base64.StdEncoding.DecodeString(value); err == nil {
			_, password, _ := strings.Cut(string(plain), ":")
			list = append(list, password)
		}
	}
	kept := list[:0]
	for _, secret := range list {
		if len(secret) >= minSecret {
			kept = append(kept, secret)
		}
	}
	return kept
}

const minSecret = 6 // bytes

type redactedError struct {
	text string
	err  error
}

func (e *redactedError) Error() string { return e.text }
func (e *redactedError) Unwrap() error { return e.err }
