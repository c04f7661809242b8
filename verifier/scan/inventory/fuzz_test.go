package inventory

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/sealgate/sealgate/verifier/inspect"
)

// Whatever a child says, it is an inventory of the image that was asked about, within the bounds, or an error of one of the
// two kinds. What is taken can be said again.
func FuzzAnswer(f *testing.F) {
	asked := digest.FromString("an image")
	whole := &Inventory{Image: asked, Packages: []Package{{Name: "a", Version: "1", Locations: []string{"b"}}}, Gaps: []Gap{{Why: "c"}}}
	for _, a := range []answer{{Image: asked, Inventory: whole}, {Image: asked, Flaw: "x"}, {Image: asked, Failure: "x"}, {}, {Image: asked, Inventory: whole, Flaw: "x"}} {
		raw, err := json.Marshal(a)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
		f.Add(raw[:len(raw)/2])
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		taken, err := readAnswer(raw, asked)
		switch {
		case (taken == nil) == (err == nil):
			t.Fatalf("%+v and %v", taken, err)
		case err != nil && errors.Is(err, ErrUnknown) == errors.Is(err, inspect.ErrInvalid):
			t.Fatalf("%v says two things, or none", err)
		case err == nil && taken.Image != asked:
			t.Fatalf("another image: %+v", taken)
		}
		if err != nil {
			return
		}
		again, err := json.Marshal(answer{Image: asked, Inventory: taken})
		if err != nil {
			t.Fatal(err)
		}
		if same, err := readAnswer(again, asked); err != nil || !reflect.DeepEqual(same, taken) {
			t.Fatalf("%+v, %v, was %+v", same, err, taken)
		}
	})
}

// Whatever a layer holds, it becomes the same tree twice, or is the image's fault; and all that is in the tree can be read.
func FuzzTree(f *testing.F) {
	f.Add(tarOf(f, layer{file("etc/os-release", debian12), file("var/lib/dpkg/status", deb("bash", "5", "")), symlink("a", "b"), hardlink("c", "a"), removed("d")}), []byte{})
	f.Add(tarOf(f, layer{dir("a"), symlink("a/b", "../a"), npm("a/b/package.json", "1")}), tarOf(f, layer{removed("a"), file("a/.wh..wh..opq", "")}))
	f.Fuzz(func(t *testing.T, lower, upper []byte) {
		spool := bytes.NewReader(append(bytes.Clone(lower), upper...))
		grow := func() (*tree, error) {
			grown := newTree(spool)
			err := grown.add(0, 0, int64(len(lower)))
			if err == nil {
				err = grown.add(1, int64(len(lower)), int64(len(upper)))
			}
			return grown, err
		}
		one, err := grow()
		if err != nil {
			if !errors.Is(err, inspect.ErrInvalid) {
				t.Fatal(err)
			}
			return
		}
		first, err := extract(t.Context(), one, digest.FromString("an image"))
		if err != nil {
			t.Fatal(err)
		}
		two, err := grow()
		if err != nil {
			t.Fatal(err)
		}
		second, err := extract(t.Context(), two, digest.FromString("an image"))
		if err != nil || !reflect.DeepEqual(first, second) {
			t.Fatalf("%+v and %+v, %v", first, second, err)
		}
		_ = one.each(func(name string, n *node) error {
			if strings.HasPrefix(name, "/") || strings.Contains("/"+name+"/", "/../") {
				t.Errorf("a file outside of the image: %q", name)
			}
			if !n.holes && (n.offset < 0 || n.size < 0 || n.offset+n.size > spool.Size()) {
				t.Errorf("%q is beyond the spool: %d bytes at %d", name, n.size, n.offset)
			}
			return nil
		})
	})
}
