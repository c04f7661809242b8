package upstream

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/opencontainers/go-digest"
)

// ErrCaller says that a registry to which callers' own credentials go does not take these, or wants some.
var ErrCaller = errors.New("the registry does not accept the caller's credentials")

// Caller is what the one who asks the gateway showed for himself, to be shown to one registry and to no other. The zero
// value is somebody who showed nothing.
type Caller struct{ Username, Password string }

// callerKey is where a request's context has its caller. It is there and not a parameter because the credentials have to
// reach every read of evidence on the way through the verifier, which knows nothing of who asks, and must not.
type callerKey struct{ registry string }

// WithCaller gives a request's context the caller's credentials for the registry of that name.
func WithCaller(ctx context.Context, registry string, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{registry}, c)
}

// ForwardsCallers reports that the registry is asked with the credentials of whoever asks the gateway. What was read from it
// for one is not for another: see [Registry.MayRead].
func (r *Registry) ForwardsCallers() bool { return r.credentials != nil && r.credentials.callers != "" }

// MayRead asks the registry whether the caller may read a manifest, which is then not sent. Errors: [ErrCaller],
// [ErrNotFound], [*StatusError].
func (r *Registry) MayRead(ctx context.Context, repo string, d digest.Digest) error {
	path, err := manifestPath(repo, d.String())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	resp, err := r.Do(ctx, Request{Method: http.MethodHead, Repo: repo, Path: path, Header: http.Header{"Accept": {accept}}})
	if err != nil {
		return err
	}
	discard(resp)
	return nil
}

// caller is whose credentials a request carries.
func (c *credentials) caller(ctx context.Context) Caller {
	who, _ := ctx.Value(callerKey{c.callers}).(Caller)
	return who
}

// keyed keeps what was got for one caller apart from what was got for another. The key holds no password.
func (c *credentials) keyed(ctx context.Context, key string) string {
	if c.callers == "" {
		return key
	}
	who := c.caller(ctx)
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %s %s", len(who.Username), who.Username, who.Password))
	return base64.RawStdEncoding.EncodeToString(sum[:]) + " " + key
}

// forwarded is the caller's account.
func (c *credentials) forwarded(ctx context.Context) *authn.AuthConfig {
	who := c.caller(ctx)
	return &authn.AuthConfig{Username: who.Username, Password: who.Password}
}

// refusal makes what a registry or its token service answered to a caller's credentials an [ErrCaller].
func (c *credentials) refusal(status int, err error) error {
	if c.callers != "" && (status == http.StatusUnauthorized || status == http.StatusForbidden) {
		return fmt.Errorf("%w: %w", ErrCaller, err)
	}
	return err
}
