package main

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/sealgate/sealgate/deploy/node"
	"github.com/spf13/cobra"
)

// theGateway is where commands learn how nodes reach the gateway.
type theGateway struct {
	source configSource
	url    string
}

func (t *theGateway) flags(cmd *cobra.Command) {
	t.source.flags(cmd)
	cmd.Flags().StringVar(&t.url, "gateway", "", "how nodes reach the gateway, instead of listen.external_url")
}

// load says how the gateway is reached and which registries are behind it, as far as the configuration is known here.
func (t *theGateway) load() (node.Gateway, *Loaded, error) {
	loaded, err := t.source.load()
	if err != nil {
		return node.Gateway{}, nil, err
	}
	typed := t.url
	if typed == "" {
		typed = loaded.Config.Listen.ExternalURL
	}
	if typed == "" {
		if typed, err = ownAddress(loaded.Config.Listen); err != nil {
			return node.Gateway{}, nil, err
		}
	}
	u, err := url.Parse(typed)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.User != nil || u.RawQuery != "" {
		return node.Gateway{}, nil, usage("--gateway %.200q is not a URL like https://registry.acme.dev", t.url)
	}
	gw := node.Gateway{URL: &url.URL{Scheme: u.Scheme, Host: u.Host}}
	for _, r := range loaded.Config.Registries {
		gw.Registries = append(gw.Registries, node.Registry{Name: r.Name, Prefix: r.Prefix})
	}
	return gw, loaded, nil
}

// ownAddress is the listener's, where that is one that others know us by.
func ownAddress(l Listen) (string, error) {
	host, port, err := net.SplitHostPort(l.Address)
	if err != nil || host == "" || port == "0" || net.ParseIP(host).IsUnspecified() {
		return "", usage("how do nodes reach the gateway? Set listen.external_url, or say it with --gateway")
	}
	scheme := "http://"
	if l.TLS.Certificate != "" {
		scheme = "https://"
	}
	return scheme + l.Address, nil
}

func newClients() *cobra.Command {
	var gateway theGateway
	var output string
	clients := []string{"containerd", "docker", "podman", "kubernetes"}
	cmd := &cobra.Command{
		Use:   "clients containerd|docker|podman|kubernetes",
		Short: "Print client configuration that makes a refusal final",
		Long: `Print the configuration of a client with which a refusal is final, made from the gateway's own configuration: how it is
reached, and which registries it answers for. Comments say where each file goes and why it is as it is.

A mirror is not enforcement: docker, containerd and podman go on to the next place when a mirror refuses. With --output the
files are written below a directory, as they lie on a node; none that is there is replaced.`,
		Example: `  sealgate clients containerd --config sealgate.yaml
  sealgate clients podman --gateway https://registry.acme.dev --output ./node`,
		ValidArgs: clients,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("clients takes one of %s", strings.Join(clients, ", "))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			gw, _, err := gateway.load()
			if err != nil {
				return err
			}
			files, err := node.Final(args[0], gw)
			if err != nil {
				return usage("%v", err)
			}
			for i, file := range files {
				if output != "" {
					path := filepath.Join(output, file.Path)
					if err := writeNew(path, file.Content); err != nil {
						return err
					}
					fmt.Fprintln(cmd.OutOrStdout(), path)
					continue
				}
				if i > 0 {
					fmt.Fprintln(cmd.OutOrStdout())
				}
				fmt.Fprintf(cmd.OutOrStdout(), "# ---- /%s\n", file.Path)
				if !file.Comment {
					fmt.Fprintf(cmd.OutOrStdout(), "# %s\n", strings.ReplaceAll(file.Why, "\n", "\n# "))
				}
				fmt.Fprint(cmd.OutOrStdout(), file.Content)
			}
			return nil
		},
	}
	gateway.flags(cmd)
	cmd.Flags().StringVar(&output, "output", "", "write the files below this directory")
	_ = cmd.MarkFlagDirname("output")
	return cmd
}

// writeNew writes a file that is not there yet.
func writeNew(path, content string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	if _, err := file.WriteString(content); err != nil {
		file.Close()
		return err
	}
	return file.Close()
}
