package clients

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"golang.org/x/sync/singleflight"
)

// Issuer is a platform that gives id-tokens to its workloads, by the name that OpenID Connect gives it, with its public
// keys. It is safe for concurrent use. It dials when the first token of it is shown, never before.
type Issuer struct {
	url   string
	fetch func(context.Context) (*keySet, error) // nil where the keys were given

	flight singleflight.Group
	mu     sync.Mutex // guards what follows
	keys   *keySet    // nil before the first fetch; replaced, never changed
	got    time.Time  // when keys were fetched
	tried  time.Time  // when they were asked for last,
	failed error      // and what was wrong with that
}

// How keys are kept. Issuers show a new key for hours before they sign with it.
const (
	keysFresh = 15 * time.Minute // for which nobody asks again
	keysKept  = 12 * time.Hour   // for which they count where the issuer cannot be asked
	keysPause = 20 * time.Second // between two questions, whatever key ids strangers make up
	keysTime  = 10 * time.Second // for one question
)

// Bounds of what an issuer says.
const (
	maxDiscovery = 256 << 10 // bytes
	maxKeys      = 1 << 20   // bytes of a set of keys
	maxKeyCount  = 128
	minRSABits   = 2048
)

// IssuerError says that an issuer's keys could not be asked for, so that nobody can tell whether an id-token is right.
type IssuerError struct {
	Issuer string
	Err    error
}

func (e *IssuerError) Error() string { return fmt.Sprintf("keys of %s: %v", e.Issuer, e.Err) }
func (e *IssuerError) Unwrap() error { return e.Err }

// keySet is the keys of one moment, by their ids. It is immutable.
type keySet struct{ byID map[string]jose.JSONWebKey }

// NewIssuer makes an issuer whose keys are where its discovery document says. roots vouch for its certificate; nil stands
// for those of the system.
func NewIssuer(url string, roots *x509.CertPool) (*Issuer, error) {
	if err := CheckIssuer(url); err != nil {
		return nil, err
	}
	client := &http.Client{
		Timeout: keysTime,
		Transport: &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, TLSHandshakeTimeout: keysTime,
			ForceAttemptHTTP2: true, MaxResponseHeaderBytes: 64 << 10, IdleConnTimeout: time.Minute,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	i := &Issuer{url: url}
	i.fetch = func(ctx context.Context) (*keySet, error) { return discover(ctx, client, url) }
	return i, nil
}

// NewStaticIssuer makes an issuer whose keys are given, as a JSON Web Key Set.
func NewStaticIssuer(url string, jwks []byte) (*Issuer, error) {
	if err := CheckIssuer(url); err != nil {
		return nil, err
	}
	keys, err := parseKeys(jwks)
	if err != nil {
		return nil, err
	}
	return &Issuer{url: url, keys: keys}, nil
}

// CheckIssuer says why something cannot be an issuer: it is an https URL that stands in tokens exactly like this. On
// loopback it may be http.
func CheckIssuer(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return errors.New("is not the URL of an issuer, like https://token.actions.githubusercontent.com")
	case !travelsSafely(u):
		return errors.New("is not an https URL: whoever is on the way could put in keys of his own")
	}
	return nil
}

func travelsSafely(u *url.URL) bool {
	return u.Scheme == "https" || u.Scheme == "http" && (u.Hostname() == "127.0.0.1" || u.Hostname() == "::1" || u.Hostname() == "localhost")
}

// key is the key that a token names, with the set that it is in. The error is [ErrCredentials] where there is none, and an
// [*IssuerError] where nobody knows.
func (i *Issuer) key(ctx context.Context, id string) (jose.JSONWebKey, *keySet, error) {
	if id == "" {
		return jose.JSONWebKey{}, nil, refused("it does not name its key")
	}
	keys, err := i.current(ctx, id)
	if err != nil {
		return jose.JSONWebKey{}, nil, err
	}
	key, ok := keys.byID[id]
	if !ok {
		return jose.JSONWebKey{}, nil, refused("its issuer has no key %.64q", id)
	}
	return key, keys, nil
}

