package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/sealgate/sealgate/gateway"
	"github.com/sealgate/sealgate/gateway/ledger"
	"github.com/sealgate/sealgate/verifier"
	"github.com/sealgate/sealgate/verifier/inspect"
	"github.com/sealgate/sealgate/verifier/scan"
	"golang.org/x/net/http2"
)

const (
	readHeaderTimeout = 10 * time.Second
	idleTimeout       = 120 * time.Second
	adminTimeout      = 30 * time.Second // for a whole exchange; the public listener streams blobs and has none
	maxHeaderBytes    = 64 << 10
	drainTimeout      = 30 * time.Second // for requests under way when we stop
	layerMemory       = 64 << 20         // bytes of what is remembered of layers' content

	maxStreams   = 100             // of one connection of HTTP/2 at a time: docker and containerd open a handful
	maxFrame     = 256 << 10       // bytes, of HTTP/2
	pingAfter    = 2 * time.Minute // without a frame; whoever does not answer in pingTimeout is gone
	pingTimeout  = 15 * time.Second
	writeTimeout = time.Minute // in which a connection of HTTP/2 must take some bytes
)

// service is a running gateway with its two listeners. Everything that it has open is closed by [service.stop].
type service struct {
	Gateway *gateway.Gateway
	URL     string // of the public listener, as seen from this machine
	Admin   string // of the admin listener

	log      *slog.Logger
	reloader *reloader
	public   *http.Server
	admin    *http.Server
	draining atomic.Bool
	failed   chan error // a listener that ended by itself
	closers  []func() error
}

// startService opens the storage, generates the gateway's key where there is none, and listens. reload loads the
// configuration again, openKey opens a key file as [signer.LoadKeyFile] does. When it fails, nothing stays open.
func startService(loaded *Loaded, reload func() (*Loaded, error), openKey keyOpener, log *slog.Logger) (*service, error) {
	s := &service{log: log, failed: make(chan error, 2)}
	if err := s.start(loaded, reload, openKey); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *service) start(loaded *Loaded, reload func() (*Loaded, error), openKey keyOpener) error {
	c := &loaded.Config
	unlock, err := lockStorage(c.Storage.Directory)
	if err != nil {
		return err
	}
	s.closers = append(s.closers, unlock)
	if err := generateKeys(c, s.log); err != nil {
		return err
	}
	metrics := newMetrics(thisBuild())
	memory, err := ledger.Open(ledgerDirectory(c), ledger.Options{Log: s.log, Metrics: metrics})
	if err != nil {
		return err
	}
	s.closers = append(s.closers, memory.Close)

	s.Gateway = gateway.New(gateway.Options{
		Ledger: memory, Log: s.log, Metrics: metrics,
		ExternalURL: c.Listen.ExternalURL, AllowDelete: c.Delete.Allowed, NotBefore: notBefore(), TrustedProxies: c.Listen.proxies(),
	})
	layers := inspect.NewLayers(layerMemory)
	workplace, err := scan.OpenWorkplace(c.scanDirectory())
	if err != nil {
		return err
	}
	queue := scan.NewQueue(scan.QueueOptions{Log: s.log, Metrics: metrics})
	s.reloader = &reloader{
		load: reload, enforce: s.Gateway.Enforce,
		builder:  &builder{getenv: os.Getenv, openKey: openKey, layers: layers, ledger: memory, queue: queue, workplace: workplace},
		renewals: newRenewals(s.log, metrics),
		log:      s.log, metrics: newConfigMetrics(metrics), debounce: reloadDebounce, poll: reloadPoll,
	}
	made, err := s.reloader.start(loaded)
	if err != nil {
		return err
	}
	s.closers = append(s.closers, s.reloader.builder.close, layers.Close, queue.Close)
	debug.FreeOSMemory() // decrypting a key takes scrypt a hundred megabytes that nobody needs again
	return s.listen(c, made, metrics)
}

// notBefore is the day of what is built in: a clock that shows an earlier one is wrong.
func notBefore() time.Time {
	day, err := time.Parse(time.DateOnly, verifier.PublicGoodDate)
	if err != nil {
		panic("the date of the built-in root is a date: " + err.Error())
	}
	return day
}

