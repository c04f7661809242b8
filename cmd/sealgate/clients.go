package main

import (
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/sealgate/sealgate/gateway/clients"
	"github.com/sealgate/sealgate/policy"
)

const (
	maxUsersFile  = 1 << 20 // bytes
	maxIssuerFile = 1 << 20 // bytes of an issuer's keys, or of certificates
	tokenKeysFile = "token-keys.json"
)

// roster is who can log in, as the files say.
type roster struct {
	users     *clients.Users // nil: nobody has a password
	workloads []clients.Workload
	certified []clients.Certified
	issuers   map[string]standingIssuer
}

// standingIssuer is an issuer with what it was made of. It outlives a configuration, and so do the keys that it was asked for.
type standingIssuer struct {
	*clients.Issuer
	from [sha256.Size]byte
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

func (c CertifiedClient) names() ([]clients.NameLike, error) {
	var names []clients.NameLike
	for _, form := range []struct {
		texts   []string
		compile func(string) (clients.NameLike, error)
	}{{c.DNS, clients.DNSLike}, {c.URI, clients.URILike}} {
		for _, text := range form.texts {
			name, err := form.compile(text)
			if err != nil {
				return nil, err
			}
			names = append(names, name)
		}
	}
	return names, nil
}

func readUsers(file string) (*clients.Users, error) {
	raw, err := readBounded(file, maxUsersFile, tooOpen)
	if err != nil {
		return nil, err
	}
	return clients.ParseUsers(raw)
}

// openIssuer makes an issuer, or takes the one that was made of the same before. Nothing is asked of it yet.
func (b *builder) openIssuer(w Workload, opened map[string]standingIssuer) (*clients.Issuer, error) {
	var keys, roots []byte
	var err error
	if w.JWKSFile != "" {
		if keys, err = readBounded(w.JWKSFile, maxIssuerFile, 0); err != nil {
			return nil, fmt.Errorf("jwks_file %s: %w", w.JWKSFile, err)
		}
	}
	if w.CAFile != "" {
		if roots, err = readBounded(w.CAFile, maxIssuerFile, 0); err != nil {
			return nil, fmt.Errorf("ca_file %s: %w", w.CAFile, err)
		}
	}
	from := sha256.Sum256(fmt.Appendf(nil, "%d %s%d %s", len(keys), keys, len(roots), roots))
	for _, standing := range []standingIssuer{opened[w.Issuer], b.issuers[w.Issuer]} {
		if standing.Issuer != nil && standing.from == from {
			opened[w.Issuer] = standing
			return standing.Issuer, nil
		}
	}

	var issuer *clients.Issuer
	if keys != nil {
		if issuer, err = clients.NewStaticIssuer(w.Issuer, keys); err != nil {
			return nil, fmt.Errorf("jwks_file %s: %w", w.JWKSFile, err)
		}
	} else {
		var pool *x509.CertPool
		if roots != nil {
			if pool, err = certPool(roots); err != nil {
				return nil, fmt.Errorf("ca_file %s: %w", w.CAFile, err)
			}
		}
		if issuer, err = clients.NewIssuer(w.Issuer, pool); err != nil {
			return nil, err
		}
	}
	opened[w.Issuer] = standingIssuer{issuer, from}
	return issuer, nil
}

func certPool(pem []byte) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New("holds no certificate in PEM")
	}
	return pool, nil
}

func compileClaims(match []Claim) ([]clients.Claim, error) {
	var claims []clients.Claim
	for _, c := range match {
		claim := clients.Claim{Pointer: c.Claim, Is: c.Is, Text: c.Like}
		for _, like := range c.Like {
			pattern, err := policy.CompilePattern(like)
			if err != nil {
				return nil, err
			}
			claim.Like = append(claim.Like, pattern)
		}
		claims = append(claims, claim)
	}
	return claims, nil
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
