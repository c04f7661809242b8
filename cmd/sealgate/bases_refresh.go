package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/sealgate/sealgate/signer/safefile"
	"go.yaml.in/yaml/v3"
)

// refreshedList is what became of one list of base images. Its JSON is a promise.
type refreshedList struct {
	File    string          `json:"file"`
	Changed bool            `json:"changed"` // what is in the file, or would be
	Written bool            `json:"written"`
	Bases   []refreshedBase `json:"bases"`
	Error   string          `json:"error,omitempty"` // why the list as a whole stayed as it was

	err error
}

// refreshedBase is what became of one entry.
type refreshedBase struct {
	Name      string      `json:"name"`
	Image     string      `json:"image,omitempty"` // empty: somebody keeps its diff ids by hand
	Outcome   baseOutcome `json:"outcome"`
	Digest    string      `json:"digest,omitempty"` // what the image is now
	Platforms []string    `json:"platforms,omitempty"`
	Kept      int         `json:"kept"`    // older pins that count on
	Dropped   int         `json:"dropped"` // older pins that were too old
	Error     string      `json:"error,omitempty"`

	err error
}

// baseOutcome says how an entry turned out.
type baseOutcome string

// The outcomes.
const (
	basePinned baseOutcome = "pinned"  // it names another image than it did
	baseSame   baseOutcome = "same"    // it names what it named, and was approved of again
	baseByHand baseOutcome = "by hand" // it names no image
	baseFailed baseOutcome = "failed"  // it could not be looked up, and stays as it was
)

// refresher brings lists of base images up to date.
type refresher struct {
	find  func(ctx context.Context, image string, platforms []string) (basePin, error)
	today time.Time
	dry   bool
	step  func(image string) // told before each look-up
}

// refresh brings one list up to date. What could not be looked up stays as it was, and everything else that is in the file,
// comments and order too. keep is how long a pin stays after its image became another one.
func (r *refresher) refresh(ctx context.Context, file string, keep time.Duration) (result refreshedList) {
	result = refreshedList{File: file, Bases: []refreshedBase{}}
	fail := func(err error) refreshedList {
		result.err, result.Error = err, err.Error()
		return result
	}
	raw, err := safefile.Read(file, maxBaseList, 0)
	if err != nil {
		return fail(&exitError{exitUsage, fmt.Errorf("%s cannot be read: %w", file, err)})
	}
	list, at, err := parseBaseList(file, raw)
	if err != nil {
		return fail(err)
	}
	before := fmt.Sprintf("%+v", list)
	for i := range list.Bases {
		result.Bases = append(result.Bases, r.entry(ctx, &list.Bases[i], at, fmt.Sprintf("bases[%d]", i), keep))
	}
	if fmt.Sprintf("%+v", list) == before {
		return result
	}

	result.Changed = true
	edited, err := writePins(raw, list)
	if err != nil {
		return fail(fmt.Errorf("write %s: %w; nothing was written", file, err))
	}
	if r.dry {
		return result
	}
	if err := replaceFile(file, raw, edited); err != nil {
		return fail(fmt.Errorf("write %s: %w; nothing was written", file, err))
	}
	result.Written = true
	return result
}

// entry brings one entry up to date.
func (r *refresher) entry(ctx context.Context, b *approvedBase, at places, where string, keep time.Duration) refreshedBase {
	result := refreshedBase{Name: plain(b.Name), Image: plain(b.Image), Outcome: baseByHand}
	if b.Image == "" {
		return result
	}
	fail := func(err error) refreshedBase {
		result.Outcome, result.err, result.Error = baseFailed, err, plain(err.Error())
		return result
	}
	days := make([]time.Time, len(b.Pins))
	for i, pin := range b.Pins {
		day, err := time.Parse(time.DateOnly, pin.Refreshed)
		if err != nil {
			return fail(Problems{at.problem(fmt.Sprintf("%s.pins[%d]", where, i), "refreshed is no day like \"2027-01-31\"")})
		}
		days[i] = day
	}

	r.step(b.Image)
	found, err := r.find(ctx, b.Image, b.Platforms)
	if err != nil {
		return fail(err)
	}
	found.Refreshed = r.today.Format(time.DateOnly)
	result.Outcome, result.Digest = basePinned, found.Digest
	for _, image := range found.Images {
		result.Platforms = append(result.Platforms, image.Platform)
	}
	pins := []basePin{found}
	for i, pin := range b.Pins {
		switch {
		case pin.Digest == found.Digest:
			if i == 0 {
				result.Outcome = baseSame
			}
		case r.today.Sub(days[i]) > keep:
			result.Dropped++
		default:
			result.Kept++
			pins = append(pins, pin)
		}
	}
	slices.SortStableFunc(pins[1:], func(x, y basePin) int { return strings.Compare(y.Refreshed, x.Refreshed) })
	b.Pins = pins
	return result
}

// blank stands for an empty line while the file is a tree, which knows comments and no empty lines.
const blank = "#\u00a0empty"

// writePins puts the pins of a list into the text that it was read from. Nothing else of it changes: what came out is read
// again, and held against the list and the comments that were there. Empty lines go where one is part of a text.
func writePins(raw []byte, list baseList) ([]byte, error) {
	if edited, err := writePinsInto(markBlanks(raw), raw, list); err == nil {
		return edited, nil
	}
	return writePinsInto(raw, raw, list)
}

