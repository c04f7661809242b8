package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sealgate/sealgate/gateway/ledger"
	"github.com/sealgate/sealgate/policy"
)

func TestReferencesAreReadAsTypedAtTheGateway(t *testing.T) {
	t.Parallel()
	const d = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
	prefixes := []string{"", "docker.io/", "a.b/c/"}
	for typed, want := range map[string][3]string{ // host, repository, what is asked for
		"app":                                    {"", "app", "latest"},
		"app:v1":                                 {"", "app", "v1"},
		"prod/app:v1":                            {"", "prod/app", "v1"},
		"app@" + d:                               {"", "app", d},
		"app:v1@" + d:                            {"", "app", d},
		"localhost/app:v1":                       {"localhost", "app", "v1"},
		"localhost:5000/app":                     {"localhost:5000", "app", "latest"},
		"127.0.0.1:5000/prod/app:v1":             {"127.0.0.1:5000", "prod/app", "v1"},
		"[::1]:5000/app:v1":                      {"[::1]:5000", "app", "v1"},
		"registry.acme.dev/app@" + d:             {"registry.acme.dev", "app", d},
		"docker.io/library/nginx:1":              {"", "docker.io/library/nginx", "1"},
		"gate.dev/docker.io/library/nginx:1":     {"gate.dev", "docker.io/library/nginx", "1"},
		"a.b/c/app:v1":                           {"", "a.b/c/app", "v1"},
		"a.b/d/app:v1":                           {"a.b", "d/app", "v1"},
		"localhost:5000/registry.io/app:v1@" + d: {"localhost:5000", "registry.io/app", d},
	} {
		ref, err := parseReference(typed, prefixes)
		if got := [3]string{ref.host, ref.repo, ref.asked()}; err != nil || got != want {
			t.Errorf("%s: got %q, %v, want %q", typed, got, err, want)
		}
	}
	for _, typed := range []string{
		"", ":", "@", "/", "app:", "app@", "app@sha256:12", "app@" + d + "0", "app@" + strings.ToUpper(d), "APP", "app/../b", "app//b", "/app",
		"app:v1:v2:", "localhost:5000/", "app:" + strings.Repeat("a", 129), "app:v 1", "app\n", "https://localhost/app", "app?x=1", strings.Repeat("a/", 200) + "a",
	} {
		if ref, err := parseReference(typed, prefixes); err == nil || codeOf(err) != exitUsage {
			t.Errorf("%q: got %+v, %v", typed, ref, err)
		}
	}
}

func TestAnOutageIsUndecidedAndEndsWithSix(t *testing.T) {
	t.Parallel()
	const manifest = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",
		"config":{"mediaType":"application/vnd.oci.image.config.v1+json","size":2,"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"},
		"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","size":2,"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"}]}`
	registry := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/v2/":
		case strings.HasSuffix(r.URL.Path, "/manifests/v1"):
			w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
			_, _ = w.Write([]byte(manifest))
		default: // what is attached cannot be found out
			w.WriteHeader(http.StatusTooManyRequests)
		}
	}))
	defer registry.Close()
	file := newStorage(t, onePolicy+"registries: [{name: r, url: \""+registry.URL+"\"}]\n")

	stdout, stderr := new(bytes.Buffer), new(bytes.Buffer)
	if code := run(t.Context(), []string{"verify", "--config", file, "-o", "json", "app:v1"}, stdout, stderr); code != int(exitUndecided) {
		t.Fatalf("ends with %d, want 6: %s%s", code, stdout, stderr)
	}
	var v verdict
	if err := json.Unmarshal(stdout.Bytes(), &v); err != nil {
		t.Fatal(err)
	}
	if v.Outcome != ledger.Undecided || v.Cause == "" || len(v.Reasons) != 0 {
		t.Errorf("got %+v", v)
	}
}

func TestASignatureThatIsTooOldSaysSo(t *testing.T) {
	t.Parallel()
	compiled, err := policy.Compile([]policy.Document{{Name: "p", Repositories: []string{"**"}, Pull: &policy.PullDocument{
		SignedBy: &policy.SignedBy{Any: []string{"ci"}, MaxAge: 24 * time.Hour},
	}}}, policy.Known{Authorities: map[string]string{"ci": "1"}})
	if err != nil {
		t.Fatal(err)
	}
	ev := policy.Evidence{Signatures: []policy.Signature{
		{Authority: "ci", Evidence: digestOf("1"), Time: atNoon(1)}, {Authority: "ci", Evidence: digestOf("2"), Claimed: atNoon(9)}, {Authority: "ci", Evidence: digestOf("3"), Time: atNoon(9)},
	}}
	a := newAttached(ev)
	a.hold(compiled.Rule("app"), policy.Subject{Repo: "app", Digest: digestOf("a")}, ev, atNoon(10))
	for i, want := range []string{"it is 9 days old, at most 24 hours are allowed", "it has no time that a log or a timestamp authority vouches for", ""} {
		if e := a.Signatures[i]; e.Why != want || *e.Counts != (want == "") {
			t.Errorf("signature %d: counts %v, %q, want %q", i, *e.Counts, e.Why, want)
		}
	}
	tree := &tree{text: "app"}
	a.draw(tree, false)
	var out bytes.Buffer
	tree.write(&out)
	if !strings.Contains(out.String(), "2026-11-09T12:00:00Z, it says, and nobody vouches for it") {
		t.Errorf("the claim is not shown:\n%s", out.String())
	}
}
