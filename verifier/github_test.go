package verifier

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sigstore/sigstore-go/pkg/testing/data"
)

// releaseBundle is a real bundle that a workflow on GitHub made with Sigstore's public instance.
const releaseBundle = "sigstore.js@2.0.0-provenance.sigstore.json"

// released is the SHA-512 of what it is about.
const released = "46d4e2f74c4877316640000a6fdf8a8b59f1e0847667973e9859f774dd31b8f1e0937813b777fb66a2ac67d50540fe34640966eee9fc2ccca387082b4c85cd3c"

func releaseWorkflow() GitHub {
	return GitHub{
		Owner: "sigstore", Repository: "sigstore/sigstore-js", OwnerID: "71096353", RepositoryID: "495574555",
		Workflow: ".github/workflows/release.yml", Refs: []string{"refs/heads/main"}, Trigger: "push", Runner: "github-hosted",
	}
}

func TestWhatAWorkflowOnGitHubAttestedVerifiesAgainstThePublicRoot(t *testing.T) {
	public, err := PublicGood()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*GitHub)
		code   FailureCode // empty: it verifies
	}{
		"all that is known of it":           {change: func(*GitHub) {}},
		"the owner alone":                   {change: func(g *GitHub) { *g = GitHub{Owner: "sigstore", AnyRefUnsafe: true} }},
		"the repository alone":              {change: func(g *GitHub) { *g = GitHub{Repository: "sigstore/sigstore-js", AnyRefUnsafe: true} }},
		"a pattern of refs":                 {change: func(g *GitHub) { g.Refs = []string{"refs/tags/v*", "refs/heads/*"} }},
		"the workflow with its repository":  {change: func(g *GitHub) { g.Workflow = "sigstore/sigstore-js/.github/workflows/release.yml" }},
		"the workflow with its ref":         {change: func(g *GitHub) { g.Workflow += "@refs/heads/main" }},
		"another owner":                     {func(g *GitHub) { *g = GitHub{Owner: "sigstor", AnyRefUnsafe: true} }, IdentityMismatch},
		"another owner of the name":         {func(g *GitHub) { g.OwnerID = "71096354" }, IdentityMismatch},
		"another repository":                {func(g *GitHub) { g.Repository, g.RepositoryID = "sigstore/sigstore", "" }, IdentityMismatch},
		"another repository of the name":    {func(g *GitHub) { g.RepositoryID = "495574556" }, IdentityMismatch},
		"a repository whose dot is a joker": {func(g *GitHub) { g.Repository = "sigstore/sigstore.js" }, IdentityMismatch},
		"another workflow":                  {func(g *GitHub) { g.Workflow = ".github/workflows/release.yaml" }, IdentityMismatch},
		"another repository's workflow":     {func(g *GitHub) { g.Workflow = "sigstore/ci/.github/workflows/release.yml@refs/heads/main" }, IdentityMismatch},
		"the workflow of another ref":       {func(g *GitHub) { g.Workflow += "@refs/heads/mai" }, IdentityMismatch},
		"another ref":                       {func(g *GitHub) { g.Refs = []string{"refs/heads/mai", "refs/tags/*"} }, IdentityMismatch},
		"another trigger":                   {func(g *GitHub) { g.Trigger = "pull_request" }, IdentityMismatch},
		"another runner":                    {func(g *GitHub) { g.Runner = "self-hosted" }, IdentityMismatch},
		"another host":                      {func(g *GitHub) { g.Host = "acme.ghe.com" }, IdentityMismatch},
	} {
		g := releaseWorkflow()
		c.change(&g)
		g.Roots = []*TrustRoot{public}
		a, err := newGitHubAuthority("ci", g)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		proof, err := a.checks.verify(bundleEntity{data.Bundle(t, releaseBundle)}, digestArtifact("sha512", fromHex(t, released)))
		if c.code != "" {
			if err == nil || asFailure(err).Code != c.code {
				t.Errorf("%s: got %v, want %s", name, err, c.code)
			}
			continue
		}
		if err != nil || !strings.HasPrefix(proof.Signer, "https://github.com/sigstore/sigstore-js/.github/workflows/release.yml@refs/heads/main") || proof.Time.IsZero() {
			t.Errorf("%s: got %+v, %v", name, proof, err)
		}
	}
}

// inGitHubsOwn is a certificate as GitHub's own Fulcio gives it to a workflow of acme/app.
func inGitHubsOwn(t testing.TB, s *sigstore) holder {
	return s.holder(t, func(c *x509.Certificate) {
		c.URIs = []*url.URL{address(t, testSubject)}
		setExtension(t, c, 15, "1001")
		setExtension(t, c, 16, "https://github.com/acme")
		setExtension(t, c, 17, "7")
		setExtension(t, c, 11, "github-hosted")
		c.Subject.CommonName = "not logged"
	})
}

