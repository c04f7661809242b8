package upstream

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"
)

// credentials authenticate the gateway to one registry. How it wants that is learnt from its first challenge and kept, so
// that a registry without authentication costs no request more and one with tokens costs one for each repository and
// kind of access, as long as the token lives.
//
// The flow is go-containerregistry's in shape, with its keychains, and written out here for three reasons: a streamed
// upload cannot be repeated, so its token must be fresh before it starts; the token service's answers must not follow a
// redirect; and each token is for one set of scopes, never widened by what a registry asks for.
type credentials struct {
	keychain   authn.Keychain // nil: anonymous
	callers    string         // the registry's name, where callers' own credentials go to it; empty where the gateway's do
	target     registryName
	origin     *url.URL
	tokenHosts map[string]bool   // host:port
	transport  http.RoundTripper // to the registry's own origin
	elsewhere  http.RoundTripper // to token hosts

	challenge atomic.Pointer[challenge]   // nil until the registry was seen
	secrets   *lru.Cache[string, *secret] // Authorization headers by scopes
	flights   singleflight.Group
}

// secret is an Authorization header, with when to stop using it.
type secret struct {
	header string
	until  time.Time
}

// registryName is what a keychain looks credentials up by.
type registryName string

func (n registryName) String() string      { return string(n) }
func (n registryName) RegistryStr() string { return string(n) }

// StaticCredentials is a keychain that has one user name and password for the registry that it is given to.
func StaticCredentials(username, password string) authn.Keychain {
	return staticKeychain{authn.FromConfig(authn.AuthConfig{Username: username, Password: password})}
}

type staticKeychain struct{ authn.Authenticator }

func (k staticKeychain) Resolve(authn.Resource) (authn.Authenticator, error) {
	return k.Authenticator, nil
}

func newCredentials(keychain authn.Keychain, known string, origin *url.URL, tokenHosts []string, transport, elsewhere http.RoundTripper) *credentials {
	c := &credentials{
		keychain: keychain, target: registryName(known), origin: origin, transport: transport, elsewhere: elsewhere, tokenHosts: map[string]bool{},
	}
	for _, host := range tokenHosts {
		c.tokenHosts[hostPort(&url.URL{Scheme: "https", Host: host})] = true
	}
	secrets, err := lru.New[string, *secret](maxTokens)
	if err != nil {
		panic("upstream: the number of tokens is a positive constant: " + err.Error())
	}
	c.secrets = secrets
	return c
}

// authorization is the header for a request with these scopes, by all that is known. Empty: none.
func (c *credentials) authorization(ctx context.Context, scopes []string) (string, error) {
	wanted := c.challenge.Load()
	switch {
	case wanted == nil || wanted.scheme == schemeNone:
		return "", nil
	case wanted.scheme == schemeBasic:
		return c.remembered(ctx, c.keyed(ctx, schemeBasic), c.basic)
	}
	return c.remembered(ctx, c.keyed(ctx, strings.Join(scopes, " ")), func(ctx context.Context) (*secret, error) {
		return c.token(ctx, wanted, scopes)
	})
}

// challenged takes the challenge of a 401 to a request that had used. It returns a header that is worth another try, or
// none.
func (c *credentials) challenged(ctx context.Context, h http.Header, scopes []string, used string) (string, error) {
	wanted, ok := pickChallenge(h.Values("Www-Authenticate"))
	if !ok {
		return "", nil
	}
	if wanted.scheme == schemeBearer {
		if err := c.checkRealm(wanted.realm); err != nil {
			return "", err
		}
	}
	c.challenge.Store(&wanted)
	for _, key := range []string{strings.Join(scopes, " "), schemeBasic} {
		key = c.keyed(ctx, key)
		if old, ok := c.secrets.Peek(key); ok && old.header == used {
			c.secrets.Remove(key)
		}
	}
	better, err := c.authorization(ctx, scopes)
	if err != nil || better == used {
		return "", err
	}
	return better, nil
}

// learn finds out how the registry authenticates, in one request in all, for a body that can be sent only once. What it
// cannot find out is left to the request itself.
func (c *credentials) learn(ctx context.Context) {
	if c.challenge.Load() != nil {
		return
	}
	ping := &http.Request{
		Method: http.MethodGet, Host: c.origin.Host, Header: http.Header{"User-Agent": {"sealgate"}}, Body: http.NoBody,
		URL: &url.URL{Scheme: c.origin.Scheme, Host: c.origin.Host, Path: "/v2/"},
	}
	resp, err := c.transport.RoundTrip(ping.WithContext(ctx))
	if err != nil {
		return
	}
	defer discard(resp)
	switch resp.StatusCode {
	case http.StatusOK:
		c.challenge.CompareAndSwap(nil, &challenge{scheme: schemeNone})
	case http.StatusUnauthorized:
		wanted, ok := pickChallenge(resp.Header.Values("Www-Authenticate"))
		if ok && (wanted.scheme != schemeBearer || c.checkRealm(wanted.realm) == nil) {
			c.challenge.CompareAndSwap(nil, &wanted)
		}
	}
}

// remembered returns the header under key, made by make when there is none that is still good. All who miss it wait for
// one flight, which outlives the first of them to hang up.
func (c *credentials) remembered(ctx context.Context, key string, make func(context.Context) (*secret, error)) (string, error) {
	if s, ok := c.secrets.Get(key); ok && time.Now().Before(s.until) {
		return s.header, nil
	}
	flight := c.flights.DoChan(key, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tokenTimeout)
		defer cancel()
		made, err := make(ctx)
		if err != nil {
			return nil, err
		}
		c.secrets.Add(key, made)
		return made.header, nil
	})
	select {
	case <-ctx.Done():
		return "", ctx.Err()
	case done := <-flight:
		header, _ := done.Val.(string)
		return header, done.Err
	}
}

// basic makes the header of basic authentication, empty without a user name.
func (c *credentials) basic(ctx context.Context) (*secret, error) {
	account, err := c.account(ctx)
	if err != nil {
		return nil, err
	}
	return &secret{basicHeader(account), time.Now().Add(secretTime)}, nil
}

func basicHeader(account *authn.AuthConfig) string {
	switch {
	case account.Username != "" || account.Password != "":
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(account.Username+":"+account.Password))
	case account.Auth != "":
		return "Basic " + account.Auth
	}
	return ""
}

// account asks the keychain. The zero account is anonymous.
func (c *credentials) account(ctx context.Context) (*authn.AuthConfig, error) {
	if c.callers != "" {
		return c.forwarded(ctx), nil
	}
	if c.keychain == nil {
		return &authn.AuthConfig{}, nil
	}
	found, err := authn.Resolve(ctx, c.keychain, c.target)
	if err != nil {
		return nil, fmt.Errorf("find credentials for %s: %w", c.target, err)
	}
	account, err := authn.Authorization(ctx, found)
	if err != nil {
		return nil, fmt.Errorf("read credentials for %s: %w", c.target, err)
	}
	return account, nil
}
