package main

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/safefile"
)

// baseList is a file that lists approved base images, as push.image.base.approved names it.
type baseList struct {
	// Bases are the approved images.
	Bases []approvedBase `mapstructure:"bases"`
}

// approvedBase is a base image by its layers.
type approvedBase struct {
	// Name is for people.
	Name string `mapstructure:"name"`

	// DiffIDs are rootfs.diff_ids of the image's configuration, all of them, the lowest first.
	DiffIDs []string `mapstructure:"diff_ids"`

	// Until is the last day on which it counts, such as "2027-01-31". Default: no end.
	Until string `mapstructure:"until"`
}

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
	raw, err := safefile.Read(file, maxConfigFile, 0)
	if err != nil {
		return nil, err
	}
	places, problems := checkYAML(file, raw, reflect.TypeFor[baseList]())
	if len(problems) > 0 {
		return nil, problems
	}
	var written baseList
	if err := decodeStrictly(raw, &written); err != nil {
		return nil, Problems{{File: file, What: err.Error()}}
	}
	if len(written.Bases) == 0 {
		return nil, Problems{{File: file, What: "approves nothing; list base images under bases"}}
	}

	var list []policy.Base
	for i, b := range written.Bases {
		at := fmt.Sprintf("bases[%d]", i)
		if strings.TrimSpace(b.Name) == "" {
			problems = append(problems, places.problem(at, "has no name"))
		}
		if len(b.DiffIDs) == 0 {
			problems = append(problems, places.problem(at, "has no diff_ids; crane config IMAGE shows them under rootfs"))
		}
		approved := policy.Base{Name: b.Name, Until: b.Until}
		for n, text := range b.DiffIDs {
			d, err := digest.Parse(text)
			if err != nil || d.Algorithm() != digest.SHA256 {
				problems = append(problems, places.problem(fmt.Sprintf("%s.diff_ids[%d]", at, n), "is not sha256: and 64 digits"))
			}
			approved.DiffIDs = append(approved.DiffIDs, d)
		}
		list = append(list, approved)
	}
	return list, problems.orNil()
}
