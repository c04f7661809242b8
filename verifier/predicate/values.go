package predicate

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// count reads an array for the number of its entries.
func (s *stream) count() (n int) {
	s.array(func() { s.skip(); n++ })
	return n
}

// string reads a text of at most [MaxText] bytes.
func (s *stream) string() string {
	if c := s.next(); c != '"' {
		s.wrongType("a text", c)
		return ""
	}
	written := s.raw(MaxText)
	if s.err != nil {
		return ""
	}
	if bytes.IndexByte(written, '\\') < 0 {
		return string(written)
	}
	text, err := unescape(written)
	if err != nil {
		s.fail("%w", err)
	}
	return text
}

func unescape(written []byte) (string, error) {
	var text string
	if err := json.Unmarshal(slices.Concat([]byte{'"'}, written, []byte{'"'}), &text); err != nil {
		return "", err
	}
	if strings.ContainsAny(text, "\x00\ufffd") {
		return "", errors.New("holds an escaped NUL or half a surrogate pair")
	}
	return text, nil
}

// required reads a text that is not empty.
func (s *stream) required(what string) string {
	text := s.string()
	if text == "" {
		s.fail("%s is empty", what)
	}
	return text
}

// number reads a number.
func (s *stream) number() float64 {
	if c := s.next(); c != '-' && (c < '0' || c > '9') {
		s.wrongType("a number", c)
		return 0
	}
	s.skipNumber()
	f, err := strconv.ParseFloat(string(s.text), 64)
	if err != nil {
		s.fail("%.40q is no number", s.text)
	}
	return f
}

// bool reads true or false.
func (s *stream) bool() bool {
	switch c := s.next(); c {
	case 't':
		s.literal("true")
		return s.err == nil
	case 'f':
		s.literal("false")
	default:
		s.wrongType("true or false", c)
	}
	return false
}

// raw reads a string as it is written, without its quotes. It is valid until the next call.
func (s *stream) raw(limit int) []byte {
	s.text = s.text[:0]
	s.at++
	for s.more() {
		n := plain(s.buf[s.at:s.end])
		if len(s.text)+n > limit {
			s.fail("a text of more than %d bytes", limit)
			return nil
		}
		s.text = append(s.text, s.buf[s.at:s.at+n]...)
		s.at += n
		if s.at == s.end {
			continue
		}
		switch c := s.buf[s.at]; c {
		case '"':
			s.at++
			if !utf8.Valid(s.text) {
				s.fail("a text that is not UTF-8")
			}
			return s.text
		case '\\':
			s.escape(true)
		default:
			s.unexpected(c)
		}
	}
	s.unexpected(0)
	return nil
}

// escape consumes an escape sequence.
func (s *stream) escape(keep bool) {
	hex := 0
	for i := 0; s.more(); i++ {
		c := s.buf[s.at]
		switch {
		case i == 0:
		case i == 1 && c == 'u':
			hex = 4
		case i == 1 && !strings.ContainsRune(`"\/bfnrt`, rune(c)):
			s.unexpected(c)
			return
		case i > 1 && !isHex(c):
			s.unexpected(c)
			return
		}
		if keep {
			s.text = append(s.text, c)
		}
		s.at++
		if i == 1+hex {
			return
		}
	}
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

// skip reads any value and forgets it.
func (s *stream) skip() {
	switch c := s.next(); {
	case c == '"':
		s.skipText()
	case c == '{':
		s.entries(s.skip)
	case c == '[':
		s.array(s.skip)
	case c == '-' || c >= '0' && c <= '9':
		s.skipNumber()
	case c == 't':
		s.literal("true")
	case c == 'f':
		s.literal("false")
	case c == 'n':
		s.literal("null")
	default:
		s.unexpected(c)
	}
}

func (s *stream) literal(word string) {
	for i := range len(word) {
		if !s.more() || s.buf[s.at] != word[i] {
			s.fail("a word that is none of true, false and null")
			return
		}
		s.at++
	}
}

func (s *stream) skipText() {
	s.at++
	for s.more() {
		s.at += plain(s.buf[s.at:s.end])
		if s.at == s.end {
			continue
		}
		switch c := s.buf[s.at]; c {
		case '"':
			s.at++
			return
		case '\\':
			s.escape(false)
		default:
			s.unexpected(c)
		}
	}
	s.unexpected(0)
}

// plain counts the bytes before the first quote, backslash or control character, eight at a time.
func plain(b []byte) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	n := 0
	for ; n+8 <= len(b); n += 8 {
		w := binary.LittleEndian.Uint64(b[n:])
		quote, slash := w^(ones*'"'), w^(ones*'\\')
		found := ((quote-ones)&^quote | (slash-ones)&^slash | (w-ones*0x20)&^w) & highs
		if found != 0 {
			return n + bits.TrailingZeros64(found)/8
		}
	}
	for ; n < len(b) && b[n] != '"' && b[n] != '\\' && b[n] >= 0x20; n++ {
	}
	return n
}

const maxNumber = 64 // bytes

// skipNumber consumes a number and leaves it in s.text.
func (s *stream) skipNumber() {
	s.text = s.text[:0]
	for s.more() {
		c := s.buf[s.at]
		if (c < '0' || c > '9') && c != '-' && c != '+' && c != '.' && c != 'e' && c != 'E' {
			break
		}
		if len(s.text) == maxNumber {
			s.fail("a number of more than %d characters", maxNumber)
			return
		}
		s.text = append(s.text, c)
		s.at++
	}
	if s.err == nil && !isNumber(s.text) {
		s.fail("%.40q is no number", s.text)
	}
}

// isNumber holds a text against the grammar of JSON's numbers.
func isNumber(b []byte) bool {
	digits := func() bool {
		n := 0
		for n < len(b) && b[n] >= '0' && b[n] <= '9' {
			n++
		}
		b = b[n:]
		return n > 0
	}
	if len(b) > 0 && b[0] == '-' {
		b = b[1:]
	}
	zero := len(b) > 0 && b[0] == '0'
	if zero {
		b = b[1:]
	} else if !digits() {
		return false
	}
	if len(b) > 0 && b[0] == '.' {
		if b = b[1:]; !digits() {
			return false
		}
	}
	if len(b) > 0 && (b[0] == 'e' || b[0] == 'E') {
		if b = b[1:]; len(b) > 0 && (b[0] == '+' || b[0] == '-') {
			b = b[1:]
		}
		if !digits() {
			return false
		}
	}
	return len(b) == 0
}
