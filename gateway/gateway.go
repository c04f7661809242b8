// Package gateway speaks the OCI distribution API in front of registries and stops where the policy has a say.
//
// A request is parsed once into a [Target]. Bytes pass through; three things are stopped and judged: a manifest that
// leaves (pull.go), a manifest that comes in (push.go), and whatever could harm the evidence that is attached to images
// (evidence.go). Handlers return errors, and one function answers all of them (reply.go). Whatever is not an admit, be it
// an error, a timeout, a panic or a cancelled request, sends no manifest.
package gateway

import (
	"cmp"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/opencontainers/go-digest"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/sealgate/sealgate/gateway/clients"
	"github.com/sealgate/sealgate/gateway/ledger"
	"github.com/sealgate/sealgate/gateway/upstream"
	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/policy/manifest"
	"golang.org/x/sync/singleflight"
)

// Verifier proves what is attached to a subject. It is safe for concurrent use.
type Verifier interface {
	// Verify returns what is proven. An error means that it could not find out, never that nothing is there.
	Verify(ctx context.Context, s policy.Subject) (policy.Evidence, error)

	// Forget drops what is remembered of a subject, because something was attached to it or removed.
	Forget(s policy.Subject)
}

// Inspector reads those facts from an image itself that a rule needs. It is safe for concurrent use. An error that wraps
// [manifest.ErrInvalid] says that the image is at fault, [policy.ErrUnfinished] that it is still being read, any other that
// it could not be read.
type Inspector interface {
	Inspect(ctx context.Context, repo string, m *manifest.Manifest, needs policy.ImageNeeds) (policy.Image, error)
}

// Scanner looks for vulnerabilities in an image of a repository. It is safe for concurrent use. An error that wraps
// [policy.ErrUnfinished] says that the scan goes on, any other that nobody can tell what is in the image; an image in which
// nothing was found is no error. The statements are what can be attested of the scan.
type Scanner interface {
	Scan(ctx context.Context, repo string, m *manifest.Manifest) (policy.Scan, []policy.Statement, error)
}

// Sealer makes sure that a subject carries our signature and says the statements, and names the manifests that hold them. It
// is idempotent and safe for concurrent use. reference is the name that the signature gives the repository.
type Sealer interface {
	Seal(ctx context.Context, s policy.Subject, reference string, statements []policy.Statement) ([]digest.Digest, error)
}

// Regime is everything that a decision depends on. It is immutable; a new one replaces it as a whole.
type Regime struct {
	Policy     *policy.Policy
	Registries *upstream.Registries
	Clients    *clients.Directory // nil: nobody is asked who it is, and everybody is anonymous
	Verifier   Verifier
	Inspector  Inspector
	Scanners   map[string]Scanner // by the scanner's name
	Sealers    map[string]Sealer  // by the policy's name

	verdicts *verdicts // what was admitted while it is enforced
}

// Options are a gateway's settings. Ledger, Log and Metrics are required.
type Options struct {
	Ledger  *ledger.Ledger
	Log     *slog.Logger
	Metrics prometheus.Registerer

	// ExternalURL is how clients reach the gateway, such as https://registry.acme.dev. It is where they ask for tokens, and
	// the registry's name in signatures and in the fixes that refused people read. Empty: tokens and fixes use the
	// request's Host, and signatures name the repository alone.
	ExternalURL string

	// TrustedProxies are whose X-Forwarded-For is believed. None by default: anybody can send one.
	TrustedProxies []netip.Prefix

	// Patience is how long a client may neither send nor take a byte of a body. Zero stands for a minute.
	Patience time.Duration

	// NotBefore is a time that no clock which is right shows an earlier one than, such as the day of this program. Zero is none.
	NotBefore time.Time

	// AllowDelete lets clients delete manifests, tags and blobs. What protects an image stays undeletable.
	AllowDelete bool
}

// Gateway is the handler of the public listener. It refuses everything until [Gateway.Enforce].
type Gateway struct {
	ledger       *ledger.Ledger
	log          *slog.Logger
	metrics      *metrics
	externalURL  string
	externalHost string
	allowDelete  bool
	proxies      []netip.Prefix
	patience     time.Duration
	clock        clock

	regime    atomic.Pointer[Regime]
	manifests *manifestCache
	flights   singleflight.Group // manifests on their way, by registry, repository and digest
	uploads   *ticketOffice
	fresh     *uploads
	tags      turns
	arrivals  arrivals
	decoys    *decoys
	texts     *lru.Cache[policy.Subject, bool] // manifests of evidence: whether their layers are text
	aheads    chan struct{}                    // held by each verification that nobody waits for yet
}

// maxTexts bounds the manifests of which it is remembered what they hold.
const maxTexts = 65_536

// New makes a gateway.
func New(o Options) *Gateway {
	host := o.ExternalURL
	if _, rest, ok := strings.Cut(host, "://"); ok {
		host = rest
	}
	texts, err := lru.New[policy.Subject, bool](maxTexts)
	if err != nil {
		panic("gateway: the size of a cache is a positive constant: " + err.Error())
	}
	g := &Gateway{
		ledger: o.Ledger, log: o.Log, metrics: newMetrics(o.Metrics),
		externalURL: strings.TrimRight(o.ExternalURL, "/"), externalHost: strings.TrimRight(host, "/"), allowDelete: o.AllowDelete,
		proxies: slices.Clone(o.TrustedProxies), patience: cmp.Or(o.Patience, time.Minute), clock: clock{began: time.Now(), floor: o.NotBefore},
		manifests: newManifestCache(), uploads: newTicketOffice(), fresh: newUploads(), decoys: newDecoys(), texts: texts,
		aheads: make(chan struct{}, maxAhead),
	}
	o.Metrics.MustRegister(upstreamHealth{&g.regime})
	return g
}

