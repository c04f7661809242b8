package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/sealgate/sealgate/deploy/node"
	"github.com/spf13/cobra"
)

// doctor examines one runtime of a node.
type doctor struct {
	gateway  theGateway
	runtime  map[string]*bool // containerd, docker, podman
	root     string
	socket   string
	command  string
	ca       string
	admitted []string
	refused  []string
}

func newDoctor() *cobra.Command {
	var d doctor
	var form format
	cmd := &cobra.Command{
		Use:   "doctor --containerd|--docker|--podman",
		Short: "Say whether a refusal really stops this node, or whether it falls back to another registry",
		Long: `Run on a node: read the configuration of its container runtime, say where an image would come from after the gateway refused
it, and prove it with the node's own client and two kinds of canary: images that the gateway admits, which must come, and
images that it refuses, which must not. What was pulled is removed again. 'sealgate doctor canaries' makes two; any other
image that the gateway refuses does as well, under the name that the node's workloads would use.

It ends with 0 when a refusal is final, with 3 when it is not, with 5 when the gateway does not answer, and with 6 when
it could not be proven: without canaries it never is.`,
		Example: `  sealgate doctor --containerd --gateway https://registry.acme.dev \
    --canary-admitted docker.io/library/acme:sealed --canary-refused docker.io/library/hello-world:latest
  sealgate doctor --docker --config sealgate.yaml \
    --canary-admitted registry.acme.dev/canary:admitted --canary-refused registry.acme.dev/canary:refused
  sealgate doctor --podman --gateway https://registry.acme.dev -o json`,
		Args: commandsOnly,
		RunE: func(cmd *cobra.Command, _ []string) error {
			report, err := d.examine(cmd.Context())
			if err != nil {
				return err
			}
			if err := form.print(cmd.OutOrStdout(), report, report.table); err != nil {
				return err
			}
			return report.exit()
		},
	}
	d.gateway.flags(cmd)
	form.flag(cmd)
	d.runtime = map[string]*bool{}
	for _, name := range []string{"containerd", "docker", "podman"} {
		d.runtime[name] = cmd.Flags().Bool(name, false, "examine "+name)
	}
	cmd.Flags().StringVar(&d.root, "root", "/", "where the node's disk is")
	cmd.Flags().StringVar(&d.socket, "socket", "", "the runtime's socket (default: its usual one)")
	cmd.Flags().StringVar(&d.command, "client", "", "the client to pull with and its first arguments (default: crictl, or ctr without it, docker or podman)")
	cmd.Flags().StringVar(&d.ca, "ca", "", "a PEM file of who vouches for the gateway's certificate (default: who the system trusts)")
	cmd.Flags().StringArrayVar(&d.admitted, "canary-admitted", nil, "an image that the gateway admits; may be repeated")
	cmd.Flags().StringArrayVar(&d.refused, "canary-refused", nil, "an image that the gateway refuses; may be repeated")
	cmd.AddCommand(newDoctorCanaries())
	return cmd
}

// diagnosis is what the doctor found; its JSON is a promise.
type diagnosis struct {
	Runtime  string         `json:"runtime"`
	Gateway  string         `json:"gateway"`
	Outcome  string         `json:"outcome"` // enforced, falls-back, unreachable or undecided
	Findings []node.Finding `json:"findings"`
	Client   string         `json:"client"`
	Canaries []node.Canary  `json:"canaries"`
	Cause    string         `json:"cause,omitempty"` // why it is undecided
}

func (d *doctor) examine(ctx context.Context) (*diagnosis, error) {
	runtime, err := d.chosen()
	if err != nil {
		return nil, err
	}
	canaries, err := d.canaries()
	if err != nil {
		return nil, err
	}
	gw, _, err := d.gateway.load()
	if err != nil {
		return nil, err
	}
	report := &diagnosis{Runtime: runtime, Gateway: gw.URL.String(), Findings: []node.Finding{}, Canaries: []node.Canary{}}

	var hosts []string
	for _, c := range canaries {
		hosts = append(hosts, c.Image.Host())
	}
	for _, r := range gw.Registries {
		if strings.ContainsAny(r.Name, ".:") {
			hosts = append(hosts, r.Name)
		}
	}
	client, found, err := d.read(ctx, runtime, gw, hosts)
	if err != nil {
		return nil, err
	}
	report.Client = client.String()
	report.Findings = append(report.Findings, found...)

	if len(canaries) == 0 {
		report.Cause = "no canary was pulled: name one that is admitted and one that is refused, sealgate doctor canaries makes them"
	} else if err := client.Alive(ctx); err != nil { // which a client without its runtime takes long to say
		report.Cause = err.Error()
	} else {
		way, err := d.way()
		if err != nil {
			return nil, err
		}
		prover := node.Prover{Gateway: gw, Client: client, Keychain: authn.DefaultKeychain, Way: way}
		report.Canaries = prover.Prove(ctx, canaries)
	}
	report.conclude()
	return report, nil
}

