package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sealgate/sealgate/gateway/clients"
	"github.com/sealgate/sealgate/policy"
)

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

func (v *validator) certified(c *Config) {
	list := c.Clients.Certificates
	if len(list) > 0 && c.Listen.TLS.ClientCA == "" {
		v.add("clients.certificates", "nobody vouches for them: name the authority's certificates in listen.tls.client_ca")
	}
	if len(list) == 0 && c.Listen.TLS.ClientCA != "" {
		v.add("listen.tls.client_ca", "asks for certificates that are nobody's: name clients in clients.certificates")
	}
	seen := map[string]int{}
	for i, one := range list {
		at := fmt.Sprintf("clients.certificates[%d]", i)
		v.name(at, one.Name, namePattern, seen, i)
		if one.Name == policy.AnyClient {
			v.add(at+".name", "%s stands for others in policies; choose another name", one.Name)
		}
		if slices.ContainsFunc(c.Clients.OIDC, func(w Workload) bool { return w.Name == one.Name }) {
			v.add(at+".name", "%s is a workload in clients.oidc too; each needs its own name", one.Name)
		}
		if len(one.DNS)+len(one.URI) == 0 {
			v.add(at, "has neither dns nor uri: every certificate of the authority would do")
		}
		for j, text := range one.DNS {
			if _, err := clients.DNSLike(text); err != nil {
				v.add(fmt.Sprintf("%s.dns[%d]", at, j), "%v", err)
			} else if strings.Trim(text, "*.") == "" {
				v.add(fmt.Sprintf("%s.dns[%d]", at, j), "%q is any name", text)
			}
		}
		for j, text := range one.URI {
			if _, err := clients.URILike(text); err != nil {
				v.add(fmt.Sprintf("%s.uri[%d]", at, j), "%v", err)
			}
		}
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
