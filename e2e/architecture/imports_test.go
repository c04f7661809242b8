// Package architecture guards what the compiler does not: which package may know which, what is imported at all, and what
// lies at the top of the tree.
package architecture

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/sealgate/sealgate/"

// may lists, for each package, which of our packages its own code may import; "*" is any. Facts do not know judgement,
// judgement knows nobody, and only the command knows all.
//
//	          cmd/sealgate
//	   ______/  |   |   \_________________
//	  v         v   v                     v
//	gateway  verifier signer   gateway/upstream, gateway/ledger, gateway/clients, verifier/inspect
//	   \        |   |                     /
//	    `----> policy <------------------'
var may = map[string][]string{
	"signer/safefile":           {},
	"policy/strictjson":         {},
	"policy/manifest":           {"policy/strictjson"},
	"policy":                    {"policy/manifest"},
	"gateway/clients":           {"policy", "policy/strictjson", "signer/safefile"},
	"gateway/ledger":            {"policy", "policy/manifest"},
	"gateway/upstream/keychain": {},
	"gateway/upstream":          {"policy", "policy/manifest"},
	"signer":                    {"policy", "policy/manifest", "signer/safefile"},
	"signer/pkcs11":             {},
	"signer/kms":                {},
	"verifier":                  {"policy", "policy/manifest", "policy/strictjson", "verifier/predicate"},
	"verifier/tuf":              {"signer/safefile"},
	"verifier/inspect":          {"policy", "policy/manifest", "policy/strictjson"},
	"verifier/predicate":        {"policy", "policy/strictjson"},
	"verifier/scan":             {"policy", "policy/manifest", "policy/strictjson", "verifier/predicate"},

	"verifier/scan/inventory": {"policy", "policy/manifest", "policy/strictjson", "verifier/inspect"},
	"verifier/scan/embedded":  {"policy", "verifier/scan", "verifier/scan/inventory", "verifier/scan/osv", "verifier/scan/sbom"},
	"verifier/scan/harbor":    {"policy", "policy/strictjson", "verifier/predicate", "verifier/scan"},
	"verifier/scan/osv":       {"policy", "verifier/scan/inventory"},
	"verifier/scan/sbom":      {"verifier/scan/inventory"},
	"verifier/scan/scantest":  {"policy/manifest"},
	"gateway":                 {"policy", "policy/manifest", "gateway/clients", "gateway/ledger", "gateway/upstream"},
	"deploy/node":             {},
	"cmd/sealgate":            {"*"},

	"deploy":           {"*"},
	"deploy/image":     {"*"},
	"e2e":              {"*"},
	"e2e/architecture": {},
	"e2e/bench":        {"*"},
	"e2e/conformance":  {"*"},
	"e2e/rig":          {},
	"e2e/tools/vulns":  {},
	"e2e/tools/tally":  {},
}

// pure lists the packages that import nothing of others but these, and nothing that does I/O.
var pure = []string{"policy", "policy/manifest", "policy/strictjson"}

var pureMay = []string{
	"github.com/opencontainers/go-digest", "github.com/opencontainers/image-spec/specs-go", "github.com/opencontainers/image-spec/specs-go/v1",
	"github.com/google/cel-go", // expressions, without I/O and clock: docs/decisions/0008
}

// ioPackages are what a pure package cannot need.
var ioPackages = []string{"os", "io/ioutil", "net", "net/http", "os/exec", "syscall", "log", "log/slog", "math/rand", "math/rand/v2", "crypto/rand"}

// confined lists import paths, with what is below them, that only some of our packages may use.
var confined = map[string][]string{
	"github.com/spf13/viper":                {"cmd/sealgate"},
	"github.com/spf13/cobra":                {"cmd/sealgate"},
	"modernc.org/sqlite":                    {"gateway/ledger", "verifier/scan/inventory"},
	"github.com/sealgate/sealgate/gateway$": {"cmd/sealgate"}, // the package itself, not what is below

	// It runs a program for a scheme that it does not know: one package stands before it.
	"github.com/sigstore/sigstore/pkg/signature/kms": {"signer/kms"},
}

