package scan

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// A program that is pinned is hashed once for as long as nothing touched it.
func TestThreat152_WhatIsPinnedIsHashedAgainWhenItChanged(t *testing.T) {
	at := func(path string) identity {
		stat, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		id, ok := identityOf(stat)
		if !ok {
			t.Fatal("this system does not tell when a file was changed")
		}
		return id
	}
	pinned := func(path string) *Command {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return &Command{CommandOptions: CommandOptions{Digest: digest.FromBytes(raw)}}
	}
	open := func(c *Command, path string) error {
		f, err := c.open(path)
		if err == nil {
			err = f.Close()
		}
		return err
	}

	old, err := filepath.EvalSymlinks("/bin/true")
	if err != nil {
		t.Fatal(err)
	}
	c := pinned(old)
	if err := open(c, old); err != nil || c.hashed != at(old) {
		t.Errorf("a file that lies there for long is not remembered: %+v, %v", c.hashed, err)
	}
	other := filepath.Join(t.TempDir(), "other")
	if err := os.WriteFile(other, []byte("another program"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := open(c, other); err == nil || !strings.Contains(err.Error(), "not the one that is pinned") {
		t.Errorf("another file is taken for the one that was hashed: %v", err)
	}

	c = pinned(other)
	if err := open(c, other); err != nil || c.hashed != (identity{}) {
		t.Errorf("a file that was just written is remembered: %+v, %v", c.hashed, err)
	}

	// As if it had been hashed long ago. Then it is written over in place, and its time of modification set back.
	was := at(other)
	c.hashed = was
	for deadline := time.Now().Add(10 * time.Second); at(other) == was; {
		if time.Now().After(deadline) {
			t.Fatal("a change does not show")
		}
		f, err := os.OpenFile(other, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString("evil"); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(other, was.changed, was.changed); err != nil {
			t.Fatal(err)
		}
	}
	if err := open(c, other); err == nil || !strings.Contains(err.Error(), "not the one that is pinned") {
		t.Errorf("a file that was written over is run: %v", err)
	}
}
