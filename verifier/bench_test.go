package verifier

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"testing"

	"github.com/sealgate/sealgate/policy"
)

// What one verification costs besides the registry (goal G7): everything above BenchmarkP256, which no verifier goes under,
// is reading and checking of what surrounds the signature. Compare in one run:
//
//	go test ./verifier -run - -bench . -count 5
func BenchmarkColdVerification(b *testing.B) {
	s, key := aSubject(), newSigner(b)
	gateway := key.authority(b, "gateway")
	for _, c := range []struct {
		name   string
		attach func(*memory)
		want   string
	}{
		{"nothing", func(*memory) {}, ""},
		{"tag", func(m *memory) { m.signTag(b, s, key) }, "gateway"},
		{"bundle", func(m *memory) { m.signBundle(b, s, key) }, "gateway"},
		{"both", func(m *memory) { m.signTag(b, s, key); m.signBundle(b, s, key) }, "gateway gateway"},
	} {
		b.Run(c.name, func(b *testing.B) {
			m := newMemory()
			m.forgetful = true
			c.attach(m)
			v := newVerifier(b, m, gateway)
			b.ReportAllocs()
			for b.Loop() {
				ev, err := v.Verify(b.Context(), s)
				if err != nil || signers(ev) != c.want {
					b.Fatal(ev, err)
				}
			}
		})
	}
}

func BenchmarkP256(b *testing.B) {
	key := newSigner(b)
	message := payloadFor(aSubject(), "registry.example/prod/app")
	sig := key.sign(b, message)
	pub := key.pub.(*ecdsa.PublicKey)
	for b.Loop() {
		sum := sha256.Sum256(message)
		if !ecdsa.VerifyASN1(pub, sum[:], sig) {
			b.Fatal("does not verify")
		}
	}
}

func BenchmarkWarmVerification(b *testing.B) {
	cache := NewCache(always(signedEvidence("gateway"), nil), CacheOptions{TTL: 1 << 62})
	s := policy.Subject{Repo: "prod/app", Digest: aSubject().Digest}
	b.ReportAllocs()
	for b.Loop() {
		if ev, err := cache.Verify(b.Context(), s); err != nil || len(ev.Signatures) != 1 {
			b.Fatal(ev, err)
		}
	}
}

// The same for identities with certificates, log entry, timestamp and certificate log; and for somebody else's, of which
// anybody can attach a hundred.
func BenchmarkColdKeylessVerification(b *testing.B) {
	s, subject := newSigstore(b), aSubject()
	trust := s.trust(b, nil)
	by := s.holder(b, nil)
	tag, bundle := s.signed(b, by, subject)
	for name, attach := range map[string]func(*memory){
		"tag":    func(m *memory) { s.tag(b, m, subject, tag) },
		"bundle": func(m *memory) { m.refer(b, subject, s.bundle(b, bundle), nil) },
	} {
		for want, change := range map[string]func(*Keyless){"ci": nil, "": func(k *Keyless) { k.Subject = "somebody else" }} {
			b.Run(name+"/by-"+want, func(b *testing.B) {
				m := newMemory()
				m.forgetful = true
				attach(m)
				v := newVerifier(b, m, newKeyless(b, trust, change)...)
				for b.Loop() {
					if ev, err := v.Verify(b.Context(), subject); err != nil || signers(ev) != want {
						b.Fatal(ev, err)
					}
				}
			})
		}
	}
}
