package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/sealgate/sealgate/gateway/ledger"
	"github.com/sealgate/sealgate/gateway/upstream"
	"github.com/sealgate/sealgate/policy/manifest"
)

// manifestDeadline bounds every request for a manifest: containerd 2 gives up 30 seconds after it asked.
const manifestDeadline = 20 * time.Second

// pullManifest answers GET and HEAD of a manifest: fetch, judge, record, serve the very bytes that were judged.
func (g *Gateway) pullManifest(x *exchange) error {
	ctx, cancel := context.WithTimeout(x.r.Context(), manifestDeadline)
	defer cancel()

	if refused := g.decoys.find(x); refused != nil {
		return refused
	}
	g.lookAhead(x)
	m, err := g.fetch(ctx, x.re, x.t)
	if err != nil {
		return err
	}
	if !accepts(x.r.Header, m.MediaType) {
		return &requestError{http.StatusNotFound, "MANIFEST_UNKNOWN", fmt.Sprintf("the manifest is of type %s, which the request does not accept", m.MediaType)}
	}

	action, judged := x.forSigning(g.judge(ctx, x.re, x.t.Repo, x.t.Tag == "", m))
	if err := g.enforce(x, action, m.Digest, judged); err != nil {
		return g.refuseHead(x, m, err)
	}
	if action == ledger.Pull {
		g.learn(x, m)
	}
	return serveManifest(x, m)
}

// fetch gets a manifest as the registry has it: from memory when its digest was asked for, else in one request, so that a
// tag is resolved once and what is judged is what is served.
func (g *Gateway) fetch(ctx context.Context, re *Regime, t Target) (*manifest.Manifest, error) {
	registry, name, ok := re.Registries.Find(t.Repo)
	if !ok {
		return nil, fmt.Errorf("no registry has %s: %w", t.Repo, upstream.ErrNotFound)
	}
	key := manifestKey{registry.Name(), name, t.Digest}
	if t.Tag != "" {
		return g.read(ctx, registry, key, t.Tag)
	}
	if m := g.manifests.get(key); m != nil {
		if registry.ForwardsCallers() { // it is here, but who asks may not be one of those who may have it
			if err := registry.MayRead(ctx, name, t.Digest); err != nil {
				return nil, err
			}
		}
		return m, nil
	}
	if registry.ForwardsCallers() { // each with his own credentials, and no flight of somebody else's
		return g.read(ctx, registry, key, t.Digest.String())
	}
	// One flight for all who ask for a digest at once, which the first of them to hang up does not end.
	flight := g.flights.DoChan(key.registry+" "+key.repo+" "+key.digest.String(), func() (_ any, err error) {
		defer func() { // nobody above would: a panic in a flight ends the process
			if p := recover(); p != nil {
				g.metrics.panics.Inc()
				err = fmt.Errorf("panic: %v", p)
			}
		}()
		if m := g.manifests.get(key); m != nil {
			return m, nil // another flight landed after we looked
		}
		detached, cancel := context.WithTimeout(context.WithoutCancel(ctx), manifestDeadline)
		defer cancel()
		return g.read(detached, registry, key, t.Digest.String())
	})
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case landed := <-flight:
		m, _ := landed.Val.(*manifest.Manifest)
		return m, landed.Err
	}
}

// read gets a manifest from its registry and keeps it.
func (g *Gateway) read(ctx context.Context, registry *upstream.Registry, key manifestKey, reference string) (*manifest.Manifest, error) {
	raw, mediaType, err := registry.Manifest(ctx, key.repo, reference)
	if errors.Is(err, upstream.ErrDigest) {
		g.metrics.corrupt.Inc()
	}
	if err != nil {
		return nil, err
	}
	m, err := manifest.Parse(raw, mediaType)
	if err != nil {
		return nil, err
	}
	if key.digest == "" {
		key.digest = m.Digest
	}
	g.manifests.add(key, m)
	return m, nil
}

// parts lists what a manifest is made of: the manifests of an index, the configuration and layers of an image.
func parts(m *manifest.Manifest) []digest.Digest {
	if m.IsIndex() {
		list := make([]digest.Digest, len(m.Manifests))
		for i, child := range m.Manifests {
			list[i] = child.Digest
		}
		return list
	}
	list := make([]digest.Digest, 0, 1+len(m.Layers))
	if m.Config.Digest != "" {
		list = append(list, m.Config.Digest)
	}
	for _, layer := range m.Layers {
		list = append(list, layer.Digest)
	}
	return list
}

func serveManifest(x *exchange, m *manifest.Manifest) error {
	served := m.Digest
	if x.t.Tag == "" {
		served = x.t.Digest // the same bytes; the client may have named them by another algorithm
	}
	h := x.w.Header()
	h.Set("Docker-Content-Digest", served.String())
	h.Set("Etag", `"`+served.String()+`"`)
	if matches(x.r.Header.Get("If-None-Match"), served) {
		x.w.WriteHeader(http.StatusNotModified)
		return nil
	}
	h.Set("Content-Type", m.MediaType)
	h.Set("Content-Length", strconv.Itoa(len(m.Raw)))
	x.w.WriteHeader(http.StatusOK)
	if x.t.Head {
		return nil
	}
	if _, err := x.w.Write(m.Raw); err != nil {
		panic(http.ErrAbortHandler)
	}
	return nil
}

func matches(ifNoneMatch string, d digest.Digest) bool {
	for tag := range strings.SplitSeq(ifNoneMatch, ",") {
		tag = strings.Trim(strings.TrimPrefix(strings.TrimSpace(tag), "W/"), `"`)
		if tag == d.String() || tag == "*" {
			return true
		}
	}
	return false
}

// maxAccept bounds how many media types of a request are looked at.
const maxAccept = 64

// accepted lists the media types that a request accepts.
func accepted(h http.Header) []string {
	var types []string
	for _, line := range h.Values("Accept") {
		for part := range strings.SplitSeq(line, ",") {
			if len(types) == maxAccept {
				return types
			}
			name, _, _ := strings.Cut(part, ";")
			if name = strings.TrimSpace(name); name != "" {
				types = append(types, name)
			}
		}
	}
	return types
}

// accepts reports whether a request takes a media type. A client that does not gets no other document instead: there is
// one manifest, the one that was judged.
func accepts(h http.Header, mediaType string) bool {
	types := accepted(h)
	if len(types) == 0 {
		return true
	}
	for _, t := range types {
		if t == mediaType || t == "*/*" || t == "application/*" || t == "application/json" {
			return true
		}
	}
	return false
}
