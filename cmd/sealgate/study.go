package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/opencontainers/go-digest"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/sealgate/sealgate/gateway"
	"github.com/sealgate/sealgate/gateway/ledger"
	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/policy/manifest"
)

// study is an image that a command looks at, behind a gateway that serves nobody and records nothing.
type study struct {
	ref     reference
	loaded  *Loaded
	made    *built
	gateway *gateway.Gateway
	memory  *ledger.Ledger // the gateway's, open to be read
	closers []func() error
}

// openStudy builds what serve would, for one command about one image. The caller closes it.
func openStudy(source *configSource, typed string) (*study, error) {
	loaded, err := source.load()
	if err != nil {
		return nil, err
	}
	s := &study{loaded: loaded}
	if err := s.open(typed); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *study) open(typed string) (err error) {
	// What serve remembers is read; what this command learns is forgotten.
	s.memory = ledger.OpenToRead(ledgerDirectory(&s.loaded.Config), ledger.Options{})
	s.closers = append(s.closers, s.memory.Close)
	b := &builder{getenv: os.Getenv, alone: true, ledger: s.memory}
	if s.made, err = b.build(s.loaded); err != nil {
		return err
	}
	s.closers = append(s.closers, func() error { b.close(); return nil })
	if err := b.keep(s.made); err != nil {
		return err
	}
	if s.ref, err = parseReference(typed, prefixesOf(s.made.Regime.Registries)); err != nil {
		return err
	}

	s.gateway = gateway.New(gateway.Options{
		Ledger: s.memory, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(), ExternalURL: s.loaded.Config.Listen.ExternalURL,
	})
	s.gateway.Enforce(s.made.Regime)
	return nil
}

func (s *study) close() error {
	var all []error
	for i := len(s.closers) - 1; i >= 0; i-- {
		all = append(all, s.closers[i]())
	}
	return errors.Join(all...)
}

// manifest fetches a manifest of the image's repository.
func (s *study) manifest(ctx context.Context, reference string) (*manifest.Manifest, error) {
	raw, mediaType, err := s.made.Regime.Registries.Manifest(ctx, s.ref.repo, reference)
	if err != nil {
		return nil, err
	}
	return manifest.Parse(raw, mediaType)
}

// survey finds everything that is attached to a manifest, of every type, whatever a policy asks for.
func (s *study) survey(ctx context.Context, d digest.Digest) (attached, policy.Evidence) {
	subject := policy.Subject{Repo: s.ref.repo, Digest: d}
	ev, err := s.made.Prover.WithNeeds(func(string) policy.Needs { return policy.NeedsEverything() }).Verify(ctx, subject)
	if err != nil {
		return nothingKnown(err), policy.Evidence{}
	}
	a := newAttached(ev)
	listed, err := s.made.Regime.Registries.Listed(ctx, subject)
	if err != nil {
		a.Unknown = plain(fmt.Sprintf("list referrers: %v", err))
	}
	a.addOthers(listed)
	s.addSBOMTag(ctx, d, &a)
	return a, ev
}

func nothingKnown(err error) attached {
	a := newAttached(policy.Evidence{})
	a.Unknown = plain(err.Error())
	return a
}

// formatSBOMTag is cosign's oldest way to attach an SBOM, under the tag sha256-<hex>.sbom. Nothing signs it.
const formatSBOMTag policy.Format = "sbom"

func (s *study) addSBOMTag(ctx context.Context, d digest.Digest, a *attached) {
	m, err := s.manifest(ctx, "sha256-"+d.Encoded()+".sbom")
	switch {
	case notFound(err):
	case err != nil:
		a.Unknown = cmp.Or(a.Unknown, plain(err.Error()))
	default:
		e := exhibit{Format: formatSBOMTag, Manifest: m.Digest, ArtifactType: "SBOM", Why: "nobody signed it, and it is not read"}
		if len(m.Layers) > 0 {
			e.ArtifactType = plain(m.Layers[0].MediaType)
		}
		a.Others = append(a.Others, e)
	}
}

// notFound reports that an error says, definitively, that there is no such thing.
func notFound(err error) bool {
	absent, ok := errors.AsType[interface {
		error
		NotFound() bool
	}](err)
	return ok && absent.NotFound()
}

// upstreamError gives an error of a registry its exit code.
func upstreamError(err error) error {
	if notFound(err) {
		return &exitError{exitNotFound, fmt.Errorf("not found: %w", err)}
	}
	return &exitError{exitUpstream, err}
}
