package safefile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func written(t *testing.T, content string, mode fs.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestReadTakesWholeFilesThatOthersLeftAlone(t *testing.T) {
	t.Parallel()
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(written(t, "four", 0o600), link); err != nil {
		t.Fatal(err)
	}
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ path, want string }{
		"as long as may be":        {written(t, "four", 0o600), ""},
		"behind a link":            {link, ""},
		"a byte longer":            {written(t, "fives", 0o600), "it is larger than 4 bytes"},
		"a mode with one such bit": {written(t, "four", 0o604), "its mode is 0604, so others may read or change it; chmod 600 it"},
		"a mode with another":      {written(t, "four", 0o620), "its mode is 0620, so others may read or change it; chmod 600 it"},
		"a pipe":                   {pipe, "it is not a regular file"},
		"a folder":                 {t.TempDir(), "it is not a regular file"},
		"nothing":                  {filepath.Join(t.TempDir(), "absent"), "no such file or directory"},
	} {
		for _, read := range []func(string, int64, fs.FileMode) ([]byte, error){Read, ReadOwn} {
			raw, err := read(c.path, 4, 0o027)
			switch {
			case c.want == "" && (err != nil || string(raw) != "four"):
				t.Errorf("%s: got %q, %v", name, raw, err)
			case c.want != "" && (err == nil || err.Error() != c.want):
				t.Errorf("%s: got %v, want %q", name, err, c.want)
			}
		}
	}
	if _, err := Read(filepath.Join(t.TempDir(), "absent"), 4, 0); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v is no fs.ErrNotExist", err)
	}
}

func TestWhatIsWrittenIsForItsOwnerAlone(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "new", "folder", "secret")
	if err := Replace(path, []byte("content")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want that there is no folder", err)
	}
	if err := Create(path, []byte("created")); err != nil {
		t.Fatal(err)
	}
	if raw, err := ReadOwn(path, 100, 0o177); err != nil || string(raw) != "created" {
		t.Errorf("got %q, %v", raw, err)
	}
	if err := Replace(path, []byte("replaced")); err != nil {
		t.Fatal(err)
	}
	if raw, err := ReadOwn(path, 100, 0o177); err != nil || string(raw) != "replaced" {
		t.Errorf("got %q, %v", raw, err)
	}
	if folder, err := os.Stat(filepath.Dir(path)); err != nil || folder.Mode().Perm() != 0o700 {
		t.Errorf("the folder is %v, %v", folder.Mode(), err)
	}
}

func TestCreateTouchesNothingAndReplaceLeavesNothing(t *testing.T) {
	t.Parallel()
	path := written(t, "before", 0o600)
	if err := Create(path, []byte("after")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("got %v, want that it exists", err)
	}
	if raw, _ := os.ReadFile(path); string(raw) != "before" {
		t.Errorf("Create changed it to %q", raw)
	}
	if err := Replace(path, []byte("after")); err != nil {
		t.Fatal(err)
	}
	if raw, _ := os.ReadFile(path); string(raw) != "after" {
		t.Errorf("after Replace it is %q", raw)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

func TestErrorsDoNotRepeatThePath(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "absent")
	if _, err := Read(path, 4, 0); err == nil || strings.Contains(err.Error(), path) {
		t.Errorf("got %v", err)
	}
}
