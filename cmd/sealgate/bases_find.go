package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/gateway/upstream"
	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/policy/manifest"
	"github.com/sealgate/sealgate/verifier/inspect"
)

// baseFinder looks base images up in the registries behind the gateway.
type baseFinder struct {
	registries *upstream.Registries
	own        string // the host by which clients know the gateway, empty where there is none
}

// find says what the name of a base image means now: for each platform that is wanted, or all of them where none is. Every byte
// that it goes by was hashed against the digest that named it, the first against nothing but the tag.
func (f baseFinder) find(ctx context.Context, image string, wanted []string) (basePin, error) {
	ref, err := parseReference(image, prefixesOf(f.registries))
	if err != nil {
		return basePin{}, err
	}
	if ref.host != "" && ref.host != f.own { // what is below another host's name here may be anybody's
		return basePin{}, usage("no registry behind the gateway has the prefix %s/; add one to registries, or write the name that the image has at the gateway", plain(ref.host))
	}
	top, err := f.manifest(ctx, ref.repo, ref.asked())
	if err != nil {
		return basePin{}, err
	}

	pin := basePin{Digest: top.Digest.String()}
	if !top.IsIndex() {
		one, err := f.pin(ctx, ref.repo, top, nil)
		if err != nil {
			return basePin{}, err
		}
		pin.Images = []pinnedImage{one}
	} else if pin.Images, err = f.platforms(ctx, ref.repo, top, wanted, 0); err != nil {
		return basePin{}, err
	}
	pin.Images = slices.DeleteFunc(pin.Images, func(i pinnedImage) bool { return !isWanted(i.Platform, wanted) })
	for _, platform := range wanted {
		if !slices.ContainsFunc(pin.Images, func(i pinnedImage) bool { return isWanted(i.Platform, []string{platform}) }) {
			return basePin{}, fmt.Errorf("it has no image for %s", platform)
		}
	}
	if len(pin.Images) == 0 {
		return basePin{}, errors.New("it is an index without an image that runs")
	}
	return pin, nil
}

// maxBaseDepth bounds how deep the indexes of a base image may be nested.
const maxBaseDepth = 3

// platforms pins what an index lists, in its order.
func (f baseFinder) platforms(ctx context.Context, repo string, index *manifest.Manifest, wanted []string, depth int) ([]pinnedImage, error) {
	if depth == maxBaseDepth {
		return nil, fmt.Errorf("it lists indexes more than %d deep", maxBaseDepth)
	}
	listed, omitted := platformsOf(index)
	if omitted > 0 {
		return nil, fmt.Errorf("index %s lists more than %d manifests", index.Digest, maxPlatforms)
	}
	listed = slices.DeleteFunc(listed, func(d ocispec.Descriptor) bool {
		return d.Platform != nil && !isWanted(platformName(d.Platform), wanted)
	})

	found := make([][]pinnedImage, len(listed))
	var mu sync.Mutex // guards failures
	var failures []error
	inParallel(len(listed), func(i int) {
		d := listed[i]
		all, err := f.listed(ctx, repo, d, wanted, depth)
		if err == nil {
			found[i] = all
			return
		}
		mu.Lock()
		defer mu.Unlock()
		failures = append(failures, fmt.Errorf("%s, %s: %w", platformName(d.Platform), d.Digest, err))
	})
	if len(failures) > 0 {
		return nil, failures[0]
	}
	return slices.Concat(found...), nil
}

// listed pins one thing that an index lists: an image, the images of another index, or nothing for what does not run.
func (f baseFinder) listed(ctx context.Context, repo string, d ocispec.Descriptor, wanted []string, depth int) ([]pinnedImage, error) {
	m, err := f.manifest(ctx, repo, d.Digest.String())
	if err != nil {
		return nil, err
	}
	switch {
	case m.IsIndex():
		return f.platforms(ctx, repo, m, wanted, depth+1)
	case !m.IsRunnable():
		return nil, nil
	}
	one, err := f.pin(ctx, repo, m, d.Platform)
	return []pinnedImage{one}, err
}

// pin reads an image. Its platform is what the index says, and else what it says itself.
func (f baseFinder) pin(ctx context.Context, repo string, m *manifest.Manifest, platform *ocispec.Platform) (pinnedImage, error) {
	stack, err := inspect.ReadStack(ctx, f.registries, repo, m)
	if err != nil {
		return pinnedImage{}, err
	}
	if (policy.Base{DiffIDs: stack.DiffIDs}).HoldsNothing() {
		return pinnedImage{}, errors.New("its layers are empty, and anybody can begin an image with those")
	}
	if platform == nil || platform.OS == "" {
		platform = &stack.Platform
	}
	one := pinnedImage{Platform: platformName(platform), Digest: m.Digest.String()}
	for _, id := range stack.DiffIDs {
		one.DiffIDs = append(one.DiffIDs, id.String())
	}
	return one, nil
}

// manifest fetches a manifest. Asked by its digest, its bytes have that digest: the client sees to it.
func (f baseFinder) manifest(ctx context.Context, repo, reference string) (*manifest.Manifest, error) {
	raw, mediaType, err := f.registries.Manifest(ctx, repo, reference)
	if err != nil {
		return nil, err
	}
	return manifest.Parse(raw, mediaType)
}

// isWanted reports that a platform is one of those, or a variant of one.
func isWanted(platform string, wanted []string) bool {
	return len(wanted) == 0 || slices.ContainsFunc(wanted, func(w string) bool { return platform == w || strings.HasPrefix(platform, w+"/") })
}
