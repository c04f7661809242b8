package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sealgate/sealgate/signer/safefile"
	"github.com/spf13/cobra"
)

// rotation is a new key beside an old one, and what to write into the configuration for it.
type rotation struct {
	Old keyResult `json:"old"` // its file is the public half
	New keyResult `json:"new"`

	// Signer is what the new key is called.
	Signer string `json:"signer"`

	// Overlap and After are lines for the configuration: while both keys count, and when the old one counts no more.
	Overlap string `json:"overlap"`
	After   string `json:"after"`
}

func newKeysRotate() *cobra.Command {
	var form format
	var signerName, output, passwordEnv, newName string
	var source configSource
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "Make the key that takes over from a signer's, and say what to configure",
		Long: `Make a new signing key beside that of a configured signer, keep the old public half in a file, and print what to write into
the configuration: first both keys for a while, then the new one alone. Nothing that is configured or there is changed.

While both count, seals are made with both, so that gateways that know the old key only admit them too: they can be changed one
after the other. Then seal anew what is still to be pulled, and end the old key.`,
		Example: `  sealgate keys rotate --config sealgate.yaml --output gateway-2027.key
  sealgate keys rotate --config sealgate.yaml --signer release --name release-2027 --output release-2027.key -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output == "" {
				return usage("say where the new key is to be: --output FILE")
			}
			result, err := rotate(&source, signerName, newName, output, passwordEnv, cmd.Flags().Changed("password-env"))
			if err != nil {
				return err
			}
			return form.print(cmd.OutOrStdout(), result, result.tell)
		},
	}
	cmd.Flags().StringVar(&signerName, "signer", "", "the name of the signer (default: the only one)")
	cmd.Flags().StringVar(&newName, "name", "", "what the new signer is called (default: the old one's name and the date)")
	cmd.Flags().StringVar(&output, "output", "", "the file to make")
	cmd.Flags().StringVar(&passwordEnv, "password-env", defaultPasswordEnv, "the environment variable that holds the new key's password")
	source.flags(cmd)
	form.flag(cmd)
	return cmd
}

func rotate(source *configSource, signerName, newName, output, passwordEnv string, named bool) (rotation, error) {
	loaded, err := source.load()
	if err != nil {
		return rotation{}, err
	}
	c := &loaded.Config
	s, err := c.signer(signerName)
	if err != nil {
		return rotation{}, err
	}
	if newName == "" {
		newName = s.Name + "-" + time.Now().UTC().Format("20060102")
	}
	switch _, err := c.signer(newName); {
	case err == nil:
		return rotation{}, usage("there is a signer %s already; choose another --name", newName)
	case !namePattern.MatchString(newName):
		return rotation{}, usage("--name %q is no name: it matches %s", newName, namePattern)
	}
	path, _ := c.keyPath(s)
	if path == "" {
		return rotation{}, usage("the key of signer %s is in no file: make the new one where it is kept, and add it as a signer of its own", s.Name)
	}
	if output, err = filepath.Abs(output); err != nil {
		return rotation{}, err
	}

	kept := strings.TrimSuffix(output, filepath.Ext(output)) + "-before.pub"
	if _, err := os.Lstat(kept); err == nil {
		return rotation{}, usage("%s exists and is not overwritten; choose another --output", kept)
	}

	b := &builder{getenv: os.Getenv}
	old, _, err := b.loadKey(context.Background(), c, s, func(string, ...any) {})
	if err != nil {
		return rotation{}, &exitError{exitUsage, err}
	}
	made, err := generateKeyAt(output, passwordEnv, named)
	if err != nil {
		return rotation{}, err
	}
	if err := safefile.Create(kept, old.PublicPEM()); err != nil {
		return rotation{}, fmt.Errorf("keep the old public half: %w", err)
	}
	r := rotation{Old: keyResult{File: kept, Fingerprint: old.Fingerprint(), Public: string(old.PublicPEM())}, New: made, Signer: newName}
	r.Overlap, r.After = r.lines(s, passwordEnv)
	return r, nil
}

// lines are what to write into the configuration: the entries to add, and what policies say.
func (r rotation) lines(old Signer, passwordEnv string) (overlap, after string) {
	password := fmt.Sprintf("password_env: %s", passwordEnv)
	if r.New.PasswordFile != "" {
		password = fmt.Sprintf("password_file: %q", r.New.PasswordFile)
	}
	add := fmt.Sprintf(`signers:
  - {name: %[1]s, key: {file: %[2]q, %[3]s}}
authorities:
  - {name: %[1]s, signer: %[1]s}
`, r.Signer, r.New.File, password)
	overlap = add + fmt.Sprintf(`# policies: pull.signed_by: {any: [%[1]s, %[2]s]}; push.seal.signers: [%[1]s, %[2]s]
`, old.Name, r.Signer)
	after = add + fmt.Sprintf(`  - {name: %[1]s, key: {file: %[2]q, revoked: true}}
# policies: pull.signed_by: {any: [%[1]s, %[3]s]}; push.seal.signer: %[3]s
`, old.Name, r.Old.File, r.Signer)
	return overlap, after
}

// tell says what to do, step by step.
func (r rotation) tell(w io.Writer) {
	fmt.Fprintf(w, "new key      %s\n", r.New.File)
	if r.New.PasswordFile != "" {
		fmt.Fprintf(w, "password     in %s\n", r.New.PasswordFile)
	}
	fmt.Fprintf(w, "fingerprint  %s\n%sold key      %s, its public half\nfingerprint  %s\n", r.New.Fingerprint, r.New.Public, r.Old.File, r.Old.Fingerprint)
	fmt.Fprintf(w, `
1. Copy the files to every gateway. On one after the other, add to what the configuration has:

%s
2. Seal with the new key what is still to be pulled: sealgate seal IMAGE.

3. On every gateway, take the old signer out, and have in place of it and its authority:

%s`, r.Overlap, r.After)
}
