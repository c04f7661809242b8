package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/sealgate/sealgate/verifier"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/testing/ca"
	"github.com/sigstore/sigstore-go/pkg/testing/data"
)

// decisive says what one setting of an authority decides: with it as it is a signature is the authority's, and with another
// value, which does not match, the same signature is not.
type decisive struct {
	authority Authority
	signed    signedBundle
	change    func(*Authority)
	code      verifier.FailureCode
	never     string // instead of all that: why the setting cannot make a difference
}

type signedBundle struct {
	bundle *bundle.Bundle
	digest digest.Digest
}

// Each setting of an authority has a flip, or the reason why it cannot have one. A new setting needs a line in authorityFlips.
func TestEachSettingOfAnAuthorityDecides(t *testing.T) {
	t.Parallel()
	flips := authorityFlips(t)
	walked := map[string]bool{}
	var walk func(typ reflect.Type, prefix string)
	walk = func(typ reflect.Type, prefix string) {
		for key, field := range keysOf(typ) {
			path := prefix + key
			if field.Kind() == reflect.Pointer {
				field = field.Elem()
			}
			if field.Kind() == reflect.Struct && field != reflect.TypeFor[Moment]() {
				walk(field, path+".")
				continue
			}
			walked[path] = true
			f, ok := flips[path]
			switch {
			case !ok:
				t.Errorf("%s has no flip: write in authorityFlips which signature it decides about", path)
			case f.never == "":
				f.try(t, path)
			}
		}
	}
	walk(reflect.TypeFor[Authority](), "")
	for path := range flips {
		if !walked[path] {
			t.Errorf("%s is no setting of an authority any more", path)
		}
	}
}

func (f decisive) try(t *testing.T, path string) {
	t.Helper()
	check := func() error {
		a, where, err := openAuthority(t.Context(), nil, f.authority, nil, nil, func(string, ...any) {})
		if err != nil {
			t.Errorf("%s: %s: %v", path, where, err)
			return nil
		}
		_, err = a.CheckBundle(f.signed.bundle, f.signed.digest)
		return err
	}
	if err := check(); err != nil {
		t.Errorf("%s: not the authority's before it was changed: %v", path, err)
	}
	f.change(&f.authority)
	why, ok := errors.AsType[*verifier.Failure](check())
	if !ok || why.Code != f.code {
		t.Errorf("%s: got %+v, want %s", path, why, f.code)
	}
}

