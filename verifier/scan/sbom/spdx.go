package sbom

import (
	"encoding/hex"
	"maps"
	"slices"
	"strings"

	"github.com/sealgate/sealgate/verifier/scan/inventory"
)

// SPDXType is the predicate type of what [SPDX] writes.
const SPDXType = "https://spdx.dev/Document"

// https://spdx.github.io/spdx-spec/v2.3/
type spdxDocument struct {
	Version       string             `json:"spdxVersion"`
	License       string             `json:"dataLicense"`
	ID            string             `json:"SPDXID"`
	Name          string             `json:"name"`
	Namespace     string             `json:"documentNamespace"`
	Creation      spdxCreation       `json:"creationInfo"`
	Comment       string             `json:"comment,omitempty"`
	Packages      []spdxPackage      `json:"packages"`
	Licenses      []spdxLicense      `json:"hasExtractedLicensingInfos,omitempty"`
	Relationships []spdxRelationship `json:"relationships"`
}

type spdxCreation struct {
	Created  string   `json:"created"`
	Creators []string `json:"creators"`
}

type spdxPackage struct {
	ID            string          `json:"SPDXID"`
	Name          string          `json:"name"`
	Version       string          `json:"versionInfo,omitempty"`
	Supplier      string          `json:"supplier"`
	Download      string          `json:"downloadLocation"`
	FilesAnalyzed bool            `json:"filesAnalyzed"`
	Purpose       string          `json:"primaryPackagePurpose,omitempty"`
	Checksums     []spdxChecksum  `json:"checksums,omitempty"`
	Concluded     string          `json:"licenseConcluded"`
	Declared      string          `json:"licenseDeclared"`
	Copyright     string          `json:"copyrightText"`
	SourceInfo    string          `json:"sourceInfo,omitempty"`
	Comment       string          `json:"comment,omitempty"`
	References    []spdxReference `json:"externalRefs,omitempty"`
}

type spdxChecksum struct {
	Algorithm string `json:"algorithm"`
	Value     string `json:"checksumValue"`
}

type spdxReference struct {
	Category string `json:"referenceCategory"`
	Type     string `json:"referenceType"`
	Locator  string `json:"referenceLocator"`
}

type spdxLicense struct {
	ID   string `json:"licenseId"`
	Text string `json:"extractedText"`
}

type spdxRelationship struct {
	From string `json:"spdxElementId"`
	Type string `json:"relationshipType"`
	To   string `json:"relatedSpdxElement"`
}

const (
	noAssertion = "NOASSERTION"
	spdxSelf    = "SPDXRef-DOCUMENT"
	spdxImage   = "SPDXRef-Image"
	spdxOS      = "SPDXRef-OperatingSystem"
)

// SPDX writes a document as SPDX 2.3.
func SPDX(d Document) ([]byte, error) {
	sum, err := d.sum()
	if err != nil {
		return nil, err
	}
	image := newPackage(spdxImage, d.Repository, d.Subject.String(), d.purl())
	image.Purpose = "CONTAINER"
	image.Checksums = []spdxChecksum{{strings.ToUpper(d.Subject.Algorithm().String()), d.Subject.Encoded()}}
	s := spdxDocument{
		Version: "SPDX-2.3", License: "CC0-1.0", ID: spdxSelf,
		Name:      d.Repository + "@" + d.Subject.String(),
		Namespace: "https://github.com/sealgate/sealgate/spdx/" + d.Subject.Encoded() + "-" + hex.EncodeToString(sum[:8]),
		Creation:  spdxCreation{d.created(), []string{"Tool: " + tool + "-" + d.Version}},
		Comment:   d.caveat(),
		Packages:  []spdxPackage{image},
	}
	s.relate(spdxSelf, "DESCRIBES", spdxImage)
	if name := d.osName(); name != "" {
		system := newPackage(spdxOS, name, d.Inventory.OS.Version, "")
		system.Purpose = "OPERATING-SYSTEM"
		s.Packages = append(s.Packages, system)
		s.relate(spdxImage, "CONTAINS", spdxOS)
	}
	extracted := map[string]string{}
	for _, p := range d.Inventory.Packages {
		listed := newPackage("SPDXRef-Package-"+idOf(p), p.Name, p.Version, p.PURL)
		listed.Declared = declared(p, extracted)
		listed.Comment = "found in " + strings.Join(p.Locations, ", ")
		if p.Source != "" { // the words by which Trivy knows it
			listed.SourceInfo = strings.TrimSpace("built package from: " + p.Source + " " + p.SourceVersion)
		}
		s.Packages = append(s.Packages, listed)
		s.relate(spdxImage, "CONTAINS", listed.ID)
	}
	for _, id := range slices.Sorted(maps.Keys(extracted)) {
		s.Licenses = append(s.Licenses, spdxLicense{id, extracted[id]})
	}
	return encode(s)
}

func newPackage(id, name, version, purl string) spdxPackage {
	p := spdxPackage{
		ID: id, Name: name, Version: version, Supplier: noAssertion, Download: noAssertion,
		Concluded: noAssertion, Declared: noAssertion, Copyright: noAssertion,
	}
	if purl != "" {
		p.References = []spdxReference{{"PACKAGE-MANAGER", "purl", purl}}
	}
	return p
}

// declared is the licence that a package says it has.
func declared(p inventory.Package, extracted map[string]string) string {
	var all []string
	for _, text := range p.Licenses {
		name := text
		if !isExpression(text) {
			name = referenceOf(text)
			extracted[name] = text
		}
		if strings.Contains(name, " ") && len(p.Licenses) > 1 {
			name = "(" + name + ")"
		}
		all = append(all, name)
	}
	if len(all) == 0 {
		return noAssertion
	}
	return strings.Join(all, " AND ")
}

func (s *spdxDocument) relate(from, how, to string) {
	s.Relationships = append(s.Relationships, spdxRelationship{from, how, to})
}
