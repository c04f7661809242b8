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
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/sealgate/sealgate/policy"
)

func issue(t testing.TB, d *Directory, name string, scopes ...string) string {
	t.Helper()
	access, err := ParseScopes(scopes)
	if err != nil {
		t.Fatal(err)
	}
	token, err := d.Issue(Holder{Client: policy.Client{Name: name}}, access)
	if err != nil {
		t.Fatal(err)
	}
	return token.Text
}

func issueRefresh(t testing.TB, d *Directory, name string) string {
	t.Helper()
	token, err := d.IssueRefresh(Holder{Client: policy.Client{Name: name}})
	if err != nil {
		t.Fatal(err)
	}
	return token.Text
}

func TestATokenNamesItsHolderForFiveMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := openDesk(t).Directory(htpasswd(t, "alice", "secret"), []Group{{"ci", []string{"alice"}}}, false)
		token := issue(t, d, "alice", "repository:a:pull")
		refresh := issueRefresh(t, d, "alice")
		for _, after := range []time.Duration{0, TokenTime - time.Second} {
			time.Sleep(after)
			c, access, err := d.Bearer(token)
			if err != nil || c.Name != "alice" || len(c.Groups) != 1 || !access.Covers(Repository, "a", "pull") {
				t.Fatalf("after %s: %+v, %v, %v", after, c, access, err)
			}
		}
		time.Sleep(clockLeeway + 2*time.Second)
		if c, _, err := d.Bearer(token); !errors.Is(err, ErrCredentials) {
			t.Errorf("after its time: %+v, %v", c, err)
		}

		if c, err := d.Refresh(refresh); err != nil || c.Name != "alice" {
			t.Errorf("refresh: %+v, %v", c, err)
		}
		if c, _, err := d.Bearer(refresh); err == nil {
			t.Errorf("a refresh token opened the registry to %+v", c)
		}
		if c, err := d.Refresh(issue(t, d, "alice")); err == nil {
			t.Errorf("a token was refreshed for %+v", c)
		}
		time.Sleep(RefreshTime + time.Minute)
		if c, err := d.Refresh(refresh); err == nil {
			t.Errorf("after its time: %+v", c)
		}
	})
}

func TestAnAnonymousTokenIsForWhereAnonymousClientsAreLetIn(t *testing.T) {
	desk := openDesk(t)
	users := htpasswd(t, "alice", "secret")
	open, closed := desk.Directory(users, nil, true), desk.Directory(users, nil, false)
	token := issue(t, open, "", "repository:a:pull")
	if c, access, err := open.Bearer(token); err != nil || !c.Anonymous() || !access.Covers(Repository, "a", "pull") {
		t.Errorf("got %+v, %v, %v", c, access, err)
	}
	if _, _, err := closed.Bearer(token); err == nil {
		t.Error("it opens what was closed since")
	}
	if c, err := open.Refresh(issueRefresh(t, open, "")); err == nil {
		t.Errorf("nobody's refresh token is %+v's", c)
	}
	if _, err := open.Issue(Holder{Client: policy.Client{Name: "mallory"}}, nil); err == nil {
		t.Error("a token for a name that nobody has")
	}
}

func TestThreat119_TokensEndWithTheirHoldersPassword(t *testing.T) {
	desk := openDesk(t)
	d := desk.Directory(htpasswd(t, "alice", "secret", "bob", "secret"), []Group{{"ci", []string{"alice"}}}, false)
	token, refresh := issue(t, d, "alice", "repository:a:pull"), issueRefresh(t, d, "alice")
	if _, _, err := d.Bearer(token); err != nil {
		t.Fatal(err)
	}
	for name, users := range map[string]*Users{
		"she was removed":                      htpasswd(t, "bob", "secret"),
		"she has a new password":               htpasswd(t, "alice", "changed"),
		"she has the same password, once more": htpasswd(t, "alice", "secret"),
	} {
		next := desk.Directory(users, nil, true)
		if c, _, err := next.Bearer(token); err == nil {
			t.Errorf("%s: the token is %+v's", name, c)
		}
		if c, err := next.Refresh(refresh); err == nil {
			t.Errorf("%s: the refresh token is %+v's", name, c)
		}
	}
	next := desk.Directory(d.users, nil, false)
	if c, _, err := next.Bearer(token); err != nil || len(c.Groups) != 0 {
		t.Errorf("after she left her group: %+v, %v", c, err)
	}
	// A password that was right is not right by memory.
	if _, err := d.Login(t.Context(), here, "alice", "secret"); err != nil {
		t.Fatal(err)
	}
	if _, err := desk.Directory(htpasswd(t, "alice", "changed"), nil, false).Login(t.Context(), here, "alice", "secret"); err == nil {
		t.Error("the old password is remembered")
	}
}