// current is the set of keys to use now. It asks the issuer when the keys are old or one is missing, and not too often.
func (i *Issuer) current(ctx context.Context, id string) (*keySet, error) {
	keys, ask, err := i.remembered(id, time.Now())
	if !ask {
		return keys, err
	}
	// Detached: the first client to hang up must not fail the others.
	flight := i.flight.DoChan("", func() (any, error) {
		asking, cancel := context.WithTimeout(context.WithoutCancel(ctx), keysTime)
		defer cancel()
		keys, err := i.fetch(asking)
		i.mu.Lock()
		defer i.mu.Unlock()
		i.tried, i.failed = time.Now(), err
		if err == nil {
			i.keys, i.got = keys, i.tried
		}
		return nil, nil
	})
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-flight:
	}
	keys, _, err = i.remembered(id, time.Now())
	return keys, err
}

// remembered is what is known without asking, and whether one should ask.
func (i *Issuer) remembered(id string, now time.Time) (keys *keySet, ask bool, err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.fetch == nil {
		return i.keys, false, nil
	}
	missing := i.keys == nil
	if !missing {
		_, found := i.keys.byID[id]
		missing = !found
	}
	ask = (missing || now.Sub(i.got) >= keysFresh) && (i.tried.IsZero() || now.Sub(i.tried) >= keysPause)
	switch {
	case i.keys == nil || now.Sub(i.got) >= keysKept || missing && i.failed != nil:
		return nil, ask, &IssuerError{i.url, i.failed}
	}
	return i.keys, ask, nil
}

// discover finds an issuer's keys, as "OpenID Connect Discovery 1.0" has it. A client of one's own: those of libraries read
// answers of any length, and ask again for each key id that somebody makes up.
func discover(ctx context.Context, client *http.Client, issuer string) (*keySet, error) {
	raw, err := get(ctx, client, strings.TrimRight(issuer, "/")+"/.well-known/openid-configuration", maxDiscovery)
	if err != nil {
		return nil, err
	}
	var document struct {
		Issuer string `json:"issuer"`
		Keys   string `json:"jwks_uri"`
	}
	if json.Unmarshal(raw, &document) != nil || document.Issuer != issuer {
		return nil, fmt.Errorf("its discovery document is another issuer's")
	}
	at, err := url.Parse(document.Keys)
	if err != nil || at.Host == "" || at.User != nil || !travelsSafely(at) || at.Scheme == "http" && !strings.HasPrefix(issuer, "http://") {
		return nil, fmt.Errorf("its keys are nowhere that https reaches")
	}
	if raw, err = get(ctx, client, at.String(), maxKeys); err != nil {
		return nil, err
	}
	return parseKeys(raw)
}

func get(ctx context.Context, client *http.Client, url string, limit int64) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "application/json")
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answered %d", request.URL.Redacted(), response.StatusCode)
	}
	raw, err := io.ReadAll(io.LimitReader(response.Body, limit+1))
	if err == nil && int64(len(raw)) > limit {
		err = fmt.Errorf("%s sent more than %d bytes", request.URL.Redacted(), limit)
	}
	return raw, err
}

// parseKeys reads a JSON Web Key Set (RFC 7517). Keys that cannot verify an id-token are left out: an issuer may have them
// for other purposes.
func parseKeys(raw []byte) (*keySet, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if json.Unmarshal(raw, &set) != nil {
		return nil, errors.New("not a JSON Web Key Set")
	}
	if len(set.Keys) > maxKeyCount {
		return nil, fmt.Errorf("more than %d keys", maxKeyCount)
	}
	keys := &keySet{byID: map[string]jose.JSONWebKey{}}
	for _, one := range set.Keys {
		var key jose.JSONWebKey
		if json.Unmarshal(one, &key) != nil || !verifies(key) {
			continue
		}
		if _, twice := keys.byID[key.KeyID]; twice {
			return nil, fmt.Errorf("two keys with the id %.64q", key.KeyID)
		}
		keys.byID[key.KeyID] = key
	}
	if len(keys.byID) == 0 {
		return nil, errors.New("no key that could verify a token: RSA of 2048 bits or more, ECDSA or Ed25519, with an id")
	}
	return keys, nil
}

func verifies(key jose.JSONWebKey) bool {
	if key.KeyID == "" || key.Use != "" && key.Use != "sig" ||
		key.Algorithm != "" && !slices.Contains(idAlgorithms, jose.SignatureAlgorithm(key.Algorithm)) {
		return false
	}
	switch public := key.Key.(type) {
	case *rsa.PublicKey:
		return public.N.BitLen() >= minRSABits
	case *ecdsa.PublicKey, ed25519.PublicKey:
		return key.Valid()
	}
	return false // a private or secret one
}
