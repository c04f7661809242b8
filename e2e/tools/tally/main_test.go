package main

import (
	"strings"
	"testing"
)

func TestTally(t *testing.T) {
	const passed = `{"Action":"output","Package":"p","Test":"TestA","Output":"--- PASS: TestA (0.00s)\n"}
{"Action":"pass","Package":"p","Test":"TestA","Elapsed":0}
{"Action":"output","Package":"p","Output":"PASS\n"}
{"Action":"output","Package":"p","Output":"ok  \tp\t0.012s\n"}
{"Action":"pass","Package":"p","Elapsed":0.012}
`
	cases := []struct {
		name, in string
		want     string // the last line
		good     bool
		prints   []string
		hides    []string
	}{
		{
			name: "a package that passes shows its summary only", in: "building\n" + passed,
			want: "1 passed, 0 failed, 0 skipped", good: true,
			prints: []string{"building\n", "ok  \tp\t0.012s\n"}, hides: []string{"TestA", "PASS"},
		},
		{
			name: "a failed test shows what it printed",
			in: passed + `{"Action":"output","Package":"q","Test":"TestB","Output":"    q_test.go:7: got 1, want 2\n"}
{"Action":"fail","Package":"q","Test":"TestB"}
{"Action":"output","Package":"q","Output":"FAIL\tq\t0.1s\n"}
{"Action":"fail","Package":"q"}
`,
			want: "1 passed, 1 failed, 0 skipped", prints: []string{"got 1, want 2", "FAIL\tq\t0.1s"},
		},
		{
			name: "a skipped test is not good",
			in: passed + `{"Action":"output","Package":"q","Test":"TestC","Output":"--- SKIP: TestC\n"}
{"Action":"skip","Package":"q","Test":"TestC"}
`,
			want: "1 passed, 0 failed, 1 skipped", prints: []string{"--- SKIP: TestC"},
		},
		{
			name: "a package without test files is not a skipped test",
			in: passed + `{"Action":"output","Package":"q","Output":"?   \tq\t[no test files]\n"}
{"Action":"skip","Package":"q"}
`,
			want: "1 passed, 0 failed, 0 skipped", good: true,
		},
		{
			name: "a package that does not build counts as failed",
			in: passed + `{"ImportPath":"q","Action":"build-output","Output":"q.go:3:1: syntax error\n"}
{"ImportPath":"q","Action":"build-fail"}
{"Action":"output","Package":"q","Output":"FAIL\tq [build failed]\n"}
{"Action":"fail","Package":"q","FailedBuild":"q"}
`,
			want: "1 passed, 1 failed, 0 skipped", prints: []string{"syntax error", "[build failed]"},
		},
		{
			name: "a package that dies shows the test that ran",
			in: passed + `{"Action":"output","Package":"q","Test":"TestD","Output":"panic: test timed out\n"}
{"Action":"fail","Package":"q"}
`,
			want: "1 passed, 1 failed, 0 skipped", prints: []string{"panic: test timed out"},
		},
		{name: "nothing ran", in: "make: nothing to do\n", want: "0 passed, 0 failed, 0 skipped"},
		{name: "a last line without its end", in: passed + "make: *** [test] Error 1", want: "1 passed, 0 failed, 0 skipped", good: true, prints: []string{"Error 1"}},
		{name: "another program's JSON passes through", in: `{"level":"info"}` + "\n" + passed, want: "1 passed, 0 failed, 0 skipped", good: true, prints: []string{`{"level":"info"}`}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var out strings.Builder
			got, err := tally(strings.NewReader(c.in), &out)
			if err != nil {
				t.Fatal(err)
			}
			if got.String() != c.want || got.good() != c.good {
				t.Errorf("got %q, good %v, want %q, good %v", got, got.good(), c.want, c.good)
			}
			for _, text := range c.prints {
				if !strings.Contains(out.String(), text) {
					t.Errorf("printed %q, which lacks %q", out.String(), text)
				}
			}
			for _, text := range c.hides {
				if strings.Contains(out.String(), text) {
					t.Errorf("printed %q, which has %q", out.String(), text)
				}
			}
		})
	}
}
