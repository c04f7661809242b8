package clients

import (
	"fmt"
	"slices"
	"strings"
)

// Access is what a token is for, in the form that registries give it in tokens.
type Access []Grant

// Grant is one resource with what may be done to it.
type Grant struct {
	Type    string   `json:"type"`
	Name    string   `json:"name"`
	Actions []string `json:"actions"`
}

// Types of resources, and the one name of the type registry.
const (
	Repository = "repository"
	Registry   = "registry"
	Catalog    = "catalog"
)

// Bounds of what one token can be for.
const (
	maxGrants    = 32
	maxScopeName = 300 // bytes
)

// known lists the actions of each type that mean something here.
var known = map[string][]string{
	Repository: {"pull", "push", "delete"},
	Registry:   {Everything},
}

// Everything is the action that stands for all.
const Everything = "*"

// ParseScopes reads scopes such as repository:acme/app:pull,push. Names stand for themselves: there are no patterns. What is
// of an unknown type or asks for unknown actions is left out.
func ParseScopes(scopes []string) (Access, error) {
	access := Access{}
	for _, list := range scopes {
		for scope := range strings.FieldsSeq(list) {
			resource, name, actions, ok := cutScope(scope)
			if !ok || len(name) > maxScopeName {
				return nil, fmt.Errorf("a scope is type:name:actions, such as repository:acme/app:pull,push")
			}
			if access.add(resource, name, actions); len(access) > maxGrants {
				return nil, fmt.Errorf("a token is for %d resources at most", maxGrants)
			}
		}
	}
	return access, nil
}

// cutScope cuts at the first and the last colon: a name can hold a host with its port.
func cutScope(scope string) (resource, name, actions string, ok bool) {
	resource, rest, ok := strings.Cut(scope, ":")
	at := strings.LastIndexByte(rest, ':')
	if !ok || at <= 0 {
		return "", "", "", false
	}
	return resource, rest[:at], rest[at+1:], true
}

func (a *Access) add(resource, name, actions string) {
	var given []string
	for action := range strings.SplitSeq(actions, ",") {
		switch {
		case action == Everything:
			given = append(given, known[resource]...)
		case slices.Contains(known[resource], action):
			given = append(given, action)
		}
	}
	if len(given) == 0 {
		return
	}
	at := slices.IndexFunc(*a, func(g Grant) bool { return g.Type == resource && g.Name == name })
	if at < 0 {
		*a = append(*a, Grant{Type: resource, Name: name})
		at = len(*a) - 1
	}
	for _, action := range given {
		if !slices.Contains((*a)[at].Actions, action) {
			(*a)[at].Actions = append((*a)[at].Actions, action)
		}
	}
}

// Covers reports that a token is for an action on a resource.
func (a Access) Covers(resource, name, action string) bool {
	return slices.ContainsFunc(a, func(g Grant) bool {
		return g.Type == resource && g.Name == name && slices.Contains(g.Actions, action)
	})
}