func (d *doctor) chosen() (string, error) {
	var chosen []string
	for _, name := range sortedKeys(d.runtime) {
		if *d.runtime[name] {
			chosen = append(chosen, name)
		}
	}
	if len(chosen) != 1 {
		return "", usage("say which runtime, one at a time: --containerd, --docker or --podman")
	}
	return chosen[0], nil
}

func (d *doctor) canaries() (list []node.Canary, err error) {
	for _, names := range []struct {
		typed []string
		admit bool
	}{{d.admitted, true}, {d.refused, false}} {
		for _, typed := range names.typed {
			image, err := node.ParseImage(typed)
			if err != nil {
				return nil, usage("%v", err)
			}
			list = append(list, node.Canary{Image: image, Admit: names.admit})
		}
	}
	if len(list) > 0 && (len(d.admitted) == 0 || len(d.refused) == 0) {
		return nil, usage("a proof needs both: an image that is admitted and one that is refused")
	}
	return list, nil
}

// read reads the node's configuration, and makes its client.
func (d *doctor) read(ctx context.Context, runtime string, gw node.Gateway, hosts []string) (node.Client, []node.Finding, error) {
	n := node.Node{Root: d.root}
	var found []node.Finding
	var directories []string
	switch runtime {
	case "containerd":
		found, directories = n.Containerd(gw, hosts)
	case "podman":
		n.Home, _ = os.UserHomeDir() // without one there are no files in it
		found = n.Podman(gw, hosts)
	}
	client, err := node.NewClient(runtime, d.command, d.socket, directories)
	if err != nil {
		return client, nil, usage("--client: %v", err)
	}
	if runtime == "docker" {
		running, err := client.DockerRegistries(ctx)
		if err != nil {
			found = append(found, node.Finding{
				Grade: node.Unreadable, File: "dockerd", What: "docker info does not say how it runs: " + err.Error(),
				Why: "dockerd's flags count as much as its file", Fix: "run the doctor where dockerd is, as a user who may talk to it",
			})
		}
		found = append(found, n.Docker(gw, running)...)
	}
	return client, found, nil
}

// way is to the gateway alone, and follows no proxy.
func (d *doctor) way() (http.RoundTripper, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if d.ca != "" {
		var err error
		if config.RootCAs, err = readPool(d.ca); err != nil {
			return nil, usage("--ca: %s: %v", d.ca, err)
		}
	}
	return &http.Transport{TLSClientConfig: config, ResponseHeaderTimeout: 30 * time.Second, TLSHandshakeTimeout: 10 * time.Second}, nil
}

// conclude makes one word of everything. What falls back on paper counts, even where no canary could show it.
func (r *diagnosis) conclude() {
	falls, unsure, silent := false, len(r.Canaries) == 0, false
	for _, f := range r.Findings {
		falls = falls || f.Grade == node.FallsBack || f.Grade == node.GoesAround
		unsure = unsure || f.Grade == node.Unreadable
	}
	for _, c := range r.Canaries {
		falls = falls || c.Result == node.FellBack
		unsure = unsure || c.Result != node.Holds
		silent = silent || c.Result == node.NoAnswer
	}
	switch {
	case falls:
		r.Outcome = "falls-back"
	case silent:
		r.Outcome = "unreachable"
	case unsure:
		r.Outcome = "undecided"
	default:
		r.Outcome = "enforced"
	}
}

func (r *diagnosis) exit() error {
	codes := map[string]exitCode{"falls-back": exitDenied, "unreachable": exitUpstream, "undecided": exitUndecided}
	if code, ok := codes[r.Outcome]; ok {
		return &exitError{code: code}
	}
	if r.Outcome != "enforced" {
		return fmt.Errorf("no exit code for the outcome %q", r.Outcome)
	}
	return nil
}

// table is the diagnosis for people.
func (r *diagnosis) table(w io.Writer) {
	words := map[string]string{
		"enforced":    "a refusal by %s is final on this node, for %s",
		"falls-back":  "a refusal by %s is NOT final on this node, for %s",
		"unreachable": "cannot tell: %s does not answer, for %s",
		"undecided":   "cannot tell whether a refusal by %s is final on this node, for %s",
	}
	fmt.Fprintf(w, words[r.Outcome]+"\n", r.Gateway, r.Runtime)
	for _, f := range r.Findings {
		at := f.File
		if f.Line > 0 {
			at = fmt.Sprintf("%s:%d", at, f.Line)
		}
		fmt.Fprintf(w, "\n%s  %s\n  %s\n  why  %s\n  fix  %s\n", f.Grade, at, f.What, f.Why, f.Fix)
	}
	for _, c := range r.Canaries {
		must := "must not come"
		if c.Admit {
			must = "must come"
		}
		fmt.Fprintf(w, "\n%s  canary %s, which %s\n  gateway  %s\n", c.Result, c.Name, must, c.Gateway)
		if c.Node != "" {
			fmt.Fprintf(w, "  %-7s  %s\n", r.Client, c.Node)
		}
	}
	if r.Cause != "" {
		fmt.Fprintf(w, "\n%s\n", r.Cause)
	}
}
