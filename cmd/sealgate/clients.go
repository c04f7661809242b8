package main

import (
	"crypto/x509"
	"fmt"
	"path/filepath"

	"github.com/sealgate/sealgate/gateway/clients"
	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/signer/safefile"
)

// Clients says who may ask: people and machines with a name and password, workloads with an id-token of their platform, and
// those that do not say who they are. What each may do is said by allow in the policies.
type Clients struct {
	// Anonymous lets clients in that do not log in. Default true where nobody can log in, and false where somebody can.
	Anonymous bool `mapstructure:"anonymous"`

	// Htpasswd is a file of names and bcrypt hashes, as htpasswd -B makes it. Others must not be able to read it. Who is
	// removed from it, or gets another password, is a stranger with the next request. Default empty: nobody can log in.
	Htpasswd string `mapstructure:"htpasswd"`

	// OIDC lists workloads that show an id-token (OpenID Connect) for a password: jobs of GitHub and GitLab, pods. The first
	// that a token matches is meant.
	OIDC []Workload `mapstructure:"oidc"`

	// Certificates lists clients that show a certificate of the authority in listen.tls.client_ca. The first that one matches
	// is meant.
	Certificates []CertifiedClient `mapstructure:"certificates"`

	// Groups are names for several clients, for allow in the policies.
	Groups []Group `mapstructure:"groups"`
}

// Group is a name for several clients.
type Group struct {
	// Name is what policies call it.
	Name string `mapstructure:"name"`

	// Members are the names of clients.
	Members []string `mapstructure:"members"`
}

// knowSomebody reports whether anybody can log in.
func (c *Clients) knowSomebody() bool { return c.Htpasswd != "" || len(c.OIDC)+len(c.Certificates) > 0 }

func (v *validator) clients(c *Config) {
	known := c.Clients.knowSomebody()
	if !known && !c.Clients.Anonymous {
		v.add("clients", "lets nobody in: name a file in htpasswd, workloads in oidc or clients in certificates, or say anonymous: true")
	}
	if !known && len(c.Clients.Groups) > 0 {
		v.add("clients.groups", "nobody can log in without htpasswd, oidc or certificates, so nobody is in a group")
	}
	v.workloads(c.Clients.OIDC)
	v.certified(c)

	seen := map[string]int{}
	for i, group := range c.Clients.Groups {
		at := fmt.Sprintf("clients.groups[%d]", i)
		v.name(at, group.Name, namePattern, seen, i)
		if len(group.Members) == 0 {
			v.add(at+".members", "names nobody")
		}
		for j, member := range group.Members {
			if err := policy.CheckClientName(member); err != nil {
				v.add(fmt.Sprintf("%s.members[%d]", at, j), "%v", err)
			}
		}
	}
	if known {
		return
	}
	for i, p := range c.Policies {
		for j, a := range p.Allow {
			for k, client := range a.Clients {
				if client != policy.AnyClient {
					v.add(fmt.Sprintf("policies[%d].allow[%d].clients[%d]", i, j, k), "nobody can log in without clients.htpasswd, oidc or certificates; only anonymous clients ask")
				}
			}
		}
	}
}

const (
	maxUsersFile  = 1 << 20 // bytes
	tokenKeysFile = "token-keys.json"
)

// roster is who can log in, as the files say.
type roster struct {
	users     *clients.Users // nil: nobody has a password
	workloads []clients.Workload
	certified []clients.Certified
	issuers   map[string]standingIssuer
}

// readClients reads who can log in, nil when nobody can.
func (b *builder) readClients(l *Loaded) (*roster, Problems) {
	c := &l.Config.Clients
	if !c.knowSomebody() {
		return nil, nil
	}
	r := &roster{issuers: map[string]standingIssuer{}}
	var problems Problems
	if c.Htpasswd != "" {
		var err error
		if r.users, err = readUsers(c.Htpasswd); err != nil {
			problems = append(problems, l.problem("clients.htpasswd", "%s: %v", c.Htpasswd, err))
		}
	}
	for i, w := range c.OIDC {
		at := fmt.Sprintf("clients.oidc[%d]", i)
		if r.users != nil && r.users.Has(w.Name) {
			problems = append(problems, l.problem(at+".name", "%s is a user in clients.htpasswd too; each needs its own name", w.Name))
		}
		issuer, err := b.openIssuer(w, r.issuers)
		if err != nil {
			problems = append(problems, l.problem(at, "%v", err))
			continue
		}
		claims, err := compileClaims(w.Match)
		if err != nil {
			problems = append(problems, l.problem(at+".match", "%v", err))
		}
		r.workloads = append(r.workloads, clients.Workload{Name: w.Name, Issuer: issuer, Audience: w.Audience, Match: claims, Session: w.Session})
	}
	for i, one := range c.Certificates {
		at := fmt.Sprintf("clients.certificates[%d]", i)
		if r.users != nil && r.users.Has(one.Name) {
			problems = append(problems, l.problem(at+".name", "%s is a user in clients.htpasswd too; each needs its own name", one.Name))
		}
		names, err := one.names()
		if err != nil {
			problems = append(problems, l.problem(at, "%v", err))
		}
		r.certified = append(r.certified, clients.Certified{Name: one.Name, Names: names})
	}
	return r, problems
}

func readUsers(file string) (*clients.Users, error) {
	raw, err := safefile.Read(file, maxUsersFile, tooOpen)
	if err != nil {
		return nil, err
	}
	return clients.ParseUsers(raw)
}

// openClients makes the directory of who is known, nil when nobody is asked. The desk behind it stays the same, with its
// keys and limits, whatever the configuration becomes.
func (b *builder) openClients(l *Loaded, r *roster, vouching *x509.CertPool) (*clients.Directory, Problems) {
	if r == nil || b.alone {
		return nil, nil
	}
	if b.desk == nil {
		desk, err := clients.OpenDesk(filepath.Join(l.Config.Storage.Directory, tokenKeysFile))
		if err != nil {
			return nil, Problems{l.problem("storage.directory", "%v", err)}
		}
		b.desk = desk
	}
	b.issuers = r.issuers
	var groups []clients.Group
	for _, group := range l.Config.Clients.Groups {
		groups = append(groups, clients.Group(group))
	}
	directory := b.desk.Directory(r.users, groups, l.Config.Clients.Anonymous).WithWorkloads(r.workloads)
	if vouching != nil {
		directory = directory.WithCertificates(vouching, r.certified)
	}
	return directory, nil
}
