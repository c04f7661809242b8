package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/sealgate/sealgate/signer/safefile"
)

// snapshot is what files look like, by path: a fingerprint of content and mode, or why there is none.
type snapshot map[string]string

func look(files []string) snapshot {
	s := snapshot{}
	for _, file := range files {
		s[file] = appearance(file)
	}
	return s
}

func appearance(file string) string {
	stat, err := os.Stat(file)
	if err != nil {
		return err.Error()
	}
	raw, err := safefile.Read(file, maxConfigFile, 0)
	if err != nil {
		return fmt.Sprintf("%v, %d bytes of %v", err, stat.Size(), stat.ModTime())
	}
	sum := sha256.Sum256(raw)
	return stat.Mode().String() + hex.EncodeToString(sum[:])
}

// directories are where something happens when the files change: around each file, and around what a link leads to. It is
// the directory that must be watched, because editors replace files, and Kubernetes replaces a link beside them.
func (s snapshot) directories() map[string]bool {
	all := map[string]bool{}
	for file := range s {
		all[filepath.Dir(file)] = true
		if real, err := filepath.EvalSymlinks(file); err == nil {
			all[filepath.Dir(real)] = true
		}
	}
	return all
}

// watched are the files that a configuration depends on, itself included.
func (l *Loaded) watched() []string {
	files := []string{}
	if l.file != "" {
		files = append(files, l.file)
	}
	for path, file := range l.Config.paths() {
		if *file != "" && path != "storage.directory" && !strings.HasSuffix(path, ".embedded.database") {
			files = append(files, *file)
		}
	}
	for _, s := range l.Config.Signers {
		if file, generated := l.Config.keyPath(s); generated {
			files = append(files, file, l.Config.passwordPath())
		}
	}
	for _, r := range l.Config.TrustRoots {
		if repository, ok := r.repository(l.Config.Storage.Directory, nil); ok {
			files = append(files, repository.File())
		}
	}
	return files
}
