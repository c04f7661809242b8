package main

import (
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sealgate/sealgate/policy"
)

// names are printed to people and written to logs.
var namePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// validate says what is wrong with the content of a configuration. It opens no file; see [builder] for what is in them.
// Policies are compiled where the keys behind their names are known.
func (l *Loaded) validate() Problems {
	v := &validator{places: l.places}
	c := &l.Config
	v.listeners(c)
	v.clients(c)
	v.registries(c)
	v.trustRoots(c)
	v.forwarded(c)
	v.authorities(c)
	v.signers(c)
	v.scanners(c)
	v.verification(c.Verification)
	v.policies(c)
	return v.problems
}

type validator struct {
	places
	problems Problems
}

func (v *validator) add(path, format string, args ...any) {
	v.problems = append(v.problems, v.problem(path, format, args...))
}

func (v *validator) address(path, address string) {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		v.add(path, "is not host:port; write it like 127.0.0.1:5000, or :5000 for all interfaces")
		return
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		v.add(path, "has a port that is no number up to 65535")
	}
}

// origin wants scheme://host[:port] and nothing else. The value is not repeated: it may hold a password.
func (v *validator) origin(path, value string) {
	u, err := url.Parse(value)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		v.add(path, "is not a URL like https://registry.acme.dev")
	case u.User != nil:
		v.add(path, "holds a user or password; registries have credentials for that")
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		v.add(path, "has more than scheme, host and port; leave the rest out")
	}
}

func isLoopback(rawURL string) bool {
	u, err := url.Parse(rawURL)
	if err != nil {
		return false
	}
	return u.Hostname() == "localhost" || net.ParseIP(u.Hostname()).IsLoopback()
}

func (v *validator) name(at, name string, pattern *regexp.Regexp, seen map[string]int, i int) {
	if !pattern.MatchString(name) {
		v.add(at+".name", "needs a name of 1 to 64 letters, digits, . _ and -, beginning with a letter or digit")
		return
	}
	if first, ok := seen[name]; ok {
		v.add(at+".name", "%s is the name in line %d too; each needs its own", name, v.line(fmt.Sprintf("%s[%d].name", at[:strings.Index(at, "[")], first)))
		return
	}
	seen[name] = i
}

// howMany counts the settings that are set.
func howMany(set ...bool) (n int) {
	for _, one := range set {
		if one {
			n++
		}
	}
	return n
}

func (v *validator) verification(c Verification) {
	if c.CacheTTL < time.Second || c.CacheTTL > time.Hour {
		v.add("verification.cache_ttl", "must be between 1s and 1h")
	}
	if c.OutageTTL < 0 || c.OutageTTL > 7*24*time.Hour {
		v.add("verification.outage_ttl", "must be between 0s, which decides nothing in an outage, and 168h")
	}
	if c.CacheEntries < 1 || c.CacheEntries > 10_000_000 {
		v.add("verification.cache_entries", "must be between 1 and 10000000")
	}
}

func (v *validator) policies(c *Config) {
	if len(c.Policies) == 0 {
		v.add("policies", "is missing, so everything would be denied; write at least one, config.example.yaml shows how")
	}
	for i, p := range c.Policies {
		if p.Name != "" && !namePattern.MatchString(p.Name) {
			v.add(fmt.Sprintf("policies[%d].name", i), "must be 1 to 64 letters, digits, . _ and -, beginning with a letter or digit")
		}
		if p.Pull != nil && p.Pull.SignedBy != nil && p.Pull.SignedBy.MaxAge > 0 {
			v.ageless(fmt.Sprintf("policies[%d].pull.signed_by.max_age", i), c, p.Pull.SignedBy)
		}
	}
}

// ageless finds authorities whose signatures have no time that the rule believes, so that none of them could ever count.
func (v *validator) ageless(at string, c *Config, by *policy.SignedBy) {
	for _, a := range c.Authorities {
		if !slices.Contains(slices.Concat(by.Any, by.All, by.Of), a.Name) {
			continue
		}
		switch signer, err := c.signer(a.Signer); {
		case a.Signer != "" && err == nil && signer.Keyless == nil:
			v.add(at, "%s signs with a key alone, and what it signs has no time; demand an attestation of it that has one, such as vsa with max_age and trust_statement_time", a.Name)
		case a.Key != PublicKey{} && !a.Key.bounded() && !by.TrustStatementTime:
			v.add(at, "nobody vouches for when %s signed; give its key valid_from, valid_until or logged, or set trust_statement_time", a.Name)
		case a.Certificate != nil && a.Certificate.TrustedRoot == "" && !by.TrustStatementTime:
			v.add(at, "nobody vouches for when %s signed; give its certificate a trusted_root, or set trust_statement_time", a.Name)
		}
	}
}
