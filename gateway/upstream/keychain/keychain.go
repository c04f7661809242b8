// Package keychain finds the credentials of one registry where they are not a password that somebody wrote down: in docker's
// configuration, at a helper program, at the cloud that runs the registry.
//
// Each keychain belongs to one registry, by its exact host, and has nothing for any other: a host that only looks like
// a cloud's registry is refused when the keychain is made. What expires is fetched anew before it does. No error holds what
// a cloud or a helper answered, for that may be the secret itself.
package keychain

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
)

// Bounds of what is asked for credentials.
const (
	maxAnswer    = 64 << 10         // bytes
	askTimeout   = 15 * time.Second // for a whole exchange, or one run of a helper
	refreshAhead = 5 * time.Minute  // before the end of a credential's life, or half of that where it is shorter
	minLife      = time.Minute      // what a credential that says nothing, or nonsense, is believed to live
	maxLife      = 12 * time.Hour   // what any is believed to
)

// source gets a credential and says until when it is good.
type source func(ctx context.Context) (*authn.AuthConfig, time.Time, error)

// Keychain has the credentials of one registry. It is an [authn.Keychain], and safe for concurrent use.
type Keychain struct {
	host string
	get  source

	mu    sync.Mutex // guards all below, and is held while one who misses gets it for all
	has   *authn.AuthConfig
	renew time.Time
	ends  time.Time
}

// Resolve implements [authn.Keychain]. Another registry than the keychain's gets nothing.
func (k *Keychain) Resolve(target authn.Resource) (authn.Authenticator, error) {
	if target.RegistryStr() != k.host {
		return authn.Anonymous, nil
	}
	return k, nil
}

// Authorization implements [authn.Authenticator].
func (k *Keychain) Authorization() (*authn.AuthConfig, error) {
	return k.AuthorizationContext(context.Background())
}

// AuthorizationContext implements [authn.ContextAuthenticator]. Where it cannot be renewed, a credential that is still good
// is used to its end.
func (k *Keychain) AuthorizationContext(ctx context.Context) (*authn.AuthConfig, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	if k.has != nil && now.Before(k.renew) {
		return k.has, nil
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	got, until, err := k.get(ctx)
	if err != nil {
		if k.has != nil && now.Before(k.ends) {
			return k.has, nil
		}
		return nil, err
	}
	life := min(max(until.Sub(now), minLife), maxLife)
	k.has, k.ends, k.renew = got, now.Add(life), now.Add(life-min(refreshAhead, life/2))
	return got, nil
}

// client is for what gives credentials: it follows nobody who sends it elsewhere.
func client(given *http.Client) *http.Client {
	if given == nil {
		given = &http.Client{Transport: http.DefaultTransport}
	}
	c := *given
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &c
}

// ask sends a request and reads the JSON of a 200.
func ask(c *http.Client, req *http.Request, answer any) error {
	resp, err := c.Do(req)
	if err != nil {
		return fmt.Errorf("ask %s for credentials: %w", req.URL.Host, err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return fmt.Errorf("ask %s for credentials: %w", req.URL.Host, err)
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("ask %s for credentials: status %d", req.URL.Host, resp.StatusCode)
	case len(raw) > maxAnswer || json.NewDecoder(bytes.NewReader(raw)).Decode(answer) != nil:
		return fmt.Errorf("ask %s for credentials: the answer is none", req.URL.Host)
	}
	return nil
}

var errNoCredential = errors.New("the answer holds no usable credential")
