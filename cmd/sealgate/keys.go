package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/sealgate/sealgate/signer"
	"github.com/spf13/cobra"
)

func newKeys() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "keys",
		Short: "Make signing keys, show their public halves, and replace them",
		Args:  commandsOnly,
		RunE:  showHelp,
	}
	cmd.AddCommand(newKeysGenerate(), newKeysPublic(), newKeysRotate())
	return cmd
}

// keyResult is what is told about a key.
type keyResult struct {
	File         string `json:"file"`
	PasswordFile string `json:"password_file,omitempty"` // where a generated password is
	Fingerprint  string `json:"fingerprint"`             // hexadecimal SHA-256 of the public key in PKIX form
	Public       string `json:"public"`                  // PEM
}

func newKeysGenerate() *cobra.Command {
	var form format
	var output, passwordEnv string
	cmd := &cobra.Command{
		Use:   "generate",
		Short: "Make an encrypted signing key",
		Long: `Make a new signing key (ECDSA on P-256), encrypted with a password, in the format of cosign, readable by its owner alone.
An existing file is never touched.

The password is taken from the environment variable that --password-env names. When the variable is not set, a random
password is made and written to FILE.password, readable by its owner alone. It is never printed.`,
		Example: `  sealgate keys generate --output release.key
  SEALGATE_KEY_PASSWORD=... sealgate keys generate --output release.key
  sealgate keys public --key release.key > release.pub`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			result, err := generateKeyAt(output, passwordEnv, cmd.Flags().Changed("password-env"))
			if err != nil {
				return err
			}
			return form.print(cmd.OutOrStdout(), result, func(w io.Writer) {
				fmt.Fprintf(w, "key          %s\n", result.File)
				if result.PasswordFile != "" {
					fmt.Fprintf(w, "password     in %s\n", result.PasswordFile)
				}
				fmt.Fprintf(w, "fingerprint  %s\n%s", result.Fingerprint, result.Public)
			})
		},
	}
	cmd.Flags().StringVar(&output, "output", defaultKeyFile, "the file to make")
	cmd.Flags().StringVar(&passwordEnv, "password-env", defaultPasswordEnv, "the environment variable that holds the password")
	form.flag(cmd)
	return cmd
}

// generateKeyAt makes a key file. A variable that was named must be set.
func generateKeyAt(path, passwordEnv string, named bool) (keyResult, error) {
	if _, err := os.Lstat(path); err == nil {
		return keyResult{}, usage("%s exists and is not overwritten; choose another --output", path)
	}
	result := keyResult{File: path}
	password := []byte(os.Getenv(passwordEnv))
	switch {
	case len(password) == 0 && named:
		return keyResult{}, usage("the variable %s is not set; set it to the password", passwordEnv)
	case len(password) == 0:
		result.PasswordFile = path + ".password"
		if _, err := os.Lstat(result.PasswordFile); err == nil {
			return keyResult{}, usage("%s exists and is not overwritten; choose another --output", result.PasswordFile)
		}
		if err := writePassword(result.PasswordFile); err != nil {
			return keyResult{}, err
		}
		var err error
		if password, err = readPassword(result.PasswordFile); err != nil {
			return keyResult{}, err
		}
	}

	err := signer.GenerateKeyFile(path, password)
	if errors.Is(err, fs.ErrExist) {
		return keyResult{}, usage("%s exists and is not overwritten; choose another --output", path)
	}
	if err != nil {
		return keyResult{}, err
	}
	key, err := signer.LoadKeyFile(path, password)
	if err != nil {
		return keyResult{}, err
	}
	result.Fingerprint, result.Public = key.Fingerprint(), string(key.PublicPEM())
	return result, nil
}

func newKeysPublic() *cobra.Command {
	var form format
	var keyFile, signerName, passwordEnv string
	var source configSource
	cmd := &cobra.Command{
		Use:   "public",
		Short: "Print the public half of a signing key",
		Long: `Print the public half of a signing key in PEM, which is what "cosign verify --key" reads. The key is one of the configured
signers, or a file.`,
		Example: `  sealgate keys public > gateway.pub
  sealgate keys public --config sealgate.yaml --signer release > release.pub
  sealgate keys public --key release.key`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if keyFile != "" && (signerName != "" || source.config != "") {
				return usage("--key is a file by itself; leave --signer and --config out")
			}
			result, err := publicHalf(&source, keyFile, signerName, passwordEnv)
			if err != nil {
				return err
			}
			return form.print(cmd.OutOrStdout(), result, func(w io.Writer) { io.WriteString(w, result.Public) })
		},
	}
	cmd.Flags().StringVar(&keyFile, "key", "", "a key file, instead of a configured signer")
	cmd.Flags().StringVar(&signerName, "signer", "", "the name of the signer (default: the only one)")
	cmd.Flags().StringVar(&passwordEnv, "password-env", "", "with --key: the environment variable that holds the password (default SEALGATE_KEY_PASSWORD)")
	source.flags(cmd)
	form.flag(cmd)
	return cmd
}

func publicHalf(source *configSource, keyFile, signerName, passwordEnv string) (keyResult, error) {
	var c Config
	var s Signer
	if keyFile != "" {
		s.Key = PrivateKey{File: keyFile, PasswordEnv: passwordEnv}
		if passwordEnv == "" && os.Getenv(defaultPasswordEnv) == "" {
			s.Key.PasswordFile = keyFile + ".password"
		}
	} else {
		loaded, err := source.load()
		if err != nil {
			return keyResult{}, err
		}
		c = loaded.Config
		if s, err = c.signer(signerName); err != nil {
			return keyResult{}, err
		}
	}

	b := &builder{getenv: os.Getenv}
	key, _, err := b.loadKey(context.Background(), &c, s, func(string, ...any) {})
	if err != nil {
		return keyResult{}, &exitError{exitUsage, err}
	}
	path, _ := c.keyPath(s)
	return keyResult{File: path, Fingerprint: key.Fingerprint(), Public: string(key.PublicPEM())}, nil
}
