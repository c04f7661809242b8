package keychain

import (
	"context"
	"fmt"
	"regexp"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"golang.org/x/oauth2"
)

// googleHost is a registry of Google's: Artifact Registry, or the older Container Registry.
var googleHost = regexp.MustCompile(`^(?:[a-z0-9]+(?:-[a-z0-9]+)*-docker\.pkg\.dev|(?:[a-z]+\.)?gcr\.io)$`)

// IsGoogle reports that a host is a registry of Google's.
func IsGoogle(host string) bool { return googleHost.MatchString(host) }

// Google has access tokens for a registry of Google's, as the password of oauth2accesstoken. No program is run for them, as
// Google's own keychains do.
func Google(host string, tokens func(ctx context.Context) (*oauth2.Token, error)) (*Keychain, error) {
	if !IsGoogle(host) {
		return nil, fmt.Errorf("%s is no registry of Google's, like europe-docker.pkg.dev", host)
	}
	return &Keychain{host: host, get: func(ctx context.Context) (*authn.AuthConfig, time.Time, error) {
		token, err := tokens(ctx)
		if err != nil {
			return nil, time.Time{}, fmt.Errorf("find Google credentials: %w", err)
		}
		if token.AccessToken == "" {
			return nil, time.Time{}, fmt.Errorf("find Google credentials: %w", errNoCredential)
		}
		return &authn.AuthConfig{Username: "oauth2accesstoken", Password: token.AccessToken}, token.Expiry, nil
	}}, nil
}
