package signer

// Bounds of what is read and written here.
const (
	maxKeyFile    = 64 << 10 // bytes of a key file; a P-256 key takes 700
	maxSignatures = 100      // signatures in one .sig manifest; whoever verifies stops there too
	maxReferrers  = 100      // manifests attached to one subject; whoever verifies stops there too
	maxPayload    = 64 << 10 // bytes of a simple-signing payload
	maxBundle     = 4 << 20  // bytes of a bundle; whose is larger is not ours
	maxWrites     = 3        // tries to write a tag that somebody else writes at the same time
	minRSA        = 2048     // bits of an RSA modulus
)
