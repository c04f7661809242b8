package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sealgate/sealgate/gateway/clients"
	"github.com/sealgate/sealgate/policy"
)

// CertifiedClient is a client that shows a certificate, by its alternative names. A common name is not looked at.
type CertifiedClient struct {
	// Name is what policies and groups call it. No user or workload has the same.
	Name string `mapstructure:"name"`

	// DNS lists patterns for DNS names, such as *.nodes.acme.dev: a star is a part of one label.
	DNS []string `mapstructure:"dns"`

	// URI lists patterns for the one URI, such as spiffe://acme.dev/ns/*/sa/node: * is a part of one path component, ** one or
	// more whole components.
	URI []string `mapstructure:"uri"`
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
