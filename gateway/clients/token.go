package clients

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/sealgate/sealgate/policy"
)

// Tokens follow the registry token specification of the distribution project ("Token Authentication Specification" and
// "OAuth 2.0 token authentication"): a JWT for minutes that names what it is for, and one for months that is good for
// nothing but new tokens.

// Service is the name under which clients ask for tokens.
const Service = "sealgate"

// How long tokens live. containerd counts on five minutes.
const (
	TokenTime   = 5 * time.Minute
	RefreshTime = 90 * 24 * time.Hour
)

const (
	issuer      = "sealgate"
	atRegistry  = Service            // the audience of tokens
	atTokenDesk = Service + "/token" // the audience of refresh tokens
	clockLeeway = 10 * time.Second   // for a clock that is set back
	maxToken    = 32 << 10           // bytes
	algorithm   = jose.ES256
)

type claims struct {
	jwt.Claims
	Access Access `json:"access,omitempty"`

	// Fingerprint is that of the holder's password, or of what makes it a workload, when the token was given.
	Fingerprint string `json:"fpr,omitempty"`

	// Issuer and Subject are those of the id-token that the token was given for.
	IDIssuer  string `json:"id_iss,omitempty"`
	IDSubject string `json:"id_sub,omitempty"`
}

// Token is what a client gets.
type Token struct {
	Text    string
	Issued  time.Time
	Expires time.Duration
}

// Issue gives a client a token for some access. What the client may do is decided when it is used.
func (d *Directory) Issue(h Holder, access Access) (Token, error) {
	if access == nil {
		access = Access{}
	}
	return d.issue(h, claims{Access: access}, atRegistry, TokenTime)
}

// IssueRefresh gives a client a token that stands for what it showed, at the token desk. Some get none: then Text is empty.
func (d *Directory) IssueRefresh(h Holder) (Token, error) {
	if !h.ends.IsZero() && !h.renewable {
		return Token{}, nil
	}
	return d.issue(h, claims{}, atTokenDesk, RefreshTime)
}

func (d *Directory) issue(h Holder, content claims, audience string, life time.Duration) (Token, error) {
	if !h.Anonymous() {
		var known bool
		if content.Fingerprint, known = d.fingerprint(h.Name); !known {
			return Token{}, ErrCredentials
		}
	}
	now := time.Now()
	if !h.ends.IsZero() {
		life = min(life, h.ends.Sub(now).Truncate(time.Second))
	}
	if life <= 0 {
		return Token{}, ErrCredentials // it ended meanwhile, or in the leeway of clocks
	}
	key, err := d.desk.keys.signer(now)
	if err != nil {
		return Token{}, err
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: key.Key}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return Token{}, fmt.Errorf("sign a token: %w", err)
	}
	content.IDIssuer, content.IDSubject = h.Issuer, h.Subject
	content.Claims = jwt.Claims{
		Issuer: issuer, Subject: h.Name, Audience: jwt.Audience{audience}, ID: rand.Text(),
		IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(life)),
	}
	text, err := jwt.Signed(signer).Claims(content).Serialize()
	if err != nil {
		return Token{}, fmt.Errorf("sign a token: %w", err)
	}
	return Token{Text: text, Issued: now.UTC().Truncate(time.Second), Expires: life}, nil
}

// Bearer says who holds a token of ours, and what it is for. The error is [ErrCredentials].
func (d *Directory) Bearer(token string) (policy.Client, Access, error) {
	c, err := d.holder(token, atRegistry)
	if err != nil {
		return policy.Client{}, nil, err
	}
	return c.client(d), c.Access, nil
}

// Refresh says who holds a refresh token. The error is [ErrCredentials].
func (d *Directory) Refresh(token string) (Holder, error) {
	c, err := d.holder(token, atTokenDesk)
	if err != nil || c.Subject == "" {
		return Holder{}, ErrCredentials
	}
	return Holder{Client: c.client(d), ends: c.Expiry.Time()}, nil
}

func (c *claims) client(d *Directory) policy.Client {
	client := d.client(c.Subject)
	client.Issuer, client.Subject = c.IDIssuer, c.IDSubject
	return client
}

// holder verifies a token and holds it against who is known now.
func (d *Directory) holder(token, audience string) (*claims, error) {
	c, err := d.desk.verify(token, audience)
	if err != nil {
		return nil, err
	}
	if c.Subject == "" {
		if !d.anonymous {
			return nil, ErrCredentials
		}
		return c, nil
	}
	fingerprint, known := d.fingerprint(c.Subject)
	if !known || subtle.ConstantTimeCompare([]byte(fingerprint), []byte(c.Fingerprint)) != 1 {
		return nil, ErrCredentials
	}
	return c, nil
}

// verify checks a token's signature, once, and its claims, each time.
func (d *Desk) verify(token, audience string) (*claims, error) {
	if len(token) > maxToken {
		return nil, ErrCredentials
	}
	now := time.Now()
	hash := sha256.Sum256([]byte(token))
	c, ok := d.verified.Get(hash)
	if !ok {
		var err error
		if c, err = d.open(token, now); err != nil {
			return nil, ErrCredentials // why is nobody's business who does not hold a key
		}
		d.verified.Add(hash, c)
	}
	if len(c.Audience) != 1 || c.Expiry == nil || c.NotBefore == nil || c.IssuedAt == nil || c.ID == "" {
		return nil, ErrCredentials // Validate takes what is absent for right
	}
	expected := jwt.Expected{Issuer: issuer, AnyAudience: jwt.Audience{audience}, Time: now}
	if c.ValidateWithLeeway(expected, clockLeeway) != nil {
		return nil, ErrCredentials
	}
	return c, nil
}

// open checks the signature by the key of ours that the token names, whatever keys and algorithms it brings itself.
func (d *Desk) open(token string, now time.Time) (*claims, error) {
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{algorithm})
	if err != nil {
		return nil, err
	}
	if len(parsed.Headers) != 1 || parsed.Headers[0].JSONWebKey != nil {
		return nil, ErrCredentials
	}
	key, ok := d.keys.public(parsed.Headers[0].KeyID, now)
	if !ok {
		return nil, ErrCredentials
	}
	c := new(claims)
	return c, parsed.Claims(key, c)
}
