package main

import (
	"crypto/x509"
	"fmt"

	"github.com/sealgate/sealgate/signer/safefile"
	"github.com/sealgate/sealgate/verifier"
)

// Keyless is an identity to which a Fulcio issues certificates. What is set must be exactly what the certificate says. A
// signature needs an entry in a transparency log, a trusted time and a certificate that was logged, as far as the trusted
// root has certificate logs.
type Keyless struct {
	// Issuer is the OpenID Connect issuer, such as https://token.actions.githubusercontent.com. Required.
	Issuer string `mapstructure:"issuer"`

	// Subject is the email address or URI in the certificate. This or subject_regexp is required.
	Subject string `mapstructure:"subject"`

	// SubjectRegexp is a regular expression (RE2) that the whole subject must match.
	SubjectRegexp string `mapstructure:"subject_regexp"`

	// SourceRepository is the URL of the repository that was built, such as https://github.com/acme/app.
	SourceRepository string `mapstructure:"source_repository"`

	// SourceRef is the ref that was built, such as refs/heads/main.
	SourceRef string `mapstructure:"source_ref"`

	// Workflow is the URL of the workflow that was started, such as
	// https://github.com/acme/app/.github/workflows/release.yml@refs/heads/main. With a reusable workflow the subject is
	// that one, and this is who called it.
	Workflow string `mapstructure:"workflow"`

	// Trigger is what started the workflow, such as push.
	Trigger string `mapstructure:"trigger"`

	// SourceRepositoryID is the number of the repository, which is never another's.
	SourceRepositoryID string `mapstructure:"source_repository_id"`

	// SourceOwner is the URL of whose repository it is, such as https://github.com/acme.
	SourceOwner string `mapstructure:"source_owner"`

	// SourceOwnerID is the number of the owner, which is never another's.
	SourceOwnerID string `mapstructure:"source_owner_id"`

	// Runner is where the workflow ran: github-hosted or self-hosted.
	Runner string `mapstructure:"runner"`

	// TrustedRoot is public-good, which is Sigstore's public instance as of the day that `sealgate version` names, or a
	// trusted_root.json. Default public-good.
	TrustedRoot string `mapstructure:"trusted_root"`

	// TransparencyLogs is of how many different logs an entry is wanted. Default 1.
	TransparencyLogs int `mapstructure:"transparency_logs"`

	// Timestamps is of how many different timestamp authorities a timestamp is wanted. Default 0: a log's time will do.
	Timestamps int `mapstructure:"timestamps"`

	// WithoutTransparencyLogUnsafe accepts signatures that are in no transparency log: whoever steals the identity signs
	// unseen. A timestamp authority must say the time then. Default false.
	WithoutTransparencyLogUnsafe bool `mapstructure:"without_transparency_log_unsafe"`

	// WithoutSCTUnsafe accepts certificates that are in no certificate log though the trusted root has one: what Fulcio
	// should not have issued stays unseen. Default false.
	WithoutSCTUnsafe bool `mapstructure:"without_sct_unsafe"`
}

// GitHub is a workflow on GitHub, whose artifact attestations count. It is a keyless identity by the names that people know.
type GitHub struct {
	// Repository is the one that is built, such as acme/app. This or owner is required.
	Repository string `mapstructure:"repository"`

	// Owner is whose repositories are built, any of them, such as acme.
	Owner string `mapstructure:"owner"`

	// RepositoryID is the number of the repository: a name can be given up and taken by others, a number cannot. Default any.
	RepositoryID string `mapstructure:"repository_id"`

	// OwnerID is the number of the owner. Default any.
	OwnerID string `mapstructure:"owner_id"`

	// Workflow is what signs: a file such as .github/workflows/release.yml, or a reusable workflow of another repository with
	// its ref, such as acme/ci/.github/workflows/build.yml@refs/heads/main. Default any of the repository's own.
	Workflow string `mapstructure:"workflow"`

	// Ref are the refs that are built, with the stars that policies have: refs/heads/main, refs/tags/v*. Required, unless
	// any_ref_unsafe is set.
	Ref []string `mapstructure:"ref"`

	// AnyRefUnsafe lets every ref count: whoever may push a branch signs. Default false.
	AnyRefUnsafe bool `mapstructure:"any_ref_unsafe"`

	// Trigger is what started the workflow, such as push. Default anything.
	Trigger string `mapstructure:"trigger"`

	// Runner is where it ran: github-hosted or self-hosted. Default either.
	Runner string `mapstructure:"runner"`

	// Host is github.com, or a tenant such as acme.ghe.com. Default github.com.
	Host string `mapstructure:"host"`

	// TrustedRoot is public-good, for public repositories, or a file with one or more trusted roots, a line each, as gh
	// attestation trusted-root prints them: with GitHub's own, for private repositories too. A root with a transparency log
	// wants an entry in it, one without wants a timestamp. Default public-good.
	TrustedRoot string `mapstructure:"trusted_root"`
}

