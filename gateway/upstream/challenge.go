package upstream

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// challenge is how a registry wants to be authenticated to.
type challenge struct {
	scheme         string
	realm, service string // of a bearer challenge
}

const (
	schemeNone   = "none"
	schemeBasic  = "basic"
	schemeBearer = "bearer"
)

// pickChallenge reads WWW-Authenticate lines and chooses: bearer before basic, whatever else is offered. ok is false when
// neither is there.
func pickChallenge(lines []string) (chosen challenge, ok bool) {
	for _, line := range lines[:min(len(lines), maxChallenges)] {
		for _, c := range parseChallenges(line) {
			if c.scheme == schemeBearer && c.realm != "" {
				return c, true
			}
			if c.scheme == schemeBasic && !ok {
				chosen, ok = c, true
			}
		}
	}
	return chosen, ok
}

// parseChallenges reads one line: "challenge = auth-scheme [ 1*SP ( token68 / #auth-param ) ]" (RFC 9110, 11.3), several
// of them behind commas. It stops where it does not understand.
func parseChallenges(line string) []challenge {
	if len(line) > maxChallenge {
		return nil
	}
	var list []challenge
	for parts, s := 0, line; parts < maxChallengePart*maxChallenges; parts++ {
		s = strings.TrimLeft(s, " \t,")
		word, rest := cutToken(s)
		if word == "" {
			break
		}
		value, after, ok := cutValue(rest)
		if !ok {
			list, s = append(list, challenge{scheme: strings.ToLower(word)}), rest
			continue
		}
		if len(list) == 0 {
			break
		}
		switch last := &list[len(list)-1]; strings.ToLower(word) {
		case "realm":
			last.realm = value
		case "service":
			last.service = value
		}
		s = after
	}
	return list
}

// cutToken takes a token off the front.
func cutToken(s string) (token, rest string) {
	end := strings.IndexFunc(s, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("!#$%&'*+-.^_`|~", c)
	})
	if end < 0 {
		end = len(s)
	}
	return s[:end], s[end:]
}

// cutValue takes ="value" or =value off the front.
func cutValue(s string) (value, rest string, ok bool) {
	s, ok = strings.CutPrefix(strings.TrimLeft(s, " \t"), "=")
	if !ok {
		return "", "", false
	}
	s = strings.TrimLeft(s, " \t")
	if !strings.HasPrefix(s, `"`) {
		value, rest = cutToken(s)
		return value, rest, value != ""
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			return b.String(), s[i+1:], true
		case '\\':
			i++
			if i == len(s) {
				return "", "", false
			}
		}
		b.WriteByte(s[i])
	}
	return "", "", false
}

// checkRealm holds a token realm to where the credentials may go: the registry's own origin, or a host that is allowed by
// name, by https.
func (c *credentials) checkRealm(realm string) error {
	u, err := url.Parse(realm)
	if err != nil || u.Opaque != "" || u.User != nil || u.Hostname() == "" {
		return errors.New("the token realm is no usable URL")
	}
	if sameOrigin(u, c.origin) || u.Scheme == "https" && c.tokenHosts[hostPort(u)] {
		return nil
	}
	return fmt.Errorf("the token realm %s://%s is at another origin than the registry and not an allowed token host", clean(u.Scheme), clean(u.Host))
}
