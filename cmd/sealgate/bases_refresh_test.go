package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func sha(c string) string { return "sha256:" + strings.Repeat(c, 64) }

// pinOf is what an image is, of one layer for each platform.
func pinOf(c string, platforms ...string) basePin {
	pin := basePin{Digest: sha(c)}
	for _, platform := range platforms {
		pin.Images = append(pin.Images, pinnedImage{Platform: platform, Digest: sha(c), DiffIDs: []string{sha(c)}})
	}
	return pin
}

// refreshing is a refresher on 2026-11-25 to whom images are what this says.
func refreshing(images map[string]basePin) *refresher {
	return &refresher{
		today: time.Date(2026, 11, 25, 0, 0, 0, 0, time.UTC), step: func(string) {},
		find: func(_ context.Context, image string, _ []string) (basePin, error) {
			if pin, ok := images[image]; ok {
				return pin, nil
			}
			return basePin{}, errors.New("it is not there")
		},
	}
}

func listFile(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "bases.yaml")
	writeFile(t, file, text)
	return file
}

func contentOf(t *testing.T, file string) string {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// What is refreshed is the pins. The rest of the file is somebody's work: every line of it stays where it is.
func TestARefreshWritesPinsAndLeavesTheRest(t *testing.T) {
	t.Parallel()
	pinned := func(indent, c string) string {
		lines := []string{"pins:", "  - digest: " + sha(c), `    refreshed: "2026-11-25"`, "    images:", "      - platform: linux/amd64", "        digest: " + sha(c), "        diff_ids:", "          - " + sha(c)}
		return indent + strings.Join(lines, "\n"+indent) + "\n"
	}
	hand := "  - name: by hand # whoever\n    # reviewed by ops\n    diff_ids: [\"" + sha("a") + "\"]\n"
	for name, c := range map[string]struct{ before, after string }{
		"a first time": {
			"bases:\n  - name: debian\n    image: debian:13\n", "bases:\n  - name: debian\n    image: debian:13\n" + pinned("    ", "d"),
		},
		"with comments and empty lines": {
			"# Our bases.\n#\n# Ask ops.\n\nbases:\n\n  # The usual one.\n  - name: debian\n    image: debian:13 # moves\n\n" + hand + "\n  # The small one.\n  - name: alpine\n    until: \"2027-01-31\"\n    image: alpine\n# The end.\n",
			"# Our bases.\n#\n# Ask ops.\n\nbases:\n\n  # The usual one.\n  - name: debian\n    image: debian:13 # moves\n" + pinned("    ", "d") + "\n" + hand + "\n  # The small one.\n  - name: alpine\n    until: \"2027-01-31\"\n    image: alpine\n" + pinned("    ", "e") + "# The end.\n",
		},
		"an entry on one line": {
			"bases:\n  - {name: debian, image: \"debian:13\"}\n", "bases:\n  - name: debian\n    image: \"debian:13\"\n" + pinned("    ", "d"),
		},
		"all on one line": {
			"bases: [{name: debian, image: \"debian:13\"}]\n", "bases:\n  - name: debian\n    image: \"debian:13\"\n" + pinned("    ", "d"),
		},
		"an entry of the day before": {
			"bases:\n  - name: debian\n    image: debian:13\n" + strings.ReplaceAll(pinned("    ", "d"), "11-25", "11-24") + "\n    until: \"2027-01-31\" # ends\n",
			"bases:\n  - name: debian\n    image: debian:13\n" + pinned("    ", "d") + "\n    until: \"2027-01-31\" # ends\n",
		},
		"pins before an empty line and another entry": {
			"bases:\n  - name: debian\n    image: debian:13\n" + strings.ReplaceAll(pinned("    ", "d"), "11-25", "11-24") + "\n  # next\n" + hand,
			"bases:\n  - name: debian\n    image: debian:13\n" + pinned("    ", "d") + "\n  # next\n" + hand,
		},
		"pins at the end": {
			"bases:\n  - name: debian\n    image: debian:13\n" + strings.ReplaceAll(pinned("    ", "d"), "11-25", "11-24") + "\n# the end\n",
			"bases:\n  - name: debian\n    image: debian:13\n" + pinned("    ", "d") + "\n# the end\n",
		},
		"pins before comments": {
			"bases:\n  - image: debian:13\n" + strings.ReplaceAll(pinned("    ", "d"), "11-25", "11-24") + "    # who it is\n    name: debian\n  # next\n" + hand,
			"bases:\n  - image: debian:13\n" + pinned("    ", "d") + "    # who it is\n    name: debian\n  # next\n" + hand,
		},
		"an empty line in a text": {
			"bases:\n  - name: |\n      a\n\n      b\n    image: debian:13\n", "bases:\n  - name: |\n      a\n\n      b\n    image: debian:13\n" + pinned("    ", "d"),
		},
		"a file without an end of line": {"bases:\n  - name: debian\n    image: debian:13", "bases:\n  - name: debian\n    image: debian:13\n" + pinned("    ", "d")},
	} {
		file := listFile(t, c.before)
		r := refreshing(map[string]basePin{"debian:13": pinOf("d", "linux/amd64"), "alpine": pinOf("e", "linux/amd64")})
		result := r.refresh(context.Background(), file, keepPins)
		if got := contentOf(t, file); got != c.after || !result.Changed || !result.Written || result.Error != "" {
			t.Errorf("%s: %+v, got\n%s\nwant\n%s", name, result, got, c.after)
			continue
		}
		if again := r.refresh(context.Background(), file, keepPins); again.Changed || again.Written || contentOf(t, file) != c.after {
			t.Errorf("%s: refreshed again on the same day it changes: %+v", name, again)
		}
		if !strings.Contains(c.after, "by hand") {
			if list, err := readBaseList(file); err != nil || list[0].Refreshed != "2026-11-25" || len(list[0].Digests) != 2 {
				t.Errorf("%s: what was written is no list: %+v, %v", name, list, err)
			}
		}
	}
}

// An empty line within a text is a part of it. That the others go is the price.
func TestATextWithAnEmptyLineStaysWhatItSays(t *testing.T) {
	t.Parallel()
	file := listFile(t, "bases:\n  - name: \"a\n\n      b\"\n    image: debian:13\n")
	r := refreshing(map[string]basePin{"debian:13": pinOf("d", "linux/amd64")})
	if result := r.refresh(context.Background(), file, keepPins); !result.Written {
		t.Fatalf("got %+v", result)
	}
	if list, err := readBaseList(file); err != nil || list[0].Name != "a\nb" {
		t.Errorf("got %+v, %v", list, err)
	}
}

func TestOlderPinsStayWhileTheyCount(t *testing.T) {
	t.Parallel()
	pins := ""
	for _, pin := range [][2]string{{"1", "2026-08-27"}, {"2", "2026-11-20"}, {"d", "2026-10-01"}, {"3", "2026-08-26"}} {
		pins += fmt.Sprintf("      - {digest: %q, refreshed: %q, images: [{platform: linux/amd64, digest: %q, diff_ids: [%q]}]}\n", sha(pin[0]), pin[1], sha(pin[0]), sha(pin[0]))
	}
	file := listFile(t, "bases:\n  - name: debian\n    image: debian:13\n    pins:\n"+pins)
	result := refreshing(map[string]basePin{"debian:13": pinOf("d", "linux/amd64")}).refresh(context.Background(), file, keepPins)
	if b := result.Bases[0]; b.Outcome != basePinned || b.Kept != 2 || b.Dropped != 1 {
		t.Errorf("got %+v", b)
	}
	list, err := readBaseList(file)
	if err != nil {
		t.Fatal(err)
	}
	got := ""
	for _, b := range list {
		got += b.Refreshed + " " + string(b.DiffIDs[0][7]) + " "
	}
	if want := "2026-11-25 d 2026-11-20 2 2026-08-27 1 "; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestWhatCannotBeLookedUpStaysAndTheRestIsWritten(t *testing.T) {
	t.Parallel()
	old := "    pins:\n      - {digest: \"" + sha("9") + "\", refreshed: \"2020-01-01\", images: [{platform: a/b, digest: \"" + sha("9") + "\", diff_ids: [\"" + sha("9") + "\"]}]}\n"
	file := listFile(t, "bases:\n  - name: gone\n    image: gone:1\n"+old+"  - name: debian\n    image: debian:13\n")
	result := refreshing(map[string]basePin{"debian:13": pinOf("d", "linux/amd64")}).refresh(context.Background(), file, keepPins)
	if got := result.Bases; got[0].Outcome != baseFailed || got[0].Error != "it is not there" || got[1].Outcome != basePinned || !result.Written {
		t.Errorf("got %+v", result)
	}
	if text := contentOf(t, file); !strings.Contains(text, sha("9")) || !strings.Contains(text, sha("d")) {
		t.Errorf("got\n%s", text)
	}
	if code := codeOf((refreshedLists{Lists: []refreshedList{result}}).exit(false)); code != exitUpstream {
		t.Errorf("it ends with %d", code)
	}
}

func TestADryRunWritesNothingAndSaysThatItWould(t *testing.T) {
	t.Parallel()
	text := "bases:\n  - name: debian\n    image: debian:13\n"
	file := listFile(t, text)
	r := refreshing(map[string]basePin{"debian:13": pinOf("d", "linux/amd64")})
	r.dry = true
	result := r.refresh(context.Background(), file, keepPins)
	if !result.Changed || result.Written || contentOf(t, file) != text {
		t.Errorf("got %+v\n%s", result, contentOf(t, file))
	}
	lists := refreshedLists{Lists: []refreshedList{result}}
	if codeOf(lists.exit(true)) != exitChange || lists.exit(false) != nil {
		t.Errorf("it ends with %v", lists.exit(true))
	}
	lists.Lists[0].Changed = false
	if err := lists.exit(true); err != nil {
		t.Errorf("nothing would change, and it ends with %v", err)
	}
}

// A file that says one thing to one reader and another to the next is never written back.
func TestAListThatCannotBeReadInOneWayIsNotRefreshed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ text, want string }{
		"a key twice":        {"bases:\n  - {name: a, image: debian:13, image: alpine}\n", "bases[0].image: is there twice"},
		"an anchor":          {"bases:\n  - &a\n    name: a\n    image: debian:13\n", "anchors"},
		"an alias":           {"bases:\n  - name: a\n    image: *a\n", "unknown anchor"},
		"a merge":            {"bases:\n  - <<: {name: a}\n    image: debian:13\n", "merge keys"},
		"two documents":      {"bases: []\n---\nbases: []\n", "a second document"},
		"an unknown key":     {"bases:\n  - {name: a, images: debian:13}\n", "unknown key"},
		"a pin of no day":    {"bases:\n  - name: a\n    image: debian:13\n    pins: [{digest: \"" + sha("1") + "\", refreshed: soon, images: []}]\n", "refreshed is no day"},
		"nothing":            {"", "is empty"},
		"no file":            {"-", "cannot be read"},
		"a comment in a pin": {"bases:\n  - name: a\n    image: debian:13\n    pins:\n      # mine\n      - {digest: \"" + sha("1") + "\", refreshed: \"2020-01-01\", images: []}\n", "would be lost"},
	} {
		file := listFile(t, c.text)
		if c.text == "-" {
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
		}
		result := refreshing(map[string]basePin{"debian:13": pinOf("d", "linux/amd64")}).refresh(context.Background(), file, keepPins)
		said := result.Error
		for _, b := range result.Bases {
			said += b.Error
		}
		if !strings.Contains(said, c.want) || result.Written || (refreshedLists{Lists: []refreshedList{result}}).exit(false) == nil {
			t.Errorf("%s: got %+v, want %q", name, result, c.want)
		}
		if c.text != "-" && contentOf(t, file) != c.text {
			t.Errorf("%s: it was written:\n%s", name, contentOf(t, file))
		}
	}
}