func writePinsInto(text, raw []byte, list baseList) ([]byte, error) {
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		return nil, err
	}
	bases := valueOf(document.Content[0], "bases")
	if bases == nil || len(bases.Content) != len(list.Bases) {
		return nil, errors.New("its entries cannot be found again")
	}
	for i, b := range list.Bases {
		if len(b.Pins) > 0 {
			if err := setPins(bases.Content[i], b.Pins); err != nil {
				return nil, err
			}
			bases.Style &^= yaml.FlowStyle
			document.Content[0].Style &^= yaml.FlowStyle
		}
	}

	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := errors.Join(e.Encode(&document), e.Close()); err != nil {
		return nil, err
	}
	edited := unmarkBlanks(b.Bytes())
	again, _, err := parseBaseList("", edited)
	switch {
	case err != nil:
		return nil, fmt.Errorf("what would be written cannot be read: %w", err)
	case !reflect.DeepEqual(again, list):
		return nil, errors.New("what would be written says something else; write the file in block style, as docs/policy.md does")
	case len(edited) > maxBaseList:
		return nil, fmt.Errorf("it would be larger than %d bytes; name platforms, or keep pins for less long", maxBaseList)
	}
	if lost := lostComment(raw, edited); lost != "" {
		return nil, fmt.Errorf("the comment %.60q would be lost; move it to a line of its own above an entry", lost)
	}
	return edited, nil
}

// setPins replaces the pins of an entry, or adds them.
func setPins(entry *yaml.Node, pins []basePin) error {
	value, err := pinsNode(pins)
	if err != nil {
		return err
	}
	entry.Style &^= yaml.FlowStyle
	for i := 0; i+1 < len(entry.Content); i += 2 {
		if entry.Content[i].Value != "pins" {
			continue
		}
		foot := footOf(entry.Content[i+1])
		if next := i + 2; next < len(entry.Content) { // it is about what follows
			entry.Content[next].HeadComment = strings.Trim(foot+"\n"+entry.Content[next].HeadComment, "\n")
		} else {
			entry.Content[i].FootComment = strings.Trim(entry.Content[i].FootComment+"\n"+foot, "\n")
		}
		entry.Content[i+1] = value
		return nil
	}
	key := &yaml.Node{Kind: yaml.ScalarNode, Value: "pins"}
	if n := len(entry.Content); n >= 2 { // a comment below the entry stays below it
		last := entry.Content[n-2]
		key.FootComment, last.FootComment = last.FootComment, ""
	}
	entry.Content = append(entry.Content, key, value)
	return nil
}

// footOf is the comment behind the last thing in a list, which is about what follows.
func footOf(n *yaml.Node) string {
	for len(n.Content) > 0 {
		inner := n.Content[len(n.Content)-1]
		if n.Kind == yaml.MappingNode {
			if foot := n.Content[len(n.Content)-2].FootComment; foot != "" {
				return foot
			}
		}
		if inner.FootComment != "" {
			return inner.FootComment
		}
		n = inner
	}
	return ""
}

// pinsNode is the pins as they stand in a list.
func pinsNode(pins []basePin) (*yaml.Node, error) {
	type image struct {
		Platform string   `yaml:"platform"`
		Digest   string   `yaml:"digest"`
		DiffIDs  []string `yaml:"diff_ids"`
	}
	type pin struct {
		Digest    string  `yaml:"digest"`
		Refreshed string  `yaml:"refreshed"`
		Images    []image `yaml:"images"`
	}
	var all []pin
	for _, p := range pins {
		one := pin{Digest: p.Digest, Refreshed: p.Refreshed}
		for _, i := range p.Images {
			one.Images = append(one.Images, image(i))
		}
		all = append(all, one)
	}
	var node yaml.Node
	if err := node.Encode(all); err != nil {
		return nil, err
	}
	return &node, nil
}

// valueOf is what a mapping has under a key, nil where it has none.
func valueOf(mapping *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == key {
			return mapping.Content[i+1]
		}
	}
	return nil
}

func markBlanks(raw []byte) []byte {
	var b bytes.Buffer
	for line := range bytes.Lines(raw) {
		if len(bytes.TrimSpace(line)) == 0 {
			b.WriteString(blank + "\n")
			continue
		}
		b.Write(line)
	}
	return b.Bytes()
}

func unmarkBlanks(edited []byte) []byte {
	var b bytes.Buffer
	for line := range bytes.Lines(edited) {
		if string(bytes.TrimSpace(line)) == blank {
			b.WriteByte('\n')
			continue
		}
		b.Write(line)
	}
	return b.Bytes()
}

// lostComment finds a comment of a line of its own that is not there any more. Those within pins go with them.
func lostComment(before, after []byte) string {
	comments := func(raw []byte) (all []string) {
		for line := range bytes.Lines(raw) {
			if text := string(bytes.TrimSpace(line)); strings.HasPrefix(text, "#") {
				all = append(all, text)
			}
		}
		return all
	}
	left := comments(after)
	for _, text := range comments(before) {
		i := slices.Index(left, text)
		if i < 0 {
			return text
		}
		left = slices.Delete(left, i, i+1)
	}
	return ""
}

// replaceFile replaces a file as a whole: whoever reads it meanwhile reads the one or the other. It must be as it was.
func replaceFile(file string, before, after []byte) error {
	target, err := filepath.EvalSymlinks(file) // a link stays one
	if err != nil {
		return err
	}
	stat, err := os.Stat(target)
	if err != nil {
		return err
	}
	next, err := os.CreateTemp(filepath.Dir(target), "."+filepath.Base(target)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(next.Name()) // which is not there any more when all went well
	_, err = next.Write(after)
	if err = errors.Join(err, next.Chmod(stat.Mode().Perm()), next.Sync(), next.Close()); err != nil {
		return err
	}

	now, err := safefile.Read(target, maxBaseList, 0)
	if err != nil {
		return err
	}
	if !bytes.Equal(now, before) {
		return errors.New("somebody changed it meanwhile; run it again")
	}
	return os.Rename(next.Name(), target)
}
