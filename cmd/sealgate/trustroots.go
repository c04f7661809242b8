package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/sealgate/sealgate/verifier"
	"github.com/sealgate/sealgate/verifier/tuf"
)

// trustRoots are the roots that authorities may name.
type trustRoots map[string]*trustRoot

type trustRoot struct {
	roots      []*verifier.TrustRoot
	age        *age
	repository *tuf.Repository // nil: it is not renewed
	refresh    time.Duration   // 0: never
}

// age is the time of which a root is. It outlives regimes: a renewal that brings nothing new makes a root younger, and builds
// no regime. It is safe for concurrent use.
type age struct{ nanos atomic.Int64 }

func (a *age) set(at time.Time) {
	if at.Before(time.Unix(0, 0)) { // nobody knows, which is as old as can be
		at = time.Unix(0, 0)
	}
	a.nanos.Store(at.UnixNano())
}

func (a *age) dated() time.Time { return time.Unix(0, a.nanos.Load()) }

// openTrustRoots reads the roots that are configured, and the one that is built in. Nothing is fetched.
func (b *builder) openTrustRoots(l *Loaded) (trustRoots, Problems) {
	if b.ages == nil {
		b.ages = map[string]*age{}
	}
	all, problems := trustRoots{}, Problems(nil)
	for i, r := range l.Config.TrustRoots {
		made, where, err := b.openTrustRoot(r, l.Config.Storage.Directory)
		if err != nil {
			problems = append(problems, l.problem(fmt.Sprintf("trust_roots[%d]%s", i, where), "%v", err))
			continue
		}
		all[r.Name] = made
	}
	if all[publicGood] == nil && l.Config.usesPublicGood() {
		made, _, err := b.openTrustRoot(TrustRoot{Name: publicGood}, l.Config.Storage.Directory)
		if err != nil {
			return all, append(problems, l.problem("trust_roots", "%v", err))
		}
		all[publicGood] = made
	}
	return all, problems
}

// usesPublicGood reports whether an authority or a signer has the root that is built in.
func (c *Config) usesPublicGood() bool {
	is := func(root string) bool { return root == "" || root == publicGood }
	for _, a := range c.Authorities {
		switch {
		case a.Keyless != nil && is(a.Keyless.TrustedRoot), a.GitHub != nil && is(a.GitHub.TrustedRoot),
			a.Key.bounded() && is(a.Key.TrustedRoot), a.Certificate != nil && a.Certificate.TrustedRoot == publicGood:
			return true
		}
	}
	for _, s := range c.Signers {
		if s.Keyless != nil && is(s.Keyless.TrustedRoot) {
			return true
		}
	}
	return false
}

func (b *builder) openTrustRoot(r TrustRoot, storage string) (made *trustRoot, where string, err error) {
	made = &trustRoot{age: b.ages[r.Name]}
	if made.age == nil {
		made.age = new(age)
		b.ages[r.Name] = made.age
	}
	kept, where, err := made.renewed(r, storage)
	switch {
	case err != nil:
		return nil, where, err
	case kept != nil:
		made.age.set(kept.At)
		made.roots, err = verifier.ParseTrustRoots(kept.Raw)
		where = ".tuf"
	case r.Instance != nil:
		made.roots, where, err = made.ofInstance(*r.Instance)
	case r.File != "":
		where = ".file"
		if stat, err := os.Stat(r.File); err == nil {
			made.age.set(stat.ModTime())
		}
		made.roots, err = readTrustedRoots(r.File)
	default:
		day, parseErr := time.Parse(time.DateOnly, verifier.PublicGoodDate)
		if parseErr != nil {
			return nil, "", parseErr
		}
		made.age.set(day)
		made.roots, err = readTrustedRoots(publicGood)
	}
	if err != nil {
		return nil, where, err
	}
	if r.MaxAge > 0 {
		for i, root := range made.roots {
			made.roots[i] = root.WithMaxAge(made.age.dated, r.MaxAge)
		}
	}
	return made, "", nil
}

