package clients

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/bcrypt"
)

const here = "192.0.2.1"

func openDesk(t testing.TB) *Desk {
	t.Helper()
	d, err := OpenDesk(filepath.Join(t.TempDir(), "token-keys.json"))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// htpasswd is a file with name, password, name, password.
func htpasswd(t testing.TB, pairs ...string) *Users {
	t.Helper()
	var file strings.Builder
	for i := 0; i+1 < len(pairs); i += 2 {
		hash, err := bcrypt.GenerateFromPassword([]byte(pairs[i+1]), minCost)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&file, "%s:%s\n", pairs[i], hash)
	}
	users, err := ParseUsers([]byte(file.String()))
	if err != nil {
		t.Fatal(err)
	}
	return users
}

func TestWhoLogsInIsKnownByNameAndGroups(t *testing.T) {
	d := openDesk(t).Directory(htpasswd(t, "alice", "secret", "bob", "other"), []Group{{"ci", []string{"alice", "carol"}}, {"dev", []string{"alice"}}}, false)
	for range 2 { // the second time from memory
		c, err := d.Login(t.Context(), here, "alice", "secret")
		if err != nil || c.Name != "alice" || !slices.Equal(c.Groups, []string{"ci", "dev"}) {
			t.Fatalf("got %+v, %v", c, err)
		}
	}
	for _, c := range [][2]string{
		{"alice", "other"}, {"alice", ""}, {"alice", "Secret"}, {"alice", "secret "}, {"Alice", "secret"}, {"", ""}, {"", "secret"},
		{"carol", "secret"}, {"carol", ""}, {"alice\x00", "secret"}, {"alice", strings.Repeat("x", maxPassword+1)},
	} {
		if got, err := d.Login(t.Context(), fmt.Sprint("198.51.100.", len(c[1])%200), c[0], c[1]); !errors.Is(err, ErrCredentials) || !got.Anonymous() {
			t.Errorf("%.20q with %.20q: got %+v, %v", c[0], c[1], got, err)
		}
	}
}

func TestAnEmptyPasswordIsNoPasswordThoughItsHashIsThere(t *testing.T) {
	d := openDesk(t).Directory(htpasswd(t, "alice", ""), nil, false)
	if _, err := d.Login(t.Context(), here, "alice", ""); !errors.Is(err, ErrCredentials) {
		t.Errorf("got %v", err)
	}
}

