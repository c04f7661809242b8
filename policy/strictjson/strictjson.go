// Package strictjson decodes JSON documents that have exactly one reading.
//
// encoding/json takes the last of two equal keys, takes "USER" for "user", and reads half a surrogate pair as a question
// mark; other readers take the first, tell the two apart, or stop at a NUL. Where what is judged and what is later used
// are read by different programs, each such freedom is a hole. So a document is refused here when
//   - a key is there twice, in whatever spelling,
//   - a key differs from one that the Go type names in case only, or is written with escapes,
//   - null stands where the Go type has a pointer, which tells "absent" from "there",
//   - a string holds an escaped NUL or half a surrogate pair,
//   - it nests too deeply, is not UTF-8, is not an object, or something follows it.
package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"unicode/utf8"
)

// Bounds of a document, so that a few megabytes of "{},{}," do not become gigabytes of structs.
const (
	MaxDepth   = 32     // nesting of objects and arrays
	MaxKeys    = 4096   // of one object
	MaxEntries = 10_000 // of one array

	maxNumber = 64 // bytes; encoding/json repeats the whole of it in its errors
)

// Decode reads raw into a pointer to a struct. Keys that the struct does not name are ignored.
func Decode(raw []byte, into any) error { return decode(raw, into, false) }

// DecodeExact is [Decode] for formats that have no other keys than the struct's: unknown ones are refused.
func DecodeExact(raw []byte, into any) error { return decode(raw, into, true) }

func decode(raw []byte, into any, exact bool) error {
	if !utf8.Valid(raw) {
		return errors.New("not UTF-8")
	}
	if !json.Valid(raw) {
		return json.Unmarshal(raw, new(json.RawMessage)) // says what is wrong, and where
	}
	w := walker{raw: raw, exact: exact}
	if err := w.document(into); err != nil {
		return err
	}
	return json.Unmarshal(raw, into)
}

// walker reads a document that is known to be valid JSON, beside the Go type that it will be decoded into. It allocates
// next to nothing: keys are slices of the document.
type walker struct {
	raw   []byte
	at    int // the next byte
	exact bool
	keys  [][]byte // of the objects around the next byte, outermost first
}

func (w *walker) document(into any) error {
	if w.space() != '{' {
		return errors.New("not a JSON object")
	}
	return w.object(shapeOf(reflect.TypeOf(into).Elem()), 1)
}

// space skips white space and what separates values, and returns the byte behind it.
func (w *walker) space() byte {
	for {
		switch c := w.raw[w.at]; c {
		case ' ', '\t', '\r', '\n', ',', ':':
			w.at++
		default:
			return c
		}
	}
}

// value reads any value. t is the shape that the Go type expects, nil where it does not say.
func (w *walker) value(t *shape, depth int) error {
	switch c := w.space(); c {
	case '{':
		return w.object(t, depth+1)
	case '[':
		return w.array(t, depth+1)
	case '"':
		_, _, err := w.text()
		return err
	case 'n':
		if t != nil && t.pointer {
			return errors.New("null in place of a value; leave the key out")
		}
	}
	start := w.at // of a number, true, false or null
	for {
		switch w.raw[w.at] {
		case ' ', '\t', '\r', '\n', ',', ']', '}':
			if n := w.at - start; n > maxNumber {
				return fmt.Errorf("a number of %d characters", n)
			}
			return nil
		}
		w.at++
	}
}

func (w *walker) array(t *shape, depth int) error {
	if depth > MaxDepth {
		return tooDeep()
	}
	inner, err := t.element()
	if err != nil {
		return err
	}
	w.at++
	for n := 0; w.space() != ']'; n++ {
		if n == MaxEntries {
			return fmt.Errorf("an array has more than %d entries", MaxEntries)
		}
		if err := w.value(inner, depth); err != nil {
			return err
		}
	}
	w.at++
	return nil
}

func (w *walker) object(t *shape, depth int) error {
	if depth > MaxDepth {
		return tooDeep()
	}
	outer := len(w.keys)
	var many map[string]bool // in place of looking through a long list
	for w.at++; w.space() != '}'; {
		key, escaped, err := w.key()
		if err != nil {
			return err
		}
		if w.seen(key, outer, &many) {
			return fmt.Errorf("key %.100q is there twice", key)
		}
		if len(w.keys)-outer == MaxKeys {
			return fmt.Errorf("an object has more than %d keys", MaxKeys)
		}
		w.keys = append(w.keys, key)

		inner, err := t.member(key, escaped, w.exact)
		if err != nil {
			return err
		}
		if err := w.value(inner, depth); err != nil {
			return err
		}
	}
	w.at++
	w.keys = w.keys[:outer]
	return nil
}

// fewKeys is up to where comparing all keys is faster than a map.
const fewKeys = 16

func (w *walker) seen(key []byte, outer int, many *map[string]bool) bool {
	own := w.keys[outer:]
	if len(own) < fewKeys {
		for _, k := range own {
			if bytes.Equal(k, key) {
				return true
			}
		}
		return false
	}
	if *many == nil {
		*many = make(map[string]bool, 2*fewKeys)
		for _, k := range own {
			(*many)[string(k)] = true
		}
	}
	if (*many)[string(key)] {
		return true
	}
	(*many)[string(key)] = true
	return false
}

// text reads a string, and returns it as it is written, with its quotes.
func (w *walker) text() (quoted []byte, escaped bool, err error) {
	start := w.at
	for w.at++; w.raw[w.at] != '"'; w.at++ {
		if w.raw[w.at] != '\\' {
			continue
		}
		escaped = true
		w.at++
		if w.raw[w.at] == 'u' {
			if err := w.escape(); err != nil {
				return nil, true, err
			}
		}
	}
	w.at++
	return w.raw[start:w.at], escaped, nil
}

// key reads a key without its quotes and escapes.
func (w *walker) key() (key []byte, escaped bool, err error) {
	quoted, escaped, err := w.text()
	if err != nil || !escaped {
		return bytes.Trim(quoted, `"`), escaped, err
	}
	var plain string
	if err := json.Unmarshal(quoted, &plain); err != nil {
		return nil, true, err
	}
	return []byte(plain), true, nil
}

// escape reads what follows the u of an escape up to its last digit, and the second half of a surrogate pair with it.
func (w *walker) escape() error {
	switch r := hex4(w.raw[w.at+1:]); {
	case r == 0:
		return errors.New("holds an escaped NUL")
	case r >= 0xd800 && r < 0xdc00 && bytes.HasPrefix(w.raw[w.at+5:], []byte(`\u`)) && hex4(w.raw[w.at+7:])&^0x3ff == 0xdc00:
		w.at += 6
	case r >= 0xd800 && r < 0xe000:
		return errors.New("holds half a surrogate pair")
	}
	w.at += 4
	return nil
}

// hex4 reads four hexadecimal digits, which are known to be there where an escape is.
func hex4(s []byte) (r uint32) {
	for _, c := range s[:4] {
		switch {
		case c <= '9':
			c -= '0'
		default:
			c = c | 0x20 - 'a' + 10
		}
		r = r<<4 | uint32(c)
	}
	return r
}

func tooDeep() error { return fmt.Errorf("nested deeper than %d", MaxDepth) }
