package sbom

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/opencontainers/go-digest"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/sealgate/sealgate/verifier/predicate"
	"github.com/sealgate/sealgate/verifier/scan/inventory"
	spdxjson "github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdxlib"
)

func sample() Document {
	return Document{
		Repository: "prod/App", Subject: digest.FromString("a manifest"), Version: "1.2.3",
		Created: time.Date(2026, 3, 1, 12, 0, 0, 5, time.FixedZone("", 3600)),
		Inventory: &inventory.Inventory{
			OS: inventory.OS{ID: "alpine", Version: "3.20.3", Name: "Alpine Linux v3.20"},
			Packages: []inventory.Package{
				{Name: "busybox", Version: "1.36.1-r29", PURL: "pkg:apk/alpine/busybox@1.36.1-r29?arch=x86_64&distro=alpine-3.20.3", Ecosystem: "Alpine:v3.20", Licenses: []string{"GPL-2.0-only"}, Locations: []string{"lib/apk/db/installed"}},
				{Name: "ca-certificates", Version: "20240705-r0", PURL: "pkg:apk/alpine/ca-certificates@20240705-r0", Ecosystem: "Alpine:v3.20", Licenses: []string{"MPL-2.0 AND MIT"}, Locations: []string{"lib/apk/db/installed"}},
				{Name: "odd", Version: "1", PURL: "pkg:apk/alpine/odd@1", Source: "odder", SourceVersion: "2", Licenses: []string{"whatever (we like) \"it\"", "MIT OR ISC", "MIT"}, Locations: []string{"lib/apk/db/installed"}},
				{Name: "org.apache.logging.log4j:log4j-core", Version: "2.14.1", PURL: "pkg:maven/org.apache.logging.log4j/log4j-core@2.14.1", Ecosystem: "Maven", Locations: []string{"app.jar"}},
				{Name: "without-version", PURL: "pkg:golang/without-version", Ecosystem: "Go", Locations: []string{"app"}},
			},
		},
	}
}

