package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"
)

// looked is what a test reads of what inspect prints.
type looked struct {
	Digest, Kind, User string
	Attached           struct {
		Signatures, Attestations, Others []struct {
			Verified                                            bool
			Authorities                                         []string
			Signer, Clock, Log, Format, Claims, Code, Why, Time string
			PredicateType                                       string `json:"predicate_type"`
			ArtifactType                                        string `json:"artifact_type"`
			Counts                                              *bool
		}
		Unknown string
	}
}

// TestInspectShowsAllThatIsAttached to an index of a registry behind the gateway: what is proven apart from what is claimed.
func TestInspectShowsAllThatIsAttached(t *testing.T) {
	up, kit, s := startRegistry(t), need(t, suite.images), need(t, suite.sigstore)
	gw := startGateway(t, fmt.Sprintf(`
registries:
  - {name: up, url: %q, prefix: up/}
authorities:
  - {name: release, key: {file: release.pub}}
  - {name: ci, %s}
policies:
  - {name: all, repositories: ["**"], pull: {signed_by: {any: [release]}}}
`, up.url(), s.authority("builder")))

	// As BuildKit makes it: an attestation for one of the platforms, in the index itself, unsigned.
	index := kit.index(t, nonroot, "inspected")
	list, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	statement := files(t, map[string][]byte{"statement.json": []byte("{}")})
	attestation, err := mutate.Append(mutate.MediaType(empty.Image, types.OCIManifestSchema1), mutate.Addendum{
		Layer: statement, MediaType: "application/vnd.in-toto+json", Annotations: map[string]string{"in-toto.io/predicate-type": "https://slsa.dev/provenance/v1"},
	})
	if err != nil {
		t.Fatal(err)
	}
	index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: attestation, Descriptor: v1.Descriptor{
		Platform:    &v1.Platform{OS: "unknown", Architecture: "unknown"},
		Annotations: map[string]string{"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": list.Manifests[0].Digest.String()},
	}})
	pinned := put(t, up.ref("app:v1"), index)
	cosign2.signs(t, "release", up.ref("app")+"@"+pinned).ok(t)
	cosign3.signs(t, "stranger", up.ref("app")+"@"+pinned).ok(t)
	row{cosign3, true, true, true}.vouch(t, s, up.ref("app")+"@"+pinned)
	subject := fetchDocument(t, up.ref("app:v1"))
	attachGarbage(t, up, "app", subject)
	sbom := digest.FromBytes(subject.raw)
	runCrane(t, "tag", up.ref("app")+"@"+attestationOf(t, index), "sha256-"+sbom.Encoded()+".sbom").ok(t)

	var got struct {
		looked
		Platforms []struct {
			Platform, Outcome string
			looked
		}
		Claims []struct {
			About      string
			Predicates []string
		}
	}
	read := func(command string) {
		t.Helper()
		r := gw.run(t, command, "-o", "json", "up/app:v1").ok(t)
		if err := json.Unmarshal([]byte(r.stdout), &got); err != nil {
			t.Fatalf("%v\n%s", err, r.stdout)
		}
	}
	read("inspect")
	if got.Kind != "index" || got.Digest != pinned || len(got.Platforms) != 2 || got.Platforms[1].Platform != "linux/arm64" || got.Platforms[1].User != nonroot {
		t.Errorf("shows %+v", got)
	}
	if len(got.Claims) != 1 || got.Claims[0].About != list.Manifests[0].Digest.String() || fmt.Sprint(got.Claims[0].Predicates) != "[https://slsa.dev/provenance/v1]" {
		t.Errorf("claims %+v", got.Claims)
	}
	signatures, attestations, others := got.Attached.Signatures, got.Attached.Attestations, got.Attached.Others
	if len(signatures) != 2 || !signatures[0].Verified || fmt.Sprint(signatures[0].Authorities) != "[release]" || signatures[0].Format != "sig" ||
		signatures[1].Verified || signatures[1].Code != "SIGNATURE_INVALID" || !strings.HasPrefix(signatures[1].Claims, "key ") {
		t.Errorf("signatures %+v", signatures)
	}
	if len(attestations) != 1 || !attestations[0].Verified || attestations[0].PredicateType != reviewed || attestations[0].Log != "http://"+rekorName ||
		!strings.HasPrefix(attestations[0].Clock, s.timestamp) || attestations[0].Signer != builder+" ("+s.issuer.url+")" || attestations[0].Time == "" {
		t.Errorf("attestations %+v", attestations)
	}
	if len(others) != 2 || others[0].Code != "BUNDLE_MALFORMED" || others[1].Format != "sbom" {
		t.Errorf("others %+v", others)
	}

	// verify says of the same what the policy asks for, and what it does not.
	read("verify")
	if s := got.Attached.Signatures[0]; s.Counts == nil || !*s.Counts {
		t.Errorf("the signature that is asked for does not count: %+v", s)
	}
	if a := got.Attached.Attestations[0]; a.Counts == nil || *a.Counts || !strings.Contains(a.Why, "asks for no attestation") {
		t.Errorf("the attestation that nobody asks for counts: %+v", a)
	}
	if len(got.Platforms) != 2 || got.Platforms[0].Outcome != "admit" || got.Platforms[1].Outcome != "admit" {
		t.Errorf("judges %+v", got.Platforms)
	}
	gw.run(t, "verify", "up/app:v1").ok(t).has(t, "admitted  linux/amd64", "the index, by what is attached to that")
	gw.run(t, "inspect", "up/app:v1").ok(t).has(t, "claims of the builder, which nobody signed", "entry ", "to be by", "linux/arm64")
}

// attestationOf is the last manifest of an index.
func attestationOf(t *testing.T, index v1.ImageIndex) string {
	t.Helper()
	list, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	return list.Manifests[len(list.Manifests)-1].Digest.String()
}
