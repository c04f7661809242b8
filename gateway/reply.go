package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/sealgate/sealgate/gateway/clients"
	"github.com/sealgate/sealgate/gateway/ledger"
	"github.com/sealgate/sealgate/gateway/upstream"
	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/policy/manifest"
)

// The errors that handlers return. What a client is told is decided in one place, [Gateway.reply]; anything that is none
// of these is an upstream at fault.

// requestError is a request at fault, in the words of the distribution specification.
type requestError struct {
	status  int
	code    string
	message string
}

func (e *requestError) Error() string { return e.message }

func badRequest(code, format string, args ...any) error {
	return &requestError{http.StatusBadRequest, code, fmt.Sprintf(format, args...)}
}

// deniedError is a refusal by policy.
type deniedError struct {
	decision ledger.Decision
	image    string // as the person asked for it
	pinned   string // with the digest, for the fixes
}

func (e *deniedError) Error() string { return "denied: " + e.decision.ID }

// undecidedError says that nobody could tell. It is no refusal, and no admit either.
type undecidedError struct {
	decision ledger.Decision
	err      error
}

func (e *undecidedError) Error() string { return e.err.Error() }
func (e *undecidedError) Unwrap() error { return e.err }

// answer is an error as a client sees it.
type answer struct {
	status     int
	code       string
	message    string
	detail     any
	retryAfter int    // seconds, 0 for none
	challenge  string // how to log in, empty for no need to
}

// retrySeconds is what a client is asked to wait after an undecided answer.
const retrySeconds = 5

// answerTo is the table of design: each error has one status, one code and one text.
func answerTo(err error, kind Kind) answer {
	var (
		request   *requestError
		denied    *deniedError
		undecided *undecidedError
		status    *upstream.StatusError
		tooLarge  *http.MaxBytesError
		challenge *challengeError
		limited   *clients.LimitedError
		unknown   *clients.IssuerError
	)
	switch {
	case errors.As(err, &request):
		return answer{status: request.status, code: request.code, message: request.message}
	case errors.As(err, &challenge):
		return answer{status: http.StatusUnauthorized, code: "UNAUTHORIZED", message: challenge.message, challenge: challenge.header}
	case errors.As(err, &limited):
		return tooMany(limited)
	case errors.As(err, &unknown):
		return answer{
			status: http.StatusServiceUnavailable, code: "UNAVAILABLE", retryAfter: retrySeconds,
			message: "sealgate: cannot find out now whose id-token this is, try again in a moment",
		}
	case errors.Is(err, upstream.ErrCaller):
		return refusedCaller
	case errors.As(err, &denied):
		return answer{status: http.StatusForbidden, code: "DENIED", message: denied.message(), detail: denied.detail()}
	case errors.As(err, &undecided) && errors.Is(err, policy.ErrUnfinished):
		// No 503: clients repeat that at once, and show nobody its text.
		return answer{
			status: http.StatusForbidden, code: "DENIED",
			message: fmt.Sprintf("sealgate: the scan of %s is running, push it again in a minute\n  decision %s", undecided.decision.Repo, undecided.decision.ID),
		}
	case errors.As(err, &undecided):
		return answer{
			status: http.StatusServiceUnavailable, code: "UNAVAILABLE", retryAfter: retrySeconds,
			message: fmt.Sprintf("sealgate: cannot verify %s now, try again in a moment\n  decision %s", undecided.decision.Repo, undecided.decision.ID),
		}
	case errors.As(err, &tooLarge):
		return answer{status: http.StatusRequestEntityTooLarge, code: "SIZE_INVALID", message: fmt.Sprintf("the body is larger than %d bytes", tooLarge.Limit)}
	case errors.Is(err, manifest.ErrInvalid) && kind == PushManifest:
		return answer{status: http.StatusBadRequest, code: "MANIFEST_INVALID", message: err.Error()}
	case errors.Is(err, upstream.ErrNotFound):
		return notFound(kind)
	case errors.As(err, &status):
		return fromUpstream(status, kind)
	}
	return unreachable
}

var unreachable = answer{
	status: http.StatusBadGateway, code: "UNKNOWN",
	message: "the registry behind the gateway gave no usable answer",
}

func notFound(kind Kind) answer {
	a := answer{status: http.StatusNotFound, code: "NAME_UNKNOWN", message: "the repository does not exist"}
	switch kind {
	case PullManifest, DeleteManifest, ListReferrers:
		a.code, a.message = "MANIFEST_UNKNOWN", "the manifest does not exist"
	case PushManifest:
		a.code, a.message = "MANIFEST_BLOB_UNKNOWN", "the manifest names a blob or manifest that is not in this repository; push it first"
	case PullBlob, DeleteBlob:
		a.code, a.message = "BLOB_UNKNOWN", "the blob does not exist"
	case UploadStatus, UploadChunk, FinishUpload, CancelUpload:
		a.code, a.message = "BLOB_UPLOAD_UNKNOWN", "no such upload"
	}
	return a
}