// GitHub's own instance has no transparency log and no certificate log: its timestamp authority says the time. That must not
// take anything away from what the public instance needs, though one authority knows both.
func TestEachRootOfGitHubWantsAllThatItHas(t *testing.T) {
	public, own := newSigstore(t), newSigstore(t)
	ownRoot := own.trust(t, func(p *parts) { p.logs, p.ct = nil, nil })
	subject := aSubject()
	workflow := GitHub{Repository: "acme/app", Refs: []string{"refs/heads/main"}, Roots: []*TrustRoot{public.trust(t, nil), ownRoot}}
	a, err := NewGitHubAuthority("ci", workflow)
	if err != nil {
		t.Fatal(err)
	}

	byOwn := inGitHubsOwn(t, own)
	byPublic := public.holder(t, func(c *x509.Certificate) { setExtension(t, c, 16, "https://github.com/acme") })
	unlogged := public.holder(t, func(c *x509.Certificate) {
		setExtension(t, c, 16, "https://github.com/acme")
		c.Subject.CommonName = "not logged"
	})
	payload := attest(subject.Digest, reviewType, aReview)
	stampedBy := func(s *sigstore, by holder, stamp *sigstore) []byte {
		d := s.attest(t, by, payload)
		d.entry, d.stamp = nil, nil
		if stamp != nil {
			d.stamp = stamp.stamp(t, d.sig)
		}
		return s.bundle(t, d)
	}
	for name, c := range map[string]struct {
		bundle []byte
		code   FailureCode
	}{
		"GitHub's own, stamped":                   {bundle: stampedBy(own, byOwn, own)},
		"GitHub's own, not stamped":               {stampedBy(own, byOwn, nil), TimestampMissing},
		"GitHub's own, stamped by the public":     {stampedBy(own, byOwn, public), TimestampInvalid},
		"the public, logged":                      {bundle: public.bundle(t, public.attest(t, byPublic, payload))},
		"the public, stamped and not logged":      {stampedBy(public, byPublic, public), ""},
		"the public, stamped by GitHub":           {stampedBy(public, byPublic, own), ""},
		"the public, without a certificate log":   {public.bundle(t, public.attest(t, unlogged, payload)), SCTMissing},
		"a stranger's, who has both log and time": {newStranger(t, payload), ""},
	} {
		m := newMemory()
		m.refer(t, subject, c.bundle, nil)
		ev := verified(t, newVerifier(t, m, a).WithNeeds(needing(reviewType)), subject)
		good := !strings.Contains(name, "not ") && !strings.Contains(name, "by ") && !strings.Contains(name, "without") && !strings.Contains(name, "stranger")
		if good != (len(ev.Attestations) == 1) {
			t.Errorf("%s: got %+v", name, ev)
			continue
		}
		if good && time.Since(ev.Attestations[0].Vouched).Abs() > time.Minute {
			t.Errorf("%s: vouched for %v", name, ev.Attestations[0].Vouched)
		}
		if c.code != "" && !slices.ContainsFunc(asRejections(ev.Rejected), func(code string) bool { return code == string(c.code) }) {
			t.Errorf("%s: got %+v, want %s", name, ev.Rejected, c.code)
		}
	}
}

func newStranger(t *testing.T, payload []byte) []byte {
	s := newSigstore(t)
	by := s.holder(t, func(c *x509.Certificate) { setExtension(t, c, 16, "https://github.com/acme") })
	return s.bundle(t, s.attest(t, by, payload))
}

func TestThreat071_SettingsOfAWorkflowThatWouldMatchTooMuchAreRefused(t *testing.T) {
	root := newSigstore(t).trust(t, nil)
	for name, c := range map[string]struct {
		change func(*GitHub)
		why    string
	}{
		"nobody":                               {func(g *GitHub) { g.Owner, g.Repository, g.RepositoryID = "", "", "" }, "neither repository nor owner"},
		"an owner who has not the repository":  {func(g *GitHub) { g.Owner = "acme" }, "is not that of repository"},
		"an owner that is a pattern":           {func(g *GitHub) { g.Owner, g.Repository, g.RepositoryID = "a.*", "", "" }, "no name on GitHub"},
		"a repository that is a pattern":       {func(g *GitHub) { g.Owner, g.Repository = "", "sigstore/.*" }, "not like acme/app"},
		"a repository without an owner":        {func(g *GitHub) { g.Owner, g.Repository = "", "sigstore-js" }, "not like acme/app"},
		"a repository with a path":             {func(g *GitHub) { g.Owner, g.Repository = "", "acme/app/x" }, "not like acme/app"},
		"an id that is no number":              {func(g *GitHub) { g.OwnerID = "7x" }, "owner_id"},
		"an id with a zero before":             {func(g *GitHub) { g.RepositoryID = "0495574555" }, "repository_id"},
		"an id of a repository that is any":    {func(g *GitHub) { g.Repository = "" }, "repository_id without a repository"},
		"no ref":                               {func(g *GitHub) { g.Refs = nil }, "no ref"},
		"a ref and any":                        {func(g *GitHub) { g.AnyRefUnsafe = true }, "contradicts"},
		"an empty ref":                         {func(g *GitHub) { g.Refs = []string{""} }, "source ref"},
		"a ref with a class":                   {func(g *GitHub) { g.Refs = []string{"refs/heads/[a]"} }, "source ref"},
		"a workflow that is a pattern":         {func(g *GitHub) { g.Workflow = ".github/workflows/.*" }, "workflow"},
		"a workflow elsewhere":                 {func(g *GitHub) { g.Workflow = "ci/release.yml" }, "workflow"},
		"a workflow out of its folder":         {func(g *GitHub) { g.Workflow = ".github/workflows/../release.yml" }, "workflow"},
		"another repository's, of any ref":     {func(g *GitHub) { g.Workflow = "acme/ci/.github/workflows/build.yml" }, "no @ref"},
		"a runner that there is not":           {func(g *GitHub) { g.Runner = "any" }, "runner"},
		"a host that is not GitHub's":          {func(g *GitHub) { g.Host = "evil.example" }, "host"},
		"a host that ends like GitHub's":       {func(g *GitHub) { g.Host = "evil.example/x.ghe.com" }, "host"},
		"no root":                              {func(g *GitHub) { g.Roots = nil }, "no trusted root"},
		"a root that is none":                  {func(g *GitHub) { g.Roots = []*TrustRoot{nil} }, "without a certificate authority"},
		"a root without a log and a timestamp": {func(g *GitHub) { g.Roots = []*TrustRoot{bare(t)} }, "without a transparency log and a timestamp authority"},
	} {
		g := releaseWorkflow()
		g.Roots = []*TrustRoot{root}
		c.change(&g)
		if _, err := NewGitHubAuthority("ci", g); err == nil || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: got %v, want %q", name, err, c.why)
		}
	}
}

