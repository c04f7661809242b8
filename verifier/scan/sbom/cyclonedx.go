package sbom

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sealgate/sealgate/verifier/scan/inventory"
)

// CycloneDXType is the predicate type of what [CycloneDX] writes.
const CycloneDXType = "https://cyclonedx.org/bom"

// https://cyclonedx.org/docs/1.6/json/
type cyclonedxDocument struct {
	Format       string        `json:"bomFormat"`
	Spec         string        `json:"specVersion"`
	Serial       string        `json:"serialNumber"`
	Version      int           `json:"version"`
	Metadata     metadata      `json:"metadata"`
	Components   []component   `json:"components"`
	Dependencies []dependency  `json:"dependencies"`
	Compositions []composition `json:"compositions"`
}

type metadata struct {
	Timestamp string `json:"timestamp"`
	Tools     struct {
		Components []component `json:"components"`
	} `json:"tools"`
	Component component `json:"component"`
}

type component struct {
	Type       string     `json:"type"`
	Ref        string     `json:"bom-ref,omitempty"`
	Group      string     `json:"group,omitempty"`
	Name       string     `json:"name"`
	Version    string     `json:"version,omitempty"`
	Hashes     []hash     `json:"hashes,omitempty"`
	Licenses   []license  `json:"licenses,omitempty"`
	PURL       string     `json:"purl,omitempty"`
	Evidence   *evidence  `json:"evidence,omitempty"`
	Properties []property `json:"properties,omitempty"`
}

type hash struct {
	Algorithm string `json:"alg"`
	Content   string `json:"content"`
}

// license is either a named one or an expression.
type license struct {
	License    *named `json:"license,omitempty"`
	Expression string `json:"expression,omitempty"`
}

type named struct {
	ID   string `json:"id,omitempty"`
	Name string `json:"name,omitempty"`
}

type evidence struct {
	Occurrences []occurrence `json:"occurrences"`
}

type occurrence struct {
	Location string `json:"location"`
}

type property struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type dependency struct {
	Ref       string   `json:"ref"`
	DependsOn []string `json:"dependsOn,omitempty"`
}

type composition struct {
	Aggregate  string   `json:"aggregate"`
	Assemblies []string `json:"assemblies"`
}

// CycloneDX writes a document as CycloneDX 1.6.
func CycloneDX(d Document) ([]byte, error) {
	sum, err := d.sum()
	if err != nil {
		return nil, err
	}
	image := component{
		Type: "container", Ref: "image", Name: d.Repository, Version: d.Subject.String(), PURL: d.purl(),
		Hashes: []hash{{strings.Replace(strings.ToUpper(d.Subject.Algorithm().String()), "SHA", "SHA-", 1), d.Subject.Encoded()}},
	}
	c := cyclonedxDocument{
		Format: "CycloneDX", Spec: "1.6", Serial: serial(sum[:16]), Version: 1,
		Metadata:   metadata{Timestamp: d.created(), Component: image},
		Components: []component{},
	}
	c.Metadata.Tools.Components = []component{{Type: "application", Name: tool, Version: d.Version}}
	if name := d.osName(); name != "" {
		c.Components = append(c.Components, component{Type: "operating-system", Ref: "os", Name: name, Version: d.Inventory.OS.Version})
	}
	for _, p := range d.Inventory.Packages {
		c.Components = append(c.Components, componentOf(p))
	}

	var contains []string
	for _, listed := range c.Components {
		contains = append(contains, listed.Ref)
	}
	c.Dependencies = []dependency{{Ref: image.Ref, DependsOn: contains}}
	aggregate := "complete"
	if len(d.Inventory.Gaps) > 0 || len(d.Inventory.Packages) == 0 {
		aggregate = "incomplete"
	}
	c.Compositions = []composition{{aggregate, []string{image.Ref}}}
	return encode(c)
}

func componentOf(p inventory.Package) component {
	c := component{Type: "library", Ref: "package-" + idOf(p), Name: p.Name, Version: p.Version, PURL: p.PURL, Licenses: licensesOf(p)}
	if group, name, ok := strings.Cut(p.Name, ":"); ok && p.Ecosystem == "Maven" {
		c.Group, c.Name = group, name
	}
	if len(p.Locations) > 0 {
		c.Evidence = &evidence{}
		for _, place := range p.Locations {
			c.Evidence.Occurrences = append(c.Evidence.Occurrences, occurrence{place})
		}
	}
	if p.Source != "" {
		c.Properties = append(c.Properties, property{"sealgate:source", p.Source})
	}
	if p.SourceVersion != "" {
		c.Properties = append(c.Properties, property{"sealgate:source_version", p.SourceVersion})
	}
	c.Properties = append(c.Properties, forTrivy(p)...)
	return c
}

// forTrivy says from which source package one was built in the words of Trivy, which reads no other: advisories are about
// sources, so it would find nothing. Grype takes it from the package URL.
//
// https://github.com/CycloneDX/cyclonedx-property-taxonomy
func forTrivy(p inventory.Package) (all []property) {
	if p.Source == "" {
		return nil
	}
	add := func(name, value string) {
		if value != "" {
			all = append(all, property{"aquasecurity:trivy:" + name, value})
		}
	}
	add("SrcName", p.Source)
	if p.SourceVersion == "" {
		return all // it is the package's own
	}
	version, release := p.SourceVersion, ""
	if strings.HasPrefix(p.PURL, "pkg:deb/") || strings.HasPrefix(p.PURL, "pkg:rpm/") {
		if epoch, rest, ok := strings.Cut(version, ":"); ok {
			add("SrcEpoch", epoch)
			version = rest
		}
		if i := strings.LastIndexByte(version, '-'); i >= 0 {
			version, release = version[:i], version[i+1:]
		}
	}
	add("SrcVersion", version)
	add("SrcRelease", release)
	return all
}

// licensesOf are a package's licences: an expression stands alone.
func licensesOf(p inventory.Package) []license {
	if len(p.Licenses) == 1 && strings.Contains(p.Licenses[0], " ") && isExpression(p.Licenses[0]) {
		return []license{{Expression: p.Licenses[0]}}
	}
	var all []license
	for _, text := range p.Licenses {
		if slices.Contains(common, text) {
			all = append(all, license{License: &named{ID: text}})
		} else {
			all = append(all, license{License: &named{Name: text}})
		}
	}
	return all
}

// serial is a UUID of a document's own, version 8 of RFC 9562.
func serial(sum []byte) string {
	u := slices.Clone(sum)
	u[6] = u[6]&0x0f | 0x80
	u[8] = u[8]&0x3f | 0x80
	return fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:16])
}
