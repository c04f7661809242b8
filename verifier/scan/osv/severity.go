package osv

import (
	"encoding/json"
	"strings"

	cvss20 "github.com/pandatix/go-cvss/20"
	cvss30 "github.com/pandatix/go-cvss/30"
	cvss31 "github.com/pandatix/go-cvss/31"
	cvss40 "github.com/pandatix/go-cvss/40"
	"github.com/sealgate/sealgate/policy"
)

// rate says how severe a record is for a package: by the highest base score that is given, and where none is by the word
// that the database has for it.
func rate(r *record, a affected) (policy.Severity, float64) {
	given := a.Severity
	if len(given) == 0 {
		given = r.Severity
	}
	score, scored := 0.0, false
	for _, s := range given {
		if base, ok := baseScore(s.Score); ok {
			score, scored = max(score, base), true
		}
	}
	if scored {
		return bandOf(score), score
	}
	for _, s := range given {
		if word := wordOf(s.Score); word != policy.Unknown {
			return word, 0
		}
	}
	for _, raw := range []json.RawMessage{a.EcosystemSpecific.Severity, a.DatabaseSpecific.Severity, r.Specific.Severity,
		a.EcosystemSpecific.Urgency, a.DatabaseSpecific.Urgency} {
		var text string
		if json.Unmarshal(raw, &text) != nil { // some have a list there, or nothing
			continue
		}
		if word := wordOf(text); word != policy.Unknown {
			return word, 0
		}
	}
	return policy.Unknown, 0
}

// baseScore is a CVSS vector's base score.
func baseScore(vector string) (float64, bool) {
	switch {
	case strings.HasPrefix(vector, "CVSS:3.1/"):
		v, err := cvss31.ParseVector(vector)
		if err != nil {
			return 0, false
		}
		return v.BaseScore(), true
	case strings.HasPrefix(vector, "CVSS:3.0/"):
		v, err := cvss30.ParseVector(vector)
		if err != nil {
			return 0, false
		}
		return v.BaseScore(), true
	case strings.HasPrefix(vector, "CVSS:4.0/"):
		v, err := cvss40.ParseVector(vector)
		if err != nil {
			return 0, false
		}
		return v.Score(), true
	case strings.HasPrefix(vector, "AV:"):
		v, err := cvss20.ParseVector(vector)
		if err != nil {
			return 0, false
		}
		return v.BaseScore(), true
	}
	return 0, false
}

// wordOf reads a severity in the words of GitHub, Ubuntu, Debian, Red Hat and SUSE.
func wordOf(text string) policy.Severity {
	switch strings.ToLower(text) {
	case "critical":
		return policy.Critical
	case "high", "important":
		return policy.High
	case "medium", "moderate":
		return policy.Medium
	case "low", "minor":
		return policy.Low
	case "negligible", "unimportant":
		return policy.Low
	case "none":
		return policy.None
	}
	return policy.Unknown
}

// bandOf is the word for a score: https://www.first.org/cvss/v4.0/specification-document#Qualitative-Severity-Rating-Scale
func bandOf(score float64) policy.Severity {
	switch {
	case score <= 0:
		return policy.None
	case score < 4:
		return policy.Low
	case score < 7:
		return policy.Medium
	case score < 9:
		return policy.High
	}
	return policy.Critical
}