// fromUpstream keeps an upstream's status and code where they are the client's business. The words are our own: what an
// upstream says can hold tokens and internal names.
func fromUpstream(e *upstream.StatusError, kind Kind) answer {
	switch e.Status {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusMethodNotAllowed:
		a := answer{status: e.Status, code: "UNSUPPORTED", message: "the registry behind the gateway refused the request"}
		if specCodes[e.Code] {
			a.code = e.Code
		}
		if e.Code == "MANIFEST_BLOB_UNKNOWN" || e.Code == "BLOB_UNKNOWN" && kind == PushManifest {
			a = notFound(PushManifest)
			a.status = e.Status
		}
		return a
	case http.StatusRequestedRangeNotSatisfiable:
		if kind == PullBlob {
			return answer{status: e.Status, code: "UNSUPPORTED", message: "the blob has no such range"}
		}
		return answer{status: e.Status, code: "BLOB_UPLOAD_INVALID", message: "the chunk does not continue what is there"}
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return answer{status: http.StatusServiceUnavailable, code: "UNAVAILABLE", message: "the registry behind the gateway is busy", retryAfter: retrySeconds}
	}
	return unreachable
}

// specCodes are the error codes of the distribution specification that an upstream may give a client through us.
var specCodes = map[string]bool{
	"BLOB_UNKNOWN": true, "BLOB_UPLOAD_INVALID": true, "BLOB_UPLOAD_UNKNOWN": true, "DIGEST_INVALID": true,
	"MANIFEST_BLOB_UNKNOWN": true, "MANIFEST_INVALID": true, "MANIFEST_UNKNOWN": true, "NAME_INVALID": true,
	"NAME_UNKNOWN": true, "SIZE_INVALID": true, "UNSUPPORTED": true,
}

// reply answers an error, as the specification has it: one JSON object with a list of one error.
func (g *Gateway) reply(w http.ResponseWriter, r *http.Request, t Target, err error) {
	if errors.Is(err, context.Canceled) && r.Context().Err() != nil {
		panic(http.ErrAbortHandler) // the client is gone; nobody reads an answer
	}
	a := answerTo(err, t.Kind)
	if unknown := new(clients.IssuerError); errors.As(err, &unknown) {
		g.log.Warn("an issuer of id-tokens gave no usable answer", "error", unknown)
	}
	if a.status == unreachable.status {
		g.log.Warn("upstream gave no usable answer", "repo", t.Repo, "kind", string(t.Kind), "error", err)
	}

	type ociError struct {
		Code    string `json:"code"`
		Message string `json:"message"`
		Detail  any    `json:"detail,omitempty"`
	}
	body, err := json.Marshal(struct {
		Errors []ociError `json:"errors"`
	}{[]ociError{{a.code, a.message, a.detail}}})
	if err != nil {
		panic("gateway: plain structs always marshal: " + err.Error())
	}

	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	if a.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(a.retryAfter))
	}
	if a.challenge != "" {
		h.Set("Www-Authenticate", a.challenge)
	}
	w.WriteHeader(a.status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // the client may be gone, and there is nobody else to tell
	}
}

// message is what a refused person reads: what is refused and why, how to fix it, and where to look it up. Clients print
// it as it is; some cut it, so the first line stands alone.
func (e *deniedError) message() string {
	d := e.decision
	first := fmt.Sprintf("sealgate: %s is refused", e.image)
	if d.Policy != "" {
		first += fmt.Sprintf(" by policy %q", d.Policy)
	}
	if len(d.Reasons) == 0 {
		return first
	}
	text := shorten(first+": "+d.Reasons[0].Why, maxFirstLine)
	for i, reason := range d.Reasons {
		if i > 0 {
			text += "\n  also: " + reason.Why
		}
		for _, finding := range reason.Findings {
			text += "\n    " + finding
		}
	}
	fixes := map[string]bool{}
	for _, reason := range d.Reasons {
		if fix := reason.FixFor(e.image, e.pinned); fix != "" && !fixes[fix] {
			fixes[fix] = true
			text += "\n  fix: " + fix
		}
	}
	return text + "\n  decision " + d.ID
}

const maxFirstLine = 199 // bytes: clients and terminals cut longer lines

func shorten(s string, most int) string {
	if len(s) <= most {
		return s
	}
	const dots = "…"
	cut := most - len(dots)
	for cut > 0 && s[cut]&0xC0 == 0x80 { // never inside a character
		cut--
	}
	return s[:cut] + dots
}

// detail is the refusal for programs.
func (e *deniedError) detail() any {
	type reason struct {
		Code        policy.Code `json:"code"`
		Requirement string      `json:"requirement"`
		Subject     string      `json:"subject"`
	}
	detail := struct {
		Decision string   `json:"decision"`
		Policy   string   `json:"policy"`
		Reasons  []reason `json:"reasons"`
	}{Decision: e.decision.ID, Policy: e.decision.Policy}
	for _, r := range e.decision.Reasons {
		detail.Reasons = append(detail.Reasons, reason{r.Code, r.Requirement, r.Subject})
	}
	return detail
}
