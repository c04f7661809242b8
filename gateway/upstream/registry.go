// Package upstream is the gateway's own registry client, with the gateway's own credentials, or with those of who asks where
// a registry is configured so ([WithCaller]): what the verifier reads from and what the signer writes to, and the way that
// bytes of clients take.
//
// A [Registry] is one registry behind the gateway: one by URL, or the embedded one, which is distribution v3 called as a
// function in this process and reachable by nobody else. [Registry.Do] is the data path, which streams; the other methods
// are client operations, bounded, that hash what they read. [Registries] routes repository names to registries by prefix.
//
// Nothing that a registry sends is trusted. Four rules hold everywhere:
//
//   - A credential goes to the origin it was configured for and nowhere else: not to a redirect's target, not to an
//     upload's location, not to a token realm on another host that is not allowed by name.
//   - Not found is an answer; everything else that is no success is an error. An outage never reads as absence.
//   - What is asked for by digest is that digest, or [ErrDigest].
//   - Nothing allocates what a peer declared; bounds.go has the limits.
package upstream

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"

	"github.com/google/go-containerregistry/pkg/authn"
)

// Options describe a registry by URL.
type Options struct {
	// Name is the registry's configured name, such as docker.io. Clients may choose by it.
	Name string

	// Prefix is what the gateway puts in front of the registry's repository names: empty, or ending in a slash.
	Prefix string

	// URL is the registry's origin: http or https, a host, no path of its own.
	URL *url.URL

	// Credentials knows the gateway's own credentials for this registry. nil: anonymous.
	Credentials authn.Keychain

	// ForwardCallers asks the registry with the credentials of whoever asks the gateway, which [WithCaller] puts into a
	// request's context. It excludes Credentials.
	ForwardCallers bool

	// TokenHosts are the hosts, or host:port, besides the registry's own origin that may be asked for a token, by https
	// alone. They see the credentials. Docker Hub's token host is known.
	TokenHosts []string

	// RootCAs verify the certificates of the registry, of its token hosts and of its storage. nil: those of the system.
	RootCAs *x509.CertPool

	// Certificate is shown to the registry itself when it asks for one, and to nobody else. nil: none.
	Certificate *tls.Certificate
}

// Registry is one registry behind the gateway. It is safe for concurrent use. Its settings never change; what it learns
// about the registry on the way (how to authenticate, whether there is a referrers API) only saves requests.
type Registry struct {
	name, prefix string
	origin       *url.URL

	reads, writes http.RoundTripper // to the registry
	blobs         http.RoundTripper // to the registry, for reading blobs over plain HTTP; nil: reads
	storage       http.RoundTripper // to where the registry's blobs are redirected
	reach         *atomic.Int32     // the most public kind of address that the registry was dialled at

	credentials *credentials // nil for the embedded registry
	breaker     *breaker     // nil for the embedded registry
	retries     *retries
	referrers   referrersMemory
	locks       locks
	directory   string // of the embedded registry, else empty
	close       func() error
}

// dockerHub answers at a host that is neither its name in configuration files nor its token host.
const (
	dockerHub       = "registry-1.docker.io"
	dockerHubName   = "index.docker.io"
	dockerHubTokens = "auth.docker.io"
)

// New returns a registry by URL. It sends nothing. The caller closes it.
func New(o Options) (*Registry, error) {
	if err := checkNames(o.Name, o.Prefix); err != nil {
		return nil, err
	}
	origin, err := originOf(o.URL)
	if err != nil {
		return nil, fmt.Errorf("registry %s: %w", o.Name, err)
	}

	known, tokenHosts := KeychainName(origin), o.TokenHosts
	if origin.Host == dockerHub {
		tokenHosts = append([]string{dockerHubTokens}, tokenHosts...)
	}
	t := newTransports(origin, o.RootCAs, o.Certificate)
	r := &Registry{
		name: o.Name, prefix: o.Prefix, origin: origin,
		reads: t.reads, writes: t.writes, storage: t.storage, reach: t.reach,
		close: t.close, breaker: new(breaker), retries: newRetries(),
	}
	if origin.Scheme == "http" {
		r.blobs = t.blobs
	}
	if o.ForwardCallers && o.Credentials != nil {
		return nil, fmt.Errorf("registry %s: callers' credentials and the gateway's own exclude each other", o.Name)
	}
	r.credentials = newCredentials(o.Credentials, known, origin, tokenHosts, t.reads, t.tokens)
	if o.ForwardCallers {
		r.credentials.callers = o.Name
	}
	return r, nil
}

// KeychainName is what a keychain is asked for: the host, and for Docker Hub the name that `docker login` keeps it under.
func KeychainName(origin *url.URL) string {
	if host := strings.ToLower(origin.Host); host != dockerHub {
		return host
	}
	return dockerHubName
}

// Name is the registry's configured name.
func (r *Registry) Name() string { return r.name }

// Prefix is what stands in front of the registry's repository names at the gateway.
func (r *Registry) Prefix() string { return r.prefix }

// Health is how a registry does.
type Health struct {
	Resting bool   // it failed, and is left alone for a moment
	Refused uint64 // requests that were not sent because of that
	Retries uint64 // requests that were sent once more
}

// Health says how the registry does. The embedded registry is always well.
func (r *Registry) Health() Health {
	if r.breaker == nil {
		return Health{}
	}
	resting, refused := r.breaker.state()
	return Health{Resting: resting, Refused: refused, Retries: r.retries.count()}
}

// Close ends idle connections; requests under way go on. The embedded registry waits for its requests under way, at most
// ten seconds, and ends its housekeeping.
func (r *Registry) Close() error { return r.close() }

func checkNames(name, prefix string) error {
	if name == "" {
		return errors.New("a registry needs a name")
	}
	if prefix != "" && (!strings.HasSuffix(prefix, "/") || checkRepository(strings.TrimSuffix(prefix, "/")) != nil) {
		return fmt.Errorf("registry %s: prefix %q must be empty or a repository path that ends in a slash", name, prefix)
	}
	return nil
}

// originOf accepts a URL that is an origin and nothing more.
func originOf(u *url.URL) (*url.URL, error) {
	switch {
	case u == nil:
		return nil, errors.New("no URL")
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, fmt.Errorf("URL %s: must be https or http", u.Redacted())
	case u.Hostname() == "" || u.Opaque != "":
		return nil, fmt.Errorf("URL %s: names no host", u.Redacted())
	case u.User != nil:
		return nil, fmt.Errorf("URL %s: credentials do not belong in the URL", u.Redacted())
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("URL %s: a registry has no path, query or fragment of its own; a path in front of repository names is theirs", u.Redacted())
	}
	return &url.URL{Scheme: u.Scheme, Host: strings.ToLower(u.Host)}, nil
}

// sameOrigin compares scheme, host and port, the port of the scheme when none is written.
func sameOrigin(a, b *url.URL) bool { return a.Scheme == b.Scheme && hostPort(a) == hostPort(b) }

func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	host := strings.ToLower(u.Hostname())
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return host + ":" + port
}

// checkRepository holds a repository's name to the characters that no URL reads in a second way. Names come from parsed
// requests; this is the second line.
func checkRepository(repo string) error {
	if repo == "" || len(repo) > maxRepository || strings.Trim(repo, "/") != repo ||
		strings.Contains(repo, "..") || strings.Contains(repo, "//") || strings.ContainsFunc(repo, notInName) {
		return fmt.Errorf("%.300q is not the name of a repository", repo)
	}
	return nil
}

func notInName(c rune) bool {
	return (c < 'a' || c > 'z') && (c < '0' || c > '9') && !strings.ContainsRune("._-/", c)
}
