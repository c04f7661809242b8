package gateway

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/opencontainers/go-digest"
	"github.com/sealgate/sealgate/gateway/ledger"
	"github.com/sealgate/sealgate/gateway/upstream"
	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/policy/manifest"
)

// Tags that are written once. A registry replaces what a tag names without a word, so the gateway looks first, and lets one
// push at a time near such a tag: of two that come at once, the second finds what the first wrote.

// turns lets one at a time hold a name. The zero value is ready.
type turns struct {
	mu   sync.Mutex // guards held
	held map[string]*turn
}

type turn struct {
	free  chan struct{} // holds one token
	users int           // who holds it or waits for it
}

// take waits for a name's turn, or for the context's end.
func (t *turns) take(ctx context.Context, name string) (give func(), err error) {
	t.mu.Lock()
	one := t.held[name]
	if one == nil {
		one = &turn{free: make(chan struct{}, 1)}
		one.free <- struct{}{}
		if t.held == nil {
			t.held = map[string]*turn{}
		}
		t.held[name] = one
	}
	one.users++
	t.mu.Unlock()
	leave := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if one.users--; one.users == 0 {
			delete(t.held, name)
		}
	}

	select {
	case <-one.free:
		return func() { one.free <- struct{}{}; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}

// holdTag makes sure that a push replaces nothing under an immutable tag. What it returns ends the push's turn.
func (g *Gateway) holdTag(ctx context.Context, x *exchange, m *manifest.Manifest) (give func(), err error) {
	if !x.rule.IsImmutable(x.t.Tag) {
		return func() {}, nil
	}
	give, err = g.tags.take(ctx, x.registry.Name()+" "+x.name+":"+x.t.Tag)
	if err != nil {
		return nil, err
	}
	there, err := g.fetch(ctx, x.re, Target{Repo: x.t.Repo, Tag: x.t.Tag})
	switch {
	case errors.Is(err, upstream.ErrNotFound):
		return give, nil
	case err == nil && there.Digest == m.Digest && there.MediaType == m.MediaType:
		return give, nil // a retry
	case err == nil || errors.Is(err, manifest.ErrInvalid): // whatever it is, it is there
		give()
		return nil, g.refuseTag(x, ledger.Push, m.Digest, "the tag names something else already, and is written once", "choose another tag")
	}
	give()
	return nil, fmt.Errorf("read what %s names: %w", x.t.Tag, err)
}

// keepTags refuses to delete an immutable tag, and manifests where there are such tags: a registry deletes with a manifest
// what names it.
func (g *Gateway) keepTags(x *exchange) error {
	if x.rule.IsImmutable(x.t.Tag) || x.t.Tag == "" && x.rule.HasImmutableTags() {
		return g.refuseTag(x, ledger.Delete, x.t.Digest, "it is, or may be, what an immutable tag names", "delete it with the registry's own tools")
	}
	return nil
}

// refuseTag refuses in audit mode too: that is about images, not about what their names mean.
func (g *Gateway) refuseTag(x *exchange, action ledger.Action, subject digest.Digest, why, fix string) error {
	return g.enforce(x, action, subject, judgement{strict: true, verdict: policy.Refuse(policy.Reason{
		Code: policy.TagImmutable, Requirement: "push immutable_tags", Subject: x.t.Reference(), Why: why, Fix: fix,
	})})
}
