package harbor

import (
	"archive/tar"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/opencontainers/go-digest"
	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/verifier/scan"
	"github.com/sealgate/sealgate/verifier/scan/scantest"
)

// imageOf makes an image with a file that lists packages.
func imageOf(t *testing.T, blobs scantest.Blobs, packages string) scan.Image {
	t.Helper()
	return scan.Image{Repo: "prod/app", Manifest: blobs.Image(t, map[string]string{"packages": packages})}
}

// adapter speaks the published API, and pulls what it is asked to scan as any client of a registry does.
type adapter struct {
	t *testing.T

	// What it does wrong, if anything.
	metadata string
	accept   func(w http.ResponseWriter) bool // in the place of accepting a scan
	report   func(ours string) string         // in the place of its report
	sbom     func(ours string) string         // in the place of its bill of materials
	polls    int                              // how often it says "not yet"

	mu      sync.Mutex
	asked   scanRequest
	seen    int
	refused string // why it could not pull
}

type scanRequest struct {
	Registry struct{ URL, Authorization string }
	Artifact struct {
		Repository, Digest string
		MediaType          string `json:"mime_type"`
	}
	Enabled []capability `json:"enabled_capabilities"`
}

// The scans that it accepts, by what is asked for.
const (
	scanID    = "3fa85f64-5717-4562-b3fc-2c963f66afa6"
	listingID = "0d9b6f0c-2c7a-4f0e-9d7b-7c1b6f3c9a11"
)

const goodMetadata = `{"scanner":{"name":"Test","vendor":"Sealgate","version":"1.0"},
 "capabilities":[{"type":"vulnerability","consumes_mime_types":["application/vnd.oci.image.manifest.v1+json","application/vnd.docker.distribution.manifest.v2+json"],
 "produces_mime_types":["application/vnd.security.vulnerability.report; version=1.1"]}],
 "properties":{"harbor.scanner-adapter/vulnerability-database-updated-at":"2026-11-24T02:00:00Z"}}`

// listingMetadata is that of an adapter of version 1.2, which writes bills of materials too.
func listingMetadata(formats string) string {
	return strings.Replace(goodMetadata, `version=1.1"]}],`, `version=1.1"]},{"type":"sbom","consumes_mime_types":["application/vnd.oci.image.manifest.v1+json"],
 "produces_mime_types":["application/vnd.security.sbom.report+json; version=1.0"],"additional_attributes":{"sbom_media_types":[`+formats+`]}}],`, 1)
}

