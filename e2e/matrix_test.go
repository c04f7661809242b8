package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/sealgate/sealgate/gateway/ledger"
)

// The matrix: every way in which stock cosign vouches for an image, in registries with and without a referrers API, under
// everything that may be wrong. Exactly what is right is pulled, and every refusal says which of the reasons it is.
//
// A key signs with a timestamp, an identity with a certificate, a timestamp and an entry in a log: cosign 3 in a real Rekor v2,
// cosign 2 in a log of ours, because Rekor v1 needs a database server. cosign 2 also signs as an identity without a log.

// row is a way to vouch for an image.
type row struct {
	generation cosign
	keyless    bool
	logged     bool // in the log of its generation
	attests    bool // an attestation; otherwise a signature
}

func (r row) String() string {
	how := r.pick("-key", "-keyless")
	if r.keyless && !r.logged {
		how += "-unlogged"
	}
	return r.generation.name + how + map[bool]string{false: "-signs", true: "-attests"}[r.attests]
}

func rows() (all []row) {
	for _, attests := range []bool{false, true} {
		for _, generation := range []cosign{cosign2, cosign3} {
			all = append(all, row{generation: generation, attests: attests}, row{generation, true, true, attests})
		}
		all = append(all, row{cosign2, true, false, attests})
	}
	return all
}

// pick is what is meant for a key or for an identity.
func (r row) pick(key, identity string) string {
	if r.keyless {
		return identity
	}
	return key
}

// The predicate types of the rows' attestations, and of none.
const (
	reviewed = "https://acme.dev/review/v1"
	unheard  = "https://acme.dev/unheard/v1"
)

// column is something that may be wrong.
type column struct {
	name      string
	tag       string             // of the image: v1 where nothing else is said
	through   string             // direct, unreachable or throttled
	authority func(row) string   // that the policy asks for; nil for the right one
	demands   string             // a predicate type, or signature; empty for what the row has
	concerns  func(row) bool     // nil for every row
	status    int                // of a pull
	code      func(row) string   // the reason's
	cause     func(r row) string // its cause's code; or what the cause of an outage says
}

// right is the authority that vouches for a row.
func right(r row) string {
	if r.keyless && !r.logged {
		return "builder-unlogged"
	}
	return r.pick("release", "builder")
}

func always(text string) func(row) string { return func(row) string { return text } }

// lacking is the code of a refusal because the right one did not vouch.
func lacking(r row) string {
	if r.attests {
		return "NOT_ATTESTED"
	}
	return "UNTRUSTED"
}

func logTells(r row) bool { return r.logged && r.generation.name == cosign2.name }