// renewed returns what was renewed before, nil where nothing was.
func (m *trustRoot) renewed(r TrustRoot, storage string) (kept *tuf.Kept, where string, err error) {
	if r.TUF == nil {
		return nil, "", nil
	}
	first := tuf.PublicGoodRoot()
	if r.TUF.Root != "" {
		if first, err = readBounded(r.TUF.Root, maxConfigFile, 0); err != nil {
			return nil, ".tuf.root", fmt.Errorf("root %s: %w", r.TUF.Root, err)
		}
	}
	repository, _ := r.repository(storage, first)
	m.repository, m.refresh = &repository, r.TUF.Refresh
	if kept, err = repository.Kept(); err != nil {
		return nil, ".tuf", fmt.Errorf("what was renewed last: %w", err)
	}
	return kept, "", nil
}

// repository is where the root is renewed from. What it has shown is kept apart for each name and address.
func (r TrustRoot) repository(storage string, first []byte) (tuf.Repository, bool) {
	if r.TUF == nil {
		return tuf.Repository{}, false
	}
	at := r.TUF.URL
	if at == "" {
		at = tuf.PublicGoodURL
	}
	sum := sha256.Sum256([]byte(at))
	return tuf.Repository{
		URL: at, Root: first, Directory: filepath.Join(storage, "trust", r.Name+"-"+hex.EncodeToString(sum[:4])),
		Transport: http.DefaultTransport,
	}, true
}

func (m *trustRoot) ofInstance(i Instance) (roots []*verifier.TrustRoot, where string, err error) {
	var own verifier.Instance
	newest := time.Unix(0, 0)
	noted := func(file string) string {
		if stat, err := os.Stat(file); err == nil && stat.ModTime().After(newest) {
			newest = stat.ModTime()
		}
		return file
	}
	for n, file := range i.Fulcio {
		chain, err := readCertificates(noted(file))
		if err != nil {
			return nil, fmt.Sprintf(".instance.fulcio[%d]", n), err
		}
		own.Authorities = append(own.Authorities, chain)
	}
	for n, file := range i.TSA {
		chain, err := readCertificates(noted(file))
		if err != nil {
			return nil, fmt.Sprintf(".instance.tsa[%d]", n), err
		}
		own.Timestamps = append(own.Timestamps, chain)
	}
	for n, log := range i.Rekor {
		key, err := readPublicKey(noted(log.Key))
		if err != nil {
			return nil, fmt.Sprintf(".instance.rekor[%d].key", n), err
		}
		own.Logs = append(own.Logs, verifier.Log{URL: log.URL, Key: key})
	}
	for n, file := range i.CT {
		key, err := readPublicKey(noted(file))
		if err != nil {
			return nil, fmt.Sprintf(".instance.ct[%d]", n), err
		}
		own.CertificateLogs = append(own.CertificateLogs, key)
	}
	m.age.set(newest)
	root, err := verifier.NewTrustRoot(own)
	if err != nil {
		return nil, ".instance", err
	}
	return []*verifier.TrustRoot{root}, "", nil
}

// one is the root of a name, or in a file; of several in one, none is the one that is meant.
func (all trustRoots) one(name string) (*verifier.TrustRoot, error) {
	roots, err := all.all(name)
	if err != nil {
		return nil, err
	}
	if len(roots) != 1 {
		return nil, fmt.Errorf("trusted root %s: it holds %d roots, and one is wanted", name, len(roots))
	}
	return roots[0], nil
}

// all are the roots of a name, or in a file.
func (all trustRoots) all(name string) ([]*verifier.TrustRoot, error) {
	if name == "" {
		name = publicGood
	}
	if r := all[name]; r != nil {
		return r.roots, nil
	}
	return readTrustedRoots(name)
}

// days are the times of which the roots are, by name, as people read them.
func (all trustRoots) days() map[string]string {
	days := map[string]string{}
	for name, r := range all {
		days[name] = r.age.dated().UTC().Format(time.DateOnly)
	}
	return days
}
