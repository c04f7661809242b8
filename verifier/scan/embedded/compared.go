package embedded

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sealgate/sealgate/verifier/scan"
	"github.com/sealgate/sealgate/verifier/scan/inventory"
)

// Compared is a scanner whose word is held against our own inventory. Scanners are silently empty when an image is put
// together in a way that they do not expect: what they did not see has no vulnerabilities. A scanner that saw less than we
// do has not scanned the image. What bills of materials it did not write are written of our inventory.
type Compared struct {
	scan.Scanner
	Blobs     scan.Blobs
	Workplace *scan.Workplace
	Version   string        // of this program
	Timeout   time.Duration // the longest that fetching the image and both looks at it may take, [scan.MaxDuration] by default
}

// Scan implements [scan.Scanner].
func (c Compared) Scan(ctx context.Context, image scan.Image) (scan.Report, error) {
	timeout := cmp.Or(c.Timeout, scan.MaxDuration)
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("it did not finish in %s", timeout))
	defer cancel()
	folder, done, err := c.Workplace.LayOut(ctx, c.Blobs, image)
	if err != nil {
		return scan.Report{}, fmt.Errorf("%w: %w", scan.ErrUnknown, err)
	}
	defer done()
	image.Folder = folder // for both, who read at the same time

	var ours *inventory.Inventory
	var failed error
	var group sync.WaitGroup
	group.Go(func() { ours, failed = take(ctx, c.Workplace, c.Blobs, image) })
	report, err := c.Scanner.Scan(ctx, image)
	group.Wait()
	switch {
	case err != nil:
		return scan.Report{}, err
	case failed != nil:
		return scan.Report{}, fmt.Errorf("%w: list its packages, to compare: %w", scan.ErrUnknown, failed)
	}
	if err := compare(ours, report); err != nil {
		return scan.Report{}, fmt.Errorf("%w: %w", scan.ErrUnknown, err)
	}
	if err := describeIn(&report, image, ours, c.Version); err != nil {
		return scan.Report{}, fmt.Errorf("%w: %w", scan.ErrUnknown, err)
	}
	return report, nil
}

// systems are the kinds of packages of operating systems. Of these every tool reads the same list, so each package must have
// been seen; what is a package of a language, tools differ about, so of each kind some must have been.
var systems = []string{"deb", "apk", "rpm"}

// languages are the other kinds that are compared: those that every scanner knows.
var languages = []string{"npm", "pypi", "golang", "maven", "gem", "cargo", "composer", "nuget"}

// compare finds what we saw and a scanner did not.
func compare(ours *inventory.Inventory, report scan.Report) error {
	var names []string // type/name
	kinds := map[string]int{}
	for _, p := range ours.Packages {
		kind, name := purlParts(p.PURL)
		kinds[kind]++
		if slices.Contains(systems, kind) {
			names = append(names, kind+"/"+name)
		}
	}
	theirs, theirKinds := map[string]bool{}, map[string]int{}
	switch {
	case report.SBOM != nil:
		components, err := listed(report.SBOM)
		if err != nil {
			return err
		}
		report.Listed = components
	case report.Listed == nil:
		if report.Counted && report.Packages < len(names) {
			return fmt.Errorf("it saw %d packages, of the operating system alone there are %d", report.Packages, len(names))
		}
		return nil
	}
	for _, purl := range report.Listed {
		if kind, name := purlParts(purl); kind != "" {
			theirs[kind+"/"+name] = true
			theirKinds[kind]++
		}
	}
	for _, name := range names {
		if !theirs[name] {
			return fmt.Errorf("it did not see the package %s, which is in the image", name)
		}
	}
	for _, kind := range languages {
		if kinds[kind] > 0 && theirKinds[kind] == 0 {
			return fmt.Errorf("it saw no package of %s, of which there are %d in the image", kind, kinds[kind])
		}
	}
	return nil
}

// component is a component of CycloneDX.
type component struct {
	PURL       string      `json:"purl"`
	Components []component `json:"components"`
}

// listed are the package URLs in a bill of materials, which was read and bounded before.
func listed(sbom []byte) (purls []string, err error) {
	var doc struct {
		Components []component `json:"components"`
	}
	if err := json.Unmarshal(sbom, &doc); err != nil {
		return nil, fmt.Errorf("its bill of materials cannot be read: %w", err)
	}
	var add func(all []component)
	add = func(all []component) {
		for _, c := range all {
			purls = append(purls, c.PURL)
			add(c.Components)
		}
	}
	add(doc.Components)
	return purls, nil
}

// purlParts are type and name of a package URL: https://github.com/package-url/purl-spec. Both of ours and theirs are
// escaped in the same way.
func purlParts(purl string) (kind, name string) {
	rest, ok := strings.CutPrefix(purl, "pkg:")
	if !ok {
		return "", ""
	}
	kind, rest, _ = strings.Cut(rest, "/")
	rest, _, _ = strings.Cut(rest, "#")
	rest, _, _ = strings.Cut(rest, "?")
	if at := strings.LastIndexByte(rest, '@'); at > 0 {
		rest = rest[:at]
	}
	return kind, rest[strings.LastIndexByte(rest, '/')+1:]
}
