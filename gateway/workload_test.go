package gateway_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/opencontainers/go-digest"
	"github.com/sealgate/sealgate/gateway/clients"
	"github.com/sealgate/sealgate/policy"
)

const platformURL = "https://token.actions.githubusercontent.com"

// platform is a real key of an issuer of id-tokens.
type platform struct {
	t   testing.TB
	key jose.JSONWebKey
}

func newPlatform(t testing.TB) *platform {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &platform{t, jose.JSONWebKey{Key: private, KeyID: "k1", Algorithm: "ES256", Use: "sig"}}
}

func (p *platform) issuer() *clients.Issuer {
	p.t.Helper()
	raw, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{p.key.Public()}})
	if err != nil {
		p.t.Fatal(err)
	}
	issuer, err := clients.NewStaticIssuer(platformURL, raw)
	if err != nil {
		p.t.Fatal(err)
	}
	return issuer
}

// token is a job's, of a repository, for minutes.
func (p *platform) token(repository string) string {
	p.t.Helper()
	now := time.Now()
	raw, err := json.Marshal(map[string]any{
		"iss": platformURL, "aud": "registry.acme.dev", "sub": "repo:acme/" + repository, "repository_id": repository,
		"iat": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(),
	})
	if err != nil {
		p.t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: p.key}, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	signed, err := signer.Sign(raw)
	if err != nil {
		p.t.Fatal(err)
	}
	text, err := signed.CompactSerialize()
	if err != nil {
		p.t.Fatal(err)
	}
	return text
}

// newWorked is a gateway that knows a workload and nobody else: the release workflow of one repository.
func newWorked(t testing.TB, issuer *clients.Issuer, session time.Duration) *guarded {
	t.Helper()
	desk, err := clients.OpenDesk(filepath.Join(t.TempDir(), "token-keys.json"))
	if err != nil {
		t.Fatal(err)
	}
	g := &guarded{rig: newRig(t), desk: desk}
	g.policies = append(g.policies[:0], public("release", "prod/app", allow("ci-release", "pull", "push")), public("rest", "**", allow("*", "pull")))
	g.admitWorkload(issuer, session)
	return g
}

func (g *guarded) admitWorkload(issuer *clients.Issuer, session time.Duration) {
	g.clients = g.desk.Directory(nil, nil, false).WithWorkloads([]clients.Workload{{
		Name: "ci-release", Issuer: issuer, Audience: "registry.acme.dev", Session: session,
		Match: []clients.Claim{{Pointer: "repository_id", Is: []string{"123"}}},
	}})
	g.enforce(g.key)
}

func TestOnlyTheReleaseWorkflowPushes(t *testing.T) {
	p := newPlatform(t)
	g := newWorked(t, p.issuer(), 0)
	im := newImage("65532", "released")
	token := p.token("123")
	ways := map[string][]string{
		"as password": {"Authorization", basic("oauth2", token)},
		"as bearer":   {"Authorization", "Bearer " + token},
	}
	query := url.Values{"service": {"sealgate"}, "scope": {"repository:prod/app:pull,push"}, "offline_token": {"true"}}
	given := g.tokens(g.want(http.StatusOK, "GET", "/token?"+query.Encode(), nil, "Authorization", basic("token", token)))
	ways["by GET"] = []string{"Authorization", "Bearer " + given.Token}
	if given.ExpiresIn > 300 || given.RefreshToken != "" {
		t.Errorf("got %+v", given)
	}
	given = g.tokens(g.post(url.Values{
		"grant_type": {"password"}, "username": {"x"}, "password": {token}, "service": {"sealgate"}, "access_type": {"offline"},
		"scope": {"repository:prod/app:pull,push"},
	}))
	ways["by POST"] = []string{"Authorization", "Bearer " + given.Token}
	if given.RefreshToken != "" {
		t.Error("what has no session can be renewed")
	}

	for way, credentials := range ways {
		t.Run(way, func(t *testing.T) {
			for _, blob := range im.blobs {
				started := g.want(http.StatusAccepted, "POST", "/v2/prod/app/blobs/uploads/", nil, credentials...)
				finish(g, started.header.Get("Location"), blob, credentials...)
			}
			g.want(http.StatusCreated, "PUT", "/v2/prod/app/manifests/v1", im.manifest, append([]string{"Content-Type", mediaTypeOf(im.manifest)}, credentials...)...)
			g.want(http.StatusOK, "GET", "/v2/prod/app/manifests/v1", nil, credentials...)
			d := g.recorded()
			if last := d[len(d)-1]; last.Identity != "ci-release" || last.IdentityIssuer != platformURL || last.IdentitySubject != "repo:acme/123" {
				t.Errorf("recorded %+v", last)
			}
			if a := g.send("POST", "/v2/other/blobs/uploads/", nil, credentials...); a.status != http.StatusForbidden && a.status != http.StatusUnauthorized {
				t.Errorf("it may push elsewhere: %d", a.status)
			}
		})
	}

	for name, token := range map[string]string{"another repository": p.token("1234"), "another platform": newPlatform(t).token("123")} {
		for way, value := range map[string]string{"as password": basic("oauth2", token), "as bearer": "Bearer " + token} {
			a := g.want(http.StatusUnauthorized, "GET", "/v2/prod/app/manifests/v1", nil, "Authorization", value)
			if strings.Contains(string(a.body), "claim") || strings.Contains(string(a.body), "signature") {
				t.Errorf("%s %s: the answer says what is wrong: %s", name, way, a.body)
			}
		}
		g.want(http.StatusUnauthorized, "GET", "/token", nil, "Authorization", basic("oauth2", token))
	}
}

