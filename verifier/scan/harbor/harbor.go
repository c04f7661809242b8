// Package harbor scans by way of Harbor's Pluggable Scanner API: every adapter that Harbor can use works.
//
// https://github.com/goharbor/pluggable-scanner-spec, versions 1.1 and 1.2
//
// An adapter is a service of its own that nobody here vouches for. It gets no credentials of a registry but a [Door] to the
// one image; its answers are bounded, read in one way, and have to be about the image that it was asked about.
package harbor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/policy/strictjson"
	"github.com/sealgate/sealgate/verifier/predicate"
	"github.com/sealgate/sealgate/verifier/scan"
)

// Options say where an adapter is. URL, Blobs, Door and DoorURL are required.
type Options struct {
	URL     *url.URL // of the adapter, up to what comes before /api/v1
	Blobs   scan.Blobs
	Door    *Door
	DoorURL string        // how the adapter reaches the door, such as https://gateway:5002
	Bearer  string        // what the adapter wants to see in Authorization, behind Bearer; empty for nothing
	Timeout time.Duration // the longest that a scan may take, [scan.MaxDuration] by default
	Client  *http.Client  // nil: one that follows no redirects
}

// The media types of the API.
const (
	metadataType = "application/vnd.scanner.adapter.metadata+json"
	requestType  = "application/vnd.scanner.adapter.scan.request+json"
	responseType = "application/vnd.scanner.adapter.scan.response+json"
	reportType   = "application/vnd.security.vulnerability.report"
	reportAsked  = reportType + "; version=1.1"
	sbomType     = "application/vnd.security.sbom.report+json"
	sbomAsked    = sbomType + "; version=1.0"

	cycloneDX = "application/vnd.cyclonedx+json"
	spdx      = "application/spdx+json"
)

// Bounds of what an adapter says.
const (
	maxMetadata = 1 << 20
	maxAnswer   = 64 << 10
	minRefresh  = 500 * time.Millisecond
	maxRefresh  = 15 * time.Second
)

// Scanner is an adapter.
type Scanner struct {
	Options
}

// New makes a scanner. Nothing is asked yet.
func New(o Options) *Scanner {
	if o.Timeout <= 0 {
		o.Timeout = scan.MaxDuration
	}
	if o.Client == nil {
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.Proxy, transport.DisableCompression, transport.MaxIdleConnsPerHost = nil, true, 4
		o.Client = &http.Client{Transport: transport}
	}
	client := *o.Client
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse } // 302 is "not yet"
	o.Client = &client
	return &Scanner{o}
}

// metadata is what an adapter says of itself.
type metadata struct {
	Scanner struct {
		Name    string `json:"name"`
		Vendor  string `json:"vendor"`
		Version string `json:"version"`
	} `json:"scanner"`
	Capabilities []struct {
		Type       string          `json:"type"` // since version 1.2; vulnerability where there is none
		Consumes   []string        `json:"consumes_mime_types"`
		Produces   []string        `json:"produces_mime_types"`
		Attributes json.RawMessage `json:"additional_attributes"`
	} `json:"capabilities"`
	Properties map[string]string `json:"properties"`
}

// updatedAt is the property that tells when the database was updated.
const updatedAt = "harbor.scanner-adapter/vulnerability-database-updated-at"

// metadata asks the adapter what it is.
func (s *Scanner) metadata(ctx context.Context) (metadata, time.Time, error) {
	raw, _, err := s.do(ctx, http.MethodGet, "metadata", nil, map[string]string{"Accept": metadataType + "; version=1.1, " + metadataType + "; version=1.0"}, maxMetadata, http.StatusOK)
	if err != nil {
		return metadata{}, time.Time{}, fmt.Errorf("ask for its metadata: %w", err)
	}
	var m metadata
	if err := strictjson.Decode(raw, &m); err != nil {
		return metadata{}, time.Time{}, fmt.Errorf("its metadata cannot be read: %w", err)
	}
	if m.Scanner.Name == "" {
		return metadata{}, time.Time{}, errors.New("its metadata does not name the scanner")
	}
	var database time.Time
	if text := m.Properties[updatedAt]; text != "" {
		if database, err = time.Parse(time.RFC3339, text); err != nil {
			return metadata{}, time.Time{}, fmt.Errorf("its database is of %.60q, which is no time", text)
		}
	}
	return m, database.UTC(), nil
}

// takes reports whether the adapter scans manifests of a type, and says so as it will be asked to.
func (m *metadata) takes(mediaType string) bool {
	for _, c := range m.Capabilities {
		if (c.Type == "" || c.Type == "vulnerability") && slices.Contains(c.Consumes, mediaType) && produces(c.Produces, reportType, "1.1", "1.0") {
			return true
		}
	}
	return false
}