func columns() []column {
	unlogged := func(r row) string { return map[bool]string{true: "", false: "-unlogged"}[r.logged] }
	return []column{
		{name: "right", status: http.StatusOK},
		{name: "right-beside-garbage", tag: "beside-garbage", status: http.StatusOK},
		{
			name: "wrong-identity", status: http.StatusForbidden, code: lacking,
			authority: func(r row) string { return r.pick("stranger", "mallory"+unlogged(r)) },
			cause:     func(r row) string { return r.pick("SIGNATURE_INVALID", "IDENTITY_MISMATCH") },
		},
		{name: "wrong-digest", tag: "other", status: http.StatusForbidden, code: lacking, cause: always("ARTIFACT_MISMATCH")},
		{name: "wrong-predicate", demands: unheard, status: http.StatusForbidden, code: always("NOT_ATTESTED"), cause: always("")},
		{
			// A certificate whose authority was not trusted any more when it signed, and a key that was not valid any more.
			name: "expired-chain", status: http.StatusForbidden, code: lacking,
			authority: func(r row) string { return r.pick("release-expired", "builder-lapsed"+unlogged(r)) },
			cause:     func(r row) string { return r.pick("KEY_OUTSIDE_VALIDITY", "CERTIFICATE_UNTRUSTED") },
		},
		{
			name: "foreign-authority", concerns: func(r row) bool { return r.keyless }, status: http.StatusForbidden, code: lacking,
			authority: func(r row) string { return "builder-foreign" + unlogged(r) }, cause: always("CERTIFICATE_UNTRUSTED"),
		},
		{
			name: "foreign-log", status: http.StatusForbidden, code: lacking,
			authority: func(r row) string { return r.pick("release-logged", "builder-elsewhere") }, cause: always("NOT_LOGGED"),
		},
		{
			name: "another-log-entry", tag: "swapped", concerns: func(r row) bool { return r.logged }, status: http.StatusForbidden, code: lacking, cause: always("LOG_ENTRY_INVALID"),
		},
		{
			// The promise of a log of the first generation holds a time; that of a newer one does not.
			name: "time-of-the-log", tag: "unstamped", concerns: func(r row) bool { return logTells(r) && r.attests }, status: http.StatusOK,
		},
		{
			name: "missing-timestamp", tag: "unstamped", concerns: func(r row) bool { return !logTells(r) }, status: http.StatusForbidden, code: lacking,
			authority: func(r row) string { return r.pick("release-bounded", right(r)) }, cause: always("TIMESTAMP_MISSING"),
		},
		{
			name: "attestation-as-signature", tag: "posing", concerns: func(r row) bool { return r.attests }, demands: "signature",
			status: http.StatusForbidden, code: always("UNTRUSTED"), cause: always("NOT_A_SIGNATURE"),
		},
		{name: "garbage", tag: "garbage", status: http.StatusForbidden, code: lacking, cause: always("BUNDLE_MALFORMED")},
		{name: "nothing", tag: "bare", status: http.StatusForbidden, code: func(r row) string {
			if r.attests {
				return "NOT_ATTESTED"
			}
			return "UNSIGNED"
		}, cause: always("")},
		{name: "unreachable", tag: "beside-garbage", through: "unreachable", status: http.StatusServiceUnavailable, cause: always("fetch blob " + digest.FromBytes(garbage).String())},
		{name: "throttled", through: "throttled", status: http.StatusServiceUnavailable, cause: always("429")},
	}
}

func TestTheMatrixOfWhatStockCosignSigns(t *testing.T) {
	kit, s := need(t, suite.images), need(t, suite.sigstore)
	for name, start := range map[string]func(*testing.T) shelf{
		"a registry without a referrers API": func(t *testing.T) shelf { return startRegistry(t) },
		"a registry with a referrers API": func(t *testing.T) shelf {
			return startGateway(t, `
policies:
  - {name: all, repositories: ["**"], pull: {admit_unverified: true}, push: {accept_unsealed: true}}
`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			at := start(t)
			t.Run("is filled", func(t *testing.T) {
				for _, r := range rows() {
					t.Run(r.String(), func(t *testing.T) {
						t.Parallel()
						fill(t, at, kit, s, r)
					})
				}
			})
			if t.Failed() {
				return
			}
			for _, c := range columns() {
				t.Run(c.name, func(t *testing.T) {
					t.Parallel()
					// A gateway for each, that knows no other authorities: what one of them accepts is no cause for another.
					gw := startGateway(t, c.config(t, at, s), "stranger")
					for _, r := range c.rows() {
						t.Run(r.String(), func(t *testing.T) { c.check(t, gw, r) })
					}
				})
			}
		})
	}
}

// vouch signs or attests an image with stock cosign.
func (r row) vouch(t *testing.T, s *sigstore, image string) {
	t.Helper()
	args := []string{"sign"}
	if r.attests {
		args = []string{"attest", "--type", reviewed, "--predicate", need(t, suite.keys).predicate()}
	}
	if r.keyless {
		flags, err := s.signing(r.generation, builder, r.logged)
		if err != nil {
			t.Fatal(err)
		}
		args = append(args, flags...)
	} else {
		args = append(args, "--yes", "--key", need(t, suite.keys).private("release"), "--timestamp-server-url", s.timestamp+"/api/v1/timestamp")
		args = append(args, r.generation.sign...)
	}
	r.generation.run(t, append(args, image)...).ok(t)
}

