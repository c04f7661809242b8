package osv

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/sealgate/sealgate/policy"
)

// builder makes a database. Entries go to a file as they come, and only where they are is in memory.
type builder struct {
	directory string
	scratch   *os.File // entries, one after the other
	out       *bufio.Writer
	at        int64
	rows      []row
	about     About
	rated     map[string]rating // by CVE, from whoever rates it
	epss      map[string]float64
	exploited map[string]bool
}

// row says where an entry is, or a package in the index.
type row struct {
	sum            uint64
	offset, length int64
}

type rating struct {
	severity policy.Severity
	cvss     float64
}

// scratched is an entry in the scratch file.
type scratched struct {
	Key   string `json:"k"`
	Entry entry  `json:"e"`
}

const maxEntries = 20_000_000

func newBuilder(directory string) (*builder, error) {
	if err := os.MkdirAll(directory, 0o755); err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(directory, ".import-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil { // it goes with us
		_ = f.Close()
		return nil, err
	}
	return &builder{
		directory: directory, scratch: f, out: bufio.NewWriterSize(f, 1<<20),
		about: About{Ecosystems: map[string]int{}, Releases: map[string]int{}},
		rated: map[string]rating{}, epss: map[string]float64{}, exploited: map[string]bool{},
	}, nil
}

func (b *builder) close() { _ = b.scratch.Close() }

// add takes a record.
func (b *builder) add(r *record) error {
	if r.Modified.After(b.about.Updated) {
		b.about.Updated = r.Modified
	}
	if r.Withdrawn != nil {
		b.about.Withdrawn++
		return nil
	}
	counted := map[string]bool{}
	for _, a := range r.Affected {
		if a.Package.Name == "" || a.Package.Ecosystem == "" {
			continue
		}
		if !counted[a.Package.Ecosystem] {
			counted[a.Package.Ecosystem] = true
			b.about.Releases[a.Package.Ecosystem]++
		}
		for _, e := range r.entries(a) {
			if err := b.put(key(a.Package.Ecosystem, a.Package.Name), e); err != nil {
				return err
			}
			b.rate(e)
		}
	}
	return nil
}

// rate remembers what a CVE is rated as, for those that do not say. Distributions often leave it to others.
func (b *builder) rate(e entry) {
	if e.CVSS == 0 {
		return
	}
	for _, name := range append([]string{e.ID}, e.Aliases...) {
		if isCVE(name) && e.CVSS > b.rated[name].cvss {
			b.rated[name] = rating{e.Severity, e.CVSS}
		}
	}
}

func (b *builder) put(key string, e entry) error {
	raw, err := json.Marshal(scratched{key, e})
	if err != nil {
		return err
	}
	if len(b.rows) >= maxEntries {
		return fmt.Errorf("it has more than %d entries", maxEntries)
	}
	b.rows = append(b.rows, row{sumOf(key), b.at, int64(len(raw))})
	b.at += int64(len(raw))
	_, err = b.out.Write(raw)
	return err
}

// finish writes the database and puts it where the old one is, all at once.
func (b *builder) finish() (err error) {
	if err := b.out.Flush(); err != nil {
		return err
	}
	f, err := os.CreateTemp(b.directory, ".osv-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
		_ = f.Close()
	}()
	if err := b.write(f); err != nil {
		return err
	}
	if err := f.Chmod(0o644); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return os.Rename(f.Name(), filepath.Join(b.directory, FileName))
}

func (b *builder) write(f io.Writer) error {
	w := &summed{to: bufio.NewWriterSize(f, 1<<20), sum: sha256.New()}
	w.text(magic)
	slices.SortStableFunc(b.rows, func(x, y row) int { return cmp.Compare(x.sum, y.sum) })
	var index []row
	for len(b.rows) > 0 {
		n := 1
		for n < len(b.rows) && b.rows[n].sum == b.rows[0].sum {
			n++
		}
		docs, err := b.gather(b.rows[:n])
		if err != nil {
			return err
		}
		for _, doc := range docs {
			raw, err := json.Marshal(doc)
			if err != nil {
				return err
			}
			if len(raw) > maxPackage {
				return fmt.Errorf("%s has more than %d MiB of vulnerabilities", printable(doc.Key), maxPackage>>20)
			}
			index = append(index, row{b.rows[0].sum, w.at, int64(len(raw))})
			w.text(string(raw))
		}
		b.rows = b.rows[n:]
	}
	at := w.at
	for _, r := range index {
		w.numbers(r.sum, uint64(r.offset), uint64(r.length))
	}
	about := w.at
	raw, err := json.Marshal(b.about)
	if err != nil {
		return err
	}
	w.text(string(raw))
	w.numbers(uint64(at), uint64(len(index)), uint64(about), uint64(len(raw)))
	w.text(string(w.sum.Sum(nil)))
	w.text(magic)
	if w.err != nil {
		return w.err
	}
	return w.to.Flush()
}

// gather makes packages of entries whose keys have the same sum, which is one package nearly always.
func (b *builder) gather(rows []row) ([]*packageDoc, error) {
	var docs []*packageDoc
	for _, r := range rows {
		raw := make([]byte, r.length)
		if _, err := b.scratch.ReadAt(raw, r.offset); err != nil {
			return nil, err
		}
		var s scratched
		if err := json.NewDecoder(bytes.NewReader(raw)).Decode(&s); err != nil {
			return nil, err
		}
		i := slices.IndexFunc(docs, func(d *packageDoc) bool { return d.Key == s.Key })
		if i < 0 {
			i = len(docs)
			docs = append(docs, &packageDoc{Key: s.Key})
		}
		b.enrich(&s.Entry)
		docs[i].Entries = append(docs[i].Entries, s.Entry)
	}
	return docs, nil
}

// enrich adds what others know of an entry's CVE.
func (b *builder) enrich(e *entry) {
	for _, name := range append([]string{e.ID}, e.Aliases...) {
		if r, ok := b.rated[name]; ok && e.Severity == policy.Unknown {
			e.Severity, e.CVSS = r.severity, r.cvss
		}
		e.EPSS = max(e.EPSS, b.epss[name])
		e.Exploited = e.Exploited || b.exploited[name]
	}
}

// summed writes and sums up.
type summed struct {
	to  *bufio.Writer
	sum hash.Hash
	at  int64
	err error
}

func (s *summed) text(text string) {
	if s.err != nil {
		return
	}
	var n int
	n, s.err = s.to.WriteString(text)
	s.at += int64(n)
	_, _ = io.WriteString(s.sum, text)
}

func (s *summed) numbers(all ...uint64) {
	var raw []byte
	for _, n := range all {
		raw = binary.BigEndian.AppendUint64(raw, n)
	}
	s.text(string(raw))
}
