package clients

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

func TestAWorkloadShowsAnIDTokenForAPassword(t *testing.T) {
	p := newPlatform(t)
	d := knowing(t, release(p.issuer()))
	token := p.token(p.job())
	for _, name := range []string{"oauth2", "token", "", "ci-release", "x y"} {
		h, err := d.Login(t.Context(), here, name, token)
		if err != nil || h.Name != "ci-release" || !slices.Equal(h.Groups, []string{"ci"}) || h.Issuer != p.server.URL || h.Subject != "repo:acme/app:ref:refs/tags/v1" {
			t.Fatalf("as %q: got %+v, %v", name, h, err)
		}
	}
	if h, err := d.Workload(t.Context(), token); err != nil || h.Name != "ci-release" {
		t.Errorf("as bearer: got %+v, %v", h, err)
	}
	if n := p.asked.Load(); n != 1 {
		t.Errorf("the keys were asked for %d times", n)
	}
	for _, text := range []string{"", "secret", "a.b.c", issue(t, openDesk(t).Directory(nil, nil, true), "")} {
		if h, err := d.Workload(t.Context(), text); !errors.Is(err, ErrForeign) {
			t.Errorf("%.20q: got %+v, %v", text, h, err)
		}
	}
}

func TestThreat118_ForgedIDTokensAreNobodys(t *testing.T) {
	p := newPlatform(t)
	d := knowing(t, release(p.issuer()))
	job := p.job()
	ours := p.keys[0]
	theirs, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	theirRSA, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(ours.Public().Key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(job)
	if err != nil {
		t.Fatal(err)
	}
	encode := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	with := func(claim string, value any) string {
		next := maps.Clone(job)
		next[claim] = value
		return p.token(next)
	}
	without := func(claim string) string {
		next := maps.Clone(job)
		delete(next, claim)
		return p.token(next)
	}
	kid := map[jose.HeaderKey]any{"kid": "first"}
	good := p.token(job)
	parts := strings.Split(good, ".")
	soon, now := time.Now().Add(time.Hour).Unix(), time.Now()

	for name, token := range map[string]string{
		"alg none":                   encode(`{"alg":"none","kid":"first"}`) + "." + parts[1] + ".",
		"HS256 with the public key":  signJWT(t, jose.HS256, public, kid, job),
		"another kind of key":        signJWT(t, jose.RS256, theirRSA, kid, job),
		"another key":                signJWT(t, jose.ES256, theirs, kid, job),
		"a key that it brings along": signJWT(t, jose.ES256, theirs, map[jose.HeaderKey]any{"kid": "first", "embed": true}, job),
		"a key elsewhere":            signJWT(t, jose.ES256, theirs, map[jose.HeaderKey]any{"kid": "first", "jku": "https://evil.example/keys", "x5u": "https://evil.example/x"}, job),
		"a certificate with it":      signJWT(t, jose.ES256, theirs, map[jose.HeaderKey]any{"kid": "first", "x5c": []string{base64.StdEncoding.EncodeToString(p.server.Certificate().Raw)}}, job),
		"no key id":                  signJWT(t, jose.ES256, ours.Key, nil, job),
		"an unknown key id":          signJWT(t, jose.ES256, ours.Key, map[jose.HeaderKey]any{"kid": "../first"}, job),
		"no signature":               parts[0] + "." + parts[1] + ".",
		"another payload":            parts[0] + "." + encode(strings.Replace(string(raw), `"123"`, `"124"`, 1)) + "." + parts[2],
		"a claim twice":              signJWT(t, jose.ES256, ours.Key, kid, []byte(`{"repository_id":"9",`+string(raw[1:]))),
		"another audience":           with("aud", "sigstore"),
		"an audience more":           with("aud", []string{"registry.acme.dev", "sigstore"}),
		"no audience":                without("aud"),
		"an empty audience":          with("aud", []string{}),
		"the audience's beginning":   with("aud", "registry.acme"),
		"another repository":         with("repository_id", "1234"),
		"no repository":              without("repository_id"),
		"a repository in a list":     with("repository_id", []any{[]string{"123"}}),
		"no end":                     without("exp"),
		"no beginning":               without("iat"),
		"ended":                      with("exp", now.Add(-clockSkew-time.Second).Unix()),
		"from the future":            with("iat", soon),
		"not yet good":               with("nbf", soon),
		"good for days":              with("exp", job["iat"].(int64)+int64(maxIDTokenLife.Seconds())+1),
		"times as text":              with("exp", "tomorrow"),
	} {
		t.Run(name, func(t *testing.T) {
			if h, err := d.Login(t.Context(), here, "oauth2", token); !errors.Is(err, ErrCredentials) || !h.Anonymous() {
				t.Errorf("it is %+v's: %v", h, err)
			}
		})
	}
	for name, token := range map[string]string{ // no issuer of these is known, so they are wrong passwords
		"another issuer": with("iss", p.server.URL+"/"), "no issuer": without("iss"), "a million dots": strings.Repeat(".", 1<<20),
		"long": good + strings.Repeat("A", maxIDToken), "JSON": `{"payload":"` + parts[1] + `"}`,
	} {
		if h, err := d.Workload(t.Context(), token); !errors.Is(err, ErrForeign) {
			t.Errorf("%s: it is %+v's: %v", name, h, err)
		}
		if h, err := d.Login(t.Context(), here, "oauth2", token); !errors.Is(err, ErrCredentials) {
			t.Errorf("%s: it is %+v's: %v", name, h, err)
		}
	}
	for name, token := range map[string]string{
		"the best": good, "at the edge of its end": with("exp", now.Add(-clockSkew+5*time.Second).Unix()),
		"of a clock before ours": with("iat", now.Add(clockSkew-5*time.Second).Unix()), "one in a list": with("aud", []string{"registry.acme.dev"}),
		"as long as may be": with("exp", job["iat"].(int64)+int64(maxIDTokenLife.Seconds())),
	} {
		if _, err := d.Login(t.Context(), here, "oauth2", token); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// An issuer says for which algorithm each key is: another one by the same key is somebody's confusion.
func TestThreat118_AKeyIsForTheAlgorithmThatItsIssuerSays(t *testing.T) {
	p := newPlatform(t)
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p.keys = []jose.JSONWebKey{{Key: private, KeyID: "first", Algorithm: "RS256", Use: "sig"}}
	d := knowing(t, release(p.issuer()))
	for algorithm, want := range map[jose.SignatureAlgorithm]bool{jose.RS256: true, jose.PS256: false, jose.RS512: false} {
		token := signJWT(t, algorithm, private, map[jose.HeaderKey]any{"kid": "first"}, p.job())
		if _, err := d.Workload(t.Context(), token); (err == nil) != want || err != nil && !errors.Is(err, ErrCredentials) {
			t.Errorf("%s: %v", algorithm, err)
		}
	}
}

func TestThreat118_ATokenIsOfTheIssuerWhoseKeysSignedIt(t *testing.T) {
	p := newPlatform(t)
	job := p.job()
	job["iss"] = "https://other.example"
	if token, err := openDesk(t).openIDToken(t.Context(), p.issuer(), p.token(job)); !errors.Is(err, ErrCredentials) {
		t.Errorf("got %+v, %v", token, err)
	}
}

func TestClaimsAreMatchedWhole(t *testing.T) {
	claims := map[string]any{
		"repository": "acme/app", "run_attempt": json.Number("12345678901234567"), "ref_protected": true, "null": nil, "empty": "",
		"groups": []any{"dev", "ops"}, "job_workflow_ref": "acme/app/.github/workflows/release.yml@refs/tags/v1.2",
		"kubernetes.io": map[string]any{"serviceaccount": map[string]any{"name": "flux"}}, "a/b": "x", "a": map[string]any{"b": "y", "~c": "z"},
	}
	for _, c := range []struct {
		pointer, is, like string
		want              bool
	}{
		{"repository", "acme/app", "", true},
		{"repository", "acme/ap", "", false},
		{"repository", "Acme/app", "", false},
		{"repository", "acme/app2", "", false},
		{"repository", "", "acme/*", true},
		{"repository", "", "acm*", false},
		{"repository", "", "*/app", true},
		{"run_attempt", "12345678901234567", "", true},
		{"ref_protected", "true", "", true},
		{"ref_protected", "false", "", false},
		{"null", "", "*", false},
		{"null", "<nil>", "", false},
		{"empty", "", "*", false},
		{"absent", "", "**", false},
		{"groups", "ops", "", true},
		{"groups", "op", "", false},
		{"groups", "[dev ops]", "", false},
		{"job_workflow_ref", "", "acme/app/.github/workflows/release.yml@refs/tags/v*", true},
		{"job_workflow_ref", "", "acme/app/.github/workflows/release.yml@refs/tags", false},
		{"job_workflow_ref", "", "evil/**", false},
		{"/kubernetes.io/serviceaccount/name", "flux", "", true},
		{"/kubernetes.io/serviceaccount", "", "**", false},
		{"/kubernetes.io/serviceaccount/name/x", "flux", "", false},
		{"kubernetes.io/serviceaccount/name", "flux", "", false},
		{"a/b", "x", "", true},
		{"/a/b", "y", "", true},
		{"/a~1b", "x", "", true},
		{"/a/~0c", "z", "", true},
	} {
		claim := Claim{Pointer: c.pointer}
		if c.is != "" {
			claim.Is = []string{c.is}
		}
		if c.like != "" {
			claim.Like = like(t, c.like)
		}
		if got := claim.matches(claims); got != c.want {
			t.Errorf("%s is %q like %q: got %v", c.pointer, c.is, c.like, got)
		}
	}
	if (Claim{Pointer: "repository"}).matches(claims) || (Claim{Pointer: "empty", Is: []string{""}}).matches(claims) {
		t.Error("a claim that asks for nothing matches")
	}
	if (Workload{Audience: "x"}).check(&idToken{Audience: []string{"x"}}) == nil {
		t.Error("a workload that matches nothing is everybody")
	}
}

func TestTheFirstWorkloadThatATokenMatchesIsMeant(t *testing.T) {
	p := newPlatform(t)
	i := p.issuer()
	named := func(name string, match ...Claim) Workload {
		return Workload{Name: name, Issuer: i, Audience: "registry.acme.dev", Match: match}
	}
	d := knowing(t,
		named("other", Claim{Pointer: "repository_id", Is: []string{"9"}}),
		named("both", Claim{Pointer: "repository_id", Is: []string{"123"}}, Claim{Pointer: "run_attempt", Is: []string{"2"}}),
		named("third", Claim{Pointer: "run_attempt", Is: []string{"1"}}), named("fourth", Claim{Pointer: "repository_id", Is: []string{"123"}}))
	if h, err := d.Workload(t.Context(), p.token(p.job())); err != nil || h.Name != "third" {
		t.Errorf("got %+v, %v", h, err)
	}
}

func TestTokensForAnIDTokenEndWithItOrItsSession(t *testing.T) {
	p := newPlatform(t)
	i := p.issuer()
	w := release(i)
	d := knowing(t, w)
	job := p.job()
	job["exp"] = time.Now().Add(90 * time.Second).Unix()
	h, err := d.Login(t.Context(), here, "", p.token(job))
	if err != nil {
		t.Fatal(err)
	}
	short, err := d.Issue(h, nil)
	if err != nil || short.Expires > 90*time.Second || short.Expires < 80*time.Second {
		t.Errorf("got a token for %s, %v, and the id-token has 90s", short.Expires, err)
	}
	if refresh, err := d.IssueRefresh(h); err != nil || refresh.Text != "" {
		t.Errorf("without a session: got a refresh token for %s, %v", refresh.Expires, err)
	}
	c, _, err := d.Bearer(short.Text)
	if err != nil || c.Name != "ci-release" || c.Subject != job["sub"] || c.Issuer != p.server.URL || !slices.Equal(c.Groups, []string{"ci"}) {
		t.Errorf("got %+v, %v", c, err)
	}

	w.Session = time.Hour
	long := d.desk.Directory(nil, nil, false).WithWorkloads([]Workload{w})
	h, err = long.Login(t.Context(), here, "", p.token(job))
	if err != nil {
		t.Fatal(err)
	}
	if token, err := long.Issue(h, nil); err != nil || token.Expires != TokenTime {
		t.Errorf("with a session: got a token for %s, %v", token.Expires, err)
	}
	refresh, err := long.IssueRefresh(h)
	if err != nil || refresh.Expires > time.Hour || refresh.Expires < time.Hour-10*time.Second {
		t.Fatalf("got a refresh token for %s, %v", refresh.Expires, err)
	}
	renewed, err := long.Refresh(refresh.Text)
	if err != nil || renewed.Name != "ci-release" || renewed.Subject != job["sub"] {
		t.Errorf("got %+v, %v", renewed, err)
	}
	if again, err := long.IssueRefresh(renewed); err != nil || again.Text != "" {
		t.Errorf("a refresh token begets one for %s, %v", again.Expires, err)
	}

	// Another definition of the workload, or none, ends them all.
	changed := w
	changed.Match = []Claim{{Pointer: "repository_id", Is: []string{"123"}}, {Pointer: "environment", Is: []string{"prod"}}}
	for name, next := range map[string]*Directory{
		"changed": d.desk.Directory(nil, nil, false).WithWorkloads([]Workload{changed}), "removed": d.desk.Directory(nil, nil, true),
		"without its session": d, "now a user": d.desk.Directory(htpasswd(t, "ci-release", "x"), nil, false),
	} {
		if h, err := next.Refresh(refresh.Text); err == nil {
			t.Errorf("%s: the refresh token is %+v's", name, h)
		}
		if name != "without its session" {
			if c, _, err := next.Bearer(short.Text); err == nil {
				t.Errorf("%s: the token is %+v's", name, c)
			}
		}
	}
}

func BenchmarkWorkload(b *testing.B) {
	p := newPlatform(b)
	d := knowing(b, release(p.issuer()))
	token := p.token(p.job())
	for b.Loop() {
		if _, err := d.Workload(b.Context(), token); err != nil {
			b.Fatal(err)
		}
	}
}