// A gateway may read the list at any time: what it sees is the old list or the new one, whole.
func TestAReaderSeesOneListOrTheOther(t *testing.T) {
	t.Parallel()
	file := listFile(t, "bases:\n  - name: debian\n    image: debian:13\n")
	images := map[string]basePin{"debian:13": pinOf("d", "linux/amd64")}
	r := refreshing(images)
	if result := r.refresh(context.Background(), file, keepPins); !result.Written {
		t.Fatalf("got %+v", result)
	}
	done := make(chan struct{})
	var reading sync.WaitGroup
	reading.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			if _, err := readBaseList(file); err != nil {
				t.Errorf("half a list: %v", err)
				return
			}
		}
	})
	for n := range 100 {
		platforms := slices.Repeat([]string{"linux/amd64"}, 1+n%50)
		images["debian:13"] = pinOf([]string{"a", "b"}[n%2], platforms...)
		if result := r.refresh(context.Background(), file, 0); result.Error != "" || !result.Written {
			t.Fatalf("got %+v", result)
		}
	}
	close(done)
	reading.Wait()
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(file), ".*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestAListIsBounded(t *testing.T) {
	t.Parallel()
	text := "bases:\n  - name: debian\n    image: debian:13\n"
	file := listFile(t, text)
	huge := pinOf("d", "linux/amd64")
	huge.Images[0].DiffIDs = slices.Repeat([]string{sha("d")}, maxBaseList/80)
	result := refreshing(map[string]basePin{"debian:13": huge}).refresh(context.Background(), file, keepPins)
	if result.Written || !strings.Contains(result.Error, "it would be larger than 4194304 bytes; name platforms") || contentOf(t, file) != text {
		t.Errorf("got %v, %s", result.Written, result.Error)
	}
}

