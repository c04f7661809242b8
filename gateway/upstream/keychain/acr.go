package keychain

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/google/go-containerregistry/pkg/authn"
)

// azureHost is a registry of Azure's.
var azureHost = regexp.MustCompile(`^[a-z0-9]{5,50}(?:-[a-z0-9]+)?\.azurecr\.(io|cn|us)$`)

// IsAzure reports that a host is a registry of Azure's.
func IsAzure(host string) bool { return azureHost.MatchString(host) }

// azureScope is what the token of the directory is for: registries, and nothing else of the account.
const azureScope = "https://containerregistry.azure.net/.default"

// Azure exchanges a token of the directory (Entra ID) for a refresh token of the registry, at the registry's own
// /oauth2/exchange, which then gives access tokens for it. way is nil for the default.
func Azure(host string, directory azcore.TokenCredential, way *http.Client) (*Keychain, error) {
	if !IsAzure(host) {
		return nil, fmt.Errorf("%s is no registry of Azure's, like acmeprod.azurecr.io", host)
	}
	c := client(way)
	return &Keychain{host: host, get: func(ctx context.Context) (*authn.AuthConfig, time.Time, error) {
		token, err := directory.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{azureScope}})
		if err != nil {
			return nil, time.Time{}, fmt.Errorf("find Azure credentials: %w", err)
		}
		form := url.Values{"grant_type": {"access_token"}, "service": {host}, "access_token": {token.Token}}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+host+"/oauth2/exchange", strings.NewReader(form.Encode()))
		if err != nil {
			return nil, time.Time{}, err
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		var answer struct {
			RefreshToken string `json:"refresh_token"`
		}
		if err := ask(c, req, &answer); err != nil {
			return nil, time.Time{}, err
		}
		if answer.RefreshToken == "" {
			return nil, time.Time{}, fmt.Errorf("ask %s for credentials: %w", host, errNoCredential)
		}
		return &authn.AuthConfig{IdentityToken: answer.RefreshToken}, expiryOf(answer.RefreshToken), nil
	}}, nil
}

// expiryOf reads when a JWT ends. It is not checked: it comes from who made it, and only says when to ask again.
func expiryOf(jwt string) time.Time {
	parts := strings.Split(jwt, ".")
	if len(parts) != 3 {
		return time.Time{}
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return time.Time{}
	}
	var claims struct {
		Expires int64 `json:"exp"`
	}
	if json.Unmarshal(raw, &claims) != nil {
		return time.Time{}
	}
	return time.Unix(claims.Expires, 0)
}
