package gateway

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/sealgate/sealgate/gateway/clients"
	"github.com/sealgate/sealgate/gateway/ledger"
	"github.com/sealgate/sealgate/policy"
)

// Who asks, and whether they may. Both come before anything is looked up, so that an answer tells a client without the right
// nothing about what is there: whether a repository exists is the same to it.

// caller is who asks, by what means. The zero value is an anonymous client.
type caller struct {
	policy.Client
	byToken bool           // it showed a token,
	access  clients.Access // which is for this and nothing else

	signs     bool // it may sign here,
	signsOnly bool // and has no other right that would do for what it asks
}

// rights are what each kind of request needs in its repository. The empty right is for requests without one.
var rights = map[Kind]policy.Right{
	Ping: "", ListCatalog: "", GiveToken: "",
	ListTags: policy.Pull, ListReferrers: policy.Pull, PullManifest: policy.Pull, PullBlob: policy.Pull,
	PushManifest: policy.Push, StartUpload: policy.Push, UploadStatus: policy.Push, UploadChunk: policy.Push,
	FinishUpload: policy.Push, CancelUpload: policy.Push,
	DeleteManifest: policy.Delete, DeleteBlob: policy.Delete,
}

// identify finds out who asks. Where clients are known, a ping without credentials is answered with where to get some,
// although the anonymous are let in: it is how docker learns to log in.
func (g *Gateway) identify(x *exchange) error {
	if x.re.Clients == nil || x.t.Kind == GiveToken {
		return nil
	}
	shown := x.r.Header.Values("Authorization")
	if len(shown) == 0 {
		if known, err := g.showCertificate(x); known || err != nil {
			return err
		}
		if x.re.Clients.Anonymous() && x.t.Kind != Ping {
			return nil
		}
		return x.challenge(g, "")
	}

	err := clients.ErrCredentials
	if token, ok := cutScheme(shown[0], "Bearer"); ok && len(shown) == 1 {
		err = g.showToken(x, token)
	} else if basic, ok := cutScheme(shown[0], "Basic"); ok && len(shown) == 1 {
		var h clients.Holder
		h, err = g.login(x, basic)
		x.Client = h.Client
	}
	g.metrics.login(err)
	if errors.Is(err, clients.ErrCredentials) {
		return x.challenge(g, "invalid_token")
	}
	return err
}

// showCertificate takes the certificate of the connection. One that is nobody's is refused and not left out: whoever shows one
// means to be known by it. Credentials in a request come before it.
func (g *Gateway) showCertificate(x *exchange) (known bool, err error) {
	if x.r.TLS == nil {
		return false, nil
	}
	c, err := x.re.Clients.Certificate(x.r.TLS.PeerCertificates)
	switch {
	case errors.Is(err, clients.ErrNoCertificates):
		return false, nil
	case err != nil:
		g.metrics.login(err)
		g.refusedLogin(x, err)
		return false, x.challenge(g, "")
	}
	x.Client = c
	return true, nil
}

// showToken takes a token of ours, or an id-token of a workload, as Kubernetes' and Flux's programs show it.
func (g *Gateway) showToken(x *exchange, token string) error {
	workload, err := x.re.Clients.Workload(x.r.Context(), token)
	switch {
	case errors.Is(err, clients.ErrCredentials):
		g.refusedLogin(x, err)
		return err
	case !errors.Is(err, clients.ErrForeign):
		x.Client = workload.Client
		return err
	}
	x.byToken = true
	x.Client, x.access, err = x.re.Clients.Bearer(token)
	return err
}

// login checks the value of Basic credentials.
func (g *Gateway) login(x *exchange, basic string) (clients.Holder, error) {
	plain, err := base64.StdEncoding.Strict().DecodeString(basic)
	name, password, ok := strings.Cut(string(plain), ":")
	if err != nil || !ok {
		name, password = "", "" // which costs an attempt and as much time as any other
	}
	return g.loginAs(x, name, password)
}

func (g *Gateway) loginAs(x *exchange, name, password string) (clients.Holder, error) {
	h, err := x.re.Clients.Login(x.r.Context(), g.clientAddress(x.r), name, password)
	if errors.Is(err, clients.ErrCredentials) {
		g.refusedLogin(x, err)
	}
	return h, err
}

// refusedLogin says who was refused and why: neither password nor name, for people type the one in the place of the other.
func (g *Gateway) refusedLogin(x *exchange, why error) {
	g.log.Warn("login refused", "client", g.clientAddress(x.r), "kind", string(x.t.Kind), "error", why)
}

// bySigners are what a right to sign is enough for: to read manifests and what is attached to them, and to attach more. The
// handlers refuse the rest of what comes by these ways: layers (signing.go).
var bySigners = map[Kind]bool{
	ListReferrers: true, PullManifest: true, PullBlob: true,
	PushManifest: true, StartUpload: true, UploadStatus: true, UploadChunk: true, FinishUpload: true, CancelUpload: true,
}

