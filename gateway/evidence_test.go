package gateway_test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/policy/manifest"
)

// disguised is a runnable image whose layer has the type of a signature: podman unpacks it all the same.
func disguised(t *testing.T, layer []byte) image {
	t.Helper()
	config := []byte(`{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["` + digest.FromBytes(layer).String() + `"]}}`)
	raw, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageManifest,
		"config": describe(ocispec.MediaTypeImageConfig, config), "layers": []any{describe(manifest.SimpleSigning, layer)},
	})
	if err != nil {
		t.Fatal(err)
	}
	return image{raw, [][]byte{config, layer}, digest.FromBytes(raw)}
}

func tarOf(t *testing.T, name, content string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(content))}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestAnImageInTheDisguiseOfASignatureIsNotPulled(t *testing.T) {
	r := newRig(t)
	im := disguised(t, tarOf(t, "bin/evil", "#!/bin/sh"))
	r.bypass("a", "v1", im)
	tag := "sha256-" + digest.FromString("x").Encoded() + ".sig"
	r.bypass("a", tag, im)
	for _, reference := range []string{"v1", tag, im.digest.String()} {
		r.want(http.StatusForbidden, "GET", "/v2/a/manifests/"+reference, nil)
	}
	// Nor does a list of such images pass.
	list := newIndex(im)
	list.manifest = bytes.ReplaceAll(list.manifest, []byte(`"platform":{"architecture":"amd64","os":"linux"},`), nil)
	r.bypass("a", "list", list)
	r.want(http.StatusForbidden, "GET", "/v2/a/manifests/list", nil)

	real := disguised(t, []byte(`{"critical":{}}`))
	r.bypass("a", "signature", real)
	r.want(http.StatusOK, "GET", "/v2/a/manifests/signature", nil)
}

func TestAnImageInTheDisguiseOfASignatureIsNotPushed(t *testing.T) {
	r := newRig(t)
	im := disguised(t, tarOf(t, "bin/evil", "#!/bin/sh"))
	if a := r.push("a", "v1", im); a.status != http.StatusBadRequest {
		t.Errorf("under a tag: %d %s", a.status, a.body)
	}
	if a := r.putManifest("a", "sha256-"+digest.FromString("x").Encoded()+".sig", im); a.status != http.StatusForbidden {
		t.Errorf("under a signature's tag: %d %s", a.status, a.body)
	}
}

func TestTheHeadBeforeAPushByDigestIsAnsweredNotHere(t *testing.T) {
	r := newRig(t)
	im := newImage("65532", "refused")
	r.bypass("a", "v1", im)
	all := strings.Join([]string{ocispec.MediaTypeImageManifest, ocispec.MediaTypeImageIndex, manifest.DockerManifest, manifest.DockerIndex}, ", ")
	path := "/v2/a/manifests/" + im.digest.String()
	r.want(http.StatusNotFound, "HEAD", path, nil, "Accept", all, "User-Agent", "oras/1.3.6")
	r.want(http.StatusForbidden, "HEAD", path, nil, "Accept", all, "User-Agent", "containerd/v2.4.2")
	r.want(http.StatusForbidden, "HEAD", "/v2/a/manifests/v1", nil, "Accept", all, "User-Agent", "oras/1.3.6")
	r.want(http.StatusForbidden, "GET", path, nil, "Accept", all, "User-Agent", "oras/1.3.6")
}

func TestARequestThatItsClientGaveUpLeavesNoRecord(t *testing.T) {
	im := newImage("65532", "x")
	asked, release := make(chan struct{}, 10), make(chan struct{})
	r := newRigBeforeHandler(t, func(w http.ResponseWriter, q *http.Request) {
		switch {
		case q.URL.Path == "/v2/":
		case strings.HasSuffix(q.URL.Path, "/manifests/v1"):
			serveManifest(w, im.manifest)
		default:
			asked <- struct{}{}
			<-release
			w.WriteHeader(http.StatusNotFound)
		}
	}, sealing())
	request, err := http.NewRequestWithContext(t.Context(), "GET", r.url+"/v2/a/manifests/v1", nil)
	if err != nil {
		t.Fatal(err)
	}
	gone := make(chan struct{})
	transport := &http.Transport{}
	go func() {
		defer close(gone)
		if resp, err := transport.RoundTrip(request); err == nil {
			resp.Body.Close()
			t.Error("an answer came")
		}
	}()
	<-asked
	r.hangUp()
	<-gone
	close(release)
	if got := len(r.recorded()); got != 0 {
		t.Errorf("got %d records, want none", got)
	}
}

func TestABuildToolsAttestationInsideAnIndexIsNoImage(t *testing.T) {
	r := newRig(t)
	one := newImage("65532", "one")
	r.push("a", one.digest.String(), one)
	statement := []byte(`{"_type":"https://in-toto.io/Statement/v0.1","predicateType":"https://slsa.dev/provenance/v0.2"}`)
	for name, c := range map[string]struct {
		layer []byte
		want  int
	}{
		"a statement":   {statement, http.StatusCreated},
		"an executable": {tarOf(t, "bin/evil", "#!/bin/sh"), http.StatusBadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			attestation := disguised(t, c.layer)
			attestation.manifest = bytes.ReplaceAll(attestation.manifest, []byte(manifest.SimpleSigning), []byte(manifest.InToto))
			attestation.digest = digest.FromBytes(attestation.manifest)
			r.bypass("a", attestation.digest.String(), attestation)
			if a := r.putManifest("a", "v1", newIndex(one, attestation)); a.status != c.want {
				t.Errorf("got %d %s, want %d", a.status, a.body, c.want)
			}
		})
	}
}

func TestEvidenceIsNotPulledWhereNothingIs(t *testing.T) {
	doc := open()
	doc.Pull = nil
	r := newRig(t, doc)
	im := newImage("65532", "x")
	config, payload := []byte("{}"), []byte(`{"critical":{}}`)
	raw, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageManifest,
		"config": describe(ocispec.MediaTypeEmptyJSON, config), "layers": []any{describe(manifest.SimpleSigning, payload)},
	})
	if err != nil {
		t.Fatal(err)
	}
	tag := "sha256-" + im.digest.Encoded() + ".sig"
	r.bypass("a", tag, image{raw, [][]byte{config, payload}, digest.FromBytes(raw)})
	for _, reference := range []string{tag, digest.FromBytes(raw).String()} {
		if a := r.send("GET", "/v2/a/manifests/"+reference, nil); a.status != http.StatusForbidden || !strings.Contains(string(a.body), string(policy.PullClosed)) {
			t.Errorf("%s: got %d %s", reference, a.status, a.body)
		}
	}
}
