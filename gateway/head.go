package gateway

import (
	"crypto/rand"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/golang-lru/v2/expirable"
	"github.com/opencontainers/go-digest"
	"github.com/sealgate/sealgate/policy/manifest"
)

// A HEAD has no body, so a refusal would not be readable; and the clients that push ask HEAD as well, to skip what is
// already there. This file answers the refused HEAD so that a person sees the reason and a push goes on. None of its
// answers admits anything: the manifest's bytes are behind the same judgement.

// refuseHead words the refusal of a manifest for a HEAD; for a GET it is the refusal itself.
func (g *Gateway) refuseHead(x *exchange, m *manifest.Manifest, err error) error {
	var denied *deniedError
	if !x.t.Head || !errors.As(err, &denied) {
		return err
	}
	switch {
	case x.asksBeforePush():
		// "Not here": the client sends its manifest, and the push rule decides. A 403 would break the push of a fixed
		// image over a refused one.
		return notHere
	case x.t.Tag != "" && isContainerd1(x):
		return g.decoys.answer(x, m, denied)
	}
	return err
}

var notHere = &requestError{http.StatusNotFound, "MANIFEST_UNKNOWN", "the manifest does not exist"}

// asksBeforePush reports a HEAD by which a client wants to know whether it has to push.
func (x *exchange) asksBeforePush() bool {
	return x.t.Head && x.t.Kind == PullManifest && (x.mayPushByToken() || looksLikePush(x))
}

// looksLikePush recognises the HEAD of a client that is about to push and has no token to say so. containerd and crane accept just the type of the
// manifest that they hold, where a pull accepts all that it can read. oras and what is built on it accept everything, and ask
// for the digest; of those that pull, only containerd asks HEAD for a digest.
func looksLikePush(x *exchange) bool {
	named := 0
	for _, t := range accepted(x.r.Header) {
		if t != "*/*" {
			named++
		}
	}
	return named == 1 || named > 1 && x.t.Tag == "" && !strings.HasPrefix(x.r.UserAgent(), "containerd/")
}

// isContainerd1 recognises containerd 1.x, which prints nothing but "403 Forbidden" for a refused HEAD. With ns it treats
// the gateway as a mirror, where a manifest that cannot be fetched sends it to the next host.
func isContainerd1(x *exchange) bool {
	return x.t.Namespace == "" && strings.HasPrefix(x.r.UserAgent(), "containerd/1.")
}

// decoys are digests of nothing, each made up for one refused HEAD of containerd 1.x: it comes back with a GET of the
// digest, is refused with the reason in the body, and prints it.
type decoys struct {
	refusals *expirable.LRU[decoy, *deniedError]
}

type decoy struct {
	repo   string
	digest digest.Digest
}

// Bounds of the decoys: the GET follows within milliseconds.
const (
	maxDecoys = 4096
	decoyTime = time.Minute
)

func newDecoys() *decoys {
	return &decoys{expirable.NewLRU[decoy, *deniedError](maxDecoys, nil, decoyTime)}
}

func (d *decoys) answer(x *exchange, m *manifest.Manifest, refused *deniedError) error {
	var random [32]byte
	_, _ = rand.Read(random[:]) // never fails, or ends the program
	made := digest.NewDigestFromBytes(digest.SHA256, random[:])
	d.refusals.Add(decoy{x.t.Repo, made}, refused)

	h := x.w.Header()
	h.Set("Docker-Content-Digest", made.String())
	h.Set("Content-Type", m.MediaType)
	h.Set("Content-Length", strconv.Itoa(len(m.Raw)))
	x.w.WriteHeader(http.StatusOK)
	return nil
}

// find returns the refusal that a digest was made up for.
func (d *decoys) find(x *exchange) error {
	if x.t.Tag != "" || !isContainerd1(x) {
		return nil
	}
	if refused, ok := d.refusals.Get(decoy{x.t.Repo, x.t.Digest}); ok {
		return refused
	}
	return nil
}
