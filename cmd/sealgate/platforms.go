package main

import (
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/policy/manifest"
	"golang.org/x/sync/errgroup"
)

// maxPlatforms bounds how many manifests of an index are looked at.
const maxPlatforms = 64

// Where BuildKit keeps its attestations, in an index beside the platforms:
// https://github.com/moby/buildkit/blob/master/docs/attestations/attestation-storage.md
const (
	buildkitType    = "vnd.docker.reference.type"
	buildkitSubject = "vnd.docker.reference.digest"
	buildkitClaim   = "attestation-manifest"
)

// platformsOf lists what somebody would run of an index, and how many more there are.
func platformsOf(m *manifest.Manifest) (list []ocispec.Descriptor, omitted int) {
	for _, d := range m.Manifests {
		if d.Annotations[buildkitType] == buildkitClaim {
			continue
		}
		if len(list) == maxPlatforms {
			omitted++
			continue
		}
		list = append(list, d)
	}
	return list, omitted
}

// platformName is a platform as docker writes it.
func platformName(p *ocispec.Platform) string {
	if p == nil {
		return "unknown"
	}
	name := p.OS + "/" + p.Architecture
	for _, more := range []string{p.Variant, p.OSVersion} {
		if more != "" {
			name += "/" + more
		}
	}
	return plain(name)
}

// inParallel does something for each of n things, a few at a time.
func inParallel(n int, do func(i int)) {
	var group errgroup.Group
	group.SetLimit(8)
	for i := range n {
		group.Go(func() error {
			do(i)
			return nil
		})
	}
	_ = group.Wait()
}

// buildkitClaims lists the manifests of BuildKit's attestations in an index, with what each is about.
func buildkitClaims(m *manifest.Manifest) (list []ocispec.Descriptor, about []digest.Digest) {
	for _, d := range m.Manifests {
		if d.Annotations[buildkitType] == buildkitClaim && len(list) < maxPlatforms {
			list = append(list, d)
			about = append(about, digest.Digest(plain(d.Annotations[buildkitSubject])))
		}
	}
	return list, about
}
