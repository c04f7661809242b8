package main

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/sealgate/sealgate/e2e/rig"
)

// sealgate is the path of our binary, built once for all tests.
var sealgate string

func TestMain(m *testing.M) {
	code, err := runAll(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func runAll(m *testing.M) (code int, err error) {
	directory, err := os.MkdirTemp("", "sealgate-image-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(directory)
	if sealgate, err = rig.Build(context.Background(), directory); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

// ours is the image that `make image` makes, read back from its layout.
func ours(t *testing.T) v1.Image {
	t.Helper()
	output := filepath.Join(t.TempDir(), "image")
	d, err := run(sealgate, output, "v0.0.0-test", "1767225600")
	if err != nil {
		t.Fatal(err)
	}
	index, err := layout.ImageIndexFromPath(output)
	if err != nil {
		t.Fatal(err)
	}
	image, err := index.Image(d)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// What admits the images of others admits ours, by the policy that holds without a configuration file.
func TestOurOwnPushGateAdmitsOurImage(t *testing.T) {
	image := ours(t)
	const policy = `
policies:
  - name: production
    repositories: ["**"]
    pull: {signed_by: {any: [gateway]}}
    push: {image: {nonroot: deny}, seal: {signer: gateway}}
`
	gateway, err := rig.StartGateway(t.Context(), sealgate, t.TempDir(), policy)
	if err != nil {
		t.Fatal(err)
	}
	defer gateway.Stop()
	ref, err := name.ParseReference(gateway.Address + "/sealgate/sealgate:v0")
	if err != nil {
		t.Fatal(err)
	}

	if err := remote.Write(ref, image, remote.WithContext(t.Context())); err != nil {
		t.Fatalf("push our image: %v\n%s", err, gateway.Log())
	}
	pulled, err := remote.Image(ref, remote.WithContext(t.Context()))
	if err != nil {
		t.Fatalf("pull our image: %v", err)
	}
	if got, want := files(t, pulled), files(t, image); !slices.Equal(got, want) {
		t.Errorf("what comes back holds %v, want %v", got, want)
	}
	want, _ := image.Digest()
	if got, err := pulled.Digest(); got != want || err != nil {
		t.Errorf("pulled %s (%v), want %s", got, err, want)
	}

	// The gate looks: with another user in its configuration the same image is refused.
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.Config.User = "root"
	root, err := mutate.ConfigFile(image, config)
	if err != nil {
		t.Fatal(err)
	}
	err = remote.Write(ref.Context().Tag("root"), root, remote.WithContext(t.Context()))
	if refusal := new(transport.Error); !errors.As(err, &refusal) || refusal.StatusCode != http.StatusForbidden {
		t.Errorf("push of an image that runs as root: got %v, want 403", err)
	}
}

func TestTheImageHoldsNothingButWhatItNeeds(t *testing.T) {
	image := ours(t)
	got := files(t, image)
	want := []string{
		"0755 0:0 /etc",
		"0644 0:0 /etc/group",
		"0644 0:0 /etc/passwd",
		"0755 0:0 /etc/ssl",
		"0755 0:0 /etc/ssl/certs",
		"0644 0:0 /etc/ssl/certs/ca-certificates.crt",
		"0755 0:0 /sealgate",
		"1777 0:0 /tmp",
		"0755 0:0 /var",
		"0755 0:0 /var/lib",
		"0700 65532:65532 /var/lib/sealgate",
	}
	if !slices.Equal(got, want) {
		t.Errorf("the image holds\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}

	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if config.Config.User != "65532:65532" || config.Config.Labels["org.opencontainers.image.version"] != "v0.0.0-test" ||
		!config.Created.Equal(time.Unix(1767225600, 0)) {
		t.Errorf("configuration %+v, created %s", config.Config, config.Created)
	}
}

func TestTheSameContentsMakeTheSameImage(t *testing.T) {
	first := ours(t)
	second, err := run(sealgate, filepath.Join(t.TempDir(), "elsewhere"), "v0.0.0-test", "1767225600")
	if err != nil {
		t.Fatal(err)
	}
	if d, err := first.Digest(); d != second || err != nil {
		t.Errorf("built twice: %s (%v), then %s", d, err, second)
	}
}

func TestBadContentsMakeNoImage(t *testing.T) {
	static, err := os.ReadFile(sealgate)
	if err != nil {
		t.Fatal(err)
	}
	dynamic, err := os.ReadFile("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	certificates := []byte("-----BEGIN CERTIFICATE-----\n")
	for name, c := range map[string]struct {
		contents
		want string
	}{
		"a binary that needs a linker": {contents{Binary: dynamic, Certificates: certificates}, "not static"},
		"a script":                     {contents{Binary: []byte("#!/bin/sh\n"), Certificates: certificates}, "read binary"},
		"no binary":                    {contents{Certificates: certificates}, "read binary"},
		"no certificates":              {contents{Binary: static}, "not PEM"},
	} {
		if _, err := build(c.contents); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want an error with %q", name, err, c.want)
		}
	}
	output := filepath.Join(t.TempDir(), "image")
	if _, err := run(sealgate, output, "v0", "yesterday"); err == nil {
		t.Error("SOURCE_DATE_EPOCH=yesterday: want an error")
	}
	if _, err := os.Stat(output); err == nil {
		t.Error("a failure left a layout behind")
	}
}

// files lists what an image holds: mode, owner and path of each entry, in the order of their paths. Reading checks digests.
func files(t *testing.T, image v1.Image) []string {
	t.Helper()
	var list []string
	extracted := mutate.Extract(image)
	defer extracted.Close()
	for entries := tar.NewReader(extracted); ; {
		h, err := entries.Next()
		if errors.Is(err, io.EOF) {
			slices.SortFunc(list, func(a, b string) int {
				return strings.Compare(a[strings.Index(a, "/"):], b[strings.Index(b, "/"):])
			})
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, fmt.Sprintf("%04o %d:%d /%s", h.Mode, h.Uid, h.Gid, h.Name))
	}
}