func TestAFileOfUsersIsRefusedWhenItIsNotWhatItSeems(t *testing.T) {
	const good = "$2y$05$abcdefghijklmnopqrstuuQmWcYr0oT5mXr8mG0Yq1mXr8mG0Yq1m"
	for name, c := range map[string]struct{ file, want string }{
		"nobody":         {"\n# alice:x\n", "names nobody"},
		"no hash":        {"alice", "line 1 is not name:hash"},
		"plain text":     {"alice:secret", "not one of bcrypt"},
		"md5":            {"alice:$apr1$abcdefgh$0123456789012345678901", "not one of bcrypt"},
		"cut":            {"alice:" + good[:59], "not one of bcrypt"},
		"weak":           {"alice:" + strings.Replace(good, "05", "04", 1), "cost 4"},
		"endless":        {"alice:" + strings.Replace(good, "05", "31", 1), "cost 31"},
		"twice":          {"alice:" + good + "\nalice:" + good, "line 2: alice is there already"},
		"anonymous":      {"anonymous:" + good, "no client's name"},
		"everybody":      {"*:" + good, "no client's name"},
		"no name":        {":" + good, "needs a name"},
		"a line's end":   {"al\x1bice:" + good, "holds more than"},
		"a strange name": {"al ice:" + good, "holds more than"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := ParseUsers([]byte(c.file)); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	if u, err := ParseUsers([]byte("# people\r\nalice:" + good + "\r\n\r\nbob.b@acme-1:" + good + "\r\n")); err != nil || len(u.hashes) != 2 {
		t.Errorf("a good file: %v, %v", u, err)
	}
}

func TestNobodysHashIsOne(t *testing.T) {
	for cost := minCost; cost <= maxCost; cost++ {
		if got, err := bcrypt.Cost(nobody(cost)); err != nil || got != cost || len(nobody(cost)) != hashLength {
			t.Errorf("cost %d: got %d, %v, %d bytes", cost, got, err, len(nobody(cost)))
		}
	}
	if err := bcrypt.CompareHashAndPassword(nobody(minCost), []byte("x")); !errors.Is(err, bcrypt.ErrMismatchedHashAndPassword) {
		t.Errorf("got %v: the work was not done", err)
	}
}

func TestThreat123_AttemptsAreLimitedByNameAndByPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := openDesk(t).Directory(htpasswd(t, "alice", "secret", "bob", "secret"), nil, false)
		try := func(address, name, password string) error {
			_, err := d.Login(t.Context(), address, name, password)
			return err
		}
		limited := new(LimitedError)

		for i := range attemptsByName {
			if err := try(fmt.Sprintf("198.51.100.%d", i), "alice", "wrong"); !errors.Is(err, ErrCredentials) {
				t.Fatalf("attempt %d: %v", i, err)
			}
		}
		// From wherever, and though it is the right one now: otherwise the limit would say which one is right.
		if err := try("203.0.113.7", "alice", "secret"); !errors.As(err, &limited) || limited.Wait > nameInterval+time.Second {
			t.Errorf("got %v", err)
		}
		if err := try("203.0.113.7", "bob", "secret"); err != nil {
			t.Errorf("another name: %v", err)
		}
		time.Sleep(limited.Wait)
		if err := try("203.0.113.7", "alice", "secret"); err != nil {
			t.Errorf("after the wait: %v", err)
		}

		// Where she has logged in before, strangers elsewhere do not lock her out.
		for i := range 2 * attemptsByName {
			_ = try(fmt.Sprintf("198.51.100.%d", i), "alice", "wrong")
		}
		time.Sleep(provenTime)
		for i := range 2 * attemptsByName {
			_ = try(fmt.Sprintf("198.51.100.%d", i), "alice", "wrong")
		}
		if err := try("203.0.113.7", "alice", "secret"); err != nil {
			t.Errorf("where she was: %v", err)
		}

		// One place, a new name each time; an IPv6 network is one place, whatever address is chosen in it.
		for _, place := range []string{"203.0.113.99", "2001:db8:1:2::%x"} {
			var err error
			for i := range attemptsByPlace + 1 {
				address := place
				if strings.Contains(place, "%") {
					address = fmt.Sprintf(place, i+1)
				}
				err = try(address, fmt.Sprintf("guess%d", i), "wrong")
			}
			if !errors.As(err, &limited) {
				t.Errorf("%s: got %v", place, err)
			}
		}
		if err := try("2001:db8:1:3::1", "nobody", "wrong"); !errors.Is(err, ErrCredentials) {
			t.Errorf("the network beside it: %v", err)
		}
	})
}

func TestThreat123_WhatIsRememberedOfAttemptsIsBounded(t *testing.T) {
	l := newLimits()
	for i := range 3 * maxRemembered {
		_, _ = l.take(fmt.Sprintf("name%d", i), fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255))
		l.trust(fmt.Sprintf("name%d", i), here)
	}
	for _, n := range []int{l.names.Len(), l.places.Len(), l.trusted.Len()} {
		if n > maxRemembered {
			t.Errorf("%d are remembered, want %d at most", n, maxRemembered)
		}
	}
}

func TestARightPasswordCostsNoAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := openDesk(t).Directory(htpasswd(t, "alice", "secret"), nil, false)
		for i := range 2 * attemptsByPlace {
			time.Sleep(provenTime) // it is hashed each time
			if _, err := d.Login(t.Context(), here, "alice", "secret"); err != nil {
				t.Fatalf("login %d: %v", i, err)
			}
		}
	})
}

func TestManyAtOnceAreNotOneAttempt(t *testing.T) {
	d := openDesk(t).Directory(htpasswd(t, "alice", "secret"), nil, false)
	looked := make(chan bool, 40)
	for range cap(looked) {
		go func() {
			_, err := d.Login(context.Background(), here, "alice", "wrong")
			looked <- errors.Is(err, ErrCredentials)
		}()
	}
	n := 0
	for range cap(looked) {
		if <-looked {
			n++
		}
	}
	if n > attemptsByName {
		t.Errorf("%d passwords were tried, want %d at most", n, attemptsByName)
	}
}