func TestThreat118_ForgedTokensAreNobodys(t *testing.T) {
	desk := openDesk(t)
	d := desk.Directory(htpasswd(t, "alice", "secret"), nil, true)
	good := issue(t, d, "alice", "repository:a:pull")
	if _, _, err := d.Bearer(good); err != nil {
		t.Fatal(err)
	}
	key, err := desk.keys.signer(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	ours, _ := key.private()
	theirs, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	theirRSA, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(ours.Public())
	if err != nil {
		t.Fatal(err)
	}

	parts := strings.Split(good, ".")
	body, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var content map[string]any
	if err := json.Unmarshal(body, &content); err != nil {
		t.Fatal(err)
	}
	kid := key.Key.KeyID
	sign := func(alg jose.SignatureAlgorithm, with any, header map[jose.HeaderKey]any, payload []byte) string {
		return signJWT(t, alg, with, header, payload)
	}
	byUs := func(change func(map[string]any)) string {
		next := maps.Clone(content)
		change(next)
		raw, err := json.Marshal(next)
		if err != nil {
			t.Fatal(err)
		}
		return sign(jose.ES256, ours, map[jose.HeaderKey]any{"kid": kid}, raw)
	}
	if _, _, err := d.Bearer(byUs(func(map[string]any) {})); err != nil {
		t.Fatalf("the forger's own tools make no good token: %v", err)
	}
	encode := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	without := func(claim string) string { return byUs(func(c map[string]any) { delete(c, claim) }) }
	with := func(claim string, value any) string { return byUs(func(c map[string]any) { c[claim] = value }) }

	for name, token := range map[string]string{
		"nothing":                     "",
		"no token":                    "x",
		"alg none":                    encode(`{"alg":"none","kid":"`+kid+`"}`) + "." + parts[1] + ".",
		"alg None":                    encode(`{"alg":"None","kid":"`+kid+`"}`) + "." + parts[1] + "." + parts[2],
		"no signature":                parts[0] + "." + parts[1] + ".",
		"another's signature":         parts[0] + "." + parts[1] + "." + strings.Split(byUs(func(map[string]any) {}), ".")[2],
		"HS256 with our public key":   sign(jose.HS256, public, map[jose.HeaderKey]any{"kid": kid}, body),
		"RS256":                       sign(jose.RS256, theirRSA, map[jose.HeaderKey]any{"kid": kid}, body),
		"another key under our id":    sign(jose.ES256, theirs, map[jose.HeaderKey]any{"kid": kid}, body),
		"a key that it brings along":  sign(jose.ES256, theirs, map[jose.HeaderKey]any{"embed": true, "kid": kid}, body),
		"our key brought along":       sign(jose.ES256, ours, map[jose.HeaderKey]any{"embed": true, "kid": kid}, body),
		"a key elsewhere":             sign(jose.ES256, theirs, map[jose.HeaderKey]any{"kid": "../../etc/passwd", "jku": "https://evil.example/keys"}, body),
		"no key id":                   sign(jose.ES256, ours, nil, body),
		"a critical header":           sign(jose.ES256, ours, map[jose.HeaderKey]any{"kid": kid, "crit": []string{"x"}, "x": 1}, body),
		"another issuer":              with("iss", "https://evil.example"),
		"no issuer":                   without("iss"),
		"another audience":            with("aud", "other"),
		"two audiences":               with("aud", []string{"sealgate", "other"}),
		"no audience":                 without("aud"),
		"no end":                      without("exp"),
		"no beginning":                without("nbf"),
		"no birth":                    without("iat"),
		"no id":                       without("jti"),
		"ended":                       with("exp", time.Now().Add(-time.Hour).Unix()),
		"not begun":                   with("nbf", time.Now().Add(time.Hour).Unix()),
		"from the future":             with("iat", time.Now().Add(time.Hour).Unix()),
		"another holder":              with("sub", "bob"),
		"no fingerprint":              without("fpr"),
		"nobody's fingerprint":        with("fpr", ""),
		"times as text":               with("exp", "tomorrow"),
		"a claim twice":               sign(jose.ES256, ours, map[jose.HeaderKey]any{"kid": kid}, []byte(`{"sub":"alice",`+string(body[1:]))),
		"no JSON":                     sign(jose.ES256, ours, map[jose.HeaderKey]any{"kid": kid}, []byte("alice")),
		"a million dots":              strings.Repeat(".", 1<<20),
		"long":                        good + strings.Repeat("A", maxToken),
		"an encrypted token":          parts[0] + "." + parts[1] + "." + parts[2] + "." + parts[1] + "." + parts[2],
		"JSON serialization":          `{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`,
		"a header with a second kid":  encode(`{"alg":"ES256","kid":"x","kid":"`+kid+`"}`) + "." + parts[1] + "." + parts[2],
		"a signature with more to it": good + "AAAA",
	} {
		t.Run(name, func(t *testing.T) {
			if c, access, err := d.Bearer(token); !errors.Is(err, ErrCredentials) || c.Name != "" || access != nil {
				t.Errorf("it is %+v's for %v: %v", c, access, err)
			}
			if c, err := d.Refresh(token); err == nil {
				t.Errorf("it refreshes as %+v", c)
			}
		})
	}
}

func TestKeysRotateAndTheTokensOfOldOnesLiveOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "token-keys.json")
		open := func() *Directory {
			t.Helper()
			desk, err := OpenDesk(file)
			if err != nil {
				t.Fatal(err)
			}
			users, err := ParseUsers([]byte("alice:" + string(nobody(minCost))))
			if err != nil {
				t.Fatal(err)
			}
			return desk.Directory(users, nil, false)
		}
		d := open()
		first := issueRefresh(t, d, "alice")
		time.Sleep(keyTime + time.Hour)
		token, second := issue(t, d, "alice"), issueRefresh(t, d, "alice")
		if n := len(d.desk.keys.keys); n != 2 {
			t.Errorf("after a month there are %d keys, want 2", n)
		}
		for _, d := range []*Directory{d, open()} { // after a restart as well
			if _, err := d.Refresh(first); err != nil {
				t.Error("the token of the first key:", err)
			}
			if _, err := d.Refresh(second); err != nil {
				t.Error("the token of the second key:", err)
			}
			if _, _, err := d.Bearer(token); err != nil {
				t.Error("the short token of the second key:", err)
			}
		}
		for range 6 {
			time.Sleep(keyTime)
			issue(t, d, "alice")
		}
		if n := len(d.desk.keys.keys); n > int(keyForgets/keyTime)+1 {
			t.Errorf("there are %d keys", n)
		}
	})
}

