package policy

import (
	"fmt"
	"strings"
	"time"
)

// exception is a permission to differ, compiled.
type exception struct {
	check Check
	path  *glob // nil for everything
	until time.Time
}

func (r *Rule) compileException(doc ExceptionDocument, known Known, fault func(key, format string, args ...any)) {
	e := exception{check: Check(doc.Check)}
	c := checkNamed(e.check)
	if c == nil {
		fault(".check", "unknown check %q; checks are %s", doc.Check, checkNames())
	}
	if doc.Path != "" {
		path, err := compilePattern(doc.Path, "", "path")
		if err != nil {
			fault(".path", "%w", err)
		}
		if c != nil && c.why != nil {
			fault(".path", "%s finds no paths; leave it out", doc.Check)
		}
		e.path = &path
	}
	until, err := known.exceptedUntil(doc.Until)
	if err != nil {
		fault(".until", "%w", err)
	}
	e.until = until
	if strings.TrimSpace(doc.Reason) == "" {
		fault(".reason", "is missing; say why, for whoever reviews it")
	}
	r.exceptions = append(r.exceptions, e)
}

// maxException is how long an exception may go on before somebody looks at it again.
const maxException = 90 * 24 * time.Hour

// exceptedUntil is when an exception ends.
func (k Known) exceptedUntil(day string) (time.Time, error) {
	until, err := endOf(day)
	if err != nil {
		return time.Time{}, err
	}
	if latest := k.Now.Add(maxException).UTC(); !k.Now.IsZero() && until.AddDate(0, 0, -1).After(latest) {
		return time.Time{}, fmt.Errorf("%s is more than 90 days ahead; somebody should look at it again by %s", day, latest.Format(time.DateOnly))
	}
	return until, nil
}

// endOf is when a day ends, in UTC.
func endOf(day string) (time.Time, error) {
	t, err := time.Parse(time.DateOnly, day)
	if err != nil {
		return time.Time{}, fmt.Errorf("%.40q is no day; write it like \"2027-01-31\"", day)
	}
	return t.AddDate(0, 0, 1), nil
}

// excepted reports that a permission covers a finding.
func (r *Rule) excepted(f ImageFinding, at time.Time) bool {
	for _, e := range r.exceptions {
		if e.check == f.Check && at.Before(e.until) && (e.path == nil || f.Path != "" && e.path.match(f.Path)) {
			return true
		}
	}
	return false
}