// fill puts all images of a row on the shelf, with what hangs on them.
func fill(t *testing.T, at shelf, kit *imageKit, s *sigstore, r row) {
	repo := r.String()
	image := func(tag string) document {
		put(t, at.ref(repo)+":"+tag, kit.image(t, nonroot, repo+" "+tag))
		return fetchDocument(t, at.ref(repo)+":"+tag)
	}
	signed := func(tag string) (document, string) {
		d := image(tag)
		pinned := d.descriptor()["digest"].(string)
		r.vouch(t, s, at.ref(repo)+"@"+pinned)
		return d, pinned
	}

	_, pinned := signed("v1")
	good := attachedTo(t, at, repo, pinned, r)
	image("bare")
	attachGarbage(t, at, repo, image("garbage"))
	good.attach(t, at, repo, image("other"), nil, nil)

	beside, _ := signed("beside-garbage")
	attachGarbage(t, at, repo, beside)

	// The rest are one image that was signed, in other repositories, with its evidence changed.
	unstamped := func(m fields) { delete(annotationsOf(m), "dev.sigstore.cosign/rfc3161timestamp") }
	if good.suffix == "" {
		unstamped = nil
	}
	transplant(t, at, repo, "unstamped", kit, good, pinned, unstamped, func(b fields) {
		delete(b["verificationMaterial"].(fields), "timestampVerificationData")
	})
	if r.logged {
		_, other := signed("another")
		foreign := attachedTo(t, at, repo, other, r)
		const entry = "dev.sigstore.cosign/bundle"
		inTag := func(m fields) { annotationsOf(m)[entry] = annotationsOf(foreign.fields(t))[entry] }
		inBundle := func(b fields) {
			b["verificationMaterial"].(fields)["tlogEntries"] = decodeFields(t, foreign.bundle)["verificationMaterial"].(fields)["tlogEntries"]
		}
		if good.suffix == "" {
			inTag = nil
		}
		transplant(t, at, repo, "swapped", kit, good, pinned, inTag, inBundle)
	}
	if r.attests {
		posing := good
		if good.suffix != "" {
			posing.suffix = ".sig"
		}
		transplant(t, at, repo, "posing", kit, posing, pinned, func(m fields) {
			if posing.suffix == "" {
				m["annotations"].(fields)["dev.sigstore.bundle.predicateType"] = "https://sigstore.dev/cosign/sign/v1"
			}
		}, nil)
	}
}

// annotationsOf are those of the one layer under a tag of cosign 2.
func annotationsOf(m fields) fields { return m["layers"].([]any)[0].(fields)["annotations"].(fields) }

// transplant puts the image v1 of a repository into one of its own, with evidence that was changed on the way.
func transplant(t *testing.T, at shelf, repo, to string, kit *imageKit, e evidence, pinned string, change, changeBundle func(fields)) {
	t.Helper()
	into := repo + "-" + to
	put(t, at.ref(into)+":"+to, kit.image(t, nonroot, repo+" v1"))
	subject := fetchDocument(t, at.ref(into)+":"+to)
	if got := subject.descriptor()["digest"]; got != pinned {
		t.Fatalf("%s is %s, want the very image %s", into, got, pinned)
	}
	for _, part := range append(e.fields(t)["layers"].([]any), e.fields(t)["config"]) {
		from, blob := at.ref(repo), part.(fields)["digest"].(string)
		putBlob(t, at, into, readBlob(t, from+"@"+blob))
	}
	e.attach(t, at, into, subject, change, changeBundle)
}

// check pulls, and looks at what was decided.
func (c column) check(t *testing.T, gw *gateway, r row) {
	repo, tag := r.String(), "v1"
	switch c.tag {
	case "":
	case "unstamped", "swapped", "posing":
		repo, tag = repo+"-"+c.tag, c.tag
	default:
		tag = c.tag
	}
	if got := gw.status(t, http.MethodGet, repo, tag); got != c.status {
		t.Errorf("a pull of %s:%s is answered %d, want %d", repo, tag, got, c.status)
	}
	decisions := gw.decisions(t, repo)
	if len(decisions) == 0 {
		t.Fatal("nothing was decided")
	}
	d := decisions[len(decisions)-1]
	switch c.status {
	case http.StatusOK:
		cranePull(t, gw.ref(repo+":"+tag)).ok(t)
		if d.Outcome != ledger.Admit || len(d.Evidence) == 0 {
			t.Errorf("decided %+v, want an admit that rests on evidence", d)
		}
	case http.StatusForbidden:
		want, causes := c.code(r), []string{}
		if cause := c.cause(r); cause != "" {
			causes = append(causes, cause)
		}
		if len(d.Reasons) != 1 || string(d.Reasons[0].Code) != want || !slices.Equal(d.Reasons[0].Causes, causes) && len(d.Reasons[0].Causes)+len(causes) > 0 {
			t.Errorf("refused because of %+v, want %s and %q", d.Reasons, want, causes)
		}
		cranePull(t, gw.ref(repo+":"+tag)).fails(t).has(t, `is refused by policy "`+r.String()+`"`)
	default:
		if d.Outcome != ledger.Undecided || !strings.Contains(d.Cause, c.cause(r)) {
			t.Errorf("decided %+v, want undecided because of %q", d, c.cause(r))
		}
	}
}

