package gateway_test

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/gateway"
	"github.com/sealgate/sealgate/gateway/upstream"
	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/policy/manifest"
)

// layered makes an image with real layers, each with one file.
func layered(t *testing.T, user string, files ...tar.Header) image {
	t.Helper()
	var blobs [][]byte
	var layers []any
	var diffIDs []string
	for _, h := range files {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		content := h.Uname // what the file holds
		h.Uname, h.Size, h.Typeflag = "", int64(len(content)), tar.TypeReg
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		blobs = append(blobs, b.Bytes())
		layers = append(layers, describe(ocispec.MediaTypeImageLayer, b.Bytes()))
		diffIDs = append(diffIDs, digest.FromBytes(b.Bytes()).String())
	}
	config, err := json.Marshal(map[string]any{
		"architecture": "amd64", "os": "linux", "config": map[string]any{"User": user},
		"rootfs": map[string]any{"type": "layers", "diff_ids": diffIDs},
	})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageManifest, "config": describe(ocispec.MediaTypeImageConfig, config), "layers": layers,
	})
	if err != nil {
		t.Fatal(err)
	}
	return image{raw, append(blobs, config), digest.FromBytes(raw)}
}

func inspecting() policy.Document {
	doc := sealing()
	doc.Push.Image = policy.ImageDocument{NonRoot: "deny", Secrets: "deny", Setuid: "warn"}
	return doc
}

func TestThreat152_AnImageWithASecretIsRefusedWithItsPlace(t *testing.T) {
	r := newRig(t, inspecting())
	secret := "0123456789abcdefghijklmnopqrstuvwxyz"
	im := layered(t, "65532", tar.Header{Name: "app/.env", Uname: "\nTOKEN=ghp_" + secret}, tar.Header{Name: "app/.wh..env"})
	a := r.push("a", "v1", im)
	for _, want := range []string{"DENIED", "it holds a secret: app/.env (github-token in line 2, layer 1, deleted later and still there)", "fix: revoke it"} {
		if !strings.Contains(a.message(), want) {
			t.Errorf("got %s, want %q in it", a.message(), want)
		}
	}
	if a.status != http.StatusForbidden || strings.Contains(string(a.body), secret[:8]) {
		t.Errorf("got %d %s", a.status, a.body)
	}
	if d := r.recorded(); len(d) != 1 || d[0].Reasons[0].Code != policy.HoldsSecrets || strings.Contains(fmt.Sprint(d), secret[:8]) {
		t.Errorf("recorded %+v", d)
	}
	if _, _, err := r.registries.Manifest(context.Background(), "a", im.digest.String()); !errors.Is(err, upstream.ErrNotFound) {
		t.Errorf("it was stored: %v", err)
	}

	fine := layered(t, "65532", tar.Header{Name: "usr/bin/su", Mode: 0o4755, Uname: "x"})
	b := r.push("a", "v1", fine)
	if b.status != http.StatusCreated || !strings.Contains(b.header.Get("Warning"), "it has a setuid or setgid file: usr/bin/su") {
		t.Errorf("got %d %s, warning %q", b.status, b.body, b.header.Get("Warning"))
	}
	if c := r.push("a", "v2", fine); c.status != http.StatusCreated { // from what is remembered of its layer
		t.Errorf("again: got %d %s", c.status, c.body)
	}
	if c := r.putManifest("b", "v1", fine); c.status != http.StatusNotFound { // where the layer is not
		t.Errorf("elsewhere: got %d %s", c.status, c.body)
	}
	r.want(http.StatusOK, "GET", "/v2/a/manifests/v1", nil)
}

func TestAUserByNameIsLookedUp(t *testing.T) {
	r := newRig(t)
	passwd := tar.Header{Name: "etc/passwd", Uname: "app:x:1000:1000::/:\ntoor:x:0:0::/:\n"}
	if a := r.push("a", "v1", layered(t, "app", passwd)); a.status != http.StatusCreated {
		t.Errorf("a name for 1000: got %d %s", a.status, a.body)
	}
	if a := r.push("a", "v1", layered(t, "toor", passwd)); a.status != http.StatusForbidden || !strings.Contains(a.message(), "runs as root") {
		t.Errorf("a name for 0: got %d %s", a.status, a.body)
	}
}

func TestThreat153_AnImageWithOtherLayersThanItSaysIsRefused(t *testing.T) {
	for _, mode := range []string{"enforce", "audit"} {
		doc := inspecting()
		doc.Mode = mode
		r := newRig(t, doc)
		im := newImage("65532", "no tar at all")
		a := r.push("a", "v1", im)
		if mode == "enforce" && (a.status != http.StatusForbidden || !strings.Contains(a.message(), "cannot be inspected")) {
			t.Errorf("got %d %s", a.status, a.body)
		}
		if mode == "audit" && (a.status != http.StatusCreated || !strings.Contains(a.header.Get("Warning"), "would be refused")) {
			t.Errorf("audit: got %d %s", a.status, a.body)
		}
		if _, _, err := r.registries.Manifest(context.Background(), "a", "sha256-"+im.digest.Encoded()+".sig"); !errors.Is(err, upstream.ErrNotFound) {
			t.Errorf("%s: it was sealed: %v", mode, err)
		}
	}
}

func TestThreat146_AnImageWhoseLayerIsMissingIsNotFound(t *testing.T) {
	r := newRig(t, inspecting())
	im := layered(t, "65532", tar.Header{Name: "a"})
	whole := im.blobs
	im.blobs = whole[1:]
	if a := r.push("a", "v1", im); a.status != http.StatusNotFound || !strings.HasPrefix(a.message(), "MANIFEST_BLOB_UNKNOWN") {
		t.Errorf("got %d %s", a.status, a.body)
	}
	im.blobs = whole
	if a := r.push("a", "v1", im); a.status != http.StatusCreated {
		t.Errorf("with its layer: got %d %s", a.status, a.body)
	}
}

func TestAnInspectionThatGoesOnIsAnsweredSo(t *testing.T) {
	r := newRig(t, inspecting())
	r.swap(func(re *gateway.Regime) { re.Inspector = unfinished{} })
	a := r.push("a", "v1", newImage("65532", "x"))
	if a.status != http.StatusForbidden || !strings.HasPrefix(a.message(), "DENIED: sealgate: the scan of a is running, push it again in a minute\n  decision ") {
		t.Errorf("got %d %s", a.status, a.body)
	}
}

type unfinished struct{}

func (unfinished) Inspect(context.Context, string, *manifest.Manifest, policy.ImageNeeds) (policy.Image, error) {
	return policy.Image{}, fmt.Errorf("read layers: %w", policy.ErrUnfinished)
}
