package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/gateway/ledger"
	"github.com/sealgate/sealgate/gateway/upstream"
	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/policy/manifest"
)

// maxIndexDepth bounds how deep indexes list indexes.
const maxIndexDepth = 3

// pushManifest answers PUT of a manifest: read, inspect, scan, judge, stage, seal, publish.
//
// The tag is the commit point. The manifest is stored under its digest and sealed before the tag names it, so that a crash
// between any two steps leaves an untagged manifest that the pull rule refuses, and a retry completes it.
func (g *Gateway) pushManifest(x *exchange) error {
	ctx, cancel := context.WithTimeout(x.r.Context(), manifestDeadline)
	defer cancel()

	m, err := g.readManifest(x)
	if err != nil {
		return err
	}
	if !x.rule.AllowsPush() && !x.signs { // before anything is read for it
		return g.enforce(x, ledger.Push, m.Digest, judgement{verdict: x.rule.JudgePush(policy.Subject{Repo: x.t.Repo, Digest: m.Digest}, policy.Image{}, g.clock.now())})
	}
	if of, list, ok := evidenceSubject(x.t.Tag); ok {
		return g.pushEvidenceTag(ctx, x, m, of, list)
	}
	give, err := g.holdTag(ctx, x, m)
	if err != nil {
		return err
	}
	defer give()
	if x.signsOnly && (!m.IsEvidence() || x.t.Tag != "") { // a tag would name a signature where an image was
		return g.refuseBeyondSigning(x, policy.Push)
	}
	if m.Subject != nil {
		defer g.arrivals.begin(policy.Subject{Repo: x.t.Repo, Digest: m.Subject.Digest}, large(m))()
	}
	if m.IsEvidence() {
		return g.pushEvidence(ctx, x, m)
	}

	if err := g.admitPush(ctx, x, m); err != nil {
		return err
	}
	if err := x.registry.PutManifest(ctx, x.name, x.t.Reference(), m.MediaType, m.Raw); err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	if err := g.attach(ctx, x, m); err != nil {
		return err
	}
	g.learn(x, m)
	g.foresee(x, m)
	return created(x, m)
}

// admitPush judges a manifest and, where the rule wants it, stages and seals it. Nil says that it may be published.
func (g *Gateway) admitPush(ctx context.Context, x *exchange, m *manifest.Manifest) error {
	reason, err := g.crowded(ctx, x, m)
	if err != nil {
		return err
	}
	j := judgement{}
	var passed []grounds
	if reason != nil {
		reason.Requirement, reason.Subject = "evidence", m.Digest.String()
		j.verdict = policy.Refuse(*reason)
	} else {
		j.verdict, passed, j.err = g.judgePush(ctx, x, m)
	}
	if errors.Is(j.err, manifest.ErrInvalid) || errors.Is(j.err, upstream.ErrNotFound) {
		return j.err // the request is at fault: nothing was there to decide about
	}

	if j.err == nil && j.verdict.Admitted() && x.rule.Seals() {
		j.evidence, j.err = g.stageAndSeal(ctx, x, m, passed)
		if refusal := new(upstream.StatusError); errors.As(j.err, &refusal) && refusal.Status/100 == 4 {
			return j.err // the registry does not take the manifest
		}
	}
	return g.enforce(x, ledger.Push, m.Digest, j)
}

// grounds are what a seal can attest of the judgement of one subject.
type grounds struct {
	subject    policy.Subject
	statements []policy.Statement
}

// judgePush inspects and scans a manifest, and everything that an index lists, and judges each under the push rule. An index is
// admitted when its children are. What passed is everything that is to be sealed then, the manifest itself last.
func (g *Gateway) judgePush(ctx context.Context, x *exchange, m *manifest.Manifest) (verdict policy.Verdict, passed []grounds, err error) {
	return g.judgeManifest(ctx, x, m, 0, tour{})
}

// tour is what one push has led to so far. An index may list one manifest a thousand times, in other indexes that are listed a
// thousand times: each is judged once as it is listed, and again only where it comes deeper, and may be too deep.
type tour map[listed]int // how deep

type listed struct {
	digest    digest.Digest
	size      int64
	mediaType string
}

