package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"golang.org/x/crypto/bcrypt"
)

// writeUsers writes a file of users: each has its name for a password.
func writeUsers(t testing.TB, file string, names ...string) {
	t.Helper()
	var content strings.Builder
	for _, name := range names {
		hash, err := bcrypt.GenerateFromPassword([]byte(name), 5)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&content, "%s:%s\n", name, hash)
	}
	next := file + ".next"
	writeFile(t, next, content.String())
	if err := os.Rename(next, file); err != nil {
		t.Fatal(err)
	}
}

const withUsers = "clients: {htpasswd: users}\n"

// oneWorkload is a good one with changes: key, value, key, value.
func oneWorkload(changes ...string) string {
	settings := map[string]string{
		"name": "ci", "issuer": "https://token.actions.githubusercontent.com", "audience": "registry.acme.dev",
		"match": `[{claim: repository_id, is: ["123"]}]`,
	}
	for i := 0; i+1 < len(changes); i += 2 {
		settings[changes[i]] = changes[i+1]
	}
	var all []string
	for _, key := range slices.Sorted(maps.Keys(settings)) {
		all = append(all, key+": "+settings[key])
	}
	return "{" + strings.Join(all, ", ") + "}"
}

func workload(changes ...string) string {
	return onePolicy + "clients: {oidc: [" + oneWorkload(changes...) + "]}\n"
}

func TestClientsThatMakeNoSenseAreRefused(t *testing.T) {
	t.Parallel()
	allow := func(what string) string { return strings.TrimSuffix(onePolicy, "\n") + "\n    allow: " + what + "\n" }
	for _, c := range []struct{ name, yaml, want string }{
		{"nobody", onePolicy + "clients: {anonymous: false}\n", ":5: clients: lets nobody in"},
		{"groups of nobody", onePolicy + "clients: {groups: [{name: a, members: [b]}]}\n", ":5: clients.groups: nobody can log in"},
		{"an empty group", onePolicy + "clients: {htpasswd: users, groups: [{name: a, members: []}]}\n", "clients.groups[0].members: names nobody"},
		{"a group twice", onePolicy + "clients: {htpasswd: users, groups: [{name: a, members: [b]}, {name: a, members: [c]}]}\n", "clients.groups[1].name: a is the name in line 5 too"},
		{"a member with a strange name", onePolicy + "clients: {htpasswd: users, groups: [{name: a, members: [\"b c\"]}]}\n", `clients.groups[0].members[0]: the name "b c" holds more`},
		{"a member that is everybody", onePolicy + "clients: {htpasswd: users, groups: [{name: a, members: [anonymous]}]}\n", "is no client's name"},
		{"rights of who cannot log in", allow("[{clients: [alice], may: [pull]}]"), "policies[0].allow[0].clients[0]: nobody can log in"},
		{"rights of whoever logs in, and nobody can", allow(`[{clients: ["*"], may: [pull]}]`), "nobody can log in"},
		{"a workload of any issuer", workload("issuer", `""`), "clients.oidc[0].issuer: is not the URL"},
		{"an issuer in plain text", workload("issuer", "http://gitlab.acme.dev"), "clients.oidc[0].issuer: is not an https URL"},
		{"a token for anybody", workload("audience", `""`), "clients.oidc[0].audience: is missing"},
		{"every job of the world", workload("match", "[]"), "clients.oidc[0].match: is empty"},
		{"jobs of strangers", workload("match", "[{claim: ref, is: [refs/heads/main]}]"), "clients.oidc[0].match: matches jobs of strangers"},
		{"owners by a pattern", workload("match", `[{claim: repository, like: ["acme*/app"]}]`), `clients.oidc[0].match[0].like[0]: "acme*/app" does not say whose`},
		{"the beginning of sub", workload("match", `[{claim: sub, like: ["repo:acme/app:*"]}]`), "clients.oidc[0].match[0].like: sub is made of parts"},
		{"anything", workload("match", `[{claim: repository_id, is: ["1"]}, {claim: ref, like: ["**"]}]`), `clients.oidc[0].match[1].like[0]: "**" is anything`},
		{"nothing asked", workload("match", "[{claim: repository_id}]"), "clients.oidc[0].match[0]: asks for nothing"},
		{"an empty value", workload("match", `[{claim: repository_id, is: [""]}]`), "clients.oidc[0].match[0].is: names an empty value"},
		{"no claim", workload("match", `[{claim: "", is: [x]}]`), "clients.oidc[0].match[0].claim: names no claim"},
		{"an empty step to a claim", workload("match", "[{claim: /a//b, is: [x]}]"), "clients.oidc[0].match[0].claim: names no claim"},
		{"a number for text", workload("match", "[{claim: repository_id, is: [123]}]"), "put it in quotes"},
		{"a session for days", workload("session", "25h"), "clients.oidc[0].session: must be between 0s and 24h"},
		{"keys that are not asked for", workload("jwks_file", "a.json", "ca_file", "b.pem"), "clients.oidc[0].ca_file: means nothing with jwks_file"},
		{"a name for everybody", workload("name", "anonymous"), "clients.oidc[0].name: anonymous stands for others"},
		{"a name twice", strings.TrimSuffix(workload(), "]}\n") + ", " + oneWorkload() + "]}\n", "clients.oidc[1].name: ci is the name in line 5 too"},
		{"an issuer with two sets of keys", strings.TrimSuffix(workload("jwks_file", "a.json"), "]}\n") + ", " + oneWorkload("name", "cd") + "]}\n", "clients.oidc[1]: has the issuer of clients.oidc[0] and other files"},
		{"a password in the file", onePolicy + "clients: {alice: secret}\n", "clients.alice: unknown key"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if _, err := loadText(t, c.yaml); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v\nwant %s\n%s", err, c.want, c.yaml)
			}
		})
	}
}

