package gateway

import (
	"encoding/json"
	"net/url"
	"path"
	"reflect"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/sealgate/sealgate/policy"
)

// summaryType is SLSA's verification summary: https://slsa.dev/spec/v1.0/verification_summary.
const summaryType = "https://slsa.dev/verification_summary/v1"

// project names who verifies, where no address of this gateway is configured.
const project = "https://github.com/sealgate/sealgate"

// summaryRenewal is how old a summary may be before the same is said again: so old may a policy that limits its age at least
// let it become.
const summaryRenewal = 24 * time.Hour

// The levels that a summary names. Names of one's own must not begin with SLSA_.
const checkedLevel = "SEALGATE_CHECKED" // the image passed the checks of the push rule

// summary is the predicate. Fields of our own are named as SLSA asks extensions to be: <vendor>_<field>.
type summary struct {
	Verifier struct {
		ID string `json:"id"`
	} `json:"verifier"`
	Verified time.Time  `json:"timeVerified"`
	Resource string     `json:"resourceUri"` // a purl, which names the digest as well
	Policy   resource   `json:"policy"`
	Inputs   []resource `json:"inputAttestations,omitempty"`
	Result   string     `json:"verificationResult"`
	Levels   []string   `json:"verifiedLevels"`

	// Pusher is who pushed the image first under this policy, as far as we asked; empty where clients are not asked.
	Pusher string `json:"sealgate_pusher,omitempty"`

	// Who vouches for the pusher and what it calls it, where it showed an id-token or a certificate: which job it was.
	PusherIssuer  string `json:"sealgate_pusher_issuer,omitempty"`
	PusherSubject string `json:"sealgate_pusher_subject,omitempty"`
}

// resource is in-toto's ResourceDescriptor.
type resource struct {
	URI       string            `json:"uri,omitempty"`
	Digest    map[string]string `json:"digest"`
	MediaType string            `json:"mediaType,omitempty"`
}

// statements are what the seal of an admitted subject says beside the signature: what was found, then the summary of the
// verdict that rests on it.
func (g *Gateway) statements(x *exchange, s policy.Subject, found ...policy.Statement) ([]policy.Statement, error) {
	if !x.rule.Summarizes() {
		return found, nil
	}
	said, err := g.summarize(x, s, found, time.Now())
	if err != nil {
		return nil, err
	}
	return append(found, said), nil
}

// summarize words the verdict. An input is named by the digest of its statement, the bytes that get signed: it is the same in
// every envelope.
func (g *Gateway) summarize(x *exchange, s policy.Subject, found []policy.Statement, at time.Time) (policy.Statement, error) {
	said := summary{
		Verified: at.UTC().Truncate(time.Second), Resource: packageURL(g.sealName(s), s),
		Result: "PASSED", Levels: []string{checkedLevel}, Pusher: x.identity(),
		PusherIssuer: x.Issuer, PusherSubject: shorten(x.Subject, maxSubject),
	}
	said.Verifier.ID = g.externalURL
	if said.Verifier.ID == "" {
		said.Verifier.ID = project
	}
	said.Policy = resource{
		URI:    said.Verifier.ID + "#policy/" + url.PathEscape(x.rule.Name()),
		Digest: map[string]string{"sha256": x.re.Policy.Digest()},
	}
	for _, input := range found {
		signed, err := input.Encode(s.Digest)
		if err != nil {
			return policy.Statement{}, err
		}
		said.Inputs = append(said.Inputs, resource{
			URI: input.PredicateType, Digest: map[string]string{"sha256": digest.FromBytes(signed).Encoded()}, MediaType: "application/vnd.in-toto+json",
		})
	}
	raw, err := json.Marshal(said)
	if err != nil {
		return policy.Statement{}, err
	}
	return policy.Statement{
		PredicateType: summaryType, Predicate: raw, Time: said.Verified,
		Same: func(attached []byte) bool { return said.isSaid(attached) },
	}, nil
}

// isSaid reports that an attached summary says the same and is not due to be said again. It may be somebody else's push.
func (said summary) isSaid(attached []byte) bool {
	var there summary
	if json.Unmarshal(attached, &there) != nil {
		return false
	}
	age := said.Verified.Sub(there.Verified)
	there.Verified, there.Pusher = said.Verified, said.Pusher
	there.PusherIssuer, there.PusherSubject = said.PusherIssuer, said.PusherSubject
	return reflect.DeepEqual(there, said) && age < summaryRenewal && age > -summaryRenewal
}

// packageURL is the image as https://github.com/package-url/purl-spec has it. A tag is no part of it: it moves.
func packageURL(name string, s policy.Subject) string {
	return "pkg:oci/" + path.Base(s.Repo) + "@" + s.Digest.Algorithm().String() + "%3A" + s.Digest.Encoded() + "?repository_url=" + name
}
