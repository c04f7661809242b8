package signer

import "time"

// Bounds of what is read and written here.
const (
	maxKeyFile    = 64 << 10  // bytes of a key file; a P-256 key takes 700
	maxSignatures = 100       // layers of a .sig or .att manifest; whoever verifies stops there too
	maxReferrers  = 100       // manifests attached to one subject; whoever verifies stops there too
	maxPayload    = 64 << 10  // bytes of a simple-signing payload
	maxEnvelope   = 64 << 20  // bytes of a bundle or envelope; whoever verifies stops there too, and what is larger is not ours
	maxRead       = 256 << 20 // bytes that are read of what is attached to one subject; the rest is taken for somebody else's
	maxWrites     = 3         // tries to write a tag that somebody else writes at the same time
	maxKept       = 3         // attestations of one type by one of our keys; older ones make room
	minRSA        = 2048      // bits of an RSA modulus
	maxSaid       = 500       // bytes of an error that a Fulcio, log or timestamp authority caused
	maxAnswer     = 512 << 10 // bytes of an answer of a Fulcio, log or timestamp authority: certificates, hashes, a proof of at most 64

	keylessTime = 30 * time.Second // for all that is asked to make one bundle without a key
)
