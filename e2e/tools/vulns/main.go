// Vulns holds what govulncheck found against the exceptions that docs/advisories.md gives reasons for:
//
//	govulncheck -format json ./... >report.json
//	vulns docs/advisories.md report.json...
//
// A vulnerability whose code is called needs a row in the table that begins with "| advisory | found in | look again by |":
// its id, the module with the version that has it, a day at most 90 days ahead, and why it may stay. It fails for one that
// has no row, for a row whose day is over, and for a row that nothing needs any more. Rows of another version of the
// standard library than this one are left alone: who builds with another Go has other vulnerabilities.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"
)

func main() {
	said, err := run(os.Args[1:], time.Now())
	for _, line := range said {
		fmt.Println(line)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "vulns:", err)
		os.Exit(1)
	}
}

func run(args []string, now time.Time) ([]string, error) {
	if len(args) < 2 {
		return nil, errors.New("usage: vulns TABLE.md REPORT.json, with any number of reports")
	}
	table, err := os.ReadFile(args[0])
	if err != nil {
		return nil, err
	}
	exceptions, err := readExceptions(string(table))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", args[0], err)
	}
	all := report{called: map[place]string{}, present: map[string]string{}, modules: map[string]string{}}
	for _, name := range args[1:] {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		err = all.read(f)
		_ = f.Close()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return judge(all, exceptions, now)
}

// place is one vulnerability of one module.
type place struct{ id, module string }

// report is what govulncheck said, of all builds together.
type report struct {
	called  map[place]string  // how our code comes there
	present map[string]string // what is not called, by id: the module
	modules map[string]string // version of each module that was looked at, stdlib among them
}

// message is one of govulncheck's; see golang.org/x/vuln/internal/govulncheck.
type message struct {
	SBOM *struct {
		GoVersion string `json:"go_version"`
		Modules   []struct{ Path, Version string }
	}
	Finding *struct {
		OSV   string
		Trace []frame
	}
}

// frame is a step to what is vulnerable, which is the first.
type frame struct{ Module, Version, Package, Receiver, Function string }

func (f frame) String() string {
	name := f.Function
	if f.Receiver != "" {
		name = strings.TrimPrefix(f.Receiver, "*") + "." + name
	}
	return f.Package + "." + name
}

func (r *report) read(in io.Reader) error {
	looked := false
	for d := json.NewDecoder(in); ; {
		var m message
		switch err := d.Decode(&m); {
		case errors.Is(err, io.EOF) && !looked:
			return errors.New("it is no whole report of govulncheck: nothing says what was looked at")
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if m.SBOM != nil {
			looked = true
			r.modules["stdlib"] = "v" + strings.TrimPrefix(m.SBOM.GoVersion, "go")
			for _, module := range m.SBOM.Modules {
				r.modules[module.Path] = module.Version
			}
		}
		if m.Finding == nil || len(m.Finding.Trace) == 0 {
			continue
		}
		at := m.Finding.Trace[0]
		r.modules[at.Module] = at.Version
		if at.Function == "" {
			r.present[m.Finding.OSV] = at.Module
			continue
		}
		caller := m.Finding.Trace[len(m.Finding.Trace)-1]
		r.called[place{m.Finding.OSV, at.Module}] = fmt.Sprintf("%s, from %s", at, caller)
	}
}

// exception is a row of the table.
type exception struct {
	place
	version string
	until   time.Time
}

const (
	heading = "| advisory | found in | look again by |"
	longest = 90 * 24 * time.Hour
)

func readExceptions(text string) ([]exception, error) {
	_, rest, found := strings.Cut(text, heading)
	if !found {
		return nil, fmt.Errorf("there is no table that begins with %s", heading)
	}
	var all []exception
	for i, line := range strings.Split(rest, "\n") {
		if i < 2 { // the rest of the heading, and the line below it
			continue
		}
		if !strings.HasPrefix(line, "|") {
			break
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		if len(cells) != 4 || len(strings.TrimSpace(cells[3])) < 20 {
			return nil, fmt.Errorf("%s: want an advisory, where it was found, a day and a reason", line)
		}
		module, version, _ := strings.Cut(strings.TrimSpace(cells[1]), " ")
		until, err := time.Parse(time.DateOnly, strings.TrimSpace(cells[2]))
		if err != nil || version == "" {
			return nil, fmt.Errorf("%s: want a module with its version, and a day such as 2026-12-31", line)
		}
		all = append(all, exception{place{strings.TrimSpace(cells[0]), module}, version, until})
	}
	return all, nil
}

func judge(r report, exceptions []exception, now time.Time) (said []string, err error) {
	excepted, elsewhere := map[place]bool{}, 0
	for _, e := range exceptions {
		name := e.id + " in " + e.module + " " + e.version
		switch how, called := r.called[e.place]; {
		case e.module == "stdlib" && r.modules["stdlib"] != e.version:
			elsewhere++
		case !called:
			err = errors.Join(err, fmt.Errorf("%s: the exception is needed no longer; remove it", name))
		case r.modules[e.module] != e.version:
			err = errors.Join(err, fmt.Errorf("%s: the exception is for another version than %s", name, r.modules[e.module]))
		case now.After(e.until.AddDate(0, 0, 1)):
			err = errors.Join(err, fmt.Errorf("%s: the exception ended on %s; look again (%s)", name, e.until.Format(time.DateOnly), how))
		case e.until.Sub(now) > longest:
			err = errors.Join(err, fmt.Errorf("%s: the exception is for more than 90 days", name))
		default:
			excepted[e.place] = true
		}
	}
	for _, p := range slices.SortedFunc(maps.Keys(r.called), func(a, b place) int { return strings.Compare(a.id+a.module, b.id+b.module) }) {
		if !excepted[p] {
			err = errors.Join(err, fmt.Errorf("%s in %s %s is called and has no exception: %s", p.id, p.module, r.modules[p.module], r.called[p]))
		}
		delete(r.present, p.id) // also found where nothing calls it
	}
	if len(excepted) > 0 {
		said = append(said, fmt.Sprintf("%d known and called, with a reason in the table", len(excepted)))
	}
	for _, id := range slices.Sorted(maps.Keys(r.present)) {
		said = append(said, fmt.Sprintf("%s in %s %s: not called", id, r.present[id], r.modules[r.present[id]]))
	}
	if elsewhere > 0 {
		said = append(said, fmt.Sprintf("%d exceptions are for another Go than %s", elsewhere, r.modules["stdlib"]))
	}
	return said, err
}
