package gateway_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sealgate/sealgate/gateway/clients"
	"github.com/sealgate/sealgate/policy"
	"golang.org/x/crypto/bcrypt"
)

// guarded is a rig that knows clients: each name with its password.
type guarded struct {
	*rig
	desk      *clients.Desk
	passwords map[string]string
	anonymous bool
}

func newGuarded(t testing.TB, anonymous bool, passwords map[string]string, groups []clients.Group, docs ...policy.Document) *guarded {
	t.Helper()
	desk, err := clients.OpenDesk(filepath.Join(t.TempDir(), "token-keys.json"))
	if err != nil {
		t.Fatal(err)
	}
	g := &guarded{rig: newRig(t), desk: desk, passwords: passwords, anonymous: anonymous}
	g.policies, g.groups = docs, groups
	g.know(passwords)
	return g
}

// know puts a directory of these users in force.
func (g *guarded) know(passwords map[string]string) {
	g.t.Helper()
	var file strings.Builder
	for name, password := range passwords {
		hash, err := bcrypt.GenerateFromPassword([]byte(password), 5)
		if err != nil {
			g.t.Fatal(err)
		}
		fmt.Fprintf(&file, "%s:%s\n", name, hash)
	}
	users, err := clients.ParseUsers([]byte(file.String()))
	if err != nil {
		g.t.Fatal(err)
	}
	g.clients = g.desk.Directory(users, g.groups, g.anonymous)
	g.enforce(g.key)
}

func (r *rig) groupNames() []string {
	var names []string
	for _, group := range r.groups {
		names = append(names, group.Name)
	}
	return names
}

func basic(name, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(name+":"+password))
}

// as is an Authorization header of a known client, by password.
func (g *guarded) as(name string) []string {
	if name == "" {
		return nil
	}
	return []string{"Authorization", basic(name, g.passwords[name])}
}

var people = map[string]string{"alice": "alice-s3cret", "bob": "bob-s3cret"}

// public is a policy without demands on images, so that a test sees rights alone.
func public(name, pattern string, allow ...policy.AllowDocument) policy.Document {
	return policy.Document{
		Name: name, Repositories: []string{pattern}, Allow: allow,
		Pull: &policy.PullDocument{AdmitUnverified: true}, Push: &policy.PushDocument{AcceptUnsealed: true},
	}
}

func allow(who string, may ...string) policy.AllowDocument {
	return policy.AllowDocument{Clients: []string{who}, May: may}
}

// tokens is what the token endpoint gave.
type tokens struct {
	Token        string `json:"token"`
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token"`
	ExpiresIn    int    `json:"expires_in"`
}

func (g *guarded) tokens(a answer) tokens {
	g.t.Helper()
	var got tokens
	if err := json.Unmarshal(a.body, &got); err != nil || got.Token == "" || got.Token != got.AccessToken {
		g.t.Fatalf("no token: %d %s %v", a.status, a.body, err)
	}
	return got
}

// token is an Authorization header with a token for scopes.
func (g *guarded) token(name string, scopes ...string) []string {
	g.t.Helper()
	query := url.Values{"service": {"sealgate"}, "scope": scopes}
	a := g.want(http.StatusOK, "GET", "/token?"+query.Encode(), nil, g.as(name)...)
	return []string{"Authorization", "Bearer " + g.tokens(a).Token}
}

func (g *guarded) post(form url.Values) answer {
	g.t.Helper()
	return g.send("POST", "/token", []byte(form.Encode()), "Content-Type", "application/x-www-form-urlencoded")
}
