package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

const loggedConfig = `
registries:
  - {name: up, url: %[1]q, prefix: ""}
signers:
  - name: workload
    formats: %[2]s
    keyless:
      fulcio: %[3]q
      identity_token_file: identity.token
      identity: {issuer: %[4]q, subject: %[5]s}
      timestamp: [%[6]s]
      rekor: %[7]q
      rekor_version: 1
      trusted_root: %[8]s
authorities:
  - {name: workload, signer: workload}
policies:
  - name: all
    repositories: ["**"]
    pull:
      signed_by: {any: [workload]}
      attested: [{predicate: vsa, by: {any: [workload]}}]
    push: {seal: {signer: workload, summary: true}}
`

// TestASealInALogOfTheFirstGeneration has a real Fulcio and a log of version 1 behind the seal: stock cosign of both generations
// accepts it in each format with nothing but the trusted root, and so do we. With a timestamp beside the log's time, and without.
func TestASealInALogOfTheFirstGeneration(t *testing.T) {
	s, kit := need(t, suite.sigstore), need(t, suite.images)
	token, err := s.issuer.token(builder)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		formats   string
		timestamp bool
	}{
		"under the tags":             {"[tag]", false},
		"under the tags, stamped":    {"[tag]", true},
		"as bundles":                 {"[bundle]", false},
		"in both formats, as others": {"auto", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			up, timestamp := startRegistry(t), ""
			if c.timestamp {
				timestamp = s.timestamp + "/api/v1/timestamp"
			}
			gw := newGateway(t, fmt.Sprintf(loggedConfig, up.url(), c.formats, s.fulcio, s.issuer.url, builder, timestamp, s.log.url, s.roots[wholeRoot]))
			writeFile(t, gw.path("identity.token"), []byte(token), 0o600)
			gw.start(t)
			image := kit.source(t, nonroot, "logged "+name)
			cranePush(t, image, gw.ref("app:v1")).ok(t)
			cranePull(t, gw.ref("app:v1")).ok(t)
			digest := gw.digest(t, "app", "v1")

			before := gw.contents(t, "app")
			cranePush(t, image, gw.ref("app:v1")).ok(t)
			if after := gw.contents(t, "app"); fmt.Sprint(before) != fmt.Sprint(after) {
				t.Errorf("the second push changed the repository\nfrom %s\nto   %s", strings.Join(before, "\n     "), strings.Join(after, "\n     "))
			}

			who := func(subject, root string) []string {
				return []string{"--certificate-identity", subject, "--certificate-oidc-issuer", s.issuer.url, "--trusted-root", s.roots[root], "--insecure-ignore-sct"}
			}
			pinned := up.ref("app") + "@" + digest
			for _, generation := range []cosign{cosign2, cosign3} {
				for _, bundles := range []bool{false, true} {
					if bundles && c.formats == "[tag]" || !bundles && c.formats == "[bundle]" {
						continue
					}
					format := []string{fmt.Sprintf("--new-bundle-format=%v", bundles)}
					if generation.name == cosign2.name {
						format = append(format, "--offline")
					}
					if c.timestamp {
						format = append(format, "--use-signed-timestamps")
					}
					check := func(subject, root string) result {
						return generation.run(t, append(append(append([]string{"verify"}, who(subject, root)...), format...), pinned)...)
					}
					check(builder, wholeRoot).ok(t)
					check(anybodyElse, wholeRoot).fails(t)
					check(builder, foreignLogRoot).fails(t) // the log is needed
					attested, trust := generation, who(builder, wholeRoot)
					if generation.name == cosign2.name && c.formats == "[tag]" { // takes a trusted root there for signatures alone
						attested.env = []string{"SIGSTORE_ROOT_FILE=" + s.path("fulcio.pem"), "SIGSTORE_REKOR_PUBLIC_KEY=" + s.path("rekor1.pub")}
						trust = slices.Delete(trust, 4, 6)
						trust = append(trust, "--timestamp-certificate-chain", s.path("timestamp.pem"))
					}
					attestation := append([]string{"verify-attestation", "--type", "https://slsa.dev/verification_summary/v1"}, trust...)
					attested.run(t, append(append(attestation, format...), pinned)...).ok(t)
				}
			}
		})
	}
}

// TestThreat076_ALogThatDoesNotProveWhatItTook has a log that is away, or answers something else than a promise and a proof that
// hold: the push is undecided and nothing is attached. When it is well again, the same push completes.
func TestThreat076_ALogThatDoesNotProveWhatItTook(t *testing.T) {
	s, up, kit := need(t, suite.sigstore), startRegistry(t), need(t, suite.images)
	verification := func(e entry) entry { return e["verification"].(entry) }
	proof := func(e entry) entry { return verification(e)["inclusionProof"].(entry) }
	var meddle atomic.Pointer[func(entry)]
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		change := meddle.Load()
		if change != nil && *change == nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		answer := httptest.NewRecorder()
		s.log.add(answer, r)
		var all map[string]entry
		if err := json.Unmarshal(answer.Body.Bytes(), &all); err != nil {
			t.Errorf("%v in %s", err, answer.Body)
		}
		w.Header().Set("Content-Type", "application/json")
		for _, e := range all {
			if change != nil {
				(*change)(e)
			}
		}
		w.WriteHeader(answer.Code)
		_ = json.NewEncoder(w).Encode(all)
	}))
	defer front.Close()
	gw := newGateway(t, fmt.Sprintf(loggedConfig, up.url(), "auto", s.fulcio, s.issuer.url, builder, "", front.URL, s.roots[wholeRoot]))
	token, err := s.issuer.token(builder)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, gw.path("identity.token"), []byte(token), 0o600)
	gw.start(t)

	image := kit.source(t, nonroot, "logged when the log is well")
	for name, c := range map[string]struct {
		change func(entry)
		cause  string
	}{
		"it is away":           {nil, "502"},
		"no promise":           {func(e entry) { delete(verification(e), "signedEntryTimestamp") }, "no promise"},
		"no proof":             {func(e entry) { delete(verification(e), "inclusionProof") }, "no proof"},
		"nothing":              {func(e entry) { delete(e, "verification") }, "no promise"},
		"no time":              {func(e entry) { delete(e, "integratedTime") }, "integratedTime"},
		"another time":         {func(e entry) { e["integratedTime"] = 1 }, "identity that is configured"},
		"another tree's root":  {func(e entry) { proof(e)["rootHash"] = strings.Repeat("00", 32) }, "identity that is configured"},
		"another place":        {func(e entry) { proof(e)["logIndex"] = 0; proof(e)["treeSize"] = 1 << 20 }, "identity that is configured"},
		"a promise of another": {func(e entry) { verification(e)["signedEntryTimestamp"] = "MAYCAQECAQE=" }, "identity that is configured"},
		"more than an entry": {func(e entry) {
			e["attestation"] = entry{"data": strings.Repeat("A", 2<<20)}
		}, "more than 512 KiB"},
	} {
		meddle.Store(&c.change)
		repo := "app/" + strings.NewReplacer(" ", "-", "'", "").Replace(name)
		cranePush(t, image, gw.ref(repo+":v1")).fails(t).has(t, "UNAVAILABLE")
		gw.nothingHalfSealed(t, repo, c.cause)
		meddle.Store(nil)
		cranePush(t, image, gw.ref(repo+":v1")).ok(t)
		cranePull(t, gw.ref(repo+":v1")).ok(t)
	}
}
