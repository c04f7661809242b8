package main

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/sealgate/sealgate/policy"
)

// A Problem is one thing wrong in a configuration, with its place and how to put it right.
type Problem struct {
	File string `json:"file,omitempty"` // empty for the default configuration
	Line int    `json:"line,omitempty"` // 0 for the file as a whole
	Path string `json:"path,omitempty"` // such as policies[0].pull.signed_by.any[1]
	What string `json:"what"`
}

// Error is FILE:LINE: path: what, as editors understand it.
func (p *Problem) Error() string {
	var b strings.Builder
	switch {
	case p.File == "":
		b.WriteString("default configuration: ")
	case p.Line == 0:
		b.WriteString(p.File + ": ")
	default:
		fmt.Fprintf(&b, "%s:%d: ", p.File, p.Line)
	}
	if p.Path != "" {
		b.WriteString(p.Path + ": ")
	}
	return b.String() + p.What
}

// Problems is everything that is wrong in a configuration, in the order of the file.
type Problems []*Problem

func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, problem := range p {
		lines[i] = problem.Error()
	}
	return strings.Join(lines, "\n")
}

// orNil is the problems as an error: nil where there is none.
func (p Problems) orNil() error {
	if len(p) == 0 {
		return nil
	}
	slices.SortStableFunc(p, func(a, b *Problem) int { return a.Line - b.Line })
	return p
}

// places knows in which line of which file each part of a configuration is.
type places struct {
	file  string
	lines map[string]int // by path
}

// line is the place of a path, or of the nearest thing around it that is there.
func (p places) line(path string) int {
	for path != "" {
		if line, ok := p.lines[path]; ok {
			return line
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
	return 0
}

func (p places) has(path string) bool {
	_, ok := p.lines[path]
	return ok
}

func (p places) problem(path, format string, args ...any) *Problem {
	return &Problem{File: p.file, Line: p.line(path), Path: path, What: fmt.Sprintf(format, args...)}
}

// faults gives what the policy compiler found its places in the file.
func (p places) faults(err error) Problems {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var all Problems
		for _, one := range joined.Unwrap() {
			all = append(all, p.faults(one)...)
		}
		return all
	}
	path, what := "policies", err
	if fault, ok := errors.AsType[*policy.Fault](err); ok {
		path, what = "policies"+fault.Path, fault.Err
	}
	return Problems{p.problem(path, "%v", what)}
}

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// syntax gives an error of the YAML reader its place.
func (p places) syntax(err error) *Problem {
	text := err.Error()
	found := yamlLine.FindStringSubmatch(text)
	if found == nil {
		return &Problem{File: p.file, What: text}
	}
	line, _ := strconv.Atoi(found[1]) // 0 where the reader names none
	return &Problem{File: p.file, Line: line, What: "not valid YAML: " + text[len(found[0]):]}
}
