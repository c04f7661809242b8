package gateway_test

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/sealgate/sealgate/gateway"
	"github.com/sealgate/sealgate/gateway/ledger"
	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/policy/manifest"
)

// scanning is the policy of a gateway that has everything scanned.
func scanning(scanners ...string) policy.Document {
	doc := sealing()
	doc.Push.Scan = &policy.ScanDocument{Scanners: scanners}
	doc.Push.Seal.Scan, doc.Push.Seal.SBOM = true, true
	return doc
}

// scanner says the same of every image, except of those of which it says something else.
type scanner struct {
	findings []policy.Finding
	err      error
	of       map[digest.Digest][]policy.Finding

	mu   sync.Mutex
	seen []digest.Digest
}

func (s *scanner) Scan(_ context.Context, _ string, m *manifest.Manifest) (policy.Scan, []policy.Statement, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(s.seen, m.Digest)
	if s.err != nil {
		return policy.Scan{}, nil, s.err
	}
	findings := s.findings
	if special, ok := s.of[m.Digest]; ok {
		findings = special
	}
	statements := []policy.Statement{
		{PredicateType: policy.ScanByCosign, Predicate: []byte(`{"a":1}`)},
		{PredicateType: "https://cyclonedx.org/bom", Predicate: []byte(`{"b":1}`)},
		{PredicateType: "https://example.org/other", Predicate: []byte(`{"c":1}`)},
	}
	return policy.Scan{Scanner: "test", Finished: time.Now(), Database: time.Now(), Packages: 1, Counted: true, Findings: findings}, statements, nil
}

// sealedWith remembers what it was asked to attest.
type sealedWith struct {
	gateway.Sealer
	mu    sync.Mutex
	all   map[digest.Digest][]string
	order []digest.Digest // what was sealed
}

func (s *sealedWith) Seal(ctx context.Context, subject policy.Subject, reference string, statements []policy.Statement) ([]digest.Digest, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.order = append(s.order, subject.Digest)
	for _, st := range statements {
		s.all[subject.Digest] = append(s.all[subject.Digest], st.PredicateType)
	}
	return s.Sealer.Seal(ctx, subject, reference, nil)
}

var critical = policy.Finding{ID: "CVE-2026-1000", Package: "openssl", Version: "3.0.1", FixedVersion: "3.0.2", Fix: policy.FixAvailable, Severity: policy.Critical}

func newScanRig(t *testing.T, doc policy.Document, scanners map[string]gateway.Scanner) (*rig, *sealedWith) {
	r := newRig(t, doc)
	sealed := &sealedWith{all: map[digest.Digest][]string{}}
	r.swap(func(re *gateway.Regime) {
		re.Scanners = scanners
		sealed.Sealer = re.Sealers[r.policies[0].Name]
		re.Sealers = r.sealers(sealed)
	})
	return r, sealed
}

func TestThreat142_AVulnerableImageIsRefusedAndNotStored(t *testing.T) {
	r, sealed := newScanRig(t, scanning("a", "b"), map[string]gateway.Scanner{"a": &scanner{}, "b": &scanner{findings: []policy.Finding{critical}}})
	im := layered(t, "65532", tar.Header{Name: "a"})
	a := r.push("app", "v1", im)
	if a.status != http.StatusForbidden || !strings.HasPrefix(a.message(),
		"DENIED: sealgate: app:v1 is refused by policy \"default\": it has CVE-2026-1000 in openssl 3.0.1 (critical, fixed in 3.0.2)\n"+
			"    CRITICAL  CVE-2026-1000       openssl 3.0.1  fixed in 3.0.2\n  fix: update openssl to 3.0.2, and build the image again\n  decision ") {
		t.Errorf("got %d %s", a.status, a.message())
	}
	for line := range strings.SplitSeq(a.message(), "\n") {
		if len(line) >= 200 {
			t.Errorf("a line of %d bytes", len(line))
		}
	}
	if _, _, err := r.registries.Manifest(t.Context(), "app", im.digest.String()); err == nil {
		t.Error("the refused manifest is stored")
	}
	if len(sealed.all) != 0 {
		t.Errorf("something was sealed: %v", sealed.all)
	}
}

func TestAScannedImageIsSealedWithWhatWasFound(t *testing.T) {
	s := &scanner{}
	r, sealed := newScanRig(t, scanning("a"), map[string]gateway.Scanner{"a": s})
	im := layered(t, "65532", tar.Header{Name: "a"})
	if a := r.push("app", "v1", im); a.status != http.StatusCreated {
		t.Fatalf("got %d %s", a.status, a.body)
	}
	if got := fmt.Sprint(sealed.all[im.digest]); got != "["+policy.ScanByCosign+" https://cyclonedx.org/bom]" {
		t.Errorf("attested %s", got)
	}
	if len(s.seen) != 1 {
		t.Errorf("scanned %d times", len(s.seen))
	}
}

