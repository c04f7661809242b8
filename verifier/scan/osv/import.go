package osv

import (
	"archive/zip"
	"bufio"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sealgate/sealgate/policy"
)

// Importer makes databases.
type Importer struct {
	Client *http.Client     // for what comes from a URL
	Now    func() time.Time // the time of the import
}

// Bounds of an import. All ecosystems together are some 2 GB of zips and 2 million records.
const (
	maxZip     = 4 << 30  // bytes of one zip
	maxBytes   = 64 << 30 // bytes of all records without compression
	maxRecords = 10_000_000
	maxZips    = 500
	maxList    = 1 << 20   // bytes of a list of ecosystems
	maxExtra   = 256 << 20 // bytes of a list of probabilities or of what is exploited
)

// Files that may lie beside the zips, as their publishers call them.
const (
	epssName      = "epss_scores-current.csv.gz"           // https://www.first.org/epss/data_stats
	exploitedName = "known_exploited_vulnerabilities.json" // https://www.cisa.gov/known-exploited-vulnerabilities-catalog
)

// Import makes the database in a directory anew, from what is at a place: a zip of OSV records, a directory with such zips
// or with the records themselves in it, one JSON file each, or a URL of a zip or of a directory of zips (which has a file ecosystems.txt, as the public one does). What the directory had
// before stays until all is read, and stays when anything fails.
func (i Importer) Import(ctx context.Context, from, directory string) (About, error) {
	b, err := newBuilder(directory)
	if err != nil {
		return About{}, fmt.Errorf("make a database: %w", err)
	}
	defer b.close()
	r := &reading{builder: b, ctx: ctx, client: i.Client}
	if strings.HasPrefix(from, "https://") || strings.HasPrefix(from, "http://") {
		err = r.url(from)
	} else {
		err = r.path(from)
	}
	if err == nil && len(b.about.Releases) == 0 {
		err = errors.New("there are no records")
	}
	if err != nil {
		return About{}, fmt.Errorf("import from %s: %w", redacted(from), err)
	}
	b.about.Imported = i.Now().UTC()
	b.about.EPSS, b.about.Exploited = len(b.epss), len(b.exploited)
	if err := b.finish(); err != nil {
		return About{}, fmt.Errorf("make a database: %w", err)
	}
	return b.about, nil
}

// redacted is a place without the password that its URL may have.
func redacted(from string) string {
	if u, err := url.Parse(from); err == nil && u.User != nil {
		return u.Redacted()
	}
	return from
}

// reading is one import.
type reading struct {
	*builder
	ctx     context.Context
	client  *http.Client
	records int
	bytes   int64
	zips    int
}

// path reads a file or a directory.
func (r *reading) path(from string) error {
	stat, err := os.Stat(from)
	if err != nil {
		return err
	}
	if !stat.IsDir() {
		return r.file(from, from)
	}
	folders := map[string]*collection{}
	err = filepath.WalkDir(from, func(name string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		if base := filepath.Base(name); strings.HasSuffix(base, ".json") && base != exploitedName {
			folder := filepath.Dir(name)
			if folders[folder] == nil {
				folders[folder] = new(collection)
			}
			return r.loose(name, folders[folder])
		}
		return r.file(name, name)
	})
	for _, all := range folders {
		r.whole(all)
	}
	return err
}

// loose reads a record that is a file of its own.
func (r *reading) loose(name string, all *collection) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := r.record(f, all); err != nil {
		return fmt.Errorf("%s: %w", policy.Printable(filepath.Base(name)), err)
	}
	return nil
}

// collection is what came together, in one zip or one folder. Every record of an ecosystem's is about that ecosystem, which
// is how we know of which ecosystems we have all.
type collection struct {
	count int
	whole []string // the ecosystems that every record so far is about
}

// whole counts what came together to the ecosystems that all of it is about.
func (r *reading) whole(all *collection) {
	for _, name := range all.whole {
		r.about.Ecosystems[name] += all.count
	}
}

// file reads one file, by its name. Others than those that we know are left alone.
func (r *reading) file(name, at string) error {
	base := path.Base(filepath.ToSlash(name))
	read := r.zip
	switch {
	case strings.HasSuffix(base, ".zip"):
	case strings.HasPrefix(base, "epss") && (strings.HasSuffix(base, ".csv") || strings.HasSuffix(base, ".csv.gz")):
		read = r.probabilities
	case base == exploitedName:
		read = r.known
	default:
		return nil
	}
	f, err := os.Open(at)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := read(f); err != nil {
		return fmt.Errorf("%s: %w", base, err)
	}
	return nil
}

// zip reads a zip of records.
func (r *reading) zip(f *os.File) error {
	stat, err := f.Stat()
	if err != nil {
		return err
	}
	if r.zips++; stat.Size() > maxZip || r.zips > maxZips {
		return fmt.Errorf("it is larger than %d GiB, or the zip number %d", maxZip>>30, maxZips)
	}
	archive, err := zip.NewReader(f, stat.Size())
	if err != nil {
		return err
	}
	var all collection
	for _, member := range archive.File {
		if !strings.HasSuffix(member.Name, ".json") {
			continue
		}
		if err := r.member(member, &all); err != nil {
			return fmt.Errorf("%s: %w", policy.Printable(member.Name), err)
		}
	}
	r.whole(&all)
	return nil
}

