// Package sbom writes inventories as bills of materials that others read: SPDX 2.3 and CycloneDX 1.6, as JSON.
//
// A document is a function of what it is made of: the same inventory at the same time gives the same bytes.
package sbom

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/package-url/packageurl-go"
	"github.com/sealgate/sealgate/verifier/scan/inventory"
)

// Document is what a bill of materials is made of.
type Document struct {
	Repository string        // of the image, such as prod/app
	Subject    digest.Digest // the image's manifest
	Created    time.Time     // when the inventory was taken
	Version    string        // of this program
	Inventory  *inventory.Inventory
}

const tool = "sealgate"

// purl names the image: https://github.com/package-url/purl-spec/blob/main/types-doc/oci-definition.md
func (d Document) purl() string {
	q := packageurl.QualifiersFromMap(map[string]string{"repository_url": d.Repository})
	return packageurl.NewPackageURL("oci", "", strings.ToLower(path.Base(d.Repository)), d.Subject.String(), q, "").ToString()
}

// created is the document's time as both formats write it.
func (d Document) created() string { return d.Created.UTC().Format(time.RFC3339) }

// sum is a name for the document that no other content has.
func (d Document) sum() ([sha256.Size]byte, error) {
	raw, err := json.Marshal(d)
	if err != nil {
		return [sha256.Size]byte{}, fmt.Errorf("sum up a bill of materials: %w", err)
	}
	return sha256.Sum256(raw), nil
}

// idOf is a name for a package within the document.
func idOf(p inventory.Package) string {
	sum := sha256.Sum256([]byte(p.PURL + "\x00" + p.Ecosystem + "\x00" + p.Name + "\x00" + p.Version))
	return hex.EncodeToString(sum[:12])
}

// caveat says what the inventory did not understand, empty where it did all.
func (d Document) caveat() string {
	if n := len(d.Inventory.Gaps); n > 0 {
		return fmt.Sprintf("Incomplete: %d files of the image were not understood.", n)
	}
	return ""
}

// osName is what the operating system is listed as.
func (d Document) osName() string { return d.Inventory.OS.ID }

// encode writes JSON as a person reads it.
func encode(v any) ([]byte, error) {
	raw, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write a bill of materials: %w", err)
	}
	return append(raw, '\n'), nil
}
