package upstream

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/policy"
	"golang.org/x/sync/errgroup"
)

// Registries finds the registry of a repository name as clients of the gateway see it, by the longest prefix. It has the
// registries' operations by such names, and those on what is attached to a subject. It is immutable and safe for
// concurrent use.
type Registries struct {
	byPrefix []*Registry // longest prefix first
	byName   map[string]*Registry
	sorted   []*Registry // by name
}

// NewRegistries puts registries behind one gateway. A name or a prefix that is there twice is an error.
func NewRegistries(all ...*Registry) (*Registries, error) {
	s := &Registries{byName: map[string]*Registry{}}
	prefixes := map[string]string{}
	for _, r := range all {
		if s.byName[r.name] != nil {
			return nil, fmt.Errorf("registry %s is there twice", r.name)
		}
		if other, twice := prefixes[r.prefix]; twice {
			return nil, fmt.Errorf("registries %s and %s have the same prefix %q", other, r.name, r.prefix)
		}
		s.byName[r.name], prefixes[r.prefix] = r, r.name
	}
	s.byPrefix, s.sorted = slices.Clone(all), slices.Clone(all)
	slices.SortFunc(s.byPrefix, func(a, b *Registry) int { return cmp.Compare(len(b.prefix), len(a.prefix)) })
	slices.SortFunc(s.sorted, func(a, b *Registry) int { return strings.Compare(a.name, b.name) })
	return s, nil
}

// Find returns the registry of a repository and the name that it has there.
func (s *Registries) Find(repo string) (r *Registry, upstreamRepo string, ok bool) {
	for _, r := range s.byPrefix {
		if name, ok := strings.CutPrefix(repo, r.prefix); ok && name != "" {
			return r, name, true
		}
	}
	return nil, "", false
}

// ByName returns the registry of that name, nil when there is none.
func (s *Registries) ByName(name string) *Registry { return s.byName[name] }

// All returns the registries, sorted by name.
func (s *Registries) All() []*Registry { return slices.Clone(s.sorted) }

func (s *Registries) find(repo string) (*Registry, string, error) {
	r, name, ok := s.Find(repo)
	if !ok {
		return nil, "", fmt.Errorf("no registry has the prefix of %.300q", repo)
	}
	return r, name, nil
}

// Manifest is [Registry.Manifest].
func (s *Registries) Manifest(ctx context.Context, repo, reference string) (raw []byte, mediaType string, err error) {
	r, name, err := s.find(repo)
	if err != nil {
		return nil, "", err
	}
	return r.Manifest(ctx, name, reference)
}

// PutManifest is [Registry.PutManifest].
func (s *Registries) PutManifest(ctx context.Context, repo, reference, mediaType string, raw []byte) error {
	r, name, err := s.find(repo)
	if err != nil {
		return err
	}
	return r.PutManifest(ctx, name, reference, mediaType, raw)
}

// DeleteManifest is [Registry.DeleteManifest].
func (s *Registries) DeleteManifest(ctx context.Context, repo, reference string) error {
	r, name, err := s.find(repo)
	if err != nil {
		return err
	}
	return r.DeleteManifest(ctx, name, reference)
}

// Blob is [Registry.Blob].
func (s *Registries) Blob(ctx context.Context, repo string, d digest.Digest, limit int64) ([]byte, error) {
	r, name, err := s.find(repo)
	if err != nil {
		return nil, err
	}
	return r.Blob(ctx, name, d, limit)
}

// OpenBlob is [Registry.OpenBlob].
func (s *Registries) OpenBlob(ctx context.Context, repo string, d digest.Digest) (body io.ReadCloser, size int64, err error) {
	r, name, err := s.find(repo)
	if err != nil {
		return nil, 0, err
	}
	return r.OpenBlob(ctx, name, d)
}

// PutBlob is [Registry.PutBlob].
func (s *Registries) PutBlob(ctx context.Context, repo string, d ocispec.Descriptor, raw []byte) error {
	r, name, err := s.find(repo)
	if err != nil {
		return err
	}
	return r.PutBlob(ctx, name, d, raw)
}

// Listed lists what refers to a subject, from every place: the referrers API where there is one, and the fallback tag
// always, which clients of other times and other registries may have left. A list that fails, is throttled or malformed
// is an error, never "none". Entries are claims: each digest is there once, and what it is says its manifest alone.
func (s *Registries) Listed(ctx context.Context, subject policy.Subject) ([]ocispec.Descriptor, error) {
	r, name, err := s.find(subject.Repo)
	if err != nil {
		return nil, err
	}
	var known, tagged []ocispec.Descriptor
	both, ctx := errgroup.WithContext(ctx)
	both.Go(func() (err error) {
		known, _, err = r.Referrers(ctx, name, subject.Digest)
		return err
	})
	both.Go(func() error {
		f, err := r.readFallback(ctx, name, subject.Digest)
		if err == nil {
			tagged = f.listed
		}
		return err
	})
	if err := both.Wait(); err != nil {
		return nil, err
	}

	seen := make(map[digest.Digest]bool, len(known)+len(tagged))
	var list []ocispec.Descriptor
	for _, d := range slices.Concat(known, tagged) {
		if !seen[d.Digest] {
			seen[d.Digest] = true
			list = append(list, d)
		}
	}
	return list, nil
}

// Attach lists a referrer, whose manifest the registry has already, for its subject. A registry with the referrers API
// does so by itself; for others the fallback tag is rewritten. The caller holds [Registries.Lock] of the subject.
func (s *Registries) Attach(ctx context.Context, subject policy.Subject, referrer ocispec.Descriptor) error {
	r, name, err := s.find(subject.Repo)
	if err != nil {
		return err
	}
	_, supported, err := r.Referrers(ctx, name, subject.Digest)
	if err != nil || supported {
		return err
	}
	return r.attach(ctx, name, subject.Digest, referrer)
}

// Detach takes a referrer that was deleted from the fallback tag, if it is there. The caller holds [Registries.Lock] of
// the subject.
func (s *Registries) Detach(ctx context.Context, subject policy.Subject, referrer digest.Digest) error {
	r, name, err := s.find(subject.Repo)
	if err != nil {
		return err
	}
	return r.detach(ctx, name, subject.Digest, referrer)
}

// Lock serialises, in this process, whoever changes what is attached to a subject: its .sig tag, its fallback tag. It
// returns the function that unlocks, which may be called more than once.
func (s *Registries) Lock(subject policy.Subject) (unlock func()) {
	r, name, ok := s.Find(subject.Repo)
	if !ok {
		return func() {} // nothing can be attached there
	}
	return r.locks.lock(name + "@" + subject.Digest.String())
}