// families are the ecosystems that a record is about, without suffixes.
func (r *record) families() []string {
	var all []string
	for _, a := range r.Affected {
		if name := family(a.Package.Ecosystem); name != "" && !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	return all
}

func (r *reading) member(member *zip.File, all *collection) error {
	content, err := member.Open()
	if err != nil {
		return err
	}
	defer content.Close()
	return r.record(content, all)
}

// record reads one record into the database.
func (r *reading) record(content io.Reader, all *collection) error {
	if err := r.ctx.Err(); err != nil {
		return err
	}
	raw, err := io.ReadAll(io.LimitReader(content, maxRecord+1))
	if err != nil {
		return err
	}
	r.records++
	r.bytes += int64(len(raw))
	switch {
	case len(raw) > maxRecord:
		return fmt.Errorf("it has more than %d MiB", maxRecord>>20)
	case r.records > maxRecords || r.bytes > maxBytes:
		return errors.New("there are too many records, or too long ones")
	}
	read, err := readRecord(raw)
	if err != nil {
		return err
	}
	families := read.families()
	if all.count++; all.count == 1 {
		all.whole = families
	}
	all.whole = slices.DeleteFunc(all.whole, func(name string) bool { return !slices.Contains(families, name) })
	return r.add(read)
}

// probabilities reads the scores of EPSS: lines of CVE,probability,percentile after a comment and a heading.
func (r *reading) probabilities(f *os.File) error {
	content, err := maybeGzip(f)
	if err != nil {
		return err
	}
	lines := bufio.NewScanner(io.LimitReader(content, maxExtra))
	for lines.Scan() {
		fields := strings.Split(lines.Text(), ",")
		if len(fields) < 2 || !isCVE(fields[0]) {
			continue
		}
		p, err := strconv.ParseFloat(fields[1], 64)
		if err != nil || !(p >= 0 && p <= 1) {
			return fmt.Errorf("%s has no probability", policy.Printable(fields[0]))
		}
		r.epss[fields[0]] = p
	}
	if len(r.epss) == 0 && lines.Err() == nil {
		return errors.New("there are no scores")
	}
	return lines.Err()
}

func maybeGzip(f *os.File) (io.Reader, error) {
	if !strings.HasSuffix(f.Name(), ".gz") {
		return f, nil
	}
	return gzip.NewReader(f)
}

// known reads CISA's list of what is known to be exploited.
func (r *reading) known(f *os.File) error {
	var list struct {
		Vulnerabilities []struct {
			CVE string `json:"cveID"`
		} `json:"vulnerabilities"`
	}
	if err := json.NewDecoder(io.LimitReader(f, maxExtra)).Decode(&list); err != nil {
		return err
	}
	for _, v := range list.Vulnerabilities {
		if isCVE(v.CVE) {
			r.exploited[v.CVE] = true
		}
	}
	if len(r.exploited) == 0 {
		return errors.New("there is nothing in it")
	}
	return nil
}

// url reads what is at a URL.
func (r *reading) url(from string) error {
	if strings.HasSuffix(from, ".zip") {
		return r.fetched(from, false)
	}
	from = strings.TrimSuffix(from, "/")
	body, err := r.get(from + "/ecosystems.txt")
	if err != nil {
		return err
	}
	raw, err := io.ReadAll(io.LimitReader(body, maxList+1))
	_ = body.Close()
	if err != nil || len(raw) > maxList {
		return errors.Join(err, errors.New("read ecosystems.txt: it is not whole, or too long"))
	}
	for line := range strings.Lines(string(raw)) {
		name := strings.TrimSpace(line)
		if name == "" || strings.Contains(name, ":") || name == "GIT" { // a release is in its distribution's zip too
			continue
		}
		if err := r.fetched(from+"/"+url.PathEscape(name)+"/all.zip", false); err != nil {
			return err
		}
	}
	for _, name := range []string{epssName, exploitedName} {
		if err := r.fetched(from+"/"+name, true); err != nil {
			return err
		}
	}
	return nil
}

var errAbsent = errors.New("it is not there")

// fetched reads a file at a URL, by way of a temporary one.
func (r *reading) fetched(from string, optional bool) error {
	body, err := r.get(from)
	if optional && errors.Is(err, errAbsent) {
		return nil
	}
	if err != nil {
		return err
	}
	defer body.Close()
	f, err := os.CreateTemp(r.directory, ".import-*"+path.Base(from))
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	n, err := io.Copy(f, io.LimitReader(body, maxZip+1))
	if err != nil {
		return fmt.Errorf("fetch %s: %w", redacted(from), err)
	}
	if n > maxZip {
		return fmt.Errorf("fetch %s: it is larger than %d GiB", redacted(from), maxZip>>30)
	}
	if err := r.file(from, f.Name()); err != nil {
		return fmt.Errorf("%s: %w", redacted(from), err)
	}
	return nil
}

func (r *reading) get(from string) (io.ReadCloser, error) {
	request, err := http.NewRequestWithContext(r.ctx, http.MethodGet, from, nil)
	if err != nil {
		return nil, err
	}
	response, err := r.client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w", redacted(from), err)
	}
	if response.StatusCode != http.StatusOK {
		_ = response.Body.Close()
		err := fmt.Errorf("fetch %s: %s", redacted(from), response.Status)
		if response.StatusCode == http.StatusNotFound {
			err = fmt.Errorf("%w: %w", err, errAbsent)
		}
		return nil, err
	}
	return response.Body, nil
}
