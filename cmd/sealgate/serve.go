package main

import (
	"os"
	"os/signal"
	"syscall"

	"github.com/sealgate/sealgate/signer"
	"github.com/spf13/cobra"
)

func newServe() *cobra.Command {
	var source configSource
	var logs logFormat
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the gateway",
		Long: `Run the gateway until it is interrupted.

Without a configuration file it keeps images in an embedded registry in ./sealgate-data, generates a signing key there,
seals every push of an image that does not run as root, and lets nothing be pulled that is not sealed.

A configuration file that changes is taken while we run, as a whole or not at all; SIGHUP has it read at once. Settings of
listeners and storage need a restart. Health and metrics are at the admin address: /livez, /readyz, /metrics.

On SIGINT or SIGTERM, requests under way have 30 seconds to end. Log lines go to standard error.

` + exitCodeHelp,
		Example: `  sealgate serve
  sealgate serve --config /etc/sealgate/sealgate.yaml
  sealgate serve --listen 127.0.0.1:0 --admin 127.0.0.1:0 --storage ./try`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			loaded, err := source.load()
			if err != nil {
				return err
			}
			told := make(chan os.Signal, 1) // before anything takes time: an early SIGHUP must not end us
			signal.Notify(told, syscall.SIGHUP)
			defer signal.Stop(told)

			late := newLateWriter(cmd.ErrOrStderr())
			defer late.flush()
			s, err := startService(loaded, source.load, signer.LoadKeyFile, logs.logger(cmd.ErrOrStderr(), late))
			if err != nil {
				return err
			}
			return s.wait(cmd.Context(), told)
		},
	}
	source.flags(cmd)
	cmd.Flags().StringVar(&source.overrides.Listen, "listen", "", "host:port to listen at, instead of listen.address")
	cmd.Flags().StringVar(&source.overrides.Admin, "admin", "", "host:port for health and metrics, instead of admin.address")
	cmd.Flags().Var(&logs, "log-format", "how log lines look (default text on a terminal, json elsewhere)")
	_ = cmd.RegisterFlagCompletionFunc("log-format", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}
