// Package strictjson decodes JSON documents that have exactly one reading.
//
// encoding/json takes the last of two equal keys, takes "USER" for "user" and stops at the document's end; other readers
// take the first, tell the two apart, or read on. Where what is judged and what is later used are read by different
// programs, each such freedom is a hole. So a document is refused here when a key is there twice, when a key differs from
// a known one in case only, when it nests too deeply, when it is not UTF-8, or when anything follows it.
package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"unicode/utf8"
)

// MaxDepth bounds how deeply objects and arrays nest.
const MaxDepth = 32

// Decode reads raw into a pointer to a struct. Keys that the struct does not name are ignored.
func Decode(raw []byte, into any) error {
	return decode(raw, into, false)
}

// DecodeExact is [Decode] for formats that have no other keys than the struct's: unknown ones are refused.
func DecodeExact(raw []byte, into any) error {
	return decode(raw, into, true)
}

func decode(raw []byte, into any, exact bool) error {
	if !utf8.Valid(raw) {
		return errors.New("not UTF-8")
	}
	if bytes.ContainsRune(raw, 0) || bytes.HasPrefix(raw, []byte("\ufeff")) {
		return errors.New("holds a NUL or a byte order mark")
	}
	tokens := json.NewDecoder(bytes.NewReader(raw))
	tokens.UseNumber()
	c := checker{tokens: tokens, exact: exact}
	if err := c.document(reflect.TypeOf(into).Elem()); err != nil {
		return err
	}
	return json.Unmarshal(raw, into)
}

// checker walks the tokens of a document beside the Go type that it will be decoded into.
type checker struct {
	tokens *json.Decoder
	exact  bool
}

func (c checker) document(t reflect.Type) error {
	first, err := c.next()
	if err != nil {
		return err
	}
	if first != json.Delim('{') {
		return errors.New("not a JSON object")
	}
	if err := c.object(t, 1); err != nil {
		return err
	}
	if _, err := c.tokens.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the document")
	}
	return nil
}

// object checks an object behind its opening brace. t is nil where the Go type does not say what is in it.
func (c checker) object(t reflect.Type, depth int) error {
	if depth > MaxDepth {
		return fmt.Errorf("nested deeper than %d", MaxDepth)
	}
	seen := map[string]bool{}
	for c.tokens.More() {
		token, err := c.next()
		if err != nil {
			return err
		}
		key, ok := token.(string)
		if !ok {
			return fmt.Errorf("key %v is not a string", token)
		}
		if seen[key] {
			return fmt.Errorf("key %.100q is there twice", key)
		}
		seen[key] = true
		inner, err := c.member(t, key)
		if err != nil {
			return err
		}
		if err := c.value(inner, depth); err != nil {
			return err
		}
	}
	_, err := c.next() // the closing brace
	return err
}

// member is the type that a key's value is decoded into.
func (c checker) member(t reflect.Type, key string) (reflect.Type, error) {
	t = indirect(t)
	switch {
	case t == nil:
		return nil, nil
	case t.Kind() == reflect.Map:
		return t.Elem(), nil
	case t.Kind() != reflect.Struct:
		return nil, nil // a mismatch, which encoding/json will name
	}
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		if name == "" || name == "-" {
			continue
		}
		if name == key {
			return t.Field(i).Type, nil
		}
		if strings.EqualFold(name, key) { // as encoding/json compares: the long s and the Kelvin sign are letters too
			return nil, fmt.Errorf("key %.100q differs from %q in case only", key, name)
		}
	}
	if c.exact {
		return nil, fmt.Errorf("unknown key %.100q", key)
	}
	return nil, nil
}

func (c checker) value(t reflect.Type, depth int) error {
	token, err := c.next()
	if err != nil {
		return err
	}
	switch token {
	case json.Delim('{'):
		return c.object(t, depth+1)
	case json.Delim('['):
		if depth+1 > MaxDepth {
			return fmt.Errorf("nested deeper than %d", MaxDepth)
		}
		var inner reflect.Type
		if t = indirect(t); t != nil && t.Kind() == reflect.Slice {
			inner = t.Elem()
		}
		for c.tokens.More() {
			if err := c.value(inner, depth+1); err != nil {
				return err
			}
		}
		_, err = c.next() // the closing bracket
		return err
	}
	return nil
}

// next reads a token. A document that stops too early is named as that.
func (c checker) next() (json.Token, error) {
	token, err := c.tokens.Token()
	if errors.Is(err, io.EOF) {
		return nil, io.ErrUnexpectedEOF
	}
	return token, err
}

func indirect(t reflect.Type) reflect.Type {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == nil || t.Kind() == reflect.Interface {
		return nil
	}
	return t
}