func TestAnEmptyAllowIsNotEverybody(t *testing.T) {
	t.Parallel()
	file := newStorage(t, strings.TrimSuffix(onePolicy, "\n")+"\n    allow: []\n")
	if _, err := buildFile(file, noEnvironment); err == nil || !strings.Contains(err.Error(), "policies[0].allow: is an empty list") {
		t.Errorf("got %v", err)
	}
}

func TestWhoeverNamesUsersMeansThatTheyLogIn(t *testing.T) {
	t.Parallel()
	for yaml, want := range map[string]bool{
		onePolicy:             true,
		onePolicy + withUsers: false,
		workload():            false,
		onePolicy + "clients: {anonymous: true}\n":                  true,
		onePolicy + "clients: {htpasswd: users, anonymous: true}\n": true,
	} {
		l, err := loadText(t, yaml)
		if err != nil || l.Config.Clients.Anonymous != want {
			t.Errorf("%s: got %v, want %v (%v)", yaml, l.Config.Clients.Anonymous, want, err)
		}
	}
}

func TestAFileOfUsersIsReadByNobodyElse(t *testing.T) {
	t.Parallel()
	file := newStorage(t, onePolicy+withUsers)
	users := filepath.Join(filepath.Dir(file), "users")
	for _, c := range []struct{ name, content, want string }{
		{"absent", "", "clients.htpasswd: " + users + ": no such file"},
		{"plain text", "alice:secret\n", "line 1: the hash of alice is not one of bcrypt"},
	} {
		if c.content != "" {
			writeFile(t, users, c.content)
		}
		if _, err := buildFile(file, noEnvironment); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: got %v", c.name, err)
		}
	}
	writeUsers(t, users, "alice")
	if err := os.Chmod(users, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := buildFile(file, noEnvironment); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("got %v", err)
	}
}

func TestThreat141_ClientsCannotBeSetByTheEnvironment(t *testing.T) {
	t.Parallel()
	for _, variable := range []string{"SEALGATE_CLIENTS_ANONYMOUS=true", "SEALGATE_CLIENTS_HTPASSWD=x"} {
		if _, err := load("", Overrides{}, []string{variable}); err == nil || !strings.Contains(err.Error(), "cannot be set by the environment") {
			t.Errorf("%s: got %v", variable, err)
		}
	}
}

func TestNoKeysOfTokensWithoutClients(t *testing.T) {
	t.Parallel()
	b := newBench(t, newStorage(t, onePolicy))
	keys := filepath.Join(filepath.Dir(b.file), "data", tokenKeysFile)
	if _, err := os.Stat(keys); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("there is a file of keys, or %v", err)
	}
}

// ping is the status of a login.
func (b *bench) ping(name string) int {
	w := httptest.NewRecorder()
	q := httptest.NewRequest("GET", "/v2/", nil)
	q.SetBasicAuth(name, name)
	b.gateway.ServeHTTP(w, q)
	return w.Code
}

