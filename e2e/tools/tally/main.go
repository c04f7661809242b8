// Tally reads what `go test -json` prints, mixed with whatever else the build says, and prints it for a person: other
// lines as they are, go test's own summary of each package, and the full output of tests that failed or were skipped. Its
// last line counts:
//
//	412 passed, 0 failed, 0 skipped
//
// It exits with 1 when anything failed, when anything was skipped, and when nothing ran at all: a test that nobody runs
// protects nothing.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
)

func main() {
	counts, err := tally(os.Stdin, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "tally:", err)
		os.Exit(1)
	}
	fmt.Println(counts)
	if !counts.good() {
		os.Exit(1)
	}
}

// counts are of tests, subtests among them, and of packages that failed outside of any test.
type counts struct{ passed, failed, skipped int }

func (c counts) String() string {
	return fmt.Sprintf("%d passed, %d failed, %d skipped", c.passed, c.failed, c.skipped)
}

func (c counts) good() bool { return c.passed > 0 && c.failed == 0 && c.skipped == 0 }

// event is a line of `go test -json`; see `go doc test2json`.
type event struct {
	Action     string
	Package    string
	ImportPath string // of a build that failed
	Test       string
	Output     string
}

func (e event) name() string { return e.Package + "." + e.Test }

// maxOutput bounds what is kept of one test until its outcome is known, in bytes. The end says most.
const maxOutput = 256 << 10

func tally(in io.Reader, out io.Writer) (counts, error) {
	var c counts
	kept := map[string]string{} // output of tests that are running
	unwell := map[string]bool{} // packages with a failed test
	lines := bufio.NewReaderSize(in, 64<<10)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			var e event
			if !strings.HasPrefix(line, "{") || json.Unmarshal([]byte(line), &e) != nil || e.Action == "" {
				fmt.Fprint(out, line)
			} else {
				c.take(e, kept, unwell, out)
			}
		}
		if err == io.EOF {
			return c, nil
		}
		if err != nil {
			return c, fmt.Errorf("read test output: %w", err)
		}
	}
}

func (c *counts) take(e event, kept map[string]string, unwell map[string]bool, out io.Writer) {
	switch {
	case e.Action == "build-output":
		fmt.Fprint(out, e.Output)
	case e.Action == "output" && e.Test == "":
		if e.Output != "PASS\n" && e.Output != "FAIL\n" {
			fmt.Fprint(out, e.Output)
		}
	case e.Action == "output":
		text := kept[e.name()] + e.Output
		kept[e.name()] = text[max(0, len(text)-maxOutput):]
	case e.Action == "pass" && e.Test != "":
		c.passed++
		delete(kept, e.name())
	case e.Action == "skip" && e.Test != "":
		c.skipped++
		fmt.Fprint(out, kept[e.name()])
		delete(kept, e.name())
	case e.Action == "fail" && e.Test != "":
		c.failed++
		unwell[e.Package] = true
		fmt.Fprint(out, kept[e.name()])
		delete(kept, e.name())
	case e.Action == "fail" && !unwell[e.Package]:
		c.failed++ // it does not build, or it died between tests
		for name, text := range kept {
			if strings.HasPrefix(name, e.Package+".") {
				fmt.Fprint(out, text)
			}
		}
	}
}
