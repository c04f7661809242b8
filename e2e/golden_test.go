package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// What a person reads is part of the product. Golden files keep it, with what differs from run to run replaced by words.

var normalisers = []struct {
	pattern *regexp.Regexp
	word    string
}{
	{regexp.MustCompile(`\x1b\[[0-9;?]*[a-zA-Z]`), ""},
	{regexp.MustCompile(`sha256:[0-9a-f]{6,64}`), "sha256:DIGEST"},
	{regexp.MustCompile(`\b[0-9a-f]{64}\b`), "HEX"},
	{regexp.MustCompile(`\b01[0-9A-HJKMNP-TV-Z]{24}\b`), "DECISION"},
	{regexp.MustCompile(`\b127\.0\.0\.1:[0-9]+`), "HOST"},
	{regexp.MustCompile(`[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+(Z|[+-][0-9:]+)`), "TIME"},
	{regexp.MustCompile(`[0-9]{4}/[0-9]{2}/[0-9]{2} [0-9:]{8}`), "TIME"},
	{regexp.MustCompile(`\b([IWEF])[0-9]{4} [0-9:.]{15} +[0-9]+ [a-z_]+\.go:[0-9]+\]`), "$1 TIME]"},
	{regexp.MustCompile(`\b(FATA|WARN|ERRO|INFO)\[[0-9]+\]`), "$1[TIME]"},
}

// progress matches the lines that come and go with the speed of the machine, and in any order.
var progress = regexp.MustCompile(`^([0-9a-f]{12}: ` + // docker
	`|(Copying|Copied|Exists|Skipped|Mounted) +[0-9a-f]{12} ` + // oras
	`|TIME (pushed|existing|mounted) blob: ` + // crane
	`|(Getting image source|Storing) signatures|Copying (blob|config) |Writing manifest to |Trying to pull ` + // skopeo and its kin
	`|\S+: +[a-z ]+ \||elapsed: )`) // ctr, which goes on drawing when it has failed

func normalise(s string) string {
	s = strings.ReplaceAll(s, "\r", "\n")
	for _, n := range normalisers {
		s = n.pattern.ReplaceAllString(s, n.word)
	}
	s = strings.ReplaceAll(s, suite.dir, "DIR")
	var lines []string
	for line := range strings.Lines(s) {
		if line = strings.TrimRight(line, " \t\n"); line != "" && !progress.MatchString(line) {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n") + "\n"
}

// golden compares what a client printed with its golden file.
func golden(t *testing.T, client, story, printed string) {
	t.Helper()
	path := filepath.Join("testdata", "golden", client+"-"+story+".txt")
	got := normalise(printed)
	if *update {
		writeFile(t, path, []byte(got), 0o644)
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; run go test ./e2e -update. It would hold:\n%s", err, got)
	}
	if got != string(want) {
		t.Errorf("%s prints\n%s\nwant, as %s has it,\n%s", client, got, path, want)
	}
}
