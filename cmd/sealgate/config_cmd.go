package main

import (
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

// schemaJSON is generated from the comments and fields of [Config]; see there.
//
//go:embed schema.json
var schemaJSON []byte

// configSource is where a command takes its configuration from.
type configSource struct {
	config    string
	overrides Overrides
}

func (s *configSource) flags(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&s.config, "config", "c", "", "the configuration file (default: none, see sealgate config show)")
	cmd.Flags().StringVar(&s.overrides.Storage, "storage", "", "the storage directory, instead of storage.directory")
	_ = cmd.MarkFlagFilename("config", "yaml", "yml")
	_ = cmd.MarkFlagDirname("storage")
}

func (s *configSource) load() (*Loaded, error) { return load(s.config, s.overrides, os.Environ()) }

func newConfig() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Check and show the configuration",
		Args:  commandsOnly,
		RunE:  showHelp,
	}
	cmd.AddCommand(newConfigCheck(), newConfigShow(), newConfigSchema())
	return cmd
}

// checkResult is what a check found.
type checkResult struct {
	OK            bool              `json:"ok"`
	Problems      Problems          `json:"problems"`
	PolicyVersion string            `json:"policy_version,omitempty"` // empty while a key is not generated yet
	Policies      []string          `json:"policies,omitempty"`
	Authorities   map[string]string `json:"authorities,omitempty"` // fingerprints by name
	TrustRoots    map[string]string `json:"trust_roots,omitempty"` // their day by name
}

func newConfigCheck() *cobra.Command {
	var form format
	var source configSource
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Say everything that is wrong with a configuration",
		Long: `Load a configuration exactly as serve does, with its keys and policies, and say everything that is wrong with it, with file
and line. Nothing is started and nothing is written. Ends with 2 when something is wrong.`,
		Example: `  sealgate config check --config sealgate.yaml
  sealgate config check --config sealgate.yaml -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			result, err := check(&source)
			if err != nil {
				return err
			}
			err = form.print(cmd.OutOrStdout(), result, func(w io.Writer) {
				for _, p := range result.Problems {
					fmt.Fprintln(w, p)
				}
				switch {
				case result.OK && result.PolicyVersion == "":
					fmt.Fprintf(w, "ok: policies %s; the gateway's key is generated when serve first starts\n", strings.Join(result.Policies, ", "))
				case result.OK:
					fmt.Fprintf(w, "ok: policies %s, version %s\n", strings.Join(result.Policies, ", "), result.PolicyVersion)
				}
				for _, name := range sortedKeys(result.Authorities) {
					fmt.Fprintf(w, "authority %s: key %s\n", name, result.Authorities[name])
				}
				for _, name := range sortedKeys(result.TrustRoots) {
					fmt.Fprintf(w, "trust root %s: of %s\n", name, result.TrustRoots[name])
				}
			})
			if err == nil && !result.OK {
				err = &exitError{code: exitUsage}
			}
			return err
		},
	}
	source.flags(cmd)
	form.flag(cmd)
	return cmd
}

func check(source *configSource) (checkResult, error) {
	result := checkResult{Problems: Problems{}}
	loaded, err := source.load()
	var made *built
	if err == nil {
		b := &builder{getenv: os.Getenv, dry: true}
		made, err = b.build(loaded)
	}
	if problems, ok := errors.AsType[Problems](err); ok {
		result.Problems = problems
		return result, nil
	}
	if err != nil {
		return result, err
	}
	result.OK, result.Policies, result.Authorities = true, policyNames(&loaded.Config), made.Authorities
	result.TrustRoots = made.Roots.days()
	if len(made.Authorities) == len(loaded.Config.Authorities) {
		result.PolicyVersion = made.Policy.Version()
	}
	return result, nil
}

func newConfigShow() *cobra.Command {
	var form format
	var source configSource
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Show the configuration as it takes effect",
		Long: `Show every setting as it takes effect, from the file, the defaults, the environment and flags, and which of them came from
the environment or a flag. It is a configuration file itself. Secrets are never in it, only where they are.

The environment can set SEALGATE_LISTEN_ADDRESS, SEALGATE_LISTEN_EXTERNAL_URL, SEALGATE_ADMIN_ADDRESS and
SEALGATE_STORAGE_DIRECTORY, and nothing else: what is admitted stands in the file.`,
		Example: `  sealgate config show > sealgate.yaml
  sealgate config show --config sealgate.yaml -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			loaded, err := source.load()
			if err != nil {
				return err
			}
			if form == "json" {
				return form.print(cmd.OutOrStdout(), loaded.settings(), nil)
			}
			return loaded.writeYAML(cmd.OutOrStdout())
		},
	}
	source.flags(cmd)
	form.flag(cmd)
	return cmd
}

func newConfigSchema() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of the configuration file, for editors",
		Long: `Print the JSON Schema (draft 2020-12) of the configuration file. Editors with YAML support complete, explain and check a file
that begins with the line

  # yaml-language-server: $schema=sealgate.schema.json`,
		Example: "  sealgate config schema > sealgate.schema.json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := cmd.OutOrStdout().Write(schemaJSON)
			return err
		},
	}
}