// Certificate is a subject of one's own certificate authority. Its whole chain must be valid at the time of a signature.
type Certificate struct {
	// Roots is a PEM file with one to ten root certificates. Required.
	Roots string `mapstructure:"roots"`

	// Intermediates is a PEM file with up to ten certificates for the path to a root. Those that come with a signature are
	// used as well. Default none.
	Intermediates string `mapstructure:"intermediates"`

	// Issuer is what the certificate's extension for the OpenID Connect issuer says, where the authority is a Fulcio.
	// Default: whatever it says.
	Issuer string `mapstructure:"issuer"`

	// Subject is the email address or URI in the certificate. This or subject_regexp is required.
	Subject string `mapstructure:"subject"`

	// SubjectRegexp is a regular expression (RE2) that the whole subject must match.
	SubjectRegexp string `mapstructure:"subject_regexp"`

	// TrustedRoot says whose logs and timestamp authorities are believed the time of a signature: public-good, or a
	// trusted_root.json; a signature without such a time does not count. Default none: the chain must be valid now.
	TrustedRoot string `mapstructure:"trusted_root"`
}

func (v *validator) subject(at, subject, pattern string) {
	switch {
	case subject == "" && pattern == "":
		v.add(at, "has neither subject nor subject_regexp; say whom the certificate must be for")
	case subject != "" && pattern != "":
		v.add(at+".subject_regexp", "contradicts subject; leave one of them out")
	case pattern != "":
		if err := verifier.CheckSubjectPattern(pattern); err != nil {
			v.add(at+".subject_regexp", "%v", err)
		}
	}
}

func openKeyless(name string, k Keyless, roots trustRoots) (made verifier.Authority, where string, err error) {
	trusted, err := roots.one(k.TrustedRoot)
	if err != nil {
		return nil, ".keyless.trusted_root", err
	}
	made, err = verifier.NewKeylessAuthority(name, verifier.Keyless{
		Identity: verifier.Identity{
			Issuer: k.Issuer, Subject: k.Subject, SubjectPattern: k.SubjectRegexp,
			SourceRepository: k.SourceRepository, SourceRef: k.SourceRef, Workflow: k.Workflow, Trigger: k.Trigger,
			SourceRepositoryID: k.SourceRepositoryID, SourceOwner: k.SourceOwner, SourceOwnerID: k.SourceOwnerID, Runner: k.Runner,
		},
		Root: trusted, Logs: k.TransparencyLogs, Timestamps: k.Timestamps,
		WithoutTransparencyLogUnsafe: k.WithoutTransparencyLogUnsafe, WithoutSCTUnsafe: k.WithoutSCTUnsafe,
	})
	return made, ".keyless", err
}

func openGitHub(name string, g GitHub, roots trustRoots) (made verifier.Authority, where string, err error) {
	authority := g.authority()
	if authority.Roots, err = roots.all(g.TrustedRoot); err != nil {
		return nil, ".github.trusted_root", err
	}
	made, err = verifier.NewGitHubAuthority(name, authority)
	return made, ".github", err
}

// authority is what the settings say, but for the roots.
func (g GitHub) authority() verifier.GitHub {
	return verifier.GitHub{
		Host: g.Host, Owner: g.Owner, Repository: g.Repository, OwnerID: g.OwnerID, RepositoryID: g.RepositoryID,
		Workflow: g.Workflow, Refs: g.Ref, AnyRefUnsafe: g.AnyRefUnsafe, Trigger: g.Trigger, Runner: g.Runner,
	}
}

func openCertificate(name string, c Certificate, roots trustRoots) (made verifier.Authority, where string, err error) {
	own := verifier.Certificate{Identity: verifier.Identity{Issuer: c.Issuer, Subject: c.Subject, SubjectPattern: c.SubjectRegexp}}
	if own.Roots, err = readCertificates(c.Roots); err != nil {
		return nil, ".certificate.roots", err
	}
	if c.Intermediates != "" {
		if own.Intermediates, err = readCertificates(c.Intermediates); err != nil {
			return nil, ".certificate.intermediates", err
		}
	}
	if c.TrustedRoot != "" {
		if own.Root, err = roots.one(c.TrustedRoot); err != nil {
			return nil, ".certificate.trusted_root", err
		}
	}
	made, err = verifier.NewCertificateAuthority(name, own)
	return made, ".certificate", err
}

func readCertificates(file string) ([]*x509.Certificate, error) {
	raw, err := safefile.Read(file, maxPublicKeyFile, 0)
	if err != nil {
		return nil, fmt.Errorf("certificates %s: %w", file, err)
	}
	all, err := verifier.ParseCertificatesPEM(raw)
	if err != nil {
		return nil, fmt.Errorf("certificates %s: %w", file, err)
	}
	return all, nil
}