func authorityFlips(t *testing.T) map[string]decisive {
	t.Helper()
	s, other := newDeployment(t), newDeployment(t)
	leaf, secret, err := s.virtual.GenerateLeafCert("release@acme.example", "https://issuer.example")
	if err != nil {
		t.Fatal(err)
	}
	key := secret.(*ecdsa.PrivateKey)
	stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	release, another := s.publicKey(t, "release", key), s.publicKey(t, "another", stranger)
	keyed, certified := s.sign(t, key, nil), s.sign(t, key, leaf)

	withKey := func(k PublicKey, code verifier.FailureCode, change func(*PublicKey)) decisive {
		k.File = release
		return decisive{authority: Authority{Name: "a", Key: k}, signed: keyed, code: code, change: func(a *Authority) { change(&a.Key) }}
	}
	timed := PublicKey{ValidFrom: "2020-01-01", TrustedRoot: s.root}

	unlogged := Keyless{
		Issuer: "https://issuer.example", Subject: "release@acme.example", TrustedRoot: s.root, WithoutTransparencyLogUnsafe: true, WithoutSCTUnsafe: true,
	}
	withIdentity := func(k Keyless, signed signedBundle, code verifier.FailureCode, change func(*Keyless)) decisive {
		return decisive{authority: Authority{Name: "a", Keyless: &k}, signed: signed, code: code, change: func(a *Authority) { change(a.Keyless) }}
	}
	// A workflow of GitHub's, in the public logs.
	published := publishedProvenance(t)
	const repository, workflow = "https://github.com/sigstore/sigstore-js", "https://github.com/sigstore/sigstore-js/.github/workflows/release.yml@refs/heads/main"
	workflowOf := func(change func(*Keyless)) decisive {
		return withIdentity(Keyless{
			Issuer: "https://token.actions.githubusercontent.com", Subject: workflow, SourceRepository: repository, SourceRef: "refs/heads/main",
			Workflow: workflow, Trigger: "push", TrustedRoot: publicGood, Runner: "github-hosted",
			SourceOwner: "https://github.com/sigstore", SourceRepositoryID: "495574555", SourceOwnerID: "71096353",
		}, published, verifier.IdentityMismatch, change)
	}
	withGitHub := func(g GitHub, code verifier.FailureCode, change func(*GitHub)) decisive {
		return decisive{authority: Authority{Name: "a", GitHub: &g}, signed: published, code: code, change: func(a *Authority) { change(a.GitHub) }}
	}
	onGitHub := func(code verifier.FailureCode, change func(*GitHub)) decisive {
		return withGitHub(GitHub{
			Repository: "sigstore/sigstore-js", RepositoryID: "495574555", OwnerID: "71096353", Workflow: ".github/workflows/release.yml",
			Ref: []string{"refs/heads/main"}, Trigger: "push", Runner: "github-hosted", TrustedRoot: publicGood,
		}, code, change)
	}

	withChain := func(code verifier.FailureCode, change func(*Certificate)) decisive {
		c := Certificate{
			Roots: s.roots, Intermediates: s.intermediates, Issuer: "https://issuer.example", Subject: "release@acme.example", TrustedRoot: s.root,
		}
		return decisive{authority: Authority{Name: "a", Certificate: &c}, signed: certified, code: code, change: func(a *Authority) { change(a.Certificate) }}
	}

	return map[string]decisive{
		"name":            {never: "a name is what policies call an authority"},
		"signer":          {never: "names a signer, whose key it is: see package e2e, where seals are pulled"},
		"key.kms":         {never: "is where the key is; another key is key.file's flip, see package verifier's and signer's tests of KMS"},
		"key.fingerprint": {never: "does not load with another key: see the tests of publickey.go"},

		"key.file":         withKey(PublicKey{}, verifier.SignatureInvalid, func(k *PublicKey) { k.File = another }),
		"key.valid_from":   withKey(timed, verifier.KeyOutsideValidity, func(k *PublicKey) { k.ValidFrom = "2120-01-01" }),
		"key.valid_until":  withKey(PublicKey{ValidUntil: "2120-01-01", TrustedRoot: s.root}, verifier.KeyOutsideValidity, func(k *PublicKey) { k.ValidUntil = "2020-01-01" }),
		"key.revoked":      withKey(PublicKey{}, verifier.KeyRevoked, func(k *PublicKey) { k.Revoked = true }),
		"key.logged":       withKey(timed, verifier.NotLogged, func(k *PublicKey) { k.Logged = true }),
		"key.trusted_root": withKey(timed, verifier.TimestampInvalid, func(k *PublicKey) { k.TrustedRoot = other.root }),

		"keyless.issuer":               workflowOf(func(k *Keyless) { k.Issuer += "/" }),
		"keyless.subject":              workflowOf(func(k *Keyless) { k.Subject += "2" }),
		"keyless.source_repository":    workflowOf(func(k *Keyless) { k.SourceRepository += "2" }),
		"keyless.source_ref":           workflowOf(func(k *Keyless) { k.SourceRef += "2" }),
		"keyless.workflow":             workflowOf(func(k *Keyless) { k.Workflow += "2" }),
		"keyless.trigger":              workflowOf(func(k *Keyless) { k.Trigger = "pull_request" }),
		"keyless.source_repository_id": workflowOf(func(k *Keyless) { k.SourceRepositoryID = "1" }),
		"keyless.source_owner":         workflowOf(func(k *Keyless) { k.SourceOwner += "2" }),
		"keyless.source_owner_id":      workflowOf(func(k *Keyless) { k.SourceOwnerID = "1" }),
		"keyless.runner":               workflowOf(func(k *Keyless) { k.Runner = "self-hosted" }),

		"keyless.transparency_logs": withIdentity(Keyless{
			Issuer: "https://token.actions.githubusercontent.com", Subject: workflow, TrustedRoot: publicGood,
		}, published, verifier.LogEntryInvalid, func(k *Keyless) { k.TransparencyLogs = 2 }),
		"keyless.timestamps": withIdentity(Keyless{
			Issuer: "https://token.actions.githubusercontent.com", Subject: workflow, TrustedRoot: publicGood,
		}, published, verifier.TimestampMissing, func(k *Keyless) { k.Timestamps = 1 }),

		"github.repository": onGitHub(verifier.IdentityMismatch, func(g *GitHub) { g.Repository += "2" }),
		"github.owner": withGitHub(GitHub{Owner: "sigstore", Ref: []string{"refs/heads/main"}, TrustedRoot: publicGood},
			verifier.IdentityMismatch, func(g *GitHub) { g.Owner = "acme" }),
		"github.repository_id": onGitHub(verifier.IdentityMismatch, func(g *GitHub) { g.RepositoryID = "1" }),
		"github.owner_id":      onGitHub(verifier.IdentityMismatch, func(g *GitHub) { g.OwnerID = "1" }),
		"github.workflow":      onGitHub(verifier.IdentityMismatch, func(g *GitHub) { g.Workflow = ".github/workflows/other.yml" }),
		"github.ref":           onGitHub(verifier.IdentityMismatch, func(g *GitHub) { g.Ref = []string{"refs/heads/mai"} }),
		"github.any_ref_unsafe": withGitHub(GitHub{Repository: "sigstore/sigstore-js", AnyRefUnsafe: true, TrustedRoot: publicGood},
			verifier.IdentityMismatch, func(g *GitHub) { g.AnyRefUnsafe, g.Ref = false, []string{"refs/tags/*"} }), // one of the two is needed
		"github.trigger":      onGitHub(verifier.IdentityMismatch, func(g *GitHub) { g.Trigger = "pull_request" }),
		"github.runner":       onGitHub(verifier.IdentityMismatch, func(g *GitHub) { g.Runner = "self-hosted" }),
		"github.host":         onGitHub(verifier.IdentityMismatch, func(g *GitHub) { g.Host = "acme.ghe.com" }),
		"github.trusted_root": onGitHub(verifier.NotLogged, func(g *GitHub) { g.TrustedRoot = s.root }),

		"keyless.subject_regexp": withIdentity(Keyless{
			Issuer: "https://issuer.example", SubjectRegexp: `release@acme\..+`, TrustedRoot: s.root, WithoutTransparencyLogUnsafe: true, WithoutSCTUnsafe: true,
		}, certified, verifier.IdentityMismatch, func(k *Keyless) { k.SubjectRegexp = `elease@acme\..+` }),
		// Another deployment neither says the time nor issued the certificate; it is asked for the time first.
		"keyless.trusted_root": withIdentity(unlogged, certified, verifier.TimestampInvalid, func(k *Keyless) { k.TrustedRoot = other.root }),
		"keyless.without_transparency_log_unsafe": withIdentity(unlogged, certified, verifier.NotLogged,
			func(k *Keyless) { k.WithoutTransparencyLogUnsafe = false }),
		"keyless.without_sct_unsafe": withIdentity(unlogged, certified, verifier.SCTMissing, func(k *Keyless) { k.WithoutSCTUnsafe = false }),

		"certificate.roots":         withChain(verifier.CertificateUntrusted, func(c *Certificate) { c.Roots = other.roots }),
		"certificate.intermediates": withChain(verifier.CertificateUntrusted, func(c *Certificate) { c.Intermediates = other.intermediates }),
		"certificate.issuer":        withChain(verifier.IdentityMismatch, func(c *Certificate) { c.Issuer += "/" }),
		"certificate.subject":       withChain(verifier.IdentityMismatch, func(c *Certificate) { c.Subject = "x" + c.Subject }),
		"certificate.subject_regexp": withChain(verifier.IdentityMismatch, func(c *Certificate) {
			c.Subject, c.SubjectRegexp = "", "release@acme" // half of it
		}),
		"certificate.trusted_root": withChain(verifier.TimestampInvalid, func(c *Certificate) { c.TrustedRoot = other.root }),
	}
}

