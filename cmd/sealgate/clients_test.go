package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

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
	for _, variable := range []string{"SEALGATE_CLIENTS_ANONYMOUS=true", "SEALGATE_CLIENTS_HTPASSWD=/tmp/x"} {
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