func (a *adapter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "Bearer adapter-token" {
		http.Error(w, "who are you", http.StatusUnauthorized)
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	switch r.Method + " " + r.URL.Path {
	case "GET /base/api/v1/metadata":
		w.Header().Set("Content-Type", "application/vnd.scanner.adapter.metadata+json; version=1.1")
		said := a.metadata
		if said == "" {
			said = goodMetadata
		}
		_, _ = io.WriteString(w, said)
	case "POST /base/api/v1/scan":
		if got := r.Header.Get("Content-Type"); got != "application/vnd.scanner.adapter.scan.request+json; version=1.1" {
			a.t.Errorf("the request's type is %q", got)
		}
		var asked scanRequest
		if err := json.NewDecoder(r.Body).Decode(&asked); err != nil || len(asked.Enabled) != 1 {
			a.t.Errorf("got %+v, %v", asked, err)
			http.Error(w, "what?", http.StatusBadRequest)
			return
		}
		a.asked = asked
		if a.accept != nil && a.accept(w) {
			return
		}
		w.Header().Set("Content-Type", "application/vnd.scanner.adapter.scan.response+json; version=1.1")
		w.WriteHeader(http.StatusAccepted)
		id := scanID
		if asked.Enabled[0].Type == "sbom" {
			id = listingID
		}
		_, _ = fmt.Fprintf(w, `{"id":%q}`, id)
	case "GET /base/api/v1/scan/" + listingID + "/report":
		if got := r.Header.Get("Accept"); got != "application/vnd.security.sbom.report+json; version=1.0" {
			a.t.Errorf("the bill of materials is asked for as %q", got)
		}
		format := r.URL.Query().Get("sbom_media_type")
		if formats := a.asked.Enabled[0].Parameters; formats == nil || fmt.Sprint(formats.Formats) != "["+format+"]" {
			a.t.Errorf("asked to make %+v, then for %q", formats, format)
		}
		made := `{"bomFormat":"CycloneDX","specVersion":"1.6","components":[{"type":"library","name":"openssl","purl":"pkg:deb/debian/openssl@3.0.2"},{"type":"operating-system","name":"debian"}]}`
		if format == "application/spdx+json" {
			made = `{"spdxVersion":"SPDX-2.3","name":"x","creationInfo":{"created":"2026-11-24T10:00:00Z"},"packages":[{"name":"openssl"},{"name":"image","primaryPackagePurpose":"CONTAINER"}]}`
		}
		ours := fmt.Sprintf(`{"generated_at":"2026-11-24T10:00:00Z","artifact":{"repository":%q,"digest":%q},"scanner":{"name":"Test","vendor":"Sealgate","version":"1.0"},"vendor_attributes":{},"media_type":%q,"sbom":%s}`,
			a.asked.Artifact.Repository, a.asked.Artifact.Digest, format, made)
		if a.sbom != nil {
			ours = a.sbom(ours)
		}
		_, _ = io.WriteString(w, ours)
	case "GET /base/api/v1/scan/" + scanID + "/report":
		if a.seen++; a.seen <= a.polls {
			w.Header().Set("Refresh-After", "0")
			w.Header().Set("Location", r.URL.Path)
			w.WriteHeader(http.StatusFound)
			return
		}
		if got := r.Header.Get("Accept"); got != "application/vnd.security.vulnerability.report; version=1.1" {
			a.t.Errorf("the report is asked for as %q", got)
		}
		ours, err := a.pull(a.asked.Artifact.Digest)
		if err != nil {
			a.refused = err.Error()
			http.Error(w, `{"error":{"message":"cannot pull"}}`, http.StatusInternalServerError)
			return
		}
		if a.report != nil {
			ours = a.report(ours)
		}
		w.Header().Set("Content-Type", "application/vnd.security.vulnerability.report; version=1.1")
		_, _ = io.WriteString(w, ours)
	default:
		a.t.Errorf("the adapter was asked for %s %s", r.Method, r.URL)
		http.NotFound(w, r)
	}
}

// pull reads the image with the credentials that came with the request, and makes a report.
func (a *adapter) pull(reference string) (string, error) {
	credentials, ok := strings.CutPrefix(a.asked.Registry.Authorization, "Basic ")
	raw, err := base64.StdEncoding.DecodeString(credentials)
	user, password, ok2 := strings.Cut(string(raw), ":")
	if !ok || !ok2 || err != nil {
		return "", fmt.Errorf("the credentials are %q", a.asked.Registry.Authorization)
	}
	at, err := url.Parse(a.asked.Registry.URL)
	if err != nil {
		return "", err
	}
	ref, err := name.ParseReference(at.Host+"/"+a.asked.Artifact.Repository+"@"+reference, name.Insecure)
	if err != nil {
		return "", err
	}
	img, err := remote.Image(ref, remote.WithAuth(&authn.Basic{Username: user, Password: password}))
	if err != nil {
		return "", err
	}
	layers, err := img.Layers()
	if err != nil {
		return "", err
	}
	content, err := layers[0].Uncompressed()
	if err != nil {
		return "", err
	}
	defer content.Close()
	t := tar.NewReader(content)
	if _, err := t.Next(); err != nil {
		return "", err
	}
	listed, err := io.ReadAll(t)
	if err != nil {
		return "", err
	}
	report := fmt.Sprintf(`{"generated_at":"2026-11-24T10:00:00Z","artifact":{"repository":%q,"digest":%q},"scanner":{"name":"Test","vendor":"Sealgate","version":"1.0"},"severity":"High"`,
		a.asked.Artifact.Repository, reference)
	if strings.Contains(string(listed), "openssl 3.0.1") {
		report += `,"vulnerabilities":[{"id":"CVE-1","package":"openssl","version":"3.0.1","fix_version":"3.0.2","severity":"High","links":[],"preferred_cvss":{"score_v3":7.5,"score_v2":null}},` +
			`{"id":"CVE-2","package":"openssl","version":"3.0.1","severity":"Negligible","preferred_cvss":null}]`
	}
	return report + "}", nil
}

// start serves an adapter and a door, and returns the scanner before them.
func start(t *testing.T, s scantest.Blobs, a *adapter) *Scanner {
	t.Helper()
	a.t = t
	door := NewDoor()
	doorServer, adapterServer := httptest.NewServer(door), httptest.NewServer(a)
	t.Cleanup(doorServer.Close)
	t.Cleanup(adapterServer.Close)
	base, err := url.Parse(adapterServer.URL + "/base")
	if err != nil {
		t.Fatal(err)
	}
	return New(Options{URL: base, Blobs: s, Door: door, DoorURL: doorServer.URL, Bearer: "adapter-token", Timeout: 10 * time.Second})
}

func TestAnAdapterScansThroughTheDoor(t *testing.T) {
	s := scantest.Blobs{}
	image := imageOf(t, s, "openssl 3.0.1")
	scanner := start(t, s, &adapter{polls: 2})
	report, err := scanner.Scan(context.Background(), image)
	if err != nil {
		t.Fatal(err)
	}
	want := []policy.Finding{
		{ID: "CVE-1", Package: "openssl", Version: "3.0.1", FixedVersion: "3.0.2", Fix: policy.FixAvailable, Severity: policy.High, CVSS: 7.5},
		{ID: "CVE-2", Package: "openssl", Version: "3.0.1", Fix: policy.FixNone, Severity: policy.Low},
	}
	if fmt.Sprint(report.Findings) != fmt.Sprint(want) {
		t.Errorf("got  %+v\nwant %+v", report.Findings, want)
	}
	if report.Scanner != "Test" || report.Version != "1.0" || report.Finished != time.Date(2026, 11, 24, 10, 0, 0, 0, time.UTC) ||
		report.Database != time.Date(2026, 11, 24, 2, 0, 0, 0, time.UTC) || report.Counted {
		t.Errorf("got %+v", report)
	}
	edition, err := scanner.Edition(context.Background())
	if err != nil || !strings.Contains(edition, "2026-11-24T02:00:00Z") {
		t.Errorf("got %q, %v", edition, err)
	}
}

func TestACleanReportHasNoList(t *testing.T) {
	s := scantest.Blobs{}
	for name, report := range map[string]func(string) string{
		"absent": nil,
		"null":   func(ours string) string { return strings.TrimSuffix(ours, "}") + `,"vulnerabilities":null}` },
		"empty":  func(ours string) string { return strings.TrimSuffix(ours, "}") + `,"vulnerabilities":[]}` },
	} {
		report, err := start(t, s, &adapter{report: report}).Scan(context.Background(), imageOf(t, s, "openssl 3.0.2"))
		if err != nil || len(report.Findings) != 0 || report.Scanner != "Test" {
			t.Errorf("%s: got %+v, %v", name, report, err)
		}
	}
}

// An adapter of version 1.2 tells how many packages it saw, where it is asked for a bill of materials. One that writes none,
// or none that we read, is not asked.
func TestAnAdapterTellsHowManyPackagesItSaw(t *testing.T) {
	s := scantest.Blobs{}
	image := imageOf(t, s, "openssl 3.0.2")
	for name, c := range map[string]struct {
		metadata             string
		counted, comes, spdx bool
	}{
		"none":                     {metadata: goodMetadata},
		"both formats":             {metadata: listingMetadata(`"application/spdx+json","application/vnd.cyclonedx+json"`), counted: true, comes: true},
		"SPDX":                     {metadata: listingMetadata(`"application/spdx+json"`), counted: true, spdx: true},
		"another format":           {metadata: listingMetadata(`"application/xml"`)},
		"attributes that are none": {metadata: strings.Replace(listingMetadata(""), `{"sbom_media_types":[]}`, `"sbom"`, 1)},
		"of another kind of image": {metadata: strings.Replace(listingMetadata(`"application/spdx+json"`), `"sbom","consumes_mime_types":["application/vnd.oci.image.manifest.v1+json"]`, `"sbom","consumes_mime_types":["text/plain"]`, 1)},
		"another report":           {metadata: strings.Replace(listingMetadata(`"application/spdx+json"`), "version=1.0", "version=2.0", 1)},
	} {
		report, err := start(t, s, &adapter{metadata: c.metadata}).Scan(context.Background(), image)
		if err != nil || report.Counted != c.counted || c.counted && report.Packages != 1 || (report.SBOM != nil) != c.comes || (report.SPDX != nil) != c.spdx || report.Scanner != "Test" {
			t.Errorf("%s: got %+v, %v", name, report, err)
		}
	}
}

// An adapter that is broken or hostile finds nothing out.
func TestThreat152_AnAdapterThatFailsIsNoCleanScan(t *testing.T) {
	s := scantest.Blobs{}
	image := imageOf(t, s, "openssl 3.0.1")
	answer := func(status int, body string) func(http.ResponseWriter) bool {
		return func(w http.ResponseWriter) bool {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
			return true
		}
	}
	replaced := func(old, with string) func(string) string {
		return func(ours string) string {
			if !strings.Contains(ours, old) {
				t.Errorf("the report has no %s", old)
			}
			return strings.Replace(ours, old, with, 1)
		}
	}
	for name, c := range map[string]struct {
		adapter *adapter
		want    string
	}{
		"it does not scan such images":    {&adapter{metadata: strings.Replace(goodMetadata, "vnd.oci.image.manifest.v1+json", "vnd.other+json", 1)}, "no vulnerability report of"},
		"it makes no report that we read": {&adapter{metadata: strings.Replace(goodMetadata, "version=1.1", "version=9", 1)}, "no vulnerability report of"},
		"its metadata is half":            {&adapter{metadata: goodMetadata[:40]}, "its metadata cannot be read"},
		"its metadata names no scanner":   {&adapter{metadata: "{}"}, "does not name the scanner"},
		"its database is of no time":      {&adapter{metadata: strings.Replace(goodMetadata, "2026-11-24T02:00:00Z", "yesterday", 1)}, "which is no time"},
		"its metadata does not end":       {&adapter{metadata: strings.Repeat(" ", maxMetadata+1)}, "more than 1048576 bytes"},
		"it refuses the scan":             {&adapter{accept: answer(http.StatusUnprocessableEntity, "no")}, "it answered 422 no"},
		"it names no scan":                {&adapter{accept: answer(http.StatusAccepted, `{}`)}, "it names no scan"},
		"its scan is a path":              {&adapter{accept: answer(http.StatusAccepted, `{"id":"../../metadata"}`)}, "it names no scan"},
		"its scan is a path upwards":      {&adapter{accept: answer(http.StatusAccepted, `{"id":".."}`)}, "it names no scan"},
		"it redirects the scan": {&adapter{accept: func(w http.ResponseWriter) bool {
			w.Header().Set("Location", "http://127.0.0.1:1/")
			w.WriteHeader(307)
			return true
		}}, "it answered 307"},
		"it never finishes":                            {&adapter{polls: 1 << 30}, "it did not finish in 3s"},
		"its report is about another image":            {&adapter{report: replaced(image.Manifest.Digest.String(), digest.FromString("x").String())}, "its report is about the image"},
		"its report is about none":                     {&adapter{report: replaced(`"artifact"`, `"other"`)}, "artifact"},
		"its report says nothing of who":               {&adapter{report: replaced(`"scanner"`, `"other"`)}, "scanner"},
		"its report says nothing of when":              {&adapter{report: replaced(`"generated_at"`, `"other"`)}, "generated_at"},
		"its report is half":                           {&adapter{report: func(ours string) string { return ours[:200] }}, "its report cannot be read"},
		"its report is empty":                          {&adapter{report: func(string) string { return "" }}, "its report cannot be read"},
		"its bill of materials is about another image": {&adapter{metadata: listingMetadata(`"application/spdx+json"`), sbom: replaced(image.Manifest.Digest.String(), digest.FromString("x").String())}, "bill of materials: it is about the image"},
		"its bill of materials is of another format":   {&adapter{metadata: listingMetadata(`"application/spdx+json"`), sbom: replaced(`"media_type":"application/spdx+json"`, `"media_type":"application/xml"`)}, `it is one of "application/xml"`},
		"its bill of materials is not there":           {&adapter{metadata: listingMetadata(`"application/spdx+json"`), sbom: replaced(`"sbom"`, `"other"`)}, "bill of materials: it cannot be read"},
		"its bill of materials is half":                {&adapter{metadata: listingMetadata(`"application/spdx+json"`), sbom: func(ours string) string { return ours[:300] }}, "bill of materials: it cannot be read"},
		"a finding has no severity":                    {&adapter{report: replaced(`"severity":"High","links"`, `"links"`)}, "severity"},
		"a finding has no name":                        {&adapter{report: replaced(`"id":"CVE-1"`, `"id":""`)}, "id"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			scanner := start(t, s, c.adapter)
			scanner.Timeout = 3 * time.Second
			report, err := scanner.Scan(context.Background(), image)
			if !errors.Is(err, scan.ErrUnknown) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %+v, %v, want %q", report, err, c.want)
			}
		})
	}
}

