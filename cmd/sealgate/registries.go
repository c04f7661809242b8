package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"reflect"
	"slices"

	"github.com/sealgate/sealgate/gateway/upstream"
)

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

// readPool reads certificates in PEM. A file without any is an error: nobody would mean the system's by it.
func readPool(path string) (*x509.CertPool, error) {
	pem, err := readBounded(path, maxTLSFile, 0)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New("holds no certificate in PEM")
	}
	return pool, nil
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
