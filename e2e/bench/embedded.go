package main

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/opencontainers/go-digest"
	"github.com/sealgate/sealgate/e2e/rig"
)

// sealing is us as we run without a configuration, but for images that name no user.
const sealing = `
policies:
  - name: sealed
    repositories: ["**"]
    pull: {signed_by: {any: [gateway]}}
    push: {seal: {signer: gateway}}
`

const repository = "bench/app"

// startBoth starts distribution's registry and us with the same one embedded.
func (b *bench) startBoth(ctx context.Context) (bare *rig.Program, us *rig.Gateway, err error) {
	folder, err := b.folder()
	if err != nil {
		return nil, nil, err
	}
	if bare, err = rig.Registry(ctx, folder); err != nil {
		return nil, nil, err
	}
	if folder, err = b.folder(); err == nil {
		us, err = rig.StartGateway(ctx, b.sealgate, folder, sealing)
	}
	if err != nil {
		bare.Stop()
		return nil, nil, err
	}
	return bare, us, nil
}

// push pushes a small image of six layers and returns its manifest's digest.
func push(ctx context.Context, servers ...*rig.Program) (string, error) {
	image, err := random.Image(1<<10, 6)
	if err != nil {
		return "", err
	}
	for _, server := range servers {
		ref, err := name.ParseReference(server.Address + "/" + repository + ":v1")
		if err != nil {
			return "", err
		}
		if err := remote.Write(ref, image, remote.WithContext(ctx)); err != nil {
			return "", fmt.Errorf("push to %s: %w", server.Name, err)
		}
	}
	d, err := image.Digest()
	return d.String(), err
}

// warmManifests measures G1: a manifest by digest, verified before and still remembered, each answer a recorded decision.
func warmManifests(ctx context.Context, b *bench) ([]finding, error) {
	const connections = 16
	bare, us, err := b.startBoth(ctx)
	if err != nil {
		return nil, err
	}
	defer bare.Stop()
	defer us.Stop()
	d, err := push(ctx, bare, us.Program)
	if err != nil {
		return nil, err
	}

	recorded, err := decisions(us)
	if err != nil {
		return nil, err
	}
	enter := func(name string, server *rig.Program, count int) contender {
		return contender{name, server, func(ctx context.Context) (float64, error) {
			_, err := load(ctx, server.Address, "/v2/"+repository+"/manifests/"+d, connections, count)
			return float64(count), err
		}}
	}
	const ours = 30_000
	memory, err := b.play(ctx, "memory", "")
	if err != nil {
		return nil, err
	}
	defer memory.Stop()
	r, err := race(ctx, b.rounds, []contender{
		enter("distribution", bare, 3_000), enter("us", us.Program, ours), enter("memory", memory, ours),
	})
	if err != nil {
		return nil, err
	}
	after, err := decisions(us)
	if err != nil {
		return nil, err
	}
	if got, want := after-recorded, ours*(b.rounds+1); got != want {
		return nil, fmt.Errorf("%d decisions were recorded for %d answers", got, want)
	}
	x, rate := ratio(r["us"].cpu, r["distribution"].cpu), ratio(r["distribution"].wall, r["us"].wall)
	return []finding{{
		"G1", "warm verified manifest GET by digest, recorded; CPU and rate over distribution's",
		fmt.Sprintf("%.3fx, %.1fx (us %s; distribution %s; Go from memory, unverified, %s)", x, rate, per(r["us"]), per(r["distribution"]), per(r["memory"])),
		"<= 0.08x, >= 10x", x <= 0.08 && rate >= 10,
	}}, nil
}

// decisions counts the records of a gateway, in rotated files too.
func decisions(g *rig.Gateway) (int, error) {
	files, err := filepath.Glob(filepath.Join(g.Directory, "*", "decisions*.jsonl"))
	if err != nil || len(files) == 0 {
		return 0, fmt.Errorf("no decisions below %s: %w", g.Directory, err)
	}
	sum := 0
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			return 0, err
		}
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			sum++
		}
		f.Close()
		if err := lines.Err(); err != nil {
			return 0, err
		}
	}
	return sum, nil
}

