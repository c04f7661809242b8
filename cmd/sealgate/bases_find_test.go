package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// hub is a registry in which base images are published.
type hub struct {
	*httptest.Server
	before func(w http.ResponseWriter, r *http.Request) bool // reports that it answered; nil: never
}

func newHub(t *testing.T) *hub {
	t.Helper()
	h, behind := &hub{}, registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h.before == nil || !h.before(w, r) {
			behind.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(h.Close)
	return h
}

func (h *hub) ref(t *testing.T, image string) name.Reference {
	t.Helper()
	ref, err := name.ParseReference(strings.TrimPrefix(h.URL, "http://") + "/" + image)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func (h *hub) publish(t *testing.T, image string, what remote.Taggable) {
	t.Helper()
	ref, err := h.ref(t, image), error(nil)
	switch what := what.(type) {
	case v1.ImageIndex:
		err = remote.WriteIndex(ref, what)
	case v1.Image:
		err = remote.Write(ref, what)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// anImage is an image of some layers for a platform.
func anImage(t *testing.T, layers int64, platform string) v1.Image {
	t.Helper()
	image, err := random.Image(64, layers)
	if err != nil {
		t.Fatal(err)
	}
	return forPlatform(t, image, platform)
}

func forPlatform(t *testing.T, image v1.Image, platform string) v1.Image {
	t.Helper()
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	p, err := v1.ParsePlatform(platform)
	if err != nil {
		t.Fatal(err)
	}
	config.OS, config.Architecture, config.Variant, config.Created = p.OS, p.Architecture, p.Variant, v1.Time{Time: time.Now()}
	if image, err = mutate.ConfigFile(image, config); err != nil {
		t.Fatal(err)
	}
	return image
}

// aChart is an artifact that no runtime starts.
func aChart(t *testing.T) v1.Image {
	t.Helper()
	layer := static.NewLayer([]byte("a chart"), "application/vnd.cncf.helm.chart.content.v1.tar+gzip")
	image, err := mutate.Append(mutate.MediaType(empty.Image, types.OCIManifestSchema1), mutate.Addendum{Layer: layer})
	if err != nil {
		t.Fatal(err)
	}
	return mutate.ConfigMediaType(image, "application/vnd.cncf.helm.config.v1+json")
}

func adding(t *testing.T, platform string, what mutate.Appendable) mutate.IndexAddendum {
	t.Helper()
	a := mutate.IndexAddendum{Add: what}
	if platform != "" {
		p, err := v1.ParsePlatform(platform)
		if err != nil {
			t.Fatal(err)
		}
		a.Platform = p
	}
	return a
}

func digestOfImage(t *testing.T, what interface{ Digest() (v1.Hash, error) }) string {
	t.Helper()
	d, err := what.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return d.String()
}

func diffIDsOf(t *testing.T, image v1.Image) (all []string) {
	t.Helper()
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range config.RootFS.DiffIDs {
		all = append(all, id.String())
	}
	return all
}

// refresh runs the command, and returns the entries of the one list.
func refreshedBy(t *testing.T, file string, args ...string) (code int, result refreshedList, stderr string) {
	t.Helper()
	out, errs := new(bytes.Buffer), new(bytes.Buffer)
	code = run(t.Context(), append([]string{"bases", "refresh", "--config", file, "-o", "json"}, args...), out, errs)
	var all refreshedLists
	if err := json.Unmarshal(out.Bytes(), &all); err != nil || len(all.Lists) != 1 {
		t.Fatalf("ends with %d: %s%s", code, out, errs)
	}
	return code, all.Lists[0], errs.String()
}

func atHub(h *hub, policies string) string {
	return fmt.Sprintf("registries:\n  - {name: local, embedded: true}\n  - {name: hub, url: %q, prefix: hub.example/}\n%s", h.URL, policies)
}

func TestEveryPlatformOfABaseIsPinned(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	amd64, arm64, arm64v7, s390x := anImage(t, 2, "linux/amd64"), anImage(t, 3, "linux/arm64"), anImage(t, 1, "linux/arm/v7"), anImage(t, 1, "linux/s390x")
	claims := adding(t, "unknown/unknown", anImage(t, 1, "unknown/unknown"))
	claims.Annotations = map[string]string{buildkitType: buildkitClaim}
	chart := adding(t, "", aChart(t))
	inner := mutate.AppendManifests(empty.Index, adding(t, "", s390x))
	index := mutate.AppendManifests(empty.Index, adding(t, "linux/amd64", amd64), adding(t, "linux/arm64/v8", arm64), claims, adding(t, "linux/arm/v7", arm64v7), chart, adding(t, "", inner))
	h.publish(t, "base:multi", index)
	h.publish(t, "base:single", arm64v7)

	file := newStorage(t, atHub(h, basePolicy))
	list := filepath.Join(filepath.Dir(file), "bases.yaml")
	writeFile(t, list, `bases:
  - {name: all, image: "hub.example/base:multi"}
  - {name: some, image: "hub.example/base:multi", platforms: [linux/arm64, linux/s390x]}
  - {name: one, image: "hub.example/base:single"}
  - {name: pinned, image: "hub.example/base@`+digestOfImage(t, index)+`"}
`)
	code, result, steps := refreshedBy(t, file)
	if code != 0 || !result.Written || strings.Count(steps, "looking up hub.example/base") != 4 {
		t.Fatalf("ends with %d: %+v\n%s", code, result, steps)
	}
	for i, want := range []string{"linux/amd64 linux/arm64/v8 linux/arm/v7 linux/s390x", "linux/arm64/v8 linux/s390x", "linux/arm/v7", "linux/amd64 linux/arm64/v8 linux/arm/v7 linux/s390x"} {
		if got := strings.Join(result.Bases[i].Platforms, " "); got != want {
			t.Errorf("%s: got %s, want %s", result.Bases[i].Name, got, want)
		}
	}

	bases, err := readBaseList(list)
	if err != nil {
		t.Fatal(err)
	}
	for i, image := range []v1.Image{amd64, arm64, arm64v7, s390x} {
		var got []string
		for _, id := range bases[i].DiffIDs {
			got = append(got, id.String())
		}
		if !slices.Equal(got, diffIDsOf(t, image)) || bases[i].Digests[0].String() != digestOfImage(t, image) || bases[i].Digests[1].String() != digestOfImage(t, index) {
			t.Errorf("image %d: got %+v", i, bases[i])
		}
	}
	if len(bases) != 11 {
		t.Errorf("%d images, want 11", len(bases))
	}

	// What a check finds is nothing, until the image is another one.
	if code, result, _ = refreshedBy(t, file, "--check"); code != 0 || result.Changed {
		t.Errorf("ends with %d: %+v", code, result)
	}
	h.publish(t, "base:single", anImage(t, 1, "linux/arm/v7"))
	if code, result, _ = refreshedBy(t, file, "--dry-run"); code != int(exitChange) || result.Written || result.Bases[2].Outcome != basePinned || result.Bases[2].Kept != 1 {
		t.Errorf("ends with %d: %+v", code, result)
	}
}

func TestBasesThatCannotBePinnedSayWhy(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	image := anImage(t, 1, "linux/amd64")
	deep := mutate.AppendManifests(empty.Index, adding(t, "", image))
	for range 3 {
		deep = mutate.AppendManifests(empty.Index, adding(t, "", deep))
	}
	h.publish(t, "chart:1", aChart(t))
	h.publish(t, "charts:1", mutate.AppendManifests(empty.Index, adding(t, "", aChart(t))))
	var wide v1.ImageIndex = empty.Index
	for range maxPlatforms + 1 {
		wide = mutate.AppendManifests(wide, adding(t, "linux/amd64", anImage(t, 1, "linux/amd64")))
	}
	h.publish(t, "wide:1", wide)
	h.publish(t, "good:1", image)
	h.publish(t, "deep:1", deep)
	h.publish(t, "none:1", empty.Index)
	h.publish(t, "scratch:1", forPlatform(t, empty.Image, "linux/amd64"))
	hollow, err := mutate.AppendLayers(empty.Image, static.NewLayer(make([]byte, 1024), types.DockerUncompressedLayer))
	if err != nil {
		t.Fatal(err)
	}
	h.publish(t, "hollow:1", forPlatform(t, hollow, "linux/amd64"))
	h.publish(t, "index:1", mutate.AppendManifests(empty.Index, adding(t, "linux/amd64", image)))
	other, err := anImage(t, 1, "linux/amd64").RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	h.before = func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/liar/") && strings.Contains(r.URL.Path, "/manifests/") {
			w.Header().Set("Content-Type", string(types.DockerManifestSchema2))
			_, _ = w.Write(other)
			return true
		}
		if strings.Contains(r.URL.Path, "/down/") {
			w.WriteHeader(http.StatusUnauthorized)
			return true
		}
		return false
	}

	file := newStorage(t, atHub(h, basePolicy))
	list := filepath.Join(filepath.Dir(file), "bases.yaml")
	for image, c := range map[string]struct {
		platforms, want string
		code            exitCode
	}{
		"hub.example/absent:1":                  {"", "", exitNotFound},
		"hub.example/down:1":                    {"", "", exitUpstream},
		"hub.example/deep:1":                    {"", "more than 3 deep", exitUpstream},
		"hub.example/none:1":                    {"", "an index without an image that runs", exitUpstream},
		"hub.example/scratch:1":                 {"", "it has no layers", exitUpstream},
		"hub.example/chart:1":                   {"", "it is not an image that runs", exitUpstream},
		"hub.example/charts:1":                  {"", "an index without an image that runs", exitUpstream},
		"hub.example/wide:1":                    {"", "lists more than 64 manifests", exitUpstream},
		"hub.example/hollow:1":                  {"", "its layers are empty", exitUpstream},
		"hub.example/index:1":                   {"linux/arm64", "it has no image for linux/arm64", exitUpstream},
		"hub.example/good:1":                    {"linux/arm64", "it has no image for linux/arm64", exitUpstream},
		"hub.example/liar@" + sha("0"):          {"", "", exitUpstream},
		"docker.io/library/good:1":              {"", "no registry behind the gateway has the prefix docker.io/", exitUsage},
		"hub.example/Good:1":                    {"", "names no repository", exitUsage},
		"hub.example/good:1@sha256:latest":      {"", "is not a digest", exitUsage},
		"https://hub.example/good:1":            {"", "names no repository", exitUsage},
		"index:1":                               {"", "", exitNotFound}, // of the embedded registry
		"hub.example/" + strings.Repeat("a", 9): {"", "", exitNotFound},
	} {
		text := fmt.Sprintf("bases:\n  - name: bad\n    image: %q\n    platforms: [%s]\n  - {name: good, image: \"hub.example/good:1\"}\n", image, c.platforms)
		if c.platforms == "" {
			text = strings.Replace(text, "    platforms: []\n", "", 1)
		}
		writeFile(t, list, text)
		code, result, _ := refreshedBy(t, file)
		if code != int(c.code) || result.Bases[0].Outcome != baseFailed || !strings.Contains(result.Bases[0].Error, c.want) {
			t.Errorf("%s: ends with %d, want %d: %+v, want %q", image, code, c.code, result.Bases[0], c.want)
		}
		if result.Bases[1].Outcome != basePinned || !result.Written {
			t.Errorf("%s: the rest is not written: %+v", image, result)
		}
	}
}

// An image on a base that was refreshed is admitted under a policy that lets bases age; one on another, one on a base of long
// ago and one that lies about it are refused.
func TestImagesOnARefreshedBaseAreAdmitted(t *testing.T) {
	t.Parallel()
	h := newHub(t)
	before, after := anImage(t, 2, "linux/amd64"), anImage(t, 2, "linux/amd64")
	h.publish(t, "debian:13", before)
	file := newStorage(t, atHub(h, `policies:
  - name: based
    repositories: ["**"]
    pull: {admit_unverified: true}
    push:
      image: {base: {approved: bases.yaml, max_age: 2160h}, base_claim: deny, age: {max: 2160h}}
      accept_unsealed: true
`))
	list := filepath.Join(filepath.Dir(file), "bases.yaml")
	writeFile(t, list, "bases:\n  - {name: debian, image: \"hub.example/debian:13\"}\n")
	if _, err := (&builder{getenv: noEnvironment, dry: true}).build(loadFile(t, file)); err == nil || !strings.Contains(err.Error(), "was never looked up; run: sealgate bases refresh") {
		t.Errorf("a list that was never refreshed is taken: %v", err)
	}
	if code, result, _ := refreshedBy(t, file); code != 0 {
		t.Fatalf("ends with %d: %+v", code, result)
	}

	gw := startForTest(t, file)
	push := func(image v1.Image, want string) {
		t.Helper()
		err := remote.Write(gw.at(t, "app:v1"), image)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	on := func(base v1.Image) v1.Image {
		layer, err := random.Layer(64, types.DockerLayer)
		if err != nil {
			t.Fatal(err)
		}
		image, err := mutate.AppendLayers(base, layer)
		if err != nil {
			t.Fatal(err)
		}
		return forPlatform(t, image, "linux/amd64")
	}
	claiming := func(image v1.Image, base string) v1.Image {
		return mutate.Annotations(mutate.MediaType(image, types.OCIManifestSchema1), map[string]string{"org.opencontainers.image.base.digest": base}).(v1.Image)
	}
	push(on(before), "")
	push(claiming(on(before), digestOfImage(t, before)), "")
	push(on(after), "it stands on no approved base image")
	push(claiming(on(after), digestOfImage(t, before)), "it claims to stand on debian (sha256:")

	// The base is rebuilt: both count, because the list keeps the one of before.
	h.publish(t, "debian:13", after)
	if code, result, _ := refreshedBy(t, file); code != 0 || result.Bases[0].Kept != 1 {
		t.Fatalf("ends with %d: %+v", code, result)
	}
	restart := func() {
		t.Helper()
		if err := gw.stop(); err != nil {
			t.Fatal(err)
		}
		gw = startForTest(t, file)
	}
	restart()
	push(on(before), "")
	push(on(after), "")
	push(claiming(on(after), digestOfImage(t, before)), "it claims to stand on debian (sha256:")

	// And time passes, by the list's word.
	day := time.Now().UTC()
	writeFile(t, list, strings.ReplaceAll(contentOf(t, list), day.Format(time.DateOnly), day.AddDate(0, 0, -91).Format(time.DateOnly)))
	restart()
	push(on(after), "its base image debian was approved 91 days ago, at most 90 days are allowed")

	out := new(bytes.Buffer)
	if code := run(context.Background(), []string{"bases", "list", "--config", file}, out, io.Discard); code != 0 || strings.Count(out.String(), day.AddDate(0, 0, -91).Format(time.DateOnly)) != 2 {
		t.Errorf("ends with %d:\n%s", code, out)
	}
}

func loadFile(t *testing.T, file string) *Loaded {
	t.Helper()
	loaded, err := load(file, Overrides{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return loaded
}

func TestPinsStayAsLongAsAPolicyLetsThemCount(t *testing.T) {
	t.Parallel()
	two := func(first, second string) *Config {
		l, err := loadText(t, fmt.Sprintf(`policies:
  - name: a
    repositories: ["a"]
    push: {image: {base: {approved: /bases.yaml%s}}, accept_unsealed: true}
  - name: b
    repositories: ["b"]
    push: {image: {base: {approved: /bases.yaml%s}}, accept_unsealed: true}
`, first, second))
		if err != nil {
			t.Fatal(err)
		}
		return &l.Config
	}
	for name, c := range map[string]struct {
		config *Config
		file   string
		want   time.Duration
	}{
		"the longer of two":      {two(", max_age: 48h", ", max_age: 96h"), "/bases.yaml", 96 * time.Hour},
		"one without an end":     {two(", max_age: 48h", ""), "/bases.yaml", keepPins},
		"one longer than usual":  {two(", max_age: 4800h", ""), "/bases.yaml", 4800 * time.Hour},
		"a list that nobody has": {two(", max_age: 48h", ""), "/other.yaml", keepPins},
	} {
		if got := longestAge(c.config, c.file); got != c.want {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
	if files, err := baseFiles(two("", ""), nil); err != nil || !slices.Equal(files, []string{"/bases.yaml"}) {
		t.Errorf("got %v, %v", files, err)
	}
	if _, err := baseFiles(&Config{}, nil); codeOf(err) != exitUsage {
		t.Errorf("without a list: %v", err)
	}
}
