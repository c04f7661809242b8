package main

import (
	"fmt"
	"io"
	"runtime/debug"

	"github.com/sealgate/sealgate/verifier"
	"github.com/spf13/cobra"
)

// Set with -ldflags "-X main.version=v1.2.3 -X main.commit=..." by builds that know more than Go's build information.
var version, commit string

// build says which build this is.
type build struct {
	Version string `json:"version"`
	Commit  string `json:"commit"` // with "+changes" when the tree had some
	Go      string `json:"go"`
	Root    string `json:"public_good_root"` // the day of which the built-in root of Sigstore's public instance is
}

func thisBuild() build {
	b := build{Version: version, Commit: commit, Root: verifier.PublicGoodDate}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	b.Go = info.GoVersion
	if b.Version == "" {
		b.Version = info.Main.Version
	}
	if b.Version == "" {
		b.Version = "(devel)"
	}
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	if b.Commit == "" {
		b.Commit = settings["vcs.revision"]
		if settings["vcs.modified"] == "true" {
			b.Commit += "+changes"
		}
	}
	if b.Commit == "" {
		b.Commit = "unknown"
	}
	return b
}

func newVersion() *cobra.Command {
	var form format
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Say which build this is",
		Example: "  sealgate version -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			b := thisBuild()
			return form.print(cmd.OutOrStdout(), b, func(w io.Writer) {
				fmt.Fprintf(w, "sealgate %s\ncommit   %s\ngo       %s\nroot     public-good as of %s\n", b.Version, b.Commit, b.Go, b.Root)
			})
		},
	}
	form.flag(cmd)
	return cmd
}