func TestThreat119_AChangedFileOfUsersIsTakenWhileWeServe(t *testing.T) {
	t.Parallel()
	file := newStorage(t, onePolicy+withUsers)
	users := filepath.Join(filepath.Dir(file), "users")
	writeUsers(t, users, "alice", "bob")
	b := newBench(t, file)
	desk := b.builder.desk
	b.watch(t)
	if got := b.ping("alice"); got != http.StatusOK {
		t.Fatalf("alice: %d", got)
	}

	writeUsers(t, users, "bob")
	b.next(t, taken)
	if got := b.ping("alice"); got != http.StatusUnauthorized {
		t.Errorf("alice, who was removed: %d", got)
	}
	if got := b.ping("bob"); got != http.StatusOK {
		t.Errorf("bob: %d", got)
	}

	writeFile(t, users, "bob:secret\n")
	b.next(t, notTaken)
	if got := b.ping("bob"); got != http.StatusOK {
		t.Errorf("bob, by the file before: %d", got)
	}

	b.write(t, onePolicy) // and nobody is asked any more
	b.next(t, taken)
	if got := b.ping("mallory"); got != http.StatusOK {
		t.Errorf("without clients: %d", got)
	}
	writeUsers(t, users, "bob")
	b.write(t, onePolicy+withUsers)
	b.next(t, taken)
	if got := b.ping("mallory"); got != http.StatusUnauthorized {
		t.Errorf("with clients again: %d", got)
	}
	if b.builder.desk != desk {
		t.Error("a reload forgot the limits of logins")
	}
}

// keysOfIssuer writes a set with one public key, and returns a token for a job that is signed by it.
func keysOfIssuer(t testing.TB, file, id string) string {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key := jose.JSONWebKey{Key: private, KeyID: id, Algorithm: "ES256", Use: "sig"}
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{key.Public()}})
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, nil)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	content, err := json.Marshal(map[string]any{
		"iss": "https://token.actions.githubusercontent.com", "aud": "registry.acme.dev", "sub": "repo:acme/app", "repository_id": "123",
		"iat": now.Unix(), "exp": now.Add(time.Minute).Unix(),
	})
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign(content)
	if err != nil {
		t.Fatal(err)
	}
	token, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, file+".next", string(set))
	if err := os.Rename(file+".next", file); err != nil {
		t.Fatal(err)
	}
	return token
}

func TestThreat119_AnIssuersNewKeysAreTakenWhileWeServe(t *testing.T) {
	t.Parallel()
	file := newStorage(t, workload("jwks_file", "keys.json"))
	keys := filepath.Join(filepath.Dir(file), "keys.json")
	before := keysOfIssuer(t, keys, "1")
	b := newBench(t, file)
	b.watch(t)
	show := func(token string) int {
		w := httptest.NewRecorder()
		q := httptest.NewRequest("GET", "/v2/", nil)
		q.SetBasicAuth("oauth2", token)
		b.gateway.ServeHTTP(w, q)
		return w.Code
	}
	if got := show(before); got != http.StatusOK {
		t.Fatalf("got %d", got)
	}
	after := keysOfIssuer(t, keys, "1")
	b.next(t, taken)
	if got, old := show(after), show(before); got != http.StatusOK || old != http.StatusUnauthorized {
		t.Errorf("the new key: %d, the old: %d", got, old)
	}
	writeFile(t, keys, "{}")
	b.next(t, notTaken)
	if got := show(after); got != http.StatusOK {
		t.Errorf("after a mistake: %d", got)
	}
}

func TestAWorkloadHasTheNameOfNoUser(t *testing.T) {
	t.Parallel()
	file := newStorage(t, strings.Replace(workload(), "{oidc:", "{htpasswd: users, oidc:", 1))
	writeUsers(t, filepath.Join(filepath.Dir(file), "users"), "ci")
	if _, err := buildFile(file, noEnvironment); err == nil || !strings.Contains(err.Error(), "clients.oidc[0].name: ci is a user in clients.htpasswd too") {
		t.Errorf("got %v", err)
	}
}

func TestAnIssuerKeepsItsKeysOverAReload(t *testing.T) {
	t.Parallel()
	b := newBench(t, newStorage(t, workload()))
	b.watch(t)
	before := b.builder.issuers
	b.write(t, workload("session", "1h"))
	b.next(t, taken)
	for url, issuer := range before {
		if b.builder.issuers[url].Issuer != issuer.Issuer {
			t.Errorf("%s was opened again: it will be asked for its keys again", url)
		}
	}
	if len(before) != 1 {
		t.Errorf("there are %d issuers", len(before))
	}
}