// deployment is a Sigstore in memory, and files that describe it.
type deployment struct {
	virtual                    *ca.VirtualSigstore
	dir                        string
	root, roots, intermediates string
}

func newDeployment(t *testing.T) *deployment {
	t.Helper()
	virtual, err := ca.NewVirtualSigstore()
	if err != nil {
		t.Fatal(err)
	}
	d := &deployment{virtual: virtual, dir: t.TempDir()}
	identified := func(logs map[string]*root.TransparencyLog) map[string]*root.TransparencyLog {
		for id, log := range logs {
			if log.ID, err = hex.DecodeString(id); err != nil {
				t.Fatal(err)
			}
		}
		return logs
	}
	made, err := root.NewTrustedRoot(root.TrustedRootMediaType01, virtual.FulcioCertificateAuthorities(), identified(virtual.CTLogs()),
		virtual.TimestampingAuthorities(), identified(virtual.RekorLogs()))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := made.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	d.root = d.write(t, "root.json", raw)
	issuing := virtual.FulcioCertificateAuthorities()[0].(*root.FulcioCertificateAuthority)
	d.roots = d.write(t, "roots.pem", pemOf("CERTIFICATE", issuing.Root.Raw))
	d.intermediates = d.write(t, "intermediates.pem", pemOf("CERTIFICATE", issuing.Intermediates[0].Raw))
	return d
}