// ledgerDirectory is where the ledger is.
func ledgerDirectory(c *Config) string { return filepath.Join(c.Storage.Directory, "ledger") }

// generateKeys makes the key that no start had before.
func generateKeys(c *Config, log *slog.Logger) error {
	for _, signer := range c.Signers {
		generated, err := c.generateKey(signer, os.Getenv)
		if err != nil {
			return err
		}
		if generated {
			file, _ := c.keyPath(signer)
			log.Info("generated a signing key; keep a copy of it and of its password, what it signed is worth nothing without it",
				"signer", signer.Name, "key", file, "password_from", c.passwordPlace(signer, os.Getenv))
		}
	}
	return nil
}

// errStorageInUse says that another process has the lock.
var errStorageInUse = errors.New("is in use by another sealgate")

// lockStorage makes this process the only one that uses a storage directory. The lock ends with unlock, or with the process.
func lockStorage(directory string) (unlock func() error, err error) {
	if err := os.MkdirAll(directory, 0o700); err != nil {
		return nil, fmt.Errorf("open storage: %w", err)
	}
	file, err := os.OpenFile(filepath.Join(directory, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open storage: %w", err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("storage directory %s %w", directory, errStorageInUse), file.Close())
	}
	return file.Close, nil
}

// listen opens both listeners and serves.
func (s *service) listen(c *Config, made *built, metrics *prometheus.Registry) error {
	quiet := slog.NewLogLogger(s.log.Handler(), slog.LevelDebug) // handshakes that strangers break off
	s.public = &http.Server{
		Handler:           s.refuseWhileDraining(s.Gateway),
		ReadHeaderTimeout: readHeaderTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes, ErrorLog: quiet,
	}
	s.public.HTTP2 = &http.HTTP2Config{
		MaxConcurrentStreams: maxStreams, MaxReadFrameSize: maxFrame, MaxDecoderHeaderTableSize: 4 << 10,
		MaxReceiveBufferPerConnection: 1 << 20, MaxReceiveBufferPerStream: 1 << 20,
		SendPingTimeout: pingAfter, PingTimeout: pingTimeout, WriteByteTimeout: writeTimeout,
	}
	s.admin = &http.Server{
		Handler:           s.adminHandler(metrics),
		ReadHeaderTimeout: readHeaderTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes, ErrorLog: quiet,
		ReadTimeout: adminTimeout, WriteTimeout: adminTimeout,
	}

	authority, err := openACMEIssuer(c)
	if err != nil {
		return err
	}
	listener := net.ListenConfig{Control: hangUpOnTheDeaf}
	public, err := listener.Listen(context.Background(), "tcp", c.Listen.Address)
	if err != nil {
		return fmt.Errorf("listen.address: %w", err)
	}
	s.closers = append(s.closers, s.public.Close)
	admin, err := net.Listen("tcp", c.Admin.Address)
	if err != nil {
		return fmt.Errorf("admin.address: %w", errors.Join(err, public.Close()))
	}
	s.closers = append(s.closers, s.admin.Close)

	s.URL = s.open(s.public, public, made.Public, &s.reloader.public, authority)
	s.Admin = s.open(s.admin, admin, made.Admin, &s.reloader.admin, nil)
	s.log.Info("serving", "at", s.URL, "admin", s.Admin, "storage", c.Storage.Directory,
		"policies", policyNames(c), "policy_version", made.Policy.Version(), "authorities", made.Authorities, "trust_roots", made.Roots.days(), "registries", registryNames(c))
	if authority != nil {
		go authority.prepare(s.log)
	}
	if made.Public.certificate == nil && authority == nil && !isLoopbackAddress(public.Addr().String()) {
		s.log.Warn("clients on other machines reach this listener in plain text; set listen.tls, or put a proxy with TLS before it")
	}
	if made.Admin.certificate == nil && made.Admin.hasToken && !isLoopbackAddress(admin.Addr().String()) {
		s.log.Warn("the token of the admin listener travels in plain text; set admin.tls")
	}
	warnOfAudit(s.log, made.Audited)
	made.logWarnings(s.log)
	return nil
}

// open serves at a listener behind its door, and returns the listener's URL.
func (s *service) open(server *http.Server, at net.Listener, first *door, behind *atomic.Pointer[door], authority *acmeIssuer) string {
	if first.certificate == nil && authority == nil {
		go s.run(func() error { return server.Serve(at) })
		return "http://" + reachable(at.Addr())
	}
	secure(server, authority.serverTLS(behind))
	go s.run(func() error { return server.ServeTLS(at, "", "") })
	return "https://" + reachable(at.Addr())
}

// secure lets a server speak TLS, and HTTP/2 in it. Not that of net/http: what is wrong with this one is mended by raising a
// version in go.mod, whatever Go builds the program.
func secure(server *http.Server, c *tls.Config) {
	server.TLSConfig = c
	//lint:ignore SA1019 its successor is net/http's own, which comes with Go
	if err := http2.ConfigureServer(server, nil); err != nil {
		panic("sealgate: no cipher suites were chosen: " + err.Error())
	}
}

func (s *service) run(serve func() error) {
	if err := serve(); !errors.Is(err, http.ErrServerClosed) {
		s.failed <- err
	}
}

// reachable is an address that this machine reaches a listener by.
func reachable(address net.Addr) string {
	host, port, _ := net.SplitHostPort(address.String())
	if net.ParseIP(host).IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

func registryNames(c *Config) []string {
	var names []string
	for _, r := range c.Registries {
		names = append(names, r.Name)
	}
	return names
}

// refuseWhileDraining answers what comes over open connections after we began to stop.
func (s *service) refuseWhileDraining(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.draining.Load() {
			next.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Connection", "close")
		w.Header().Set("Retry-After", "5")
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = w.Write([]byte(`{"errors":[{"code":"UNAVAILABLE","message":"the gateway is stopping; try again"}]}`))
	})
}

func (s *service) adminHandler(metrics *prometheus.Registry) http.Handler {
	mux := http.NewServeMux()
	say := func(w http.ResponseWriter, status int, what string) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(status)
		_, _ = w.Write([]byte(what + "\n"))
	}
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { say(w, http.StatusOK, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if s.draining.Load() {
			say(w, http.StatusServiceUnavailable, "stopping")
			return
		}
		say(w, http.StatusOK, "ok")
	})
	shown := promhttp.HandlerFor(metrics, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: adminTimeout / 2})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
		if err := s.reloader.admin.Load().lets(r); err != nil {
			w.Header().Set("Www-Authenticate", `Bearer realm="sealgate admin"`)
			say(w, http.StatusUnauthorized, err.Error())
			return
		}
		shown.ServeHTTP(w, r)
	})
	return mux
}

