package upstream

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/policy/manifest"
)

// Where a registry has no referrers API, what refers to a subject is listed by hand in an index under a tag that is made
// of the subject's digest: the "referrers tag schema" of OCI distribution 1.1. The tag is mutable and every writer of it
// reads, merges and writes, so two at once lose an entry. Within this process [Registries.Lock] serialises them; against
// others the write is read again, and repeated when it did not hold.

// fallbackTag is the subject's digest as a tag: "replace ':' with '-'", algorithm at most 32 characters, 64 of the rest.
func fallbackTag(subject digest.Digest) string {
	algorithm, hex, _ := strings.Cut(subject.String(), ":")
	return algorithm + "-" + hex[:min(len(hex), 64)]
}

// fallback is the index under the fallback tag. Entries and fields of others are kept as they were written.
type fallback struct {
	mediaType string
	fields    map[string]json.RawMessage // of the index
	entries   []json.RawMessage          // its manifests
	listed    []ocispec.Descriptor       // the same, read
}

// readFallback reads the fallback tag. Absent, it is empty; malformed or no index at all, it is an error.
func (r *Registry) readFallback(ctx context.Context, repo string, subject digest.Digest) (*fallback, error) {
	f := &fallback{mediaType: ocispec.MediaTypeImageIndex}
	raw, mediaType, err := r.Manifest(ctx, repo, fallbackTag(subject))
	if errors.Is(err, ErrNotFound) {
		return f, nil
	}
	if err != nil {
		return nil, err
	}
	m, err := manifest.Parse(raw, mediaType)
	if err != nil {
		return nil, fmt.Errorf("fallback tag of %s: %w", subject, err)
	}
	if !m.IsIndex() {
		return nil, fmt.Errorf("fallback tag of %s: holds no index but %s", subject, m.MediaType)
	}
	if err := errors.Join(json.Unmarshal(raw, &f.fields), json.Unmarshal(f.fields["manifests"], &f.entries)); err != nil {
		return nil, fmt.Errorf("fallback tag of %s: %w", subject, err)
	}
	f.mediaType, f.listed = m.MediaType, m.Manifests
	return f, nil
}

func (f *fallback) lists(d digest.Digest) bool {
	return slices.ContainsFunc(f.listed, func(e ocispec.Descriptor) bool { return e.Digest == d })
}

// with adds an entry, without replacing that of the same digest.
func (f *fallback) with(d ocispec.Descriptor) error {
	entry, err := json.Marshal(d)
	if err != nil {
		return err
	}
	f.entries, f.listed = append(f.entries, entry), append(f.listed, d)
	return nil
}

// without drops the entries that drop says.
func (f *fallback) without(drop func(digest.Digest) bool) {
	var entries []json.RawMessage
	var listed []ocispec.Descriptor
	for i, d := range f.listed {
		if !drop(d.Digest) {
			entries, listed = append(entries, f.entries[i]), append(listed, d)
		}
	}
	f.entries, f.listed = entries, listed
}

// document writes the index, which must be one that everybody can read.
func (f *fallback) document() ([]byte, error) {
	doc := map[string]any{"schemaVersion": 2, "mediaType": f.mediaType}
	for name, value := range f.fields {
		doc[name] = value
	}
	doc["manifests"] = append([]json.RawMessage{}, f.entries...) // [], not null
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(doc); err != nil {
		return nil, err
	}
	raw := bytes.TrimSuffix(b.Bytes(), []byte("\n"))
	if _, err := manifest.Parse(raw, f.mediaType); err != nil {
		return nil, err
	}
	return raw, nil
}

// attach lists referrer under the fallback tag of subject.
func (r *Registry) attach(ctx context.Context, repo string, subject digest.Digest, referrer ocispec.Descriptor) error {
	return r.change(ctx, repo, subject,
		func(f *fallback) bool { return f.lists(referrer.Digest) },
		func(f *fallback) error { return f.with(referrer) })
}

// detach removes referrer from the fallback tag of subject.
func (r *Registry) detach(ctx context.Context, repo string, subject, referrer digest.Digest) error {
	return r.change(ctx, repo, subject,
		func(f *fallback) bool { return !f.lists(referrer) },
		func(f *fallback) error {
			f.without(func(d digest.Digest) bool { return d == referrer })
			return nil
		})
}

// change rewrites the fallback tag until it is as it should be.
func (r *Registry) change(ctx context.Context, repo string, subject digest.Digest, done func(*fallback) bool, edit func(*fallback) error) error {
	for try := 0; ; try++ {
		f, err := r.readFallback(ctx, repo, subject)
		if err != nil {
			return err
		}
		if done(f) {
			return nil
		}
		if try == attachTries {
			return fmt.Errorf("fallback tag of %s: somebody else rewrote it %d times", subject, try)
		}
		if err := edit(f); err != nil {
			return err
		}
		if err := r.writeFallback(ctx, repo, subject, f, done); err != nil {
			return fmt.Errorf("write fallback tag of %s: %w", subject, err)
		}
	}
}

// writeFallback writes the index. A registry that wants all entries to exist refuses it when one was deleted behind the
// list's back; such entries are dropped then, but for the one that this is about.
func (r *Registry) writeFallback(ctx context.Context, repo string, subject digest.Digest, f *fallback, done func(*fallback) bool) error {
	raw, err := f.document()
	if err != nil {
		return err
	}
	err = r.PutManifest(ctx, repo, fallbackTag(subject), f.mediaType, raw)
	if status := new(StatusError); !errors.As(err, &status) || status.Status != 400 && status.Status != 404 {
		return err
	}

	gone := map[digest.Digest]bool{}
	for _, d := range f.listed {
		if _, _, missing := r.Manifest(ctx, repo, d.Digest.String()); errors.Is(missing, ErrNotFound) {
			gone[d.Digest] = true
		} else if missing != nil {
			return errors.Join(err, missing)
		}
	}
	f.without(func(d digest.Digest) bool { return gone[d] })
	if len(gone) == 0 || !done(f) {
		return err
	}
	if raw, err = f.document(); err != nil {
		return err
	}
	return r.PutManifest(ctx, repo, fallbackTag(subject), f.mediaType, raw)
}
