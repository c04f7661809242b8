package osv

import (
	"fmt"

	"github.com/google/osv-scalibr/semantic"
	"github.com/sealgate/sealgate/policy"
)

// version is a version that is compared with others by its ecosystem's rules.
type version struct {
	text      string
	ecosystem string
	semver    bool // compared by semantic versioning, whatever the ecosystem's rules are

	parsed semantic.Version
	err    error // why it is none
}

func versionOf(text, ecosystem string, semver bool) *version {
	v := &version{text: text, ecosystem: ecosystem, semver: semver}
	if len(text) > maxText {
		v.err = fmt.Errorf("a version of more than %d bytes", maxText)
		return v
	}
	defer v.recovered()
	if semver {
		v.parsed = semantic.ParseSemverVersion(text)
		return v
	}
	v.parsed, v.err = semantic.Parse(text, ecosystem)
	return v
}

// compare says whether v is before another (-1), the same or after it (1).
func (v *version) compare(other string) (c int, err error) {
	defer func() {
		if v.recovered(); v.err != nil {
			err = fmt.Errorf("compare %s with %s: %w", policy.Printable(v.text), policy.Printable(other), v.err)
		}
	}()
	if v.err != nil {
		return 0, v.err
	}
	return v.parsed.CompareStr(other)
}

// recovered makes an error of a panic: the rules of some ecosystems are intricate, and the text is anybody's.
func (v *version) recovered() {
	if p := recover(); p != nil {
		v.err = fmt.Errorf("panic: %v", p)
	}
}

// has evaluates a range: https://ossf.github.io/osv-schema/#evaluation. Its events need not be in order, so what counts is
// the latest introduction that is not above the version, and the latest end before it.
func (s span) has(v *version) (bool, error) {
	var introduced, ended string
	limited, within := false, false
	for _, e := range s {
		at := e.version()
		switch {
		case e.Introduced == "0":
			if introduced == "" {
				introduced = "0"
			}
			continue
		case e.Limit == "*" || at == "":
			continue
		}
		c, err := v.compare(at)
		if err != nil {
			return false, err
		}
		switch {
		case e.Introduced != "" && c >= 0:
			introduced, err = later(v, introduced, at)
		case e.Fixed != "" && c >= 0, e.Last != "" && c > 0:
			ended, err = later(v, ended, at)
		case e.Limit != "":
			limited, within = true, within || c < 0
		}
		if err != nil {
			return false, err
		}
	}
	if introduced == "" || limited && !within {
		return false, nil
	}
	if ended == "" {
		return true, nil
	}
	last, err := later(v, ended, introduced) // of two at one version, the end
	return err == nil && last != ended, err
}

// later is the later of two versions, and the first where they are the same. Any is later than none or "0".
func later(like *version, a, b string) (string, error) {
	switch {
	case a == "" || a == "0":
		return b, nil
	case b == "" || b == "0":
		return a, nil
	}
	c, err := versionOf(a, like.ecosystem, like.semver).compare(b)
	if c >= 0 || err != nil {
		return a, err
	}
	return b, nil
}