func TestAListThatSomebodyChangedMeanwhileIsTheirs(t *testing.T) {
	t.Parallel()
	file := listFile(t, "bases:\n  - name: debian\n    image: debian:13\n")
	r := refreshing(map[string]basePin{"debian:13": pinOf("d", "linux/amd64")})
	edited := "bases:\n  - name: debian\n    image: debian:14\n"
	r.step = func(string) { writeFile(t, file, edited) }
	if result := r.refresh(context.Background(), file, keepPins); result.Written || !strings.Contains(result.Error, "somebody changed it meanwhile") || contentOf(t, file) != edited {
		t.Errorf("got %+v\n%s", result, contentOf(t, file))
	}
}

func TestALinkedListStaysALinkAndKeepsItsMode(t *testing.T) {
	t.Parallel()
	file := listFile(t, "bases:\n  - name: debian\n    image: debian:13\n")
	if err := os.Chmod(file, 0o640); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "bases.yaml")
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	if result := refreshing(map[string]basePin{"debian:13": pinOf("d", "linux/amd64")}).refresh(context.Background(), link, keepPins); !result.Written {
		t.Fatalf("got %+v", result)
	}
	stat, err := os.Lstat(link)
	if err != nil || stat.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is %v, %v", stat.Mode(), err)
	}
	if stat, err = os.Stat(link); err != nil || stat.Mode().Perm() != 0o640 || !strings.Contains(contentOf(t, file), sha("d")) {
		t.Errorf("the file is %v, %v", stat.Mode(), err)
	}
}
