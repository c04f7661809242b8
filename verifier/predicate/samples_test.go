package predicate

import "strings"

// Reports and documents of the shape that their tools write, cut down to what matters and some of what does not.
const (
	trivyReport = `{
  "SchemaVersion": 2, "CreatedAt": "2026-11-20T08:00:00.5+01:00", "ArtifactName": "app", "ArtifactType": "container_image",
  "Metadata": {"OS": {"Family": "debian", "Name": "12.7"}, "ImageID": "sha256:aa", "RepoDigests": ["app@sha256:bb"]},
  "Results": [
    {"Target": "app (debian 12.7)", "Class": "os-pkgs", "Type": "debian",
     "Packages": [{"ID": "openssl@3.0.14", "Name": "openssl"}, {"ID": "zlib1g@1.2", "Name": "zlib1g", "Version": "1.2"}],
     "Vulnerabilities": [
      {"VulnerabilityID": "CVE-2026-0001", "PkgID": "openssl@3.0.14", "PkgName": "openssl",
       "PkgIdentifier": {"PURL": "pkg:deb/debian/openssl@3.0.14", "UID": "1"},
       "InstalledVersion": "3.0.14", "FixedVersion": "3.0.15", "Status": "fixed", "Severity": "CRITICAL", "PublishedDate": "2026-11-02T03:00:00Z",
       "CVSS": {"nvd": {"V2Vector": "AV", "V2Score": 7.5, "V3Score": 9.8}, "redhat": {"V3Score": 8.1}},
       "References": ["https://x.example/\"quoted\"", "é"], "Title": "a \u00e9 b"},
      {"VulnerabilityID": "CVE-2026-0002", "PkgName": "zlib1g", "InstalledVersion": "1.2", "Status": "will_not_fix", "Severity": "UNKNOWN"}
    ]},
    {"Target": "app", "Class": "lang-pkgs", "Type": "gobinary", "Packages": [{"Name": "stdlib"}]}
  ]}`
	trivyClean = `{"SchemaVersion": 2, "Results": [{"Target": "app", "Packages": [{"Name": "musl"}]}]}`
	trivyEmpty = `{"SchemaVersion": 2, "ArtifactName": "scratch"}`

	grypeReport = `{
  "matches": [
    {"vulnerability": {"id": "GHSA-1", "severity": "High", "urls": [], "fix": {"versions": ["1.2.3", "1.3"], "state": "fixed", "available": []},
      "cvss": [{"version": "3.1", "metrics": {"baseScore": 7.5, "impactScore": 3.6}}, {"metrics": {"baseScore": 6}}],
      "epss": [{"cve": "CVE-1", "epss": 0.25, "percentile": 0.9, "date": "2026-11-19"}], "knownExploited": [{"cve": "CVE-1", "urls": []}]},
     "relatedVulnerabilities": [{"id": "CVE-1", "severity": "Critical"}], "matchDetails": [],
     "artifact": {"id": "x", "name": "left-pad", "version": "1.0", "type": "npm", "purl": "pkg:npm/left-pad@1.0"}},
    {"vulnerability": {"id": "CVE-2", "severity": "Negligible", "fix": {"versions": [], "state": "wont-fix"}}, "artifact": {"name": "bash"}}
  ],
  "source": {"type": "image", "target": {"manifestDigest": "sha256:bb"}},
  "distro": {"name": "debian"},
  "descriptor": {"name": "grype", "version": "0.121.2", "timestamp": "2026-11-20T07:30:00Z",
    "db": {"status": {"schemaVersion": "v6.1", "built": "2026-11-19T01:02:03Z", "valid": true}}}
}`
	grypeOld = `{"matches": [], "descriptor": {"db": {"built": "2024-01-02T03:04:05Z"}}}`

	sarifReport = `{
  "$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0",
  "runs": [{
    "results": [
      {"ruleId": "CVE-1", "ruleIndex": 0, "level": "error", "message": {"text": "x"}},
      {"rule": {"id": "CVE-2"}, "level": "note", "message": {"text": "y"}, "suppressions": [{"kind": "external"}]}
    ],
    "invocations": [{"executionSuccessful": true}],
    "tool": {"driver": {"name": "Trivy", "version": "0.70.0", "rules": [
      {"id": "CVE-1", "properties": {"precision": "very-high", "security-severity": "9.8", "tags": []}}, {"id": "CVE-2"}]}}
  }]}`

	spdxDocument = `{"spdxVersion": "SPDX-2.3", "SPDXID": "SPDXRef-DOCUMENT", "name": "app", "dataLicense": "CC0-1.0",
  "creationInfo": {"created": "2026-11-01T00:00:00Z", "creators": ["Tool: syft"]},
  "packages": [{"name": "a", "SPDXID": "1"}, {"name": "b", "SPDXID": "2"}, {"name": "c"}], "files": [], "relationships": []}`
	spdxThree = `{"@context": "https://spdx.org/rdf/3.0.1/spdx-context.jsonld", "@graph": [
  {"type": "CreationInfo", "@id": "_:c", "created": "2026-11-01T00:00:00Z"},
  {"type": "SpdxDocument", "name": "app"}, {"type": "software_Package", "name": "a"}, {"type": "software_File", "name": "f"}]}`
	spdxLines = "SPDXVersion: SPDX-2.3\nDataLicense: CC0-1.0\nDocumentName: app\nCreated: 2026-11-01T00:00:00Z\n" +
		"DocumentComment: <text>two\nPackageName: not one\nlines</text>\n\n##### Package: \"a\"\nPackageName: \"a\"\n\n" +
		"PackageName: é\nPackageComment: <text>x</text>\nPackageName: c"

	cyclonedxDocument = `{"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1,
  "metadata": {"timestamp": "2026-11-01T00:00:00Z", "component": {"name": "app", "type": "container"}},
  "components": [{"type": "library", "name": "a", "components": [{"name": "a1"}]}, {"name": "b", "version": "1"}]}`

	provenanceOld = `{"builder": {"id": "https://github.com/actions/runner"}, "buildType": "https://github.com/slsa-framework/generic@v1",
  "invocation": {"configSource": {"uri": "git+https://github.com/acme/app@refs/heads/main", "digest": {"sha1": "abc123"}, "entryPoint": ".github/workflows/release.yml"},
    "parameters": {}, "environment": {"github_event_name": "push", "github_actor": "x"}},
  "metadata": {"buildInvocationID": "1", "buildStartedOn": "2026-11-02T00:00:00Z", "buildFinishedOn": "2026-11-02T00:05:00Z", "reproducible": false},
  "materials": [{"uri": "git+https://github.com/acme/app@refs/heads/main", "digest": {"sha1": "abc123"}}, {"uri": "pkg:docker/golang"}]}`
	provenanceNew = `{"buildDefinition": {"buildType": "https://actions.github.io/buildtypes/workflow/v1",
    "externalParameters": {"workflow": {"ref": "refs/heads/main", "repository": "https://github.com/acme/app", "path": ".github/workflows/release.yml"}},
    "internalParameters": {"github": {"event_name": "push", "repository_id": "1"}},
    "resolvedDependencies": [{"uri": "git+https://github.com/acme/app@refs/heads/main", "digest": {"gitCommit": "abc123"}}]},
  "runDetails": {"builder": {"id": "https://github.com/acme/app/.github/workflows/release.yml@refs/heads/main"},
    "metadata": {"invocationId": "https://github.com/acme/app/actions/runs/1", "finishedOn": "2026-11-02T00:05:00Z"}}}`

	vexDocument = `{"@context": "https://openvex.dev/ns/v0.2.0", "@id": "x", "author": "sec@acme.dev", "timestamp": "2026-11-03T00:00:00Z", "version": 1,
  "statements": [{"vulnerability": {"name": "CVE-1", "aliases": ["GHSA-1"]}, "products": [{"@id": "pkg:oci/app@sha256:aa", "subcomponents": [{"@id": "pkg:x"}]}, {"identifiers": {"purl": "pkg:oci/b"}}],
    "status": "not_affected", "justification": "component_not_present"},
   {"vulnerability": "CVE-2", "products": ["pkg:oci/app"], "status": "affected", "timestamp": "2026-11-04T00:00:00Z"}]}`
	summaryDocument = `{"verifier": {"id": "https://sealgate.example"}, "timeVerified": "2026-11-05T00:00:00Z", "resourceUri": "prod/app",
  "policy": {"uri": "https://sealgate.example/policy"}, "verificationResult": "PASSED", "verifiedLevels": ["SLSA_BUILD_LEVEL_3"]}`
	testsDocument = `{"result": "WARNED", "configuration": [{"name": "ci.yml"}], "passedTests": ["a", "b"], "warnedTests": ["c"], "failedTests": []}`
)

// cosignScan is a report in cosign's wrapping.
func cosignScan(report string) string {
	return `{"invocation": {"uri": "", "event_id": ""}, "scanner": {"uri": "pkg:github/aquasecurity/trivy@0.70.0", "version": "0.70.0",
  "db": {"uri": "", "version": "", "lastUpdate": "2026-11-20T00:00:00Z"}, "result": ` + report + `},
  "metadata": {"scanStartedOn": "2026-11-20T07:59:00Z", "scanFinishedOn": "2026-11-20T08:00:00Z"}}`
}

// inTotoScan is a list of vulnerabilities in in-toto's own form.
func inTotoScan(result string) string {
	return strings.Replace(cosignScan(result), `"invocation": {"uri": "", "event_id": ""}, `, "", 1)
}

const inTotoResult = `[
  {"id": "CVE-1", "severity": [{"method": "nvd", "score": "medium"}, {"method": "cvss_score", "score": "7.2"}], "annotations": []},
  {"id": "CVE-2", "severity": [{"method": "vendor", "score": "CVSS:3.1/AV:N"}]}]`

const inTotoNestedResult = `[{"vulnerability": {"id": "CVE-1", "severity": [{"method": "nvd", "score": "low"}]}}]`
