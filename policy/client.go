package policy

import (
	"fmt"
	"slices"
	"strings"
)

// Client is who asks, as far as that was proven. The zero value is somebody who did not say.
type Client struct {
	Name   string   // in policies; empty for an anonymous client
	Groups []string // those that the client belongs to

	// Issuer vouches for the client: an issuer of id-tokens by its URL, or of a certificate by its name. Subject is what it
	// calls the client, such as repo:acme/app:ref:refs/heads/main. Both are empty for a client with a password.
	Issuer, Subject string
}

// Anonymous reports that the client did not say who it is.
func (c Client) Anonymous() bool { return c.Name == "" }

func (c Client) String() string {
	if c.Anonymous() {
		return AnyClient
	}
	return c.Name
}

// Right is what a client may do in a repository. Signatures and attestations are pushed and pulled like images.
type Right string

// The rights. Sign is to attach signatures and attestations, and to read the manifests that they are about, whatever the
// policy says of those: what is refused for want of a signature has to be read by who signs it.
const (
	Pull   Right = "pull"
	Push   Right = "push"
	Delete Right = "delete"
	Sign   Right = "sign"
)

var rights = []Right{Pull, Push, Delete, Sign}

// Words in [AllowDocument.Clients] that are no client's name.
const (
	KnownClients = "*"         // every client that said who it is
	AnyClient    = "anonymous" // every client, whether it said who it is or not
)

// Authorize says whether a client has a right in the rule's repositories. It knows nothing of what is in them: whether a
// repository or an image exists does not change the verdict.
func (r *Rule) Authorize(s Subject, c Client, right Right) Verdict {
	if r == nil {
		return verdict([]Reason{noPolicy(s)}, nil)
	}
	if r.Gives(c, right) {
		return verdict(nil, nil)
	}
	who := c.Name
	if c.Anonymous() {
		who = "an anonymous client"
	}
	return verdict([]Reason{{
		Code: Forbidden, Requirement: "allow " + string(right), Subject: s.Digest.String(),
		Why: fmt.Sprintf("%s may not %s here", who, right),
		Fix: "log in as somebody who may, or ask whoever keeps the policies",
	}}, nil)
}

// Gives reports whether a client has a right. A rule without an allow section gives every right to everybody who was let in,
// but for the right to sign, which has to be given, and to somebody with a name.
func (r *Rule) Gives(c Client, right Right) bool {
	switch {
	case r == nil || right == Sign && c.Anonymous():
		return false
	case r.allow == nil:
		return right != Sign
	}
	return slices.ContainsFunc(r.allow, func(a AllowDocument) bool { return a.gives(c, right) })
}

func (a AllowDocument) gives(c Client, right Right) bool {
	if !slices.Contains(a.May, string(right)) {
		return false
	}
	for _, name := range a.Clients {
		if name == AnyClient || !c.Anonymous() && (name == KnownClients || name == c.Name) {
			return true
		}
	}
	return !c.Anonymous() && slices.ContainsFunc(a.Groups, func(group string) bool { return slices.Contains(c.Groups, group) })
}

// maxClientName bounds a client's name, in bytes.
const maxClientName = 128

// CheckClientName says why a client cannot have a name: it stands in messages, logs and policies.
func CheckClientName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("a client needs a name")
	case len(name) > maxClientName:
		return fmt.Errorf("the name is longer than %d bytes", maxClientName)
	case name == AnyClient || name == KnownClients:
		return fmt.Errorf("%q is no client's name: in policies it stands for others", name)
	case strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._@+-") != "":
		return fmt.Errorf("the name %.40q holds more than letters, digits and . _ @ + -", name)
	}
	return nil
}

func compileAllow(allow []AllowDocument, known Known, fault func(path, format string, args ...any)) {
	if allow != nil && len(allow) == 0 {
		fault(".allow", "is an empty list: nobody could do anything; leave it out to let everybody in who may log in")
	}
	for i, a := range allow {
		at := fmt.Sprintf(".allow[%d]", i)
		if len(a.Clients)+len(a.Groups) == 0 {
			fault(at, "names nobody; write clients or groups")
		}
		for j, name := range a.Clients {
			if name == AnyClient || name == KnownClients {
				continue
			}
			if err := CheckClientName(name); err != nil {
				fault(fmt.Sprintf("%s.clients[%d]", at, j), "%w", err)
			}
		}
		for j, group := range a.Groups {
			if !slices.Contains(known.Groups, group) {
				fault(fmt.Sprintf("%s.groups[%d]", at, j), "unknown group %.64q; clients.groups has %s", group, list(known.Groups))
			}
		}
		if len(a.May) == 0 {
			fault(at+".may", "allows nothing; write any of pull, push, delete, sign")
		}
		for j, right := range a.May {
			switch right := Right(right); {
			case !slices.Contains(rights, right):
				fault(fmt.Sprintf("%s.may[%d]", at, j), "%.64q is none of pull, push, delete, sign", right)
			case right == Sign && slices.Contains(a.Clients, AnyClient):
				fault(fmt.Sprintf("%s.may[%d]", at, j), "sign is for clients with a name; give it in an entry without anonymous")
			}
		}
	}
}

func list(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(slices.Sorted(slices.Values(names)), ", ")
}

func cloneAllow(allow []AllowDocument) []AllowDocument {
	all := slices.Clone(allow)
	for i := range all {
		all[i].Clients, all[i].Groups, all[i].May = slices.Clone(all[i].Clients), slices.Clone(all[i].Groups), slices.Clone(all[i].May)
	}
	return all
}
