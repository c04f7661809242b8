package main

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/signer/safefile"
)

// baseList is a file that lists approved base images, as push.image.base.approved names it.
type baseList struct {
	// Bases are the approved images.
	Bases []approvedBase `mapstructure:"bases"`
}

// approvedBase is a base image by its layers: those in DiffIDs, which somebody wrote, and those of each of its pins.
type approvedBase struct {
	// Name is for people.
	Name string `mapstructure:"name"`

	// Image is where `sealgate bases refresh` finds it, by the name that it has at the gateway, such as
	// docker.io/library/debian:13-slim. Default: nowhere.
	Image string `mapstructure:"image"`

	// Platforms are those that are pinned, such as linux/amd64. Default: all that it has.
	Platforms []string `mapstructure:"platforms"`

	// Digest is that of its manifest, or of the index that lists it, for what claims to stand on it. Default: not known.
	Digest string `mapstructure:"digest"`

	// Refreshed is the day on which somebody approved of DiffIDs, such as "2026-11-20". Default: not known.
	Refreshed string `mapstructure:"refreshed"`

	// DiffIDs are rootfs.diff_ids of the image's configuration, all of them, the lowest first.
	DiffIDs []string `mapstructure:"diff_ids"`

	// Until is the last day on which it counts, such as "2027-01-31". Default: no end.
	Until string `mapstructure:"until"`

	// Pins are what Image named when it was refreshed, the newest first. `sealgate bases refresh` writes them.
	Pins []basePin `mapstructure:"pins"`
}

// basePin is what the name of a base image named on a day.
type basePin struct {
	// Digest is that of its manifest or index.
	Digest string `mapstructure:"digest"`

	// Refreshed is the last day on which the name named it, such as "2026-11-20".
	Refreshed string `mapstructure:"refreshed"`

	// Images are one for each platform.
	Images []pinnedImage `mapstructure:"images"`
}

// pinnedImage is the image of one platform.
type pinnedImage struct {
	// Platform is what it is for, such as linux/arm64/v8.
	Platform string `mapstructure:"platform"`

	// Digest is that of its manifest.
	Digest string `mapstructure:"digest"`

	// DiffIDs are those of all its layers, the lowest first.
	DiffIDs []string `mapstructure:"diff_ids"`
}

// maxBaseList bounds a list of base images, in bytes: some dozens of images, each with several pins of many platforms.
const maxBaseList = 4 << 20

// readBases reads the lists that policies name.
func readBases(l *Loaded) (map[string][]policy.Base, Problems) {
	lists := map[string][]policy.Base{}
	var problems Problems
	for i, p := range l.Config.Policies {
		if p.Push == nil || p.Push.Image.Base == nil || p.Push.Image.Base.Approved == "" {
			continue
		}
		file := p.Push.Image.Base.Approved
		if _, read := lists[file]; read {
			continue
		}
		list, err := readBaseList(file)
		if wrong, ok := err.(Problems); ok {
			problems = append(problems, wrong...)
		} else if err != nil {
			problems = append(problems, l.problem(fmt.Sprintf("policies[%d].push.image.base.approved", i), "%s cannot be read: %v", file, err))
		}
		lists[file] = list
	}
	return lists, problems
}

func readBaseList(file string) ([]policy.Base, error) {
	raw, err := safefile.Read(file, maxBaseList, 0)
	if err != nil {
		return nil, err
	}
	written, places, err := parseBaseList(file, raw)
	if err != nil {
		return nil, err
	}
	if len(written.Bases) == 0 {
		return nil, Problems{{File: file, What: "approves nothing; list base images under bases"}}
	}

	c := &baseListReader{places: places}
	for i, b := range written.Bases {
		c.read(fmt.Sprintf("bases[%d]", i), b)
	}
	return c.list, c.problems.orNil()
}

// parseBaseList reads the form of a list. What it says is not looked at.
func parseBaseList(file string, raw []byte) (written baseList, at places, err error) {
	at, problems := checkYAML(file, raw, reflect.TypeFor[baseList]())
	if len(problems) > 0 {
		return written, at, problems
	}
	if err := decodeStrictly(raw, &written); err != nil {
		return written, at, Problems{{File: file, What: err.Error()}}
	}
	return written, at, nil
}

// baseListReader makes of what is written what a policy knows.
type baseListReader struct {
	places
	problems Problems
	list     []policy.Base
}

func (c *baseListReader) add(at, format string, args ...any) {
	c.problems = append(c.problems, c.problem(at, format, args...))
}

func (c *baseListReader) read(at string, b approvedBase) {
	if strings.TrimSpace(b.Name) == "" {
		c.add(at, "has no name")
	}
	switch {
	case b.Image == "" && len(b.Pins) > 0:
		c.add(at+".pins", "belong to no image; write where it is found in image, or leave them out")
	case b.Image == "" && len(b.Platforms) > 0:
		c.add(at+".platforms", "mean nothing without image; leave them out")
	case len(b.DiffIDs) == 0 && b.Image != "" && len(b.Pins) == 0:
		c.add(at, "was never looked up; run: sealgate bases refresh")
	case len(b.DiffIDs) == 0 && b.Image == "":
		c.add(at, "has no diff_ids; crane config IMAGE shows them under rootfs. Or name its image, and run: sealgate bases refresh")
	case len(b.DiffIDs) == 0 && (b.Digest != "" || b.Refreshed != ""):
		c.add(at, "has digest or refreshed without diff_ids; leave them out, its pins have their own")
	}
	one := policy.Base{Name: b.Name, Until: b.Until, Image: b.Image}
	if len(b.DiffIDs) > 0 {
		byHand := one
		byHand.Refreshed, byHand.DiffIDs = b.Refreshed, c.digests(at+".diff_ids", b.DiffIDs)
		if b.Digest != "" {
			byHand.Digests = c.digests(at+".digest", []string{b.Digest})
		}
		c.list = append(c.list, byHand)
	}
	for i, pin := range b.Pins {
		c.readPin(fmt.Sprintf("%s.pins[%d]", at, i), one, pin)
	}
}

func (c *baseListReader) readPin(at string, one policy.Base, pin basePin) {
	whole := c.digests(at+".digest", []string{pin.Digest})
	if len(pin.Images) == 0 {
		c.add(at, "has no images")
	}
	if pin.Refreshed == "" {
		c.add(at, "has no refreshed, the day on which it was approved")
	}
	one.Refreshed = pin.Refreshed
	for i, image := range pin.Images {
		here := fmt.Sprintf("%s.images[%d]", at, i)
		if len(image.DiffIDs) == 0 {
			c.add(here, "has no diff_ids")
		}
		platform := one
		platform.DiffIDs, platform.Digests = c.digests(here+".diff_ids", image.DiffIDs), append(c.digests(here+".digest", []string{image.Digest}), whole...)
		c.list = append(c.list, platform)
	}
}

func (c *baseListReader) digests(at string, texts []string) (all []digest.Digest) {
	for i, text := range texts {
		d, err := digest.Parse(text)
		if err != nil || d.Algorithm() != digest.SHA256 {
			where := at
			if strings.HasSuffix(at, "diff_ids") {
				where = fmt.Sprintf("%s[%d]", at, i)
			}
			c.add(where, "is not sha256: and 64 digits")
		}
		all = append(all, d)
	}
	return all
}
