package predicate

import (
	"io"
	"slices"

	"github.com/sealgate/sealgate/policy"
)

// Format is the layout of a scanner's report.
type Format string

// The formats.
const (
	Trivy Format = "trivy"
	Grype Format = "grype"
	SARIF Format = "sarif"
)

// Report is the report of a scanner as it comes.
type Report struct {
	policy.Scan

	Format Format

	// Manifest and Config are the digests of the image that the scanner says it looked at. Trivy names the configuration,
	// Grype both, SARIF none; what is not told is empty.
	Manifest, Config string

	// Listed are the package URLs of the packages that the report lists, vulnerable or not, as Trivy's does; nil where it
	// lists none.
	Listed []string
}

// ReadReport reads the report of a scanner as it comes: Trivy's JSON, Grype's JSON, or SARIF. Which of them it is, is told
// by the one key that each has to have.
func ReadReport(r io.Reader) (Report, error) {
	s := newStream(r, MaxBytes)
	report := Report{}
	report.Format = readReport(s, &report.Scan, &report)
	if err := s.finish(); err != nil {
		return Report{}, err
	}
	return report, nil
}

var (
	reportFields = fieldsOf(
		"SchemaVersion", "Trivy", "CreatedAt", "Results", "Metadata", // Trivy
		"matches", "descriptor", "source", // Grype
		"version", "runs", // SARIF
	)
	trivySelf     = fieldsOf("Version")
	trivyMetadata = fieldsOf("ImageID")
	grypeSource   = fieldsOf("target")
	grypeTarget   = fieldsOf("manifestDigest", "imageID")
)

// readReport reads findings into scan, and what the report says of its image into about, where that is asked for.
func readReport(s *stream, scan *policy.Scan, about *Report) Format {
	trivy, grype, sarif := false, false, false
	s.object(reportFields, func(key string) {
		switch key {
		case "SchemaVersion":
			if trivy = true; s.number() != 2 && s.err == nil {
				s.fail("a Trivy report of a schema other than 2")
			}
		case "Trivy":
			s.object(trivySelf, func(string) { scan.Version = s.string() })
		case "CreatedAt":
			readMoment(s, key, &scan.Finished)
		case "Metadata", "source":
			readSource(s, key, about)
		case "Results":
			readTrivyResults(s, scan, about)
		case "matches":
			grype = true
			readGrypeMatches(s, scan)
		case "descriptor":
			readGrypeDescriptor(s, scan)
		case "version":
			s.skip()
		case "runs":
			sarif = true
			readRuns(s, scan)
		}
	})
	switch {
	case trivy && grype, trivy && sarif, grype && sarif:
		s.fail("%w", errTwoReports)
	case !trivy && !grype && !sarif:
		s.fail("%w", errNoReport)
	case trivy:
		return Trivy
	case grype:
		return Grype
	}
	return SARIF
}

// readSource reads which image a report is about, where that is asked for.
func readSource(s *stream, key string, about *Report) {
	switch {
	case about == nil:
		s.skip()
	case key == "Metadata":
		s.object(trivyMetadata, func(string) { about.Config = s.string() })
	default:
		s.object(grypeSource, func(string) {
			if s.next() != '{' { // the name of a directory or a file
				s.skip()
				return
			}
			s.object(grypeTarget, func(key string) {
				if key == "manifestDigest" {
					about.Manifest = s.string()
					return
				}
				about.Config = s.string()
			})
		})
	}
}

// Trivy's JSON, schema version 2: pkg/types of the trivy repository. Lists that are empty are left out there: that a list
// is absent means that it was empty or not asked for, and packages count only where they are listed.
var (
	trivyResult        = fieldsOf("Packages", "Vulnerabilities")
	trivyVulnerability = fieldsOf(
		"VulnerabilityID!", "PkgName!", "InstalledVersion", "FixedVersion", "Severity!", "PkgIdentifier", "CVSS", "PublishedDate", "VendorIDs",
	)
	trivyPackage    = fieldsOf("Identifier")
	trivyIdentifier = fieldsOf("PURL")
	trivyScores     = fieldsOf("V2Score", "V3Score", "V40Score")
)

func readTrivyResults(s *stream, scan *policy.Scan, about *Report) {
	s.array(func() {
		s.object(trivyResult, func(key string) {
			switch key {
			case "Packages":
				scan.Counted = true
				if about == nil {
					scan.Packages += s.count()
					return
				}
				s.array(func() {
					scan.Packages++
					if purl := readTrivyPackage(s); purl != "" {
						about.Listed = append(about.Listed, purl)
					}
				})
			case "Vulnerabilities":
				s.array(func() { addFinding(s, scan, readTrivyVulnerability(s)) })
			}
		})
	})
}

func readTrivyPackage(s *stream) (purl string) {
	s.object(trivyPackage, func(string) {
		s.object(trivyIdentifier, func(string) { purl = s.string() })
	})
	return purl
}

