package predicate

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

const aStatement = `{"_type": "https://in-toto.io/Statement/v1", "predicate": {"a": [1, {"b": "}"}]} , "predicateType": "https://acme.dev/x",
	"subject": [{"name": "a", "digest": {"sha256": "aa", "sha512": "bb"}}, {"digest": {"sha1": "cc"}}]}`

func TestAStatementIsReadInAnyOrderOfItsKeys(t *testing.T) {
	got, err := ReadStatement([]byte(aStatement))
	want := Statement{
		PredicateType: "https://acme.dev/x", Predicate: []byte(`{"a": [1, {"b": "}"}]}`),
		Subjects: []map[string]string{{"sha256": "aa", "sha512": "bb"}, {"sha1": "cc"}},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	if _, err := ReadStatement([]byte(strings.Replace(aStatement, "/v1", "/v0.1", 1))); err != nil {
		t.Error(err)
	}
	// A predicate is found where it is, also in a payload of several buffers.
	long := strings.Replace(aStatement, `"predicateType"`, `"x": "`+strings.Repeat("y", 3*bufferSize)+`", "predicateType"`, 1)
	long = strings.Replace(long, `"predicate":`, strings.Repeat(" ", bufferSize+7)+`"predicate":`, 1)
	if got, err := ReadStatement([]byte(long)); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %.200q, %v", got.Predicate, err)
	}
}

func TestThreat061_StatementsOfAnotherFormAreRefused(t *testing.T) {
	for _, c := range [][2]string{
		{`"https://in-toto.io/Statement/v1"`, `"https://in-toto.io/Statement/v2"`},
		{`"https://in-toto.io/Statement/v1"`, `"https://in-toto.io/Statement/v1/"`},
		{`"https://in-toto.io/Statement/v1"`, `null`},
		{`"_type"`, `"type"`},
		{`"subject": [`, `"subject": null, "x": [`},
		{`"subject": [`, `"Subject": [`},
		{`"subject": [`, `"subject": [], "subject": [`},
		{`"predicateType": "https://acme.dev/x"`, `"predicateType": ""`},
		{`"predicateType": "https://acme.dev/x"`, `"predicateType": "https://acme.dev/x", "predicateType": "https://acme.dev/y"`},
		{`"predicateType": "https://acme.dev/x"`, `"x": 1`},
		{`"predicate": {`, `"predicate": null, "x": {`},
		{`"predicate": {`, `"predicate": {}, "predicate": {`},
		{`"predicate": {`, `"x": {`},
		{`"sha256": "aa"`, `"sha256": null`},
		{`"sha256": "aa"`, `"sha256": "aa", "sha256": "dd"`},
		{`{"sha256": "aa", "sha512": "bb"}`, `"sha256:aa"`},
		{`{"name": "a", "digest": {"sha256": "aa", "sha512": "bb"}}`, `{"name": "a"}`},
	} {
		if !strings.Contains(aStatement, c[0]) {
			t.Fatalf("%q is not there", c[0])
		}
		if got, err := ReadStatement([]byte(strings.Replace(aStatement, c[0], c[1], 1))); err == nil {
			t.Errorf("with %q: read as %+v", c[1], got)
		}
	}
}

func TestThreat062_SubjectsAreBounded(t *testing.T) {
	subjects := func(n int) []byte {
		return []byte(strings.Replace(aStatement, `{"digest": {"sha1": "cc"}}`, strings.TrimSuffix(strings.Repeat(`{"digest": {}},`, n-1), ","), 1))
	}
	digests := func(n int) []byte {
		var list []string
		for i := range n {
			list = append(list, fmt.Sprintf(`"%d": ""`, i))
		}
		return []byte(strings.Replace(aStatement, `"sha1": "cc"`, strings.Join(list, ","), 1))
	}
	for name, c := range map[string]struct{ atLimit, past []byte }{
		"subjects": {subjects(MaxSubjects), subjects(MaxSubjects + 1)},
		"digests":  {digests(MaxDigests), digests(MaxDigests + 1)},
	} {
		if _, err := ReadStatement(c.atLimit); err != nil {
			t.Errorf("%s at the limit: %v", name, err)
		}
		if _, err := ReadStatement(c.past); err == nil {
			t.Errorf("%s past the limit are read", name)
		}
	}
}
