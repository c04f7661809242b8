package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/sealgate/sealgate/gateway/upstream"
)

// Registry is one registry behind the gateway: embedded, or reached by URL.
type Registry struct {
	// Name is what the log calls it, and what containerd asks for with ?ns=NAME.
	Name string `mapstructure:"name"`

	// Prefix is what its repositories begin with at the gateway: behind the prefix docker.io/ the repository
	// docker.io/library/nginx is library/nginx there. Empty, or ending with a slash.
	Prefix string `mapstructure:"prefix"`

	// Embedded keeps the images in the storage directory, in this process. One registry at most is embedded.
	Embedded bool `mapstructure:"embedded"`

	// URL is scheme://host[:port] of a registry elsewhere.
	URL string `mapstructure:"url"`

	// Credentials for that registry: none, docker-config (what `docker login` left), ecr, gar or acr (what the machine is at
	// Amazon, Google or Azure), caller (those of whoever asks the gateway, by Basic), or a username and a password_file.
	// They go to that URL's host alone. Default none.
	Credentials Credentials `mapstructure:"credentials"`

	// CredentialHelper is the one program that docker-config may run for this registry, by its absolute path, such as
	// /usr/bin/docker-credential-pass, where docker's configuration has the credentials kept by it. It sees the environment
	// without our own variables. Default empty: none is run.
	CredentialHelper string `mapstructure:"credential_helper"`

	// TokenHosts are other hosts, or host:port, that may be sent these credentials by https in exchange for a token, such
	// as gitlab.com for registry.gitlab.com. Docker Hub's is known. Default: none but the registry itself.
	TokenHosts []string `mapstructure:"token_hosts"`

	// CAFile is a PEM file with the certificates that vouch for the registry's own, its token hosts' and its storage's,
	// in the place of the system's. Default empty: those of the system.
	CAFile string `mapstructure:"ca_file"`

	// ClientCertificate is a PEM file with a certificate and its intermediates, to show to the registry itself and to
	// nobody else. A renewed one is taken without a restart. Default empty: none.
	ClientCertificate string `mapstructure:"client_certificate"`

	// ClientKey is a PEM file with its private key. Others must not be able to read it.
	ClientKey string `mapstructure:"client_key"`
}

var (
	// A registry's name may hold a port, because containerd's ?ns= does.
	registryNamePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}(:[0-9]{1,5})?$`)
	prefixPattern       = regexp.MustCompile(`^([a-z0-9]+([._-]+[a-z0-9]+)*/)*$`)
	hostPattern         = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?$`)
)

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

// standingRegistry is a registry with everything that it was opened from.
type standingRegistry struct {
	config      Registry
	password    string
	authorities *x509.CertPool // nil: those of the system
	certificate *tls.Certificate
	registry    *upstream.Registry
}

// readRegistries reads the passwords and certificates of the configured registries. Nothing is opened.
func readRegistries(l *Loaded) ([]standingRegistry, Problems) {
	var all []standingRegistry
	var problems Problems
	for i, config := range l.Config.Registries {
		next := standingRegistry{config: config}
		if config.Credentials.PasswordFile != "" {
			password, err := readPassword(config.Credentials.PasswordFile)
			if err != nil {
				problems = append(problems, l.problem(fmt.Sprintf("registries[%d].credentials.password_file", i), "%v", err))
			}
			next.password = string(password)
		}
		if config.CAFile != "" {
			var err error
			if next.authorities, err = readPool(config.CAFile); err != nil {
				problems = append(problems, l.problem(fmt.Sprintf("registries[%d].ca_file", i), "%v", err))
			}
		}
		var err error
		if next.certificate, err = loadCertificate(TLS{Certificate: config.ClientCertificate, Key: config.ClientKey}); err != nil {
			problems = append(problems, l.problem(fmt.Sprintf("registries[%d].client_certificate", i), "%v", err))
		}
		all = append(all, next)
	}
	return all, problems
}

// openRegistries opens what is not open yet.
func (b *builder) openRegistries(l *Loaded, wanted []standingRegistry, made *built) (*upstream.Registries, Problems) {
	var problems Problems
	var all []*upstream.Registry
	for i, next := range wanted {
		standing, err := b.openRegistry(&l.Config, next)
		if err != nil {
			problems = append(problems, l.problem(fmt.Sprintf("registries[%d]", i), "%v", err))
			continue
		}
		made.registries = append(made.registries, standing)
		all = append(all, standing.registry)
	}
	if len(problems) > 0 {
		return nil, problems
	}
	registries, err := upstream.NewRegistries(all...)
	if err != nil {
		return nil, Problems{l.problem("registries", "%v", err)}
	}
	return registries, nil
}

func (b *builder) openRegistry(c *Config, next standingRegistry) (standingRegistry, error) {
	config := next.config
	for _, before := range b.registries {
		if before.password == next.password && samePool(before.authorities, next.authorities) &&
			reflect.DeepEqual(before.certificate, next.certificate) && reflect.DeepEqual(before.config, config) {
			return before, nil
		}
		if before.config.Embedded && config.Embedded {
			return next, errors.New("the embedded registry's name and prefix change by a restart only")
		}
	}

	var err error
	if config.Embedded {
		next.registry, err = upstream.NewEmbedded(config.Name, config.Prefix, filepath.Join(c.Storage.Directory, "registry"))
		return next, err
	}
	origin, err := url.Parse(config.URL)
	if err != nil {
		return next, errors.New("url is not a URL")
	}
	credentials, err := b.keychain(c, config, origin, next.password)
	if err != nil {
		return next, err
	}
	next.registry, err = upstream.New(upstream.Options{
		Name: config.Name, Prefix: config.Prefix, URL: origin, RootCAs: next.authorities, Certificate: next.certificate,
		Credentials: credentials, ForwardCallers: config.Credentials.word == callersOwn, TokenHosts: config.TokenHosts,
	})
	return next, err
}

func samePool(a, b *x509.CertPool) bool { return a == b || a != nil && b != nil && a.Equal(b) }

// keep makes what was built the state that the next build starts from, and closes the registries that it has no more.
// Requests under way go on with them.
func (b *builder) keep(made *built) error {
	old := b.registries
	b.registries = made.registries
	return closeAll(old, b.registries)
}

// drop closes what was opened for a regime that will not be.
func (b *builder) drop(made *built) { _ = closeAll(made.registries, b.registries) } // nothing was sent yet

// close closes all registries, and the doors of scanners.
func (b *builder) close() error {
	errs := []error{closeAll(b.registries, nil)}
	for _, standing := range b.doors {
		errs = append(errs, standing.server.Close())
	}
	return errors.Join(errs...)
}

func closeAll(registries, except []standingRegistry) error {
	kept := map[*upstream.Registry]bool{}
	for _, r := range except {
		kept[r.registry] = true
	}
	var errs []error
	for _, r := range registries {
		if !kept[r.registry] {
			errs = append(errs, r.registry.Close())
		}
	}
	return errors.Join(errs...)
}

// embeds reports that a registry is the embedded one.
func (c *Config) embeds(registry *upstream.Registry, _ string, found bool) bool {
	return found && slices.ContainsFunc(c.Registries, func(r Registry) bool { return r.Embedded && r.Name == registry.Name() })
}
