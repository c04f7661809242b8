package gateway

import (
	"encoding/base64"
	"net/http"
	"slices"
	"strings"

	"github.com/sealgate/sealgate/gateway/upstream"
)

// Some registries are asked with the credentials of whoever asks us. Who he is, and what he may, is then for that registry to
// say: at every request, also where we have what he asks for. docs/decisions/0019 has the whole of it.

// forward gives a request the credentials that its client showed, for the registry of its repository and no other. Clients
// show them after a challenge, and learn of that by the ping: so the ping is challenged where there is such a registry.
func (x *exchange) forward() error {
	if x.re.Clients != nil {
		return nil // what clients show is for us
	}
	ping := x.t.Kind == Ping && slices.ContainsFunc(x.re.Registries.All(), (*upstream.Registry).ForwardsCallers)
	if !ping && (x.registry == nil || !x.registry.ForwardsCallers()) {
		return nil
	}
	shown := x.r.Header.Values("Authorization")
	if len(shown) == 0 {
		if ping {
			return callerChallenge
		}
		return nil // the registry may know something for everybody
	}

	basic, ok := cutScheme(shown[0], "Basic")
	if !ok || len(shown) > 1 {
		return callerChallenge
	}
	plain, err := base64.StdEncoding.Strict().DecodeString(basic)
	username, password, ok := strings.Cut(string(plain), ":")
	if err != nil || !ok {
		return callerChallenge
	}
	if x.registry != nil {
		x.r = x.r.WithContext(upstream.WithCaller(x.r.Context(), x.registry.Name(), upstream.Caller{Username: username, Password: password}))
	}
	return nil
}

// callerChallenge asks for credentials that are meant for the registry behind us.
var callerChallenge = &challengeError{
	header:  `Basic realm="the registry behind the gateway"`,
	message: "sealgate: the registry behind the gateway wants your credentials for it: docker login",
}

// refusedCaller is the answer where the registry does not take what the caller showed.
var refusedCaller = answer{
	status: http.StatusUnauthorized, code: "UNAUTHORIZED", message: callerChallenge.message, challenge: callerChallenge.header,
}
