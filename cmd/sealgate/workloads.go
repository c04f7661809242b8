package main

import (
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sealgate/sealgate/gateway/clients"
	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/signer/safefile"
)

// Workload is a client that shows an id-token.
type Workload struct {
	// Name is what policies and groups call it. No user has the same.
	Name string `mapstructure:"name"`

	// Issuer is the URL of who gives the token, exactly as the token says it, such as
	// https://token.actions.githubusercontent.com.
	Issuer string `mapstructure:"issuer"`

	// Audience is whom the token must be for, and for nobody else: choose the name of this gateway.
	Audience string `mapstructure:"audience"`

	// Match lists claims of the token, all of which must be as it says. Choose those that nobody else can have, such as
	// repository_id; for GitHub and GitLab one of them must say whose job it is.
	Match []Claim `mapstructure:"match"`

	// Session is how long what a client got for its token can be renewed after the token ended, up to 24h: for builds that
	// take longer than the token. Default 0s: nothing outlives the token.
	Session time.Duration `mapstructure:"session"`

	// JWKSFile is a file with the issuer's public keys, as a JSON Web Key Set. Default empty: they are asked of the issuer.
	JWKSFile string `mapstructure:"jwks_file"`

	// CAFile is a PEM file with the certificates that vouch for the issuer's own. Default empty: those of the system.
	CAFile string `mapstructure:"ca_file"`
}

// Claim is something that an id-token must say.
type Claim struct {
	// Claim is its name, or a JSON pointer to it, such as /kubernetes.io/serviceaccount/name.
	Claim string `mapstructure:"claim"`

	// Is lists what it can be, exactly.
	Is []string `mapstructure:"is"`

	// Like lists patterns for the whole of it: * is a part of one path component, ** one or more whole components. Not for
	// sub, whose beginning others can have.
	Like []string `mapstructure:"like"`
}

func (v *validator) workloads(workloads []Workload) {
	seen, byIssuer := map[string]int{}, map[string]int{}
	for i, w := range workloads {
		at := fmt.Sprintf("clients.oidc[%d]", i)
		v.name(at, w.Name, namePattern, seen, i)
		if w.Name == policy.AnyClient {
			v.add(at+".name", "%s stands for others in policies; choose another name", w.Name)
		}
		if err := clients.CheckIssuer(w.Issuer); err != nil {
			v.add(at+".issuer", "%v", err)
		}
		if w.Audience == "" {
			v.add(at+".audience", "is missing: a token for anybody would be good here; choose the name of this gateway")
		}
		if w.Session < 0 || w.Session > clients.MaxSession {
			v.add(at+".session", "must be between 0s and %s", clients.MaxSession)
		}
		if w.JWKSFile != "" && w.CAFile != "" {
			v.add(at+".ca_file", "means nothing with jwks_file: the issuer is not asked; leave one of them out")
		}
		if first, ok := byIssuer[w.Issuer]; !ok {
			byIssuer[w.Issuer] = i
		} else if workloads[first].JWKSFile != w.JWKSFile || workloads[first].CAFile != w.CAFile {
			v.add(at, "has the issuer of clients.oidc[%d] and other files; an issuer has one set of keys", first)
		}
		v.claims(at+".match", w)
	}
}

// owners are the claims of issuers that work for everybody of which one says whose a token is. Without it a stranger's job
// would match.
var owners = map[string][]string{
	"https://token.actions.githubusercontent.com": {"repository_id", "repository_owner_id", "repository", "repository_owner", "job_workflow_ref", "workflow_ref", "sub", "enterprise_id"},
	"https://gitlab.com":                          {"project_id", "namespace_id", "project_path", "namespace_path", "ci_config_ref_uri", "sub", "user_id"},
	"https://accounts.google.com":                 {"sub", "email", "hd"},
}

func (v *validator) claims(at string, w Workload) {
	if len(w.Match) == 0 {
		v.add(at, "is empty: every token of the issuer for this audience would do; name claims such as repository_id")
		return
	}
	owned := false
	for i, c := range w.Match {
		here := fmt.Sprintf("%s[%d]", at, i)
		owned = owned || slices.Contains(owners[w.Issuer], c.Claim)
		switch {
		case c.Claim == "" || strings.HasPrefix(c.Claim, "/") && strings.Contains(c.Claim+"/", "//"):
			v.add(here+".claim", "names no claim; write it like repository_id, or /kubernetes.io/serviceaccount/name")
		case len(c.Is)+len(c.Like) == 0:
			v.add(here, "asks for nothing; write is or like")
		case len(c.Like) > 0 && (c.Claim == "sub" || c.Claim == "/sub"):
			v.add(here+".like", "sub is made of parts that others choose; write is, or match a claim of its own")
		}
		if slices.Contains(c.Is, "") {
			v.add(here+".is", "names an empty value")
		}
		for j, pattern := range c.Like {
			place := fmt.Sprintf("%s.like[%d]", here, j)
			if _, err := policy.CompilePattern(pattern); err != nil {
				v.add(place, "%v", err)
			} else if strings.Trim(pattern, "*/") == "" {
				v.add(place, "%q is anything", pattern)
			} else if owner, _, _ := strings.Cut(pattern, "/"); strings.Contains(owner, "*") && slices.Contains(owners[w.Issuer], c.Claim) {
				v.add(place, "%q does not say whose: others can have a name that %s stands for", pattern, owner)
			}
		}
	}
	if owners[w.Issuer] != nil && !owned {
		v.add(at, "matches jobs of strangers: %s works for everybody; name one of %s", w.Issuer, strings.Join(owners[w.Issuer], ", "))
	}
}

const maxIssuerFile = 1 << 20 // bytes of an issuer's keys, or of certificates

// standingIssuer is an issuer with what it was made of. It outlives a configuration, and so do the keys that it was asked for.
type standingIssuer struct {
	*clients.Issuer
	from [sha256.Size]byte
}

// openIssuer makes an issuer, or takes the one that was made of the same before. Nothing is asked of it yet.
func (b *builder) openIssuer(w Workload, opened map[string]standingIssuer) (*clients.Issuer, error) {
	var keys, roots []byte
	var err error
	if w.JWKSFile != "" {
		if keys, err = safefile.Read(w.JWKSFile, maxIssuerFile, 0); err != nil {
			return nil, fmt.Errorf("jwks_file %s: %w", w.JWKSFile, err)
		}
	}
	if w.CAFile != "" {
		if roots, err = safefile.Read(w.CAFile, maxIssuerFile, 0); err != nil {
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
