package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/sealgate/sealgate/verifier/scan"
	"github.com/sealgate/sealgate/verifier/scan/inventory"
)

func TestMain(m *testing.M) {
	scan.ServeChild() // children are this very program
	inventory.ServeChild()
	testscript.Main(m, map[string]func(){"sealgate": main})
}

// The scripts run the command line as people do. They know these words besides testscript's own:
//
//	key FILE                      write an encrypted key, and its password to gateway.password beside it
//	push CONFIG REF USER          start the gateway, push an image with that user, stop the gateway
//	code N sealgate ARGS...       run and want that exit code
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Values["t"] = env.T()
			env.Setenv("GORACE", "atexit_sleep_ms=0") // a program under the race detector ends with a second of sleep otherwise
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"key": func(ts *testscript.TestScript, _ bool, args []string) {
				key, err := encryptedKey()
				ts.Check(err)
				ts.Check(os.MkdirAll(filepath.Dir(ts.MkAbs(args[0])), 0o700))
				ts.Check(os.WriteFile(ts.MkAbs(args[0]), key, 0o600))
				ts.Check(os.WriteFile(filepath.Join(filepath.Dir(ts.MkAbs(args[0])), defaultPasswordFile), []byte(testPassword), 0o600))
			},
			"code": func(ts *testscript.TestScript, _ bool, args []string) {
				err := ts.Exec(args[1], args[2:]...)
				got := "0"
				if err != nil {
					got = strings.TrimPrefix(err.Error(), "exit status ")
				}
				if got != args[0] {
					ts.Fatalf("%s ends with %s, want %s", strings.Join(args[1:], " "), got, args[0])
				}
			},
			"push": scriptPush,
		},
	})
}

func scriptPush(ts *testscript.TestScript, refused bool, args []string) {
	t := ts.Value("t").(testing.TB)
	r := startForTest(t, ts.MkAbs(args[0]))
	err := remote.Write(r.at(t, args[1]), newImage(t, args[2]))
	ts.Check(r.stop())
	if (err != nil) != refused {
		ts.Fatalf("push %s: %v", args[1], err)
	}
}
