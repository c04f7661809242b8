package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/sealgate/sealgate/signer/safefile"
	"github.com/sealgate/sealgate/verifier"
	"github.com/spf13/cobra"
)

// bundleFlags say what is verified, and who must have signed.
type bundleFlags struct {
	bundle, root, key string
	identity, issuer  string
}

func newVerifyBundle() *cobra.Command {
	var form format
	var flags bundleFlags
	cmd := &cobra.Command{
		Use:   "verify-bundle --bundle FILE (--certificate-identity ID --certificate-oidc-issuer URL | --key FILE) FILE_OR_DIGEST",
		Short: "Verify a Sigstore bundle against a file or a digest, offline",
		Long: `Verify a Sigstore bundle (v0.1, v0.2 or v0.3), over an artifact or around an in-toto statement about it. FILE_OR_DIGEST is
the artifact, or its digest as sha256:HEX. Nothing is fetched from anywhere.

With --certificate-identity and --certificate-oidc-issuer, both compared as they are written, the signature needs a trusted
time, an entry in a transparency log and a certificate that was logged, as far as the trusted root has such logs. With --key,
it needs an entry when --trusted-root names a root that has transparency logs; without --trusted-root the key alone decides.

The trusted root is a trusted_root.json. Without --trusted-root an identity is checked against the root of Sigstore's public
instance as it was on ` + verifier.PublicGoodDate + `, which is built in: what that instance has trusted since then is not in it.

What does not verify gets a code that programs can rely on, and a line for people:
` + listFailureCodes() + `
Exit codes: 0 it verifies, 1 our fault, 2 usage (a file that cannot be read, a key or a root that is none), 3 it does not verify.`,
		Example: `  sealgate verify-bundle --bundle app.sigstore.json --key release.pub app.tar.gz
  sealgate verify-bundle --bundle app.sigstore.json --certificate-identity dev@acme.example \
    --certificate-oidc-issuer https://accounts.example.com --trusted-root trusted_root.json \
    sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("verify-bundle takes one file or digest, behind its flags")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			result, err := verifyBundle(flags, args[0])
			if err != nil {
				return err
			}
			if err := form.print(cmd.OutOrStdout(), result, result.table); err != nil {
				return err
			}
			if !result.Verified {
				return &exitError{code: exitDenied}
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&flags.bundle, "bundle", "", "the bundle")
	f.StringVar(&flags.identity, "certificate-identity", "", "whom the certificate must be for: an email address or a URI, exactly")
	f.StringVar(&flags.issuer, "certificate-oidc-issuer", "", "who must have vouched for that identity: a URL, exactly")
	f.StringVar(&flags.key, "key", "", "the public key that must have signed, in PEM")
	f.StringVar(&flags.root, "trusted-root", "", "a trusted_root.json, or public-good, which is built in (default with an identity: public-good)")
	for _, name := range []string{"bundle", "trusted-root"} {
		_ = cmd.MarkFlagFilename(name, "json")
	}
	_ = cmd.MarkFlagFilename("key", "pub", "pem")
	form.flag(cmd)
	return cmd
}

func listFailureCodes() string {
	var b strings.Builder
	line := " "
	for _, code := range verifier.FailureCodes() {
		if len(line)+1+len(code) > 120 {
			b.WriteString(line + "\n")
			line = " "
		}
		line += " " + string(code)
	}
	return b.String() + line + "\n"
}

// bundleVerdict is the result of verify-bundle; its JSON is a promise.
type bundleVerdict struct {
	Verified bool                 `json:"verified"`
	Artifact string               `json:"artifact"` // as typed
	Bundle   string               `json:"bundle"`   // as typed
	Root     string               `json:"trusted_root,omitempty"`
	Signer   string               `json:"signer,omitempty"`      // who signed: a key's fingerprint, or a subject and its issuer
	SignedAt *time.Time           `json:"signed_at,omitempty"`   // as somebody trusted says
	Code     verifier.FailureCode `json:"code,omitempty"`        // why it does not verify
	Why      string               `json:"explanation,omitempty"` // the same for a person
}

func verifyBundle(flags bundleFlags, typed string) (bundleVerdict, error) {
	d, err := flags.detached()
	if err != nil {
		return bundleVerdict{}, err
	}
	verdict := bundleVerdict{Artifact: typed, Bundle: flags.bundle}
	if verdict.Root, err = flags.readRoot(&d); err != nil {
		return bundleVerdict{}, err
	}
	if d.Bundle, err = safefile.Read(flags.bundle, verifier.MaxBundleFile, 0); err != nil {
		return bundleVerdict{}, usage("bundle %s: %w", flags.bundle, err)
	}
	artifact, done, err := openArtifact(typed)
	if err != nil {
		return bundleVerdict{}, err
	}
	defer done()
	d.Artifact = artifact

	proof, err := d.Verify()
	if f, ok := errors.AsType[*verifier.Failure](err); ok {
		verdict.Code, verdict.Why = f.Code, "a signature that "+f.Why
		return verdict, nil
	}
	if err != nil {
		return bundleVerdict{}, err
	}
	verdict.Verified, verdict.Signer = true, proof.Signer
	if !proof.Time.IsZero() {
		at := proof.Time.UTC()
		verdict.SignedAt = &at
	}
	return verdict, nil
}

// detached is what the flags say about who must have signed.
func (f bundleFlags) detached() (d verifier.Detached, err error) {
	keyless := f.identity != "" || f.issuer != ""
	switch {
	case f.bundle == "":
		return d, usage("name the bundle: --bundle FILE")
	case keyless && f.key != "":
		return d, usage("--key contradicts --certificate-identity and --certificate-oidc-issuer; say one")
	case keyless && (f.identity == "" || f.issuer == ""):
		return d, usage("an identity is both: --certificate-identity ID --certificate-oidc-issuer URL")
	case keyless:
		d.Identity = &verifier.Identity{Issuer: f.issuer, Subject: f.identity}
		return d, nil
	case f.key == "":
		return d, usage("say who must have signed: --certificate-identity ID --certificate-oidc-issuer URL, or --key FILE")
	}
	public, err := readPublicKey(f.key)
	if err != nil {
		return d, &exitError{exitUsage, err}
	}
	d.Key = &verifier.Key{Public: public}
	return d, nil
}

// readRoot sets the trusted root, and says which it is.
func (f bundleFlags) readRoot(d *verifier.Detached) (name string, err error) {
	switch {
	case f.root != "":
		if d.Root, err = readTrustedRoot(f.root); err != nil {
			return "", &exitError{exitUsage, err}
		}
		if f.root != publicGood {
			return f.root, nil
		}
	case d.Key != nil:
		return "", nil
	default:
		if d.Root, err = verifier.PublicGood(); err != nil {
			return "", err
		}
	}
	return publicGood + " as of " + verifier.PublicGoodDate, nil
}

// openArtifact takes what begins like a digest for one, and anything else for a file: a file of such a name is ./sha256:...
func openArtifact(typed string) (a verifier.Artifact, done func() error, err error) {
	nothing := func() error { return nil }
	if algorithm, _, ok := strings.Cut(typed, ":"); ok && digest.Algorithm(algorithm).Available() {
		a, err := verifier.DigestArtifact(digest.Digest(typed))
		if err != nil {
			return a, nil, usage("%s is no digest: %w", typed, err)
		}
		return a, nothing, nil
	}

	file, err := os.OpenFile(typed, os.O_RDONLY|syscall.O_NONBLOCK, 0) // does not wait for the other end of a pipe
	if err != nil {
		return a, nil, usage("%w", err)
	}
	stat, err := file.Stat()
	if err == nil && !stat.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", typed)
	}
	if err == nil {
		a, err = verifier.FileArtifact(file, stat.Size())
	}
	if err != nil {
		file.Close()
		return a, nil, &exitError{exitUsage, err}
	}
	return a, file.Close, nil
}

// table is the verdict for people.
func (v bundleVerdict) table(w io.Writer) {
	word := "verified"
	if !v.Verified {
		word = "not verified"
	}
	fmt.Fprintf(w, "%s  %s\n", word, v.Artifact)
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "  %-8s %s\n", name, value)
		}
	}
	row("bundle", v.Bundle)
	row("signer", v.Signer)
	if v.SignedAt != nil {
		row("signed", v.SignedAt.Format(time.RFC3339))
	}
	row("root", v.Root)
	if v.Code != "" {
		row("reason", v.Why+" ("+string(v.Code)+")")
	}
}
