package verifier

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"
)

// What stands beside a signature under the tag is written by anybody: broken, it never helps a certificate, and never
// hinders a key that needs nothing of it.
func TestThreat076_NonsenseBesideASignatureUnderTheTag(t *testing.T) {
	s := newSigstore(t)
	subject, by, key := aSubject(), s.holder(t, nil), newSigner(t)
	ci := newKeyless(t, s.trust(t, nil), nil)
	good, _ := s.signed(t, by, subject)
	annotations := s.annotations(t, good)
	body := base64.StdEncoding.EncodeToString(good.entry.body)
	for name, c := range map[string]struct {
		annotation string
		change     func(string) string
		code       string
	}{
		"no certificate":              {certificateAnnotation, func(string) string { return "" }, ""},
		"a certificate that is none":  {certificateAnnotation, func(string) string { return "junk" }, "BUNDLE_MALFORMED"},
		"a certificate that is a key": {certificateAnnotation, func(string) string { return pemOf(t, by.pub) }, "BUNDLE_MALFORMED"},
		"two certificates":            {certificateAnnotation, func(c string) string { return c + c }, "BUNDLE_MALFORMED"},
		"something before it":         {certificateAnnotation, func(c string) string { return "x\n" + c }, "BUNDLE_MALFORMED"},
		"a chain that is none":        {chainAnnotation, func(string) string { return "junk" }, "BUNDLE_MALFORMED"},
		"a chain without an end":      {chainAnnotation, func(string) string { return strings.Repeat(annotations[certificateAnnotation], MaxChain+1) }, "BUNDLE_MALFORMED"},
		"a log entry that is none":    {bundleAnnotation, func(string) string { return "junk" }, "LOG_ENTRY_INVALID"},
		"a log entry of nothing":      {bundleAnnotation, func(string) string { return "{}" }, "LOG_ENTRY_INVALID"},
		"a log entry of null":         {bundleAnnotation, func(string) string { return "null" }, "LOG_ENTRY_INVALID"},
		"an unknown key in it":        {bundleAnnotation, func(b string) string { return strings.Replace(b, "{", `{"x":1,`, 1) }, "LOG_ENTRY_INVALID"},
		"a key twice in it":           {bundleAnnotation, func(b string) string { return strings.Replace(b, `"logIndex":0`, `"logIndex":0,"logIndex":0`, 1) }, "LOG_ENTRY_INVALID"},
		"another index in it":         {bundleAnnotation, func(b string) string { return strings.Replace(b, `"logIndex":0`, `"logIndex":1`, 1) }, "LOG_ENTRY_INVALID"},
		"an index below zero":         {bundleAnnotation, func(b string) string { return strings.Replace(b, `"logIndex":0`, `"logIndex":-1`, 1) }, "LOG_ENTRY_INVALID"},
		"no log":                      {bundleAnnotation, func(b string) string { return strings.Replace(b, s.logID, "", 1) }, "LOG_ENTRY_INVALID"},
		"an unknown log":              {bundleAnnotation, func(b string) string { return strings.Replace(b, s.logID, "00ff", 1) }, "NOT_LOGGED"},
		"a log that is no number":     {bundleAnnotation, func(b string) string { return strings.Replace(b, s.logID, "xx", 1) }, "LOG_ENTRY_INVALID"},
		"no promise": {bundleAnnotation, func(b string) string {
			return strings.Replace(b, base64.StdEncoding.EncodeToString(good.entry.set), "", 1)
		}, "LOG_ENTRY_INVALID"},
		"an entry over an archive": {bundleAnnotation, func(b string) string {
			return strings.Replace(b, body, base64.StdEncoding.EncodeToString([]byte(`{"kind":"jar","apiVersion":"0.0.1","spec":{}}`)), 1)
		}, "LOG_ENTRY_INVALID"},
		"an entry in another case": {bundleAnnotation, func(b string) string {
			return strings.Replace(b, body, base64.StdEncoding.EncodeToString([]byte(strings.Replace(string(good.entry.body), `"kind"`, `"Kind"`, 1))), 1)
		}, "LOG_ENTRY_INVALID"},
		"an entry of another version": {bundleAnnotation, func(b string) string {
			return strings.Replace(b, body, base64.StdEncoding.EncodeToString([]byte(strings.Replace(string(good.entry.body), `"0.0.1"`, `"9.0.0"`, 1))), 1)
		}, "LOG_ENTRY_INVALID"},
		"a timestamp that is none": {timestampAnnotation, func(string) string { return "junk" }, "BUNDLE_MALFORMED"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMemory()
			layer := m.layer(subject.Repo, good.message, good.sig)
			layer.Annotations = s.annotations(t, good)
			was := layer.Annotations[c.annotation]
			layer.Annotations[c.annotation] = c.change(was)
			if layer.Annotations[c.annotation] == was {
				t.Fatal("changes nothing")
			}
			m.putManifest(t, subject.Repo, image(layer), signatureTag(subject))
			ev := verified(t, newVerifier(t, m, ci...), subject)
			if len(ev.Signatures) != 0 || len(ev.Rejected) != 1 || c.code != "" && ev.Rejected[0].Code != c.code {
				t.Errorf("got %+v, want nothing for %s", ev, c.code)
			}

			layer.Annotations[signatureAnnotation] = base64.StdEncoding.EncodeToString(key.sign(t, good.message))
			m.putManifest(t, subject.Repo, image(layer), signatureTag(subject))
			wantSigners(t, verified(t, newVerifier(t, m, key.authority(t, "gateway")), subject), "gateway", 0, "")
		})
	}
}

