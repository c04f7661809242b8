package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/sealgate/sealgate/policy"
)

var (
	aDigest   = regexp.MustCompile(`(sha256[:-])[0-9a-f]{12,64}`)
	aDecision = regexp.MustCompile(`\b01[0-9A-HJKMNP-TV-Z]{24}\b`)
	anAddress = regexp.MustCompile(`127\.0\.0\.1:[0-9]+`)
)

// alike takes out of a line what differs from one run to the next.
func alike(line string) string {
	line = aDigest.ReplaceAllString(line, "${1}DIGEST")
	line = aDecision.ReplaceAllString(line, "DECISION")
	return strings.TrimRight(anAddress.ReplaceAllString(line, "ADDRESS"), " \n")
}

// smallProgram stands for this program in the demo's images: a test's is large, and slow to compress.
func smallProgram(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "program")
	writeFile(t, program, "#!/bin/sh\necho sealgate\n")
	return program
}

func TestTheDemoTellsTheStoryOfTheREADME(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := runDemo(t.Context(), &out, "127.0.0.1:0", smallProgram(t), true); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	readme, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, block, ok := strings.Cut(string(readme), "$ sealgate demo --once\n")
	block, _, closed := strings.Cut(block, "```")
	if !ok || !closed {
		t.Fatal("the README shows no demo")
	}

	told := strings.Split(out.String(), "\n")
	for line := range strings.Lines(block) {
		want := alike(line)
		for len(told) > 0 && alike(told[0]) != want {
			told = told[1:]
		}
		if len(told) == 0 {
			t.Fatalf("the README has a line that the demo does not print, or not there:\n%s\nthe demo prints:\n%s", want, &out)
		}
		told = told[1:]
	}
}

func TestTheConfigurationOfTheREADMELoads(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, block, ok := strings.Cut(string(readme), "```yaml\n")
	block, _, closed := strings.Cut(block, "```")
	if !ok || !closed {
		t.Fatal("the README shows no configuration")
	}
	l, err := loadText(t, block)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := policy.Compile(l.Config.Policies, policy.Known{
		Authorities: map[string]string{"gateway": "1", "release": "2"}, Signers: map[string]string{"gateway": "1"},
	}); err != nil {
		t.Error(err)
	}
}

func TestTheDemoLeavesNothingBehind(t *testing.T) {
	program := smallProgram(t)
	t.Setenv("TMPDIR", t.TempDir())
	if err := runDemo(t.Context(), new(bytes.Buffer), "127.0.0.1:0", program, true); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(os.Getenv("TMPDIR"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
