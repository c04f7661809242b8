package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/sealgate/sealgate/e2e/rig"
)

// A contender is one server and the work that is done with it in one turn.
type contender struct {
	name   string
	server *rig.Program
	lap    func(context.Context) (units float64, err error) // requests, or gigabytes
}

// A result is what one unit cost, as the median of all rounds.
type result struct {
	cpu  time.Duration // processor time of the server
	wall time.Duration
}

// perSecond is the rate of a result.
func (r result) perSecond() float64 { return float64(time.Second) / float64(r.wall) }

// race lets contenders take turns. The first round warms up and does not count.
func race(ctx context.Context, rounds int, contenders []contender) (map[string]result, error) {
	cpus, walls := map[string][]time.Duration{}, map[string][]time.Duration{}
	for round := range rounds + 1 {
		for _, c := range contenders {
			before, err := c.server.CPU()
			if err != nil {
				return nil, err
			}
			start := time.Now()
			units, err := c.lap(ctx)
			if err != nil {
				return nil, fmt.Errorf("%s: %w\n%s", c.name, err, c.server.Log())
			}
			wall := time.Since(start)
			after, err := c.server.CPU()
			if err != nil {
				return nil, err
			}
			if round > 0 {
				cpus[c.name] = append(cpus[c.name], time.Duration(float64(after-before)/units))
				walls[c.name] = append(walls[c.name], time.Duration(float64(wall)/units))
			}
		}
	}
	results := map[string]result{}
	for _, c := range contenders {
		results[c.name] = result{cpu: median(cpus[c.name]), wall: median(walls[c.name])}
	}
	return results, nil
}

func median(times []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(times))
	return sorted[len(sorted)/2]
}

// ratio is a over b.
func ratio(a, b time.Duration) float64 { return float64(a) / float64(b) }

// per formats processor time, and the rate beside it, for small requests.
func per(r result) string {
	return fmt.Sprintf("%d µs, %.0f/s", r.cpu.Microseconds(), r.perSecond())
}

// perGB formats processor time, and the rate beside it, for streams.
func perGB(r result) string {
	return fmt.Sprintf("%.2f s/GB, %.2f GB/s", r.cpu.Seconds(), r.perSecond())
}
