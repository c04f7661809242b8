package policy

import (
	"slices"
	"strings"
	"testing"
)

func TestOnlyWhoWasGivenARightHasIt(t *testing.T) {
	k := known()
	k.Groups = []string{"ci", "dev"}
	doc := full()
	doc.Allow = []AllowDocument{
		{Clients: []string{"anonymous"}, May: []string{"pull"}},
		{Clients: []string{"alice"}, Groups: []string{"ci"}, May: []string{"push"}},
		{Clients: []string{"root"}, May: []string{"push", "delete"}},
	}
	known := named("known", "known/**")
	known.Allow = []AllowDocument{{Clients: []string{"*"}, May: []string{"pull"}}}
	p, err := Compile([]Document{doc, known, named("open", "open/**")}, k)
	if err != nil {
		t.Fatal(err)
	}
	all := []Right{Pull, Push, Delete}
	for _, c := range []struct {
		name, repo string
		client     Client
		want       []Right
	}{
		{"anonymous", "prod/app", Client{}, []Right{Pull}},
		{"somebody who logged in has what anonymous has", "prod/app", Client{Name: "bob"}, []Right{Pull}},
		{"a name", "prod/app", Client{Name: "alice"}, []Right{Pull, Push}},
		{"a name in another case", "prod/app", Client{Name: "Alice"}, []Right{Pull}},
		{"the beginning of a name", "prod/app", Client{Name: "alic"}, []Right{Pull}},
		{"a group", "prod/app", Client{Name: "robot", Groups: []string{"x", "ci"}}, []Right{Pull, Push}},
		{"another group", "prod/app", Client{Name: "robot", Groups: []string{"dev"}}, []Right{Pull}},
		{"a client that is called like a group", "prod/app", Client{Name: "ci"}, []Right{Pull}},
		{"an anonymous client in a group", "prod/app", Client{Groups: []string{"ci"}}, []Right{Pull}},
		{"delete", "prod/app", Client{Name: "root"}, all},
		{"anonymous where one must log in", "known/app", Client{}, nil},
		{"whoever logged in", "known/app", Client{Name: "bob"}, []Right{Pull}},
		{"no allow section", "open/app", Client{}, all},
		{"no policy", "elsewhere", Client{Name: "root"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := Subject{Repo: c.repo}
			var got []Right
			for _, right := range all {
				v := p.Rule(c.repo).Authorize(s, c.client, right)
				if v.Admitted() {
					got = append(got, right)
				} else if code := v.Reasons()[0].Code; code != Forbidden && code != NoPolicy {
					t.Errorf("%s: the code is %s", right, code)
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
	if p.Rule("prod/app").Authorize(Subject{}, Client{Name: "root"}, "everything").Admitted() {
		t.Error("an unknown right is given")
	}
}

func TestAllowIsRefusedWhenItSaysNothing(t *testing.T) {
	k := known()
	k.Groups = []string{"ci"}
	for _, c := range []struct {
		name  string
		allow []AllowDocument
		want  string
	}{
		{"an empty list", []AllowDocument{}, "[0].allow: is an empty list"},
		{"nobody", []AllowDocument{{May: []string{"pull"}}}, "[0].allow[0]: names nobody"},
		{"nothing", []AllowDocument{{Clients: []string{"a"}}}, "[0].allow[0].may: allows nothing"},
		{"an unknown right", []AllowDocument{{Clients: []string{"a"}, May: []string{"Pull"}}}, `[0].allow[0].may[0]: "Pull" is none of`},
		{"an unknown group", []AllowDocument{{Groups: []string{"cl"}, May: []string{"pull"}}}, `[0].allow[0].groups[0]: unknown group "cl"; clients.groups has ci`},
		{"a pattern", []AllowDocument{{Clients: []string{"ci-*"}, May: []string{"pull"}}}, `[0].allow[0].clients[0]: the name "ci-*" holds more`},
		{"no name", []AllowDocument{{Clients: []string{""}, May: []string{"pull"}}}, "[0].allow[0].clients[0]: a client needs a name"},
	} {
		t.Run(c.name, func(t *testing.T) {
			doc := full()
			doc.Allow = c.allow
			_, err := Compile([]Document{doc}, k)
			if err == nil {
				t.Fatal("it compiled")
			}
			if got := faults(t, err); len(got) != 1 || !strings.HasPrefix(got[0], c.want) {
				t.Errorf("got %q, want one that begins with %q", got, c.want)
			}
		})
	}
}

func TestARuleKeepsNothingThatItsAuthorCanChange(t *testing.T) {
	doc := full()
	doc.Allow = []AllowDocument{{Clients: []string{"alice"}, May: []string{"pull"}}}
	p := mustCompile(t, doc)
	doc.Allow[0].Clients[0], doc.Allow[0].May[0] = "mallory", "push"
	for _, right := range []Right{Pull, Push} {
		if p.Rule("prod/app").Authorize(Subject{}, Client{Name: "mallory"}, right).Admitted() {
			t.Errorf("mallory may %s", right)
		}
	}
}