// finish ends an upload with a blob.
func finish(g *guarded, location string, blob []byte, credentials ...string) {
	g.t.Helper()
	separator := "?"
	if strings.Contains(location, "?") {
		separator = "&"
	}
	g.want(http.StatusCreated, "PUT", location+separator+"digest="+digest.FromBytes(blob).String(), blob, append([]string{"Content-Type", "application/octet-stream"}, credentials...)...)
}

func TestASessionOutlivesTheIDToken(t *testing.T) {
	p := newPlatform(t)
	g := newWorked(t, p.issuer(), time.Hour)
	login := g.want(http.StatusOK, "GET", "/token?service=sealgate&offline_token=true", nil, "Authorization", basic("oauth2", p.token("123")))
	refresh := g.tokens(login).RefreshToken
	if refresh == "" {
		t.Fatalf("no refresh token: %s", login.body)
	}
	renew := func() answer {
		return g.post(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh}, "service": {"sealgate"}, "scope": {"repository:prod/app:pull,push"}})
	}
	credentials := []string{"Authorization", "Bearer " + g.tokens(renew()).Token}
	started := g.want(http.StatusAccepted, "POST", "/v2/prod/app/blobs/uploads/", nil, credentials...)

	// The workload is changed in the middle of the upload.
	g.admitWorkload(p.issuer(), 2*time.Hour)
	location := started.header.Get("Location")
	g.want(http.StatusUnauthorized, "PATCH", location, []byte("x"), append([]string{"Content-Type", "application/octet-stream"}, credentials...)...)
	if a := renew(); a.status != http.StatusUnauthorized {
		t.Errorf("it was renewed: %d %s", a.status, a.body)
	}
}

func TestAnIssuerThatIsDownIsNoRefusal(t *testing.T) {
	p := newPlatform(t)
	down, err := clients.NewIssuer(platformURL+".invalid", nil)
	if err != nil {
		t.Fatal(err)
	}
	g := newWorked(t, down, 0)
	token := strings.Split(p.token("123"), ".")
	token[1] = base64.RawURLEncoding.EncodeToString([]byte(`{"iss":"` + platformURL + `.invalid"}`))
	for _, value := range []string{basic("oauth2", strings.Join(token, ".")), "Bearer " + strings.Join(token, ".")} {
		for _, path := range []string{"/v2/", "/v2/prod/app/manifests/v1", "/token"} {
			if path == "/token" && strings.HasPrefix(value, "Bearer") {
				continue
			}
			a := g.want(http.StatusServiceUnavailable, "GET", path, nil, "Authorization", value)
			if !strings.HasPrefix(a.message(), "UNAVAILABLE: ") || a.header.Get("Retry-After") == "" || strings.Contains(string(a.body), "invalid") {
				t.Errorf("%s: %s %v", path, a.body, a.header)
			}
		}
	}
}

func TestTheSummaryOfASealNamesTheJobThatPushed(t *testing.T) {
	p := newPlatform(t)
	g := newWorked(t, p.issuer(), 0)
	doc := summarizing()
	doc.Pull = &policy.PullDocument{AdmitUnverified: true}
	doc.Allow = []policy.AllowDocument{allow("ci-release", "push", "pull")}
	g.policies = []policy.Document{doc}
	g.admitWorkload(p.issuer(), 0)
	im, token := newImage("65532", "x"), []string{"Authorization", "Bearer " + p.token("123")}
	for _, blob := range im.blobs {
		started := g.want(http.StatusAccepted, "POST", "/v2/a/blobs/uploads/", nil, token...)
		finish(g, started.header.Get("Location"), blob, token...)
	}
	g.want(http.StatusCreated, "PUT", "/v2/a/manifests/v1", im.manifest, append([]string{"Content-Type", mediaTypeOf(im.manifest)}, token...)...)

	g.clients, g.policies[0].Allow = nil, nil // for the reader
	g.enforce(g.key)
	all := g.summaries("a", im.digest)
	if len(all) != 1 || all[0]["sealgate_pusher"] != "ci-release" || all[0]["sealgate_pusher_issuer"] != platformURL || all[0]["sealgate_pusher_subject"] != "repo:acme/123" {
		t.Errorf("got %v", all)
	}
}
