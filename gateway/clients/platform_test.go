package clients

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/sealgate/sealgate/policy"
)

// platform is an issuer of id-tokens, over real TLS, that counts how often it is asked.
type platform struct {
	t      testing.TB
	server *httptest.Server
	asked  atomic.Int32 // for keys

	mu     sync.Mutex // guards what follows
	keys   []jose.JSONWebKey
	answer func(w http.ResponseWriter) // instead of the keys
}

func newPlatform(t testing.TB) *platform {
	t.Helper()
	p := &platform{t: t}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]string{"issuer": p.server.URL, "jwks_uri": p.server.URL + "/keys"})
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		p.asked.Add(1)
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.answer != nil {
			p.answer(w)
			return
		}
		var public []jose.JSONWebKey
		for _, key := range p.keys {
			public = append(public, key.Public())
		}
		_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: public})
	})
	p.server = httptest.NewTLSServer(mux)
	t.Cleanup(p.server.Close)
	p.rotate("first")
	return p
}

// rotate replaces the platform's key.
func (p *platform) rotate(id string) {
	p.t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		p.t.Fatal(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys = []jose.JSONWebKey{{Key: private, KeyID: id, Algorithm: "ES256", Use: "sig"}}
}

func (p *platform) says(answer func(w http.ResponseWriter)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = answer
}

func (p *platform) issuer() *Issuer {
	p.t.Helper()
	i, err := NewIssuer(p.server.URL, p.roots())
	if err != nil {
		p.t.Fatal(err)
	}
	return i
}

func (p *platform) roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(p.server.Certificate())
	return pool
}

// job is what the platform says of a job of the release workflow.
func (p *platform) job() map[string]any {
	now := time.Now()
	return map[string]any{
		"iss": p.server.URL, "aud": "registry.acme.dev", "sub": "repo:acme/app:ref:refs/tags/v1",
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(),
		"repository_id": "123", "run_attempt": 1, "ref_protected": true,
		"job_workflow_ref": "acme/app/.github/workflows/release.yml@refs/tags/v1",
		"kubernetes.io":    map[string]any{"namespace": "flux-system", "serviceaccount": map[string]any{"name": "source-controller"}},
	}
}

func (p *platform) token(content map[string]any) string {
	p.t.Helper()
	p.mu.Lock()
	key := p.keys[0]
	p.mu.Unlock()
	return signJWT(p.t, jose.SignatureAlgorithm(key.Algorithm), key.Key, map[jose.HeaderKey]any{"kid": key.KeyID}, content)
}

func signJWT(t testing.TB, alg jose.SignatureAlgorithm, key any, header map[jose.HeaderKey]any, content any) string {
	t.Helper()
	payload, ok := content.([]byte)
	if !ok {
		var err error
		if payload, err = json.Marshal(content); err != nil {
			t.Fatal(err)
		}
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, &jose.SignerOptions{ExtraHeaders: header, EmbedJWK: header["embed"] != nil})
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	text, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func like(t testing.TB, patterns ...string) []policy.Pattern {
	t.Helper()
	var all []policy.Pattern
	for _, pattern := range patterns {
		p, err := policy.CompilePattern(pattern)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	return all
}

// release is the workload whose tokens the platform's job has.
func release(i *Issuer) Workload {
	return Workload{Name: "ci-release", Issuer: i, Audience: "registry.acme.dev", Match: []Claim{{Pointer: "repository_id", Is: []string{"123"}}}}
}

func knowing(t testing.TB, w ...Workload) *Directory {
	t.Helper()
	return openDesk(t).Directory(nil, []Group{{"ci", []string{"ci-release"}}}, false).WithWorkloads(w)
}
