package ledger

import (
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

const (
	storeFile        = "memory.db"
	asideSuffix      = ".set-aside"
	storeApplication = 0x53474c47 // "SGLG"
	storeVersion     = 1          // changes with the schema
)

// schema is what a file of ours consists of, and nothing else: a trigger that somebody added would run on our writes.
var schema = []string{
	`CREATE TABLE bodies (sum BLOB PRIMARY KEY, body BLOB NOT NULL) STRICT`,
	`CREATE TABLE evidence (repo TEXT NOT NULL, digest TEXT NOT NULL, at INTEGER NOT NULL, sum BLOB NOT NULL, mac BLOB NOT NULL, PRIMARY KEY (repo, digest)) STRICT`,
	`CREATE INDEX evidence_by_sum ON evidence (sum)`,
	`CREATE TABLE newest (id INTEGER PRIMARY KEY CHECK (id = 1), at INTEGER NOT NULL) STRICT`,
	`CREATE TABLE parts (id INTEGER PRIMARY KEY, repo TEXT NOT NULL, part TEXT NOT NULL, whole TEXT NOT NULL, UNIQUE (repo, part, whole)) STRICT`,
}

// errForeign is a file that is not as we made it.
var errForeign = errors.New("not a file of this version")

func (s *store) open() error {
	// Created before SQLite does, so that it is never readable by others.
	file, err := os.OpenFile(s.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	writer, err := connect(s.path, "rw", "_txlock=immediate", "_pragma=journal_mode(WAL)", "_pragma=synchronous(NORMAL)", "_pragma=journal_size_limit(16777216)")
	if err != nil {
		return err
	}
	writer.SetMaxOpenConns(1)
	if err := prepare(writer); err != nil {
		return errors.Join(err, writer.Close())
	}
	reader, err := connect(s.path, "ro")
	if err != nil {
		return errors.Join(err, writer.Close())
	}
	reader.SetMaxOpenConns(maxIdle)
	reader.SetMaxIdleConns(maxIdle)
	s.reader, s.writer = reader, writer
	return nil
}

// connect makes a pool of connections; none is opened yet. The pragmas are those for files that others may have made.
func connect(path, mode string, settings ...string) (*sql.DB, error) {
	settings = append([]string{
		"mode=" + mode, fmt.Sprintf("_pragma=busy_timeout(%d)", busyTimeout.Milliseconds()),
		"_pragma=trusted_schema(OFF)", "_pragma=cell_size_check(ON)",
	}, settings...)
	name := (&url.URL{Scheme: "file", Path: path}).String()
	for i, setting := range settings {
		name += string("?&"[min(i, 1)]) + setting
	}
	return sql.Open("sqlite", name)
}

// prepare makes the tables of a new file, and holds those of an older one against them.
func prepare(db *sql.DB) error {
	h, err := readHeader(db)
	if err != nil {
		return err
	}
	if h == (header{}) {
		return create(db)
	}
	return h.check(db)
}

// header is what a file says that it is.
type header struct{ application, version, objects int }

func readHeader(db *sql.DB) (h header, err error) {
	err = errors.Join(
		db.QueryRow("PRAGMA application_id").Scan(&h.application), db.QueryRow("PRAGMA user_version").Scan(&h.version),
		db.QueryRow("SELECT count(*) FROM sqlite_schema").Scan(&h.objects),
	)
	return h, err
}

func (h header) check(db *sql.DB) error {
	if h.application != storeApplication || h.version != storeVersion {
		return fmt.Errorf("%w: application %#x, version %d", errForeign, h.application, h.version)
	}
	return checkSchema(db)
}

func create(db *sql.DB) error {
	tx, err := db.Begin()
	if err != nil {
		return err
	}
	for _, statement := range append(slices.Clone(schema),
		fmt.Sprintf("PRAGMA application_id = %d", storeApplication), fmt.Sprintf("PRAGMA user_version = %d", storeVersion)) {
		if _, err := tx.Exec(statement); err != nil {
			return errors.Join(err, tx.Rollback())
		}
	}
	return tx.Commit()
}

func checkSchema(db *sql.DB) error {
	rows, err := db.Query("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name")
	if err != nil {
		return err
	}
	defer rows.Close()
	var found []string
	for rows.Next() {
		var statement string
		if err := rows.Scan(&statement); err != nil {
			return err
		}
		found = append(found, statement)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	if !slices.Equal(found, schema) {
		return fmt.Errorf("%w: its tables are not ours", errForeign)
	}
	return nil
}

// setAside moves a file out of the way, over what was set aside before, for whoever wants to look at it.
func setAside(path string) error {
	for _, suffix := range []string{"-wal", "-shm"} { // useless without the file
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return os.Rename(path, path+asideSuffix)
}

// isUnusable reports an error that says that the file's content is at fault.
func isUnusable(err error) bool {
	var e *sqlite.Error
	return errors.Is(err, errForeign) || errors.As(err, &e) && (e.Code()&0xff == sqlite3.SQLITE_CORRUPT || e.Code()&0xff == sqlite3.SQLITE_NOTADB)
}

// isPassing reports an error that says nothing about the file.
func isPassing(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e) && (e.Code()&0xff == sqlite3.SQLITE_BUSY || e.Code()&0xff == sqlite3.SQLITE_LOCKED)
}

// closeFile is called under s.mu.
func (s *store) closeFile() error {
	var errs []error
	for _, db := range []*sql.DB{s.reader, s.writer} { // the writer last: it tidies up
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	s.reader, s.writer = nil, nil
	return errors.Join(errs...)
}