func (g *Gateway) judgeManifest(ctx context.Context, x *exchange, m *manifest.Manifest, depth int, t tour) (verdict policy.Verdict, passed []grounds, err error) {
	if depth > maxIndexDepth {
		return policy.Verdict{}, nil, fmt.Errorf("%w: indexes nested deeper than %d", manifest.ErrInvalid, maxIndexDepth)
	}
	x.step(StepCheck, m.Digest)
	image, err := x.re.Inspector.Inspect(ctx, x.t.Repo, m, x.rule.ImageNeeds())
	if err != nil {
		return policy.Verdict{}, nil, fmt.Errorf("inspect %s: %w", m.Digest, err)
	}
	s := policy.Subject{Repo: x.t.Repo, Digest: m.Digest}
	verdict = x.rule.JudgeImage(s, image, g.clock.now())
	if !verdict.Admitted() {
		return verdict, nil, nil // a scan would not change it
	}
	own := grounds{subject: s}
	if image.Scans, own.statements, err = g.scan(ctx, x, m, image); err != nil {
		return policy.Verdict{}, nil, err
	}
	verdict = x.rule.JudgePush(s, image, g.clock.now())
	if !verdict.Admitted() {
		return verdict, nil, nil
	}

	for _, d := range m.Manifests {
		as := listed{d.Digest, d.Size, d.MediaType}
		if t[as] > depth {
			continue
		}
		t[as] = depth + 1
		v, children, err := g.judgeChild(ctx, x, d, depth+1, t)
		if err != nil || !v.Admitted() {
			return v, nil, err
		}
		passed = append(passed, children...)
	}
	return verdict, append(passed, own), nil
}

// scan has an image scanned by all that the rule names, side by side. An index and what runs nowhere needs none.
func (g *Gateway) scan(ctx context.Context, x *exchange, m *manifest.Manifest, image policy.Image) (scans map[string]policy.Scan, statements []policy.Statement, err error) {
	names := x.rule.Scanners()
	if len(names) == 0 || !image.Runnable {
		return nil, nil, nil
	}
	type answer struct {
		scan       policy.Scan
		statements []policy.Statement
		err        error
	}
	answers := make([]answer, len(names))
	var group sync.WaitGroup
	for i, name := range names {
		scanner, ok := x.re.Scanners[name]
		if !ok {
			return nil, nil, fmt.Errorf("scan %s: no scanner %q", m.Digest, name)
		}
		group.Go(func() {
			a := &answers[i]
			a.scan, a.statements, a.err = scanner.Scan(ctx, x.t.Repo, m)
		})
	}
	group.Wait()

	scans = map[string]policy.Scan{}
	for i, a := range answers {
		if a.err != nil {
			return nil, nil, fmt.Errorf("scan %s by %s: %w", m.Digest, names[i], a.err)
		}
		scans[names[i]] = a.scan
		for _, st := range a.statements {
			if x.rule.Attests(st.PredicateType) {
				statements = append(statements, st)
			}
		}
	}
	return scans, statements, nil
}

// judgeChild judges one manifest that an index lists. It is sealed with the index even if it was pushed before: that may have
// been around the gateway, or before it sealed. What a build tool attests about its images, inside their index, is no image.
func (g *Gateway) judgeChild(ctx context.Context, x *exchange, d ocispec.Descriptor, depth int, t tour) (policy.Verdict, []grounds, error) {
	child, err := g.fetch(ctx, x.re, Target{Repo: x.t.Repo, Digest: d.Digest})
	if err != nil {
		return policy.Verdict{}, nil, fmt.Errorf("read %s that the index lists: %w", d.Digest, err)
	}
	if d.Size != int64(len(child.Raw)) || d.MediaType != child.MediaType {
		return policy.Verdict{}, nil, fmt.Errorf("%w: the index lists %s with another size or type", manifest.ErrInvalid, d.Digest)
	}
	if child.IsEvidence() {
		text, err := g.holdsText(ctx, x.re, x.t.Repo, child)
		if err != nil {
			return policy.Verdict{}, nil, err
		}
		if !text {
			return policy.Verdict{}, nil, fmt.Errorf("%w: %s in the index has the layers of an attestation, and holds something else", manifest.ErrInvalid, d.Digest)
		}
		return policy.AdmitEvidence(), nil, nil
	}

	return g.judgeManifest(ctx, x, child, depth, t)
}