// banned lists import paths that may not be in the build at all, not even by way of others.
var banned = map[string]string{
	"github.com/sigstore/cosign/v2/pkg/signature":       "it brings client-go, four clouds and OPA; the dispatch of a key reference is ours",
	"github.com/sigstore/cosign/v2/cmd":                 "it is a command line; use cosign/v2/pkg/cosign",
	"github.com/chrismellard/docker-credential-acr-env": "GO-2026-6225: it gives tokens to hosts that only look like a cloud's",
}

type listed struct {
	ImportPath                         string
	Standard                           bool
	Imports, TestImports, XTestImports []string
}

func TestImports(t *testing.T) {
	for _, p := range list(t, "./...") {
		name := strings.TrimPrefix(p.ImportPath, module)
		allowed, known := may[name]
		if !known {
			t.Errorf("package %s is new: say in this test what it may import", name)
			continue
		}

		for _, imported := range p.Imports {
			ours, isOurs := strings.CutPrefix(imported, module)
			if isOurs && !slices.Contains(allowed, ours) && !slices.Contains(allowed, "*") {
				t.Errorf("%s imports %s, which it may not know; it may import %v", name, ours, allowed)
			}
			if slices.Contains(pure, name) && !isOurs && !isPure(imported) {
				t.Errorf("%s imports %s; it is pure", name, imported)
			}
			for path, users := range confined {
				if within(imported, path) && !slices.Contains(users, name) {
					t.Errorf("%s imports %s, which only %v may", name, imported, users)
				}
			}
		}

		// Tests may build what stands below and beside them, never what stands on them.
		for _, imported := range slices.Concat(p.TestImports, p.XTestImports) {
			if within(imported, module+"gateway$") && p.ImportPath != module+"gateway" && !slices.Contains(allowed, "*") {
				t.Errorf("a test of %s imports gateway, which only cmd, e2e and deploy may", name)
			}
		}
	}
}

func TestBannedImports(t *testing.T) {
	for _, p := range list(t, "-deps", "-test", "./...") {
		for path, why := range banned {
			if within(p.ImportPath, path) {
				t.Errorf("the build needs %s: %s\n  find out by whom: go mod why %s", p.ImportPath, why, p.ImportPath)
			}
		}
	}
}

// A stranger finds his way from the list of folders: what is new has a place in one of these.
func TestTopLevel(t *testing.T) {
	allowed := []string{
		"cmd", "gateway", "signer", "verifier", "policy", "deploy", "e2e", "docs", ".ci",
		"README.md", "SECURITY.md", "CHANGELOG.md", "LICENSE", "config.example.yaml",
		"Makefile", "go.mod", "go.sum", ".git*", ".editorconfig", ".golangci*", ".dockerignore",
		"dist", "sealgate-data", // made here, ignored by git
	}
	entries, err := os.ReadDir(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if !slices.ContainsFunc(allowed, func(pattern string) bool {
			ok, err := filepath.Match(pattern, entry.Name())
			return ok && err == nil
		}) {
			t.Errorf("%s lies at the top of the tree; does it belong into one of the folders?", entry.Name())
		}
	}
}

// within reports whether an import path is path or below it; a path that ends with $ is meant alone.
func within(imported, path string) bool {
	if alone, ok := strings.CutSuffix(path, "$"); ok {
		return imported == alone
	}
	return imported == path || strings.HasPrefix(imported, path+"/")
}

func isPure(imported string) bool {
	first, _, _ := strings.Cut(imported, "/")
	standard := !strings.Contains(first, ".")
	return standard && !slices.Contains(ioPackages, imported) ||
		slices.ContainsFunc(pureMay, func(path string) bool { return within(imported, path) })
}

func list(t *testing.T, arguments ...string) []listed {
	t.Helper()
	arguments = append([]string{"list", "-json=ImportPath,Standard,Imports,TestImports,XTestImports"}, arguments...)
	command := exec.Command("go", arguments...)
	command.Dir = filepath.Join("..", "..")
	var stderr bytes.Buffer
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", command, err, &stderr)
	}

	var all []listed
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		err := d.Decode(&p)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}
