package predicate

import (
	"bytes"

	"slices"
)

// Bounds of a statement.
const (
	MaxSubjects = 1024 // of one statement
	MaxDigests  = 32   // of one subject
)

// StatementTypes are the versions of in-toto's statement that are read.
var StatementTypes = [...]string{"https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1"}

// Statement is what an attestation says: that a predicate is true of its subjects.
// https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md
type Statement struct {
	PredicateType string
	Subjects      []map[string]string // their digests, by algorithm; names mean nothing
	Predicate     []byte              // a part of the payload, valid JSON
}

var (
	statementFields = fieldsOf("_type!", "subject!", "predicateType!", "predicate!")
	subjectFields   = fieldsOf("name", "digest!")
)

// ReadStatement reads the payload of an envelope. The predicate is left as it is: see [Read].
func ReadStatement(payload []byte) (Statement, error) {
	st := Statement{}
	s := newStream(bytes.NewReader(payload), int64(len(payload)))
	s.object(statementFields, func(key string) {
		switch key {
		case "_type":
			if version := s.string(); !slices.Contains(StatementTypes[:], version) {
				s.fail("a statement of type %.80q", version)
			}
		case "predicateType":
			st.PredicateType = s.required(key)
		case "subject":
			s.array(func() { st.readSubject(s) })
		case "predicate":
			if c := s.next(); c == 'n' {
				s.wrongType("a predicate", c)
				return
			}
			from := s.offset()
			s.skip()
			st.Predicate = payload[from:max(from, s.offset())]
		}
	})
	if err := s.finish(); err != nil {
		return Statement{}, err
	}
	return st, nil
}

func (st *Statement) readSubject(s *stream) {
	digests := map[string]string{}
	s.object(subjectFields, func(key string) {
		if key == "name" {
			s.skip()
			return
		}
		s.entriesOf(func(algorithm string) {
			if _, twice := digests[algorithm]; twice || len(digests) == MaxDigests {
				s.fail("a subject with a digest twice, or with more than %d", MaxDigests)
				return
			}
			digests[algorithm] = s.string()
		})
	})
	if len(st.Subjects) == MaxSubjects {
		s.fail("more than %d subjects", MaxSubjects)
		return
	}
	st.Subjects = append(st.Subjects, digests)
}
