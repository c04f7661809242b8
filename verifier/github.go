package verifier

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// GitHub says what an authority signs and attests that is a workflow on GitHub, as its artifact attestations do it:
// https://docs.github.com/en/actions/concepts/security/artifact-attestations
//
// It is a keyless identity, put together from what people know of a workflow. Public repositories get their certificates from
// Sigstore's public instance; private ones from GitHub's own, which keeps no public log: what its timestamp authority stamped
// is believed instead. So what is needed beside the certificate is decided for each root on its own. A root with a log wants
// an entry, and a root without one wants a timestamp.
type GitHub struct {
	Host       string // empty for github.com; a tenant such as acme.ghe.com
	Owner      string // such as acme: any repository of it. This or Repository
	Repository string // such as acme/app

	// Names can be given up and taken by others; ids cannot.
	OwnerID, RepositoryID string // empty for any

	// Workflow is a file in the repository, such as .github/workflows/release.yml, or a reusable workflow with its
	// repository and ref, such as acme/ci/.github/workflows/build.yml@refs/heads/main. Empty for any of the repository's own.
	Workflow string

	Refs         []string // patterns of the refs that are built, such as refs/heads/main and refs/tags/v*
	AnyRefUnsafe bool     // instead of Refs: who may push any branch may sign

	Trigger string // such as push; empty for any
	Runner  string // github-hosted or self-hosted; empty for any

	Roots []*TrustRoot // at least one
}

// NewGitHubAuthority returns the authority that is a workflow on GitHub.
func NewGitHubAuthority(name string, g GitHub) (Authority, error) {
	a, err := newGitHubAuthority(name, g)
	if err != nil {
		return nil, fmt.Errorf("authority %q: %w", name, err)
	}
	return a, nil
}

func newGitHubAuthority(name string, g GitHub) (*certificateAuthority, error) {
	want, err := g.Identity()
	if err != nil {
		return nil, err
	}
	id, err := want.compile(true)
	if err != nil {
		return nil, err
	}
	if len(g.Roots) == 0 {
		return nil, errors.New("no trusted root")
	}
	a := &certificateAuthority{name: name}
	parts := []any{"github", want}
	for _, r := range g.Roots {
		n := needs{log: true, time: true, sct: r.hasCTLogs()}
		switch {
		case r == nil || len(r.FulcioCertificateAuthorities()) == 0:
			return nil, errors.New("a trusted root without a certificate authority")
		case !r.hasLogs() && !r.hasTimestamps():
			return nil, errors.New("a trusted root without a transparency log and a timestamp authority")
		case !r.hasLogs():
			n = needs{timestamp: true, sct: r.hasCTLogs()}
		}
		c, err := newCheck(r, n, id)
		if err != nil {
			return nil, err
		}
		a.checks = append(a.checks, c.under(r))
		parts = append(parts, r.fingerprint, n)
	}
	a.fingerprint = fingerprintOf(parts...)
	return a, nil
}

const gitHub = "github.com"

// What GitHub's names are made of. A name that is more would be a pattern, or another path.
var (
	gitHubName     = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?$`)
	gitHubRepo     = regexp.MustCompile(`^[A-Za-z0-9-]+/[A-Za-z0-9._-]+$`)
	gitHubTenant   = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?\.ghe\.com$`)
	gitHubID       = regexp.MustCompile(`^[1-9][0-9]{0,19}$`)
	gitHubWorkflow = regexp.MustCompile(`^(?:([A-Za-z0-9-]+/[A-Za-z0-9._-]+)/)?(\.github/workflows/[A-Za-z0-9._-]+\.ya?ml)(?:@([A-Za-z0-9._/+-]+))?$`)
)