// authorize refuses what the caller has no right to do, in audit mode too: that is about images, not about people.
func (g *Gateway) authorize(x *exchange) error {
	right, ok := rights[x.t.Kind]
	switch {
	case !ok:
		return fmt.Errorf("what %s needs is not written down", x.t.Kind)
	case x.t.Kind == ListCatalog && x.byToken && !x.access.Covers(clients.Registry, clients.Catalog, clients.Everything):
		return x.challenge(g, "insufficient_scope")
	case right == "" || x.rule == nil && x.re.Clients == nil:
		return nil // where nobody is asked who it is, whatever handles the request says that no policy names it
	}

	s := policy.Subject{Repo: x.t.Repo, Digest: x.t.Digest}
	verdict := x.rule.Authorize(s, x.Client, right)
	if x.signs = bySigners[x.t.Kind] && x.rule.Gives(x.Client, policy.Sign); x.signs && !verdict.Admitted() {
		x.signsOnly, verdict = true, policy.AdmitToSign(verdict)
	}
	mayPush := x.rule.Gives(x.Client, policy.Push)
	if x.t.Head && right == policy.Pull && !verdict.Admitted() && mayPush && x.tokenCovers(x.t.Repo, policy.Push) || x.signsOnly && mayPush && x.headsForPush() {
		return notFoundHead(x.t.Kind) // it may push and not pull: whatever is there, it sends what it has
	}
	switch {
	case !x.tokenCovers(x.t.Repo, right):
		return x.challenge(g, "insufficient_scope")
	case verdict.Admitted():
		return nil
	case x.Anonymous() && x.re.Clients != nil && x.rule != nil:
		return x.challenge(g, "") // somebody with a name might; with a code docker would not show the text
	}
	return g.enforce(x, ledger.Action(right), x.t.Digest, judgement{verdict: verdict, strict: true})
}

// tokenCovers reports that the caller's token, where it showed one, is for a right.
func (c caller) tokenCovers(repo string, right policy.Right) bool {
	return !c.byToken || c.access.Covers(clients.Repository, repo, string(right))
}

// mayPull reports whether the caller may pull from another repository than the request's.
func (x *exchange) mayPull(repo string) bool {
	rule := x.re.Policy.Rule(repo)
	listed := x.t.Kind == ListCatalog // whose token names no repositories
	return rule.Authorize(policy.Subject{Repo: repo}, x.Client, policy.Pull).Admitted() && (listed || x.tokenCovers(repo, policy.Pull))
}

// mayPushByToken reports that the caller's token is for pushing here: so it asks what is there already.
func (x *exchange) mayPushByToken() bool {
	return x.byToken && x.tokenCovers(x.t.Repo, policy.Push)
}

// notFoundHead is the answer to a HEAD that admits nothing and does not stop a push.
func notFoundHead(kind Kind) error {
	a := notFound(kind)
	return &requestError{a.status, a.code, a.message}
}

// identity is the caller for the record, empty where nobody is asked.
func (x *exchange) identity() string {
	if x.re.Clients == nil {
		return ""
	}
	return x.Client.String()
}

// challengeError asks a client to log in, with the words of RFC 6750 for its own code.
type challengeError struct {
	header  string
	message string
}

func (e *challengeError) Error() string { return e.message }

// challenge asks for a token for what was asked. The text is one for all that can be wrong with credentials.
func (x *exchange) challenge(g *Gateway, code string) error {
	realm := g.address(x.r) + tokenPath
	header := `Bearer realm="` + realm + `",service="` + clients.Service + `"`
	if scope := x.scope(); scope != "" {
		header += `,scope="` + scope + `"`
	}
	if code != "" {
		header += `,error="` + code + `"`
	}
	return &challengeError{header: header, message: "sealgate: log in with a name and password that may do this: docker login " + strings.TrimSuffix(g.host(x.r), "/")}
}

// scope is what a token must be for to do what was asked.
func (x *exchange) scope() string {
	actions := "pull"
	switch rights[x.t.Kind] {
	case policy.Push:
		actions = "pull,push"
	case policy.Delete:
		actions = "delete"
	case "":
		if x.t.Kind == ListCatalog {
			return clients.Registry + ":" + clients.Catalog + ":" + clients.Everything
		}
		return ""
	}
	scope := clients.Repository + ":" + x.t.Repo + ":" + actions
	if x.t.From != "" {
		scope += " " + clients.Repository + ":" + x.t.From + ":pull"
	}
	return scope
}

// address is the gateway's URL as the client reaches it.
func (g *Gateway) address(r *http.Request) string {
	if g.externalURL != "" {
		return g.externalURL
	}
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	return scheme + "://" + strings.TrimSuffix(g.host(r), "/")
}

// tooMany words a limit for the client.
func tooMany(e *clients.LimitedError) answer {
	seconds := max(1, int(e.Wait.Seconds()))
	return answer{
		status: http.StatusTooManyRequests, code: "TOOMANYREQUESTS", retryAfter: seconds,
		message: "sealgate: too many failed logins; try again in " + strconv.Itoa(seconds) + " seconds",
	}
}
