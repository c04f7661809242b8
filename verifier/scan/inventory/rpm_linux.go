package inventory

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/google/osv-scalibr/extractor/filesystem"
	"golang.org/x/sys/unix"
	_ "modernc.org/sqlite" // the driver
)

// onDisk gives an extractor that opens its file by name a name to open: of a copy in memory, which no directory has. It
// works where the process may open nothing else.
func onDisk(input *filesystem.ScanInput) (close func(), err error) {
	raw, err := io.ReadAll(input.Reader)
	if err != nil {
		return nil, err
	}
	if bytes.HasPrefix(raw, []byte("SQLite format 3\x00")) {
		if wal, err := input.FS.Stat(input.Path + "-wal"); err == nil && wal.Size() > 0 {
			return nil, errors.New("a part of it is in a write-ahead log, which is not read")
		}
		if raw, err = asNDB(raw); err != nil {
			return nil, err
		}
	}
	fd, err := unix.MemfdCreate("rpmdb", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("copy it into memory: %w", err)
	}
	copied := os.NewFile(uintptr(fd), "rpmdb")
	if _, err := copied.Write(raw); err != nil {
		_ = copied.Close()
		return nil, fmt.Errorf("copy it into memory: %w", err)
	}
	input.Root, input.Path = "/proc/self/fd", strconv.Itoa(fd)
	return func() { _ = copied.Close() }, nil
}

// asNDB makes a database in rpm's own format of one in SQLite's, with the same packages: SQLite insists on names of files
// that nobody here may open, but reads a database from memory.
//
// https://github.com/rpm-software-management/rpm/blob/rpm-4.20.0-release/lib/backend/ndb/rpmpkg.cc
func asNDB(raw []byte) ([]byte, error) {
	headers, err := headersOf(raw)
	if err != nil {
		return nil, err
	}
	const (
		block   = 16   // bytes that offsets count
		page    = 4096 // bytes of slots
		version = 0
	)
	pages := ((len(headers)+2)*block + page - 1) / page // the file's own header is as long as two slots
	ndb := binary.LittleEndian.AppendUint32([]byte("RpmP"), version)
	ndb = binary.LittleEndian.AppendUint32(ndb, 1)
	ndb = binary.LittleEndian.AppendUint32(ndb, uint32(pages))
	ndb = append(ndb, make([]byte, block)...)
	at := pages * page
	for i, header := range headers {
		blocks := (block + len(header) + block - 1) / block
		ndb = append(ndb, "Slot"...)
		for _, n := range []int{i + 1, at / block, blocks} {
			ndb = binary.LittleEndian.AppendUint32(ndb, uint32(n))
		}
		at += blocks * block
	}
	for len(ndb) < pages*page {
		ndb = append(append(ndb, "Slot"...), make([]byte, block-4)...)
	}
	for i, header := range headers {
		ndb = append(ndb, "BlbS"...)
		for _, n := range []int{i + 1, 1, len(header)} {
			ndb = binary.LittleEndian.AppendUint32(ndb, uint32(n))
		}
		ndb = append(ndb, header...)
		ndb = append(ndb, make([]byte, -len(header)&(block-1))...)
	}
	return ndb, nil
}

// headersOf reads the packages' headers from a database in SQLite's format.
func headersOf(raw []byte) (headers [][]byte, err error) {
	// Bytes 18 and 19 say that there is a write-ahead log, which memory has not: https://sqlite.org/fileformat.html#file_format_version_numbers
	if len(raw) < 100 {
		return nil, errors.New("it is too short")
	}
	raw[18], raw[19] = 1, 1

	db, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		return nil, err
	}
	defer db.Close()
	conn, err := db.Conn(context.Background())
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	err = conn.Raw(func(driver any) error {
		memory, ok := driver.(interface{ Deserialize([]byte) error })
		if !ok {
			return errors.New("the driver does not read from memory")
		}
		return memory.Deserialize(raw)
	})
	if err != nil {
		return nil, fmt.Errorf("read it into SQLite: %w", err)
	}
	rows, err := conn.QueryContext(context.Background(), "SELECT blob FROM Packages")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var header []byte
		if err := rows.Scan(&header); err != nil {
			return nil, err
		}
		if headers = append(headers, header); len(headers) > maxPackages {
			return nil, fmt.Errorf("it has more than %d packages", maxPackages)
		}
	}
	return headers, rows.Err()
}