func bare(t *testing.T) *TrustRoot {
	return newSigstore(t).trust(t, func(p *parts) { p.logs, p.ct, p.timestamps = nil, nil, nil })
}

// Every setting is part of the fingerprint: what was judged under another counts no more.
func TestEverySettingOfAWorkflowChangesItsFingerprint(t *testing.T) {
	public, err := PublicGood()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]string{}
	for name, change := range map[string]func(*GitHub){
		"as it is":   func(*GitHub) {},
		"owner id":   func(g *GitHub) { g.OwnerID = "1" },
		"repository": func(g *GitHub) { g.RepositoryID = "1" },
		"workflow":   func(g *GitHub) { g.Workflow = ".github/workflows/x.yml" },
		"ref":        func(g *GitHub) { g.Refs = []string{"refs/heads/*"} },
		"any ref":    func(g *GitHub) { g.Refs, g.AnyRefUnsafe = nil, true },
		"trigger":    func(g *GitHub) { g.Trigger = "x" },
		"runner":     func(g *GitHub) { g.Runner = "" },
		"host":       func(g *GitHub) { g.Host = "acme.ghe.com" },
		"root":       func(g *GitHub) { g.Roots = []*TrustRoot{newSigstore(t).trust(t, nil)} },
	} {
		g := releaseWorkflow()
		g.Roots = []*TrustRoot{public}
		change(&g)
		a, err := NewGitHubAuthority("ci", g)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if other, ok := seen[a.Fingerprint()]; ok {
			t.Errorf("%s has the fingerprint of %s", name, other)
		}
		seen[a.Fingerprint()] = name
	}
}

func TestAFileMayHoldSeveralRoots(t *testing.T) {
	var lines [][]byte
	for range MaxTrustRoots {
		var line bytes.Buffer
		if err := json.Compact(&line, rootJSON(t, newSigstore(t))); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, line.Bytes())
	}
	for name, c := range map[string]struct {
		raw  []byte
		want int // -1: an error
	}{
		"one over several lines":    {rootJSON(t, newSigstore(t)), 1},
		"one in a line":             {lines[0], 1},
		"two":                       {bytes.Join(lines[:2], []byte("\n")), 2},
		"two with a line end":       {append(bytes.Join(lines[:2], []byte("\n")), '\n'), 2},
		"as many as may be":         {bytes.Join(lines, []byte("\n")), MaxTrustRoots},
		"one more":                  {bytes.Join(append(slices.Clone(lines), lines[0]), []byte("\n")), -1},
		"two with an empty between": {bytes.Join([][]byte{lines[0], nil, lines[1]}, []byte("\n")), -1},
		"one and junk":              {append(slices.Clone(lines[0]), "\njunk"...), -1},
		"none":                      {nil, -1},
		"as large as may be":        {append(slices.Clone(lines[0]), bytes.Repeat([]byte(" "), MaxTrustRoot-len(lines[0]))...), 1},
		"one byte larger":           {append(slices.Clone(lines[0]), bytes.Repeat([]byte(" "), MaxTrustRoot-len(lines[0])+1)...), -1},
	} {
		got, err := ParseTrustRoots(c.raw)
		if (err != nil) != (c.want < 0) || err == nil && len(got) != c.want {
			t.Errorf("%s: got %d, %v; want %d", name, len(got), err, c.want)
		}
	}
}