// The door shows one image to one scan, and no more.
func TestThreat156_TheDoorIsForOneImageAndOneScan(t *testing.T) {
	s := scantest.Blobs{}
	image, other := imageOf(t, s, "openssl 3.0.1"), imageOf(t, s, "another")
	secret := s.Add("x", []byte("a blob of somebody else"))
	door := NewDoor()
	server := httptest.NewServer(door)
	defer server.Close()
	authorization, shut := door.open(context.Background(), s, image)
	ask := func(method, path, authorization string) int {
		t.Helper()
		r, err := http.NewRequest(method, server.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if authorization != "" {
			r.Header.Set("Authorization", authorization)
		}
		answer, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		_, _ = io.Copy(io.Discard, answer.Body)
		return answer.StatusCode
	}
	own := "/v2/prod/app/manifests/" + image.Manifest.Digest.String()
	blob := "/v2/prod/app/blobs/" + image.Manifest.Layers[0].Digest.String()
	for _, c := range []struct {
		what, method, path, authorization string
		want                              int
	}{
		{"the image", "GET", own, authorization, 200},
		{"its head", "HEAD", own, authorization, 200},
		{"its layer", "GET", blob, authorization, 200},
		{"the ping", "GET", "/v2/", authorization, 200},
		{"the ping of a stranger", "GET", "/v2/", "", 401},
		{"the image without a password", "GET", own, "", 401},
		{"the image with a wrong password", "GET", own, "Basic " + base64.StdEncoding.EncodeToString([]byte("scanner:x")), 401},
		{"another image", "GET", "/v2/prod/app/manifests/" + other.Manifest.Digest.String(), authorization, 404},
		{"a tag", "GET", "/v2/prod/app/manifests/latest", authorization, 404},
		{"another image's layer", "GET", "/v2/prod/app/blobs/" + other.Manifest.Layers[0].Digest.String(), authorization, 404},
		{"a blob of somebody else", "GET", "/v2/prod/app/blobs/" + secret.Digest.String(), authorization, 404},
		{"the image in another repository", "GET", strings.Replace(own, "prod/app", "other/app", 1), authorization, 404},
		{"the catalog", "GET", "/v2/_catalog", authorization, 404},
		{"the tags", "GET", "/v2/prod/app/tags/list", authorization, 404},
		{"an upload", "POST", "/v2/prod/app/blobs/uploads/", authorization, 405},
		{"a push", "PUT", own, authorization, 405},
		{"a deletion", "DELETE", own, authorization, 405},
		{"a path that is written otherwise", "GET", strings.Replace(own, "prod", "%70rod", 1), authorization, 404},
	} {
		if got := ask(c.method, c.path, c.authorization); got != c.want {
			t.Errorf("%s: got %d, want %d", c.what, got, c.want)
		}
	}
	again, shutAgain := door.open(context.Background(), s, other)
	defer shutAgain()
	if got := ask("GET", own, again); got != 404 {
		t.Errorf("another scan's password shows the image: %d", got)
	}
	shut()
	if got := ask("GET", own, authorization); got != 401 {
		t.Errorf("after the scan: got %d", got)
	}
}

func TestADoorDoesNotEndABlobCleanlyThatIsCutShort(t *testing.T) {
	s := scantest.Blobs{}
	image := imageOf(t, s, "openssl 3.0.1")
	d := image.Manifest.Layers[0].Digest
	s[d] = s[d][:100]
	door := NewDoor()
	server := httptest.NewServer(door)
	defer server.Close()
	authorization, shut := door.open(context.Background(), s, image)
	defer shut()
	r, _ := http.NewRequest("GET", server.URL+"/v2/prod/app/blobs/"+d.String(), nil)
	r.Header.Set("Authorization", authorization)
	answer, err := http.DefaultClient.Do(r)
	if err == nil {
		defer answer.Body.Close()
		_, err = io.Copy(io.Discard, answer.Body)
	}
	if err == nil {
		t.Error("a blob that was cut short ends as if it were whole")
	}
}
