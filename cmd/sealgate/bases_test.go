package main

import (
	"path/filepath"
	"strings"
	"testing"
)

const basePolicy = `policies:
  - name: all
    repositories: ["**"]
    push:
      image: {base: {approved: bases.yaml}}
      seal: {signer: gateway}
`

func TestApprovedBasesAreReadBesideTheConfiguration(t *testing.T) {
	t.Parallel()
	id := "sha256:" + strings.Repeat("ab", 32)
	for name, c := range map[string]struct{ list, want string }{
		"a list":        {"bases:\n  - name: debian\n    until: \"2027-01-31\"\n    diff_ids: [\"" + id + "\"]\n", ""},
		"no file":       {"", "bases.yaml cannot be read: no such file"},
		"an empty list": {"bases: []\n", "bases.yaml: approves nothing"},
		"another key":   {"bases:\n  - name: a\n    diffids: [x]\n", "bases.yaml:3: bases[0].diffids: unknown key"},
		"pins":          {"bases:\n  - name: a\n    image: a:1\n    pins:\n      - {digest: \"" + id + "\", refreshed: \"2026-11-20\", images: [{platform: linux/amd64, digest: \"" + id + "\", diff_ids: [\"" + id + "\"]}]}\n", ""},
		"pins, and diff ids by hand": {"bases:\n  - name: a\n    image: a:1\n    digest: \"" + id + "\"\n    refreshed: \"2026-11-20\"\n    diff_ids: [\"" + id + "\"]\n" +
			"    pins: [{digest: \"" + id + "\", refreshed: \"2026-11-20\", images: [{platform: linux/amd64, digest: \"" + id + "\", diff_ids: [\"" + id + "\"]}]}]\n", ""},
		"no pins":             {"bases:\n  - {name: a, image: \"a:1\"}\n", "bases.yaml:2: bases[0]: was never looked up; run: sealgate bases refresh"},
		"pins of no image":    {"bases:\n  - name: a\n    pins: []\n", "bases.yaml:2: bases[0]: has no diff_ids"},
		"pins of nothing":     {"bases:\n  - name: a\n    diff_ids: [\"" + id + "\"]\n    pins: [{digest: \"" + id + "\", refreshed: \"2026-11-20\", images: []}]\n", "bases.yaml:4: bases[0].pins: belong to no image"},
		"platforms alone":     {"bases:\n  - name: a\n    diff_ids: [\"" + id + "\"]\n    platforms: [linux/amd64]\n", "bases.yaml:4: bases[0].platforms: mean nothing without image"},
		"a pin without day":   {"bases:\n  - name: a\n    image: a\n    pins:\n      - {digest: \"" + id + "\", images: [{platform: a/b, digest: \"" + id + "\", diff_ids: [\"" + id + "\"]}]}\n", "bases.yaml:5: bases[0].pins[0]: has no refreshed"},
		"a pin of no images":  {"bases:\n  - name: a\n    image: a\n    pins:\n      - {digest: \"" + id + "\", refreshed: \"2026-11-20\"}\n", "bases.yaml:5: bases[0].pins[0]: has no images"},
		"a pin of no layers":  {"bases:\n  - name: a\n    image: a\n    pins:\n      - {digest: \"" + id + "\", refreshed: \"2026-11-20\", images: [{platform: a/b, digest: \"" + id + "\"}]}\n", "bases.yaml:5: bases[0].pins[0].images[0]: has no diff_ids"},
		"a pin of no digest":  {"bases:\n  - name: a\n    image: a\n    pins:\n      - {digest: x, refreshed: \"2026-11-20\", images: [{platform: a/b, digest: b, diff_ids: [c]}]}\n", "bases.yaml:5: bases[0].pins[0].digest: is not sha256: and 64 digits"},
		"a digest of nothing": {"bases:\n  - name: a\n    image: a\n    digest: \"" + id + "\"\n    pins:\n      - {digest: \"" + id + "\", refreshed: \"2026-11-20\", images: [{platform: a/b, digest: \"" + id + "\", diff_ids: [\"" + id + "\"]}]}\n", "bases.yaml:2: bases[0]: has digest or refreshed without diff_ids"},
		"an anchor":           {"bases:\n  - &a\n    name: a\n    diff_ids: [\"" + id + "\"]\n", "anchors (&a) are not read"},
		"a key twice":         {"bases:\n  - name: a\n    diff_ids: [\"" + id + "\"]\n    diff_ids: [\"" + id + "\"]\n", "is there twice"},
		"a day to come":       {"bases:\n  - name: a\n    refreshed: \"2999-01-01\"\n    diff_ids: [\"" + id + "\"]\n", "a: refreshed 2999-01-01 is yet to come"},
		"no name":             {"bases:\n  - diff_ids: [\"" + id + "\"]\n", "bases.yaml:2: bases[0]: has no name"},
		"no diff ids":         {"bases:\n  - name: a\n", "bases.yaml:2: bases[0]: has no diff_ids"},
		"no digest":           {"bases:\n  - name: a\n    diff_ids: [latest]\n", "bases.yaml:3: bases[0].diff_ids[0]: is not sha256: and 64 digits"},
		"another end":         {"bases:\n  - name: a\n    diff_ids: [\"" + id + "\"]\n    until: soon\n", "policies[0].push.image.base.approved: a: until \"soon\" is no day"},
		"two documents":       {"bases: []\n---\nbases: []\n", "a second document begins here"},
		"an unquoted day":     {"bases:\n  - name: a\n    diff_ids: [\"" + id + "\"]\n    until: 2027-01-31\n", "it must be text: put it in quotes"},
	} {
		file := newStorage(t, basePolicy)
		if c.list != "" {
			writeFile(t, filepath.Join(filepath.Dir(file), "bases.yaml"), c.list)
		}
		loaded, err := load(file, Overrides{}, nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		_, err = (&builder{getenv: noEnvironment, openKey: openTestKey, dry: true}).build(loaded)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
		watched := strings.Join(loaded.watched(), " ")
		if !strings.Contains(watched, filepath.Join(filepath.Dir(file), "bases.yaml")) {
			t.Errorf("%s: a change of the list is not seen; watched is %s", name, watched)
		}
	}
}
