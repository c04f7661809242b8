package verifier

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"testing"
	"time"

	"github.com/sealgate/sealgate/policy"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/tlog"
)

// entryAt is an entry at an index of a deployment's log, promised and without a proof.
func (s *sigstore) entryAt(t testing.TB, body []byte, index int64) map[string]any {
	t.Helper()
	now := time.Now()
	set, err := s.virtual.RekorSignPayload(tlog.RekorPayload{
		Body: base64.StdEncoding.EncodeToString(body), IntegratedTime: now.Unix(), LogIndex: index, LogID: s.logID,
	})
	if err != nil {
		t.Fatal(err)
	}
	entry := s.json(t, logged{body, now, set}, false)
	entry["logIndex"] = index
	return entry
}

// Also GHSA-9vcr-p3rj-q5q6: a threshold counted entries, not logs.
func TestThreat085_OneLogAndOneTimestampAuthorityAreOneHoweverOftenTheyAreCounted(t *testing.T) {
	s, other := newSigstore(t), newSigstore(t)
	trusted := s.trust(t, func(p *parts) {
		other.trust(t, func(q *parts) {
			p.logs = maps.Clone(p.logs)
			maps.Copy(p.logs, q.logs)
			for i, tsa := range q.timestamps {
				a := *tsa.(*root.SigstoreTimestampingAuthority)
				a.URI = "https://another.test"
				q.timestamps[i] = &a
			}
			p.timestamps = append(p.timestamps, q.timestamps...)
		})
	})
	subject, by := aSubject(), s.holder(t, nil)
	signature := s.attest(t, by, statementFor(subject.Digest, SignaturePredicate))
	signature.version = "0.1"
	body := dsseRekord(signature.payload, signature.sig, pemCertificates(by.certificate))

	entries := func(all ...map[string]any) []any {
		var list []any
		for _, one := range all {
			list = append(list, one)
		}
		return list
	}
	stamps := func(by ...*sigstore) []any {
		var list []any
		for _, one := range by {
			list = append(list, map[string]any{"signedTimestamp": one.stamp(t, signature.sig)})
		}
		return list
	}
	one, again, theirs := s.entryAt(t, body, 0), s.entryAt(t, body, 1), other.entryAt(t, body, 0)
	for name, c := range map[string]struct {
		change          func(*Keyless)
		entries, stamps []any
		want            string
	}{
		"one log, one is wanted":                      {func(*Keyless) {}, entries(one), nil, "ci"},
		"one log, two are wanted":                     {func(k *Keyless) { k.Logs = 2 }, entries(one), nil, ""},
		"one log twice, two are wanted":               {func(k *Keyless) { k.Logs = 2 }, entries(one, again), nil, ""},
		"one entry twice, two are wanted":             {func(k *Keyless) { k.Logs = 2 }, entries(one, one), nil, ""},
		"two logs, two are wanted":                    {func(k *Keyless) { k.Logs = 2 }, entries(one, theirs), nil, "ci"},
		"no timestamp, one is wanted":                 {func(k *Keyless) { k.Timestamps = 1 }, entries(one), nil, ""},
		"one timestamp, one is wanted":                {func(k *Keyless) { k.Timestamps = 1 }, entries(one), stamps(s), "ci"},
		"one timestamp, two are wanted":               {func(k *Keyless) { k.Timestamps = 2 }, entries(one), stamps(s), ""},
		"one authority's twice, two are wanted":       {func(k *Keyless) { k.Timestamps = 2 }, entries(one), stamps(s, s), ""},
		"two authorities', two are wanted":            {func(k *Keyless) { k.Timestamps = 2 }, entries(one), stamps(s, other), "ci"},
		"a stranger's beside one, two are wanted":     {func(k *Keyless) { k.Timestamps = 2 }, entries(one), stamps(s, newSigstore(t)), ""},
		"two logs and two authorities, and so wanted": {func(k *Keyless) { k.Logs, k.Timestamps = 2, 2 }, entries(one, theirs), stamps(s, other), "ci"},
	} {
		var doc map[string]any
		if err := json.Unmarshal(s.bundle(t, signature), &doc); err != nil {
			t.Fatal(err)
		}
		material := doc["verificationMaterial"].(map[string]any)
		material["tlogEntries"] = c.entries
		delete(material, "timestampVerificationData")
		if c.stamps != nil {
			material["timestampVerificationData"] = map[string]any{"rfc3161Timestamps": c.stamps}
		}
		raw, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		m := newMemory()
		m.refer(t, subject, raw, nil)
		ev := verified(t, newVerifier(t, m, newKeyless(t, trusted, c.change)...), policy.Subject{Repo: subject.Repo, Digest: subject.Digest})
		if got := signers(ev); got != c.want {
			t.Errorf("%s: signed by %q, rejected %+v; want %q", name, got, ev.Rejected, c.want)
		}
	}
}

func TestMoreLogsOrTimestampsThanARootHasAreNotWanted(t *testing.T) {
	trusted := newSigstore(t).trust(t, nil)
	for name, change := range map[string]func(*Keyless){
		"two logs":               func(k *Keyless) { k.Logs = 2 },
		"two timestamps":         func(k *Keyless) { k.Timestamps = 2 },
		"less than none":         func(k *Keyless) { k.Logs = -1 },
		"less than no timestamp": func(k *Keyless) { k.Timestamps = -1 },
		"one log, and none":      func(k *Keyless) { k.Logs, k.WithoutTransparencyLogUnsafe = 1, true },
	} {
		k := Keyless{Identity: testIdentity(), Root: trusted}
		change(&k)
		if _, err := NewKeylessAuthority("ci", k); err == nil {
			t.Errorf("%s: it is an authority", name)
		}
	}
}
