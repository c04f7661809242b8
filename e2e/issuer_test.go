package e2e

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"math/big"
	"net"
	"net/http"
	"time"
)

// issuer is an OpenID Connect issuer: it gives out tokens for whomever a test wants to be, and Fulcio believes it.
type issuer struct {
	url string
	key *rsa.PrivateKey // cosign takes a token for a file's name that is signed otherwise
}

// audience is who Fulcio takes tokens for.
const audience = "sigstore"

func startIssuer() (*issuer, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	i := &issuer{url: "http://" + listener.Addr().String(), key: key}
	answer := func(mux *http.ServeMux, path string, value any) {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(value)
		})
	}
	mux := http.NewServeMux()
	answer(mux, "/.well-known/openid-configuration", map[string]any{
		"issuer": i.url, "jwks_uri": i.url + "/keys", "authorization_endpoint": i.url + "/auth", "token_endpoint": i.url + "/token",
		"id_token_signing_alg_values_supported": []string{"RS256"}, "response_types_supported": []string{"id_token"}, "subject_types_supported": []string{"public"},
	})
	answer(mux, "/keys", map[string]any{"keys": []any{map[string]string{
		"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "1", "n": encoded(key.N.Bytes()), "e": encoded(big.NewInt(int64(key.E)).Bytes()),
	}}})
	go func() { _ = http.Serve(listener, mux) }()
	return i, nil
}

// token says for an hour that its bearer reads the mail of an address.
func (i *issuer) token(email string) (string, error) {
	return i.says(map[string]any{"aud": audience, "sub": email, "email": email, "email_verified": true}, time.Hour)
}

// says signs claims that are good for some time from now.
func (i *issuer) says(claims map[string]any, life time.Duration) (string, error) {
	part := func(value any) string {
		raw, _ := json.Marshal(value) // texts and numbers
		return encoded(raw)
	}
	now := time.Now().Unix()
	all := map[string]any{"iss": i.url, "iat": now, "nbf": now, "exp": now + int64(life.Seconds())}
	maps.Copy(all, claims)
	text := part(map[string]string{"alg": "RS256", "kid": "1", "typ": "JWT"}) + "." + part(all)
	sum := sha256.Sum256([]byte(text))
	signature, err := rsa.SignPKCS1v15(rand.Reader, i.key, crypto.SHA256, sum[:])
	return text + "." + encoded(signature), err
}

func encoded(raw []byte) string { return base64.RawURLEncoding.EncodeToString(raw) }
