package main

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/sealgate/sealgate/policy"
)

const exampleFile = "../../config.example.yaml"

func TestExampleConfigurationIsTheDefault(t *testing.T) {
	t.Parallel()
	loaded, err := load(exampleFile, Overrides{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	standard, err := load("", Overrides{Storage: "../../sealgate-data"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	// The example writes out what the defaults find by themselves.
	key := &standard.Config.Signers[0].Key
	key.File, _ = standard.Config.keyPath(standard.Config.Signers[0])
	key.PasswordEnv = defaultPasswordEnv
	if !reflect.DeepEqual(loaded.Config, standard.Config) {
		t.Errorf("config.example.yaml says\n%+v\nand the default is\n%+v", loaded.Config, standard.Config)
	}
}

// off is a setting that is off in the example: a line that begins with # and no space.
var off = regexp.MustCompile(`(?m)^#(  |[a-z]+:$)`)

func TestExampleConfigurationLoadsWithEverythingOn(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(exampleFile)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "everything.yaml")
	if err := os.WriteFile(file, withTLS(off.ReplaceAll(raw, []byte("$1"))), 0o600); err != nil {
		t.Fatal(err)
	}
	loaded, err := load(file, Overrides{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := policy.Compile(loaded.Config.Policies, known(loaded, nil, nil, approveAll(loaded))); err != nil {
		t.Error(err)
	}
	if got := len(loaded.Config.Policies); got != 4 {
		t.Errorf("got %d policies, want 4", got)
	}
}

func TestExampleConfigurationMentionsEveryKey(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(exampleFile)
	if err != nil {
		t.Fatal(err)
	}
	text := string(raw)
	var walk func(path string, typ reflect.Type)
	walk = func(path string, typ reflect.Type) {
		for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct {
			return
		}
		for key, field := range keysOf(typ) {
			if !regexp.MustCompile(`(?m)(^#? *(- )?|[{,] *)` + key + `:`).MatchString(text) {
				t.Errorf("config.example.yaml does not mention %s", join(path, key))
			}
			walk(join(path, key), field)
		}
	}
	walk("", reflect.TypeFor[Config]())

	for i, line := range strings.Split(text, "\n") {
		if len(line) > 124 {
			t.Errorf("config.example.yaml:%d is %d characters long", i+1, len(line))
		}
	}
}

// approveAll has a list of base images for each policy that names one, whatever is in the file.
func approveAll(l *Loaded) map[string][]policy.Base {
	lists := map[string][]policy.Base{}
	for _, p := range l.Config.Policies {
		if p.Push != nil && p.Push.Image.Base != nil && p.Push.Image.Base.Approved != "" {
			lists[p.Push.Image.Base.Approved] = []policy.Base{{Name: "any", Refreshed: "2026-11-20", DiffIDs: []digest.Digest{digest.FromString("a layer")}}}
		}
	}
	return lists
}

// withTLS fills in what stands empty in the example and other settings need. The listener for clients has its certificate from
// acme, which is on.
func withTLS(raw []byte) []byte {
	public, rest, _ := bytes.Cut(raw, []byte("\nadmin:"))
	public = regexp.MustCompile(`(?m)^( +)(client_ca): ""`).ReplaceAll(public, []byte("$1$2: file.pem"))
	rest = regexp.MustCompile(`(?m)^( +)(certificate|key|client_ca): ""`).ReplaceAll(rest, []byte("$1$2: file.pem"))
	return slices.Concat(public, []byte("\nadmin:"), rest)
}
