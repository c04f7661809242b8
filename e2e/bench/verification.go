package main

import (
	"context"
	"crypto"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/sealgate/sealgate/e2e/rig"
	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/verifier"
	"github.com/sigstore/cosign/v2/pkg/cosign"
	ociremote "github.com/sigstore/cosign/v2/pkg/oci/remote"
	"github.com/sigstore/sigstore/pkg/signature"
	"golang.org/x/sync/errgroup"
)

// coldVerification measures G7: one verification by key with nothing remembered, by us, by cosign's library in the same
// process and by cosign's command. The registry is a process of its own; the HTTP client of each counts.
func coldVerification(ctx context.Context, b *bench) ([]finding, error) {
	s, err := b.startSigned(ctx)
	if err != nil {
		return nil, err
	}
	defer s.registry.Stop()
	w, err := newWitness(ctx, s.registry.URL(), 20*time.Millisecond)
	if err != nil {
		return nil, err
	}
	defer w.stop()

	var found []finding
	for _, f := range formats {
		cpu, err := s.cpu(ctx, b, f.name)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.name, err)
		}
		ours, err := s.ours("http://"+w.address, f.name)
		if err != nil {
			return nil, err
		}
		trips, requests, err := count(ctx, w, ours)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.name, err)
		}
		text := fmt.Sprintf("%d round trips (%d requests), %d µs CPU", trips, requests, cpu.us.Microseconds())
		holds := trips <= 2 && cpu.us <= 500*time.Microsecond
		if cpu.library > 0 {
			library, err := s.library(ctx, w.address, f.name)
			if err != nil {
				return nil, err
			}
			trips, requests, err := count(ctx, w, library)
			if err != nil {
				return nil, fmt.Errorf("%s: cosign's library: %w", f.name, err)
			}
			text += fmt.Sprintf("; cosign's library %d (%d), %d µs, %.1fx", trips, requests, cpu.library.Microseconds(), ratio(cpu.library, cpu.us))
			holds = holds && ratio(cpu.library, cpu.us) >= 3
		}
		if cpu.command > 0 {
			text += fmt.Sprintf("; its command %d ms, %.0fx", cpu.command.Milliseconds(), ratio(cpu.command, cpu.us))
			holds = holds && ratio(cpu.command, cpu.us) >= 100
		}
		found = append(found, finding{
			"G7", "cold verification by key: " + f.name, text, "<= 2 round trips, <= 500 µs, 3x and 100x less", holds,
		})
	}
	return found, nil
}

// ours verifies an image by us, with what a gateway keeps open between two of them.
func (s *signed) ours(at, image string) (func(context.Context) error, error) {
	registries, err := registriesAt(at)
	if err != nil {
		return nil, err
	}
	authority, err := verifier.NewKeyAuthority("release", s.key.Public())
	if err != nil {
		return nil, err
	}
	v, err := verifier.New(registries, []verifier.Authority{authority})
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		ev, err := v.Verify(ctx, policy.Subject{Repo: repository, Digest: s.images[image]})
		if err == nil && len(ev.Signatures) == 0 {
			err = fmt.Errorf("nothing verified: %+v", ev)
		}
		return err
	}, nil
}

// library verifies an image by cosign's library, with a client that keeps its connections and tokens.
func (s *signed) library(ctx context.Context, at, image string) (func(context.Context) error, error) {
	ref, err := s.reference(at, image)
	if err != nil {
		return nil, err
	}
	key, err := signature.LoadVerifier(s.key.Public(), crypto.SHA256)
	if err != nil {
		return nil, err
	}
	puller, err := remote.NewPuller(remote.WithContext(ctx))
	if err != nil {
		return nil, err
	}
	check := &cosign.CheckOpts{
		SigVerifier: key, IgnoreTlog: true, Offline: true, ClaimVerifier: cosign.SimpleClaimVerifier,
		RegistryClientOpts: []ociremote.Option{ociremote.WithRemoteOptions(remote.WithContext(ctx), remote.Reuse(puller))},
	}
	return func(ctx context.Context) error {
		_, _, err := cosign.VerifyImageSignatures(ctx, ref, check)
		return err
	}, nil
}

type costs struct{ us, library, command time.Duration }

// cpu measures the processor time of one verification. Cosign's library cannot read bundles of images, and is then left out.
func (s *signed) cpu(ctx context.Context, b *bench, image string) (c costs, err error) {
	const times = 300
	ours, err := s.ours(s.registry.URL(), image)
	if err != nil {
		return c, err
	}
	library, err := s.library(ctx, s.registry.Address, image)
	if err != nil {
		return c, err
	}
	legacy := image != "bundle"
	var us, theirs, command []time.Duration
	for round := range b.rounds + 1 {
		mine, err := spent(ctx, times, ours)
		if err != nil {
			return c, err
		}
		var others, whole time.Duration
		if legacy {
			if others, err = spent(ctx, times, library); err != nil {
				return c, err
			}
		}
		if image == ".sig tag" {
			if whole, err = s.command(ctx, b, image); err != nil {
				return c, err
			}
		}
		if round > 0 {
			us, theirs, command = append(us, mine), append(theirs, others), append(command, whole)
		}
	}
	return costs{median(us), median(theirs), median(command)}, nil
}

// spent is the processor time that one call takes in this process, as the mean of several. They run on all processors at
// once: one that idles spends its time on looking for garbage.
func spent(ctx context.Context, times int, call func(context.Context) error) (time.Duration, error) {
	runtime.GC()
	before, err := ownCPU()
	if err != nil {
		return 0, err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(2 * runtime.GOMAXPROCS(0))
	for range times {
		group.Go(func() error { return call(ctx) })
	}
	if err := group.Wait(); err != nil {
		return 0, err
	}
	after, err := ownCPU()
	return (after - before) / time.Duration(times), err
}

func ownCPU() (time.Duration, error) {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0, err
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()), nil
}

// command runs cosign's command line and returns the processor time of its process.
func (s *signed) command(ctx context.Context, b *bench, image string) (time.Duration, error) {
	path, err := rig.Tool(ctx, "cosign2")
	if err != nil {
		return 0, err
	}
	home := filepath.Join(b.scratch, "home")
	if err := os.MkdirAll(home, 0o700); err != nil {
		return 0, err
	}
	ref := s.registry.Address + "/" + repository + "@" + s.images[image].String()
	command := exec.CommandContext(ctx, path, "verify", "--key", s.publicKey, "--insecure-ignore-tlog", "--allow-http-registry", ref)
	command.Env = append(os.Environ(), "HOME="+home)
	if out, err := command.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("cosign verify: %w\n%s", err, out)
	}
	return command.ProcessState.UserTime() + command.ProcessState.SystemTime(), nil
}

// count counts the round trips of one verification, and its requests. The registry is known: an image was verified before.
func count(ctx context.Context, w *witness, verify func(context.Context) error) (trips, requests int, err error) {
	if err := verify(ctx); err != nil {
		return 0, 0, err
	}
	w.take()
	if err := verify(ctx); err != nil {
		return 0, 0, err
	}
	seen := w.take()
	return rounds(seen), len(seen), nil
}