func TestALoginWaitsForACPUNotForEver(t *testing.T) {
	desk := openDesk(t)
	d := desk.Directory(htpasswd(t, "alice", "secret"), nil, false)
	for range cap(desk.checking) {
		desk.checking <- struct{}{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.Login(ctx, here, "alice", "secret"); !errors.Is(err, context.Canceled) {
		t.Errorf("a client that left: %v", err)
	}
	for range cap(desk.waiting) {
		desk.waiting <- struct{}{}
	}
	limited := new(LimitedError)
	for range 2 * attemptsByName { // none of which costs an attempt: no password was looked at
		if _, err := d.Login(t.Context(), here, "alice", "secret"); !errors.As(err, &limited) || limited.Wait > time.Second {
			t.Fatalf("a full queue: %v", err)
		}
	}
}

func TestScopes(t *testing.T) {
	for _, c := range []struct {
		scopes []string
		want   string
	}{
		{nil, "[]"},
		{[]string{"repository:a/b:pull"}, "[{repository a/b [pull]}]"},
		{[]string{"repository:a:pull,push repository:b:pull", "repository:a:push,delete"}, "[{repository a [pull push delete]} {repository b [pull]}]"},
		{[]string{"repository:host:5000/a:*"}, "[{repository host:5000/a [pull push delete]}]"},
		{[]string{"registry:catalog:*"}, "[{registry catalog [*]}]"},
		{[]string{"repository:catalog:pull registry:catalog:*"}, "[{repository catalog [pull]} {registry catalog [*]}]"},
		{[]string{"repository(plugin):a:pull", "repository:a:admin", "repository:a:", "other:x:y"}, "[]"},
	} {
		access, err := ParseScopes(c.scopes)
		if got := fmt.Sprint(access); err != nil || got != c.want {
			t.Errorf("%q: got %s, %v, want %s", c.scopes, got, err, c.want)
		}
	}
	var many []string
	for i := range maxGrants + 1 {
		many = append(many, fmt.Sprintf("repository:a%d:pull", i))
	}
	for name, scopes := range map[string][]string{
		"too many": many, "no actions": {"repository:a"}, "no type": {"x"}, "no name": {"repository::pull"},
		"a long name": {"repository:" + strings.Repeat("a", maxScopeName+1) + ":pull"},
	} {
		if access, err := ParseScopes(scopes); err == nil {
			t.Errorf("%s: got %v", name, access)
		}
	}
}

func TestThreat117_AccessIsToOneRepositoryByItsWholeName(t *testing.T) {
	access, err := ParseScopes([]string{"repository:a:pull", "repository:team/*:pull", "repository:*:pull", "registry:catalog:*"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ resource, name, action string }{
		{Repository, "b", "pull"}, {Repository, "a", "push"}, {Repository, "a/b", "pull"}, {Repository, "team/x", "pull"},
		{Repository, "catalog", "pull"}, {Registry, "a", Everything}, {Repository, "a", Everything},
		{Repository, Catalog, Everything}, {Registry, "a", "pull"},
	} {
		if access.Covers(c.resource, c.name, c.action) {
			t.Errorf("%v covers %v", access, c)
		}
	}
	if !access.Covers(Repository, "a", "pull") || !access.Covers(Registry, Catalog, Everything) {
		t.Errorf("%v covers not what it is for", access)
	}
}

func FuzzScopesNeverGiveWhatTheyDoNotName(f *testing.F) {
	f.Add("repository:a:pull,push repository:b:*")
	f.Add("repository:a:b:c:pull")
	f.Fuzz(func(t *testing.T, scope string) {
		access, err := ParseScopes([]string{scope})
		if err != nil {
			return
		}
		for _, g := range access {
			if !strings.Contains(scope, g.Type+":"+g.Name+":") || len(g.Actions) == 0 {
				t.Errorf("%q gives %v", scope, g)
			}
		}
	})
}

func TestGroupsOfNobodyAreNobodys(t *testing.T) {
	d := openDesk(t).Directory(htpasswd(t, "alice", "secret"), []Group{{"ci", []string{""}}}, true)
	if c := d.client(""); len(c.Groups) > 0 {
		t.Errorf("got %+v", c)
	}
}