// rows are those that a column concerns.
func (c column) rows() []row {
	return slices.DeleteFunc(rows(), func(r row) bool { return c.concerns != nil && !c.concerns(r) })
}

// config has a policy for each row, and the authorities that they ask for.
func (c column) config(t *testing.T, at shelf, s *sigstore) string {
	t.Helper()
	behind := "http://" + strings.TrimSuffix(at.ref(""), "/")
	if c.through != "" {
		behind = startFaults(t, behind, c.through == "unreachable")
	}

	var authorities, policies strings.Builder
	written := map[string]bool{}
	for _, r := range c.rows() {
		authority := right(r)
		if c.authority != nil {
			authority = c.authority(r)
		}
		if !written[authority] {
			written[authority] = true
			fmt.Fprintf(&authorities, "  - {name: %s, %s}\n", authority, s.authority(authority))
		}
		demand := fmt.Sprintf("signed_by: {any: [%s]}", authority)
		if predicate := c.predicate(r); predicate != "" {
			demand = fmt.Sprintf("attested: [{predicate: %q, by: {any: [%s]}}]", predicate, authority)
		}
		fmt.Fprintf(&policies, "  - {name: %s, repositories: [%q, %q], pull: {%s}}\n", r, r.String(), r.String()+"-*", demand)
	}
	return fmt.Sprintf("registries: [{name: up, url: %q}]\nauthorities:\n%spolicies:\n%s", behind, &authorities, &policies)
}

// authority is somebody whom somebody may trust, as a configuration names him. What ends in unlogged needs no log entry.
func (s *sigstore) authority(name string) string {
	switch whole := s.roots[wholeRoot]; name {
	case "release", "stranger":
		return fmt.Sprintf("key: {file: %s.pub}", name)
	case "release-expired":
		return "key: {file: release.pub, valid_until: 2020-01-01, trusted_root: " + whole + "}"
	case "release-bounded":
		return "key: {file: release.pub, valid_from: 2020-01-01, trusted_root: " + whole + "}"
	case "release-logged":
		return "key: {file: release.pub, logged: true, trusted_root: " + whole + "}"
	}
	name, unlogged := strings.CutSuffix(name, "-unlogged")
	who := map[string][2]string{
		"builder": {builder, wholeRoot}, "mallory": {anybodyElse, wholeRoot}, "builder-lapsed": {builder, lapsedRoot},
		"builder-elsewhere": {builder, foreignLogRoot}, "builder-foreign": {builder, foreignCARoot},
	}[name]
	return fmt.Sprintf("keyless: {issuer: %q, subject: %s, trusted_root: %s, without_transparency_log_unsafe: %v}",
		s.issuer.url, who[0], s.roots[who[1]], unlogged)
}

// predicate is what a policy wants to be attested, empty for a signature.
func (c column) predicate(r row) string {
	switch {
	case c.demands == "signature":
		return ""
	case c.demands != "":
		return c.demands
	case r.attests:
		return reviewed
	}
	return ""
}

// startFaults is a registry of which something cannot be read: one of the bundles that refer to an image, or the list of what
// refers to it. All else is as it is.
func startFaults(t *testing.T, behind string, oneBundle bool) string {
	t.Helper()
	to, err := url.Parse(behind)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fallbackTag := strings.HasPrefix(path.Base(r.URL.Path), "sha256-") && path.Ext(r.URL.Path) == ""
		switch {
		case oneBundle && strings.HasSuffix(r.URL.Path, "/blobs/"+digest.FromBytes(garbage).String()):
			w.WriteHeader(http.StatusBadGateway)
		case !oneBundle && (strings.Contains(r.URL.Path, "/referrers/") || fallbackTag):
			w.WriteHeader(http.StatusTooManyRequests)
		default:
			proxy.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}
