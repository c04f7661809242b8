package main

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/gateway/ledger"
	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/verifier"
	"github.com/spf13/cobra"
)

// The JSON of verify and inspect is a promise: a change of these files is a change of it.
func TestWhatVerifyAndInspectPrintIsAPromise(t *testing.T) {
	t.Parallel()
	v, i := aVerdict(), anInspection()
	for name, draw := range map[string]func(*format, *bytes.Buffer) error{
		"verify":  func(f *format, out *bytes.Buffer) error { return f.draw(out, v, v.tree) },
		"inspect": func(f *format, out *bytes.Buffer) error { return f.draw(out, i, i.tree) },
	} {
		for _, form := range []format{"table", "json"} {
			var out bytes.Buffer
			if err := draw(&form, &out); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join("testdata", "golden", name+map[format]string{"table": ".txt", "json": ".json"}[form])
			if *update {
				if err := os.WriteFile(file, out.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if out.String() != string(want) {
				t.Errorf("%s; go test ./cmd/sealgate -run Promise -update writes it anew. Got\n%s", file, out.String())
			}
		}
	}
}

var keyInManual = regexp.MustCompile("`([a-z_]+)`")

func TestTheManualHasEveryKeyThatVerifyAndInspectPrint(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("../../docs/inspect.md")
	if err != nil {
		t.Fatal(err)
	}
	told := map[string]bool{}
	for _, key := range keyInManual.FindAllStringSubmatch(string(raw), -1) {
		told[key[1]] = true
	}
	var walk func(typ reflect.Type)
	seen := map[reflect.Type]bool{}
	walk = func(typ reflect.Type) {
		for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct || seen[typ] || typ == reflect.TypeFor[time.Time]() {
			return
		}
		seen[typ] = true
		for field := range typ.Fields() {
			key, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			if key != "" && key != "-" && !told[key] {
				t.Errorf("docs/inspect.md does not mention %s of %s", key, typ.Name())
			}
			walk(field.Type)
		}
	}
	walk(reflect.TypeFor[verdict]())
	walk(reflect.TypeFor[inspection]())
}

// Whatever was attached by whomever: nothing of it moves a cursor, reverses a line or ends one.
func TestThreat171_NothingThatWasAttachedControlsATerminal(t *testing.T) {
	t.Parallel()
	const evil = "a\x1b[31mb\r\nc\u202ed\u0000e\u009bf"
	ev := policy.Evidence{
		Signatures: []policy.Signature{{Authority: "ci", Signer: evil, Time: time.Now(), Witness: policy.Witness{Clock: evil, Log: evil}}},
		Attestations: []policy.Attestation{
			{Authority: "ci", PredicateType: evil, Malformed: evil},
			{Authority: "ci", PredicateType: evil, Facts: policy.Facts{
				Scan: &policy.Scan{Scanner: evil, Version: evil}, SBOM: &policy.SBOM{Format: evil, Name: evil},
				Provenance: &policy.Provenance{Builder: evil, Repository: evil, Ref: evil, Digest: evil, Workflow: evil, Trigger: evil},
				VEX:        &policy.VEX{Author: evil, Statements: []policy.VEXStatement{{Status: evil}}},
				Summary:    &policy.Summary{Verifier: evil, Result: evil, Policy: evil, Levels: []string{evil}}, Tests: &policy.Tests{Result: evil},
			}},
		},
		Rejected: []policy.Rejection{{PredicateType: evil, Why: evil, Claims: evil}, {Why: evil}},
	}
	l := looked{Attached: newAttached(ev), Kind: "image"}
	l.Attached.addOthers([]ocispec.Descriptor{{Digest: "sha256:x", ArtifactType: evil}})
	l.describe(policy.Image{
		BaseClaim: policy.BaseClaim{Name: evil, Digest: evil},
		User:      evil, Config: &policy.Config{Labels: map[string]string{evil: evil}, Ports: []string{evil}, Volumes: []string{evil}},
		Content: &policy.Content{Flaws: []policy.Flaw{{Why: evil}}, System: policy.System{ID: evil, Version: evil}},
	}, map[string][]policy.Base{"bases.yaml": {{Name: evil, Refreshed: evil, Digests: []digest.Digest{digest.Digest(evil)}, DiffIDs: []digest.Digest{"a"}}}})
	shown := inspection{Image: "app", looked: l, Platforms: []platformLooked{{Platform: platformName(&ocispec.Platform{OS: evil, Architecture: evil}), looked: l}}}

	var out bytes.Buffer
	shown.tree(false).write(&out)
	for line := range strings.Lines(out.String()) {
		for _, c := range strings.TrimSuffix(line, "\n") {
			if c < ' ' || c == 0x7f || c >= 0x80 && c < 0xa0 || c == '\u202e' {
				t.Fatalf("%q holds %U", line, c)
			}
		}
	}
	if n := strings.Count(out.String(), "[31mb"); n < 40 {
		t.Errorf("only %d of the texts are shown:\n%s", n, out.String())
	}
}

func TestColoursAreForTerminalsAlone(t *testing.T) {
	t.Setenv("NO_COLOR", "")
	if newPainter(new(bytes.Buffer)) {
		t.Error("a buffer is no terminal")
	}
	file, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if newPainter(file) {
		t.Error("a file is no terminal")
	}
	device, err := os.OpenFile("/dev/null", os.O_WRONLY, 0) // a character device, as terminals are
	if err != nil {
		t.Fatal(err)
	}
	defer device.Close()
	if !newPainter(device) {
		t.Error("a terminal has no colours")
	}
	t.Setenv("NO_COLOR", "1")
	if newPainter(device) {
		t.Error("NO_COLOR is not honoured")
	}
	if got := painter(true).paint(red, "x"); got != "\x1b[31mx\x1b[0m" {
		t.Errorf("got %q", got)
	}
}

// digestOf is a digest that is told from others at a glance.
func digestOf(c string) digest.Digest { return digest.Digest("sha256:" + strings.Repeat(c, 64)) }

func atNoon(day int) time.Time { return time.Date(2026, time.November, day, 12, 0, 0, 0, time.UTC) }

// aProof holds one of each kind of evidence.
func aProof() policy.Evidence {
	const identity = "https://github.com/acme/app/.github/workflows/release.yml@refs/heads/main (https://token.actions.githubusercontent.com)"
	key := strings.Repeat("5", 64)
	witness := policy.Witness{Clock: "https://timestamp.acme.dev", Log: "https://rekor.acme.dev", LogIndex: 17}
	attestation := func(predicateType string, f policy.Facts) policy.Attestation {
		return policy.Attestation{
			PredicateType: predicateType, Authority: "ci", Signer: identity, Vouched: atNoon(2), Witness: witness, Format: policy.FormatBundle,
			Evidence: digest.FromString(predicateType), Facts: f,
		}
	}
	unvouched := attestation("https://acme.dev/review/v1", policy.Facts{Claimed: atNoon(3)})
	unvouched.Vouched, unvouched.Witness = time.Time{}, policy.Witness{}
	older := attestation(policy.ScanByCosign, policy.Facts{Scan: &policy.Scan{Scanner: "trivy", Packages: 0}})
	older.Vouched, older.Evidence = atNoon(1), digestOf("9")
	broken := attestation("https://spdx.dev/Document", policy.Facts{})
	broken.Malformed = "no packages"
	return policy.Evidence{
		Signatures: []policy.Signature{
			{Authority: "gateway", Signer: key, Evidence: digestOf("1"), Format: policy.FormatSignatureTag},
			{Authority: "ci", Signer: identity, Time: atNoon(1), Witness: witness, Evidence: digestOf("2"), Format: policy.FormatBundle},
			{Authority: "ci-too", Signer: identity, Time: atNoon(1), Witness: witness, Evidence: digestOf("2"), Format: policy.FormatBundle},
		},
		Attestations: []policy.Attestation{
			attestation(policy.ScanByCosign, policy.Facts{Claimed: atNoon(2), Scan: &policy.Scan{
				Scanner: "pkg:github/anchore/grype", Version: "0.121", Finished: atNoon(2), Database: atNoon(1), Packages: 40, Counted: true,
				Findings: []policy.Finding{
					{ID: "CVE-1", Severity: policy.Critical, Fix: policy.FixAvailable}, {ID: "CVE-2", Severity: policy.Low}, {ID: "CVE-3", Severity: policy.Low},
				},
			}}),
			older,
			attestation("https://cyclonedx.org/bom", policy.Facts{SBOM: &policy.SBOM{Format: "cyclonedx", Name: "app", Packages: 40}}),
			attestation(policy.Provenance1, policy.Facts{Provenance: &policy.Provenance{
				Builder: "https://github.com/actions/runner", Repository: "https://github.com/acme/app", Ref: "refs/heads/main", Digest: "0123abcd",
				Workflow: ".github/workflows/release.yml", Trigger: "push", Materials: 3,
			}}),
			attestation("https://openvex.dev/ns", policy.Facts{VEX: &policy.VEX{Author: "acme", Statements: []policy.VEXStatement{{Status: "not_affected"}, {Status: "fixed"}}}}),
			attestation("https://slsa.dev/verification_summary/v1", policy.Facts{Summary: &policy.Summary{
				Verifier: "https://gate.acme.dev", Result: "PASSED", Policy: "https://gate.acme.dev/production", Levels: []string{"SLSA_BUILD_LEVEL_2"},
			}}),
			attestation("https://in-toto.io/attestation/test-result/v0.1", policy.Facts{Tests: &policy.Tests{Result: "PASSED", Passed: 12}}),
			unvouched,
			broken,
		},
		Rejected: []policy.Rejection{
			{Evidence: digestOf("3"), Format: policy.FormatSignatureTag, Code: string(verifier.SignatureInvalid), Why: "a signature by an unknown key"},
			{
				Evidence: digestOf("4"), Format: policy.FormatBundle, PredicateType: verifier.SignaturePredicate, Claims: "mallory@example.com (https://issuer.example)",
				Code: string(verifier.IdentityMismatch), Why: "a signature that is for another identity",
			},
			{
				Evidence: digestOf("5"), Format: policy.FormatAttestationTag, PredicateType: policy.ScanByCosign,
				Code: string(verifier.ArtifactMismatch), Why: "an attestation that is for another image",
			},
			{Evidence: digestOf("6"), Format: policy.FormatBundle, Code: string(verifier.BundleMalformed), Why: "a bundle that cannot be read"},
		},
	}
}

func anAttached() attached {
	a := newAttached(aProof())
	a.addOthers([]ocispec.Descriptor{{Digest: digestOf("1")}, {Digest: digestOf("7"), ArtifactType: "application/vnd.cncf.notary.signature"}})
	return a
}

func aVerdict() verdict {
	ref := reference{typed: "gate.acme.dev/prod/app:v1", host: "gate.acme.dev", repo: "prod/app", tag: "v1"}
	reasons := []policy.Reason{{
		Code: policy.Untrusted, Requirement: "signed_by all of gateway, release", Subject: digestOf("a").String(), Causes: []string{"SIGNATURE_INVALID"},
		Why: "no signature by release (found 3 by gateway, ci)", Fix: "have it signed: cosign sign {pinned}",
	}}
	v := newVerdict(ref, ledger.Decision{
		Outcome: ledger.Deny, Repo: "prod/app", Digest: digestOf("a"), Policy: "production", PolicyVersion: "0123456789abcdef", Reasons: reasons,
		Evidence: []digest.Digest{digestOf("1"), digestOf("2")},
	})
	compiled, err := policy.Compile([]policy.Document{{Name: "production", Repositories: []string{"**"}, Pull: &policy.PullDocument{
		SignedBy: &policy.SignedBy{All: []string{"gateway", "release"}},
		Attested: []policy.AttestedDocument{{Predicate: "vuln", By: &policy.SignedBy{Any: []string{"ci"}}}},
	}}}, policy.Known{Authorities: map[string]string{"gateway": "1", "release": "2", "ci": "3"}})
	if err != nil {
		panic(err)
	}
	v.Attached = anAttached()
	v.Attached.hold(compiled.Rule("prod/app"), policy.Subject{Repo: "prod/app", Digest: digestOf("a")}, aProof(), atNoon(3))
	v.Platforms = []platformVerdict{
		{Platform: "linux/amd64", Digest: digestOf("b"), Outcome: ledger.Admit, Reasons: []policy.Reason{}, Evidence: []digest.Digest{digestOf("1")}, Attached: newAttached(policy.Evidence{})},
		{
			Platform: "linux/arm64/v8", Digest: digestOf("c"), Outcome: ledger.Undecided, Cause: "list referrers: 429 Too Many Requests", Reasons: []policy.Reason{}, Evidence: []digest.Digest{},
			Attached: attached{Signatures: []exhibit{}, Attestations: []exhibit{}, Others: []exhibit{}, Unknown: "list referrers: 429 Too Many Requests"},
		},
		{Platform: "windows/amd64", Digest: digestOf("d"), Reasons: []policy.Reason{}, Evidence: []digest.Digest{}, Error: "not found", Attached: newAttached(policy.Evidence{})},
	}
	v.Omitted = 2
	return v
}

func anInspection() inspection {
	l := looked{Digest: digestOf("b"), MediaType: ocispec.MediaTypeImageManifest, Kind: "image", Layers: 2, Bytes: 31_415_926, Attached: newAttached(policy.Evidence{})}
	l.describe(policy.Image{
		BaseClaim: policy.BaseClaim{Name: "docker.io/library/debian:12", Digest: digestOf("e").String()},
		Runnable:  true, User: "app", Account: &policy.Account{UID: 1000},
		Config: &policy.Config{Labels: map[string]string{"org.opencontainers.image.source": "https://github.com/acme/app"}, Ports: []string{"8080/tcp"},
			Volumes: []string{"/data"}, Created: atNoon(1), Findings: []policy.ImageFinding{{Check: policy.CheckSecrets}}},
		Content: &policy.Content{
			DiffIDs: []digest.Digest{digestOf("8"), digestOf("9")}, System: policy.System{ID: "debian", Version: "12"},
			Findings: []policy.ImageFinding{{Check: policy.CheckSetuid}}, Omitted: map[policy.Check]int{policy.CheckSetuid: 3},
			Flaws: []policy.Flaw{{Layer: digestOf("9"), Why: "something follows its end"}},
		},
	}, map[string][]policy.Base{"bases.yaml": {
		{Name: "debian-12", DiffIDs: []digest.Digest{digestOf("8")}, Refreshed: "2026-11-20"},
		{Name: "other", DiffIDs: []digest.Digest{digestOf("9")}, Digests: []digest.Digest{digestOf("e")}},
	}})
	l.PartOf = []digest.Digest{digestOf("a")}
	rooted := looked{Digest: digestOf("c"), MediaType: ocispec.MediaTypeImageManifest, Kind: "image", Layers: 1, Bytes: 7, Attached: newAttached(policy.Evidence{})}
	rooted.describe(policy.Image{Runnable: true, Config: &policy.Config{}}, nil)
	gone := looked{Digest: digestOf("d"), MediaType: ocispec.MediaTypeImageManifest, Kind: "unknown", Attached: newAttached(policy.Evidence{}), Unread: "not found"}
	return inspection{
		Image: "gate.acme.dev/prod/app:v1", Repo: "prod/app", Reference: "v1",
		looked:    looked{Digest: digestOf("a"), MediaType: ocispec.MediaTypeImageIndex, Kind: "index", ArtifactType: "application/vnd.acme.set", Attached: anAttached()},
		Platforms: []platformLooked{{"linux/amd64", l}, {"linux/arm64", rooted}, {"windows/amd64", gone}}, Omitted: 1,
		Claims: []claim{{About: digestOf("b"), Manifest: digestOf("f"), Predicates: []string{"https://spdx.dev/Document", policy.Provenance1}}, {About: digestOf("c"), Manifest: digestOf("0"), Predicates: []string{}, Error: "not found"}},
	}
}

// Programs read every result in one way: --format json, short -o json.
func TestEveryCommandWithAResultPrintsJSON(t *testing.T) {
	t.Parallel()
	without := []string{ // what they print is no result, or of a format of its own
		"sealgate", "sealgate serve", "sealgate demo", "sealgate keys", "sealgate config", "sealgate config schema", "sealgate clients", "sealgate bases",
	}
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		for _, below := range cmd.Commands() {
			walk(below)
		}
		flag := cmd.Flags().Lookup("format")
		switch listed := slices.Contains(without, cmd.CommandPath()); {
		case listed && flag != nil:
			t.Errorf("%s has --format, take it off the list", cmd.CommandPath())
		case !listed && !cmd.Hidden && (flag == nil || flag.Shorthand != "o"):
			t.Errorf("%s has no --format with the short form -o", cmd.CommandPath())
		}
	}
	walk(newRoot(new(bool)))
}
