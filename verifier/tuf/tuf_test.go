package tuf

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// repository is a TUF repository in memory, with keys of its own: what is published is signed for real.
type repository struct {
	t      testing.TB
	files  map[string][]byte // by path
	asked  []string
	status int // of every answer, 0 for the real one
	server *httptest.Server

	keys     map[string]ed25519.PrivateKey // by role
	root     *metadata.Metadata[metadata.RootType]
	versions map[string]int64
}

var roles = []string{metadata.ROOT, metadata.TIMESTAMP, metadata.SNAPSHOT, metadata.TARGETS}

func newRepository(t testing.TB) *repository {
	t.Helper()
	r := &repository{t: t, files: map[string][]byte{}, keys: map[string]ed25519.PrivateKey{}, versions: map[string]int64{}}
	r.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		r.asked = append(r.asked, q.URL.Path)
		raw, ok := r.files[strings.TrimPrefix(q.URL.Path, "/")]
		switch {
		case r.status != 0:
			w.WriteHeader(r.status)
		case !ok:
			http.NotFound(w, q)
		default:
			_, _ = w.Write(raw)
		}
	}))
	t.Cleanup(r.server.Close)

	r.root = metadata.Root(time.Now().Add(24 * time.Hour))
	for _, role := range roles {
		r.keys[role] = newKey(t)
		r.add(role, r.keys[role])
	}
	r.publishRoot(r.keys[metadata.ROOT])
	return r
}