// wait serves until the context ends or a listener fails, taking new configurations on the way. Then requests under way
// have [drainTimeout] to end, new ones are refused, and everything is closed.
func (s *service) wait(ctx context.Context, told <-chan os.Signal) error {
	reloading, stopReloading := context.WithCancel(ctx)
	reloaded, renewed := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(reloaded)
		s.reloader.run(reloading, told)
	}()
	go func() {
		defer close(renewed)
		s.reloader.renewals.run(reloading)
	}()

	var failure error
	select {
	case <-ctx.Done():
	case failure = <-s.failed:
	}
	s.log.Info("stopping", "requests_have", drainTimeout.String())
	stopReloading()
	<-reloaded
	<-renewed
	return errors.Join(failure, s.stop())
}

func (s *service) stop() error {
	s.draining.Store(true)
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	if err := s.public.Shutdown(ctx); err != nil {
		s.log.Warn("requests were cut off", "error", err)
	}
	err := s.close()
	s.log.Info("stopped")
	return err
}

// close closes what is open, the last first.
func (s *service) close() error {
	var errs []error
	for len(s.closers) > 0 {
		last := len(s.closers) - 1
		errs = append(errs, s.closers[last]())
		s.closers = s.closers[:last]
	}
	return errors.Join(errs...)
}
