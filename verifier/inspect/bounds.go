package inspect

import "time"

// Bounds of what is read from an image.
const (
	MaxConfigBytes = 4 << 20 // an image configuration; real ones have a few kilobytes

	MaxLayers     = 127       // layers that are read, which is what storage drivers can stack
	MaxImageBytes = 8 << 30   // of an image's layers without compression, sparse files at their full size
	MaxEntries    = 1_000_000 // files, directories and all else in an image
	MaxRatio      = 200       // bytes for one compressed byte, after the first freeBytes
	MaxName       = 4 << 10   // bytes of a file's name and of a link's target, which is what Linux can open
	freeBytes     = 1 << 20   // that may be as repetitive as they like

	maxWindow   = 32 << 20 // bytes of memory that a zstd frame may ask for; encoders' best levels want as much
	maxAccounts = 1 << 20  // bytes of /etc/passwd or /etc/group
	maxRelease  = 64 << 10 // bytes of os-release
	maxTOC      = 32 << 20 // bytes of an eStargz table of contents
	maxFindings = 100      // that are kept for one check in one layer; the others are counted
	maxNamed    = 64       // files that are called passwd or group, of which it is looked where they really are

)

// How long layers are read.
const (
	// MaxWait is how long one inspection waits for its layers: less than a push may take.
	MaxWait = 15 * time.Second

	maxReading = 5 * time.Minute // for reading one layer, whoever waits
	atOnce     = 2               // layers that are read at the same time, for all inspections together
	maxQueue   = 1024            // layers that are being read or wait for it
)
