package gateway_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/policy/manifest"
)

// summarizing is a policy that attests its verdict, and asks for that attestation.
func summarizing() policy.Document {
	doc := sealing()
	doc.Push.Seal.Summary = true
	doc.Pull.Attested = []policy.AttestedDocument{{
		Predicate: "vsa", By: &policy.SignedBy{Any: []string{"gateway"}}, MaxAge: time.Hour, TrustStatementTime: true,
		Where: `predicate.verificationResult == "PASSED" && "SEALGATE_CHECKED" in predicate.verifiedLevels`,
	}}
	return doc
}

// summaries are the predicates under the .att tag of a digest.
func (r *rig) summaries(repo string, d digest.Digest) (all []map[string]any) {
	r.t.Helper()
	a := r.want(http.StatusOK, "GET", "/v2/"+repo+"/manifests/sha256-"+d.Encoded()+".att", nil)
	m, err := manifest.Parse(a.body, a.header.Get("Content-Type"))
	if err != nil {
		r.t.Fatal(err)
	}
	for _, layer := range m.Layers {
		var envelope struct{ Payload []byte }
		var statement struct{ Predicate map[string]any }
		raw := r.want(http.StatusOK, "GET", "/v2/"+repo+"/blobs/"+layer.Digest.String(), nil).body
		if err := json.Unmarshal(raw, &envelope); err != nil {
			r.t.Fatal(err)
		}
		if err := json.Unmarshal(envelope.Payload, &statement); err != nil {
			r.t.Fatal(err)
		}
		all = append(all, statement.Predicate)
	}
	return all
}

func TestWhatWasSealedPullsUnderAPolicyThatAsksForItsSummary(t *testing.T) {
	r := newRig(t, summarizing())
	im := newImage("65532", "x")
	r.bypass("a", "v1", im)
	r.sealAround("a", im)
	if a := r.want(http.StatusForbidden, "GET", "/v2/a/manifests/v1", nil); !strings.Contains(a.message(), "no vsa attestation by gateway") {
		t.Errorf("got %s", a.message())
	}
	if a := r.push("a", "v1", im); a.status != http.StatusCreated {
		t.Fatalf("got %d %s", a.status, a.body)
	}
	r.want(http.StatusOK, "GET", "/v2/a/manifests/v1", nil)
}

func TestThreat159_TheSummarySaysWhoDecidedWhatWhenAndUnderWhichPolicy(t *testing.T) {
	r := newRig(t, summarizing())
	im := newImage("65532", "x")
	r.push("team/a", "v1", im)
	all := r.summaries("team/a", im.digest)
	if len(all) != 1 {
		t.Fatalf("%d summaries", len(all))
	}
	said := all[0]
	at, err := time.Parse(time.RFC3339, said["timeVerified"].(string))
	if age := time.Since(at); err != nil || age < -time.Minute || age > time.Hour {
		t.Errorf("timeVerified is %v (%v)", said["timeVerified"], err)
	}
	delete(said, "timeVerified")
	got, _ := json.Marshal(said)
	want := `{"policy":{"digest":{"sha256":"` + r.regime.Policy.Digest() + `"},"uri":"https://github.com/sealgate/sealgate#policy/default"},` +
		`"resourceUri":"pkg:oci/a@sha256%3A` + im.digest.Encoded() + `?repository_url=team/a",` +
		`"verificationResult":"PASSED","verifiedLevels":["SEALGATE_CHECKED"],"verifier":{"id":"https://github.com/sealgate/sealgate"}}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestARepeatedPushAddsNoSummaryAndAnotherPolicyDoes(t *testing.T) {
	r := newRig(t, summarizing())
	im := newImage("65532", "x")
	for range 3 {
		r.push("a", "v1", im)
	}
	if all := r.summaries("a", im.digest); len(all) != 1 {
		t.Errorf("%d summaries after three pushes", len(all))
	}
	r.policies[0].Push.Image.MaxLayers = 100
	r.enforce(r.key)
	r.push("a", "v1", im)
	all := r.summaries("a", im.digest)
	if len(all) != 2 {
		t.Errorf("%d summaries under two policies", len(all))
	}
	r.want(http.StatusOK, "GET", "/v2/a/manifests/v1", nil)
}

func TestThePushersNameIsInTheSummary(t *testing.T) {
	r := newGuarded(t, false, map[string]string{"alice": "wonderland"}, nil, summarizing())
	im := newImage("65532", "x")
	r.bypass("a", im.digest.String(), im)
	a := r.send("PUT", "/v2/a/manifests/v1", im.manifest, "Content-Type", mediaTypeOf(im.manifest), "Authorization", basic("alice", "wonderland"))
	if a.status != http.StatusCreated {
		t.Fatalf("got %d %s", a.status, a.body)
	}
	r.clients = nil // nobody is asked any more
	r.enforce(r.key)
	if all := r.summaries("a", im.digest); len(all) != 1 || all[0]["sealgate_pusher"] != "alice" {
		t.Errorf("got %v", all)
	}
}

func TestEachPlatformGetsASummaryOfItsOwn(t *testing.T) {
	r := newRig(t, summarizing())
	one, two := newImage("65532", "one"), newImage("65532", "two")
	index := newIndex(one, two)
	r.bypass("a", one.digest.String(), one)
	r.bypass("a", two.digest.String(), two)
	if a := r.push("a", "v1", index); a.status != http.StatusCreated {
		t.Fatalf("got %d %s", a.status, a.body)
	}
	var named []string
	for _, d := range []digest.Digest{one.digest, two.digest, index.digest} {
		for _, said := range r.summaries("a", d) {
			named = append(named, said["resourceUri"].(string))
		}
	}
	slices.Sort(named)
	if len(slices.Compact(named)) != 3 {
		t.Errorf("summaries of %v", named)
	}
}
