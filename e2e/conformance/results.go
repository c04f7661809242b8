package main

import (
	"encoding/xml"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// minTests is how many tests the program has at least. With a configuration that it does not understand it runs none, and
// ends well.
const minTests = 800

// results are what the conformance program found out about one registry.
type results struct {
	Tests  int    `xml:"tests,attr"`
	Failed int    `xml:"failures,attr"`
	Cases  []test `xml:"testsuite>testcase"`
}

type test struct {
	Name   string `xml:"name,attr"`
	Status string `xml:"status,attr"` // passed, failure, skipped, disabled
}

func readResults(directory string) (*results, error) {
	raw, err := os.ReadFile(filepath.Join(directory, "junit.xml"))
	if err != nil {
		return nil, fmt.Errorf("read results: %w", err)
	}
	var r results
	if err := xml.Unmarshal(raw, &r); err != nil {
		return nil, fmt.Errorf("read results: %w", err)
	}
	if r.Tests < minTests {
		return nil, fmt.Errorf("read results: %d tests ran, expected at least %d", r.Tests, minTests)
	}
	return &r, nil
}

// passes counts the tests that passed, by name. One name can stand for several: there is one "manifest-by-digest" for each
// image of a set, in an order that changes.
func (r *results) passes() map[string]int {
	passes := map[string]int{}
	for _, c := range r.Cases {
		if c.Status == "passed" {
			passes[c.Name]++
		}
	}
	return passes
}

// lost lists what passes in before and not in after, with how many of how many.
func lost(before, after *results) []string {
	var names []string
	still := after.passes()
	for name, n := range before.passes() {
		if still[name] < n {
			names = append(names, fmt.Sprintf("%s: %d of %d pass", name, still[name], n))
		}
	}
	slices.Sort(names)
	return names
}
