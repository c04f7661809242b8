package predicate

import (
	"io"

	"github.com/sealgate/sealgate/policy"
)

// Harbor's report: https://github.com/goharbor/pluggable-scanner-spec/blob/master/api/spec/scanner-adapter-openapi-v1.2.yaml.
// A list of vulnerabilities that is not there is one that is empty; who made the report, when, and of what has to be told.
var (
	harborReport        = fieldsOf("generated_at!", "artifact!", "scanner!", "vulnerabilities")
	harborArtifact      = fieldsOf("digest!")
	harborScanner       = fieldsOf("name!", "version")
	harborVulnerability = fieldsOf("id!", "package!", "version", "fix_version", "severity!", "preferred_cvss")
	harborScores        = fieldsOf("score_v2", "score_v3")
)

// ReadHarbor reads the report of an adapter of Harbor's Pluggable Scanner API. It does not say how many packages were seen.
func ReadHarbor(r io.Reader) (Report, error) {
	s := newStream(r, MaxBytes)
	report := Report{}
	s.object(harborReport, func(key string) {
		switch key {
		case "generated_at":
			readMoment(s, key, &report.Finished)
			if s.err == nil && report.Finished.IsZero() {
				s.fail("generated_at is empty")
			}
		case "artifact":
			s.object(harborArtifact, func(string) { report.Manifest = s.required("artifact.digest") })
		case "scanner":
			s.object(harborScanner, func(key string) {
				if key == "name" {
					report.Scanner = s.required("scanner.name")
					return
				}
				report.Version = s.string()
			})
		case "vulnerabilities":
			if s.next() == 'n' {
				s.skip() // null: a list without an entry, as Go marshals it
				return
			}
			s.array(func() { addFinding(s, &report.Scan, readHarborVulnerability(s)) })
		}
	})
	if err := s.finish(); err != nil {
		return Report{}, err
	}
	return report, nil
}

func readHarborVulnerability(s *stream) (f policy.Finding) {
	s.object(harborVulnerability, func(key string) {
		switch key {
		case "id":
			f.ID = s.required(key)
		case "package":
			f.Package = s.required(key)
		case "version":
			f.Version = s.string()
		case "fix_version":
			f.FixedVersion = s.string()
		case "severity":
			f.Severity, _ = severityOf(s.required(key)) // Unknown and Negligible are words of Harbor's
		case "preferred_cvss":
			if s.next() == 'n' {
				s.skip()
				return
			}
			s.object(harborScores, func(string) {
				if s.next() == 'n' {
					s.skip()
					return
				}
				f.CVSS = max(f.CVSS, readScore(s))
			})
		}
	})
	f.Fix = policy.FixNone // there is no fix_version where there is none
	if f.FixedVersion != "" {
		f.Fix = policy.FixAvailable
	}
	return f
}
