package main

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// updates is a TUF repository whose trusted root a test publishes.
type updates struct {
	t      *testing.T
	key    ed25519.PrivateKey
	root   []byte
	server *httptest.Server

	mu    sync.Mutex
	files map[string][]byte
}

func newUpdates(t *testing.T) *updates {
	t.Helper()
	u := &updates{t: t, files: map[string][]byte{}}
	u.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u.mu.Lock()
		raw, ok := u.files[strings.TrimPrefix(r.URL.Path, "/")]
		u.mu.Unlock()
		if !ok {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(raw)
	}))
	t.Cleanup(u.server.Close)
	var err error
	if _, u.key, err = ed25519.GenerateKey(rand.Reader); err != nil {
		t.Fatal(err)
	}
	public, err := metadata.KeyFromPublicKey(u.key.Public())
	if err != nil {
		t.Fatal(err)
	}
	root := metadata.Root(time.Now().Add(time.Hour))
	for _, role := range []string{metadata.ROOT, metadata.TIMESTAMP, metadata.SNAPSHOT, metadata.TARGETS} {
		if err := root.Signed.AddKey(public, role); err != nil {
			t.Fatal(err)
		}
	}
	u.root = signed(u, root)
	return u
}

func signed[T metadata.Roles](u *updates, m *metadata.Metadata[T]) []byte {
	u.t.Helper()
	signer, err := signature.LoadSigner(u.key, crypto.Hash(0))
	if err == nil {
		_, err = m.Sign(signer)
	}
	if err != nil {
		u.t.Fatal(err)
	}
	raw, err := m.ToBytes(false)
	if err != nil {
		u.t.Fatal(err)
	}
	return raw
}

func (u *updates) publish(version int64, trustedRoot []byte) {
	u.t.Helper()
	expires := time.Now().Add(time.Hour)
	targets, snapshot, timestamp := metadata.Targets(expires), metadata.Snapshot(expires), metadata.Timestamp(expires)
	targets.Signed.Version, snapshot.Signed.Version, timestamp.Signed.Version = version, version, version
	file, err := metadata.TargetFile().FromBytes("trusted_root.json", trustedRoot, "sha256")
	if err != nil {
		u.t.Fatal(err)
	}
	targets.Signed.Targets["trusted_root.json"] = file
	snapshot.Signed.Meta["targets.json"] = metadata.MetaFile(version)
	timestamp.Signed.Meta["snapshot.json"] = metadata.MetaFile(version)
	sum := sha256.Sum256(trustedRoot)
	u.mu.Lock()
	defer u.mu.Unlock()
	u.files["targets/"+hex.EncodeToString(sum[:])+".trusted_root.json"] = trustedRoot
	u.files[fmt.Sprintf("%d.targets.json", version)] = signed(u, targets)
	u.files[fmt.Sprintf("%d.snapshot.json", version)] = signed(u, snapshot)
	u.files["timestamp.json"] = signed(u, timestamp)
}

