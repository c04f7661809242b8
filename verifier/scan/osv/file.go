package osv

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"
)

// A database is one file, which is replaced as a whole:
//
//	magic
//	packages   one after the other, each a JSON document
//	index      for each package, sorted by sum: sum of its key, offset, length
//	about      a JSON document
//	trailer    offset of the index, number of packages, offset and length of about, SHA-256 of all before the sum, magic
//
// Numbers are big-endian with 64 bits. Nothing of it is in memory but what a look-up reads.

// FileName is the database's file in its directory.
const FileName = "osv.db"

const (
	magic       = "SG-OSV1\n"
	rowSize     = 3 * 8
	trailerSize = 4*8 + sha256.Size + len(magic)
	maxAbout    = 4 << 20
	maxPackage  = 256 << 20 // bytes of what is known of one package
)

// About says what is in a database.
type About struct {
	Imported time.Time `json:"imported"` // by our own clock
	Updated  time.Time `json:"updated"`  // when the newest record was modified

	// Ecosystems counts the records of each ecosystem that was imported as a whole, without suffix, such as Debian.
	Ecosystems map[string]int `json:"ecosystems"`

	// Releases counts the records of each ecosystem with its suffix, such as Debian:12.
	Releases map[string]int `json:"releases"`

	Withdrawn int `json:"withdrawn"` // records that were left out, as they were withdrawn

	EPSS      int `json:"epss"`      // vulnerabilities of which the probability of exploitation is known
	Exploited int `json:"exploited"` // vulnerabilities that are known to be exploited
}

// Database is an open database. It is safe for concurrent use.
type Database struct {
	about About
	file  *os.File
	index int64 // offset of the index
	count int64
}

// packageDoc is what is known of one package.
type packageDoc struct {
	Key     string  `json:"k"`
	Entries []entry `json:"e"`
}

// Open opens the database in a directory. It reads all of it once: a file that is cut short or was changed is an error. The
// caller closes it.
func Open(directory string) (*Database, error) {
	f, err := os.Open(filepath.Join(directory, FileName))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("there is no database in %s: %w", directory, err)
	}
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", err)
	}
	d, err := open(f)
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("open the database %s: %w", f.Name(), err)
	}
	return d, nil
}

func open(f *os.File) (*Database, error) {
	stat, err := f.Stat()
	if err != nil {
		return nil, err
	}
	size := stat.Size()
	if size < int64(len(magic)+trailerSize) {
		return nil, errors.New("it is too short")
	}
	trailer := make([]byte, trailerSize)
	if _, err := f.ReadAt(trailer, size-int64(trailerSize)); err != nil {
		return nil, err
	}
	number := func(i int) int64 { return int64(binary.BigEndian.Uint64(trailer[8*i:])) }
	index, count, about, length := number(0), number(1), number(2), number(3)
	end := size - int64(trailerSize)
	switch {
	case !bytes.HasSuffix(trailer, []byte(magic)):
		return nil, errors.New("it is no database, or not whole")
	case index < int64(len(magic)) || count < 0 || count > (end-index)/rowSize || about != index+count*rowSize || length < 0 || length > maxAbout || about+length != end:
		return nil, errors.New("its parts do not fit")
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(f, 0, end+4*8)); err != nil {
		return nil, err
	}
	if !bytes.Equal(sum.Sum(nil), trailer[4*8:4*8+sha256.Size]) {
		return nil, errors.New("it was changed or is damaged")
	}
	raw := make([]byte, length)
	if _, err := f.ReadAt(raw, about); err != nil {
		return nil, err
	}
	d := &Database{file: f, index: index, count: count}
	if err := json.Unmarshal(raw, &d.about); err != nil {
		return nil, err
	}
	return d, nil
}

// Close closes the database.
func (d *Database) Close() error { return d.file.Close() }

// About says what is in it.
func (d *Database) About() About { return d.about }

// Updated is when the newest record of the database was modified, which is how old what it knows is.
func (d *Database) Updated() time.Time { return d.about.Updated }

// lookup finds what is known of a package.
func (d *Database) lookup(ecosystem, name string) ([]entry, error) {
	wanted := key(ecosystem, name)
	sum := sumOf(wanted)
	var failed error
	row := make([]byte, rowSize)
	read := func(i int) (at uint64) {
		if _, err := d.file.ReadAt(row, d.index+int64(i)*rowSize); err != nil {
			failed = cmp.Or(failed, err)
		}
		return binary.BigEndian.Uint64(row)
	}
	i := sort.Search(int(d.count), func(i int) bool { return read(i) >= sum })
	var found []entry
	for ; failed == nil && i < int(d.count) && read(i) == sum; i++ {
		offset, length := int64(binary.BigEndian.Uint64(row[8:])), int64(binary.BigEndian.Uint64(row[16:]))
		if offset < int64(len(magic)) || length < 0 || length > maxPackage || offset > d.index-length {
			return nil, fmt.Errorf("look up %s: the database is damaged", printable(wanted))
		}
		raw := make([]byte, length)
		if _, err := d.file.ReadAt(raw, offset); err != nil {
			failed = err
			break
		}
		var doc packageDoc
		if err := json.Unmarshal(raw, &doc); err != nil {
			return nil, fmt.Errorf("look up %s: %w", printable(wanted), err)
		}
		if doc.Key == wanted { // and not another of the same sum
			found = append(found, doc.Entries...)
		}
	}
	if failed != nil {
		return nil, fmt.Errorf("look up %s: %w", printable(wanted), failed)
	}
	return found, nil
}

// sumOf is what the index is sorted by.
func sumOf(key string) uint64 {
	sum := sha256.Sum256([]byte(key))
	return binary.BigEndian.Uint64(sum[:])
}

func printable(key string) string { return strings.ReplaceAll(key, "\x00", "/") }
