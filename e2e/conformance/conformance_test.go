package main

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// The gateway keeps all of the OCI distribution API that the registry behind it has.
func TestConformance(t *testing.T) {
	var table strings.Builder
	err := run(t.Context(), t.TempDir(), &table)
	t.Logf("\n%s", &table)
	if err != nil {
		t.Error(err)
	}
}

func TestLostCountsTestsOfOneNameTogether(t *testing.T) {
	before := resultsOf("ping passed", "push passed", "push passed", "push failure", "tags skipped")
	for name, c := range map[string]struct {
		after *results
		want  []string
	}{
		"the same":                {before, nil},
		"in another order":        {resultsOf("push failure", "push passed", "tags skipped", "ping passed", "push passed"), nil},
		"more passes":             {resultsOf("ping passed", "push passed", "push passed", "push passed", "tags passed"), nil},
		"one of one name fails":   {resultsOf("ping passed", "push passed", "push failure", "push failure"), []string{"push: 1 of 2 pass"}},
		"one is skipped":          {resultsOf("ping skipped", "push passed", "push passed"), []string{"ping: 0 of 1 pass"}},
		"what passed did not run": {resultsOf("push passed", "push passed"), []string{"ping: 0 of 1 pass"}},
		"another pass is no pass": {resultsOf("pong passed", "push passed", "push passed"), []string{"ping: 0 of 1 pass"}},
	} {
		if got := lost(before, c.after); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

func TestResultsOfARunThatTestedNothingAreAnError(t *testing.T) {
	for name, text := range map[string]string{
		"no tests":  `<testsuites tests="0"></testsuites>`,
		"cut short": `<testsuites tests="900" failures="1">`,
		"empty":     ``,
	} {
		directory := t.TempDir()
		if err := os.WriteFile(filepath.Join(directory, "junit.xml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if r, err := readResults(directory); err == nil {
			t.Errorf("%s: got %+v, want an error", name, r)
		}
	}
	if r, err := readResults(t.TempDir()); err == nil {
		t.Errorf("no file: got %+v, want an error", r)
	}
}

// resultsOf makes results from lines of name and status.
func resultsOf(lines ...string) *results {
	r := &results{}
	for _, line := range lines {
		name, status, _ := strings.Cut(line, " ")
		r.Cases = append(r.Cases, test{name, status})
	}
	return r
}
