package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/deploy/node"
	"github.com/sealgate/sealgate/gateway/ledger"
	"github.com/sealgate/sealgate/gateway/upstream"
	"github.com/spf13/cobra"
)

// The tags of the two canaries.
const (
	admittedTag = "admitted"
	refusedTag  = "refused"
)

func newDoctorCanaries() *cobra.Command {
	var gateway theGateway
	var form format
	var repo string
	cmd := &cobra.Command{
		Use:   "canaries --repository REPO",
		Short: "Put two small images behind the gateway for the doctor: one that it admits and one that it refuses",
		Long: `Push a small image through the gateway, which checks and seals it as any other, and put another one, unsealed, into the
registry behind it, around the gateway: with the configuration and the credentials that serve has, so run it where the
gateway runs, as the user that it runs as. The policy of the repository must ask for a signature, and seal what is pushed.
Both hold one file of text and run nothing. To push, log in as for any push: docker login.`,
		Example: `  sealgate doctor canaries --config sealgate.yaml --repository canary`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if repo == "" {
				return usage("--repository: say in which repository of the gateway the canaries are to be")
			}
			pair, err := makeCanaries(cmd.Context(), &gateway, repo)
			if err != nil {
				return err
			}
			return form.print(cmd.OutOrStdout(), pair, pair.table)
		},
	}
	gateway.flags(cmd)
	form.flag(cmd)
	cmd.Flags().StringVar(&repo, "repository", "", "the repository, as clients of the gateway name it")
	return cmd
}

// canaryPair names the two images, as each kind of node does; its JSON is a promise.
type canaryPair struct {
	Admitted []string `json:"admitted"` // the same image, by the gateway's name and by that of the registry behind it
	Refused  []string `json:"refused"`
}

func (p canaryPair) table(w io.Writer) {
	for i := range p.Admitted {
		fmt.Fprintf(w, "--canary-admitted %s --canary-refused %s\n", p.Admitted[i], p.Refused[i])
	}
}

func makeCanaries(ctx context.Context, gateway *theGateway, repo string) (canaryPair, error) {
	gw, loaded, err := gateway.load()
	if err != nil {
		return canaryPair{}, err
	}
	ref, err := parseReference(repo+":"+refusedTag, nil)
	if err != nil || ref.repo != repo {
		return canaryPair{}, usage("--repository: %.300q is no repository of the gateway, like canary or docker.io/acme/canary", repo)
	}
	b := &builder{getenv: os.Getenv, alone: true}
	made, err := b.build(loaded)
	if err != nil {
		return canaryPair{}, err
	}
	err = b.keep(made)
	defer b.close()
	if err != nil {
		return canaryPair{}, err
	}

	if err := pushCanary(ctx, gw, repo); err != nil {
		return canaryPair{}, &exitError{exitUpstream, fmt.Errorf("push the canary that is admitted: %w", err)}
	}
	if err := placeCanary(ctx, made.Regime.Registries, repo); err != nil {
		return canaryPair{}, &exitError{exitUpstream, fmt.Errorf("place the canary that is refused: %w", err)}
	}
	for tag, want := range map[string]ledger.Outcome{admittedTag: ledger.Admit, refusedTag: ledger.Deny} {
		if err := holdsFor(ctx, gateway, repo+":"+tag, want); err != nil {
			return canaryPair{}, err
		}
	}

	pair := canaryPair{
		Admitted: []string{gw.Host() + "/" + repo + ":" + admittedTag},
		Refused:  []string{gw.Host() + "/" + repo + ":" + refusedTag},
	}
	if registry, there, ok := made.Regime.Registries.Find(repo); ok && strings.ContainsAny(registry.Name(), ".:") {
		pair.Admitted = append(pair.Admitted, registry.Name()+"/"+there+":"+admittedTag)
		pair.Refused = append(pair.Refused, registry.Name()+"/"+there+":"+refusedTag)
	}
	return pair, nil
}

// holdsFor checks that the policy says of a canary what it is for.
func holdsFor(ctx context.Context, gateway *theGateway, image string, want ledger.Outcome) error {
	verdict, err := verify(ctx, &gateway.source, image)
	if err != nil {
		return err
	}
	if verdict.Outcome != want || verdict.Audit {
		return &exitError{exitUsage, fmt.Errorf("the policy %q makes a canary of no use: for %s it says %s, in audit mode: %v; take a repository that it seals and of which it asks a signature",
			verdict.Policy, image, verdict.Outcome, verdict.Audit)}
	}
	return nil
}

// pushCanary pushes as any client does.
func pushCanary(ctx context.Context, gw node.Gateway, repo string) error {
	image, err := canary(admittedTag)
	if err != nil {
		return err
	}
	var options []name.Option
	if gw.URL.Scheme == "http" {
		options = append(options, name.Insecure)
	}
	to, err := name.NewTag(gw.Host()+"/"+repo+":"+admittedTag, options...)
	if err != nil {
		return err
	}
	return remote.Write(to, image, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain))
}

// placeCanary writes to the registry, around the gateway.
func placeCanary(ctx context.Context, registries *upstream.Registries, repo string) error {
	image, err := canary(refusedTag)
	if err != nil {
		return err
	}
	layers, err := image.Layers()
	if err != nil {
		return err
	}
	config, err := image.RawConfigFile()
	if err != nil {
		return err
	}
	blobs := [][]byte{config}
	for _, layer := range layers {
		compressed, err := layer.Compressed()
		if err != nil {
			return err
		}
		content, err := io.ReadAll(compressed)
		if err != nil {
			return err
		}
		blobs = append(blobs, content)
	}
	for _, content := range blobs {
		if err := registries.PutBlob(ctx, repo, ocispec.Descriptor{Digest: digest.FromBytes(content), Size: int64(len(content))}, content); err != nil {
			return err
		}
	}
	manifest, err := image.RawManifest()
	if err != nil {
		return err
	}
	return registries.PutManifest(ctx, repo, refusedTag, ocispec.MediaTypeImageManifest, manifest)
}

// canary is an image with one file that says what it is for; the two differ, so that the one's seal is not the other's.
func canary(word string) (v1.Image, error) {
	archive, err := archiveOf("canary", []byte("this image is here to be "+word+"\n"))
	if err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(archive)), nil
	}, tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, err
	}
	image, err := mutate.AppendLayers(mutate.MediaType(mutate.ConfigMediaType(empty.Image, types.OCIConfigJSON), types.OCIManifestSchema1), layer)
	if err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", runtime.GOARCH
	config.Config.User = "65532"
	config.Config.Cmd = []string{"/canary"}
	return mutate.ConfigFile(image, config)
}
