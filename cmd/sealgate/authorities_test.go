package main

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/testing/ca"
)

// newTrustedRoot writes the trusted_root.json of a Sigstore that nobody else has, and returns its Fulcio's root.
func newTrustedRoot(t testing.TB, path string) *x509.Certificate {
	t.Helper()
	s, err := ca.NewVirtualSigstore()
	if err != nil {
		t.Fatal(err)
	}
	logs := s.RekorLogs()
	for id, log := range logs {
		log.ID = []byte(id)
	}
	made, err := root.NewTrustedRoot(root.TrustedRootMediaType01, s.FulcioCertificateAuthorities(), nil, s.TimestampingAuthorities(), logs)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := made.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, path, string(raw))
	return s.FulcioCertificateAuthorities()[0].(*root.FulcioCertificateAuthority).Root
}

func writeCertificate(t testing.TB, path string, c *x509.Certificate) {
	t.Helper()
	writeFile(t, path, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})))
}

const allKinds = `authorities:
  - {name: gateway, signer: gateway}
  - {name: release, key: {file: a.pub, valid_from: 2025-01-01, valid_until: 2028-01-01T12:00:00Z, logged: true}}
  - {name: old, key: {file: b.pub, revoked: true}}
  - {name: ci, keyless: {issuer: "https://i.example", subject_regexp: "https://acme/.+", trusted_root: root.json}}
  - {name: public, keyless: {issuer: "https://i.example", subject: s, source_repository: r, source_ref: f, workflow: w, trigger: t}}
  - {name: hub, github: {repository: acme/app, ref: [refs/heads/main], workflow: .github/workflows/r.yml, trigger: h}}
  - {name: own, github: {owner: acme, any_ref_unsafe: true, trusted_root: roots.jsonl}}
  - {name: acme, certificate: {roots: acme.pem, subject: s, trusted_root: root.json}}
`

func newAllKinds(t testing.TB, authorities string) (file string) {
	t.Helper()
	file = newStorage(t, onePolicy+authorities)
	directory := filepath.Dir(file)
	newPublicKey(t, filepath.Join(directory, "a.pub"))
	newPublicKey(t, filepath.Join(directory, "b.pub"))
	writeCertificate(t, filepath.Join(directory, "acme.pem"), newTrustedRoot(t, filepath.Join(directory, "root.json")))
	one, err := os.ReadFile(filepath.Join(directory, "root.json"))
	if err != nil {
		t.Fatal(err)
	}
	newTrustedRoot(t, filepath.Join(directory, "other.json"))
	other, err := os.ReadFile(filepath.Join(directory, "other.json"))
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(directory, "roots.jsonl"), string(one)+"\n"+string(other)+"\n")
	return file
}

func TestEveryKindOfAuthorityIsBuilt(t *testing.T) {
	t.Parallel()
	file := newAllKinds(t, allKinds)
	made, err := buildFile(file, noEnvironment)
	if err != nil {
		t.Fatal(err)
	}
	if len(made.Authorities) != 8 {
		t.Errorf("got %v", made.Authorities)
	}
	if len(made.Warnings) != 1 || !strings.Contains(fmt.Sprint(made.Warnings), "authorities[6].github.any_ref_unsafe") {
		t.Errorf("warned %v of what takes a protection away", made.Warnings)
	}

	// What it shows is a configuration that means the same.
	code, shown, stderr := runCommand(t, "config", "show", "--config", file)
	if code != 0 || !strings.Contains(shown, "2028-01-01T12:00:00Z") {
		t.Fatalf("%d: %s%s", code, shown, stderr)
	}
	again := filepath.Join(filepath.Dir(file), "again.yaml")
	writeFile(t, again, shown)
	other, err := buildFile(again, noEnvironment)
	if err != nil {
		t.Fatal(err)
	}
	if other.Policy.Version() != made.Policy.Version() {
		t.Errorf("version %s is shown as %s", made.Policy.Version(), other.Policy.Version())
	}
}

