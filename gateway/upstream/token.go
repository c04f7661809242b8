package upstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
)

// token asks the realm of a challenge for a token of these scopes, as the distribution project documents it under "token
// authentication". An error never unwraps to the status of the token service: that it has no such thing says nothing
// about the registry.
func (c *credentials) token(ctx context.Context, wanted *challenge, scopes []string) (*secret, error) {
	if err := c.checkRealm(wanted.realm); err != nil {
		return nil, err
	}
	account, err := c.account(ctx)
	if err != nil {
		return nil, err
	}
	if account.RegistryToken != "" {
		return &secret{"Bearer " + account.RegistryToken, time.Now().Add(secretTime)}, nil
	}
	req, err := tokenRequest(ctx, wanted, scopes, account)
	if err != nil {
		return nil, err
	}
	watched, shown := watch(ctx)
	show(watched, basicHeader(account))
	show(watched, "Bearer "+account.IdentityToken)

	transport := c.elsewhere
	if sameOrigin(req.URL, c.origin) {
		transport = c.transport
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return nil, fmt.Errorf("ask %s for a token: %w", req.URL.Host, shown.redact(&wireError{err}))
	}
	defer discard(resp)
	if resp.StatusCode != http.StatusOK {
		return nil, c.refusal(resp.StatusCode, fmt.Errorf("ask %s for a token: status %d", req.URL.Host, resp.StatusCode))
	}
	made, err := readToken(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("ask %s for a token: %w", req.URL.Host, err)
	}
	return made, nil
}

// tokenRequest is a GET with the account's password, or OAuth 2's POST with its refresh token.
func tokenRequest(ctx context.Context, wanted *challenge, scopes []string, account *authn.AuthConfig) (*http.Request, error) {
	u, err := url.Parse(wanted.realm)
	if err != nil {
		return nil, errors.New("the token realm is no URL")
	}
	form := url.Values{}
	if wanted.service != "" {
		form.Set("service", wanted.service)
	}
	if account.IdentityToken != "" {
		form.Set("grant_type", "refresh_token")
		form.Set("client_id", "sealgate")
		form.Set("refresh_token", account.IdentityToken)
		form.Set("scope", strings.Join(scopes, " "))
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), strings.NewReader(form.Encode()))
		if err == nil {
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		return req, err
	}

	for _, scope := range scopes {
		form.Add("scope", scope)
	}
	if u.RawQuery != "" {
		u.RawQuery += "&"
	}
	u.RawQuery += form.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err == nil {
		if header := basicHeader(account); header != "" {
			req.Header.Set("Authorization", header)
		}
	}
	return req, err
}

// readToken reads a token service's answer. Errors hold none of it: it is a secret.
func readToken(body io.Reader) (*secret, error) {
	raw, err := io.ReadAll(io.LimitReader(body, maxTokenBody+1))
	if err != nil {
		return nil, &wireError{err}
	}
	var answer struct {
		Token       string `json:"token"`
		AccessToken string `json:"access_token"`
		ExpiresIn   int64  `json:"expires_in"` // seconds
	}
	if len(raw) > maxTokenBody || json.Unmarshal(raw, &answer) != nil {
		return nil, errors.New("the answer is no token")
	}
	token := answer.Token
	if token == "" {
		token = answer.AccessToken
	}
	if token == "" || len(token) > maxTokenLength || strings.ContainsFunc(token, notInURL) {
		return nil, errors.New("the answer holds no usable token")
	}

	lives := defaultTokenTime
	if answer.ExpiresIn > 0 {
		lives = min(time.Duration(min(answer.ExpiresIn, int64(maxTokenTime/time.Second)))*time.Second, maxTokenTime)
	}
	margin := min(10*time.Second, lives/2) // a token must outlive the request that it was fetched for
	return &secret{"Bearer " + token, time.Now().Add(lives - margin)}, nil
}