func newKey(t testing.TB) ed25519.PrivateKey {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (r *repository) add(role string, key ed25519.PrivateKey) {
	r.t.Helper()
	public, err := metadata.KeyFromPublicKey(key.Public())
	if err == nil {
		err = r.root.Signed.AddKey(public, role)
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

// publishRoot signs the root and puts it where its version is looked for.
func (r *repository) publishRoot(by ...ed25519.PrivateKey) {
	r.t.Helper()
	r.files[fmt.Sprintf("%d.root.json", r.root.Signed.Version)] = signed(r.t, r.root, by...)
}

func signed[T metadata.Roles](t testing.TB, m *metadata.Metadata[T], by ...ed25519.PrivateKey) []byte {
	t.Helper()
	m.ClearSignatures()
	for _, key := range by {
		signer, err := signature.LoadSigner(key, crypto.Hash(0))
		if err == nil {
			_, err = m.Sign(signer)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	raw, err := m.ToBytes(false)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// edition is what a repository shows at a time; a test changes what it wants to be wrong.
type edition struct {
	version int64
	expires time.Time
	targets map[string][]byte
}

func (r *repository) publish(version int64, content string, change func(*edition)) {
	r.t.Helper()
	e := edition{version: version, expires: time.Now().Add(time.Hour), targets: map[string][]byte{target: []byte(content)}}
	if change != nil {
		change(&e)
	}
	targets := metadata.Targets(e.expires)
	targets.Signed.Version = e.version
	for name, raw := range e.targets {
		file, err := metadata.TargetFile().FromBytes(name, raw, "sha256")
		if err != nil {
			r.t.Fatal(err)
		}
		targets.Signed.Targets[name] = file
		sum := sha256.Sum256(raw)
		directory, base := filepath.Split(name)
		r.files["targets/"+directory+hex.EncodeToString(sum[:])+"."+base] = raw
	}
	r.files[fmt.Sprintf("%d.targets.json", e.version)] = signed(r.t, targets, r.keys[metadata.TARGETS])

	snapshot := metadata.Snapshot(e.expires)
	snapshot.Signed.Version = e.version
	snapshot.Signed.Meta["targets.json"] = metadata.MetaFile(e.version)
	r.files[fmt.Sprintf("%d.snapshot.json", e.version)] = signed(r.t, snapshot, r.keys[metadata.SNAPSHOT])

	timestamp := metadata.Timestamp(e.expires)
	timestamp.Signed.Version = e.version
	timestamp.Signed.Meta["snapshot.json"] = metadata.MetaFile(e.version)
	r.files["timestamp.json"] = signed(r.t, timestamp, r.keys[metadata.TIMESTAMP])
}

// client is a client that trusts the repository's first root, with an empty memory.
func (r *repository) client() Repository {
	return Repository{URL: r.server.URL, Root: r.files["1.root.json"], Directory: filepath.Join(r.t.TempDir(), "trust")}
}

func whole([]byte) error { return nil }

func wantKept(t *testing.T, c Repository, want string) *Kept {
	t.Helper()
	kept, err := c.Kept()
	if err != nil || (kept == nil) != (want == "") || kept != nil && string(kept.Raw) != want {
		t.Fatalf("kept %+v, %v; want %q", kept, err, want)
	}
	return kept
}

func TestARootIsRenewedAndKept(t *testing.T) {
	r := newRepository(t)
	r.publish(1, "one", nil)
	c := r.client()
	wantKept(t, c, "")
	changed, err := c.Renew(t.Context(), whole)
	if err != nil || !changed {
		t.Fatalf("got %v, %v", changed, err)
	}
	first := wantKept(t, c, "one")
	if time.Since(first.At).Abs() > time.Minute {
		t.Errorf("renewed at %v", first.At)
	}

	if changed, err = c.Renew(t.Context(), whole); err != nil || changed {
		t.Errorf("the same again: got %v, %v", changed, err)
	}
	if again := wantKept(t, c, "one"); !again.At.After(first.At) {
		t.Errorf("that it is still the newest was not noted: %v, then %v", first.At, again.At)
	}

	r.publish(2, "two", nil)
	if changed, err = c.Renew(t.Context(), whole); err != nil || !changed {
		t.Errorf("a newer one: got %v, %v", changed, err)
	}
	wantKept(t, c, "two")
}

func TestThreat086_ARepositoryThatGoesBackOrStandsStillChangesNothing(t *testing.T) {
	for name, c := range map[string]struct {
		change func(r *repository)
		why    string
	}{
		"an older edition":  {func(r *repository) { r.publish(1, "one", nil) }, ""},
		"an older snapshot": {func(r *repository) { r.mixed(3, 1, 1) }, ""},
		"older targets":     {func(r *repository) { r.mixed(3, 3, 1) }, ""},
		"one that expired": {func(r *repository) {
			r.publish(3, "three", func(e *edition) { e.expires = time.Now().Add(-time.Minute) })
		}, "expired"},
		"another by a stranger":       {func(r *repository) { r.keys = newRepository(t).keys; r.publish(3, "three", nil) }, ""},
		"another root by a stranger":  {func(r *repository) { r.root.Signed.Version++; r.publishRoot(newKey(t)) }, ""},
		"a root that skips a version": {func(r *repository) { r.rotate(3) }, ""},
		"a root that expired":         {func(r *repository) { r.root.Signed.Expires = time.Now().Add(-time.Minute); r.rotate(2) }, "expired"},
		"a root without a threshold":  {func(r *repository) { r.root.Signed.Roles[metadata.TIMESTAMP].Threshold = 0; r.rotate(2) }, ""},
		"a threshold that nobody meets": {func(r *repository) {
			r.root.Signed.Roles[metadata.TIMESTAMP].Threshold = 2
			r.rotate(2)
			r.publish(3, "three", nil)
		}, ""},
		"one key that is listed twice": {func(r *repository) {
			role := r.root.Signed.Roles[metadata.TIMESTAMP]
			role.KeyIDs, role.Threshold = append(role.KeyIDs, role.KeyIDs[0]), 2
			r.rotate(2)
			r.publish(3, "three", nil)
		}, ""},
		"no answer":        {func(r *repository) { r.server.Close() }, ""},
		"an answer of 500": {func(r *repository) { r.status = http.StatusInternalServerError }, ""},
		"an answer of 404": {func(r *repository) { r.status = http.StatusNotFound }, ""},
		"a redirect":       {func(r *repository) { r.status = http.StatusFound }, ""},
		"junk":             {func(r *repository) { r.files["timestamp.json"] = []byte("junk") }, ""},
		"nothing":          {func(r *repository) { r.files["timestamp.json"] = nil }, ""},
		"a timestamp without a snapshot": {func(r *repository) {
			r.files["timestamp.json"] = []byte(`{"signatures":[],"signed":{"_type":"timestamp"}}`)
		}, ""},
		"another file than is signed": {func(r *repository) {
			r.publish(3, "three", nil)
			for path := range r.files {
				if strings.HasPrefix(path, "targets/") {
					r.files[path] = []byte("other")
				}
			}
		}, ""},
		"no trusted root": {func(r *repository) {
			r.publish(3, "", func(e *edition) { e.targets = map[string][]byte{"other.json": []byte("x")} })
		}, ""},
		"endless metadata":        {func(r *repository) { r.files["timestamp.json"] = make([]byte, 1<<20) }, ""},
		"one byte too much":       {func(r *repository) { r.publish(3, strings.Repeat("x", maxTarget+1), nil) }, "more than"},
		"what is no trusted root": {func(r *repository) { r.publish(3, "broken", nil) }, "broken"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRepository(t)
			r.publish(2, "two", nil)
			client := r.client()
			if _, err := client.Renew(t.Context(), whole); err != nil {
				t.Fatal(err)
			}
			before := wantKept(t, client, "two")
			c.change(r)
			changed, err := client.Renew(t.Context(), func(raw []byte) error {
				if string(raw) == "broken" {
					return errors.New("it is broken")
				}
				return nil
			})
			if err == nil || changed || !strings.Contains(err.Error(), c.why) {
				t.Errorf("got %v, %v; want an error with %q", changed, err, c.why)
			}
			if after := wantKept(t, client, "two"); !after.At.Equal(before.At) {
				t.Errorf("it passes for renewed at %v, was at %v", after.At, before.At)
			}
		})
	}
}

// mixed shows parts of different editions.
func (r *repository) mixed(timestamp, snapshot, targets int64) {
	r.publish(targets, "mixed", nil)
	s := metadata.Snapshot(time.Now().Add(time.Hour))
	s.Signed.Version = snapshot
	s.Signed.Meta["targets.json"] = metadata.MetaFile(targets)
	r.files[fmt.Sprintf("%d.snapshot.json", snapshot)] = signed(r.t, s, r.keys[metadata.SNAPSHOT])
	ts := metadata.Timestamp(time.Now().Add(time.Hour))
	ts.Signed.Version = timestamp
	ts.Signed.Meta["snapshot.json"] = metadata.MetaFile(snapshot)
	r.files["timestamp.json"] = signed(r.t, ts, r.keys[metadata.TIMESTAMP])
}

// rotate publishes the root under a version at the place of the second.
func (r *repository) rotate(version int64) {
	r.root.Signed.Version = version
	r.files["2.root.json"] = signed(r.t, r.root, r.keys[metadata.ROOT])
}

// A key that was rotated out because it was stolen signs what a mirror shows that hides the rotation.
func TestThreat086_ARootThatWasFollowedIsNotForgotten(t *testing.T) {
	r := newRepository(t)
	r.publish(1, "one", nil)
	client := r.client()
	stolen := r.keys[metadata.TIMESTAMP]
	if _, err := client.Renew(t.Context(), whole); err != nil {
		t.Fatal(err)
	}

	public, err := metadata.KeyFromPublicKey(stolen.Public())
	if err != nil {
		t.Fatal(err)
	}
	id, err := public.ID()
	if err == nil {
		err = r.root.Signed.RevokeKey(id, metadata.TIMESTAMP)
	}
	if err != nil {
		t.Fatal(err)
	}
	r.keys[metadata.TIMESTAMP] = newKey(t)
	r.add(metadata.TIMESTAMP, r.keys[metadata.TIMESTAMP])
	r.rotate(2)
	r.publish(2, "two", nil)
	if _, err := client.Renew(t.Context(), whole); err != nil {
		t.Fatal(err)
	}
	wantKept(t, client, "two")

	delete(r.files, "2.root.json")
	r.keys[metadata.TIMESTAMP] = stolen
	r.publish(3, "by the thief", nil)
	if changed, err := client.Renew(t.Context(), whole); err == nil {
		t.Errorf("the thief's edition was taken: %v", changed)
	}
	wantKept(t, client, "two")
}

// CVE-2026-24137 and CVE-2026-24686: names that a repository chose led out of the directory.
func TestNamesOfARepositoryWriteNothingOutsideOfTheDirectory(t *testing.T) {
	r := newRepository(t)
	r.publish(1, "one", func(e *edition) {
		for _, name := range []string{"../escaped.json", "../../escaped.json", "/escaped.json", "a/../../../escaped.json", `..\escaped.json`} {
			e.targets[name] = []byte("evil")
		}
	})
	above := t.TempDir()
	client := r.client()
	client.Directory = filepath.Join(above, "deep", "trust")
	if _, err := client.Renew(t.Context(), whole); err != nil {
		t.Fatal(err)
	}
	wantKept(t, client, "one")
	err := filepath.WalkDir(above, func(path string, entry os.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && (!strings.HasPrefix(path, client.Directory) || strings.Contains(path, "escaped")) {
			t.Errorf("it wrote %s", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, asked := range r.asked {
		if strings.Contains(asked, "escaped") {
			t.Errorf("it asked for %s", asked)
		}
	}
}

func TestAnEndedContextEndsTheRenewal(t *testing.T) {
	r := newRepository(t)
	r.publish(1, "one", nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	client := r.client()
	if _, err := client.Renew(ctx, whole); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	wantKept(t, client, "")
}

// Which day a root is of is known only where both files are of one day.
func TestARootWhoseTimeIsNotItsOwnIsAsOldAsCanBe(t *testing.T) {
	r := newRepository(t)
	r.publish(1, "one", nil)
	client := r.client()
	if _, err := client.Renew(t.Context(), whole); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func() error{
		"another root": func() error { return os.WriteFile(client.File(), []byte("two"), 0o600) },
		"junk":         func() error { return os.WriteFile(client.stampFile(), []byte("junk"), 0o600) },
		"none":         func() error { return os.Remove(client.stampFile()) },
	} {
		if _, err := client.Renew(t.Context(), whole); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := change(); err != nil {
			t.Fatal(err)
		}
		if kept, err := client.Kept(); err != nil || !kept.At.IsZero() {
			t.Errorf("%s: got %+v, %v", name, kept, err)
		}
	}
}

func TestTheBuiltInRootIsOne(t *testing.T) {
	root, err := metadata.Root().FromBytes(PublicGoodRoot())
	if err != nil || root.Signed.Version < 10 {
		t.Errorf("got %+v, %v", root, err)
	}
}
