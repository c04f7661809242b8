package upstream

import (
	"time"

	"github.com/sealgate/sealgate/policy/manifest"
)

// Bounds of what a registry can make the gateway do.
const (
	maxManifest       = manifest.MaxBytes // a manifest or a page of a listing, in bytes
	maxRepository     = 255               // a repository's name, in bytes
	maxLocation       = 8 << 10           // where an upload or a list goes on, in bytes
	maxResponseHeader = 64 << 10          // all headers of an answer, and all 1xx before it, in bytes
	maxErrorBody      = 64 << 10          // what is read of an error's body, in bytes
	maxMessage        = 256               // what is kept of an error's text, in bytes
	maxDrain          = 64 << 10          // what is read to keep a connection, in bytes

	maxTokens        = 10_000   // tokens that are remembered for a registry
	maxTokenBody     = 64 << 10 // a token service's answer, in bytes
	maxTokenLength   = 16 << 10 // a token, in bytes
	maxChallenge     = 4 << 10  // a WWW-Authenticate line, in bytes
	maxChallenges    = 8        // lines of it
	maxChallengePart = 16       // parameters of one challenge

	maxHops          = 3       // redirects of one blob
	maxReferrerPages = 20      // pages of one listing
	maxReferrers     = 1000    // descriptors of one listing
	maxReferrerBytes = 8 << 20 // of all pages of one listing
	attachTries      = 3       // writes of one fallback tag until it holds
)

const (
	dialTimeout      = 5 * time.Second
	headerTimeout    = 15 * time.Second // until an answer to a read begins
	commitTimeout    = 5 * time.Minute  // until an answer to a write begins, after its body was sent: storage may copy
	readTimeout      = 30 * time.Second // for reading a manifest, a small blob or a page as a whole
	errorBodyTimeout = 5 * time.Second
	tokenTimeout     = 15 * time.Second
	closeTimeout     = 10 * time.Second // for requests to the embedded registry to end
	idleTimeout      = 45 * time.Second // shorter than servers', so that a stream seldom meets a connection that just ended

	maxRetries      = 2                      // of one read
	retryWait       = 100 * time.Millisecond // before the first of them, at most; twice that before the next
	maxRetryAfter   = 2 * time.Second        // a registry that asks for more gets no repeat
	retryShare      = 0.1                    // repeats, for each request
	retryReserve    = 10                     // repeats that may be saved up
	breakerFailures = 10                     // in a row, after which a registry is left alone
	breakerRest     = time.Second            // for so long, and twice as long each time that it still fails
	maxBreakerRest  = 15 * time.Second

	maxTokenTime     = time.Hour
	defaultTokenTime = time.Minute // "for compatibility with older clients" the default of expires_in is 60 seconds
	secretTime       = time.Minute // after which the keychain is asked again
	referrersTime    = 5 * time.Minute
	idleConnections  = 64 // per host
)
