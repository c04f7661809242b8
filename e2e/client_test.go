package e2e

import (
	"strings"
	"testing"
)

// client is a program that pulls or pushes images, seen from a test.
type client struct {
	name string

	// pull pulls an image. It does not say that it worked.
	pull func(t *testing.T, ref string) result

	// build makes what a source holds known to the client, in the way people do it: those that build, build. nil for
	// clients that push what lies on a disk.
	build func(t *testing.T, s source, ref string)

	// push pushes what was built, or what the source holds. nil for clients that only pull.
	push func(t *testing.T, s source, ref string) result

	// pushIndex pushes the multi-arch image of a source.
	pushIndex func(t *testing.T, s source, ref string) result

	// clear forgets what was pulled, so that the next pull is a whole one. nil for clients that keep nothing.
	clear func(t *testing.T)

	// noTag says that the client takes name@digest, and no tag before the @.
	noTag bool

	// mute says that of a refused push the client prints the status alone, whatever the answer says.
	mute bool

	// keeps says that the client asks nothing but HEAD for what it has already.
	keeps bool
}

// clients in the order of the table: those of nodes and developers, then the tools of pipelines.
var clients = []client{
	{name: "docker", pull: dockerPull, build: dockerBuild, push: dockerPush, pushIndex: dockerPushIndex, clear: dockerClear, keeps: true},
	{name: "ctr-1.6", pull: ctr1.pull, build: ctr1.load, push: ctr1.push, mute: true, pushIndex: ctr1.pushIndex, clear: ctr1.clear, keeps: true},
	{name: "cri-1.6", pull: cri1.pull, clear: cri1.clear, keeps: true},
	{name: "ctr-2.4", pull: ctr2.pull, build: ctr2.load, push: ctr2.push, pushIndex: ctr2.pushIndex, clear: ctr2.clear, keeps: true},
	{name: "cri-2.4", pull: cri2.pull, clear: cri2.clear, keeps: true},
	{name: "podman", pull: podmanPull, build: podmanBuild, push: podmanPush, pushIndex: podmanPushIndex, clear: podmanClear},
	{name: "skopeo", pull: skopeoPull, push: skopeoPush, pushIndex: skopeoPushIndex, noTag: true},
	{name: "buildah", pull: buildahPull, build: buildahBuild, push: buildahPush, pushIndex: buildahPushIndex, clear: buildahClear},
	{name: "crane", pull: cranePull, push: cranePush, pushIndex: cranePush},
	{name: "oras", pull: orasPull, push: orasPush, pushIndex: orasPush},
}

// forEachClient runs a subtest for each client, several at once, and returns when all of them ended.
func forEachClient(t *testing.T, name string, do func(t *testing.T, c client)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		for _, c := range clients {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				do(t, c)
			})
		}
	})
}

// fresh pulls into an empty store.
func (c client) fresh(t *testing.T, ref string) result {
	t.Helper()
	if c.clear != nil {
		c.clear(t)
	}
	return c.pull(t, ref)
}

// deliver builds and pushes.
func (c client) deliver(t *testing.T, s source, ref string) result {
	t.Helper()
	if c.build != nil {
		c.build(t, s, ref)
	}
	return c.push(t, s, ref)
}

// pinned writes name:tag@digest, or as near to it as the client can read.
func (c client) pinned(ref, digest string) string {
	if c.noTag {
		ref = untagged(ref)
	}
	return ref + "@" + digest
}

// untagged is a reference without its tag.
func untagged(ref string) string {
	if colon := strings.LastIndexByte(ref, ':'); colon > strings.LastIndexByte(ref, '/') {
		return ref[:colon]
	}
	return ref
}
