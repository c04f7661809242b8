package policy

import (
	"errors"
	"time"

	"github.com/opencontainers/go-digest"
)

// Image is what was read from an image itself, on the way in.
type Image struct {
	// Runnable is false for an index and for an artifact that no runtime starts: the checks of a container's
	// configuration and files do not concern it.
	Runnable bool

	// User is the configuration's User, as written.
	User string

	// Layers counts the layers.
	Layers int

	// Bytes sums the sizes of configuration and layers, compressed. They are what the manifest declares; that those of the
	// layers are true was made sure of where layers or sizes were asked for.
	Bytes int64

	// BaseClaim is what the manifest's annotations say that it stands on.
	BaseClaim BaseClaim

	// Account is who the configuration's User is, where that was asked for and takes more than its text; else nil.
	Account *Account

	// Config is what the rest of the configuration says; nil when it was not asked for.
	Config *Config

	// Content is what is in the layers; nil when it was not asked for.
	Content *Content

	// Scans is what scanners found, by their configured names. One that is not there did not scan.
	Scans map[string]Scan
}

// ImageNeeds is how far into an image the judgement of its push looks. The zero value is content with the manifest and the user
// as written.
type ImageNeeds struct {
	Account bool // who a user is that is a name
	Group   bool // and its group
	Config  bool // all of the configuration
	Layers  bool // all of the layers
	Sizes   bool // how large the layers are, and not only what the manifest says
}

// Account is who a container runs as, by the image's own /etc/passwd and /etc/group.
type Account struct {
	UID, GID uint32

	// UserUnknown and GroupUnknown say why the number cannot be told; empty when it can.
	UserUnknown, GroupUnknown string
}

// Config is what an image's configuration says besides its user. All of it are claims, and those that matter here are ones
// that a runtime acts upon.
type Config struct {
	Labels  map[string]string
	Ports   []string  // such as 8080/tcp
	Volumes []string  // paths
	Created time.Time // zero when it does not say

	// OS and Architecture are what the image says that it runs on, such as linux and amd64.
	OS, Architecture string

	// HistoryLayers counts the steps of the history that made a layer, -1 when there is no history.
	HistoryLayers int

	Findings []ImageFinding // secrets
}

// Content is what is in an image's layers. Each of them was read to its end, and is what both the manifest and the
// configuration say that it is, unless Flaws say otherwise.
type Content struct {
	// Flaws are why a layer cannot be inspected, or would be read differently by others. An image with flaws is refused,
	// whatever else is found.
	Flaws []Flaw

	// DiffIDs are the layers' digests without compression, the lowest first.
	DiffIDs []digest.Digest

	// System is the operating system of the final file system, by its os-release.
	System System

	// Program is the architecture of the program that the configuration starts, empty where that is no ELF file that is in
	// the image by its plain name. Programs are those of all executable ELF files in the layers, each once.
	Program  string
	Programs []string

	// Entries counts files, directories and links of all layers, also those that a later layer hides.
	Entries int64

	// Findings are what checks found, in the order of the layers.
	Findings []ImageFinding

	// Omitted counts the findings of a check beyond those in Findings.
	Omitted map[Check]int
}

// Flaw is something about a layer because of which nobody can say what is in it.
type Flaw struct {
	Layer digest.Digest // empty when it is about all of them
	Why   string        // for a person, one line
}

// System names an operating system.
type System struct {
	ID, Version string // such as debian and 12; empty when there is no os-release

	// SupportEnd is the last day with support, where os-release says so itself; else zero.
	SupportEnd time.Time
}

// ImageFinding is something that a check found in an image.
type ImageFinding struct {
	Check Check
	Path  string        // of a file without a slash in front, or a part of the configuration such as "config.Env NPM_TOKEN"
	Layer digest.Digest // that holds it; empty for the configuration
	What  string        // for a person, such as "github-token in line 3"; empty where the path says all
	Kind  ProgramKind   // of what CheckMinimal finds
}

// Check names a check of an image: its key under push.image, and what an exception calls it.
type Check string

// The checks.
const (
	CheckNonRoot       Check = "nonroot"
	CheckRootGroup     Check = "root_group"
	CheckSecrets       Check = "secrets"
	CheckSetuid        Check = "setuid"
	CheckCapabilities  Check = "capabilities"
	CheckDevices       Check = "devices"
	CheckPaths         Check = "paths"
	CheckWorldWritable Check = "world_writable"
	CheckMinimal       Check = "minimal"
	CheckCaches        Check = "caches"
	CheckEndOfLife     Check = "end_of_life"
	CheckPorts         Check = "ports"
	CheckVolumes       Check = "volumes"
	CheckFuture        Check = "future"
	CheckPlatform      Check = "platform"
	CheckHistory       Check = "history"
	CheckLabels        Check = "labels"
	CheckBase          Check = "base"
	CheckBaseClaim     Check = "base_claim"
	CheckAge           Check = "age"
	CheckProfile       Check = "profile"
)

// ErrUnfinished is in the error of an inspection or a scan that goes on after its caller stopped waiting. Asked again, it
// answers from what it has found.
var ErrUnfinished = errors.New("it is not finished")
