package gateway_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/sealgate/sealgate/policy"
)

// A refusal tells whom it concerns the policy's name, stable codes and the decision's id. What the policy weighs, whose keys
// it knows, and what is behind the gateway are told by the log.
func TestThreat176_ARefusalTellsNothingOfThePolicyButItsName(t *testing.T) {
	doc := attesting(false, false)
	doc.Pull.Attested[0].Deny = `finding.severity >= HIGH && finding.package != "codename-of-ours"`
	doc.Push.ImmutableTags = []string{"v*"}
	doc.Push.Image.Exceptions = []policy.ExceptionDocument{{Check: "setuid", Path: "codename/of/ours", Until: "2999-12-31", Reason: "a codename of ours"}}
	r, ci := newRig(t, doc), newAttester(t)
	vulnerable := newImage("65532", "vulnerable")
	r.bypass("a", "vulnerable", vulnerable)
	r.bypass("a", "unattested", newImage("65532", "unattested"))
	ci.scan(r, "a", vulnerable, "CRITICAL")
	root := newImage("0", "root")
	r.pushBlobs("a", root)

	secrets := []string{"codename", "severity >=", r.regime.Policy.Version(), r.regime.Policy.Digest(), ci.key.Fingerprint(), filepath.Dir(r.decisions)}
	check := func(what string, a answer, status int, code string) {
		t.Helper()
		for _, secret := range secrets {
			if strings.Contains(string(a.body), secret) {
				t.Errorf("%s: %q is in the answer: %s", what, secret, a.body)
			}
		}
		var body struct {
			Errors []struct {
				Code, Message string
				Detail        map[string]json.RawMessage
			}
		}
		if err := json.Unmarshal(a.body, &body); err != nil || a.status != status || len(body.Errors) != 1 || body.Errors[0].Code != code {
			t.Fatalf("%s: got %d %s, want one error %s", what, a.status, a.body, code)
		}
		only := body.Errors[0]
		named := regexp.MustCompile(`\n  decision ([0-9A-Z]{26})$`).FindStringSubmatch(only.Message)
		if named == nil || code == "DENIED" && strings.Trim(string(only.Detail["decision"]), `"`) != named[1] {
			t.Errorf("%s: the message does not end with the decision's id: %s", what, a.body)
		}
		var reasons []map[string]string
		if err := json.Unmarshal(only.Detail["reasons"], &reasons); err != nil && code == "DENIED" {
			t.Errorf("%s: %v", what, err)
		}
		for _, reason := range reasons {
			if keys := slices.Sorted(maps.Keys(reason)); !slices.Equal(keys, []string{"code", "requirement", "subject"}) || !regexp.MustCompile(`^[A-Z_]+$`).MatchString(reason["code"]) {
				t.Errorf("%s: a reason of %v", what, reason)
			}
		}
	}
	check("a finding", r.send("GET", "/v2/a/manifests/vulnerable", nil), http.StatusForbidden, "DENIED")
	check("no attestation", r.send("GET", "/v2/a/manifests/unattested", nil), http.StatusForbidden, "DENIED")
	check("a push", r.putManifest("a", "latest", root), http.StatusForbidden, "DENIED")
	check("a written tag", r.putManifest("a", "vulnerable", root), http.StatusForbidden, "DENIED")
	r.loseLedger()
	check("no decision", r.send("GET", "/v2/a/manifests/vulnerable", nil), http.StatusServiceUnavailable, "UNAVAILABLE")
}
