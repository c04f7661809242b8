package scan

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"time"

	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/verifier/predicate"
)

// Statements are what a report is worth attesting: the scan in both forms that verifiers read, and the bills of
// materials that there are. They say what was judged, and nothing that the scanner wrote besides.
func (r *Report) Statements(image Image) ([]policy.Statement, error) {
	base := scanPredicate{
		Scanner:  scannerPredicate{URI: scannerURI(r.Scanner, r.Version), Version: r.Version},
		Metadata: scanTimes{Started: r.Started.UTC().Truncate(time.Second), Finished: r.Finished.UTC()},
	}
	if !r.Database.IsZero() {
		database := r.Database.UTC()
		base.Scanner.Database.Updated = &database
	}
	if r.Counted {
		base.Packages = &r.Packages
	}

	inToto, cosign := base, base
	inToto.Scanner.Result = r.inTotoResult()
	cosign.Scanner.Result = r.result(image)
	cosign.Invocation = &struct{}{}
	var all []policy.Statement
	for _, st := range []struct {
		predicateType string
		predicate     scanPredicate
	}{{policy.ScanByInToto02, inToto}, {policy.ScanByCosign, cosign}} {
		if st.predicateType == policy.ScanByInToto02 && r.Database.IsZero() {
			continue // it has to tell how old the database is
		}
		raw, err := json.Marshal(st.predicate)
		if err != nil {
			return nil, fmt.Errorf("word a scan: %w", err)
		}
		all = append(all, policy.Statement{PredicateType: st.predicateType, Predicate: raw, Time: r.Finished})
	}
	for _, sbom := range []struct {
		name string
		raw  []byte
	}{{"cyclonedx", r.SBOM}, {"spdx", r.SPDX}} {
		if sbom.raw != nil {
			all = append(all, policy.Statement{
				PredicateType: policy.PredicateTypes(sbom.name)[0], Predicate: sbom.raw, Time: r.Finished, Same: sameMaterials(sbom.raw),
			})
		}
	}
	return all, nil
}

// scanPredicate is both of in-toto's vulns/v0.2 and cosign's vuln/v1, which differ in the result. A field of our own tells
// how many packages were seen, which neither has.
type scanPredicate struct {
	Invocation *struct{}        `json:"invocation,omitempty"`
	Scanner    scannerPredicate `json:"scanner"`
	Metadata   scanTimes        `json:"metadata"`
	Packages   *int             `json:"sealgate_packages,omitempty"`
}

type scannerPredicate struct {
	URI      string `json:"uri"`
	Version  string `json:"version"`
	Database struct {
		Updated *time.Time `json:"lastUpdate,omitempty"`
	} `json:"db"`
	Result any `json:"result"`
}

type scanTimes struct {
	Started  time.Time `json:"scanStartedOn"`
	Finished time.Time `json:"scanFinishedOn"`
}

// scannerURI names a scanner as others do.
func scannerURI(name, version string) string {
	repository, ok := map[string]string{"grype": "anchore/grype", "trivy": "aquasecurity/trivy"}[name]
	if !ok {
		return name
	}
	uri := "pkg:github/" + repository
	if version != "" && version != "[not provided]" {
		uri += "@" + version
	}
	return uri
}

// inTotoFinding is an entry of in-toto's list, with what it has no words for in a field of our own.
type inTotoFinding struct {
	ID       string           `json:"id"`
	Severity []inTotoSeverity `json:"severity"`
	Finding  ourFinding       `json:"sealgate_finding"`
}

type inTotoSeverity struct {
	Method string `json:"method"`
	Score  string `json:"score"`
}

type ourFinding struct {
	Package      string   `json:"package,omitempty"`
	Version      string   `json:"version,omitempty"`
	PURL         string   `json:"purl,omitempty"`
	Fixed        *bool    `json:"fixed,omitempty"`
	FixedVersion string   `json:"fixedVersion,omitempty"`
	CVSS         float64  `json:"cvss,omitempty"`
	EPSS         float64  `json:"epss,omitempty"`
	Exploited    bool     `json:"knownExploited,omitempty"`
	Aliases      []string `json:"aliases,omitempty"`
}

