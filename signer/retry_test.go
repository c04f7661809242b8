package signer

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/sealgate/sealgate/policy"
)

var errKilled = errors.New("killed")

// TestThreat155 kills the sealer before each of its operations, reads and writes alike, and goes on with a new one.
func TestThreat155_KilledAnywhereARetryCompletesTheSeal(t *testing.T) {
	stranger := newKey(t)
	for name, prepare := range map[string]func(*memory, policy.Subject){
		"nothing attached": func(*memory, policy.Subject) {},
		"a .sig attached":  func(m *memory, s policy.Subject) { mustSeal(t, NewSealer(stranger, m, []Format{Tag}), s) },
		"a bundle attached": func(m *memory, s policy.Subject) {
			mustSeal(t, NewSealer(stranger, m, []Format{Bundle}), s)
		},
	} {
		t.Run(name, func(t *testing.T) {
			key := newKey(t)
			setUp := func() (*memory, policy.Subject) {
				store := newMemory()
				subject := push(t, store, "prod/app", "x")
				prepare(store, subject)
				return store, subject
			}
			whole, subject := setUp()
			wanted := mustSeal(t, NewSealer(key, whole, nil), subject)
			counted := count(t, whole, subject, key)

			for survived := 0; ; survived++ {
				store, subject := setUp()
				operations := 0
				store.fail = func(string, string) error {
					if operations++; operations > survived {
						return errKilled
					}
					return nil
				}
				sealed, err := NewSealer(key, store, nil).Seal(t.Context(), subject, host+subject.Repo, nil)
				store.fail = nil
				if err == nil {
					if survived < 6 {
						t.Errorf("only %d operations, is the store asked at all?", survived)
					}
					break
				}
				if !errors.Is(err, errKilled) || sealed != nil {
					t.Fatalf("killed before operation %d: got %v, %v", survived, sealed, err)
				}
				for format, n := range count(t, store, subject, key) { // also: nothing dangles
					if n > counted[format] {
						t.Errorf("killed before operation %d: %d signatures in format %s", survived, n, format)
					}
				}

				sealed = mustSeal(t, NewSealer(key, store, nil), subject)
				if !slices.Equal(sealed, wanted) || !slices.Equal(store.names(), whole.names()) {
					t.Errorf("killed before operation %d, then completed: %v, want %v", survived, store.names(), whole.names())
				}
			}
		})
	}
}

func TestThreat155_ASignerThatFailsWritesNothing(t *testing.T) {
	store := newMemory()
	subject := push(t, store, "prod/app", "x")
	before := store.names()
	key := must(NewKey(broken{must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))}))
	for _, formats := range [][]Format{nil, {Tag}, {Bundle}} {
		if _, err := NewSealer(key, store, formats).Seal(t.Context(), subject, host+subject.Repo, nil); err == nil ||
			!strings.Contains(err.Error(), "token removed") {
			t.Errorf("got %v", err)
		}
	}
	if !slices.Equal(before, store.names()) {
		t.Error("something was written")
	}
}

func TestThreat054_WhatCannotBeReadIsNotTakenForAbsent(t *testing.T) {
	throttled := errors.New("429")
	for _, operation := range []string{"Listed", "Manifest", "Blob"} {
		store, key := newMemory(), newKey(t)
		subject := push(t, store, "prod/app", "x")
		mustSeal(t, NewSealer(key, store, nil), subject)
		mustSeal(t, NewSealer(newKey(t), store, []Format{Tag, Bundle}), subject)
		before := store.names()
		seen := 0
		store.fail = func(o, what string) error {
			if strings.HasPrefix(o, "Put") || o == "Attach" {
				t.Errorf("%s of %s after a failed %s", o, what, operation)
			}
			if o != operation || what == subject.Digest.String() && o == "Manifest" {
				return nil
			}
			seen++
			return throttled
		}
		_, err := NewSealer(key, store, nil).Seal(t.Context(), subject, host+subject.Repo, nil)
		if !errors.Is(err, throttled) || seen == 0 {
			t.Errorf("%s fails: got %v", operation, err)
		}
		if !slices.Equal(before, store.names()) {
			t.Errorf("%s fails: something was written", operation)
		}
	}
}
