// Package safefile reads and writes whole files that others may have had their hands on.
//
// What is read is a regular file of a bounded size, whose mode and owner are looked at on the open file, so that what was
// judged is what is read. A link is followed: that is how secrets are mounted. What is written is readable by its owner alone,
// and appears whole or not at all.
//
// The errors of reading do not repeat the path, which the caller has said.
package safefile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Read reads a file of at most limit bytes whose mode has none of the forbidden bits.
func Read(path string, limit int64, forbidden fs.FileMode) ([]byte, error) {
	return read(path, limit, forbidden, func(fs.FileInfo) error { return nil })
}

// ReadOwn is like [Read] for a file that belongs to us or to root.
func ReadOwn(path string, limit int64, forbidden fs.FileMode) ([]byte, error) {
	return read(path, limit, forbidden, ours)
}

func read(path string, limit int64, forbidden fs.FileMode, check func(fs.FileInfo) error) ([]byte, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // does not wait for the other end of a pipe
	if err != nil {
		return nil, withoutPath(err)
	}
	defer file.Close()
	stat, err := file.Stat()
	if err != nil {
		return nil, withoutPath(err)
	}
	if !stat.Mode().IsRegular() {
		return nil, errors.New("it is not a regular file")
	}
	if mode := stat.Mode().Perm(); mode&forbidden != 0 {
		return nil, fmt.Errorf("its mode is %04o, so others may read or change it; chmod 600 it", mode)
	}
	if err := check(stat); err != nil {
		return nil, err
	}

	raw, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err != nil {
		return nil, withoutPath(err)
	}
	if int64(len(raw)) > limit {
		return nil, fmt.Errorf("it is larger than %d bytes", limit)
	}
	return raw, nil
}

func ours(stat fs.FileInfo) error {
	system, ok := stat.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	if owner, we := int(system.Uid), os.Geteuid(); owner != we && owner != 0 {
		return fmt.Errorf("it belongs to user %d, and we are user %d; chown it", owner, we)
	}
	return nil
}

// Create makes a file, and its folder where that is missing. One that is there is not touched: the error is [fs.ErrExist].
func Create(path string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return write(path, content, os.Link) // which replaces nothing
}

// Replace puts a file in the place of one that may be there, in a folder that is. Readers see the one or the other.
func Replace(path string, content []byte) error {
	return write(path, content, os.Rename)
}

func write(path string, content []byte, appear func(from, to string) error) error {
	folder := filepath.Dir(path)
	temporary, err := os.CreateTemp(folder, "."+filepath.Base(path)+"-*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(temporary.Name())
	_, err = temporary.Write(content)
	if err := errors.Join(err, temporary.Sync(), temporary.Close()); err != nil {
		return err
	}
	if err := appear(temporary.Name(), path); err != nil {
		return err
	}

	directory, err := os.Open(folder) // its entry too is to outlive a crash
	if err != nil {
		return err
	}
	defer directory.Close()
	return directory.Sync()
}

// withoutPath keeps the caller's path from being said twice.
func withoutPath(err error) error {
	if at, ok := errors.AsType[*fs.PathError](err); ok {
		return at.Err
	}
	return err
}
