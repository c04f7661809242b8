package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// An adapter of Harbor that answers as the API of version 1.2 wants it. It pulls the manifest through the door, and lists the
// packages that it is told to.
func adapterThatLists(t *testing.T, components string) string {
	t.Helper()
	var image, refused string
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1/metadata", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"scanner":{"name":"Test","vendor":"Sealgate","version":"1.0"},"capabilities":[
			{"type":"vulnerability","consumes_mime_types":["application/vnd.oci.image.manifest.v1+json"],"produces_mime_types":["application/vnd.security.vulnerability.report; version=1.1"]},
			{"type":"sbom","consumes_mime_types":["application/vnd.oci.image.manifest.v1+json"],"produces_mime_types":["application/vnd.security.sbom.report+json; version=1.0"],
			 "additional_attributes":{"sbom_media_types":["application/vnd.cyclonedx+json"]}}]}`)
	})
	mux.HandleFunc("POST /api/v1/scan", func(w http.ResponseWriter, r *http.Request) {
		var asked struct {
			Registry struct{ URL, Authorization string }
			Artifact struct{ Repository, Digest string }
			Enabled  []struct{ Type string } `json:"enabled_capabilities"`
		}
		if err := json.NewDecoder(r.Body).Decode(&asked); err != nil || len(asked.Enabled) != 1 {
			t.Errorf("got %+v, %v", asked, err)
			return
		}
		image, refused = asked.Artifact.Digest, pulled(asked.Registry.URL+"/v2/"+asked.Artifact.Repository+"/manifests/"+image, asked.Registry.Authorization)
		w.WriteHeader(http.StatusAccepted)
		fmt.Fprintf(w, `{"id":%q}`, asked.Enabled[0].Type)
	})
	mux.HandleFunc("GET /api/v1/scan/{what}/report", func(w http.ResponseWriter, r *http.Request) {
		if refused != "" {
			http.Error(w, refused, http.StatusInternalServerError)
			return
		}
		fmt.Fprintf(w, `{"generated_at":"2026-11-24T10:00:00Z","artifact":{"digest":%q},"scanner":{"name":"Test","vendor":"Sealgate","version":"1.0"}`, image)
		if r.PathValue("what") == "sbom" {
			fmt.Fprintf(w, `,"media_type":"application/vnd.cyclonedx+json","sbom":{"bomFormat":"CycloneDX","specVersion":"1.6","components":[%s]}`, components)
		}
		_, _ = io.WriteString(w, "}")
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL
}

// pulled says why something cannot be pulled.
func pulled(at, authorization string) string {
	r, err := http.NewRequest(http.MethodGet, at, nil)
	if err != nil {
		return err.Error()
	}
	r.Header.Set("Authorization", authorization)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return err.Error()
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return answer.Status
	}
	return ""
}

// sealgate scan opens the door for the adapter that it asks, and holds what that saw against what is in the image.
func TestScanByAnAdapterOfHarbor(t *testing.T) {
	t.Parallel()
	layout := debianLayout(t)
	component := func(name string) string {
		return fmt.Sprintf(`{"type":"library","name":%q,"purl":"pkg:deb/debian/%s@1"}`, name, name)
	}
	for name, c := range map[string]struct {
		components string
		code       int
		want       string
	}{
		"all that is there": {component("libssl3") + "," + component("bash"), 0, "packages  2"},
		"not all":           {component("libssl3"), int(exitUndecided), "it did not see the package deb/bash"},
		"nothing":           {"", int(exitUndecided), "it did not see the package deb/"},
	} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		door := listener.Addr().String()
		_ = listener.Close()
		config := filepath.Join(t.TempDir(), "config.yaml")
		text := fmt.Sprintf(onePolicy+"storage: {directory: %q}\nscanners:\n- {name: a, harbor: {url: %q, door: {address: %q}}}\n", t.TempDir(), adapterThatLists(t, c.components), door)
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var out, complaints strings.Builder
		code := run(t.Context(), []string{"scan", "--config", config, layout}, &out, &complaints)
		if code != c.code || !strings.Contains(out.String()+complaints.String(), c.want) {
			t.Errorf("%s: got %d, want %d and %q\n%s%s", name, code, c.code, c.want, out.String(), complaints.String())
		}
	}
}