func (r *Report) inTotoResult() []inTotoFinding {
	all := []inTotoFinding{}
	for _, f := range r.Findings {
		one := inTotoFinding{
			ID: f.ID, Severity: []inTotoSeverity{{Method: r.Scanner, Score: f.Severity.String()}},
			Finding: ourFinding{
				Package: f.Package, Version: f.Version, PURL: f.PURL, FixedVersion: f.FixedVersion,
				CVSS: f.CVSS, EPSS: f.EPSS, Exploited: f.KnownExploited, Aliases: f.Aliases,
			},
		}
		if f.Fix != policy.FixUnknown {
			fixed := f.Fix == policy.FixAvailable
			one.Finding.Fixed = &fixed
		}
		all = append(all, one)
	}
	return all
}

// result is the report in the words of the scanner, where policies of others look into it.
func (r *Report) result(image Image) any {
	if r.Scanner == string(predicate.Trivy) {
		return r.trivyResult(image)
	}
	return r.grypeResult(image)
}

type object = map[string]any

func (r *Report) trivyResult(image Image) any {
	var found []object
	for _, f := range r.Findings {
		one := object{"VulnerabilityID": f.ID, "PkgName": f.Package, "InstalledVersion": f.Version, "Severity": f.Severity.String()}
		if f.FixedVersion != "" {
			one["FixedVersion"] = f.FixedVersion
		}
		if f.PURL != "" {
			one["PkgIdentifier"] = object{"PURL": f.PURL}
		}
		if len(f.Aliases) > 0 {
			one["VendorIDs"] = f.Aliases
		}
		if f.CVSS > 0 {
			one["CVSS"] = object{"nvd": object{"V3Score": f.CVSS}}
		}
		if !f.Published.IsZero() {
			one["PublishedDate"] = f.Published
		}
		found = append(found, one)
	}
	return object{
		"SchemaVersion": 2, "CreatedAt": r.Finished, "ArtifactType": "container_image",
		"Metadata": object{"ImageID": image.Manifest.Config.Digest},
		"Results":  []object{{"Target": image.Manifest.Digest, "Vulnerabilities": append([]object{}, found...)}},
	}
}

func (r *Report) grypeResult(image Image) any {
	matches := []object{}
	for _, f := range r.Findings {
		vulnerability := object{"id": f.ID, "severity": f.Severity.String()}
		switch {
		case f.FixedVersion != "":
			vulnerability["fix"] = object{"versions": []string{f.FixedVersion}, "state": "fixed"}
		case f.Fix == policy.FixNone:
			vulnerability["fix"] = object{"versions": []string{}, "state": "not-fixed"}
		case f.Fix == policy.FixAvailable:
			vulnerability["fix"] = object{"versions": []string{}, "state": "fixed"}
		}
		if f.CVSS > 0 {
			vulnerability["cvss"] = []object{{"metrics": object{"baseScore": f.CVSS}}}
		}
		if f.EPSS > 0 {
			vulnerability["epss"] = []object{{"epss": f.EPSS}}
		}
		if f.KnownExploited {
			vulnerability["knownExploited"] = []object{{"cve": f.ID}}
		}
		one := object{"vulnerability": vulnerability, "artifact": object{"name": f.Package, "version": f.Version, "purl": f.PURL}}
		if len(f.Aliases) > 0 {
			var related []object
			for _, alias := range f.Aliases {
				related = append(related, object{"id": alias})
			}
			one["relatedVulnerabilities"] = related
		}
		matches = append(matches, one)
	}
	descriptor := object{"name": r.Scanner, "version": r.Version, "timestamp": r.Finished}
	if !r.Database.IsZero() {
		descriptor["db"] = object{"status": object{"built": r.Database}}
	}
	return object{
		"matches": matches, "descriptor": descriptor,
		"source": object{"type": "image", "target": object{"manifestDigest": image.Manifest.Digest, "imageID": image.Manifest.Config.Digest}},
	}
}

// sameMaterials compares bills of materials without what differs each time that one is written.
func sameMaterials(sbom []byte) func(attached []byte) bool {
	return func(attached []byte) bool {
		if bytes.Equal(attached, sbom) {
			return true
		}
		mine, ok := materials(sbom)
		theirs, ok2 := materials(attached)
		return ok && ok2 && reflect.DeepEqual(mine, theirs)
	}
}

func materials(sbom []byte) (object, bool) {
	var doc object
	if err := json.Unmarshal(sbom, &doc); err != nil {
		return nil, false
	}
	delete(doc, "serialNumber") // CycloneDX
	delete(doc, "metadata")
	delete(doc, "creationInfo") // SPDX
	delete(doc, "documentNamespace")
	delete(doc, "vulnerabilities") // what is known of them is the scan's to say
	return doc, true
}
