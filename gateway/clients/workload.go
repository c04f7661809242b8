package clients

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/policy/strictjson"
)

// Workload is a client that is a program: it shows an id-token that its platform gave it, for minutes, where people have a
// password. It is immutable.
type Workload struct {
	Name     string // in policies
	Issuer   *Issuer
	Audience string // that its tokens are for, and for nobody else
	Match    []Claim

	// Session is how long the tokens that are given for an id-token can be renewed, from when it was shown. Zero: nothing
	// outlives the id-token.
	Session time.Duration
}

// Claim is something that an id-token must say.
type Claim struct {
	// Pointer finds the claim: a name at the top, or a JSON pointer (RFC 6901), such as
	// /kubernetes.io/serviceaccount/name.
	Pointer string

	Is   []string         // one of these, exactly
	Like []policy.Pattern // or one of these
	Text []string         // of Like, as written
}

// Bounds of id-tokens.
const (
	maxIDToken     = 16 << 10 // bytes
	maxIDTokenLife = 24 * time.Hour
	clockSkew      = 30 * time.Second // between an issuer's clock and ours

	// MaxSession bounds [Workload.Session].
	MaxSession = 24 * time.Hour
)

// idAlgorithms are those of public keys alone: with a secret of both sides, or with none, anybody could sign.
var idAlgorithms = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
}

// ErrForeign says that a text is no id-token of an issuer that is known here: it may be a password, or a token of ours.
var ErrForeign = errors.New("no id-token of an issuer that is known here")

// idToken is an id-token whose signature was checked.
type idToken struct {
	Issuer    string           `json:"iss"`
	Subject   string           `json:"sub"`
	Audience  jwt.Audience     `json:"aud"`
	Expiry    *jwt.NumericDate `json:"exp"`
	NotBefore *jwt.NumericDate `json:"nbf"`
	IssuedAt  *jwt.NumericDate `json:"iat"`

	claims map[string]any
	keys   *keySet // that the signature was checked with
}

// Workload says whose id-token a text is. The error is [ErrForeign], [ErrCredentials] with what is wrong, an [*IssuerError],
// or the context's.
func (d *Directory) Workload(ctx context.Context, text string) (Holder, error) {
	if len(d.workloads) == 0 {
		return Holder{}, ErrForeign
	}
	var candidates []Workload
	issuer := unverifiedIssuer(text)
	for _, w := range d.workloads {
		if issuer != "" && w.Issuer.url == issuer {
			candidates = append(candidates, w)
		}
	}
	if len(candidates) == 0 {
		return Holder{}, ErrForeign
	}
	token, err := d.desk.openIDToken(ctx, candidates[0].Issuer, text)
	if err != nil {
		return Holder{}, err
	}
	now := time.Now()
	if err := token.checkTimes(now); err != nil {
		return Holder{}, err
	}

	var why error // what is wrong for the first
	for _, w := range candidates {
		err := w.check(token)
		if err == nil {
			return w.holder(d, token, now), nil
		}
		if why == nil {
			why = err
		}
	}
	return Holder{}, why
}

func (w Workload) holder(d *Directory, token *idToken, now time.Time) Holder {
	h := Holder{Client: d.client(w.Name), ends: token.Expiry.Time()}
	h.Issuer, h.Subject = token.Issuer, token.Subject
	if w.Session > 0 {
		h.renewable = true
		if session := now.Add(w.Session); session.After(h.ends) {
			h.ends = session
		}
	}
	return h
}

// unverifiedIssuer is who a text says made it, when it looks like an id-token. It only chooses whose keys are tried.
func unverifiedIssuer(text string) string {
	if len(text) > maxIDToken || strings.Count(text, ".") != 2 {
		return ""
	}
	_, rest, _ := strings.Cut(text, ".")
	payload, _, _ := strings.Cut(rest, ".")
	raw, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil {
		return ""
	}
	var probe struct {
		Issuer string `json:"iss"`
	}
	if json.Unmarshal(raw, &probe) != nil {
		return ""
	}
	return probe.Issuer
}