// GHSA-ccxc-vr6p-4858, GHSA-8gw7-4j42-w388: what stands beside one signature does not vouch for another.
func TestThreat043And076_NothingIsGraftedFromOneSignatureToAnother(t *testing.T) {
	s := newSigstore(t)
	subject := aSubject()
	ci := newKeyless(t, s.trust(t, nil), nil)
	first, _ := s.signed(t, s.holder(t, nil), subject)
	second, _ := s.signed(t, s.holder(t, nil), subject)
	from := s.annotations(t, second)
	for _, names := range [][]string{
		{certificateAnnotation}, {bundleAnnotation}, {signatureAnnotation}, {certificateAnnotation, bundleAnnotation},
		{signatureAnnotation, certificateAnnotation}, {signatureAnnotation, bundleAnnotation}, {bundleAnnotation, timestampAnnotation},
	} {
		m := newMemory()
		layer := m.layer(subject.Repo, first.message, first.sig)
		layer.Annotations = s.annotations(t, first)
		for _, name := range names {
			layer.Annotations[name] = from[name]
		}
		m.putManifest(t, subject.Repo, image(layer), signatureTag(subject))
		if ev := verified(t, newVerifier(t, m, ci...), subject); len(ev.Signatures) != 0 {
			t.Errorf("%v grafted: %+v", names, ev)
		}
	}
}

// A certificate has time enough for a hundred signatures, and a stranger's do not crowd out a good one.
func TestThreat049_AHundredKeylessSignaturesOfWhichTheLastIsGood(t *testing.T) {
	s, stranger := newSigstore(t), newSigstore(t)
	subject := aSubject()
	ci := newKeyless(t, s.trust(t, nil), nil)
	var all []sealed
	by := stranger.holder(t, nil)
	for i := range MaxSignatures - 1 {
		d := stranger.sign(t, by, fmt.Appendf(nil, "junk %d", i))
		all = append(all, d)
	}
	good, _ := s.signed(t, s.holder(t, nil), subject)
	m := newMemory()
	s.tag(t, m, subject, append(all, good)...)
	began := time.Now()
	wantSigners(t, verified(t, newVerifier(t, m, ci...), subject), "ci", MaxSignatures-1, "")
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
}
