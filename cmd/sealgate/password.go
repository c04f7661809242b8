package main

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/sealgate/sealgate/signer/safefile"
)

const maxPasswordFile = 4 << 10 // bytes

// password finds the password of a signer's key: in its file, else in its variable, else, for the key that the gateway
// generates for itself, in the file that it generated along with it.
func (c *Config) password(s Signer, getenv func(string) string) ([]byte, error) {
	if s.Key.PasswordFile != "" {
		return readPassword(s.Key.PasswordFile)
	}
	name := s.Key.PasswordEnv
	if name == "" {
		name = defaultPasswordEnv
	}
	if value := getenv(name); value != "" {
		return []byte(value), nil
	}
	if _, ours := c.keyPath(s); ours {
		if password, err := readPassword(c.passwordPath()); !errors.Is(err, fs.ErrNotExist) {
			return password, err
		}
	}
	return nil, fmt.Errorf("no password: the variable %s is not set; set it, or name a file in password_file", name)
}

// passwordPath is where the password is that the gateway generates for itself.
func (c *Config) passwordPath() string {
	return filepath.Join(c.Storage.Directory, defaultPasswordFile)
}

// readPassword reads a file's one line, if nobody else can.
func readPassword(path string) ([]byte, error) {
	raw, err := safefile.Read(path, maxPasswordFile, tooOpen)
	if err != nil {
		return nil, fmt.Errorf("password file %s: %w", path, err)
	}
	raw = bytes.TrimSuffix(bytes.TrimSuffix(raw, []byte("\n")), []byte("\r"))
	switch {
	case len(raw) == 0:
		return nil, fmt.Errorf("password file %s: it is empty", path)
	case bytes.ContainsAny(raw, "\r\n\x00"):
		return nil, fmt.Errorf("password file %s: it has more than one line", path)
	}
	return raw, nil
}

// writePassword makes a new file with 256 random bits appear, readable by its owner alone. One that is there stays.
func writePassword(path string) error {
	err := safefile.Create(path, []byte(rand.Text()+rand.Text()+"\n"))
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("write password: %w", err)
	}
	return nil
}

// passwordPlace says where a password is, for people.
func (c *Config) passwordPlace(s Signer, getenv func(string) string) string {
	name := s.Key.PasswordEnv
	if name == "" {
		name = defaultPasswordEnv
	}
	switch {
	case s.Key.PasswordFile != "":
		return s.Key.PasswordFile
	case getenv(name) != "":
		return "the variable " + name
	}
	return c.passwordPath()
}