// openIDToken checks an id-token's signature by its issuer's keys of this moment, once for each set of keys.
func (d *Desk) openIDToken(ctx context.Context, issuer *Issuer, text string) (*idToken, error) {
	signed, err := jose.ParseSignedCompact(text, idAlgorithms)
	if err != nil {
		return nil, refused("it is malformed, or its algorithm is not one of public keys")
	}
	header := signed.Signatures[0].Protected
	key, keys, err := issuer.key(ctx, header.KeyID) // whatever keys the header brings itself
	if err != nil {
		return nil, err
	}
	hash := sha256.Sum256([]byte(text))
	if known, ok := d.idTokens.Get(hash); ok && known.keys == keys {
		return known, nil
	}

	if key.Algorithm != "" && key.Algorithm != header.Algorithm {
		return nil, refused("it is signed by %.16s, and the key %.64q is for %.16s", header.Algorithm, header.KeyID, key.Algorithm)
	}
	payload, err := signed.Verify(key.Key)
	if err != nil {
		return nil, refused("its signature is not by the issuer's key %.64q", header.KeyID)
	}
	token := &idToken{keys: keys}
	if err := strictjson.Decode(payload, token); err != nil {
		return nil, refused("its claims have no one reading: %.200s", err.Error())
	}
	numbers := json.NewDecoder(bytes.NewReader(payload))
	numbers.UseNumber() // 12345678901 stays what it is
	if err := numbers.Decode(&token.claims); err != nil {
		return nil, refused("its claims are malformed")
	}
	if token.Issuer != issuer.url {
		return nil, refused("its issuer is %.100q", token.Issuer)
	}
	d.idTokens.Add(hash, token)
	return token, nil
}

func (t *idToken) checkTimes(now time.Time) error {
	switch {
	case t.Expiry == nil || t.IssuedAt == nil:
		return refused("it does not say from when to when it is good (iat, exp)")
	case !now.Before(t.Expiry.Time().Add(clockSkew)):
		return refused("it ended at %s", t.Expiry.Time().UTC().Format(time.RFC3339))
	case t.IssuedAt.Time().After(now.Add(clockSkew)) || t.NotBefore != nil && t.NotBefore.Time().After(now.Add(clockSkew)):
		return refused("it is from the future: compare the clocks")
	case t.Expiry.Time().Sub(t.IssuedAt.Time()) > maxIDTokenLife:
		return refused("it is good for more than %s", maxIDTokenLife)
	}
	return nil
}

// check says what of an id-token is not the workload's.
func (w Workload) check(t *idToken) error {
	// A token that is for others as well is one that those others could show here.
	if len(t.Audience) != 1 || t.Audience[0] != w.Audience {
		return refused("it is for the audience %.100q, and %s asks for %.100q alone", []string(t.Audience), w.Name, w.Audience)
	}
	if len(w.Match) == 0 {
		return refused("%s matches nothing", w.Name)
	}
	for _, claim := range w.Match {
		if !claim.matches(t.claims) {
			return refused("its claim %.100s is not what %s asks for", claim.Pointer, w.Name)
		}
	}
	return nil
}

func (c Claim) matches(claims map[string]any) bool {
	value, ok := c.find(claims)
	if !ok {
		return false
	}
	if list, ok := value.([]any); ok {
		return slices.ContainsFunc(list, c.matchesValue)
	}
	return c.matchesValue(value)
}

func (c Claim) matchesValue(value any) bool {
	var text string
	switch value := value.(type) {
	case string:
		text = value
	case json.Number:
		text = value.String()
	case bool:
		text = fmt.Sprint(value)
	default:
		return false
	}
	return text != "" && (slices.Contains(c.Is, text) || slices.ContainsFunc(c.Like, func(p policy.Pattern) bool { return p.Match(text) }))
}

var unescapePointer = strings.NewReplacer("~1", "/", "~0", "~")

// find follows the pointer through objects. Places in lists are not counted: their order means nothing in claims.
func (c Claim) find(claims map[string]any) (any, bool) {
	rest, ok := strings.CutPrefix(c.Pointer, "/")
	if !ok {
		value, ok := claims[c.Pointer]
		return value, ok
	}
	var value any = claims
	for name := range strings.SplitSeq(rest, "/") {
		object, ok := value.(map[string]any)
		if !ok {
			return nil, false
		}
		if value, ok = object[unescapePointer.Replace(name)]; !ok {
			return nil, false
		}
	}
	return value, true
}

// fingerprint names the workload's definition: a token of ours is worth nothing under another one.
func (w Workload) fingerprint() string {
	type claim struct {
		Pointer  string
		Is, Like []string
	}
	var claims []claim
	for _, c := range w.Match {
		claims = append(claims, claim{c.Pointer, c.Is, c.Text})
	}
	raw, err := json.Marshal([]any{"sealgate workload", w.Name, w.Issuer.url, w.Audience, claims, w.Session})
	if err != nil {
		panic("clients: plain values always marshal: " + err.Error())
	}
	sum := sha256.Sum256(raw)
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

// refused is [ErrCredentials] with why, for the log of whoever keeps the gateway. Clients are not told.
func refused(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrCredentials, fmt.Sprintf(format, args...))
}
