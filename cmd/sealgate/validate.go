package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sealgate/sealgate/gateway/upstream/keychain"
	"github.com/sealgate/sealgate/signer"
	"github.com/sealgate/sealgate/signer/kms"
	"github.com/sealgate/sealgate/verifier"
)

// names are printed to people and written to logs; a registry's may hold a port, because containerd's ?ns= does.
var (
	namePattern         = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)
	registryNamePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}(:[0-9]{1,5})?$`)
	prefixPattern       = regexp.MustCompile(`^([a-z0-9]+([._-]+[a-z0-9]+)*/)*$`)
	hostPattern         = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?$`)
	fingerprintPattern  = regexp.MustCompile(`^[0-9a-f]{64}$`)
	variablePattern     = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,127}$`)
)

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

func (v *validator) listeners(c *Config) {
	v.address("listen.address", c.Listen.Address)
	v.address("admin.address", c.Admin.Address)
	if _, port, _ := net.SplitHostPort(c.Listen.Address); c.Listen.Address == c.Admin.Address && port != "0" {
		v.add("admin.address", "is listen.address too; health and metrics need an address of their own")
	}
	if c.Listen.ExternalURL != "" {
		v.origin("listen.external_url", c.Listen.ExternalURL)
	}
	v.tls("listen.tls", c.Listen.TLS, c.Listen.ACME != nil)
	v.tls("admin.tls", c.Admin.TLS, false)
	if c.Listen.ACME != nil {
		v.acme(c)
	}
	for i, text := range c.Listen.TrustedProxies {
		if _, err := parsePrefix(text); err != nil {
			v.add(fmt.Sprintf("listen.trusted_proxies[%d]", i), "is neither an address like 10.0.0.7 nor a network like 10.0.0.0/24, and not all of them")
		}
	}
	asks := c.Admin.TokenFile != "" || c.Admin.TLS.ClientCA != ""
	if !asks && !isLoopbackAddress(c.Admin.Address) && !c.Admin.UnauthenticatedUnsafe {
		v.add("admin.address", "is reached from other machines, and everybody there would see the metrics: set admin.token_file or admin.tls.client_ca, or say unauthenticated_unsafe: true")
	}
	if asks && c.Admin.UnauthenticatedUnsafe {
		v.add("admin.unauthenticated_unsafe", "contradicts token_file and client_ca; leave it out")
	}
	if c.Storage.Directory == "" {
		v.add("storage.directory", "is empty; name a directory")
	}
}

// acme holds what is asked of an authority against what it could give.
func (v *validator) acme(c *Config) {
	const at = "listen.acme"
	a := c.Listen.ACME
	if c.Listen.TLS.Certificate != "" || c.Listen.TLS.Key != "" {
		v.add(at, "contradicts the certificate in listen.tls; leave one of them out")
	}
	if len(a.Domains) == 0 {
		v.add(at+".domains", "names no domain to get a certificate for")
	}
	for i, name := range a.Domains {
		if !domainName.MatchString(name) || len(name) > 253 {
			v.add(fmt.Sprintf("%s.domains[%d]", at, i), "%.80q is no domain in lower case, like registry.acme.dev; an authority proves no address and no pattern", name)
		}
		if slices.Index(a.Domains, name) < i {
			v.add(fmt.Sprintf("%s.domains[%d]", at, i), "names %q twice", name)
		}
	}
	if !a.AcceptTerms {
		v.add(at+".accept_terms", "is not true: read the authority's terms of service, and say that you accept them")
	}
	if a.Email != "" && (strings.Count(a.Email, "@") != 1 || strings.ContainsAny(a.Email, " ,;<>")) {
		v.add(at+".email", "is no address, like ops@acme.dev")
	}
	if u, err := url.Parse(a.Directory); a.Directory != "" && (err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil) {
		v.add(at+".directory", "is not an https URL")
	}
}

// domainName is a name in DNS with two labels or more, as RFC 1123 writes it.
var domainName = regexp.MustCompile(`^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?$`)

// tls wants a certificate with its key. issued says that it comes from elsewhere.
func (v *validator) tls(path string, t TLS, issued bool) {
	if (t.Certificate == "") != (t.Key == "") {
		v.add(path, "has one file; set certificate and key, or neither")
	}
	if t.ClientCA != "" && t.Certificate == "" && !issued {
		v.add(path+".client_ca", "means nothing without certificate and key: clients show certificates over TLS")
	}
}

// parsePrefix reads an address or a network. The network of all addresses is none: then anybody could say where he asks from.
func parsePrefix(text string) (netip.Prefix, error) {
	if address, err := netip.ParseAddr(text); err == nil && address.Zone() == "" {
		return netip.PrefixFrom(address.Unmap(), address.Unmap().BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(text)
	if err == nil && (prefix.Bits() == 0 || prefix != prefix.Masked() || prefix.Addr().Is4In6()) {
		err = errors.New("not a network")
	}
	return prefix, err
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

func (v *validator) registries(c *Config) {
	if len(c.Registries) == 0 {
		v.add("registries", "is an empty list; leave it out for the embedded registry")
	}
	names, prefixes, embedded := map[string]int{}, map[string]int{}, -1
	for i, r := range c.Registries {
		at := fmt.Sprintf("registries[%d]", i)
		v.name(at, r.Name, registryNamePattern, names, i)
		if !prefixPattern.MatchString(r.Prefix) {
			v.add(at+".prefix", "is not empty and not path components in lower case that end with a slash, like docker.io/")
		}
		if first, ok := prefixes[r.Prefix]; ok {
			v.add(at+".prefix", "is also that of registries[%d]; each needs its own", first)
		}
		prefixes[r.Prefix] = i

		if r.Embedded && embedded >= 0 {
			v.add(at+".embedded", "registries[%d] is embedded already; there is one storage directory", embedded)
		}
		if r.Embedded {
			embedded = i
		}
		v.registry(at, r)
	}
}

func (v *validator) registry(at string, r Registry) {
	switch {
	case r.Embedded && r.URL != "":
		v.add(at+".url", "contradicts embedded; leave one of them out")
	case !r.Embedded && r.URL == "":
		v.add(at, "has neither url nor embedded: true; say where it is")
	case !r.Embedded:
		v.origin(at+".url", r.URL)
	}

	for i, host := range r.TokenHosts {
		if !hostPattern.MatchString(host) {
			v.add(fmt.Sprintf("%s.token_hosts[%d]", at, i), "is not a host or host:port in lower case")
		}
	}
	if r.Embedded && len(r.TokenHosts) > 0 {
		v.add(at+".token_hosts", "the embedded registry needs none; leave it out")
	}

	v.upstreamTLS(at, r)
	v.cloud(at, r)
	c := r.Credentials
	switch {
	case c.word == "" && (c.Username == "" || c.PasswordFile == ""):
		v.add(at+".credentials", "needs both username and password_file")
	case r.Embedded && c.word != noCredentials:
		v.add(at+".credentials", "the embedded registry needs none; leave it out")
	case c.word != noCredentials && strings.HasPrefix(r.URL, "http://") && !isLoopback(r.URL):
		v.add(at+".credentials", "would travel in plain text; use an https URL")
	}
}

// forwarded refuses to forward what clients show where it is for us.
func (v *validator) forwarded(c *Config) {
	for i, r := range c.Registries {
		if r.Credentials.word == callersOwn && c.Clients.knowSomebody() {
			v.add(fmt.Sprintf("registries[%d].credentials", i), "caller forwards the credentials that clients show, and with clients they are for the gateway itself; leave one of the two out")
		}
	}
}

// cloud wants a cloud's credentials to go to that cloud's registries, by their whole host.
func (v *validator) cloud(at string, r Registry) {
	u, err := url.Parse(r.URL)
	if err != nil {
		return // which was said
	}
	host := u.Host
	switch kind := r.Credentials.word; {
	case kind == amazon && keychain.ECRRegion(host) == "":
		v.add(at+".credentials", "ecr is for registries like https://123456789012.dkr.ecr.eu-central-1.amazonaws.com")
	case kind == google && !keychain.IsGoogle(host):
		v.add(at+".credentials", "gar is for registries like https://europe-docker.pkg.dev")
	case kind == azure && !keychain.IsAzure(host):
		v.add(at+".credentials", "acr is for registries like https://acmeprod.azurecr.io")
	}
	switch {
	case r.CredentialHelper == "":
	case r.Credentials.word != dockerConfig:
		v.add(at+".credential_helper", "is for credentials: docker-config alone")
	case !filepath.IsAbs(r.CredentialHelper) || !strings.HasPrefix(filepath.Base(r.CredentialHelper), "docker-credential-"):
		v.add(at+".credential_helper", "is not an absolute path like /usr/bin/docker-credential-pass")
	}
}

// upstreamTLS wants files of TLS only where there is TLS, and a certificate with its key.
func (v *validator) upstreamTLS(at string, r Registry) {
	for _, file := range []struct{ key, path string }{{"ca_file", r.CAFile}, {"client_certificate", r.ClientCertificate}, {"client_key", r.ClientKey}} {
		if file.path != "" && (r.Embedded || strings.HasPrefix(r.URL, "http://")) {
			v.add(at+"."+file.key, "means nothing without TLS; use an https URL, or leave it out")
		}
	}
	if (r.ClientCertificate == "") != (r.ClientKey == "") {
		v.add(at, "has one of client_certificate and client_key; set both, or neither")
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

func (v *validator) trustRoots(c *Config) {
	seen := map[string]int{}
	for i, r := range c.TrustRoots {
		at := fmt.Sprintf("trust_roots[%d]", i)
		v.name(at, r.Name, namePattern, seen, i)
		builtIn := r.Name == publicGood
		switch {
		case builtIn && (r.File != "" || r.Instance != nil):
			v.add(at, "public-good is built in; give another root another name")
		case !builtIn && (r.File == "") == (r.Instance == nil):
			v.add(at, "has neither file nor instance, or both; say where the root is")
		case r.Instance != nil && r.TUF != nil:
			v.add(at+".tuf", "an instance is not renewed; name its trusted_root.json in file")
		case r.Instance != nil && len(r.Instance.Fulcio) == 0:
			v.add(at+".instance", "has no fulcio; without certificates nothing is signed")
		}
		if r.MaxAge < 0 {
			v.add(at+".max_age", "is negative")
		}
		if r.TUF != nil {
			v.tuf(at+".tuf", *r.TUF, builtIn)
		}
	}
}

func (v *validator) tuf(at string, t TUF, builtIn bool) {
	u, err := url.Parse(t.URL)
	switch {
	case !builtIn && (t.URL == "" || t.Root == ""):
		v.add(at, "has no url, or no root: only those of public-good are built in")
	case t.Refresh < 0 || t.Refresh > 0 && t.Refresh < time.Minute:
		v.add(at+".refresh", "is less than a minute; 0s is never")
	case t.URL == "":
	case err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Scheme != "https" && !(u.Scheme == "http" && isLoopback(t.URL)):
		v.add(at+".url", "is not an https URL like https://tuf.acme.example")
	case strings.HasSuffix(t.URL, "/"):
		v.add(at+".url", "ends with a slash; leave it out")
	}
}

func (v *validator) authorities(c *Config) {
	if len(c.Authorities) == 0 {
		v.add("authorities", "is an empty list; leave it out for the gateway alone")
	}
	seen := map[string]int{}
	for i, a := range c.Authorities {
		at := fmt.Sprintf("authorities[%d]", i)
		v.name(at, a.Name, namePattern, seen, i)
		kinds := 0
		for _, set := range []bool{a.Signer != "", a.Key != PublicKey{}, a.Keyless != nil, a.GitHub != nil, a.Certificate != nil} {
			if set {
				kinds++
			}
		}
		switch {
		case kinds > 1:
			v.add(at, "has more than one of signer, key, keyless, github and certificate; they contradict each other")
		case kinds == 0:
			v.add(at, "has neither signer nor key, keyless, github or certificate; say how its signatures are checked")
		case a.Signer != "" && !c.hasSigner(a.Signer):
			v.add(at+".signer", "unknown signer %.64q; signers has %s", a.Signer, c.signerNames())
		case a.Key != PublicKey{}:
			v.publicKey(at+".key", a.Key)
			v.remoteKey(at+".key", a.Key)
		case a.Keyless != nil:
			if a.Keyless.Issuer == "" {
				v.add(at+".keyless", "has no issuer; name who vouches for the identity, like https://token.actions.githubusercontent.com")
			}
			v.subject(at+".keyless", a.Keyless.Subject, a.Keyless.SubjectRegexp)
		case a.GitHub != nil:
			if _, err := a.GitHub.authority().Identity(); err != nil {
				v.add(at+".github", "%v", err)
			}
		case a.Certificate != nil:
			if a.Certificate.Roots == "" {
				v.add(at+".certificate", "has no roots; name a file with the root certificates")
			}
			v.subject(at+".certificate", a.Certificate.Subject, a.Certificate.SubjectRegexp)
		}
	}
}

func (v *validator) publicKey(at string, k PublicKey) {
	from, _ := k.ValidFrom.time()
	until, _ := k.ValidUntil.time()
	switch {
	case k.File == "" && k.KMS == "":
		v.add(at, "has neither file nor kms; name the public key's")
	case !from.IsZero() && !until.IsZero() && !from.Before(until):
		v.add(at+".valid_until", "is not after valid_from")
	case k.TrustedRoot != "" && !k.bounded():
		v.add(at+".trusted_root", "means nothing without valid_from, valid_until or logged; leave it out")
	}
}

func (v *validator) remoteKey(at string, k PublicKey) {
	if k.KMS != "" {
		if err := kms.CheckReference(k.KMS); err != nil {
			v.add(at+".kms", "%v", err)
		}
	}
	if k.Fingerprint != "" && !fingerprintPattern.MatchString(k.Fingerprint) {
		v.add(at+".fingerprint", "is not a SHA-256 in hexadecimal, 64 digits in lower case")
	}
}

// bounded reports whether somebody trusted must say something of a signature.
func (k PublicKey) bounded() bool { return k.ValidFrom != "" || k.ValidUntil != "" || k.Logged }

func (v *validator) subject(at, subject, pattern string) {
	switch {
	case subject == "" && pattern == "":
		v.add(at, "has neither subject nor subject_regexp; say whom the certificate must be for")
	case subject != "" && pattern != "":
		v.add(at+".subject_regexp", "contradicts subject; leave one of them out")
	case pattern != "":
		if err := verifier.CheckSubjectPattern(pattern); err != nil {
			v.add(at+".subject_regexp", "%v", err)
		}
	}
}

func (c *Config) hasSigner(name string) bool {
	for _, s := range c.Signers {
		if s.Name == name {
			return true
		}
	}
	return false
}

func (c *Config) signerNames() string {
	var names []string
	for _, s := range c.Signers {
		names = append(names, s.Name)
	}
	return strings.Join(names, ", ")
}

func (v *validator) signers(c *Config) {
	if len(c.Signers) == 0 {
		v.add("signers", "is an empty list; leave it out for the generated key")
	}
	seen := map[string]int{}
	for i, s := range c.Signers {
		at := fmt.Sprintf("signers[%d]", i)
		v.name(at, s.Name, namePattern, seen, i)
		v.signer(at, s)
		if len(s.Formats) == 0 {
			v.add(at+".formats", "is an empty list; write auto, or any of bundle and tag")
		}
		if _, err := signer.ParseFormats(s.Formats); err != nil {
			v.add(at+".formats", "%v", err)
		}
	}
}

func (v *validator) signer(at string, s Signer) {
	kinds := 0
	for _, set := range []bool{s.Key != PrivateKey{}, s.KMS != "", s.PKCS11 != nil, s.Keyless != nil} {
		if set {
			kinds++
		}
	}
	if kinds > 1 {
		v.add(at, "has more than one of key, kms, pkcs11 and keyless; they contradict each other")
	}
	v.secretVariable(at+".key.password_env", s.Key.PasswordEnv, s.Key.PasswordFile, "password")
	if s.KMS != "" {
		if err := kms.CheckReference(s.KMS); err != nil {
			v.add(at+".kms", "%v", err)
		}
	}
	if s.Public != "" && s.KMS == "" {
		v.add(at+".public", "means nothing without kms; leave it out")
	}
	if t := s.PKCS11; t != nil {
		for _, one := range []struct{ key, value string }{{"module", t.Module}, {"token", t.Token}, {"label", t.Label}} {
			if one.value == "" {
				v.add(at+".pkcs11", "has no %s", one.key)
			}
		}
		if t.PINEnv == "" && t.PINFile == "" {
			v.add(at+".pkcs11", "has neither pin_env nor pin_file; say where the PIN is")
		}
		v.secretVariable(at+".pkcs11.pin_env", t.PINEnv, t.PINFile, "PIN")
	}
	if s.Keyless != nil {
		v.keylessSigner(at, *s.Keyless, s.Formats)
	}
}

// secretVariable checks the name of a variable that holds a secret, beside that of a file which could.
func (v *validator) secretVariable(at, name, file, what string) {
	if name != "" && file != "" {
		v.add(at, "contradicts %s; leave one of them out", strings.TrimSuffix(at[strings.LastIndex(at, ".")+1:], "_env")+"_file")
	}
	if name != "" && !variablePattern.MatchString(name) {
		v.add(at, "is not the name of a variable; write the name, never the %s itself", what)
	}
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
	}
}

// keyPath is where a signer's key is, and whether that is the key that the gateway generates for itself. A key that is in no
// file is nowhere.
func (c *Config) keyPath(s Signer) (path string, generated bool) {
	if s.KMS != "" || s.PKCS11 != nil || s.Keyless != nil {
		return "", false
	}
	standard := filepath.Join(c.Storage.Directory, defaultKeyFile)
	if s.Key.File == "" {
		return standard, true
	}
	return s.Key.File, s.Key.File == standard
}
