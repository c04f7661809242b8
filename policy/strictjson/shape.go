package strictjson

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"sync"
)

// shape is what a Go type expects of JSON.
type shape struct {
	fields  map[string]reflect.Type // of a struct, by key
	inner   reflect.Type            // of a map, slice or array
	pointer bool                    // the type is a pointer to this: whether the value is there matters
}

// shapes holds the shape of each type that was met, as encoding/json does. Types are few, and known when the program is.
var shapes sync.Map // of reflect.Type to *shape

var unmarshaler = reflect.TypeFor[json.Unmarshaler]()

func shapeOf(t reflect.Type) *shape {
	if known, ok := shapes.Load(t); ok {
		return known.(*shape)
	}
	s := &shape{}
	for inner := t; ; inner = inner.Elem() {
		if inner.Kind() == reflect.Pointer && !inner.Implements(unmarshaler) {
			s.pointer = true
			continue
		}
		if !reflect.PointerTo(inner).Implements(unmarshaler) {
			s.describe(inner)
		}
		break
	}
	shapes.Store(t, s)
	return s
}

func (s *shape) describe(t reflect.Type) {
	switch t.Kind() {
	case reflect.Struct:
		s.fields = map[string]reflect.Type{}
		for field := range t.Fields() {
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			switch {
			case field.Anonymous:
				panic("strictjson: embedded fields are not read: " + t.String())
			case name == "" && field.IsExported():
				name = field.Name
			}
			if name != "" && name != "-" {
				s.fields[name] = field.Type
			}
		}
	case reflect.Map, reflect.Slice, reflect.Array:
		s.inner = t.Elem()
	}
}

// member is the shape of the value behind a key, nil where anything goes.
func (s *shape) member(key []byte, escaped, exact bool) (*shape, error) {
	switch {
	case s == nil:
		return nil, nil
	case s.fields == nil:
		return s.element()
	}
	if field, ok := s.fields[string(key)]; ok {
		if escaped {
			return nil, fmt.Errorf("key %.100q is written with escapes", key)
		}
		return shapeOf(field), nil
	}
	for name := range s.fields {
		// The folding of encoding/json: Unicode's simple one, where the long s and the Kelvin sign are letters too.
		if strings.EqualFold(name, string(key)) {
			return nil, fmt.Errorf("key %.100q differs from %q in case only", key, name)
		}
	}
	if exact {
		return nil, fmt.Errorf("unknown key %.100q", key)
	}
	return nil, nil
}

// element is the shape of an entry. A mismatch of map, slice and struct is left to encoding/json, which names it.
func (s *shape) element() (*shape, error) {
	if s == nil || s.inner == nil {
		return nil, nil
	}
	return shapeOf(s.inner), nil
}