// Enforce replaces the regime. Requests under way end under the one they began with.
func (g *Gateway) Enforce(next *Regime) {
	enforced := *next
	enforced.verdicts = newVerdicts()
	g.regime.Store(&enforced)
}

// exchange is one request with everything that its handler needs: what was asked, under which regime, of which registry.
type exchange struct {
	w  http.ResponseWriter
	r  *http.Request
	t  Target
	re *Regime
	caller

	registry *upstream.Registry // nil for what concerns no repository
	name     string             // of the repository in that registry
	rule     *policy.Rule       // nil when no policy names the repository

	progress func(Step, digest.Digest) // told what is done; nil for requests
}

// handlers is the gateway's table of contents.
var handlers = map[Kind]func(*Gateway, *exchange) error{
	Ping:           (*Gateway).ping,
	ListCatalog:    (*Gateway).listCatalog,
	ListTags:       (*Gateway).listTags,
	ListReferrers:  (*Gateway).listReferrers,
	PullManifest:   (*Gateway).pullManifest,
	PushManifest:   (*Gateway).pushManifest,
	DeleteManifest: (*Gateway).deleteManifest,
	PullBlob:       (*Gateway).pullBlob,
	DeleteBlob:     (*Gateway).deleteBlob,
	StartUpload:    (*Gateway).startUpload,
	UploadStatus:   (*Gateway).continueUpload,
	UploadChunk:    (*Gateway).continueUpload,
	FinishUpload:   (*Gateway).continueUpload,
	CancelUpload:   (*Gateway).continueUpload,
	GiveToken:      (*Gateway).giveToken,
}

// ServeHTTP answers one request.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Docker-Distribution-Api-Version", "registry/2.0")
	h.Set("X-Content-Type-Options", "nosniff")

	answered := &statusWriter{ResponseWriter: w}
	if r.ContentLength != 0 { // whoever reads the body sets a later one; whoever does not leaves the rest of it to the server
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(g.patience))
	}
	if r.ProtoMajor == 2 { // in HTTP/1 the listener's sockets see to it
		answered.patience = g.patience
	}
	t, err := parse(r)
	defer func() { g.metrics.request(t.Kind, answered.status) }()
	defer g.recover(answered, r, &t)

	if err == nil {
		err = g.serve(answered, r, &t)
	}
	if err != nil {
		g.reply(answered, r, t, err)
	}
}

func (g *Gateway) serve(w http.ResponseWriter, r *http.Request, t *Target) error {
	x := &exchange{w: w, r: r, re: g.regime.Load()}
	if x.re == nil {
		return &requestError{http.StatusServiceUnavailable, "UNAVAILABLE", "the gateway is starting"}
	}
	unknown := t.takeNamespace(x.re.Registries)
	x.t = *t
	if err := g.identify(x); err != nil {
		return err
	}
	if unknown != nil {
		return unknown
	}
	if t.Repo != "" {
		registry, name, ok := x.re.Registries.Find(t.Repo)
		if !ok {
			return &requestError{http.StatusNotFound, "NAME_UNKNOWN", "no registry behind the gateway has this prefix"}
		}
		x.registry, x.name, x.rule = registry, name, x.re.Policy.Rule(t.Repo)
	}
	if err := x.forward(); err != nil {
		return err
	}
	if err := g.authorize(x); err != nil {
		return err
	}
	return handlers[t.Kind](g, x)
}

// takeNamespace puts the repository under the prefix of the registry that containerd means: it asks a mirror for
// library/nginx?ns=docker.io, where other clients ask for docker.io/library/nginx.
func (t *Target) takeNamespace(registries *upstream.Registries) error {
	if t.Namespace == "" {
		return nil
	}
	registry := registries.ByName(t.Namespace)
	if registry == nil {
		return badRequest("NAME_UNKNOWN", "ns names no registry behind this gateway")
	}
	if t.Repo != "" {
		t.Repo = registry.Prefix() + t.Repo
		return checkRepository(t.Repo)
	}
	return nil
}

// recover turns a panic into an answer that admits nothing, as long as nothing was sent.
func (g *Gateway) recover(w *statusWriter, r *http.Request, t *Target) {
	p := recover()
	if p == nil {
		return
	}
	if p == http.ErrAbortHandler || w.status != 0 {
		panic(http.ErrAbortHandler) // the connection ends without a clean end
	}
	g.metrics.panics.Inc()
	g.log.Error("panic", "kind", string(t.Kind), "repo", t.Repo, "panic", p, "stack", string(debug.Stack()))
	g.reply(w, r, *t, &requestError{http.StatusInternalServerError, "UNKNOWN", "sealgate failed; nothing was decided"})
}

// ping answers GET /v2/, the first request of most clients.
func (g *Gateway) ping(x *exchange) error {
	x.w.Header().Set("Content-Type", "application/json")
	_, err := x.w.Write([]byte("{}"))
	return err
}

// statusWriter remembers whether and how a request was answered. It keeps the way for zero-copy writes open.
type statusWriter struct {
	http.ResponseWriter
	status   int
	patience time.Duration // for which one write may wait for the client; zero: for ever
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	if w.patience > 0 {
		_ = http.NewResponseController(w.ResponseWriter).SetWriteDeadline(time.Now().Add(w.patience))
	}
	return w.ResponseWriter.Write(b)
}

// ReadFrom lets the kernel copy a file to the connection.
func (w *statusWriter) ReadFrom(from io.Reader) (int64, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	if w.patience > 0 {
		return io.Copy(struct{ io.Writer }{w}, from) // each write on its own
	}
	return io.Copy(w.ResponseWriter, from)
}

func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
