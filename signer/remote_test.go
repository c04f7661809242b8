package signer

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/sealgate/sealgate/policy"
)

// service keeps a key as a key management service does: no two of its signatures are the same, and it can be down.
type service struct {
	private *ecdsa.PrivateKey
	signs   *ecdsa.PrivateKey // what it signs with since somebody turned the key
	down    error
	asked   int
}

func newService(t testing.TB) *service {
	t.Helper()
	private := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	return &service{private: private, signs: private}
}

func (s *service) Public() crypto.PublicKey { return s.private.Public() }

func (s *service) SignDigest(_ context.Context, sha256 []byte) ([]byte, error) {
	s.asked++
	if s.down != nil {
		return nil, s.down
	}
	return ecdsa.SignASN1(rand.Reader, s.signs, sha256)
}

func TestARemoteKeySealsOnceThoughEachOfItsSignaturesIsAnother(t *testing.T) {
	for _, formats := range [][]Format{nil, {Tag}, {Bundle}} {
		store, remote := newMemory(), newService(t)
		key := must(NewRemoteKey(remote))
		subject := push(t, store, "prod/app", "x")
		sealer := NewSealer(key, store, formats)
		first := mustAttest(t, sealer, subject, says(scanned, 1))
		before, asked := store.names(), remote.asked
		again := mustAttest(t, NewSealer(key, store, formats), subject, says(scanned, 1))
		if !slices.Equal(first, again) || !slices.Equal(before, store.names()) || remote.asked != asked {
			t.Errorf("%v: sealing again changed something, or asked the service %d times", formats, remote.asked-asked)
		}
		if want := 2; formats != nil && asked != want || asked > 3 {
			t.Errorf("%v: asked %d times to sign a statement and a digest", formats, asked)
		}
	}
}

func TestThreat155_AServiceThatIsDownLeavesNothingAndARetryCompletes(t *testing.T) {
	store, remote, local := newMemory(), newService(t), newKey(t)
	key := must(NewRemoteKey(remote))
	subject := push(t, store, "prod/app", "x")
	before := store.names()
	down := errors.New("connection refused")
	for _, both := range []*Sealer{
		Join(NewSealer(local, store, nil), NewSealer(key, store, nil)),
		Join(NewSealer(key, store, []Format{Bundle}), NewSealer(local, store, []Format{Tag})),
	} {
		remote.down = down
		if _, err := both.Seal(t.Context(), subject, host+subject.Repo, []Statement{says(scanned, 1)}); !errors.Is(err, down) {
			t.Fatalf("got %v", err)
		}
		if !slices.Equal(before, store.names()) || len(store.listed[subject]) > 0 {
			t.Fatal("the other signer left something")
		}
	}
	remote.down = nil
	mustAttest(t, Join(NewSealer(local, store, nil), NewSealer(key, store, nil)), subject, says(scanned, 1))
	for _, k := range []*Key{local, key} {
		wantCount(t, store, subject, k, 1, 1)
		wantAttested(t, store, subject, k, named(scanned, 1))
	}
}

func TestAServiceThatSignsWithAnotherKeyIsNotBelieved(t *testing.T) {
	store, remote := newMemory(), newService(t)
	key := must(NewRemoteKey(remote))
	subject := push(t, store, "prod/app", "x")
	remote.signs = must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	before := store.names()
	_, err := NewSealer(key, store, nil).Seal(t.Context(), subject, host+subject.Repo, nil)
	if err == nil || !strings.Contains(err.Error(), "does not verify") || !slices.Equal(before, store.names()) {
		t.Errorf("got %v", err)
	}
}

func TestSeveralSignersEachSealWhole(t *testing.T) {
	store, one, two := newMemory(), newKey(t), newKey(t)
	subject := push(t, store, "prod/app", "x")
	both := Join(NewSealer(one, store, nil), NewSealer(two, store, nil))
	first := mustAttest(t, both, subject, says(scanned, 1))
	before := store.names()
	if again := mustAttest(t, both, subject, says(scanned, 1)); !slices.Equal(first, again) || !slices.Equal(before, store.names()) {
		t.Error("sealing again changed something")
	}
	for _, key := range []*Key{one, two} {
		wantCount(t, store, subject, key, 1, 1)
		wantAttested(t, store, subject, key, named(scanned, 1))
	}
}

// While the old key's signature is there, the new one seals as if nobody had signed: in both formats.
func TestThreat158_AKeyThatTakesOverSealsAsTheOldOneDid(t *testing.T) {
	for _, beside := range []bool{true, false} {
		store, old, next := newMemory(), newKey(t), newKey(t)
		subject := push(t, store, "prod/app", "x")
		mustSeal(t, NewSealer(old, store, nil), subject)
		sealer := NewSealer(next, store, nil)
		if beside {
			sealer = sealer.Beside(old)
		}
		mustSeal(t, sealer, subject)
		tag := 0
		if beside {
			tag = 1
		}
		wantCount(t, store, subject, next, tag, 1)
		wantCount(t, store, subject, old, 1, 1)
	}
}

func TestThreat155_KilledAnywhereSeveralSignersAreCompletedByARetry(t *testing.T) {
	one, two := newKey(t), newKey(t)
	sealer := func(m *memory) *Sealer { return Join(NewSealer(one, m, nil), NewSealer(two, m, nil)) }
	for survived := 0; ; survived++ {
		store := newMemory()
		subject := push(t, store, "prod/app", "x")
		operations := 0
		store.fail = func(string, string) error {
			if operations++; operations > survived {
				return errKilled
			}
			return nil
		}
		_, err := sealer(store).Seal(t.Context(), subject, host+subject.Repo, []policy.Statement{says(scanned, 1)})
		store.fail = nil
		mustAttest(t, sealer(store), subject, says(scanned, 1))
		for _, key := range []*Key{one, two} {
			wantCount(t, store, subject, key, 1, 1)
			wantAttested(t, store, subject, key, named(scanned, 1))
		}
		if err == nil {
			return
		}
	}
}
