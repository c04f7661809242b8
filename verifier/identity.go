package verifier

import (
	"errors"
	"fmt"
	"regexp"
	"slices"

	"github.com/sealgate/sealgate/policy"
	"github.com/sigstore/sigstore-go/pkg/fulcio/certificate"
)

// Identity is whom a certificate must have been issued to. Everything that is set must be exactly so; a pattern must match
// as a whole.
type Identity struct {
	Issuer         string // the OpenID Connect issuer that vouched for the subject
	Subject        string // the subject alternative name: an email address or a URI
	SubjectPattern string // instead of Subject, a regular expression for the whole of it

	// What Fulcio copies from a workflow's token, each exact where it is set:
	// https://github.com/sigstore/fulcio/blob/main/docs/oid-info.md
	SourceRepository string // the repository that was built, such as https://github.com/acme/app
	SourceRef        string // the ref that was built, such as refs/heads/main
	Workflow         string // the workflow that was started, such as https://github.com/acme/app/.github/workflows/release.yml@refs/heads/main
	Trigger          string // what started it, such as push

	SourceRefs         []string // patterns as policies have them, such as refs/tags/v*, of which one must match the ref
	SourceRepositoryID string   // which stays the same when the repository is renamed, and is never another's
	SourceOwner        string   // whose repository it is, such as https://github.com/acme
	SourceOwnerID      string   // which stays the same when the owner is renamed, and is never another's
	Runner             string   // github-hosted or self-hosted
}

// identity is an Identity that compiled.
type identity struct {
	want    Identity
	pattern *regexp.Regexp   // anchored at both ends; nil with an exact subject
	refs    []policy.Pattern // none: any ref
}

// compile checks an identity. The issuer may be left out only where the certificate authority is one's own.
func (want Identity) compile(needIssuer bool) (*identity, error) {
	id := &identity{want: want}
	switch {
	case needIssuer && want.Issuer == "":
		return nil, errors.New("an identity without an issuer")
	case want.Subject == "" && want.SubjectPattern == "":
		return nil, errors.New("an identity without a subject")
	case want.Subject != "" && want.SubjectPattern != "":
		return nil, errors.New("an identity with a subject and a pattern for it")
	}
	for _, ref := range want.SourceRefs {
		compiled, err := policy.CompileRef(ref)
		if err != nil {
			return nil, fmt.Errorf("source ref: %w", err)
		}
		id.refs = append(id.refs, compiled)
	}
	if want.SubjectPattern == "" {
		return id, nil
	}

	pattern, err := compileSubject(want.SubjectPattern)
	if err != nil {
		return nil, fmt.Errorf("subject pattern: %w", err)
	}
	id.pattern = pattern
	return id, nil
}

// CheckSubjectPattern says what is wrong with a regular expression for subjects.
func CheckSubjectPattern(pattern string) error {
	_, err := compileSubject(pattern)
	return err
}

// compileSubject anchors a pattern at both ends: half a match is an attacker's address around the one that was meant.
func compileSubject(pattern string) (*regexp.Regexp, error) {
	// Alone first: what is balanced alone cannot end the group that anchors it.
	if _, err := regexp.Compile(pattern); err != nil {
		return nil, err
	}
	whole, err := regexp.Compile(`^(?:` + pattern + `)$`)
	if err != nil {
		return nil, err
	}
	if whole.MatchString("") {
		return nil, fmt.Errorf("%q matches an empty subject", pattern)
	}
	return whole, nil
}

// match holds a verified certificate against the identity.
func (id *identity) match(got certificate.Summary) error {
	want := id.want
	subject := got.SubjectAlternativeName
	if id.pattern == nil && subject != want.Subject || id.pattern != nil && !id.pattern.MatchString(subject) {
		return fmt.Errorf("its subject is %.120q", subject)
	}
	for _, field := range []struct{ name, want, got string }{
		{"issuer", want.Issuer, got.Issuer},
		{"source repository", want.SourceRepository, got.SourceRepositoryURI},
		{"source ref", want.SourceRef, got.SourceRepositoryRef},
		{"workflow", want.Workflow, got.BuildConfigURI},
		{"trigger", want.Trigger, got.BuildTrigger},
		{"source repository's id", want.SourceRepositoryID, got.SourceRepositoryIdentifier},
		{"source owner", want.SourceOwner, got.SourceRepositoryOwnerURI},
		{"source owner's id", want.SourceOwnerID, got.SourceRepositoryOwnerIdentifier},
		{"runner", want.Runner, got.RunnerEnvironment},
	} {
		if field.want != "" && field.want != field.got {
			return fmt.Errorf("its %s is %.120q", field.name, field.got)
		}
	}
	ref := got.SourceRepositoryRef
	if len(id.refs) > 0 && !slices.ContainsFunc(id.refs, func(p policy.Pattern) bool { return p.Match(ref) }) {
		return fmt.Errorf("its source ref is %.120q", ref)
	}
	return nil
}
