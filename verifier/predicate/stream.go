package predicate

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"slices"
	"strings"
)

// stream reads JSON from a reader, in one pass and in little memory. Its first error stays: the methods do nothing after it,
// so that a reader is written as the document is, and asks once at the end. Whatever is read to the end without an error is
// valid JSON.
type stream struct {
	from io.Reader
	buf  []byte // what was read and not consumed is buf[at:end]
	at   int
	end  int
	left int64 // bytes that may still be read
	read int64 // bytes that were
	deep int
	text []byte // scratch

	err error
}

const bufferSize = 32 << 10

func newStream(from io.Reader, limit int64) *stream {
	return &stream{from: from, buf: make([]byte, bufferSize), left: limit}
}

func (s *stream) fail(format string, args ...any) {
	if s.err == nil {
		s.err = fmt.Errorf(format, args...)
	}
	s.at, s.end = 0, 0
}

// fill reads more once all was consumed. It returns false at the end and on an error.
func (s *stream) fill() bool {
	if s.err != nil {
		return false
	}
	for range 100 {
		n, err := s.from.Read(s.buf)
		s.read += int64(n)
		if s.left -= int64(n); s.left < 0 {
			s.fail("longer than is read")
			return false
		}
		if n > 0 {
			s.at, s.end = 0, n // an error comes again
			return true
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				s.fail("%w", err)
			}
			s.at, s.end = 0, 0
			return false
		}
	}
	s.fail("%w", io.ErrNoProgress)
	return false
}

// more makes sure that there is a byte at s.at.
func (s *stream) more() bool { return s.at < s.end || s.fill() }

// offset is where in the input s.at is.
func (s *stream) offset() int64 { return s.read - int64(s.end-s.at) }

// next returns the byte behind white space, and leaves it there. 0 is the end, or an error.
func (s *stream) next() byte {
	for s.more() {
		switch c := s.buf[s.at]; c {
		case ' ', '\t', '\r', '\n':
			s.at++
		default:
			return c
		}
	}
	return 0
}

// expect consumes one byte behind white space.
func (s *stream) expect(c byte) bool {
	if got := s.next(); got != c {
		s.unexpected(got)
		return false
	}
	s.at++
	return true
}

func (s *stream) unexpected(c byte) {
	if c == 0 && s.at >= s.end {
		s.fail("ends in the middle")
		return
	}
	s.fail("an unexpected %q", c)
}

// finish returns the error, of which it is one that something follows the value.
func (s *stream) finish() error {
	if s.err == nil && s.next() != 0 {
		s.fail("something follows the document")
	}
	if s.err == nil && s.at < s.end {
		s.fail("something follows the document")
	}
	return s.err
}

// fields are the keys of an object that are read. Those that end with an exclamation mark have to be there.
type fields struct {
	names    []string
	required uint64
}

func fieldsOf(names ...string) fields {
	f := fields{}
	for i, name := range names {
		plain, required := strings.CutSuffix(name, "!")
		if required {
			f.required |= 1 << i
		}
		f.names = append(f.names, plain)
	}
	return f
}

// object reads an object. member is called for each key that is among the fields, and has to read the value; other members
// are skipped.
func (s *stream) object(f fields, member func(key string)) {
	if c := s.next(); c != '{' {
		s.wrongType("an object", c)
		return
	}
	s.at++
	if s.deeper() {
		return
	}
	var seen uint64
	for first := true; ; first = false {
		c := s.next()
		if first && c == '}' {
			break
		}
		if c != '"' {
			s.unexpected(c)
			return
		}
		name := s.raw(MaxText)
		i := f.find(name)
		if i < 0 {
			if known, ok := f.folded(name); ok {
				s.fail("key %.60q differs from %q in spelling only", name, known)
			}
		} else if seen&(1<<i) != 0 {
			s.fail("key %q is there twice", f.names[i])
		} else {
			seen |= 1 << i
		}
		if !s.expect(':') {
			return
		}
		if i < 0 {
			s.skip()
		} else {
			member(f.names[i])
		}
		if s.err != nil {
			return
		}
		if c = s.next(); c == '}' {
			break
		}
		if !s.expect(',') {
			return
		}
	}
	s.at++
	s.deep--
	if absent := f.required &^ seen; absent != 0 {
		s.fail("%s is missing", f.names[bits.TrailingZeros64(absent)])
	}
}

func (f fields) find(name []byte) int {
	for i, known := range f.names {
		if known == string(name) {
			return i
		}
	}
	return -1
}

// folded finds a key that another reader could take for one of the fields.
func (f fields) folded(name []byte) (string, bool) {
	for _, known := range f.names {
		if len(known) <= len(name) && bytes.EqualFold([]byte(known), name) {
			return known, true
		}
	}
	if bytes.IndexByte(name, '\\') >= 0 {
		var plain string
		if json.Unmarshal(slices.Concat([]byte{'"'}, name, []byte{'"'}), &plain) == nil {
			for _, known := range f.names {
				if strings.EqualFold(known, plain) {
					return known, true
				}
			}
		}
	}
	return "", false
}

// entries reads an object with keys of anybody's choice.
func (s *stream) entries(member func()) {
	if c := s.next(); c != '{' {
		s.wrongType("an object", c)
		return
	}
	s.each('}', func() {
		if c := s.next(); c != '"' {
			s.unexpected(c)
			return
		}
		if s.skipText(); s.expect(':') {
			member()
		}
	})
}

// entriesOf reads an object with keys of anybody's choice, and hands them over.
func (s *stream) entriesOf(member func(key string)) {
	if c := s.next(); c != '{' {
		s.wrongType("an object", c)
		return
	}
	s.each('}', func() {
		key := s.string()
		if s.expect(':') {
			member(key)
		}
	})
}

// array reads an array. element is called for each entry, and has to read it.
func (s *stream) array(element func()) {
	if c := s.next(); c != '[' {
		s.wrongType("a list", c)
		return
	}
	s.each(']', element)
}

func (s *stream) each(closing byte, element func()) {
	s.at++
	if s.deeper() {
		return
	}
	for first := true; ; first = false {
		if first && s.next() == closing {
			break
		}
		element()
		if s.err != nil {
			return
		}
		if s.next() == closing {
			break
		}
		if !s.expect(',') {
			return
		}
	}
	s.at++
	s.deep--
}

func (s *stream) deeper() bool {
	if s.deep++; s.deep > MaxDepth {
		s.fail("nested deeper than %d", MaxDepth)
	}
	return s.err != nil
}

func (s *stream) wrongType(want string, c byte) {
	switch {
	case c == 0:
		s.unexpected(c)
	case c == 'n':
		s.fail("null in place of %s", want)
	default:
		s.fail("something else in place of %s", want)
	}
}