// lists says in which format the adapter writes a bill of materials of manifests of a type, and empty where it writes none.
// CycloneDX is the one that is compared by its packages' names.
func (m *metadata) lists(mediaType string) (format string) {
	for _, c := range m.Capabilities {
		if c.Type != "sbom" || !slices.Contains(c.Consumes, mediaType) || !produces(c.Produces, sbomType, "1.0") {
			continue
		}
		var attributes struct {
			Formats []string `json:"sbom_media_types"`
		}
		if json.Unmarshal(c.Attributes, &attributes) != nil { // it says nothing that we know
			continue
		}
		for _, known := range []string{cycloneDX, spdx} {
			if slices.Contains(attributes.Formats, known) {
				return known
			}
		}
	}
	return ""
}

// produces reports whether a kind of report is among those of an adapter, in one of the versions.
func produces(all []string, wanted string, versions ...string) bool {
	return slices.ContainsFunc(all, func(p string) bool {
		kind, parameters, err := mime.ParseMediaType(p)
		return err == nil && kind == wanted && slices.Contains(versions, parameters["version"])
	})
}

// Edition implements [scan.Scanner].
func (s *Scanner) Edition(ctx context.Context) (string, error) {
	m, database, err := s.metadata(ctx)
	if err != nil {
		return "", err
	}
	if database.IsZero() {
		database = time.Now().Truncate(10 * time.Minute) // nobody says when it changes
	}
	return strings.Join([]string{m.Scanner.Name, m.Scanner.Vendor, m.Scanner.Version, database.UTC().Format(time.RFC3339Nano)}, "\x00"), nil
}

// Scan implements [scan.Scanner].
func (s *Scanner) Scan(ctx context.Context, image scan.Image) (scan.Report, error) {
	report, err := s.scan(ctx, image)
	if err != nil {
		return scan.Report{}, fmt.Errorf("%w: %w", scan.ErrUnknown, err)
	}
	return report, nil
}

func (s *Scanner) scan(ctx context.Context, image scan.Image) (scan.Report, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, s.Timeout, fmt.Errorf("it did not finish in %s", s.Timeout))
	defer cancel()
	began := time.Now()
	m, database, err := s.metadata(ctx)
	if err != nil {
		return scan.Report{}, err
	}
	if !m.takes(image.Manifest.MediaType) {
		return scan.Report{}, fmt.Errorf("it makes no vulnerability report of %s", image.Manifest.MediaType)
	}

	authorization, shut := s.Door.open(ctx, s.Blobs, image)
	defer shut()
	format := m.lists(image.Manifest.MediaType)
	id, err := s.request(ctx, image, authorization, capability{Type: "vulnerability", Produces: []string{reportAsked}})
	if err != nil {
		return scan.Report{}, err
	}
	listing := ""
	if format != "" { // in a request of its own, as Harbor asks for it
		wanted := capability{Type: "sbom", Produces: []string{sbomAsked}, Parameters: &parameters{[]string{format}}}
		if listing, err = s.request(ctx, image, authorization, wanted); err != nil {
			return scan.Report{}, fmt.Errorf("bill of materials: %w", err)
		}
	}
	raw, err := s.await(ctx, id, "", reportAsked)
	if err != nil {
		return scan.Report{}, err
	}
	found, err := readReport(raw, image)
	if err != nil {
		return scan.Report{}, err
	}
	if format != "" {
		raw, err := s.await(ctx, listing, "?sbom_media_type="+url.QueryEscape(format), sbomAsked)
		if err == nil {
			err = readSBOM(raw, image, format, &found)
		}
		if err != nil {
			return scan.Report{}, fmt.Errorf("bill of materials: %w", err)
		}
	}
	found.Started, found.Database = began, database
	return found, nil
}

// capability is what an adapter is asked to do, since version 1.2; older adapters overlook it.
type capability struct {
	Type       string      `json:"type"`
	Produces   []string    `json:"produces_mime_types"`
	Parameters *parameters `json:"parameters,omitempty"`
}

type parameters struct {
	Formats []string `json:"sbom_media_types"`
}

// request asks for a scan, or for a bill of materials.
func (s *Scanner) request(ctx context.Context, image scan.Image, authorization string, wanted capability) (id string, err error) {
	var body struct {
		Registry struct {
			URL           string `json:"url"`
			Authorization string `json:"authorization"`
		} `json:"registry"`
		Artifact artifact     `json:"artifact"`
		Enabled  []capability `json:"enabled_capabilities"`
	}
	body.Registry.URL, body.Registry.Authorization = s.DoorURL, authorization
	body.Artifact = artifact{Repository: image.Repo, Digest: image.Manifest.Digest.String(), MediaType: image.Manifest.MediaType}
	body.Enabled = []capability{wanted}
	sent, err := json.Marshal(body)
	if err != nil {
		return "", err
	}
	raw, _, err := s.do(ctx, http.MethodPost, "scan", sent, map[string]string{
		"Content-Type": requestType + "; version=1.1", "Accept": responseType + "; version=1.1, " + responseType + "; version=1.0",
	}, maxAnswer, http.StatusAccepted)
	if err != nil {
		return "", fmt.Errorf("ask for a scan: %w", err)
	}
	var answer struct {
		ID string `json:"id"`
	}
	if err := strictjson.Decode(raw, &answer); err != nil {
		return "", fmt.Errorf("its answer to a scan cannot be read: %w", err)
	}
	if answer.ID == "" || len(answer.ID) > 256 || strings.ContainsFunc(answer.ID, func(c rune) bool { return c <= ' ' || c > '~' || c == '/' }) || strings.Trim(answer.ID, ".") == "" {
		return "", errors.New("it names no scan")
	}
	return answer.ID, nil
}

