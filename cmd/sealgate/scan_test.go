package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	_ "github.com/owenrumney/go-sarif/v3/pkg/report/v210/sarif" // has the schema
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/policy/manifest"
	"github.com/sealgate/sealgate/verifier/predicate"
	"github.com/sealgate/sealgate/verifier/scan"
)

// debianLayout writes an image of Debian 12 with openssl and bash as an OCI layout, for two platforms.
func debianLayout(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "image")
	put := func(mediaType string, raw []byte) map[string]any {
		d := digest.FromBytes(raw)
		path := filepath.Join(dir, "blobs", "sha256", d.Encoded())
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, raw, 0o644); err != nil {
			t.Fatal(err)
		}
		return map[string]any{"mediaType": mediaType, "digest": d, "size": len(raw)}
	}
	encode := func(value any) []byte {
		raw, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	status := "Package: libssl3\nStatus: install ok installed\nSource: openssl\nVersion: 3.0.11-1~deb12u1\nArchitecture: amd64\nMaintainer: x <x@example.org>\nDescription: x\n\n" +
		"Package: bash\nStatus: install ok installed\nVersion: 5.2.15-2\nArchitecture: amd64\nMaintainer: x <x@example.org>\nDescription: x\n\n"
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	for name, content := range map[string]string{"etc/os-release": "ID=debian\nVERSION_ID=\"12\"\n", "var/lib/dpkg/status": status} {
		_ = w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content)), Typeflag: tar.TypeReg})
		_, _ = w.Write([]byte(content))
	}
	_ = w.Close()
	var images []any
	for _, arch := range []string{"amd64", "arm64"} {
		config := encode(map[string]any{"os": "linux", "architecture": arch, "rootfs": map[string]any{"type": "layers", "diff_ids": []any{digest.FromBytes(layer.Bytes())}}})
		image := put(ocispec.MediaTypeImageManifest, encode(map[string]any{
			"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageManifest,
			"config": put(ocispec.MediaTypeImageConfig, config), "layers": []any{put(ocispec.MediaTypeImageLayer, layer.Bytes())},
		}))
		image["platform"] = map[string]any{"os": "linux", "architecture": arch}
		images = append(images, image)
	}
	index := encode(map[string]any{"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageIndex, "manifests": images})
	if err := os.WriteFile(filepath.Join(dir, "index.json"), index, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// osvZip writes the records of an ecosystem.
func osvZip(t *testing.T) string {
	t.Helper()
	var raw bytes.Buffer
	z := zip.NewWriter(&raw)
	for id, record := range map[string]string{
		"CVE-2026-1": `"affected":[{"package":{"ecosystem":"Debian:12","name":"openssl"},"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"fixed":"3.0.15-1~deb12u1"}]}]}],
			"severity":[{"type":"CVSS_V3","score":"CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}]`,
		"CVE-2026-2": `"affected":[{"package":{"ecosystem":"Debian:12","name":"bash"},"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"}]}]}],
			"severity":[{"type":"CVSS_V3","score":"CVSS:3.1/AV:L/AC:H/PR:H/UI:R/S:U/C:L/I:N/A:N"}]`,
	} {
		f, err := z.Create(id + ".json")
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(f, `{"schema_version":"1.6.0","id":%q,"modified":"2026-11-20T00:00:00Z",%s}`, id, record)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "Debian.zip")
	if err := os.WriteFile(path, raw.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestScanOfALayout(t *testing.T) {
	t.Parallel()
	layout, storage := debianLayout(t), t.TempDir()
	sealgate := func(args ...string) (code int, stdout, stderr string) {
		var out, complaints strings.Builder
		code = run(t.Context(), append([]string{"scan", "--storage", storage}, args...), &out, &complaints)
		return code, out.String(), complaints.String()
	}
	if code, out, stderr := sealgate(layout); code != 0 || !strings.Contains(out, "not looked up: 2 packages, as there is no database") || !strings.Contains(stderr, "--update-database") {
		t.Fatalf("without a database: got %d\n%s%s", code, out, stderr)
	}
	if code, _, stderr := sealgate("--update-database", osvZip(t)); code != 0 || !strings.Contains(stderr, "2 records of 1 ecosystems, the newest of 2026-11-20") {
		t.Fatalf("the database was not made: got %d\n%s", code, stderr)
	}

	code, out, stderr := sealgate("--exit-code", "9", "--platform", "linux/arm64", layout)
	if code != 9 || strings.Contains(out, "\x1b") || !strings.Contains(out, "findings  1 critical, 1 low") ||
		!strings.Contains(out, "CRITICAL  CVE-2026-1     libssl3  3.0.11-1~deb12u1  3.0.15-1~deb12u1\nLOW       CVE-2026-2     bash     5.2.15-2          no fix\n") {
		t.Errorf("got %d\n%s%s", code, out, stderr)
	}
	if code, out, _ := sealgate("--exit-code", "9", "--severity", "low", "--ignore-unfixed", layout); code != 0 || !strings.Contains(out, "findings  none") {
		t.Errorf("with nothing left: got %d\n%s", code, out)
	}

	code, out, stderr = sealgate("-o", "json", layout)
	var said scanJSON
	if err := json.Unmarshal([]byte(out), &said); code != 0 || err != nil {
		t.Fatalf("got %d, %v\n%s%s", code, err, out, stderr)
	}
	if len(said.Findings) != 2 || said.Findings[0].ID != "CVE-2026-1" || !*said.Findings[0].Fixed || *said.Packages != 2 || said.Digest == "" || said.Database == nil {
		t.Errorf("got %+v", said)
	}

	for format, want := range map[string]string{"cyclonedx": `"bomFormat": "CycloneDX"`, "spdx": `"spdxVersion": "SPDX-2.3"`} {
		if code, out, stderr := sealgate("-o", format, layout); code != 0 || !strings.Contains(strings.ReplaceAll(out, `":"`, `": "`), want) || !strings.Contains(out, "pkg:deb/debian/libssl3@") {
			t.Errorf("%s: got %d\n%.300s%s", format, code, out, stderr)
		}
	}

	for want, args := range map[string][]string{
		"--format is none of table":                       {"-o", "xml", layout},
		`--severity has "LOUD", which is none of`:         {"--severity", "loud", layout},
		"--exit-code is not between 0 and 255":            {"--exit-code", "256", layout},
		`no scanner is called "trivy"`:                    {"--scanner", "trivy", layout},
		"there is no image for linux/s390x; there are li": {"--platform", "linux/s390x", layout},
		"scan takes one image":                            {},
	} {
		if code, _, stderr := sealgate(args...); code != 2 || !strings.Contains(stderr, want) {
			t.Errorf("%v: got %d %s, want 2 and %q", args, code, stderr, want)
		}
	}

	blobs, err := filepath.Glob(filepath.Join(layout, "blobs", "sha256", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, blob := range blobs {
		stat, err := os.Stat(blob)
		if err != nil {
			t.Fatal(err)
		}
		if stat.Size() > 1024 { // the layer
			if err := os.Truncate(blob, stat.Size()-512); err != nil {
				t.Fatal(err)
			}
		}
	}
	if code, out, stderr := sealgate(layout); code != 6 || !strings.Contains(stderr, "could not be scanned") {
		t.Errorf("a layer was cut short: got %d\n%s%s", code, out, stderr)
	}
}

// tarOf packs files by name, in the order of their names.
func tarOf(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var raw bytes.Buffer
	w := tar.NewWriter(&raw)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		header := &tar.Header{Name: name, Mode: 0o644, Size: int64(len(files[name])), Typeflag: tar.TypeReg}
		if to, is := strings.CutPrefix(files[name], "-> "); is {
			header.Typeflag, header.Linkname, header.Size = tar.TypeSymlink, to, 0
		}
		if err := w.WriteHeader(header); err != nil {
			t.Fatal(err)
		}
		if header.Size > 0 {
			_, _ = io.WriteString(w, files[name])
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return raw.Bytes()
}

func zipped(t *testing.T, content string) string {
	t.Helper()
	var raw bytes.Buffer
	w := gzip.NewWriter(&raw)
	if _, err := io.WriteString(w, content); err != nil || w.Close() != nil {
		t.Fatal(err)
	}
	return raw.String()
}

// Tars of images, as docker, podman, skopeo and crane write them.
func TestScanOfATar(t *testing.T) {
	t.Parallel()
	layer := string(tarOf(t, map[string]string{
		"etc/os-release":      "ID=debian\nVERSION_ID=\"12\"\n",
		"var/lib/dpkg/status": "Package: bash\nStatus: install ok installed\nVersion: 5.2.15-2\nArchitecture: amd64\nMaintainer: x <x@example.org>\nDescription: x\n\n",
	}))
	config := func(layers int) string {
		ids := make([]string, layers)
		for i := range ids {
			ids[i] = strconv.Quote(digest.FromString(layer).String())
		}
		return `{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":[` + strings.Join(ids, ",") + `]}}`
	}
	image := func(layers string) string {
		return `{"Config":"c.json","RepoTags":["app:v1"],"Layers":[` + layers + `]}`
	}
	layout, unpacked := map[string]string{}, debianLayout(t)
	err := filepath.WalkDir(unpacked, func(name string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		raw, err := os.ReadFile(name)
		inside, _ := filepath.Rel(unpacked, name)
		layout["./"+filepath.ToSlash(inside)] = string(raw)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	saved := tarOf(t, map[string]string{"manifest.json": "[" + image(`"a/layer.tar"`) + "]", "c.json": config(1), "a/layer.tar": layer})
	for name, c := range map[string]struct {
		file    string // its name
		content []byte
		code    int
		want    string
	}{
		"docker save":                      {"saved.tar", saved, 0, "not looked up: 1 packages, as there is no database"},
		"whatever it is called":            {"saved", saved, 0, "not looked up: 1 packages, as there is no database"},
		"compressed":                       {"saved.tar.gz", []byte(zipped(t, string(saved))), 0, "not looked up: 1 packages, as there is no database"},
		"with a layer that is compressed":  {"saved.tar", tarOf(t, map[string]string{"manifest.json": "[" + image(`"l.tar.gz"`) + "]", "c.json": config(1), "l.tar.gz": zipped(t, layer)}), 0, "not looked up: 1 packages, as there is no database"},
		"with a layer that is there twice": {"saved.tar", tarOf(t, map[string]string{"manifest.json": "[" + image(`"a/layer.tar","b/layer.tar"`) + "]", "c.json": config(2), "a/layer.tar": layer, "b/layer.tar": "-> ../a/layer.tar"}), 0, "not looked up: 1 packages, as there is no database"},
		"a layout":                         {"image.tar", tarOf(t, layout), 0, "not looked up: 2 packages"},
		"a layer is not the one that the configuration names": {"saved.tar", tarOf(t, map[string]string{"manifest.json": "[" + image(`"a/layer.tar"`) + "]", "c.json": config(1), "a/layer.tar": layer + "x"}), 6, "could not be scanned"},
		"a layer is not there":                                {"saved.tar", tarOf(t, map[string]string{"manifest.json": "[" + image(`"a/layer.tar"`) + "]", "c.json": config(1)}), 2, `its layer "a/layer.tar" is not in it`},
		"a layer is a link out of it":                         {"saved.tar", tarOf(t, map[string]string{"manifest.json": "[" + image(`"a/layer.tar"`) + "]", "c.json": config(1), "a/layer.tar": "-> ../../../etc/passwd"}), 2, `its layer "a/layer.tar" is not in it`},
		"no configuration":                                    {"saved.tar", tarOf(t, map[string]string{"manifest.json": "[" + image(`"a/layer.tar"`) + "]", "a/layer.tar": layer}), 2, `its configuration "c.json" is not in it`},
		"two images":                                          {"saved.tar", tarOf(t, map[string]string{"manifest.json": "[" + image(`"a"`) + "," + image(`"a"`) + "]"}), 2, "it has 2 images (app:v1, app:v1); save the one to scan"},
		"not an image":                                        {"notes.tar", tarOf(t, map[string]string{"notes.txt": "x"}), 2, "neither an index.json nor a manifest.json"},
		"not a tar":                                           {"notes.tar", []byte(strings.Repeat("no tar ", 200)), 2, "is no tar of an image"},
		"half a tar":                                          {"half.tar", saved[:len(saved)/2], 2, "is no tar of an image"},
		"half a compressed one":                               {"half.tgz", []byte(zipped(t, string(saved))[:200]), 2, "is no tar of an image"},
		"empty":                                               {"empty.tar", nil, 2, "it is too short"},
	} {
		path := filepath.Join(t.TempDir(), c.file)
		if err := os.WriteFile(path, c.content, 0o600); err != nil {
			t.Fatal(err)
		}
		var out, complaints strings.Builder
		code := run(t.Context(), []string{"scan", "--storage", t.TempDir(), "--platform", "linux/amd64", path}, &out, &complaints)
		if code != c.code || !strings.Contains(out.String()+complaints.String(), c.want) {
			t.Errorf("%s: got %d, want %d and %q\n%s%s", name, code, c.code, c.want, out.String(), complaints.String())
		}
	}
}

// What is meant as a path is never looked for in a registry, and an image needs no key to be scanned.
func TestScanSaysWhatIsWrongWithWhatWasTyped(t *testing.T) {
	t.Parallel()
	storage := t.TempDir()
	for typed, c := range map[string]struct {
		code int
		want string
	}{
		"./imge":              {2, "there is no ./imge; scan takes an image of a registry, an OCI layout, or a tar of docker save"},
		"imge.tar":            {2, "there is no imge.tar"},
		t.TempDir():           {2, "is no OCI layout, as it has no index.json; images are scanned, not folders of sources"},
		"prod/nothing:v1":     {4, "not found"},
		"UPPER/case":          {2, "names no repository; write [host/]repo[:tag][@digest], in lower case"},
		"/dev/null":           {2, "is no tar of an image"},
		"docker.io/nothing:1": {4, "not found"},
	} {
		var out, complaints strings.Builder
		if code := run(t.Context(), []string{"scan", "--storage", storage, typed}, &out, &complaints); code != c.code || !strings.Contains(complaints.String(), c.want) {
			t.Errorf("%s: got %d, want %d and %q\n%s", typed, code, c.code, c.want, complaints.String())
		}
	}
}

// What GitHub's uploader wants: https://docs.github.com/en/code-security/code-scanning/integrating-with-code-scanning/sarif-support-for-code-scanning
func TestSarifIsWhatGitHubTakes(t *testing.T) {
	t.Parallel()
	m, err := manifest.Parse([]byte(`{"schemaVersion":2,"config":{"mediaType":"x","digest":"`+digest.FromString("x").String()+`","size":1},"layers":[]}`), ocispec.MediaTypeImageManifest)
	if err != nil {
		t.Fatal(err)
	}
	findings := []policy.Finding{
		{ID: "CVE-1", Package: "openssl", Version: "1", Severity: policy.Critical, CVSS: 9.8, FixedVersion: "2", Fix: policy.FixAvailable},
		{ID: "CVE-1", Package: "libssl", Version: "1", Severity: policy.Critical, CVSS: 9.8},
		{ID: "CVE-2", Package: "bash", Version: "5", Severity: policy.High, CVSS: 9.8}, // the distribution rates it lower than its score
		{ID: "CVE-3", Package: "zlib", Version: "1", Severity: policy.Unknown},
		{ID: "CVE-4", Package: "zlib", Version: "1", Severity: policy.Low},
		{ID: "CVE-4", Package: "zlib", Version: "2", Severity: policy.Low}, // the same one twice in an image
	}
	r := scanResult{image: scan.Image{Repo: "prod/app", Manifest: m}, report: scan.Report{Scan: policy.Scan{Findings: findings}}}
	var out bytes.Buffer
	if err := r.print(&out, "sarif"); err != nil {
		t.Fatal(err)
	}
	read, err := predicate.ReadReport(bytes.NewReader(out.Bytes())) // our own reader rates by the score, as GitHub does
	if err != nil || len(read.Findings) != len(findings) {
		t.Fatalf("got %+v, %v", read, err)
	}
	for i, f := range read.Findings {
		want := findings[i].Severity
		if want == policy.Unknown {
			want = policy.Critical
		}
		if f.ID != findings[i].ID || f.Severity != want {
			t.Errorf("got %s %s, want %s %s", f.ID, f.Severity, findings[i].ID, want)
		}
	}

	var log sarifLog
	if err := json.Unmarshal(out.Bytes(), &log); err != nil {
		t.Fatal(err)
	}
	run, prints := log.Runs[0], map[string]bool{}
	if log.Version != "2.1.0" || len(run.Tool.Driver.Rules) != 4 {
		t.Errorf("got version %s and %d rules", log.Version, len(run.Tool.Driver.Rules))
	}
	for _, result := range run.Results {
		print := result.Fingerprints["primaryLocationLineHash"]
		if rule := run.Tool.Driver.Rules[result.RuleIndex]; rule.ID != result.RuleID || rule.HelpURI == "" || rule.Help.Text == "" || rule.ShortDescription.Text == "" {
			t.Errorf("%s has the rule %+v", result.RuleID, rule)
		}
		if print == "" || prints[print] || len(result.Locations) != 1 || result.Locations[0].Physical.Artifact.URI != "prod/app" || result.Locations[0].Physical.Region.StartLine != 1 || result.Message.Text == "" {
			t.Errorf("got %+v", result)
		}
		prints[print] = true
	}
}

// A report may have more findings than GitHub takes, and what a scanner prints may be as long as it likes. The schema is the
// one that OASIS published.
func TestSarifHasBounds(t *testing.T) {
	t.Parallel()
	m, err := manifest.Parse([]byte(`{"schemaVersion":2,"config":{"mediaType":"x","digest":"`+digest.FromString("x").String()+`","size":1},"layers":[]}`), ocispec.MediaTypeImageManifest)
	if err != nil {
		t.Fatal(err)
	}
	findings := []policy.Finding{{ID: strings.Repeat("é", 300), Package: strings.Repeat("é", 3000), Version: strings.Repeat("9", 3000), FixedVersion: strings.Repeat("9", 3000), Severity: policy.Critical}}
	for i := range maxSarifResults + 10 {
		findings = append(findings, policy.Finding{ID: fmt.Sprintf("CVE-2026-%d", i), Package: fmt.Sprintf("package-%d", i%500), Version: "1.2.3", FixedVersion: "1.2.4", Severity: policy.Medium, CVSS: 5})
	}
	r := scanResult{image: scan.Image{Repo: "prod/app", Manifest: m}, report: scan.Report{Scan: policy.Scan{Findings: findings}}}
	var out, zipped bytes.Buffer
	if err := r.print(&out, "sarif"); err != nil {
		t.Fatal(err)
	}
	w := gzip.NewWriter(&zipped)
	if _, err := w.Write(out.Bytes()); err != nil || w.Close() != nil {
		t.Fatal(err)
	}
	if zipped.Len() > 10<<20 {
		t.Errorf("an upload has %d bytes, 10 MB are taken", zipped.Len())
	}

	var log sarifLog
	if err := json.Unmarshal(out.Bytes(), &log); err != nil {
		t.Fatal(err)
	}
	run := log.Runs[0]
	rules := map[string]bool{}
	for _, rule := range run.Tool.Driver.Rules {
		if rules[rule.ID] {
			t.Errorf("two rules are called %.40s", rule.ID)
		}
		rules[rule.ID] = true
	}

	// The schema wants unique rules, for which a validator compares each with each: it gets the first of them.
	short := log
	short.Runs = slices.Clone(log.Runs)
	short.Runs[0].Results, short.Runs[0].Tool.Driver.Rules = run.Results[:100], run.Tool.Driver.Rules[:100]
	raw, err := json.Marshal(short)
	if err != nil {
		t.Fatal(err)
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	if err := sarifSchema(t).Validate(document); err != nil {
		t.Error(err)
	}
	if len(run.Results) != maxSarifResults || len(run.Tool.Driver.Rules) != maxSarifResults {
		t.Errorf("got %d results of %d rules", len(run.Results), len(run.Tool.Driver.Rules))
	}
	first, result := run.Tool.Driver.Rules[0], run.Results[0]
	if n := len(first.ID); n > maxSarifID || result.RuleID != first.ID {
		t.Errorf("the rule's id has %d bytes", n)
	}
	for _, text := range []string{first.ShortDescription.Text, first.FullDescription.Text, result.Message.Text, result.Locations[0].Message.Text} {
		if len(text) > maxSarifText || !utf8.ValidString(text) || strings.ContainsRune(text, utf8.RuneError) {
			t.Errorf("a text has %d bytes", len(text))
		}
	}
}

// sarifSchema is OASIS's schema, out of a library that has it as text.
func sarifSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/owenrumney/go-sarif/v3").Output()
	if err != nil {
		t.Fatal(err)
	}
	source := filepath.Join(strings.TrimSpace(string(dir)), "pkg", "report", "v210", "sarif", "schema.go")
	file, err := parser.ParseFile(token.NewFileSet(), source, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	text := ""
	ast.Inspect(file, func(n ast.Node) bool {
		if literal, ok := n.(*ast.BasicLit); ok && literal.Kind == token.STRING && len(literal.Value) > len(text) {
			text = literal.Value
		}
		return true
	})
	document, err := jsonschema.UnmarshalJSON(strings.NewReader(strings.Trim(text, "`")))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("sarif.json", document); err != nil {
		t.Fatal(err)
	}
	return c.MustCompile("sarif.json")
}
