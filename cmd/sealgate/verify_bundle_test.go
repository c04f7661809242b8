package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sealgate/sealgate/verifier"
	"github.com/sigstore/sigstore-go/pkg/testing/data"
)

// realBundle writes a bundle that Sigstore's public instance made, with the digest that it is about and whom it is by.
func realBundle(t *testing.T) (directory string, identity []string, artifact string) {
	t.Helper()
	directory = t.TempDir()
	raw, err := data.Bundle(t, "dsse.sigstore.json").MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(directory, "app.sigstore.json"), string(raw))
	return directory,
		[]string{"--certificate-identity", "brian@dehamer.com", "--certificate-oidc-issuer", "https://github.com/login/oauth"},
		"sha512:bbfd372fc9beeb777fe35d05bb10c0c70a9733d366a75fed7dd18866c7391de3ee7e88ba74dd47abf3e15c845e547fcf0e5c3da80854c751554224d3a6d4e55f"
}

func runCommand(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), args, &out, &errs)
	return code, out.String(), errs.String()
}

func TestVerifyBundleSaysWhatItFound(t *testing.T) {
	t.Parallel()
	directory, identity, artifact := realBundle(t)
	bundle := filepath.Join(directory, "app.sigstore.json")
	writeFile(t, filepath.Join(directory, "junk.json"), "{}")
	newPublicKey(t, filepath.Join(directory, "other.pub"))
	writeFile(t, filepath.Join(directory, "artifact"), "something else")
	with := func(more ...string) []string { return append([]string{"verify-bundle", "--bundle", bundle}, more...) }
	other := []string{"--certificate-identity", "brian@dehamer.co", "--certificate-oidc-issuer", "https://github.com/login/oauth"}
	for name, c := range map[string]struct {
		args []string
		code int
		want string
	}{
		"an identity":       {with(append(identity, artifact)...), 0, "brian@dehamer.com (https://github.com/login/oauth)"},
		"another identity":  {with(append(other, artifact)...), 3, "IDENTITY_MISMATCH"},
		"another artifact":  {with(append(identity, filepath.Join(directory, "artifact"))...), 3, "ARTIFACT_MISMATCH"},
		"another digest":    {with(append(identity, "sha256:"+strings.Repeat("0", 64))...), 3, "ARTIFACT_MISMATCH"},
		"a key":             {with("--key", filepath.Join(directory, "other.pub"), artifact), 3, "KEY_MISMATCH"},
		"no bundle at all":  {append([]string{"verify-bundle", "--bundle", filepath.Join(directory, "junk.json")}, append(identity, artifact)...), 3, "BUNDLE_MALFORMED"},
		"the root by name":  {with(append(identity, "--trusted-root", "public-good", artifact)...), 0, "public-good as of " + verifier.PublicGoodDate},
		"a root of nothing": {with(append(identity, "--trusted-root", filepath.Join(directory, "junk.json"), artifact)...), 2, "trusted root"},

		"no bundle named":       {append([]string{"verify-bundle"}, append(identity, artifact)...), 2, "--bundle FILE"},
		"nobody named":          {with(artifact), 2, "say who must have signed"},
		"half an identity":      {with("--certificate-identity", "a", artifact), 2, "an identity is both"},
		"the other half":        {with("--certificate-oidc-issuer", "a", artifact), 2, "an identity is both"},
		"a key and an identity": {with(append(identity, "--key", filepath.Join(directory, "other.pub"), artifact)...), 2, "contradicts"},
		"no artifact":           {with(identity...), 2, "takes one file or digest"},
		"two artifacts":         {with(append(identity, artifact, artifact)...), 2, "takes one file or digest"},
		"no digest":             {with(append(identity, "sha256:abc")...), 2, "is no digest"},
		"an upper-case digest":  {with(append(identity, "sha256:"+strings.Repeat("A", 64))...), 2, "is no digest"},
		"a file that is none":   {with(append(identity, filepath.Join(directory, "absent"))...), 2, "no such file"},
		"a directory":           {with(append(identity, directory)...), 2, "not a regular file"},
		"a bundle that is none": {append([]string{"verify-bundle", "--bundle", filepath.Join(directory, "absent")}, append(identity, artifact)...), 2, "no such file"},
		"a key that is none":    {with("--key", bundle, artifact), 2, "public key"},
		"a root that is none":   {with(append(identity, "--trusted-root", filepath.Join(directory, "absent"), artifact)...), 2, "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, stdout, stderr := runCommand(t, c.args...)
			said := stdout
			if c.code == 2 {
				said = stderr
			}
			if code != c.code || !strings.Contains(said, c.want) || (c.code == 2) != (stderr != "") {
				t.Errorf("ends with %d, want %d and %q:\n%s%s", code, c.code, c.want, stdout, stderr)
			}
		})
	}
}

func TestVerifyBundlesJSONIsForPrograms(t *testing.T) {
	t.Parallel()
	directory, identity, artifact := realBundle(t)
	args := append([]string{"verify-bundle", "-o", "json", "--bundle", filepath.Join(directory, "app.sigstore.json")}, identity...)
	for want, digest := range map[string]string{"": artifact, "ARTIFACT_MISMATCH": "sha256:" + strings.Repeat("0", 64)} {
		_, stdout, _ := runCommand(t, append(args, digest)...)
		var got struct {
			Verified    bool
			Code        string
			Explanation string
			Signer      string
			SignedAt    string `json:"signed_at"`
		}
		if err := json.Unmarshal([]byte(stdout), &got); err != nil {
			t.Fatal(err)
		}
		if got.Code != want || got.Verified != (want == "") || got.Verified != (got.Signer != "") ||
			got.Verified != (got.SignedAt == "2022-11-09T23:00:36Z") || got.Verified != (got.Explanation == "") {
			t.Errorf("got %s, want %q", stdout, want)
		}
	}
}

// Codes are a promise: the help lists all of them, and so does the manual.
func TestEveryFailureCodeIsDocumented(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("../../docs/verify-bundle.md")
	if err != nil {
		t.Fatal(err)
	}
	_, help, _ := runCommand(t, "verify-bundle", "--help")
	for _, code := range verifier.FailureCodes() {
		if !strings.Contains(string(raw), "| `"+string(code)+"` |") || !strings.Contains(help, string(code)) {
			t.Errorf("%s is not in docs/verify-bundle.md, or not in --help", code)
		}
	}
}