// stageAndSeal stores the manifest under its digest, where without a signature nobody can pull it, and seals what passed there.
func (g *Gateway) stageAndSeal(ctx context.Context, x *exchange, m *manifest.Manifest, passed []grounds) ([]digest.Digest, error) {
	if err := x.registry.PutManifest(ctx, x.name, m.Digest.String(), m.MediaType, m.Raw); err != nil {
		return nil, fmt.Errorf("stage: %w", err)
	}
	return g.sealAll(ctx, x, passed)
}

// sealAll seals what passed, in its order: an index when all that it lists is sealed. The evidence is that of the last.
func (g *Gateway) sealAll(ctx context.Context, x *exchange, passed []grounds) (evidence []digest.Digest, err error) {
	for _, p := range passed {
		if evidence, err = g.seal(ctx, x, p.subject, p.statements); err != nil {
			return nil, err
		}
	}
	return evidence, nil
}

// seal signs a subject, and attests what was found of it.
func (g *Gateway) seal(ctx context.Context, x *exchange, s policy.Subject, found []policy.Statement) ([]digest.Digest, error) {
	sealer, ok := x.re.Sealers[x.rule.Name()]
	if !ok {
		return nil, fmt.Errorf("seal %s: no sealer for policy %q", s, x.rule.Name())
	}
	x.step(StepSeal, s.Digest)
	if err := g.checkClock(); err != nil {
		return nil, fmt.Errorf("seal %s: %w", s, err)
	}
	statements, err := g.statements(x, s, found...)
	if err != nil {
		return nil, fmt.Errorf("summarize %s: %w", s, err)
	}
	evidence, err := sealer.Seal(ctx, s, g.sealName(s), statements)
	g.metrics.seal(err)
	if err != nil {
		return nil, fmt.Errorf("seal %s: %w", s, err)
	}
	x.re.Verifier.Forget(s)
	return evidence, nil
}

// readManifest reads the request's manifest, bounded, and holds it against the digest that the client named.
func (g *Gateway) readManifest(x *exchange) (*manifest.Manifest, error) {
	if encoding := x.r.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		return nil, &requestError{http.StatusUnsupportedMediaType, "UNSUPPORTED", "a manifest is pushed as it is, without a Content-Encoding"}
	}
	connection := http.NewResponseController(x.w)
	_ = connection.SetReadDeadline(time.Now().Add(min(manifestDeadline, g.patience))) // not every writer has one, and then nothing drips
	raw, err := io.ReadAll(http.MaxBytesReader(x.w, x.r.Body, manifest.MaxBytes))
	if err == nil { // otherwise the server waits for the rest before it answers
		_ = connection.SetReadDeadline(time.Time{})
	}
	if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
		return nil, err
	}
	if err != nil {
		return nil, badRequest("MANIFEST_INVALID", "the manifest did not arrive whole")
	}
	m, err := manifest.Parse(raw, x.r.Header.Get("Content-Type"))
	if err != nil {
		return nil, err
	}
	if x.t.Digest != "" && x.t.Digest.Algorithm().FromBytes(raw) != x.t.Digest {
		return nil, badRequest("DIGEST_INVALID", "the manifest's digest is %s, not %s", m.Digest, x.t.Digest)
	}
	return m, nil
}

// created answers a stored manifest.
func created(x *exchange, m *manifest.Manifest) error {
	h := x.w.Header()
	stored := m.Digest
	if x.t.Digest != "" {
		stored = x.t.Digest
	}
	h.Set("Docker-Content-Digest", stored.String())
	h.Set("Location", location(x, "manifests", x.t.Reference()))
	h.Set("Content-Length", "0")
	x.w.WriteHeader(http.StatusCreated)
	return nil
}

// location is a path at the gateway for what the request's repository holds.
func location(x *exchange, parts ...string) string {
	repo := x.t.Repo
	if x.t.Namespace != "" {
		repo = strings.TrimPrefix(repo, x.registry.Prefix())
	}
	path := "/v2/" + repo + "/" + strings.Join(parts, "/")
	if x.t.Namespace != "" {
		path += "?ns=" + x.t.Namespace
	}
	return path
}