// Nobody could tell, and that is neither a refusal nor an admit.
func TestThreat152_AScanThatFailsAdmitsNothing(t *testing.T) {
	for name, c := range map[string]struct {
		scanners map[string]gateway.Scanner
		status   int
		message  string
	}{
		"it failed":                      {map[string]gateway.Scanner{"a": &scanner{err: errors.New("no database")}}, http.StatusServiceUnavailable, "UNAVAILABLE: sealgate: cannot verify app now"},
		"it runs":                        {map[string]gateway.Scanner{"a": &scanner{err: fmt.Errorf("%w: since 15s", policy.ErrUnfinished)}}, http.StatusForbidden, "DENIED: sealgate: the scan of app is running, push it again in a minute"},
		"there is no such scanner":       {map[string]gateway.Scanner{"b": &scanner{}}, http.StatusServiceUnavailable, "UNAVAILABLE"},
		"there are no scanners, a fault": {nil, http.StatusServiceUnavailable, "UNAVAILABLE"},
	} {
		t.Run(name, func(t *testing.T) {
			r, sealed := newScanRig(t, scanning("a"), c.scanners)
			im := layered(t, "65532", tar.Header{Name: "a"})
			a := r.push("app", "v1", im)
			if a.status != c.status || !strings.HasPrefix(a.message(), c.message) || strings.Contains(string(a.body), "no database") {
				t.Errorf("got %d %s", a.status, a.body)
			}
			if _, _, err := r.registries.Manifest(t.Context(), "app", im.digest.String()); err == nil || len(sealed.all) != 0 {
				t.Errorf("it is stored (%v), or sealed (%v)", err, sealed.all)
			}
			last := r.recorded()[len(r.recorded())-1]
			if last.Outcome != ledger.Undecided || last.Cause == "" {
				t.Errorf("recorded %+v", last)
			}
		})
	}
}

func TestThreat018_EachPlatformOfAnIndexIsScanned(t *testing.T) {
	one, two := layered(t, "65532", tar.Header{Name: "a"}), layered(t, "65533", tar.Header{Name: "a"})
	s := &scanner{of: map[digest.Digest][]policy.Finding{}}
	r, sealed := newScanRig(t, scanning("a"), map[string]gateway.Scanner{"a": s})
	for _, im := range []image{one, two} {
		r.bypass("app", im.digest.String(), im) // around the gateway, so that only the index is judged
	}
	index := newIndex(one, two)
	s.of[two.digest] = []policy.Finding{critical}
	if a := r.putManifest("app", "v1", index); a.status != http.StatusForbidden || !strings.Contains(a.message(), "CVE-2026-1000") {
		t.Errorf("one platform is vulnerable: got %d %s", a.status, a.body)
	}
	delete(s.of, two.digest)
	if a := r.putManifest("app", "v1", index); a.status != http.StatusCreated {
		t.Fatalf("got %d %s", a.status, a.body)
	}
	for _, im := range []image{one, two} {
		if len(sealed.all[im.digest]) == 0 {
			t.Errorf("nothing is attested of %s", im.digest)
		}
	}
	if want := []digest.Digest{one.digest, two.digest, index.digest}; !slices.Equal(sealed.order, want) {
		t.Errorf("sealed %v, want what the index lists and then the index, %v", sealed.order, want)
	}
	if len(sealed.all[index.digest]) != 0 {
		t.Errorf("a scan is attested of the index, which nobody scanned: %v", sealed.all[index.digest])
	}
}

// What cannot be inspected, or is refused anyway, is not shown to a scanner.
func TestAnImageThatIsRefusedAnywayIsNotScanned(t *testing.T) {
	s := &scanner{}
	r, _ := newScanRig(t, scanning("a"), map[string]gateway.Scanner{"a": s})
	if a := r.push("app", "v1", layered(t, "root", tar.Header{Name: "a"})); a.status != http.StatusForbidden || !strings.Contains(a.message(), "runs as root") {
		t.Errorf("got %d %s", a.status, a.body)
	}
	broken := newImage("65532", "no tar")
	if a := r.push("app", "v1", broken); a.status != http.StatusForbidden || !strings.Contains(a.message(), "cannot be inspected") {
		t.Errorf("got %d %s", a.status, a.body)
	}
	if len(s.seen) != 0 {
		t.Errorf("scanned %v", s.seen)
	}
}