// blobsFromUs measures G4: large blobs that we keep ourselves.
func blobsFromUs(ctx context.Context, b *bench) ([]finding, error) {
	const size, count = 128 << 20, 8
	bare, us, err := b.startBoth(ctx)
	if err != nil {
		return nil, err
	}
	defer bare.Stop()
	defer us.Stop()
	blob := noise(size)
	d := digest.FromBytes(blob).String()
	for _, server := range []*rig.Program{bare, us.Program} {
		if err := upload(ctx, http.DefaultClient, server.URL(), repository, d, blob); err != nil {
			return nil, err
		}
	}

	var found []finding
	for _, streams := range []int{1, 8} {
		enter := func(name string, server *rig.Program) contender {
			return contender{name, server, func(ctx context.Context) (float64, error) {
				n, err := load(ctx, server.Address, "/v2/"+repository+"/blobs/"+d, streams, count)
				return float64(n) / gigabyte, err
			}}
		}
		r, err := race(ctx, b.rounds, []contender{enter("distribution", bare), enter("us", us.Program)})
		if err != nil {
			return nil, err
		}
		x, rate := ratio(r["us"].cpu, r["distribution"].cpu), ratio(r["distribution"].wall, r["us"].wall)
		found = append(found, finding{
			"G4", fmt.Sprintf("blob GET from the embedded registry, %d streams; CPU/GB and rate over distribution's", streams),
			fmt.Sprintf("%.2fx, %.2fx (us %s; distribution %s)", x, rate, perGB(r["us"]), perGB(r["distribution"])),
			"<= 0.5x, >= 1.5x", x <= 0.5 && rate >= 1.5,
		})
	}
	return found, nil
}

// idleMemory measures G12: what connections take that wait, and what all take when others work beside them.
func idleMemory(ctx context.Context, b *bench) ([]finding, error) {
	const connections, active, requests = 1000, 200, 20_000
	folder, err := b.folder()
	if err != nil {
		return nil, err
	}
	us, err := rig.StartGateway(ctx, b.sealgate, folder, sealing)
	if err != nil {
		return nil, err
	}
	defer us.Stop()
	base, err := us.Memory()
	if err != nil {
		return nil, err
	}
	request := fmt.Appendf(nil, "GET /v2/ HTTP/1.1\r\nHost: %s\r\n\r\n", us.Address)
	for range connections {
		c, err := dial(ctx, us.Address)
		if err != nil {
			return nil, err
		}
		defer c.Close()
		if _, err := c.exchange(request, http.StatusOK); err != nil {
			return nil, err
		}
	}
	full, err := us.Memory()
	if err != nil {
		return nil, err
	}
	each, start := float64(full-base)/connections/1024, float64(base)/(1<<20)

	d, err := push(ctx, us.Program)
	if err != nil {
		return nil, err
	}
	path := "/v2/" + repository + "/manifests/" + d
	before, err := us.CPU()
	if err != nil {
		return nil, err
	}
	began := time.Now()
	if _, err := load(ctx, us.Address, path, active, requests); err != nil {
		return nil, err
	}
	took := time.Since(began)
	after, err := us.CPU()
	if err != nil {
		return nil, err
	}
	busy, err := us.Memory()
	if err != nil {
		return nil, err
	}
	all := float64(busy) / (1 << 20)
	most := 60 + float64(connections+active)*20/1024
	return []finding{{
		"G12", fmt.Sprintf("memory of %d idle connections", connections),
		fmt.Sprintf("%.1f KB each, over a base of %.0f MB", each, start),
		"<= 20 KB, 60 MB", each <= 20 && start <= 60,
	}, {
		"G12", fmt.Sprintf("memory with %d more that pull %d manifests", active, requests),
		fmt.Sprintf("%.0f MB, %.0f us CPU a request, %.0f requests/s", all, float64((after-before).Microseconds())/requests, requests/took.Seconds()),
		fmt.Sprintf("<= %.0f MB", most), all <= most,
	}}, nil
}

// startUp measures G16: from the start of the process to the first verified pull, with the image sealed before.
func startUp(ctx context.Context, b *bench) ([]finding, error) {
	folder, err := b.folder()
	if err != nil {
		return nil, err
	}
	us, err := rig.StartGateway(ctx, b.sealgate, folder, sealing)
	if err != nil {
		return nil, err
	}
	d, err := push(ctx, us.Program)
	us.Stop()
	if err != nil {
		return nil, err
	}
	var walls []time.Duration
	for range b.rounds {
		start := time.Now()
		us, err := rig.StartGateway(ctx, b.sealgate, folder, sealing)
		if err != nil {
			return nil, err
		}
		_, err = load(ctx, us.Address, "/v2/"+repository+"/manifests/"+d, 1, 1)
		walls = append(walls, time.Since(start))
		us.Stop()
		if err != nil {
			return nil, err
		}
	}
	took := median(walls)
	return []finding{{
		"G16", "from the start to the first verified pull",
		fmt.Sprintf("%d ms (%d to %d)", took.Milliseconds(), slices.Min(walls).Milliseconds(), slices.Max(walls).Milliseconds()),
		"<= 300 ms", took <= 300*time.Millisecond,
	}}, nil
}