func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func (d *deployment) write(t *testing.T, name string, raw []byte) string {
	t.Helper()
	path := filepath.Join(d.dir, name)
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func (d *deployment) publicKey(t *testing.T, name string, key crypto.Signer) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return d.write(t, name+".pub", pemOf("PUBLIC KEY", der))
}

// sign signs as cosign 3 does, with a timestamp and in no log: with a certificate, or without one as a key.
func (d *deployment) sign(t *testing.T, key *ecdsa.PrivateKey, leaf *x509.Certificate) signedBundle {
	t.Helper()
	signed := digest.FromString("an image")
	const kind = "application/vnd.in-toto+json"
	payload := fmt.Appendf(nil, `{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":%q}}],"predicateType":%q,"predicate":{}}`,
		signed.Encoded(), verifier.SignaturePredicate)
	sum := sha256.Sum256(fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(kind), kind, len(payload), payload))
	sig, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	stamp, err := d.virtual.TimestampResponse(sig)
	if err != nil {
		t.Fatal(err)
	}
	material := map[string]any{
		"publicKey":                 map[string]any{"hint": "x"},
		"timestampVerificationData": map[string]any{"rfc3161Timestamps": []any{map[string]any{"signedTimestamp": stamp}}},
	}
	if leaf != nil {
		delete(material, "publicKey")
		material["certificate"] = map[string]any{"rawBytes": leaf.Raw}
	}
	raw, err := json.Marshal(map[string]any{
		"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json", "verificationMaterial": material,
		"dsseEnvelope": map[string]any{"payload": payload, "payloadType": kind, "signatures": []any{map[string]any{"sig": sig}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	var b bundle.Bundle
	if err := b.UnmarshalJSON(raw); err != nil {
		t.Fatal(err)
	}
	return signedBundle{&b, signed}
}

// publishedProvenance is what GitHub attested of a package, as it was published.
func publishedProvenance(t *testing.T) signedBundle {
	t.Helper()
	b := data.Bundle(t, "sigstore.js@2.0.0-provenance.sigstore.json")
	var statement struct {
		Subject []struct{ Digest map[string]string }
	}
	if err := json.Unmarshal(b.GetDsseEnvelope().GetPayload(), &statement); err != nil {
		t.Fatal(err)
	}
	return signedBundle{b, digest.Digest("sha512:" + statement.Subject[0].Digest["sha512"])}
}