// Identity is whom the certificates must be for. The error says which of the settings is wrong.
func (g GitHub) Identity() (Identity, error) {
	host, issuer := gitHub, "https://token.actions.githubusercontent.com"
	if g.Host != "" && g.Host != gitHub {
		host, issuer = g.Host, "https://token.actions."+g.Host
	}
	owner, _, _ := strings.Cut(g.Repository, "/")
	switch {
	case host != gitHub && !gitHubTenant.MatchString(host):
		return Identity{}, fmt.Errorf("host %.80q is neither github.com nor a tenant like acme.ghe.com", host)
	case g.Owner == "" && g.Repository == "":
		return Identity{}, errors.New("neither repository nor owner")
	case g.Owner != "" && g.Repository != "" && g.Owner != owner:
		return Identity{}, fmt.Errorf("owner %.80q is not that of repository %.80q", g.Owner, g.Repository)
	case g.Owner != "" && !gitHubName.MatchString(g.Owner):
		return Identity{}, fmt.Errorf("owner %.80q is no name on GitHub", g.Owner)
	case g.Repository != "" && !gitHubRepo.MatchString(g.Repository):
		return Identity{}, fmt.Errorf("repository %.80q is not like acme/app", g.Repository)
	case g.RepositoryID != "" && g.Repository == "":
		return Identity{}, errors.New("repository_id without a repository")
	case g.RepositoryID != "" && !gitHubID.MatchString(g.RepositoryID):
		return Identity{}, fmt.Errorf("repository_id %.40q is no number", g.RepositoryID)
	case g.OwnerID != "" && !gitHubID.MatchString(g.OwnerID):
		return Identity{}, fmt.Errorf("owner_id %.40q is no number", g.OwnerID)
	case g.Runner != "" && g.Runner != "github-hosted" && g.Runner != "self-hosted":
		return Identity{}, fmt.Errorf("runner %.40q is neither github-hosted nor self-hosted", g.Runner)
	case len(g.Refs) == 0 && !g.AnyRefUnsafe:
		return Identity{}, errors.New("no ref; whoever may push any branch could sign")
	case len(g.Refs) > 0 && g.AnyRefUnsafe:
		return Identity{}, errors.New("ref contradicts any_ref_unsafe")
	}
	if owner == "" {
		owner = g.Owner
	}

	signer, err := g.signer(host)
	if err != nil {
		return Identity{}, err
	}
	want := Identity{
		Issuer: issuer, SubjectPattern: signer,
		SourceOwner: "https://" + host + "/" + owner, SourceOwnerID: g.OwnerID, SourceRepositoryID: g.RepositoryID,
		SourceRefs: g.Refs, Trigger: g.Trigger, Runner: g.Runner,
	}
	if g.Repository != "" {
		want.SourceRepository = "https://" + host + "/" + g.Repository
	}
	return want, nil
}

// signer is the pattern of the subject: the workflow that signs, which is a repository's own unless another is named.
func (g GitHub) signer(host string) (pattern string, err error) {
	repository := regexp.QuoteMeta(g.Repository)
	if g.Repository == "" {
		repository = regexp.QuoteMeta(g.Owner) + `/[A-Za-z0-9._-]+`
	}
	file, ref := `\.github/workflows/[A-Za-z0-9._-]+`, `refs/.+`
	if g.Workflow != "" {
		parts := gitHubWorkflow.FindStringSubmatch(g.Workflow)
		if parts == nil {
			return "", fmt.Errorf("workflow %.120q is neither like .github/workflows/release.yml nor like acme/ci/.github/workflows/build.yml@refs/heads/main", g.Workflow)
		}
		if parts[1] != "" && parts[1] != g.Repository && parts[3] == "" && !g.AnyRefUnsafe {
			return "", fmt.Errorf("workflow %.120q is another repository's, and has no @ref", g.Workflow)
		}
		if parts[1] != "" {
			repository = regexp.QuoteMeta(parts[1])
		}
		file = regexp.QuoteMeta(parts[2])
		if parts[3] != "" {
			ref = regexp.QuoteMeta(parts[3])
		}
	}
	return regexp.QuoteMeta("https://"+host+"/") + repository + "/" + file + "@" + ref, nil
}
