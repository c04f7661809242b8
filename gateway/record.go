package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/opencontainers/go-digest"
	"github.com/sealgate/sealgate/gateway/ledger"
	"github.com/sealgate/sealgate/policy"
)

// Bounds of what clients and causes add to a record.
const (
	maxUserAgent = 256  // bytes
	maxSubject   = 1024 // bytes
	maxCause     = 1024 // bytes
)

func newID() string { return ulid.Make().String() }

// enforce records a judgement and turns it into what happens: nil lets the request go on, an error stops it. In audit mode
// it always goes on, with a warning. A decision that cannot be recorded is not taken.
func (g *Gateway) enforce(x *exchange, action ledger.Action, subject digest.Digest, j judgement) error {
	if j.err != nil && x.r.Context().Err() != nil {
		return x.r.Context().Err() // the client is gone, and nothing was decided
	}
	d := j.decision(x.re, x.t.Repo)
	d.Action, d.Reference, d.Digest = action, x.t.Reference(), subject
	d.Method, d.Client, d.Identity = x.r.Method, g.clientAddress(x.r), x.identity()
	d.IdentityIssuer, d.IdentitySubject = x.Issuer, shorten(x.Subject, maxSubject)
	d.UserAgent = shorten(strings.ToValidUTF8(x.r.UserAgent(), "?"), maxUserAgent)

	if err := g.ledger.Record(d); err != nil {
		d.Outcome, d.Cause = ledger.Undecided, err.Error()
		g.tell(d)
		return &undecidedError{decision: d, err: err}
	}
	g.tell(d)

	for _, warning := range d.Warnings {
		warnClient(x.w, d, warning.Why)
	}
	if !d.Remembered.IsZero() {
		warnClient(x.w, d, "judged by what was attached at "+d.Remembered.UTC().Format(time.RFC3339)+", the registry cannot be asked now")
	}
	switch {
	case d.Outcome == ledger.Admit:
		return nil
	case d.Audit && d.Outcome == ledger.Deny:
		warnClient(x.w, d, "would be refused: "+d.Reasons[0].Why)
		return nil
	case d.Audit:
		warnClient(x.w, d, "could not be verified")
		return nil
	case d.Outcome == ledger.Undecided:
		return &undecidedError{decision: d, err: j.err}
	}
	image, pinned := g.names(x, subject)
	return &deniedError{decision: d, image: image, pinned: pinned}
}

// tell logs and counts a decision: one event, whatever comes of it.
func (g *Gateway) tell(d ledger.Decision) {
	g.metrics.decision(d)
	level := slog.LevelInfo
	if d.Outcome == ledger.Undecided {
		level = slog.LevelWarn
	}
	if !g.log.Enabled(context.Background(), level) {
		return
	}
	attrs := []slog.Attr{
		slog.String("id", d.ID), slog.String("action", string(d.Action)), slog.String("outcome", string(d.Outcome)),
		slog.String("repo", d.Repo), slog.String("reference", d.Reference), slog.String("digest", d.Digest.String()),
		slog.String("policy", d.Policy), slog.String("client", d.Client),
	}
	if d.Identity != "" {
		attrs = append(attrs, slog.String("identity", d.Identity))
	}
	if d.IdentitySubject != "" {
		attrs = append(attrs, slog.String("identity_subject", d.IdentitySubject))
	}
	if d.Audit {
		attrs = append(attrs, slog.Bool("audit", true))
	}
	if len(d.Reasons) > 0 {
		attrs = append(attrs, slog.String("code", string(d.Reasons[0].Code)), slog.String("why", d.Reasons[0].Why))
	}
	if !d.Remembered.IsZero() {
		attrs = append(attrs, slog.Time("remembered", d.Remembered))
	}
	if d.Cause != "" {
		attrs = append(attrs, slog.String("cause", d.Cause))
	}
	g.log.LogAttrs(context.Background(), level, "decision", attrs...)
}

// warnClient adds a Warning header. Few clients print it; it is a courtesy, never what anybody relies on.
func warnClient(w http.ResponseWriter, d ledger.Decision, text string) {
	text = strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' || c == '"' || c == '\\' {
			return '\''
		}
		return c
	}, text)
	w.Header().Add("Warning", fmt.Sprintf(`299 - "sealgate: %s (decision %s)"`, shorten(text, 200), d.ID))
}

// names are how a person writes the image: as asked for, and pinned to the digest.
func (g *Gateway) names(x *exchange, d digest.Digest) (image, pinned string) {
	image = x.t.Image()
	if x.t.Tag == "" && len(x.t.Digest) > shortDigest {
		image = x.t.Repo + "@" + string(x.t.Digest)[:shortDigest] + "…"
	}
	return image, g.host(x.r) + x.t.Image() + pin(x.t, d)
}

// shortDigest is how much of a digest tells it from others to a person: sha256: and twelve digits.
const shortDigest = 19

func pin(t Target, d digest.Digest) string {
	if t.Tag == "" {
		return ""
	}
	return "@" + d.String()
}

// host is the gateway's name in front of an image, with its slash. A client's Host is used for what that client reads
// only, and only when it looks like one.
func (g *Gateway) host(r *http.Request) string {
	if g.externalHost != "" {
		return g.externalHost + "/"
	}
	if len(r.Host) > maxRepository || strings.ContainsFunc(r.Host, func(c rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-:[]", c)
	}) {
		return ""
	}
	return r.Host + "/"
}

// sealName is the repository's name in signatures. It never comes from a client.
func (g *Gateway) sealName(s policy.Subject) string {
	if g.externalHost == "" {
		return s.Repo
	}
	return g.externalHost + "/" + s.Repo
}
