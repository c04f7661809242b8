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
		"a list":          {"bases:\n  - name: debian\n    until: \"2027-01-31\"\n    diff_ids: [\"" + id + "\"]\n", ""},
		"no file":         {"", "bases.yaml cannot be read: no such file"},
		"an empty list":   {"bases: []\n", "bases.yaml: approves nothing"},
		"another key":     {"bases:\n  - name: a\n    diffids: [x]\n", "bases.yaml:3: bases[0].diffids: unknown key"},
		"no name":         {"bases:\n  - diff_ids: [\"" + id + "\"]\n", "bases.yaml:2: bases[0]: has no name"},
		"no diff ids":     {"bases:\n  - name: a\n", "bases.yaml:2: bases[0]: has no diff_ids"},
		"no digest":       {"bases:\n  - name: a\n    diff_ids: [latest]\n", "bases.yaml:3: bases[0].diff_ids[0]: is not sha256: and 64 digits"},
		"another end":     {"bases:\n  - name: a\n    diff_ids: [\"" + id + "\"]\n    until: soon\n", "policies[0].push.image.base.approved: a: until \"soon\" is no day"},
		"two documents":   {"bases: []\n---\nbases: []\n", "a second document begins here"},
		"an unquoted day": {"bases:\n  - name: a\n    diff_ids: [\"" + id + "\"]\n    until: 2027-01-31\n", "it must be text: put it in quotes"},
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
