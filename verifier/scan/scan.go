// Package scan drives vulnerability scanners and reads their reports into one summary.
//
// A scanner is a program of somebody else that reads what anybody pushed. So it is never a library in this process, which
// holds the key: it is a command in a process of its own with nothing to lose ([Command]), a service with a door to one
// image (package harbor), or our own matcher over what a confined child saw (package embedded). Whatever it says is judged
// as input: bounded, read in one way, and held against the image that it was asked about. A scanner that hangs, dies, or
// says nothing, half or something about another image found nothing out, and that is an error, never an image without
// vulnerabilities.
//
// [Queue] stands before all of them: one scan for one image at a time, a few at once, fair between repositories, and each
// result remembered for as long as scanner and database are the same.
package scan

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/policy/manifest"
)

// ErrUnknown is in every error of a scan: nobody can tell what is in the image.
var ErrUnknown = errors.New("the image could not be scanned")

// Image is what is scanned: one image, never an index.
type Image struct {
	Repo     string
	Manifest *manifest.Manifest

	// Folder is one of a workplace that has the image in it already, for those who read it together. It is theirs to write
	// into as well, so nobody takes the image's bytes for those that the manifest names without looking. See
	// [Workplace.LayOut].
	Folder string
}

// Report is what a scanner found.
type Report struct {
	policy.Scan

	// Started is when the scan began.
	Started time.Time

	// Listed are package URLs of what the scanner saw, where its report lists them.
	Listed []string

	// SBOM is a bill of materials in CycloneDX, as the scanner wrote it or of our own inventory; nil where there is none.
	SBOM []byte

	// SPDX is one in SPDX; nil where there is none.
	SPDX []byte
}

// Scanner is one way to scan an image. It is safe for concurrent use.
type Scanner interface {
	// Scan says what is in an image. Every error wraps [ErrUnknown].
	Scan(ctx context.Context, image Image) (Report, error)

	// Edition names all that a report depends on besides the image, such as the scanner's and its database's version. Two
	// scans of one image by one edition say the same.
	Edition(ctx context.Context) (string, error)
}

// Blobs is where an image's parts are read from. It is safe for concurrent use.
type Blobs interface {
	// OpenBlob streams a blob; size is its length in bytes, -1 when nobody said. The stream ends in io.EOF when its bytes
	// hash to d, and in another error otherwise. The caller closes it.
	OpenBlob(ctx context.Context, repo string, d digest.Digest) (body io.ReadCloser, size int64, err error)
}

// Bounds of scans.
const (
	MaxReport    = 64 << 20 // bytes of a report or a bill of materials
	MaxImage     = 8 << 30  // bytes of an image's layers, compressed, that are handed to a scanner
	MaxScratch   = 10 << 30 // bytes that a scanner may write to disk
	MaxMemory    = 2 << 30  // bytes of data of a scanner's process
	MaxDuration  = 5 * time.Minute
	MaxWait      = 15 * time.Second // that a push waits for its scan: less than it may take
	maxVersion   = 1 << 20          // bytes that a command says of its version
	maxComplaint = 2 << 10          // bytes of a scanner's standard error that are kept, the last ones
)
