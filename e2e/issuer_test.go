package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net"
	"net/http"
	"time"
)

// issuer is an OpenID Connect issuer: it gives out tokens for whomever a test wants to be, and Fulcio believes it.
type issuer struct {
	url string
	key *ecdsa.PrivateKey
}

// audience is who Fulcio takes tokens for.
const audience = "sigstore"

func startIssuer() (*issuer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
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
		"id_token_signing_alg_values_supported": []string{"ES256"}, "response_types_supported": []string{"id_token"}, "subject_types_supported": []string{"public"},
	})
	public := key.PublicKey
	answer(mux, "/keys", map[string]any{"keys": []any{map[string]string{
		"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "1",
		"x": encoded(public.X.FillBytes(make([]byte, 32))), "y": encoded(public.Y.FillBytes(make([]byte, 32))),
	}}})
	go func() { _ = http.Serve(listener, mux) }()
	return i, nil
}

// token says for an hour that its bearer reads the mail of an address.
func (i *issuer) token(email string) (string, error) {
	part := func(value any) string {
		raw, _ := json.Marshal(value) // texts and numbers
		return encoded(raw)
	}
	now := time.Now().Unix()
	text := part(map[string]string{"alg": "ES256", "kid": "1", "typ": "JWT"}) + "." + part(map[string]any{
		"iss": i.url, "aud": audience, "sub": email, "email": email, "email_verified": true, "iat": now, "nbf": now, "exp": now + 3600,
	})
	sum := sha256.Sum256([]byte(text))
	r, s, err := ecdsa.Sign(rand.Reader, i.key, sum[:])
	if err != nil {
		return "", err
	}
	return text + "." + encoded(append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)), nil
}

func encoded(raw []byte) string { return base64.RawURLEncoding.EncodeToString(raw) }
