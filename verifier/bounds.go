package verifier

import "time"

// Bounds of what is read about one subject. Each has a test at the limit and one past it. What exceeds a bound does not
// count and is reported as rejected; it is never read in part.
const (
	MaxReferrers    = 100              // manifests that refer to a subject: more, and none of them is read
	MaxSignatures   = 100              // signatures under a .sig tag: more, and none of them is read
	MaxPayloadBytes = 64 << 10         // what is signed: a simple signing payload or an in-toto statement
	MaxBundleBytes  = 256 << 10        // a bundle that may hold a signature; real ones have 2 to 20 kilobytes
	MaxAttestation  = 64 << 20         // an envelope or bundle around an attestation, where a rule needs attestations
	MaxAttestations = 100              // attestations under an .att tag: more, and none of them is read
	MaxTime         = 15 * time.Second // everything about one subject

	MaxTrustRoot  = 1 << 20 // a trusted_root.json; the public one has 7 kilobytes
	MaxTrustRoots = 8       // in one file
	MaxChain      = 10      // certificates that come with a signature, or that an authority is configured with

	maxFetches = 8        // at a time, of each of the places
	maxSmall   = 1 << 20  // of what is larger, one is in memory at a time
	maxKeyPEM  = 64 << 10 // a public key file
)