// Each setting of an authority is part of what a verdict rests on: changing it changes the policy's version.
func TestEverySettingOfAnAuthorityIsPartOfThePolicysVersion(t *testing.T) {
	t.Parallel()
	file := newAllKinds(t, allKinds)
	versionOf := func() string {
		made, err := buildFile(file, noEnvironment)
		if err != nil {
			t.Fatal(err)
		}
		return made.Policy.Version()
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	// The policy refers to all of them.
	raw = bytes.Replace(raw, []byte("any: [gateway]"), []byte("any: [gateway, release, old, ci, public, hub, own, acme]"), 1)
	writeFile(t, file, string(raw))
	before := versionOf()
	for from, to := range map[string]string{
		"valid_from: 2025-01-01": "valid_from: 2025-01-02", "2028-01-01T12": "2028-01-01T13", ", logged: true": "",
		", revoked: true": "", `"https://i.example", subject_regexp`: `"https://j.example", subject_regexp`, "acme/.+": "acme/.*x",
		"ci, keyless: {": "ci, keyless: {without_sct_unsafe: false, without_transparency_log_unsafe: true, ",
		"source_ref: f":  "source_ref: g", "source_repository: r": "source_repository: q", "workflow: w": "workflow: v",
		"trigger: t": "trigger: u", "ref: [refs/heads/main]": "ref: [refs/heads/mai]", "workflows/r.yml": "workflows/s.yml",
		"trigger: h": "trigger: i", "repository: acme/app,": "repository: acme/app, repository_id: '1',", "owner: acme,": "owner: acne,",
		"trusted_root: roots.jsonl": "trusted_root: root.json", "acme.pem, subject: s": "acme.pem, subject: t",
		"acme.pem, subject: s, trusted_root: root.json": "acme.pem, subject: s",
	} {
		changed := strings.Replace(string(raw), from, to, 1)
		if changed == string(raw) {
			t.Fatalf("%q is not there", from)
		}
		writeFile(t, file, changed)
		if versionOf() == before {
			t.Errorf("%q for %q changes nothing", to, from)
		}
	}
	writeFile(t, file, string(raw))
	if versionOf() != before {
		t.Error("the version is not the same for the same")
	}
	newTrustedRoot(t, filepath.Join(filepath.Dir(file), "root.json"))
	if versionOf() == before {
		t.Error("another trusted root changes nothing")
	}
}

func TestWhatAuthoritiesAreCheckedWithMustBeWhatItSays(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ yaml, want string }{
		"a root that is missing":        {"{name: gateway, keyless: {issuer: i, subject: s, trusted_root: absent.json}}", ":6: authorities[0].keyless.trusted_root: trusted root DIR/absent.json: no such file"},
		"a root that is none":           {"{name: gateway, keyless: {issuer: i, subject: s, trusted_root: a.pub}}", ":6: authorities[0].keyless.trusted_root: trusted root DIR/a.pub: not a trusted root"},
		"a root without a log":          {"{name: gateway, keyless: {issuer: i, subject: s, trusted_root: empty.json}}", ":6: authorities[0].keyless: authority \"gateway\": a trusted root without a certificate authority"},
		"a key's root that is missing":  {"{name: gateway, key: {file: a.pub, logged: true, trusted_root: absent.json}}", ":6: authorities[0].key.trusted_root: trusted root DIR/absent.json"},
		"a key's root without a log":    {"{name: gateway, key: {file: a.pub, logged: true, trusted_root: empty.json}}", ":6: authorities[0].key: authority \"gateway\": a trusted root without anybody who says the time"},
		"roots that are missing":        {"{name: gateway, certificate: {roots: absent.pem, subject: s}}", ":6: authorities[0].certificate.roots: certificates DIR/absent.pem: no such file"},
		"roots that are a key":          {"{name: gateway, certificate: {roots: a.pub, subject: s}}", ":6: authorities[0].certificate.roots: certificates DIR/a.pub: something that is no certificate"},
		"intermediates that are none":   {"{name: gateway, certificate: {roots: acme.pem, intermediates: a.pub, subject: s}}", ":6: authorities[0].certificate.intermediates: certificates DIR/a.pub"},
		"a time by nobody":              {"{name: gateway, certificate: {roots: acme.pem, subject: s, trusted_root: empty.json}}", ":6: authorities[0].certificate: authority \"gateway\": a trusted root without anybody"},
		"one identity under two names":  {"{name: gateway, keyless: {issuer: i, subject: s}}\n  - {name: b, keyless: {issuer: i, subject: s}}", ":7: authorities[1]: has the key of authority gateway"},
		"a file of the built-in's name": {"{name: gateway, keyless: {issuer: i, subject: s, trusted_root: ./public-good}}", "trusted root DIR/public-good: no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := newAllKinds(t, "authorities:\n  - "+c.yaml+"\n")
			directory := filepath.Dir(file)
			writeFile(t, filepath.Join(directory, "empty.json"), `{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}`)
			_, err := buildFile(file, noEnvironment)
			want := strings.ReplaceAll(c.want, "DIR", directory)
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got\n%v\nwant it to contain\n%s", err, want)
			}
		})
	}
}

func TestAChangedTrustedRootIsTakenByItself(t *testing.T) {
	t.Parallel()
	file := newAllKinds(t, strings.Replace(allKinds, "{name: gateway, signer: gateway}", "{name: gateway, signer: gateway}", 1))
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, file, strings.Replace(string(raw), "any: [gateway]", "any: [gateway, ci, acme]", 1))
	b := newBench(t, file)
	b.watch(t)
	version := func(line string) string {
		_, after, _ := strings.Cut(line, "policy_version=")
		return strings.Fields(after)[0]
	}
	directory := filepath.Dir(file)
	fulcio := newTrustedRoot(t, filepath.Join(directory, "root.json"))
	first := version(b.next(t, taken))
	writeCertificate(t, filepath.Join(directory, "acme.pem"), fulcio)
	if second := version(b.next(t, taken)); second == first {
		t.Errorf("other roots, the same version %s", first)
	}
	writeFile(t, filepath.Join(directory, "root.json"), "{}")
	b.next(t, notTaken)
}

func TestAMomentIsADateInUTCOrATime(t *testing.T) {
	t.Parallel()
	for text, want := range map[Moment]time.Time{
		"":                          {},
		"2027-01-01":                time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC),
		"2027-01-01T12:00:00Z":      time.Date(2027, 1, 1, 12, 0, 0, 0, time.UTC),
		"2027-01-01T12:00:00+02:00": time.Date(2027, 1, 1, 10, 0, 0, 0, time.UTC),
	} {
		if got, err := text.time(); err != nil || !got.Equal(want) {
			t.Errorf("%q: got %v, %v, want %v", text, got, err, want)
		}
	}
	for _, yaml := range []string{"2027-01-01", `"2027-01-01"`, "2027-01-01T00:00:00Z", `"2027-01-01T02:00:00+02:00"`} {
		l, err := loadText(t, onePolicy+"authorities: [{name: gateway, key: {file: a, valid_until: "+yaml+"}}]\n")
		if err != nil {
			t.Errorf("%s: %v", yaml, err)
			continue
		}
		if got, err := l.Config.Authorities[0].Key.ValidUntil.time(); err != nil || !got.Equal(time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)) {
			t.Errorf("%s: got %v, %v", yaml, got, err)
		}
	}
}
