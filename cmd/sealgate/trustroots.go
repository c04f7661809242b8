package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sealgate/sealgate/signer/safefile"
	"github.com/sealgate/sealgate/verifier"
	"github.com/sealgate/sealgate/verifier/tuf"
)

// TrustRoot is a Sigstore deployment: whose certificates, logs and timestamps are believed. It is in a file, or given by its
// parts; the one that is named public-good is built in.
type TrustRoot struct {
	// Name is what authorities call it in trusted_root. One named public-good says more about the root that is built in.
	Name string `mapstructure:"name"`

	// File is a trusted_root.json, or several with a line each. With tuf it holds until the first renewal. Required, unless
	// instance is set or the name is public-good.
	File string `mapstructure:"file"`

	// Instance is a deployment of one's own by its keys and certificates.
	Instance *Instance `mapstructure:"instance"`

	// TUF renews the root from a repository. Without it nothing is ever fetched.
	TUF *TUF `mapstructure:"tuf"`

	// MaxAge is how old the root may become, such as 2160h: then nothing that it vouches for counts. The age of a root that is
	// renewed begins with each renewal, that of the one that is built in with its day, that of files when they were written.
	// Default 0s: as old as may be.
	MaxAge time.Duration `mapstructure:"max_age"`
}

// TUF is a repository of The Update Framework that has a trusted_root.json.
type TUF struct {
	// URL is where it is. Default for public-good: https://tuf-repo-cdn.sigstore.dev. Required for others.
	URL string `mapstructure:"url"`

	// Root is a file with the repository's first root.json that is trusted. For public-good it is built in. Required for others.
	Root string `mapstructure:"root"`

	// Refresh is how often the repository is asked, at least 1m. Default 0s: never; what was kept is used.
	Refresh time.Duration `mapstructure:"refresh"`
}

// publicGood is the word for the trusted root that is built in.
const publicGood = "public-good"

func (v *validator) trustRoots(c *Config) {
	seen := map[string]int{}
	for i, r := range c.TrustRoots {
		at := fmt.Sprintf("trust_roots[%d]", i)
		v.name(at, r.Name, namePattern, seen, i)
		builtIn := r.Name == publicGood
		switch {
		case builtIn && (r.File != "" || r.Instance != nil):
			v.add(at, "public-good is built in; give another root another name")
		case !builtIn && (r.File == "") == (r.Instance == nil):
			v.add(at, "has neither file nor instance, or both; say where the root is")
		case r.Instance != nil && r.TUF != nil:
			v.add(at+".tuf", "an instance is not renewed; name its trusted_root.json in file")
		case r.Instance != nil && len(r.Instance.Fulcio) == 0:
			v.add(at+".instance", "has no fulcio; without certificates nothing is signed")
		}
		if r.MaxAge < 0 {
			v.add(at+".max_age", "is negative")
		}
		if r.TUF != nil {
			v.tuf(at+".tuf", *r.TUF, builtIn)
		}
	}
}

func (v *validator) tuf(at string, t TUF, builtIn bool) {
	u, err := url.Parse(t.URL)
	switch {
	case !builtIn && (t.URL == "" || t.Root == ""):
		v.add(at, "has no url, or no root: only those of public-good are built in")
	case t.Refresh < 0 || t.Refresh > 0 && t.Refresh < time.Minute:
		v.add(at+".refresh", "is less than a minute; 0s is never")
	case t.URL == "":
	case err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Scheme != "https" && !(u.Scheme == "http" && isLoopback(t.URL)):
		v.add(at+".url", "is not an https URL like https://tuf.acme.example")
	case strings.HasSuffix(t.URL, "/"):
		v.add(at+".url", "ends with a slash; leave it out")
	}
}

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
		if first, err = safefile.Read(r.TUF.Root, maxConfigFile, 0); err != nil {
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

// readTrustedRoot reads a trusted_root.json, or the root that is built in where none is named.
func readTrustedRoot(file string) (*verifier.TrustRoot, error) {
	all, err := readTrustedRoots(file)
	if err != nil {
		return nil, err
	}
	if len(all) != 1 {
		return nil, fmt.Errorf("trusted root %s: it holds %d roots, and one is wanted", file, len(all))
	}
	return all[0], nil
}

// readTrustedRoots reads a file with one trusted root, or with one in each line.
func readTrustedRoots(file string) ([]*verifier.TrustRoot, error) {
	if file == "" || file == publicGood {
		one, err := verifier.PublicGood()
		return []*verifier.TrustRoot{one}, err
	}
	raw, err := safefile.Read(file, verifier.MaxTrustRoot, 0)
	if err != nil {
		return nil, fmt.Errorf("trusted root %s: %w", file, err)
	}
	all, err := verifier.ParseTrustRoots(raw)
	if err != nil {
		return nil, fmt.Errorf("trusted root %s: %w", file, err)
	}
	return all, nil
}
