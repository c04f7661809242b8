package verifier

import (
	"bytes"
	"crypto/x509"
	"strings"
	"testing"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
)

// parted is a deployment as its parts.
func parted(s *sigstore) Instance {
	i := Instance{Authorities: [][]*x509.Certificate{{s.intermediate, s.root}}}
	i.Logs = append(i.Logs, Log{URL: "https://rekor.test", Key: s.virtual.RekorLogs()[s.logID].PublicKey})
	i.CertificateLogs = append(i.CertificateLogs, s.ctKey.Public())
	for _, tsa := range s.virtual.TimestampingAuthorities() {
		a := tsa.(*root.SigstoreTimestampingAuthority)
		i.Timestamps = append(i.Timestamps, append(append([]*x509.Certificate{a.Leaf}, a.Intermediates...), a.Root))
	}
	return i
}

func TestAnInstanceOfOnesOwnIsTrustedByItsParts(t *testing.T) {
	s, other := newSigstore(t), newSigstore(t)
	by := s.holder(t, nil)
	for name, c := range map[string]struct {
		change func(*Instance)
		want   string
		why    string
	}{
		"its own":                       {func(*Instance) {}, "ci", ""},
		"another's certificates":        {func(i *Instance) { i.Authorities = parted(other).Authorities }, "", "CERTIFICATE_UNTRUSTED"},
		"another's log":                 {func(i *Instance) { i.Logs = parted(other).Logs }, "", "NOT_LOGGED"},
		"another's certificate log":     {func(i *Instance) { i.CertificateLogs = parted(other).CertificateLogs }, "", "SCT_MISSING"},
		"no certificate log":            {func(i *Instance) { i.CertificateLogs = nil }, "ci", ""},
		"the root without what issues":  {func(i *Instance) { i.Authorities = [][]*x509.Certificate{{s.root}} }, "", "CERTIFICATE_UNTRUSTED"},
		"both, of which one is another": {func(i *Instance) { i.Authorities = append(parted(other).Authorities, i.Authorities...) }, "ci", ""},
	} {
		t.Run(name, func(t *testing.T) {
			i := parted(s)
			c.change(&i)
			trusted, err := NewTrustRoot(i)
			if err != nil {
				t.Fatal(err)
			}
			s.inBothFormats(t, by, nil, newKeyless(t, trusted, nil), c.want, c.why)
		})
	}
}

func TestAnInstanceOfPartsThatDoNotFitIsRefused(t *testing.T) {
	s, other := newSigstore(t), newSigstore(t)
	for name, c := range map[string]struct {
		change func(*Instance)
		why    string
	}{
		"a chain the wrong way round":       {func(i *Instance) { i.Authorities = [][]*x509.Certificate{{s.root, s.intermediate}} }, "is not issued by"},
		"a chain under another's root":      {func(i *Instance) { i.Authorities = [][]*x509.Certificate{{s.intermediate, other.root}} }, "is not issued by"},
		"a chain without a root":            {func(i *Instance) { i.Authorities = [][]*x509.Certificate{{s.intermediate}} }, "is not issued by"},
		"a chain of nothing":                {func(i *Instance) { i.Authorities = [][]*x509.Certificate{nil} }, "no certificate"},
		"a root that stamps":                {func(i *Instance) { i.Timestamps = [][]*x509.Certificate{{s.root}} }, "timestamp authority"},
		"a log without a host":              {func(i *Instance) { i.Logs[0].URL = "rekor" }, "no URL"},
		"one log twice":                     {func(i *Instance) { i.Logs = append(i.Logs, i.Logs[0]) }, "twice"},
		"a log with a key of unknown kind":  {func(i *Instance) { i.Logs[0].Key = "key" }, "transparency log"},
		"one certificate log that is twice": {func(i *Instance) { i.CertificateLogs = append(i.CertificateLogs, i.CertificateLogs[0]) }, "twice"},
	} {
		i := parted(s)
		c.change(&i)
		if _, err := NewTrustRoot(i); err == nil || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: got %v, want %q", name, err, c.why)
		}
	}
}

func TestThreat086_ARootThatIsTooOldVouchesForNothing(t *testing.T) {
	s := newSigstore(t)
	by, fresh := s.holder(t, nil), s.trust(t, nil)
	const most = 30 * 24 * time.Hour
	for name, c := range map[string]struct {
		age  time.Duration
		want string
	}{
		"new":                 {0, "ci"},
		"as old as it may be": {most - time.Minute, "ci"},
		"older":               {most + time.Minute, ""},
		"of an unknown day":   {time.Since(time.Time{}), ""},
		"of a day to come":    {-48 * time.Hour, ""},
		"ahead within reason": {-time.Minute, "ci"},
	} {
		t.Run(name, func(t *testing.T) {
			aged := fresh.WithMaxAge(func() time.Time { return time.Now().Add(-c.age) }, most)
			s.inBothFormats(t, by, nil, newKeyless(t, aged, nil), c.want, string(TrustRootStale))
		})
	}

	// What it proves is proven until it is too old.
	subject, m := aSubject(), newMemory()
	_, bundle := s.signed(t, by, subject)
	m.refer(t, subject, s.bundle(t, bundle), nil)
	day := time.Now().Add(-time.Hour)
	ev := verified(t, newVerifier(t, m, newKeyless(t, fresh.WithMaxAge(func() time.Time { return day }, most), nil)...), subject)
	if !ev.Until.Equal(day.Add(most)) {
		t.Errorf("proven until %v, want %v", ev.Until, day.Add(most))
	}

	// A root that is found to be the newest again grows younger, without anything being built anew.
	at := time.Now().Add(-2 * most)
	authorities := newKeyless(t, fresh.WithMaxAge(func() time.Time { return at }, most), nil)
	s.inBothFormats(t, by, nil, authorities, "", string(TrustRootStale))
	at = time.Now()
	s.inBothFormats(t, by, nil, authorities, "ci", "")
}

func TestTheAgeARootMayHaveIsPartOfItsFingerprint(t *testing.T) {
	plain := newSigstore(t).trust(t, nil)
	day, week := plain.WithMaxAge(time.Now, 24*time.Hour), plain.WithMaxAge(time.Now, 7*24*time.Hour)
	if bytes.Equal([]byte(day.Fingerprint()), []byte(week.Fingerprint())) || day.Fingerprint() == plain.Fingerprint() {
		t.Errorf("%s, %s, %s", plain.Fingerprint(), day.Fingerprint(), week.Fingerprint())
	}
}
