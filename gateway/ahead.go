package gateway

import (
	"context"

	"github.com/opencontainers/go-digest"
	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/policy/manifest"
)

// maxAhead bounds how many subjects are verified before anybody needs it. What a client names may not exist, and then it
// cost the registry some requests for nothing; beyond the bound it costs one.
const maxAhead = 16

// lookAhead begins to look for evidence while the manifest is under way. The client named the digest, so that nothing of the
// manifest is needed for it, and a cold pull waits for one request less. Whoever judges takes part in the same flight.
func (g *Gateway) lookAhead(x *exchange) {
	d := x.t.Digest
	if x.t.Tag != "" || d.Algorithm() != digest.SHA256 {
		return
	}
	registry, name, ok := x.re.Registries.Find(x.t.Repo)
	switch {
	case !ok || g.manifests.get(manifestKey{registry.Name(), name, d}) != nil:
		return // it is at hand, and may be evidence itself, which needs none
	case registry.ForwardsCallers():
		return // what is found is for all who ask, so only who may read the manifest finds it
	}
	g.ahead(x, policy.Subject{Repo: x.t.Repo, Digest: d})
}

// foresee verifies what was just sealed, so that the pull that follows a push waits for nothing.
func (g *Gateway) foresee(x *exchange, m *manifest.Manifest) {
	if !x.rule.Seals() {
		return
	}
	for _, d := range m.Manifests {
		g.ahead(x, policy.Subject{Repo: x.t.Repo, Digest: d.Digest})
	}
	g.ahead(x, policy.Subject{Repo: x.t.Repo, Digest: m.Digest})
}

// ahead verifies a subject for whoever asks next, where a pull of it depends on evidence. It outlives the request, and asks
// with the request's credentials, where those are what a registry is asked with.
func (g *Gateway) ahead(x *exchange, s policy.Subject) {
	re, asker := x.re, context.WithoutCancel(x.r.Context())
	if !re.Policy.Rule(s.Repo).NeedsEvidence() {
		return
	}
	select {
	case g.aheads <- struct{}{}:
	default:
		return
	}
	go func() {
		defer func() { <-g.aheads }()
		defer func() {
			if recover() != nil { // nobody above would, and whoever judges meets it again
				g.metrics.panics.Inc()
			}
		}()
		ctx, cancel := context.WithTimeout(asker, manifestDeadline)
		defer cancel()
		_, _ = re.Verifier.Verify(ctx, s) // whoever judges gets the answer, or asks again
	}()
}