func newRootFile(t *testing.T, path string) []byte {
	t.Helper()
	newTrustedRoot(t, path)
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestATrustRootIsRenewedAndThePolicyHasAnotherVersion(t *testing.T) {
	t.Parallel()
	u := newUpdates(t)
	file := newStorage(t, strings.Replace(onePolicy, "any: [gateway]", "any: [gateway, ci]", 1)+`authorities:
  - {name: gateway, signer: gateway}
  - {name: ci, keyless: {issuer: "https://i.example", subject: s, trusted_root: acme}}
trust_roots:
  - {name: acme, file: acme.json, max_age: 240h, tuf: {url: "`+u.server.URL+`", root: root.json, refresh: 1h}}
`)
	directory := filepath.Dir(file)
	newRootFile(t, filepath.Join(directory, "acme.json"))
	writeFile(t, filepath.Join(directory, "root.json"), string(u.root))
	old := time.Now().Add(-100 * time.Hour)
	if err := os.Chtimes(filepath.Join(directory, "acme.json"), old, old); err != nil {
		t.Fatal(err)
	}
	u.publish(1, newRootFile(t, filepath.Join(t.TempDir(), "newer.json")))

	b := &builder{getenv: noEnvironment, openKey: openTestKey}
	build := func() *built {
		t.Helper()
		loaded, err := load(file, Overrides{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		b.dry = true
		made, err := b.build(loaded)
		if err != nil {
			t.Fatal(err)
		}
		return made
	}
	first := build()
	if got := first.Roots["acme"].age.dated(); !got.Equal(old) && got.Sub(old).Abs() > time.Second {
		t.Errorf("before it is renewed it is of %v, want %v", got, old)
	}
	metrics := prometheus.NewRegistry()
	r := newRenewals(slog.New(slog.NewTextHandler(io.Discard, nil)), metrics)
	r.take(first.Roots)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); r.run(ctx) }()
	kept := first.Roots["acme"].repository.File()
	for appearance(kept) == appearance(filepath.Join(directory, "nothing")) || time.Since(first.Roots["acme"].age.dated()) > time.Minute {
		if t.Context().Err() != nil {
			t.Fatal("nothing was renewed")
		}
		time.Sleep(10 * time.Millisecond)
	}
	stop()
	<-ended

	second := build()
	if first.Policy.Version() == second.Policy.Version() {
		t.Error("the policy has the version that it had with the older root")
	}
	loaded, err := load(file, Overrides{}, nil)
	if err != nil || !strings.Contains(strings.Join(loaded.watched(), " "), kept) {
		t.Errorf("%s is not watched: %v", kept, err)
	}
	if days := second.Roots.days(); days["acme"] != time.Now().UTC().Format(time.DateOnly) {
		t.Errorf("got %v", days)
	}

	u.server.Close()
	if err := r.renew(t.Context(), "acme", second.Roots["acme"]); err == nil {
		t.Error("a repository that is away renews")
	}
	if got := gathered(t, metrics, "sealgate_trust_root_renewal_failures_total"); got != 1 {
		t.Errorf("%v failures are counted, want 1", got)
	}
	if third := build(); third.Policy.Version() != second.Policy.Version() {
		t.Error("after a failure the root is another")
	}
}

func gathered(t *testing.T, r *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == name {
			return family.GetMetric()[0].GetCounter().GetValue()
		}
	}
	return -1
}

func TestTrustRootsThatSayTooLittleOrTooMuchAreRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ root, want string }{
		"nowhere":                  {"{name: a}", "neither file nor instance"},
		"in two places":            {"{name: a, file: f, instance: {fulcio: [f]}}", "or both"},
		"public-good from a file":  {"{name: public-good, file: f}", "is built in"},
		"an instance of nothing":   {"{name: a, instance: {ct: [f]}}", "has no fulcio"},
		"an instance by tuf":       {"{name: a, instance: {fulcio: [f]}, tuf: {refresh: 24h}}", "is not renewed"},
		"a repository of no place": {"{name: a, file: f, tuf: {refresh: 24h}}", "has no url, or no root"},
		"plain http":               {`{name: a, file: f, tuf: {url: "http://tuf.example", root: r}}`, "is not an https URL"},
		"a password":               {`{name: a, file: f, tuf: {url: "https://u:p@tuf.example", root: r}}`, "is not an https URL"},
		"a slash":                  {`{name: a, file: f, tuf: {url: "https://tuf.example/", root: r}}`, "ends with a slash"},
		"too often":                {"{name: public-good, tuf: {refresh: 59s}}", "less than a minute"},
		"less than never":          {"{name: public-good, tuf: {refresh: -1h}}", "less than a minute"},
		"younger than now":         {"{name: public-good, max_age: -1h}", "is negative"},
		"no file":                  {"{name: a, file: missing.json}", "trust_roots[0].file"},
		"no chain":                 {"{name: a, instance: {fulcio: [missing.pem]}}", "trust_roots[0].instance.fulcio[0]"},
		"no root of a repository":  {`{name: a, file: missing.json, tuf: {url: "https://tuf.example", root: missing.json}}`, "trust_roots[0].tuf.root"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := buildFile(newStorage(t, onePolicy+"trust_roots:\n  - "+c.root+"\n"), noEnvironment)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestConfigCheckSaysOfWhichDayARootIs(t *testing.T) {
	t.Parallel()
	file := newStorage(t, onePolicy+"trust_roots:\n  - {name: public-good, max_age: 24h}\n")
	code, out, stderr := runCommand(t, "config", "check", "--config", file)
	if code != 0 || !strings.Contains(out, "trust root public-good: of 20") {
		t.Errorf("%d: %s%s", code, out, stderr)
	}
}
