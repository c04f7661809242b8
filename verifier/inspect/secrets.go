package inspect

import (
	"bytes"
	"errors"
	"io"
	"path"
	"slices"
	"strings"
	"sync"
)

// scanner looks for secrets in files, whatever their size, in a window that slides over them. It is not safe for concurrent
// use. What it finds is named by rule and line; the secret itself goes nowhere.
type scanner struct {
	rules  *prefilter
	window []byte
}

// window is how much of a file is looked at at once, in bytes.
const window = 128 << 10

var allRules = sync.OnceValue(func() *prefilter { return newPrefilter(secretRules()) })

func newScanner() *scanner { return &scanner{rules: allRules(), window: make([]byte, window)} }

// scan reads a file to its end. found is told the rule and the line of each secret. An error is the reader's.
func (s *scanner) scan(name string, file io.Reader, found func(rule string, line int)) error {
	base := path.Base(name)
	have, from, lines := 0, 0, 0 // bytes in the window, those that were looked at, lines before it
	for {
		n, err := io.ReadFull(file, s.window[have:])
		have += n
		text, to := s.window[:have], have-reach // a rule wants to see what follows
		last := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		switch {
		case last:
			to = have
		case err != nil:
			return err
		}

		s.rules.find(text, from, to, func(r *rule, at, end int) {
			if r.concerns(base) && r.match(text, at, end) {
				found(r.id, lines+1+bytes.Count(text[:at], []byte("\n")))
			}
		})
		if last {
			return nil
		}
		keep := to - reach // and what stands before
		lines += bytes.Count(text[:keep], []byte("\n"))
		have, from = copy(s.window, text[keep:]), reach
	}
}

// text names the rules that a text matches.
func (s *scanner) text(text string) []string {
	var found []string
	_ = s.scan("", strings.NewReader(text), func(id string, _ int) { // a string is read without errors
		if !slices.Contains(found, id) {
			found = append(found, id)
		}
	})
	return found
}
