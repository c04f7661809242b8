package gateway

import (
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/sealgate/sealgate/policy"
)

func TestThreat128_AnAdmitIsRememberedForItsEvidenceUntilItsEnd(t *testing.T) {
	now := time.Now()
	key := judged{policy.Subject{Repo: "a", Digest: digest.FromString("x")}, true, false}
	ev := policy.Evidence{Proven: now}
	v := newVerdicts()
	v.keep(key, ev, judgement{verdict: policy.AdmitEvidence()}, now.Add(time.Hour))

	tag, index := key, key
	tag.pinned, index.index = false, true
	for name, c := range map[string]struct {
		in   *verdicts
		key  judged
		ev   policy.Evidence
		at   time.Time
		want bool
	}{
		"the same":                             {v, key, ev, now, true},
		"just before its end":                  {v, key, ev, now.Add(time.Hour - 1), true},
		"at its end":                           {v, key, ev, now.Add(time.Hour), false},
		"after it":                             {v, key, ev, now.Add(2 * time.Hour), false},
		"other evidence":                       {v, key, policy.Evidence{Proven: now.Add(1)}, now, false},
		"evidence of nobody knows when":        {v, key, policy.Evidence{}, now, false},
		"by a tag":                             {v, tag, ev, now, false},
		"as an index":                          {v, index, ev, now, false},
		"another image":                        {v, judged{subject: policy.Subject{Repo: "b", Digest: key.subject.Digest}, pinned: true}, ev, now, false},
		"under another regime":                 {newVerdicts(), key, ev, now, false},
		"under a regime that was not enforced": {nil, key, ev, now, false},
	} {
		if j, ok := c.in.find(c.key, c.ev, c.at); ok != c.want || ok && !j.verdict.Admitted() {
			t.Errorf("%s: found %v, %+v", name, ok, j)
		}
	}

	v.keep(key, policy.Evidence{}, judgement{}, time.Time{})
	if j, ok := v.find(key, ev, now); !ok || !j.verdict.Admitted() {
		t.Errorf("what nobody knows the evidence of was kept: %+v", j)
	}
	v.keep(tag, ev, judgement{verdict: policy.AdmitEvidence()}, time.Time{})
	if _, ok := v.find(tag, ev, now.AddDate(100, 0, 0)); !ok {
		t.Error("what has no end ended")
	}
}
