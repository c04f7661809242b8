package gateway

import (
	"time"

	"github.com/hashicorp/golang-lru/v2/expirable"
	"github.com/opencontainers/go-digest"
	"github.com/sealgate/sealgate/gateway/ledger"
	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/policy/manifest"
)

// Where a rule wants it, a blob is served only when an admitted manifest of its repository names it. Which manifests were
// admitted is in the ledger; each is read, must name the blob, and is judged again, so that the blobs of an image that is
// refused from now on are refused too.

// uploads remembers the blobs that a client just uploaded: it asks for them with HEAD, and mounts them, before the manifest
// comes that names them. It may not read them by that.
type uploads struct {
	fresh *expirable.LRU[upload, struct{}]
}

type upload struct {
	repo, client string
	digest       digest.Digest
}

// Bounds of the uploads that are remembered. What is forgotten is uploaded again.
const (
	maxUploads = 65_536
	uploadTime = time.Hour
)

func newUploads() *uploads {
	return &uploads{expirable.NewLRU[upload, struct{}](maxUploads, nil, uploadTime)}
}

func (u *uploads) add(x *exchange, d digest.Digest) {
	if x.rule.WantsReferencedBlobs() {
		u.fresh.Add(upload{x.t.Repo, x.caller.Name, d}, struct{}{})
	}
}

func (u *uploads) has(x *exchange, repo string, d digest.Digest) bool {
	return u.fresh.Contains(upload{repo, x.caller.Name, d})
}

// learn remembers what an admitted manifest is made of: an index always, for its platforms; an image where its blobs depend
// on it.
func (g *Gateway) learn(x *exchange, m *manifest.Manifest) {
	if m.IsIndex() || x.rule.WantsReferencedBlobs() {
		g.ledger.Admit(x.t.Repo, m.Digest, parts(m))
	}
}

// mayReadBlob refuses a blob that nothing admitted names, before the registry is asked: the answer is the same for what is
// there and what is not. A client that may push is told "not here" by a HEAD, and uploads.
func (g *Gateway) mayReadBlob(x *exchange) error {
	if !x.rule.WantsReferencedBlobs() || x.t.Head && x.rule.AllowsPush() && g.fresh.has(x, x.t.Repo, x.t.Digest) {
		return nil
	}
	j := g.judgeBlob(x, x.t.Repo, x.t.Digest)
	if j.err == nil && j.verdict.Admitted() {
		return nil // under the decision about the manifest, which was recorded
	}
	if x.t.Head && j.err == nil && !x.rule.Audit() {
		return notFoundHead(x.t.Kind)
	}
	return g.enforce(x, ledger.Pull, x.t.Digest, j)
}

// judgeBlob gives a blob the verdict of a manifest that names it: an admit where there is one, else the last refusal.
func (g *Gateway) judgeBlob(x *exchange, repo string, d digest.Digest) judgement {
	j := judgement{verdict: policy.Refuse(policy.Reason{
		Code: policy.BlobUnreferenced, Requirement: "pull blobs referenced", Subject: d.String(),
		Why: "no image that was admitted here names this blob",
		Fix: "pull the image by its name; a client that has its manifest already asks for blobs alone, remove it there first",
	})}
	for _, whole := range g.ledger.Wholes(repo, d) {
		m, err := g.whole(x.r.Context(), x.re, policy.Subject{Repo: repo, Digest: whole}, d, false)
		if err != nil {
			j = judgement{err: err} // another one may still admit it
			continue
		}
		if m == nil {
			continue
		}
		judged := g.judge(x.r.Context(), x.re, repo, true, m)
		if judged.err == nil && judged.verdict.Admitted() {
			return judged
		}
		if j.err == nil {
			j = judged
		}
	}
	return j
}

// mayMount reports that a blob of another repository may be mounted: that the client could have read it there, or has just
// uploaded it.
func (g *Gateway) mayMount(x *exchange, repo string, d digest.Digest) bool {
	if !x.re.Policy.Rule(repo).WantsReferencedBlobs() || g.fresh.has(x, repo, d) {
		return true
	}
	j := g.judgeBlob(x, repo, d)
	return j.err == nil && j.verdict.Admitted()
}