func readTrivyVulnerability(s *stream) (f policy.Finding) {
	s.object(trivyVulnerability, func(key string) {
		switch key {
		case "VulnerabilityID":
			f.ID = s.required(key)
		case "PkgName":
			f.Package = s.required(key)
		case "InstalledVersion":
			f.Version = s.string()
		case "FixedVersion":
			f.FixedVersion = s.string()
		case "Severity":
			f.Severity, _ = severityOf(s.required(key)) // UNKNOWN is a word of Trivy's
		case "PublishedDate":
			readMoment(s, key, &f.Published)
		case "VendorIDs": // such as GHSA-..., or DSA-... of which others may be a part as well
			s.array(func() { addAlias(s, &f, s.required(key)) })
		case "PkgIdentifier":
			s.object(trivyIdentifier, func(string) { f.PURL = s.string() })
		case "CVSS":
			s.entries(func() {
				s.object(trivyScores, func(string) { f.CVSS = max(f.CVSS, readScore(s)) })
			})
		}
	})
	f.Fix = policy.FixNone // Trivy writes no FixedVersion where there is none
	if f.FixedVersion != "" {
		f.Fix = policy.FixAvailable
	}
	return f
}

func readScore(s *stream) float64 {
	score := s.number()
	if score < 0 || score > 10 {
		s.fail("a CVSS score of %v", score)
	}
	return score
}

// Grype's JSON: grype/presenter/models of the grype repository.
var (
	grypeMatch         = fieldsOf("vulnerability!", "relatedVulnerabilities", "artifact!")
	grypeVulnerability = fieldsOf("id!", "severity!", "fix", "cvss", "epss", "knownExploited")
	grypeRelated       = fieldsOf("id!")
	grypeEPSS          = fieldsOf("epss!")
	grypeFix           = fieldsOf("versions", "state!")
	grypeScore         = fieldsOf("metrics")
	grypeMetrics       = fieldsOf("baseScore")
	grypeArtifact      = fieldsOf("name!", "version", "purl")
	grypeDescriptor    = fieldsOf("name", "version", "timestamp", "db")
	grypeDatabase      = fieldsOf("built", "status")
	grypeStatus        = fieldsOf("built")
)

func readGrypeMatches(s *stream, scan *policy.Scan) {
	s.array(func() {
		f := policy.Finding{}
		s.object(grypeMatch, func(key string) {
			switch key {
			case "vulnerability":
				s.object(grypeVulnerability, func(key string) { readGrypeVulnerability(s, key, &f) })
			case "relatedVulnerabilities":
				s.array(func() {
					s.object(grypeRelated, func(string) { addAlias(s, &f, s.required("relatedVulnerabilities.id")) })
				})
			case "artifact":
				s.object(grypeArtifact, func(key string) {
					switch key {
					case "name":
						f.Package = s.required("artifact.name")
					case "version":
						f.Version = s.string()
					case "purl":
						f.PURL = s.string()
					}
				})
			}
		})
		addFinding(s, scan, f)
	})
}

func readGrypeVulnerability(s *stream, key string, f *policy.Finding) {
	switch key {
	case "id":
		f.ID = s.required(key)
	case "severity":
		f.Severity, _ = severityOf(s.required(key)) // Unknown is a word of Grype's
	case "fix":
		s.object(grypeFix, func(key string) {
			switch key {
			case "versions":
				s.array(func() {
					if version := s.string(); f.FixedVersion == "" {
						f.FixedVersion = version
					}
				})
			case "state":
				switch state := s.string(); state {
				case "fixed":
					f.Fix = policy.FixAvailable
				case "not-fixed", "wont-fix", "unknown":
					f.Fix = policy.FixNone
				}
			}
		})
		if f.FixedVersion != "" {
			f.Fix = policy.FixAvailable
		}
	case "cvss":
		s.array(func() {
			s.object(grypeScore, func(string) {
				s.object(grypeMetrics, func(string) { f.CVSS = max(f.CVSS, readScore(s)) })
			})
		})
	case "epss":
		s.array(func() {
			s.object(grypeEPSS, func(string) { f.EPSS = max(f.EPSS, readProbability(s)) })
		})
	case "knownExploited":
		f.KnownExploited = s.count() > 0
	}
}

func readProbability(s *stream) float64 {
	p := s.number()
	if p < 0 || p > 1 {
		s.fail("a probability of %v", p)
	}
	return p
}

func addAlias(s *stream, f *policy.Finding, alias string) {
	switch {
	case alias == f.ID || slices.Contains(f.Aliases, alias):
	case len(f.Aliases) == maxAliases:
		s.fail("more than %d names of one vulnerability", maxAliases)
	default:
		f.Aliases = append(f.Aliases, alias)
	}
}

// readGrypeDescriptor reads when the database was built: descriptor.db.status.built, or descriptor.db.built before v0.88.
func readGrypeDescriptor(s *stream, scan *policy.Scan) {
	s.object(grypeDescriptor, func(key string) {
		switch key {
		case "timestamp":
			readMoment(s, key, &scan.Finished)
			return
		case "name":
			scan.Scanner = s.string()
			return
		case "version":
			scan.Version = s.string()
			return
		}
		s.object(grypeDatabase, func(key string) {
			if key == "built" {
				readMoment(s, key, &scan.Database)
				return
			}
			s.object(grypeStatus, func(key string) { readMoment(s, key, &scan.Database) })
		})
	})
}
