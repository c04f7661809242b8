package gateway

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/sealgate/sealgate/gateway/clients"
)

// The token desk: where docker, podman, containerd and their kind change a password for a token that lives for minutes, as
// the distribution project's "Token Authentication Specification" and "OAuth 2.0 token authentication" have it.

const tokenPath = "/token"

// Bounds of a request for a token.
const (
	maxForm      = 16 << 10 // bytes, of a query or body
	maxFormParts = 64
	formDeadline = 10 * time.Second
)

// giveToken answers GET and POST of a token.
func (g *Gateway) giveToken(x *exchange) error {
	if x.re.Clients == nil {
		return &requestError{http.StatusNotFound, "UNSUPPORTED", "no such endpoint: this gateway asks nobody who it is"}
	}
	form, err := readForm(x)
	if err != nil {
		return err
	}
	if service := form.Get("service"); service != "" && service != clients.Service {
		return badRequest("UNSUPPORTED", "the service is %s, and no other", clients.Service)
	}
	access, err := clients.ParseScopes(form["scope"])
	if err != nil {
		return badRequest("UNSUPPORTED", "%v", err)
	}
	client, byPassword, err := g.holder(x, form)
	if err != nil {
		return err
	}

	token, err := x.re.Clients.Issue(client, access)
	if err != nil {
		return g.noToken(err)
	}
	body := struct {
		Token        string `json:"token"`
		AccessToken  string `json:"access_token"`
		RefreshToken string `json:"refresh_token,omitempty"`
		ExpiresIn    int    `json:"expires_in"` // seconds
		IssuedAt     string `json:"issued_at"`
	}{token.Text, token.Text, "", int(token.Expires.Seconds()), token.Issued.Format(time.RFC3339)}
	if byPassword && (form.Get("offline_token") == "true" || form.Get("access_type") == "offline") {
		refresh, err := x.re.Clients.IssueRefresh(client)
		if err != nil {
			return g.noToken(err)
		}
		body.RefreshToken = refresh.Text
	}
	x.w.Header().Set("Cache-Control", "no-store")
	return x.json(body)
}

// readForm reads what a request for a token says: in the query of a GET, in the body of a POST.
func readForm(x *exchange) (url.Values, error) {
	raw := x.r.URL.RawQuery
	if x.r.Method == http.MethodPost {
		connection := http.NewResponseController(x.w)
		_ = connection.SetReadDeadline(time.Now().Add(formDeadline)) // not every writer has one, and then nothing drips
		body, err := io.ReadAll(http.MaxBytesReader(x.w, x.r.Body, maxForm))
		if err == nil { // otherwise the server waits for the rest before it answers
			_ = connection.SetReadDeadline(time.Time{})
		}
		if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
			return nil, err
		}
		if err != nil {
			return nil, badRequest("UNSUPPORTED", "the form did not arrive whole")
		}
		raw = string(body)
	}
	if len(raw) > maxForm || strings.Count(raw, "&") >= maxFormParts {
		return nil, badRequest("UNSUPPORTED", "the request for a token is longer than %d bytes or has more than %d parameters", maxForm, maxFormParts)
	}
	form, err := url.ParseQuery(raw)
	if err != nil {
		return nil, badRequest("UNSUPPORTED", "the form is malformed")
	}
	for _, key := range []string{"service", "grant_type", "username", "password", "refresh_token", "access_type", "offline_token"} {
		if len(form[key]) > 1 {
			return nil, badRequest("UNSUPPORTED", "%s is there twice", key)
		}
	}
	return form, nil
}

// holder is who a token is for: by the password or refresh token of a form, by Basic credentials, or nobody.
func (g *Gateway) holder(x *exchange, form url.Values) (h clients.Holder, byPassword bool, err error) {
	shown := x.r.Header.Values("Authorization")
	grant := ""
	if x.r.Method == http.MethodPost { // never a password in a URL
		grant = form.Get("grant_type")
	}
	switch {
	case len(shown) > 1:
		err = clients.ErrCredentials
	case grant == "refresh_token":
		h, err = x.re.Clients.Refresh(form.Get("refresh_token"))
	case grant == "password":
		h, err = g.loginAs(x, form.Get("username"), form.Get("password"))
		byPassword = true
	case grant != "":
		return h, false, badRequest("UNSUPPORTED", "grant_type is password or refresh_token")
	case len(shown) == 1:
		basic, ok := cutScheme(shown[0], "Basic")
		if !ok {
			basic = ""
		}
		h, err = g.login(x, basic)
		byPassword = true
	case x.re.Clients.Anonymous():
		return clients.Holder{}, false, nil
	default:
		return h, false, g.noToken(clients.ErrCredentials)
	}
	g.metrics.login(err)
	return h, byPassword, g.noToken(err)
}

// cutScheme is the value of an Authorization header of a scheme.
func cutScheme(header, scheme string) (value string, ok bool) {
	found, value, ok := strings.Cut(header, " ")
	return value, ok && strings.EqualFold(found, scheme)
}

// noToken says why there is no token.
func (g *Gateway) noToken(err error) error {
	limited, unknown := new(clients.LimitedError), new(clients.IssuerError)
	switch {
	case err == nil || errors.As(err, &limited) || errors.As(err, &unknown):
		return err
	case errors.Is(err, clients.ErrCredentials):
		return &challengeError{header: `Basic realm="` + clients.Service + `"`, message: "sealgate: the name or the password is not right"}
	}
	if !errors.Is(err, context.Canceled) {
		g.log.Error("cannot give tokens", "error", err)
		return &requestError{http.StatusServiceUnavailable, "UNAVAILABLE", "sealgate: no tokens can be given now, try again in a moment"}
	}
	return err
}