func written(t testing.TB, write func(Document) ([]byte, error), d Document) []byte {
	t.Helper()
	raw, err := write(d)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// The same inventory gives the same bytes, and another gives another document.
func TestADocumentIsAFunctionOfItsContent(t *testing.T) {
	for _, write := range []func(Document) ([]byte, error){SPDX, CycloneDX} {
		one, two := written(t, write, sample()), written(t, write, sample())
		if !bytes.Equal(one, two) {
			t.Error("two documents of one inventory differ")
		}
		other := sample()
		other.Inventory.Packages[0].Version = "2"
		if bytes.Equal(one, written(t, write, other)) {
			t.Error("the same document for two inventories")
		}
	}
}

// What we write we read, and so does everybody who asks for an SBOM of the type.
func TestOurOwnReadersTakeIt(t *testing.T) {
	for predicateType, write := range map[string]func(Document) ([]byte, error){SPDXType: SPDX, CycloneDXType: CycloneDX} {
		facts, err := predicate.Read(predicateType, bytes.NewReader(written(t, write, sample())))
		if err != nil || facts.SBOM == nil || facts.SBOM.Packages != 5 || !strings.HasPrefix(facts.SBOM.Name, "prod/App") || !facts.Claimed.Equal(sample().Created.Truncate(time.Second)) {
			t.Errorf("%s: got %+v, %v", predicateType, facts.SBOM, err)
		}
	}
}

// What a package was built from is told in the parts that Trivy compares.
func TestSourcesAreToldToTrivy(t *testing.T) {
	for _, c := range []struct {
		kind, source, version string
		want                  []property
	}{
		{"deb", "", "", nil},
		{"deb", "openssl", "", []property{{"SrcName", "openssl"}}},
		{"deb", "util-linux", "2.38.1-5+deb12u1", []property{{"SrcName", "util-linux"}, {"SrcVersion", "2.38.1"}, {"SrcRelease", "5+deb12u1"}}},
		{"deb", "a", "2:1.0-rc1-3", []property{{"SrcName", "a"}, {"SrcEpoch", "2"}, {"SrcVersion", "1.0-rc1"}, {"SrcRelease", "3"}}},
		{"deb", "native", "12", []property{{"SrcName", "native"}, {"SrcVersion", "12"}}},
		{"apk", "openssl", "3.3.1-r0", []property{{"SrcName", "openssl"}, {"SrcVersion", "3.3.1-r0"}}},
	} {
		for i := range c.want {
			c.want[i].Name = "aquasecurity:trivy:" + c.want[i].Name
		}
		got := forTrivy(inventory.Package{PURL: "pkg:" + c.kind + "/x/y@1", Source: c.source, SourceVersion: c.version})
		if !slices.Equal(got, c.want) {
			t.Errorf("%s %s %s: got %v, want %v", c.kind, c.source, c.version, got, c.want)
		}
	}
}

// CycloneDX's own schema and its own library take what we write.
func TestCycloneDXIsValid(t *testing.T) {
	schema := cyclonedxSchema(t)
	empty := sample()
	empty.Inventory = &inventory.Inventory{Gaps: []inventory.Gap{{Path: "a", Why: "b"}}}
	for name, d := range map[string]Document{"a sample": sample(), "an empty one": empty} {
		raw := written(t, CycloneDX, d)
		document, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(document); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		var bom cdx.BOM
		if err := cdx.NewBOMDecoder(bytes.NewReader(raw), cdx.BOMFileFormatJSON).Decode(&bom); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	var c cyclonedxDocument
	if err := json.Unmarshal(written(t, CycloneDX, empty), &c); err != nil || c.Compositions[0].Aggregate != "incomplete" {
		t.Errorf("what was not understood: %+v, %v", c.Compositions, err)
	}
}

// cyclonedxSchema is the one that CycloneDX publishes, from its library's module.
func cyclonedxSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/CycloneDX/cyclonedx-go").Output()
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	for _, name := range []string{"bom-1.6.schema.json", "spdx.schema.json", "jsf-0.82.schemax.json"} {
		raw, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(out)), "schema", name))
		if err != nil {
			t.Fatal(err)
		}
		document, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		if err := c.AddResource("http://cyclonedx.org/schema/"+strings.Replace(name, "schemax", "schema", 1), document); err != nil {
			t.Fatal(err)
		}
	}
	schema, err := c.Compile("http://cyclonedx.org/schema/bom-1.6.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// SPDX's own library takes what we write, and finds its elements and relations whole.
func TestSPDXIsValid(t *testing.T) {
	raw := written(t, SPDX, sample())
	document, err := spdxjson.Read(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	if err := spdxlib.ValidateDocument(document); err != nil {
		t.Error(err)
	}
	described, err := spdxlib.GetDescribedPackageIDs(document)
	if err != nil || len(described) != 1 || described[0] != "Image" {
		t.Errorf("it describes %v, %v", described, err)
	}

	var s spdxDocument
	if err := json.Unmarshal(raw, &s); err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, p := range s.Packages {
		if slices.Contains(ids, p.ID) || !strings.HasPrefix(p.ID, "SPDXRef-") || strings.Trim(p.ID, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-") != "" {
			t.Errorf("the id %q is no id, or there twice", p.ID)
		}
		ids = append(ids, p.ID)
		if p.Name == "" || p.Download == "" || p.Declared == "" || p.Concluded == "" || p.Copyright == "" {
			t.Errorf("%+v lacks what it has to have", p)
		}
	}
	for _, id := range ids {
		if !slices.ContainsFunc(s.Relationships, func(r spdxRelationship) bool { return r.To == id }) {
			t.Errorf("%s is related to nothing", id)
		}
	}
	odd := s.Packages[4]
	if want := referenceOf("whatever (we like) \"it\"") + " AND (MIT OR ISC) AND MIT"; odd.Declared != want || len(s.Licenses) != 1 {
		t.Errorf("licences: got %q and %+v, want %q", odd.Declared, s.Licenses, want)
	}
	if image := s.Packages[0]; image.Checksums[0] != (spdxChecksum{"SHA256", sample().Subject.Encoded()}) ||
		image.References[0].Locator != "pkg:oci/app@sha256:"+sample().Subject.Encoded()+"?repository_url=prod%2FApp" {
		t.Errorf("the image: %+v", image)
	}
}
