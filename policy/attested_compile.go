package policy

import (
	"fmt"
	"slices"
	"strings"
)

// compileAttested compiles the demands for attestations.
func compileAttested(pull *PullDocument, known Known, fault func(path, format string, args ...any)) []*requirement {
	var all []*requirement
	var compiler expressions
	for i, doc := range pull.Attested {
		here := func(path, format string, args ...any) {
			fault(fmt.Sprintf(".pull.attested[%d]%s", i, path), format, args...)
		}
		q := &requirement{AttestedDocument: doc, types: PredicateTypes(doc.Predicate)}
		q.kind = KindOf(q.types[0])
		q.compile(&compiler, known, here)
		if doc.PerPlatform && !pull.concernsIndex() {
			here(".per_platform", "leaves an index to nobody's word; add signed_by, or an attestation that is not per_platform")
		}
		all = append(all, q)
	}
	return all
}

// concernsIndex reports that something is demanded of an index as well.
func (d *PullDocument) concernsIndex() bool {
	return d.SignedBy != nil || slices.ContainsFunc(d.Attested, func(a AttestedDocument) bool { return !a.PerPlatform })
}

func (q *requirement) compile(compiler *expressions, known Known, fault func(path, format string, args ...any)) {
	if alias := KindOf(q.Predicate); alias != "" {
		fault(".predicate", "write the short name %s, which stands for every version of it", alias)
	} else if len(q.types) == 1 && q.types[0] == q.Predicate && (!predicateURI.MatchString(q.Predicate) || len(q.Predicate) > maxPredicateType) {
		fault(".predicate", "%.80q is none of %s, and no URI", q.Predicate, strings.Join(predicateAliases(), ", "))
	}
	if q.By == nil {
		q.By = &SignedBy{} // met by nobody
		fault(".by", "names nobody; write who must have attested it, as in signed_by")
	} else {
		compileSignedBy(".by", *q.By, known, fault)
		if q.By.MaxAge != 0 || q.By.TrustStatementTime {
			fault(".by", "max_age and trust_statement_time stand beside by, not in it")
		}
	}

	if q.MaxAge < 0 {
		fault(".max_age", "is negative")
	}
	if q.MaxDatabaseAge < 0 {
		fault(".max_database_age", "is negative")
	}
	if q.MaxDatabaseAge != 0 && q.kind != KindScan {
		fault(".max_database_age", "is for vuln alone")
	}
	if q.AdmitUncounted && q.kind != KindScan {
		fault(".admit_uncounted", "is for vuln alone")
	}
	if q.TrustStatementTime && (q.kind == KindTests || q.kind == "") {
		fault(".trust_statement_time", "%s attestations tell no time", q.Predicate)
	}
	q.compileLeniency(known, fault)
	q.compileExpressions(compiler, fault)
	q.compileProvenance(fault)
}

func (q *requirement) compileExpressions(compiler *expressions, fault func(path, format string, args ...any)) {
	var err error
	if q.Deny != "" {
		if q.deny, err = compiler.compile(q.Deny, q.kind, q.kind == KindScan); err != nil {
			fault(".deny", "%w", err)
		}
	}
	if q.Where != "" {
		if q.where, err = compiler.compile(q.Where, q.kind, false); err != nil {
			fault(".where", "%w", err)
		}
	}
}

// refCharacters are those of a pattern for refs: https://git-scm.com/docs/git-check-ref-format, without what nobody uses.
const refCharacters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-+@#=,%!*"

func (q *requirement) compileProvenance(fault func(path, format string, args ...any)) {
	for _, f := range []struct {
		key, field string
		want       []string
	}{
		{"builder", "builder", q.Builder}, {"source_repository", "source_repository", q.SourceRepository},
		{"ref", "ref", q.Ref}, {"workflow", "workflow", q.Workflow}, {"trigger", "trigger", q.Trigger},
	} {
		if f.want == nil {
			continue
		}
		if q.kind != KindProvenance {
			fault("."+f.key, "is for slsa-provenance alone")
		}
		if len(f.want) == 0 {
			fault("."+f.key, "accepts nothing; leave it out to accept everything")
		}
		accept, globs := func(value string) bool { return slices.Contains(f.want, value) }, []glob(nil)
		for i, want := range f.want {
			here := fmt.Sprintf(".%s[%d]", f.key, i)
			switch {
			case want == "":
				fault(here, "is empty, and would match what is not told")
			case f.key == "ref":
				g, err := compilePattern(want, refCharacters, "ref")
				if err != nil {
					fault(here, "%w", err)
				}
				globs = append(globs, g)
			case strings.ContainsAny(want, "*"):
				fault(here, "%.80q holds a star; it is compared as it is written, only ref takes patterns", want)
			case f.key == "source_repository" && strings.HasPrefix(want, "git+"):
				fault(here, "leave git+ out: %s", strings.TrimPrefix(want, "git+"))
			}
		}
		if f.key == "ref" {
			accept = func(value string) bool {
				return slices.ContainsFunc(globs, func(g glob) bool { return g.match(value) })
			}
		}
		q.provenance = append(q.provenance, provenanceMatch{field: f.field, accept: accept, want: f.want})
	}
}
