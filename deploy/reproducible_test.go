package deploy

import (
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Who doubts a binary builds it himself and compares.
func TestTwoBuildsInTwoDirectoriesAreOneBinary(t *testing.T) {
	first, second := build(t, "here"), build(t, "elsewhere/and/deeper")
	if first != second {
		t.Errorf("one build has SHA-256 %s, the other %s", first, second)
	}
}

// copied are the sources that the Dockerfile takes: `COPY FROM... TO`, but for what it takes from another stage.
var copied = regexp.MustCompile(`(?m)^COPY ([^-\n]+) \S+$`)

// build copies the sources that the Dockerfile takes into a folder, runs `make build` there and returns the binary's SHA-256.
func build(t *testing.T, name string) string {
	t.Helper()
	directory := filepath.Join(t.TempDir(), name)
	dockerfile, err := os.ReadFile("Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	parts := []string{"Makefile"}
	for _, line := range copied.FindAllSubmatch(dockerfile, -1) {
		parts = append(parts, strings.Fields(string(line[1]))...)
	}
	for _, part := range parts {
		if err := copyTree(filepath.Join("..", part), filepath.Join(directory, part)); err != nil {
			t.Fatal(err)
		}
	}
	command := exec.Command("make", "build", "VERSION=v0.0.0-test", "COMMIT=0000000")
	command.Dir = directory
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("make build: %v\n%s", err, out)
	}
	binary, err := os.ReadFile(filepath.Join(directory, "dist", "sealgate"))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(binary)
	return hex.EncodeToString(sum[:])
}

func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, relative)
		if entry.IsDir() {
			return os.MkdirAll(target, 0o755)
		}
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(target, content, 0o644)
	})
}