// Where nothing was signed for months, no key took its place, and the old one is still in the file.
func TestThreat118_AKeyEndsThoughNoOtherFollowedIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		desk := openDesk(t)
		d := desk.Directory(htpasswd(t, "alice", "secret"), nil, false)
		key := desk.keys.newest()
		private, _ := key.private()
		token := func() string {
			now := time.Now().Unix()
			fingerprint, _ := d.fingerprint("alice")
			return signJWT(t, jose.ES256, private, map[jose.HeaderKey]any{"kid": key.Key.KeyID}, map[string]any{
				"iss": issuer, "sub": "alice", "aud": atRegistry, "jti": "x", "iat": now, "nbf": now, "exp": now + 60, "fpr": fingerprint,
			})
		}
		if _, _, err := d.Bearer(token()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(keyForgets + time.Second)
		if c, _, err := d.Bearer(token()); !errors.Is(err, ErrCredentials) {
			t.Errorf("a key that should be forgotten signs for %q", c.Name)
		}
	})
}

func TestAKeyThatCannotBeStoredDoesNotEndTheService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		directory := filepath.Join(t.TempDir(), "storage")
		if err := os.Mkdir(directory, 0o700); err != nil {
			t.Fatal(err)
		}
		desk, err := OpenDesk(filepath.Join(directory, "token-keys.json"))
		if err != nil {
			t.Fatal(err)
		}
		d := desk.Directory(htpasswd(t, "alice", "secret"), nil, false)
		if err := os.RemoveAll(directory); err != nil {
			t.Fatal(err)
		}
		time.Sleep(keyTime + time.Hour)
		if _, _, err := d.Bearer(issue(t, d, "alice")); err != nil {
			t.Error(err)
		}
		time.Sleep(keyGrace)
		if _, err := d.Issue(Holder{Client: policy.Client{Name: "alice"}}, nil); err == nil {
			t.Error("a key signs for ever")
		}
	})
}

func TestKeysThatOthersCanReadAreRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token-keys.json")
	if _, err := OpenDesk(file); err != nil {
		t.Fatal(err)
	}
	stat, err := os.Stat(file)
	if err != nil || stat.Mode().Perm() != 0o600 {
		t.Fatalf("got mode %v, %v", stat.Mode(), err)
	}
	if err := os.Chmod(file, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenDesk(file); err == nil {
		t.Error("a file that a group can read was taken")
	}
	for name, content := range map[string]string{
		"nothing": "", "an empty list": "[]", "half": `[{"created"`, "another key": `[{"created":"2026-01-01T00:00:00Z","key":{"kty":"oct","kid":"x","k":"czNjcmV0"}}]`,
	} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(file, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenDesk(file); err == nil || strings.Contains(err.Error(), "czNj") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func BenchmarkBearer(b *testing.B) {
	d := openDesk(b).Directory(htpasswd(b, "alice", "secret"), nil, false)
	token := issue(b, d, "alice", "repository:a:pull")
	for b.Loop() {
		if _, _, err := d.Bearer(token); err != nil {
			b.Fatal(err)
		}
	}
}
