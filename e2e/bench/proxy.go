package main

import (
	"context"
	"fmt"
	"net/http"

	"github.com/opencontainers/go-digest"
	"github.com/sealgate/sealgate/e2e/rig"
	"golang.org/x/sync/errgroup"
)

const gigabyte = 1e9

// smallRequests measures G2: a request of a kilobyte, passed through.
func smallRequests(ctx context.Context, b *bench) ([]finding, error) {
	const connections, count = 16, 20_000
	blob := fmt.Appendf(nil, `{"architecture":"amd64","os":"linux","config":{"Env":["NOISE=%x"]}}`, noise(480)) // such as a configuration
	p, err := b.startProxies(ctx, blob)
	if err != nil {
		return nil, err
	}
	defer p.stop()

	enter := func(name string, server *rig.Program) contender {
		return contender{name, server, func(ctx context.Context) (float64, error) {
			_, err := load(ctx, server.Address, "/v2/bench/app/blobs/"+digest.FromBytes(blob).String(), connections, count)
			return count, err
		}}
	}
	r, err := race(ctx, b.rounds, []contender{enter("nginx", p.nginx), enter("proxy", p.reverseProxy), enter("us", p.us)})
	if err != nil {
		return nil, err
	}
	x := ratio(r["us"].cpu, r["nginx"].cpu)
	return []finding{{
		"G2", "1 KB blob GET through; CPU over nginx's",
		fmt.Sprintf("%.2fx (us %s; nginx %s; ReverseProxy %s)", x, per(r["us"]), per(r["nginx"]), per(r["proxy"])),
		"<= 1.5x", x <= 1.5,
	}}, nil
}

// blobsThrough measures G3: large blobs from an upstream.
func blobsThrough(ctx context.Context, b *bench) ([]finding, error) {
	const size = 128 << 20
	blob := noise(size)
	p, err := b.startProxies(ctx, blob)
	if err != nil {
		return nil, err
	}
	defer p.stop()

	var found []finding
	for _, streams := range []int{1, 8} {
		enter := func(name string, server *rig.Program) contender {
			return contender{name, server, func(ctx context.Context) (float64, error) {
				n, err := load(ctx, server.Address, "/v2/bench/app/blobs/"+digest.FromBytes(blob).String(), streams, 8)
				return float64(n) / gigabyte, err
			}}
		}
		r, err := race(ctx, b.rounds, []contender{
			enter("direct", p.origin), enter("nginx", p.nginx), enter("proxy", p.reverseProxy), enter("us", p.us),
		})
		if err != nil {
			return nil, err
		}
		x, rate := ratio(r["us"].cpu, r["nginx"].cpu), ratio(r["direct"].wall, r["us"].wall)
		found = append(found, finding{
			"G3", fmt.Sprintf("blob GET through, %d streams; CPU/GB over tuned nginx's, rate over direct", streams),
			fmt.Sprintf("%.2fx, %.2fx (us %s; nginx %s; ReverseProxy %s; direct %.2f GB/s)",
				x, rate, perGB(r["us"]), perGB(r["nginx"]), perGB(r["proxy"]), r["direct"].perSecond()),
			"<= 0.9x, >= 0.85x", x <= 0.9 && rate >= 0.85,
		})
	}
	return found, nil
}

// uploads measures G6: a blob PUT through, whose digest we check on the way.
func uploads(ctx context.Context, b *bench) ([]finding, error) {
	const size, connections, count = 64 << 20, 2, 8
	blob := noise(size)
	p, err := b.startProxies(ctx)
	if err != nil {
		return nil, err
	}
	defer p.stop()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: connections, WriteBufferSize: 256 << 10}}

	enter := func(name string, server *rig.Program) contender {
		return contender{name, server, func(ctx context.Context) (float64, error) {
			group, ctx := errgroup.WithContext(ctx)
			group.SetLimit(connections)
			for range count {
				group.Go(func() error {
					return upload(ctx, client, server.URL(), "bench/app", digest.FromBytes(blob).String(), blob)
				})
			}
			return size * count / gigabyte, group.Wait()
		}}
	}
	r, err := race(ctx, b.rounds, []contender{enter("nginx", p.nginx), enter("proxy", p.reverseProxy), enter("us", p.us)})
	if err != nil {
		return nil, err
	}
	cpu := r["us"].cpu.Seconds()
	return []finding{{
		"G6", "blob PUT through, digest checked; CPU/GB",
		fmt.Sprintf("%.2f s/GB (us %s; nginx, unchecked, %s; ReverseProxy, unchecked, %s)", cpu, perGB(r["us"]), perGB(r["nginx"]), perGB(r["proxy"])),
		"<= 1.3 s/GB", cpu <= 1.3,
	}}, nil
}
