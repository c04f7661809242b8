package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
)

func TestATokenIsAskedForOnceForEachRepositoryAndKindOfAccess(t *testing.T) {
	o, seen := newOffice()
	r := behind(t, o.registry(seen), withCanary)
	for range 3 {
		for _, q := range []Request{
			get("/v2/a/manifests/v1"), get("/v2/b/manifests/v1"), get("/v2/a/tags/list"),
			{Method: http.MethodPut, Path: "/v2/a/manifests/v1", Body: strings.NewReader("{}"), Length: 2},
		} {
			if got, err := read(t, r, q); err != nil || got != "served" {
				t.Fatalf("%s %s: %q, %v", q.Method, q.Path, got, err)
			}
			q.Body = strings.NewReader("{}")
		}
	}
	want := []string{"repository:a:pull", "repository:b:pull", "repository:a:pull,push"}
	if !reflect.DeepEqual(o.asked, want) {
		t.Errorf("asked for %q, want %q", o.asked, want)
	}
	if got := len(seen.list()); got != 13 { // one is challenged, then all are right at once
		t.Errorf("%d requests for 12, want 13", got)
	}
}

func TestAnExpiredTokenIsReplacedOnce(t *testing.T) {
	o, seen := newOffice()
	r := behind(t, o.registry(seen), withCanary)
	for range 2 {
		if got, err := read(t, r, get("/v2/a/tags/list")); err != nil || got != "served" {
			t.Fatal(got, err)
		}
		o.mu.Lock()
		o.expire = true
		o.mu.Unlock()
	}
	if len(o.asked) != 2 {
		t.Errorf("%d tokens, want 2", len(o.asked))
	}
}

func TestAnIdentityTokenIsExchangedByOAuth(t *testing.T) {
	o, seen := newOffice()
	r := behind(t, o.registry(seen), func(opts *Options) {
		opts.Credentials = staticKeychain{authn.FromConfig(authn.AuthConfig{IdentityToken: canaryPassword})}
	})
	if got, err := read(t, r, get("/v2/a/tags/list")); err != nil || got != "served" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestATokenServicesAnswerThatIsNoToken(t *testing.T) {
	for name, tt := range map[string]struct {
		status       int
		answer, part string
	}{
		"unknown":           {404, "", "status 404"},
		"not JSON":          {200, "<html>", "is no token"},
		"endless":           {200, `{"token":"` + strings.Repeat("x", maxTokenBody) + `"}`, "is no token"},
		"empty":             {200, `{}`, "no usable token"},
		"a second header":   {200, `{"token":"x\r\nX-Evil: y"}`, "no usable token"},
		"longer than token": {200, `{"token":"` + strings.Repeat("x", maxTokenLength+1) + `"}`, "no usable token"},
	} {
		t.Run(name, func(t *testing.T) {
			r := behind(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/token" {
					w.WriteHeader(tt.status)
					fmt.Fprint(w, tt.answer)
					return
				}
				w.Header().Set("Www-Authenticate", `Bearer realm="http://`+r.Host+`/token"`)
				w.WriteHeader(http.StatusUnauthorized)
			})
			_, _, err := r.Manifest(t.Context(), "a", "v1")
			mustFail(t, err, tt.part)
			if isNotFound(err) || errors.Is(err, ErrNotFound) {
				t.Error("the token service's answer reads as absence")
			}
			if strings.Contains(err.Error(), "xxx") || strings.Contains(err.Error(), "Evil") {
				t.Errorf("the error holds the answer: %v", err)
			}
		})
	}
}

func TestTokensLiveAsLongAsTheySayWithinBounds(t *testing.T) {
	for answer, want := range map[string]time.Duration{
		`{"token":"x"}`:                                      50 * time.Second,
		`{"token":"x","expires_in":300}`:                     290 * time.Second,
		`{"token":"x","expires_in":4}`:                       2 * time.Second,
		`{"token":"x","expires_in":-1}`:                      50 * time.Second,
		`{"token":"x","expires_in":9223372036854775807}`:     maxTokenTime - 10*time.Second,
		`{"token":"","access_token":"x","expires_in":86400}`: maxTokenTime - 10*time.Second,
	} {
		s, err := readToken(strings.NewReader(answer))
		if err != nil || s.header != "Bearer x" {
			t.Errorf("%s: got %v, %v", answer, s, err)
			continue
		}
		if got := time.Until(s.until); got > want || got < want-time.Second {
			t.Errorf("%s: lives %v, want %v", answer, got, want)
		}
	}
}

func TestManyWhoMissATokenWaitForOne(t *testing.T) {
	o, seen := newOffice()
	r := behind(t, o.registry(seen), withCanary)
	if _, err := read(t, r, get("/v2/first/tags/list")); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if _, err := read(t, r, get("/v2/a/tags/list")); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if len(o.asked) > 10 { // one, but for those that came between two flights
		t.Errorf("%d tokens for 50 requests", len(o.asked))
	}
}

func TestTokensAndChallengesAreBounded(t *testing.T) {
	c := newCredentials(nil, "acme.dev", &url.URL{Scheme: "https", Host: "acme.dev"}, nil, nil, nil)
	for i := range maxTokens + 10 {
		made := &secret{"Bearer x", time.Now().Add(time.Hour)}
		if _, err := c.remembered(t.Context(), fmt.Sprint(i), func(context.Context) (*secret, error) { return made, nil }); err != nil {
			t.Fatal(err)
		}
	}
	if n := c.secrets.Len(); n != maxTokens {
		t.Errorf("%d tokens are remembered, want %d", n, maxTokens)
	}

	lines := slices.Repeat([]string{"Negotiate"}, maxChallenges-1)
	if _, ok := pickChallenge(append(lines, `Basic realm="x"`)); !ok {
		t.Error("the last line that counts is not read")
	}
	if c, ok := pickChallenge(append(lines, "Negotiate", `Basic realm="x"`)); ok {
		t.Errorf("a line too many is read: %v", c)
	}
	if n := len(parseChallenges(strings.Repeat("x ", maxChallenge/2))); n > maxChallenges*maxChallengePart {
		t.Errorf("%d challenges of one line", n)
	}
}

func FuzzReadToken(f *testing.F) {
	f.Add(`{"token":"x","expires_in":60}`)
	f.Fuzz(func(t *testing.T, answer string) {
		s, err := readToken(strings.NewReader(answer))
		if err != nil {
			return
		}
		h := http.Header{"Authorization": {s.header}}
		if err := h.Write(io.Discard); err != nil || strings.ContainsAny(s.header, "\r\n") || time.Until(s.until) > maxTokenTime {
			t.Errorf("%q became %v", answer, s)
		}
	})
}