type artifact struct {
	Repository string `json:"repository"`
	Digest     string `json:"digest"`
	MediaType  string `json:"mime_type"`
}

// await asks for the report until it is there.
func (s *Scanner) await(ctx context.Context, id, query, accept string) ([]byte, error) {
	for {
		raw, header, err := s.do(ctx, http.MethodGet, "scan/"+url.PathEscape(id)+"/report"+query, nil,
			map[string]string{"Accept": accept}, scan.MaxReport, http.StatusOK, http.StatusFound)
		if err != nil {
			return nil, fmt.Errorf("ask for the report: %w", err)
		}
		if header == nil {
			return raw, nil
		}
		select {
		case <-time.After(refreshAfter(header)):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// refreshAfter is when an adapter wants to be asked again, within bounds.
func refreshAfter(h http.Header) time.Duration {
	seconds, err := strconv.Atoi(h.Get("Refresh-After"))
	if err != nil || seconds < 0 || seconds > int(maxRefresh/time.Second) {
		seconds = 1
	}
	return min(max(time.Duration(seconds)*time.Second, minRefresh), maxRefresh)
}

// readReport reads a report, and makes sure that it is about the image. A clean one has no list of vulnerabilities at all:
// it counts only with who made it, when, and about what.
func readReport(raw []byte, image scan.Image) (scan.Report, error) {
	report, err := predicate.ReadHarbor(bytes.NewReader(raw))
	if err != nil {
		return scan.Report{}, fmt.Errorf("its report cannot be read: %w", err)
	}
	if report.Manifest != image.Manifest.Digest.String() {
		return scan.Report{}, fmt.Errorf("its report is about the image %.71q, not about %s", report.Manifest, image.Manifest.Digest)
	}
	if report.Finished.After(time.Now()) {
		report.Finished = time.Now()
	}
	return scan.Report{Scan: report.Scan}, nil
}

// readSBOM reads a bill of materials, makes sure that it is about the image, and takes from it how many packages the scanner
// saw. https://github.com/goharbor/pluggable-scanner-spec/blob/main/data/spec/SBOM.md
func readSBOM(raw []byte, image scan.Image, format string, into *scan.Report) error {
	var said struct {
		Artifact struct {
			Digest string `json:"digest"`
		} `json:"artifact"`
		Format string          `json:"media_type"`
		SBOM   json.RawMessage `json:"sbom"`
	}
	if err := strictjson.Decode(raw, &said); err != nil {
		return fmt.Errorf("it cannot be read: %w", err)
	}
	switch {
	case said.Artifact.Digest != image.Manifest.Digest.String():
		return fmt.Errorf("it is about the image %.71q, not about %s", said.Artifact.Digest, image.Manifest.Digest)
	case said.Format != format:
		return fmt.Errorf("it is one of %.60q, not of %s", said.Format, format)
	}
	predicateType, place := policy.PredicateTypes("cyclonedx")[0], &into.SBOM
	if format == spdx {
		predicateType, place = policy.PredicateTypes("spdx")[0], &into.SPDX
	}
	facts, err := predicate.Read(predicateType, bytes.NewReader(said.SBOM))
	if err != nil {
		return fmt.Errorf("it cannot be read: %w", err)
	}
	into.Packages, into.Counted, *place = facts.SBOM.Packages, true, said.SBOM
	return nil
}

// do sends one request. Of an answer of the first status it returns the body, of another that is wanted the header.
func (s *Scanner) do(ctx context.Context, method, path string, body []byte, header map[string]string, limit int64, wanted ...int) ([]byte, http.Header, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, s.URL.JoinPath("api/v1").String()+"/"+path, bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	for name, value := range header {
		r.Header.Set(name, value)
	}
	if s.Bearer != "" {
		r.Header.Set("Authorization", "Bearer "+s.Bearer)
	}
	answer, err := s.Client.Do(r)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return nil, nil, err
	}
	defer answer.Body.Close()
	for i, status := range wanted {
		switch {
		case answer.StatusCode != status:
		case i > 0:
			return nil, answer.Header, nil
		default:
			raw, err := io.ReadAll(io.LimitReader(answer.Body, limit+1))
			if err == nil && int64(len(raw)) > limit {
				err = fmt.Errorf("it answered with more than %d bytes", limit)
			}
			return raw, nil, err
		}
	}
	said, _ := io.ReadAll(io.LimitReader(answer.Body, 512))
	return nil, nil, fmt.Errorf("it answered %d %s", answer.StatusCode, policy.Printable(strings.TrimSpace(string(said))))
}
